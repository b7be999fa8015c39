//! Apps that fail.

use serde_json::json;

use super::helper::{Daemon, wait_for};

// Protects: a crash loop ends, after as many starts as pm2 makes.
#[test]
fn a_crash_loop_ends_errored_after_sixteen_starts() {
    let daemon = Daemon::start();
    let mut bus = daemon.bus();
    let mut client = daemon.client();
    // Each is a short one, however long the machine takes for it.
    let more = json!({"min_uptime": 3_600_000});
    daemon.start_shell(&mut client, "crasher", "echo up; exit 1", &more);
    bus.until(|name, payload| name == "process:event" && payload["event"] == "restart overlimit");
    wait_for("errored", || {
        (client.status("crasher") == "errored").then_some(())
    });
    assert_eq!(daemon.out_log("crasher").lines().count(), 16);
    let record = client.process("crasher")["pm2_env"].clone();
    assert_eq!(
        (&record["restart_time"], &record["exit_code"]),
        (&json!(15), &json!(1))
    );
}

// Protects: a program that does not exist is errored and says why; the list goes on working.
#[test]
fn a_missing_program_or_folder_is_errored_and_named() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let script = daemon.script("x.sh", "exec sleep 1000");
    for (name, interpreter, cwd, wanted) in [
        ("a", "/no/such/interpreter", "/tmp", "ENOENT"),
        ("b", "/bin/sh", "/no/such/folder", "/no/such/folder"),
    ] {
        let more = json!({"pm_cwd": cwd});
        let reply = client.call(
            "prepare",
            json!([daemon.declaration(name, interpreter, &script, &more)]),
        );
        assert_eq!(client.status(name), "errored", "{reply}");
        let log = std::fs::read_to_string(daemon.path("pm2.log")).unwrap();
        assert!(log.contains(wanted), "{log}");
    }
    assert_eq!(client.process("a")["pid"], 0);
}

// Protects: a log path that cannot be is an error of that app, with the path in it.
#[test]
fn a_log_file_that_cannot_be_opened_is_named() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let script = daemon.script("x.sh", "exec sleep 1000");
    let more = json!({"pm_out_log_path": "/proc/nope/x.log"});
    client.call(
        "prepare",
        json!([daemon.declaration("lost", "/bin/sh", &script, &more)]),
    );
    assert_eq!(client.status("lost"), "errored");
    let log = std::fs::read_to_string(daemon.path("pm2.log")).unwrap();
    assert!(log.contains("/proc/nope/x.log"), "{log}");
}
