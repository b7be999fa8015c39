//! What is shown of a process: `pm2_env` and the shapes it comes in, assembled by copying.

use super::json::{ObjectWriter, Place, as_text, copied, is_object, object, quoted, write_object};
use super::record::Record;
use super::{JsonText, Members, Pid, PmId, ProcessSpec, Status};

/// What a process uses, as sampled by the daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory.
    pub memory_bytes: u64,
    /// Tenths of a percent of one core since the previous sample.
    pub cpu_tenths: u32,
}

/// One process at one moment.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Its id.
    pub id: PmId,
    /// pm2's word for where it is.
    pub status: Status,
    /// The process that runs, if one does.
    pub pid: Option<Pid>,
    /// `cluster.worker.id`, in cluster mode.
    pub worker: Option<u32>,
    /// It is being replaced by one of the same id, and shown as pm2 shows such.
    pub is_outgoing: bool,
    /// The rest.
    pub record: &'a Record,
}

/// The pm2 whose records ours are like.
const STANDS_IN_FOR: &str = "7.0.4";

/// Whose usage is to be shown for a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measured {
    /// Nobody's: it does not run, or names something that is no pid.
    Nothing,
    /// This process's: its own, or the one it named in `axm_options.pid`.
    Pid(Pid),
}

impl View<'_> {
    /// The formatted process of lists and of most answers. `monit` only with a usage.
    #[must_use]
    pub fn formatted(&self, usage: Option<Usage>) -> JsonText {
        let mut out = Vec::with_capacity(self.size_hint());
        self.write_formatted(&mut out, usage);
        super::json::text_of(out)
    }

    /// The same at the end of a list.
    pub fn write_formatted(&self, out: &mut Vec<u8>, usage: Option<Usage>) {
        self.write_formatted_by(out, usage, &mut copied);
    }

    /// The same; `place` has the texts there that others hold too.
    pub(super) fn write_formatted_by(
        &self,
        out: &mut Vec<u8>,
        usage: Option<Usage>,
        place: &mut Place<'_>,
    ) {
        write_object(out, |writer| {
            writer.plain("pid", self.pid_number());
            writer.text("name", &self.record.name);
            self.write_record_by(writer.key("pm2_env"), true, place);
            self.write_id(writer);
            if let Some(usage) = usage {
                write_object(writer.key("monit"), |writer| {
                    writer.plain("memory", usage.memory_bytes);
                    match (usage.cpu_tenths / 10, usage.cpu_tenths % 10) {
                        (percent, 0) => writer.plain("cpu", percent),
                        (percent, tenths) => {
                            writer.plain("cpu", format_args!("{percent}.{tenths}"));
                        }
                    }
                });
            }
        });
    }

    /// The answer to a start: what callers use of Node's child object.
    #[must_use]
    pub fn child(&self, spec: &ProcessSpec) -> JsonText {
        object(|writer| {
            let Some(pid) = self.pid else {
                self.write_record(writer.key("pm2_env"), true);
                writer.raw("process", "{\"pid\":0}");
                return;
            };
            let (program, args) = spec.command();
            if let Some(number) = self.worker {
                return self.write_worker(writer, pid, number, program, &args);
            }
            writer
                .members(r#"{"connected":true,"signalCode":null,"exitCode":null,"killed":false}"#);
            writer.text("spawnfile", program);
            let line: Vec<String> = std::iter::once(program).chain(args).map(quoted).collect();
            writer.raw("spawnargs", &format!("[{}]", line.join(",")));
            writer.plain("pid", pid);
            writer.raw("process", &format!("{{\"pid\":{pid}}}"));
            self.write_record(writer.key("pm2_env"), true);
        })
    }

    /// What callers use of Node's worker object. It has no pid of its own.
    fn write_worker(
        &self,
        writer: &mut ObjectWriter<'_>,
        pid: Pid,
        number: u32,
        program: &str,
        args: &[&str],
    ) {
        writer.text("state", "online");
        writer.plain("id", number);
        write_object(writer.key("process"), |writer| {
            writer.plain("pid", pid);
            writer.raw("connected", "true");
            writer.text("spawnfile", program);
            let line = std::iter::once(program).chain(args.iter().copied());
            let line: Vec<String> = line.map(quoted).collect();
            writer.raw("spawnargs", &format!("[{}]", line.join(",")));
        });
        self.write_record(writer.key("pm2_env"), true);
    }

    /// The record as events carry it: without `env`.
    pub fn write_record(&self, out: &mut Vec<u8>, with_env: bool) {
        self.write_record_by(out, with_env, &mut copied);
    }

    fn write_record_by(&self, out: &mut Vec<u8>, with_env: bool, place: &mut Place<'_>) {
        let record = self.record;
        write_object(out, |writer| {
            writer.text("name", &record.name);
            writer.members_by(&record.declared, place);
            if with_env {
                write_object(writer.key("env"), |writer| {
                    writer.members_by(&record.env_flat, place);
                    writer.members_by(&record.env_rest, place);
                    self.write_increment(writer);
                    writer.text("unique_id", &record.unique_id);
                });
            }
            writer.raw("vizion_running", "false");
            if let Some((variable, number)) = &record.instance {
                writer.plain(variable, number);
            }
            self.write_increment(writer);
            writer.members_by(&record.env_flat, place);
            self.write_run_time(writer);
        });
    }

    /// Every variable the process gets: declared scalars, over them the environment, over that what is set at run time.
    #[must_use]
    pub fn child_env(&self) -> Vec<(String, String)> {
        let record = self.record;
        let said = object(|writer| self.write_said(writer));
        let run_time = object(|writer| {
            writer.raw("vizion_running", "false");
            if let Some((variable, number)) = &record.instance {
                writer.plain(variable, number);
            }
            self.write_increment(writer);
            writer.text("unique_id", &record.unique_id);
            writer.text("status", self.status.as_str());
            self.write_counts(writer);
        });
        let name = object(|writer| writer.text("name", &record.name));
        let mut env: std::collections::BTreeMap<String, String> = std::collections::BTreeMap::new();
        let layers = [
            name.as_str(),
            &record.declared,
            said.as_str(),
            &record.env_flat,
            &record.env_rest,
            run_time.as_str(),
        ];
        for layer in layers {
            let members = Members::parse(layer).unwrap_or_else(Members::none);
            env.extend(
                members
                    .iter()
                    .filter_map(|(key, raw)| Some((key.to_owned(), variable_of(raw)?))),
            );
        }
        env.into_iter().collect()
    }

    /// Whose usage to show.
    #[must_use]
    pub fn measured(&self) -> Measured {
        let Some(pid) = self.pid.filter(|_| self.status == Status::Online) else {
            return Measured::Nothing;
        };
        let named = self
            .record
            .axm
            .options
            .as_deref()
            .filter(|options| options.contains("\"pid\""))
            .and_then(Members::parse)
            .and_then(|options| options.get("pid").map(str::to_owned));
        match named.filter(|raw| super::json::is_truthy(raw)) {
            None => Measured::Pid(pid),
            Some(raw) => match as_text(&raw).unwrap_or(raw).parse() {
                Ok(number) if number > 0 => Measured::Pid(Pid(number)),
                _ => Measured::Nothing,
            },
        }
    }

    /// About how long the texts get.
    #[must_use]
    pub fn size_hint(&self) -> usize {
        /// The members that are not copied.
        const OTHERS: usize = 640;
        self.record.size() + self.record.env_flat.len() + OTHERS
    }

    fn pid_number(&self) -> i32 {
        self.pid.map_or(0, |pid| pid.0)
    }

    fn write_increment(&self, writer: &mut ObjectWriter<'_>) {
        if let Some((variable, number)) = &self.record.increment {
            writer.plain(variable, number);
        }
    }

    fn write_run_time(&self, writer: &mut ObjectWriter<'_>) {
        let axm = &self.record.axm;
        writer.text("unique_id", &self.record.unique_id);
        writer.text("status", self.status.as_str());
        writer.raw("axm_actions", axm.actions.as_deref().unwrap_or("[]"));
        writer.raw("axm_monitor", axm.monitor.as_deref().unwrap_or("{}"));
        self.write_options(writer.key("axm_options"));
        writer.raw("axm_dynamic", "{}");
        self.write_counts(writer);
        self.write_said(writer);
        if let Some(monitored) = self.record.counts.monitored {
            writer.plain("_km_monitored", monitored);
        }
    }

    /// Clients read `module_name` without asking, so it is always there.
    fn write_options(&self, out: &mut Vec<u8>) {
        let options = self.record.axm.options.as_deref().unwrap_or("{}");
        let named = options.contains("\"module_name\"")
            && Members::parse(options).is_some_and(|options| options.has("module_name"));
        write_object(out, |writer| {
            writer.members(options);
            if !named {
                writer.text("module_name", &self.record.name);
            }
        });
    }

    fn write_id(&self, writer: &mut ObjectWriter<'_>) {
        if self.is_outgoing {
            writer.text("pm_id", &format!("_old_{}", self.id));
        } else {
            writer.plain("pm_id", self.id);
        }
    }

    fn write_counts(&self, writer: &mut ObjectWriter<'_>) {
        let counts = &self.record.counts;
        writer.plain("pm_uptime", counts.pm_uptime_ms);
        match counts.created_at_ms {
            Some(created) => writer.plain("created_at", created),
            None => writer.raw("created_at", "null"),
        }
        self.write_id(writer);
        writer.plain("restart_time", counts.restarts);
        writer.plain("unstable_restarts", counts.unstable);
        if self.worker.is_some() {
            writer.text("_pm2_version", STANDS_IN_FOR);
        }
        if let Some(delay) = counts.previous_delay_ms {
            writer.plain("prev_restart_delay", delay);
        }
        if let Some(code) = counts.exit_code {
            writer.plain("exit_code", code);
        }
    }

    fn write_said(&self, writer: &mut ObjectWriter<'_>) {
        writer.text(
            "version",
            self.record.axm.version.as_deref().unwrap_or("N/A"),
        );
        if let Some(node_version) = &self.record.axm.node_version {
            writer.raw("node_version", node_version);
        }
    }
}

/// A value as a variable: objects, arrays and null are none.
fn variable_of(raw: &str) -> Option<String> {
    if is_object(raw) || raw.starts_with('[') || raw == "null" {
        return None;
    }
    if raw.starts_with('"') {
        as_text(raw)
    } else {
        Some(raw.to_owned())
    }
}

impl Record {
    /// Adds an action the application offers, unless one of that name is there. False if it would grow past `limit`.
    pub fn add_action(&mut self, action: &str, limit: usize) -> bool {
        let old = self.axm.actions.as_deref().unwrap_or("[]");
        let name =
            Members::parse(action).and_then(|action| action.get("action_name").map(str::to_owned));
        if self.actions().any(|known| known == name) {
            return true;
        }
        if old.len() + action.len() > limit {
            return false;
        }
        let items = &old[1..old.len() - 1];
        let comma = if items.is_empty() { "" } else { "," };
        self.axm.actions = Some(format!("[{items}{comma}{action}]").into());
        true
    }

    /// Whether the application offers an action of this name; the name as JSON.
    #[must_use]
    pub fn has_action(&self, name: &str) -> bool {
        self.actions().any(|known| known.as_deref() == Some(name))
    }

    fn actions(&self) -> impl Iterator<Item = Option<String>> {
        let actions: Vec<Members<'_>> = self
            .axm
            .actions
            .as_deref()
            .and_then(|actions| serde_json::from_str(actions).ok())
            .unwrap_or_default();
        actions
            .into_iter()
            .map(|action| action.get("action_name").map(str::to_owned))
    }
}

/// `base` with every member of `more` set. `None` if that is no object or the result grows past `limit`.
#[must_use]
pub fn assigned(base: Option<&str>, more: &str, limit: usize) -> Option<Box<str>> {
    let base = base.unwrap_or("{}");
    let more = Members::parse(more)?;
    let old = Members::parse(base)?;
    let text = object(|writer| {
        for (key, raw) in old.iter() {
            writer.raw(key, more.get(key).unwrap_or(raw));
        }
        for (key, raw) in more.iter().filter(|(key, _)| !old.has(key)) {
            writer.raw(key, raw);
        }
    });
    (text.as_str().len() <= limit).then(|| text.into_string().into())
}

#[cfg(test)]
#[path = "tests/view.rs"]
mod tests;
