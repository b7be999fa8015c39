//! Ids. None of them is ever a bare integer.

use std::fmt;

use serde::{Deserialize, Serialize};

/// pm2's `pm_id`: the number a process has in the list for as long as it is listed.
///
/// An id is never given twice until the list becomes empty; then counting starts at 0 again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PmId(pub u32);

/// The operating system's process id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pid(pub i32);

/// One attempt to spawn a process. Never reused, so that a late report of an earlier run is recognised as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub u64);

/// A caller's claim to one answer. Made by the daemon; the core answers each exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ticket(pub u64);

impl Ticket {
    /// Of callers who went with an earlier daemon: it is never given, and replies to it go nowhere.
    pub const NOBODY: Self = Self(u64::MAX);
}

/// One listening socket that the daemon holds for applications in cluster mode. Made by the core, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SocketId(pub u64);

/// One address that an application in cluster mode serves, at one or several sockets. Made by the core, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ListenerId(pub u64);

/// One connection that the daemon accepted for an application in cluster mode. Made by the daemon, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConnectionId(pub u64);
impl Ticket {
    /// The core's own: what it asks of itself, such as a restart by schedule. Nobody waits for the answer.
    pub const OWN: Self = Self(u64::MAX);
}

impl fmt::Display for PmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A process id as a client wrote it: a number or a numeric text, and possibly neither.
///
/// Kept as written because errors quote it (`abc id unknown`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireId(Box<str>);

/// How much of an id that is none is quoted in an error.
const QUOTED_ID_MAX: usize = 80;

impl WireId {
    /// From the JSON value a client sent. Text is taken as it is, anything else as its JSON text.
    #[must_use]
    pub fn from_json(value: &serde_json::Value) -> Self {
        match value {
            serde_json::Value::String(text) => Self::from_text(text),
            other => Self::from_text(&other.to_string()),
        }
    }

    /// From text, such as the key of a map.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self(
            text.chars()
                .take(QUOTED_ID_MAX)
                .collect::<String>()
                .into_boxed_str(),
        )
    }

    /// The id meant, if it can be one: only the canonical decimal form, as for a key of a JavaScript object.
    #[must_use]
    pub fn id(&self) -> Option<PmId> {
        let number: u32 = self.0.parse().ok()?;
        (number.to_string() == *self.0).then_some(PmId(number))
    }
}

impl From<PmId> for WireId {
    fn from(id: PmId) -> Self {
        Self(id.to_string().into_boxed_str())
    }
}

impl fmt::Display for WireId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_may_be_a_number_or_numeric_text() {
        assert_eq!(WireId::from_json(&serde_json::json!(3)).id(), Some(PmId(3)));
        assert_eq!(
            WireId::from_json(&serde_json::json!("3")).id(),
            Some(PmId(3))
        );
    }

    #[test]
    fn what_is_no_id_is_quoted_as_written() {
        for (value, quoted) in [
            (serde_json::json!("abc"), "abc"),
            (serde_json::json!("+3"), "+3"),
            (serde_json::json!("03"), "03"),
            (serde_json::json!(null), "null"),
            (serde_json::json!(-1), "-1"),
            (serde_json::json!({"id": 1}), "{\"id\":1}"),
        ] {
            let id = WireId::from_json(&value);
            assert_eq!(id.id(), None, "{value}");
            assert_eq!(id.to_string(), quoted);
        }
    }
}
