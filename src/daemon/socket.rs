//! A connected peer or a listener, Unix or TCP alike.

use std::io::{self, IoSlice};
use std::os::fd::AsFd as _;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{Interest, Ready};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::host::{handles, listen};

/// What a peer's kernel buffer should hold: a large list takes as many turns between daemon and reader as the buffer is smaller than it.
/// Memory is used only while it is full.
const SEND_BUFFER_BYTES: usize = 1024 * 1024;

/// A socket that accepts peers.
#[derive(Debug)]
pub(crate) enum Listener {
    /// `rpc.sock` and `pub.sock`.
    Unix(UnixListener),
    /// `PM2_DAEMON_RPC_PORT=tcp://…`.
    Tcp(TcpListener),
}

impl Listener {
    /// Takes over a bound socket.
    pub(crate) fn new(bound: listen::Listener) -> io::Result<Self> {
        Ok(match bound {
            listen::Listener::Unix(listener) => Self::Unix(UnixListener::from_std(listener)?),
            listen::Listener::Tcp(listener) => Self::Tcp(TcpListener::from_std(listener)?),
        })
    }

    /// The next peer. Cancel-safe.
    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Unix(listener) => {
                let stream = listener.accept().await?.0;
                // Only a wish: the kernel gives what it allows, and what it has is enough to work with.
                let _given = setsockopt(&stream, sockopt::SndBuf, &SEND_BUFFER_BYTES);
                Ok(Stream::Unix(stream))
            }
            Self::Tcp(listener) => Ok(Stream::Tcp(listener.accept().await?.0)),
        }
    }
}

/// A connected peer.
#[derive(Debug)]
pub(crate) enum Stream {
    /// Over a Unix socket.
    Unix(UnixStream),
    /// Over TCP.
    Tcp(TcpStream),
}

/// Who is at the other end, as far as the kernel knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Its user; nothing over TCP.
    pub(crate) uid: Option<u32>,
    /// Its group; nothing over TCP.
    pub(crate) gid: Option<u32>,
    /// The process that connected; nothing over TCP.
    pub(crate) pid: Option<i32>,
}

impl Stream {
    /// The peer's credentials at the time it connected.
    pub(crate) fn peer(&self) -> Peer {
        match self {
            Self::Unix(stream) => stream.peer_cred().map_or_else(
                |_| Peer::default(),
                |cred| Peer {
                    uid: Some(cred.uid()),
                    gid: Some(cred.gid()),
                    pid: cred.pid(),
                },
            ),
            Self::Tcp(_) => Peer::default(),
        }
    }

    /// The further groups of the peer; none over TCP.
    pub(crate) fn peer_groups(&self) -> Vec<u32> {
        match self {
            Self::Unix(stream) => handles::peer_groups(stream.as_fd()),
            Self::Tcp(_) => Vec::new(),
        }
    }

    /// Waits until it can be read or written, as asked. Cancel-safe.
    pub(crate) async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        match self {
            Self::Unix(stream) => stream.ready(interest).await,
            Self::Tcp(stream) => stream.ready(interest).await,
        }
    }

    /// Reads what is there; `WouldBlock` when nothing is.
    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.try_read(buffer),
            Self::Tcp(stream) => stream.try_read(buffer),
        }
    }

    /// Writes what fits; `WouldBlock` when nothing does.
    pub(crate) fn try_write_vectored(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.try_write_vectored(parts),
            Self::Tcp(stream) => stream.try_write_vectored(parts),
        }
    }
}
