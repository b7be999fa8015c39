//! What starts a process anew without a caller: its schedule, its memory, its files.
//!
//! Each is a call of the core to itself under [`Ticket::OWN`], so it means exactly what the same call of a client means.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Measured, Pid, PmId, RunId, Status, Ticket};

use super::life::State;
use super::process::{Process, Step};
use super::{Call, Effect, Now, Supervisor};

/// The first moment after one (both in ms since 1970) that a cron pattern names, or why it is no pattern. `None`: never again.
pub type NextTick = fn(&str, u64) -> Result<Option<u64>, String>;

/// How long a schedule waits at most before it looks at the date again. Dates jump (somebody sets the clock, the machine
/// sleeps); the clock that wakes us does not.
const LOOK_MAX: Duration = Duration::from_mins(1);

/// A tick is not repeated when the clock is set back by less than this.
const SET_BACK_MS: u64 = 120_000;

/// When a pattern comes next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Job {
    pattern: Box<str>,
    /// The date it is due at; `None`: never again.
    due_ms: Option<u64>,
    /// The tick before.
    last_ms: u64,
    /// When to look at the date, on the monotonic clock.
    look_at: Duration,
}

impl Job {
    fn new(now: Now, pattern: &str, next: NextTick, last_ms: u64) -> Result<Self, String> {
        let is_repeat = last_ms > now.wall_ms && last_ms - now.wall_ms < SET_BACK_MS;
        let after = if is_repeat { last_ms } else { now.wall_ms };
        let due_ms = next(pattern, after)?;
        let wait = due_ms.map_or(LOOK_MAX, |due| {
            Duration::from_millis(due.saturating_sub(now.wall_ms))
        });
        Ok(Self {
            pattern: pattern.into(),
            due_ms,
            last_ms,
            look_at: now.mono + wait.min(LOOK_MAX),
        })
    }
}

impl Process {
    /// Has the job that its rules ask for, once it has been started; a changed pattern counts at once.
    pub(super) fn look_at_schedule(&mut self, cx: &mut Step<'_>) {
        let has = self.job.as_ref().map(|job| &job.pattern);
        if has == self.rules.cron.as_ref() || (has.is_none() && self.state == State::Stopped) {
            return;
        }
        self.end_schedule(cx);
        if !cx.is_forgotten {
            cx.out
                .extend(self.set_schedule(cx.now, cx.config.next_tick));
        }
    }

    /// The schedule that the rules ask for, from now on.
    fn set_schedule(&mut self, now: Now, next: NextTick) -> Option<Effect> {
        self.job = None;
        let pattern = self.rules.cron.as_ref()?;
        match Job::new(now, pattern, next, 0) {
            Ok(job) => {
                self.job = Some(job);
                Some(log(format!(
                    "[PM2][WORKER] Registering a cron job on: {}",
                    self.id
                )))
            }
            Err(reason) => {
                // Not tried again until somebody changes it.
                self.rules.cron = None;
                let text = format!(
                    "App [{}:{}] has no schedule: {reason}",
                    self.name(),
                    self.id
                );
                let is_error = true;
                Some(Effect::Log { text, is_error })
            }
        }
    }

    pub(super) fn end_schedule(&mut self, cx: &mut Step<'_>) {
        if self.job.take().is_some() {
            let text = format!("[PM2] Deregistering a cron job on: {}", self.id);
            cx.out.push(log(text));
        }
    }
}

/// A run that is not to use more than so much memory.
#[derive(Clone, Copy, Debug)]
pub struct Limited {
    /// The run.
    pub run: RunId,
    /// Its process.
    pub pid: Pid,
    /// What it may use. Above it, the core wants to hear of it.
    pub bytes_max: u64,
}

impl Supervisor {
    /// The runs whose memory is to be looked at once in a while.
    pub fn memory_limited(&self) -> impl Iterator<Item = Limited> {
        self.fleet.iter().filter_map(|process| {
            let bytes_max = process.rules.memory_max?;
            match process.view().measured() {
                // Compat: whoever names another process to measure is not restarted for its memory (lib/Worker.js).
                Measured::Pid(pid) if process.pid() == Some(pid) => Some(Limited {
                    run: process.run()?,
                    pid,
                    bytes_max,
                }),
                Measured::Pid(_) | Measured::Nothing => None,
            }
        })
    }

    /// Whether there is anything for `memory_limited` to name.
    #[must_use]
    pub fn is_memory_limited(&self) -> bool {
        self.fleet
            .iter()
            .any(|process| process.rules.memory_max.is_some() && process.status() == Status::Online)
    }

    pub(super) fn measured(&mut self, now: Now, run: RunId, bytes: u64, out: &mut Vec<Effect>) {
        let Some(process) = self.of_run(run) else {
            return;
        };
        let Some(max) = process.rules.memory_max else {
            return;
        };
        if process.status() != Status::Online || bytes <= max || self.rest.is_killing {
            return;
        }
        let id = process.id;
        out.push(log(format!(
            "[PM2][WORKER] Process {id} restarted because it exceeds --max-memory-restart value (current_memory={bytes} max_memory_limit={max} [octets])"
        )));
        let (id, env) = (id.into(), None);
        self.call(now, Ticket::OWN, Call::Reload { id, env }, out);
    }

    /// Restarts everything of the name, as one change does for pm2. What is on its way anyway is left alone.
    pub(super) fn changed(&mut self, now: Now, id: PmId, path: &str, out: &mut Vec<Effect>) {
        let Some(process) = self.get(id).filter(|process| process.is_watching()) else {
            return;
        };
        if self.rest.is_killing {
            return;
        }
        let name = process.name().to_owned();
        let meant: Vec<PmId> = self
            .fleet
            .named(&name)
            .filter(|process| match process.status() {
                Status::Online => true,
                Status::Stopped | Status::Errored | Status::WaitingRestart => process.is_watching(),
                Status::Launching | Status::Stopping | Status::OneLaunch => false,
            })
            .map(Process::id)
            .collect();
        // Several instances watch the same files; what they wait for is one restart.
        if meant.is_empty() {
            return;
        }
        out.push(log(format!(
            "Change detected on path {path} for app {name} - restarting"
        )));
        for id in meant {
            let (id, env) = (id.into(), None);
            self.call(now, Ticket::OWN, Call::Restart { id, env }, out);
        }
    }

    /// Restarts what is due by its schedule. What was stopped is started.
    pub(super) fn tick(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.rest.is_killing {
            return;
        }
        let next = self.config.next_tick;
        let mut due = Vec::new();
        let is_due = |process: &&Process| {
            let job = process.job.as_ref();
            job.is_some_and(|job| job.look_at <= now.mono)
        };
        // Nobody else is touched: whoever is counts as changed, and is written out anew.
        let looked_at: Vec<PmId> = self.fleet.iter().filter(is_due).map(Process::id).collect();
        for id in looked_at {
            let Some(process) = self.fleet.get_mut(id) else {
                continue;
            };
            let Some(job) = process.job.as_ref() else {
                continue;
            };
            let ticks = job.due_ms.filter(|due| *due <= now.wall_ms);
            due.extend(ticks.map(|_| id));
            // It was read before, so it can be read again.
            let last_ms = ticks.unwrap_or(job.last_ms);
            if let Ok(job) = Job::new(now, &job.pattern, next, last_ms) {
                process.job = Some(job);
            }
        }
        for id in due {
            let (id, env) = (id.into(), None);
            self.call(now, Ticket::OWN, Call::Restart { id, env }, out);
        }
    }

    pub(super) fn tick_deadline(&self) -> Option<Duration> {
        if self.rest.is_killing {
            return None;
        }
        let jobs = self.fleet.iter().filter_map(|process| process.job.as_ref());
        jobs.map(|job| job.look_at).min()
    }

    /// For a new process that is not started now: it is by its schedule.
    pub(super) fn schedule(&mut self, now: Now, id: PmId, out: &mut Vec<Effect>) {
        let next = self.config.next_tick;
        if let Some(process) = self.fleet.get_mut(id) {
            out.extend(process.set_schedule(now, next));
        }
    }
}

impl Process {
    /// Whether changes of files are to restart it.
    pub(super) fn is_watching(&self) -> bool {
        self.rules.watch
    }

    /// Its latest run, if files are to be watched: since then its declaration has not changed. What never ran is not watched.
    #[must_use]
    pub fn watched_run(&self) -> Option<RunId> {
        self.last_run.or(self.run()).filter(|_| self.rules.watch)
    }
}

/// Takes out answers to what the core asked of itself. Why something could not be done belongs in the log.
pub(super) fn answer_ourselves(out: &mut Vec<Effect>) {
    let own =
        |effect: &Effect| matches!(effect, Effect::Reply { ticket, .. } if *ticket == Ticket::OWN);
    if !out.iter().any(own) {
        return;
    }
    for effect in std::mem::take(out) {
        if !own(&effect) {
            out.push(effect);
        } else if let Effect::Reply {
            result: Err(failure),
            ..
        } = effect
        {
            let (text, is_error) = (failure.to_string(), true);
            out.push(Effect::Log { text, is_error });
        }
    }
}

fn log(text: String) -> Effect {
    let is_error = false;
    Effect::Log { text, is_error }
}
