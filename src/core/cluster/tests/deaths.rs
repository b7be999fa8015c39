//! Daemons that are killed while connections are on their way: at every instant, in every order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::super::{Policy, Primary, SocketName};
use super::{PORT, query};
use crate::core::{Arrival, Effect, Now, Taker};
use crate::model::{ConnectionId, ListenerId, Members, PmId, RunId, SocketId};

/// Numbers that look random, the same for each seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// What a worker was sent, and what it said. Both outlive the daemon.
#[derive(Default)]
struct Line {
    slot: u32,
    to: VecDeque<(u64, Option<ConnectionId>)>,
    from: VecDeque<String>,
    is_closing: bool,
}

/// A daemon that does one thing after another, the workers, and whatever outlives daemons.
struct World {
    dice: Dice,
    primary: Primary,
    /// Written down before anything is done.
    records: String,
    ms: u64,
    lines: BTreeMap<RunId, Line>,
    next_run: u64,
    /// Slots whose worker has ended.
    vacant: Vec<u32>,
    sockets: BTreeSet<SocketId>,
    /// What the keeper holds, and for whom.
    kept: BTreeMap<ConnectionId, ListenerId>,
    notes: BTreeMap<ConnectionId, (RunId, u64)>,
    /// What some worker did not take.
    refused: BTreeSet<ConnectionId>,
    /// What was accepted and sent in one act, and is held by the daemon alone.
    dealt: BTreeMap<ConnectionId, ListenerId>,
    /// How often each connection was taken.
    taken: Vec<u32>,
    /// How many there are to be.
    queue: usize,
    deaths: u32,
    /// The daemon has been killed in the middle of what it did.
    is_dead: bool,
}

impl World {
    fn new(seed: u64, policy: Policy) -> Self {
        let mut world = Self {
            dice: Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            primary: Primary::default(),
            records: String::new(),
            ms: 0,
            lines: BTreeMap::new(),
            next_run: 0,
            vacant: Vec::new(),
            sockets: BTreeSet::new(),
            kept: BTreeMap::new(),
            notes: BTreeMap::new(),
            refused: BTreeSet::new(),
            dealt: BTreeMap::new(),
            taken: Vec::new(),
            queue: 0,
            deaths: 0,
            is_dead: false,
        };
        for slot in 0..3 {
            world.begin(slot, policy);
        }
        world
    }

    fn now(&self) -> Now {
        Now {
            mono: Duration::from_millis(self.ms),
            wall_ms: self.ms,
        }
    }

    fn begin(&mut self, slot: u32, policy: Policy) {
        let run = RunId(self.next_run);
        self.next_run += 1;
        let line = Line {
            slot,
            ..Line::default()
        };
        self.lines.insert(run, line);
        let now = self.now();
        self.primary
            .enroll(now, run, PmId(slot), "app", policy, false);
        self.hear(run, &query(PORT));
    }

    fn hear(&mut self, run: RunId, text: &str) {
        let mut out = Vec::new();
        let now = self.now();
        self.primary.hear(now, run, text, &mut out);
        self.obey(out);
    }

    /// Writes down, then does. The daemon may be killed before each single act, and does the rest only if it is not.
    fn obey(&mut self, effects: Vec<Effect>) {
        self.records = serde_json::to_string(&self.primary).unwrap();
        for effect in effects {
            self.perform(effect);
        }
    }

    fn is_killed(&mut self) -> bool {
        self.is_dead |= self.deaths > 0 && self.dice.one_in(12);
        self.is_dead
    }

    fn perform(&mut self, effect: Effect) {
        if self.is_killed() {
            return;
        }
        match effect {
            Effect::Listen { socket, .. } => self.listen(socket),
            Effect::Accept {
                socket,
                listener,
                max,
            } => {
                let arrivals = self.accept(listener, max as usize);
                self.tell(socket, &arrivals, max as usize);
            }
            Effect::Deal {
                socket,
                listener,
                takers,
            } => self.deal(socket, listener, &takers),
            Effect::KeepConnection { connection } => {
                if let Some(listener) = self.dealt.remove(&connection) {
                    self.kept.insert(connection, listener);
                }
            }
            Effect::SendConnection {
                run,
                seq,
                connection,
                ..
            } => {
                self.notes.insert(connection, (run, seq));
                if let Some(listener) = self.dealt.remove(&connection) {
                    self.kept.insert(connection, listener);
                }
                if !self.is_killed()
                    && let Some(line) = self.lines.get_mut(&run)
                {
                    line.to.push_back((seq, Some(connection)));
                }
            }
            Effect::SendProbe { run, line } => {
                let message = Members::parse(line.as_str()).unwrap();
                let message = Members::parse(message.get("msg").unwrap()).unwrap();
                let seq = message.get("seq").unwrap().parse().unwrap();
                if let Some(line) = self.lines.get_mut(&run) {
                    line.to.push_back((seq, None));
                }
            }
            Effect::CloseConnection { connection } => {
                self.kept.remove(&connection);
                self.dealt.remove(&connection);
                if !self.is_killed() {
                    self.notes.remove(&connection);
                }
            }
            Effect::Look { socket } => self.look(socket),
            _ => {}
        }
    }

    fn listen(&mut self, socket: SocketId) {
        self.sockets.insert(socket);
        let name = SocketName {
            address: "127.0.0.1".into(),
            is_v6: false,
            port: PORT,
        };
        let (now, mut out) = (self.now(), Vec::new());
        let result = Ok(Some(name));
        self.primary.listened(now, socket, result, &mut out);
        self.obey(out);
    }

    fn look(&mut self, socket: SocketId) {
        let waiting = u32::try_from(self.queue).unwrap();
        let (now, mut out) = (self.now(), Vec::new());
        self.primary.queued(now, socket, waiting, &mut out);
        self.obey(out);
    }

    fn accept(&mut self, listener: ListenerId, max: usize) -> Vec<Arrival> {
        let count = self.queue.min(max);
        self.queue -= count;
        let mut arrivals = Vec::new();
        for _ in 0..count {
            let connection = ConnectionId(self.taken.len() as u64 + 1);
            self.taken.push(0);
            self.kept.insert(connection, listener);
            arrivals.push(Arrival {
                connection,
                sent: None,
            });
        }
        arrivals
    }

    /// Nobody is killed between accepting and sending.
    fn deal(&mut self, socket: SocketId, listener: ListenerId, takers: &[Taker]) {
        let mut arrivals = self.accept(listener, takers.len());
        for (arrival, taker) in arrivals.iter_mut().zip(takers) {
            // Some have a full channel.
            if let Some(line) = self.lines.get_mut(&taker.run)
                && !self.taken.len().is_multiple_of(7)
            {
                self.kept.remove(&arrival.connection);
                self.dealt.insert(arrival.connection, listener);
                line.to.push_back((taker.seq, Some(arrival.connection)));
                arrival.sent = Some((taker.run, taker.seq));
            }
        }
        self.tell(socket, &arrivals, takers.len());
    }

    fn tell(&mut self, socket: SocketId, arrivals: &[Arrival], max: usize) {
        if self.is_killed() {
            return;
        }
        let (now, mut out) = (self.now(), Vec::new());
        let is_empty = arrivals.len() < max;
        (self.primary).accepted(now, socket, arrivals, is_empty, &mut out);
        self.obey(out);
    }

    /// Another daemon goes on.
    fn revive(&mut self) {
        self.is_dead = false;
        // The exception: a worker does not take what it was dealt, or ends, and the daemon is killed before it has heard of that.
        for (connection, _) in std::mem::take(&mut self.dealt) {
            if self.refused.contains(&connection) {
                *self.times(connection) = 1;
            }
        }
        self.primary = serde_json::from_str(&self.records).unwrap();
        let mut out = Vec::new();
        self.primary.resume(&mut out);
        self.obey(out);
        self.notes.retain(|one, _| self.kept.contains_key(one));
        for (connection, listener) in self.kept.clone() {
            let handed = self.notes.get(&connection).copied();
            let (now, mut out) = (self.now(), Vec::new());
            (self.primary).inherit(now, connection, listener, handed, &mut out);
            self.obey(out);
        }
    }

    /// The worker reads one message.
    fn read(&mut self, run: RunId) {
        let Some(line) = self.lines.get_mut(&run) else {
            return;
        };
        let Some((seq, connection)) = line.to.pop_front() else {
            return;
        };
        let is_unwilling = line.is_closing || self.dice.one_in(5);
        // What a killed daemon had dealt to a worker that does not take it is lost: nobody else has it.
        let is_held =
            |one: ConnectionId| self.kept.contains_key(&one) || self.dealt.contains_key(&one);
        let is_accepted = connection.is_some_and(|one| !is_unwilling || !is_held(one));
        line.from.push_back(format!(
            r#"{{"cmd":"NODE_CLUSTER","ack":{seq},"accepted":{is_accepted},"seq":1}}"#
        ));
        match connection {
            Some(connection) if is_accepted => *self.times(connection) += 1,
            Some(connection) => drop(self.refused.insert(connection)),
            None => {}
        }
    }

    fn times(&mut self, connection: ConnectionId) -> &mut u32 {
        &mut self.taken[usize::try_from(connection.0).unwrap() - 1]
    }

    /// The daemon takes in one message, for good only when all is done that it led to.
    fn take_in(&mut self, run: RunId) {
        let Some(text) = self.lines.get(&run).and_then(|line| line.from.front()) else {
            return;
        };
        self.hear(run, &text.clone());
        if !self.is_killed() {
            self.lines.get_mut(&run).unwrap().from.pop_front();
        }
    }

    /// The worker ends, and what it said before is heard first.
    fn end(&mut self, run: RunId) {
        while !self.is_dead && !self.lines[&run].from.is_empty() {
            self.take_in(run);
        }
        if self.is_dead {
            return;
        }
        let Line { to, slot, .. } = self.lines.remove(&run).unwrap();
        for connection in to.into_iter().filter_map(|(_, one)| one) {
            self.refused.insert(connection);
            // Lost with it, as what it had accepted itself is.
            if !self.kept.contains_key(&connection) && !self.dealt.contains_key(&connection) {
                *self.times(connection) = 1;
            }
        }
        let (now, mut out) = (self.now(), Vec::new());
        self.primary.gone(now, run, &mut out);
        // That one has ended is told to every daemon until one has done all that follows.
        self.records = serde_json::to_string(&self.primary).unwrap();
        self.obey(out);
        self.vacant.push(slot);
    }

    fn pass(&mut self, ms: u64) {
        self.ms += ms;
        let (now, mut out) = (self.now(), Vec::new());
        self.primary.wake(now, &mut out);
        self.obey(out);
    }

    fn connections_wait(&mut self) {
        for socket in self.sockets.clone() {
            let (now, mut out) = (self.now(), Vec::new());
            self.primary.waiting(now, socket, &mut out);
            self.obey(out);
        }
    }

    fn step(&mut self, policy: Policy) {
        let runs: Vec<RunId> = self.lines.keys().copied().collect();
        let run = runs[self.dice.below(runs.len())];
        match self.dice.below(20) {
            0..5 => self.read(run),
            5..10 => self.take_in(run),
            10..14 => {
                self.queue += self.dice.below(4);
                self.connections_wait();
            }
            14..18 => self.pass(10),
            18 => self.lines.get_mut(&run).unwrap().is_closing ^= true,
            _ => self.end(run),
        }
        loop {
            while self.is_dead {
                self.deaths += 1;
                self.revive();
            }
            let Some(slot) = self.vacant.pop() else { break };
            self.begin(slot, policy);
        }
    }

    /// Nobody is killed any more, and everybody does what he can.
    fn settle(&mut self) {
        self.deaths = 0;
        for _ in 0..2_000 {
            if self.queue == 0 && self.kept.is_empty() && self.dealt.is_empty() {
                break;
            }
            for run in self.lines.keys().copied().collect::<Vec<_>>() {
                self.lines.get_mut(&run).unwrap().is_closing = false;
                self.read(run);
                self.take_in(run);
            }
            self.connections_wait();
            self.pass(10);
        }
    }
}

// Protects: the promise of a daemon that may die, for those whose connection it has in its hands: each comes to one worker, and never
// to two, who would each read a part of what is asked.
#[test]
fn a_connection_comes_to_one_worker_whenever_daemons_are_killed() {
    for policy in [Policy::RoundRobin, Policy::Slots] {
        let (mut deaths, mut connections) = (0, 0);
        for seed in 1..=15 {
            let mut world = World::new(seed, policy);
            world.deaths = 1;
            for _ in 0..300 {
                world.step(policy);
            }
            deaths += world.deaths;
            world.settle();
            connections += world.taken.len();
            let wrong: Vec<_> = (1..)
                .zip(&world.taken)
                .filter(|(_, times)| **times != 1)
                .collect();
            assert!(wrong.is_empty(), "{policy:?} {seed}: {wrong:?}");
            let left = (&world.kept, &world.notes);
            assert!(
                left.0.is_empty() && left.1.is_empty(),
                "{policy:?} {seed}: {left:?}"
            );
        }
        assert!(deaths > 200 && connections > 500, "{deaths} {connections}");
    }
}
