//! Who gets a connection that we accepted, and when we accept.
//!
//! Round robin: whoever has no connection on its way gets the next one. Slots: workers accept by themselves, and what we took out of
//! the queue of one that is stuck (`steal.rs`) goes to the others.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::core::{Arrival, Effect, Now, Taker};
use crate::model::{RunId, SocketId};

use super::listener::{Attention, Listener, Sharing, WaitingConnection};
use super::steal::{LOOK_PAUSE, LOOKS_UNTIL_STUCK, doubt};
use super::{Handed, Place, Primary, Worker};

/// Connections accepted at once when a socket is emptied.
pub(super) const DRAIN_BATCH: u32 = 64;

/// When connections are offered again to the only worker there is, which refused them.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Connections that a worker may have been handed and not have taken yet, where workers accept by themselves: those of a sibling that is
/// stuck come many at a time. In Node's round robin it is one.
const HANDED_MAX: usize = 4;

/// A worker that has not taken a connection for so long gets no further one.
const HANDED_PATIENCE: Duration = LOOK_PAUSE.saturating_mul(3);

/// How long a connection is held while every worker is suspected to be stuck. That they all are is less likely than that the machine is
/// slow.
const HELD_MAX: Duration = Duration::from_millis(50);

impl Primary {
    /// A worker says whether it took a connection.
    pub(super) fn answered(
        &mut self,
        now: Now,
        run: RunId,
        seq: u64,
        is_accepted: bool,
        out: &mut Vec<Effect>,
    ) {
        self.put_back_unsent(now, run, seq, out);
        let Some(worker) = self.workers.get_mut(&run) else {
            return;
        };
        // Answers to anything else are not waited for.
        let Some(Handed {
            key, connection, ..
        }) = worker.handed.remove(&seq)
        else {
            return;
        };
        let (scope, slot) = (worker.scope.clone(), worker.slot);
        let listener = self.listener(&scope, &key);
        match listener {
            Some(listener) => {
                listener.shows_life(slot);
                if is_accepted {
                    out.push(Effect::CloseConnection { connection });
                } else {
                    listener.put_back(now, connection, Some(run));
                    out.push(Effect::KeepConnection { connection });
                }
            }
            None => out.push(Effect::CloseConnection { connection }),
        }
        self.deal(now, &scope, &key, out);
    }

    /// A worker closed a server of its own.
    pub(super) fn closed(&mut self, now: Now, run: RunId, key: &str, out: &mut Vec<Effect>) {
        let Some(worker) = self.workers.get_mut(&run) else {
            return;
        };
        worker.held.retain(|held| &**held != key);
        let scope = worker.scope.clone();
        if let Some(listener) = self.listener(&scope, key) {
            listener.rotation.retain(|other| *other != run);
        }
        self.note_unheld(now, &scope, key);
        self.deal(now, &scope, key, out);
    }

    /// Connections were accepted.
    pub(in crate::core) fn accepted(
        &mut self,
        now: Now,
        socket: SocketId,
        arrivals: &[Arrival],
        is_empty: bool,
        out: &mut Vec<Effect>,
    ) {
        let place = self.places.get(&socket).cloned();
        let listener = place.as_ref().and_then(|place| {
            let scope = self.scopes.get_mut(&place.scope)?;
            scope.get_mut(&place.key)
        });
        let (Some(Place { scope, key }), Some(listener)) = (place.clone(), listener) else {
            out.extend(arrivals.iter().map(|one| Effect::CloseConnection {
                connection: one.connection,
            }));
            return;
        };
        for &Arrival { connection, sent } in arrivals {
            if let Some((run, seq)) = sent
                && let Some(worker) = self.workers.get_mut(&run)
            {
                listener.served(run);
                worker.handed.insert(
                    seq,
                    Handed {
                        key: key.clone(),
                        connection,
                        at: now.mono,
                        is_certain: true,
                    },
                );
                continue;
            }
            listener.queue(now, connection);
        }
        let is_dealt = listener.sharing == Sharing::RoundRobin;
        let mut is_over = false;
        let drain = listener.accept(socket, DRAIN_BATCH);
        if let Some(source) = listener.sockets.get_mut(&socket) {
            let left = match source.attention {
                Attention::Accepting { left } => left,
                Attention::Off
                | Attention::Armed
                | Attention::Ready
                | Attention::Looking { .. } => 0,
            };
            if source.is_retiring && is_empty {
                is_over = true;
            } else if source.is_retiring {
                out.push(drain);
            } else if is_empty {
                source.attention = Attention::Armed;
                out.push(Effect::Watch { socket });
            } else if is_dealt {
                source.attention = Attention::Ready;
            } else {
                source.attention = Attention::Looking {
                    at: now.mono + LOOK_PAUSE,
                    seen: LOOKS_UNTIL_STUCK,
                    left,
                };
            }
        }
        if is_over {
            self.close_socket(socket, out);
        }
        self.deal(now, &scope, &key, out);
        self.forget_if_empty(&scope, &key, out);
    }

    /// Begins to empty a socket.
    pub(super) fn drain(
        &mut self,
        scope: &str,
        key: &str,
        socket: SocketId,
        out: &mut Vec<Effect>,
    ) {
        self.is_changed = true;
        let Some(listener) = self.listener(scope, key) else {
            return;
        };
        let accept = listener.accept(socket, DRAIN_BATCH);
        let Some(drained) = listener.sockets.get_mut(&socket) else {
            return;
        };
        drained.is_retiring = true;
        // If some are being accepted already, it goes on when they are there.
        if !matches!(drained.attention, Attention::Accepting { .. }) {
            drained.attention = Attention::Accepting { left: 0 };
            out.push(accept);
        }
    }

    /// Has the sockets watched that are worth it: those we accept from, and those of slots that have siblings.
    pub(super) fn arm(&mut self, scope: &str, key: &str, out: &mut Vec<Effect>) {
        let Some(listener) = self.listener(scope, key) else {
            return;
        };
        let is_worth_it = match listener.sharing {
            Sharing::RoundRobin => true,
            Sharing::Slots => listener.sockets.len() > 1,
            // Whose worker is stuck waits for it: no other one knows him.
            Sharing::Sticky | Sharing::Shared => false,
        };
        for (id, socket) in &mut listener.sockets {
            if is_worth_it && socket.is_bound && socket.attention == Attention::Off {
                socket.attention = Attention::Armed;
                out.push(Effect::Watch { socket: *id });
            }
        }
    }

    /// Gives waiting connections to workers that are free, and accepts more for those who still are.
    pub(super) fn deal(&mut self, now: Now, scope: &str, key: &str, out: &mut Vec<Effect>) {
        let (scopes, workers) = (&mut self.scopes, &mut self.workers);
        let Some(listener) = scopes.get_mut(scope).and_then(|scope| scope.get_mut(key)) else {
            return;
        };
        while let Some(waiting) = listener.waiting.front().copied() {
            let Some(at) = chosen(listener, workers, key, waiting, now) else {
                // Whoever is busy answers, and then it goes on. Those who refused it or seem to be stuck are asked again a little later.
                let is_free = |run: &RunId| is_free(listener, workers, *run, key, now);
                if listener.retry_at.is_none() && listener.rotation.iter().any(is_free) {
                    listener.retry_at = Some(now.mono + RETRY_PAUSE);
                }
                break;
            };
            let connection = waiting.connection;
            listener.waiting.pop_front();
            let run = listener.rotation[at];
            listener.served(run);
            if let Some(worker) = workers.get_mut(&run) {
                let (Taker { seq, line, .. }, is_leap) = worker.taker(run, key);
                self.is_changed |= is_leap;
                let handed = Handed {
                    key: key.into(),
                    connection,
                    at: now.mono,
                    is_certain: true,
                };
                worker.handed.insert(seq, handed);
                out.push(Effect::SendConnection {
                    run,
                    seq,
                    line,
                    connection,
                });
            }
        }
        if listener.sharing != Sharing::RoundRobin || !listener.waiting.is_empty() {
            return;
        }
        let id = listener.id;
        for (&socket, source) in &mut listener.sockets {
            if source.attention != Attention::Ready {
                continue;
            }
            let mut takers = Vec::new();
            for run in &listener.rotation {
                if let Some(worker) = workers.get_mut(run)
                    && !worker.is_leaving
                    && worker.handed.is_empty()
                {
                    let (taker, is_leap) = worker.taker(*run, key);
                    self.is_changed |= is_leap;
                    takers.push(taker);
                }
            }
            if !takers.is_empty() {
                source.attention = Attention::Accepting { left: 0 };
                out.push(Effect::Deal {
                    socket,
                    listener: id,
                    takers,
                });
            }
        }
    }
}

/// Where in the rotation the worker is that gets this connection.
fn chosen(
    listener: &Listener,
    workers: &BTreeMap<RunId, Worker>,
    key: &str,
    waiting: WaitingConnection,
    now: Now,
) -> Option<usize> {
    let fit = listener.rotation.iter().enumerate().filter(|(_, run)| {
        Some(**run) != waiting.refused_by && is_free(listener, workers, **run, key, now)
    });
    // The first of the rotation that is not suspected, or after some time the one whose suspicion is the oldest; of several rather one
    // that is known to empty its own queue.
    let rank = |(at, run): (usize, &RunId)| {
        let doubt = workers.get(run).map(|one| doubt(listener, one.slot));
        let (until, seen) = doubt.unwrap_or_default();
        (until.max(now.mono), seen, at)
    };
    let (until, _, at) = fit.map(rank).min()?;
    let is_held_long = now.mono.saturating_sub(waiting.since) >= HELD_MAX;
    (until <= now.mono || is_held_long).then_some(at)
}

/// Whether a worker can be handed a connection.
fn is_free(
    listener: &Listener,
    workers: &BTreeMap<RunId, Worker>,
    run: RunId,
    key: &str,
    now: Now,
) -> bool {
    let Some(worker) = workers.get(&run) else {
        return false;
    };
    let max = match listener.sharing {
        Sharing::Slots => HANDED_MAX,
        Sharing::Sticky | Sharing::Shared | Sharing::RoundRobin => 1,
    };
    let handed = || worker.handed.values().filter(|handed| &*handed.key == key);
    let is_late = |handed: &Handed| now.mono.saturating_sub(handed.at) >= HANDED_PATIENCE;
    !worker.is_leaving && handed().count() < max && !handed().any(is_late)
}
