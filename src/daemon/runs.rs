//! Runs, from the keeper's first word about one to the last of its tree.

use super::child::{Child, ChildReport, Run};
use super::ends::OurEnds;
use super::launch;
use super::lines::RunLog;
use super::pilot::Pilot;
use crate::core::Input;
use crate::host::tree::Identity;
use crate::keeper::proto::Report;
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
    pub(super) log_prefix: String,
}

impl Pilot {
    /// Takes in what the keeper says.
    pub(super) fn keeper_reports(&mut self, report: Report) {
        match report {
            Report::Spawned { run, pid } => {
                if let Some(run) = self.own_run(run) {
                    self.spawned(run, pid);
                }
            }
            Report::SpawnFailed { run, failure } => {
                if let Some(run) = self.own_run(run)
                    && let Some(record) = self.runs.remove(&run)
                {
                    let reason = launch::reason(failure, &record.program, &record.cwd);
                    self.inputs.push_back(Input::SpawnFailed { run, reason });
                }
            }
            Report::Exited(ended) => {
                self.sampler.borrow_mut().forget(ended.pid);
                if let Some(run) = self.own_run(ended.run) {
                    self.exited(run, exit_of(ended.status));
                }
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
            // Nothing is stored yet, and a keeper says Hello once.
            Report::Hello { .. } | Report::Give { .. } | Report::GiveEnd => {}
        }
    }

    /// The keeper's number of a run.
    pub(super) fn keeper_run(&self, run: RunId) -> u64 {
        run.0 + self.runs_from
    }

    /// The run with the keeper's number; nothing for those of an earlier daemon.
    fn own_run(&self, run: u64) -> Option<RunId> {
        run.checked_sub(self.runs_from).map(RunId)
    }

    fn spawned(&mut self, run: RunId, pid: i32) {
        let Some(record) = self.runs.get_mut(&run) else {
            return;
        };
        // It may have ended already; then the number still names what is left of its session.
        let root = Identity::of(pid).unwrap_or(Identity {
            pid,
            start: u64::MAX,
        });
        let version = launch::package_version(&record.script);
        let Stage::Spawning(prepared) = std::mem::replace(&mut record.stage, Stage::Over { root })
        else {
            return;
        };
        let Prepared {
            ends,
            log,
            log_prefix,
        } = *prepared;
        match Run::new(run, ends, log, log_prefix, &self.shared, &self.reports_in) {
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
                return;
            }
        }
        self.inputs.push_back(Input::Spawned {
            run,
            pid: Pid(pid),
            version,
        });
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
            self.child_reports(ChildReport::Exited(run, exit));
        }
    }

    /// Takes in what the task of a run says.
    pub(super) fn child_reports(&mut self, report: ChildReport) {
        match report {
            ChildReport::Message(run, message) => {
                self.inputs.push_back(Input::Message { run, message });
            }
            ChildReport::Internal(run, line) => {
                self.inputs.push_back(Input::Internal { run, line });
            }
            ChildReport::Disconnected(run) => self.inputs.push_back(Input::Disconnected { run }),
            ChildReport::Waiting(socket) => self.inputs.push_back(Input::Waiting { socket }),
            ChildReport::Exited(run, exit) => {
                self.inputs.push_back(Input::Exited { run, exit });
                if let Some(record) = self.runs.get_mut(&run)
                    && let Stage::Alive { root, .. } = record.stage
                {
                    record.stage = Stage::Over { root };
                }
                if self.stops.root_gone(run) {
                    self.drained(run);
                }
            }
            ChildReport::Complaint(run, text) => {
                self.journal.error(&format!("run {run}: {text}"));
            }
        }
    }

    /// Nothing of a run lives any more.
    pub(super) fn drained(&mut self, run: RunId) {
        self.runs.remove(&run);
        self.inputs.push_back(Input::Drained { run });
    }
}

fn exit_of(status: std::process::ExitStatus) -> Exit {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (_, Some(signal)) => Exit::Signal(Signal(signal)),
        (code, None) => Exit::Code(code.unwrap_or(0)),
    }
}
