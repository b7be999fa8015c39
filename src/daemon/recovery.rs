//! Going on where an earlier daemon was: its records, its apps' descriptors and the exits nobody has taken in.
//!
//! Nothing here guesses. The records say what was decided, the keeper says which processes live and which have ended, and the
//! descriptors are those that the apps' own ends have been connected to all the time.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;

use super::DaemonError;
use super::connections;
use super::ends;
use super::link::{Link, News};
use super::mirror::Held;
use super::pilot::Pilot;
use super::records::{Frozen, KEYS, Records};
use super::runs::{Prepared, RunRecord, Stage, exit_of};
use super::scratch::{self, Leftover, SCRATCH_BYTES, Scratch};
use super::shared::Shared;
use super::sockets;
use super::start;
use super::stops::How;
use crate::core::{Fate, Input, Supervisor, ThawError};
use crate::host::tree::{self, Identity};
use crate::keeper::proto::{Ended, Report, Request, Running};
use crate::model::{Exit, LogSpec, Pid, PmId, RunId};

/// What a new daemon is told by the keeper, before anything else.
#[derive(Debug, Default)]
pub(crate) struct Hello {
    /// The keeper's pid.
    pub(crate) keeper: i32,
    /// Exits that no daemon has taken in, by run.
    exits: BTreeMap<u64, Ended>,
    /// Processes of an earlier daemon that live, by run.
    running: BTreeMap<u64, Running>,
    /// Why the executable that was to replace this one did not.
    not_replaced: Option<String>,
    /// What an earlier daemon stored, by key.
    stored: HashMap<String, Held>,
    /// What came in the same breath as the last of these.
    early: VecDeque<News>,
    /// What an earlier daemon had read of an app and not finished with.
    leftover: Option<Leftover>,
    /// How far what each run said was taken in, by run.
    heard: BTreeMap<u64, u64>,
}

impl Hello {
    /// Hears the keeper out.
    pub(crate) async fn receive(link: &mut Link) -> Result<Self, DaemonError> {
        let mut hello = Self::default();
        let mut reports = VecDeque::new();
        loop {
            link.receive(&mut reports).await?;
            while let Some(news) = reports.pop_front() {
                let report = match news {
                    News::Report(report) => report,
                    News::Given { key, fd } => {
                        hello.stored.insert(key, fd);
                        continue;
                    }
                    News::NeverSpawned { .. } | News::Keeper { .. } | News::Trouble(_) => continue,
                };
                match report {
                    Report::Hello {
                        keeper,
                        exits,
                        running,
                        not_replaced,
                        ..
                    } => {
                        hello.keeper = keeper;
                        hello.exits = exits.into_iter().map(|ended| (ended.run, ended)).collect();
                        hello.running = running.into_iter().map(|run| (run.run, run)).collect();
                        hello.not_replaced = not_replaced;
                    }
                    Report::GiveEnd => {
                        hello.early.append(&mut reports);
                        return Ok(hello);
                    }
                    // We are here for that alone, or it was asked for meanwhile.
                    Report::Shutdown => hello.early.push_back(News::Report(report)),
                    // Somebody died while we were being told of the others.
                    Report::Exited(ended) => {
                        hello.running.remove(&ended.run);
                        hello.exits.insert(ended.run, ended);
                    }
                    Report::Spawned { run, pid } => {
                        // The keeper performs what the daemon before had asked for, before it starts us, and then greets us.
                        debug_assert!(hello.running.contains_key(&run), "{run} {pid}");
                    }
                    _ => {}
                }
            }
        }
    }

    /// Takes one stored descriptor: a share of it.
    pub(crate) fn take(&mut self, key: &str) -> Option<Held> {
        self.stored.remove(key)
    }

    /// Takes all whose keys begin with this.
    fn take_all(&mut self, prefix: &str) -> Vec<(String, Held)> {
        let taken = |key: &String, _: &mut Held| key.starts_with(prefix);
        self.stored.extract_if(taken).collect()
    }

    /// The same as a descriptor of its own.
    pub(crate) fn copy(&mut self, key: &str) -> io::Result<Option<OwnedFd>> {
        self.take(key).map(|fd| fd.try_clone()).transpose()
    }

    /// The records of an earlier daemon, and what they say; new ones are handed to the keeper.
    pub(crate) fn records(
        &mut self,
        link: &mut Link,
    ) -> Result<(Records, Option<Frozen>), DaemonError> {
        let [one, other] = KEYS.map(|key| self.copy(key));
        let (records, frozen, is_new) = Records::open([one?, other?])?;
        if let Some(frozen) = &frozen {
            self.heard.clone_from(&frozen.heard);
        }
        for ((key, fd), is_new) in KEYS.into_iter().zip(records.copies()?).zip(is_new) {
            if is_new {
                link.store(key.to_owned(), fd)?;
            }
        }
        Ok((records, frozen))
    }

    /// What apps' output is read into; a new one is handed to the keeper.
    pub(crate) fn scratch(&mut self, link: &mut Link) -> Result<Scratch, DaemonError> {
        let (scratch, leftover, is_new) = Scratch::open(self.copy(scratch::KEY)?)?;
        self.leftover = leftover;
        if is_new {
            link.store(scratch::KEY.to_owned(), scratch.copy()?)?;
        }
        Ok(scratch)
    }

    /// A descriptor that was not stored, and could be had all the same.
    pub(crate) fn give(&mut self, key: String, fd: Held) {
        self.stored.insert(key, fd);
    }

    /// A process that lives.
    pub(crate) fn found(&mut self, running: Running) {
        self.running.insert(running.run, running);
    }

    /// An exit that nobody has seen.
    pub(crate) fn missed(&mut self, ended: Ended) {
        self.exits.insert(ended.run, ended);
    }

    /// Whether the process of a run lives.
    pub(crate) fn is_running(&self, run: u64) -> bool {
        self.running.contains_key(&run)
    }

    /// The first run number that the keeper has not seen.
    fn runs_from(&self) -> u64 {
        let used = self.exits.keys().chain(self.running.keys()).max();
        used.map_or(0, |run| run + 1)
    }

    fn fate(&self, run: RunId) -> Fate {
        if let Some(running) = self.running.get(&run.0) {
            let is_signalled = running.signal != 0;
            return Fate::Lives { is_signalled };
        }
        if self.exits.contains_key(&run.0) {
            return Fate::Ended;
        }
        Fate::Unknown
    }
}

/// The list that an earlier daemon had, or an empty one; and what is to be said about it.
pub(crate) fn supervisor(frozen: Option<Frozen>) -> (Supervisor, Vec<String>) {
    let mut complaints = Vec::new();
    let Some(mut frozen) = frozen else {
        return (Supervisor::new(start::supervisor_config()), complaints);
    };
    let mut processes: Vec<String> = std::mem::take(&mut frozen.processes)
        .into_values()
        .collect();
    loop {
        let texts = processes.iter().map(String::as_str);
        let (config, header) = (start::supervisor_config(), &frozen.header);
        match Supervisor::thaw(config, header, &frozen.parts, texts) {
            Ok(supervisor) => return (supervisor, complaints),
            Err(error @ (ThawError::Process(index, _) | ThawError::Twice(index))) => {
                // The others must not be lost with it.
                complaints.push(super::with_causes(&error));
                processes.remove(index);
            }
            Err(error @ ThawError::Part(part, _)) => {
                complaints.push(super::with_causes(&error));
                frozen.parts.remove(&part);
            }
            Err(error) => {
                complaints.push(super::with_causes(&error));
                return (Supervisor::new(start::supervisor_config()), complaints);
            }
        }
    }
}

impl Pilot {
    /// Takes over everything an earlier daemon left. Does nothing for the first daemon of a keeper.
    pub(crate) fn recover(&mut self, mut hello: Hello) -> Result<(), DaemonError> {
        self.not_replaced = hello.not_replaced.take();
        self.supervisor.skip_runs_to(hello.runs_from());
        let now = Shared::now();
        let effects = self.supervisor.resume(now, &|run| hello.fate(run));
        let known: Vec<(PmId, RunId)> = self
            .supervisor
            .runs()
            .map(|(run, process)| (process.id(), run))
            .collect();
        let runs = known.iter().map(|(_, run)| *run).collect();
        self.records.retain_heard(&runs);
        let all = self.supervisor.take_all();
        self.records.begin_anew(&all)?;
        self.testament.begin_anew(now.mono, &self.home, &all);
        self.testament.retain(|run| hello.is_running(run));
        for (key, fd) in hello.take_all(sockets::PREFIX) {
            self.sockets
                .restore(&key, fd.try_clone()?, &self.reports_in);
        }
        for (id, run) in known {
            self.recover_run(id, run, &mut hello);
        }
        // All that was left in it is in the logs and inboxes now, or of nobody's.
        self.shared.output.borrow_mut().done(SCRATCH_BYTES);
        self.carry_out_endings();
        self.recover_connections(&mut hello)?;
        self.perform(effects);
        self.end_unknown(&hello);
        for key in std::mem::take(&mut hello.stored).into_keys() {
            self.discard(key);
        }
        if self.supervisor.is_ending() {
            self.end("SIGNAL", None, None);
        }
        self.turn();
        for news in hello.early {
            self.hear_of_keeper(news);
        }
        self.turn();
        Ok(())
    }

    /// Gets hold of the connections again that no worker had for certain.
    fn recover_connections(&mut self, hello: &mut Hello) -> Result<(), DaemonError> {
        let notes = hello.copy(connections::NOTES_KEY)?;
        let stored = hello.take_all(connections::PREFIX);
        self.inputs.extend(self.connections.restore(stored, notes));
        Ok(())
    }

    /// Gets hold of a run again, and hands in what nobody has taken in.
    fn recover_run(&mut self, id: PmId, run: RunId, hello: &mut Hello) {
        let fate = hello.fate(run);
        let process = self.supervisor.runs().find(|(one, _)| *one == run);
        let Some((_, process)) = process else {
            return;
        };
        let (is_spawning, stopping) = (process.is_spawning(), process.stopping());
        if let Some((_, pid, is_tree, true)) = stopping {
            self.runs.insert(run, empty_record(id, run, gone(pid)));
            self.await_tree(run, is_tree);
            if self.stops.root_gone(run) {
                self.drained(run);
            }
            return;
        }
        let pid = match (fate, hello.exits.get(&run.0), hello.running.get(&run.0)) {
            (Fate::Lives { .. }, _, Some(running)) => running.pid,
            (Fate::Ended, Some(ended), _) => ended.pid,
            _ if is_spawning => return,
            _ => return self.lost(run),
        };
        if let Err(reason) = self.prepare_again(id, run, hello) {
            self.journal.error(&format!("run {run}: {reason}"));
            return self.lost(run);
        }
        let attached = self.attach(run, pid);
        if is_spawning && let Some(version) = attached {
            let pid = Pid(pid);
            self.inputs.push_back(Input::Spawned { run, pid, version });
        }
        let Some(record) = self.runs.get_mut(&run) else {
            return;
        };
        let Stage::Alive { root, child } = &mut record.stage else {
            return;
        };
        if let Some(ended) = hello.exits.get(&run.0) {
            *root = gone(Pid(pid));
            child.exited(exit_of(ended.status));
        }
        if let Some((_, _, is_tree, false)) = stopping {
            self.await_tree(run, is_tree);
        }
    }

    fn await_tree(&mut self, run: RunId, is_tree: bool) {
        if is_tree {
            self.end_run(run, How::Wait);
            self.carry_out_endings();
        }
    }

    /// Everything a run's task needs, from what was stored.
    fn prepare_again(&mut self, id: PmId, run: RunId, hello: &mut Hello) -> Result<(), String> {
        let process = self.supervisor.runs().find(|(one, _)| *one == run);
        let spec = process
            .map(|(_, process)| process.record().spec())
            .transpose();
        let spec = spec
            .map_err(|error| error.to_string())?
            .ok_or("no record")?;
        let prefix = ends::prefix(id, run);
        let ends = self
            .ends
            .restore(|name| hello.take(&format!("{prefix}{name}")));
        let (log, log_prefix) = self.open_log(id, &spec.logs).or_else(|error| {
            // An app must not end because its log file cannot be had now.
            self.journal.error(&error);
            let nowhere = LogSpec {
                disabled: true,
                ..spec.logs.clone()
            };
            self.open_log(id, &nowhere)
        })?;
        let prepared = Prepared {
            ends,
            log,
            log_prefix,
            prefix: prefix.clone(),
            leftover: hello
                .leftover
                .take_if(|leftover| leftover.run == run)
                .map(Box::new),
            heard: hello.heard.get(&run.0).copied().unwrap_or(0),
        };
        let program = spec.interpreter.as_deref().unwrap_or(&spec.script);
        let record = RunRecord {
            stage: Stage::Spawning(Box::new(prepared)),
            program: program.into(),
            cwd: spec.cwd.as_str().into(),
            script: spec.script.as_str().into(),
            prefix: prefix.into(),
            mark: None,
        };
        self.runs.insert(run, record);
        Ok(())
    }

    /// A process that nobody knows anything of. The keeper never forgets an exit that was not settled, so this is a mistake
    /// somewhere; the process is taken for dead, which at worst starts it anew.
    fn lost(&mut self, run: RunId) {
        let exit = Exit::Unknown;
        self.inputs.push_back(Input::Exited { run, exit });
        self.inputs.push_back(Input::Drained { run });
    }

    /// Processes without a record cannot be looked after, and would be there twice as soon as somebody starts them again.
    fn end_unknown(&mut self, hello: &Hello) {
        let unknown = |run: &u64| !self.runs.contains_key(&RunId(*run));
        let settled: Vec<u64> = hello.exits.keys().copied().filter(unknown).collect();
        let lost = hello.running.values().filter(|one| unknown(&one.run));
        let lost: Vec<Identity> = lost
            .map(|one| Identity {
                pid: one.pid,
                start: one.start,
            })
            .collect();
        if !lost.is_empty() {
            let pids: Vec<i32> = lost.iter().map(|root| root.pid).collect();
            self.journal
                .error(&format!("ending processes without a record: {pids:?}"));
            tree::kill_all(&lost);
        }
        for run in settled {
            let _small = self.link.send(Request::Settled { run });
        }
    }
}

/// A process that has ended: its number names what is left of its session, and may be another process's by now.
fn gone(pid: Pid) -> Identity {
    Identity {
        pid: pid.0,
        start: u64::MAX,
    }
}

fn empty_record(id: PmId, run: RunId, root: Identity) -> RunRecord {
    RunRecord {
        stage: Stage::Over { root },
        program: "".into(),
        cwd: "".into(),
        script: "".into(),
        prefix: ends::prefix(id, run).into(),
        mark: None,
    }
}
