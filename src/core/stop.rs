//! The acts of ending a process: asking, waiting, killing, giving up.

use std::time::Duration;

use crate::model::{Pid, RunId, StopBy, StopPolicy};

use super::life::{State, Then};
use super::process::{Goal, Process, Role, Step};
use super::{Effect, Failure, SupervisorConfig};

impl Process {
    /// Asks it to end.
    pub(super) fn begin_stop(&mut self, cx: &mut Step<'_>, run: RunId, pid: Pid, then: Then) {
        cx.log(format!(
            "Stopping app:{} id:{}",
            self.name(),
            self.shown_id()
        ));
        self.is_draining = false;
        let until = cx.now.mono + self.stop_policy(cx.config).kill_after;
        self.state = State::Stopping {
            run,
            pid,
            until,
            is_killed: false,
            has_exited: false,
            then,
        };
        self.terminate(cx, run);
    }

    /// Asks it to finish what it is doing. After `patience` at the latest it is asked to end.
    pub(super) fn begin_drain(
        &mut self,
        cx: &mut Step<'_>,
        run: RunId,
        pid: Pid,
        then: Then,
        patience: Duration,
        by_message: bool,
    ) {
        cx.log(format!(
            "Stopping app:{} id:{}",
            self.name(),
            self.shown_id()
        ));
        self.is_draining = true;
        self.state = State::Stopping {
            run,
            pid,
            until: cx.now.mono + patience,
            is_killed: false,
            has_exited: false,
            then,
        };
        let tree = self.rules.tree;
        cx.out.push(if by_message {
            Effect::TerminateMessage { run, tree }
        } else {
            Effect::Await { run, tree }
        });
        if !cx.primary.disconnect(cx.now, run, cx.out) {
            // It has closed its channel already.
            self.end_drain(cx);
        }
    }

    /// The drain is over: it is asked to end.
    pub(super) fn end_drain(&mut self, cx: &mut Step<'_>) {
        let State::Stopping {
            run,
            pid,
            has_exited,
            then,
            ..
        } = self.state
        else {
            return;
        };
        if !std::mem::take(&mut self.is_draining) {
            return;
        }
        let until = cx.now.mono + self.stop_policy(cx.config).kill_after;
        self.state = State::Stopping {
            run,
            pid,
            until,
            is_killed: false,
            has_exited,
            then,
        };
        self.terminate(cx, run);
    }

    /// It has ended before it was asked to; its descendants are asked now.
    pub(super) fn end_drain_of_tree(&mut self, cx: &mut Step<'_>, run: RunId) {
        if std::mem::take(&mut self.is_draining) && self.rules.tree {
            let signal = cx.config.kill_signal;
            cx.out.push(Effect::Terminate {
                run,
                tree: true,
                signal,
            });
        }
    }

    fn terminate(&self, cx: &mut Step<'_>, run: RunId) {
        let policy = self.stop_policy(cx.config);
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

    /// The wish for its end once more, if that is a signal. A message may have been read already, and a second one would be
    /// taken for impatience.
    pub(super) fn termination(&self, config: &SupervisorConfig, run: RunId) -> Option<Effect> {
        let policy = self.stop_policy(config);
        let StopBy::Signal(signal) = policy.by else {
            return None;
        };
        let tree = policy.tree;
        Some(Effect::Terminate { run, tree, signal })
    }

    /// Its id as people see it.
    fn shown_id(&self) -> String {
        match self.role {
            Role::Main | Role::Successor => self.id.to_string(),
            Role::Outgoing => format!("_old_{}", self.id),
        }
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
        self.come_down(cx, then);
    }

    /// It is down, and what was wanted after it follows: at once, or when the other half of its reload is down too.
    pub(super) fn come_down(&mut self, cx: &mut Step<'_>, then: Then) {
        if cx.has_other && (then != Then::Start || self.is_end_waited_for()) {
            self.state = State::Lingering { then };
            return;
        }
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

    /// The other half of its reload is down, or survives everything. Then the record stays, as for one that does so itself.
    pub(super) fn linger_no_more(
        &mut self,
        cx: &mut Step<'_>,
        then: Then,
        survivor: Option<Failure>,
    ) {
        self.state = State::Stopped;
        let Some(failure) = survivor else {
            return self.come_down(cx, then);
        };
        let then = self.fail_end(cx, then, &failure);
        self.come_down(cx, then);
    }

    /// Those who wait for its end wait in vain, and it is not forgotten. What was wanted afterwards otherwise, follows.
    pub(super) fn fail_end(&mut self, cx: &mut Step<'_>, then: Then, failure: &Failure) -> Then {
        self.fail_claims(cx, |goal| matches!(goal, Goal::Down | Goal::Gone), failure);
        match then {
            Then::Start => Then::Start,
            Then::Rest | Then::Forget => Then::Rest,
        }
    }

    /// Why it is still there though everything was done, if it is.
    pub(super) fn survivor(&self) -> Option<Failure> {
        if let State::Stuck { pid, .. } = self.state {
            return Some(Failure::NotKilled(pid));
        }
        (self.state == State::Errored).then(|| Failure::TreeNotKilled {
            name: self.name().to_owned(),
            id: self.id,
        })
    }

    /// Whether somebody is to be told that it is down.
    pub(super) fn is_end_waited_for(&self) -> bool {
        self.claims.iter().any(|claim| claim.goal == Goal::Down)
    }

    pub(super) fn settle_down(&mut self, cx: &mut Step<'_>) {
        for claim in self.take_claims(|goal| goal == Goal::Down) {
            self.answer_formatted(cx, claim);
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
        self.end_schedule(cx);
        cx.out.push(Effect::Forget { id: self.id });
        cx.is_forgotten = true;
    }

    pub(super) fn stop_policy(&self, config: &SupervisorConfig) -> StopPolicy {
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
}
