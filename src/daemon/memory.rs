//! `max_memory_restart`: looks at the memory of those who have a limit, and only while somebody has one.

use std::time::Duration;

use super::pilot::Pilot;
use crate::core::{Input, Supervisor};
use crate::host::tree::Snapshot;
use crate::host::usage;

/// Time between two looks. One costs a look at the process table; a limit is to be acted on within two seconds.
const INTERVAL: Duration = Duration::from_secs(1);

/// When to look next.
#[derive(Debug, Default)]
pub(crate) struct MemoryWatch {
    next: Option<Duration>,
}

impl MemoryWatch {
    /// When there is something to look at.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.next
    }

    /// Looks from now on, or no longer.
    pub(crate) fn plan(&mut self, now: Duration, supervisor: &Supervisor) {
        if !supervisor.is_memory_limited() {
            self.next = None;
        } else if self.next.is_none() {
            self.next = Some(now + INTERVAL);
        }
    }
}

impl Pilot {
    /// Tells the core what those with a limit use, when it is time.
    pub(super) fn look_at_memory(&mut self, now: Duration) {
        if self.memory.next.is_none_or(|next| now < next) {
            return;
        }
        self.memory.next = Some(now + INTERVAL);
        let Ok(snapshot) = Snapshot::take() else {
            return;
        };
        let measured = self.supervisor.memory_limited();
        self.inputs
            .extend(measured.map(|(run, pid)| Input::Measured {
                run,
                memory_bytes: usage::tree_memory(&snapshot, pid.0),
            }));
    }
}
