//! One process from a plan: descriptors, session, folder, user, environment, in the order that works.

use super::handles::FDS_MAX;
use super::roster::{self, Place};
use super::signal;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc::{self, c_char, c_int};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use std::ffi::CString;
use std::fmt;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;

/// More than the kernel's `struct sigaction` has on any architecture: four words on most.
const KERNEL_SIGACTION_WORDS: usize = 8;

/// Everything about a new process but its descriptors.
///
/// The environment is complete: nothing is inherited. `Debug` hides it, since it holds secrets.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// A path, or a bare name that is looked up in the `PATH` of `env`.
    pub program: CString,
    /// All arguments, the program's own name first.
    pub argv: Vec<CString>,
    /// `NAME=value`, in order.
    pub env: Vec<CString>,
    /// Working directory; empty means that of the keeper (`/`).
    pub cwd: CString,
    /// User to become.
    pub uid: Option<u32>,
    /// Group to become.
    pub gid: Option<u32>,
    /// Supplementary groups. `None` with a user or group given means none at all, as with Node's `spawn`.
    pub groups: Option<Vec<u32>>,
    /// File mode mask; `None` keeps that of the keeper.
    pub umask: Option<u32>,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("program", &self.program)
            .field("argv", &self.argv)
            .field("env", &format_args!("{} variables", self.env.len()))
            .field("cwd", &self.cwd)
            .field("uid", &self.uid)
            .field("gid", &self.gid)
            .field("groups", &self.groups)
            .field("umask", &self.umask)
            .finish()
    }
}

/// What a spawn was doing when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// Making the process itself.
    Fork = 1,
    /// Putting its descriptors in place.
    Descriptors = 2,
    /// Giving it a session of its own, limits and mask.
    Session = 3,
    /// Entering its working directory.
    Cwd = 4,
    /// Becoming its user and groups.
    Credentials = 5,
    /// Executing the program: missing, not executable, not a program.
    Program = 6,
}

impl Stage {
    /// The stage with this number on the wire.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        [
            Self::Fork,
            Self::Descriptors,
            Self::Session,
            Self::Cwd,
            Self::Credentials,
            Self::Program,
        ]
        .into_iter()
        .find(|stage| *stage as u8 == number)
    }
}

/// What a process gets beside its plan.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gifts<'a> {
    /// Entry *n* becomes descriptor *n*; a missing one of the first three is `/dev/null`, a later one is closed.
    pub fds: &'a [Option<BorrowedFd<'a>>],
    /// Descriptors that it has under the numbers they have here, all of them past those of `fds`.
    pub kept: &'a [BorrowedFd<'a>],
    /// The limit to restore, if the caller raised its own.
    pub open_files: Option<OpenFiles>,
    /// A socket that gets the number of the process before it becomes the program. Whoever cannot be told, because the
    /// other end has been closed or shut, is nobody's process: then it ends, and the program is never executed.
    pub witness: Option<BorrowedFd<'a>>,
    /// Where the process enters itself before that.
    pub roster: Option<Place<'a>>,
}

/// A process that did not come to be; nothing of it is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpawnFailure {
    /// What was attempted.
    pub stage: Stage,
    /// The system's error number.
    pub errno: i32,
}

/// Forks and executes `plan`. When this returns `Ok`, the program has been executed; when it fails, nothing is left.
///
/// The process leads a new session, and has exactly the descriptors given. Signals have their default effect and none is
/// blocked.
///
/// Waits for the exec, so a program on a network file system delays the caller. Safe in a process with threads: the
/// child only makes system calls.
pub fn spawn(plan: &Plan, gifts: &Gifts) -> Result<i32, SpawnFailure> {
    if gifts.fds.len() > FDS_MAX {
        return Err(SpawnFailure::new(Stage::Descriptors, Errno::EINVAL));
    }
    let failed = |errno| SpawnFailure::new(Stage::Fork, errno);
    let (verdict, report) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
    let ready = Prepared::new(plan, gifts, &report);
    let mut before = SigSet::empty();
    // A handler of ours must not run in the child before the dispositions are reset.
    sigprocmask(
        SigmaskHow::SIG_SETMASK,
        Some(&SigSet::all()),
        Some(&mut before),
    )
    .map_err(failed)?;
    // SAFETY: the child makes system calls only, on memory that `ready` holds, and ends by exec or `_exit`.
    let forked = unsafe { libc::fork() };
    if forked == 0 {
        // SAFETY: we are the only thread of the child; `ready` was made before the fork.
        unsafe { ready.execute() }
    }
    let errno = Errno::last();
    let _restored = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
    drop(report);
    if forked < 0 {
        return Err(failed(errno));
    }
    let mut message = [0; 5];
    let mut filled = 0;
    while filled < message.len() {
        match nix::unistd::read(&verdict, &mut message[filled..]) {
            Ok(0) => return Ok(forked),
            Ok(count) => filled += count,
            Err(Errno::EINTR) => {}
            Err(_) => break,
        }
    }
    // The child has said why and is on its way out.
    while nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(forked), None) == Err(Errno::EINTR) {}
    let [stage, errno @ ..] = message;
    Err(SpawnFailure {
        stage: Stage::from_number(stage).unwrap_or(Stage::Fork),
        errno: i32::from_le_bytes(errno),
    })
}

impl SpawnFailure {
    fn new(stage: Stage, errno: Errno) -> Self {
        Self {
            stage,
            errno: errno as i32,
        }
    }
}

/// Limits on open files, soft and hard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFiles {
    /// What applies now.
    pub soft: u64,
    /// What the soft limit may be raised to.
    pub hard: u64,
}

impl OpenFiles {
    /// Raises our own soft limit to the hard one and returns what it was, for children to get back. `None` if there was
    /// nothing to raise.
    #[must_use]
    pub fn raise() -> Option<Self> {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
        let raised = soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
        raised.then_some(Self { soft, hard })
    }
}

/// All that the child needs, laid out before the fork: after it, memory must not be allocated.
struct Prepared<'a> {
    plan: &'a Plan,
    /// Pointers into `plan`, null at the end.
    argv: Vec<*const c_char>,
    env: Vec<*const c_char>,
    /// What to try to execute, in order.
    candidates: Vec<CString>,
    fds: [RawFd; FDS_MAX],
    fd_count: RawFd,
    kept: Vec<RawFd>,
    witness: Option<RawFd>,
    roster: Option<Place<'a>>,
    open_files: Option<libc::rlimit>,
    report: RawFd,
}

const MISSING: RawFd = -1;

impl<'a> Prepared<'a> {
    fn new(plan: &'a Plan, gifts: &Gifts<'a>, report: &OwnedFd) -> Self {
        let given = gifts.fds;
        let pointers = |list: &[CString]| -> Vec<*const c_char> {
            list.iter()
                .map(|text| text.as_ptr())
                .chain([ptr::null()])
                .collect()
        };
        let mut fds = [MISSING; FDS_MAX];
        for (slot, fd) in fds.iter_mut().zip(given) {
            *slot = fd.map_or(MISSING, |fd| fd.as_raw_fd());
        }
        Self {
            plan,
            argv: pointers(&plan.argv),
            env: pointers(&plan.env),
            candidates: candidates(&plan.program, &plan.env),
            fds,
            fd_count: RawFd::try_from(given.len().max(3)).unwrap_or(3),
            kept: gifts.kept.iter().map(AsRawFd::as_raw_fd).collect(),
            witness: gifts.witness.map(|fd| fd.as_raw_fd()),
            roster: gifts.roster,
            open_files: gifts.open_files.map(|limit| libc::rlimit {
                rlim_cur: limit.soft,
                rlim_max: limit.hard,
            }),
            report: report.as_raw_fd(),
        }
    }

    /// Becomes the program, or tells the parent why not and ends.
    ///
    /// # Safety
    /// Only in a freshly forked child.
    unsafe fn execute(&self) -> ! {
        let mut report = self.report;
        let (stage, errno) = match self.prepare_self(&mut report) {
            Ok(()) => (Stage::Program, self.execute_program()),
            Err(failure) => failure,
        };
        let mut message = [stage as u8; 5];
        message[1..].copy_from_slice(&errno.to_le_bytes());
        // SAFETY: plain system calls. `_exit` runs nothing of the parent's clean-up.
        unsafe {
            libc::write(report, message.as_ptr().cast(), message.len());
            libc::_exit(127)
        }
    }

    /// The order matters: the folder is entered before the user changes, as Node does, so that root can start an
    /// application in a folder its user may not reach by itself; groups need the rights that the user change gives up.
    fn prepare_self(&self, report: &mut RawFd) -> Result<(), (Stage, c_int)> {
        if let Some(Place {
            file,
            slot,
            run,
            pipes,
        }) = self.roster
        {
            roster::enter(file.as_raw_fd(), slot, run, pipes);
        }
        reset_dispositions();
        self.tell_witness().map_err(|errno| (Stage::Fork, errno))?;
        self.arrange_descriptors(report)
            .map_err(|errno| (Stage::Descriptors, errno))?;
        self.enter_session()
            .map_err(|errno| (Stage::Session, errno))?;
        self.enter_folder().map_err(|errno| (Stage::Cwd, errno))?;
        self.become_user()
            .map_err(|errno| (Stage::Credentials, errno))
    }

    fn tell_witness(&self) -> Result<(), c_int> {
        let Some(witness) = self.witness else {
            return Ok(());
        };
        // SAFETY: system calls; the bytes are a variable of ours.
        unsafe {
            let pid = libc::getpid().to_le_bytes();
            let flags = libc::MSG_NOSIGNAL;
            let sent = libc::send(witness, pid.as_ptr().cast(), pid.len(), flags);
            check(c_int::try_from(sent).unwrap_or(-1)).map(drop)
        }
    }

    fn arrange_descriptors(&self, report: &mut RawFd) -> Result<(), c_int> {
        let count = self.fd_count;
        // SAFETY: system calls on descriptor numbers; a bad one is an error. The child owns all of them.
        unsafe {
            // First everything out of the way of the targets, since a source may be the target of another.
            *report = check(libc::fcntl(*report, libc::F_DUPFD_CLOEXEC, count))?;
            let mut sources = self.fds;
            for source in sources.iter_mut().filter(|source| **source != MISSING) {
                *source = check(libc::fcntl(*source, libc::F_DUPFD_CLOEXEC, count))?;
            }
            for (target, &source) in (0..count).zip(&sources) {
                if source != MISSING {
                    check(libc::dup2(source, target))?;
                } else if target < 3 {
                    let null = check(libc::open(
                        c"/dev/null".as_ptr(),
                        libc::O_RDWR | libc::O_CLOEXEC,
                    ))?;
                    if null == target {
                        check(libc::fcntl(null, libc::F_SETFD, 0))?;
                    } else {
                        check(libc::dup2(null, target))?;
                        libc::close(null);
                    }
                } else {
                    libc::close(target);
                }
                if target < 3 {
                    let flags = check(libc::fcntl(target, libc::F_GETFL))?;
                    check(libc::fcntl(
                        target,
                        libc::F_SETFL,
                        flags & !libc::O_NONBLOCK,
                    ))?;
                }
            }
            // All of ours are close-on-exec anyway; this is for what a library may have opened. An old kernel refuses.
            libc::syscall(
                libc::SYS_close_range,
                count,
                libc::c_uint::MAX,
                libc::CLOSE_RANGE_CLOEXEC,
            );
            for kept in &self.kept {
                check(libc::fcntl(*kept, libc::F_SETFD, 0))?;
            }
        }
        Ok(())
    }

    fn enter_session(&self) -> Result<(), c_int> {
        // SAFETY: system calls that take numbers, or a pointer to a field of ours.
        unsafe {
            check(libc::setsid())?;
            if let Some(limit) = &self.open_files {
                check(libc::setrlimit(libc::RLIMIT_NOFILE, limit))?;
            }
            if let Some(mask) = self.plan.umask {
                libc::umask(mask as libc::mode_t);
            }
        }
        Ok(())
    }

    fn enter_folder(&self) -> Result<(), c_int> {
        if self.plan.cwd.is_empty() {
            return Ok(());
        }
        // SAFETY: the path is a C string that outlives the call.
        check(unsafe { libc::chdir(self.plan.cwd.as_ptr()) }).map(drop)
    }

    fn become_user(&self) -> Result<(), c_int> {
        let Plan {
            uid, gid, groups, ..
        } = self.plan;
        // SAFETY: system calls that take numbers, or a pointer and length of a list of ours.
        unsafe {
            let is_asked = uid.is_some() || gid.is_some();
            if let Some(groups) = groups {
                check(libc::setgroups(groups.len() as _, groups.as_ptr()))?;
            } else if is_asked && libc::setgroups(0, ptr::null()) != 0 && libc::geteuid() == 0 {
                // Who is not root has no right to change groups, and the change of user will say so. Root that may not, in a
                // namespace, must not hand its own groups on.
                return Err(Errno::last_raw());
            }
            if let Some(gid) = *gid {
                check(libc::setgid(gid))?;
            }
            if let Some(uid) = *uid {
                check(libc::setuid(uid))?;
            }
        }
        Ok(())
    }

    /// Returns only the reason why none of the candidates could be executed, chosen as `execvp` does.
    fn execute_program(&self) -> c_int {
        let mut reason = libc::ENOENT;
        for candidate in &self.candidates {
            // SAFETY: `argv` and `env` end in null and point into `plan`. The signal mask is one of ours.
            unsafe {
                let mut none: libc::sigset_t = zeroed();
                libc::sigemptyset(&raw mut none);
                libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
                libc::execve(candidate.as_ptr(), self.argv.as_ptr(), self.env.as_ptr());
            }
            match Errno::last_raw() {
                libc::EACCES => reason = libc::EACCES,
                libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT => {}
                errno => return errno,
            }
        }
        reason
    }
}

/// What `execvp` would try: a program with a slash as it is, a bare name in each folder of the child's own `PATH`.
fn candidates(program: &CString, env: &[CString]) -> Vec<CString> {
    let name = program.as_bytes();
    if name.is_empty() {
        return Vec::new();
    }
    if name.contains(&b'/') {
        return vec![program.clone()];
    }
    let path = env
        .iter()
        .find_map(|entry| entry.as_bytes().strip_prefix(b"PATH="));
    let folders = path.unwrap_or(b"/bin:/usr/bin").split(|byte| *byte == b':');
    // An empty element means the working directory.
    let joined = folders.map(|folder| match folder {
        b"" => name.to_vec(),
        folder => [folder, b"/", name].concat(),
    });
    joined.filter_map(|path| CString::new(path).ok()).collect()
}

/// By the bare system call: libc hides two signals that it uses itself, and those are inherited as ignored like any other.
fn reset_dispositions() {
    let default = [0_u64; KERNEL_SIGACTION_WORDS];
    for number in 1..=signal::LAST {
        // SAFETY: the kernel reads its own `sigaction`, all of it zero for the default disposition, out of a larger array,
        // and writes nothing. It refuses SIGKILL and SIGSTOP, rightly.
        unsafe {
            let (action, set_bytes) = (default.as_ptr(), size_of::<u64>());
            libc::syscall(
                libc::SYS_rt_sigaction,
                number,
                action,
                ptr::null_mut::<u64>(),
                set_bytes,
            );
        }
    }
}

fn check(result: c_int) -> Result<c_int, c_int> {
    if result < 0 {
        Err(Errno::last_raw())
    } else {
        Ok(result)
    }
}
