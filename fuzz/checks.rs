//! What must hold for any bytes that arrive. Shared by the fuzz targets and by the replay of the corpus in `cargo test`.

use bytes::Bytes;
use pm2::wire::amp::{self, AmpError, Frame};
use pm2::wire::arg::Arg;
use pm2::wire::axon::{Event, Request, Topic};
use pm2::wire::ipc::{self, Line};
use pm2::wire::json::{Json, MAX_DEPTH};
use pm2::wire::rpc::{self, Incoming, Reply};

/// Small, so that inputs of a few bytes get past it.
const LIMIT: usize = 4096;

/// A stream of frames: split anywhere it gives the same, and each frame encodes to what was read, but for the version.
pub(crate) fn amp(input: &[u8]) {
    let (frames, failure) = frames(input, input.len().max(1));
    assert_eq!(
        (frames.clone(), failure),
        self::frames(input, 1),
        "byte by byte"
    );
    assert_eq!(
        (frames.clone(), failure),
        self::frames(input, 7),
        "in pieces"
    );
    let mut rest = input;
    for frame in frames {
        let encoded = frame.encode();
        assert!(encoded.len() <= LIMIT);
        assert_eq!(encoded[1..], rest[1..encoded.len()]);
        assert_eq!(encoded[0] & 0x0f, rest[0] & 0x0f);
        rest = &rest[encoded.len()..];
        for arg in frame.args() {
            _ = Arg::decode(arg.clone()).json();
        }
        if let Ok(event) = Event::parse(&frame) {
            assert!(!event.name.is_empty() || Topic::new("").matches(&event.name).is_some());
            _ = Topic::new(event.payload.as_str()).matches(&event.name);
        }
    }
}

/// The first argument of a request or a reply: read or refused; what is read is the same once it is written and read again.
pub(crate) fn rpc(input: &[u8]) {
    let (frames, _) = frames(&amp::encode(&[input, b"s:1:0"]), usize::MAX);
    let Some(frame) = frames.into_iter().next() else {
        return;
    };
    let request = Request::from(frame.clone());
    let Some(id) = request.id.clone() else {
        panic!("the id was sent")
    };
    match Incoming::parse(&request, |method| method != "nosuch") {
        Ok(Incoming::Call(call)) => {
            let args: Vec<&str> = call.args.iter().map(Json::as_str).collect();
            let again = rpc::call(
                &id,
                &call.method,
                format!("[{}]", args.join(",")).as_bytes(),
            );
            let again = Request::from(only(&again));
            assert_eq!(
                Incoming::parse(&again, |_| true).ok(),
                Some(Incoming::Call(call))
            );
        }
        Ok(Incoming::Methods) => {}
        Err(refusal) => assert!(!refusal.to_string().is_empty()),
    }
    let Ok((answered, reply)) = Reply::parse(frame) else {
        panic!("the id was sent")
    };
    assert_eq!(answered, id);
    match reply {
        Ok(Reply::Success(args)) => {
            assert!(args.items().is_some() && !args.is_deeper_than(MAX_DEPTH));
            let again = rpc::reply_with(&id, |out| {
                out.extend_from_slice(&args.as_bytes()[1..args.as_bytes().len() - 1]);
            });
            let (_, again) = Reply::parse(only(&again)).expect("we wrote an id");
            assert_eq!(again.ok(), Some(Reply::Success(args)));
        }
        Ok(Reply::Failure(failure)) => {
            let (_, again) = Reply::parse(only(&rpc::failure_value(&id, &failure.value)))
                .expect("we wrote an id");
            assert!(matches!(again, Ok(Reply::Failure(again)) if again.message == failure.message));
        }
        Ok(Reply::Methods(_)) | Err(_) => {}
    }
}

/// What a child writes: split anywhere it gives the same, and a message that is passed on is read as the same message.
pub(crate) fn ipc(input: &[u8]) {
    let lines = lines(input, input.len().max(1));
    assert_eq!(lines, self::lines(input, 1), "byte by byte");
    assert_eq!(lines, self::lines(input, 5), "in pieces");
    for line in lines.into_iter().flatten() {
        let Line::Message(message) = line else {
            continue;
        };
        let sent = ipc::encode(&message.text);
        assert_eq!(
            sent.iter().position(|&byte| byte == b'\n'),
            Some(sent.len() - 1)
        );
        let [Ok(Line::Message(again))] = &self::lines(&sent, sent.len())[..] else {
            panic!("one message")
        };
        assert_eq!(again.text.as_bytes().len(), message.text.as_bytes().len());
        assert_eq!(again.event.is_some(), message.event.is_some());
        assert_eq!(again.text.is_truthy(), message.text.is_truthy());
    }
    if let Ok(json) = Json::parse(&Bytes::copy_from_slice(input)) {
        assert!(!json.is_deeper_than(MAX_DEPTH) || json.to::<serde_json::Value>().is_err());
        _ = (json.items(), json.to_text(), json.members(["a"]));
    }
}

fn frames(stream: &[u8], piece: usize) -> (Vec<Frame>, Option<AmpError>) {
    let mut decoder = amp::Decoder::new(LIMIT);
    let mut frames = Vec::new();
    for piece in stream.chunks(piece) {
        decoder.push(piece);
        loop {
            match decoder.next() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(failure) => return (frames, Some(failure)),
            }
        }
    }
    (frames, None)
}

fn only(bytes: &[u8]) -> Frame {
    let mut decoder = amp::Decoder::new(amp::MAX_FRAME);
    decoder.push(bytes);
    decoder
        .next()
        .ok()
        .flatten()
        .expect("what we write is a frame")
}

fn lines(stream: &[u8], piece: usize) -> Vec<Result<Line, String>> {
    let mut decoder = ipc::Decoder::new(64);
    let mut lines = Vec::new();
    for piece in stream.chunks(piece) {
        decoder.push(piece);
        while let Some(line) = decoder.next() {
            lines.push(line.map_err(|error| error.to_string()));
        }
    }
    lines
}
