//! One process of the list, and the acts its life is made of.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{
    BusEvent, JsonText, Pid, PmId, ProcessSpec, Record, Rules, RunId, Sender, Status, Ticket, View,
};

use super::cluster::{Policy, Primary};
use super::life::{State, Then};
use super::limits::{CLAIMS_MAX, RECORD_BYTES_MAX, WORKER_SILENCE_MAX};
use super::plan::inspector_port;
use super::restart::reset_counts;
use super::schedule::Job;
use super::{Effect, Failure, Now, SpawnMode, SpawnPlan, SupervisorConfig};

/// Node's variable that says how connections are shared.
const SCHEDULING_VAR: &str = "NODE_CLUSTER_SCHED_POLICY";

/// One process of the list.
#[derive(Debug, Serialize, Deserialize)]
pub struct Process {
    pub(super) id: PmId,
    pub(super) state: State,
    pub(super) record: Record,
    /// The part of the record that is looked at on every step.
    pub(super) rules: Rules,
    /// Who waits for it to be up, down or gone.
    pub(super) claims: Vec<Claim>,
    /// `cluster.worker.id` of its present or last run.
    #[serde(default)]
    pub(super) worker: Option<u32>,
    /// What it is in a reload.
    #[serde(default)]
    pub(super) role: Role,
    /// Its present run, or the one it had before.
    #[serde(default)]
    pub(super) last_run: Option<RunId>,
    /// While it is stopping: it has been told to finish, and not yet to end.
    #[serde(default)]
    pub(super) is_draining: bool,
    /// When `cron_restart` comes next.
    #[serde(default)]
    pub(super) job: Option<Job>,
}

/// What a process is in a reload. Two have the same id then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Role {
    /// The one that is listed.
    #[default]
    Main,
    /// It is to take over.
    Successor,
    /// It has been taken over from.
    Outgoing,
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
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and none follows from another"
)]
pub(super) struct Step<'s> {
    pub(super) now: Now,
    pub(super) config: &'s SupervisorConfig,
    /// The daemon is ending: nothing is started.
    pub(super) is_killing: bool,
    pub(super) next_run: &'s mut u64,
    pub(super) primary: &'s mut Primary,
    /// Others of the same application in cluster mode are up. Only said when it matters.
    pub(super) has_siblings: bool,
    /// The other half of its reload has not ended.
    pub(super) has_other: bool,
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

    pub(super) fn log(&mut self, text: String) {
        self.out.push(Effect::Log {
            text,
            is_error: false,
        });
    }

    pub(super) fn log_error(&mut self, text: String) {
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
            worker: None,
            role: Role::Main,
            last_run: None,
            is_draining: false,
            job: None,
        }
    }

    /// One that is to take over from this one.
    pub(super) fn successor(&self) -> Self {
        let mut successor = Self::new(self.id, self.record.clone(), self.rules.clone());
        successor.role = Role::Successor;
        successor
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
            is_worker: self.rules.is_cluster,
        }
    }

    /// What is shown of it.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View {
            id: self.id,
            status: self.status(),
            pid: self.pid(),
            worker: self.worker,
            is_outgoing: self.role == Role::Outgoing,
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
        let mode = if self.rules.is_cluster {
            "cluster"
        } else {
            "fork"
        };
        cx.log(format!(
            "App [{}:{}] starting in -{mode} mode-",
            self.name(),
            self.id
        ));
        self.worker = None;
        self.last_run = Some(run);
        match self.record.spec() {
            Ok(spec) => {
                let env = self.view().child_env();
                let mode = self.enroll(cx, run, &spec, &env);
                let plan = Box::new(SpawnPlan::new(spec, env, mode));
                cx.out.push(Effect::Spawn {
                    id: self.id,
                    run,
                    plan,
                });
            }
            Err(error) => self.spawn_failed(cx, None, &error.to_string()),
        }
    }

    /// Has the primary expect this run, in cluster mode.
    fn enroll(
        &mut self,
        cx: &mut Step<'_>,
        run: RunId,
        spec: &ProcessSpec,
        env: &[(String, String)],
    ) -> SpawnMode {
        if !self.rules.is_cluster {
            return SpawnMode::Fork;
        }
        let policy = env.iter().find(|(name, _)| name == SCHEDULING_VAR);
        let policy = policy.map(|(_, value)| value.as_str());
        let policy = Policy::of(policy, self.rules.is_sticky);
        let has_inspector = inspector_port(&spec.interpreter_args).is_some();
        let scope = self.record.name().to_owned();
        let enrolled = cx
            .primary
            .enroll(cx.now, run, self.id, &scope, policy, has_inspector);
        self.worker = Some(enrolled.number);
        SpawnMode::Cluster {
            worker: enrolled.number,
            inspector_port: inspector_port(&spec.interpreter_args)
                .map(|port| port.saturating_add(enrolled.inspector)),
        }
    }

    /// Whether it is online.
    pub(super) fn is_up(&self) -> bool {
        self.status() == Status::Online
    }

    /// How long it may be launching before it counts as online; nothing for one that is online at once.
    pub(super) fn launch_patience(&self, config: &SupervisorConfig) -> Option<Duration> {
        if self.rules.wait_ready {
            Some(self.rules.listen_timeout.unwrap_or(config.listen_timeout))
        } else {
            self.rules.is_cluster.then_some(WORKER_SILENCE_MAX)
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
        match then {
            Some(then @ (Then::Rest | Then::Forget)) => self.come_down(cx, then),
            // Whoever wanted it down before it was wanted up may have to wait, and this failure has been told by then.
            None | Some(Then::Start) if cx.has_other && self.is_end_waited_for() => {
                self.state = State::Lingering { then: Then::Rest };
            }
            None | Some(Then::Start) => self.settle_down(cx),
        }
    }

    pub(super) fn write_pid_file(&self, cx: &mut Step<'_>, pid: Pid) {
        self.pid_file(cx, Some(pid));
    }

    /// Has the pid file say what is the case.
    pub(super) fn pid_file_effect(&self) -> Option<Effect> {
        let path = self.record.declared("pm_pid_path")?;
        let path = crate::model::as_text(&path)?;
        let pid = self.pid();
        Some(Effect::PidFile { path, pid })
    }

    pub(super) fn remove_pid_file(&self, cx: &mut Step<'_>) {
        self.pid_file(cx, None);
    }

    fn pid_file(&self, cx: &mut Step<'_>, pid: Option<Pid>) {
        if self.role != Role::Main {
            // The file names the one that is listed.
            return;
        }
        let path = self
            .record
            .declared("pm_pid_path")
            .and_then(|raw| crate::model::as_text(&raw));
        if let Some(path) = path {
            cx.out.push(Effect::PidFile { path, pid });
        }
    }

    /// Takes over what a restart brings, and forgets what it makes forgotten.
    pub(super) fn change(&mut self, now: Now, env: Option<&JsonText>) -> Result<(), Failure> {
        if let Some(env) = env.filter(|env| env.as_str() != "null") {
            if self.record.size() + env.as_str().len() > RECORD_BYTES_MAX {
                return Err(Failure::TooMany {
                    what: "bytes of one declaration",
                    limit: RECORD_BYTES_MAX,
                });
            }
            self.rules = self.record.merge(self.id, env.as_str())?.rules;
        }
        reset_counts(&mut self.record, now.wall_ms);
        Ok(())
    }

    pub(super) fn answer_formatted(&self, cx: &mut Step<'_>, claim: Claim) {
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

    pub(super) fn fail_claims(
        &mut self,
        cx: &mut Step<'_>,
        which: impl Fn(Goal) -> bool,
        failure: &Failure,
    ) {
        for claim in self.take_claims(which) {
            cx.fail(claim, failure.clone());
        }
    }

    pub(super) fn take_claims(&mut self, which: impl Fn(Goal) -> bool) -> Vec<Claim> {
        let (taken, left) = std::mem::take(&mut self.claims)
            .into_iter()
            .partition(|claim| which(claim.goal));
        self.claims = left;
        taken
    }
}
