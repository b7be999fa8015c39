//! What another daemon goes on with: sockets, and the connections that were on their way.
//!
//! A worker answers for each connection in the order in which they were sent. So one that was perhaps never sent is known not to
//! have been as soon as an answer to a later message comes; to have one, the worker is sent a connection that is for nobody.

use std::collections::BTreeMap;

use crate::core::{Effect, Now, Taker};
use crate::model::{ConnectionId, ListenerId, RunId};

use super::dispatch::DRAIN_BATCH;
use super::listener::Attention;
use super::{Handed, Place, Primary};

/// The key of a probe: that of no server, so it is refused.
const NO_SERVER: &str = "";

impl Primary {
    /// Goes on where another daemon was. Every socket is watched again by then.
    pub(in crate::core) fn resume(&mut self, out: &mut Vec<Effect>) {
        let listeners = self.scopes.values_mut().flat_map(BTreeMap::values_mut);
        for listener in listeners {
            listener.number(&mut self.next_socket);
            let mut retiring = Vec::new();
            for (id, socket) in &mut listener.sockets {
                if socket.is_retiring {
                    socket.attention = Attention::Accepting { left: 0 };
                    retiring.push(*id);
                }
            }
            out.extend(
                retiring
                    .into_iter()
                    .map(|id| listener.accept(id, DRAIN_BATCH)),
            );
        }
    }

    /// Takes over a connection that another daemon had accepted.
    pub(in crate::core) fn inherit(
        &mut self,
        now: Now,
        connection: ConnectionId,
        listener: ListenerId,
        handed: Option<(RunId, u64)>,
        out: &mut Vec<Effect>,
    ) {
        let Some(Place { scope, key }) = self.place_of(listener) else {
            return out.push(Effect::CloseConnection { connection });
        };
        if let Some((run, seq)) = handed
            && let Some(worker) = self.workers.get_mut(&run)
        {
            let handed = Handed {
                key,
                connection,
                at: now.mono,
                is_certain: false,
            };
            worker.handed.insert(seq, handed);
            return self.probe(run, out);
        }
        if let Some(listener) = self.listener(&scope, &key) {
            listener.queue(now, connection);
        }
        self.deal(now, &scope, &key, out);
    }

    /// A worker has answered a message: what is not known to have been sent before that, and is not answered, was not sent.
    pub(super) fn put_back_unsent(
        &mut self,
        now: Now,
        run: RunId,
        answered: u64,
        out: &mut Vec<Effect>,
    ) {
        let Some(worker) = self.workers.get_mut(&run) else {
            return;
        };
        let is_unsent = |seq: &u64, handed: &mut Handed| *seq < answered && !handed.is_certain;
        let unsent: Vec<(u64, Handed)> = worker.handed.extract_if(.., is_unsent).collect();
        let scope = worker.scope.clone();
        for (
            _,
            Handed {
                key, connection, ..
            },
        ) in unsent
        {
            match self.listener(&scope, &key) {
                Some(listener) => listener.put_back(now, connection, None),
                None => out.push(Effect::CloseConnection { connection }),
            }
            self.deal(now, &scope, &key, out);
        }
    }

    /// Has a worker answer for what it was sent before.
    fn probe(&mut self, run: RunId, out: &mut Vec<Effect>) {
        let Some(worker) = self.workers.get_mut(&run) else {
            return;
        };
        let (Taker { line, .. }, is_leap) = worker.taker(run, NO_SERVER);
        self.is_changed |= is_leap;
        out.push(Effect::SendProbe { run, line });
    }

    fn place_of(&self, listener: ListenerId) -> Option<Place> {
        let mut all = self.scopes.iter().flat_map(|(scope, listeners)| {
            let named = listeners.iter();
            named.map(move |(key, one)| (scope, key, one.id))
        });
        let found = all.find(|(_, _, id)| *id == listener);
        found.map(|(scope, key, _)| Place {
            scope: scope.clone(),
            key: key.clone(),
        })
    }
}
