//! When freed heap is given back: not at once, because the next request would pay for every page again, and not much later, because there may be
//! no next request for hours.

use std::time::Duration;

use crate::host::process;

/// How long freed heap is kept.
const KEPT_FOR: Duration = Duration::from_secs(1);

/// Whether there may be freed heap.
#[derive(Debug, Default)]
pub(crate) struct Slack {
    trim_at: Option<Duration>,
}

impl Slack {
    /// Something was done, and what it took is free again or soon will be.
    pub(crate) fn worked(&mut self, now: Duration) {
        self.trim_at.get_or_insert(now + KEPT_FOR);
    }

    /// When to look next.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.trim_at
    }

    /// Gives back what is due.
    pub(crate) fn look(&mut self, now: Duration) {
        if self.trim_at.is_some_and(|at| at <= now) {
            self.trim_at = None;
            process::trim_heap();
        }
    }
}
