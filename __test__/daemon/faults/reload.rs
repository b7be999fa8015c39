//! Reloads in the midst of which the daemon or the keeper dies, under load.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::json;

use super::super::helper::{Client, Daemon, is_alive, wait_for};
use super::chaos::{Death, ROUND_MIN};
use super::load::ask;

/// Reloads.
const ROUNDS: u64 = 20;
/// Id, pid and restarts of each instance, when nothing is on its way.
fn settled(daemon: &Daemon, client: &mut Client) -> Vec<(u64, i32, u64)> {
    wait_for("the reload to be over", || {
        let list = client.ok("getMonitorData", json!([{}]));
        let list = list.as_array().unwrap().iter();
        let mut seen = Vec::new();
        for process in list {
            let pid = i32::try_from(process["pid"].as_i64()?).ok()?;
            if process["pm2_env"]["status"] != "online" || !is_alive(pid) {
                return None;
            }
            let restarts = process["pm2_env"]["restart_time"].as_u64()?;
            seen.push((process["pm_id"].as_u64()?, pid, restarts));
        }
        let own = [daemon.keeper_pid(), daemon.daemon_pid()];
        let mut there = daemon.processes();
        there.retain(|pid| !own.contains(&Some(*pid)));
        there.sort_unstable();
        let mut pids: Vec<i32> = seen.iter().map(|one| one.1).collect();
        pids.sort_unstable();
        (pids == there).then_some(seen)
    })
}

// Protects: an instance that is being replaced while the one who replaces it dies. It is replaced or it is not; nobody who asks the app
// for something notices either, and nothing of the attempt stays.
#[test]
fn a_reload_under_load_is_done_or_undone_when_somebody_dies_in_the_midst_of_it() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let mut dice = super::dice("reload");
    let script = "const server = require('http').createServer((q, s) => s.end('fine')); server.listen(0, '127.0.0.1', () => console.log(server.address().port));";
    let more = json!({"exec_mode": "cluster_mode", "instances": 2});
    daemon.start_node(&mut client, "web", script, &more);
    wait_for("both to listen", || {
        (daemon.out_log("web").lines().count() == 2).then_some(())
    });
    let log = daemon.out_log("web");
    let port: u16 = log.lines().next().unwrap().parse().unwrap();
    let begun = Instant::now();
    client.ok("reloadProcessId", json!([{"id": 0}]));
    let reload_us = u64::try_from(begun.elapsed().as_micros()).unwrap();
    let mut before = settled(&daemon, &mut client);
    assert_eq!(before.len(), 2);
    let restarts = before[0].2;
    let is_over = AtomicBool::new(false);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut failures = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                failures.extend(ask(port).err());
            }
            failures
        });
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 0..super::rounds(ROUNDS) {
                let start = Instant::now();
                let asked = client.send("reloadProcessId", json!([{"id": 0}]));
                dice.pause(reload_us);
                let deaths = [Death::Daemon, Death::Keeper, Death::Update];
                let death = deaths[usize::try_from(round % 3).unwrap()];
                death.happen(&daemon);
                if death == Death::Keeper {
                    // The daemon lives, and says when it is over: before, there may be nothing to be seen of it yet.
                    client.reply(&asked);
                }
                client = daemon.new_caller();
                let after = settled(&daemon, &mut client);
                assert_eq!(after.len(), 2, "{after:?}");
                assert_eq!(after[1], before[1], "the other one was not touched");
                let is_replaced = after[0].1 != before[0].1;
                assert_eq!(after[0].2, before[0].2 + u64::from(is_replaced));
                before = after;
                std::thread::sleep(ROUND_MIN.saturating_sub(start.elapsed()));
            }
        }));
        is_over.store(true, Ordering::Relaxed);
        let failures = asking.join().unwrap();
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
        failures
    });
    assert!(failures.is_empty(), "{failures:?}");
    assert!(before[0].2 > restarts, "some of them were done");
}
