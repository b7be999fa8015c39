//! What a process does to itself and its children: detach, adopt orphans, reap, own what it inherited.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;
use nix::poll::PollTimeout;
pub use nix::poll::{PollFd, PollFlags};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

/// The first descriptor that is not one of the standard three.
const FIRST_FREE: RawFd = 3;

/// Continues in a child that nobody waits for; the calling process ends here with success. Must be called while the
/// process has one thread.
pub fn detach() -> io::Result<()> {
    // SAFETY: one thread, so nothing is lost in the child; the parent leaves at once and runs no clean-up.
    unsafe {
        match libc::fork() {
            -1 => Err(io::Error::last_os_error()),
            0 => Ok(()),
            _ => libc::_exit(0),
        }
    }
}

/// Leads a session of our own; nothing happens if we do already.
pub fn lead_session() {
    let _already_leader = nix::unistd::setsid();
}

/// Becomes the parent of every orphan among our descendants.
pub fn adopt_orphans() -> io::Result<()> {
    Ok(nix::sys::prctl::set_child_subreaper(true)?)
}

/// The name in `/proc/<pid>/comm`; the first 15 bytes are kept.
pub fn set_name(name: &CStr) {
    let _cosmetic = nix::sys::prctl::set_name(name);
}

/// Reaps one child that has ended: its pid and how it ended.
#[must_use]
pub fn reap() -> Option<(i32, ExitStatus)> {
    let mut status = 0;
    loop {
        // SAFETY: the status is written to a variable of ours.
        match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } {
            0 => return None,
            pid if pid > 0 => return Some((pid, ExitStatus::from_raw(status))),
            _ if Errno::last() == Errno::EINTR => {}
            _ => return None,
        }
    }
}

/// Owns a descriptor we inherited by number, close-on-exec from now on. `None` if it is not open.
///
/// Of one of the standard three we get a copy: the caller must still replace the original.
///
/// Contract: once per number, at the start of a process, before it opens anything itself.
#[must_use]
pub fn inherited(number: RawFd) -> Option<OwnedFd> {
    if number < 0 {
        return None;
    }
    // SAFETY: asks about a number; a closed one is an error.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    let owned = if number < FIRST_FREE {
        fcntl(borrowed, FcntlArg::F_DUPFD_CLOEXEC(FIRST_FREE)).ok()?
    } else {
        fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).ok()?;
        number
    };
    // SAFETY: it is open, was made just now or by whoever executed us, and by the contract nobody here owns it yet.
    Some(unsafe { OwnedFd::from_raw_fd(owned) })
}

/// Closes every descriptor from 3 on but these, which whoever started us left open by mistake.
///
/// Contract: at the start of a process only; a descriptor that something here owns would be closed under it.
pub fn close_all_but(kept: &[&OwnedFd]) {
    let mut kept: Vec<RawFd> = kept.iter().map(|fd| fd.as_raw_fd()).collect();
    kept.sort_unstable();
    let mut first = FIRST_FREE;
    for number in kept.into_iter().chain([RawFd::MAX]) {
        if first < number {
            // SAFETY: numbers only; by the contract above nobody owns what is closed.
            unsafe {
                libc::syscall(libc::SYS_close_range, first, number - 1, 0);
            }
        }
        first = number.saturating_add(1);
    }
}

/// Becomes another program. What is kept stays open under its number, everything else is closed. Returns only the reason why
/// nothing has changed.
pub fn execute(
    program: &CStr,
    argv: &[CString],
    env: &[CString],
    kept: &[BorrowedFd],
) -> io::Error {
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        let all = list.iter().map(|text| text.as_ptr());
        all.chain([std::ptr::null()]).collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    let mark = |flags| {
        kept.iter()
            .try_for_each(|fd| fcntl(fd, FcntlArg::F_SETFD(flags)).map(drop))
    };
    let error = mark(FdFlag::empty()).map_or_else(io::Error::from, |()| {
        // SAFETY: both lists end in null and point to C strings that outlive the call.
        unsafe {
            libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr());
        }
        io::Error::last_os_error()
    });
    let _unlikely = mark(FdFlag::FD_CLOEXEC);
    error
}

/// Makes `file` our standard output and error.
pub fn redirect_output(file: BorrowedFd) -> io::Result<()> {
    nix::unistd::dup2_stdout(file)?;
    nix::unistd::dup2_stderr(file)?;
    Ok(())
}

/// Makes `file` our standard input.
pub fn redirect_input(file: BorrowedFd) -> io::Result<()> {
    Ok(nix::unistd::dup2_stdin(file)?)
}

/// Waits until one is ready, the time is over, or a signal handler ran. A part of a millisecond is waited in full, so
/// that a deadline has passed when this returns for it.
pub fn wait(interests: &mut [PollFd], limit: Option<Duration>) -> io::Result<()> {
    let timeout = limit.map_or(PollTimeout::NONE, |limit| {
        let whole = limit.as_nanos().div_ceil(1_000_000);
        PollTimeout::try_from(whole).unwrap_or(PollTimeout::MAX)
    });
    match nix::poll::poll(interests, timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether the other end of this pipe or socket has been closed. What was written to it is thrown away.
#[must_use]
pub fn is_hung_up(fd: BorrowedFd) -> bool {
    let mut scratch = [0; 64];
    loop {
        let mut interests = [PollFd::new(fd, PollFlags::POLLIN)];
        if wait(&mut interests, Some(Duration::ZERO)).is_err() || interests[0].any() != Some(true) {
            return false;
        }
        match nix::unistd::read(fd, &mut scratch) {
            Ok(0) => return true,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return false,
            Err(_) => return true,
        }
    }
}

/// Has the heap keep what is freed, up to some megabytes, until [`trim_heap`]: what is given back at once is paid for again, page by page, in
/// the next request. For a process that calls that whenever it has been quiet.
pub fn keep_freed_heap() {
    /// A list of a thousand processes is assembled in about as much.
    #[cfg(target_env = "gnu")]
    const KEPT: libc::c_int = 4 << 20;
    #[cfg(target_env = "gnu")]
    // SAFETY: takes numbers and moves no allocation.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, KEPT);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
    }
}

/// Gives free heap back to the system.
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: touches nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Gives back to the system what we can do without until we need it: free heap, and the pages of program and libraries
/// that were needed once, at the start, which are read again from the page cache if they are needed again.
pub fn trim_memory() {
    trim_heap();
    // SAFETY: the callback is a function of ours with the right signature, and needs no data.
    unsafe {
        libc::dl_iterate_phdr(Some(release_segments), std::ptr::null_mut());
    }
}

/// Drops the read-only segments of one loaded object.
///
/// # Safety
/// Only as a callback of `dl_iterate_phdr`.
unsafe extern "C" fn release_segments(
    object: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    _data: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: the loader gives a valid object with `dlpi_phnum` headers. Segments that are not writable are mapped from
    // the file and have never been changed (what is relocated is in writable ones), so that dropping a page of theirs only
    // means that it is read again. The range is rounded inwards: a page may be shared with the next segment.
    unsafe {
        let object = &*object;
        if object.dlpi_phdr.is_null() {
            return 0;
        }
        let page = usize::try_from(libc::sysconf(libc::_SC_PAGESIZE)).unwrap_or(4096);
        for header in std::slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()) {
            if header.p_type != libc::PT_LOAD || header.p_flags & libc::PF_W != 0 {
                continue;
            }
            let address = |offset: u64| usize::try_from(object.dlpi_addr + offset).unwrap_or(0);
            let start = address(header.p_vaddr).next_multiple_of(page);
            let end = address(header.p_vaddr + header.p_memsz) / page * page;
            if start < end {
                let start = std::ptr::without_provenance_mut(start);
                libc::madvise(start, end - start.addr(), libc::MADV_DONTNEED);
            }
        }
    }
    0
}

/// The local time as `pm2.log` shows it: `2026-11-20T20:38:21`.
#[must_use]
pub fn local_time() -> String {
    // SAFETY: all-zero is a valid `tm`; both calls write to variables of ours.
    let tm = unsafe {
        let now = libc::time(std::ptr::null_mut());
        let mut tm: libc::tm = std::mem::zeroed();
        libc::localtime_r(&raw const now, &raw mut tm);
        tm
    };
    let (year, month) = (tm.tm_year + 1900, tm.tm_mon + 1);
    format!(
        "{year}-{month:02}-{:02}T{:02}:{:02}:{:02}",
        tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec
    )
}
