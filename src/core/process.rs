//! One process of the list, and the acts its life is made of.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{
    BusEvent, JsonText, Pid, PmId, ProcessSpec, Record, Rules, RunId, Sender, Status, StopBy,
    StopPolicy, Ticket, View,
};

use super::life::{State, Then};
use super::limits::CLAIMS_MAX;
use super::{Effect, Failure, Now, SpawnPlan, SupervisorConfig};

/// One process of the list.
#[derive(Debug, Serialize, Deserialize)]
pub struct Process {
    pub(super) id: PmId,
    pub(super) state: State,
    pub(super) record: Record,
    /// The part of the record that is looked at on every step.
    pub(super) rules: Rules,
    /// Who waits for it to be up, down or gone.
    claims: Vec<Claim>,
}

/// Somebody who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claim {
    pub(super) by: Claimant,
    pub(super) goal: Goal,
}

/// Who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Claimant {
    /// A caller.
    Ticket(Ticket),
    /// The rest of a declaration's instances.
    Batch(u64),
}

/// For what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Goal {
    /// For it to be up; `is_new` when it was just made, which `start` tells everybody.
    Up { is_new: bool },
    /// For it to be down.
    Down,
    /// For it to be gone.
    Gone,
}

/// What a step may use, and where it puts what follows.
pub(super) struct Step<'s> {
    pub(super) now: Now,
    pub(super) config: &'s SupervisorConfig,
    /// The daemon is ending: nothing is started.
    pub(super) is_killing: bool,
    pub(super) next_run: &'s mut u64,
    pub(super) out: &'s mut Vec<Effect>,
    /// Batches whose present instance is concluded.
    pub(super) concluded: Vec<(u64, Result<JsonText, Failure>)>,
    /// The process is to be taken off the list.
    pub(super) is_forgotten: bool,
}

impl Step<'_> {
    pub(super) fn fail(&mut self, claim: Claim, failure: Failure) {
        match claim.by {
            Claimant::Ticket(ticket) => self.out.push(Effect::Reply {
                ticket,
                result: Err(failure),
            }),
            Claimant::Batch(batch) => self.concluded.push((batch, Err(failure))),
        }
    }

    fn log(&mut self, text: String) {
        self.out.push(Effect::Log {
            text,
            is_error: false,
        });
    }

    fn log_error(&mut self, text: String) {
        self.out.push(Effect::Log {
            text,
            is_error: true,
        });
    }
}

impl Process {
    pub(super) fn new(id: PmId, record: Record, rules: Rules) -> Self {
        Self {
            id,
            state: State::Stopped,
            record,
            rules,
            claims: Vec::new(),
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> PmId {
        self.id
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.record.name()
    }

    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.record.namespace()
    }

    /// pm2's word for where it is.
    #[must_use]
    pub fn status(&self) -> Status {
        self.state.status()
    }

    /// The process that runs, if one does.
    #[must_use]
    pub fn pid(&self) -> Option<Pid> {
        self.state.pid()
    }

    /// The run its reports come under, from the effect `Spawn` on until nothing of it is waited for.
    #[must_use]
    pub fn run(&self) -> Option<RunId> {
        self.state.run()
    }

    /// Whom its events are from.
    #[must_use]
    pub fn sender(&self) -> Sender<'_> {
        Sender {
            id: self.id,
            name: self.name(),
            namespace: self.namespace(),
        }
    }

    /// What is shown of it.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View {
            id: self.id,
            status: self.status(),
            pid: self.pid(),
            record: &self.record,
        }
    }

    /// Its record.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Whether it can be written to: it runs and was not asked to end.
    pub(super) fn is_reachable(&self) -> bool {
        matches!(self.status(), Status::Online | Status::Launching) && self.pid().is_some()
    }

    /// The answer to a start.
    pub(super) fn child(&self) -> JsonText {
        match self.record.spec() {
            Ok(spec) => self.view().child(&spec),
            // It was read when it was declared and at every change; it cannot have become unreadable.
            Err(_) => self.view().formatted(None),
        }
    }

    pub(super) fn announce(&self, cx: &mut Step<'_>, event: &str, manually: bool) {
        cx.out.push(Effect::Announce(BusEvent::process(
            cx.now.wall_ms,
            event,
            manually,
            &self.view(),
        )));
    }

    pub(super) fn claim(&mut self, cx: &mut Step<'_>, claim: impl Into<Option<Claim>>) {
        let Some(claim) = claim.into() else {
            return;
        };
        if self.claims.len() < CLAIMS_MAX {
            self.claims.push(claim);
        } else {
            cx.fail(
                claim,
                Failure::TooMany {
                    what: "callers waiting for one process",
                    limit: CLAIMS_MAX,
                },
            );
        }
    }

    /// Begins the next run.
    pub(super) fn spawn(&mut self, cx: &mut Step<'_>) {
        let run = RunId(*cx.next_run);
        *cx.next_run += 1;
        self.record.begin_run(cx.now.wall_ms);
        self.state = State::Spawning { run, then: None };
        cx.log(format!(
            "App [{}:{}] starting in -fork mode-",
            self.name(),
            self.id
        ));
        match self.record.spec() {
            Ok(spec) => {
                let plan = Box::new(SpawnPlan::new(spec, self.view().child_env()));
                cx.out.push(Effect::Spawn {
                    id: self.id,
                    run,
                    plan,
                });
            }
            Err(error) => self.spawn_failed(cx, None, &error.to_string()),
        }
    }

    /// It is up: tell everybody. The event comes while the status still is `launching`, as pm2's does.
    pub(super) fn conclude_start(&mut self, cx: &mut Step<'_>, run: RunId, pid: Pid) {
        self.announce(cx, "online", false);
        self.state = State::Online {
            run,
            pid,
            since: cx.now.mono,
        };
        cx.log(format!("App [{}:{}] online", self.name(), self.id));
        self.settle_up(cx);
    }

    pub(super) fn settle_up(&mut self, cx: &mut Step<'_>) {
        let ups = self.take_claims(|goal| matches!(goal, Goal::Up { .. }));
        if ups
            .iter()
            .any(|claim| claim.goal == Goal::Up { is_new: true })
        {
            self.announce(cx, "start", true);
        }
        for claim in ups {
            match claim.by {
                Claimant::Ticket(ticket) => cx.out.push(Effect::Reply {
                    ticket,
                    result: Ok(self.child()),
                }),
                Claimant::Batch(batch) => cx.concluded.push((batch, Ok(self.child()))),
            }
        }
    }

    /// Those who wait for it to be up wait in vain.
    pub(super) fn fail_up(&mut self, cx: &mut Step<'_>) {
        let failure = Failure::StoppedFirst {
            name: self.name().to_owned(),
            id: self.id,
        };
        self.fail_claims(cx, |goal| matches!(goal, Goal::Up { .. }), &failure);
    }

    pub(super) fn settle_down(&mut self, cx: &mut Step<'_>) {
        for claim in self.take_claims(|goal| goal == Goal::Down) {
            self.answer_formatted(cx, claim);
        }
    }

    /// There is no process, and none follows.
    pub(super) fn spawn_failed(&mut self, cx: &mut Step<'_>, then: Option<Then>, reason: &str) {
        let failure = Failure::NotSpawned {
            name: self.name().to_owned(),
            id: self.id,
            reason: reason.to_owned(),
        };
        // Whoever waits is told, and the daemon notes every failed answer itself.
        if !self
            .claims
            .iter()
            .any(|claim| matches!(claim.goal, Goal::Up { .. }))
        {
            cx.log_error(failure.to_string());
        }
        let is_wanted = matches!(then, None | Some(Then::Start));
        self.state = if is_wanted {
            State::Errored
        } else {
            State::Stopped
        };
        self.announce(cx, "exit", false);
        self.fail_claims(cx, |goal| matches!(goal, Goal::Up { .. }), &failure);
        self.settle_down(cx);
        if then == Some(Then::Forget) {
            self.forget(cx);
        }
    }

    /// Asks it to end.
    pub(super) fn begin_stop(&mut self, cx: &mut Step<'_>, run: RunId, pid: Pid, then: Then) {
        cx.log(format!("Stopping app:{} id:{}", self.name(), self.id));
        let policy = self.stop_policy(cx.config);
        let until = cx.now.mono + policy.kill_after;
        self.state = State::Stopping {
            run,
            pid,
            until,
            is_killed: false,
            has_exited: false,
            then,
        };
        cx.out.push(match policy.by {
            StopBy::Signal(signal) => Effect::Terminate {
                run,
                tree: policy.tree,
                signal,
            },
            StopBy::Message => Effect::TerminateMessage {
                run,
                tree: policy.tree,
            },
        });
    }

    /// Ends patience; returns when it ends for good.
    pub(super) fn kill(&mut self, cx: &mut Step<'_>, run: RunId, pid: Pid) -> Duration {
        let patience = self.stop_policy(cx.config).kill_after;
        cx.log(format!(
            "Process with pid {pid} still alive after {}ms, sending SIGKILL",
            patience.as_millis()
        ));
        cx.out.push(Effect::Kill { run });
        cx.now.mono + patience
    }

    /// It does not even go when killed. The record stays: whoever lives under it must not be forgotten.
    pub(super) fn give_up(&mut self, cx: &mut Step<'_>, run: RunId, pid: Pid, has_exited: bool) {
        let failure = if has_exited {
            self.state = State::Errored;
            Failure::TreeNotKilled {
                name: self.name().to_owned(),
                id: self.id,
            }
        } else {
            self.state = State::Stuck { run, pid };
            Failure::NotKilled(pid)
        };
        if self.claims.is_empty() {
            cx.log_error(failure.to_string());
        }
        self.announce(cx, "exit", false);
        self.fail_claims(cx, |_| true, &failure);
    }

    /// The end of the stop sequence, and what was wanted after it.
    pub(super) fn stopped(&mut self, cx: &mut Step<'_>, pid: Pid, then: Then) {
        let what = if self.rules.tree {
            "process tree killed"
        } else {
            "process killed"
        };
        cx.log(format!("pid={pid} msg={what}"));
        self.state = State::Stopped;
        self.announce(cx, "exit", false);
        self.settle_down(cx);
        match then {
            Then::Rest => {}
            Then::Start if cx.is_killing => {
                self.fail_claims(
                    cx,
                    |goal| matches!(goal, Goal::Up { .. }),
                    &Failure::BeingKilled,
                );
            }
            Then::Start => {
                self.record.counts.restarts += 1;
                self.spawn(cx);
            }
            Then::Forget => self.forget(cx),
        }
    }

    /// The end of the process.
    pub(super) fn forget(&mut self, cx: &mut Step<'_>) {
        self.state = State::Stopped;
        self.announce(cx, "delete", true);
        for claim in self.take_claims(|goal| matches!(goal, Goal::Down | Goal::Gone)) {
            self.answer_formatted(cx, claim);
        }
        debug_assert!(
            self.claims.is_empty(),
            "whoever waited for it to be up was told when the delete came"
        );
        cx.out.push(Effect::Forget { id: self.id });
        cx.is_forgotten = true;
    }

    pub(super) fn write_pid_file(&self, cx: &mut Step<'_>, pid: Pid) {
        self.pid_file(cx, Some(pid));
    }

    pub(super) fn remove_pid_file(&self, cx: &mut Step<'_>) {
        self.pid_file(cx, None);
    }

    fn pid_file(&self, cx: &mut Step<'_>, pid: Option<Pid>) {
        let path = self
            .record
            .declared("pm_pid_path")
            .and_then(|raw| crate::model::as_text(&raw));
        if let Some(path) = path {
            cx.out.push(Effect::PidFile { path, pid });
        }
    }

    fn stop_policy(&self, config: &SupervisorConfig) -> StopPolicy {
        StopPolicy {
            by: if self.rules.stop_by_message || config.kill_by_message {
                StopBy::Message
            } else {
                StopBy::Signal(config.kill_signal)
            },
            kill_after: self.rules.kill_timeout.unwrap_or(config.kill_timeout),
            tree: self.rules.tree,
        }
    }

    /// Takes over changes that a restart brings.
    pub(super) fn adopt(&mut self, spec: ProcessSpec) {
        self.rules = spec.rules;
    }

    fn answer_formatted(&self, cx: &mut Step<'_>, claim: Claim) {
        debug_assert!(
            !matches!(claim.by, Claimant::Batch(_)),
            "a batch waits for up only"
        );
        if let Claimant::Ticket(ticket) = claim.by {
            cx.out.push(Effect::Reply {
                ticket,
                result: Ok(self.view().formatted(None)),
            });
        }
    }

    fn fail_claims(&mut self, cx: &mut Step<'_>, which: impl Fn(Goal) -> bool, failure: &Failure) {
        for claim in self.take_claims(which) {
            cx.fail(claim, failure.clone());
        }
    }

    fn take_claims(&mut self, which: impl Fn(Goal) -> bool) -> Vec<Claim> {
        let (taken, left) = std::mem::take(&mut self.claims)
            .into_iter()
            .partition(|claim| which(claim.goal));
        self.claims = left;
        taken
    }
}
