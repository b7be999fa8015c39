//! Memory and processor use of processes, as pm2 shows them.

use super::proc_stat::Proc;
use super::tree::{Identity, Snapshot};
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
        let ask = |variable, usual| {
            let answer = sysconf(variable).ok().flatten();
            answer
                .and_then(|value| u32::try_from(value).ok())
                .unwrap_or(usual)
        };
        Self {
            previous: HashMap::new(),
            proc: Proc::open().ok(),
            ticks_per_second: f64::from(ask(SysconfVar::CLK_TCK, 100)),
            page_bytes: u64::from(ask(SysconfVar::PAGE_SIZE, 4096)),
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

/// Resident bytes of a process and its descendants. What descendants share with others, such as the code of a program that
/// several run, is not counted: it would be counted several times.
#[must_use]
pub fn tree_memory(snapshot: &Snapshot, pid: i32) -> u64 {
    let Some(root) = Identity::of(pid) else {
        return 0;
    };
    let pages = snapshot.tree(root).into_iter().map(|process| {
        let is_descendant = process.pid != pid;
        resident_pages(process.pid, is_descendant).unwrap_or(0)
    });
    pages.sum::<u64>() * Sampler::default().page_bytes
}

/// `/proc/<pid>/statm`: size, resident, shared and so on, in pages.
fn resident_pages(pid: i32, is_shared_left_out: bool) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let mut fields = text.split_ascii_whitespace().skip(1);
    let resident: u64 = fields.next()?.parse().ok()?;
    let shared: u64 = fields.next()?.parse().ok()?;
    Some(if is_shared_left_out {
        resident.saturating_sub(shared)
    } else {
        resident
    })
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

    #[test]
    fn our_own_use_is_plausible_and_repeated_within_the_interval() {
        // Protects: the units (bytes, percent of one core), and that a burst of `list` calls reads /proc once.
        let own = i32::try_from(std::process::id()).unwrap();
        let mut sampler = Sampler::default();
        let start = Instant::now();
        let first = sampler.sample(own, start).unwrap();
        assert!(first.memory_bytes > 500_000 && first.memory_bytes < 4_000_000_000);
        assert_eq!(sampler.sample(own, start + INTERVAL_MIN / 2), Some(first));
        while start.elapsed() < INTERVAL_MIN * 3 {
            std::hint::black_box(());
        }
        let busy = sampler.sample(own, Instant::now()).unwrap();
        assert!(busy.cpu_percent > 1.0, "{busy:?}");
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
