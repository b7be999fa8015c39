//! Log files: complete, in the formats of pm2, and reopened when asked.

use std::fs;

use serde_json::{Value, json};

use super::helper::{Daemon, wait_for};

// Protects: real pm2 loses what an app prints just before it exits.
#[test]
fn what_is_printed_before_process_exit_is_in_the_log() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let text = "for (let i = 0; i < 20000; i++) console.log('line ' + i); process.stdout.write('end'); process.exit(3)";
    daemon.start_node(&mut client, "chatty", text, &json!({"autorestart": false}));
    wait_for("the exit", || {
        (client.status("chatty") == "stopped").then_some(())
    });
    let log = daemon.out_log("chatty");
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines.len(), 20001);
    assert!(
        lines[..20000]
            .iter()
            .enumerate()
            .all(|(n, line)| *line == format!("line {n}"))
    );
    assert_eq!(lines[20000], "end");
    assert_eq!(client.process("chatty")["pm2_env"]["exit_code"], 3);
}

// Protects: dates and JSON envelopes, and that both streams reach the combined file.
#[test]
fn dates_envelopes_and_combined_files() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let text = "echo one; echo two; echo err >&2; exec sleep 1000";
    let combined = daemon.path("logs/deep/er/all.log");
    daemon.start_shell(
        &mut client,
        "dated",
        text,
        &json!({"log_date_format": "YYYY [x]", "pm_log_path": combined}),
    );
    let year = wait_for("three lines", || {
        let text = fs::read_to_string(&combined).unwrap_or_default();
        (text.lines().count() == 3).then_some(text)
    });
    assert!(
        year.lines()
            .all(|line| line.len() > 8 && &line[4..8] == " x: "),
        "{year}"
    );
    assert_eq!(daemon.out_log("dated").lines().count(), 2);

    daemon.start_shell(
        &mut client,
        "enveloped",
        "echo hi; exec sleep 1000",
        &json!({"log_type": "json"}),
    );
    let line = wait_for("an envelope", || {
        Some(daemon.out_log("enveloped")).filter(|text| !text.is_empty())
    });
    let envelope: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(envelope["message"], "hi\n");
    assert_eq!(
        (&envelope["type"], &envelope["app_name"]),
        (&json!("out"), &json!("enveloped"))
    );

    daemon.start_shell(
        &mut client,
        "silent",
        "echo hi; echo x > done; exec sleep 1000",
        &json!({"disable_logs": true, "pm_cwd": daemon.home()}),
    );
    wait_for("its line", || daemon.path("done").exists().then_some(()));
    client.ok("deleteProcessId", json!([2]));
    assert_eq!(daemon.out_log("silent"), "");
}

// Protects: logrotate.
#[test]
fn logs_are_reopened_on_request_and_on_sigusr2() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let text = "while read line; do echo \"$line\"; done";
    daemon.start_shell(&mut client, "rotated", text, &json!({}));
    let mut say = |line: &str| {
        client.ok(
            "sendLineToStdin",
            json!([{"pm_id": 0, "line": format!("{line}\n")}]),
        );
    };
    let log = daemon.path("logs/rotated-out.log");
    say("one");
    wait_for("one", || {
        daemon.out_log("rotated").contains("one").then_some(())
    });
    for (turn, name) in ["two", "three"].into_iter().enumerate() {
        fs::rename(&log, daemon.path("logs/old")).unwrap();
        if turn == 0 {
            daemon.client().ok("reloadLogs", json!([{}]));
        } else {
            super::helper::signal(daemon.keeper, "USR2");
        }
        wait_for("the file", || log.exists().then_some(()));
        say(name);
        wait_for(name, || {
            (daemon.out_log("rotated") == format!("{name}\n")).then_some(())
        });
    }
}

// Protects: a grandchild that keeps the pipe open is still logged after the app itself has gone.
#[test]
fn what_a_grandchild_prints_later_is_logged() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let text = "(while [ ! -e go ]; do sleep 0.02; done; echo late) & echo early";
    daemon.start_shell(
        &mut client,
        "parent",
        text,
        &json!({"autorestart": false, "pm_cwd": daemon.home()}),
    );
    wait_for("the exit", || {
        (client.status("parent") == "stopped").then_some(())
    });
    fs::write(daemon.path("go"), "").unwrap();
    wait_for("the late line", || {
        (daemon.out_log("parent") == "early\nlate\n").then_some(())
    });
}

// Protects: logs, pid files and sockets are nobody else's business.
#[test]
fn files_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let daemon = Daemon::start();
    let mut client = daemon.client();
    daemon.start_shell(&mut client, "private", "exec sleep 1000", &json!({}));
    for name in [
        "rpc.sock",
        "pub.sock",
        "pids/private-0.pid",
        "logs/private-out.log",
        "logs/private-error.log",
    ] {
        let mode = fs::metadata(daemon.path(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let pid = fs::read_to_string(daemon.path("pids/private-0.pid")).unwrap();
    assert_eq!(pid, client.process("private")["pid"].to_string());
    client.ok("stopProcessId", json!([0]));
    assert!(!daemon.path("pids/private-0.pid").exists());
}
