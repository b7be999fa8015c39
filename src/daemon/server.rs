//! The two sockets: one task accepts on each, one task serves each peer. A peer can only harm itself.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::Interest;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::budget::{Account, Budget, Patience};
use super::bus::Subscriber;
use super::methods::{self, Command};
use super::outbox::Outbox;
use super::shared::Shared;
use super::socket::{Listener, Peer, Stream};
use crate::wire::amp::{Decoder, Frame, MAX_FRAME};
use crate::wire::axon::Request;
use crate::wire::rpc::Incoming;

/// Peers of `rpc.sock` at one time. Past it a new one is closed at once.
const PEERS_MAX: usize = 1024;
/// Frames, or parts of one, handed to one write. A large list is some thousand parts; the kernel takes 1,024.
const FRAMES_PER_WRITE: usize = 512;
/// Bytes that are taken from a queue at a time; what stays there can still be dropped, and counts.
const BYTES_IN_HAND: usize = 256 * 1024;
/// Rest after an `accept` that failed, which is mostly for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the tasks of the sockets have in common.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    /// Bus, buffers, time.
    pub(crate) shared: Rc<Shared>,
    /// To the pilot.
    pub(crate) commands: mpsc::Sender<Command>,
    /// Becomes true when peers are to be left: everything owed is sent first.
    pub(crate) closing: watch::Receiver<bool>,
    /// Who may connect.
    pub(crate) admission: Admission,
    /// What may be held for callers.
    pub(crate) budget: Rc<Budget>,
    /// Every task of the two sockets.
    pub(crate) tasks: Rc<RefCell<JoinSet<()>>>,
}

/// Whose connections are accepted: what a peer asks, the daemon does with the daemon's rights.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admission {
    /// The daemon's own user.
    pub(crate) uid: u32,
    /// `PM2_SOCKET_USER`.
    pub(crate) extra_uid: Option<u32>,
    /// `PM2_SOCKET_GROUP`.
    pub(crate) extra_gid: Option<u32>,
}

impl Admission {
    /// Whether a peer may speak. Over TCP nobody can tell who it is; binding to TCP was the owner's decision.
    fn admits(&self, stream: &Stream, peer: Peer) -> bool {
        match (stream, peer.uid) {
            (Stream::Tcp(_), _) => true,
            (Stream::Unix(_), Some(uid)) => {
                let is_in = |gid| peer.gid == Some(gid) || stream.peer_groups().contains(&gid);
                uid == self.uid
                    || uid == 0
                    || self.extra_uid == Some(uid)
                    || self.extra_gid.is_some_and(is_in)
            }
            (Stream::Unix(_), None) => false,
        }
    }
}

impl Server {
    /// Accepts callers until closing.
    pub(crate) async fn serve_rpc(self, listener: Listener) {
        let peers = Rc::new(());
        while let Some(stream) = self.accept(&listener).await {
            if Rc::strong_count(&peers) > PEERS_MAX {
                continue;
            }
            let (server, place) = (self.clone(), Rc::clone(&peers));
            self.tasks.borrow_mut().spawn_local(async move {
                // A failed socket has nobody left to tell.
                let _gone = server.serve_caller(&stream).await;
                drop(place);
            });
        }
    }

    /// Accepts subscribers until closing.
    pub(crate) async fn serve_bus(self, listener: Listener) {
        while let Some(stream) = self.accept(&listener).await {
            let Some(subscriber) = self.shared.bus.subscribe() else {
                continue;
            };
            let server = self.clone();
            self.tasks.borrow_mut().spawn_local(async move {
                let _gone = server.serve_subscriber(&stream, &subscriber).await;
            });
        }
    }

    /// The next peer that is let in; nothing when closing.
    async fn accept(&self, listener: &Listener) -> Option<Stream> {
        let mut closing = self.closing.clone();
        loop {
            while self.tasks.borrow_mut().try_join_next().is_some() {}
            let accepted = tokio::select! {
                biased;
                _ = closing.wait_for(|closing| *closing) => return None,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok(stream) if self.admission.admits(&stream, stream.peer()) => return Some(stream),
                Ok(_) => {}
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    async fn serve_subscriber(&self, stream: &Stream, subscriber: &Subscriber) -> io::Result<()> {
        let mut in_hand = InHand::default();
        loop {
            in_hand.fill(|| subscriber.take());
            if in_hand.is_empty() && subscriber.is_finished() {
                return Ok(());
            }
            let interest = in_hand.interest(true);
            tokio::select! {
                ready = stream.ready(interest) => {
                    let ready = ready?;
                    if ready.is_readable() && !self.discard(stream)? {
                        return Ok(());
                    }
                    if ready.is_writable() {
                        in_hand.write(stream)?;
                    }
                }
                () = subscriber.wait() => {}
            }
            tokio::task::coop::consume_budget().await;
        }
    }

    /// Subscribers have nothing to say. False when this one has gone.
    fn discard(&self, stream: &Stream) -> io::Result<bool> {
        let mut scratch = self.shared.scratch.borrow_mut();
        match stream.try_read(&mut scratch) {
            Ok(length) => Ok(length > 0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
            Err(error) => Err(error),
        }
    }

    async fn serve_caller(&self, stream: &Stream) -> io::Result<()> {
        let peer = stream.peer();
        let outbox = Rc::<Outbox>::default();
        let mut decoder = Decoder::new(MAX_FRAME);
        let mut in_hand = InHand::default();
        let mut closing = self.closing.clone();
        let mut is_drained = true;
        let account = Account::new(&self.budget);
        let (mut patience, mut is_progress) = (Patience::default(), false);
        // A caller that has said all it has to say still gets its answers.
        let mut is_open = true;
        loop {
            in_hand.fill(|| outbox.take());
            account.hold(decoder.waiting_bytes() + outbox.unread_bytes());
            if outbox.is_overfull()
                || account.is_given_up()
                || !is_open && in_hand.is_empty() && outbox.is_idle()
            {
                return Ok(());
            }
            let wants_more = is_open && is_drained && outbox.has_room();
            patience.look(
                wants_more && decoder.is_mid_frame(),
                is_progress,
                Instant::now(),
            );
            let too_late = patience.end().unwrap_or_else(Instant::now);
            tokio::select! {
                ready = stream.ready(in_hand.interest(wants_more)), if wants_more || !in_hand.is_empty() => {
                    let ready = ready?;
                    if ready.is_writable() {
                        in_hand.write(stream)?;
                    }
                    if wants_more && ready.is_readable() {
                        is_open = self.read(stream, &mut decoder)?;
                    }
                }
                () = outbox.wait() => {}
                () = account.given_up() => return Ok(()),
                () = tokio::time::sleep_until(too_late), if patience.end().is_some() => return Ok(()),
                _ = closing.wait_for(|closing| *closing) => {
                    return Self::send_rest(stream, &outbox, in_hand).await;
                }
            }
            is_drained = false;
            is_progress = false;
            while outbox.has_room() {
                let Ok(frame) = decoder.next() else {
                    return Ok(());
                };
                let Some(frame) = frame else {
                    is_drained = true;
                    break;
                };
                is_progress = true;
                if !self.answer(frame, &outbox, peer).await {
                    return Ok(());
                }
            }
            tokio::task::coop::consume_budget().await;
        }
    }

    /// False when the peer has gone.
    fn read(&self, stream: &Stream, decoder: &mut Decoder) -> io::Result<bool> {
        let mut scratch = self.shared.scratch.borrow_mut();
        match stream.try_read(&mut scratch) {
            Ok(length) => {
                decoder.push(&scratch[..length]);
                Ok(length > 0)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// False when the peer makes no sense at all and is to be left.
    async fn answer(&self, frame: Frame, outbox: &Rc<Outbox>, peer: Peer) -> bool {
        let request = Request::from(frame);
        let Some(id) = request.id.clone() else {
            return false;
        };
        let reply = outbox.expect(id);
        match Incoming::parse(&request, methods::is_exposed) {
            Ok(Incoming::Methods) => reply.methods(methods::TABLE),
            Ok(Incoming::Call(call)) => match methods::order(call) {
                Ok(order) => {
                    let command = Command { order, reply, peer };
                    // Without a pilot the daemon is about to end, and nobody can be answered.
                    return self.commands.send(command).await.is_ok();
                }
                Err(message) => reply.fail(&message),
            },
            Err(refusal) => reply.refuse(&refusal.to_string()),
        }
        true
    }

    async fn send_rest(stream: &Stream, outbox: &Outbox, mut in_hand: InHand) -> io::Result<()> {
        loop {
            in_hand.fill(|| outbox.take());
            if in_hand.is_empty() {
                return Ok(());
            }
            stream.ready(Interest::WRITABLE).await?;
            in_hand.write(stream)?;
        }
    }
}

/// Frames taken from a queue and not sent yet; the first may have been sent in part.
#[derive(Debug, Default)]
struct InHand {
    frames: Vec<Bytes>,
    next: usize,
}

impl InHand {
    fn is_empty(&self) -> bool {
        self.next == self.frames.len()
    }

    fn interest(&self, wants_more: bool) -> Interest {
        match (wants_more, self.is_empty()) {
            (true, true) => Interest::READABLE,
            (true, false) => Interest::READABLE | Interest::WRITABLE,
            (false, _) => Interest::WRITABLE,
        }
    }

    fn fill(&mut self, mut take: impl FnMut() -> Option<Bytes>) {
        if self.is_empty() {
            self.frames.clear();
            self.next = 0;
        }
        let mut bytes: usize = self.frames.iter().map(Bytes::len).sum();
        while self.frames.len() < FRAMES_PER_WRITE && bytes < BYTES_IN_HAND {
            let Some(frame) = take() else { break };
            bytes += frame.len();
            self.frames.push(frame);
        }
        if self.frames.is_empty() {
            self.frames = Vec::new();
        }
    }

    /// Writes what the socket takes.
    fn write(&mut self, stream: &Stream) -> io::Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let waiting = self.frames[self.next..].iter();
        let parts: Vec<IoSlice<'_>> = waiting.map(|frame| IoSlice::new(frame)).collect();
        let mut written = match stream.try_write_vectored(&parts) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        while written > 0 {
            let frame = &mut self.frames[self.next];
            let step = written.min(frame.len());
            frame.advance(step);
            written -= step;
            if frame.is_empty() {
                // The last reference to a large frame must not wait for the others in hand.
                *frame = Bytes::new();
                self.next += 1;
            }
        }
        Ok(())
    }
}
