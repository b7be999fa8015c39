//! Replies on their way to one peer of `rpc.sock`, in whatever order they become ready.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::wire::axon::RequestId;
use crate::wire::rpc;

/// Requests of one peer that may be under way. Further ones wait in its socket.
pub(crate) const IN_FLIGHT_MAX: usize = 256;
/// Unread replies beyond which no further request of this peer is read.
const UNREAD_BYTES_PAUSE: usize = 1024 * 1024;
/// Unread replies beyond which the peer is given up. The reply that passes the line is not counted, so one of any size can be had.
const UNREAD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What one peer is still owed.
#[derive(Default)]
pub(crate) struct Outbox {
    state: RefCell<State>,
    wake: Notify,
}

#[derive(Default)]
struct State {
    /// In the order in which they are sent; a large one in parts.
    replies: VecDeque<Bytes>,
    bytes: usize,
    in_flight: usize,
    is_overfull: bool,
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").finish_non_exhaustive()
    }
}

impl Outbox {
    /// Whether another request may be read.
    pub(crate) fn has_room(&self) -> bool {
        let state = self.state.borrow();
        state.in_flight < IN_FLIGHT_MAX && state.bytes < UNREAD_BYTES_PAUSE
    }

    /// Whether the peer reads so little that it is to be given up.
    pub(crate) fn is_overfull(&self) -> bool {
        self.state.borrow().is_overfull
    }

    /// What waits to be read.
    pub(crate) fn unread_bytes(&self) -> usize {
        self.state.borrow().bytes
    }

    /// Whether no request is under way and nothing waits to be sent.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.state.borrow();
        state.in_flight == 0 && state.replies.is_empty()
    }

    /// The next reply, or part of one, to send.
    pub(crate) fn take(&self) -> Option<Bytes> {
        let mut state = self.state.borrow_mut();
        let reply = state.replies.pop_front()?;
        state.bytes -= reply.len();
        if state.replies.is_empty() {
            state.replies = VecDeque::new();
        }
        Some(reply)
    }

    /// Waits until something may have changed. Cancel-safe.
    pub(crate) async fn wait(&self) {
        self.wake.notified().await;
    }

    /// Opens a place for the reply to a request.
    pub(crate) fn expect(self: &Rc<Self>, id: RequestId) -> ReplyTo {
        self.state.borrow_mut().in_flight += 1;
        ReplyTo {
            outbox: Rc::clone(self),
            id,
        }
    }

    fn push(&self, reply: Bytes) {
        self.push_parts([reply]);
    }

    /// One reply in parts.
    fn push_parts(&self, parts: impl IntoIterator<Item = Bytes>) {
        let mut state = self.state.borrow_mut();
        state.is_overfull |= state.bytes > UNREAD_BYTES_MAX;
        if state.is_overfull {
            return;
        }
        for part in parts {
            state.bytes += part.len();
            state.replies.push_back(part);
        }
    }
}

/// The right to answer one request, once. Dropped without an answer, the caller gets none.
#[derive(Debug)]
pub(crate) struct ReplyTo {
    outbox: Rc<Outbox>,
    id: RequestId,
}

impl ReplyTo {
    /// Answers with values, each JSON text.
    pub(crate) fn values(self, values: &[&[u8]]) {
        self.outbox.push(rpc::reply(&self.id, values));
    }

    /// Answers with one value that is there in parts, which are not copied.
    pub(crate) fn value_in_parts(self, value: Vec<Bytes>) {
        self.outbox.push_parts(rpc::reply_parts(&self.id, value));
    }

    /// Answers with the list of methods.
    pub(crate) fn methods(self, table: &[(&str, &[&str])]) {
        self.outbox.push(rpc::methods(&self.id, table));
    }

    /// Answers that the request makes no sense.
    pub(crate) fn refuse(self, message: &str) {
        self.outbox.push(rpc::failure(&self.id, message, None));
    }

    /// Answers that a method failed. Clients show `stack`, so it is the message and not where in our code it came from.
    pub(crate) fn fail(self, message: &str) {
        let stack = format!("Error: {message}");
        self.outbox
            .push(rpc::failure(&self.id, message, Some(&stack)));
    }
}

impl Drop for ReplyTo {
    fn drop(&mut self) {
        self.outbox.state.borrow_mut().in_flight -= 1;
        self.outbox.wake.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Protects: a caller who sends without reading costs a bounded amount.
    #[test]
    fn a_peer_that_does_not_read_is_paused_and_then_given_up() {
        let outbox = Rc::<Outbox>::default();
        let id = RequestId::new("1", 0);
        let waiting: Vec<_> = (0..IN_FLIGHT_MAX)
            .map(|_| outbox.expect(id.clone()))
            .collect();
        assert!(!outbox.has_room());
        drop(waiting);
        assert!(outbox.has_room() && outbox.is_idle());
        let big = vec![b'1'; UNREAD_BYTES_MAX + 1];
        outbox.expect(id.clone()).values(&[&big]);
        assert!(!outbox.has_room());
        assert!(!outbox.is_overfull(), "one reply of any size can be had");
        outbox.expect(id).values(&[b"1"]);
        assert!(outbox.is_overfull());
    }
}
