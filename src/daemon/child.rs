//! One run of one app, from the daemon's side: its three pipes and its IPC channel.
//!
//! The task of a run reads what the app writes and sends what it is to get. It reports messages in order, and the exit once
//! everything that was written before it has been read. Processes that inherited a pipe are read until they close it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::Rc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, mpsc};

use super::ends::{OurEnds, Share};
use super::lines::{Chunk, RunLog, Stream};
use super::outgoing::{Outgoing, OutgoingError};
use super::readiness::{is_passing, read_now, readable};
use super::runs::Prepared;
use super::scratch::{Leftover, SCRATCH_BYTES, Source};
use super::shared::{Shared, watch};
use crate::host::handles;
use crate::model::{AppMessage, Exit, JsonText, RunId, SocketId};
use crate::wire::ipc;

/// Reads from one run before the others get their turn.
const READS_PER_TURN: usize = 4;
/// Bytes read from one stream between the exit of the app and the report of it. All that the app itself can have left fits;
/// a grandchild that floods the pipe cannot hold the report back.
const LAST_BYTES_MAX: usize = 2 * 1024 * 1024;
/// What the task of a run tells the pilot.
#[derive(Debug)]
pub(crate) enum ChildReport {
    /// The app said something.
    Message(RunId, AppMessage),
    /// Node in the app said something.
    Internal(RunId, JsonText),
    /// The app closed its channel, and lives.
    Disconnected(RunId),
    /// Connections wait at a socket.
    Waiting(SocketId),
    /// The app ended, and all it wrote has been read.
    Exited {
        run: RunId,
        exit: Exit,
        /// Nobody holds its output any more either: nothing else will come of this run.
        is_closed: bool,
    },
    /// After `Exited`, if that did not say so: nobody holds its output any more. With what its keys begin with.
    Closed(Box<str>),
    /// Worth a line in the daemon's log.
    Complaint(RunId, String),
}

/// The pilot's hold on the task of a run.
pub(crate) struct Child {
    state: Rc<ChildState>,
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct ChildState {
    exit: Cell<Option<Exit>>,
    to_ipc: RefCell<Outgoing>,
    to_stdin: RefCell<Outgoing>,
    wake: Notify,
}

impl Child {
    /// Whether the task is there to read what the app left and to report its exit.
    pub(crate) fn is_served(&self) -> bool {
        Rc::strong_count(&self.state) > 1
    }

    /// Tells the task that the app has ended; it answers with `ChildReport::Exited`.
    pub(crate) fn exited(&self, exit: Exit) {
        self.state.exit.set(Some(exit));
        self.state.wake.notify_one();
    }

    /// Queues one line, line feed included, for the app's channel.
    pub(crate) fn send(&self, line: Vec<u8>) -> Result<(), OutgoingError> {
        self.state.to_ipc.borrow_mut().push(line)?;
        self.state.wake.notify_one();
        Ok(())
    }

    /// The same for a line that brings a descriptor.
    pub(crate) fn send_with(&self, line: Vec<u8>, fd: OwnedFd) -> Result<(), OutgoingError> {
        self.state.to_ipc.borrow_mut().push_with(line, Some(fd))?;
        self.state.wake.notify_one();
        Ok(())
    }

    /// Queues text for the app's stdin.
    pub(crate) fn write_stdin(&self, text: Vec<u8>) -> Result<(), OutgoingError> {
        self.state.to_stdin.borrow_mut().push(text)?;
        self.state.wake.notify_one();
        Ok(())
    }
}

/// A run as its own task sees it.
pub(crate) struct Run {
    id: RunId,
    shared: Rc<Shared>,
    log: RunLog,
    /// The beginning of this run's `log:out` and `log:err` payloads.
    log_prefix: String,
    state: Rc<ChildState>,
    reports: mpsc::Sender<ChildReport>,
    stdin: Option<AsyncFd<OwnedFd>>,
    out: Option<AsyncFd<OwnedFd>>,
    err: Option<AsyncFd<OwnedFd>>,
    ipc: Option<AsyncFd<OwnedFd>>,
    decoder: ipc::Decoder,
    /// Descriptors that came and whose line has not been seen yet.
    handles: Vec<OwnedFd>,
    /// Given back with the pipes.
    _share: Share,
    /// The app has ended; what is read now is what it left.
    is_ending: bool,
    /// What the keeper's keys of its descriptors begin with.
    prefix: Box<str>,
    is_over: bool,
    /// Somebody else held its output when the app ended.
    was_open: bool,
    leftover: Option<Box<Leftover>>,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// What a run's task was woken by.
enum Woke {
    Out,
    Err,
    Ipc,
    Writable,
    Told,
}

/// What came of a turn of reading.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Read {
    More,
    Empty,
    Closed,
}

impl Run {
    /// Gets hold of a run whose process exists.
    pub(crate) fn new(
        id: RunId,
        prepared: Prepared,
        shared: &Rc<Shared>,
        reports: &mpsc::Sender<ChildReport>,
    ) -> io::Result<(Self, Child)> {
        let state = Rc::<ChildState>::default();
        let Prepared {
            ends,
            log,
            log_prefix,
            prefix,
            leftover,
        } = prepared;
        let OurEnds {
            stdin,
            out,
            err,
            ipc,
            share,
        } = ends;
        let watched = |fd: Option<OwnedFd>, interest| fd.map(|fd| watch(fd, interest)).transpose();
        let child = Child {
            state: Rc::clone(&state),
        };
        let run = Self {
            id,
            shared: Rc::clone(shared),
            log,
            log_prefix,
            state,
            reports: reports.clone(),
            stdin: watched(stdin, Interest::WRITABLE)?,
            out: watched(out, Interest::READABLE)?,
            err: watched(err, Interest::READABLE)?,
            ipc: watched(ipc, Interest::READABLE | Interest::WRITABLE)?,
            decoder: ipc::Decoder::default(),
            handles: Vec::new(),
            _share: share,
            is_ending: false,
            prefix: prefix.into(),
            is_over: false,
            was_open: false,
            leftover,
        };
        Ok((run, child))
    }

    /// Reads and writes until the app has ended and nobody holds its output any more.
    pub(crate) async fn serve(mut self) {
        if let Some(leftover) = self.leftover.take() {
            self.finish_leftover(*leftover).await;
        }
        while self.out.is_some() || self.err.is_some() || self.ipc.is_some() {
            let read = match self.woken().await {
                Woke::Out => self.read_output(Stream::Out),
                Woke::Err => self.read_output(Stream::Err),
                Woke::Ipc => self.read_ipc(READS_PER_TURN).await,
                Woke::Writable => Read::Empty,
                Woke::Told => {
                    if let Some(exit) = self.state.exit.take() {
                        self.finish(exit).await;
                    }
                    Read::Empty
                }
            };
            self.write_outgoing();
            if read == Read::More {
                tokio::task::yield_now().await;
            }
        }
        // Its exit is still to come if an app closed everything and lives on.
        while !self.is_over {
            self.state.wake.notified().await;
            if let Some(exit) = self.state.exit.take() {
                self.finish(exit).await;
                return;
            }
        }
        if self.was_open {
            let _unheard = self.reports.send(ChildReport::Closed(self.prefix)).await;
        }
    }

    /// Cancel-safe: readiness that was not acted upon is seen again.
    async fn woken(&self) -> Woke {
        async fn writable(fd: Option<&AsyncFd<OwnedFd>>, outgoing: &RefCell<Outgoing>) {
            let is_waiting = !outgoing.borrow().is_empty();
            match fd {
                Some(fd) if is_waiting => drop(fd.writable().await),
                _ => std::future::pending().await,
            }
        }
        tokio::select! {
            () = readable(self.out.as_ref()) => Woke::Out,
            () = readable(self.err.as_ref()) => Woke::Err,
            () = readable(self.ipc.as_ref()) => Woke::Ipc,
            () = writable(self.ipc.as_ref(), &self.state.to_ipc) => Woke::Writable,
            () = writable(self.stdin.as_ref(), &self.state.to_stdin) => Woke::Writable,
            () = self.state.wake.notified() => Woke::Told,
        }
    }

    /// The app has ended: read what it left, then say so.
    async fn finish(&mut self, exit: Exit) {
        self.is_ending = true;
        let mut budget = LAST_BYTES_MAX;
        for stream in [Stream::Out, Stream::Err] {
            while self.read_some(stream, &mut budget) == Read::More && budget > 0 {}
            self.log_chunk(stream, &[], false);
        }
        while self.read_ipc(READS_PER_TURN).await == Read::More {}
        self.close_ipc();
        self.stdin = None;
        self.handles = Vec::new();
        self.decoder = ipc::Decoder::default();
        self.is_over = true;
        self.was_open = self.out.is_some() || self.err.is_some();
        let report = ChildReport::Exited {
            run: self.id,
            exit,
            is_closed: !self.was_open,
        };
        let _unheard = self.reports.send(report).await;
    }

    /// Does what an earlier daemon did not live to do.
    async fn finish_leftover(&mut self, leftover: Leftover) {
        let Leftover {
            source,
            bytes,
            stored_at,
            ..
        } = leftover;
        let stream = match source {
            Source::Out => Stream::Out,
            Source::Err => Stream::Err,
            Source::Ipc => {
                self.decoder.push(&bytes);
                return self.take_lines().await;
            }
        };
        let stored = stored_at.map_or(0, |before| self.log.stored(stream, &bytes, before));
        if stored < bytes.len() {
            self.log_chunk(stream, &bytes[stored..], bytes.len() == SCRATCH_BYTES);
        }
    }

    fn read_output(&mut self, stream: Stream) -> Read {
        let mut budget = usize::MAX;
        for _ in 0..READS_PER_TURN {
            let read = self.read_some(stream, &mut budget);
            if read != Read::More {
                return read;
            }
        }
        Read::More
    }

    /// Between the end of the process and the report of it. What others of its family print later is waited for as ever.
    fn is_last_look(&self) -> bool {
        self.is_ending && !self.is_over
    }

    fn read_some(&mut self, stream: Stream, budget: &mut usize) -> Read {
        let shared = Rc::clone(&self.shared);
        let is_last_look = self.is_last_look();
        let mut scratch = shared.output.borrow_mut();
        let fd = match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        };
        let Some(open) = fd else { return Read::Closed };
        let source = match stream {
            Stream::Out => Source::Out,
            Stream::Err => Source::Err,
        };
        let read = read_now(open, is_last_look, |fd| {
            nix::unistd::read(fd, scratch.begin(self.id, source)).map_err(io::Error::from)
        });
        match read {
            Ok(0) => {
                scratch.done(0);
                *fd = None;
                self.log_chunk(stream, &[], false);
                Read::Closed
            }
            Ok(length) => {
                *budget = budget.saturating_sub(length);
                let is_cut = length == SCRATCH_BYTES;
                let bytes = scratch.store(length, self.log.length(stream));
                self.log_chunk(stream, bytes, is_cut);
                scratch.done(length);
                Read::More
            }
            Err(error) if is_passing(&error) => {
                scratch.done(0);
                self.log_chunk(stream, &[], true);
                Read::Empty
            }
            Err(_) => {
                scratch.done(0);
                *fd = None;
                Read::Closed
            }
        }
    }

    fn log_chunk(&mut self, stream: Stream, bytes: &[u8], is_cut: bool) {
        let wall_ms = Shared::now().wall_ms;
        let is_heard = self.shared.bus.is_heard();
        let chunk = Chunk {
            stream,
            bytes,
            is_cut,
        };
        if let Some(text) = self.log.accept(chunk, wall_ms, is_heard) {
            let data = serde_json::Value::from(text);
            let payload = format!("{}{wall_ms},\"data\":{data}}}", self.log_prefix);
            self.shared.bus.publish(stream.event(), payload.as_bytes());
        }
    }

    async fn read_ipc(&mut self, reads: usize) -> Read {
        for _ in 0..reads {
            let is_last_look = self.is_last_look();
            let Some(open) = &self.ipc else {
                return Read::Closed;
            };
            let read = {
                let mut scratch = self.shared.output.borrow_mut();
                let handles = &mut self.handles;
                let read = read_now(open, is_last_look, |fd| {
                    let bytes = scratch.begin(self.id, Source::Ipc);
                    handles::receive_with_fds(fd.as_fd(), bytes, handles)
                });
                if let Ok(length) = read {
                    self.decoder.push(scratch.read(length));
                }
                scratch.done(*read.as_ref().unwrap_or(&0));
                read
            };
            match read {
                Ok(0) => {
                    self.close_ipc();
                    if !self.is_ending {
                        let report = ChildReport::Disconnected(self.id);
                        let _unheard = self.reports.send(report).await;
                    }
                    return Read::Closed;
                }
                Ok(_) => self.take_lines().await,
                Err(error) if is_passing(&error) => return Read::Empty,
                Err(error) => {
                    self.complain(format!("lost the IPC channel: {error}"))
                        .await;
                    self.close_ipc();
                    return Read::Closed;
                }
            }
        }
        Read::More
    }

    fn close_ipc(&mut self) {
        self.ipc = None;
        self.state.to_ipc.borrow_mut().close();
    }

    async fn take_lines(&mut self) {
        while let Some(line) = self.decoder.next() {
            match line {
                Ok(ipc::Line::Message(message)) => {
                    // The text was checked by the decoder.
                    if let Some(message) = AppMessage::parse(message.text.as_str()) {
                        let report = ChildReport::Message(self.id, message);
                        let _unheard = self.reports.send(report).await;
                    }
                }
                Ok(ipc::Line::Handle(_)) => {
                    // Fork-mode apps have nobody here to give a descriptor to, but unanswered they could not send anything more.
                    let answer = if self.handles.is_empty() {
                        ipc::HANDLE_NACK
                    } else {
                        drop(self.handles.remove(0));
                        ipc::HANDLE_ACK
                    };
                    // A full queue means that the app does not read answers either.
                    let _full = self.state.to_ipc.borrow_mut().push(answer.to_vec());
                }
                Ok(ipc::Line::Cluster(line) | ipc::Line::Internal(line)) => {
                    let line = JsonText::from_valid(line.as_str().to_owned());
                    let report = ChildReport::Internal(self.id, line);
                    let _unheard = self.reports.send(report).await;
                }
                Ok(ipc::Line::HandleAck | ipc::Line::HandleNack) => {}
                Err(error) => self.complain(format!("skipped a message: {error}")).await,
            }
        }
    }

    async fn complain(&self, text: String) {
        let _unheard = self
            .reports
            .send(ChildReport::Complaint(self.id, text))
            .await;
    }

    fn write_outgoing(&mut self) {
        if let Some(ipc) = &self.ipc {
            let written = self.state.to_ipc.borrow_mut().write_with(|bytes, fds| {
                ipc.try_io(Interest::WRITABLE, |fd| {
                    handles::send_with_fds(fd.as_fd(), bytes, fds)
                })
            });
            if written.is_err_and(|error| !is_passing(&error)) {
                // The app closed its end. What it wrote before is still read.
                self.state.to_ipc.borrow_mut().close();
            }
        }
        if let Some(stdin) = &self.stdin {
            let written = self.state.to_stdin.borrow_mut().write_with(|bytes, _| {
                stdin.try_io(Interest::WRITABLE, |fd| {
                    nix::unistd::write(fd, bytes).map_err(io::Error::from)
                })
            });
            if written.is_err_and(|error| !is_passing(&error)) {
                self.state.to_stdin.borrow_mut().close();
            }
        }
    }
}
