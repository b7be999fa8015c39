//! The daemon's list of processes, read no further than an action needs.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::{ActionError, Rpc};

/// Every process, in the daemon's order, with its text as the daemon sent it.
pub(super) struct Listing {
    /// The text of each element of the list.
    texts: Vec<Box<RawValue>>,
    /// What was read of each.
    pub(super) entries: Vec<Entry>,
}

/// What actions look at in one process.
pub(super) struct Entry {
    pub(super) id: u32,
    pub(super) pid: i64,
    pub(super) name: String,
    pub(super) record: Record,
}

/// What actions look at in its record.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Record {
    pub(super) namespace: Option<String>,
    pub(super) pm_exec_path: Option<String>,
    pub(super) status: Option<String>,
    /// Present in the records of modules, whatever its value.
    pmx_module: Option<bool>,
    pub(super) merge_logs: Option<bool>,
    pub(super) pm_out_log_path: Option<String>,
    pub(super) pm_err_log_path: Option<String>,
    pub(super) pm_log_path: Option<String>,
    /// Present if its declaration had any.
    pub(super) unknown_options: Option<IgnoredAny>,
}

impl Listing {
    /// Asks the daemon for the list.
    pub(super) async fn fetch(rpc: &impl Rpc) -> Result<Self, ActionError> {
        let reply = rpc.call("getMonitorData", "[{}]").await?;
        Self::read(&reply)
    }

    fn read(reply: &str) -> Result<Self, ActionError> {
        let listed: Vec<Box<RawValue>> = match first(reply)? {
            Some(list) => serde_json::from_str(list).map_err(unreadable)?,
            None => Vec::new(),
        };
        let mut listing = Self {
            texts: Vec::with_capacity(listed.len()),
            entries: Vec::with_capacity(listed.len()),
        };
        for text in listed {
            let wire: WireEntry = serde_json::from_str(text.get()).map_err(unreadable)?;
            // The outgoing half of a reload has a text for an id; it is not for actions.
            let Some(id) = wire.pm_id.as_u64().and_then(|id| u32::try_from(id).ok()) else {
                continue;
            };
            let record = wire.pm2_env.unwrap_or_default();
            listing.entries.push(Entry {
                id,
                pid: wire.pid.unwrap_or(0),
                name: wire.name,
                record,
            });
            listing.texts.push(text);
        }
        Ok(listing)
    }

    /// The JSON text of an array of those processes that pass.
    pub(super) fn texts_of(&self, passes: impl Fn(&Entry) -> bool) -> String {
        let chosen = self
            .texts
            .iter()
            .zip(&self.entries)
            .filter(|(_, entry)| passes(entry));
        join(chosen.map(|(text, _)| text.get()))
    }

    /// Each process with its text.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Entry, &str)> {
        self.entries
            .iter()
            .zip(self.texts.iter().map(|text| text.get()))
    }
}

impl Entry {
    /// Is it a module, which `all` does not mean?
    pub(super) fn is_module(&self) -> bool {
        self.record.pmx_module.is_some_and(|is_module| is_module)
    }
}

#[derive(Deserialize)]
struct WireEntry {
    #[serde(default)]
    pid: Option<i64>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    pm_id: serde_json::Value,
    #[serde(default)]
    pm2_env: Option<Record>,
}

/// The text of the first value of a reply; none if the daemon called back with nothing.
pub(super) fn first(reply: &str) -> Result<Option<&str>, ActionError> {
    let values: Vec<&RawValue> = serde_json::from_str(reply).map_err(unreadable)?;
    Ok(values.first().map(|value| value.get()))
}

/// The texts of the elements of an array, or of the one value that is none.
pub(super) fn elements(value: &str) -> Result<Vec<&str>, ActionError> {
    if !value.trim_start().starts_with('[') {
        return Ok(vec![value]);
    }
    let items: Vec<&RawValue> = serde_json::from_str(value).map_err(unreadable)?;
    Ok(items.into_iter().map(RawValue::get).collect())
}

/// A JSON array of values that are JSON texts already.
pub(super) fn join<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let mut out = String::from("[");
    for text in texts {
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(text);
    }
    out.push(']');
    out
}

#[expect(clippy::needless_pass_by_value, reason = "the argument of map_err")]
fn unreadable(error: serde_json::Error) -> ActionError {
    ActionError::new(format!("the daemon's reply cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_needed_is_read_and_the_rest_is_kept_as_text() {
        let reply = r#"[[{"pid":5,"name":"a","pm2_env":{"status":"online","env":{"x":[1,{"y":null}]},"pmx_module":true},"pm_id":0,"monit":{}},
            {"pid":0,"name":"b","pm2_env":{},"pm_id":"_old_1"}]]"#;
        let listing = Listing::read(reply).unwrap();
        assert_eq!(listing.entries.len(), 1);
        assert!(listing.entries[0].is_module());
        let texts = listing.texts_of(|entry| entry.pid == 5);
        assert!(
            texts.starts_with(r#"[{"pid":5,"name":"a","pm2_env":{"status":"online","env":{"x""#),
            "{texts}"
        );
        assert_eq!(listing.texts_of(|_| false), "[]");
    }

    #[test]
    fn an_empty_or_broken_reply_is_no_panic() {
        assert!(Listing::read("[]").unwrap().entries.is_empty());
        for bad in ["", "{}", "[5]", "[[5]]", "[[{\"name\":5}]]"] {
            assert!(Listing::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_are_taken_apart_and_put_together_as_text() {
        assert_eq!(elements("[1, {\"a\": 2}]").unwrap(), ["1", "{\"a\": 2}"]);
        assert_eq!(elements("{\"a\":1}").unwrap(), ["{\"a\":1}"]);
        assert_eq!(join(["1", "2"].into_iter()), "[1,2]");
        assert_eq!(first("[]").unwrap(), None);
    }
}
