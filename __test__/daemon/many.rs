//! Several hundred processes at once.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::helper::{Client, Daemon, is_alive};

/// More than the requests, reports and inputs that are taken in one turn, and than a peer may have under way.
const APPS: u64 = 60;
const INSTANCES: u64 = 5;
const ALL: usize = 300;

/// What is listed with this status, by id, and its pids.
fn listed(client: &mut Client, status: &str) -> (Vec<u64>, BTreeSet<i64>) {
    let list = client.ok("getMonitorData", json!([{}]));
    let found: Vec<&Value> = list
        .as_array()
        .unwrap()
        .iter()
        .filter(|process| process["pm2_env"]["status"] == status)
        .collect();
    let ids = found
        .iter()
        .map(|process| process["pm_id"].as_u64().unwrap());
    let pids = found.iter().map(|process| process["pid"].as_i64().unwrap());
    (ids.collect(), pids.collect())
}

/// Asks for all of it before any answer is read.
fn for_each(client: &mut Client, method: &str, ids: &[u64], args: impl Fn(u64) -> Value) {
    let sent: Vec<String> = ids
        .iter()
        .map(|id| client.send(method, args(*id)))
        .collect();
    for id in sent {
        let reply = client.reply(&id);
        assert!(reply.get("error").is_none(), "{method}: {reply}");
    }
}

fn lives(pids: &BTreeSet<i64>) -> usize {
    let pids = pids.iter().map(|pid| i32::try_from(*pid).unwrap());
    pids.filter(|pid| is_alive(*pid)).count()
}

// Protects: no bound of ours, queue or descriptor, is passed by a fleet of hundreds: each is started, listed, restarted, stopped and deleted
// once, and nothing of it is left.
#[test]
fn hundreds_are_started_listed_restarted_stopped_and_deleted() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let script = daemon.script("sleep.sh", "exec sleep 1000");
    let more = json!({"instances": INSTANCES, "max_memory_restart": 1_000_000_000_u64});
    for_each(
        &mut client,
        "prepare",
        &(0..APPS).collect::<Vec<_>>(),
        |n| json!([daemon.declaration(&format!("app-{n}"), "/bin/sh", &script, &more)]),
    );
    let (ids, first) = listed(&mut client, "online");
    assert_eq!(ids, (0..ALL as u64).collect::<Vec<_>>());
    assert_eq!((first.len(), lives(&first)), (ALL, ALL));
    for_each(
        &mut client,
        "restartProcessId",
        &ids,
        |id| json!([{"id": id}]),
    );
    let (again, second) = listed(&mut client, "online");
    assert_eq!((again.len(), second.len(), lives(&second)), (ALL, ALL, ALL));
    assert_eq!(lives(&first), 0);
    for_each(&mut client, "stopProcessId", &ids, |id| json!([id]));
    assert_eq!(listed(&mut client, "stopped").0, ids);
    assert_eq!(lives(&second), 0);
    for_each(&mut client, "startProcessId", &ids, |id| json!([id]));
    let (_, third) = listed(&mut client, "online");
    assert_eq!(third.len(), ALL);
    for_each(&mut client, "deleteProcessId", &ids, |id| json!([id]));
    assert_eq!(client.ok("getMonitorData", json!([{}])), json!([]));
    assert_eq!(lives(&third), 0);
}
