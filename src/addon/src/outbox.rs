//! The way back: messages for JavaScript, from any thread.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use napi::bindgen_prelude::{Either, FnArgs, Function, Latin1String};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Env, Result, Status};
use pm2::client::{BusMessage, ClientError, OnPiece};
use tokio::sync::OwnedSemaphorePermit;

/// What a message is. The numbers are the contract with `src/js/link.js`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Value = 0,
    Failure = 1,
    Event = 2,
    BusClosed = 3,
    /// Elements of a list whose other elements, and the end of the request, follow.
    Piece = 4,
}

/// The id of messages that answer nothing.
const UNASKED: i32 = -1;

/// A string for JavaScript, in the form that V8 takes fastest.
///
/// Only ASCII goes the one-byte way: it is a plain copy, where UTF-8 has to be measured and decoded first. Nearly all JSON is ASCII.
pub(crate) type Text = Either<Latin1String, String>;

type Arguments = FnArgs<(i32, u32, Text, Text)>;
type OnMessage = ThreadsafeFunction<Message, (), Arguments, Status, false, true>;

struct Message {
    id: i32,
    kind: Kind,
    text: Text,
    extra: Text,
    /// Given back once JavaScript has seen the message.
    _permit: Option<OwnedSemaphorePermit>,
}

/// Sends messages to JavaScript. Clones share the one function.
#[derive(Clone)]
pub(crate) struct Outbox(Arc<Mutex<OnMessage>>);

impl Outbox {
    pub(crate) fn new(on_message: &Function<Arguments, ()>) -> Result<Self> {
        let on_message = on_message
            .build_threadsafe_function::<Message>()
            .weak::<true>()
            .build_callback(|context| {
                let Message {
                    id,
                    kind,
                    text,
                    extra,
                    ..
                } = context.value;
                Ok(FnArgs::from((id, kind as u32, text, extra)))
            })?;
        Ok(Self(Arc::new(Mutex::new(on_message))))
    }

    /// A promise to answer this request.
    pub(crate) fn answer(&self, id: i32) -> Answer {
        Answer {
            outbox: self.clone(),
            id,
            is_given: false,
        }
    }

    pub(crate) fn event(&self, event: BusMessage, permit: OwnedSemaphorePermit) {
        self.post(Message {
            id: UNASKED,
            kind: Kind::Event,
            text: text_of(event.payload),
            extra: text(event.name),
            _permit: Some(permit),
        });
    }

    pub(crate) fn bus_closed(&self) {
        self.post(Message {
            id: UNASKED,
            kind: Kind::BusClosed,
            text: text(String::new()),
            extra: text(String::new()),
            _permit: None,
        });
    }

    fn piece(&self, id: i32, piece: Bytes) {
        self.post(Message {
            id,
            kind: Kind::Piece,
            text: text_of(piece),
            extra: text(String::new()),
            _permit: None,
        });
    }

    pub(crate) fn hold(&self, env: Env) -> Result<()> {
        #[expect(
            deprecated,
            reason = "napi offers nothing else for a hold that comes and goes"
        )]
        self.function().refer(&env)
    }

    pub(crate) fn release(&self, env: Env) -> Result<()> {
        #[expect(
            deprecated,
            reason = "napi offers nothing else for a hold that comes and goes"
        )]
        self.function().unref(&env)
    }

    fn post(&self, message: Message) {
        // Fails only when the environment is on its way out, where nobody is left to hear it.
        let _ = self
            .function()
            .call(message, ThreadsafeFunctionCallMode::NonBlocking);
    }

    fn function(&self) -> std::sync::MutexGuard<'_, OnMessage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outbox")
    }
}

/// The one answer to one request. Dropped without being given, which a panic or the end of the thread does, it is an error.
#[derive(Debug)]
pub(crate) struct Answer {
    outbox: Outbox,
    id: i32,
    is_given: bool,
}

impl Answer {
    /// A value: JSON text.
    pub(crate) fn value(self, value: impl Into<Bytes>) {
        self.give(Kind::Value, text_of(value.into()));
    }

    /// How a call of the client ended.
    pub(crate) fn result(self, result: std::result::Result<Bytes, ClientError>) {
        match result {
            Ok(value) => self.value(value),
            Err(error) => self.failure(error.to_json()),
        }
    }

    /// Hands out what is known of the answer before its end.
    pub(crate) fn pieces(&self) -> OnPiece {
        let (outbox, id) = (self.outbox.clone(), self.id);
        Arc::new(move |piece| outbox.piece(id, piece))
    }

    /// Where the answer goes, for what else there will be to say.
    pub(crate) fn outbox(&self) -> Outbox {
        self.outbox.clone()
    }

    /// An error: the JSON text of an object with a message.
    pub(crate) fn failure(self, error: String) {
        self.give(Kind::Failure, text(error));
    }

    fn give(mut self, kind: Kind, text_: Text) {
        self.is_given = true;
        self.outbox.post(Message {
            id: self.id,
            kind,
            text: text_,
            extra: text(String::new()),
            _permit: None,
        });
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.is_given {
            let error = if std::thread::panicking() {
                r#"{"message":"a bug in pm2: the request was given up by a panic","code":"ERR_PM2_BUG"}"#
            } else {
                r#"{"message":"the connection to pm2 was closed before the answer came","code":"ERR_PM2_CLOSED"}"#
            };
            self.outbox.post(Message {
                id: self.id,
                kind: Kind::Failure,
                text: text(error.to_owned()),
                extra: text(String::new()),
                _permit: None,
            });
        }
    }
}

fn text_of(bytes: Bytes) -> Text {
    // What is not UTF-8 came from an app; JavaScript decodes such bytes in the same way.
    text(
        String::from_utf8(bytes.into())
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
    )
}

fn text(text: String) -> Text {
    if text.is_ascii() {
        Either::A(text.into())
    } else {
        Either::B(text)
    }
}
