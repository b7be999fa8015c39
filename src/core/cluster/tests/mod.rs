//! The primary against what real workers said, and the decisions that no transcript holds.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "this world looks at what a test is about, and keeps the rest"
)]

mod deaths;
mod stealing;

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::Value;

use super::{ListenAddress, Policy, PortShare, Primary, Said, SocketName};
use crate::core::{Arrival, Effect, Now, Taker};
use crate::model::{ConnectionId, PmId, RunId, SocketId};

const PORT: u16 = 3000;

/// A primary, what it wants done, and a daemon that does it at once.
#[derive(Default)]
struct World {
    primary: Primary,
    ms: u64,
    /// What was sent: to whom, whether with a descriptor, and what.
    sent: Vec<(RunId, bool, Value)>,
    other: Vec<Effect>,
    sockets: Vec<SocketId>,
    connections: u64,
    /// Who gets the next connections.
    takers: VecDeque<Taker>,
    /// The error that binding gives.
    refusal: Option<i32>,
}

impl World {
    fn now(&self) -> Now {
        Now {
            mono: Duration::from_millis(self.ms),
            wall_ms: self.ms,
        }
    }

    fn enroll(&mut self, run: u64, slot: u32, policy: Policy) {
        let now = self.now();
        self.primary
            .enroll(now, RunId(run), PmId(slot), "app", policy, false);
    }

    fn act(&mut self, act: impl FnOnce(&mut Primary, Now, &mut Vec<Effect>)) {
        let mut out = Vec::new();
        let now = self.now();
        let before = self.frozen();
        let _marked_before = self.primary.take_changed();
        act(&mut self.primary, now, &mut out);
        let is_marked = self.primary.take_changed();
        assert!(
            is_marked || self.frozen() == before,
            "another daemon is not told"
        );
        self.obey(out);
    }

    /// What another daemon would go on from.
    fn frozen(&self) -> String {
        serde_json::to_string(&self.primary).unwrap()
    }

    fn obey(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send { run, line } => self.note(run, false, line.as_str()),
                Effect::SendSocket { run, line, .. } | Effect::SendConnection { run, line, .. } => {
                    self.note(run, true, line.as_str());
                }
                Effect::Listen { socket, address } => {
                    let port = match &*address {
                        ListenAddress::Tcp { port, .. } => *port,
                        ListenAddress::Unix { .. } | ListenAddress::Udp { .. } => PORT,
                    };
                    self.sockets.push(socket);
                    self.other.push(Effect::Listen { socket, address });
                    let name = SocketName {
                        address: "127.0.0.1".into(),
                        is_v6: false,
                        port,
                    };
                    let result = self.refusal.map_or(Ok(Some(name)), Err);
                    self.act(|primary, now, out| primary.listened(now, socket, result, out));
                }
                Effect::Deal { takers, .. } => self.takers = takers.into(),
                other => self.other.push(other),
            }
        }
    }

    fn note(&mut self, run: RunId, fd: bool, line: &str) {
        self.sent
            .push((run, fd, serde_json::from_str(line).unwrap()));
    }

    fn hear(&mut self, run: u64, text: &str) -> Said {
        let mut said = Said::Nothing;
        self.act(|primary, now, out| said = primary.hear(now, RunId(run), text, out));
        said
    }

    /// The worker asks for the port, and has it.
    fn serve(&mut self, run: u64) {
        self.hear(run, &query(PORT));
    }

    fn accepted(&mut self, socket: SocketId, count: u64, is_empty: bool) {
        let first = self.connections;
        self.connections += count;
        let mut takers = std::mem::take(&mut self.takers);
        let mut arrivals = Vec::new();
        for number in first..first + count {
            let taker = takers.pop_front();
            if let Some(Taker { run, line, .. }) = &taker {
                self.note(*run, true, line.as_str());
            }
            arrivals.push(Arrival {
                connection: ConnectionId(number),
                sent: taker.map(|taker| (taker.run, taker.seq)),
            });
        }
        self.act(|primary, now, out| primary.accepted(now, socket, &arrivals, is_empty, out));
    }

    fn queued(&mut self, socket: SocketId, connections: u32) {
        self.act(|primary, now, out| primary.queued(now, socket, connections, out));
    }

    fn pass(&mut self, ms: u64) {
        self.ms += ms;
        self.act(Primary::wake);
    }

    /// To whom connections were given, since this was asked last.
    fn given(&mut self) -> Vec<u64> {
        let sent = std::mem::take(&mut self.sent);
        let is_connection = |message: &Value| message["msg"]["act"] == "newconn";
        sent.iter()
            .filter(|(_, _, message)| is_connection(message))
            .map(|(run, _, _)| run.0)
            .collect()
    }

    fn took(&mut self, effect: &Effect) -> bool {
        self.takes(|other| other == effect)
    }

    /// Whether it wants as many connections accepted there.
    fn accepts(&mut self, at: SocketId, most: u32) -> bool {
        self.takes(|effect| matches!(effect, Effect::Accept { socket, max, .. } if (*socket, *max) == (at, most)))
    }

    fn takes(&mut self, is_meant: impl Fn(&Effect) -> bool) -> bool {
        let at = self.other.iter().position(is_meant);
        at.map(|at| self.other.remove(at)).is_some()
    }
}

fn query(port: u16) -> String {
    format!(
        r#"{{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,"address":"127.0.0.1","port":{port},"addressType":4,"flags":0,"backlog":0,"seq":1}}"#
    )
}

/// Two slots, each with a worker that serves the port.
fn two_slots() -> World {
    let mut world = World::default();
    for worker in 0..2 {
        world.enroll(worker, u32::try_from(worker).unwrap(), Policy::Slots);
        world.serve(worker);
    }
    world.sent.clear();
    world
}

// Protects: word for word what Node 18 to 24 understood when it was recorded.
#[test]
fn recorded_workers_get_the_recorded_answers() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/__test__/golden/ipc");
    for node in [18, 20, 22, 24] {
        for (name, policy) in [("rr", Policy::RoundRobin), ("shared", Policy::Shared)] {
            replay(&format!("{folder}/cluster-node{node}-{name}.jsonl"), policy);
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test reads what it compares with"
)]
fn replay(path: &str, policy: Policy) {
    let text = std::fs::read_to_string(path).unwrap();
    let mut world = World::default();
    world.enroll(1, 0, policy);
    for line in text.lines().skip(1) {
        let entry: Value = serde_json::from_str(line).unwrap();
        let message = &entry["msg"];
        if entry["dir"] == "from-worker" {
            if message["cmd"] == "NODE_CLUSTER" {
                world.hear(1, &message.to_string());
            }
            continue;
        }
        if message["act"] == "disconnect" {
            world.act(|primary, now, out| {
                primary.disconnect(now, RunId(1), out);
            });
        }
        if message["msg"]["act"] == "newconn" {
            let socket = world.sockets[0];
            world.act(|primary, now, out| primary.waiting(now, socket, out));
            world.accepted(socket, 1, true);
        }
        assert!(
            !world.sent.is_empty(),
            "{path}: nothing was sent for {message}"
        );
        let (_, fd, sent) = world.sent.remove(0);
        assert_eq!((fd, &sent), (entry["fd"] == true, message), "{path}");
    }
    assert_eq!(world.sent, [], "{path}");
}

#[test]
fn each_slot_has_a_socket_of_its_own_which_its_next_worker_gets() {
    let mut world = two_slots();
    let shares: Vec<PortShare> = world
        .other
        .iter()
        .filter_map(|effect| {
            if let Effect::Listen { address, .. } = effect
                && let ListenAddress::Tcp { share, .. } = **address
            {
                return Some(share);
            }
            None
        })
        .collect();
    assert_eq!(shares, [PortShare::First, PortShare::Join]);
    world.act(|primary, now, out| primary.gone(now, RunId(0), out));
    world.enroll(7, 0, Policy::Slots);
    world.serve(7);
    assert_eq!(world.sockets.len(), 2, "no third socket");
    assert!(
        world
            .sent
            .iter()
            .any(|(run, fd, _)| *run == RunId(7) && *fd)
    );
}

#[test]
fn a_refused_address_is_told_and_can_be_asked_for_again() {
    let mut world = World {
        refusal: Some(-98),
        ..World::default()
    };
    world.enroll(0, 0, Policy::Slots);
    world.serve(0);
    assert_eq!(world.sent.remove(0).2["errno"], -98);
    world.refusal = None;
    world.serve(0);
    assert_eq!(world.sent.remove(0).2["msg"]["errno"], 0);
    world.serve(0);
    assert_eq!(world.sent.remove(0).2["errno"], -98, "it has it already");
}

#[test]
fn what_a_worker_did_not_take_goes_to_another_and_never_gets_lost() {
    let mut world = World::default();
    for worker in 0..2 {
        world.enroll(worker, u32::try_from(worker).unwrap(), Policy::RoundRobin);
        world.serve(worker);
    }
    let socket = world.sockets[0];
    world.act(|primary, now, out| primary.waiting(now, socket, out));
    world.accepted(socket, 2, true);
    assert_eq!(world.given(), [0, 1]);
    world.hear(
        0,
        r#"{"cmd":"NODE_CLUSTER","ack":1,"accepted":false,"seq":5}"#,
    );
    assert!(
        world.given().is_empty(),
        "not to the same one, and the other is busy"
    );
    world.act(|primary, now, out| primary.gone(now, RunId(1), out));
    assert_eq!(world.given(), [0], "of the two, the one it has not refused");
    world.hear(
        0,
        r#"{"cmd":"NODE_CLUSTER","ack":2,"accepted":true,"seq":6}"#,
    );
    world.pass(50);
    assert_eq!(world.given(), [0], "and a little later the other one");
}

#[test]
fn a_slot_that_goes_is_emptied_for_its_siblings_and_then_closed() {
    let mut world = two_slots();
    let socket = world.sockets[0];
    world.act(|primary, now, out| primary.gone(now, RunId(0), out));
    world.act(|primary, now, out| primary.release(now, PmId(0), out));
    assert!(!world.took(&Effect::CloseSocket { socket }));
    world.accepted(socket, 2, false);
    world.accepted(socket, 0, true);
    assert!(world.took(&Effect::CloseSocket { socket }));
    assert_eq!(world.given(), [1, 1]);
    world.act(|primary, now, out| primary.gone(now, RunId(1), out));
    world.act(|primary, now, out| primary.release(now, PmId(1), out));
    let socket = world.sockets[1];
    assert!(
        world.took(&Effect::CloseSocket { socket }),
        "the last at once"
    );
    assert!(world.primary.scopes.is_empty() && world.primary.places.is_empty());
}

// Protects: `sticky`. The sockets are counted anew whenever there are more or fewer, and nobody is handed to a worker that does not know
// him.
#[test]
fn a_sticky_port_is_steered_and_its_queues_are_left_alone() {
    let mut world = World::default();
    for worker in 0..2 {
        world.enroll(worker, u32::try_from(worker).unwrap(), Policy::Sticky);
        world.serve(worker);
    }
    let socket = world.sockets[0];
    for sockets in [1, 2] {
        assert!(world.took(&Effect::Steer { socket, sockets }));
    }
    let is_watched = |effect: &Effect| matches!(effect, Effect::Watch { .. });
    assert!(!world.other.iter().any(is_watched));
    world.act(|primary, now, out| primary.gone(now, RunId(1), out));
    world.act(|primary, now, out| primary.release(now, PmId(1), out));
    world.accepted(world.sockets[1], 0, true);
    assert!(world.took(&Effect::Steer { socket, sockets: 1 }));
}

#[test]
fn garbage_from_a_worker_changes_nothing() {
    let mut world = two_slots();
    for text in [
        "[]",
        "{}",
        r#"{"act":"queryServer"}"#,
        r#"{"act":"queryServer","addressType":4,"port":99999,"seq":1}"#,
        r#"{"act":"queryServer","addressType":-1,"address":null,"port":-1,"seq":1}"#,
        r#"{"act":"close","key":"no such"}"#,
        r#"{"ack":77,"accepted":true}"#,
        r#"{"ack":"x"}"#,
        r#"{"act":7,"seq":"x"}"#,
    ] {
        world.hear(0, text);
    }
    assert_eq!(world.sent, []);
    assert_eq!(world.primary.places.len(), 2);
}

// Protects: what a connection costs. What is known of it ends with the daemon, so nothing of it is written down.
#[test]
fn a_connection_that_is_dealt_out_changes_nothing_that_is_written() {
    let mut world = World::default();
    for run in 1..=2 {
        world.enroll(run, u32::try_from(run).unwrap(), Policy::RoundRobin);
        world.serve(run);
    }
    let socket = world.sockets[0];
    let before = world.frozen();
    for seq in 1..=20 {
        world.act(|primary, now, out| primary.waiting(now, socket, out));
        world.accepted(socket, 1, true);
        let run = 1 + (seq + 1) % 2;
        let ack = 1 + (seq - 1) / 2;
        world.hear(
            run,
            &format!(r#"{{"cmd":"NODE_CLUSTER","ack":{ack},"accepted":true,"seq":9}}"#),
        );
        assert_eq!(world.frozen(), before);
    }
    assert_eq!(world.given().len(), 20);
    let thawed: Primary = serde_json::from_str(&before).unwrap();
    assert_eq!(serde_json::to_string(&thawed).unwrap(), before);
}
