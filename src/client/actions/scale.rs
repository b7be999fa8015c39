//! More or fewer processes of one name.

use serde_json::Value;

use super::files::SUCCESS;
use super::list::Listing;
use super::operate::{Job, Operation, perform};
use super::payload::Payload;
use super::target::is_called;
use super::{ActionError, Rpc};

/// More processes of one app than this are a slip of the pen, not a wish.
const PROCESSES_MAX: usize = 10_000;

/// Brings the number of processes of one name to a count, or changes it by one: one process at a time, lowest ids first on the way down.
pub(super) async fn scale<R: Rpc>(rpc: &R, payload: &Payload) -> Result<String, ActionError> {
    let target = payload.target()?;
    let wish = Wish::read(payload.further.get("count"))?;
    let listing = Listing::fetch(rpc).await?;
    let found = listing
        .entries
        .iter()
        .filter(|entry| is_called(entry, target, payload.around.here()));
    let mut ids: Vec<u32> = found.map(|entry| entry.id).collect();
    ids.sort_unstable();
    let Some(original) = ids.first().copied() else {
        return Err(ActionError::new("App not found"));
    };
    let count = match wish {
        Wish::Exactly(count) if count == ids.len() => {
            return Err(ActionError::new("Same process number"));
        }
        Wish::Exactly(count) => count,
        Wish::More(count) => ids.len().saturating_add(count),
        Wish::Fewer(count) => ids.len().saturating_sub(count),
    };
    if count > PROCESSES_MAX {
        return Err(ActionError::new(format!(
            "cannot scale {target} to {count} processes, at most {PROCESSES_MAX} are allowed"
        )));
    }
    for _ in ids.len()..count {
        rpc.call("duplicateProcessId", &format!("[{original}]"))
            .await?;
    }
    for id in ids.iter().take(ids.len().saturating_sub(count)) {
        perform(
            rpc,
            Operation::Delete,
            &Job {
                id: id.to_string(),
                env: None,
            },
        )
        .await?;
    }
    Ok(SUCCESS.to_owned())
}

#[derive(Debug, PartialEq, Eq)]
enum Wish {
    Exactly(usize),
    More(usize),
    Fewer(usize),
}

impl Wish {
    fn read(count: Option<&Value>) -> Result<Self, ActionError> {
        let text = match count {
            Some(Value::String(text)) => text.trim().to_owned(),
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        };
        let parsed = match text.as_bytes() {
            [b'+', ..] => text[1..].parse().ok().map(Self::More),
            [b'-', ..] => text[1..].parse().ok().map(Self::Fewer),
            _ => text.parse().ok().map(Self::Exactly),
        };
        parsed.ok_or_else(|| {
            let shown: String = text.chars().take(60).collect();
            ActionError::new(format!(
                "the number of processes must be a count, \"+n\" or \"-n\" (given: {shown})"
            ))
        })
    }
}
