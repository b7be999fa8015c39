//! Memory and processor use of processes, as pm2 shows them.

use super::proc_stat::{Proc, page_bytes};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::{Duration, Instant};

/// Two looks closer than this give the same answer: clock ticks of 10 ms say nothing about shorter spans.
pub const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// What one process uses.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ProcUsage {
    /// Percent of one core, one decimal, since the look before; at the first look, since its start.
    pub cpu_percent: f64,
    /// Resident memory.
    pub memory_bytes: u64,
}

/// Remembers the previous look at each process.
#[derive(Debug)]
pub struct Sampler {
    previous: HashMap<i32, Sample>,
    /// Kept open: a list of hundreds of processes is sampled in one go.
    proc: Option<Proc>,
    ticks_per_second: f64,
    page_bytes: u64,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    start: u64,
    ticks: u64,
    at: Instant,
    usage: ProcUsage,
}

impl Default for Sampler {
    fn default() -> Self {
        use nix::unistd::{SysconfVar, sysconf};
        let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten();
        let ticks = ticks.and_then(|ticks| u32::try_from(ticks).ok());
        Self {
            previous: HashMap::new(),
            proc: Proc::open().ok(),
            ticks_per_second: f64::from(ticks.unwrap_or(100)),
            page_bytes: page_bytes(),
        }
    }
}

impl Sampler {
    /// What the process uses now, or did at most [`INTERVAL_MIN`] ago. `None` if there is none.
    pub fn sample(&mut self, pid: i32, now: Instant) -> Option<ProcUsage> {
        let entry = self.previous.entry(pid);
        if let Entry::Occupied(known) = &entry
            && now.duration_since(known.get().at) < INTERVAL_MIN
        {
            return Some(known.get().usage);
        }
        let Some(stat) = self.proc.as_ref().and_then(|proc| proc.stat(pid)) else {
            if let Entry::Occupied(gone) = entry {
                gone.remove();
            }
            return None;
        };
        let before = match &entry {
            Entry::Occupied(known) if known.get().start == stat.start => Some(*known.get()),
            Entry::Occupied(_) | Entry::Vacant(_) => None,
        };
        let (ticks, seconds) = match before {
            Some(before) => {
                let span = now.duration_since(before.at).as_secs_f64();
                (stat.ticks.saturating_sub(before.ticks), span)
            }
            None => (
                stat.ticks,
                uptime_seconds() - float(stat.start) / self.ticks_per_second,
            ),
        };
        let percent = if seconds > 0.0 {
            float(ticks) / self.ticks_per_second / seconds * 100.0
        } else {
            0.0
        };
        let usage = ProcUsage {
            cpu_percent: (percent * 10.0).round() / 10.0,
            memory_bytes: stat.resident_pages * self.page_bytes,
        };
        entry.insert_entry(Sample {
            start: stat.start,
            ticks: stat.ticks,
            at: now,
            usage,
        });
        Some(usage)
    }

    /// Forgets a process that has ended.
    pub fn forget(&mut self, pid: i32) {
        self.previous.remove(&pid);
    }
}

/// Seconds since boot on the clock that start times are told in.
fn uptime_seconds() -> f64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME);
    now.map_or(0.0, |now| Duration::from(now).as_secs_f64())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "ticks of a few thousand years are exact"
)]
fn float(ticks: u64) -> f64 {
    ticks as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::until;

    #[test]
    fn our_own_use_is_plausible_and_repeated_within_the_interval() {
        // Protects: the units (bytes, percent of one core), and that a burst of `list` calls reads /proc once.
        let own = i32::try_from(std::process::id()).unwrap();
        let mut sampler = Sampler::default();
        let start = Instant::now();
        let first = sampler.sample(own, start).unwrap();
        assert!(first.memory_bytes > 500_000 && first.memory_bytes < 4_000_000_000);
        assert_eq!(sampler.sample(own, start + INTERVAL_MIN / 2), Some(first));
        // A machine that was halted, or busy with others, may have left us nothing of an interval.
        let mut busy = first;
        until(|| {
            let end = Instant::now() + INTERVAL_MIN;
            while Instant::now() < end {
                std::hint::black_box(());
            }
            busy = sampler.sample(own, Instant::now()).unwrap();
            busy != first && busy.cpu_percent > 1.0
        });
        assert!(
            (busy.cpu_percent * 10.0).fract().abs() < 1e-6,
            "one decimal: {busy:?}"
        );
    }

    #[test]
    fn a_process_that_does_not_exist_uses_nothing() {
        let mut sampler = Sampler::default();
        assert_eq!(sampler.sample(i32::MAX, Instant::now()), None);
        assert!(sampler.previous.is_empty());
    }
}
