//! A keeper that is killed, again and again, while its apps run.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::helper::{
    Client, Daemon, copy_program, is_alive, parent_of, signal, wait_for, write_program,
};
use super::recovery::{Dice, stop as halt};

/// How often the keeper is killed where that is the whole test.
const KILLS: u32 = 20;

impl Daemon {
    /// Kills the keeper of the moment, and waits for the next one.
    pub(crate) fn kill_keeper(&self) -> i32 {
        let pid = wait_for("a keeper", || self.keeper_pid());
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        wait_for("its end", || (!is_alive(pid)).then_some(()));
        wait_for("the next keeper", || {
            let file = fs::read_to_string(self.path("pm2.pid")).unwrap_or_default();
            let next = file.parse().ok().filter(|next| *next != pid)?;
            is_alive(next).then_some(next)
        })
    }
}

/// Fails if the numbers an app has counted are not all there, each once.
pub(super) fn assert_counted(log: &str) {
    let numbers: Vec<u32> = log.lines().map(|line| line.parse().unwrap()).collect();
    let odd: Vec<_> = numbers
        .windows(2)
        .filter(|pair| pair[1] != pair[0] + 1)
        .collect();
    assert!(numbers[0] == 0 && odd.is_empty(), "{odd:?}");
}

// Protects: the promise. The app is the same process, no line is lost, callers stay connected, and the channel works.
#[test]
fn no_line_is_lost_and_nobody_is_disconnected_when_the_keeper_is_killed_twenty_times() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let script = "let n = 0; setInterval(() => console.log(n++), 1); process.on('message', m => process.send({ type: 'echo', data: m.data }));";
    daemon.start_node(&mut client, "counter", script, &json!({}));
    let before = client.process("counter");
    let mut bus = daemon.bus();
    let brain = daemon.daemon_pid();
    let mut dice = Dice(5);
    for round in 0..KILLS {
        dice.pause(100_000);
        let next = daemon.kill_keeper();
        let words = format!("keeper {next}");
        bus.until(|name, payload| name == "log:PM2" && payload.to_string().contains(&words));
        let packet = json!({"id": 0, "topic": "t", "data": {"round": round}});
        client.ok("sendDataToProcessId", json!([packet]));
        assert_eq!(bus.named("echo")["data"]["round"], round);
    }
    let after = client.process("counter");
    assert_eq!(daemon.daemon_pid(), brain, "the daemon goes on");
    for field in ["restart_time", "pm_uptime", "status"] {
        assert_eq!(after["pm2_env"][field], before["pm2_env"][field], "{field}");
    }
    assert_eq!(after["pid"], before["pid"]);
    daemon.wait_counted("counter", 500);
    client.ok("stopProcessId", json!([0]));
    assert_counted(&daemon.out_log("counter"));
}

// Protects: what an app does after its keeper was killed is seen, counted and acted upon as ever.
#[test]
fn an_app_whose_keeper_was_killed_is_stopped_restarted_and_its_exit_code_known() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let script =
        "process.on('message', m => process.exit(m.data.code)); setInterval(() => {}, 1000);";
    daemon.start_node(&mut client, "app", script, &json!({"stop_exit_codes": [4]}));
    daemon.kill_keeper();
    let exit_with = |client: &mut Client, code: i32| {
        let packet = json!({"id": 0, "topic": "t", "data": {"code": code}});
        client.ok("sendDataToProcessId", json!([packet]));
    };
    let before = client.process("app");
    exit_with(&mut client, 3);
    let after = wait_for("the restart", || {
        let process = client.process("app");
        (process["pm2_env"]["restart_time"] == 1 && process["pid"] != 0).then_some(process)
    });
    assert_ne!(after["pid"], before["pid"]);
    assert_eq!(after["pm2_env"]["exit_code"], 3);
    daemon.kill_keeper();
    exit_with(&mut client, 4);
    wait_for("the end", || {
        (client.status("app") == "stopped").then_some(())
    });
    assert_eq!(client.process("app")["pm2_env"]["exit_code"], 4);
    // One that is stopped by signal, and one that has to be killed.
    let stubborn = "trap '' INT; echo up; while :; do sleep 0.05; done";
    daemon.start_shell(
        &mut client,
        "stubborn",
        stubborn,
        &json!({"kill_timeout": 200}),
    );
    client.ok("startProcessId", json!([0]));
    wait_for("its line", || {
        (daemon.out_log("stubborn") == "up\n").then_some(())
    });
    daemon.kill_keeper();
    for (id, name) in ["app", "stubborn"].into_iter().enumerate() {
        let pid = i32::try_from(client.process(name)["pid"].as_i64().unwrap()).unwrap();
        client.ok("stopProcessId", json!([id]));
        assert_eq!(client.status(name), "stopped");
        assert!(!is_alive(pid), "{name}");
    }
    assert_eq!(daemon.processes().len(), 2, "keeper and daemon");
}

// Protects: the daemon may die whenever its keeper is another one than it began with, and the other way round.
#[test]
fn keeper_and_daemon_are_killed_in_turn_and_the_apps_go_on() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let script = "let n = 0; setInterval(() => console.log(n++), 1);";
    daemon.start_node(&mut client, "counter", script, &json!({}));
    let before = client.process("counter");
    for _ in 0..6 {
        daemon.kill_keeper();
        let brain = daemon.daemon_pid().unwrap();
        signal(brain, "KILL");
        wait_for("another daemon", || {
            daemon.daemon_pid().filter(|pid| *pid != brain)
        });
        client = daemon.client();
        client.ok("ping", json!([{}]));
    }
    let after = client.process("counter");
    assert_eq!(after["pid"], before["pid"]);
    assert_eq!(after["pm2_env"]["restart_time"], 0);
    daemon.wait_counted("counter", 50);
    client.ok("stopProcessId", json!([0]));
    assert_counted(&daemon.out_log("counter"));
}

// Protects: what is there is what was asked for, whenever the keeper was killed: nothing twice, nothing lost, every call
// answered.
#[test]
fn kills_at_any_moment_of_start_stop_and_reload_leave_exactly_what_was_asked_for() {
    let daemon = Daemon::start();
    let mut dice = Dice(21);
    let mut client = daemon.client();
    let text = "echo up >> \"$PM2_HOME/begun.$name\"; exec sleep 1000";
    let begun = |name: &str| {
        let begun = fs::read_to_string(daemon.path(&format!("begun.{name}")));
        begun.unwrap_or_default().lines().count()
    };
    let wanted = |round| if round % 4 == 2 { 4 } else { 3 };
    for round in 0..24 {
        let name = format!("app{round}");
        let script = daemon.script("app.sh", text);
        let declaration = daemon.declaration(
            &name,
            "/bin/sh",
            &script,
            &json!({"instances": 3, "env": {"PM2_HOME": daemon.home(), "PATH": "/bin:/usr/bin", "name": name}}),
        );
        let started = client.send("prepare", json!([declaration]));
        let second = match round % 4 {
            0 => None,
            act => {
                let reply = client.reply(&started);
                // One that ends before it has said so has begun all the same.
                wait_for("the first starts", || (begun(&name) == 3).then_some(()));
                let id = reply["args"][0][0]["pm2_env"]["pm_id"].clone();
                assert!(id.is_number(), "{reply}");
                Some(match act {
                    1 => client.send("stopProcessId", json!([id])),
                    2 => client.send("restartProcessId", json!([{"id": id}])),
                    _ => client.send("deleteProcessId", json!([id])),
                })
            }
        };
        dice.pause(6_000);
        daemon.kill_keeper();
        // Nobody's call got lost.
        let reply = client.reply(second.as_ref().unwrap_or(&started));
        assert!(reply["error"].is_null(), "{reply}");
        wait_for("every start", || {
            (begun(&name) >= wanted(round)).then_some(())
        });
    }
    assert_settled(&daemon, &mut client);
    for round in 0..24 {
        let name = format!("app{round}");
        assert_eq!(begun(&name), wanted(round), "round {round}: started twice");
    }
}

// Protects: what a keeper was asked for and did not live to do is done by the next one: a signal is sent, once, a start is made,
// once. It is halted first, so that it has certainly read none of it.
#[test]
fn what_a_keeper_did_not_live_to_do_is_done_once_by_the_next() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let text = "trap 'echo asked' INT\necho up\nwhile :; do sleep 0.01; done";
    let more = json!({"kill_timeout": 300, "treekill": false});
    daemon.start_shell(&mut client, "told", text, &more);
    wait_for("its line", || {
        (daemon.out_log("told") == "up\n").then_some(())
    });
    for round in 1..=3 {
        let keeper = daemon.keeper_pid().unwrap();
        halt(keeper);
        let stopped = client.send(
            "sendSignalToProcessId",
            json!([{"process_id": 0, "signal": "SIGINT"}]),
        );
        let script = daemon.script("begun.sh", "echo begun; exec sleep 1000");
        let name = format!("late{round}");
        let declaration = daemon.declaration(&name, "/bin/sh", &script, &json!({}));
        let started = client.send("prepare", json!([declaration]));
        // The daemon has asked for both when it answers this.
        let asked = client.send("getReport", json!([{}]));
        client.reply(&stopped);
        client.reply(&asked);
        daemon.kill_keeper();
        let reply = client.reply(&started);
        assert_eq!(
            reply["args"][0][0]["pm2_env"]["status"], "online",
            "{reply}"
        );
        let expected = format!("up\n{}", "asked\n".repeat(round));
        wait_for("the signal", || {
            (daemon.out_log("told") == expected).then_some(())
        });
        wait_for("the start", || {
            (daemon.out_log(&name) == "begun\n").then_some(())
        });
    }
    client.ok("stopProcessId", json!([0]));
    assert_settled(&daemon, &mut client);
    assert_eq!(daemon.out_log("late1"), "begun\n");
}

// Protects: no-daemon mode. The next keeper is tied to the same program, and ends with it.
#[test]
fn a_tied_keeper_that_was_killed_is_followed_by_a_tied_one() {
    let (daemon, mut program) = Daemon::start_tied();
    let mut client = daemon.client();
    let text = "exec sleep 1000";
    daemon.start_shell(&mut client, "app", text, &json!({}));
    let tie = program.stdin.take();
    daemon.kill_keeper();
    program.wait().unwrap();
    assert_eq!(client.status("app"), "online");
    wait_for("keeper, daemon and app alone", || {
        (daemon.processes().len() == 3).then_some(())
    });
    drop(tie);
    wait_for("the end of all", || {
        daemon.processes().is_empty().then_some(())
    });
}

impl Daemon {
    /// Has another executable take over, and waits until it has.
    fn update_to(&self, client: &mut Client, program: &Path) {
        let args = json!([{"program": program, "env": {"PATH": "/bin:/usr/bin"}}]);
        client.send("replaceDaemon", args);
        assert!(
            client.frames.next().is_none(),
            "the one that was asked goes"
        );
        *client = self.client();
        let report = client.ok("getReport", json!([{}]));
        assert!(report["not_replaced"].is_null(), "{report}");
    }

    /// A program that is not the one everything was started from.
    fn other_program(&self, name: &str, script: Option<&str>) -> PathBuf {
        let path = self.path(name);
        let own = env!("CARGO_BIN_EXE_pm2");
        match script {
            None => copy_program(&path),
            Some(text) => {
                write_program(&path, &format!("#!/bin/sh\n{text}\nexec {own} \"$@\"\n"));
            }
        }
        path
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("pm2.log")).unwrap()
    }
}

// Protects: an update is a whole one. The keeper becomes the new executable; its number, its children, what it holds and the
// exits it has not told stay.
#[test]
fn an_update_replaces_the_keeper_too_and_everything_stays_its_own() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let script = "let n = 0; setInterval(() => console.log(n++), 1); process.on('message', m => process.exit(m.data.code));";
    daemon.start_node(&mut client, "counter", script, &json!({}));
    let app = client.process("counter")["pid"].as_i64().unwrap();
    let app = i32::try_from(app).unwrap();
    for round in 0..5 {
        let program = daemon.other_program(&format!("pm2-{round}"), None);
        daemon.update_to(&mut client, &program);
        wait_for("the keeper to follow", || {
            let exe = fs::read_link(format!("/proc/{}/exe", daemon.keeper)).ok()?;
            (exe == program).then_some(())
        });
        let pid = fs::read_to_string(daemon.path("pm2.pid")).unwrap();
        assert_eq!(pid, daemon.keeper.to_string());
        assert_eq!(parent_of(app), Some(daemon.keeper), "still its own child");
        assert_eq!(client.process("counter")["pid"], app);
    }
    // It goes on with everything it was there for.
    let brain = daemon.daemon_pid().unwrap();
    signal(brain, "KILL");
    wait_for("another daemon", || {
        daemon.daemon_pid().filter(|pid| *pid != brain)
    });
    client = daemon.client();
    daemon.kill_keeper();
    let after = client.process("counter");
    assert_eq!(
        (&after["pid"], &after["pm2_env"]["restart_time"]),
        (&json!(app), &json!(0))
    );
    let packet = json!({"id": 0, "topic": "t", "data": {"code": 3}});
    daemon.wait_counted("counter", 50);
    client.ok("stopProcessId", json!([0]));
    assert_counted(&daemon.out_log("counter"));
    client.ok("startProcessId", json!([0]));
    client.ok("sendDataToProcessId", json!([packet]));
    wait_for("the restart", || {
        (client.process("counter")["pm2_env"]["exit_code"] == 3).then_some(())
    });
}

// Protects: whatever the new executable is worth as a keeper, no app is lost: the old keeper stays, or the daemon starts another.
#[test]
fn an_executable_that_is_no_keeper_costs_no_app() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    daemon.start_shell(&mut client, "app", "exec sleep 1000", &json!({}));
    let before = client.process("app");
    // It cannot be executed any more once it is the daemon.
    let program = daemon.other_program("once", Some("chmod a-x \"$0\""));
    daemon.update_to(&mut client, &program);
    wait_for("the keeper to stay", || {
        daemon
            .log()
            .contains("the keeper stays as it is")
            .then_some(())
    });
    assert_eq!(daemon.keeper_pid(), Some(daemon.keeper));
    // It can be executed, and ends at once.
    let program = daemon.other_program("never", Some("[ \"$1\" = __keeper ] && exit 1"));
    daemon.update_to(&mut client, &program);
    let next = wait_for("another keeper", || {
        daemon.keeper_pid().filter(|pid| *pid != daemon.keeper)
    });
    wait_for("it to say so", || {
        daemon
            .log()
            .contains(&format!("go on with keeper {next}"))
            .then_some(())
    });
    let after = client.process("app");
    assert_eq!(after["pid"], before["pid"]);
    assert_eq!(after["pm2_env"]["restart_time"], 0);
    client.ok("restartProcessId", json!([{"id": 0}]));
    assert_settled(&daemon, &mut client);
}

/// Waits until every listed process is up or stopped, and fails if others than those run.
pub(super) fn assert_settled(daemon: &Daemon, client: &mut Client) {
    wait_for("everything to settle", || {
        let list = client.ok("getMonitorData", json!([{}]));
        let list = list.as_array().unwrap().clone();
        let status = |process: &Value| process["pm2_env"]["status"].clone();
        let is_settled =
            |process: &Value| status(process) == "online" || status(process) == "stopped";
        let pids = list.iter().map(|one| one["pid"].as_i64().unwrap());
        let mut pids: Vec<i64> = pids.filter(|pid| *pid != 0).collect();
        pids.sort_unstable();
        let ours = [daemon.keeper_pid()?, daemon.daemon_pid()?];
        let all = daemon.processes();
        let mut there: Vec<i64> = all
            .into_iter()
            .filter(|pid| !ours.contains(pid))
            .map(i64::from)
            .collect();
        there.sort_unstable();
        (list.iter().all(is_settled) && pids == there).then_some(())
    });
}
