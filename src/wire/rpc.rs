//! Calls of named methods over request frames: what is asked, how it is answered, what an answer means.

use bytes::Bytes;
use serde_json::Value;

use super::amp::Frame;
use super::arg::Arg;
use super::axon::{Request, RequestId, exchange};
use super::json::{Json, JsonError, MAX_DEPTH, Parsed};

/// A request that can be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// Which methods are there? Answer with [`methods`].
    Methods,
    /// Carry out a method. Answer with [`reply`], [`failure`] or [`failure_value`].
    Call(Call),
}

/// One call of a method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The name; known to be one of the exposed methods.
    pub method: String,
    /// The arguments as they came. There may be fewer than the method wants.
    pub args: Vec<Json>,
}

impl Incoming {
    /// Reads a request. `exposed` says whether there is a method of that name.
    pub fn parse(request: &Request, exposed: impl FnOnce(&str) -> bool) -> Result<Self, Refusal> {
        if request.extra > 0 {
            return Err(Refusal::ExtraArguments);
        }
        let Arg::Json(text) = &request.message else {
            return Err(Refusal::NoMethod);
        };
        let (text, [kind, method, args]) = match Parsed::of(text, ["type", "method", "args"])? {
            Parsed::Object { text, members } => (text, members),
            Parsed::Other(_) => return Err(Refusal::NoMethod),
        };
        if text.is_deeper_than(MAX_DEPTH) {
            return Err(Refusal::TooDeep);
        }
        if kind.and_then(|kind| kind.to_text()).as_deref() == Some("methods") {
            return Ok(Self::Methods);
        }
        let method = method.filter(Json::is_truthy).ok_or(Refusal::NoMethod)?;
        let method = method
            .to_text()
            .unwrap_or_else(|| method.as_str().to_owned());
        if !exposed(&method) {
            return Err(Refusal::UnknownMethod(method));
        }
        let args = args.filter(Json::is_truthy).ok_or(Refusal::NoArgs)?;
        let args = args.items().ok_or(Refusal::ArgsNoArray)?;
        Ok(Self::Call(Call { method, args }))
    }
}

/// Why a request is not carried out. The text goes to the caller as it is; the reference's words where it has any.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// No message with a `method`.
    #[error(".method required")]
    NoMethod,
    /// A call without `args`.
    #[error(".args required")]
    NoArgs,
    /// Nothing of that name is exposed.
    #[error("method \"{0}\" does not exist")]
    UnknownMethod(String),
    /// `args` is something other than a list, of which the reference dies.
    #[error(".args must be an array")]
    ArgsNoArray,
    /// More than a message and an id, of which the reference dies.
    #[error("a request is one message and its id")]
    ExtraArguments,
    /// The message nests deeper than anyone here could read.
    #[error("the request nests deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// The message is not JSON, of which the reference dies.
    #[error(transparent)]
    Json(#[from] JsonError),
}

/// The frame of a successful reply; each value must be JSON text.
///
/// For a single large value that is still to be written, [`reply_with`] saves a copy.
#[must_use]
pub fn reply(id: &RequestId, values: &[&[u8]]) -> Bytes {
    reply_with(id, |out| {
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(value);
        }
    })
}

/// The frame of a successful reply, whose values `write` appends in place: JSON texts with commas between them, or nothing.
#[must_use]
pub fn reply_with(id: &RequestId, write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    exchange(id, |out| {
        out.extend_from_slice(b"{\"args\":[");
        write(out);
        out.extend_from_slice(b"]}");
    })
}

/// The frame that says an error happened; `stack` is what the caller's error will show as its stack.
#[must_use]
pub fn failure(id: &RequestId, message: &str, stack: Option<&str>) -> Bytes {
    exchange(id, |out| {
        out.extend_from_slice(b"{\"error\":");
        push_string(out, message);
        if let Some(stack) = stack {
            out.extend_from_slice(b",\"stack\":");
            push_string(out, stack);
        }
        out.push(b'}');
    })
}

/// The frame that says an error happened, where the error is a value and no text.
#[must_use]
pub fn failure_value(id: &RequestId, value: &Json) -> Bytes {
    exchange(id, |out| {
        out.extend_from_slice(b"{\"error\":");
        out.extend_from_slice(value.as_bytes());
        out.push(b'}');
    })
}

/// The frame that answers [`Incoming::Methods`]: each method's name and the names of its parameters.
#[must_use]
pub fn methods(id: &RequestId, table: &[(&str, &[&str])]) -> Bytes {
    let table: serde_json::Map<String, Value> = table
        .iter()
        .map(|&(name, params)| {
            (
                name.to_owned(),
                serde_json::json!({ "name": name, "params": params }),
            )
        })
        .collect();
    exchange(id, |out| {
        out.extend_from_slice(
            serde_json::json!({ "methods": table })
                .to_string()
                .as_bytes(),
        );
    })
}

/// The frame that calls a method; `args` must be the JSON text of an array.
#[must_use]
pub fn call(id: &RequestId, method: &str, args: &[u8]) -> Bytes {
    exchange(id, |out| {
        out.extend_from_slice(b"{\"type\":\"call\",\"method\":");
        push_string(out, method);
        out.extend_from_slice(b",\"args\":");
        out.extend_from_slice(args);
        out.push(b'}');
    })
}

/// The frame that asks for the methods.
#[must_use]
pub fn methods_request(id: &RequestId) -> Bytes {
    exchange(id, |out| out.extend_from_slice(b"{\"type\":\"methods\"}"))
}

/// What a daemon answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The values the method gave: the text of an array.
    Success(Json),
    /// The methods: the text of an object, by name.
    Methods(Json),
    /// The method, or the attempt to call it, failed.
    Failure(Failure),
}

/// An error from the other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its text; the JSON text of the value if that is no string.
    pub message: String,
    /// Where it happened, if that was said.
    pub stack: Option<String>,
    /// The error as it came.
    pub value: Json,
}

impl Reply {
    /// Reads the frame of a reply. Which request it answers is known even where the reply makes no sense, unless it has no id.
    pub fn parse(frame: Frame) -> Result<(RequestId, Result<Self, ReplyError>), ReplyError> {
        let Request { message, id, .. } = frame.into();
        let id = id.ok_or(ReplyError::NoId)?;
        Ok((id, Self::of(&message)))
    }

    fn of(message: &Arg) -> Result<Self, ReplyError> {
        let Arg::Json(text) = message else {
            return Err(ReplyError::Shapeless);
        };
        let (text, members) = match Parsed::of(text, ["error", "stack", "args", "methods"])? {
            Parsed::Object { text, members } => (text, members),
            Parsed::Other(_) => return Err(ReplyError::Shapeless),
        };
        if text.is_deeper_than(MAX_DEPTH) {
            return Err(ReplyError::TooDeep);
        }
        match members {
            // Even `"error": null` is an error: to the reference client the key alone counts.
            [Some(value), stack, ..] => Ok(Self::Failure(Failure {
                message: value.to_text().unwrap_or_else(|| value.as_str().to_owned()),
                stack: stack.and_then(|stack| stack.to_text()),
                value,
            })),
            [None, _, Some(args), _] if args.is_array() => Ok(Self::Success(args)),
            [None, _, _, Some(methods)] if methods.is_object() => Ok(Self::Methods(methods)),
            _ => Err(ReplyError::Shapeless),
        }
    }
}

/// Why a reply cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    /// Nothing says which request it answers.
    #[error("a reply without an id")]
    NoId,
    /// Neither an error nor values nor methods.
    #[error("a reply of an unknown shape")]
    Shapeless,
    /// It nests deeper than anyone here could read.
    #[error("a reply that nests deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// It is not JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
}

fn push_string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(Json::string(text).as_bytes());
}
