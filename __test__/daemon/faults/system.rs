//! A system that refuses: no space, no descriptors, no processes, no access. The daemon lives, says what it could not do, leaves the
//! others alone, and goes on when the fault has gone.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::super::helper::{Client, Daemon, copy_program, json_of, wait_for};

/// Sets one resource limit of a process: `prlimit` of util-linux.
pub(crate) fn limit(pid: i32, what: &str, value: &str) {
    // Only its own user may do that without privileges, not even any root.
    let owner = fs::metadata(format!("/proc/{pid}")).unwrap();
    let status = Command::new("prlimit")
        .arg(format!("--pid={pid}"))
        .arg(format!("--{what}={value}:"))
        .uid(owner.uid())
        .gid(owner.gid())
        .status();
    assert!(status.unwrap().success(), "prlimit --{what}={value}");
}

fn soft_limit(pid: i32, name: &str) -> String {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
    line[name.len()..]
        .split_whitespace()
        .next()
        .unwrap()
        .to_owned()
}

fn open_files(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// A bystander, before and after.
fn witness(client: &mut Client) -> Value {
    let process = client.process("bystander");
    json!([
        process["pid"],
        process["pm2_env"]["status"],
        process["pm2_env"]["restart_time"]
    ])
}

fn start_bystander(daemon: &Daemon, client: &mut Client) -> Value {
    daemon.start_shell(client, "bystander", "exec sleep 1000", &json!({}));
    witness(client)
}

// Protects: a disk that is full, or a quota: `EFBIG` stands for `ENOSPC` here, which needs no file system of our own. What does not fit
// is counted and told in the log as soon as there is room.
#[test]
fn a_log_that_can_grow_no_more_hurts_nobody_and_goes_on_later() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let before = start_bystander(&daemon, &mut client);
    let pid = daemon.daemon_pid().unwrap();
    limit(pid, "fsize", "200000");
    let text = "i=0; while [ $i -lt 12000 ]; do echo \"line $i of a log that is too long for its disk\"; i=$((i+1)); done; echo >\"$PM2_HOME/told\"; exec sleep 1000";
    daemon.start_shell(&mut client, "chatty", text, &json!({}));
    wait_for("all of it to be printed", || {
        daemon.path("told").exists().then_some(())
    });
    wait_for("the log to be full", || {
        (daemon.out_log("chatty").len() == 200_000).then_some(())
    });
    assert_eq!(witness(&mut client), before);
    assert_eq!(client.status("chatty"), "online");
    assert_eq!(daemon.daemon_pid(), Some(pid), "it has not died of it");
    limit(pid, "fsize", "unlimited");
    let log = wait_for("the notice", || {
        Some(daemon.out_log("chatty")).filter(|log| log.contains("bytes of this log were lost"))
    });
    assert!(log.starts_with("line 0 of"), "what was written stays");
    wait_for("the last line", || {
        let log = daemon.out_log("chatty");
        log.ends_with("line 11999 of a log that is too long for its disk\n")
            .then_some(())
    });
}

// Protects: a daemon without descriptors answers those it has, says why it cannot start more, and takes new callers when it can.
#[test]
fn without_descriptors_a_start_fails_by_name_and_new_callers_wait() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let before = start_bystander(&daemon, &mut client);
    let pid = daemon.daemon_pid().unwrap();
    let usual = soft_limit(pid, "Max open files");
    limit(pid, "nofile", &(open_files(pid) + 2).to_string());
    let script = daemon.script("app.sh", "exec sleep 1000");
    let app = json!([daemon.declaration("more", "/bin/sh", &script, &json!({}))]);
    let error = client.error("prepare", app.clone());
    assert!(error.contains("Too many open files"), "{error}");
    limit(pid, "nofile", &open_files(pid).to_string());
    // The system takes the connection; the daemon cannot yet.
    let mut waiting = daemon.client();
    let ping = waiting.send("ping", json!([{}]));
    for _ in 0..20 {
        assert_eq!(witness(&mut client), before);
    }
    limit(pid, "nofile", &usual);
    assert_eq!(waiting.reply(&ping)["args"][0]["msg"], "pong");
    let id = client.process("more")["pm_id"].clone();
    client.ok("restartProcessId", json!([{"id": id}]));
    assert_eq!(client.status("more"), "online");
    assert_eq!(witness(&mut client), before);
    assert_eq!(daemon.daemon_pid(), Some(pid));
}

// Protects: the keeper likewise, which holds the descriptors of all apps.
#[test]
fn a_keeper_without_descriptors_fails_a_start_and_keeps_what_it_has() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let before = start_bystander(&daemon, &mut client);
    let usual = soft_limit(daemon.keeper, "Max open files");
    limit(
        daemon.keeper,
        "nofile",
        &(open_files(daemon.keeper) + 3).to_string(),
    );
    let script = daemon.script("app.sh", "exec sleep 1000");
    let app = json!([daemon.declaration("more", "/bin/sh", &script, &json!({}))]);
    let id = client.send("prepare", app.clone());
    // What came over the channel without its descriptors cannot be understood: another daemon is started, as soon as one can be.
    if let Some(frame) = client.frames.next() {
        assert_eq!(frame[1], id.as_bytes());
        assert!(json_of(&frame[0]).get("error").is_some());
    }
    limit(daemon.keeper, "nofile", &usual);
    let mut client = daemon.client();
    assert_eq!(witness(&mut client), before);
    let id = client.process("more")["pm_id"].clone();
    client.ok("restartProcessId", json!([{"id": id}]));
    daemon.kill_daemon();
    let mut client = daemon.new_caller();
    assert_eq!(witness(&mut client), before);
    assert_eq!(client.status("more"), "online");
}

/// A user of whom there is nothing on this machine.
const STRANGER: u32 = 64_321;

/// A home and an executable that belong to a user whom the system may refuse things; to root it refuses nothing.
fn stranger() -> Daemon {
    let home = tempfile::Builder::new()
        .prefix("pm2d")
        .tempdir_in("/tmp")
        .unwrap();
    if !nix::unistd::geteuid().is_root() {
        return Daemon::start_in(home, Path::new(env!("CARGO_BIN_EXE_pm2")), None);
    }
    let program = home.path().join("pm2");
    copy_program(&program);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::chown(home.path(), Some(STRANGER), Some(STRANGER)).unwrap();
    Daemon::start_in(home, &program, Some(STRANGER))
}

// Protects: a user who may have no more processes.
#[test]
fn without_processes_a_start_fails_by_name_and_works_later() {
    let daemon = stranger();
    let mut client = daemon.client();
    let before = start_bystander(&daemon, &mut client);
    let usual = soft_limit(daemon.keeper, "Max processes");
    limit(daemon.keeper, "nproc", "1");
    let script = daemon.script("app.sh", "exec sleep 1000");
    let app = json!([daemon.declaration("more", "/bin/sh", &script, &json!({}))]);
    let error = client.error("prepare", app);
    assert!(error.contains("ulimit -u"), "{error}");
    let id = client.process("more")["pm_id"].clone();
    assert_eq!(client.status("more"), "errored");
    limit(daemon.keeper, "nproc", &usual);
    client.ok("restartProcessId", json!([{"id": id}]));
    assert_eq!(client.status("more"), "online");
    assert_eq!(witness(&mut client), before);
}

// Protects: folders that may not be written to. The log names its file; a pid file is not worth a start.
#[test]
fn without_access_the_file_is_named_and_the_others_go_on() {
    let daemon = stranger();
    let mut client = daemon.client();
    let before = start_bystander(&daemon, &mut client);
    let mode = |folder: &str, mode| {
        let folder = daemon.path(folder);
        fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
    };
    let script = daemon.script("app.sh", "exec sleep 1000");
    let app = json!([daemon.declaration("more", "/bin/sh", &script, &json!({}))]);
    mode("logs", 0o500);
    let error = client.error("prepare", app);
    let path = daemon.path("logs/more-out.log");
    assert!(error.contains(path.to_str().unwrap()), "{error}");
    assert!(error.contains("Permission denied"), "{error}");
    mode("logs", 0o700);
    mode("pids", 0o000);
    let id = client.process("more")["pm_id"].clone();
    client.ok("restartProcessId", json!([{"id": id}]));
    assert_eq!(client.status("more"), "online");
    let path = daemon.path(&format!("pids/more-{id}.pid"));
    wait_for("a word about the pid file", || {
        let log = fs::read_to_string(daemon.path("pm2.log")).unwrap();
        log.contains(path.to_str().unwrap()).then_some(())
    });
    mode("pids", 0o700);
    client.ok("restartProcessId", json!([{"id": id}]));
    let pid = client.process("more")["pid"].to_string();
    assert_eq!(fs::read_to_string(&path).unwrap(), pid);
    assert_eq!(witness(&mut client), before);
}
