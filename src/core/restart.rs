//! What follows the end of a run: counting, giving up, delays.

use std::time::Duration;

use crate::model::{Exit, Record};

use super::Effect;
use super::life::State;
use super::process::{Process, Step};

impl Process {
    /// It ended by itself. The order of what follows is pm2's.
    pub(super) fn ended(&mut self, cx: &mut Step<'_>, exit: Exit) {
        let code = exit.recorded_code();
        let policy = &self.rules.restart;
        // Of an unknown end nobody knows that it was one to rest after.
        let is_known = exit != Exit::Unknown;
        let rests = !policy.automatic || (is_known && policy.stop_codes.contains(&code));
        let restarts_max = policy.restarts_max;
        self.state = State::Stopped;
        self.note_exit(cx, exit);
        if self.record.counts.unstable >= restarts_max {
            self.state = State::Errored;
            let script = self
                .record
                .declared("pm_exec_path")
                .and_then(|raw| crate::model::as_text(&raw));
            cx.out.push(Effect::Log {
                text: format!(
                    "Script {} had too many unstable restarts ({}). Stopped. \"errored\"",
                    script.unwrap_or_default(),
                    self.record.counts.unstable
                ),
                is_error: false,
            });
            self.announce(cx, "restart overlimit", false);
            self.record.counts.unstable = 0;
            self.record.counts.created_at_ms = None;
        }
        self.record.counts.exit_code = Some(code);
        self.announce(cx, "exit", false);
        if self.state == State::Errored || rests || cx.is_killing {
            return;
        }
        if let Some(delay) = self.next_delay(cx) {
            // A status is only `waiting restart` while a restart is pending.
            self.state = State::Waiting {
                until: cx.now.mono + delay,
            };
        } else {
            self.record.counts.restarts += 1;
            self.spawn(cx);
        }
    }

    /// It ended because it was asked to. Short runs count all the same, but nobody is given up for obeying.
    pub(super) fn ended_as_asked(&mut self, cx: &mut Step<'_>, exit: Exit) {
        self.note_exit(cx, exit);
        self.record.counts.exit_code = Some(exit.recorded_code());
        self.announce(cx, "exit", false);
    }

    /// A run that lasted: the backoff begins anew.
    pub(super) fn forgive(&mut self, cx: &mut Step<'_>, since: Duration) {
        let reset = cx.config.backoff_reset;
        if self.is_backed_off() && cx.now.mono >= since + reset {
            self.record.counts.previous_delay_ms = Some(0);
            cx.out.push(Effect::Log {
                text: format!(
                    "[PM2][WORKER] Reset the restart delay, as app {} has been up for more than {}ms",
                    self.name(),
                    reset.as_millis()
                ),
                is_error: false,
            });
        }
    }

    /// Whether the next crash would be answered by a longer delay than the first.
    pub(super) fn is_backed_off(&self) -> bool {
        self.record
            .counts
            .previous_delay_ms
            .is_some_and(|delay| delay > 0)
    }

    fn note_exit(&mut self, cx: &mut Step<'_>, exit: Exit) {
        let signal = match exit {
            Exit::Code(_) => "SIGINT".to_owned(),
            Exit::Signal(signal) => signal.name(),
            Exit::Unknown => "unknown".to_owned(),
        };
        let code = exit.recorded_code();
        cx.out.push(Effect::Log {
            // Compat: pm2 names SIGINT where there was no signal (lib/God.js; behaviour 14.3).
            text: format!(
                "App [{}:{}] exited with code [{code}] via signal [{signal}]",
                self.name(),
                self.id
            ),
            is_error: false,
        });
        self.record.axm.actions = None;
        self.record.axm.monitor = None;
        self.remove_pid_file(cx);
        let policy = &self.rules.restart;
        let window_ms = policy
            .min_uptime_ms
            .saturating_mul(u64::from(policy.restarts_max));
        let counts = &mut self.record.counts;
        let now_ms = cx.now.wall_ms;
        // Where the date was set back since, nothing is known of the time before: the run was no unstable one, and the window begins anew.
        if counts.created_at_ms.is_some_and(|created| created > now_ms) {
            counts.created_at_ms = Some(now_ms);
        }
        let age_ms = now_ms - counts.created_at_ms.unwrap_or(0);
        let uptime_ms = now_ms.checked_sub(counts.pm_uptime_ms);
        let is_short = uptime_ms.is_some_and(|uptime_ms| uptime_ms < policy.min_uptime_ms);
        if age_ms < window_ms && is_short {
            counts.unstable += 1;
        }
    }

    fn next_delay(&mut self, cx: &mut Step<'_>) -> Option<Duration> {
        let Some(backoff) = self.rules.restart.backoff else {
            return self.rules.restart.delay;
        };
        let delay_ms = backoff.next_ms(self.record.counts.previous_delay_ms.unwrap_or(0));
        self.record.counts.previous_delay_ms = Some(delay_ms);
        cx.out.push(Effect::Log {
            text: format!(
                "App [{}:{}] will restart in {delay_ms}ms",
                self.name(),
                self.id
            ),
            is_error: false,
        });
        Some(Duration::from_millis(delay_ms))
    }
}

/// What a restart by command forgets: crashes before it say nothing about the new start.
pub(super) fn reset_counts(record: &mut Record, wall_ms: u64) {
    record.counts.created_at_ms = Some(wall_ms);
    record.counts.unstable = 0;
    record.counts.previous_delay_ms = Some(0);
}
