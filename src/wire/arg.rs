//! One argument of a frame: text, JSON or bytes, told apart by its first two bytes.

use bytes::Bytes;

use super::json::{Json, JsonError};

/// What comes before JSON text.
pub(super) const JSON_TAG: &[u8] = b"j:";

/// What comes before plain text.
pub(super) const TEXT_TAG: &[u8] = b"s:";

/// One argument as its sender meant it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arg {
    /// `s:` and UTF-8. What is not UTF-8 was replaced by U+FFFD, as the reference does.
    Text(String),
    /// `j:` and what should be JSON; not looked at yet, see [`Arg::json`].
    Json(Bytes),
    /// Anything else: a buffer.
    Raw(Bytes),
}

impl Arg {
    /// Reads an argument. Never fails: what has no tag is a buffer.
    #[must_use]
    pub fn decode(encoded: Bytes) -> Self {
        if let Some(text) = encoded.strip_prefix(TEXT_TAG) {
            Self::Text(String::from_utf8_lossy(text).into_owned())
        } else if encoded.starts_with(JSON_TAG) {
            let text = encoded.slice(JSON_TAG.len()..);
            // Compat: the reference writes this for a function or a symbol, and its own reader then throws. To us it is null.
            if text == b"undefined"[..] {
                Self::Json(Bytes::from_static(b"null"))
            } else {
                Self::Json(text)
            }
        } else {
            Self::Raw(encoded)
        }
    }

    /// The bytes that [`Arg::decode`] reads as this argument.
    ///
    /// The exception is a buffer that happens to begin with a tag; the format cannot tell it from what it looks like.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Text(text) => [TEXT_TAG, text.as_bytes()].concat().into(),
            Self::Json(text) => [JSON_TAG, text].concat().into(),
            Self::Raw(bytes) => bytes.clone(),
        }
    }

    /// The argument as JSON, the way JavaScript would show it: text as a JSON string, a buffer as Node's `{"type":"Buffer",…}`.
    pub fn json(&self) -> Result<Json, JsonError> {
        match self {
            Self::Text(text) => Ok(Json::string(text)),
            Self::Json(text) => Json::parse(text),
            Self::Raw(bytes) => {
                Json::of(&serde_json::json!({ "type": "Buffer", "data": &bytes[..] }))
            }
        }
    }
}
