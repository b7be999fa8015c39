//! Network, disks and file systems of the machine, for `getSystemData`: counters of `/proc` and what became of them since the last look.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use nix::sys::statvfs::statvfs;

/// Interfaces and mounts shown. A host of containers has thousands of each, and they interest nobody here.
const SHOWN_MAX: usize = 32;
/// The kernel counts sectors of this size, whatever the device's own.
const SECTOR_BYTES: u64 = 512;
/// Megabytes and gigabytes as pm2 shows them.
const MEGA: f64 = 1024.0 * 1024.0;
const GIGA: f64 = MEGA * 1024.0;

/// One number to show.
#[derive(Debug, PartialEq)]
pub(crate) struct Metric {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
}

/// Remembers the counters of the last look.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    before: Option<(Duration, HashMap<String, u64>)>,
}

impl Machine {
    /// Looks at everything. Rates are since the last look, and 0 at the first.
    pub(crate) fn look(&mut self, now: Duration) -> Vec<Metric> {
        let network = fs::read_to_string("/proc/net/dev").unwrap_or_default();
        let disks = fs::read_to_string("/proc/diskstats").unwrap_or_default();
        let mut counters = network_counters(&network);
        counters.extend(disk_counters(&disks));
        let mut metrics = self.rates(now, counters);
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        for mount in mounts_of(&mounts) {
            metrics.extend(room(mount).into_iter().flatten());
        }
        metrics
    }

    fn rates(&mut self, now: Duration, counters: Vec<Counter>) -> Vec<Metric> {
        let (then, before) = self.before.take().unwrap_or((now, HashMap::new()));
        let seconds = now.saturating_sub(then).as_secs_f64();
        let mut after = HashMap::with_capacity(counters.len());
        let mut metrics = Vec::with_capacity(counters.len());
        for Counter { name, count, kind } in counters {
            let grown = before
                .get(&name)
                .map_or(0, |then| count.saturating_sub(*then));
            let per_second = if seconds > 0.0 {
                float(grown) / seconds
            } else {
                0.0
            };
            let (value, unit) = match kind {
                Kind::Bytes => (per_second / MEGA, "mb/s"),
                Kind::Events => (per_second * 60.0, "/min"),
            };
            after.insert(name.clone(), count);
            metrics.push(Metric {
                name,
                value: rounded(value),
                unit,
            });
        }
        self.before = Some((now, after));
        metrics
    }
}

#[derive(Debug, PartialEq)]
struct Counter {
    name: String,
    count: u64,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Bytes,
    Events,
}

/// Each line: the interface; then bytes, packets, errors, drops and four more received, and the same sent.
fn network_counters(text: &str) -> Vec<Counter> {
    let interfaces = text.lines().filter_map(|line| line.split_once(':'));
    let real = interfaces
        .filter(|(name, _)| name.trim() != "lo")
        .take(SHOWN_MAX);
    let counters = real.flat_map(|(name, rest)| {
        let name = name.trim();
        let fields: Vec<u64> = rest
            .split_whitespace()
            .filter_map(|n| n.parse().ok())
            .collect();
        let at = |field: usize| fields.get(field).copied().unwrap_or(0);
        [
            ("rx_5", at(0), Kind::Bytes),
            ("tx_5", at(8), Kind::Bytes),
            ("rx_errors_60", at(2), Kind::Events),
            ("tx_errors_60", at(10), Kind::Events),
            ("rx_dropped_60", at(3), Kind::Events),
            ("tx_dropped_60", at(11), Kind::Events),
        ]
        .map(|(what, count, kind)| Counter {
            name: format!("net:{what}:{name}"),
            count,
            kind,
        })
    });
    counters.collect()
}

/// Each line: two numbers, the device; then reads, merged, sectors read, time, writes, merged, sectors written. Partitions, and devices
/// made of others, would count everything twice.
fn disk_counters(text: &str) -> [Counter; 2] {
    let mut sums = [0_u64; 2];
    for line in text.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let Some(device) = fields.get(2).filter(|name| is_whole_disk(name)) else {
            continue;
        };
        debug_assert!(!device.is_empty());
        for (sum, field) in sums.iter_mut().zip([5, 9]) {
            let sectors = fields.get(field).and_then(|n| n.parse::<u64>().ok());
            *sum += sectors.unwrap_or(0) * SECTOR_BYTES;
        }
    }
    let counter = |name: &str, count| Counter {
        name: name.to_owned(),
        count,
        kind: Kind::Bytes,
    };
    [
        counter("Disk Reads", sums[0]),
        counter("Disk Writes", sums[1]),
    ]
}

fn is_whole_disk(name: &str) -> bool {
    let ends_in_digit = name.ends_with(|c: char| c.is_ascii_digit());
    if name.starts_with("nvme") || name.starts_with("mmcblk") {
        return !name.contains('p');
    }
    let is_disk = ["sd", "vd", "hd", "xvd"]
        .iter()
        .any(|kind| name.starts_with(kind));
    is_disk && !ends_in_digit
}

/// Where local disks are mounted. Others may keep whoever asks them waiting for ever.
fn mounts_of(text: &str) -> Vec<&str> {
    let mut seen = Vec::new();
    let mut mounts = Vec::new();
    for line in text.lines() {
        let mut fields = line.split(' ');
        let (Some(device), Some(mount)) = (fields.next(), fields.next()) else {
            continue;
        };
        // A folder that is mounted a second time is the same disk.
        if device.starts_with("/dev/") && !seen.contains(&device) && mounts.len() < SHOWN_MAX {
            seen.push(device);
            mounts.push(mount);
        }
    }
    mounts
}

fn room(mount: &str) -> Option<[Metric; 2]> {
    let found = statvfs(mount).ok()?;
    let unit = found.fragment_size();
    let size = found.blocks().checked_mul(unit).filter(|size| *size > 0)?;
    let free = found.blocks_available() * unit;
    let used = 100.0 * float(size.saturating_sub(free)) / float(size);
    Some([
        Metric {
            name: format!("fs:use:{mount}"),
            value: rounded(used),
            unit: "%",
        },
        Metric {
            name: format!("fs:size:{mount}"),
            value: rounded(float(size) / GIGA),
            unit: "gb",
        },
    ])
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[expect(clippy::cast_precision_loss, reason = "shown with two decimals")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: &str = "Inter-| Receive | Transmit\n face |bytes packets errs drop\n    lo: 5 1 0 0 0 0 0 0 5 1 0 0 0 0 0 0\n  eth0: 1048576 9 2 3 0 0 0 0 2097152 8 4 5 0 0 0 0\n";
    const DISKS: &str = "8 0 sda 1 0 2048 0 1 0 4096 0\n8 1 sda1 1 0 2048 0 1 0 4096 0\n259 0 nvme0n1 1 0 2048 0 1 0 0 0\n259 1 nvme0n1p1 1 0 2048 0 1 0 0 0\n7 0 loop0 1 0 9 0 0 0 0 0\n";

    fn value(metrics: &[Metric], name: &str) -> f64 {
        metrics
            .iter()
            .find(|metric| metric.name == name)
            .map_or(-1.0, |metric| metric.value)
    }

    // Protects: the units, and that the first look does not show everything since boot as one second's work.
    #[test]
    fn rates_are_since_the_look_before() {
        let mut machine = Machine::default();
        let first = machine.rates(Duration::from_secs(10), network_counters(""));
        assert!(first.is_empty());
        let zero = NETWORK
            .replace("1048576", "0")
            .replace("eth0: 0 9 2", "eth0: 0 9 0");
        let shown = machine.rates(Duration::from_secs(12), network_counters(&zero));
        assert!((value(&shown, "net:rx_5:eth0")).abs() < 0.001);
        let shown = machine.rates(Duration::from_secs(14), network_counters(NETWORK));
        assert!((value(&shown, "net:rx_5:eth0") - 0.5).abs() < 0.001);
        assert!((value(&shown, "net:rx_errors_60:eth0") - 60.0).abs() < 0.001);
        assert!(!shown.iter().any(|metric| metric.name.ends_with(":lo")));
    }

    // Protects: nothing is counted twice, nobody waits for a dead file server.
    #[test]
    fn whole_disks_count_and_local_mounts_are_asked() {
        let [reads, writes] = disk_counters(DISKS);
        assert_eq!((reads.count, writes.count), (2 * 2048 * 512, 4096 * 512));
        let mounts = "proc /proc proc rw 0 0\n/dev/sda1 / ext4 rw 0 0\n/dev/sda1 /again ext4 rw 0 0\nserver:/x /mnt nfs rw 0 0\n";
        assert_eq!(mounts_of(mounts), ["/"]);
        assert!(room("/").is_some_and(|[used, size]| used.value <= 100.0 && size.value > 0.0));
    }
}
