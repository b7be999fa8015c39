//! A home with a real keeper, and a daemon that does what the test wants.

use pm2::host::process::{self, PollFd, PollFlags};
use pm2::host::spawn::{self, Gifts, Plan};
use pm2::host::tree::{Identity, Snapshot};
use pm2::host::{handles, signal};
use pm2::keeper::proto::{Channel, Ended, Received, Report, Request, Spawn};
use std::collections::HashMap;
use std::ffi::CString;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

/// Far more than anything here takes, on a busy machine too.
const LIMIT: Duration = Duration::from_mins(1);

/// What `PM2_READY_FD` gets from the puppet.
pub(crate) const UP: &str = "the daemon says it is up\n";

/// Ended children of this process, orphans included.
static REAPED: LazyLock<Mutex<HashMap<i32, ExitStatus>>> = LazyLock::new(Mutex::default);

/// A keeper on a home of its own.
#[derive(Debug)]
pub(crate) struct Stage {
    folder: tempfile::TempDir,
    puppets: UnixListener,
    pub(crate) ready: std::io::PipeReader,
    pub(crate) tie: Option<std::io::PipeWriter>,
}

/// The daemon of the moment: the test speaks for it.
#[derive(Debug)]
pub(crate) struct Puppet {
    /// The process: a word on this ends it.
    strings: UnixStream,
    channel: Channel,
    pub(crate) pid: i32,
}

/// What a daemon is told first.
#[derive(Debug)]
pub(crate) struct Greeting {
    pub(crate) keeper: i32,
    pub(crate) exits: Vec<Ended>,
    pub(crate) running: Vec<(u64, i32)>,
    pub(crate) not_replaced: Option<String>,
    pub(crate) given: Vec<(String, OwnedFd)>,
}

/// The daemon's part of this executable.
pub(crate) fn play_daemon(home: &Path) -> ExitCode {
    let keeper = pm2::keeper::inheritance().expect("a keeper");
    if home.join("fail").exists() {
        eprintln!(
            "failed to bind {}: \"told to\"\n",
            home.join("rpc.sock").display()
        );
        return ExitCode::from(3);
    }
    if let Some(number) = std::env::var("PM2_READY_FD")
        .ok()
        .and_then(|n| n.parse().ok())
    {
        let ready = process::inherited(number).expect("a descriptor to be ready on");
        std::fs::File::from(ready)
            .write_all(UP.as_bytes())
            .expect("someone who waits");
    }
    let mut strings = UnixStream::connect(home.join("strings")).expect("a puppeteer");
    handles::send_with_fds(strings.as_fd(), b"d", &[keeper.channel.as_fd()])
        .expect("a channel handed over");
    drop(keeper.channel);
    let mut word = [0];
    match strings.read(&mut word) {
        Ok(1) if word == *b"!" => std::process::abort(),
        _ => ExitCode::SUCCESS,
    }
}

impl Stage {
    /// Prepares the home; no keeper yet.
    pub(crate) fn set() -> (tempfile::TempDir, UnixListener) {
        process::adopt_orphans().expect("to be told of every end");
        let folder = tempfile::Builder::new()
            .prefix("pk")
            .tempdir_in("/tmp")
            .expect("a folder");
        let puppets = UnixListener::bind(folder.path().join("strings")).expect("a socket");
        (folder, puppets)
    }

    /// A keeper that has just been started.
    pub(crate) fn start() -> Self {
        let (folder, puppets) = Self::set();
        let (_pid, ready) = launch(folder.path(), None);
        Self {
            folder,
            puppets,
            ready,
            tie: None,
        }
    }

    /// One in no-daemon mode.
    pub(crate) fn start_tied() -> Self {
        let (folder, puppets) = Self::set();
        let (held, tie) = std::io::pipe().expect("a pipe");
        let (_pid, ready) = launch(folder.path(), Some(held.into()));
        Self {
            folder,
            puppets,
            ready,
            tie: Some(tie),
        }
    }

    /// One whose keeper was started by hand.
    pub(crate) fn of(
        folder: tempfile::TempDir,
        puppets: UnixListener,
        ready: std::io::PipeReader,
    ) -> Self {
        Self {
            folder,
            puppets,
            ready,
            tie: None,
        }
    }

    pub(crate) fn home(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.home().join("pm2.log")).unwrap_or_default()
    }

    /// The next daemon that the keeper starts.
    pub(crate) fn puppet(&self) -> Puppet {
        wait_readable(self.puppets.as_fd());
        let (strings, _) = self.puppets.accept().expect("a puppet");
        wait_readable(strings.as_fd());
        let (mut word, mut fds) = ([0], Vec::new());
        handles::receive_with_fds(strings.as_fd(), &mut word, &mut fds).expect("a channel");
        let pid = handles::peer(strings.as_fd()).expect("a peer").pid;
        Puppet {
            channel: Channel::new(fds.remove(0)).expect("a channel"),
            strings,
            pid,
        }
    }

    /// A daemon that has been greeted and is ready.
    pub(crate) fn ready_puppet(&self) -> (Puppet, Greeting) {
        let mut puppet = self.puppet();
        let greeting = puppet.greeting();
        puppet.send(Request::Ready);
        (puppet, greeting)
    }

    /// The regular end of everything.
    pub(crate) fn end(self, mut puppet: Puppet, keeper: i32) {
        puppet.send(Request::Quit);
        puppet.exit();
        assert!(exit_of(keeper).success());
        assert!(!self.home().join("pm2.pid").exists());
    }
}

impl Puppet {
    pub(crate) fn send(&mut self, request: Request) {
        self.channel.send(request).expect("a frame");
        while !self.channel.flush().expect("a channel") {
            wait_for("the keeper to read", || {
                let mut one = [PollFd::new(self.channel.as_fd(), PollFlags::POLLOUT)];
                process::wait(&mut one, Some(LIMIT)).is_ok()
            });
        }
    }

    /// The next report; fails when there is none for long.
    pub(crate) fn next(&mut self) -> Report {
        self.next_or_end()
            .expect("a report, not the end of the channel")
    }

    /// `None` when the keeper has closed the channel. That a signal was sent shows in what came of it.
    pub(crate) fn next_or_end(&mut self) -> Option<Report> {
        loop {
            match self.channel.receive().expect("a report") {
                Received::Message(Report::Signalled { .. }) => {}
                Received::Message(report) => return Some(report),
                Received::Closed => return None,
                Received::Nothing => wait_readable(self.channel.as_fd()),
            }
        }
    }

    pub(crate) fn greeting(&mut self) -> Greeting {
        let Report::Hello {
            version: 3,
            keeper,
            exits,
            running,
            not_replaced,
        } = self.next()
        else {
            panic!("the first report is not Hello")
        };
        let mut given = Vec::new();
        loop {
            match self.next() {
                Report::Give { key, fd } => given.push((key, fd)),
                Report::GiveEnd => {
                    return Greeting {
                        keeper,
                        exits,
                        running: running.iter().map(|one| (one.run, one.pid)).collect(),
                        not_replaced,
                        given,
                    };
                }
                other => panic!("{other:?} before GiveEnd"),
            }
        }
    }

    pub(crate) fn spawn(&mut self, run: u64, plan: Plan, fds: Vec<Option<OwnedFd>>) -> i32 {
        self.send(Request::Spawn(Box::new(Spawn {
            run,
            plan,
            fds,
            keep: vec![],
            witness: None,
            roster: None,
        })));
        match self.next() {
            Report::Spawned { run: answered, pid } if answered == run => pid,
            other => panic!("{other:?} instead of Spawned"),
        }
    }

    /// Sends raw bytes that are no frame.
    pub(crate) fn babble(&mut self, bytes: &[u8]) {
        handles::send_with_fds(self.channel.as_fd(), bytes, &[]).expect("a channel");
    }

    /// Says something after the process has ended, and lets go of its end of the channel.
    pub(crate) fn speak_last(&mut self, request: Request) {
        // If the keeper has closed its end, that shows in what it gives to the next daemon.
        let _unheard = self.channel.send(request);
        let (other, _) = handles::stream_pair().expect("sockets");
        self.channel = Channel::new(other).expect("a channel");
    }

    /// Exits with success; the keeper may take that as it likes.
    pub(crate) fn exit(mut self) {
        self.strings.write_all(b"q").expect("a puppet");
    }

    /// Dies of a signal.
    pub(crate) fn crash(mut self) {
        self.strings.write_all(b"!").expect("a puppet");
    }
}

/// Starts this executable as the keeper of `home`.
pub(crate) fn launch(home: &Path, tie: Option<OwnedFd>) -> (i32, std::io::PipeReader) {
    let (ready, report) = std::io::pipe().expect("a pipe");
    let mut env = vec![
        c"PM2_READY_FD=3".to_owned(),
        c"PATH=/usr/bin:/bin".to_owned(),
    ];
    env.extend(tie.as_ref().map(|_| c"PM2_TIE_FD=4".to_owned()));
    let exe = std::env::current_exe().expect("ourselves");
    let program = CString::new(exe.to_str().expect("a name")).expect("a name");
    let home = CString::new(home.to_str().expect("a name")).expect("a name");
    let plan = Plan {
        argv: vec![program.clone(), c"__keeper".to_owned(), home],
        program,
        env,
        ..Plan::default()
    };
    let fds = [
        None,
        None,
        None,
        Some(report.as_fd()),
        tie.as_ref().map(AsFd::as_fd),
    ];
    let gifts = Gifts {
        fds: &fds,
        ..Gifts::default()
    };
    let pid = spawn::spawn(&plan, &gifts).expect("a keeper");
    // Ours would keep the keeper from seeing that the test let go of the other end.
    drop(tie);
    (pid, ready)
}

/// `sh -c <script>` with a usable environment.
pub(crate) fn shell(script: &str) -> Plan {
    Plan {
        program: c"/bin/sh".to_owned(),
        argv: vec![
            c"sh".to_owned(),
            c"-c".to_owned(),
            CString::new(script).expect("no NUL"),
        ],
        env: vec![c"PATH=/usr/bin:/bin".to_owned()],
        ..Plan::default()
    }
}

/// How a child of ours, adopted ones included, ended.
pub(crate) fn exit_of(pid: i32) -> ExitStatus {
    let mut found = None;
    wait_for("an exit", || {
        let mut reaped = REAPED.lock().expect("one thread");
        reaped.extend(std::iter::from_fn(process::reap));
        found = reaped.remove(&pid);
        found.is_some()
    });
    found.expect("waited for")
}

/// Looks again until it is true.
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LIMIT, "waited in vain for {what}");
        process::wait(&mut [], Some(Duration::from_millis(2))).expect("poll");
    }
}

pub(crate) fn wait_readable(fd: std::os::fd::BorrowedFd) {
    let mut one = [PollFd::new(fd, PollFlags::POLLIN)];
    process::wait(&mut one, Some(LIMIT)).expect("poll");
    assert_eq!(
        one[0].any(),
        Some(true),
        "nothing to read on {} for long",
        fd.as_raw_fd()
    );
}

/// Whether no process is left that this one, or anything it started, has started. Ends what is.
pub(crate) fn leaves_nothing() -> bool {
    let own = Identity::of(std::process::id().cast_signed()).expect("ourselves");
    let start = Instant::now();
    loop {
        while process::reap().is_some() {}
        let left = Snapshot::take().expect("/proc").tree(own);
        if left.is_empty() {
            return true;
        }
        if start.elapsed() > LIMIT / 4 {
            for process in left {
                eprintln!("left behind: {} {}", process.pid, command_line(process.pid));
                let _gone = process.signal(9);
            }
            return false;
        }
        process::wait(&mut [], Some(Duration::from_millis(2))).expect("poll");
    }
}

/// A line of `/proc/<pid>/status`.
pub(crate) fn status(pid: i32, field: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.expect("a field")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

pub(crate) fn command_line(pid: i32) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    text.replace('\0', " ")
}

pub(crate) fn link(pid: i32, name: &str) -> PathBuf {
    std::fs::read_link(format!("/proc/{pid}/{name}")).expect("a link")
}

/// Ends a process that the test started itself.
pub(crate) fn kill(pid: i32) {
    signal::send(pid, 9).expect("a process");
}
