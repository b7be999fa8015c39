//! Going on where another daemon was: what is written out after each change, and what is done first with what was read back.

use crate::model::{Pid, PmId, RunId, Ticket};

use super::life::{Event, State};
use super::process::{Claim, Claimant, Goal};
use super::{Effect, Now, Supervisor, SupervisorConfig};

/// What is to be written out so that another daemon can go on from here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// What is not about one process, if that has changed.
    pub header: Option<String>,
    /// Parts of the same kind that have changed, by their numbers; without a text there is no such part any more.
    pub parts: Vec<(u32, Option<String>)>,
    /// Each process that may have changed; without a text it is no longer listed.
    pub processes: Vec<(PmId, Option<String>)>,
}

/// What is known of a run that an earlier daemon began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It never had a process, or all about it was taken in.
    Unknown,
    /// Its process lives; whether it was signalled.
    Lives {
        /// Whether any daemon has had it signalled.
        is_signalled: bool,
    },
    /// Its process has ended.
    Ended,
}

impl Supervisor {
    /// Whether [`Self::take_changes`] might give anything. Cheap.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        // Batches and the primary change with inputs that make the header stale as well.
        self.saved.is_stale || self.fleet.is_changed()
    }

    /// What has changed since this was asked last. Write it out before any effect is performed: what was decided must not
    /// be decided anew.
    pub fn take_changes(&mut self) -> Changes {
        let changed = self.fleet.take_changed();
        let processes: Vec<_> = changed
            .into_iter()
            .map(|id| (id, self.freeze_process(id)))
            .collect();
        let parts = self.changed_parts();
        self.saved.is_stale = false;
        let mut header = Some(self.freeze_header());
        if header.as_ref() == Some(&self.saved.header) {
            header = None;
        } else if let Some(header) = &header {
            self.saved.header.clone_from(header);
        }
        Changes {
            header,
            parts,
            processes,
        }
    }

    /// Everything, as if all of it had changed.
    pub fn take_all(&mut self) -> Changes {
        self.saved.header = String::new();
        self.saved.primary = String::new();
        self.saved.batches.extend(self.rest.batches.keys());
        for id in self.fleet.ids() {
            let _marked = self.fleet.get_mut(id);
        }
        self.take_changes()
    }

    /// Gives no run a number below this.
    pub fn skip_runs_to(&mut self, first: u64) {
        self.rest.next_run = self.rest.next_run.max(first);
        self.saved.is_stale = true;
    }

    /// Whether an earlier daemon was stopping everything. Nobody waits for that any more: ask with `Call::KillAll` again.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.rest.is_killing && self.rest.kill_tickets.contains(&Ticket::NOBODY)
    }

    /// Whether everything is being stopped, whoever asked for it.
    #[must_use]
    pub fn is_killing(&self) -> bool {
        self.rest.is_killing
    }

    /// The first step after [`Self::thaw`]: lets go of callers who are gone, and repeats what nobody may have carried out.
    ///
    /// Afterwards every run whose fate is not `Unknown` is reported as usual, `Spawned` first where it has not been.
    /// Replies to those who are gone carry a ticket that was never given.
    pub fn resume(&mut self, now: Now, fate: &dyn Fn(RunId) -> Fate) -> Vec<Effect> {
        let mut out = Vec::new();
        for (id, batch) in &mut self.rest.batches {
            batch.ticket = Ticket::NOBODY;
            self.saved.batches.insert(*id);
        }
        self.rest.primary.resume(&mut out);
        for ticket in &mut self.rest.kill_tickets {
            *ticket = Ticket::NOBODY;
        }
        self.forget_reloaders();
        for id in self.fleet.ids() {
            if let Some(process) = self.fleet.get_mut(id) {
                process
                    .claims
                    .retain(|claim| matches!(claim.by, Claimant::Batch(_)));
            }
            self.resume_process(now, id, fate, &mut out);
        }
        let unlisted: Vec<RunId> = self
            .all_unlisted()
            .filter_map(super::Process::run)
            .collect();
        for run in unlisted {
            if fate(run) == Fate::Unknown {
                self.report(
                    now,
                    run,
                    Event::SpawnFailed(NOT_STARTED.to_owned()),
                    &mut out,
                );
            } else {
                let process = self.all_unlisted().find(|one| one.run() == Some(run));
                out.extend(process.and_then(|one| one.unheard(&self.config, run, fate)));
            }
        }
        self.saved.is_stale = true;
        out
    }

    fn resume_process(
        &mut self,
        now: Now,
        id: PmId,
        fate: &dyn Fn(RunId) -> Fate,
        out: &mut Vec<Effect>,
    ) {
        let Some(process) = self.fleet.get(id) else {
            return;
        };
        match process.state {
            State::Spawning { run, .. } if fate(run) == Fate::Unknown => {
                self.never_spawned(now, run, out);
            }
            State::Stopping { run, .. } => out.extend(process.unheard(&self.config, run, fate)),
            State::Stopped
            | State::Spawning { .. }
            | State::Launching { .. }
            | State::Online { .. }
            | State::Lingering { .. }
            | State::Waiting { .. }
            | State::Errored
            | State::Stuck { .. } => {}
        }
        if let Some(process) = self.fleet.get(id)
            && process.run().is_none_or(|run| fate(run) != Fate::Unknown)
            && let Some(file) = process.pid_file_effect()
        {
            out.push(file);
        }
    }

    /// The wish for a run got lost, and so did a wish for its end. One that is not listed is not begun again: the reload that
    /// wanted it is told.
    pub(super) fn never_spawned(&mut self, now: Now, run: RunId, out: &mut Vec<Effect>) {
        let id = self.fleet.of_run(run);
        let is_wanted = |process: &super::Process| {
            let State::Spawning { then, .. } = process.state else {
                return false;
            };
            then.is_none_or(|then| then == super::Then::Start)
        };
        let wanted = id.filter(|id| self.fleet.get(*id).is_some_and(is_wanted));
        match wanted.filter(|_| !self.rest.is_killing) {
            Some(id) => {
                self.rest.primary.gone(now, run, out);
                self.step_again(now, id, out);
            }
            None => self.report(now, run, Event::SpawnFailed(NOT_STARTED.to_owned()), out),
        }
    }

    /// Makes a process begin the run anew whose beginning got lost.
    fn step_again(&mut self, now: Now, id: PmId, out: &mut Vec<Effect>) {
        if let Some(mut process) = self.fleet.take(id) {
            process.state = State::Stopped;
            self.fleet.put(process);
        }
        let nobody = Claim {
            by: Claimant::Ticket(Ticket::NOBODY),
            goal: Goal::Up { is_new: false },
        };
        self.step(now, id, Event::Start(nobody), out);
    }

    /// Every run that is reported on, with the process it is of.
    pub fn runs(&self) -> impl Iterator<Item = (RunId, &super::Process)> {
        let all = self.fleet.iter().chain(self.all_unlisted());
        all.filter_map(|process| Some((process.run()?, process)))
    }
}

/// What came of a run that nobody asked the keeper for.
const NOT_STARTED: &str = "who was to start it ended before";

impl super::Process {
    /// What it was to be told and was not, when it is to end.
    fn unheard(
        &self,
        config: &SupervisorConfig,
        run: RunId,
        fate: &dyn Fn(RunId) -> Fate,
    ) -> Option<Effect> {
        let State::Stopping {
            is_killed,
            has_exited: false,
            ..
        } = self.state
        else {
            return None;
        };
        let is_signalled = match fate(run) {
            Fate::Lives { is_signalled } => is_signalled,
            Fate::Unknown | Fate::Ended => return None,
        };
        match (is_signalled, is_killed) {
            // What it was signalled with before may have been something else; nothing is lost by killing it twice.
            (_, true) => Some(Effect::Kill { run }),
            (true, false) => None,
            (false, false) if self.is_draining => None,
            (false, false) => self.termination(config, run),
        }
    }

    /// The run and process of a stop that is under way: whether the tree is meant, and whether the process has ended.
    #[must_use]
    pub fn stopping(&self) -> Option<(RunId, Pid, bool, bool)> {
        match self.state {
            State::Stopping {
                run,
                pid,
                has_exited,
                ..
            } => Some((run, pid, self.rules.tree, has_exited)),
            State::Stopped
            | State::Spawning { .. }
            | State::Launching { .. }
            | State::Online { .. }
            | State::Lingering { .. }
            | State::Waiting { .. }
            | State::Errored
            | State::Stuck { .. } => None,
        }
    }

    /// Whether a run was asked for and nothing has been said of it.
    #[must_use]
    pub fn is_spawning(&self) -> bool {
        matches!(self.state, State::Spawning { .. })
    }
}
