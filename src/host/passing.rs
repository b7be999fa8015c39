//! Accepting a connection for somebody else, in one act as far as that can be.

use super::handles::send_with_fds;
use super::sockets::Accepted;
use nix::errno::Errno;
use nix::libc::{self, c_int, c_void};
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr;

/// Much more than what runs on it needs.
const STACK_BYTES: usize = 64 << 10;

/// Aligned as every processor wants a stack.
#[repr(align(16))]
#[derive(Clone, Copy)]
struct Piece {
    _bytes: [u8; 16],
}

/// Who is to have a connection.
#[derive(Debug)]
pub struct Receiver<'a> {
    /// A Unix socket.
    pub socket: BorrowedFd<'a>,
    /// What goes with it; so short that a socket takes it whole or not at all.
    pub message: &'a [u8],
}

impl Receiver<'_> {
    /// Gives it a connection, if it takes it.
    fn pass(&self, connection: BorrowedFd) -> bool {
        send_with_fds(self.socket, self.message, &[connection]).is_ok()
    }
}

/// Accepts a connection for each receiver, as long as some wait, and passes a copy of it at once. If this process is killed in the
/// microseconds between the two, that connection goes with it.
#[must_use]
pub fn accept_and_pass(listener: BorrowedFd, receivers: &[Receiver]) -> Accepted {
    let mut job = Job::new(listener, receivers);
    job.run();
    job.accepted
}

/// The same, also if this process is killed in between: what is accepted is passed, unless the receiver's socket is full or closed.
///
/// Another process does it, which has our memory and our descriptors and is nobody whom our killer would know; we sleep meanwhile. That
/// costs tens of microseconds: for what is rare.
///
/// An error means that nothing was done: there can be no further process, or there may not.
pub fn accept_and_pass_shielded(
    listener: BorrowedFd,
    receivers: &[Receiver],
) -> io::Result<Accepted> {
    let mut job = Job::new(listener, receivers);
    let mut stack = Box::<[Piece]>::new_uninit_slice(STACK_BYTES / size_of::<Piece>());
    // Stacks grow downwards.
    let top = stack.as_mut_ptr_range().end;
    // With our memory, sleeping: nobody else runs in it. Its end is no signal for us, who look for the ends of others.
    let flags = libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_VFORK;
    // SAFETY: `work` gets what it expects; stack and job outlive the process, because we sleep until it has ended. It runs in our place,
    // not beside us, so borrowing rules hold. Should we be killed, our memory lives as long as it does.
    let pid = unsafe { libc::clone(work, top.cast(), flags, (&raw mut job).cast()) };
    Errno::result(pid)?;
    // SAFETY: the status of this process, which is of no interest, is written nowhere.
    while unsafe { libc::waitpid(pid, ptr::null_mut(), libc::__WCLONE) } < 0
        && Errno::last() == Errno::EINTR
    {}
    Ok(job.accepted)
}

/// Runs in the other process.
extern "C" fn work(job: *mut c_void) -> c_int {
    // SAFETY: `accept_and_pass_shielded` gives its job, and sleeps.
    unsafe { &mut *job.cast::<Job>() }.run();
    0
}

struct Job<'a> {
    listener: BorrowedFd<'a>,
    receivers: &'a [Receiver<'a>],
    accepted: Accepted,
}

impl<'a> Job<'a> {
    fn new(listener: BorrowedFd<'a>, receivers: &'a [Receiver<'a>]) -> Self {
        Self {
            listener,
            receivers,
            accepted: Accepted::with_room(receivers.len()),
        }
    }

    /// Allocates nothing and takes no lock: nobody else's could be let go of in the other process.
    fn run(&mut self) {
        let receivers = self.receivers;
        let pass = |number: usize, fd: BorrowedFd| receivers[number].pass(fd);
        self.accepted.fill(self.listener, receivers.len(), pass);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::handles::{receive_with_fds, stream_pair};
    use crate::host::sockets::waiting_connections;
    use crate::host::testing::until;
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd as _;

    fn listener() -> (TcpListener, std::net::SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    // Protects: both have the same connection, in the order in which they were made, and each with its message.
    #[test]
    fn what_is_accepted_is_passed_on_and_kept() {
        let (listener, address) = listener();
        let mut clients: Vec<_> = (0..2)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        until(|| waiting_connections(listener.as_fd()) == Ok(2));
        let (to, from) = stream_pair().unwrap();
        let messages = ["one", "two", "six"].map(|text| text.as_bytes().to_vec());
        let receivers = messages.each_ref().map(|message| Receiver {
            socket: to.as_fd(),
            message,
        });
        let done = accept_and_pass_shielded(listener.as_fd(), &receivers).unwrap();
        assert_eq!(done.end, Some(Errno::EAGAIN), "there is no third one");
        for ((client, kept), message) in clients.iter_mut().zip(done.connections).zip(&messages) {
            assert!(kept.is_passed);
            let (mut bytes, mut fds) = ([0; 3], Vec::new());
            receive_with_fds(from.as_fd(), &mut bytes, &mut fds).unwrap();
            assert_eq!(&bytes[..], message);
            let mut passed = TcpStream::from(fds.remove(0));
            let mut kept = TcpStream::from(kept.fd);
            for one in [&mut passed, &mut kept] {
                one.write_all(message).unwrap();
                let mut heard = [0; 3];
                client.read_exact(&mut heard).unwrap();
                assert_eq!(&heard[..], message);
            }
        }
    }

    // Protects: a receiver that does not read loses nothing: the connection is here.
    #[test]
    fn what_could_not_be_passed_is_kept() {
        let (listener, address) = listener();
        let _client = TcpStream::connect(address).unwrap();
        until(|| waiting_connections(listener.as_fd()) == Ok(1));
        let (to, _from) = stream_pair().unwrap();
        while send_with_fds(to.as_fd(), &[0; 4096], &[]).is_ok() {}
        let receiver = Receiver {
            socket: to.as_fd(),
            message: &[1],
        };
        let done = accept_and_pass(listener.as_fd(), &[receiver]);
        assert!(!done.connections[0].is_passed);
        assert_eq!(done.end, None);
    }
}
