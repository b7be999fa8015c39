//! Connections at the socket of a slot whose worker does not take them: when we take them for others.
//!
//! Nothing of this costs anything while workers keep up: a socket is watched, and looked at a few times only after a connection has
//! waited there.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::core::{Effect, Now};
use crate::model::{PmId, RunId, SocketId};

use super::listener::{Attention, Listener, Sharing, Socket};
use super::{Place, Primary, Worker};

/// Between two looks at a queue. A worker that has not come back to its event loop for three of them keeps people waiting.
pub(super) const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// Between two looks when there is nobody to give the connections to.
const LOOK_PAUSE_ALONE: Duration = Duration::from_millis(50);

/// How often a queue must not have become shorter until its worker counts as stuck.
pub(super) const LOOKS_UNTIL_STUCK: u32 = 3;

/// How long one that was stuck is suspected at the first look, unless it gives a sign of life.
const SUSPICION: Duration = Duration::from_millis(500);

/// Connections held here at once for each worker that they could be given to. What is more stays in the queue of the one that is stuck,
/// in case it comes back first.
const STOLEN_PER_WORKER: usize = 16;

impl Primary {
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
            left: 1,
        };
    }

    /// Has the queues looked at for which it is time.
    pub(super) fn look_at_due(&mut self, now: Now, scope: &str, key: &str, out: &mut Vec<Effect>) {
        let Some(listener) = self.listener(scope, key) else {
            return;
        };
        for (id, socket) in &mut listener.sockets {
            if let Attention::Looking { at, .. } = &mut socket.attention
                && *at <= now.mono
            {
                // Until the answer comes nothing else is due.
                *at = now.mono + LOOK_PAUSE_ALONE;
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
        let takers = takers(listener, workers, socket, now);
        let room = (takers * STOLEN_PER_WORKER).saturating_sub(listener.waiting.len());
        let max = connections.min(u32::try_from(room).unwrap_or(u32::MAX));
        let accept = listener.accept(socket, max);
        let Some(looked) = listener.sockets.get_mut(&socket) else {
            return;
        };
        let Attention::Looking { seen, left, .. } = looked.attention else {
            return;
        };
        // What we took out ourselves is not counted in `left`: somebody else did.
        let is_moving = connections < left;
        if is_moving {
            looked.suspected_until = Duration::ZERO;
        }
        if connections == 0 {
            looked.attention = Attention::Armed;
            return out.push(Effect::Watch { socket });
        }
        let seen = if is_moving { 1 } else { seen + 1 };
        let is_stuck = seen >= LOOKS_UNTIL_STUCK;
        if is_stuck {
            looked.suspected_until = now.mono + SUSPICION;
        }
        if is_stuck && room > 0 {
            let left = connections - max;
            looked.attention = Attention::Accepting { left };
            return out.push(accept);
        }
        let pause = if is_stuck && takers == 0 {
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
}

/// How many workers the connections of this socket could be given to.
fn takers(
    listener: &Listener,
    workers: &BTreeMap<RunId, Worker>,
    from: SocketId,
    now: Now,
) -> usize {
    let source = listener.sockets.get(&from);
    let is_taker = |worker: &&Worker| {
        !worker.is_leaving
            && source.is_none_or(|source| !source.users.contains(&worker.slot))
            && doubt(listener, worker.slot).0 <= now.mono
    };
    let serving = listener.rotation.iter().filter_map(|run| workers.get(run));
    serving.filter(is_taker).count()
}

/// Until when the worker of a slot is suspected to leave its own queue alone, and how often in a row it was seen to. It would do the
/// same with what it is handed.
pub(super) fn doubt(listener: &Listener, slot: PmId) -> (Duration, u32) {
    if listener.sharing != Sharing::Slots || listener.rotation.len() < 2 {
        return (Duration::ZERO, 0);
    }
    let own = |socket: &&Socket| socket.users.contains(&slot);
    let seen = |socket: &Socket| match socket.attention {
        Attention::Looking { seen, .. } => seen,
        Attention::Off | Attention::Armed | Attention::Ready | Attention::Accepting { .. } => 0,
    };
    let each = listener.sockets.values().filter(own);
    let each = each.map(|socket| (socket.suspected_until, seen(socket)));
    each.max().unwrap_or_default()
}
