//! Small actions: asking about processes, resetting their counters, sending them signals.

use serde_json::Value;

use super::files::SUCCESS;
use super::list::{Listing, first};
use super::payload::{Payload, What};
use super::target::{ALL, id_json, is_called, is_number};
use super::{ActionError, Rpc, window};

/// The processes of that name, or the one with that id; none is no error.
pub(super) async fn describe<R: Rpc>(rpc: &R, payload: &Payload) -> Result<String, ActionError> {
    let target = payload.target()?;
    let listing = Listing::fetch(rpc).await?;
    Ok(listing.texts_of(|entry| entry.name == target || entry.id.to_string() == target))
}

/// The pids of the processes of that name, or of all.
pub(super) async fn pids<R: Rpc>(rpc: &R, payload: &Payload) -> Result<String, ActionError> {
    let name = match &payload.what {
        What::Nothing => None,
        _ => Some(payload.target()?),
    };
    let listing = Listing::fetch(rpc).await?;
    let meant = listing
        .entries
        .iter()
        .filter(|entry| name.is_none_or(|name| entry.name == name));
    Ok(Value::from(meant.map(|entry| entry.pid).collect::<Vec<_>>()).to_string())
}

/// The ids of the processes of that name or script path.
pub(super) async fn ids<R: Rpc>(rpc: &R, payload: &Payload) -> Result<String, ActionError> {
    let target = payload.target()?;
    let listing = Listing::fetch(rpc).await?;
    let meant = listing
        .entries
        .iter()
        .filter(|entry| is_called(entry, target, payload.around.here()));
    Ok(Value::from(meant.map(|entry| entry.id).collect::<Vec<_>>()).to_string())
}

/// Sets the counters of all processes, those of a name, or the one with an id back to zero.
pub(super) async fn reset<R: Rpc>(rpc: &R, payload: &Payload) -> Result<String, ActionError> {
    let target = payload.target()?;
    let listing = Listing::fetch(rpc).await?;
    let meant = listing.entries.iter().filter(|entry| match target {
        ALL => !entry.is_module(),
        name => is_called(entry, name, payload.around.here()),
    });
    let mut ids: Vec<String> = meant.map(|entry| entry.id.to_string()).collect();
    if ids.is_empty() && is_number(target) {
        ids.push(id_json(target));
    }
    if ids.is_empty() && target != ALL {
        return Err(ActionError::new("Unknown process name"));
    }
    let tasks = ids
        .iter()
        .map(|id| async move { rpc.call("resetMetaProcessId", &format!("[{id}]")).await });
    window::until_failure(tasks, payload.parallel(None)).await?;
    Ok(SUCCESS.to_owned())
}

/// Sends a signal to the process with an id, or to all of a name.
pub(super) async fn signal<R: Rpc>(rpc: &R, payload: &Payload) -> Result<String, ActionError> {
    let target = payload.target()?;
    let signal = match payload.further.get("signal") {
        Some(signal @ (Value::String(_) | Value::Number(_))) => signal.clone(),
        _ => return Err(ActionError::new("a signal is missing")),
    };
    let reply = if payload.further.get("by").is_some_and(|by| by == "id") {
        let args = format!(
            "[{{\"signal\":{signal},\"process_id\":{}}}]",
            id_json(target)
        );
        rpc.call("sendSignalToProcessId", &args).await?
    } else {
        let args = format!(
            "[{{\"signal\":{signal},\"process_name\":{}}}]",
            Value::from(target)
        );
        rpc.call("sendSignalToProcessName", &args).await?
    };
    Ok(first(&reply)?.unwrap_or("null").to_owned())
}
