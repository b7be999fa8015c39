//! One process's life: where it is, what can happen there, what follows.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Exit, Pid, RunId, Status};

use super::Failure;
use super::limits::LINGER_MAX;
use super::process::{Claim, Process, Step};

/// Where a process is in its life. Whatever a state must remember lives inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Nothing runs and nothing is going to by itself.
    Stopped,
    /// A run was asked for and nobody knows yet what became of it. `then` keeps what came meanwhile.
    Spawning {
        /// Which run.
        run: RunId,
        /// Set when it is to be ended as soon as it is there.
        then: Option<Then>,
    },
    /// It runs and has not said `ready`.
    Launching {
        /// Which run.
        run: RunId,
        /// Its process.
        pid: Pid,
        /// When it counts as ready all the same.
        ready_by: Duration,
    },
    /// It runs.
    Online {
        /// Which run.
        run: RunId,
        /// Its process.
        pid: Pid,
        /// Since when.
        since: Duration,
    },
    /// It was asked to end.
    Stopping {
        /// Which run.
        run: RunId,
        /// Its process; gone when `has_exited`.
        pid: Pid,
        /// When patience ends.
        until: Duration,
        /// Whether patience ended once already, and it was killed.
        is_killed: bool,
        /// Whether only descendants are left.
        has_exited: bool,
        /// What comes afterwards.
        then: Then,
    },
    /// It has ended, and the other half of its reload has not. Whoever waits for its end waits for both.
    Lingering {
        /// What comes afterwards.
        then: Then,
    },
    /// It ended by itself and is started again later.
    Waiting {
        /// When.
        until: Duration,
    },
    /// Given up, and nothing runs.
    Errored,
    /// Given up, and it cannot even be killed.
    Stuck {
        /// Which run.
        run: RunId,
        /// Its process.
        pid: Pid,
    },
}

/// What comes after a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Then {
    /// Nothing.
    Rest,
    /// The next run.
    Start,
    /// The end of the process.
    Forget,
}

/// What can happen to a process.
#[derive(Debug)]
pub(super) enum Event {
    /// Somebody wants it up.
    Start(Claim),
    /// Somebody wants it down.
    Stop(Option<Claim>),
    /// Somebody wants it up anew.
    Restart(Claim),
    /// Somebody wants it gone.
    Delete(Claim),
    /// Its run has a process.
    Spawned(Pid),
    /// Its run never had one.
    SpawnFailed(String),
    /// It said `ready`, or as a worker that it is there.
    Ready,
    /// While it is drained: it wants the signal now.
    Finished,
    /// While it is drained: it has nothing left to finish, and is about to end by itself, unless something else keeps it.
    Silent,
    /// Its process ended.
    Exited(Exit),
    /// After that: nothing lives of what was signalled with it.
    Drained,
    /// The other half of its reload has ended, or cannot be ended, because of this.
    Alone(Option<Failure>),
    /// Time passed.
    Timeout,
}

impl State {
    /// pm2's word.
    pub(super) fn status(self) -> Status {
        match self {
            Self::Stopped => Status::Stopped,
            Self::Spawning { .. } | Self::Launching { .. } => Status::Launching,
            Self::Online { .. } => Status::Online,
            Self::Stopping { .. } | Self::Lingering { .. } => Status::Stopping,
            Self::Waiting { .. } => Status::WaitingRestart,
            Self::Errored | Self::Stuck { .. } => Status::Errored,
        }
    }

    /// The process that lives, if one does.
    pub(super) fn pid(self) -> Option<Pid> {
        match self {
            Self::Launching { pid, .. }
            | Self::Online { pid, .. }
            | Self::Stopping {
                pid,
                has_exited: false,
                ..
            }
            | Self::Stuck { pid, .. } => Some(pid),
            Self::Stopped
            | Self::Spawning { .. }
            | Self::Stopping { .. }
            | Self::Lingering { .. }
            | Self::Waiting { .. }
            | Self::Errored => None,
        }
    }

    /// The run whose reports concern it.
    pub(super) fn run(self) -> Option<RunId> {
        match self {
            Self::Spawning { run, .. }
            | Self::Launching { run, .. }
            | Self::Online { run, .. }
            | Self::Stopping { run, .. }
            | Self::Stuck { run, .. } => Some(run),
            Self::Stopped | Self::Lingering { .. } | Self::Waiting { .. } | Self::Errored => None,
        }
    }
}

impl Process {
    /// Takes one step. Every pair of state and event is here; where two say the same they stand together.
    #[expect(clippy::too_many_lines, reason = "one table, read as one")]
    pub(super) fn step(&mut self, cx: &mut Step<'_>, event: Event) {
        use Event as E;
        use State as S;
        match (self.state, event) {
            // Up. A restart of what is down is a start. What is up or on its way refuses a start, in pm2's words.
            (S::Stopped | S::Errored | S::Waiting { .. }, E::Start(claim) | E::Restart(claim)) => {
                self.claim(cx, claim);
                self.spawn(cx);
            }
            (S::Spawning { .. } | S::Launching { .. }, E::Start(claim)) => cx.fail(claim, Failure::AlreadyStarted),
            (S::Online { .. }, E::Start(claim)) => cx.fail(claim, Failure::AlreadyOnline),
            (S::Stopping { pid, .. } | S::Stuck { pid, .. }, E::Start(claim)) => {
                cx.fail(claim, Failure::PidExists(pid));
            }
            (S::Lingering { then: Then::Forget }, E::Start(claim)) => {
                cx.fail(claim, Failure::IdUnknown(self.id.into()));
            }

            // Down. Whoever waits for it to come up is told at once; a wish to forget it outlives a stop.
            (S::Stopped | S::Errored | S::Waiting { .. }, E::Stop(claim)) => {
                self.claim(cx, claim);
                self.state = S::Stopped;
                self.come_down(cx, Then::Rest);
            }
            (S::Spawning { run, then }, E::Stop(claim)) => {
                self.fail_up(cx);
                self.claim(cx, claim);
                let then = if then == Some(Then::Forget) { Then::Forget } else { Then::Rest };
                self.state = S::Spawning { run, then: Some(then) };
            }
            (S::Launching { run, pid, .. } | S::Online { run, pid, .. } | S::Stuck { run, pid }, E::Stop(claim)) => {
                self.fail_up(cx);
                self.claim(cx, claim);
                self.begin_stop(cx, run, pid, Then::Rest);
            }
            (S::Stopping { run, pid, until, is_killed, has_exited, then }, E::Stop(claim)) => {
                self.fail_up(cx);
                self.claim(cx, claim);
                let then = if then == Then::Forget { Then::Forget } else { Then::Rest };
                self.state = S::Stopping { run, pid, until, is_killed, has_exited, then };
            }
            (S::Lingering { then }, E::Stop(claim)) => {
                self.fail_up(cx);
                self.claim(cx, claim);
                let then = if then == Then::Forget { Then::Forget } else { Then::Rest };
                self.state = S::Lingering { then };
            }

            // Up anew. What is being deleted is as good as gone. What waits to come up goes on waiting.
            (
                S::Spawning { then: Some(Then::Forget), .. }
                | S::Stopping { then: Then::Forget, .. }
                | S::Lingering { then: Then::Forget },
                E::Restart(claim),
            ) => cx.fail(claim, Failure::IdUnknownToRestart),
            (S::Spawning { run, .. }, E::Restart(claim)) => {
                self.claim(cx, claim);
                self.state = S::Spawning { run, then: Some(Then::Start) };
            }
            (S::Launching { run, pid, .. } | S::Online { run, pid, .. } | S::Stuck { run, pid }, E::Restart(claim)) => {
                self.claim(cx, claim);
                self.begin_stop(cx, run, pid, Then::Start);
            }
            (S::Stopping { run, pid, until, is_killed, has_exited, .. }, E::Restart(claim)) => {
                self.claim(cx, claim);
                self.state = S::Stopping { run, pid, until, is_killed, has_exited, then: Then::Start };
            }
            (S::Lingering { .. }, E::Start(claim) | E::Restart(claim)) => {
                self.claim(cx, claim);
                self.state = S::Lingering { then: Then::Start };
            }

            // Gone.
            (S::Stopped | S::Errored | S::Waiting { .. }, E::Delete(claim)) => {
                self.claim(cx, claim);
                self.come_down(cx, Then::Forget);
            }
            (S::Spawning { run, .. }, E::Delete(claim)) => {
                self.fail_up(cx);
                self.claim(cx, claim);
                self.state = S::Spawning { run, then: Some(Then::Forget) };
            }
            (S::Launching { run, pid, .. } | S::Online { run, pid, .. } | S::Stuck { run, pid }, E::Delete(claim)) => {
                self.fail_up(cx);
                self.claim(cx, claim);
                if cx.has_siblings && self.is_up() {
                    // Whoever is connected to it is served to the end; the others take over.
                    let patience = self.stop_policy(cx.config).kill_after;
                    self.begin_drain(cx, run, pid, Then::Forget, patience, false);
                } else {
                    self.begin_stop(cx, run, pid, Then::Forget);
                }
            }
            (S::Stopping { run, pid, until, is_killed, has_exited, .. }, E::Delete(claim)) => {
                self.fail_up(cx);
                self.claim(cx, claim);
                self.state = S::Stopping { run, pid, until, is_killed, has_exited, then: Then::Forget };
            }
            (S::Lingering { .. }, E::Delete(claim)) => {
                self.fail_up(cx);
                self.claim(cx, claim);
                self.state = S::Lingering { then: Then::Forget };
            }

            // What became of a spawn. A stop that came meanwhile was kept, and is done now.
            (S::Spawning { run, then: None }, E::Spawned(pid)) => {
                self.write_pid_file(cx, pid);
                if let Some(patience) = self.launch_patience(cx.config) {
                    self.state = S::Launching { run, pid, ready_by: cx.now.mono + patience };
                } else {
                    self.conclude_start(cx, run, pid);
                }
            }
            (S::Spawning { run, then: Some(then) }, E::Spawned(pid)) => {
                self.write_pid_file(cx, pid);
                self.begin_stop(cx, run, pid, then);
            }
            (S::Spawning { then, .. }, E::SpawnFailed(reason)) => self.spawn_failed(cx, then, &reason),

            // Ready, by word or because the time for it is over.
            (S::Launching { run, pid, .. }, E::Ready) => self.conclude_start(cx, run, pid),
            (S::Launching { run, pid, ready_by }, E::Timeout) => {
                if cx.now.mono >= ready_by {
                    self.conclude_start(cx, run, pid);
                }
            }

            // The end of a run.
            (S::Launching { run, pid, .. }, E::Exited(exit)) => {
                // The start is concluded first, as if it had been ready: callers are answered, then the exit handled.
                self.conclude_start(cx, run, pid);
                self.ended(cx, exit);
            }
            (S::Online { .. }, E::Exited(exit)) => self.ended(cx, exit),
            (S::Stopping { run, pid, until, is_killed, has_exited: false, then }, E::Exited(exit)) => {
                self.ended_as_asked(cx, exit);
                self.end_drain_of_tree(cx, run);
                self.state = S::Stopping { run, pid, until, is_killed, has_exited: true, then };
            }
            (S::Stopping { pid, has_exited: true, then, .. }, E::Drained) => self.stopped(cx, pid, then),
            (S::Lingering { then }, E::Alone(survivor)) => self.linger_no_more(cx, then, survivor),
            (S::Spawning { run, then: Some(then) }, E::Alone(Some(failure))) => {
                let then = self.fail_end(cx, then, &failure);
                self.state = S::Spawning { run, then: Some(then) };
            }
            (S::Stopping { run, pid, until, is_killed, has_exited, then }, E::Alone(Some(failure))) => {
                let then = self.fail_end(cx, then, &failure);
                self.state = S::Stopping { run, pid, until, is_killed, has_exited, then };
            }
            (S::Stuck { .. }, E::Exited(exit)) => {
                self.state = S::Errored;
                self.ended_as_asked(cx, exit);
            }

            // It was drained. Now it gets what it would have got at once.
            (S::Stopping { has_exited: false, .. }, E::Finished) => self.end_drain(cx),
            (S::Stopping { run, pid, until, is_killed, has_exited: false, then }, E::Silent) => {
                if self.is_draining {
                    let until = until.min(cx.now.mono + LINGER_MAX);
                    self.state = S::Stopping { run, pid, until, is_killed, has_exited: false, then };
                }
            }

            // Time.
            (S::Stopping { run, pid, until, is_killed, has_exited, then }, E::Timeout) => {
                if cx.now.mono >= until {
                    if self.is_draining {
                        self.end_drain(cx);
                    } else if is_killed {
                        self.give_up(cx, run, pid, has_exited);
                    } else {
                        let until = self.kill(cx, run, pid);
                        self.state = S::Stopping { run, pid, until, is_killed: true, has_exited, then };
                    }
                }
            }
            (S::Waiting { until }, E::Timeout) => {
                if cx.is_killing {
                    self.state = S::Stopped;
                } else if cx.now.mono >= until {
                    self.record.counts.restarts += 1;
                    self.spawn(cx);
                }
            }
            (S::Online { since, .. }, E::Timeout) => self.forgive(cx, since),

            // A wake-up in vain.
            (S::Stopped | S::Spawning { .. } | S::Lingering { .. } | S::Errored | S::Stuck { .. }, E::Timeout)
            // An application may say `ready` whenever it likes.
            | (S::Stopped | S::Spawning { .. } | S::Online { .. } | S::Stopping { .. } | S::Lingering { .. } | S::Waiting { .. }
                | S::Errored | S::Stuck { .. }, E::Ready)
            | (S::Stopped | S::Spawning { .. } | S::Launching { .. } | S::Online { .. } | S::Stopping { has_exited: true, .. }
                | S::Lingering { .. } | S::Waiting { .. } | S::Errored | S::Stuck { .. }, E::Finished | E::Silent)
            // Of a run that ended by itself, nobody waits for what it left behind.
            | (S::Stopped | S::Spawning { .. } | S::Launching { .. } | S::Online { .. } | S::Stopping { .. }
                | S::Lingering { .. } | S::Waiting { .. } | S::Errored | S::Stuck { .. }, E::Drained)
            // The end of the other half is of interest to nobody who does not wait for it.
            | (S::Stopped | S::Spawning { .. } | S::Launching { .. } | S::Online { .. } | S::Stopping { .. }
                | S::Waiting { .. } | S::Errored | S::Stuck { .. }, E::Alone(_))
            // Reports the daemon promises not to make (see `Input`). Nothing follows from them.
            | (S::Stopped | S::Launching { .. } | S::Online { .. } | S::Stopping { .. } | S::Lingering { .. } | S::Waiting { .. }
                | S::Errored | S::Stuck { .. }, E::Spawned(_) | E::SpawnFailed(_))
            | (S::Stopped | S::Spawning { .. } | S::Stopping { .. } | S::Lingering { .. } | S::Waiting { .. } | S::Errored,
                E::Exited(_)) => {}
        }
    }

    /// When to call `step` with `Timeout`.
    pub(super) fn deadline(&self, backoff_reset: Duration) -> Option<Duration> {
        match self.state {
            State::Launching { ready_by: at, .. }
            | State::Stopping { until: at, .. }
            | State::Waiting { until: at } => Some(at),
            State::Online { since, .. } => self.is_backed_off().then(|| since + backoff_reset),
            State::Stopped
            | State::Spawning { .. }
            | State::Lingering { .. }
            | State::Errored
            | State::Stuck { .. } => None,
        }
    }
}
