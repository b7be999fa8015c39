//! Who gets a connection that we accepted, and when we accept.
//!
//! Round robin: whoever has no connection on its way gets the next one. Slots: workers accept by themselves, and we take
//! connections out of a queue that does not get shorter, because its worker is stuck or gone.

use std::time::Duration;

use crate::core::{Effect, Now};
use crate::model::{ConnectionId, RunId, SocketId};

use super::listener::{Attention, Listener, Sharing, WaitingConnection};
use super::query::{envelope, message};
use super::{Handed, Place, Primary, Worker};

/// Between two looks at a queue. A worker that has not come back to its event loop for three of them keeps people waiting.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// Between two looks when there is nobody to give the connections to.
const LOOK_PAUSE_ALONE: Duration = Duration::from_millis(200);

/// How often a queue must not have become shorter until its worker counts as stuck.
const LOOKS_UNTIL_STUCK: u32 = 3;

/// How long one that was stuck is suspected at the first look.
const SUSPICION: Duration = Duration::from_millis(500);

/// Connections taken from a stuck queue at one look, for each worker that is free.
const STOLEN_PER_WORKER: u32 = 16;

/// Connections accepted at once when a socket is emptied.
pub(super) const DRAIN_BATCH: u32 = 64;

/// When connections are offered again to the only worker there is, which refused them.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

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
        let Some(worker) = self.workers.get_mut(&run) else {
            return;
        };
        // Answers to anything else are not waited for.
        let Some(Handed { key, connection }) = worker.handed.remove(&seq) else {
            return;
        };
        let scope = worker.scope.clone();
        match self.listener(&scope, &key) {
            Some(listener) if !is_accepted => listener.put_back(connection, Some(run)),
            _ => out.push(Effect::CloseConnection { connection }),
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

    /// Connections wait at a watched socket.
    pub(in crate::core) fn waiting(&mut self, now: Now, socket: SocketId, out: &mut Vec<Effect>) {
        let Some(Place { scope, key }) = self.places.get(&socket).cloned() else {
            return;
        };
        let Some(listener) = self.listener(&scope, &key) else {
            return;
        };
        let is_dealt = listener.sharing == Sharing::RoundRobin;
        let Some(watched) = listener.sockets.get_mut(&socket) else {
            return;
        };
        if watched.attention != Attention::Armed {
            return;
        }
        if is_dealt {
            watched.attention = Attention::Ready;
            return self.deal(now, &scope, &key, out);
        }
        let is_suspected = watched.suspected_until > now.mono;
        watched.attention = Attention::Looking {
            at: now.mono + LOOK_PAUSE,
            seen: if is_suspected {
                LOOKS_UNTIL_STUCK - 1
            } else {
                0
            },
            left: 0,
        };
    }

    /// Has the queues looked at for which it is time.
    pub(super) fn look_at_due(&mut self, now: Now, scope: &str, key: &str, out: &mut Vec<Effect>) {
        let Some(listener) = self.listener(scope, key) else {
            return;
        };
        for (id, socket) in &mut listener.sockets {
            if let Attention::Looking { at, seen, left } = &mut socket.attention
                && *at <= now.mono
            {
                // Until the answer comes nothing else is due.
                let (seen, left) = (*seen, *left);
                let at = now.mono + LOOK_PAUSE_ALONE;
                socket.attention = Attention::Looking { at, seen, left };
                out.push(Effect::Look { socket: *id });
            }
        }
    }

    /// How many connections wait at a socket.
    pub(in crate::core) fn queued(
        &mut self,
        now: Now,
        socket: SocketId,
        connections: u32,
        out: &mut Vec<Effect>,
    ) {
        let Some(Place { scope, key }) = self.places.get(&socket).cloned() else {
            return;
        };
        let (scopes, workers) = (&mut self.scopes, &self.workers);
        let Some(listener) = scopes.get_mut(&scope).and_then(|scope| scope.get_mut(&key)) else {
            return;
        };
        let free = free_workers(listener, workers, Some(socket), now);
        let Some(looked) = listener.sockets.get_mut(&socket) else {
            return;
        };
        let Attention::Looking { seen, left, .. } = looked.attention else {
            return;
        };
        if connections == 0 {
            looked.attention = Attention::Armed;
            return out.push(Effect::Watch { socket });
        }
        let seen = if connections < left { 1 } else { seen + 1 };
        let is_stuck = seen >= LOOKS_UNTIL_STUCK;
        if is_stuck {
            looked.suspected_until = now.mono + SUSPICION;
        }
        if is_stuck && free > 0 {
            let max = connections.min(free * STOLEN_PER_WORKER);
            let left = connections - max;
            looked.attention = Attention::Accepting { left };
            return out.push(Effect::Accept { socket, max });
        }
        let pause = if is_stuck {
            LOOK_PAUSE_ALONE
        } else {
            LOOK_PAUSE
        };
        looked.attention = Attention::Looking {
            at: now.mono + pause,
            seen,
            left: connections,
        };
    }

    /// Connections were accepted.
    pub(in crate::core) fn accepted(
        &mut self,
        now: Now,
        socket: SocketId,
        connections: &[ConnectionId],
        is_empty: bool,
        out: &mut Vec<Effect>,
    ) {
        let place = self.places.get(&socket).cloned();
        let listener = place.as_ref().and_then(|place| {
            let scope = self.scopes.get_mut(&place.scope)?;
            scope.get_mut(&place.key)
        });
        let (Some(Place { scope, key }), Some(listener)) = (place.clone(), listener) else {
            out.extend(
                connections
                    .iter()
                    .map(|&connection| Effect::CloseConnection { connection }),
            );
            return;
        };
        listener
            .waiting
            .extend(connections.iter().map(|&connection| WaitingConnection {
                connection,
                refused_by: None,
            }));
        let is_dealt = listener.sharing == Sharing::RoundRobin;
        let mut is_over = false;
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
                let max = DRAIN_BATCH;
                out.push(Effect::Accept { socket, max });
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
        let Some(drained) = listener.sockets.get_mut(&socket) else {
            return;
        };
        drained.is_retiring = true;
        // If some are being accepted already, it goes on when they are there.
        if !matches!(drained.attention, Attention::Accepting { .. }) {
            drained.attention = Attention::Accepting { left: 0 };
            let max = DRAIN_BATCH;
            out.push(Effect::Accept { socket, max });
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
            Sharing::Shared => false,
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
        while let Some(WaitingConnection {
            connection,
            refused_by,
        }) = listener.waiting.front().copied()
        {
            let is_fit = |run: &RunId| {
                Some(*run) != refused_by
                    && workers.get(run).is_some_and(|worker| worker.is_free(key))
                    && !is_stuck(listener, workers, *run, now)
            };
            let Some(at) = listener.rotation.iter().position(is_fit) else {
                // Whoever is busy answers, and then it goes on. Those who refused it or seem to be stuck are asked again a little later.
                let is_free = |run: &RunId| workers.get(run).is_some_and(|one| one.is_free(key));
                if listener.retry_at.is_none() && listener.rotation.iter().any(is_free) {
                    listener.retry_at = Some(now.mono + RETRY_PAUSE);
                }
                break;
            };
            listener.waiting.pop_front();
            let Some(run) = listener.rotation.remove(at) else {
                break;
            };
            listener.rotation.push_back(run);
            if let Some(worker) = workers.get_mut(&run) {
                let (seq, is_leap) = worker.take_seq();
                self.is_changed |= is_leap;
                let quoted = crate::model::quoted(key);
                let fields = [("act", "\"newconn\""), ("key", &*quoted)];
                let text = message(&fields, seq);
                let handed = Handed {
                    key: key.into(),
                    connection,
                };
                worker.handed.insert(seq, handed);
                out.push(Effect::SendConnection {
                    run,
                    line: envelope("net.Native", &text),
                    connection,
                });
            }
        }
        if listener.sharing != Sharing::RoundRobin || !listener.waiting.is_empty() {
            return;
        }
        let max = free_workers(listener, workers, None, now);
        for (id, socket) in &mut listener.sockets {
            if max > 0 && socket.attention == Attention::Ready {
                socket.attention = Attention::Accepting { left: 0 };
                out.push(Effect::Accept { socket: *id, max });
            }
        }
    }
}

impl Worker {
    /// Whether it can be given a connection.
    fn is_free(&self, key: &str) -> bool {
        !self.is_leaving && !self.handed.values().any(|handed| &*handed.key == key)
    }
}

/// Whether the worker leaves its own queue alone. Then it would do the same with what it is handed.
fn is_stuck(
    listener: &Listener,
    workers: &std::collections::BTreeMap<RunId, Worker>,
    run: RunId,
    now: Now,
) -> bool {
    let Some(worker) = workers.get(&run) else {
        return true;
    };
    listener.sharing == Sharing::Slots
        && listener.rotation.len() > 1
        && listener
            .sockets
            .values()
            .any(|socket| socket.users.contains(&worker.slot) && socket.suspected_until > now.mono)
}

/// How many workers could take a connection at once; those of a socket that is being emptied for them not counted.
fn free_workers(
    listener: &Listener,
    workers: &std::collections::BTreeMap<RunId, Worker>,
    from: Option<SocketId>,
    now: Now,
) -> u32 {
    let source = from.and_then(|from| listener.sockets.get(&from));
    let is_free = |run: &&RunId| {
        workers.get(run).is_some_and(|worker| {
            !worker.is_leaving
                && worker.handed.is_empty()
                && source.is_none_or(|source| !source.users.contains(&worker.slot))
                && !is_stuck(listener, workers, **run, now)
        })
    };
    u32::try_from(listener.rotation.iter().filter(is_free).count()).unwrap_or(u32::MAX)
}
