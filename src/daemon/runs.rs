//! Runs, from the keeper's first word about one to the last of its tree.

use super::child::{Child, ChildReport, Run};
use super::ends::{self, OurEnds};
use super::launch;
use super::lines::RunLog;
use super::link::News;
use super::pilot::Pilot;
use super::scratch::Leftover;
use crate::core::Input;
use crate::host::tree::{Identity, Mark};
use crate::keeper::proto::{Report, Request};
use crate::model::{Exit, Pid, RunId, Signal};

/// One run, as far as the pilot is concerned.
#[derive(Debug)]
pub(crate) struct RunRecord {
    pub(super) stage: Stage,
    /// What is executed, for error texts.
    pub(super) program: Box<str>,
    pub(super) cwd: Box<str>,
    /// For its package's version.
    pub(super) script: Box<str>,
    /// What the keeper's keys of its descriptors begin with.
    pub(super) prefix: Box<str>,
    /// What whatever it starts inherits, where that is known.
    pub(super) mark: Option<Mark>,
}

/// A run whose exit the core has been told of.
#[derive(Debug)]
pub(crate) struct Settled {
    run: RunId,
    prefix: Option<Box<str>>,
    /// Nobody holds its output any more.
    is_closed: bool,
}

/// How far a run has come.
#[derive(Debug)]
pub(crate) enum Stage {
    /// The keeper has been asked.
    Spawning(Box<Prepared>),
    /// It has a process.
    Alive { root: Identity, child: Child },
    /// The process has ended; others of its tree may live.
    Over { root: Identity },
}

/// What waits for the process.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(super) ends: OurEnds,
    pub(super) log: RunLog,
    /// The beginning of this run's `log:out` and `log:err` payloads: `{"process":{…},"at":`.
    pub(super) log_prefix: String,
    /// What the keeper's keys of the descriptors begin with.
    pub(super) prefix: String,
    /// What an earlier daemon had read of it and not finished with.
    pub(super) leftover: Option<Box<Leftover>>,
    /// How far what it said was acted upon.
    pub(super) heard: u64,
}

impl Pilot {
    /// Takes in what the keeper says, or what is known of it.
    pub(super) fn hear_of_keeper(&mut self, news: News) {
        match news {
            News::Report(report) => self.keeper_reports(report),
            News::NeverSpawned { run } => {
                self.testament.gone(run);
                let run = RunId(run);
                self.runs.remove(&run);
                self.inputs.push_back(Input::NeverSpawned { run });
            }
            News::Trouble(error) => {
                let reason = super::with_causes(&error);
                self.journal
                    .error(&format!("failed to {reason}; trying again"));
            }
            News::Keeper { now, before } if now == before => {
                self.journal
                    .log(&format!("the keeper {now} has been updated"));
            }
            News::Keeper { now, before } => {
                let apps = self.link.running();
                self.journal.error(&format!(
                    "the keeper {before} was killed; {apps} applications go on with keeper {now}"
                ));
            }
            // A keeper does so once, at the beginning.
            News::Given { .. } => {}
        }
    }

    fn keeper_reports(&mut self, report: Report) {
        match report {
            Report::Spawned { run, pid } => {
                if let Some(version) = self.attach(RunId(run), pid) {
                    self.inputs.push_back(Input::Spawned {
                        run: RunId(run),
                        pid: Pid(pid),
                        version,
                    });
                }
            }
            Report::SpawnFailed { run, failure } => {
                self.testament.gone(run);
                let run = RunId(run);
                if let Some(record) = self.runs.remove(&run) {
                    let reason = launch::reason(failure, &record.program, &record.cwd);
                    self.inputs.push_back(Input::SpawnFailed { run, reason });
                }
            }
            Report::Exited(ended) => {
                self.sampler.borrow_mut().forget(ended.pid);
                self.exited(RunId(ended.run), exit_of(ended.status));
            }
            Report::Shutdown => {
                self.save_list();
                self.end("SIGNAL", None, None);
            }
            Report::ReloadLogs => self.reload_logs(),
            Report::StoreRefused { key } => {
                self.journal
                    .error(&format!("the keeper could not store {key}"));
            }
            // What a keeper says at its beginning, and what only the link takes note of.
            Report::Hello { .. }
            | Report::Give { .. }
            | Report::GiveEnd
            | Report::Signalled { .. }
            | Report::Took { .. } => {}
        }
    }

    /// A run that was prepared has a process: looks after it from now on. Gives the version of what runs; nothing if the run
    /// is not known.
    #[expect(
        clippy::option_option,
        reason = "outside: is there such a run; inside: does it have a version"
    )]
    pub(super) fn attach(&mut self, run: RunId, pid: i32) -> Option<Option<Box<str>>> {
        let record = self.runs.get_mut(&run)?;
        // It may have ended already; then the number still names what is left of its session.
        let root = self.link.root(run.0).unwrap_or(Identity {
            pid,
            start: u64::MAX,
        });
        record.mark = record.mark.or_else(|| root.mark());
        let version = launch::package_version(&record.script);
        let Stage::Spawning(prepared) = std::mem::replace(&mut record.stage, Stage::Over { root })
        else {
            return None;
        };
        match Run::new(run, *prepared, &self.shared, &self.reports_in) {
            Ok((task, child)) => {
                record.stage = Stage::Alive { root, child };
                self.run_tasks.spawn_local(task.serve());
            }
            Err(error) => {
                // Without its pipes it cannot be looked after. This has never been seen; the loop refuses a descriptor only when
                // the kernel is out of memory.
                self.journal
                    .error(&format!("cannot watch the process {pid}: {error}"));
                let _gone = root.signal(Signal::KILL.0);
                self.inputs.push_back(Input::Spawned {
                    run,
                    pid: Pid(pid),
                    version,
                });
                self.inputs.push_back(Input::Exited {
                    run,
                    exit: Exit::Signal(Signal::KILL),
                });
                self.inputs.push_back(Input::Drained { run });
                self.runs.remove(&run);
                return None;
            }
        }
        Some(version)
    }

    fn exited(&mut self, run: RunId, exit: Exit) {
        let Some(Stage::Alive { child, .. }) = self.runs.get(&run).map(|record| &record.stage)
        else {
            return;
        };
        if child.is_served() {
            child.exited(exit);
        } else {
            // Its task has panicked, and said so in the log. The app must not stay in the list for ever.
            self.child_reports(ChildReport::Exited {
                run,
                exit,
                is_closed: true,
            });
        }
    }

    /// Takes in what the task of a run says.
    pub(super) fn child_reports(&mut self, report: ChildReport) {
        match report {
            ChildReport::Message(run, message, upto) => {
                self.heard.insert(run, upto);
                self.inputs.push_back(Input::Message { run, message });
            }
            ChildReport::Internal(run, line, upto) => {
                self.heard.insert(run, upto);
                self.inputs.push_back(Input::Internal { run, line });
            }
            ChildReport::Spooled(run) => self.store_spools(run),
            ChildReport::Disconnected(run) => self.inputs.push_back(Input::Disconnected { run }),
            ChildReport::Waiting(socket) => self.inputs.push_back(Input::Waiting { socket }),
            ChildReport::Exited {
                run,
                exit,
                is_closed,
            } => {
                self.inputs.push_back(Input::Exited { run, exit });
                let prefix = self.runs.get(&run).map(|record| record.prefix.clone());
                self.settled.push(Settled {
                    run,
                    prefix,
                    is_closed,
                });
                if let Some(record) = self.runs.get_mut(&run)
                    && let Stage::Alive { root, .. } = record.stage
                {
                    record.stage = Stage::Over { root };
                }
                if self.stops.root_gone(run) {
                    self.drained(run);
                }
            }
            ChildReport::Closed(prefix) => self.discard(prefix.into()),
            ChildReport::Complaint(run, text) => {
                self.journal.error(&format!("run {run}: {text}"));
            }
        }
    }

    /// Exits that are written down need not be told to another daemon.
    pub(super) fn settle(&mut self) {
        for settled in std::mem::take(&mut self.settled) {
            let Settled {
                run,
                prefix,
                is_closed,
            } = settled;
            let _small = self.link.send(Request::Settled { run: run.0 });
            self.testament.gone(run.0);
            self.records.forget_heard(run);
            let Some(prefix) = prefix else { continue };
            if is_closed {
                self.discard(prefix.into());
            } else {
                // Who inherited these from the app must see their end.
                for name in ends::OWN_NAMES {
                    self.discard(format!("{prefix}{name}"));
                }
            }
        }
    }

    /// What was said and has been acted upon is so for every daemon to come. Not before it is written down and done.
    pub(super) fn settle_heard(&mut self) {
        for (run, upto) in std::mem::take(&mut self.heard) {
            if let Some(Stage::Alive { child, .. }) = self.runs.get(&run).map(|run| &run.stage) {
                child.heard(upto);
            }
        }
    }

    /// Has the keeper hold what waits for an app. Only then is a line begun that may be taken in part.
    pub(super) fn store_spools(&mut self, run: RunId) {
        let Some(RunRecord {
            stage: Stage::Alive { child, .. },
            prefix,
            ..
        }) = self.runs.get(&run)
        else {
            return;
        };
        let spools = child.spools().unwrap_or_else(|error| {
            self.journal
                .error(&format!("run {run}: cannot keep its messages: {error}"));
            Vec::new()
        });
        if spools.is_empty() {
            return;
        }
        for (name, fd) in spools {
            let key = format!("{prefix}{name}");
            // A key that short is never too long.
            if let Err(error) = self.link.store(key, fd) {
                self.journal
                    .error(&format!("run {run}: cannot keep its messages: {error}"));
            }
        }
        self.unstored.push(run);
        self.look_at_spools();
    }

    /// What the keeper's socket has taken will be read, whatever becomes of us.
    pub(super) fn look_at_spools(&mut self) {
        if self.unstored.is_empty() || !self.link.is_flushed() {
            return;
        }
        for run in std::mem::take(&mut self.unstored) {
            if let Some(Stage::Alive { child, .. }) = self.runs.get(&run).map(|run| &run.stage) {
                child.spools_stored();
            }
        }
    }

    pub(super) fn discard(&mut self, key: String) {
        let _small = self.link.send(Request::Discard { key });
    }

    /// Nothing of a run lives any more.
    pub(super) fn drained(&mut self, run: RunId) {
        self.runs.remove(&run);
        self.inputs.push_back(Input::Drained { run });
    }
}

pub(super) fn exit_of(status: Option<std::process::ExitStatus>) -> Exit {
    use std::os::unix::process::ExitStatusExt as _;
    let Some(status) = status else {
        return Exit::Unknown;
    };
    match (status.code(), status.signal()) {
        (_, Some(signal)) => Exit::Signal(Signal(signal)),
        (code, None) => Exit::Code(code.unwrap_or(0)),
    }
}
