//! What the daemon tells about itself and its machine: `getReport`, `getSystemData`.

use std::fs;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::machine::Machine;
use crate::host::paths::COMPATIBLE_VERSION;

/// The version of this program; `getVersion` names the pm2 it stands in for.
pub(crate) const OWN_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Two looks at the machine are at least this far apart; in between the last answer is given again.
const SYSTEM_INTERVAL: Duration = Duration::from_secs(1);

/// `getReport`, as JSON text.
pub(crate) fn report(
    managed_apps: usize,
    started_at_ms: u64,
    not_replaced: Option<&str>,
) -> String {
    let env: Map<String, Value> = std::env::vars_os()
        .map(|(name, value)| {
            let value = value.to_string_lossy().into_owned();
            (name.to_string_lossy().into_owned(), value.into())
        })
        .collect();
    let argv: Vec<String> = std::env::args_os()
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid())
        .ok()
        .flatten();
    json!({
        "pm2_version": COMPATIBLE_VERSION,
        // There is no Node here; members that clients print must all the same be texts.
        "node_version": "N/A",
        "node_path": "N/A",
        "argv0": argv.first().cloned().unwrap_or_default(),
        "argv": argv,
        "user": user.map(|user| user.name),
        "uid": nix::unistd::geteuid().as_raw(),
        "gid": nix::unistd::getegid().as_raw(),
        "env": env,
        "managed_apps": managed_apps,
        "started_at": started_at_ms,
        "daemon_version": OWN_VERSION,
        "daemon_pid": std::process::id(),
        "not_replaced": not_replaced,
    })
    .to_string()
}

/// Looks at the machine for `getSystemData`.
#[derive(Debug, Default)]
pub(crate) struct SystemSampler {
    last: Option<(Duration, String)>,
    cpu: Option<CpuTime>,
    machine: Machine,
}

#[derive(Clone, Copy, Debug)]
struct CpuTime {
    busy: u64,
    all: u64,
}

impl SystemSampler {
    /// The metrics, as JSON text.
    pub(crate) fn sample(&mut self, now: Duration) -> &str {
        let is_fresh = |(at, _): &(Duration, String)| now.saturating_sub(*at) < SYSTEM_INTERVAL;
        if !self.last.as_ref().is_some_and(is_fresh) {
            let text = self.look(now).to_string();
            self.last = Some((now, text));
        }
        self.last.as_ref().map_or("{}", |(_, text)| text)
    }

    fn look(&mut self, now: Duration) -> Value {
        let mut metrics = Map::new();
        let mut add = |name: &str, value: Value, unit: &str| {
            let metric = json!({"value": value, "type": "metric", "unit": unit, "historic": true});
            metrics.insert(name.to_owned(), metric);
        };
        let cpu = fs::read_to_string("/proc/stat")
            .ok()
            .and_then(|text| cpu_time(&text));
        if let Some(now) = cpu {
            let before = self.cpu.replace(now).unwrap_or(CpuTime { busy: 0, all: 0 });
            add(
                "CPU Usage",
                percent(
                    now.busy - before.busy.min(now.busy),
                    now.all - before.all.min(now.all),
                ),
                "%",
            );
        }
        add("CPU Temperature", json!(-1), "\u{b0}C");
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let of = |name: &str| memory_bytes(&memory, name);
        let (total, available) = (of("MemTotal:"), of("MemAvailable:"));
        let used = total.saturating_sub(available);
        add("RAM Usage", percent(used, total), "%");
        add("RAM Total", total.into(), "b");
        add("RAM Available", available.into(), "b");
        add("RAM Active", of("Active:").into(), "b");
        for metric in self.machine.look(now) {
            add(&metric.name, json!(metric.value), metric.unit);
        }
        Value::Object(metrics)
    }
}

/// The first line of `/proc/stat`: user, nice, system, idle, iowait and so on.
fn cpu_time(text: &str) -> Option<CpuTime> {
    let fields = text.lines().next()?.strip_prefix("cpu ")?;
    // Guest time, the last two, is part of user time.
    let ticks: Vec<u64> = fields
        .split_whitespace()
        .take(8)
        .filter_map(|n| n.parse().ok())
        .collect();
    let all: u64 = ticks.iter().sum();
    let idle = ticks.get(3)? + ticks.get(4).unwrap_or(&0);
    Some(CpuTime {
        busy: all.saturating_sub(idle),
        all,
    })
}

fn memory_bytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kilobytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// With one decimal; 0 of nothing.
fn percent(part: u64, whole: u64) -> Value {
    let tenths = (part.saturating_mul(1000)).checked_div(whole).unwrap_or(0);
    serde_json::Number::from_f64(f64::from(u32::try_from(tenths).unwrap_or(0)) / 10.0)
        .map_or(Value::from(0), Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Protects: metrics are numbers in the shape that clients show.
    #[test]
    fn the_machine_has_memory_and_a_processor() {
        let mut sampler = SystemSampler::default();
        let text = sampler.sample(Duration::from_secs(5)).to_owned();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert!(value["RAM Total"]["value"].as_u64().unwrap() > 0);
        assert!(value["CPU Usage"]["value"].is_number());
        assert_eq!(
            sampler.sample(Duration::from_millis(5500)),
            text,
            "not looked at again so soon"
        );
    }

    #[test]
    fn busy_time_is_all_but_idle_and_waiting() {
        let time = cpu_time("cpu  10 0 10 70 10 0 0 0 5 5\ncpu0 1 1 1 1\n").unwrap();
        assert_eq!((time.busy, time.all), (20, 100));
        assert_eq!(percent(time.busy, time.all), json!(20.0));
    }
}
