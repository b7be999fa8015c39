//! Connections that were accepted for applications in cluster mode, until a worker has taken them.
//!
//! The keeper holds those that wait here, from the moment they are accepted. To whom one is being handed is noted in memory that outlives
//! the daemon, before it is sent: so another daemon knows which it can hand on, and which somebody may have already. One that is sent to
//! a worker in the same instant as it is accepted (round robin) is not worth that, until it comes back.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::rc::Rc;

use nix::errno::Errno;

use super::link::Link;
use super::mirror::Held;
use super::shared::Shared;
use crate::core::{Arrival, Input};
use crate::host::memory::Mapping;
use crate::host::passing::{self, Receiver};
use crate::host::sockets::Passed;
use crate::keeper::proto::Request;
use crate::model::{ConnectionId, ListenerId, RunId};

/// What the keeper's keys of all connections begin with.
pub(crate) const PREFIX: &str = "connection/";
/// The keeper's key of the notes.
pub(crate) const NOTES_KEY: &str = "hands";

/// Connections held at once. Workers that keep up have one each on its way; of those that do not, the rest waits with the kernel.
const HELD_MAX: usize = 4096;

/// One note: the connection, or nothing; the run; the number of the message.
const NOTE_BYTES: usize = 24;
/// No connection has this number: they count from the time, and up.
const NOBODY: u64 = 0;

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    held: HashMap<ConnectionId, Accepted>,
    next: u64,
    /// Made for the first connection that the keeper is to hold.
    notes: Option<Notes>,
    /// Notes of connections that the keeper may not have been told to close.
    closing: Vec<usize>,
}

#[derive(Debug)]
struct Accepted {
    fd: Held,
    listener: ListenerId,
    /// To whom it was sent last.
    sent: Option<Sent>,
    /// The keeper holds it, and this is its note.
    note: Option<usize>,
}

/// A run, and the number of a message to it.
type Sent = (RunId, u64);

/// A worker that is sent a connection as soon as there is one.
#[derive(Debug)]
pub(crate) struct Taker {
    /// Its channel, on which nothing waits.
    pub(crate) channel: Held,
    /// The line that goes with it.
    pub(crate) line: Vec<u8>,
    /// What that is in the core's books.
    pub(crate) sent: Sent,
}

impl Connections {
    /// Accepts at most `max` connections for a listener, for the keeper to hold. Also says why there were not more, if there were not.
    pub(crate) fn accept(
        &mut self,
        socket: BorrowedFd,
        listener: ListenerId,
        max: u32,
        link: &mut Link,
    ) -> (Vec<Arrival>, Option<Errno>) {
        let room = match self.notes(link) {
            Ok(notes) => notes.free.len(),
            Err(_) => return (Vec::new(), Some(Errno::ENOMEM)),
        };
        let max = usize::try_from(max).unwrap_or(room).min(room);
        if max == 0 {
            return (Vec::new(), Some(Errno::ENOBUFS));
        }
        self.skip_numbers();
        let numbers = (self.next..).take(max);
        let keys: Vec<String> = numbers
            .map(|number| key(listener, ConnectionId(number)))
            .collect();
        let (accepted, end) = link.accept(socket, &keys);
        let mut arrivals = Vec::with_capacity(accepted.len());
        for fd in accepted {
            let note = self.notes.as_mut().and_then(|notes| notes.free.pop());
            let accepted = Accepted {
                fd,
                listener,
                sent: None,
                note,
            };
            arrivals.push(self.arrived(accepted));
        }
        (arrivals, end)
    }

    /// Accepts a connection for each taker, which is sent it at once; only one that could not be is held by the keeper. To shield each
    /// of them would double what it costs. Also says why there were not more, if there were not.
    pub(crate) fn deal(
        &mut self,
        socket: BorrowedFd,
        listener: ListenerId,
        takers: Vec<Taker>,
        link: &mut Link,
    ) -> (Vec<Arrival>, Option<Errno>) {
        let (channels, sent): (Vec<_>, Vec<_>) = takers
            .into_iter()
            .map(|taker| ((taker.channel, taker.line), taker.sent))
            .unzip();
        let receivers: Vec<Receiver> = channels
            .iter()
            .map(|(channel, line)| Receiver {
                socket: channel.as_fd(),
                message: line,
            })
            .collect();
        let done = passing::accept_and_pass(socket, &receivers);
        self.skip_numbers();
        let mut arrivals = Vec::with_capacity(sent.len());
        for (Passed { fd, is_passed }, sent) in done.connections.into_iter().zip(sent) {
            let arrival = self.arrived(Accepted {
                fd: Rc::new(fd),
                listener,
                sent: is_passed.then_some(sent),
                note: None,
            });
            if !is_passed {
                self.keep(arrival.connection, link);
            }
            arrivals.push(arrival);
        }
        (arrivals, done.end)
    }

    fn arrived(&mut self, accepted: Accepted) -> Arrival {
        let connection = ConnectionId(self.next);
        self.next += 1;
        let sent = accepted.sent;
        self.held.insert(connection, accepted);
        Arrival { connection, sent }
    }

    /// Gives no connection the number of one that an earlier daemon took with it.
    fn skip_numbers(&mut self) {
        self.next = self.next.max(Shared::now().wall_ms << 20);
    }

    /// Takes over what an earlier daemon left with the keeper, and tells of it in the order in which it was accepted.
    pub(crate) fn restore(
        &mut self,
        stored: impl IntoIterator<Item = (String, Held)>,
        memory: Option<OwnedFd>,
    ) -> Vec<Input> {
        let mut left = Noted::new();
        if let Some((notes, all)) = memory.and_then(|fd| Notes::of(fd).ok()) {
            self.notes = Some(notes);
            left = all;
        }
        let mut told = Vec::new();
        for (key, fd) in stored {
            let numbers = key
                .strip_prefix(PREFIX)
                .and_then(|rest| rest.split_once('/'));
            let numbers =
                numbers.and_then(|(one, other)| Some((one.parse().ok()?, other.parse().ok()?)));
            let Some((listener, number)) = numbers else {
                continue;
            };
            let (listener, connection) = (ListenerId(listener), ConnectionId(number));
            let (note, sent) = left.remove(&connection).unzip();
            let note = note.or_else(|| self.notes.as_mut()?.free.pop());
            let accepted = Accepted {
                fd,
                listener,
                sent,
                note,
            };
            self.held.insert(connection, accepted);
            self.next = self.next.max(number + 1);
            told.push((connection, listener, sent));
        }
        if let Some(notes) = &mut self.notes {
            // Of those that have been closed since.
            for (note, _) in left.into_values() {
                notes.give_back(note);
            }
        }
        told.sort_unstable();
        let told = told
            .into_iter()
            .map(|(connection, listener, handed)| Input::Inherited {
                connection,
                listener,
                handed,
            });
        told.collect()
    }

    /// Takes note of whom a connection is going to be sent to, and gives a copy to send.
    pub(crate) fn hand(
        &mut self,
        connection: ConnectionId,
        to: Sent,
        link: &mut Link,
    ) -> io::Result<OwnedFd> {
        let held = self.held.get_mut(&connection);
        let held = held.ok_or(io::ErrorKind::NotFound)?;
        let copy = held.fd.try_clone()?;
        held.sent = Some(to);
        match (held.note, &mut self.notes) {
            (Some(note), Some(notes)) => notes.write(note, connection, to),
            _ => self.keep(connection, link),
        }
        Ok(copy)
    }

    /// Has the keeper hold a connection, if it does not. Where it cannot, that one goes with us.
    pub(crate) fn keep(&mut self, connection: ConnectionId, link: &mut Link) {
        let is_kept = |held: &Accepted| held.note.is_some();
        if self.held.get(&connection).is_none_or(is_kept) {
            return;
        }
        let note = self.notes(link).ok().and_then(|notes| notes.free.pop());
        let (Some(note), Some(held)) = (note, self.held.get_mut(&connection)) else {
            return;
        };
        held.note = Some(note);
        // In this order: what the keeper holds and nobody is noted for is free to be handed to anybody.
        if let (Some(notes), Some(sent)) = (&mut self.notes, held.sent) {
            notes.write(note, connection, sent);
        }
        if let Ok(copy) = held.fd.try_clone() {
            let _lost = link.store(key(held.listener, connection), copy);
        }
    }

    /// Has the keeper hold all of them, because somebody else goes on with them.
    pub(crate) fn keep_all(&mut self, link: &mut Link) {
        let is_ours = |(id, held): (&ConnectionId, &Accepted)| held.note.is_none().then_some(*id);
        let ours: Vec<ConnectionId> = self.held.iter().filter_map(is_ours).collect();
        for connection in ours {
            self.keep(connection, link);
        }
    }

    /// Closes our copy, and the keeper's.
    pub(crate) fn close(&mut self, connection: ConnectionId, link: &mut Link) {
        let Some(held) = self.held.remove(&connection) else {
            return;
        };
        if let Some(note) = held.note {
            let key = key(held.listener, connection);
            // A key that short is never too long.
            let _small = link.send(Request::Discard { key });
            self.closing.push(note);
            self.settle(link);
        }
    }

    /// Lets go of the notes of closed connections, once the keeper will close them whatever becomes of us.
    pub(crate) fn settle(&mut self, link: &Link) {
        if self.closing.is_empty() || !link.is_flushed() {
            return;
        }
        if let Some(notes) = &mut self.notes {
            for note in self.closing.drain(..) {
                notes.give_back(note);
            }
        }
    }

    fn notes(&mut self, link: &mut Link) -> io::Result<&mut Notes> {
        if self.notes.is_none() {
            let notes = Notes::new()?;
            link.store(NOTES_KEY.to_owned(), notes.memory.copy()?)?;
            self.notes = Some(notes);
        }
        self.notes.as_mut().ok_or(io::ErrorKind::NotFound.into())
    }
}

fn key(listener: ListenerId, connection: ConnectionId) -> String {
    format!("{PREFIX}{}/{}", listener.0, connection.0)
}

/// To whom connections are being handed.
#[derive(Debug)]
struct Notes {
    memory: Mapping,
    /// The lowest last: pages that are not needed are never touched.
    free: Vec<usize>,
}

/// Where which connection is noted, and whom it was being handed to.
type Noted = HashMap<ConnectionId, (usize, Sent)>;

impl Notes {
    fn new() -> io::Result<Self> {
        Ok(Self {
            memory: Mapping::new(HELD_MAX * NOTE_BYTES)?,
            free: (0..HELD_MAX).rev().collect(),
        })
    }

    /// Those of an earlier daemon, which stay as they are until they are given back.
    fn of(memory: OwnedFd) -> io::Result<(Self, Noted)> {
        let memory = Mapping::of(memory, HELD_MAX * NOTE_BYTES)?;
        let (mut free, mut noted) = (Vec::new(), HashMap::new());
        let (all, _) = memory.bytes().as_chunks::<NOTE_BYTES>();
        for (at, note) in all.iter().enumerate().rev() {
            let (words, _) = note.as_chunks::<8>();
            let [connection, run, seq] = [words[0], words[1], words[2]].map(u64::from_le_bytes);
            if connection == NOBODY {
                free.push(at);
            } else {
                noted.insert(ConnectionId(connection), (at, (RunId(run), seq)));
            }
        }
        Ok((Self { memory, free }, noted))
    }

    fn write(&mut self, at: usize, connection: ConnectionId, (run, seq): Sent) {
        let words = [connection.0, run.0, seq].map(u64::to_le_bytes);
        self.note(at).copy_from_slice(words.as_flattened());
    }

    fn give_back(&mut self, at: usize) {
        self.note(at).fill(0);
        self.free.push(at);
    }

    fn note(&mut self, at: usize) -> &mut [u8] {
        &mut self.memory.bytes_mut()[at * NOTE_BYTES..][..NOTE_BYTES]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Protects: one connection for two workers. A note stays what it is until it is given back, whoever dies in between.
    #[test]
    fn a_note_is_there_for_every_daemon_until_it_is_given_back() {
        let mut notes = Notes::new().unwrap();
        let [first, second] = [(); 2].map(|()| notes.free.pop().unwrap());
        notes.write(first, ConnectionId(7), (RunId(1), 40));
        notes.write(second, ConnectionId(8), (RunId(2), 50));
        notes.write(second, ConnectionId(8), (RunId(3), 60));
        for _ in 0..2 {
            let (again, left) = Notes::of(notes.memory.copy().unwrap()).unwrap();
            let expected = [
                (ConnectionId(7), (first, (RunId(1), 40))),
                (ConnectionId(8), (second, (RunId(3), 60))),
            ];
            assert_eq!(left, expected.into());
            assert!(!again.free.contains(&first) && !again.free.contains(&second));
            notes = again;
        }
        notes.give_back(first);
        let (again, left) = Notes::of(notes.memory.copy().unwrap()).unwrap();
        assert!(left.keys().eq([&ConnectionId(8)]));
        assert_eq!(again.free.last(), Some(&first), "low ones are used first");
    }

    // Protects: what another daemon is told of what was left with the keeper, and of nothing else.
    #[test]
    fn what_is_inherited_is_told_in_the_order_in_which_it_came() {
        let fd = || Rc::new(OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));
        let mut notes = Notes::new().unwrap();
        notes.write(0, ConnectionId(11), (RunId(1), 40));
        notes.write(1, ConnectionId(12), (RunId(1), 41));
        let stored = [
            "connection/5/12",
            "connection/4/9",
            "connection/x/1",
            "listen/5",
        ];
        let stored = stored.map(|key| (key.to_owned(), fd()));
        let mut connections = Connections::default();
        let told = connections.restore(stored, Some(notes.memory.copy().unwrap()));
        let told: Vec<_> = told
            .iter()
            .filter_map(|input| match input {
                Input::Inherited {
                    connection,
                    listener,
                    handed,
                } => Some((connection.0, listener.0, *handed)),
                _ => None,
            })
            .collect();
        assert_eq!(told, [(9, 4, None), (12, 5, Some((RunId(1), 41)))]);
        let (_, left) = Notes::of(notes.memory.copy().unwrap()).unwrap();
        assert!(
            left.keys().eq([&ConnectionId(12)]),
            "that of one that was closed is free"
        );
        assert_eq!(connections.next, 13);
    }
}
