//! The primary of applications in cluster mode: which worker gets which listening socket, and which connection.
//!
//! **Invariant:** a socket belongs to the slots of one application (its `pm_id`s), never to a worker, and outlives workers. Two
//! applications share nothing. A connection that was accepted is with exactly one worker, or waits here.
//!
//! It speaks Node's own cluster protocol, which is internal to Node but has been the same from Node 18 to 24; the transcripts in
//! `__test__/golden/ipc` hold it to that.

mod answer;
mod dispatch;
mod inherit;
mod listener;
mod query;
mod release;
mod steal;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{ConnectionId, Members, PmId, RunId, SocketId};

use super::{Effect, Now, Taker};
use listener::{Listener, Socket};
use query::Query;
pub use query::{ListenAddress, PortShare, SocketName};

/// `EBADF`, as Node writes it.
const BAD_DESCRIPTOR: i32 = -9;

/// `EADDRINUSE`, as Node writes it.
const ADDRESS_IN_USE: i32 = -98;

/// Servers of one application. A program that opens one port after another must not make us hold them all.
const LISTENERS_MAX: usize = 1_024;

/// So many messages to a worker are numbered before it is written down how far. Another daemon goes on with numbers that were
/// never used, so that a late answer to this one means nothing to it.
const SEQ_LEAP: u64 = 4_096;

/// All applications in cluster mode.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Primary {
    /// By the name of the application, then by the key of the address.
    scopes: BTreeMap<Box<str>, BTreeMap<Box<str>, Listener>>,
    workers: BTreeMap<RunId, Worker>,
    /// What each socket is for.
    places: BTreeMap<SocketId, Place>,
    next_socket: u64,
    /// How many workers there ever were. Their numbers count from 1.
    enrolled: u32,
    /// Something may have changed that is written out. What is known of connections is not: another daemon is told by those who
    /// keep them.
    #[serde(skip)]
    is_changed: bool,
}

/// What one socket is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Place {
    scope: Box<str>,
    key: Box<str>,
}

/// One run in cluster mode.
#[derive(Debug, Serialize, Deserialize)]
struct Worker {
    scope: Box<str>,
    slot: PmId,
    policy: Policy,
    since: Duration,
    /// Number of our next message to it.
    #[serde(serialize_with = "rounded_up")]
    next_seq: u64,
    /// Keys of the servers it has.
    held: Vec<Box<str>>,
    /// Connections it has not said it took.
    #[serde(skip)]
    handed: BTreeMap<u64, Handed>,
    /// It was told to go, or said that it goes.
    is_leaving: bool,
    /// It has had a server.
    has_listened: bool,
    /// Which of the application's inspector ports it has, if it has one.
    inspector: Option<u16>,
}

/// A connection on its way to a worker.
#[derive(Debug)]
struct Handed {
    key: Box<str>,
    connection: ConnectionId,
    /// When.
    at: Duration,
    /// Nothing if an earlier daemon did not live to say whether it was sent.
    is_certain: bool,
}

/// How TCP ports are shared: what `NODE_CLUSTER_SCHED_POLICY` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Policy {
    /// A socket for each slot, and connections taken from those that are stuck.
    Slots,
    /// A socket for each slot, which one is decided by the address of the client.
    Sticky,
    /// One socket; we accept and deal out.
    RoundRobin,
    /// One socket, which all workers accept from.
    Shared,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn rounded_up<S: serde::Serializer>(seq: &u64, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(seq.next_multiple_of(SEQ_LEAP))
}

/// What a worker said that concerns its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It is there; no code of the application has run yet.
    Online,
    /// A server of it listens.
    Listening,
    /// Nothing more than the primary itself has to know.
    Nothing,
}

/// What a new worker is told by its environment and arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Enrolled {
    /// `cluster.worker.id`.
    pub(super) number: u32,
    /// Which of the application's inspector ports is free, counted from 1.
    pub(super) inspector: u16,
}

impl Policy {
    /// Of the variable's value. Anything unknown is as if it were not set, as in Node. What the application declares goes before it.
    pub(super) fn of(variable: Option<&str>, is_sticky: bool) -> Self {
        match variable {
            _ if is_sticky => Self::Sticky,
            Some("rr") => Self::RoundRobin,
            Some("none") => Self::Shared,
            _ => Self::Slots,
        }
    }
}

impl Worker {
    /// The number of the next message to it, and whether the numbers written down are used up with it.
    fn take_seq(&mut self) -> (u64, bool) {
        let seq = self.next_seq;
        self.next_seq += 1;
        (seq, seq.is_multiple_of(SEQ_LEAP))
    }

    /// What it is sent with the next connection; likewise.
    fn taker(&mut self, run: RunId, key: &str) -> (Taker, bool) {
        let (seq, is_leap) = self.take_seq();
        let quoted = crate::model::quoted(key);
        let text = query::message(&[("act", "\"newconn\""), ("key", &*quoted)], seq);
        let line = query::envelope("net.Native", &text);
        (Taker { run, seq, line }, is_leap)
    }
}

impl Primary {
    /// Takes in a run that is about to be spawned.
    pub(super) fn enroll(
        &mut self,
        now: Now,
        run: RunId,
        slot: PmId,
        scope: &str,
        policy: Policy,
        has_inspector: bool,
    ) -> Enrolled {
        self.is_changed = true;
        self.enrolled = self.enrolled.wrapping_add(1).max(1);
        let taken = |number: u16| {
            self.workers
                .values()
                .any(|worker| &*worker.scope == scope && worker.inspector == Some(number))
        };
        let inspector = (1..=u16::MAX)
            .find(|number| !taken(*number))
            .unwrap_or(u16::MAX);
        let worker = Worker {
            scope: scope.into(),
            slot,
            policy,
            since: now.mono,
            next_seq: 0,
            held: Vec::new(),
            handed: BTreeMap::new(),
            is_leaving: false,
            has_listened: false,
            inspector: has_inspector.then_some(inspector),
        };
        self.workers.insert(run, worker);
        Enrolled {
            number: self.enrolled,
            inspector,
        }
    }

    /// Whether the run ever had a server.
    pub(super) fn has_listened(&self, run: RunId) -> bool {
        self.workers
            .get(&run)
            .is_some_and(|worker| worker.has_listened)
    }

    /// Takes in one message of Node's cluster protocol. Nothing that a worker sends can do harm to another.
    pub(super) fn hear(&mut self, now: Now, run: RunId, text: &str, out: &mut Vec<Effect>) -> Said {
        let (Some(members), true) = (Members::parse(text), self.workers.contains_key(&run)) else {
            return Said::Nothing;
        };
        if let Some(ack) = members.get("ack") {
            let is_accepted = members.get("accepted") == Some("true");
            if let Ok(seq) = ack.parse() {
                self.answered(now, run, seq, is_accepted, out);
            }
            return Said::Nothing;
        }
        self.is_changed = true;
        let seq = members.get("seq").unwrap_or("0");
        match members.text("act").as_deref() {
            Some("online") => return Said::Online,
            Some("queryServer") => self.asked(now, run, seq, &members, out),
            Some("listening") => {
                if let Some(worker) = self.workers.get_mut(&run) {
                    worker.has_listened = true;
                }
                return Said::Listening;
            }
            Some("close") => {
                if let Some(key) = members.text("key") {
                    self.closed(now, run, &key, out);
                }
            }
            Some("exitedAfterDisconnect") => {
                // Unanswered it would never close its channel.
                self.send(run, &[("ack", seq)], out);
                self.leaving(now, run, out);
            }
            _ => {}
        }
        Said::Nothing
    }

    /// Tells a worker to close its servers, to finish, and to go. It gets nothing any more. False if it cannot be told.
    pub(super) fn disconnect(&mut self, now: Now, run: RunId, out: &mut Vec<Effect>) -> bool {
        self.is_changed = true;
        let is_there = self.workers.contains_key(&run);
        self.send(run, &[("act", "\"disconnect\"")], out);
        self.leaving(now, run, out);
        is_there
    }

    /// The run ended, or closed its channel. What it was handed and did not take goes to others.
    pub(super) fn gone(&mut self, now: Now, run: RunId, out: &mut Vec<Effect>) {
        let Some(worker) = self.workers.remove(&run) else {
            return;
        };
        self.is_changed = true;
        let mut concerned = worker.held;
        for handed in worker.handed.into_values() {
            if let Some(listener) = self.listener(&worker.scope, &handed.key) {
                let connection = handed.connection;
                listener.put_back(now, connection, None);
                out.push(Effect::KeepConnection { connection });
                concerned.push(handed.key);
            } else {
                out.push(Effect::CloseConnection {
                    connection: handed.connection,
                });
            }
        }
        concerned.sort_unstable();
        concerned.dedup();
        let scope = worker.scope;
        for listener in self.scopes.get_mut(&scope).into_iter().flatten() {
            listener.1.askers.retain(|asker| asker.run != run);
        }
        for key in concerned {
            if let Some(listener) = self.listener(&scope, &key) {
                listener.rotation.retain(|other| *other != run);
            }
            self.note_unheld(now, &scope, &key);
            self.deal(now, &scope, &key, out);
        }
    }

    /// Whether what is written out may have changed since this was asked last.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.is_changed)
    }

    /// When to call `wake`.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.scopes
            .values()
            .flat_map(BTreeMap::values)
            .filter_map(Listener::deadline)
            .min()
    }

    /// Time passed.
    pub(super) fn wake(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.deadline().is_none_or(|at| at > now.mono) {
            return;
        }
        self.is_changed = true;
        for place in self.all_places() {
            let Place { scope, key } = &place;
            self.look_at_due(now, scope, key, out);
            self.expire(now, scope, key, out);
            if let Some(listener) = self.listener(scope, key)
                && listener.retry_at.is_some_and(|at| at <= now.mono)
            {
                listener.retry_at = None;
                for waiting in &mut listener.waiting {
                    waiting.refused_by = None;
                }
                self.deal(now, scope, key, out);
            }
        }
    }

    fn all_places(&self) -> Vec<Place> {
        let mut places: Vec<Place> = self.places.values().cloned().collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    fn listener(&mut self, scope: &str, key: &str) -> Option<&mut Listener> {
        self.scopes.get_mut(scope)?.get_mut(key)
    }

    fn leaving(&mut self, now: Now, run: RunId, out: &mut Vec<Effect>) {
        let Some(worker) = self.workers.get_mut(&run) else {
            return;
        };
        worker.is_leaving = true;
        let (scope, held) = (worker.scope.clone(), worker.held.clone());
        for key in held {
            self.deal(now, &scope, &key, out);
        }
    }

    /// A worker wants a listening socket.
    fn asked(
        &mut self,
        now: Now,
        run: RunId,
        seq: &str,
        members: &Members<'_>,
        out: &mut Vec<Effect>,
    ) {
        let (Some(query), Ok(ack)) = (Query::parse(members), seq.parse::<u64>()) else {
            return;
        };
        let Some(worker) = self.workers.get(&run) else {
            return;
        };
        if worker.is_leaving {
            // Its servers are being closed; a new one would keep it from going.
            return;
        }
        let (scope, slot, policy) = (worker.scope.clone(), worker.slot, worker.policy);
        let holds = worker.held.contains(&query.key);
        let listeners = self.scopes.entry(scope.clone()).or_default();
        let asks = |listener: &Listener| listener.askers.iter().any(|asker| asker.run == run);
        let is_asking = listeners.get(&query.key).is_some_and(asks);
        let is_full = !listeners.contains_key(&query.key) && listeners.len() >= LISTENERS_MAX;
        let Some(address) = query.address else {
            return self.refuse(run, &query.key, ack, BAD_DESCRIPTOR, out);
        };
        if holds || is_asking || is_full {
            // A key that it holds would end it; Node's own primary answers so since version 22.
            return self.refuse(run, &query.key, ack, ADDRESS_IN_USE, out);
        }
        let listener = listeners
            .entry(query.key.clone())
            .or_insert_with(|| Listener::new(address, policy));
        listener.number(&mut self.next_socket);
        if &*listener.data == "null" {
            listener.data = query.data;
        }
        listener.askers.push(listener::Asker { run, slot, ack });
        self.advance(now, &scope, &query.key, out);
    }

    /// What became of binding.
    pub(super) fn listened(
        &mut self,
        now: Now,
        socket: SocketId,
        result: Result<Option<SocketName>, i32>,
        out: &mut Vec<Effect>,
    ) {
        let Some(Place { scope, key }) = self.places.get(&socket).cloned() else {
            return;
        };
        self.is_changed = true;
        let Some(listener) = self.listener(&scope, &key) else {
            return;
        };
        match result {
            Ok(name) => {
                if let Some(bound) = listener.sockets.get_mut(&socket) {
                    bound.is_bound = true;
                }
                listener.name = name.or_else(|| listener.name.take());
                listener.steer(out);
                self.advance(now, &scope, &key, out);
                self.arm(&scope, &key, out);
            }
            Err(errno) => {
                let users = listener
                    .sockets
                    .remove(&socket)
                    .map(|socket| socket.users)
                    .unwrap_or_default();
                let is_for = |asker: &listener::Asker| users.contains(&asker.slot);
                let (failed, left) = std::mem::take(&mut listener.askers)
                    .into_iter()
                    .partition(is_for);
                listener.askers = left;
                self.places.remove(&socket);
                let failed: Vec<listener::Asker> = failed;
                for asker in failed {
                    self.refuse(asker.run, &key, asker.ack, errno, out);
                }
                self.advance(now, &scope, &key, out);
                // A later attempt begins anew.
                self.forget_if_empty(&scope, &key, out);
            }
        }
    }

    /// Answers those whose socket is there; has bound what is missing.
    fn advance(&mut self, now: Now, scope: &str, key: &str, out: &mut Vec<Effect>) {
        let Some(listener) = self
            .scopes
            .get_mut(scope)
            .and_then(|scope| scope.get_mut(key))
        else {
            return;
        };
        let mut granted = Vec::new();
        let mut waiting = Vec::new();
        for asker in std::mem::take(&mut listener.askers) {
            if let Some((id, socket)) = listener.socket_for(asker.slot) {
                let is_bound = socket.is_bound;
                socket.users.insert(asker.slot);
                socket.unheld_at = None;
                socket.is_retiring = false;
                if is_bound {
                    granted.push((asker, id));
                } else {
                    waiting.push(asker);
                }
                continue;
            }
            // The port is known once the first socket has it.
            if !listener.is_binding() {
                let id = SocketId(self.next_socket);
                self.next_socket += 1;
                let place = Place {
                    scope: scope.into(),
                    key: key.into(),
                };
                self.places.insert(id, place);
                out.push(Effect::Listen {
                    socket: id,
                    address: Box::new(listener.next_address()),
                });
                listener.sockets.insert(id, Socket::new(asker.slot));
            }
            waiting.push(asker);
        }
        listener.askers = waiting;
        for (asker, socket) in granted {
            self.grant(asker, socket, scope, key, out);
        }
        self.deal(now, scope, key, out);
    }
}
