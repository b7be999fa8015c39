//! What was saved, started again.

use std::path::Path;

use serde_json::Value;

use super::files::SUCCESS;
use super::list::Listing;
use super::payload::Payload;
use super::window::{PARALLEL_DEFAULT, all};
use super::{ActionError, Rpc};
use crate::config::{Object, ecosystem};
use crate::host::files::replace;

/// Prepares every process of the dump whose name is not managed yet. The value is the dump's text; an empty text when there is none.
///
/// A dump that cannot be read is put aside under a name of its own, and the one before it is taken.
pub(super) async fn resurrect<R: Rpc>(rpc: &R, payload: &Payload) -> Result<String, ActionError> {
    let home = &payload.home;
    let saved = [&home.dump, &home.dump_backup]
        .into_iter()
        .find_map(|path| read(path));
    let Some((text, records)) = saved else {
        return Ok(Value::from("").to_string());
    };
    let listing = Listing::fetch(rpc).await?;
    let is_new = |record: &&Object| {
        let name = record.get("name").and_then(Value::as_str);
        !listing
            .entries
            .iter()
            .any(|entry| Some(entry.name.as_str()) == name)
    };
    let wanted = records.iter().filter(is_new);
    let tasks = wanted.map(async |record| {
        let args = Value::Array(vec![Value::Object(record.clone())]);
        rpc.call("prepare", &args.to_string()).await
    });
    let results = all(tasks, payload.parallel(Some(PARALLEL_DEFAULT))).await;
    // One that cannot be started keeps nobody else from it.
    let failed: Vec<String> = results
        .into_iter()
        .filter_map(|result| result.err().map(|error| error.message))
        .collect();
    if failed.is_empty() {
        Ok(Value::from(text).to_string())
    } else {
        Err(ActionError::new(failed.join(", ")))
    }
}

/// Forgets what was saved.
pub(super) fn clear(payload: &Payload) -> Result<String, ActionError> {
    let written = replace(&payload.home.dump, b"[]");
    written.map_err(|error| ActionError::new(format!("failed to {error}")))?;
    Ok(SUCCESS.to_owned())
}

/// A dump's text and its records. One that is no dump is put aside.
fn read(path: &Path) -> Option<(String, Vec<Object>)> {
    let text = std::fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let records = match ecosystem::parse_json(&text) {
        Ok(Value::Array(items)) => items
            .into_iter()
            .map(|item| match item {
                Value::Object(record) => Some(record),
                _ => None,
            })
            .collect::<Option<Vec<Object>>>(),
        _ => None,
    };
    if records.is_none() {
        let aside = path.with_extension(format!(
            "{}.unreadable",
            path.extension().unwrap_or_default().to_string_lossy()
        ));
        // Where it cannot be moved, the next attempt finds it as unreadable as this one.
        drop(std::fs::rename(path, aside));
    }
    Some((text, records?))
}
