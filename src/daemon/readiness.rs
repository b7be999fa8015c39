//! Descriptors of an app: when they can be read, and reading them.

use std::io;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Waits until there is something to read; for ever where there is nothing to read from. Cancel-safe.
pub(super) async fn readable(fd: Option<&AsyncFd<impl AsRawFd>>) {
    match fd {
        // An error here shows up again in the read.
        Some(fd) => drop(fd.readable().await),
        None => std::future::pending().await,
    }
}

/// Reads while the descriptor is known to be readable; of a process that has ended, whatever there is. What is known of a descriptor
/// is learnt turn by turn and may lag behind the last words.
pub(super) fn read_now<T, F: AsRawFd>(
    open: &AsyncFd<F>,
    is_last_look: bool,
    read: impl FnOnce(&F) -> io::Result<T>,
) -> io::Result<T> {
    if is_last_look {
        read(open.get_ref())
    } else {
        open.try_io(Interest::READABLE, read)
    }
}

/// Whether to try again later.
pub(super) fn is_passing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(Errno::EINTR as i32)
}
