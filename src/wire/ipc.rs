//! The channel to a Node child: one JSON value per line, some of them Node's own.

use bytes::Bytes;

use super::intake::Intake;
use super::json::{Json, JsonError, Parsed};

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

/// Takes what a child sends apart into lines, however the bytes arrive.
#[derive(Debug)]
pub struct Decoder {
    intake: Intake,
    max_line: usize,
    /// How much of what is waiting holds no line end. Kept so that a long line in small pieces is read in linear time.
    searched: usize,
    /// A line was too long, and its end has not come yet.
    is_skipping: bool,
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
            intake: Intake::default(),
            max_line,
            searched: 0,
            is_skipping: false,
        }
    }

    /// Adds bytes read from the channel. Drain the decoder with [`Decoder::next`] before pushing more.
    pub fn push(&mut self, received: &[u8]) {
        self.intake.push(received);
    }

    /// The next line, or `None` until more bytes have come. A line that cannot be understood is an error, and the next call goes on
    /// with the line after it.
    #[expect(
        clippy::should_implement_trait,
        reason = "`None` means \"not yet\" here, not the end that an iterator would mean"
    )]
    pub fn next(&mut self) -> Option<Result<Line, LineError>> {
        loop {
            let waiting = self.intake.bytes();
            let Some(end) = waiting[self.searched..]
                .iter()
                .position(|&byte| byte == b'\n')
            else {
                return self.wait();
            };
            let mut line = self.intake.take(self.searched + end + 1);
            self.searched = 0;
            if std::mem::take(&mut self.is_skipping) {
                continue;
            }
            line.truncate(line.len() - 1);
            return Some(if line.len() > self.max_line {
                Err(self.too_long())
            } else {
                Line::parse(&line)
            });
        }
    }

    /// Whether part of a line is waiting for its rest.
    #[must_use]
    pub fn is_mid_line(&self) -> bool {
        self.is_skipping || !self.intake.bytes().is_empty()
    }

    /// No line end is there.
    fn wait(&mut self) -> Option<Result<Line, LineError>> {
        let waiting = self.intake.bytes().len();
        if self.is_skipping || waiting > self.max_line {
            self.intake.clear();
            self.searched = 0;
            return (!std::mem::replace(&mut self.is_skipping, true)).then(|| Err(self.too_long()));
        }
        self.intake.settle();
        self.searched = waiting;
        None
    }

    fn too_long(&self) -> LineError {
        LineError::TooLong { max: self.max_line }
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
    #[error("a message of more than {max} bytes")]
    TooLong {
        /// What is accepted.
        max: usize,
    },
    /// The line is not JSON.
    #[error("a message that is not JSON: {0}")]
    Json(#[from] JsonError),
}
