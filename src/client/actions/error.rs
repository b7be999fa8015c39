//! Why an action failed, in the words that pm2 uses.

use std::error::Error;
use std::fmt::Write as _;
use std::io;

use serde_json::value::RawValue;

use crate::host::HostError;

/// Why an action failed. The text is what pm2's callers see and compare, so it is pm2's wherever pm2 has one.
#[derive(Debug, Default)]
pub struct ActionError {
    /// The message of the Error.
    pub message: String,
    /// Node's error code (`ENOENT`) where the cause is the operating system.
    pub code: Option<String>,
    /// One message for each app that failed, when the action was one of several apps: the callback then gets an array.
    pub errors: Vec<String>,
    /// What succeeded nevertheless.
    pub value: Option<Box<RawValue>>,
}

impl ActionError {
    /// A failure that is nothing but its message.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            ..Self::default()
        }
    }

    /// The error as the addon hands it to JavaScript.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = format!("{{\"message\":{}", quote(&self.message));
        if let Some(code) = &self.code {
            let _ = write!(out, ",\"code\":{}", quote(code));
        }
        if !self.errors.is_empty() {
            out.push_str(",\"errors\":[");
            for (index, message) in self.errors.iter().enumerate() {
                let comma = if index == 0 { "" } else { "," };
                let _ = write!(out, "{comma}{{\"message\":{}}}", quote(message));
            }
            out.push(']');
        }
        if let Some(value) = &self.value {
            let _ = write!(out, ",\"value\":{}", value.get());
        }
        out.push('}');
        out
    }
}

impl std::fmt::Display for ActionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for ActionError {}

impl From<HostError> for ActionError {
    fn from(error: HostError) -> Self {
        let cause = error.source().map(ToString::to_string);
        let system = error.source().and_then(<dyn Error>::downcast_ref);
        Self {
            code: system.and_then(code_of),
            ..Self::new(match cause {
                Some(cause) => format!("failed to {error}: {cause}"),
                None => format!("failed to {error}"),
            })
        }
    }
}

/// The system's name for what went wrong (`ENOSPC`), if it was the system.
pub(super) fn code_of(error: &io::Error) -> Option<String> {
    let number = error.raw_os_error()?;
    Some(format!("{:?}", nix::errno::Errno::from_raw(number)))
}

fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
