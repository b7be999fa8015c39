//! The record of one process, `pm2_env`, kept as a few texts.
//!
//! A record is mostly environment and is copied far more often than it is changed. So its members are text, the
//! environment is shared between the instances of one application, and only what the supervision changes has a type.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::fields::{OPTIONS, RUN_TIME};
use super::json::{Members, as_text, quoted};
use super::list::{
    Member, declared_text, extend_env, integer, is_shown_as_object, object_of, owned, set,
};
use super::paths::{log_path_of, pid_path_of};
use super::{PmId, ProcessSpec, SpecError};

/// The record of one process.
#[derive(Clone, Serialize, Deserialize)]
pub struct Record {
    pub(super) name: Box<str>,
    pub(super) namespace: Box<str>,
    pub(super) unique_id: Box<str>,
    /// What was declared, as one object: neither `name` nor `env` nor anything that is set at run time.
    pub(super) declared: Arc<str>,
    /// The variables that are shown twice: in `env` and beside the declared members.
    pub(super) env_flat: Arc<str>,
    /// The variables that are shown in `env` only: objects, and those that would hide another member.
    pub(super) env_rest: Arc<str>,
    /// `NODE_APP_INSTANCE`, or what it is called here.
    pub(super) instance: Option<(Box<str>, u32)>,
    /// The variable that counts up from instance to instance.
    pub(super) increment: Option<(Box<str>, i64)>,
    /// What the supervision keeps count of.
    pub counts: Counts,
    /// What the application says about itself.
    pub axm: Axm,
}

/// What the supervision keeps count of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Start of the present or last run.
    pub pm_uptime_ms: u64,
    /// Where counting of unstable restarts began; `None` after the restart limit.
    pub created_at_ms: Option<u64>,
    /// Restarts, by command or by itself.
    pub restarts: u32,
    /// Short runs since `created_at`.
    pub unstable: u32,
    /// The last delay of the backoff; present once there was one, or a restart by command.
    pub previous_delay_ms: Option<u64>,
    /// Present after the first exit.
    pub exit_code: Option<i32>,
    /// Set by `monitor` and `unmonitor`.
    pub monitored: Option<bool>,
}

/// What the application says about itself, as texts.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Axm {
    /// `axm_actions`: an array.
    pub actions: Option<Box<str>>,
    /// `axm_monitor`: an object.
    pub monitor: Option<Box<str>>,
    /// `axm_options`: an object.
    pub options: Option<Box<str>>,
    /// `node_version`, as JSON.
    pub node_version: Option<Box<str>>,
    /// `version` of the nearest package.json.
    pub version: Option<Box<str>>,
}

/// Where a new process stands among those of its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The lowest instance number that is free, under its variable's name.
    pub instance: Option<(Box<str>, u32)>,
    /// The counting variable and its value.
    pub increment: Option<(Box<str>, i64)>,
}

/// What a new declaration asks for beyond the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// `instances`, if given.
    pub instances: Option<i64>,
    /// The variable that numbers instances.
    pub instance_var: Box<str>,
    /// The variable that counts up, and where it begins.
    pub increment: Option<(Box<str>, i64)>,
    /// A record from a dump that was stopped: listed, not started.
    pub is_resting: bool,
}

/// The variable that numbers instances, where no other is declared.
const INSTANCE_VAR: &str = "NODE_APP_INSTANCE";

impl Record {
    /// Reads a declaration: what `prepare` takes. The record has no id, no place and no counts yet.
    ///
    /// `instance_var` is the daemon's own choice of that variable's name, which goes before the declared one.
    pub fn prepare(
        declaration: &str,
        unique_id: &str,
        instance_var: Option<&str>,
    ) -> Result<(Self, ProcessSpec, Wanted), SpecError> {
        let members =
            Members::parse(declaration).ok_or(SpecError::NotAnObject("the declaration"))?;
        let env = match members.get("env") {
            None | Some("null") => Vec::new(),
            Some(raw) => owned(&Members::parse(raw).ok_or(SpecError::NotAnObject("\"env\""))?),
        };
        let spec = ProcessSpec::parse(&members)?;
        let name = members
            .text("name")
            .ok_or_else(|| SpecError::Missing("name".to_owned()))?;
        let wanted = Wanted::read(&members, &env, instance_var);
        let mut declared = owned(&members);
        declared.retain(|(key, _)| {
            !(is_set_at_run_time(key, &wanted) || came_from_flattening(key, &env))
        });
        for (key, raw) in [
            ("namespace", "\"default\""),
            ("exec_mode", "\"fork_mode\""),
            ("node_args", "[]"),
            ("username", "\"\""),
        ] {
            if !declared
                .iter()
                .any(|(name, raw)| name == key && raw != "null")
            {
                set(&mut declared, key, raw);
            }
        }
        let mut record = Self {
            name: name.into(),
            namespace: "".into(),
            unique_id: unique_id.into(),
            declared: "".into(),
            env_flat: "{}".into(),
            env_rest: "{}".into(),
            instance: instance_of(&members, &wanted),
            increment: None,
            counts: Counts {
                created_at_ms: members.get("created_at").and_then(|raw| raw.parse().ok()),
                monitored: members
                    .get("_km_monitored")
                    .and_then(|raw| raw.parse().ok()),
                exit_code: members.get("exit_code").and_then(|raw| raw.parse().ok()),
                ..Counts::default()
            },
            axm: Axm {
                node_version: members
                    .get("node_version")
                    .filter(|raw| raw.starts_with('"'))
                    .map(Into::into),
                version: members.text("version").map(Into::into),
                ..Axm::default()
            },
        };
        record.rebuild(&declared, &env, &wanted);
        Ok((record, spec, wanted))
    }

    /// Gives the record of a new process its place in the list: instance number, log and pid paths.
    pub fn settle(&mut self, id: PmId, place: Place, instances: Option<u32>) {
        if let Some(instance) = place.instance {
            self.instance = Some(instance);
        }
        self.increment = place.increment;
        let mut declared = self.declared_members();
        if let Some(instances) = instances {
            set(&mut declared, "instances", &instances.to_string());
        }
        rewrite_paths(&mut declared, id, |_| true);
        let env = self.env_members();
        let wanted = self.wanted(&declared);
        self.rebuild(&declared, &env, &wanted);
    }

    /// Merges what a restart brings: variables, and under `current_conf` members of the record itself, of which the text
    /// `null` removes one. The environment is never replaced as a whole, so no variable gets lost with it.
    pub fn merge(&mut self, id: PmId, changes: &str) -> Result<ProcessSpec, SpecError> {
        let changes = Members::parse(changes).ok_or(SpecError::NotAnObject("\"env\""))?;
        let mut declared = self.declared_members();
        let mut env = self.env_members();
        let mut name = None;
        extend_env(&mut env, &changes);
        if let Some(raw) = changes.get("current_conf").filter(|raw| *raw != "null") {
            let conf = Members::parse(raw).ok_or(SpecError::NotAnObject("\"current_conf\""))?;
            if let Some(more) = conf.get("env").and_then(Members::parse) {
                extend_env(&mut env, &more);
            }
            let given = |key: &str| conf.get(key).is_some_and(|raw| raw != "\"null\"");
            let wanted = self.wanted(&declared);
            for (key, raw) in conf.iter() {
                if raw == "\"null\"" {
                    declared.retain(|(name, _)| name != key);
                } else if !is_set_at_run_time(key, &wanted) && key != "exec_mode" {
                    set(&mut declared, key, raw);
                }
            }
            name = conf.text("name");
            rewrite_paths(&mut declared, id, given);
        }
        let text = object_of(&declared);
        let spec = Members::parse(&text)
            .ok_or(SpecError::NotAnObject("the declaration"))
            .and_then(|members| ProcessSpec::parse(&members))?;
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            self.name = name.into();
        }
        let wanted = self.wanted(&declared);
        self.rebuild(&declared, &env, &wanted);
        Ok(spec)
    }

    /// Notes that a run begins: the application has said nothing yet.
    pub fn begin_run(&mut self, wall_ms: u64) {
        self.counts.pm_uptime_ms = wall_ms;
        self.counts.created_at_ms.get_or_insert(wall_ms);
        self.axm.actions = None;
        self.axm.monitor = None;
        self.axm.options = None;
    }

    /// A copy for one more instance: nothing counted, nothing said yet.
    #[must_use]
    pub fn duplicate(&self, unique_id: &str) -> Self {
        Self {
            unique_id: unique_id.into(),
            instance: None,
            increment: None,
            counts: Counts::default(),
            axm: Axm::default(),
            ..self.clone()
        }
    }

    /// What the record says is to be run.
    pub fn spec(&self) -> Result<ProcessSpec, SpecError> {
        Members::parse(&self.declared)
            .ok_or(SpecError::NotAnObject("the declaration"))
            .and_then(|members| ProcessSpec::parse(&members))
    }

    /// What the declaration asks for beyond one record; for one more instance of it.
    #[must_use]
    pub fn wanted_again(&self, instance_var: Option<&str>) -> Wanted {
        let members = Members::parse(&self.declared).unwrap_or_else(Members::none);
        Wanted::read(&members, &self.env_members(), instance_var)
    }

    /// Uses the other's environment text if it is the same, so that instances keep it once.
    pub fn share_env_with(&mut self, other: &Self) {
        if self.env_flat == other.env_flat {
            self.env_flat = Arc::clone(&other.env_flat);
        }
        if self.env_rest == other.env_rest {
            self.env_rest = Arc::clone(&other.env_rest);
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Another name, which the application asked for.
    pub fn rename(&mut self, name: &str) {
        self.name = name.into();
    }

    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The number under this variable's name, if the record has it.
    #[must_use]
    pub fn instance(&self, variable: &str) -> Option<u32> {
        self.instance
            .as_ref()
            .filter(|(key, _)| **key == *variable)
            .map(|(_, number)| *number)
    }

    /// The count under this variable's name, if the record has it.
    #[must_use]
    pub fn incremented(&self, variable: &str) -> Option<i64> {
        self.increment
            .as_ref()
            .filter(|(key, _)| **key == *variable)
            .map(|(_, number)| *number)
    }

    /// One declared member, as JSON text.
    #[must_use]
    pub fn declared(&self, key: &str) -> Option<String> {
        Members::parse(&self.declared)?.get(key).map(str::to_owned)
    }

    /// Sets one declared member.
    pub fn declare(&mut self, key: &str, raw: &str) {
        let mut declared = self.declared_members();
        set(&mut declared, key, raw);
        let wanted = self.wanted(&declared);
        let env = self.env_members();
        self.rebuild(&declared, &env, &wanted);
    }

    /// Bytes of text this record holds, shared ones included.
    #[must_use]
    pub fn size(&self) -> usize {
        self.declared.len() + self.env_flat.len() + self.env_rest.len()
    }

    fn declared_members(&self) -> Vec<Member> {
        Members::parse(&self.declared)
            .as_ref()
            .map(owned)
            .unwrap_or_default()
    }

    fn env_members(&self) -> Vec<Member> {
        [&self.env_flat, &self.env_rest]
            .into_iter()
            .flat_map(|text| Members::parse(text).as_ref().map(owned).unwrap_or_default())
            .collect()
    }

    fn wanted(&self, declared: &[Member]) -> Wanted {
        Wanted {
            instances: None,
            instance_var: self.instance.as_ref().map_or_else(
                || declared_text(declared, "instance_var", INSTANCE_VAR),
                |(key, _)| key.clone(),
            ),
            increment: self.increment.clone(),
            is_resting: false,
        }
    }

    fn rebuild(&mut self, declared: &[Member], env: &[Member], wanted: &Wanted) {
        let hides = |key: &str| {
            is_set_at_run_time(key, wanted) || declared.iter().any(|(name, _)| name == key)
        };
        let (mut flat, mut rest) = (Vec::new(), Vec::new());
        for (key, raw) in env {
            // Both have a type of their own here and are written from it.
            if key == "unique_id"
                || self
                    .increment
                    .as_ref()
                    .is_some_and(|(counted, _)| **counted == **key)
            {
                continue;
            }
            let to = if is_shown_as_object(raw) || hides(key) {
                &mut rest
            } else {
                &mut flat
            };
            to.push((key.clone(), raw.clone()));
        }
        self.namespace = declared_text(declared, "namespace", "default");
        self.declared = object_of(declared).into();
        let (flat, rest) = (object_of(&flat), object_of(&rest));
        if *self.env_flat != *flat {
            self.env_flat = flat.into();
        }
        if *self.env_rest != *rest {
            self.env_rest = rest.into();
        }
    }
}

impl Wanted {
    fn read(members: &Members<'_>, env: &[Member], instance_var: Option<&str>) -> Self {
        let declared_var = members.text("instance_var").filter(|name| !name.is_empty());
        let increment = members
            .text("increment_var")
            .filter(|name| !name.is_empty())
            .map(|name| {
                let start = env
                    .iter()
                    .find(|(key, _)| *key == name)
                    .and_then(|(_, raw)| integer(raw))
                    .unwrap_or(0);
                (name.into(), start)
            });
        Self {
            instances: members
                .get("instances")
                .filter(|raw| *raw != "null")
                .map(|raw| integer(raw).unwrap_or(0)),
            instance_var: instance_var
                .or(declared_var.as_deref())
                .unwrap_or(INSTANCE_VAR)
                .into(),
            increment,
            is_resting: members.text("status").as_deref() == Some("stopped"),
        }
    }
}

/// Values are mostly environment: only the name is shown.
impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record")
            .field("name", &self.name)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Axm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Axm").finish_non_exhaustive()
    }
}

fn is_set_at_run_time(key: &str, wanted: &Wanted) -> bool {
    RUN_TIME.contains(&key)
        || key == &*wanted.instance_var
        || wanted
            .increment
            .as_ref()
            .is_some_and(|(counted, _)| key == &**counted)
}

fn came_from_flattening(key: &str, env: &[Member]) -> bool {
    !OPTIONS.contains(&key) && env.iter().any(|(name, _)| name == key)
}

/// The instance number a record brings along from a dump.
fn instance_of(members: &Members<'_>, wanted: &Wanted) -> Option<(Box<str>, u32)> {
    let number = members.get(&wanted.instance_var)?;
    let number = as_text(number)
        .unwrap_or_else(|| number.to_owned())
        .parse()
        .ok()?;
    Some((wanted.instance_var.clone(), number))
}

/// Paths of logs and pid file become those of this process: the pid path always, log paths unless logs are merged.
fn rewrite_paths(declared: &mut [Member], id: PmId, given: impl Fn(&str) -> bool) {
    let merges = declared
        .iter()
        .any(|(key, raw)| key == "merge_logs" && super::json::is_truthy(raw));
    for (key, raw) in declared.iter_mut().filter(|(key, _)| given(key)) {
        let path = as_text(raw);
        let path = match (key.as_str(), path) {
            ("pm_pid_path", Some(path)) => pid_path_of(&path, id),
            ("pm_log_path" | "pm_out_log_path" | "pm_err_log_path", Some(path)) if !merges => {
                log_path_of(&path, id)
            }
            _ => continue,
        };
        *raw = quoted(&path);
    }
}

#[cfg(test)]
#[path = "tests/record.rs"]
mod tests;
