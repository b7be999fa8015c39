//! JSON kept as text: written once, copied often, parsed only where a member is needed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// The text of one JSON value. Whoever makes one vouches that it is valid.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JsonText(String);

impl JsonText {
    /// From text that is known to be one JSON value.
    #[must_use]
    pub fn from_valid(text: String) -> Self {
        debug_assert!(
            serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok(),
            "not one JSON value"
        );
        Self(text)
    }

    /// From a value.
    #[must_use]
    pub fn from_value(value: &serde_json::Value) -> Self {
        Self(value.to_string())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, given away.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

/// Payloads carry flattened environments: only the size is shown.
impl fmt::Debug for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JsonText({} bytes)", self.0.len())
    }
}

/// The members of one JSON object, each value still text. As in JavaScript, the last of equal keys wins and keeps the
/// place of the first.
pub struct Members<'a> {
    list: Vec<(String, &'a str)>,
}

impl<'a> Members<'a> {
    /// Looks at one object. `None` for anything else.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// An object without members.
    #[must_use]
    pub fn none() -> Self {
        Self { list: Vec::new() }
    }

    /// The text of one member.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.list
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, raw)| *raw)
    }

    /// The text of one member, if it is a string.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<String> {
        self.get(key).and_then(as_text)
    }

    /// Whether there is such a member, `null` included.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Every member in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.list.iter().map(|(key, raw)| (key.as_str(), *raw))
    }
}

/// Values may be secrets: only the keys are shown.
impl fmt::Debug for Members<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.list.iter().map(|(key, _)| key))
            .finish()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut places = BTreeMap::new();
                let mut list: Vec<(String, &'de str)> = Vec::new();
                while let Some((key, raw)) = map.next_entry::<String, &'de RawValue>()? {
                    if let Some(&place) = places.get(&key) {
                        let slot: &mut (String, &'de str) = &mut list[place];
                        slot.1 = raw.get();
                    } else {
                        places.insert(key.clone(), list.len());
                        list.push((key, raw.get()));
                    }
                }
                Ok(Members { list })
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// The string a JSON text is, if it is one.
#[must_use]
pub fn as_text(raw: &str) -> Option<String> {
    raw.starts_with('"')
        .then(|| serde_json::from_str(raw).ok())
        .flatten()
}

/// Whether a JSON text is an object.
#[must_use]
pub fn is_object(raw: &str) -> bool {
    raw.starts_with('{')
}

/// Whether JavaScript would take the value for true.
#[must_use]
pub fn is_truthy(raw: &str) -> bool {
    match raw.as_bytes().first() {
        None | Some(b'n' | b'f') => false,
        Some(b'"') => raw != "\"\"",
        Some(b't' | b'{' | b'[') => true,
        Some(_) => raw.parse::<f64>().is_ok_and(|number| number != 0.0),
    }
}

/// Text as a JSON string.
#[must_use]
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Text as a JSON string, at the end of `out`. A list has some thirty of them per process, so what needs no escape is only copied.
fn write_quoted(out: &mut Vec<u8>, text: &str) {
    let needs_escape = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    if text.bytes().any(needs_escape) {
        out.extend_from_slice(quoted(text).as_bytes());
    } else {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    }
}

/// The members of an object's text, without the braces.
#[must_use]
pub(crate) fn inside(object: &str) -> &str {
    let trimmed = object.trim_ascii();
    trimmed
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
        .unwrap_or("")
        .trim_ascii()
}

/// Sees to it that the members of an object's text come next in a text: see [`copied`].
pub(crate) type Place<'p> = dyn FnMut(&mut Vec<u8>, &Arc<str>) + 'p;

/// Copies them.
pub(crate) fn copied(out: &mut Vec<u8>, object: &Arc<str>) {
    out.extend_from_slice(inside(object).as_bytes());
}

/// Writes one object by copying texts into it.
pub(crate) struct ObjectWriter<'a> {
    out: &'a mut Vec<u8>,
    is_empty: bool,
}

impl<'a> ObjectWriter<'a> {
    /// Opens the object.
    pub(crate) fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self {
            out,
            is_empty: true,
        }
    }

    /// Closes it.
    pub(crate) fn end(self) {
        self.out.push(b'}');
    }

    /// Copies all members of another object.
    pub(crate) fn members(&mut self, object: &str) {
        let members = inside(object);
        if !members.is_empty() {
            self.separate();
            self.out.extend_from_slice(members.as_bytes());
        }
    }

    /// The same, leaving it to `place` to have them there.
    pub(crate) fn members_by(&mut self, object: &Arc<str>, place: &mut Place<'_>) {
        if !inside(object).is_empty() {
            self.separate();
            place(self.out, object);
        }
    }

    /// One member whose value is JSON text.
    pub(crate) fn raw(&mut self, key: &str, raw: &str) {
        self.key(key).extend_from_slice(raw.as_bytes());
    }

    /// One member whose value is a string.
    pub(crate) fn text(&mut self, key: &str, text: &str) {
        write_quoted(self.key(key), text);
    }

    /// One member whose value prints as JSON: a number or a boolean.
    pub(crate) fn plain(&mut self, key: &str, value: impl fmt::Display) {
        use std::io::Write;
        let out = self.key(key);
        let written = write!(out, "{value}");
        debug_assert!(written.is_ok(), "a vector takes everything");
    }

    /// Begins a member and leaves its value to the caller, who must write exactly one.
    pub(crate) fn key(&mut self, key: &str) -> &mut Vec<u8> {
        self.separate();
        write_quoted(self.out, key);
        self.out.push(b':');
        self.out
    }

    fn separate(&mut self) {
        if !self.is_empty {
            self.out.push(b',');
        }
        self.is_empty = false;
    }
}

/// One object, written by `fill`.
pub(crate) fn object(fill: impl FnOnce(&mut ObjectWriter<'_>)) -> JsonText {
    let mut out = Vec::new();
    write_object(&mut out, fill);
    text_of(out)
}

/// One object, written by `fill`, at the end of `out`.
pub(crate) fn write_object(out: &mut Vec<u8>, fill: impl FnOnce(&mut ObjectWriter<'_>)) {
    let mut writer = ObjectWriter::begin(out);
    fill(&mut writer);
    writer.end();
}

/// What was assembled from texts is text.
pub(crate) fn text_of(out: Vec<u8>) -> JsonText {
    JsonText::from_valid(
        String::from_utf8(out)
            .unwrap_or_else(|bytes| String::from_utf8_lossy(bytes.as_bytes()).into_owned()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_quoted_alike_whether_it_needs_escapes_or_not() {
        for text in [
            "",
            "plain",
            "h\u{e9}",
            "a\"b",
            "a\\b",
            "a\nb",
            "\u{7f}\u{0}",
        ] {
            let mut out = Vec::new();
            write_quoted(&mut out, text);
            assert_eq!(out, quoted(text).as_bytes(), "{text:?}");
        }
    }

    #[test]
    fn the_last_of_equal_keys_wins_in_the_place_of_the_first() {
        let members = Members::parse(r#"{"a":1,"b":{"c":[ 2 ]},"a":"x"}"#).unwrap();
        let list: Vec<_> = members.iter().collect();
        assert_eq!(list, [("a", "\"x\""), ("b", "{\"c\":[ 2 ]}")]);
    }

    #[test]
    fn truth_is_as_in_javascript() {
        for raw in ["null", "false", "0", "-0", "0.0", "\"\""] {
            assert!(!is_truthy(raw), "{raw}");
        }
        for raw in ["true", "1", "-0.5", "\"0\"", "[]", "{}"] {
            assert!(is_truthy(raw), "{raw}");
        }
    }

    #[test]
    fn objects_are_assembled_by_copying() {
        let text = object(|writer| {
            writer.members("{}");
            writer.members("{ \"a\":1 }");
            writer.text("b\"", "é\n");
            writer.plain("c", 2.5);
        });
        assert_eq!(text.as_str(), r#"{"a":1,"b\"":"é\n","c":2.5}"#);
    }
}
