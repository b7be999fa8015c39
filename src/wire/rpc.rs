//! Calls of named methods over request frames: what is asked, how it is answered, what an answer means.

use bytes::Bytes;
use serde_json::Value;

use super::amp::Frame;
use super::arg::Arg;
use super::axon::{Request, RequestId, exchange, exchange_parts};
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

/// The parts of the frame of a successful reply with one large value that is there in parts. None of them is copied.
#[must_use]
pub fn reply_parts(id: &RequestId, value: Vec<Bytes>) -> Vec<Bytes> {
    exchange_parts(id, b"{\"args\":[", value, b"]}")
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::amp::{self, Decoder, MAX_FRAME};

    fn frame(bytes: &[u8]) -> Frame {
        let mut decoder = Decoder::new(MAX_FRAME);
        decoder.push(bytes);
        decoder.next().unwrap().unwrap()
    }

    fn id() -> RequestId {
        RequestId::new("1000", 0)
    }

    fn ask(message: &str) -> Result<Incoming, Refusal> {
        let request = Request::from(frame(&amp::encode(&[message.as_bytes(), b"s:1:0"])));
        Incoming::parse(&request, |method| method == "ping")
    }

    fn answer(message: &str) -> Result<Reply, ReplyError> {
        let (read, reply) =
            Reply::parse(frame(&amp::encode(&[message.as_bytes(), id().as_bytes()]))).unwrap();
        assert_eq!(read, id());
        reply
    }

    fn json(text: &str) -> Json {
        Json::parse(&Bytes::from(text.to_owned())).unwrap()
    }

    /// Observed with the reference server, but for the rows it dies of: those are marked.
    #[test]
    fn a_request_that_cannot_be_carried_out_is_refused_in_the_words_of_the_reference() {
        for (message, words) in [
            ("s:x", ".method required"),
            ("\x01\x02", ".method required"),
            ("j:5", ".method required"),
            ("j:[]", ".method required"),
            ("j:null", ".method required"), // dies
            ("j:{}", ".method required"),
            (r#"j:{"method":""}"#, ".method required"),
            (r#"j:{"method":"no"}"#, r#"method "no" does not exist"#),
            (
                r#"j:{"method":5,"args":[]}"#,
                r#"method "5" does not exist"#,
            ),
            (r#"j:{"method":"ping"}"#, ".args required"),
            (r#"j:{"method":"ping","args":0}"#, ".args required"),
            (r#"j:{"method":"ping","args":""}"#, ".args required"),
            (r#"j:{"method":"ping","args":null}"#, ".args required"),
            (r#"j:{"method":"ping","args":{}}"#, ".args must be an array"), // dies
            (
                "j:{",
                "invalid JSON: EOF while parsing an object at line 1 column 1",
            ), // dies
        ] {
            assert_eq!(ask(message).unwrap_err().to_string(), words, "{message}");
        }
    }

    #[test]
    fn more_than_a_message_and_an_id_is_refused() {
        let request = Request::from(frame(&amp::encode(&[
            br#"j:{"type":"methods"}"#,
            b"x",
            b"s:1:0",
        ])));
        assert!(matches!(
            Incoming::parse(&request, |_| true),
            Err(Refusal::ExtraArguments)
        ));
    }

    #[test]
    fn every_type_but_methods_is_a_call() {
        assert_eq!(
            ask(r#"j:{"type":"methods","method":"ping"}"#).unwrap(),
            Incoming::Methods
        );
        for message in [
            r#"j:{"method":"ping","args":[1.0,{"a":1e400}]}"#,
            r#"j:{"args":[1.0,{"a":1e400}],"type":7,"method":"ping"}"#,
        ] {
            let Incoming::Call(call) = ask(message).unwrap() else {
                panic!("a call")
            };
            assert_eq!(call.method, "ping");
            assert_eq!(
                call.args.iter().map(Json::as_str).collect::<Vec<_>>(),
                ["1.0", r#"{"a":1e400}"#]
            );
        }
    }

    /// The envelope is two levels; one more than fits is refused, a million levels as well.
    #[test]
    fn a_request_or_reply_that_nests_too_deep_is_an_error() {
        for (levels, is_accepted) in [
            (MAX_DEPTH - 2, true),
            (MAX_DEPTH - 1, false),
            (1_000_000, false),
        ] {
            let nested = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
            let request = ask(&format!(r#"j:{{"method":"ping","args":[{nested}]}}"#));
            assert_eq!(request.is_ok(), is_accepted);
            assert!(is_accepted || matches!(request, Err(Refusal::TooDeep)));
            let reply = answer(&format!(r#"j:{{"args":[{nested}]}}"#));
            assert_eq!(reply.is_ok(), is_accepted);
            assert!(is_accepted || matches!(reply, Err(ReplyError::TooDeep)));
        }
    }

    #[test]
    fn a_reply_copies_the_texts_it_is_given() {
        let expected = amp::encode(&[br#"j:{"args":[1.0,"a"]}"#, b"s:1000:0"]);
        assert_eq!(reply(&id(), &[b"1.0", b"\"a\""]), expected);
        assert_eq!(
            reply_with(&id(), |out| out.extend_from_slice(b"1.0,\"a\"")),
            expected
        );
        assert_eq!(
            reply(&id(), &[]),
            amp::encode(&[br#"j:{"args":[]}"#, b"s:1000:0"])
        );
    }

    #[test]
    fn a_failure_is_told_as_it_was_meant() {
        let failed = Reply::parse(frame(&failure(
            &id(),
            "no \"x\"",
            Some("Error: no\n    at y"),
        )))
        .unwrap()
        .1
        .unwrap();
        let expected = Failure {
            message: "no \"x\"".to_owned(),
            stack: Some("Error: no\n    at y".to_owned()),
            value: json(r#""no \"x\"""#),
        };
        assert_eq!(failed, Reply::Failure(expected));
        assert_eq!(
            failure(&id(), "m", None),
            amp::encode(&[br#"j:{"error":"m"}"#, b"s:1000:0"])
        );
        assert_eq!(
            failure_value(&id(), &json("{\"a\":1}")),
            amp::encode(&[br#"j:{"error":{"a":1}}"#, b"s:1000:0"])
        );
    }

    #[test]
    fn the_key_error_alone_makes_a_failure() {
        for (message, text) in [
            (r#"j:{"error":null,"args":[]}"#, "null"),
            (r#"j:{"error":{"code":5},"stack":7}"#, r#"{"code":5}"#),
        ] {
            let Reply::Failure(failure) = answer(message).unwrap() else {
                panic!("a failure")
            };
            assert_eq!(
                (
                    failure.message.as_str(),
                    failure.value.as_str(),
                    failure.stack
                ),
                (text, text, None)
            );
        }
    }

    #[test]
    fn a_reply_that_makes_no_sense_is_an_error_of_that_request_alone() {
        for message in [
            "j:{}",
            "j:null",
            "j:[]",
            "s:x",
            "",
            "j:{\"args\":{}}",
            "j:{\"methods\":[]}",
        ] {
            assert!(
                matches!(answer(message), Err(ReplyError::Shapeless)),
                "{message}"
            );
        }
        assert!(matches!(answer("j:{"), Err(ReplyError::Json(_))));
        assert!(matches!(
            Reply::parse(frame(&amp::encode(&[b"j:{}"]))),
            Err(ReplyError::NoId)
        ));
    }

    #[test]
    fn a_reply_in_parts_is_the_same_reply() {
        let parts = [&b"[1,"[..], b"", b"{\"a\":2}", b"]"];
        let shared: Vec<Bytes> = parts.iter().map(|part| Bytes::from_static(part)).collect();
        let sent = reply_parts(&id(), shared.clone());
        assert_eq!(sent.concat(), reply(&id(), &[&parts.concat()]));
        assert_eq!(sent[3].as_ptr(), shared[2].as_ptr(), "nothing is copied");
    }

    /// What a list of many processes costs on the way in: the text of the reply is a slice of the frame.
    #[test]
    fn the_values_of_a_reply_are_not_copied() {
        let bytes = reply(&id(), &[&b"[1,2,3]"[..]]);
        let frame = frame(&bytes);
        let message = frame.args()[0].clone();
        let Reply::Success(args) = Reply::parse(frame).unwrap().1.unwrap() else {
            panic!("a success")
        };
        assert!(message.as_ptr_range().contains(&args.as_bytes().as_ptr()));
    }

    proptest! {
        #[test]
        fn what_is_called_is_what_the_server_reads(method in ".+", texts in prop::collection::vec(".*", 0..4)) {
            let args: Vec<Json> = texts.iter().map(|text| Json::string(text)).collect();
            let list = format!("[{}]", args.iter().map(Json::as_str).collect::<Vec<_>>().join(","));
            let request = Request::from(frame(&call(&id(), &method, list.as_bytes())));
            prop_assert_eq!(request.id.as_ref(), Some(&id()));
            prop_assert_eq!(Incoming::parse(&request, |_| true).unwrap(), Incoming::Call(Call { method, args }));
        }

        #[test]
        fn arbitrary_messages_are_read_or_refused(message in prop_oneof![
            any::<Vec<u8>>(),
            "j:[{\\[\":,\\]}a-z0]{0,30}".prop_map(String::into_bytes),
            "j:\\{\"(error|args|methods|method|type)\":[\\[\\]{}\"0]{0,6}\\}".prop_map(String::into_bytes),
        ]) {
            let frame = frame(&amp::encode(&[&message, b"s:1:0"]));
            _ = Incoming::parse(&frame.clone().into(), |_| true);
            _ = Reply::parse(frame);
        }
    }
}
