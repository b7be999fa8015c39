//! A stream socket of either kind, connected.

use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, UnixAddr};
use tokio::io::{Interest, Ready};
use tokio::net::{TcpStream, UnixStream};

use crate::host::paths::Address;

/// Pause before asking again a socket whose accept queue is full. The kernel has no way to wait for that.
const BUSY_PAUSE: Duration = Duration::from_millis(2);

/// A connected stream, Unix or TCP.
#[derive(Debug)]
pub(super) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Socket {
    /// Connects. A full accept queue is waited for without end; the caller sets the limit.
    pub(super) async fn connect(address: &Address) -> io::Result<Self> {
        let Address::Unix(path) = address else {
            // Names are resolved on this thread: looked-up hosts are rare, and a thread pool for them is not worth its memory.
            let stream = TcpStream::connect(&address.resolve()?[..]).await?;
            stream.set_nodelay(true)?;
            return Ok(Self::Tcp(stream));
        };
        loop {
            match UnixStream::connect(path).await {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                connected => return connected.map(Self::Unix),
            }
        }
    }

    /// Connects to a Unix socket without waiting: an error, `WouldBlock` among them, where that cannot be done. Needs a runtime to be entered.
    pub(super) fn connect_now(path: &Path) -> io::Result<Self> {
        let socket = socket::socket(
            AddressFamily::Unix,
            SockType::Stream,
            SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        socket::connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
        let stream = std::os::unix::net::UnixStream::from(socket);
        UnixStream::from_std(stream).map(Self::Unix)
    }

    pub(super) async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        match self {
            Self::Unix(stream) => stream.ready(interest).await,
            Self::Tcp(stream) => stream.ready(interest).await,
        }
    }

    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.try_read(buffer),
            Self::Tcp(stream) => stream.try_read(buffer),
        }
    }

    /// Reads what is there to the end of `buffer`, as far as it has room, and at most so much.
    pub(super) fn try_read_buf(&self, buffer: &mut BytesMut, most: usize) -> io::Result<usize> {
        let mut buffer = buffer.limit(most);
        match self {
            Self::Unix(stream) => stream.try_read_buf(&mut buffer),
            Self::Tcp(stream) => stream.try_read_buf(&mut buffer),
        }
    }

    /// Writes what fits now. Works from any thread.
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.try_write(bytes),
            Self::Tcp(stream) => stream.try_write(bytes),
        }
    }
}
