//! How a daemon begins and ends.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::helper::{Daemon, launch, signal, wait_for};

// Protects: two cold starts on one home end in one daemon.
#[test]
fn a_second_daemon_on_one_home_is_refused() {
    let daemon = Daemon::start();
    let second = launch(daemon.home(), &[]);
    assert_eq!(second, json!({"online": false, "reason": "locked"}));
    assert_eq!(daemon.client().ok("getVersion", json!([{}])), "7.0.4");
    let pid = fs::read_to_string(daemon.path("pm2.pid")).unwrap();
    assert_eq!(pid, daemon.keeper.to_string());
}

// Protects: `pm2 kill`: the bus hears of it, the caller gets its SIGQUIT, the sockets go.
#[test]
fn kill_me_tells_the_bus_and_signals_the_caller_only() {
    let daemon = Daemon::start();
    let mut bus = daemon.bus();
    let mut client = daemon.client();
    daemon.start_shell(&mut client, "left", "exec sleep 1000", &json!({}));
    // A client that asks for the signal, as the real one does, in a process that can be killed for it.
    let text = format!(
        "import os,signal,socket,struct,sys,time\n\
         signal.signal(signal.SIGQUIT,signal.SIG_DFL)\n\
         s=socket.socket(socket.AF_UNIX); s.connect('{}')\n\
         f=lambda *a: bytes([0x10|len(a)])+b''.join(struct.pack('>I',len(x))+x for x in a)\n\
         s.sendall(f(b'j:{{\"type\":\"call\",\"method\":\"killMe\",\"args\":[{{\"pid\":%d}}]}}'%(os.getpid() if len(sys.argv)<2 else int(sys.argv[1])),b's:1'))\n\
         time.sleep(100)",
        daemon.path("rpc.sock").display()
    );
    let mut stranger = Command::new("sleep").arg("1000").spawn().unwrap();
    let mut other = Command::new("python3")
        .args(["-c", &text, &stranger.id().to_string()])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the socket to go", || {
        (!daemon.path("rpc.sock").exists()).then_some(())
    });
    assert_eq!(
        bus.named("pm2:kill"),
        json!({"status": "killed", "msg": "pm2 has been killed via CLI"})
    );
    assert!(bus.next().is_none());
    wait_for("all to end", || daemon.processes().is_empty().then_some(()));
    assert!(
        stranger.try_wait().unwrap().is_none(),
        "nobody but the caller is signalled"
    );
    for child in [&mut stranger, &mut other] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(!daemon.path("pm2.pid").exists() && !daemon.path("pub.sock").exists());

    let daemon = Daemon::start();
    let text = text.replace(
        daemon_path_of(&text),
        daemon.path("rpc.sock").to_str().unwrap(),
    );
    let mut caller = Command::new("python3").args(["-c", &text]).spawn().unwrap();
    let status = caller.wait().unwrap();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(3)
    );
}

fn daemon_path_of(text: &str) -> &str {
    let start = text.find("/tmp/").unwrap();
    &text[start..start + text[start..].find('\'').unwrap()]
}

// Protects: pm2 0.x's `killMe({})` has an answer.
#[test]
fn kill_me_without_a_pid_is_answered() {
    let daemon = Daemon::start();
    assert_eq!(
        daemon.client().ok("killMe", json!([{}])),
        json!({"msg": "pm2 killed"})
    );
}

/// A list that was saved before: what is none is not kept as the backup.
const BEFORE: &str = "[{\"name\":\"before\",\"pm_exec_path\":\"/bin/true\"}]";

// Protects: a machine that shuts down: the list is saved, everything is stopped, the bus is told.
#[test]
fn a_signal_saves_the_list_and_stops_everything() {
    let daemon = Daemon::start();
    let mut bus = daemon.bus();
    let mut client = daemon.client();
    fs::write(daemon.path("dump.pm2"), BEFORE).unwrap();
    daemon.start_shell(&mut client, "saved", "exec sleep 1000", &json!({}));
    signal(daemon.keeper, "TERM");
    assert_eq!(
        bus.named("pm2:kill"),
        json!({"status": "killed", "msg": "pm2 has been killed via SIGNAL"})
    );
    wait_for("all to end", || daemon.processes().is_empty().then_some(()));
    let text = fs::read_to_string(daemon.path("dump.pm2")).unwrap();
    assert!(!text.contains('\n'), "compact");
    let dump: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&dump[0]["name"], &dump[0]["status"]),
        (&json!("saved"), &json!("online"))
    );
    assert!(dump[0].get("pm_id").is_none() && dump[0].get("instances").is_none());
    assert_eq!(
        fs::read_to_string(daemon.path("dump.pm2.bak")).unwrap(),
        BEFORE
    );
    assert!(!daemon.path("rpc.sock").exists() && !daemon.path("pm2.pid").exists());
}

// Protects: after notifyKillPM2 nothing is restarted any more, and it has no reply.
#[test]
fn after_notify_kill_nothing_is_restarted() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    daemon.start_shell(&mut client, "last", "exec sleep 1000", &json!({}));
    client.send("notifyKillPM2", json!([{}]));
    let ping = client.send("ping", json!([{}]));
    assert_eq!(client.frames.next().unwrap()[1], ping.as_bytes());
    let pid = client.process("last")["pid"].as_i64().unwrap();
    signal(i32::try_from(pid).unwrap(), "KILL");
    wait_for("its end", || {
        (client.status("last") == "stopped").then_some(())
    });
    assert!(
        client
            .error("restartProcessId", json!([{"id": 0}]))
            .contains("being killed")
    );
}

// Protects: sockets on TCP, for clients that ask for it.
#[test]
fn the_sockets_can_be_tcp_ports_of_this_machine() {
    use std::io::{Read as _, Write as _};
    let address = |port| format!("tcp://127.0.0.1:{port}");
    let (daemon, [port]) =
        Daemon::start_on_ports(|[port]| vec![("PM2_DAEMON_RPC_PORT", address(port))]);
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    let request = super::helper::frame(&[
        b"j:{\"type\":\"call\",\"method\":\"ping\",\"args\":[{}]}",
        b"s:1",
    ]);
    stream.write_all(&request).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).unwrap();
    assert!(
        reply.ends_with(b"s:1"),
        "a caller that has said all it has to say still gets its answer"
    );
    drop(daemon);
}

// Protects: a daemon that is killed is replaced, and its sockets serve again.
#[test]
fn when_the_daemon_is_killed_another_one_answers() {
    let daemon = Daemon::start();
    let report = daemon.client().ok("getReport", json!([{}]));
    assert_eq!(report["pm2_version"], "7.0.4");
    let is_daemon = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|b| *b == 0).any(|word| word == b"__daemon")
    };
    let first: Vec<i32> = daemon.processes().into_iter().filter(is_daemon).collect();
    assert_eq!(first.len(), 1);
    signal(first[0], "KILL");
    wait_for("another one", || {
        let now: Vec<i32> = daemon.processes().into_iter().filter(is_daemon).collect();
        (now.len() == 1 && now != first).then_some(())
    });
    wait_for("its socket", || {
        std::os::unix::net::UnixStream::connect(daemon.path("rpc.sock")).ok()
    });
    assert_eq!(daemon.client().ok("getMonitorData", json!([{}])), json!([]));
}
