//! Finding, starting and ending a real daemon, by one caller and by many at once.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, and this file has only tests and their helpers"
)]

use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{Shutdown, shutdown};
use pm2::client::{Client, ClientConfig, ClientError, LaunchSettings};
use tempfile::TempDir;

/// How long anything may take here before the test says what it waited for.
const PATIENCE: Duration = Duration::from_mins(1);

/// Many callers at once is the usual case: a machine boots, and every service's script connects.
#[test]
fn twenty_callers_at_once_start_one_daemon_and_all_connect() {
    let home = Home::new();
    let start = Arc::new(Barrier::new(20));
    let callers: Vec<_> = (0..20)
        .map(|_| {
            let (start, client) = (Arc::clone(&start), home.client());
            thread::spawn(move || {
                start.wait();
                run(async {
                    let attached = client.connect().await.unwrap();
                    assert_eq!(
                        client.call("ping", "[{}]").await.unwrap(),
                        r#"[{"msg":"pong"}]"#
                    );
                    attached.is_new_daemon
                })
            })
        })
        .collect();
    let news = callers.into_iter().map(|caller| caller.join().unwrap());
    assert_eq!(news.filter(|is_new| *is_new).count(), 1);
    home.the_one("__daemon");
    let written = fs::read_to_string(home.path().join("pm2.pid")).unwrap();
    assert_eq!(written.parse(), Ok(home.the_one("__keeper")));
}

/// What a machine that lost power leaves: a socket nobody serves, and a pid that now is somebody else's.
#[test]
fn what_a_dead_daemon_left_behind_stops_nobody_and_harms_nobody() {
    let home = Home::new();
    let mut foreigner = Foreigner::start();
    fs::write(home.path().join("pm2.pid"), foreigner.0.id().to_string()).unwrap();
    for name in ["rpc.sock", "pub.sock"] {
        let listener = UnixListener::bind(home.path().join(name)).unwrap();
        // A process that another test starts at this moment has a copy until it executes.
        shutdown(listener.as_raw_fd(), Shutdown::Both).unwrap();
    }
    run(async {
        let client = home.client();
        assert!(client.connect().await.unwrap().is_new_daemon);
        client.kill().await.unwrap();
    });
    assert!(
        foreigner.0.try_wait().unwrap().is_none(),
        "the foreign process was ended"
    );
    // Nor does a dead pid matter.
    fs::write(home.path().join("pm2.pid"), "4194304").unwrap();
    run(async { home.client().connect().await.unwrap() });
}

/// A second caller uses what is there, and so does the first after it has disconnected.
#[test]
fn a_running_daemon_is_used_and_not_replaced() {
    let home = Home::new();
    run(async {
        let first = home.client();
        assert!(first.connect().await.unwrap().is_new_daemon);
        assert!(!first.connect().await.unwrap().is_new_daemon);
        assert!(!home.client().connect().await.unwrap().is_new_daemon);
        first.disconnect();
        assert!(!first.connect().await.unwrap().is_new_daemon);
        assert!(first.ping().await);
    });
}

/// The keeper starts another brain; a caller sees one failed call at most, and never has to start anything itself.
#[test]
fn a_daemon_killed_hard_is_there_again_for_the_next_call() {
    let home = Home::new();
    run(async {
        let client = home.client();
        client.connect().await.unwrap();
        let [keeper, daemon] = ["__keeper", "__daemon"].map(|word| home.the_one(word));
        Command::new("kill")
            .args(["-9", &daemon.to_string()])
            .status()
            .unwrap();
        let deadline = Instant::now() + PATIENCE;
        let pong = loop {
            match client.call("ping", "[{}]").await {
                Err(ClientError::Lost) if Instant::now() < deadline => {}
                reply => break reply.unwrap(),
            }
        };
        assert_eq!(pong, r#"[{"msg":"pong"}]"#);
        assert_eq!(home.the_one("__keeper"), keeper);
        assert_ne!(home.the_one("__daemon"), daemon);
    });
}

/// Scripts kill and start again in one go; a caller in between must neither hang nor find a daemon that is about to go.
#[test]
fn a_daemon_can_be_ended_and_started_again_at_once() {
    let home = Home::new();
    run(async {
        for _ in 0..5 {
            let client = home.client();
            assert!(client.connect().await.unwrap().is_new_daemon);
            client.kill().await.unwrap();
            assert!(!client.ping().await);
            assert!(!home.path().join("pm2.pid").exists());
            home.wait_for("no keeper", || home.processes("__keeper").is_empty());
        }
        // The same client, too, and calls start a daemon by themselves.
        let client = home.client();
        client.call("ping", "[{}]").await.unwrap();
        client.kill().await.unwrap();
        client.call("ping", "[{}]").await.unwrap();
    });
}

/// Whoever connects while another ends the daemon gets the old one, the next one or one clear error, but never nothing.
#[test]
fn connecting_while_another_kills_ends_one_way_or_the_other() {
    let home = Home::new();
    run(async { home.client().connect().await.unwrap() });
    let (killer, caller) = (home.client(), home.client());
    let killing = thread::spawn(move || run(async move { killer.kill().await }));
    let calling = thread::spawn(move || {
        run(async move {
            for _ in 0..50 {
                match caller.call("ping", "[{}]").await {
                    Ok(pong) => assert_eq!(pong, r#"[{"msg":"pong"}]"#),
                    Err(error) => assert!(error.is_retryable(), "{error}"),
                }
            }
        });
    });
    calling.join().unwrap();
    // The caller may have started the next daemon before the killer saw the last one gone.
    let _killed = killing.join().unwrap();
}

/// No-daemon mode: the manager lives as long as its caller, however that one ends.
#[test]
fn a_tied_daemon_ends_with_its_caller() {
    let home = Home::new();
    run(async {
        let client = home.client();
        client.set_launch(LaunchSettings {
            env: std::env::vars_os().collect(),
            is_tied: true,
            manager: None,
        });
        assert!(client.connect().await.unwrap().is_new_daemon);
        client.call("ping", "[{}]").await.unwrap();
    });
    home.wait_for("no process", || home.processes("").is_empty());
    assert!(!home.path().join("pm2.pid").exists());
}

/// The reference hangs, or throws from deep inside; here the path is in the message.
#[test]
fn a_home_that_cannot_be_made_is_one_clear_error() {
    let home = Home::new();
    let file = home.path().join("file");
    fs::write(&file, "").unwrap();
    let client = Client::new(ClientConfig {
        home: file.join("home"),
        ..home.config()
    })
    .unwrap();
    let error = run(async { client.connect().await.unwrap_err() });
    assert!(
        error.text().contains(file.to_str().unwrap()),
        "{}",
        error.text()
    );
    assert_eq!(error.code().as_deref(), Some("ENOTDIR"));
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test)
}

/// A process that is none of our business.
struct Foreigner(Child);

impl Foreigner {
    fn start() -> Self {
        Self(Command::new("sleep").arg("1000").spawn().unwrap())
    }
}

impl Drop for Foreigner {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

/// A temporary home. Dropping it ends its daemon, and fails the test if any process of it is left then.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::Builder::new().prefix("pm2").tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn config(&self) -> ClientConfig {
        ClientConfig {
            home: self.path().to_path_buf(),
            executable: Some(PathBuf::from(env!("CARGO_BIN_EXE_pm2"))),
            ..ClientConfig::default()
        }
    }

    fn client(&self) -> Client {
        Client::new(self.config()).unwrap()
    }

    /// Pids of the living processes that name this home after `word`, or at all if that is empty.
    fn processes(&self, word: &str) -> Vec<u32> {
        let home = self.path().to_str().unwrap();
        let is_ours = |pid: &u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.contains(home) && line.contains(word)
        };
        let entries = fs::read_dir("/proc").unwrap();
        let pids = entries.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
        pids.filter(is_ours).collect()
    }

    /// The only one, when whoever only forked it has gone.
    fn the_one(&self, word: &str) -> u32 {
        self.wait_for(word, || self.processes(word).len() == 1);
        self.processes(word)[0]
    }

    fn wait_for(&self, what: &str, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition() {
            let log = || fs::read_to_string(self.path().join("pm2.log")).unwrap_or_default();
            assert!(
                Instant::now() < deadline,
                "waited for {what} in vain; the log says:\n{}",
                log()
            );
            thread::yield_now();
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let killed = run(async { self.client().kill().await });
        if !thread::panicking() {
            killed.unwrap();
            self.wait_for("no process of this home", || self.processes("").is_empty());
        }
    }
}
