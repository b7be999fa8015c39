//! `max_memory_restart`: looks at the memory of those who have a limit, and only while somebody has one.

use std::time::{Duration, Instant};

use super::pilot::Pilot;
use crate::core::{Input, Supervisor};
use crate::host::families::Families;

/// Time between two looks. A limit is to be acted on within two seconds, and memory can be filled in no time at all: so there is no
/// one who needs not be looked at for longer, however little it uses.
const INTERVAL: Duration = Duration::from_secs(1);

/// Within this a limit that was passed is acted on: by the look after the one that just missed it, with as much again for the looking.
const ACTED_ON: Duration = Duration::from_secs(2);
const _: () = assert!(INTERVAL.as_millis() * 2 <= ACTED_ON.as_millis());

/// When to look next, and what there was to see.
#[derive(Debug, Default)]
pub(crate) struct MemoryWatch {
    next: Option<Duration>,
    families: Families,
}

impl MemoryWatch {
    /// When there is something to look at.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.next
    }

    /// Looks from now on, or no longer.
    pub(crate) fn plan(&mut self, now: Duration, supervisor: &Supervisor) {
        if !supervisor.is_memory_limited() {
            if self.next.take().is_some() {
                self.families = Families::default();
            }
        } else if self.next.is_none() {
            self.next = Some(now + INTERVAL);
        }
    }
}

impl Pilot {
    /// Tells the core of those who use more than their limit, when it is time to look.
    pub(super) fn look_at_memory(&mut self, now: Duration) {
        if self.memory.next.is_none_or(|next| now < next) {
            return;
        }
        self.memory.next = Some(now + INTERVAL);
        let limited: Vec<_> = self.supervisor.memory_limited().collect();
        let pids: Vec<i32> = limited.iter().map(|limited| limited.pid.0).collect();
        let bytes = self.memory.families.memory(&pids, Instant::now());
        for (limited, memory_bytes) in limited.iter().zip(bytes) {
            let run = limited.run;
            if memory_bytes > limited.bytes_max {
                self.inputs.push_back(Input::Measured { run, memory_bytes });
            }
        }
    }
}
