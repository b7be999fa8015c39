//! Other users: who may speak to a daemon, and what others can see of it. Most of it needs root, which alone can be somebody else.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::helper::{Daemon, frame, signal, wait_for, write_program};

/// A user and a group that no account of a fresh machine has.
const STRANGER: u32 = 54_321;
const GROUP: u32 = 54_322;

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// What a ping from this user, this group and these further groups gets: an answer, an end, or no way in.
fn ping_as(daemon: &Daemon, uid: u32, gid: u32, groups: &str) -> &'static str {
    let script = "
import os,socket,sys
uid,gid,path=int(sys.argv[1]),int(sys.argv[2]),sys.argv[4]
os.setgroups([int(g) for g in sys.argv[3].split(',') if g])
os.setresgid(gid,gid,gid)
os.setresuid(uid,uid,uid)
s=socket.socket(socket.AF_UNIX)
s.settimeout(20)
try: s.connect(path)
except PermissionError: sys.exit(3)
body=[b'j:{\"type\":\"call\",\"method\":\"ping\",\"args\":[{}]}',b's:1:1']
try:
    s.sendall(bytes([0x12])+b''.join(len(b).to_bytes(4,'big')+b for b in body))
    answer=s.recv(4096)
except (BrokenPipeError,ConnectionResetError): answer=b''
sys.exit(0 if b'pong' in answer else 4)
";
    let status = Command::new("python3")
        .args(["-c", script, &uid.to_string(), &gid.to_string(), groups])
        .arg(daemon.path("rpc.sock"))
        .status()
        .unwrap();
    match status.code() {
        Some(0) => "answered",
        Some(3) => "no way in",
        Some(4) => "left",
        other => panic!("python ended with {other:?}"),
    }
}

/// Opens the way to the socket for everybody, as a careless owner might.
fn open_up(daemon: &Daemon) {
    fs::set_permissions(daemon.home(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(daemon.path("rpc.sock"), fs::Permissions::from_mode(0o666)).unwrap();
}

// Protects every app of the user: the socket is private, and where its mode is not, the kernel's word about the peer decides.
#[test]
fn another_user_is_not_answered_even_where_the_modes_would_let_it_in() {
    if !is_root() {
        return;
    }
    let daemon = Daemon::start();
    assert_eq!(ping_as(&daemon, STRANGER, GROUP, ""), "no way in");
    open_up(&daemon);
    assert_eq!(ping_as(&daemon, STRANGER, GROUP, ""), "left");
    assert_eq!(ping_as(&daemon, STRANGER, 0, "0"), "left");
    assert_eq!(ping_as(&daemon, 0, GROUP, ""), "answered");
}

// Protects `PM2_SOCKET_USER` and `PM2_SOCKET_GROUP`: who was let in gets in, by further groups too, and nobody else does.
#[test]
fn whom_the_variables_name_may_speak_and_nobody_else() {
    if !is_root() {
        return;
    }
    let (user, group) = (STRANGER.to_string(), GROUP.to_string());
    let home = tempfile::Builder::new()
        .prefix("pm2d")
        .tempdir_in("/tmp")
        .unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let env = [("PM2_SOCKET_USER", &*user), ("PM2_SOCKET_GROUP", &*group)];
    let line = crate::helper::launch(home.path(), &env);
    let daemon = Daemon::of(home, &line);
    let socket = fs::metadata(daemon.path("rpc.sock")).unwrap();
    assert_eq!(
        (socket.uid(), socket.gid(), socket.mode() & 0o777),
        (STRANGER, GROUP, 0o660)
    );
    // Reachable, and nothing more: names cannot be listed.
    assert_eq!(fs::metadata(daemon.home()).unwrap().mode() & 0o777, 0o711);
    let many: Vec<String> = (60_000..60_200).map(|number| number.to_string()).collect();
    let many = many.join(",");
    assert_eq!(ping_as(&daemon, STRANGER, 1, ""), "answered");
    assert_eq!(ping_as(&daemon, STRANGER + 10, GROUP, ""), "answered");
    assert_eq!(
        ping_as(&daemon, STRANGER + 10, 1, &format!("{many},{GROUP}")),
        "answered"
    );
    assert_eq!(ping_as(&daemon, STRANGER + 10, 1, &many), "no way in");
    assert_eq!(ping_as(&daemon, 0, 0, ""), "answered");
    open_up(&daemon);
    assert_eq!(ping_as(&daemon, STRANGER + 10, 1, &many), "left");
    // One alone means nothing, as in pm2.
    let daemon = Daemon::start_with(&[("PM2_SOCKET_USER", &user)]);
    assert_eq!(
        fs::metadata(daemon.path("rpc.sock")).unwrap().mode() & 0o777,
        0o600
    );
    open_up(&daemon);
    assert_eq!(ping_as(&daemon, STRANGER, GROUP, ""), "left");
}

/// The local addresses at which processes listen, from the kernel's own table: `0100007F` is 127.0.0.1.
fn listening_at(port: u16) -> Vec<String> {
    let table = ["/proc/net/tcp", "/proc/net/tcp6"]
        .map(|path| fs::read_to_string(path).unwrap_or_default());
    let end = format!(":{port:04X}");
    let rows = table.iter().flat_map(|text| text.lines().skip(1));
    rows.filter_map(|row| {
        let words: Vec<&str> = row.split_whitespace().collect();
        (words[3] == "0A").then(|| words[1].strip_suffix(&end).map(str::to_owned))?
    })
    .collect()
}

// Protects whoever gives a bare port: pm2 would listen on every address of the machine.
#[test]
fn a_port_is_served_on_the_loopback_address_unless_a_host_is_named() {
    let (daemon, [calls, events]) = Daemon::start_on_ports(|[calls, events]| {
        let bus = format!("tcp://0.0.0.0:{events}");
        vec![
            ("PM2_DAEMON_RPC_PORT", calls.to_string()),
            ("PM2_DAEMON_PUB_PORT", bus),
        ]
    });
    assert_eq!(listening_at(calls), ["0100007F"]);
    assert_eq!(listening_at(events), ["00000000"]);
    let mut stream = TcpStream::connect(("127.0.0.1", calls)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let call = format!(
        r#"j:{{"type":"call","method":"killMe","args":[{{"pid":{}}}]}}"#,
        std::process::id()
    );
    stream
        .write_all(&frame(&[call.as_bytes(), b"s:1:1"]))
        .unwrap();
    // Who is at the other end of TCP nobody knows: the daemon ends, and nobody is signalled. We are here to see it.
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    wait_for("the end of the daemon", || {
        daemon.processes().is_empty().then_some(())
    });
}

fn walk(folder: &Path, seen: &mut Vec<(String, u32)>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        // A file that is being replaced has another one beside it for a moment.
        let Ok(found) = entry.metadata() else {
            continue;
        };
        seen.push((entry.path().display().to_string(), found.mode() & 0o7777));
        if found.is_dir() {
            walk(&entry.path(), seen);
        }
    }
}

// Protects what is secret in an environment: no file that others can read has it, no log, no command line, whatever the mask of who
// started the daemon.
#[test]
fn nothing_of_a_home_is_for_others_and_no_secret_is_where_they_look() {
    for mask in ["000", "077"] {
        let home = tempfile::Builder::new()
            .prefix("pm2d")
            .tempdir_in("/tmp")
            .unwrap();
        let masked = home.path().join("app-masked.sh");
        let words = format!(
            "#!/bin/sh\numask {mask}\nDAEMON_SECRET=sesame-daemon exec {} \"$@\"\n",
            env!("CARGO_BIN_EXE_pm2")
        );
        write_program(&masked, &words);
        let daemon = Daemon::start_in(home, &masked, None);
        let mut client = daemon.client();
        let logs = daemon.path("far/away");
        let more = json!({
            "env": {"PM2_HOME": daemon.home(), "PATH": std::env::var("PATH").unwrap(), "SECRET": "sesame-app"},
            "pm_log_path": logs.join("all.log"), "pm_out_log_path": logs.join("out.log"), "merge_logs": true,
            "pm_pid_path": daemon.path("other/pids/x.pid"),
        });
        daemon.start_shell(&mut client, "quiet", "echo hello; exec sleep 1000", &more);
        wait_for("a line", || {
            fs::read_to_string(logs.join("out.log"))
                .ok()
                .filter(|text| text.contains("hello"))
        });
        client.ok("getReport", json!([{}]));
        let words = format!("umask {mask}; \"$0\" save && \"$0\" save && \"$0\" reload all");
        let save = Command::new("/bin/sh")
            .args(["-c", &words, env!("CARGO_BIN_EXE_pm2")])
            .env("PM2_HOME", daemon.home())
            .output();
        assert!(save.unwrap().status.success());
        // An error that talks about the app.
        client.error(
            "restartProcessId",
            json!([{"id": 0, "env": {"SECRET": {"deep": "x".repeat(3 << 20)}}}]),
        );
        let mut seen = Vec::new();
        walk(daemon.home(), &mut seen);
        assert!(seen.len() > 15, "{seen:?}");
        // What a test script wrote is not ours.
        for (path, mode) in seen.iter().filter(|(path, _)| !path.contains("/app")) {
            assert_eq!(mode & 0o077, 0, "{path} {mode:o} with the mask {mask}");
        }
        assert!(
            fs::read_to_string(daemon.path("dump.pm2"))
                .unwrap()
                .contains("sesame-app")
        );
        let log = fs::read_to_string(daemon.path("pm2.log")).unwrap();
        assert!(!log.contains("sesame"), "{log}");
        for pid in daemon.processes() {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            assert!(!String::from_utf8_lossy(&line).contains("sesame"));
        }
    }
}

// Protects root: a log or pid file that somebody else has made a link leads nowhere, and the app is not started on it.
#[test]
fn a_link_that_another_user_laid_is_not_written_through() {
    if !is_root() {
        return;
    }
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let (target, link) = (daemon.path("target"), daemon.path("logs/trap-out.log"));
    fs::write(&target, "kept").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    std::os::unix::fs::lchown(&link, Some(STRANGER), Some(GROUP)).unwrap();
    let script = daemon.script("trap.sh", "echo written; exec sleep 1000");
    let app = daemon.declaration("trap", "/bin/sh", &script, &json!({}));
    let error = client.error("prepare", json!([app]));
    assert!(
        error.contains("trap-out.log") && error.contains("not followed"),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&target).unwrap(), "kept");
    // The same for a pid file: the app runs, and the link stays unwritten.
    let pids = daemon.path("pids/trap-1.pid");
    std::os::unix::fs::symlink(&target, &pids).unwrap();
    std::os::unix::fs::lchown(&pids, Some(STRANGER), Some(GROUP)).unwrap();
    fs::remove_file(&link).unwrap();
    client.ok("prepare", json!([app]));
    wait_for("the app", || {
        daemon.out_log("trap").contains("written").then_some(())
    });
    assert_eq!(fs::read_to_string(&target).unwrap(), "kept");
    wait_for("a word about it", || {
        let log = fs::read_to_string(daemon.path("pm2.log")).unwrap();
        (log.contains("trap-1.pid") && log.contains("not followed")).then_some(())
    });
}

// Protects the machine: `pid: '/dev/null'` means no pid file, and root's daemon must not remove the device at the end.
#[test]
fn a_device_for_a_pid_file_outlives_the_app() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    daemon.start_shell(
        &mut client,
        "a",
        "exec sleep 1000",
        &json!({"pm_pid_path": "/dev/null"}),
    );
    client.ok("deleteProcessId", json!([0]));
    assert!(
        fs::metadata("/dev/null")
            .unwrap()
            .file_type()
            .is_char_device()
    );
}

// Protects root: whose home it is decides what is run, so root is told when it is not its own.
#[test]
fn a_home_of_somebody_else_is_pointed_out() {
    if !is_root() {
        return;
    }
    let folder = tempfile::Builder::new()
        .prefix("pm2o")
        .tempdir_in("/tmp")
        .unwrap();
    std::os::unix::fs::chown(folder.path(), Some(STRANGER), Some(GROUP)).unwrap();
    let line = crate::helper::launch(folder.path(), &[]);
    assert_eq!(line["online"], true, "{line}");
    wait_for("the log", || {
        let log = fs::read_to_string(folder.path().join("pm2.log")).ok()?;
        log.contains(&format!("belongs to user {STRANGER}"))
            .then_some(())
    });
    let keeper = i32::try_from(line["pid"].as_i64().unwrap()).unwrap();
    signal(keeper, "TERM");
    wait_for("its end", || {
        (!crate::helper::is_alive(keeper)).then_some(())
    });
}
