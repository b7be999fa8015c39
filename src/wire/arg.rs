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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(bytes: &'static [u8]) -> Arg {
        Arg::decode(Bytes::from_static(bytes))
    }

    #[test]
    fn the_first_two_bytes_say_what_an_argument_is() {
        assert_eq!(decode(b"s:hi"), Arg::Text("hi".to_owned()));
        assert_eq!(decode(b"s:"), Arg::Text(String::new()));
        assert_eq!(decode(b"j:{}"), Arg::Json(Bytes::from_static(b"{}")));
        for raw in [&b""[..], b"j", b"s", b"x:1", b"\x00"] {
            assert_eq!(decode(raw), Arg::Raw(Bytes::from_static(raw)));
        }
    }

    #[test]
    fn undefined_is_null() {
        assert_eq!(decode(b"j:undefined").json().unwrap(), Json::null());
        assert!(decode(b"j:undefine").json().is_err());
    }

    #[test]
    fn text_that_is_not_utf8_is_replaced_as_the_reference_does() {
        assert_eq!(decode(b"s:a\xffb"), Arg::Text("a\u{fffd}b".to_owned()));
    }

    #[test]
    fn every_argument_can_be_shown_as_json() {
        assert_eq!(decode(b"s:a\"b").json().unwrap().as_str(), r#""a\"b""#);
        assert_eq!(decode(b"j: [1] ").json().unwrap().as_str(), "[1]");
        assert_eq!(
            decode(b"\x01\x02").json().unwrap().as_str(),
            r#"{"type":"Buffer","data":[1,2]}"#
        );
    }

    proptest! {
        #[test]
        fn what_was_decoded_encodes_to_the_same_bytes(text in ".*", raw in prop::collection::vec(any::<u8>(), 0..40)) {
            for encoded in [format!("s:{text}").into_bytes(), format!("j:{text}").into_bytes(), raw] {
                let encoded = Bytes::from(encoded);
                // Bytes that are no UTF-8 behind `s:` do not come back; none of ours are.
                if std::str::from_utf8(&encoded).is_ok() && encoded != "j:undefined" {
                    prop_assert_eq!(Arg::decode(encoded.clone()).encode(), encoded);
                }
            }
        }
    }
}
