//! Which processes a name, an id, a namespace, a pattern or `all` means.

use regex_lite::Regex;

use super::ActionError;
use super::list::{Entry, Listing};
use crate::config::paths;

/// The word that means every process but modules.
pub(super) const ALL: &str = "all";

/// The processes meant by a target.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Selection {
    /// Their ids as JSON, in the order of the list.
    pub(super) ids: Vec<String>,
    /// The name or namespace under which they were found; none for ids, patterns and `all`.
    pub(super) name: Option<String>,
}

/// Finds the processes that `target` means. In this order: `all`, a pattern between slashes, a name or script path, a namespace, an id.
///
/// Modules are left out of `all` alone: whoever names one means it. An id is not looked up: the daemon says in its own words when
/// there is none.
pub(super) fn select(listing: &Listing, target: &str, cwd: &str) -> Result<Selection, ActionError> {
    let ids_of = |passes: &dyn Fn(&Entry) -> bool| {
        let chosen = listing.entries.iter().filter(|entry| passes(entry));
        chosen.map(|entry| entry.id.to_string()).collect::<Vec<_>>()
    };
    if target == ALL {
        return some_or(
            ids_of(&|entry| !entry.is_module()),
            None,
            "process name not found",
        );
    }
    if let Some(pattern) = pattern_of(target) {
        // A pattern between slashes would look like a script path otherwise.
        let pattern = pattern?;
        return some_or(
            ids_of(&|entry| pattern.is_match(&entry.name)),
            None,
            "process name not found",
        );
    }
    let named = ids_of(&|entry| is_called(entry, target, cwd));
    if !named.is_empty() {
        return Ok(Selection {
            ids: named,
            name: Some(target.to_owned()),
        });
    }
    let grouped = ids_of(&|entry| entry.record.namespace.as_deref() == Some(target));
    if !grouped.is_empty() || !is_number(target) {
        return some_or(
            grouped,
            Some(target.to_owned()),
            "process or namespace not found",
        );
    }
    Ok(Selection {
        ids: vec![id_json(target)],
        name: None,
    })
}

/// Is this the process's name, or the path of its script?
pub(super) fn is_called(entry: &Entry, target: &str, cwd: &str) -> bool {
    entry.name == target
        || entry
            .record
            .pm_exec_path
            .as_deref()
            .is_some_and(|path| paths::resolve(cwd, target) == path)
}

/// Is this text an id rather than a name?
pub(super) fn is_number(target: &str) -> bool {
    let digits = target.strip_prefix('-').unwrap_or(target);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// An id as JSON: a number where it can be one, else text, for the daemon to refuse.
pub(super) fn id_json(target: &str) -> String {
    match target.parse::<u32>() {
        Ok(id) => id.to_string(),
        Err(_) => serde_json::Value::from(target).to_string(),
    }
}

fn some_or(ids: Vec<String>, name: Option<String>, error: &str) -> Result<Selection, ActionError> {
    if ids.is_empty() {
        Err(ActionError::new(error))
    } else {
        Ok(Selection { ids, name })
    }
}

/// The pattern of `/…/`; all slashes are taken out, as pm2 does.
fn pattern_of(target: &str) -> Option<Result<Regex, ActionError>> {
    if target.len() < 2 || !target.starts_with('/') || !target.ends_with('/') {
        return None;
    }
    let pattern = target.replace('/', "");
    Some(Regex::new(&pattern).map_err(|error| {
        ActionError::new(format!("Invalid regular expression: {target}: {error}"))
    }))
}
