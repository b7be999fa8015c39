//! The process so small that it cannot fail: parent of every application, holder of descriptors, starter of daemons.
//!
//! **Invariant:** no tokio, no JSON, no socket of its own, nothing that grows with time. An application's exit is reported
//! exactly once. Signalled by number are only the keeper's own, not yet reaped children; those of a keeper before it only by
//! descriptor.

mod channel;
mod children;
mod ending;
mod frame;
mod handover;
mod launch;
mod manager;
mod order;
pub mod proto;
mod serving;
mod store;
mod succession;

pub use launch::inheritance;

use crate::host::foreign::Foreign;
use crate::host::handles::{self, Pidfd};
use crate::host::process::{self, PollFd, PollFlags};
use crate::host::roster::Place;
use crate::host::signal::{self, Queue};
use crate::host::spawn::{self, Gifts, OpenFiles, SpawnFailure, Stage};
use crate::host::tree::Identity;
use children::{Children, KILL};
use launch::{Launched, NotLaunched, log};
use nix::libc;
use proto::{Ended, Received, Report, Request, Spawn};
use serving::{Daemon, Program};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use store::Store;

/// Requests performed before exits and signals are looked at again.
const REQUESTS_PER_TURN: usize = 16;

/// A daemon that does not read its reports is not asked for more work past this many bytes of them.
const UNSENT_MAX: usize = 256 << 10;

/// A daemon that has closed its channel, or said that it will exit, has this long to be gone.
const EXIT_LIMIT: Duration = Duration::from_secs(2);

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
        Ok((launched, left)) => Keeper::new(launched)
            .and_then(|keeper| match left {
                Some(left) => keeper.take_over(left),
                None => Ok(keeper),
            })
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
    store: Store<OwnedFd>,
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
    /// What the daemon's executable speaks, if it has said so.
    daemon_version: Option<u32>,
    /// Another executable has come up as the daemon, and ours is still the one before.
    is_outdated: bool,
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
            daemon_version: None,
            is_outdated: false,
        })
    }

    /// The loop. Each turn does a bounded amount of work; nothing in it waits but `wait`, and a spawn for its exec.
    fn serve(&mut self) -> std::io::Result<ExitCode> {
        // What happened before us is not announced to us: everything is looked at once before we sleep.
        let mut is_more = true;
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
            self.launched.manager.beat();
            if let Some(code) = self.receive_signals().or_else(|| self.watch_tie()) {
                return Ok(code);
            }
            is_more = self.perform_requests();
            self.end_overdue();
            if let Some(code) = self.reap() {
                return Ok(code);
            }
            self.make_way_if_outdated();
        }
    }

    /// Sleeps until something happens or is due.
    fn wait(&self, is_more: bool) -> std::io::Result<()> {
        let mut interests = Vec::with_capacity(5);
        let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
        interests.push(readable(self.signals.as_fd()));
        interests.extend(self.launched.tie.as_ref().map(|tie| readable(tie.as_fd())));
        interests.extend(self.children.watch().map(readable));
        let due = match &self.daemon {
            Daemon::Due(at) => Some(*at),
            Daemon::Up(up) => {
                interests.extend(up.foreign.as_ref().map(|one| readable(one.as_fd())));
                interests.extend(up.channel.as_ref().map(|channel| {
                    let mut flags = PollFlags::empty();
                    flags.set(PollFlags::POLLOUT, channel.unsent_bytes() > 0);
                    flags.set(PollFlags::POLLIN, channel.unsent_bytes() <= UNSENT_MAX);
                    PollFd::new(channel.as_fd(), flags)
                }));
                up.deadline
            }
        };
        let due = due.into_iter().chain(self.launched.manager.due()).min();
        let limit = due.map(|due| due.saturating_duration_since(Instant::now()));
        process::wait(
            &mut interests,
            if is_more { Some(Duration::ZERO) } else { limit },
        )
    }

    fn receive_signals(&mut self) -> Option<ExitCode> {
        while let Some(number) = self.signals.next() {
            match number {
                libc::SIGUSR2 => {
                    if let Err(error) = launch::open_log(&self.launched.home) {
                        log(&format!("failed to {error}"));
                    }
                    self.report(Report::ReloadLogs);
                }
                libc::SIGTERM | libc::SIGINT | libc::SIGQUIT => {
                    if let Some(code) = self.shut_down() {
                        return Some(code);
                    }
                }
                // SIGCHLD only wakes us: several exits may have become one signal, so `reap` asks every turn.
                _ => {}
            }
        }
        None
    }

    /// In no-daemon mode, ends with the process that started us.
    fn watch_tie(&mut self) -> Option<ExitCode> {
        if self
            .launched
            .tie
            .as_ref()
            .is_some_and(|tie| process::is_hung_up(tie.as_fd()))
        {
            self.launched.tie = None;
            return self.shut_down();
        }
        None
    }

    /// Has the daemon end everything. If there is none at the moment, the next one comes at once and is told first thing.
    fn shut_down(&mut self) -> Option<ExitCode> {
        // One that has gone already cannot be told.
        if let Some(code) = self.reap() {
            return Some(code);
        }
        if self.ending == Ending::No {
            self.ending = Ending::Asked;
        }
        self.report(Report::Shutdown);
        None
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
        // Told to end while there is none: one more comes at once, to save the list and to stop everything as it is to be.
        let is_last = self.ending != Ending::No;
        if !is_last && *at > Instant::now() {
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
                if is_last {
                    up.report(Report::Shutdown);
                }
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
            Request::Hello { version } => self.daemon_version = Some(version),
            Request::Ready => self.ready(),
            Request::Spawn(spawn) => self.spawn(*spawn),
            Request::Adopt {
                run,
                pid,
                start,
                watch,
            } => self.adopt(run, Foreign::of(Identity { pid, start }, Pidfd::of(watch))),
            Request::Signal { run, signal } => {
                self.children.signal(run, signal);
                self.report(Report::Signalled { run, signal });
            }
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
                launch::leave(&self.launched);
                if let Daemon::Up(up) = &mut self.daemon {
                    up.deadline = Some(Instant::now() + EXIT_LIMIT);
                }
            }
        }
    }

    fn ready(&mut self) {
        self.has_served = true;
        self.launched.ready.told();
        self.is_outdated |= self.program.settle();
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

    /// One that cannot be waited for is ended rather than left alone.
    fn adopt(&mut self, run: u64, process: Foreign) {
        if let Err((error, process)) = self.children.adopt(run, process, 0) {
            log(&format!(
                "run {run} cannot be watched and is ended: {error}"
            ));
            let _gone = process.signal(KILL);
            self.ended(Ended {
                run,
                pid: process.identity.pid,
                status: None,
            });
        }
    }

    fn spawn(&mut self, spawn: Spawn) {
        let Spawn {
            run,
            plan,
            fds,
            keep,
            witness,
            roster,
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
            let gifts = Gifts {
                fds: &borrowed[..fds.len().min(borrowed.len())],
                open_files: self.open_files,
                witness: witness.as_ref().map(AsFd::as_fd),
                roster: roster.as_ref().map(|roster| Place {
                    file: roster.file.as_fd(),
                    slot: roster.slot,
                    run,
                    pipes: roster.pipes,
                }),
                ..Gifts::default()
            };
            match spawn::spawn(&plan, &gifts) {
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
        drop((plan, fds, witness, roster));
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
            up.kill(KILL);
        }
    }

    /// Takes every exit there is: applications', the daemon's, and those of orphans, which concern nobody.
    fn reap(&mut self) -> Option<ExitCode> {
        while let Some((pid, status)) = process::reap() {
            if matches!(&self.daemon, Daemon::Up(up) if up.pid == pid && up.foreign.is_none()) {
                if let Some(code) = self.daemon_ended(Some(status)) {
                    return Some(code);
                }
            } else if let Some(ended) = self.children.reaped(pid, status) {
                self.ended(ended);
            }
        }
        while let Some(ended) = self.children.ended_elsewhere() {
            self.ended(ended);
        }
        if let Daemon::Up(up) = &self.daemon
            && let Some(foreign) = up.foreign.as_ref().filter(|one| one.has_ended())
        {
            let status = foreign.exit_status();
            return self.daemon_ended(status);
        }
        None
    }

    fn ended(&mut self, ended: Ended) {
        self.unsettled.insert(ended.run, ended);
        if self.unsettled.len() > UNSETTLED_MAX {
            self.unsettled.pop_first();
        }
        self.report(Report::Exited(ended));
    }
}
