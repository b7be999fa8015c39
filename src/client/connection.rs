//! One connection to the RPC socket: requests out in order, replies back in any order.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::Interest;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::error::{ClientError, End};
use super::locked;
use super::pieces::Pieces;
use super::socket::Socket;
use crate::wire::amp::{Decoder, Frame};
use crate::wire::arg::Arg;
use crate::wire::axon::{Request, RequestId};
use crate::wire::rpc::Reply;

/// The largest reply that is accepted: 1,000 processes with large environments are about 20 MiB.
pub(super) const MAX_REPLY_BYTES: usize = 256 * 1024 * 1024;

/// The most bytes of requests that wait for a daemon which does not read. Beyond it a call fails at once.
pub(super) const MAX_UNSENT_BYTES: usize = 64 * 1024 * 1024;

/// The most calls that wait for their reply at the same time. Beyond it a call fails at once.
pub(super) const MAX_OUTSTANDING: usize = 65_536;

/// Replies from this size on are handed out unparsed when they look like a success.
///
/// Checking 1.5 MB of JSON takes several milliseconds, and whoever wants the value parses it anyway.
const LARGE_REPLY_BYTES: usize = 64 * 1024;

/// One read of what may be many small messages. They are copied out of this buffer, so none of them keeps more memory than its own.
pub(super) const READ_BYTES: usize = 16 * 1024;

/// One read of the rest of a large message, straight to where it stays. A Unix socket holds about 200 KiB, but a read goes on for as long as the
/// other end writes; what it gave is then handed on late.
const LARGE_READ_BYTES: usize = 64 * 1024;

/// Called once with how a call ended, on the runtime's thread or, if the call could not even be sent, on the caller's.
pub type OnReply = Box<dyn FnOnce(Result<Bytes, ClientError>) + Send>;

/// Called with some elements of a list, the JSON text of an array, before the end of the call, on the runtime's thread.
pub type OnPiece = Arc<dyn Fn(Bytes) + Send + Sync>;

/// Who waits for a reply.
pub(super) struct Waiting {
    pub(super) on_reply: OnReply,
    /// Whether, and how, a long list is wanted before all of it is there.
    pub(super) on_piece: Option<OnPiece>,
}

impl Waiting {
    /// Somebody who wants the whole reply at once.
    pub(super) fn for_all(on_reply: OnReply) -> Self {
        Self {
            on_reply,
            on_piece: None,
        }
    }
}

/// A request that was not sent, not even in part, because the connection had ended.
pub(super) struct Unsent(pub(super) Waiting);

/// A live connection. Ends when the daemon closes it, when it sends what is no reply, or by [`Connection::close`].
pub(super) struct Connection {
    socket: Socket,
    state: Mutex<State>,
    /// Told when there is something unsent, so that the task waits for the socket to become writable.
    unsent: Notify,
}

#[derive(Default)]
struct State {
    outstanding: HashMap<RequestId, Waiting>,
    unsent: BytesMut,
    is_ended: bool,
    task: Option<AbortHandle>,
}

impl Connection {
    /// Takes over a connected socket. The task that reads it ends with the connection.
    pub(super) fn start(socket: Socket) -> Arc<Self> {
        let connection = Arc::new(Self {
            socket,
            state: Mutex::default(),
            unsent: Notify::new(),
        });
        let ending = Ending {
            connection: Arc::clone(&connection),
            end: End::Closed,
        };
        let task = tokio::spawn(ending.serve());
        locked(&connection.state).task = Some(task.abort_handle());
        connection
    }

    pub(super) fn is_open(&self) -> bool {
        !locked(&self.state).is_ended
    }

    /// Sends a request. From here on who waits is answered exactly once, unless that comes back in the error.
    pub(super) fn send(&self, id: RequestId, frame: &[u8], waiting: Waiting) -> Result<(), Unsent> {
        let mut state = locked(&self.state);
        if state.is_ended {
            return Err(Unsent(waiting));
        }
        if state.outstanding.len() >= MAX_OUTSTANDING
            || state.unsent.len() + frame.len() > MAX_UNSENT_BYTES
        {
            drop(state);
            (waiting.on_reply)(Err(ClientError::Overloaded));
            return Ok(());
        }
        if self.write(&mut state, frame).is_err() {
            // The task sees the end of the stream too; what else is outstanding is its business.
            state.is_ended = true;
            return Err(Unsent(waiting));
        }
        state.outstanding.insert(id, waiting);
        Ok(())
    }

    /// Sends a request that will not be answered.
    pub(super) fn send_unanswered(&self, frame: &[u8]) -> io::Result<()> {
        let mut state = locked(&self.state);
        if state.is_ended {
            return Err(io::ErrorKind::NotConnected.into());
        }
        self.write(&mut state, frame)
    }

    /// Ends the connection now. Everything outstanding fails with this error.
    pub(super) fn close(&self) {
        let task = locked(&self.state).task.take();
        self.end(&End::Closed);
        if let Some(task) = task {
            task.abort();
        }
    }

    /// Writes at once what the socket takes, and leaves the rest to the task. Fails only if nothing was written.
    fn write(&self, state: &mut State, frame: &[u8]) -> io::Result<()> {
        let written = if state.unsent.is_empty() {
            match self.socket.try_write(frame) {
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            }
        } else {
            0
        };
        if written < frame.len() {
            state.unsent.extend_from_slice(&frame[written..]);
            self.unsent.notify_one();
        }
        Ok(())
    }

    /// Reads and writes until the connection ends, and says how.
    async fn exchange(&self) -> End {
        let mut decoder = Decoder::new(MAX_REPLY_BYTES);
        let mut buffer = vec![0; READ_BYTES];
        let mut ahead = None;
        loop {
            let interest = if locked(&self.state).unsent.is_empty() {
                Interest::READABLE
            } else {
                Interest::READABLE | Interest::WRITABLE
            };
            tokio::select! {
                ready = self.socket.ready(interest) => if ready.is_err() { return End::Lost },
                () = self.unsent.notified() => {}
            }
            self.flush();
            if let Err(end) = self.receive(&mut decoder, &mut buffer, &mut ahead) {
                return end;
            }
        }
    }

    fn flush(&self) {
        let mut state = locked(&self.state);
        while !state.unsent.is_empty() {
            match self.socket.try_write(&state.unsent) {
                Ok(written) => state.unsent.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // What the daemon wrote before it closed is still to be read; reading finds the end.
                Err(_) => state.unsent.clear(),
            }
        }
    }

    /// Takes what has arrived.
    fn receive(
        &self,
        decoder: &mut Decoder,
        buffer: &mut [u8],
        ahead: &mut Option<Ahead>,
    ) -> Result<(), End> {
        loop {
            let read = if decoder.is_mid_frame() {
                let room = decoder.room(LARGE_READ_BYTES);
                self.socket.try_read_buf(room, LARGE_READ_BYTES)
            } else {
                let read = self.socket.try_read(buffer);
                read.inspect(|read| decoder.push(&buffer[..*read]))
            };
            match read {
                Ok(0) => return Err(End::Lost),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(_) => return Err(End::Lost),
            }
            while let Some(frame) = decoder.next().map_err(garbled)? {
                let (id, reply) = match ahead.take() {
                    Some(ahead) => ahead.finish(&frame)?,
                    None => understand(frame)?,
                };
                self.deliver(&id, reply);
            }
            self.look_ahead(decoder.begun(), ahead);
        }
    }

    /// Hands out what has come of a long list.
    fn look_ahead(&self, argument: &[u8], ahead: &mut Option<Ahead>) {
        if argument.len() < LARGE_REPLY_BYTES {
            return;
        }
        if ahead.is_none() {
            let found = Pieces::of(argument).zip(self.only_one_waiting());
            *ahead = found.map(|(pieces, (id, on_piece))| Ahead {
                id,
                on_piece,
                pieces,
            });
        }
        if let Some(ahead) = ahead {
            while let Some(piece) = ahead.pieces.next(argument) {
                (ahead.on_piece)(piece);
            }
        }
    }

    /// Whose reply the next one is, as far as that can be told before its end, where the id stands; if pieces are wanted of it.
    fn only_one_waiting(&self) -> Option<(RequestId, OnPiece)> {
        let state = locked(&self.state);
        let (id, waiting) = state.outstanding.iter().next()?;
        let is_only_one = state.outstanding.len() == 1;
        let on_piece = waiting.on_piece.clone().filter(|_| is_only_one)?;
        Some((id.clone(), on_piece))
    }

    /// Hands a reply to whoever waits for it. Compat: a reply that nobody waits for is ignored, as the reference client does.
    fn deliver(&self, id: &RequestId, reply: Result<Bytes, ClientError>) {
        let waiting = locked(&self.state).outstanding.remove(id);
        if let Some(waiting) = waiting {
            (waiting.on_reply)(reply);
        }
    }

    fn end(&self, end: &End) {
        let outstanding = {
            let mut state = locked(&self.state);
            state.is_ended = true;
            state.unsent = BytesMut::new();
            std::mem::take(&mut state.outstanding)
        };
        for waiting in outstanding.into_values() {
            (waiting.on_reply)(Err(end.clone().into()));
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

/// The task of a connection, which ends it when it is dropped: also by a runtime that goes, before it ever ran.
///
/// Nobody else would tell those who wait.
struct Ending {
    connection: Arc<Connection>,
    end: End,
}

impl Ending {
    async fn serve(mut self) {
        self.end = self.connection.exchange().await;
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.connection.end(&self.end);
    }
}

/// A reply that is being handed out before its end has come.
struct Ahead {
    id: RequestId,
    on_piece: OnPiece,
    pieces: Pieces,
}

impl Ahead {
    /// What is left of it, now that all of it has come.
    fn finish(&self, frame: &Frame) -> Result<(RequestId, Result<Bytes, ClientError>), End> {
        let id = Request::from(frame.clone()).id;
        let rest = self.pieces.rest(&frame.args()[0]);
        // Nobody but a daemon that has lost its mind answers what was not asked, and the pieces cannot be taken back.
        match rest.filter(|_| id.as_ref() == Some(&self.id)) {
            Some(rest) => Ok((self.id.clone(), Ok(rest))),
            None => Err(garbled("a list without its end")),
        }
    }
}

/// Which call a frame answers, and how.
fn understand(frame: Frame) -> Result<(RequestId, Result<Bytes, ClientError>), End> {
    if frame.args()[0].len() >= LARGE_REPLY_BYTES {
        let Request { message, id, .. } = frame.clone().into();
        if let (Arg::Json(text), Some(id)) = (message, id)
            && text.starts_with(b"{\"args\":[")
            && text.ends_with(b"]}")
        {
            return Ok((id, Ok(text.slice(b"{\"args\":".len()..text.len() - 1))));
        }
    }
    let (id, reply) = Reply::parse(frame).map_err(garbled)?;
    let result = match reply {
        Ok(Reply::Success(value) | Reply::Methods(value)) => Ok(value.as_shared().clone()),
        Ok(Reply::Failure(failure)) => Err(ClientError::Remote {
            message: failure.message,
            stack: failure.stack,
        }),
        Err(error) => Err(garbled(error).into()),
    };
    Ok((id, result))
}

fn garbled(error: impl fmt::Display) -> End {
    End::Garbled {
        reason: error.to_string(),
    }
}
