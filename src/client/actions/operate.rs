//! Restart, reload, stop and delete of processes that exist.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::attributes::Change;
use super::files::ReloadLock;
use super::list::{Entry, Listing, elements, first, join};
use super::payload::Payload;
use super::target::{Selection, select};
use super::{ActionError, Rpc, window};
use crate::host::world::World;

/// What is done to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Restart,
    Reload,
    GracefulReload,
    Stop,
    Delete,
}

impl Operation {
    /// The daemon's method.
    fn method(self) -> &'static str {
        match self {
            Self::Restart => "restartProcessId",
            Self::Reload => "reloadProcessId",
            Self::GracefulReload => "softReloadProcessId",
            Self::Stop => "stopProcessId",
            Self::Delete => "deleteProcessId",
        }
    }

    /// The word by which listeners of the bus learn of it.
    fn event(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Reload => "reload",
            Self::GracefulReload => "graceful reload",
            Self::Stop => "stop",
            Self::Delete => "delete",
        }
    }

    /// Does it start the process again, with changes?
    pub(super) fn starts(self) -> bool {
        !matches!(self, Self::Stop | Self::Delete)
    }

    /// Does it keep serving meanwhile? Then one home does one at a time.
    pub(super) fn is_reload(self) -> bool {
        matches!(self, Self::Reload | Self::GracefulReload)
    }

    /// How many at once when the caller does not say. A reload goes through the instances few at a time, as pm2 does, since it doubles each.
    pub(super) fn parallel(self, payload: &Payload, count: usize) -> usize {
        let default = match (self.is_reload(), count) {
            (false, _) => None,
            (true, 0..=2) => Some(1),
            (true, _) => Some(2),
        };
        payload.parallel(default)
    }
}

/// Performs the operation on the processes that the caller named.
pub(super) async fn on_target<R: Rpc>(
    rpc: &R,
    payload: &Payload,
    operation: Operation,
) -> Result<String, ActionError> {
    let target = payload.target()?;
    if operation.starts() && payload.text_option("env").is_some() {
        // Compat: pm2's text, word for word.
        return Err(ActionError::new(
            "Using --env [env] without passing the ecosystem.config.js does not work",
        ));
    }
    let _lock = if operation.is_reload() {
        Some(ReloadLock::take(payload)?)
    } else {
        None
    };
    let listing = Listing::fetch(rpc).await?;
    let selection = select(&listing, target, payload.around.here())?;
    on_selection(rpc, payload, operation, &listing, &selection).await
}

/// Performs the operation on processes that were found, with the changes that the options make.
pub(super) async fn on_selection<R: Rpc>(
    rpc: &R,
    payload: &Payload,
    operation: Operation,
    listing: &Listing,
    selection: &Selection,
) -> Result<String, ActionError> {
    let mut jobs: Vec<Job> = selection
        .ids
        .iter()
        .map(|id| Job {
            id: id.clone(),
            env: None,
        })
        .collect();
    if operation.starts() {
        let world = World::new(&payload.around.env, &payload.around.cwd);
        let change = Change::of_options(payload, &world, selection.name.as_deref())?;
        super::files::create_folders(&change.folders())?;
        for job in &mut jobs {
            job.env = Some(change.for_process(entry_of(listing, &job.id)));
        }
    }
    let limit = operation.parallel(payload, jobs.len());
    let tasks = jobs.iter().map(|job| perform(rpc, operation, job));
    let replies = window::until_failure(tasks, limit).await?;
    let mut trimmed = Vec::new();
    for reply in &replies {
        trimmed.extend(trim(reply)?);
    }
    Ok(join(trimmed.iter().map(String::as_str)))
}

/// One process to act on.
pub(super) struct Job {
    /// Its id as JSON.
    pub(super) id: String,
    /// What a restart changes, as JSON.
    pub(super) env: Option<String>,
}

/// The listed process with this id.
pub(super) fn entry_of<'a>(listing: &'a Listing, id: &str) -> Option<&'a Entry> {
    let id = id.parse::<u32>().ok()?;
    listing.entries.iter().find(|entry| entry.id == id)
}

/// Performs the operation on one process, and tells the bus. Gives the daemon's value as JSON.
pub(super) async fn perform<R: Rpc>(
    rpc: &R,
    operation: Operation,
    job: &Job,
) -> Result<String, ActionError> {
    let method = operation.method();
    let id = &job.id;
    let args = match &job.env {
        Some(env) => format!("[{{\"id\":{id},\"env\":{env}}}]"),
        None => format!("[{id}]"),
    };
    let reply = if operation.starts() {
        rpc.call(method, &args).await
    } else {
        // Both at once, the switch before the stop: a change of a file meanwhile must not start the process again.
        let unwatch = format!("[\"{method}\",{id}]");
        let (_, reply) =
            tokio::join!(biased; rpc.call("stopWatch", &unwatch), rpc.call(method, &args));
        reply
    };
    let reply = reply?;
    let notice = format!(
        "[{{\"id\":{id},\"action_name\":\"{}\",\"manually\":true}}]",
        operation.event()
    );
    // Compat: a deleted process cannot be found any more, which is no failure of the operation (protocol 4.2).
    drop(rpc.call("notifyByProcessId", &notice).await);
    Ok(first(&reply)?.unwrap_or("null").to_owned())
}

/// The part of the daemon's value that callers get: one object for each process with a record.
pub(super) fn trim(value: &str) -> Result<Vec<String>, ActionError> {
    let mut out = Vec::new();
    for element in elements(value)? {
        // Values without a record (`{"error": …}`) are no processes.
        let Ok(Holder {
            pm2_env: Some(record),
        }) = serde_json::from_str::<Holder<'_>>(element)
        else {
            continue;
        };
        let mut members = String::new();
        let fields = [
            ("name", record.name),
            ("namespace", record.namespace),
            ("pm_id", record.pm_id),
            ("status", record.status),
            ("restart_time", record.restart_time),
        ];
        for (key, value) in fields {
            if let Some(value) = value {
                let _ = write!(members, "\"{key}\":{},", value.get());
            }
        }
        let env = record
            .env
            .map_or_else(String::new, |env| format!("\"env\":{}", env.get()));
        let inner = format!("{members}{env}");
        out.push(format!(
            "{{{members}\"pm2_env\":{{{}}}}}",
            inner.trim_end_matches(',')
        ));
    }
    Ok(out)
}

#[derive(Deserialize)]
struct Holder<'a> {
    #[serde(borrow)]
    pm2_env: Option<Trimmed<'a>>,
}

#[derive(Deserialize)]
struct Trimmed<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    namespace: Option<&'a RawValue>,
    #[serde(borrow)]
    pm_id: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow)]
    restart_time: Option<&'a RawValue>,
    #[serde(borrow)]
    env: Option<&'a RawValue>,
}
