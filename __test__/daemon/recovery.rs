//! A daemon that is killed, again and again, while its apps run.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use super::helper::{Client, Daemon, is_alive, signal, wait_for};

/// How often the daemon is killed where that is the whole test.
const KILLS: u32 = 50;

/// A small generator of numbers, so that a failure can be seen again.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, below: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    /// Some milliseconds pass.
    pub(crate) fn pause(&mut self, below_us: u64) {
        std::thread::sleep(Duration::from_micros(self.roll(below_us)));
    }
}

/// Halts a process; it does nothing more when this returns.
pub(crate) fn stop(pid: i32) {
    signal(pid, "STOP");
    wait_for("it to halt", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.contains(") T ").then_some(())
    });
}

impl Daemon {
    /// Kills the daemon of the moment.
    pub(crate) fn kill_daemon(&self) {
        let pid = wait_for("a daemon", || self.daemon_pid());
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGKILL,
        )
        .unwrap();
        wait_for("its end", || (!is_alive(pid)).then_some(()));
    }

    /// A caller who has been answered.
    pub(crate) fn new_caller(&self) -> Client {
        let mut client = self.client();
        client.ok("ping", json!([{}]));
        client
    }
}

// Protects: the promise. Every line of the app is in its log, it is the same process, and nothing was counted as a restart.
#[test]
fn no_line_is_lost_and_no_process_ends_when_the_daemon_is_killed_fifty_times() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let script = "let n = 0; setInterval(() => console.log(n++), 1); process.on('message', m => process.send({ type: 'echo', data: m }));";
    daemon.start_node(&mut client, "counter", script, &json!({}));
    let before = client.process("counter");
    let mut dice = Dice(5);
    for _ in 0..KILLS {
        dice.pause(200_000);
        daemon.kill_daemon();
    }
    let mut client = daemon.new_caller();
    let after = client.process("counter");
    assert_eq!(after["pid"], before["pid"]);
    assert_eq!(after["pm2_env"]["restart_time"], 0);
    assert_eq!(after["pm2_env"]["status"], "online");
    assert_eq!(
        after["pm2_env"]["pm_uptime"],
        before["pm2_env"]["pm_uptime"]
    );
    daemon.wait_counted("counter", 1000);
    client.ok("stopProcessId", json!([0]));
    super::heirs::assert_counted(&daemon.out_log("counter"));
}

// Protects: the channel in both directions, the bus, and callers who were connected.
#[test]
fn messages_pass_after_every_kill_and_callers_only_have_to_connect_again() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let script = "setInterval(() => {}, 1000); process.on('message', m => process.send({ type: 'echo', data: m.data }));";
    daemon.start_node(&mut client, "echo", script, &json!({}));
    for round in 0..10 {
        daemon.kill_daemon();
        assert!(
            client.frames.next().is_none(),
            "the old connection has ended"
        );
        let mut bus = daemon.bus();
        client = daemon.new_caller();
        let packet = json!({"id": 0, "topic": "t", "data": {"round": round}});
        client.ok("sendDataToProcessId", json!([packet]));
        let echo = bus.named("echo");
        assert_eq!(echo["data"]["round"], round);
    }
}

// Protects: who calls while there is no daemon waits for the next one and is not refused.
#[test]
fn whoever_calls_while_there_is_no_daemon_is_answered_by_the_next() {
    let daemon = Daemon::start();
    let pid = daemon.daemon_pid().unwrap();
    stop(pid);
    let mut waiting = daemon.client();
    let id = waiting.send("ping", json!([{}]));
    signal(pid, "KILL");
    // The old daemon never accepted this connection, so it is the new one's.
    assert_eq!(waiting.reply(&id)["args"][0]["msg"], "pong");
}

// Protects: an exit that nobody was there to see is counted, and acted upon, once.
#[test]
fn an_app_that_died_while_there_was_no_daemon_is_restarted_and_counted() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    daemon.start_shell(
        &mut client,
        "mortal",
        "echo up; exec sleep 1000",
        &json!({}),
    );
    wait_for("its line", || {
        (daemon.out_log("mortal") == "up\n").then_some(())
    });
    for round in 1..=5 {
        let pid = i32::try_from(client.process("mortal")["pid"].as_i64().unwrap()).unwrap();
        let brain = daemon.daemon_pid().unwrap();
        stop(brain);
        signal(pid, "KILL");
        wait_for("its end", || (!is_alive(pid)).then_some(()));
        signal(brain, "KILL");
        client = daemon.new_caller();
        let process = wait_for("the restart", || {
            let process = client.process("mortal");
            let is_new = process["pm2_env"]["status"] == "online" && process["pid"] != pid;
            is_new.then_some(process)
        });
        assert_eq!(process["pm2_env"]["restart_time"], round);
        wait_for("its line", || {
            (daemon.out_log("mortal").lines().count() == round + 1).then_some(())
        });
    }
    assert_eq!(daemon.processes().len(), 3, "keeper, daemon and one app");
}

// Protects: who ends the keeper while its daemon has just crashed has the list saved and the apps stopped in their way.
#[test]
fn a_keeper_told_to_end_while_there_is_no_daemon_saves_the_list_and_stops_the_apps_in_their_way() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let script = "process.on('SIGINT', () => { console.log('goodbye'); process.exit(); }); setInterval(() => {}, 1000); console.log('up');";
    let more = json!({"kill_timeout": 60_000});
    daemon.start_node(&mut client, "polite", script, &more);
    wait_for("its line", || {
        (daemon.out_log("polite") == "up\n").then_some(())
    });
    let keeper = daemon.keeper_pid().unwrap();
    let log = || fs::read_to_string(daemon.path("pm2.log")).unwrap();
    // It finds the end of its daemon and the signal at once.
    stop(keeper);
    daemon.kill_daemon();
    signal(keeper, "TERM");
    signal(keeper, "CONT");
    wait_for("the keeper's end", || (!is_alive(keeper)).then_some(()));
    assert_eq!(daemon.out_log("polite"), "up\ngoodbye\n");
    let saved = fs::read_to_string(daemon.path("dump.pm2")).unwrap();
    assert!(saved.contains("\"name\":\"polite\""), "{saved}");
    assert!(log().contains("PM2 successfully stopped"), "{}", log());
}

// Protects: a stop that is under way goes on, with the time it had, and only one signal is sent.
#[test]
fn a_stop_under_way_is_completed_by_the_next_daemon() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let text = "trap 'echo asked' INT\necho up\nwhile :; do sleep 0.01; done";
    let more = json!({"kill_timeout": 1500});
    daemon.start_shell(&mut client, "stubborn", text, &more);
    wait_for("its line", || {
        (daemon.out_log("stubborn") == "up\n").then_some(())
    });
    let start = Instant::now();
    client.send("stopProcessId", json!([0]));
    wait_for("the signal", || {
        daemon.out_log("stubborn").contains("asked").then_some(())
    });
    daemon.kill_daemon();
    let mut client = daemon.new_caller();
    let status = client.status("stubborn");
    // Unless it took until now to have another daemon.
    assert!(
        status == "stopping" || start.elapsed() > Duration::from_millis(1400),
        "{status}"
    );
    wait_for("the stop", || {
        (client.status("stubborn") == "stopped").then_some(())
    });
    let took = start.elapsed();
    assert!(
        took >= Duration::from_millis(1400),
        "killed early: {took:?}"
    );
    assert_eq!(daemon.out_log("stubborn"), "up\nasked\n");
    assert_eq!(daemon.processes().len(), 2, "keeper and daemon");
}

// Protects: a start of several, a delay before a restart, and `wait_ready`, all under way at once.
#[test]
fn starts_and_delays_under_way_are_completed_by_the_next_daemon() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    daemon.start_shell(
        &mut client,
        "late",
        "echo up; exit 1",
        &json!({"restart_delay": 700}),
    );
    let script = daemon.script(
        "ready.js",
        "require('fs').writeFileSync(process.env.PM2_HOME + '/begun', ''); setTimeout(() => process.send('ready'), 600); setInterval(() => {}, 1000)",
    );
    let more = json!({"wait_ready": true, "listen_timeout": 20000, "instances": 3});
    client.send(
        "prepare",
        json!([daemon.declaration("ready", "node", &script, &more)]),
    );
    wait_for("the first", || daemon.path("begun").exists().then_some(()));
    daemon.kill_daemon();
    let mut client = daemon.new_caller();
    wait_for("all to be up", || {
        let list = client.ok("getMonitorData", json!([{}]));
        let online = |process: &&serde_json::Value| process["pm2_env"]["status"] == "online";
        (list.as_array().unwrap().iter().filter(online).count() >= 3).then_some(())
    });
    wait_for("the restarts", || {
        (daemon.out_log("late").lines().count() >= 3).then_some(())
    });
}

// Protects: what is there is what should be there, whenever the daemon was killed: nothing twice, nothing lost.
#[test]
fn kills_at_any_moment_of_start_stop_and_delete_leave_exactly_what_was_asked_for() {
    let daemon = Daemon::start();
    let mut dice = Dice(20);
    let mut client = daemon.client();
    for round in 0..20 {
        let name = format!("app{round}");
        let script = daemon.script("app.sh", "exec sleep 1000");
        let declaration = daemon.declaration(&name, "/bin/sh", &script, &json!({}));
        client.send("prepare", json!([declaration]));
        match round % 4 {
            0 => {}
            // Nobody knows what came of the first request; the second one is meant for whatever is there.
            act => {
                client = daemon.new_caller();
                let list = client.ok("getMonitorData", json!([{}]));
                if let Some(process) = list.as_array().unwrap().last() {
                    let id = process["pm_id"].clone();
                    match act {
                        1 => client.send("stopProcessId", json!([id])),
                        2 => client.send("restartProcessId", json!([{"id": id}])),
                        _ => client.send("deleteProcessId", json!([id])),
                    };
                }
            }
        }
        dice.pause(8_000);
        daemon.kill_daemon();
        client = daemon.new_caller();
        // Daemons that live for no time at all are taken for a crash loop.
        std::thread::sleep(Duration::from_millis(60));
    }
    wait_for("everything to settle", || {
        let list = client.ok("getMonitorData", json!([{}]));
        let list = list.as_array().unwrap().clone();
        let status = |process: &serde_json::Value| process["pm2_env"]["status"].clone();
        let is_settled = list.iter().all(|process| {
            ["online", "stopped"]
                .iter()
                .any(|word| status(process) == **word)
        });
        let mut pids: Vec<i64> = list
            .iter()
            .map(|one| one["pid"].as_i64().unwrap())
            .collect();
        pids.retain(|pid| *pid != 0);
        pids.sort_unstable();
        let mut there: Vec<i64> = daemon.processes().into_iter().map(i64::from).collect();
        there.sort_unstable();
        there.retain(|pid| {
            *pid != i64::from(daemon.keeper) && Some(*pid) != daemon.daemon_pid().map(i64::from)
        });
        (is_settled && pids == there).then_some(())
    });
    let log = fs::read_to_string(daemon.path("pm2.log")).unwrap();
    assert!(!log.contains("without a record"), "{log}");
}

// Protects: an update touches no app; one that fails changes nothing, and says why.
#[test]
fn an_update_keeps_every_process_and_one_that_fails_is_rolled_back() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let script = "let n = 0; setInterval(() => console.log(n++), 1)";
    daemon.start_node(&mut client, "counter", script, &json!({}));
    let before = client.process("counter");
    let own = env!("CARGO_BIN_EXE_pm2");
    for program in [own, "/bin/false", own, "/no/such/pm2"] {
        let brain = daemon.daemon_pid();
        let args = json!([{"program": program, "env": {"PM2_KILL_TIMEOUT": "77", "PATH": "/bin:/usr/bin"}}]);
        client.send("replaceDaemon", args);
        assert!(
            client.frames.next().is_none(),
            "the one that was asked goes"
        );
        client = daemon.new_caller();
        assert_ne!(daemon.daemon_pid(), brain);
        let report = client.ok("getReport", json!([{}]));
        assert_eq!(report["not_replaced"].is_null(), program == own, "{report}");
        assert_eq!(report["env"]["PM2_KILL_TIMEOUT"], "77", "{report}");
        let after = client.process("counter");
        assert_eq!(after["pid"], before["pid"]);
        assert_eq!(after["pm2_env"]["restart_time"], 0);
    }
    assert!(
        client
            .error("replaceDaemon", json!([{"program": "pm2"}]))
            .contains("absolute")
    );
    client.ok("stopProcessId", json!([0]));
    let log = daemon.out_log("counter");
    let numbers: Vec<u32> = log.lines().map(|line| line.parse().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
}

// Protects: workers, their sockets and the port they share. Every connection that is made is answered.
#[test]
fn workers_of_a_cluster_answer_every_request_while_the_daemon_is_killed() {
    use std::io::{Read as _, Write as _};
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let script = "const server = require('http').createServer((q, s) => s.end('ok')); server.listen(0, () => console.log(server.address().port));";
    let more = json!({"exec_mode": "cluster_mode", "instances": 2});
    daemon.start_node(&mut client, "web", script, &more);
    wait_for("both to listen", || {
        (daemon.out_log("web").lines().count() == 2).then_some(())
    });
    let port: u16 = daemon
        .out_log("web")
        .lines()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let ask = || {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("ok"), "{answer}");
    };
    let mut dice = Dice(3);
    for _ in 0..20 {
        daemon.kill_daemon();
        let until = Instant::now() + Duration::from_millis(60 + dice.roll(60));
        while Instant::now() < until {
            ask();
        }
    }
    client = daemon.new_caller();
    let list = client.ok("getMonitorData", json!([{}]));
    for process in list.as_array().unwrap() {
        assert_eq!(process["pm2_env"]["restart_time"], 0);
        assert_eq!(process["pm2_env"]["status"], "online");
    }
    // A worker that comes later gets the same port, from a daemon that never bound it.
    client.ok("restartProcessId", json!([{"id": 0}]));
    wait_for("it to listen", || {
        (daemon.out_log("web").lines().count() == 3).then_some(())
    });
    assert_eq!(
        daemon.out_log("web").lines().last().unwrap(),
        port.to_string()
    );
    for _ in 0..20 {
        ask();
    }
}
