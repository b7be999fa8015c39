//! The core's effects on sockets and connections of applications in cluster mode, carried out.

use std::io;
use std::os::fd::OwnedFd;

use nix::errno::Errno;

use super::connections;
use super::pilot::Pilot;
use super::runs::Stage;
use super::sockets;
use crate::core::{Arrival, Input, ListenAddress, Taker};
use crate::host::handles;
use crate::model::{ConnectionId, JsonText, ListenerId, RunId, SocketId};

impl Pilot {
    pub(super) fn listen(&mut self, socket: SocketId, address: &ListenAddress) {
        let result = self.sockets.listen(socket, address);
        if let (Ok(_), Ok(fd)) = (&result, self.sockets.copy(socket)) {
            let stored = self.link.store(sockets::key(socket), fd);
            if let Err(error) = stored {
                self.journal
                    .error(&format!("another daemon will lack a socket: {error}"));
            }
        }
        self.inputs.push_back(Input::Listened { socket, result });
    }

    pub(super) fn accept(&mut self, socket: SocketId, listener: ListenerId, max: u32) {
        let (arrivals, end) = match self.sockets.listener(socket) {
            Some(fd) => self.connections.accept(fd, listener, max, &mut self.link),
            None => (Vec::new(), Some(Errno::EBADF)),
        };
        self.accepted(socket, arrivals, end);
    }

    pub(super) fn deal(&mut self, socket: SocketId, listener: ListenerId, takers: Vec<Taker>) {
        let max = u32::try_from(takers.len()).unwrap_or(u32::MAX);
        let ready = |Taker { run, seq, line }: Taker| {
            let Some(Stage::Alive { child, .. }) = self.stage(run) else {
                return None;
            };
            Some(connections::Taker {
                channel: child.free_channel()?,
                line: [line.as_str().as_bytes(), b"\n"].concat(),
                sent: (run, seq),
            })
        };
        let ready: Vec<_> = takers.into_iter().filter_map(ready).collect();
        if ready.is_empty() {
            return self.accept(socket, listener, max);
        }
        let (arrivals, end) = match self.sockets.listener(socket) {
            Some(fd) => self.connections.deal(fd, listener, ready, &mut self.link),
            None => (Vec::new(), Some(Errno::EBADF)),
        };
        self.accepted(socket, arrivals, end);
    }

    fn accepted(&mut self, socket: SocketId, arrivals: Vec<Arrival>, end: Option<Errno>) {
        let is_empty = self.sockets.accepted(socket, end);
        self.inputs.push_back(Input::Accepted {
            socket,
            arrivals,
            is_empty,
        });
    }

    /// Where it cannot be done, clients are distributed as ever.
    pub(super) fn steer(&self, socket: SocketId, sockets: u32) {
        if let Err(error) = self.sockets.steer(socket, sockets) {
            self.journal.error(&format!("make a port sticky: {error}"));
        }
    }

    pub(super) fn look(&mut self, socket: SocketId) {
        let connections = self.sockets.queued(socket);
        self.inputs.push_back(Input::Queued {
            socket,
            connections,
        });
    }

    pub(super) fn send_socket(&self, run: RunId, line: &JsonText, socket: SocketId) {
        self.send_with(run, line, self.sockets.copy(socket));
    }

    pub(super) fn send_connection(
        &mut self,
        to: (RunId, u64),
        line: &JsonText,
        connection: ConnectionId,
    ) {
        let copy = self.connections.hand(connection, to, &mut self.link);
        self.send_with(to.0, line, copy);
    }

    pub(super) fn send_probe(&self, run: RunId, line: &JsonText) {
        let nobody = handles::stream_pair().map(|(ours, _)| ours);
        self.send_with(run, line, nobody);
    }

    /// Sends a line with a descriptor. Without one it would only confuse: then nothing is sent, and the worker is served without.
    fn send_with(&self, run: RunId, line: &JsonText, fd: io::Result<OwnedFd>) {
        let Some(Stage::Alive { child, .. }) = self.stage(run) else {
            return;
        };
        let fd = match fd {
            Ok(fd) => fd,
            Err(error) => {
                return self
                    .journal
                    .error(&format!("pass a socket to run {run}: {error}"));
            }
        };
        let mut bytes = line.as_str().as_bytes().to_vec();
        bytes.push(b'\n');
        // A worker that does not read its channel gets nothing; it is stuck, and others are asked.
        let _full = child.send_with(bytes, fd);
    }
}
