//! A cluster under load, while the daemon that shares out its connections dies and is replaced.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::helper::{Daemon, wait_for};
use super::chaos::ROUND_MIN;

/// So many kills, and as many updates.
const EACH: u64 = 20;
/// Callers at once. Each makes a new connection for each request.
const CALLERS: usize = 4;
/// An answer that takes longer than this will not come.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// One request on a connection of its own; the error says how far it came.
pub(super) fn ask(port: u16) -> Result<(), String> {
    let at = |step: &'static str| move |error: std::io::Error| format!("{step}: {error}");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(at("connect"))?;
    stream
        .set_read_timeout(Some(ANSWER_MAX))
        .map_err(at("limit"))?;
    stream
        .write_all(b"GET / HTTP/1.0\r\n\r\n")
        .map_err(at("ask"))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(at("hear"))?;
    if answer.ends_with("fine") {
        Ok(())
    } else {
        Err(format!("not a whole answer: {answer:?}"))
    }
}

impl Daemon {
    /// Has another daemon of the same executable take over.
    pub(super) fn update(&self) {
        let before = self.daemon_pid();
        let mut client = self.new_caller();
        let program = json!([{"program": env!("CARGO_BIN_EXE_pm2")}]);
        client.send("replaceDaemon", program);
        while client.frames.next().is_some() {}
        wait_for("the new one", || {
            let pid = self.daemon_pid();
            (pid.is_some() && pid != before).then_some(())
        });
    }
}

/// What the cluster has to live with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// Daemons that are killed and updated, in turn.
    KillsAndUpdates,
    /// Daemons, and with them keepers, that are updated.
    Updates,
    /// Keepers that are killed.
    KeeperKills,
}

/// Instances that are stuck for a part of each second, longer than it takes until others are given what waits for them.
const STUCK: &str = "setInterval(() => { const until = Date.now() + 90; while (Date.now() < until); }, 150 + process.pid % 50);";

fn hold_under_load(policy: &str, trouble: Trouble) {
    hold(policy, trouble, "");
}

fn hold(policy: &str, trouble: Trouble, more_script: &str) {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let mut dice = super::dice(policy);
    let script = "const server = require('http').createServer((q, s) => s.end('fine')); server.listen(0, '127.0.0.1', () => console.log(server.address().port));";
    let mut more = json!({"exec_mode": "cluster_mode", "instances": 2});
    if !policy.is_empty() {
        more["NODE_CLUSTER_SCHED_POLICY"] = policy.into();
    }
    let script = format!("{script}{more_script}");
    daemon.start_node(&mut client, "web", &script, &more);
    wait_for("both to listen", || {
        (daemon.out_log("web").lines().count() == 2).then_some(())
    });
    let log = daemon.out_log("web");
    let port: u16 = log.lines().next().unwrap().parse().unwrap();
    let pids = |client: &mut super::super::helper::Client| -> Vec<Value> {
        let list = client.ok("getMonitorData", json!([{}]));
        let list = list.as_array().unwrap().iter();
        list.map(|one| {
            json!([
                one["pid"],
                one["pm2_env"]["restart_time"],
                one["pm2_env"]["status"]
            ])
        })
        .collect()
    };
    let before = pids(&mut client);
    let (is_over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let failures: Vec<String> = std::thread::scope(|scope| {
        let load = || {
            let mut failures = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                match ask(port) {
                    Ok(()) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                    Err(failure) => failures.push(failure),
                }
            }
            failures
        };
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(load)).collect();
        for round in 0..super::rounds(EACH) * 2 {
            let start = Instant::now();
            dice.pause(20_000);
            match trouble {
                Trouble::KeeperKills => {
                    daemon.kill_keeper();
                }
                Trouble::KillsAndUpdates if round % 2 == 0 => daemon.kill_daemon(),
                Trouble::KillsAndUpdates | Trouble::Updates => daemon.update(),
            }
            drop(daemon.new_caller());
            // However slow the machine is, somebody is served between two of them.
            let before = answered.load(Ordering::Relaxed);
            wait_for("more answers", || {
                (answered.load(Ordering::Relaxed) >= before + CALLERS as u64).then_some(())
            });
            std::thread::sleep(ROUND_MIN.saturating_sub(start.elapsed()));
        }
        is_over.store(true, Ordering::Relaxed);
        let failures = callers
            .into_iter()
            .flat_map(|caller| caller.join().unwrap());
        failures.collect()
    });
    let answered = answered.load(Ordering::Relaxed);
    // What README excepts: a connection between two system calls of a daemon that passes on every one of them.
    let allowed = match trouble {
        Trouble::KillsAndUpdates if policy == "rr" => super::rounds(EACH),
        Trouble::KillsAndUpdates | Trouble::Updates | Trouble::KeeperKills => 0,
    };
    assert!(
        failures.len() as u64 <= allowed,
        "{} of {answered}: {failures:?}",
        failures.len()
    );
    assert_eq!(pids(&mut daemon.new_caller()), before);
}

// Protects: the promise of a daemon that may die, for those who are served meanwhile.
#[test]
fn a_cluster_loses_no_request_through_kills_and_updates() {
    hold_under_load("", Trouble::KillsAndUpdates);
}

// Protects: the same where the daemon takes connections from one instance for the other all the time.
#[test]
fn a_cluster_of_instances_that_get_stuck_loses_no_request_through_kills_and_updates() {
    hold("", Trouble::KillsAndUpdates, STUCK);
}

// Protects: the same where every connection is handed to its worker by the daemon. One that is killed takes at most the connection with
// it that it has just taken from the system and not passed on; one that makes way none.
#[test]
fn a_killed_daemon_takes_at_most_one_connection_with_it_in_round_robin() {
    hold_under_load("rr", Trouble::KillsAndUpdates);
}

#[test]
fn no_request_is_lost_in_round_robin_through_updates() {
    hold_under_load("rr", Trouble::Updates);
}

// Protects: the same for keepers. Nobody who is connected notices, whoever shares out the connections.
#[test]
fn no_request_is_lost_when_the_keeper_is_killed() {
    hold_under_load("", Trouble::KeeperKills);
    hold_under_load("rr", Trouble::KeeperKills);
}
