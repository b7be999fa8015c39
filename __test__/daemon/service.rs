//! The words of the command line that an init system uses, and what a service manager hears.

use std::fs;
use std::io::IoSliceMut;
use std::os::fd::AsRawFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, channel};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde_json::{Value, json};

use crate::helper::{Daemon, PATIENCE, copy_program, is_alive, wait_for};

const IDLE: &str = "exec sleep 1000";

/// The executable with these words, in the home.
fn pm2(home: &Path, words: &[&str]) -> Command {
    pm2_from(Path::new(env!("CARGO_BIN_EXE_pm2")), home, words)
}

/// The same by somebody who is not root. The home is his then, and the executable in it, for he may not reach where it was built.
fn by_somebody(home: &Path, words: &[&str]) -> Command {
    let copy = home.join("pm2");
    if !copy.exists() {
        copy_program(&copy);
    }
    let mut command = pm2_from(&copy, home, words);
    if nix::unistd::geteuid().is_root() {
        let mut chown = Command::new("chown");
        chown.args(["-R", "65534:65534"]).arg(home);
        assert!(chown.status().unwrap().success());
        command.uid(65_534).gid(65_534);
    }
    command
}

fn pm2_from(program: &Path, home: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(words)
        .current_dir("/")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("PM2_HOME", home);
    command
}

/// Exit code, stdout and stderr.
fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn run(daemon: &Daemon, words: &[&str]) -> (i32, String, String) {
    said(&pm2(daemon.home(), words).output().unwrap())
}

fn keeper(daemon: &Daemon) -> i32 {
    fs::read_to_string(daemon.path("pm2.pid"))
        .unwrap()
        .parse()
        .unwrap()
}

/// What a service manager finds in the file that names the daemon.
fn heir(daemon: &Daemon) -> Value {
    let text = fs::read_to_string(daemon.path("daemon.pid")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// A daemon that managed `a` and `b`, saved them and was ended.
fn saved() -> Daemon {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    for name in ["a", "b"] {
        daemon.start_shell(&mut client, name, IDLE, &json!({}));
    }
    let home = daemon.home().display();
    let (code, out, err) = run(&daemon, &["save"]);
    assert_eq!((code, err), (0, String::new()));
    assert_eq!(
        out,
        format!(
            "[PM2] Saving current process list...\n[PM2] Successfully saved in {home}/dump.pm2\n"
        )
    );
    let (code, out, err) = run(&daemon, &["kill"]);
    assert_eq!((code, err), (0, String::new()));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        lines,
        [
            "[PM2] Applying action deleteProcessId on app [all](ids: [ 0, 1 ])",
            "[PM2] [a](0) ✓",
            "[PM2] [b](1) ✓",
            "[PM2] [v] All Applications Stopped",
            "[PM2] [v] PM2 Daemon Stopped",
        ]
    );
    wait_for("the end of everything", || {
        daemon.processes().is_empty().then_some(())
    });
    daemon
}

// Protects: an init system without Node can start, reload and stop everything, with pm2's words and exit codes.
#[test]
fn an_init_system_needs_nothing_but_the_executable() {
    let mut daemon = saved();
    let home = daemon.home().display().to_string();
    let (code, out, err) = run(&daemon, &["resurrect"]);
    daemon.keeper = keeper(&daemon);
    assert_eq!((code, err), (0, String::new()));
    for line in [
        format!("[PM2] Spawning PM2 daemon with pm2_home={home}"),
        "[PM2] PM2 Successfully daemonized".to_owned(),
        "[PM2] Resurrecting".to_owned(),
        format!("[PM2] Restoring processes located in {home}/dump.pm2"),
        format!("[PM2] Process {home}/app/a.sh restored"),
        format!("[PM2] Process {home}/app/b.sh restored"),
    ] {
        assert_eq!(
            out.lines().filter(|found| **found == line).count(),
            1,
            "{line}\n{out}"
        );
    }
    let pid = |name: &str| daemon.client().process(name)["pid"].as_i64().unwrap();
    let before = (pid("a"), pid("b"));
    let (code, out, _) = run(&daemon, &["reload", "all"]);
    assert_eq!(code, 0);
    assert!(
        out.contains("[PM2] Applying action reloadProcessId on app [all](ids: [ "),
        "{out}"
    );
    assert!(
        out.contains("[PM2] [a](") && out.contains("[PM2] [b]("),
        "{out}"
    );
    assert!(pid("a") != before.0 && pid("b") != before.1);
    let (code, out, _) = run(&daemon, &["-s", "resurrect"]);
    assert_eq!((code, out.as_str()), (0, ""));
    assert_eq!(
        daemon
            .client()
            .ok("getMonitorData", json!([{}]))
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let (code, _, err) = run(&daemon, &["reload", "nobody"]);
    let unknown = "[PM2][ERROR] Process or Namespace nobody not found\n";
    assert_eq!((code, err.as_str()), (1, unknown));
    daemon.client().ok("deleteAll", json!([{}]));
    let (code, _, err) = run(&daemon, &["reload", "all"]);
    assert_eq!((code, err.as_str()), (1, "[PM2][WARN] No process found\n"));
    let (code, out, _) = run(&daemon, &["save"]);
    assert_eq!(code, 0);
    assert!(!out.contains("Successfully"), "{out}");
}

// Protects: modules are back after a reboot, when nothing but the executable speaks to the daemon; a broken one is no obstacle.
#[test]
fn the_word_of_an_init_system_starts_the_installed_modules() {
    let mut daemon = saved();
    let home = daemon.home().to_owned();
    let folder = home.join("modules/mod");
    fs::create_dir_all(&folder).unwrap();
    let script = folder.join("mod.sh");
    fs::write(&script, format!("#!/bin/sh\n{IDLE}\n")).unwrap();
    let manifest =
        json!({"name": "mod", "version": "1.2.3", "pm2": [{"name": "mod", "script": "mod.sh"}]});
    fs::write(folder.join("package.json"), manifest.to_string()).unwrap();
    let installed =
        json!({"tar-modules": {"gone": {"source": "tarball"}, "mod": {"source": "tarball"}}});
    fs::write(home.join("module_conf.json"), installed.to_string()).unwrap();
    let (code, out, err) = run(&daemon, &["resurrect"]);
    daemon.keeper = keeper(&daemon);
    assert_eq!(code, 0);
    assert!(out.contains("[PM2] Module mod STARTED\n"), "{out}");
    assert!(err.contains("Could not start gone: "), "{err}");
    let module = daemon.client().process("mod");
    assert_eq!(module["pm2_env"]["pmx_module"], true);
    assert_eq!(module["pm2_env"]["status"], "online");
    assert_eq!(daemon.client().process("a")["pm2_env"]["status"], "online");
}

// Protects scripts that look at exit codes, and whoever types something that is not there yet.
#[test]
fn words_that_make_no_sense_exit_with_1_and_start_nothing() {
    let home = tempfile::Builder::new()
        .prefix("pm2s")
        .tempdir_in("/tmp")
        .unwrap();
    let run = |words: &[&str]| said(&pm2(home.path(), words).output().unwrap());
    for (words, code, stdout, stderr) in [
        (&[][..], 1, "usage: pm2 [options] <command>", ""),
        (&["--help"], 0, "usage: pm2 [options] <command>", ""),
        (&["--version"], 0, env!("CARGO_PKG_VERSION"), ""),
        (
            &["dance"],
            1,
            "usage: pm2",
            "[PM2][ERROR] Command not found",
        ),
        (
            &["list"],
            1,
            "",
            "[PM2][ERROR] the command list is not there yet",
        ),
        (&["kill", "now"], 1, "", "Unknown command argument: now"),
        (&["resurrect", "--x"], 1, "", "error: unknown option `--x'"),
        (
            &["startup", "windows"],
            1,
            "",
            "Unknown platform / init system name",
        ),
    ] {
        let (found, out, err) = run(words);
        assert_eq!(found, code, "{words:?}: {out}{err}");
        assert!(
            out.starts_with(stdout) && err.contains(stderr),
            "{words:?}: {out}{err}"
        );
    }
    let (code, out, err) = run(&["kill"]);
    assert_eq!((code, err.as_str()), (0, "[PM2][WARN] No process found\n"));
    assert!(out.ends_with("[PM2] [v] PM2 Daemon Stopped\n"), "{out}");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}

// Protects: whoever is not root learns what to type, and nothing is done.
#[test]
fn who_is_not_root_is_told_what_to_type() {
    let home = tempfile::Builder::new()
        .prefix("pm2s")
        .tempdir_in("/tmp")
        .unwrap();
    let mut command = by_somebody(
        home.path(),
        &["startup", "systemd", "-u", "root", "--hp", "/srv/a b"],
    );
    let (code, out, err) = said(&command.output().unwrap());
    assert_eq!((code, err.as_str()), (1, ""));
    assert!(out.starts_with("[PM2] To setup the Startup Script, copy/paste the following command:\nsudo env PATH=$PATH /"), "{out}");
    assert!(
        out.ends_with("/pm2 startup systemd -u root --hp '/srv/a b'\n"),
        "{out}"
    );
}

// Protects this machine: whoever prepares another one's disk is not told to paste what would remove the service here.
#[test]
fn another_machines_disk_is_prepared_without_advice_for_this_one() {
    let folder = tempfile::Builder::new()
        .prefix("pm2s")
        .tempdir_in("/tmp")
        .unwrap();
    let disk = folder.path().join("disk");
    let home = folder.path().join("home");
    let root = format!("--root={}", disk.display());
    let words = ["startup", "smf", "--service-name", "x", &root];
    let (code, out, err) = said(&pm2(&home, &words).output().unwrap());
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let file = disk.join("var/svc/manifest/site/x.xml");
    let last = format!("[PM2] Wrote init configuration in {}\n", file.display());
    assert!(file.is_file() && out.ends_with(&last), "{out}");
    let copied = disk.join(home.strip_prefix("/").unwrap()).join("bin");
    assert!(copied.is_dir() && !home.exists());
}

/// How often the manager wants to hear of us, in microseconds: its queue takes few signs of life, and is to have room for other words
/// when the machine was halted for a moment.
const WATCHDOG_USEC: &str = "400000";

/// What a service manager hears.
struct Manager(Receiver<String>);

impl Manager {
    /// Listens as long as the test runs, whatever the test does meanwhile: what finds no room in its queue is not said.
    fn new(socket: UnixDatagram) -> Self {
        let (heard, ears) = channel();
        std::thread::spawn(move || while heard.send(datagram(&socket)).is_ok() {});
        Self(ears)
    }

    /// The next datagram.
    fn hear(&self) -> String {
        self.0.recv_timeout(PATIENCE).unwrap()
    }

    /// The next one that was not there before.
    fn hear_anew(&self) -> String {
        while self.0.try_recv().is_ok() {}
        self.hear()
    }

    fn until(&self, wanted: impl Fn(&str) -> bool) -> String {
        loop {
            let heard = self.hear();
            if wanted(&heard) {
                return heard;
            }
        }
    }
}

/// Descriptors that came with it are closed, as the manager does.
fn datagram(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 512];
    let mut space = nix::cmsg_space!([i32; 4]);
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let fd = socket.as_raw_fd();
    let message =
        recvmsg::<()>(fd, &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC).unwrap();
    for control in message.cmsgs().unwrap() {
        if let ControlMessageOwned::ScmRights(fds) = control {
            for fd in fds {
                nix::unistd::close(fd).unwrap();
            }
        }
    }
    let length = message.bytes;
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

fn life_of_a_service(manager: &Manager, address: &str) {
    let mut daemon = saved();
    let mut service = pm2(daemon.home(), &["resurrect"]);
    service
        .env("NOTIFY_SOCKET", address)
        .env("WATCHDOG_USEC", WATCHDOG_USEC);
    let service = std::thread::spawn(move || service.output().unwrap());
    let ready = manager.until(|heard| heard.contains("READY=1"));
    let barrier = manager.until(|heard| !heard.starts_with("WATCHDOG=1"));
    assert_eq!(barrier, "BARRIER=1");
    assert!(service.join().unwrap().status.success());
    daemon.keeper = keeper(&daemon);
    assert_eq!(ready, format!("MAINPID={}\nREADY=1", daemon.keeper));
    assert_eq!(daemon.client().status("b"), "online");
    for _ in 0..3 {
        assert_eq!(manager.hear(), "WATCHDOG=1");
    }
    // The watch goes on over the death of the daemon.
    let report =
        |daemon: &Daemon| daemon.client().ok("getReport", json!([{}]))["daemon_pid"].clone();
    let killed = report(&daemon);
    assert_eq!(heir(&daemon), killed, "who goes on without the keeper");
    let pid = i32::try_from(killed.as_i64().unwrap()).unwrap();
    crate::helper::signal(pid, "KILL");
    wait_for("its end", || (!is_alive(pid)).then_some(()));
    wait_for("another daemon", || {
        daemon
            .path("rpc.sock")
            .exists()
            .then(|| report(&daemon))
            .filter(|pid| *pid != killed)
    });
    assert_eq!(heir(&daemon), report(&daemon));
    assert_eq!(manager.hear_anew(), "WATCHDOG=1");
    // And over the death of the keeper, whose place another one takes.
    let before = daemon.keeper;
    crate::helper::signal(before, "KILL");
    let succeeded = manager.until(|heard| heard.starts_with("MAINPID="));
    daemon.keeper = keeper(&daemon);
    assert_eq!(succeeded, format!("MAINPID={}", daemon.keeper));
    assert_ne!(daemon.keeper, before);
    assert_eq!(heir(&daemon), report(&daemon));
    assert_eq!(manager.hear(), "WATCHDOG=1");
    let mut stop = pm2(daemon.home(), &["kill"]);
    stop.env("NOTIFY_SOCKET", address);
    assert!(stop.output().unwrap().status.success());
    manager.until(|heard| heard == "STOPPING=1");
    wait_for("the end of the keeper", || {
        (!is_alive(daemon.keeper)).then_some(())
    });
    assert!(!daemon.path("daemon.pid").exists());
}

// Protects `Type=notify` and `WatchdogSec`: the manager hears the main process, readiness after the last app is back, signs of life and the end.
#[test]
fn a_service_manager_hears_readiness_life_and_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = Manager::new(UnixDatagram::bind(&path).unwrap());
    life_of_a_service(&manager, path.to_str().unwrap());
}

// Protects managers whose socket has no file.
#[test]
fn a_service_manager_may_be_a_name_without_a_file() {
    let name = format!("pm2-service-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let manager = Manager::new(UnixDatagram::bind_addr(&address).unwrap());
    life_of_a_service(&manager, &format!("@{name}"));
}

// Protects a daemon that somebody started by hand from a manager that waits for signs of life it will never give.
#[test]
fn a_daemon_that_was_there_before_is_not_watched() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("left out: only root's service takes over a daemon");
        return;
    }
    let daemon = Daemon::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = Manager::new(UnixDatagram::bind(&path).unwrap());
    let mut service = pm2(daemon.home(), &["resurrect"]);
    service
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", WATCHDOG_USEC);
    let service = std::thread::spawn(move || service.output().unwrap());
    let ready = manager.until(|heard| heard.contains("READY=1"));
    assert_eq!(
        ready,
        format!("MAINPID={}\nREADY=1\nWATCHDOG_USEC=0", daemon.keeper)
    );
    assert_eq!(manager.hear(), "BARRIER=1");
    assert!(service.join().unwrap().status.success());
    assert!(!daemon.path("daemon.pid").exists());
}

// Protects the apps of whoever starts a service beside a daemon that was started by hand: systemd believes only root that a process which it
// has not started is the service, takes that for over at once, and would have the daemon stopped.
#[test]
fn only_roots_service_takes_over_a_daemon_that_was_there_before() {
    let mut daemon = saved();
    let home = daemon.home().to_owned();
    let (code, _, err) = said(&by_somebody(&home, &["resurrect"]).output().unwrap());
    assert_eq!((code, err.as_str()), (0, ""));
    daemon.keeper = keeper(&daemon);
    let manager = UnixDatagram::bind(home.join("notify")).unwrap();
    let mut service = by_somebody(&home, &["resurrect"]);
    service.env("NOTIFY_SOCKET", home.join("notify"));
    let (code, out, err) = said(&service.output().unwrap());
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(
        err.contains("was started by hand") && err.contains("pm2 kill"),
        "{err}"
    );
    assert_eq!(daemon.client().status("b"), "online");
    manager.set_nonblocking(true).unwrap();
    let mut buffer = [0; 256];
    while let Ok(length) = manager.recv(&mut buffer) {
        let heard = String::from_utf8_lossy(&buffer[..length]);
        assert!(heard.starts_with("EXTEND_TIMEOUT_USEC="), "{heard}");
    }
}

// Protects another program's service: a daemon that is started from inside of it never speaks in its name.
#[test]
fn a_daemon_is_not_the_service_of_the_program_that_started_it() {
    let mut daemon = saved();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let mut other = pm2(daemon.home(), &["save", "--force"]);
    other
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "20000");
    assert!(other.output().unwrap().status.success());
    daemon.keeper = keeper(&daemon);
    let environ = fs::read(format!("/proc/{}/environ", daemon.keeper)).unwrap();
    let environ = String::from_utf8_lossy(&environ).into_owned();
    assert!(
        environ.contains("PM2_HOME=")
            && !environ.contains("NOTIFY")
            && !environ.contains("WATCHDOG"),
        "{environ}"
    );
    manager.set_nonblocking(true).unwrap();
    let report: Value = daemon.client().ok("getReport", json!([{}]));
    assert!(report.is_object());
    assert!(manager.recv(&mut [0; 64]).is_err());
}
