//! The listening sockets of applications in cluster mode. What is done with them the core decides.
//!
//! A socket nobody asks about costs nothing: it is in the event loop only from `watch` until the first connection waits.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use tokio::io::Interest;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::child::ChildReport;
use super::shared::watch;
use crate::core::{ListenAddress, PortShare, SocketName};
use crate::host::sockets::{self, Sharing};
use crate::model::SocketId;

/// Before the next attempt when there are no descriptors left, so that the daemon does not spin.
const STARVED_PAUSE: Duration = Duration::from_millis(100);

/// Everything of this kind.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    held: HashMap<SocketId, Held>,
    watches: JoinSet<()>,
}

#[derive(Debug)]
struct Held {
    fd: OwnedFd,
    /// To be removed with the socket.
    path: Option<PathBuf>,
    watch: Option<AbortHandle>,
    /// The last attempt to accept failed for want of descriptors or memory.
    is_starved: bool,
}

impl Sockets {
    /// Binds and listens. The error is negative, as Node writes it.
    pub(crate) fn listen(
        &mut self,
        socket: SocketId,
        address: &ListenAddress,
    ) -> Result<Option<SocketName>, i32> {
        let (fd, name, path) = open(address).map_err(|errno| -(errno as i32))?;
        let held = Held {
            fd,
            path,
            watch: None,
            is_starved: false,
        };
        self.held.insert(socket, held);
        Ok(name)
    }

    /// Goes on with a socket of an earlier daemon. Whether connections wait at it is reported as if it had been asked.
    pub(crate) fn restore(&mut self, key: &str, fd: OwnedFd, reports: &mpsc::Sender<ChildReport>) {
        let number = key.strip_prefix(PREFIX).and_then(|rest| rest.parse().ok());
        let Some(socket) = number.map(SocketId) else {
            return;
        };
        let held = Held {
            path: sockets::path(fd.as_fd()),
            fd,
            watch: None,
            is_starved: false,
        };
        self.held.insert(socket, held);
        self.watch(socket, reports);
    }

    /// Closes a socket; one at a path is removed.
    pub(crate) fn close(&mut self, socket: SocketId) {
        let Some(held) = self.held.remove(&socket) else {
            return;
        };
        if let Some(watch) = held.watch {
            watch.abort();
        }
        if let Some(path) = held.path {
            // Somebody may have removed it already.
            let _gone = std::fs::remove_file(path);
        }
    }

    /// Has the kernel choose among the sockets of this one's port by the client's address.
    pub(crate) fn steer(&self, socket: SocketId, sockets: u32) -> io::Result<()> {
        let held = self.held.get(&socket).ok_or(io::ErrorKind::NotFound)?;
        sockets::steer_by_source(held.fd.as_fd(), sockets).map_err(io::Error::from)
    }

    /// A copy to send.
    pub(crate) fn copy(&self, socket: SocketId) -> io::Result<OwnedFd> {
        let held = self.held.get(&socket);
        held.ok_or(io::ErrorKind::NotFound)?.fd.try_clone()
    }

    /// How many connections wait. Nobody knows means none.
    pub(crate) fn queued(&self, socket: SocketId) -> u32 {
        let held = self.held.get(&socket);
        held.and_then(|held| sockets::waiting_connections(held.fd.as_fd()).ok())
            .unwrap_or(0)
    }

    /// To accept from.
    pub(crate) fn listener(&self, socket: SocketId) -> Option<BorrowedFd<'_>> {
        self.held.get(&socket).map(|held| held.fd.as_fd())
    }

    /// Why no more connections were accepted, if there were not more. Also says whether none is left.
    pub(crate) fn accepted(&mut self, socket: SocketId, end: Option<Errno>) -> bool {
        if let Some(held) = self.held.get_mut(&socket) {
            held.is_starved = end.is_some_and(|errno| errno != Errno::EAGAIN);
        }
        end.is_some()
    }

    /// Has it reported once when connections wait.
    pub(crate) fn watch(&mut self, socket: SocketId, reports: &mpsc::Sender<ChildReport>) {
        while self.watches.try_join_next().is_some() {}
        let Some(held) = self.held.get_mut(&socket) else {
            return;
        };
        // A copy of its own, so that the socket can be closed whatever the task is doing.
        let Ok(fd) = held.fd.try_clone() else {
            return;
        };
        let pause = held.is_starved.then_some(STARVED_PAUSE);
        let reports = reports.clone();
        let task = self.watches.spawn_local(async move {
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
            if let Ok(fd) = watch(fd, Interest::READABLE)
                && fd.readable().await.is_ok()
            {
                drop(fd);
                let _unheard = reports.send(ChildReport::Waiting(socket)).await;
            }
        });
        if let Some(before) = held.watch.replace(task) {
            before.abort();
        }
    }
}

/// What the keeper's keys of all sockets begin with.
pub(crate) const PREFIX: &str = "listen/";

/// The keeper's key of a socket.
pub(crate) fn key(socket: SocketId) -> String {
    format!("{PREFIX}{}", socket.0)
}

type Opened = (OwnedFd, Option<SocketName>, Option<PathBuf>);

fn open(address: &ListenAddress) -> Result<Opened, Errno> {
    match address {
        ListenAddress::Tcp {
            host,
            port,
            v6_only,
            backlog,
            share,
        } => {
            let sharing = match share {
                PortShare::Alone => Sharing::Alone,
                PortShare::First => Sharing::First,
                PortShare::Join => Sharing::Join,
            };
            let host = host.as_deref();
            let (fd, name) = sockets::listen_tcp(host, *port, *v6_only, *backlog, sharing)?;
            Ok((fd, Some(shown(name)), None))
        }
        ListenAddress::Unix {
            path,
            backlog,
            readable_all,
            writable_all,
        } => {
            let fd = sockets::listen_unix(path, *backlog, *readable_all, *writable_all)?;
            let file = (!path.starts_with('\0')).then(|| PathBuf::from(&**path));
            Ok((fd, None, file))
        }
        ListenAddress::Udp {
            host,
            is_v6,
            port,
            v6_only,
            reuse,
        } => {
            let (fd, name) = sockets::bind_udp(host.as_deref(), *is_v6, *port, *v6_only, *reuse)?;
            Ok((fd, Some(shown(name)), None))
        }
    }
}

fn shown(name: SocketAddr) -> SocketName {
    SocketName {
        address: name.ip().to_string().into(),
        is_v6: name.is_ipv6(),
        port: name.port(),
    }
}
