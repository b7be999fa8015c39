//! Deaths of the daemon at random moments of everything it does.
//!
//! Each app writes its pid down whenever it is started, so what the list says is held against a witness: nothing is started
//! twice, nothing is started that nobody asked for, and what a caller was told is so.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::helper::{Client, Daemon, is_alive, signal, wait_for};
use super::super::recovery::Dice;

/// Apps that are operated on.
const APPS: usize = 6;
/// A daemon that lives shorter than 50 ms counts as one that crashes in a loop, and the next one is kept waiting.
pub(super) const ROUND_MIN: Duration = Duration::from_millis(80);
/// Within so many microseconds after a request the daemon is killed.
const KILL_WITHIN_US: u64 = 9_000;

/// What is known of one app, and may be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    id: u64,
    status: String,
    pid: i32,
    restarts: u64,
    /// How often it was started, by its own account.
    starts: usize,
}

impl Seen {
    fn is_online(&self) -> bool {
        self.status == "online"
    }
}

type World = BTreeMap<String, Seen>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Start,
    Stop,
    Restart,
    Reload,
    Delete,
    /// The app itself is killed.
    Crash,
}

fn witness(daemon: &Daemon, name: &str) -> Vec<i32> {
    let text = fs::read_to_string(daemon.path(&format!("starts-{name}"))).unwrap_or_default();
    text.lines().map(|pid| pid.parse().unwrap()).collect()
}

/// The list, when nothing is on its way any more, and every app has said who it is.
fn settled(daemon: &Daemon, client: &mut Client) -> World {
    wait_for("everything to settle", || {
        let list = client.ok("getMonitorData", json!([{}]));
        let mut world = World::new();
        for process in list.as_array().unwrap() {
            let (name, seen) = seen(daemon, process);
            let is_witnessed = match seen.status.as_str() {
                "online" => witness(daemon, &name).last() == Some(&seen.pid) && is_alive(seen.pid),
                "stopped" => seen.pid == 0,
                _ => false,
            };
            if !is_witnessed {
                return None;
            }
            assert!(world.insert(name.clone(), seen).is_none(), "{name} twice");
        }
        Some(world)
    })
}

fn seen(daemon: &Daemon, process: &Value) -> (String, Seen) {
    let name = process["name"].as_str().unwrap().to_owned();
    let starts = witness(daemon, &name).len();
    let seen = Seen {
        id: process["pm_id"].as_u64().unwrap(),
        status: process["pm2_env"]["status"].as_str().unwrap().to_owned(),
        pid: i32::try_from(process["pid"].as_i64().unwrap()).unwrap(),
        restarts: process["pm2_env"]["restart_time"].as_u64().unwrap(),
        starts,
    };
    (name, seen)
}

/// Sends what the act is, if it makes sense now. Gives the request's id.
fn begin(
    daemon: &Daemon,
    client: &mut Client,
    name: &str,
    act: Act,
    known: Option<&Seen>,
) -> Option<String> {
    let id = known.map(|seen| seen.id);
    Some(match (act, id) {
        (Act::Start, None) => {
            let script = daemon.path("app/chaos.sh");
            let app = daemon.declaration(name, "/bin/sh", &script, &json!({}));
            client.send("prepare", json!([app]))
        }
        (Act::Stop, Some(id)) => client.send("stopProcessId", json!([id])),
        (Act::Restart, Some(id)) => client.send("restartProcessId", json!([{"id": id}])),
        (Act::Reload, Some(id)) => client.send("reloadProcessId", json!([{"id": id}])),
        (Act::Delete, Some(id)) => client.send("deleteProcessId", json!([id])),
        (Act::Crash, Some(_)) => {
            let seen = known.filter(|seen| seen.is_online())?;
            signal(seen.pid, "KILL");
            return None;
        }
        _ => return None,
    })
}

/// Whether `after` is what the act leads to.
fn is_done(act: Act, before: Option<&Seen>, after: Option<&Seen>) -> bool {
    match (act, before, after) {
        (Act::Start, None, Some(after)) => after.is_online() && after.restarts == 0,
        (Act::Stop, Some(before), Some(after)) => {
            after.status == "stopped" && after.starts == before.starts
        }
        (Act::Restart | Act::Reload | Act::Crash, Some(before), Some(after)) => {
            after.is_online()
                && after.pid != before.pid
                && after.starts == before.starts + 1
                && (!before.is_online() || after.restarts == before.restarts + 1)
        }
        (Act::Delete, Some(_), None) => true,
        _ => false,
    }
}

/// Who dies in the midst of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    Daemon,
    /// The daemon makes way for another one.
    Update,
    Keeper,
}

impl Death {
    pub(super) fn happen(self, daemon: &Daemon) {
        match self {
            Self::Daemon => daemon.kill_daemon(),
            Self::Update => daemon.update(),
            Self::Keeper => drop(daemon.kill_keeper()),
        }
    }
}

/// Everything that is still answered: one answer a request at most, and exactly one if the daemon lives.
fn answers(client: &mut Client, asked: usize, death: Death) -> BTreeMap<String, Value> {
    let mut answers = BTreeMap::new();
    while death != Death::Keeper || answers.len() < asked {
        let Some(frame) = client.frames.next() else {
            assert_ne!(death, Death::Keeper, "the daemon was to live");
            break;
        };
        let id = String::from_utf8(frame[1].clone()).unwrap();
        let answer = super::super::helper::json_of(&frame[0]);
        assert!(
            answers.insert(id.clone(), answer).is_none(),
            "{id} was answered twice"
        );
    }
    answers
}

struct Chaos {
    daemon: Daemon,
    dice: Dice,
    client: Client,
    /// How things stood after the last round.
    world: World,
}

impl Chaos {
    fn begin(test: &str) -> Self {
        let daemon = Daemon::start();
        let mut client = daemon.client();
        daemon.script(
            "chaos.sh",
            "echo $$ >>\"$PM2_HOME/starts-$name\"; exec sleep 1000",
        );
        let counter = "const fs = require('fs'); fs.appendFileSync(`${process.env.PM2_HOME}/starts-counter`, `${process.pid}\\n`); let n = 0; setInterval(() => console.log(n++), 1);";
        daemon.start_node(&mut client, "counter", counter, &json!({}));
        let echo = "const fs = require('fs'); fs.appendFileSync(`${process.env.PM2_HOME}/starts-echo`, `${process.pid}\\n`); process.on('message', m => process.send({type: 'echo', data: m.data}));";
        daemon.start_node(&mut client, "echo", echo, &json!({}));
        let world = settled(&daemon, &mut client);
        Self {
            daemon,
            dice: super::dice(test),
            client,
            world,
        }
    }

    /// One to three acts on different apps, in the midst of which somebody dies; then what came of it is judged.
    fn round(&mut self, death: Death) {
        let start = Instant::now();
        let mut acts = BTreeMap::new();
        for _ in 0..=self.dice.roll(3) {
            let name = format!("app{}", self.dice.roll(APPS as u64));
            let act = match self.world.get(&name) {
                None => Act::Start,
                Some(_) => [
                    Act::Stop,
                    Act::Restart,
                    Act::Reload,
                    Act::Delete,
                    Act::Crash,
                ][usize::try_from(self.dice.roll(5)).unwrap()],
            };
            acts.insert(name, act);
        }
        let (mut ids, mut asked) = (BTreeMap::new(), 0);
        for (name, act) in &acts {
            let known = self.world.get(name);
            if *act == Act::Crash && !known.is_some_and(Seen::is_online) {
                continue;
            }
            let id = begin(&self.daemon, &mut self.client, name, *act, known);
            asked += 1 + usize::from(id.is_some());
            ids.insert(name.clone(), (*act, id));
            let packet = json!({"id": 1, "topic": "t", "data": {"act": format!("{act:?}")}});
            self.client.send("sendDataToProcessId", json!([packet]));
        }
        self.dice.pause(KILL_WITHIN_US);
        death.happen(&self.daemon);
        let answers = answers(&mut self.client, asked, death);
        self.client = self.daemon.new_caller();
        let after = settled(&self.daemon, &mut self.client);
        self.judge(&ids, &answers, &after);
        self.world = after;
        std::thread::sleep(ROUND_MIN.saturating_sub(start.elapsed()));
    }

    fn judge(
        &self,
        ids: &BTreeMap<String, (Act, Option<String>)>,
        answers: &BTreeMap<String, Value>,
        after: &World,
    ) {
        let names = self.world.keys().chain(after.keys());
        for name in names {
            let (was, is) = (self.world.get(name), after.get(name));
            let Some((act, id)) = ids.get(name) else {
                assert_eq!(was, is, "{name}, which nobody touched\n{}", self.log_end());
                continue;
            };
            let answer = id.as_ref().and_then(|id| answers.get(id));
            let is_told = answer.is_some_and(|answer| answer.get("error").is_none());
            // An app's own end is never undone.
            let is_certain = is_told || *act == Act::Crash;
            let is_undone = was == is && !is_certain;
            assert!(
                is_done(*act, was, is) || is_undone,
                "{name}: {act:?} of {was:?} led to {is:?}, and the answer was {answer:?}\n{}",
                self.log_end()
            );
        }
        let mut pids: Vec<i32> = after.values().map(|seen| seen.pid).collect();
        pids.retain(|pid| *pid != 0);
        pids.sort_unstable();
        let own = [self.daemon.keeper_pid(), self.daemon.daemon_pid()];
        wait_for("no process beside those listed", || {
            let mut there = self.daemon.processes();
            there.retain(|pid| !own.contains(&Some(*pid)));
            there.sort_unstable();
            (there == pids).then_some(())
        });
    }

    /// The last things the daemons said, for who reads of a failure.
    fn log_end(&self) -> String {
        let log = fs::read_to_string(self.daemon.path("pm2.log")).unwrap();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// What was printed while all this went on is there, each line once.
    fn end(mut self) {
        self.client.ok("stopProcessId", json!([0]));
        let log = self.daemon.out_log("counter");
        let numbers: Vec<u64> = log.lines().map(|line| line.parse().unwrap()).collect();
        let is_next = |pair: &[u64]| pair[1] == pair[0] + 1;
        let odd: Vec<_> = numbers.windows(2).filter(|pair| !is_next(pair)).collect();
        assert!(numbers[0] == 0 && odd.is_empty(), "{odd:?}");
        let log = fs::read_to_string(self.daemon.path("pm2.log")).unwrap();
        assert!(!log.contains("without a record"), "{log}");
        assert!(!log.contains("is lost"), "{log}");
    }
}

// Protects: what apps and callers may rely on, at whatever moment of whatever the daemon does it dies.
#[test]
fn whatever_the_daemon_was_doing_when_it_died_is_done_once_or_not_at_all() {
    let mut chaos = Chaos::begin("daemon");
    for round in 0..super::rounds(120) {
        // Some of the deaths are an update's.
        chaos.round(if round % 6 == 5 {
            Death::Update
        } else {
            Death::Daemon
        });
    }
    chaos.end();
}

// Protects: the same when the keeper dies, or one after the other. A daemon that lives answers every call.
#[test]
fn whatever_was_asked_when_the_keeper_died_is_done_once_or_not_at_all() {
    let mut chaos = Chaos::begin("keeper");
    for round in 0..super::rounds(60) {
        chaos.round(if round % 3 == 2 {
            Death::Daemon
        } else {
            Death::Keeper
        });
    }
    chaos.end();
}
