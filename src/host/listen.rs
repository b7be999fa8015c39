//! Binding the daemon's addresses without taking them from someone who lives, or deleting what is not ours.

use super::HostError;
use super::paths::Address;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::sys::stat::{Mode, umask};
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

/// A bound, listening, non-blocking socket.
#[derive(Debug)]
pub enum Listener {
    /// At a path.
    Unix(UnixListener),
    /// At a port.
    Tcp(TcpListener),
}

impl Listener {
    /// One more descriptor of the same socket.
    pub fn copy(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Unix(listener) => listener.as_fd().try_clone_to_owned(),
            Self::Tcp(listener) => listener.as_fd().try_clone_to_owned(),
        }
    }
}

/// Takes over a socket that was bound by an earlier process. `None` if it is not to be had at this address any more.
#[must_use]
pub fn adopt(socket: OwnedFd, address: &Address) -> Option<Listener> {
    match address {
        Address::Unix(path) => {
            let listener = UnixListener::from(socket);
            let is_there =
                std::fs::symlink_metadata(path).is_ok_and(|at| at.file_type().is_socket());
            let bound = listener.local_addr().ok()?;
            (is_there && bound.as_pathname() == Some(path)).then_some(Listener::Unix(listener))
        }
        Address::Tcp { .. } => {
            let listener = TcpListener::from(socket);
            let bound = listener.local_addr().ok()?;
            let wanted = address.resolve().ok()?;
            wanted.contains(&bound).then_some(Listener::Tcp(listener))
        }
    }
}

/// Binds an address. A name that is not a number is resolved, which blocks.
pub fn bind(address: &Address) -> Result<Listener, HostError> {
    match address {
        Address::Unix(path) => bind_unix(path).map(Listener::Unix),
        Address::Tcp { .. } => bind_tcp(address).map(Listener::Tcp),
    }
}

/// Binds a Unix socket, mode 0600 from its first moment.
///
/// A socket at that path that nobody answers is replaced. One that somebody serves is [`HostError::AlreadyServed`];
/// a file of another kind is [`HostError::NotASocket`] and stays. Changes the process's file mode mask for a moment,
/// so call it while no other thread makes files. Two processes that do this at once must hold a lock.
pub fn bind_unix(path: &Path) -> Result<UnixListener, HostError> {
    let failed = |source| HostError::Bind {
        address: path.display().to_string(),
        source,
    };
    clear_stale(path)?;
    let before = umask(Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(path);
    umask(before);
    let listener = listener.map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

fn bind_tcp(address: &Address) -> Result<TcpListener, HostError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => HostError::AlreadyServed {
            address: address.to_string(),
        },
        _ => HostError::Bind {
            address: address.to_string(),
            source,
        },
    };
    let listener = TcpListener::bind(&*address.resolve().map_err(failed)?).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

/// Removes a socket that nobody serves.
fn clear_stale(path: &Path) -> Result<(), HostError> {
    let failed = |source| HostError::Bind {
        address: path.display().to_string(),
        source,
    };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(HostError::NotASocket {
                path: path.to_path_buf(),
            });
        }
        Ok(_) => {}
    }
    // Non-blocking: a server whose queue is full is busy, not gone, and must not make us wait.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let probe = socket(AddressFamily::Unix, SockType::Stream, flags, None);
    let probe = probe.map_err(|errno| failed(errno.into()))?;
    let target = UnixAddr::new(path).map_err(|errno| failed(errno.into()))?;
    match connect(probe.as_raw_fd(), &target) {
        Ok(()) | Err(Errno::EAGAIN) => Err(HostError::AlreadyServed {
            address: path.display().to_string(),
        }),
        Err(Errno::ENOENT) => Ok(()),
        Err(Errno::ECONNREFUSED) => match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
            _ => Ok(()),
        },
        Err(errno) => Err(failed(errno.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_stale_socket_is_replaced_by_a_private_one() {
        let name = "host::listen::tests::a_stale_socket_is_replaced_by_a_private_one";
        testing::alone(name, || {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("rpc.sock");
            drop(UnixListener::bind(&path).unwrap());
            let _bound = bind_unix(&path).unwrap();
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            std::os::unix::net::UnixStream::connect(&path).unwrap();
        });
    }

    #[test]
    fn a_served_socket_is_left_to_its_server_even_when_its_queue_is_full() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rpc.sock");
        let server = UnixListener::bind(&path).unwrap();
        assert!(matches!(
            bind_unix(&path),
            Err(HostError::AlreadyServed { .. })
        ));
        nix::sys::socket::listen(&server, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
        // The probes stay in the queue; from the second on it is full.
        for _ in 0..3 {
            assert!(matches!(
                bind_unix(&path),
                Err(HostError::AlreadyServed { .. })
            ));
        }
    }

    #[test]
    fn what_is_not_a_socket_is_named_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rpc.sock");
        std::fs::write(&path, "precious").unwrap();
        let error = bind_unix(&path).unwrap_err();
        assert!(matches!(error, HostError::NotASocket { .. }));
        assert!(error.to_string().contains("rpc.sock"));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn a_used_port_is_already_served() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let address = Address::Tcp {
            host: "127.0.0.1".to_owned(),
            port,
        };
        assert!(matches!(
            bind(&address),
            Err(HostError::AlreadyServed { .. })
        ));
    }
}
