//! Files that actions write: the reload lock, folders of logs, the dump, emptied logs.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::fcntl::OFlag;
use serde_json::Value;

use super::error::code_of;
use super::list::Listing;
use super::payload::{Payload, What};
use super::{ActionError, Rpc};
use crate::config::Object;
use crate::host::dump;
use crate::host::files::{note, open_to_write};

/// How long a reload's lock counts when nobody says otherwise: what it was taken for has ended or died by then.
const RELOAD_LOCK_MS: u64 = 30_000;

/// Why an empty list is not saved unless it must be.
const NOTHING_TO_SAVE: &str = "Process list empty, cannot save empty list";

/// The right to reload on a home. Dropping it gives it back.
pub(super) struct ReloadLock {
    path: PathBuf,
}

impl ReloadLock {
    /// Takes it, unless another reload took it a short while ago and the caller does not insist.
    ///
    /// A lock that cannot be written does not keep anybody from reloading.
    pub(super) fn take(payload: &Payload) -> Result<Self, ActionError> {
        let path = payload.home.reload_lock.clone();
        let limit = payload
            .around
            .env
            .get("PM2_RELOAD_LOCK_TIMEOUT")
            .and_then(Value::as_str);
        let limit = limit
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(RELOAD_LOCK_MS);
        let now = now_ms();
        let since = std::fs::read_to_string(&path)
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok());
        if since.is_some_and(|since| now.saturating_sub(since) < limit) && !payload.is_on("force") {
            return Err(ActionError::new("Reload in progress"));
        }
        drop(note(&path, &now.to_string()));
        Ok(Self { path })
    }
}

impl Drop for ReloadLock {
    fn drop(&mut self) {
        drop(note(&self.path, ""));
    }
}

/// Creates folders for log and pid files, with those above them.
pub(super) fn create_folders(folders: &[String]) -> Result<(), ActionError> {
    for folder in folders {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|error| failed(&format!("Could not create folder {folder}"), &error))?;
    }
    Ok(())
}

/// Writes a declaration beside the caller's other files.
pub(super) fn write_declaration(app: &Object, name: &str, folder: &str) -> Result<(), ActionError> {
    let path = Path::new(folder).join(format!("{}-pm2.json", name.replace('/', "-")));
    let text = serde_json::to_string_pretty(app).unwrap_or_default();
    note(&path, &text)
        .map_err(|error| failed(&format!("failed to write {}", path.display()), &error))
}

/// Saves the list of processes, without modules, where `resurrect` finds it.
pub(super) async fn save<R: Rpc>(rpc: &R, payload: &Payload) -> Result<String, ActionError> {
    let is_set = |value: Option<&Value>| value.is_some_and(crate::config::spelling::is_truthy);
    let is_forced = is_set(payload.further.get("force"))
        || payload.is_on("force")
        || is_set(payload.around.env.get("FORCE"));
    let listing = Listing::fetch(rpc).await?;
    let mut records = Vec::new();
    for (entry, text) in listing.iter().filter(|(entry, _)| !entry.is_module()) {
        let process: Object = serde_json::from_str(text).map_err(|error| {
            ActionError::new(format!("process {} cannot be read: {error}", entry.id))
        })?;
        let Some(Value::Object(mut record)) = process.get("pm2_env").cloned() else {
            continue;
        };
        // They belong to this life of the process: a resurrected one gets its own.
        for key in ["instances", "pm_id", "prev_restart_delay"] {
            record.shift_remove(key);
        }
        records.push(Value::Object(record));
    }
    if records.is_empty() && !is_forced {
        if !payload.home.dump.exists() {
            dump::clear(&payload.home)?;
        }
        return Err(ActionError::new(NOTHING_TO_SAVE));
    }
    let text = serde_json::to_string_pretty(&Value::Array(records)).unwrap_or_default();
    dump::save(&payload.home.dump, &payload.home.dump_backup, &text)?;
    Ok(SUCCESS.to_owned())
}

/// Empties the log files of the processes that the caller named, or everyone's and the daemon's own.
pub(super) async fn flush<R: Rpc>(rpc: &R, payload: &Payload) -> Result<String, ActionError> {
    let target = match &payload.what {
        What::Nothing => None,
        _ => Some(payload.target()?),
    };
    let listing = Listing::fetch(rpc).await?;
    let is_everything = target.is_none_or(|target| target == super::target::ALL);
    // Compat: id 0 empties the daemon's log too (behaviour 14.5).
    if is_everything || target == Some("0") {
        empty(&payload.home.log_file)?;
    }
    let is_meant = |name: &str, id: u32| {
        target.is_none_or(|target| is_everything || name == target || id.to_string() == target)
    };
    for entry in listing
        .entries
        .iter()
        .filter(|entry| is_meant(&entry.name, entry.id))
    {
        let record = &entry.record;
        for path in [
            &record.pm_out_log_path,
            &record.pm_err_log_path,
            &record.pm_log_path,
        ]
        .into_iter()
        .flatten()
        {
            empty(Path::new(path))?;
        }
    }
    Ok(listing.texts_of(|_| true))
}

/// The value of an action that has none of its own.
pub(super) const SUCCESS: &str = "{\"success\":true}";

/// Cuts a regular file to nothing; what is missing or no file is empty already.
fn empty(path: &Path) -> Result<(), ActionError> {
    if !path.metadata().is_ok_and(|found| found.is_file()) {
        return Ok(());
    }
    let mut options = std::fs::OpenOptions::new();
    open_to_write(path, options.write(true).truncate(true), OFlag::empty())
        .map(drop)
        .map_err(|error| failed(&format!("failed to empty {}", path.display()), &error))
}

fn failed(what: &str, error: &io::Error) -> ActionError {
    ActionError {
        code: code_of(error),
        ..ActionError::new(format!("{what}: {error}"))
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
