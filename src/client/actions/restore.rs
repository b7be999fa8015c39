//! What was saved, started again.

use std::path::Path;

use serde_json::Value;

use super::files::SUCCESS;
use super::list::Listing;
use super::payload::Payload;
use super::window::{PARALLEL_DEFAULT, all};
use super::{ActionError, Rpc};
use crate::config::Object;
use crate::host::dump;

/// What happens while saved processes are brought back.
#[derive(Debug, Clone, Copy)]
pub enum Restoring<'a> {
    /// This file is of no use, for this reason.
    Unreadable(&'a Path, &'a str),
    /// This file is the one.
    From(&'a Path),
    /// The process of this script is back.
    Restored(&'a str),
}

/// Prepares every process of the saved list whose name is not managed yet. The value is the list's text; an empty text when nothing
/// was ever saved.
///
/// A list that cannot be read is put aside under a name of its own, and the one before it is taken. If that is none either, the call fails:
/// something was saved, and is not back.
pub(super) async fn resurrect<R: Rpc>(
    rpc: &R,
    payload: &Payload,
    tell: &dyn Fn(Restoring),
) -> Result<String, ActionError> {
    let found = dump::load(&payload.home);
    for (path, reason) in &found.unreadable {
        tell(Restoring::Unreadable(path, reason));
    }
    let Some(saved) = found.saved else {
        let reasons: Vec<String> = found
            .unreadable
            .iter()
            .map(|(path, reason)| format!("{}: {reason}", path.display()))
            .collect();
        return if reasons.is_empty() {
            Ok(Value::from("").to_string())
        } else {
            let reasons = reasons.join("; ");
            Err(ActionError::new(format!(
                "no saved list can be read: {reasons}"
            )))
        };
    };
    tell(Restoring::From(&saved.path));
    let listing = Listing::fetch(rpc).await?;
    let name = |record: &Object| {
        record
            .get("name")
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let is_new = |record: &&Object| {
        let name = name(record);
        !listing
            .entries
            .iter()
            .any(|entry| Some(&entry.name) == name.as_ref())
    };
    let wanted = saved.records.iter().filter(is_new);
    let tasks = wanted.map(async |record| {
        let args = Value::Array(vec![Value::Object(record.clone())]);
        let prepared = rpc.call("prepare", &args.to_string()).await;
        match prepared {
            Ok(_) => {
                let script = record.get("pm_exec_path").and_then(Value::as_str);
                tell(Restoring::Restored(script.unwrap_or_default()));
                Ok(())
            }
            Err(error) => Err(match name(record) {
                Some(name) => format!("{name}: {}", error.message),
                None => error.message,
            }),
        }
    });
    let results = all(tasks, payload.parallel(Some(PARALLEL_DEFAULT))).await;
    // One that cannot be started keeps nobody else from it.
    let failed: Vec<String> = results.into_iter().filter_map(Result::err).collect();
    if failed.is_empty() {
        Ok(Value::from(saved.text).to_string())
    } else {
        Err(ActionError::new(failed.join(", ")))
    }
}

/// Forgets what was saved.
pub(super) fn clear(payload: &Payload) -> Result<String, ActionError> {
    dump::clear(&payload.home)?;
    Ok(SUCCESS.to_owned())
}
