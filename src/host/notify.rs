//! Telling the service manager that started us how it goes: the datagrams of systemd's `sd_notify(3)`.

use super::process::{self, PollFd, PollFlags};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg, setsockopt,
    socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// Names the socket: a path, or `@` and a name without a file.
pub const SOCKET_VARIABLE: &str = "NOTIFY_SOCKET";

/// Within how many microseconds the manager wants to hear that we are alive.
pub const WATCHDOG_VARIABLE: &str = "WATCHDOG_USEC";

/// The process that the manager means by it.
pub const WATCHDOG_PID_VARIABLE: &str = "WATCHDOG_PID";

/// How long a datagram may wait for room in the manager's queue. It holds many; a manager that is stuck must not hold us.
const SEND_LIMIT_S: i64 = 5;

/// The socket of a service manager.
#[derive(Debug)]
pub struct Notifier {
    socket: OwnedFd,
    address: UnixAddr,
}

impl Notifier {
    /// A way to the manager at this address. `None` for an address of a kind that is none of ours, such as `vsock:`.
    pub fn new(address: &OsStr) -> io::Result<Option<Self>> {
        let address = match address.as_bytes() {
            [b'/', ..] => UnixAddr::new(Path::new(address))?,
            [b'@', name @ ..] if !name.is_empty() => UnixAddr::new_abstract(name)?,
            _ => return Ok(None),
        };
        let socket = socket(
            AddressFamily::Unix,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        setsockopt(
            &socket,
            sockopt::SendTimeout,
            &TimeVal::seconds(SEND_LIMIT_S),
        )?;
        Ok(Some(Self { socket, address }))
    }

    /// Says something: lines of the form `NAME=value`.
    pub fn send(&self, text: &str) -> io::Result<()> {
        self.send_with(text, &[], MsgFlags::empty())
    }

    /// The same, but rather not than late.
    pub fn send_now(&self, text: &str) -> io::Result<()> {
        self.send_with(text, &[], MsgFlags::MSG_DONTWAIT)
    }

    /// Waits until the manager has taken in everything that was said. It finds out who speaks by the speaker's process, so whoever
    /// leaves at once may not be believed.
    pub fn wait_until_heard(&self, limit: Duration) -> io::Result<()> {
        let (ours, theirs) = io::pipe()?;
        self.send_with("BARRIER=1", &[theirs.as_fd()], MsgFlags::empty())?;
        drop(theirs);
        // It closes its end when it gets there.
        let mut interests = [PollFd::new(ours.as_fd(), PollFlags::empty())];
        process::wait(&mut interests, Some(limit))
    }

    fn send_with(&self, text: &str, fds: &[BorrowedFd], flags: MsgFlags) -> io::Result<()> {
        let numbers: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&numbers)];
        let attached = if numbers.is_empty() { &[] } else { &rights[..] };
        sendmsg(
            self.socket.as_raw_fd(),
            &[IoSlice::new(text.as_bytes())],
            attached,
            flags | MsgFlags::MSG_NOSIGNAL,
            Some(&self.address),
        )?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    // Protects both kinds of address: systemd uses a path, containers and user managers may use a name.
    #[test]
    fn a_manager_hears_us_at_a_path_and_at_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let at_path = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::new(path.as_os_str()).unwrap().unwrap();
        notifier.send("READY=1\nMAINPID=7").unwrap();
        assert_eq!(heard(&at_path), "READY=1\nMAINPID=7");
        let name = format!("pm2-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let at_name = UnixDatagram::bind_addr(&address).unwrap();
        let notifier = Notifier::new(OsStr::new(&format!("@{name}")))
            .unwrap()
            .unwrap();
        notifier.send_now("WATCHDOG=1").unwrap();
        assert_eq!(heard(&at_name), "WATCHDOG=1");
    }

    #[test]
    fn an_address_of_another_kind_is_nobody() {
        for other in ["", "@", "vsock:2:1234", "relative"] {
            assert!(
                Notifier::new(OsStr::new(other)).unwrap().is_none(),
                "{other}"
            );
        }
    }
}
