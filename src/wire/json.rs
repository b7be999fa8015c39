//! JSON that is carried as text: checked once, looked into where needed, otherwise only copied.

use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// How deep arrays and objects may nest in a request or a reply.
///
/// It is what `serde_json` reads into a tree. Text that is deeper is harmless here, but whoever parses it later could not.
pub const MAX_DEPTH: usize = 127;

/// One complete JSON value as the text it came as, without blanks around it.
///
/// It is known to be JSON and UTF-8. It may be nested to any depth, numbers may exceed every type, and strings may hold halves of
/// surrogate pairs, as in JavaScript; [`Json::to`] is where such a value turns out not to fit.
/// Cloning shares the memory, and that of the whole message it is a part of.
#[derive(Clone, PartialEq, Eq)]
pub struct Json(Bytes);

impl Json {
    /// Checks a text and keeps it.
    pub fn parse(text: &Bytes) -> Result<Self, JsonError> {
        let value: &RawValue = serde_json::from_str(std::str::from_utf8(text)?)?;
        let value = text.slice_ref(value.get().as_bytes());
        Ok(Self(value))
    }

    /// The text of a value of ours.
    pub fn of<T: serde::Serialize + ?Sized>(value: &T) -> Result<Self, JsonError> {
        Ok(Self(serde_json::to_vec(value)?.into()))
    }

    /// A JSON string.
    #[must_use]
    pub fn string(text: &str) -> Self {
        Self(serde_json::Value::from(text).to_string().into())
    }

    /// The value `null`.
    #[must_use]
    pub fn null() -> Self {
        Self(Bytes::from_static(b"null"))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Was checked when this was made. Checking again is cheap, and the alternative is `unsafe`.
        std::str::from_utf8(&self.0).unwrap_or("null")
    }

    /// The text as bytes, to be copied into a message.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text as bytes that can be kept without copying.
    #[must_use]
    pub fn as_shared(&self) -> &Bytes {
        &self.0
    }

    /// The value as a type of ours; `serde_json::Value` for a tree.
    pub fn to<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.0)
    }

    /// The members of an object by name, in one pass; `None` if this is no object. As in JavaScript, the last of equal names counts.
    #[must_use]
    pub fn members<const N: usize>(&self, names: [&str; N]) -> Option<[Option<Json>; N]> {
        match Parsed::of(&self.0, names) {
            Ok(Parsed::Object { members, .. }) => Some(members),
            Ok(Parsed::Other(_)) | Err(_) => None,
        }
    }

    /// The items, if this is an array.
    #[must_use]
    pub fn items(&self) -> Option<Vec<Json>> {
        let items: Vec<&RawValue> = self
            .is_array()
            .then(|| serde_json::from_slice(&self.0).ok())??;
        Some(
            items
                .into_iter()
                .map(|item| Self(self.0.slice_ref(item.get().as_bytes())))
                .collect(),
        )
    }

    /// The text of a string. `None` also for a string with half a surrogate pair, which no Rust string can hold.
    #[must_use]
    pub fn to_text(&self) -> Option<String> {
        self.is_string().then(|| self.to().ok())?
    }

    /// Whether this is a string.
    #[must_use]
    pub fn is_string(&self) -> bool {
        self.0.starts_with(b"\"")
    }

    /// Whether this is an array.
    #[must_use]
    pub fn is_array(&self) -> bool {
        self.0.starts_with(b"[")
    }

    /// Whether this is an object.
    #[must_use]
    pub fn is_object(&self) -> bool {
        self.0.starts_with(b"{")
    }

    /// Whether `if (value)` would be taken in JavaScript.
    #[must_use]
    pub fn is_truthy(&self) -> bool {
        match &self.0[..] {
            b"null" | b"false" | b"\"\"" => false,
            [b'-' | b'0'..=b'9', ..] => self.to::<f64>().map_or(true, |number| number != 0.0),
            _ => true,
        }
    }

    /// Whether arrays and objects nest deeper than `limit`.
    #[must_use]
    pub fn is_deeper_than(&self, limit: usize) -> bool {
        let mut depth = 0_usize;
        let mut bytes = self.0.iter();
        while let Some(byte) = bytes.next() {
            match byte {
                b'[' | b'{' => {
                    depth += 1;
                    if depth > limit {
                        return true;
                    }
                }
                b']' | b'}' => depth = depth.saturating_sub(1),
                b'"' => skip_string(&mut bytes),
                _ => {}
            }
        }
        false
    }
}

impl fmt::Debug for Json {
    /// Only the size: a request carries an environment, and environments hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({} bytes)", self.0.len())
    }
}

/// Why bytes are not JSON.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The text is not UTF-8.
    #[error("JSON that is not UTF-8")]
    Encoding(#[from] std::str::Utf8Error),
    /// The text is not JSON.
    #[error("invalid JSON: {0}")]
    Syntax(#[from] serde_json::Error),
}

/// A text that was checked and searched for members in the same pass.
#[derive(Debug)]
pub(super) enum Parsed<const N: usize> {
    /// An object; each member is there if the object has one of that name.
    Object {
        text: Json,
        members: [Option<Json>; N],
    },
    /// Any other value.
    Other(Json),
}

impl<const N: usize> Parsed<N> {
    pub(super) fn of(text: &Bytes, names: [&str; N]) -> Result<Self, JsonError> {
        let trimmed = text.slice_ref(trim(text));
        if !trimmed.starts_with(b"{") {
            return Json::parse(&trimmed).map(Self::Other);
        }
        let mut source = serde_json::Deserializer::from_str(std::str::from_utf8(&trimmed)?);
        let found = Members(names).deserialize(&mut source)?;
        source.end()?;
        let members =
            found.map(|member| member.map(|text| Json(trimmed.slice_ref(text.as_bytes()))));
        Ok(Self::Object {
            text: Json(trimmed),
            members,
        })
    }
}

/// Without the blanks that JSON allows around a value, which are fewer than those of `trim_ascii`.
fn trim(text: &[u8]) -> &[u8] {
    let is_inside = |byte: &u8| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    let start = text.iter().position(is_inside).unwrap_or(text.len());
    let end = text
        .iter()
        .rposition(is_inside)
        .map_or(start, |last| last + 1);
    &text[start..end]
}

/// Picks members out of an object. Keys and values are kept as text, so no string in it can be unfit for Rust.
struct Members<'a, const N: usize>([&'a str; N]);

impl<'de, const N: usize> DeserializeSeed<'de> for Members<'_, N> {
    type Value = [Option<&'de str>; N];

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for Members<'_, N> {
    type Value = [Option<&'de str>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [None; N];
        while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            if let Some(at) = self.0.iter().position(|name| is_key(key.get(), name)) {
                found[at] = Some(value.get());
            }
        }
        Ok(found)
    }
}

/// Whether the text of a key, quotes included, means this name.
fn is_key(key: &str, name: &str) -> bool {
    if key.contains('\\') {
        serde_json::from_str::<String>(key).is_ok_and(|key| key == name)
    } else {
        key.get(1..key.len() - 1) == Some(name)
    }
}

/// Moves behind the closing quote of a string.
fn skip_string(bytes: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => _ = bytes.next(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(text: &'static str) -> Json {
        Json::parse(&Bytes::from_static(text.as_bytes())).unwrap()
    }

    #[test]
    fn a_text_is_kept_as_it_is_but_for_the_blanks_around_it() {
        let text = "{ \"b\" : 1e400,\n \"a\":[1.0, 12345678901234567890123] }";
        let padded = Bytes::from(format!(" \r\n{text}\t "));
        let json = Json::parse(&padded).unwrap();
        assert_eq!(json.as_str(), text);
        assert_eq!(
            json.as_bytes().as_ptr(),
            padded[3..].as_ptr(),
            "shared, not copied"
        );
    }

    #[test]
    fn what_is_no_single_json_value_is_refused() {
        for text in [
            "",
            " ",
            "{",
            "{}{}",
            "nul",
            "'a'",
            "[1,]",
            "{\"a\":1,}",
            "{a:1}",
            "01",
            "\u{c}1",
            "{}\u{c}",
            "\u{b}{}",
            "\"\n\"",
            "NaN",
        ] {
            let text = Bytes::from_static(text.as_bytes());
            assert!(Json::parse(&text).is_err(), "{text:?}");
            assert!(Parsed::of(&text, ["a"]).is_err(), "{text:?}");
        }
        assert!(matches!(
            Json::parse(&Bytes::from_static(b"\"\xff\"")),
            Err(JsonError::Encoding(_))
        ));
    }

    #[test]
    fn members_are_found_in_one_pass_and_the_last_of_equal_names_counts() {
        let json = json(r#" {"a":1,"other":[{"b":9}],"b":{"x": 1},"a":"two"} "#);
        let [a, b, c] = json.members(["a", "b", "c"]).unwrap();
        assert_eq!(a.unwrap().as_str(), "\"two\"");
        assert_eq!(b.unwrap().as_str(), "{\"x\": 1}");
        assert_eq!(c, None);
    }

    #[test]
    fn a_name_with_escapes_is_the_name_it_means() {
        let [kind] = json(r#"{"\u0074ype":1,"\ud800":2}"#)
            .members(["type"])
            .unwrap();
        assert_eq!(kind.unwrap().as_str(), "1");
    }

    #[test]
    fn only_objects_have_members_and_only_arrays_have_items() {
        for other in ["null", "1", "\"a\"", "true"] {
            assert_eq!(json(other).members(["a"]), None);
            assert_eq!(json(other).items(), None);
        }
        assert_eq!(json("[]").members(["a"]), None);
        assert_eq!(json("{}").items(), None);
        assert_eq!(
            json("[1, [2],{}]")
                .items()
                .unwrap()
                .iter()
                .map(Json::as_str)
                .collect::<Vec<_>>(),
            ["1", "[2]", "{}"]
        );
    }

    /// Each row was confirmed with `Boolean(JSON.parse(text))` in Node.
    #[test]
    fn truth_is_that_of_javascript() {
        for falsy in [
            "null", "false", "\"\"", "0", "-0", "0.0", "0e5", "-0.0e-3", "1e-400",
        ] {
            assert!(!json(falsy).is_truthy(), "{falsy}");
        }
        for truthy in [
            "true",
            "\" \"",
            "\"0\"",
            "\"\\u0000\"",
            "1",
            "-1",
            "1e999",
            "0.1",
            "[]",
            "{}",
        ] {
            assert!(json(truthy).is_truthy(), "{truthy}");
        }
    }

    #[test]
    fn half_a_surrogate_pair_travels_but_is_no_text() {
        let half = json(r#"{"a":"\ud800"}"#);
        let [value] = half.members(["a"]).unwrap();
        assert_eq!(value.unwrap().to_text(), None);
    }

    #[test]
    fn depth_counts_brackets_outside_of_strings() {
        let flat = json(r#"["[[[[", "\"[[", {"]]":1}, [], []]"#);
        assert!(flat.is_deeper_than(1) && !flat.is_deeper_than(2));
        assert!(!json("1").is_deeper_than(0));
    }

    /// One level more than the limit is what `serde_json` itself refuses; a million levels must not end the process either.
    #[test]
    fn the_depth_limit_is_the_depth_that_can_be_read_into_a_tree() {
        for depth in [MAX_DEPTH, MAX_DEPTH + 1, 1_000_000] {
            let text = Bytes::from(format!("{}{}", "[".repeat(depth), "]".repeat(depth)));
            let json = Json::parse(&text).unwrap();
            assert_eq!(json.is_deeper_than(MAX_DEPTH), depth > MAX_DEPTH);
            assert_eq!(json.to::<serde_json::Value>().is_err(), depth > MAX_DEPTH);
        }
    }

    #[test]
    fn the_debug_form_shows_nothing_of_the_content() {
        assert_eq!(
            format!("{:?}", json(r#"{"TOKEN":"s3cret"}"#)),
            "Json(18 bytes)"
        );
    }

    proptest! {
        #[test]
        fn arbitrary_text_is_json_exactly_if_serde_json_says_so(text in "[\\[\\]{}\":,a0-9.eE \t\r\n\u{b}\u{c}\u{a0}\\\\u-]{0,24}") {
            let bytes = Bytes::from(text.clone());
            let ours = Json::parse(&bytes);
            let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text);
            prop_assert_eq!(ours.is_ok(), theirs.is_ok());
            prop_assert_eq!(Parsed::of(&bytes, ["a"]).is_ok(), theirs.is_ok());
        }
    }
}
