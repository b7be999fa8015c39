//! What is published on the bus, and the messages of applications it may come from.

use super::JsonText;

/// One event for `pub.sock`: a name and a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusEvent {
    /// The topic, such as `process:event`.
    pub name: Box<str>,
    /// The payload: one JSON object.
    pub payload: JsonText,
}

/// One message an application sent on its IPC channel: the text of one JSON value.
#[derive(Clone, PartialEq, Eq)]
pub struct AppMessage(Box<str>);

impl AppMessage {
    /// From one line of the channel. `None` if it is not JSON.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        serde_json::from_str::<serde::de::IgnoredAny>(line).ok()?;
        Some(Self(line.trim().into()))
    }

    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for AppMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AppMessage({} bytes)", self.0.len())
    }
}

impl BusEvent {
    /// `log:PM2`: one line of the daemon's own log, without its prefix.
    #[must_use]
    pub fn daemon_log(at_ms: u64, text: &str) -> Self {
        Self::new(
            "log:PM2",
            &serde_json::json!({
                "process": {"pm_id": "PM2", "name": "PM2", "rev": null}, "at": at_ms, "data": format!("{text}\n"),
            }),
        )
    }

    /// `pm2:kill`: the daemon is about to go. `by` is `CLI` or `SIGNAL`.
    #[must_use]
    pub fn daemon_killed(by: &str) -> Self {
        let msg = format!("pm2 has been killed via {by}");
        Self::new(
            "pm2:kill",
            &serde_json::json!({"status": "killed", "msg": msg}),
        )
    }

    fn new(name: &str, payload: &serde_json::Value) -> Self {
        Self {
            name: name.into(),
            payload: JsonText::from_value(payload),
        }
    }
}
