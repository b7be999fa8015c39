//! Stopping: whole trees, stubborn ones, many at once.

use std::time::{Duration, Instant};

use serde_json::json;

use super::helper::{Daemon, is_alive, wait_for};

fn pids(daemon: &Daemon, name: &str, count: usize) -> Vec<i32> {
    wait_for("the pids", || {
        let log = daemon.out_log(name);
        let pids: Vec<i32> = log.lines().filter_map(|line| line.parse().ok()).collect();
        (pids.len() == count && log.ends_with('\n')).then_some(pids)
    })
}

// Protects: when stop answers, nothing of the app lives: neither children, nor orphans in its session, nor those with a session of their
// own, whether their parent still lives or not.
#[test]
fn a_stop_ends_the_whole_tree() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let text = "sleep 1001 & echo $!\n\
        (sleep 1002 & echo $!)\n\
        setsid sh -c 'echo $$; exec sleep 1003' &\n\
        sh -c 'sh -c \"echo \\$\\$; exec sleep 1004\" & wait' &\n\
        (setsid sh -c 'sleep 1005 & echo $!' &)\n\
        echo $$; wait";
    daemon.start_shell(&mut client, "tree", text, &json!({}));
    let pids = pids(&daemon, "tree", 6);
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    let stopped = client.ok("stopProcessId", json!([0]));
    assert_eq!(stopped["pm2_env"]["status"], "stopped");
    let left: Vec<&i32> = pids.iter().filter(|pid| is_alive(**pid)).collect();
    assert!(left.is_empty(), "{left:?} of {pids:?}");
}

// Protects: a child that ignores the signal is waited for, and killed when the time is over.
#[test]
fn a_stubborn_child_is_killed_after_the_timeout() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let text = "sh -c 'trap \"\" INT; echo $$; while :; do sleep 0.05; done' &\necho $$; wait";
    daemon.start_shell(&mut client, "stubborn", text, &json!({"kill_timeout": 300}));
    let pids = pids(&daemon, "stubborn", 2);
    let before = Instant::now();
    client.ok("stopProcessId", json!([0]));
    let took = before.elapsed();
    assert!(took >= Duration::from_millis(290), "killed early: {took:?}");
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
}

// Protects: `treekill: false`.
#[test]
fn without_treekill_children_are_left_alone() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let text = "sleep 1001 & echo $!\necho $$; exec sleep 1000";
    daemon.start_shell(&mut client, "lone", text, &json!({"treekill": false}));
    let pids = pids(&daemon, "lone", 2);
    client.ok("stopProcessId", json!([0]));
    assert!(is_alive(pids[0]) && !is_alive(pids[1]));
    super::helper::signal(pids[0], "KILL");
    wait_for("its end", || (!is_alive(pids[0])).then_some(()));
}

// Protects: `shutdown_with_message`.
#[test]
fn an_app_can_be_stopped_by_message() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let text = "process.on('message', m => { console.log(m); process.exit(7) }); console.log('up')";
    daemon.start_node(
        &mut client,
        "polite",
        text,
        &json!({"shutdown_with_message": true, "kill_timeout": 10000}),
    );
    wait_for("up", || {
        daemon.out_log("polite").contains("up").then_some(())
    });
    let stopped = client.ok("stopProcessId", json!([0]));
    assert_eq!(stopped["pm2_env"]["exit_code"], 7);
    assert_eq!(daemon.out_log("polite"), "up\nshutdown\n");
}

// Protects: a fleet is stopped in the time its slowest member needs, not in the sum: all are asked before any has ended.
#[test]
fn many_apps_are_stopped_at_once() {
    const APPS: usize = 30;
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let go = daemon.path("go");
    let text = format!(
        "trap 'echo asked' INT\necho up\nwhile [ ! -e {} ]; do sleep 0.05; done",
        go.display()
    );
    let script = daemon.script("many.sh", &text);
    let more = json!({"instances": APPS, "kill_timeout": 60_000});
    let started = client.ok(
        "prepare",
        json!([daemon.declaration("many", "/bin/sh", &script, &more)]),
    );
    assert_eq!(started.as_array().unwrap().len(), APPS);
    let count = |line: &str| {
        let log = daemon.out_log("many");
        log.lines().filter(|found| *found == line).count()
    };
    wait_for("everybody to be up", || (count("up") == APPS).then_some(()));
    let ids: Vec<String> = (0..APPS)
        .map(|id| client.send("stopProcessId", json!([id])))
        .collect();
    wait_for("everybody to be asked", || {
        (count("asked") == APPS).then_some(())
    });
    std::fs::write(go, "").unwrap();
    for id in ids {
        assert_eq!(client.reply(&id)["args"][0]["pm2_env"]["status"], "stopped");
    }
}
