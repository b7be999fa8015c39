//! When sockets end: with their slots, or when no worker wants them any more.

use std::time::Duration;

use crate::core::{Effect, Now};
use crate::model::{PmId, SocketId};

use super::{Place, Primary, Worker};

/// How long a socket that no worker has stays while the slot's worker has other servers: it closed this one for good.
const UNHELD_MAX: Duration = Duration::from_secs(5);

/// How long a new worker has to ask for what the one before had.
const STARTING_MAX: Duration = Duration::from_mins(1);

impl Primary {
    /// Nothing of this slot runs, and nothing is going to by itself: its sockets are emptied in favour of its siblings, and closed.
    pub(in crate::core) fn release(&mut self, now: Now, slot: PmId, out: &mut Vec<Effect>) {
        let places: Vec<(SocketId, Place)> = self
            .places
            .iter()
            .map(|(id, place)| (*id, place.clone()))
            .collect();
        for (id, Place { scope, key }) in places {
            let Some(listener) = self.listener(&scope, &key) else {
                continue;
            };
            let Some(socket) = listener.sockets.get_mut(&id) else {
                continue;
            };
            if !socket.users.remove(&slot) {
                continue;
            }
            let is_unused = socket.users.is_empty();
            self.is_changed = true;
            if is_unused {
                self.retire(&scope, &key, id, out);
                self.deal(now, &scope, &key, out);
            }
        }
    }

    /// Somebody let go of this server: sockets that nobody has are given up some time later.
    pub(super) fn note_unheld(&mut self, now: Now, scope: &str, key: &str) {
        let (scopes, workers) = (&mut self.scopes, &self.workers);
        let Some(listener) = scopes.get_mut(scope).and_then(|scope| scope.get_mut(key)) else {
            return;
        };
        for socket in listener.sockets.values_mut() {
            let is_held = workers.values().any(|worker| {
                socket.users.contains(&worker.slot) && worker.held.iter().any(|held| &**held == key)
            });
            if !is_held && socket.unheld_at.is_none() {
                socket.unheld_at = Some(now.mono + UNHELD_MAX);
            }
        }
    }

    /// Gives up the sockets that no worker wants.
    pub(super) fn expire(&mut self, now: Now, scope: &str, key: &str, out: &mut Vec<Effect>) {
        let (scopes, workers) = (&mut self.scopes, &self.workers);
        let Some(listener) = scopes.get_mut(scope).and_then(|scope| scope.get_mut(key)) else {
            return;
        };
        let mut expired = Vec::new();
        for (id, socket) in &mut listener.sockets {
            if socket.unheld_at.is_none_or(|at| at > now.mono) {
                continue;
            }
            let has_settled = |worker: &&Worker| {
                let age = now.mono.saturating_sub(worker.since);
                !worker.is_leaving && (worker.has_listened || age >= STARTING_MAX)
            };
            let is_of_slot = |worker: &&Worker| socket.users.contains(&worker.slot);
            if workers
                .values()
                .filter(is_of_slot)
                .any(|worker| has_settled(&worker))
            {
                socket.users.clear();
                expired.push(*id);
            } else {
                // Its worker is on its way, or will be: people who connect meanwhile are answered then.
                socket.unheld_at = Some(now.mono + UNHELD_MAX);
            }
        }
        for id in expired {
            self.retire(scope, key, id, out);
        }
    }

    /// Empties a socket if somebody else can serve what waits there, then closes it.
    fn retire(&mut self, scope: &str, key: &str, socket: SocketId, out: &mut Vec<Effect>) {
        let (scopes, workers) = (&mut self.scopes, &self.workers);
        let Some(listener) = scopes.get_mut(scope).and_then(|scope| scope.get_mut(key)) else {
            return;
        };
        let is_served = listener
            .rotation
            .iter()
            .any(|run| workers.get(run).is_some_and(|worker| !worker.is_leaving));
        if listener.has_slots() && listener.sockets.len() > 1 && is_served {
            self.drain(scope, key, socket, out);
        } else {
            self.close_socket(socket, out);
            self.forget_if_empty(scope, key, out);
        }
    }

    pub(super) fn close_socket(&mut self, socket: SocketId, out: &mut Vec<Effect>) {
        if let Some(Place { scope, key }) = self.places.remove(&socket) {
            self.is_changed = true;
            if let Some(listener) = self.listener(&scope, &key) {
                listener.sockets.remove(&socket);
                listener.steer(out);
            }
            out.push(Effect::CloseSocket { socket });
        }
    }

    /// Forgets an address that has no socket and is not asked for.
    pub(super) fn forget_if_empty(&mut self, scope: &str, key: &str, out: &mut Vec<Effect>) {
        let Some(listeners) = self.scopes.get_mut(scope) else {
            return;
        };
        let before = listeners.len();
        let is_empty = listeners
            .get(key)
            .is_some_and(|one| one.sockets.is_empty() && one.askers.is_empty());
        if is_empty && let Some(listener) = listeners.remove(key) {
            out.extend(listener.waiting.iter().map(|one| Effect::CloseConnection {
                connection: one.connection,
            }));
        }
        self.is_changed |= listeners.len() != before;
        if listeners.is_empty() {
            self.scopes.remove(scope);
        }
    }
}
