//! The channel to a Node child: one JSON value per line, some of them Node's own.

use bytes::Bytes;

use super::json::{Json, JsonError, Parsed};
use super::lines::Lines;
pub use super::lines::TooLong;

/// The longest line accepted from a child.
///
/// Node has no limit. A longer message could not be passed to a subscriber of the bus anyway; it is skipped, and the child lives on.
pub const MAX_LINE: usize = 16 * 1024 * 1024;

/// The answer to a line that brought a descriptor. A Node sender holds everything back until it has come.
pub const HANDLE_ACK: &[u8] = b"{\"cmd\":\"NODE_HANDLE_ACK\"}\n";

/// The answer to a line that should have brought a descriptor and did not; a Node sender then tries again.
pub const HANDLE_NACK: &[u8] = b"{\"cmd\":\"NODE_HANDLE_NACK\"}\n";

/// What Node begins the `cmd` of its own messages with.
const INTERNAL_PREFIX: &str = "NODE_";

/// Takes what a child sends apart into messages, however the bytes arrive.
#[derive(Debug)]
pub struct Decoder {
    lines: Lines,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new(MAX_LINE)
    }
}

impl Decoder {
    /// A decoder that accepts lines of up to `max_line` bytes, the line end not counted.
    #[must_use]
    pub fn new(max_line: usize) -> Self {
        Self {
            lines: Lines::new(max_line),
        }
    }

    /// Adds bytes read from the channel. Drain the decoder with [`Decoder::next`] before pushing more.
    pub fn push(&mut self, received: &[u8]) {
        self.lines.push(received);
    }

    /// The next line, or `None` until more bytes have come. A line that cannot be understood is an error, and the next call goes on
    /// with the line after it.
    #[expect(
        clippy::should_implement_trait,
        reason = "`None` means \"not yet\" here, not the end that an iterator would mean"
    )]
    pub fn next(&mut self) -> Option<Result<Line, LineError>> {
        let line = self.lines.next()?;
        Some(
            line.map_err(LineError::from)
                .and_then(|line| Line::parse(&line)),
        )
    }

    /// How many bytes were pushed and not given out or skipped.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.lines.waiting_bytes()
    }

    /// Whether part of a line is waiting for its rest.
    #[must_use]
    pub fn is_mid_line(&self) -> bool {
        self.lines.is_mid_line()
    }
}

/// One line of a child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A descriptor should have come with this line. It must be answered with [`HANDLE_ACK`] or [`HANDLE_NACK`].
    Handle(Handle),
    /// The child has taken the descriptor we sent.
    HandleAck,
    /// Our line came without the descriptor.
    HandleNack,
    /// A message of Node's cluster protocol: an object with `cmd` `NODE_CLUSTER`.
    Cluster(Json),
    /// Any other message of Node's own, or of an app that looks like one. Not for the bus.
    Internal(Json),
    /// What the app sent.
    Message(Message),
}

/// The envelope of a descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handle {
    /// What the descriptor is, e.g. `net.Native`.
    pub kind: String,
    /// The message that travels with it; an envelope in an envelope is [`Line::Internal`]. `None` if there is no `msg`.
    pub inner: Option<Box<Line>>,
}

/// What an app sent with `process.send`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// All of it, as it came.
    pub text: Json,
    /// The event it asks for. Without one it is published as `process:msg`, with the whole message as `raw`.
    pub event: Option<AppEvent>,
    /// The member of that name, by which apps of old tell their Node version.
    pub node_version: Option<Json>,
}

/// An app's event: both members are truthy, and the name is text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppEvent {
    /// The member `type`.
    pub name: String,
    /// The member `data`.
    pub data: Json,
}

impl Line {
    /// Reads the text of one line.
    pub fn parse(text: &Bytes) -> Result<Self, LineError> {
        let (text, members) = match Parsed::of(text, MEMBERS)? {
            Parsed::Object { text, members } => (text, members),
            Parsed::Other(text) => return Ok(Self::Message(Message::plain(text))),
        };
        let [cmd, kind, _, _, inner] = &members;
        if cmd.as_ref().and_then(Json::to_text).as_deref() != Some("NODE_HANDLE") {
            return Ok(Self::unwrapped(text, members));
        }
        let kind = kind.as_ref().and_then(Json::to_text).unwrap_or_default();
        let inner = match inner
            .as_ref()
            .map(|inner| Parsed::of(inner.as_shared(), MEMBERS))
            .transpose()?
        {
            Some(Parsed::Object { text, members }) => {
                Some(Box::new(Self::unwrapped(text, members)))
            }
            Some(Parsed::Other(text)) => Some(Box::new(Self::Message(Message::plain(text)))),
            None => None,
        };
        Ok(Self::Handle(Handle { kind, inner }))
    }

    /// An object without looking into envelopes, of which a hostile child could nest any number.
    fn unwrapped(text: Json, [cmd, kind, data, node_version, _]: [Option<Json>; 5]) -> Self {
        match cmd.and_then(|cmd| cmd.to_text()).as_deref() {
            Some("NODE_HANDLE_ACK") => Self::HandleAck,
            Some("NODE_HANDLE_NACK") => Self::HandleNack,
            Some("NODE_CLUSTER") => Self::Cluster(text),
            Some(cmd) if cmd.len() > INTERNAL_PREFIX.len() && cmd.starts_with(INTERNAL_PREFIX) => {
                Self::Internal(text)
            }
            _ => Self::Message(Message {
                text,
                event: AppEvent::of(kind, data),
                node_version,
            }),
        }
    }
}

/// The members that say what a line is.
const MEMBERS: [&str; 5] = ["cmd", "type", "data", "node_version", "msg"];

impl Message {
    /// A message that is no object.
    fn plain(text: Json) -> Self {
        Self {
            text,
            event: None,
            node_version: None,
        }
    }
}

impl AppEvent {
    /// Compat: the reference publishes a number as such and dies of an object (`protocol.md` 4.4); to us only text is a name.
    fn of(name: Option<Json>, data: Option<Json>) -> Option<Self> {
        let name = name.filter(Json::is_truthy)?.to_text()?;
        let data = data.filter(Json::is_truthy)?;
        Some(Self { name, data })
    }
}

/// The line for a message to a child.
///
/// JSON may hold line ends between its values, and half a line is the end of the child that reads it: they become blanks.
#[must_use]
pub fn encode(message: &Json) -> Bytes {
    let mut line = Vec::with_capacity(message.as_bytes().len() + 1);
    push_one_line(&mut line, message);
    line.push(b'\n');
    line.into()
}

/// The line that travels with a descriptor: `kind` says what the descriptor is, `message` what it is for.
#[must_use]
pub fn encode_handle(kind: &str, message: &Json) -> Bytes {
    let mut line = b"{\"cmd\":\"NODE_HANDLE\",\"type\":".to_vec();
    line.extend_from_slice(Json::string(kind).as_bytes());
    line.extend_from_slice(b",\"msg\":");
    push_one_line(&mut line, message);
    line.extend_from_slice(b"}\n");
    line.into()
}

fn push_one_line(line: &mut Vec<u8>, message: &Json) {
    let blank_out = |&byte: &u8| {
        if matches!(byte, b'\n' | b'\r') {
            b' '
        } else {
            byte
        }
    };
    line.extend(message.as_bytes().iter().map(blank_out));
}

/// Why a line of a child means nothing. The child goes on, and so does the decoder.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The line was longer than is accepted and was dropped.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// The line is not JSON.
    #[error("a message that is not JSON: {0}")]
    Json(#[from] JsonError),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(text: &str) -> Line {
        Line::parse(&Bytes::from(text.to_owned())).unwrap()
    }

    fn message(text: &str) -> Message {
        match line(text) {
            Line::Message(message) => message,
            other => panic!("a message, not {other:?}"),
        }
    }

    fn json(text: &str) -> Json {
        Json::parse(&Bytes::from(text.to_owned())).unwrap()
    }

    /// Feeds the pieces and takes out everything after each; errors as their text, to be compared.
    fn decode<'a>(
        decoder: &mut Decoder,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> Vec<Result<Line, String>> {
        let mut lines = Vec::new();
        for piece in pieces {
            decoder.push(piece);
            while let Some(line) = decoder.next() {
                lines.push(line.map_err(|error| error.to_string()));
            }
        }
        lines
    }

    #[test]
    fn a_message_with_type_and_data_is_an_event_of_that_name() {
        let text = r#"{"data":{"b":1.0,"a":[]},"other":1,"type":"my:event"}"#;
        let message = message(text);
        assert_eq!(message.text.as_str(), text);
        assert_eq!(
            message.event,
            Some(AppEvent {
                name: "my:event".to_owned(),
                data: json(r#"{"b":1.0,"a":[]}"#)
            })
        );
    }

    /// The rows of `protocol.md` 4.4, and names that are no text.
    #[test]
    fn every_other_message_is_raw() {
        for text in [
            "\"text\"",
            "0",
            "true",
            "null",
            "[]",
            "{}",
            r#"{"type":"x"}"#,
            r#"{"type":"x","data":0}"#,
            r#"{"type":"x","data":""}"#,
            r#"{"type":"x","data":null}"#,
            r#"{"type":"","data":1}"#,
            r#"{"data":1}"#,
            r#"{"type":5,"data":1}"#,
            r#"{"type":["a"],"data":1}"#,
            r#"{"type":{},"data":1}"#,
            r#"{"type":"\ud800","data":1}"#,
            r#"[{"type":"x","data":1}]"#,
        ] {
            let message = message(text);
            assert_eq!((message.text.as_str(), message.event), (text, None));
        }
    }

    #[test]
    fn a_node_version_is_found() {
        assert_eq!(
            message(r#"{"node_version":"20.1"}"#).node_version,
            Some(json("\"20.1\""))
        );
        assert_eq!(
            message(r#"{"node_version":null}"#).node_version,
            Some(Json::null())
        );
        assert_eq!(message("{}").node_version, None);
    }

    #[test]
    fn a_command_of_nodes_own_is_internal() {
        let cluster = r#"{"act":"online","cmd":"NODE_CLUSTER","seq":0}"#;
        assert_eq!(line(cluster), Line::Cluster(json(cluster)));
        assert_eq!(line(r#"{"cmd":"NODE_HANDLE_ACK"}"#), Line::HandleAck);
        assert_eq!(line(r#"{"cmd":"NODE_HANDLE_NACK"}"#), Line::HandleNack);
        for internal in [
            r#"{"cmd":"NODE_x","type":"a","data":1}"#,
            r#"{"cmd":"\u004eODE_SOCKET_GET_COUNT"}"#,
        ] {
            assert_eq!(line(internal), Line::Internal(json(internal)));
        }
        for app in [
            r#"{"cmd":"NODE_"}"#,
            r#"{"cmd":"node_x"}"#,
            r#"{"cmd":["NODE_x"]}"#,
            r#"{"cmd":"xNODE_x"}"#,
            r#"["NODE_x"]"#,
        ] {
            assert_eq!(message(app).text.as_str(), app);
        }
    }

    #[test]
    fn an_envelope_is_opened_once() {
        let Line::Handle(handle) = line(
            r#"{"cmd":"NODE_HANDLE","type":"net.Socket","key":"k","msg":{"type":"t","data":[1]}}"#,
        ) else {
            panic!("an envelope")
        };
        assert_eq!(handle.kind, "net.Socket");
        let Some(Line::Message(inner)) = handle.inner.as_deref() else {
            panic!("a message of the app")
        };
        assert_eq!(
            inner.event,
            Some(AppEvent {
                name: "t".to_owned(),
                data: json("[1]")
            })
        );
        for (text, inner) in [
            (r#"{"cmd":"NODE_HANDLE"}"#, None),
            (r#"{"cmd":"NODE_HANDLE","msg":"m"}"#, Some(line("\"m\""))),
            (
                r#"{"cmd":"NODE_HANDLE","msg":{"cmd":"NODE_HANDLE","msg":1}}"#,
                Some(Line::Internal(json(r#"{"cmd":"NODE_HANDLE","msg":1}"#))),
            ),
        ] {
            assert_eq!(
                line(text),
                Line::Handle(Handle {
                    kind: String::new(),
                    inner: inner.map(Box::new)
                })
            );
        }
    }

    #[test]
    fn a_million_envelopes_in_one_another_are_no_danger() {
        let text = format!(
            "{}1{}",
            r#"{"cmd":"NODE_HANDLE","msg":"#.repeat(1_000_000),
            "}".repeat(1_000_000)
        );
        assert!(matches!(line(&text), Line::Handle(_)));
    }

    #[test]
    fn a_line_that_is_no_json_is_reported_and_the_next_one_read() {
        let lines = decode(
            &mut Decoder::default(),
            [&b"oops\n\n1\r\n\"\xff\"\n 2 \n"[..]],
        );
        let is_ok: Vec<bool> = lines.iter().map(Result::is_ok).collect();
        assert_eq!(is_ok, [false, false, true, false, true]);
        assert_eq!(lines[2], Ok(line("1")));
        assert_eq!(lines[4], Ok(line("2")));
    }

    #[test]
    fn a_character_may_be_split() {
        let lines = decode(&mut Decoder::default(), "\"é😀\"\n".as_bytes().chunks(1));
        assert_eq!(lines, [Ok(line("\"é😀\""))]);
    }

    #[test]
    fn what_we_send_is_exactly_one_line() {
        assert_eq!(encode(&json("{\"a\":\n[1,\r\n2]}")), "{\"a\": [1,  2]}\n");
        assert_eq!(
            encode_handle("net.Native", &json("{\n}")),
            "{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":{ }}\n"
        );
        assert_eq!(
            decode(&mut Decoder::default(), [HANDLE_ACK, HANDLE_NACK]),
            [Ok(Line::HandleAck), Ok(Line::HandleNack)]
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_give_the_same_lines_in_one_piece_and_byte_by_byte(
            bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'"'), Just(b'1'), Just(b'{'), Just(b'}'), any::<u8>()], 0..200),
        ) {
            let whole = decode(&mut Decoder::new(8), [&bytes[..]]);
            let single = decode(&mut Decoder::new(8), bytes.chunks(1));
            prop_assert_eq!(whole, single);
        }

        #[test]
        fn what_is_sent_is_what_is_read(texts in prop::collection::vec(".*", 1..5)) {
            let sent: Vec<Json> = texts.iter().map(|text| Json::string(text)).collect();
            let bytes: Vec<u8> = sent.iter().flat_map(encode).collect();
            let read: Vec<Json> = decode(&mut Decoder::default(), [&bytes[..]])
                .into_iter()
                .map(|line| match line { Ok(Line::Message(message)) => message.text, other => panic!("{other:?}") })
                .collect();
            prop_assert_eq!(read, sent);
        }
    }
}
