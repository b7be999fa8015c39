//! Descriptors: made, passed over Unix sockets, and asked who is at the other end.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{AddressFamily, Shutdown, SockFlag, SockType, getsockopt, socketpair};
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::ptr;
use std::slice;

/// The most descriptors one message may carry: an application's four, with room for a protocol that needs more.
pub const FDS_MAX: usize = 16;

/// What we ask for an application's output to be buffered by the kernel, so that an app that prints and exits loses nothing.
pub const PIPE_BYTES: i32 = 1 << 20;

/// A pipe has 64 KiB without asking.
const PIPE_BYTES_WORTH_ASKING: i32 = 128 << 10;

/// Bytes of a control buffer that holds [`FDS_MAX`] descriptors, and credentials that a peer may force on us.
const CONTROL_BYTES: usize = 256;

/// Aligned as the kernel wants control messages.
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// Writes `bytes` with the descriptors attached to the first of them. Returns how many bytes were taken; the descriptors
/// went with them if that is not zero, so the rest must be sent without.
///
/// Never raises SIGPIPE.
pub fn send_with_fds(socket: BorrowedFd, bytes: &[u8], fds: &[BorrowedFd]) -> io::Result<usize> {
    if fds.len() > FDS_MAX {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let mut control = Control([0; CONTROL_BYTES]);
    let mut vector = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: an all-zero `msghdr` is valid: null pointers with zero lengths.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    if !fds.is_empty() {
        let mut raw = [0 as RawFd; FDS_MAX];
        for (slot, fd) in raw.iter_mut().zip(fds) {
            *slot = fd.as_raw_fd();
        }
        let payload = u32::try_from(size_of::<RawFd>() * fds.len()).unwrap_or(u32::MAX);
        message.msg_control = control.0.as_mut_ptr().cast();
        // SAFETY: CMSG_SPACE and CMSG_LEN only compute. The buffer holds CONTROL_BYTES ≥ CMSG_SPACE of FDS_MAX descriptors,
        // so the first header and `payload` bytes behind it are inside; `raw` has at least `payload` bytes.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(payload) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(payload) as _;
            ptr::copy_nonoverlapping(
                raw.as_ptr().cast::<u8>(),
                libc::CMSG_DATA(header),
                payload as usize,
            );
        }
    }
    loop {
        // SAFETY: `message` points at `vector`, `bytes` and `control`, which outlive the call.
        let sent =
            unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
        match usize::try_from(sent) {
            Ok(sent) => return Ok(sent),
            Err(_) => interrupted_or(io::Error::last_os_error())?,
        }
    }
}

/// Reads into `buffer` and appends received descriptors, close-on-exec, to `fds`. Zero bytes mean the end of the stream.
///
/// Fails, with all descriptors of this read closed, when the sender attached more than [`FDS_MAX`].
pub fn receive_with_fds(
    socket: BorrowedFd,
    buffer: &mut [u8],
    fds: &mut impl Extend<OwnedFd>,
) -> io::Result<usize> {
    let mut control = Control([0; CONTROL_BYTES]);
    let mut vector = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: an all-zero `msghdr` is valid: null pointers with zero lengths.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = CONTROL_BYTES as _;
    let received = loop {
        // SAFETY: `message` points at `vector`, `buffer` and `control`, which outlive the call.
        let received =
            unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
        match usize::try_from(received) {
            Ok(received) => break received,
            Err(_) => interrupted_or(io::Error::last_os_error())?,
        }
    };
    let arrived = take_fds(&message);
    if message.msg_flags & libc::MSG_CTRUNC != 0 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "too many descriptors in one message",
        ));
    }
    fds.extend(arrived);
    Ok(received)
}

/// Owns every descriptor that `recvmsg` put into the control buffer of `message`.
fn take_fds(message: &libc::msghdr) -> Vec<OwnedFd> {
    let mut taken = Vec::new();
    // SAFETY: `message` was filled by the kernel; the CMSG macros stay inside `msg_controllen`. Each descriptor in an
    // SCM_RIGHTS message is new and ours alone, so owning it once is right.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let bytes = (*header).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                let data = slice::from_raw_parts(libc::CMSG_DATA(header), bytes);
                let (numbers, _) = data.as_chunks();
                taken.extend(
                    numbers
                        .iter()
                        .map(|number| OwnedFd::from_raw_fd(RawFd::from_ne_bytes(*number))),
                );
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    taken
}

/// `Ok` when the call was interrupted by a signal and should be made again.
fn interrupted_or(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::Interrupted {
        Ok(())
    } else {
        Err(error)
    }
}

/// Whether reads and writes through this descriptor's open file wait. The flag belongs to the open file, so every
/// process that shares it is concerned.
pub fn set_nonblocking(fd: BorrowedFd, nonblocking: bool) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    let mut wanted = flags;
    wanted.set(OFlag::O_NONBLOCK, nonblocking);
    if wanted != flags {
        fcntl(fd, FcntlArg::F_SETFL(wanted))?;
    }
    Ok(())
}

/// A connected pair of Unix stream sockets: the first, non-blocking, to keep; the second, blocking, to hand out.
pub fn stream_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = socketpair(
        AddressFamily::Unix,
        SockType::Stream,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?;
    set_nonblocking(ours.as_fd(), true)?;
    Ok((ours, theirs))
}

/// A pipe for an application's output: a non-blocking end to read, a blocking one to hand out.
///
/// It holds [`PIPE_BYTES`] where the system lets us have that, otherwise as much as we can get.
pub fn output_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    set_nonblocking(read.as_fd(), true)?;
    let mut size = PIPE_BYTES;
    // EPERM: past `pipe-max-size`, or the user's share of pipe pages is used up.
    while size >= PIPE_BYTES_WORTH_ASKING && fcntl(&write, FcntlArg::F_SETPIPE_SZ(size)).is_err() {
        size /= 2;
    }
    Ok((read, write))
}

/// A pair of sockets for a witness of a spawn ([`super::spawn::Gifts`]): the first to ask, the second to hand out.
pub fn witness() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC;
    Ok(socketpair(
        AddressFamily::Unix,
        SockType::Stream,
        None,
        flags,
    )?)
}

/// The process that a witness tells of. If there is none, none will ever be: whoever comes later cannot be heard any more, and
/// does not become a program.
#[must_use]
pub fn testimony(witness: &OwnedFd) -> Option<i32> {
    let mut pid = [0; 4];
    // What was said before is still heard, and saying it is one act.
    nix::sys::socket::shutdown(witness.as_raw_fd(), Shutdown::Read).ok()?;
    let length = nix::unistd::read(witness, &mut pid).ok()?;
    (length == pid.len()).then(|| i32::from_le_bytes(pid))
}

/// The number of the pipe or file that a descriptor is of; 0 if the system does not say.
#[must_use]
pub fn inode(fd: BorrowedFd) -> u64 {
    nix::sys::stat::fstat(fd).map_or(0, |stat| stat.st_ino)
}

/// The other end of the pipe that a process has as its stdin (0), stdout (1) or stderr (2), non-blocking, if that is still this
/// pipe. Nobody else need have it open: what was written and not read is in it.
#[must_use]
pub fn reopen_pipe(pid: i32, number: usize, pipe: u64) -> Option<OwnedFd> {
    let path = format!("/proc/{pid}/fd/{number}");
    // Looked at before: opening something else may have effects.
    let target = std::fs::read_link(&path).ok()?;
    if pipe == 0 || target.as_os_str() != format!("pipe:[{pipe}]").as_str() {
        return None;
    }
    let access = if number == 0 {
        OFlag::O_WRONLY
    } else {
        OFlag::O_RDONLY
    };
    let flags = access | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let fd = nix::fcntl::open(path.as_str(), flags, nix::sys::stat::Mode::empty()).ok()?;
    (inode(fd.as_fd()) == pipe).then_some(fd)
}

/// Who connected to a Unix socket, as of the moment of connecting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Process; may have ended since.
    pub pid: i32,
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
}

/// The process at the other end of a connected Unix socket.
pub fn peer(socket: BorrowedFd) -> io::Result<Peer> {
    let credentials = getsockopt(&socket, PeerCredentials)?;
    Ok(Peer {
        pid: credentials.pid(),
        uid: credentials.uid(),
        gid: credentials.gid(),
    })
}

/// More groups than any user has; the kernel allows 65,536.
const GROUPS_MAX: usize = 65_536;

/// The further groups of the process at the other end of a connected Unix socket, as of the moment of connecting. None where the kernel
/// does not tell.
#[must_use]
pub fn peer_groups(socket: BorrowedFd) -> Vec<u32> {
    let mut groups: Vec<u32> = vec![0; 64];
    loop {
        let bytes = groups.len() * size_of::<u32>();
        let mut length = libc::socklen_t::try_from(bytes).unwrap_or(0);
        // SAFETY: the kernel writes at most `length` bytes into the list, which has that many.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let count = length as usize / size_of::<u32>();
        match Errno::result(result) {
            Ok(_) => {
                groups.truncate(count);
                return groups;
            }
            // It says how many there are.
            Err(Errno::ERANGE) if count > groups.len() && count <= GROUPS_MAX => {
                groups.resize(count, 0);
            }
            Err(_) => return Vec::new(),
        }
    }
}

/// One process, whatever becomes of its number. Readable when it has ended.
#[derive(Debug)]
pub struct Pidfd(OwnedFd);

/// `PIDFD_INFO_EXIT`: asks for the exit status (Linux 6.15 and later).
const INFO_EXIT: u64 = 1 << 3;

/// The first version of the kernel's `struct pidfd_info`; later ones are longer and are cut for those who ask with this length.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    /// Numbers and users.
    ids: [u32; 11],
    exit_status: i32,
}

impl Pidfd {
    /// Opens the process that has this number now. `ESRCH` if there is none.
    pub fn open(pid: i32) -> io::Result<Self> {
        // SAFETY: `pidfd_open` takes a pid and flags and touches no memory of ours.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let fd = RawFd::try_from(fd)
            .ok()
            .filter(|fd| *fd >= 0)
            .ok_or_else(io::Error::last_os_error)?;
        // SAFETY: a new descriptor, close-on-exec, that nobody else owns.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Signals exactly this process; `ESRCH` when it has been reaped. Signal 0 only asks.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        // SAFETY: a null `siginfo` means "as kill does"; the descriptor is open.
        let result = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.0.as_raw_fd(),
                signal,
                ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// One that an earlier process of ours opened.
    #[must_use]
    pub fn of(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// How it ended, of a process that has been reaped, whoever its parent was. `None` before, and where the kernel does not
    /// say (before Linux 6.15).
    #[must_use]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        const GET_INFO: u64 = nix::request_code_readwrite!(0xFF, 11, size_of::<PidfdInfo>());
        let mut info = PidfdInfo {
            mask: INFO_EXIT,
            ..PidfdInfo::default()
        };
        // SAFETY: the kernel writes at most the length that is part of the request into a structure of that length.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), GET_INFO as _, &raw mut info) };
        (result == 0 && info.mask & INFO_EXIT != 0).then(|| ExitStatus::from_raw(info.exit_status))
    }

    /// Whether it has ended; a zombie has.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let mut poll = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        matches!(nix::poll::poll(&mut poll, PollTimeout::ZERO), Ok(1))
    }
}

impl AsFd for Pidfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Pidfd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
