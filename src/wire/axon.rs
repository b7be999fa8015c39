//! What the two socket types add to frames: requests with ids and their replies, events and topics.

use std::fmt;

use bytes::Bytes;

use super::amp::{self, Frame};
use super::arg::{Arg, JSON_TAG, TEXT_TAG};
use super::json::{Json, JsonError};

/// What marks a request, and comes back with its reply: one argument exactly as it came.
///
/// Opaque: text in every client we know, but a number or a buffer is echoed just the same.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Bytes);

impl RequestId {
    /// The id that the reference client would give: who asks, and the how manieth request on this connection it is.
    #[must_use]
    pub fn new(identity: &str, number: u64) -> Self {
        Self(format!("s:{identity}:{number}").into())
    }

    /// The argument as it is on the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({})", self.0.escape_ascii())
    }
}

/// A frame on a request socket, in either direction: a message and the id of its exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What is asked or answered.
    pub message: Arg,
    /// What to answer under; `None` if the frame has no second argument, and then no answer can be given.
    pub id: Option<RequestId>,
    /// Arguments between the message and the id. Nobody sends any; an RPC server refuses them.
    pub extra: usize,
}

impl From<Frame> for Request {
    fn from(frame: Frame) -> Self {
        let args = frame.args();
        let id = args
            .get(1..)
            .and_then(<[Bytes]>::last)
            .cloned()
            .map(RequestId);
        Self {
            message: Arg::decode(args[0].clone()),
            id,
            extra: args.len().saturating_sub(2),
        }
    }
}

/// Writes `message` and then the id as one frame.
pub(super) fn exchange(id: &RequestId, write_json: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut out = Vec::new();
    amp::begin(&mut out, 2);
    amp::write_argument_with(&mut out, |out| {
        out.extend_from_slice(JSON_TAG);
        write_json(out);
    });
    amp::write_argument(&mut out, id.as_bytes());
    out.into()
}

/// The same with a message that is there in parts, which stay what they are: the parts of the frame.
pub(super) fn exchange_parts(
    id: &RequestId,
    before: &[u8],
    parts: Vec<Bytes>,
    after: &[u8],
) -> Vec<Bytes> {
    let between: usize = parts.iter().map(Bytes::len).sum();
    let mut head = Vec::new();
    amp::begin(&mut head, 2);
    amp::write_length(
        &mut head,
        JSON_TAG.len() + before.len() + between + after.len(),
    );
    head.extend_from_slice(JSON_TAG);
    head.extend_from_slice(before);
    let mut tail = after.to_vec();
    amp::write_argument(&mut tail, id.as_bytes());
    let (head, tail) = ([head.into()], [tail.into()]);
    head.into_iter().chain(parts).chain(tail).collect()
}

/// One event on the bus, as a subscriber reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What topics are matched against. A name that was no text is its JSON text.
    pub name: String,
    /// What was published; `null` if nothing was.
    pub payload: Json,
}

impl Event {
    /// Reads a frame of a publisher. More arguments than name and payload are ignored.
    pub fn parse(frame: &Frame) -> Result<Self, JsonError> {
        let name = match frame.args().first().cloned().map(Arg::decode) {
            Some(Arg::Text(name)) => name,
            Some(other) => other.json()?.as_str().to_owned(),
            None => String::new(),
        };
        let payload = frame
            .args()
            .get(1)
            .map_or_else(|| Ok(Json::null()), |arg| Arg::decode(arg.clone()).json())?;
        Ok(Self { name, payload })
    }
}

/// The frame of an event. Encode once, then write the same bytes to every subscriber.
///
/// `payload` must be JSON text.
#[must_use]
pub fn event(name: &str, payload: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(16 + name.len() + payload.len());
    amp::begin(&mut out, 2);
    amp::write_argument_with(&mut out, |out| {
        out.extend_from_slice(TEXT_TAG);
        out.extend_from_slice(name.as_bytes());
    });
    amp::write_argument_with(&mut out, |out| {
        out.extend_from_slice(JSON_TAG);
        out.extend_from_slice(payload);
    });
    out.into()
}

/// Characters that no `*` stands for. Compat: the reference makes a regular expression of the topic, whose dot stops at lines.
const LINE_ENDS: [char; 4] = ['\n', '\r', '\u{2028}', '\u{2029}'];

/// Which events a subscriber wants: a name in which `*` stands for one or more characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Topic(String);

impl Topic {
    /// A topic. Every text is one.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        Self(pattern.to_owned())
    }

    /// The text it was made of.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What each `*` stands for if the whole name fits; earlier ones take as much as they can.
    #[must_use]
    pub fn matches<'a>(&self, name: &'a str) -> Option<Vec<&'a str>> {
        let mut literals = self.0.split('*');
        let mut rest = name.strip_prefix(literals.next()?)?;
        let mut captures = Vec::new();
        // From the right, each literal as far right as it fits: this leaves the most to the stars before it.
        let mut is_last = true;
        for literal in literals.rev() {
            let at = if is_last {
                rest.strip_suffix(literal)?.len()
            } else {
                // One character is left to the star behind the literal.
                let (last, _) = rest.char_indices().next_back()?;
                rest[..last].rfind(literal)?
            };
            if !is_last {
                captures.push(&rest[at + literal.len()..]);
            }
            rest = &rest[..at];
            is_last = false;
        }
        if is_last {
            return rest.is_empty().then_some(captures);
        }
        captures.push(rest);
        captures.reverse();
        captures
            .iter()
            .all(|capture| !capture.is_empty() && !capture.contains(LINE_ENDS))
            .then_some(captures)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::amp::{Decoder, MAX_FRAME};

    fn frame(bytes: &[u8]) -> Frame {
        let mut decoder = Decoder::new(MAX_FRAME);
        decoder.push(bytes);
        decoder.next().unwrap().unwrap()
    }

    /// Every row was observed with the reference's subscriber socket.
    #[test]
    fn a_star_is_one_or_more_characters_and_earlier_stars_take_more() {
        for (pattern, name, captures) in [
            ("*", "a:b", Some(vec!["a:b"])),
            ("a:*", "a:b", Some(vec!["b"])),
            ("a:*", "a:", None),
            ("*:b", "é:b", Some(vec!["é"])),
            ("**", "a:b", Some(vec!["a:", "b"])),
            ("**", "é", None),
            ("a:*:*", "a:b:c:d", Some(vec!["b:c", "d"])),
            ("a*a*a", "aaaaaa", Some(vec!["aa", "a"])),
            ("a*a*a", "aaaa", None),
            ("a.b", "aXb", None),
            ("a.b", "a.b", Some(vec![])),
            ("a:b", "a:bc", None),
            ("a:b", "xa:b", None),
            ("*", "", None),
            ("", "", Some(vec![])),
            ("*", "x\ny", None),
            ("*", "a\u{2028}b", None),
        ] {
            assert_eq!(
                Topic::new(pattern).matches(name),
                captures,
                "{pattern:?} on {name:?}"
            );
        }
    }

    #[test]
    fn an_id_comes_back_as_it_came_whatever_it_is() {
        for id in [
            &b"s:1000:0"[..],
            b"j:5",
            b"j: 5 ",
            b"\x00\xff",
            b"",
            b"j:{broken",
            b"s:\xff",
        ] {
            let request = Request::from(frame(&amp::encode(&[b"j:{}", id])));
            let id_read = request.id.unwrap();
            assert_eq!(id_read.as_bytes(), id);
            let reply = exchange(&id_read, |out| out.extend_from_slice(b"{}"));
            assert_eq!(reply, amp::encode(&[b"j:{}", id]));
        }
    }

    #[test]
    fn a_message_alone_has_no_id_and_the_id_is_always_last() {
        let alone = Request::from(frame(&amp::encode(&[b"j:{}"])));
        assert_eq!((alone.id, alone.extra), (None, 0));
        let crowded = Request::from(frame(&amp::encode(&[b"j:{}", b"x", b"s:1:0"])));
        assert_eq!(
            (crowded.id, crowded.extra),
            (Some(RequestId::new("1", 0)), 1)
        );
    }

    #[test]
    fn an_event_may_have_an_odd_name_and_no_payload_or_too_much() {
        let parse = |bytes: &[u8]| Event::parse(&frame(bytes)).unwrap();
        let odd = parse(&amp::encode(&[b"j:5", b"s:text", b"more"]));
        assert_eq!((odd.name.as_str(), odd.payload.as_str()), ("5", "\"text\""));
        let bare = parse(&amp::encode(&[b"s:bare"]));
        assert_eq!(
            (bare.name.as_str(), bare.payload.as_str()),
            ("bare", "null")
        );
        assert!(Event::parse(&frame(&amp::encode(&[b"s:x", b"j:{"]))).is_err());
    }

    proptest! {
        #[test]
        fn what_is_published_is_what_a_subscriber_reads(name in ".*", payload in ".*") {
            let payload = Json::string(&payload);
            let read = Event::parse(&frame(&event(&name, payload.as_bytes()))).unwrap();
            prop_assert_eq!(read, Event { name, payload });
        }

        /// The captures, put in place of the stars, give the name again.
        #[test]
        fn captures_fill_the_pattern(pattern in "[ab*é]{0,6}", name in "[abé]{0,10}") {
            if let Some(captures) = Topic::new(&pattern).matches(&name) {
                let mut captures = captures.into_iter();
                let filled: String = pattern
                    .chars()
                    .map(|c| if c == '*' { captures.next().unwrap().to_owned() } else { c.to_string() })
                    .collect();
                prop_assert_eq!(&filled, &name);
                prop_assert!(captures.next().is_none());
            }
        }

        #[test]
        fn a_name_made_from_a_pattern_fits_it(parts in prop::collection::vec("[ab:é]{0,3}", 1..5), fill in "[ab:é]{1,3}") {
            prop_assert!(Topic::new(&parts.join("*")).matches(&parts.join(&fill)).is_some());
        }
    }
}
