//! What is published on the bus, and the messages of applications it may come from.

use std::fmt;

use super::json::{Members, ObjectWriter, as_text, is_truthy, object, write_object};
use super::{JsonText, PmId, View};

/// One event for `pub.sock`: a name and a payload.
#[derive(Clone, PartialEq, Eq)]
pub struct BusEvent {
    /// The topic, such as `process:event`.
    pub name: Box<str>,
    /// The payload: one JSON object.
    pub payload: JsonText,
}

impl BusEvent {
    /// `process:event`: something happened to a process.
    #[must_use]
    pub fn process(at_ms: u64, event: &str, manually: bool, process: &View<'_>) -> Self {
        let payload = object(|writer| {
            writer.text("event", event);
            writer.plain("manually", manually);
            process.write_record(writer.key("process"), false);
            writer.plain("at", at_ms);
        });
        Self {
            name: "process:event".into(),
            payload,
        }
    }

    /// `log:out` or `log:err`: what an application printed, formatted as it goes to its file.
    #[must_use]
    pub fn log(at_ms: u64, is_err: bool, from: Sender<'_>, data: &str) -> Self {
        let payload = object(|writer| {
            from.write_for(writer, true);
            writer.plain("at", at_ms);
            writer.text("data", data);
        });
        Self {
            name: if is_err { "log:err" } else { "log:out" }.into(),
            payload,
        }
    }

    /// `log:PM2`: one line of the daemon's own log, without its prefix.
    #[must_use]
    pub fn daemon_log(at_ms: u64, text: &str) -> Self {
        let payload = object(|writer| {
            writer.raw("process", r#"{"pm_id":"PM2","name":"PM2","rev":null}"#);
            writer.plain("at", at_ms);
            writer.text("data", &format!("{text}\n"));
        });
        Self {
            name: "log:PM2".into(),
            payload,
        }
    }

    /// `pm2:kill`: the daemon is about to go. `by` is `CLI` or `SIGNAL`.
    #[must_use]
    pub fn daemon_killed(by: &str) -> Self {
        let payload = object(|writer| {
            writer.text("status", "killed");
            writer.text("msg", &format!("pm2 has been killed via {by}"));
        });
        Self {
            name: "pm2:kill".into(),
            payload,
        }
    }

    /// A message with type and data: the event is named by the type.
    #[must_use]
    pub fn typed(at_ms: u64, from: Sender<'_>, name: &str, data: &str) -> Self {
        let payload = object(|writer| {
            writer.plain("at", at_ms);
            writer.raw("data", data);
            from.write_for(writer, from.is_worker);
        });
        Self {
            name: name.into(),
            payload,
        }
    }

    /// `process:msg` with `raw`: any other message. Where it has a type and no data, an event of that name follows in
    /// the shape pm2-interface documents, with `pm_id` and `msg`.
    #[must_use]
    pub fn raw(at_ms: u64, from: Sender<'_>, message: &str, kind: Option<&str>) -> Vec<Self> {
        let payload = |is_raw: bool, is_old: bool| {
            object(|writer| {
                writer.plain("at", at_ms);
                if is_raw {
                    writer.raw("raw", message);
                }
                from.write(writer);
                if is_old {
                    writer.plain("pm_id", from.id);
                    writer.raw("msg", message);
                }
            })
        };
        let raw = |is_old| Self {
            name: RAW.into(),
            payload: payload(true, is_old),
        };
        match kind {
            // One event serves both kinds of listeners.
            Some(RAW) => vec![raw(true)],
            Some(name) if !is_ours(name) => {
                vec![
                    raw(false),
                    Self {
                        name: name.into(),
                        payload: payload(false, true),
                    },
                ]
            }
            Some(_) | None => vec![raw(false)],
        }
    }
}

/// Payloads carry flattened environments: only the name is shown.
impl fmt::Debug for BusEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "BusEvent({}, {} bytes)",
            self.name,
            self.payload.as_str().len()
        )
    }
}

/// The event for messages without a name of their own.
const RAW: &str = "process:msg";

/// Names whose payloads listeners know: an old-style message must not come under one of them.
fn is_ours(name: &str) -> bool {
    ["process:", "log:", "pm2:", "axm:"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// The process an event of an application is from.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    /// Its id.
    pub id: PmId,
    /// Its name.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Whether it is an instance in cluster mode: typed messages of such say `rev`, as pm2's do.
    pub is_worker: bool,
}

impl Sender<'_> {
    fn write(&self, writer: &mut ObjectWriter<'_>) {
        self.write_for(writer, false);
    }

    fn write_for(&self, writer: &mut ObjectWriter<'_>, has_revision: bool) {
        write_object(writer.key("process"), |writer| {
            writer.plain("pm_id", self.id);
            writer.text("name", self.name);
            if has_revision {
                writer.raw("rev", "null");
            }
            writer.text("namespace", self.namespace);
        });
    }
}

/// One message an application sent on its IPC channel: the text of one JSON value.
#[derive(Clone, PartialEq, Eq)]
pub struct AppMessage(Box<str>);

/// What a message is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageKind<'a> {
    /// The string `ready`.
    Ready,
    /// Type and data, both truthy.
    Typed {
        /// The type.
        name: String,
        /// The data, as JSON.
        data: &'a str,
    },
    /// Only the version of the runtime, as JSON.
    NodeVersion(&'a str),
    /// Between Node and its parent; of no interest to anyone else.
    Internal,
    /// Anything else.
    Raw {
        /// A type without data.
        name: Option<String>,
    },
}

/// The longest type that names an event. Anything longer is no topic but data.
pub const EVENT_NAME_MAX: usize = 256;

impl AppMessage {
    /// From one line of the channel. `None` if it is not JSON.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let text = line.trim();
        serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
        Some(Self(text.into()))
    }

    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> MessageKind<'_> {
        if &*self.0 == "\"ready\"" {
            return MessageKind::Ready;
        }
        let Some(members) = Some(&self.0)
            .filter(|text| text.starts_with('{'))
            .and_then(|text| Members::parse(text))
        else {
            return MessageKind::Raw { name: None };
        };
        if members
            .text("cmd")
            .is_some_and(|cmd| cmd.len() > 5 && cmd.starts_with("NODE_"))
        {
            return MessageKind::Internal;
        }
        let name = members
            .get("type")
            .and_then(as_text)
            .filter(|name| !name.is_empty() && name.len() <= EVENT_NAME_MAX);
        match (name, members.get("data").filter(|data| is_truthy(data))) {
            (Some(name), Some(data)) => MessageKind::Typed { name, data },
            (name, _) => match members.get("node_version") {
                Some(version) => MessageKind::NodeVersion(version),
                None => MessageKind::Raw { name },
            },
        }
    }
}

/// Messages may be secrets: only the size is shown.
impl fmt::Debug for AppMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AppMessage({} bytes)", self.0.len())
    }
}

#[cfg(test)]
#[path = "tests/event.rs"]
mod tests;
