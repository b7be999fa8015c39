//! What is to happen when a process ends, and how it is made to end.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Signal;

/// When a process that ended by itself is started again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RestartPolicy {
    /// `autorestart`: whether it is started again at all.
    pub automatic: bool,
    /// `stop_exit_codes`: codes after which it rests.
    pub stop_codes: Vec<i32>,
    /// `min_uptime`: a run shorter than this is unstable.
    pub min_uptime_ms: u64,
    /// `max_restarts`: so many unstable runs, and it is given up.
    pub restarts_max: u32,
    /// `restart_delay`: wait as long before starting again.
    pub delay: Option<Duration>,
    /// `exp_backoff_restart_delay`: wait longer each time instead.
    pub backoff: Option<Backoff>,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            automatic: true,
            stop_codes: Vec::new(),
            min_uptime_ms: 1000,
            restarts_max: 16,
            delay: None,
            backoff: None,
        }
    }
}

/// A delay that grows by half each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// The first delay.
    pub first_ms: u64,
}

impl Backoff {
    /// No delay grows past this.
    pub const MAX_MS: u64 = 15_000;

    /// The delay after one of `previous` (0: none yet).
    #[must_use]
    pub fn next_ms(self, previous: u64) -> u64 {
        if previous == 0 {
            self.first_ms
        } else {
            (previous.saturating_mul(3) / 2).min(Self::MAX_MS)
        }
    }
}

/// How a process is made to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopPolicy {
    /// What asks it first.
    pub by: StopBy,
    /// `kill_timeout`: after this it is killed; and after as long again, given up.
    pub kill_after: Duration,
    /// `treekill`: whether its descendants go with it.
    pub tree: bool,
}

/// The request to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopBy {
    /// This signal.
    Signal(Signal),
    /// The string `shutdown` on its IPC channel.
    Message,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backoff_grows_by_half_up_to_fifteen_seconds() {
        let backoff = Backoff { first_ms: 100 };
        let mut delays = vec![backoff.next_ms(0)];
        for _ in 0..7 {
            delays.push(backoff.next_ms(delays[delays.len() - 1]));
        }
        assert_eq!(delays, [100, 150, 225, 337, 505, 757, 1135, 1702]);
        assert_eq!(backoff.next_ms(14_000), Backoff::MAX_MS);
    }
}
