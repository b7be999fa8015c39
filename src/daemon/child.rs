//! One run of one app, from the daemon's side: its three pipes and its IPC channel.
//!
//! The task of a run reads what the app writes and sends what it is to get. It reports messages in order, and the exit once
//! everything that was written before it has been read. Processes that inherited a pipe are read until they close it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, mpsc};

use super::ends::{OurEnds, Share, TO_IPC, TO_STDIN};
use super::inbox::Inbox;
use super::lines::{Chunk, RunLog, Stream};
use super::mirror::Held;
use super::outgoing::{End, Outgoing, OutgoingError};
use super::readiness::{is_passing, read_now, readable};
use super::runs::Prepared;
use super::scratch::{Leftover, SCRATCH_BYTES, Source};
use super::shared::{Shared, watch};
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
    /// The app said something, and where in its stream that ends. To be answered with [`Child::heard`] once it was acted upon.
    Message(RunId, AppMessage, u64),
    /// Node in the app said something, likewise.
    Internal(RunId, JsonText, u64),
    /// The keeper is to hold a spool of this run.
    Spooled(RunId),
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

pub(super) struct ChildState {
    exit: Cell<Option<Exit>>,
    pub(super) to_ipc: RefCell<Outgoing>,
    pub(super) to_stdin: RefCell<Outgoing>,
    pub(super) inbox: RefCell<Inbox>,
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

    /// Sends one line, line feed included, over the app's channel, or has it wait. In both cases it will arrive, whatever becomes of the
    /// daemon, as long as [`Self::spools`] are looked after.
    pub(crate) fn send(&self, line: Vec<u8>) -> Result<(), OutgoingError> {
        self.state.to_ipc.borrow_mut().push(line)?;
        self.state.wake.notify_one();
        Ok(())
    }

    /// The same for a line that brings a descriptor. One that waits is gone with the daemon.
    pub(crate) fn send_with(&self, line: Vec<u8>, fd: OwnedFd) -> Result<(), OutgoingError> {
        self.state.to_ipc.borrow_mut().push_with(line, Some(fd))?;
        self.state.wake.notify_one();
        Ok(())
    }

    /// The app's channel, if a line can be sent over it right now without getting into the midst of another one.
    pub(crate) fn free_channel(&self) -> Option<Held> {
        self.state.to_ipc.borrow().free_target()
    }

    /// Sends text to the app's stdin, as `send` does.
    pub(crate) fn write_stdin(&self, text: Vec<u8>) -> Result<(), OutgoingError> {
        self.state.to_stdin.borrow_mut().push(text)?;
        self.state.wake.notify_one();
        Ok(())
    }

    /// What waits for the app and is not held by the keeper yet: how its keys end, and the descriptors.
    pub(crate) fn spools(&self) -> io::Result<Vec<(&'static str, OwnedFd)>> {
        let all = [
            (TO_IPC, &self.state.to_ipc),
            (TO_STDIN, &self.state.to_stdin),
        ];
        let mut spools = Vec::new();
        for (name, outgoing) in all {
            let spool = outgoing.borrow_mut().spool_to_store()?;
            spools.extend(spool.map(|spool| (name, spool)));
        }
        Ok(spools)
    }

    /// The keeper has them, or will whatever becomes of the daemon.
    pub(crate) fn spools_stored(&self) {
        self.state.to_ipc.borrow_mut().spool_stored();
        self.state.to_stdin.borrow_mut().spool_stored();
        self.state.wake.notify_one();
    }

    /// What was reported up to there has been acted upon.
    pub(crate) fn heard(&self, upto: u64) {
        self.state.inbox.borrow_mut().acted(upto);
    }
}

/// A run as its own task sees it.
pub(crate) struct Run {
    pub(super) id: RunId,
    pub(super) shared: Rc<Shared>,
    log: RunLog,
    /// The beginning of this run's `log:out` and `log:err` payloads.
    log_prefix: String,
    pub(super) state: Rc<ChildState>,
    pub(super) reports: mpsc::Sender<ChildReport>,
    pub(super) stdin: Option<AsyncFd<Held>>,
    out: Option<AsyncFd<Held>>,
    err: Option<AsyncFd<Held>>,
    pub(super) ipc: Option<AsyncFd<Held>>,
    pub(super) decoder: ipc::Decoder,
    /// Descriptors that came and whose line has not been seen yet.
    pub(super) handles: Vec<OwnedFd>,
    /// Given back with the pipes.
    _share: Share,
    /// The app has ended; what is read now is what it left.
    pub(super) is_ending: bool,
    /// What the keeper's keys of its descriptors begin with.
    prefix: Box<str>,
    is_over: bool,
    /// Somebody else held its output when the app ended.
    was_open: bool,
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
pub(super) enum Read {
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
        let Prepared {
            ends,
            log,
            log_prefix,
            prefix,
            leftover,
            heard,
        } = prepared;
        let OurEnds {
            stdin,
            out,
            err,
            ipc,
            inbox,
            to_stdin,
            to_ipc,
            share,
        } = ends;
        // What cannot be had a second time is lost with the daemon, if that is killed.
        let copy = |fd: Option<Held>| fd.and_then(|fd| fd.try_clone().ok());
        let (inbox, to_stdin, to_ipc) = (copy(inbox), copy(to_stdin), copy(to_ipc));
        let (said, leftover) = match leftover {
            Some(leftover) if leftover.source == Source::Ipc => (Some(leftover), None),
            other => (None, other),
        };
        let said = said
            .as_ref()
            .map(|said| (said.stored_at.unwrap_or(0), said.bytes.as_slice()));
        let (inbox, said) = Inbox::open(inbox, heard, said);
        let mut decoder = ipc::Decoder::default();
        decoder.push(&said);
        let state = Rc::new(ChildState {
            exit: Cell::default(),
            to_ipc: RefCell::new(Outgoing::new(End::Channel, ipc.clone(), to_ipc)),
            to_stdin: RefCell::new(Outgoing::new(End::Stdin, stdin.clone(), to_stdin)),
            inbox: RefCell::new(inbox),
            wake: Notify::default(),
        });
        let watched = |fd: Option<Held>, interest| fd.map(|fd| watch(fd, interest)).transpose();
        let child = Child {
            state: Rc::clone(&state),
        };
        let mut run = Self {
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
            decoder,
            handles: Vec::new(),
            _share: share,
            is_ending: false,
            prefix: prefix.into(),
            is_over: false,
            was_open: false,
        };
        if let Some(leftover) = leftover {
            run.finish_leftover(&leftover);
        }
        Ok((run, child))
    }

    /// Reads and writes until the app has ended and nobody holds its output any more.
    pub(crate) async fn serve(mut self) {
        self.take_lines().await;
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
        async fn writable(fd: Option<&AsyncFd<Held>>, outgoing: &RefCell<Outgoing>) {
            let is_waiting = outgoing.borrow().is_sendable();
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
        self.state.to_stdin.borrow_mut().close();
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

    /// Writes what an earlier daemon did not live to write.
    fn finish_leftover(&mut self, leftover: &Leftover) {
        let Leftover {
            source,
            bytes,
            stored_at,
            ..
        } = leftover;
        let stream = match source {
            Source::Out => Stream::Out,
            Source::Err => Stream::Err,
            // That is in the inbox.
            Source::Ipc => return,
        };
        let stored = if let Some(before) = stored_at {
            self.log.stored(stream, bytes, *before)
        } else {
            // Should this daemon be killed in between, another one must see how far it came.
            let before = self.log.length(stream);
            self.shared.output.borrow_mut().store(bytes.len(), before);
            0
        };
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
    pub(super) fn is_last_look(&self) -> bool {
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
            nix::unistd::read(fd, scratch.begin(self.id, source, 0)).map_err(io::Error::from)
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
}
