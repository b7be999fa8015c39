//! Replacing a process in cluster mode by its successor, which is there before the old one goes.
//!
//! Two lives have one id then. The old one stays the listed one until the successor is ready; a successor that does not become
//! ready is ended, and nothing has changed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Exit, JsonText, PmId, RunId, Ticket, WireId};

use super::calls::Answer;
use super::life::{Event, State, Then};
use super::limits::SUCCESSOR_MAX;
use super::process::{Claim, Claimant, Goal, Process, Role};
use super::{Effect, Failure, Now, Supervisor};

/// One reload under way.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Reload {
    /// The one that is not listed.
    other: Process,
    phase: Phase,
    /// Who waits for the end of it.
    ticket: Ticket,
    /// The old one is told `shutdown` first.
    by_message: bool,
}

/// How far a reload has come.
#[derive(Debug, Serialize, Deserialize)]
enum Phase {
    /// The successor is on its way.
    Rising {
        /// What makes it ready.
        needs: Needs,
        /// When that must have come.
        until: Duration,
    },
    /// The successor has taken over; the old one finishes.
    Leaving,
    /// The successor is being ended, because of this.
    Ending { reason: String, run: RunId },
}

/// What makes a successor ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Needs {
    /// The word `ready`.
    Word,
    /// A server, because the old one had one.
    Server,
    /// To have been up for some time.
    Age,
}

impl Supervisor {
    /// Begins to replace a process that is online in cluster mode; `None` for any other, which is to be restarted.
    pub(super) fn reload(
        &mut self,
        now: Now,
        ticket: Ticket,
        id: &WireId,
        env: Option<&JsonText>,
        by_message: bool,
        out: &mut Vec<Effect>,
    ) -> Option<Answer> {
        let process = self.find(id)?;
        let State::Online { run, .. } = process.state else {
            return None;
        };
        if !process.rules.is_cluster || self.rest.is_killing {
            return None;
        }
        let id = process.id;
        if self.rest.reloads.contains_key(&id) {
            return Some(Err(Failure::ReloadInProgress(id)));
        }
        let mut successor = process.successor();
        if let Err(failure) = successor.change(now, env) {
            return Some(Err(failure));
        }
        successor.record.counts.restarts += 1;
        let needs = if successor.rules.wait_ready {
            Needs::Word
        } else if self.rest.primary.has_listened(run) {
            Needs::Server
        } else {
            Needs::Age
        };
        let patience = match needs {
            Needs::Word | Needs::Server => successor.rules.listen_timeout.unwrap_or(SUCCESSOR_MAX),
            Needs::Age => SUCCESSOR_MAX,
        };
        let until = now.mono + patience;
        self.with_step(now, out, |cx| successor.spawn(cx));
        let has_failed = successor.run().is_none();
        let reload = Reload {
            other: successor,
            phase: Phase::Rising { needs, until },
            ticket,
            by_message,
        };
        if has_failed {
            self.fail(now, id, reload, "it could not be started".to_owned(), out);
        } else {
            self.rest.reloads.insert(id, reload);
        }
        Some(Ok(None))
    }

    /// Whose reports these are, if of one that is not listed.
    fn reload_of(&self, run: RunId) -> Option<PmId> {
        let is_its = |reload: &Reload| reload.other.run() == Some(run);
        let mut reloads = self.rest.reloads.iter();
        reloads
            .find(|(_, reload)| is_its(reload))
            .map(|(id, _)| *id)
    }

    /// The process of a run that is not listed.
    pub(super) fn unlisted(&mut self, run: RunId) -> Option<&mut Process> {
        let id = self.reload_of(run)?;
        self.rest
            .reloads
            .get_mut(&id)
            .map(|reload| &mut reload.other)
    }

    /// Every process that is not listed.
    pub(super) fn all_unlisted(&self) -> impl Iterator<Item = &Process> {
        self.rest.reloads.values().map(|reload| &reload.other)
    }

    /// Nobody waits for the end of any reload any more.
    pub(super) fn forget_reloaders(&mut self) {
        for reload in self.rest.reloads.values_mut() {
            reload.ticket = Ticket::NOBODY;
        }
    }

    /// A report on one that is not listed.
    pub(super) fn report_unlisted(
        &mut self,
        now: Now,
        run: RunId,
        event: Event,
        out: &mut Vec<Effect>,
    ) {
        let Some(id) = self.reload_of(run) else {
            return;
        };
        let Some(mut reload) = self.rest.reloads.remove(&id) else {
            return;
        };
        match (&reload.phase, event) {
            (Phase::Rising { .. }, Event::Exited(exit)) => {
                reload.other.state = State::Stopped;
                self.fail(now, id, reload, ended(exit), out);
            }
            (Phase::Rising { .. }, Event::SpawnFailed(reason)) => {
                reload.other.state = State::Stopped;
                self.fail(now, id, reload, reason, out);
            }
            (Phase::Rising { .. }, event) => {
                self.with_step(now, out, |cx| reload.other.step(cx, event));
                self.look_at_successor(now, id, reload, out);
            }
            (Phase::Leaving | Phase::Ending { .. }, event) => {
                self.with_step(now, out, |cx| reload.other.step(cx, event));
                self.conclude_reload(now, id, reload, out);
            }
        }
    }

    /// It may have become ready by what it said.
    fn look_at_successor(&mut self, now: Now, id: PmId, mut reload: Reload, out: &mut Vec<Effect>) {
        if let Phase::Rising { needs, until } = &mut reload.phase
            && reload.other.is_up()
        {
            match needs {
                Needs::Word => return self.promote(now, id, reload, out),
                Needs::Server => {}
                Needs::Age => {
                    let age = reload.other.rules.listen_timeout;
                    let age = age.unwrap_or(self.config.listen_timeout);
                    *until = (*until).min(now.mono + age);
                }
            }
        }
        self.rest.reloads.insert(id, reload);
    }

    /// A worker listens. If that is what is waited for, it takes over.
    pub(super) fn worker_listens(&mut self, now: Now, run: RunId, out: &mut Vec<Effect>) {
        if let Some(id) = self.fleet.of_run(run) {
            return self.old_one_listens(now, id);
        }
        let Some(id) = self.reload_of(run) else {
            return;
        };
        let Some(reload) = self.rest.reloads.remove(&id) else {
            return;
        };
        match reload.phase {
            Phase::Rising {
                needs: Needs::Server | Needs::Age,
                ..
            } if reload.other.is_up() => self.promote(now, id, reload, out),
            Phase::Rising { .. } | Phase::Leaving | Phase::Ending { .. } => {
                self.rest.reloads.insert(id, reload);
            }
        }
    }

    /// It was so young that it had no server yet when its reload began. Now its successor must have one too.
    fn old_one_listens(&mut self, now: Now, id: PmId) {
        if let Some(reload) = self.rest.reloads.get_mut(&id)
            && let Phase::Rising { needs, until } = &mut reload.phase
            && *needs == Needs::Age
        {
            *needs = Needs::Server;
            *until = now.mono + reload.other.rules.listen_timeout.unwrap_or(SUCCESSOR_MAX);
        }
    }

    /// The successor takes over, and the old one finishes.
    fn promote(&mut self, now: Now, id: PmId, reload: Reload, out: &mut Vec<Effect>) {
        let Some(mut old) = self.fleet.take(id) else {
            debug_assert!(false, "the reload of {id} has outlived it");
            return;
        };
        let Reload {
            other: mut successor,
            ticket,
            by_message,
            ..
        } = reload;
        successor.role = Role::Main;
        successor.job = old.job.take();
        let pid = successor.pid();
        self.with_step(now, out, |cx| {
            successor.look_at_schedule(cx);
            if let Some(pid) = pid {
                successor.write_pid_file(cx, pid);
            }
        });
        self.fleet.put(successor);
        old.role = Role::Outgoing;
        let patience = self.config.graceful_timeout;
        if let State::Online { run, pid, .. } = old.state {
            self.with_step(now, out, |cx| {
                old.begin_drain(cx, run, pid, Then::Rest, patience, by_message);
            });
        }
        let reload = Reload {
            other: old,
            phase: Phase::Leaving,
            ticket,
            by_message,
        };
        self.conclude_reload(now, id, reload, out);
    }

    /// The listed one ended by itself while its successor is on its way: that one is the listed one now. False if there is none.
    pub(super) fn inherit(
        &mut self,
        now: Now,
        id: PmId,
        exit: Exit,
        out: &mut Vec<Effect>,
    ) -> bool {
        let is_rising = |reload: &Reload| matches!(reload.phase, Phase::Rising { .. });
        if !self.rest.reloads.get(&id).is_some_and(is_rising) {
            return false;
        }
        let (Some(reload), Some(mut old)) = (self.rest.reloads.remove(&id), self.fleet.take(id))
        else {
            return false;
        };
        old.role = Role::Outgoing;
        let mut successor = reload.other;
        successor.role = Role::Main;
        successor.job = old.job.take();
        let claim = Claim {
            by: Claimant::Ticket(reload.ticket),
            goal: Goal::Up { is_new: false },
        };
        self.with_step(now, out, |cx| {
            old.state = State::Stopped;
            old.ended_as_asked(cx, exit);
            if let Some(pid) = successor.pid() {
                successor.write_pid_file(cx, pid);
            }
            successor.claim(cx, claim);
            if successor.is_up() {
                successor.settle_up(cx);
            }
        });
        self.fleet.put(successor);
        true
    }

    /// Somebody wants something else of this process: there is nothing to replace any more.
    pub(super) fn abort_reload(&mut self, now: Now, id: PmId, out: &mut Vec<Effect>) {
        let Some(mut reload) = self.rest.reloads.remove(&id) else {
            return;
        };
        match reload.phase {
            Phase::Rising { .. } => {
                let reason = "it was stopped, restarted or deleted meanwhile".to_owned();
                self.fail(now, id, reload, reason, out);
            }
            Phase::Leaving => {
                self.with_step(now, out, |cx| reload.other.step(cx, Event::Finished));
                self.conclude_reload(now, id, reload, out);
            }
            Phase::Ending { .. } => {
                self.rest.reloads.insert(id, reload);
            }
        }
    }

    /// The successor is of no use. It is ended if it lives; then its caller is told.
    fn fail(
        &mut self,
        now: Now,
        id: PmId,
        mut reload: Reload,
        reason: String,
        out: &mut Vec<Effect>,
    ) {
        let run = reload.other.run().or(reload.other.last_run);
        reload.phase = Phase::Ending {
            reason,
            run: run.unwrap_or(RunId(u64::MAX)),
        };
        self.with_step(now, out, |cx| reload.other.step(cx, Event::Stop(None)));
        self.conclude_reload(now, id, reload, out);
    }

    /// Answers if all is over, keeps the reload if not. Whoever waits for the end of both halves is told after that.
    fn conclude_reload(&mut self, now: Now, id: PmId, reload: Reload, out: &mut Vec<Effect>) {
        let is_over = match reload.other.state {
            State::Stopped
            | State::Lingering { .. }
            | State::Errored
            | State::Stuck { .. }
            | State::Waiting { .. } => true,
            State::Spawning { .. }
            | State::Launching { .. }
            | State::Online { .. }
            | State::Stopping { .. } => false,
        };
        if !is_over {
            self.rest.reloads.insert(id, reload);
            return;
        }
        let survivor = reload.other.survivor();
        let result = match reload.phase {
            Phase::Rising { .. } | Phase::Leaving => Ok(reload.other.view().formatted(None)),
            Phase::Ending { reason, run } => Err(Failure::NotReplaced {
                name: reload.other.name().to_owned(),
                id,
                reason,
                run,
            }),
        };
        out.push(Effect::Reply {
            ticket: reload.ticket,
            result,
        });
        let is_lingering = |listed: &Process| matches!(listed.state, State::Lingering { .. });
        if survivor.is_some() || self.fleet.get(id).is_some_and(is_lingering) {
            self.step(now, id, Event::Alone(survivor), out);
        }
    }

    /// When the next reload is due.
    pub(super) fn reload_deadline(&self) -> Option<Duration> {
        let reloads = self.rest.reloads.values();
        reloads.filter_map(|reload| self.due_at(reload)).min()
    }

    fn due_at(&self, reload: &Reload) -> Option<Duration> {
        match reload.phase {
            Phase::Rising { until, .. } => Some(until),
            Phase::Leaving | Phase::Ending { .. } => {
                reload.other.deadline(self.config.backoff_reset)
            }
        }
    }

    /// Time passed for those who are not listed.
    pub(super) fn wake_reloads(&mut self, now: Now, out: &mut Vec<Effect>) {
        let is_due = |reload: &Reload| self.due_at(reload).is_some_and(|at| at <= now.mono);
        let reloads = self.rest.reloads.iter();
        let due: Vec<PmId> = reloads
            .filter(|(_, reload)| is_due(reload))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let Some(mut reload) = self.rest.reloads.remove(&id) else {
                continue;
            };
            match reload.phase {
                Phase::Rising {
                    needs: Needs::Age, ..
                } if reload.other.is_up() => self.promote(now, id, reload, out),
                Phase::Rising { needs, .. } => {
                    let missing = match needs {
                        Needs::Word => "did not say \"ready\" in time",
                        Needs::Server => "did not listen in time",
                        Needs::Age => "did not come up in time",
                    };
                    self.fail(now, id, reload, format!("the new process {missing}"), out);
                }
                Phase::Leaving | Phase::Ending { .. } => {
                    self.with_step(now, out, |cx| reload.other.step(cx, Event::Timeout));
                    self.conclude_reload(now, id, reload, out);
                }
            }
        }
    }
}

/// How the successor ended.
fn ended(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("the new process ended with code {code} before it was ready"),
        Exit::Signal(signal) => {
            let name = signal.name();
            format!("the new process was ended by {name} before it was ready")
        }
        Exit::Unknown => "the new process ended before it was ready".to_owned(),
    }
}
