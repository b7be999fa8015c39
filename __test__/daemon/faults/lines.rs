//! Lines on an app's channel, cut by the death of the daemon in both directions.

use std::time::Instant;

use serde_json::{Value, json};

use super::super::helper::{Daemon, json_of, wait_for};
use super::super::recovery::Dice;
use super::chaos::ROUND_MIN;

/// How often the daemon is killed.
const KILLS: u64 = 20;
/// The app is busy with a message for up to so long, so that there is always some of a line on its way.
const BUSY_MS: u64 = 60;
/// Many times what a socket takes at once.
const LONG: usize = 2_000_000;

/// Kills the daemon; now and then the keeper right before it, so that what is on its way has passed through two more hands.
fn die(daemon: &Daemon, dice: &mut Dice) {
    if dice.roll(3) == 0 {
        daemon.kill_keeper();
    }
    daemon.kill_daemon();
}

// Protects: an app that is sent long messages while the daemon is killed. Node ends at half a line; and what the caller was told was
// sent must arrive, once and in order.
#[test]
fn long_messages_arrive_whole_and_once_though_the_daemon_is_killed_while_it_sends_them() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let mut dice = super::dice("to the app");
    let script = "process.on('message', m => { console.log(m.data.n + ' ' + m.data.text.length); const end = Date.now() + m.data.busy; while (Date.now() < end); });";
    daemon.start_node(&mut client, "reader", script, &json!({}));
    let before = client.process("reader");
    let (mut sent, mut promised, mut lengths) = (0_usize, Vec::new(), Vec::new());
    for _ in 0..super::rounds(KILLS) {
        let start = Instant::now();
        let mut ids = Vec::new();
        for _ in 0..3 {
            let length = [10, 15_000, 50_000, LONG][usize::try_from(dice.roll(4)).unwrap()];
            let data = json!({"n": sent, "busy": dice.roll(BUSY_MS), "text": "x".repeat(length)});
            let packet = json!({"id": 0, "topic": "t", "data": data});
            ids.push((sent, client.send("sendDataToProcessId", json!([packet]))));
            lengths.push(length);
            sent += 1;
        }
        dice.pause(25_000);
        die(&daemon, &mut dice);
        while let Some(frame) = client.frames.next() {
            let answered = ids.iter().find(|(_, id)| id.as_bytes() == frame[1]);
            if json_of(&frame[0]).get("error").is_none() {
                promised.push(answered.unwrap().0);
            }
        }
        client = daemon.new_caller();
        std::thread::sleep(ROUND_MIN.saturating_sub(start.elapsed()));
    }
    let last = json!({"id": 0, "topic": "t", "data": {"n": sent, "busy": 0, "text": ""}});
    wait_for("room for one more", || {
        let reply = client.call("sendDataToProcessId", json!([last]));
        reply.get("error").is_none().then_some(())
    });
    wait_for("the last of them", || {
        daemon
            .out_log("reader")
            .ends_with(&format!("{sent} 0\n"))
            .then_some(())
    });
    let log = daemon.out_log("reader");
    let got: Vec<(usize, usize)> = log
        .lines()
        .map(|line| {
            let (n, length) = line.split_once(' ').unwrap();
            (n.parse().unwrap(), length.parse().unwrap())
        })
        .collect();
    assert!(got.windows(2).all(|pair| pair[0].0 < pair[1].0), "{got:?}");
    let is_got = |n: &usize| got.iter().any(|(one, _)| one == n);
    assert!(promised.iter().all(is_got), "{promised:?} {got:?}");
    assert!(
        got.iter()
            .rev()
            .skip(1)
            .all(|(n, length)| lengths[*n] == *length)
    );
    let after = client.process("reader");
    assert_eq!(after["pid"], before["pid"]);
    assert_eq!(after["pm2_env"]["restart_time"], 0);
}

// Protects: what an app says while the daemon is killed. Each message counts, in order, however it was cut; and the bus has none of
// them twice.
#[test]
fn what_an_app_says_is_heard_once_though_the_daemon_is_killed_while_it_listens() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let mut dice = super::dice("from the app");
    // Actions are listed in the order in which they were told. Some of the lines are long.
    let script = "let n = 0; const say = () => { n += 1; process.send({ type: 'axm:action', data: { action_name: 'a' + n, opts: { length: n % 3 ? 1 : 200000 } }, filler: 'y'.repeat(n % 3 ? 1 : 2e6) }); process.send({ type: 'tick', data: n }, () => { console.log(n); setTimeout(say, 5); }); }; say();";
    daemon.start_node(&mut client, "speaker", script, &json!({}));
    let before = client.process("speaker");
    let mut ticks = Vec::new();
    for _ in 0..super::rounds(KILLS) {
        let start = Instant::now();
        let mut bus = daemon.bus();
        dice.pause(70_000);
        die(&daemon, &mut dice);
        while let Some((name, payload)) = bus.next() {
            if name == "tick" {
                ticks.push(payload["data"].as_u64().unwrap());
            }
        }
        client = daemon.new_caller();
        std::thread::sleep(ROUND_MIN.saturating_sub(start.elapsed()));
    }
    let said = |daemon: &Daemon| daemon.out_log("speaker").lines().count();
    let names = |process: &Value| -> Vec<String> {
        let actions = process["pm2_env"]["axm_actions"].as_array().unwrap();
        let name = |action: &Value| action["action_name"].as_str().unwrap().to_owned();
        actions.iter().map(name).collect()
    };
    let count = said(&daemon);
    let after = wait_for("all that was said", || {
        let process = client.process("speaker");
        (names(&process).len() >= count).then_some(process)
    });
    let names = names(&after);
    let expected: Vec<String> = (1..=names.len()).map(|n| format!("a{n}")).collect();
    assert_eq!(names, expected);
    assert!(!ticks.is_empty());
    assert!(ticks.windows(2).all(|pair| pair[0] < pair[1]), "{ticks:?}");
    assert_eq!(after["pid"], before["pid"]);
    assert_eq!(after["pm2_env"]["restart_time"], 0);
    let log = std::fs::read_to_string(daemon.path("pm2.log")).unwrap();
    assert!(!log.contains("skipped a message"), "{log}");
}
