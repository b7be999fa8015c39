//! One address of one application, and the sockets that listen there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use crate::model::{ConnectionId, ListenerId, PmId, RunId, SocketId};

use super::Policy;
use super::query::{ListenAddress, PortShare, SocketName};
use crate::core::{Effect, Now};

/// How the sockets of one address are given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Sharing {
    /// Each slot has its own.
    Slots,
    /// Each slot has its own, and each client comes to the same one every time.
    Sticky,
    /// There is one, and each worker has a copy.
    Shared,
    /// There is one, and only we accept from it.
    RoundRobin,
}

/// One address of one application.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Listener {
    /// What accepted connections are kept under.
    #[serde(default = "unnumbered")]
    pub(super) id: ListenerId,
    pub(super) address: ListenAddress,
    pub(super) sharing: Sharing,
    /// What the first server wanted its siblings to know, as JSON.
    pub(super) data: Box<str>,
    /// The name the first socket got; the others get the same.
    pub(super) name: Option<SocketName>,
    pub(super) sockets: BTreeMap<SocketId, Socket>,
    /// Those who wait for a socket.
    pub(super) askers: Vec<Asker>,
    /// The workers that have this server, the next to get a connection first. Written out in another order, which is the same
    /// whoever is the next: that changes with every connection.
    #[serde(serialize_with = "sorted")]
    pub(super) rotation: VecDeque<RunId>,
    /// Connections that no worker has yet.
    #[serde(skip)]
    pub(super) waiting: VecDeque<WaitingConnection>,
    /// When to offer them again to those who refused.
    #[serde(skip)]
    pub(super) retry_at: Option<Duration>,
}

/// Somebody who waits for a socket.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Asker {
    pub(super) run: RunId,
    pub(super) slot: PmId,
    /// The number of its question.
    pub(super) ack: u64,
}

/// A connection that no worker has yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct WaitingConnection {
    pub(super) connection: ConnectionId,
    /// Who said no last.
    pub(super) refused_by: Option<RunId>,
    /// When it came here.
    pub(super) since: Duration,
}

/// One socket.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Socket {
    /// The slots it is there for; when the last of them goes, it goes.
    pub(super) users: BTreeSet<PmId>,
    pub(super) is_bound: bool,
    #[serde(serialize_with = "whether_watched")]
    pub(super) attention: Attention,
    /// When it is given up because no worker of its slots wants it any more.
    pub(super) unheld_at: Option<Duration>,
    /// It is emptied, then closed.
    pub(super) is_retiring: bool,
    /// Until when its worker is taken for stuck at the first sign. What it does itself clears it.
    #[serde(skip)]
    pub(super) suspected_until: Duration,
}

/// How closely we look at a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Attention {
    /// Not at all.
    Off,
    /// We are told when connections wait.
    Armed,
    /// Connections wait, and are looked at again at this time.
    Looking {
        /// When.
        at: Duration,
        /// How often in a row the queue has not become shorter.
        seen: u32,
        /// How many were left the last time.
        left: u32,
    },
    /// Connections wait for a worker to be free.
    Ready,
    /// Some are being accepted; afterwards this many are left that we know of.
    Accepting {
        /// What is known to be left.
        left: u32,
    },
}

/// In the records of daemons that kept no connections.
const UNNUMBERED: ListenerId = ListenerId(u64::MAX);

fn unnumbered() -> ListenerId {
    UNNUMBERED
}

fn sorted<S: Serializer>(rotation: &VecDeque<RunId>, to: S) -> Result<S::Ok, S::Error> {
    let runs: BTreeSet<RunId> = rotation.iter().copied().collect();
    runs.serialize(to)
}

/// Another daemon watches every socket again, and looks for itself.
fn whether_watched<S: Serializer>(attention: &Attention, to: S) -> Result<S::Ok, S::Error> {
    let attention = match attention {
        Attention::Off => Attention::Off,
        Attention::Armed
        | Attention::Looking { .. }
        | Attention::Ready
        | Attention::Accepting { .. } => Attention::Armed,
    };
    attention.serialize(to)
}

impl Listener {
    pub(super) fn new(address: ListenAddress, policy: Policy) -> Self {
        let sharing = match (&address, policy) {
            (ListenAddress::Udp { .. }, _)
            | (ListenAddress::Unix { .. }, Policy::Slots | Policy::Sticky | Policy::Shared)
            | (ListenAddress::Tcp { .. }, Policy::Shared) => Sharing::Shared,
            (ListenAddress::Tcp { .. }, Policy::Slots) => Sharing::Slots,
            (ListenAddress::Tcp { .. }, Policy::Sticky) => Sharing::Sticky,
            (ListenAddress::Tcp { .. } | ListenAddress::Unix { .. }, Policy::RoundRobin) => {
                Sharing::RoundRobin
            }
        };
        Self {
            id: UNNUMBERED,
            address,
            sharing,
            data: "null".into(),
            name: None,
            sockets: BTreeMap::new(),
            askers: Vec::new(),
            rotation: VecDeque::new(),
            waiting: VecDeque::new(),
            retry_at: None,
        }
    }

    /// Gives it a number if it has none.
    pub(super) fn number(&mut self, next: &mut u64) {
        if self.id == UNNUMBERED {
            self.id = ListenerId(*next);
            *next += 1;
        }
    }

    /// A worker gets a connection: the others come first now.
    pub(super) fn served(&mut self, run: RunId) {
        if let Some(at) = self.rotation.iter().position(|one| *one == run) {
            self.rotation.remove(at);
            self.rotation.push_back(run);
        }
    }

    /// Has connections accepted at one of its sockets.
    pub(super) fn accept(&self, socket: SocketId, max: u32) -> Effect {
        let listener = self.id;
        Effect::Accept {
            socket,
            listener,
            max,
        }
    }

    /// Whether each slot has a socket of its own.
    pub(super) fn has_slots(&self) -> bool {
        matches!(self.sharing, Sharing::Slots | Sharing::Sticky)
    }

    /// Has clients distributed over the sockets there are now, by their addresses if that is wanted.
    pub(super) fn steer(&self, out: &mut Vec<Effect>) {
        let bound = || self.sockets.iter().filter(|(_, socket)| socket.is_bound);
        if self.sharing == Sharing::Sticky
            && let Some((&socket, _)) = bound().next()
        {
            let sockets = u32::try_from(bound().count()).unwrap_or(u32::MAX);
            out.push(Effect::Steer { socket, sockets });
        }
    }

    /// The socket that a worker in this slot is to get.
    pub(super) fn socket_for(&mut self, slot: PmId) -> Option<(SocketId, &mut Socket)> {
        let is_for_all = !self.has_slots();
        self.sockets
            .iter_mut()
            .find(|(_, socket)| is_for_all || socket.users.contains(&slot))
            .map(|(id, socket)| (*id, socket))
    }

    /// Whether a socket is being bound.
    pub(super) fn is_binding(&self) -> bool {
        self.sockets.values().any(|socket| !socket.is_bound)
    }

    /// Where the next socket is bound.
    pub(super) fn next_address(&self) -> ListenAddress {
        let joined = self.name.as_ref().filter(|_| !self.sockets.is_empty());
        match (self.has_slots(), &self.address, joined) {
            (true, address, Some(name)) => address.joining(name),
            (
                true,
                ListenAddress::Tcp {
                    host,
                    port,
                    v6_only,
                    backlog,
                    ..
                },
                None,
            ) => ListenAddress::Tcp {
                host: host.clone(),
                port: *port,
                v6_only: *v6_only,
                backlog: *backlog,
                share: PortShare::First,
            },
            (_, address, _) => address.clone(),
        }
    }

    /// A connection waits for a worker, behind those that wait already.
    pub(super) fn queue(&mut self, now: Now, connection: ConnectionId) {
        self.waiting.push_back(WaitingConnection {
            connection,
            refused_by: None,
            since: now.mono,
        });
    }

    /// A connection that did not find its worker is the next to be dealt out.
    pub(super) fn put_back(
        &mut self,
        now: Now,
        connection: ConnectionId,
        refused_by: Option<RunId>,
    ) {
        self.waiting.push_front(WaitingConnection {
            connection,
            refused_by,
            since: now.mono,
        });
    }

    /// The worker of this slot is in its event loop.
    pub(super) fn shows_life(&mut self, slot: PmId) {
        for socket in self.sockets.values_mut() {
            if socket.users.contains(&slot) {
                socket.suspected_until = Duration::ZERO;
            }
        }
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        let sockets = self.sockets.values().flat_map(|socket| {
            let look = match socket.attention {
                Attention::Looking { at, .. } => Some(at),
                Attention::Off
                | Attention::Armed
                | Attention::Ready
                | Attention::Accepting { .. } => None,
            };
            [look, socket.unheld_at]
        });
        sockets.chain([self.retry_at]).flatten().min()
    }
}

impl Socket {
    pub(super) fn new(slot: PmId) -> Self {
        Self {
            users: BTreeSet::from([slot]),
            is_bound: false,
            attention: Attention::Off,
            unheld_at: None,
            is_retiring: false,
            suspected_until: Duration::ZERO,
        }
    }
}
