//! The process so small that it cannot fail: parent of every application, holder of descriptors, starter of daemons.
//!
//! **Invariant:** no tokio, no JSON, no socket of its own, nothing that grows with time. An application's exit is reported
//! exactly once, and only the keeper's own, not yet reaped children are ever signalled.

mod channel;
mod children;
mod frame;
mod launch;
pub mod proto;
mod serving;
mod store;

pub use launch::keeper_fd;

use crate::host::handles;
use crate::host::process::{self, PollFd, PollFlags};
use crate::host::signal::{self, Queue};
use crate::host::spawn::{self, OpenFiles, SpawnFailure, Stage};
use children::{Children, KILL};
use launch::{Launched, NotLaunched, log};
use nix::libc;
use proto::{Ended, Received, Report, Request, Spawn};
use serving::{Daemon, Program};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{ExitCode, ExitStatus};
use std::time::{Duration, Instant};
use store::Store;

/// Requests performed before exits and signals are looked at again.
const REQUESTS_PER_TURN: usize = 16;

/// A daemon that does not read its reports is not asked for more work past this many bytes of them.
const UNSENT_MAX: usize = 256 << 10;

/// A daemon that has closed its channel, or said that it will exit, has this long to be gone.
const EXIT_LIMIT: Duration = Duration::from_secs(2);

/// After this long at the end we leave without applications that even SIGKILL does not end (a disk that hangs).
const REAP_LIMIT: Duration = Duration::from_secs(2);

/// So many crashes are followed by another daemon at once: whoever kills daemons, applications should not notice.
const CRASHES_FREE: u32 = 5;

/// A daemon makes up for one crash by living this long, so only daemons that crash in a loop are kept waiting.
const CRASH_FORGIVEN: Duration = Duration::from_millis(50);

/// The first pause before another daemon is started, doubled for each further crash.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);

/// The longest pause.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Exits kept for daemons that do not settle them. A daemon in order settles each at once, so only a daemon that hangs while
/// this many applications end would lose any: the oldest.
const UNSETTLED_MAX: usize = 16_384;

/// Runs the keeper of the home at `root` until its daemon quits. Called first thing in a process with one thread.
#[must_use]
pub fn run(root: &Path) -> ExitCode {
    match launch::launch(root) {
        // The keeper that holds the lock serves our client too.
        Err(NotLaunched::Locked) => ExitCode::SUCCESS,
        Err(NotLaunched::Failed(reason)) => {
            log(&reason);
            ExitCode::FAILURE
        }
        Ok(launched) => Keeper::new(launched)
            .and_then(|mut keeper| keeper.serve())
            .unwrap_or_else(|error| {
                log(&format!("the keeper ends: {error}"));
                ExitCode::FAILURE
            }),
    }
}

/// All that the keeper knows.
#[derive(Debug)]
struct Keeper {
    launched: Launched,
    signals: Queue,
    /// What applications and daemons get back, if we raised our own.
    open_files: Option<OpenFiles>,
    children: Children,
    store: Store,
    /// Exits that no daemon has settled, by run.
    unsettled: BTreeMap<u64, Ended>,
    program: Program,
    daemon: Daemon,
    /// Crashes that have not been made up for, for the pause before the next start.
    crashes: u32,
    /// Why the last executable that was tried is not in use.
    not_replaced: Option<String>,
    /// Whether any daemon has ever been up.
    has_served: bool,
    ending: Ending,
}

/// How near the end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Not in sight: a daemon that dies is started again.
    No,
    /// The daemon was told to stop everything: if it dies, nothing is started again.
    Asked,
    /// The daemon has stopped everything and is about to exit.
    Quit,
}

impl Keeper {
    fn new(launched: Launched) -> std::io::Result<Self> {
        signal::ignore(&[libc::SIGHUP, libc::SIGPIPE, libc::SIGUSR1, libc::SIGXFSZ]);
        let signals = Queue::open(&[
            libc::SIGCHLD,
            libc::SIGTERM,
            libc::SIGINT,
            libc::SIGQUIT,
            libc::SIGUSR2,
        ])?;
        Ok(Self {
            launched,
            signals,
            open_files: OpenFiles::raise(),
            children: Children::default(),
            store: Store::default(),
            unsettled: BTreeMap::new(),
            program: Program::default(),
            daemon: Daemon::Due(Instant::now()),
            crashes: 0,
            not_replaced: None,
            has_served: false,
            ending: Ending::No,
        })
    }

    /// The loop. Each turn does a bounded amount of work; nothing in it waits but `wait`, and a spawn for its exec.
    fn serve(&mut self) -> std::io::Result<ExitCode> {
        let mut is_more = false;
        loop {
            if self.start_if_due()
                && let Some(code) = self.daemon_ended(None)
            {
                return Ok(code);
            }
            if let Daemon::Up(up) = &mut self.daemon {
                up.give(&self.store);
            }
            self.wait(is_more)?;
            self.receive_signals();
            self.watch_tie();
            is_more = self.perform_requests();
            self.end_overdue();
            if let Some(code) = self.reap() {
                return Ok(code);
            }
        }
    }

    /// Sleeps until something happens or is due.
    fn wait(&self, is_more: bool) -> std::io::Result<()> {
        let mut interests = Vec::with_capacity(3);
        interests.push(PollFd::new(self.signals.as_fd(), PollFlags::POLLIN));
        interests.extend(
            self.launched
                .tie
                .as_ref()
                .map(|tie| PollFd::new(tie.as_fd(), PollFlags::POLLIN)),
        );
        let due = match &self.daemon {
            Daemon::Due(at) => Some(*at),
            Daemon::Up(up) => {
                interests.extend(up.channel.as_ref().map(|channel| {
                    let mut flags = PollFlags::empty();
                    flags.set(PollFlags::POLLOUT, channel.unsent_bytes() > 0);
                    flags.set(PollFlags::POLLIN, channel.unsent_bytes() <= UNSENT_MAX);
                    PollFd::new(channel.as_fd(), flags)
                }));
                up.deadline
            }
        };
        let limit = due.map(|due| due.saturating_duration_since(Instant::now()));
        process::wait(
            &mut interests,
            if is_more { Some(Duration::ZERO) } else { limit },
        )
    }

    fn receive_signals(&mut self) {
        while let Some(number) = self.signals.next() {
            match number {
                libc::SIGUSR2 => {
                    if let Err(error) = launch::open_log(&self.launched.home) {
                        log(&format!("failed to {error}"));
                    }
                    self.report(Report::ReloadLogs);
                }
                libc::SIGTERM | libc::SIGINT | libc::SIGQUIT => self.shut_down(),
                // SIGCHLD only wakes us: several exits may have become one signal, so `reap` asks every turn.
                _ => {}
            }
        }
    }

    /// In no-daemon mode, ends with the process that started us.
    fn watch_tie(&mut self) {
        if self
            .launched
            .tie
            .as_ref()
            .is_some_and(|tie| process::is_hung_up(tie.as_fd()))
        {
            self.launched.tie = None;
            self.shut_down();
        }
    }

    fn shut_down(&mut self) {
        if self.ending == Ending::No {
            self.ending = Ending::Asked;
        }
        self.report(Report::Shutdown);
    }

    /// Tells the daemon, if there is one. What must not be lost when there is none is kept by the caller.
    fn report(&mut self, report: Report) {
        if let Daemon::Up(up) = &mut self.daemon {
            up.report(report);
        }
    }

    /// Starts the daemon whose time has come; `true` when it could not be, which is as good as a crash.
    fn start_if_due(&mut self) -> bool {
        let Daemon::Due(at) = &self.daemon else {
            return false;
        };
        // Nobody is going to serve, so nobody is started: `daemon_ended` finds the rest.
        if self.ending != Ending::No {
            return true;
        }
        if *at > Instant::now() {
            return false;
        }
        match serving::start(&self.launched, &self.program, self.open_files) {
            Ok(mut up) => {
                up.report(Report::Hello {
                    version: proto::VERSION,
                    keeper: std::process::id().cast_signed(),
                    exits: self.unsettled.values().copied().collect(),
                    running: self.children.list(),
                    not_replaced: self.not_replaced.clone(),
                });
                self.daemon = Daemon::Up(Box::new(up));
                false
            }
            Err(reason) => {
                log(&format!("the daemon could not be started: {reason}"));
                true
            }
        }
    }

    /// Performs some of what the daemon asks; `true` when it asked for more than that.
    fn perform_requests(&mut self) -> bool {
        for _ in 0..REQUESTS_PER_TURN {
            let Daemon::Up(up) = &mut self.daemon else {
                return false;
            };
            let Some(channel) = &mut up.channel else {
                return false;
            };
            // When the other end is gone, what it said before is still to be read.
            if channel.flush().is_ok() && channel.unsent_bytes() > UNSENT_MAX {
                return false;
            }
            match channel.receive::<Request>() {
                Ok(Received::Message(request)) => self.perform(request),
                Ok(Received::Nothing) => return false,
                Ok(Received::Closed) => {
                    up.close(EXIT_LIMIT);
                    return false;
                }
                Err(error) => {
                    log(&format!("failed to {error}; the daemon is ended"));
                    up.close(Duration::ZERO);
                    return false;
                }
            }
        }
        true
    }

    fn perform(&mut self, request: Request) {
        match request {
            Request::Hello { .. } => {}
            Request::Ready => self.ready(),
            Request::Spawn(spawn) => self.spawn(*spawn),
            Request::Signal { run, signal } => self.children.signal(run, signal),
            Request::SignalGroup { run, signal } => self.children.signal_group(run, signal),
            Request::Store { key, fd } => self.keep(key, fd),
            Request::Discard { key } => self.store.discard(&key),
            Request::Replace { program, env } => {
                self.program.replace(program, env);
                self.not_replaced = None;
                if let Daemon::Up(up) = &mut self.daemon {
                    up.deadline = Some(Instant::now() + EXIT_LIMIT);
                }
            }
            Request::Settled { run } => {
                self.unsettled.remove(&run);
            }
            Request::Quit => {
                self.ending = Ending::Quit;
                launch::remove_pid_file(&self.launched.home);
                if let Daemon::Up(up) = &mut self.daemon {
                    up.deadline = Some(Instant::now() + EXIT_LIMIT);
                }
            }
        }
    }

    fn ready(&mut self) {
        self.has_served = true;
        self.launched.ready.told();
        self.program.settle();
        if let Daemon::Up(up) = &mut self.daemon {
            up.is_ready = true;
            up.deadline = None;
        }
        process::trim_memory();
    }

    fn keep(&mut self, key: String, fd: OwnedFd) {
        if let Err(mut key) = self.store.put(key, fd) {
            key.truncate(key.floor_char_boundary(proto::KEY_MAX));
            self.report(Report::StoreRefused { key });
        }
    }

    fn spawn(&mut self, spawn: Spawn) {
        let Spawn {
            run,
            plan,
            fds,
            keep,
        } = spawn;
        let report = if self.children.has(run) {
            let failure = SpawnFailure {
                stage: Stage::Fork,
                errno: libc::EEXIST,
            };
            Report::SpawnFailed { run, failure }
        } else {
            let mut borrowed = [None; handles::FDS_MAX];
            for (slot, fd) in borrowed.iter_mut().zip(&fds) {
                *slot = fd.as_ref().map(AsFd::as_fd);
            }
            let count = fds.len().min(borrowed.len());
            match spawn::spawn(&plan, &borrowed[..count], self.open_files) {
                Ok(pid) => {
                    self.children.add(run, pid);
                    for (key, fd) in keep {
                        self.keep(key, fd);
                    }
                    Report::Spawned { run, pid }
                }
                Err(failure) => Report::SpawnFailed { run, failure },
            }
        };
        // Our copies go before the report: the daemon may look for the end of the application's output.
        drop((plan, fds));
        self.report(report);
        process::trim_memory();
    }

    /// Ends a daemon that was given a time and is past it.
    fn end_overdue(&mut self) {
        if let Daemon::Up(up) = &mut self.daemon
            && up
                .deadline
                .is_some_and(|deadline| deadline <= Instant::now())
        {
            up.deadline = None;
            let _gone = signal::send(up.pid, KILL);
        }
    }

    /// Takes every exit there is: applications', the daemon's, and those of orphans, which concern nobody.
    fn reap(&mut self) -> Option<ExitCode> {
        while let Some((pid, status)) = process::reap() {
            if matches!(&self.daemon, Daemon::Up(up) if up.pid == pid) {
                if let Some(code) = self.daemon_ended(Some(status)) {
                    return Some(code);
                }
            } else if let Some(ended) = self.children.ended(pid, status) {
                self.unsettled.insert(ended.run, ended);
                if self.unsettled.len() > UNSETTLED_MAX {
                    self.unsettled.pop_first();
                }
                self.report(Report::Exited(ended));
            }
        }
        None
    }

    /// The daemon has gone, or could not be started: what now? An exit code means that we end as well.
    fn daemon_ended(&mut self, status: Option<ExitStatus>) -> Option<ExitCode> {
        self.take_last_requests();
        let was_trial = self.program.is_on_trial();
        let was = std::mem::replace(&mut self.daemon, Daemon::Due(Instant::now()));
        let how = status.map_or_else(|| "did not start".to_owned(), |status| status.to_string());
        if self.ending != Ending::No {
            self.launched
                .ready
                .fail("the daemon was told to end before it was up");
            return Some(self.finish(ExitCode::SUCCESS));
        }
        let (lived, was_ready, words) = match &was {
            Daemon::Up(up) => {
                let words = launch::last_words(&self.launched.home, up.log_start);
                (up.since.elapsed(), up.is_ready, words)
            }
            Daemon::Due(_) => (Duration::ZERO, false, None),
        };
        if self.program.next_after_end(was_ready) {
            if was_trial {
                self.not_replaced =
                    Some(words.unwrap_or_else(|| format!("it ended at once: {how}")));
            }
            log(&format!(
                "the daemon made way for another executable ({how})"
            ));
            return None;
        }
        if !self.has_served {
            self.launched
                .ready
                .fail(&words.unwrap_or_else(|| format!("the daemon ended at once: {how}")));
            return Some(self.finish(ExitCode::FAILURE));
        }
        let pause = self.pause_after(lived);
        log(&format!(
            "the daemon ended unexpectedly ({how}); {} applications go on, and another daemon starts in {} ms",
            self.children.len(),
            pause.as_millis()
        ));
        self.daemon = Daemon::Due(Instant::now() + pause);
        None
    }

    /// How long to wait after the crash of a daemon that lived this long.
    fn pause_after(&mut self, lived: Duration) -> Duration {
        let forgiven = lived.as_millis() / CRASH_FORGIVEN.as_millis();
        let forgiven = u32::try_from(forgiven).unwrap_or(u32::MAX);
        self.crashes = self.crashes.saturating_sub(forgiven).saturating_add(1);
        match self.crashes.checked_sub(CRASHES_FREE + 1) {
            None => Duration::ZERO,
            Some(further) => BACKOFF_MAX.min(BACKOFF_FIRST * 2_u32.pow(further.min(8))),
        }
    }

    /// What the daemon said before it ended still counts: the next one is told what came of it.
    fn take_last_requests(&mut self) {
        while let Daemon::Up(up) = &mut self.daemon
            && let Some(channel) = &mut up.channel
            && let Ok(Received::Message(request)) = channel.receive::<Request>()
        {
            self.perform(request);
        }
    }

    /// Leaves nothing behind: no application, no pid file.
    fn finish(&mut self, code: ExitCode) -> ExitCode {
        let limit = Instant::now() + REAP_LIMIT;
        if self.children.len() > 0 {
            log(&format!(
                "{} applications are ended with their keeper",
                self.children.len()
            ));
            self.children.kill_trees();
        }
        while self.children.len() > 0 && Instant::now() < limit {
            while let Some((pid, status)) = process::reap() {
                self.children.ended(pid, status);
            }
            let mut interests = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            let left = limit.saturating_duration_since(Instant::now());
            if self.children.len() > 0 && process::wait(&mut interests, Some(left)).is_err() {
                break;
            }
            while self.signals.next().is_some() {}
        }
        launch::remove_pid_file(&self.launched.home);
        code
    }
}
