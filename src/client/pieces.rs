//! A long list, handed out in pieces while the rest of it is still on its way.
//!
//! Where an element ends is not looked for bracket by bracket, which would take longer than sending it. The objects of a list begin with
//! the same name, and `},{"name":` is nowhere in a JSON text but between two objects: within a string that quotation mark would have a
//! backslash before it. Only whether these objects are elements, or in a list within one, is not known; a piece of the latter is no JSON, so
//! that whoever parses it finds out.

use bytes::Bytes;
use memchr::memmem;

/// How a reply begins whose first value is a list of objects.
const BEGINNING: &[u8] = b"j:{\"args\":[[{\"";

/// Where the first object begins.
const LIST_BEGIN: usize = BEGINNING.len() - 2;

/// How every reply with values ends.
const END: &[u8] = b"]}";

/// Names that are longer, or have a character that is written as several, are left alone.
const NAME_BYTES_MAX: usize = 64;

/// Smaller pieces cost more to hand over than they gain. V8 maps memory for every text beyond 128 KiB, which costs as much again as its copy.
const PIECE_BYTES_MIN: usize = 32 * 1024;

/// How far a reply has been taken apart. Places are counted from the beginning of its first argument.
#[derive(Debug)]
pub(super) struct Pieces {
    /// What was handed out ends here.
    begin: usize,
    /// Nothing that ends a piece begins before this.
    searched: usize,
    /// What stands between two objects, and the name of the second.
    between: Vec<u8>,
}

impl Pieces {
    /// Takes a reply apart of which this has come, if it has a list of objects for its first value.
    pub(super) fn of(argument: &[u8]) -> Option<Self> {
        let name = argument.strip_prefix(BEGINNING)?;
        let name = &name[..name.len().min(NAME_BYTES_MAX)];
        let name = &name[..name.windows(2).position(|two| two == b"\":")?];
        (!name.contains(&b'\\')).then(|| Self {
            begin: LIST_BEGIN,
            searched: LIST_BEGIN,
            between: [b"},{\"", name, b"\":"].concat(),
        })
    }

    /// The objects that have come since, as the text of an array, if they are worth handing out. The last one never is: it stays for
    /// [`Self::rest`].
    pub(super) fn next(&mut self, argument: &[u8]) -> Option<Bytes> {
        let from = self.searched.max(self.begin + PIECE_BYTES_MIN);
        let new = argument.get(from..)?;
        let Some(found) = memmem::find(new, &self.between) else {
            self.searched = from.max(argument.len() - self.between.len().min(argument.len()));
            return None;
        };
        let end = from + found + 1;
        let piece = [b"[", &argument[self.begin..end], b"]"].concat();
        self.begin = end + 1;
        Some(piece.into())
    }

    /// The array of the reply's values without the objects that were handed out, once all of it is here. `None` if it is no such thing.
    pub(super) fn rest(&self, argument: &[u8]) -> Option<Bytes> {
        let rest = argument.get(self.begin..)?;
        let rest = rest.ends_with(END).then(|| &rest[..rest.len() - 1])?;
        Some([b"[[", rest].concat().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    /// What the pieces of this reply amount to, when it comes in parts of these lengths.
    fn joined(reply: &str, lengths: &[usize]) -> (Value, usize) {
        let argument = format!("j:{reply}");
        let mut pieces = None;
        let mut texts: Vec<String> = Vec::new();
        let mut here = 0;
        for length in lengths.iter().cycle() {
            here = argument.len().min(here + length);
            let come = &argument.as_bytes()[..here];
            pieces = pieces.or_else(|| Pieces::of(come));
            while let Some(piece) = pieces.as_mut().and_then(|pieces| pieces.next(come)) {
                texts.push(String::from_utf8(piece.into()).unwrap());
            }
            if here == argument.len() {
                break;
            }
        }
        let Some(pieces) = pieces else {
            return (
                serde_json::from_str(&argument[10..argument.len() - 1]).unwrap(),
                0,
            );
        };
        let rest = String::from_utf8(pieces.rest(argument.as_bytes()).unwrap().into()).unwrap();
        let objects: Vec<&str> = texts
            .iter()
            .map(|text| &text[1..text.len() - 1])
            .chain([&rest[2..]])
            .collect();
        let values = format!("[[{}", objects.join(","));
        (serde_json::from_str(&values).unwrap(), texts.len())
    }

    fn long_text() -> impl Strategy<Value = Value> {
        let sign = prop::sample::select(vec![
            "\"",
            "\\",
            ",",
            "]",
            "[",
            "{",
            "}",
            "ü",
            "},{\"pm_id\":",
            "x",
        ]);
        (prop::collection::vec(sign, 0..12), 1_usize..2000)
            .prop_map(|(signs, times)| Value::from(signs.concat().repeat(times)))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        // Protects: a list is the same in pieces and at once, whatever is in it and however it comes.
        #[test]
        fn pieces_amount_to_the_whole(
            texts in prop::collection::vec(long_text(), 0..20),
            lengths in prop::collection::vec(1_usize..200_000, 1..5),
        ) {
            let elements: Vec<Value> = texts
                .into_iter()
                .enumerate()
                .map(|(id, text)| match id % 5 {
                    4 => text,
                    3 => serde_json::json!({"pm_id": [{"pm_id": 1}, {"pm_id": text}, {"pm_id": 2}]}),
                    _ => serde_json::json!({"pm_id": id, "env": {"A,\"": text, "list": [[], {}]}}),
                })
                .collect();
            let values = serde_json::json!([elements, {"more": [1, 2]}, null]);
            let reply = format!("{{\"args\":{values}}}");
            prop_assert_eq!(joined(&reply, &lengths).0, values);
        }
    }

    #[test]
    fn pieces_are_worth_handing_out_and_never_the_last_object() {
        let object = format!("{{\"a\":{:?}}}", "x".repeat(PIECE_BYTES_MIN));
        let reply = format!("{{\"args\":[[{object},{object},{object}]]}}");
        assert_eq!(joined(&reply, &[1000]).1, 2);
        let reply = format!(
            "{{\"args\":[[{}{{}}]]}}",
            "{\"a\":1},".repeat(PIECE_BYTES_MIN / 5)
        );
        assert_eq!(joined(&reply, &[1 << 20]).1, 1);
        assert_eq!(joined("{\"args\":[[]]}", &[1]).1, 0);
    }

    // Protects: an object is never cut, however like the end of one a text within it looks.
    #[test]
    fn every_piece_of_a_flat_list_is_json() {
        let object = serde_json::json!({"a": "},{\"a\":\\".repeat(700), "},{": "\",{"});
        let reply = serde_json::json!({"args": [vec![object; 50]]}).to_string();
        let argument = format!("j:{reply}");
        let mut pieces = Pieces::of(argument.as_bytes()).unwrap();
        let mut count = 0;
        while let Some(piece) = pieces.next(argument.as_bytes()) {
            let objects: Vec<Value> = serde_json::from_slice(&piece).unwrap();
            count += objects.len();
        }
        assert!((30..50).contains(&count), "{count}");
    }

    // Protects: whoever serves the socket may send anything.
    #[test]
    fn what_is_no_list_of_objects_or_has_no_end_is_no_reply() {
        let long = format!("j:{{\"args\":[[{{\"{}\":", "x".repeat(NAME_BYTES_MAX));
        for begun in [
            "",
            "j:{\"args\":[[1",
            "j:{\"error\":[[{\"",
            "j:{\"args\":[[{\"\\\":",
            "j:{\"args\":[[{\"a",
            &long,
        ] {
            assert!(Pieces::of(begun.as_bytes()).is_none(), "{begun}");
        }
        let mut pieces = Pieces::of(b"j:{\"args\":[[{\"\":").unwrap();
        assert_eq!(pieces.next(b"j:"), None);
        assert_eq!(pieces.rest(b"j:{\"args\":[[{\"\":]"), None);
        assert_eq!(pieces.rest(b"j:"), None, "shorter than it was");
    }
}
