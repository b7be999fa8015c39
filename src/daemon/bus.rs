//! The bus: every event is encoded once and offered to every subscriber of `pub.sock`.
//!
//! A publisher never waits. Each subscriber has a queue with two ends in sight (events and bytes); past them it loses
//! log lines first, then its oldest events, and is told how many before the next event that it does get.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::rc::{Rc, Weak};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::wire::axon;

/// Bytes waiting for one subscriber. Enough for seconds of a busy fleet; ten stuck subscribers still fit in memory,
/// all the more as they share the events.
pub(crate) const QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Events waiting for one subscriber: bounds the bookkeeping when events are tiny.
pub(crate) const QUEUE_EVENTS_MAX: usize = 65_536;
/// Subscribers at one time. Past it a new one is closed at once.
pub(crate) const SUBSCRIBERS_MAX: usize = 512;
/// A queue that has grown beyond this many slots is given back to the allocator when it is empty.
const QUEUE_SLOTS_KEPT: usize = 256;

/// The event that tells a subscriber what it lost.
const DROPPED_EVENT: &str = "pm2:dropped";

/// Fan-out to the subscribers of `pub.sock`.
#[derive(Debug, Default)]
pub(crate) struct Bus {
    subscribers: RefCell<Vec<Rc<Queue>>>,
    closed: Cell<bool>,
}

impl Bus {
    /// Whether anybody listens. Callers ask before they build a payload.
    pub(crate) fn is_heard(&self) -> bool {
        !self.subscribers.borrow().is_empty()
    }

    /// Offers an event to every subscriber; `payload` is JSON text. Never waits, never fails.
    pub(crate) fn publish(&self, name: &str, payload: &[u8]) {
        let subscribers = self.subscribers.borrow();
        if subscribers.is_empty() || self.closed.get() {
            return;
        }
        let event = Event {
            frame: axon::event(name, payload),
            is_log: name.starts_with("log:"),
        };
        for queue in subscribers.iter() {
            queue.offer(event.clone());
        }
    }

    /// A new subscriber, or nothing when there are too many or the bus is closed.
    pub(crate) fn subscribe(self: &Rc<Self>) -> Option<Subscriber> {
        let mut subscribers = self.subscribers.borrow_mut();
        if self.closed.get() || subscribers.len() >= SUBSCRIBERS_MAX {
            return None;
        }
        let queue = Rc::new(Queue::default());
        subscribers.push(Rc::clone(&queue));
        Some(Subscriber {
            queue,
            bus: Rc::downgrade(self),
        })
    }

    /// Nothing is published from here on; subscribers get what they are still owed and then the end.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        for queue in self.subscribers.borrow().iter() {
            queue.state.borrow_mut().closed = true;
            queue.wake.notify_one();
        }
    }
}

/// One subscriber's end: what it is still owed.
pub(crate) struct Subscriber {
    queue: Rc<Queue>,
    bus: Weak<Bus>,
}

impl Subscriber {
    /// The next frame that is owed, oldest first; a note about lost events comes before them.
    pub(crate) fn take(&self) -> Option<Bytes> {
        self.queue.state.borrow_mut().take()
    }

    /// Whether `take` would give nothing, now and ever.
    pub(crate) fn is_finished(&self) -> bool {
        let state = self.queue.state.borrow();
        state.closed && state.is_empty()
    }

    /// Waits until something may be there to take. Cancel-safe: a wake-up that nobody saw is kept.
    pub(crate) async fn wait(&self) {
        self.queue.wake.notified().await;
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").finish_non_exhaustive()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        if let Some(bus) = self.bus.upgrade() {
            let mut subscribers = bus.subscribers.borrow_mut();
            subscribers.retain(|queue| !Rc::ptr_eq(queue, &self.queue));
        }
    }
}

#[derive(Clone, Debug)]
struct Event {
    frame: Bytes,
    is_log: bool,
}

#[derive(Debug, Default)]
struct Queue {
    state: RefCell<QueueState>,
    wake: Notify,
}

impl Queue {
    fn offer(&self, event: Event) {
        let mut state = self.state.borrow_mut();
        let was_empty = state.is_empty();
        state.push(event);
        if was_empty {
            self.wake.notify_one();
        }
    }
}

/// Two queues with one numbering, so that the oldest log event can be dropped without a search.
#[derive(Debug, Default)]
struct QueueState {
    logs: VecDeque<(u64, Bytes)>,
    others: VecDeque<(u64, Bytes)>,
    next_number: u64,
    bytes: usize,
    lost: Lost,
    closed: bool,
}

#[derive(Debug, Default)]
struct Lost {
    logs: u64,
    others: u64,
}

impl QueueState {
    fn is_empty(&self) -> bool {
        self.logs.is_empty() && self.others.is_empty() && self.lost.logs + self.lost.others == 0
    }

    fn push(&mut self, event: Event) {
        let number = self.next_number;
        self.next_number += 1;
        self.bytes += event.frame.len();
        let queue = if event.is_log {
            &mut self.logs
        } else {
            &mut self.others
        };
        queue.push_back((number, event.frame));
        while self.bytes > QUEUE_BYTES_MAX || self.logs.len() + self.others.len() > QUEUE_EVENTS_MAX
        {
            let gone = if let Some(gone) = self.logs.pop_front() {
                self.lost.logs += 1;
                gone
            } else if let Some(gone) = self.others.pop_front() {
                self.lost.others += 1;
                gone
            } else {
                break;
            };
            self.bytes -= gone.1.len();
        }
    }

    fn take(&mut self) -> Option<Bytes> {
        if self.lost.logs + self.lost.others > 0 {
            let lost = std::mem::take(&mut self.lost);
            let payload = format!(
                "{{\"count\":{},\"logs\":{}}}",
                lost.logs + lost.others,
                lost.logs
            );
            return Some(axon::event(DROPPED_EVENT, payload.as_bytes()));
        }
        let logs_first = match (self.logs.front(), self.others.front()) {
            (Some((log, _)), Some((other, _))) => log < other,
            (log, _) => log.is_some(),
        };
        let queue = if logs_first {
            &mut self.logs
        } else {
            &mut self.others
        };
        let (_, frame) = queue.pop_front()?;
        if queue.is_empty() && queue.capacity() > QUEUE_SLOTS_KEPT {
            *queue = VecDeque::new();
        }
        self.bytes -= frame.len();
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(subscriber: &Subscriber) -> Vec<Bytes> {
        std::iter::from_fn(|| subscriber.take()).collect()
    }

    // Protects: one encoding for all, and the publisher's order.
    #[test]
    fn every_subscriber_gets_the_same_bytes_in_order() {
        let bus = Rc::new(Bus::default());
        let (a, b) = (bus.subscribe().unwrap(), bus.subscribe().unwrap());
        bus.publish("log:out", b"1");
        bus.publish("process:event", b"2");
        bus.publish("log:out", b"3");
        let got = drain(&a);
        assert_eq!(got.len(), 3);
        assert_eq!(got[1], axon::event("process:event", b"2"));
        let same = drain(&b);
        assert_eq!(got, same);
        assert_eq!(got[0].as_ptr(), same[0].as_ptr(), "shared, not copied");
    }

    // Protects: a slow subscriber costs a bounded amount, keeps what matters, and learns what it lost.
    #[test]
    fn a_full_queue_loses_log_events_first_and_says_so() {
        let bus = Rc::new(Bus::default());
        let slow = bus.subscribe().unwrap();
        let quick = bus.subscribe().unwrap();
        bus.publish("process:event", b"\"kept\"");
        let line = vec![b'1'; 1024 * 1024];
        for _ in 0..40 {
            bus.publish("log:out", &line);
            assert_eq!(quick.take().map(|_| ()), Some(()));
        }
        let got = drain(&slow);
        let bytes: usize = got.iter().map(Bytes::len).sum();
        assert!(bytes <= QUEUE_BYTES_MAX + 200);
        let note = String::from_utf8_lossy(&got[0]).into_owned();
        assert!(
            note.contains("pm2:dropped") && note.contains("{\"count\":25,\"logs\":25}"),
            "{note}"
        );
        assert_eq!(got[1], axon::event("process:event", b"\"kept\""));
        assert_eq!(
            drain(&quick).len(),
            1,
            "the last line; nobody told it about the other's loss"
        );
    }

    // Protects: when there is nothing but important events, the oldest go.
    #[test]
    fn past_the_number_of_events_the_oldest_go() {
        let bus = Rc::new(Bus::default());
        let slow = bus.subscribe().unwrap();
        for n in 0..QUEUE_EVENTS_MAX + 3 {
            bus.publish("process:event", n.to_string().as_bytes());
        }
        let got = drain(&slow);
        assert_eq!(got.len(), QUEUE_EVENTS_MAX + 1);
        assert!(String::from_utf8_lossy(&got[0]).contains("{\"count\":3,\"logs\":0}"));
        assert_eq!(got[1], axon::event("process:event", b"3"));
    }

    // Protects: a subscriber that went away costs nothing.
    #[test]
    fn a_dropped_subscriber_is_forgotten() {
        let bus = Rc::new(Bus::default());
        let gone = bus.subscribe().unwrap();
        assert!(bus.is_heard());
        drop(gone);
        assert!(!bus.is_heard());
    }

    // Protects: `pm2:kill` reaches those who listen before the sockets close.
    #[test]
    fn a_closed_bus_still_gives_what_is_owed() {
        let bus = Rc::new(Bus::default());
        let subscriber = bus.subscribe().unwrap();
        bus.publish("pm2:kill", b"{}");
        bus.close();
        bus.publish("log:out", b"{}");
        assert!(!subscriber.is_finished());
        assert_eq!(drain(&subscriber).len(), 1);
        assert!(subscriber.is_finished());
        assert!(bus.subscribe().is_none());
    }
}
