//! Keeper and daemon killed at once, and what the next ones make of it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::heirs::assert_settled;
use super::helper::{Daemon, is_alive, launch, signal, wait_for};
use super::recovery::{Dice, stop as halt};

impl Daemon {
    /// Kills both, so that neither can do anything about the other.
    fn kill_both(&self) {
        let (keeper, daemon) = wait_for("both", || Some((self.keeper_pid()?, self.daemon_pid()?)));
        for pid in [keeper, daemon] {
            halt(pid);
        }
        kill_all([keeper, daemon]);
    }

    /// Kills both, one right after the other.
    fn kill_in_turn(&self, is_keeper_first: bool) {
        let (keeper, daemon) = wait_for("both", || Some((self.keeper_pid()?, self.daemon_pid()?)));
        if is_keeper_first {
            kill_all([keeper, daemon]);
        } else {
            kill_all([daemon, keeper]);
        }
    }

    /// Starts both anew, as the next program that connects does. Another one may have been started by the one that was killed last.
    fn begin_again(&self) {
        wait_for("a daemon", || {
            let line = launch(self.home(), &[]);
            (line["online"] == true || self.is_answering()).then_some(())
        });
    }
}

fn kill_all(pids: [i32; 2]) {
    for pid in pids {
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }
    for pid in pids {
        wait_for("its end", || (!is_alive(pid)).then_some(()));
    }
}

// Protects: an app in fork mode goes on as the same process, its log goes on too, and it can be told what to do.
#[test]
fn an_app_goes_on_under_its_old_id_and_its_log_goes_on_with_it() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let script = "let n = 0; process.on('SIGUSR2', () => console.log(n++)); setInterval(() => {}, 1000); console.log('up');";
    daemon.start_node(&mut client, "quiet", script, &json!({}));
    daemon.start_shell(&mut client, "stopped", "exec sleep 1000", &json!({}));
    client.ok("stopProcessId", json!([1]));
    let before = client.process("quiet");
    let pid = i32::try_from(before["pid"].as_i64().unwrap()).unwrap();
    let mut expected = "up\n".to_owned();
    wait_for("its line", || {
        (daemon.out_log("quiet") == expected).then_some(())
    });
    for round in 0..4 {
        daemon.kill_both();
        daemon.begin_again();
        client = daemon.client();
        let after = client.process("quiet");
        for field in ["pm_id", "restart_time", "status", "pm_uptime"] {
            assert_eq!(after["pm2_env"][field], before["pm2_env"][field], "{field}");
        }
        assert_eq!(after["pid"], pid);
        assert_eq!(client.status("stopped"), "stopped");
        signal(pid, "USR2");
        expected += &round.to_string();
        expected.push('\n');
        wait_for("its line", || {
            (daemon.out_log("quiet") == expected).then_some(())
        });
    }
    let log = fs::read_to_string(daemon.path("pm2.log")).unwrap();
    let told = "1 applications go on without their channels, 0 were ended, 0 had ended";
    assert_eq!(log.matches(told).count(), 4, "{log}");
    client.ok("restartProcessId", json!([{"id": 0}]));
    assert_ne!(client.process("quiet")["pid"], pid);
    assert_settled(&daemon, &mut client);
    signal(daemon.keeper_pid().unwrap(), "TERM");
    wait_for("the end", || daemon.processes().is_empty().then_some(()));
    assert!(
        !daemon.path("state").exists(),
        "after an orderly end there is nothing to know"
    );
}

// Protects: one that prints while nobody reads ends of it, as any program does whose reader has gone. It is begun again, once.
#[test]
fn an_app_that_prints_while_nobody_reads_is_begun_again() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let script = "let n = 0; setInterval(() => console.log(n++), 1);";
    daemon.start_node(&mut client, "chatty", script, &json!({}));
    let pid = i32::try_from(client.process("chatty")["pid"].as_i64().unwrap()).unwrap();
    wait_for("a line", || {
        (!daemon.out_log("chatty").is_empty()).then_some(())
    });
    daemon.kill_both();
    wait_for("its end", || (!is_alive(pid)).then_some(()));
    daemon.begin_again();
    let mut client = daemon.client();
    wait_for("the restart", || {
        let process = client.process("chatty");
        (process["pm2_env"]["status"] == "online" && process["pid"] != pid).then_some(())
    });
    assert_eq!(client.process("chatty")["pm2_env"]["restart_time"], 1);
    assert_settled(&daemon, &mut client);
}

// Protects: what is written for a disaster is none itself. A process that cannot enter itself, because the file may not grow, is
// started all the same.
#[test]
fn an_app_that_cannot_be_noted_is_started_all_the_same() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    super::faults::system::limit(daemon.keeper, "fsize", "60");
    let text = "exec sleep 1000";
    daemon.start_shell(&mut client, "app", text, &json!({}));
    assert_eq!(client.status("app"), "online");
    let pid = i32::try_from(client.process("app")["pid"].as_i64().unwrap()).unwrap();
    assert!(is_alive(pid));
    super::faults::system::limit(daemon.keeper, "fsize", "unlimited");
    client.ok("restartProcessId", json!([{"id": 0}]));
    assert_settled(&daemon, &mut client);
}

// Protects: one that has ended meanwhile is restarted by its policy, and counted; the exit code is nobody's to know.
#[test]
fn an_app_that_ended_meanwhile_is_restarted_and_counted() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let text = "echo up; exec sleep 1000";
    daemon.start_shell(
        &mut client,
        "mortal",
        text,
        &json!({"stop_exit_codes": [0]}),
    );
    daemon.start_shell(&mut client, "once", text, &json!({"autorestart": false}));
    let pids = ["mortal", "once"].map(|name| client.process(name)["pid"].as_i64().unwrap());
    daemon.kill_both();
    for pid in pids {
        let pid = i32::try_from(pid).unwrap();
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        wait_for("its end", || (!is_alive(pid)).then_some(()));
    }
    daemon.begin_again();
    let mut client = daemon.client();
    wait_for("the restart", || {
        let process = client.process("mortal");
        (process["pm2_env"]["status"] == "online" && process["pid"] != pids[0]).then_some(())
    });
    assert_eq!(client.process("mortal")["pm2_env"]["restart_time"], 1);
    assert_eq!(client.status("once"), "stopped");
    assert_settled(&daemon, &mut client);
}

// Protects: workers whose primary is gone are not left holding a port or a name: each is there once, and the port answers.
#[test]
fn workers_of_a_cluster_are_begun_again_and_their_port_answers() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let script = "require('http').createServer((q, a) => a.end('hello')).listen(0, '127.0.0.1', function () { require('fs').appendFileSync(process.env.PM2_HOME + '/port', this.address().port + '\\n') });";
    let more = json!({"exec_mode": "cluster_mode", "instances": 2});
    daemon.start_node(&mut client, "web", script, &more);
    // Of both: one that listens only now would name the port of before.
    let port = || {
        let ports = fs::read_to_string(daemon.path("port")).ok()?;
        let mut lines = ports.lines();
        let port = lines.next()?.to_owned();
        lines.next().map(|_| port)
    };
    wait_for("a port", port);
    daemon.kill_both();
    fs::remove_file(daemon.path("port")).unwrap();
    daemon.begin_again();
    let mut client = daemon.client();
    let port: u16 = wait_for("a port again", port).parse().unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
    assert_settled(&daemon, &mut client);
    assert_eq!(
        daemon.processes().len(),
        4,
        "keeper, daemon and two workers"
    );
}

// Protects: whatever was under way, what runs is what is listed: nothing twice, nobody unknown.
#[test]
fn whenever_both_are_killed_what_runs_is_what_is_listed() {
    let daemon = Daemon::start();
    let mut dice = Dice(77);
    let mut client = daemon.client();
    let script = daemon.script("app.sh", "exec sleep 1000");
    for round in 0..16 {
        let name = format!("app{round}");
        let more = json!({"instances": 2});
        let declaration = daemon.declaration(&name, "/bin/sh", &script, &more);
        client.send("prepare", json!([declaration]));
        let list = |client: &mut super::helper::Client| client.ok("getMonitorData", json!([{}]));
        match round % 4 {
            1 => {
                let id = list(&mut client)[0]["pm_id"].clone();
                client.send("restartProcessId", json!([{"id": id}]));
            }
            2 => {
                let id = list(&mut client)[0]["pm_id"].clone();
                client.send("deleteProcessId", json!([id]));
            }
            _ => {}
        }
        dice.pause(4_000);
        daemon.kill_in_turn(round % 2 == 0);
        daemon.begin_again();
        client = daemon.client();
        assert_settled(&daemon, &mut client);
    }
    let list = client.ok("getMonitorData", json!([{}]));
    assert!(list.as_array().unwrap().len() > 8, "{list}");
}
