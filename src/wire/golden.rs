//! What was recorded from pm2 and from Node (`__test__/golden`), read and written again.
#![expect(
    clippy::disallowed_methods,
    reason = "tests read the recordings; the room itself touches no file"
)]

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use super::amp::{AmpError, Decoder, Frame, MAX_FRAME};
use super::arg::Arg;
use super::axon::{self, Event, Request};
use super::ipc::{self, Line};
use super::json::Json;
use super::rpc::{self, Incoming, Reply};

/// A recorded frame.
struct Recording {
    /// The name of its file.
    name: String,
    /// Kind and encoded length of each argument, e.g. `json(20) string(8)`.
    described: String,
    bytes: Vec<u8>,
}

impl Recording {
    fn frame(&self) -> Frame {
        let (mut frames, failure) = decode(std::iter::once(&self.bytes[..]));
        assert_eq!((frames.len(), failure), (1, None), "{}", self.name);
        frames.remove(0)
    }
}

fn golden(path: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "__test__/golden", path]
        .iter()
        .collect()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(golden(path)).unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// All recorded frames whose name holds `part`, in order.
fn recordings(part: &str) -> Vec<Recording> {
    let mut names: Vec<String> = std::fs::read_dir(golden("axon"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "hex"))
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .filter(|name| name.contains(part))
        .collect();
    names.sort();
    assert!(!names.is_empty(), "no recordings of {part}");
    names
        .into_iter()
        .map(|name| {
            let text = read(&format!("axon/{name}"));
            let (comments, lines): (Vec<&str>, Vec<&str>) =
                text.lines().partition(|line| line.starts_with('#'));
            let described = comments
                .iter()
                .find_map(|line| line.split_once("args: "))
                .unwrap()
                .1
                .to_owned();
            Recording {
                name,
                described,
                bytes: hex(&lines.concat()),
            }
        })
        .collect()
}

fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<AmpError>) {
    let mut decoder = Decoder::new(MAX_FRAME);
    let mut frames = Vec::new();
    for piece in pieces {
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

/// A byte sequence that looks random and is the same every time.
fn sizes(seed: u32) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(seed), |x| {
        Some(x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223))
    })
    .map(|x| 1 + (x >> 16) as usize % 700)
}

#[test]
fn every_recorded_frame_has_the_described_arguments_and_encodes_to_the_same_bytes() {
    let recordings = recordings("");
    assert_eq!(recordings.len(), 92);
    for recording in recordings {
        let frame = recording.frame();
        let described: Vec<String> = frame
            .args()
            .iter()
            .map(|arg| match Arg::decode(arg.clone()) {
                Arg::Text(_) => format!("string({})", arg.len()),
                Arg::Json(_) => format!("json({})", arg.len()),
                Arg::Raw(_) => format!("buffer({})", arg.len()),
            })
            .collect();
        assert_eq!(
            described.join(" "),
            recording.described,
            "{}",
            recording.name
        );
        assert_eq!(frame.encode(), recording.bytes, "{}", recording.name);
        for arg in frame.args() {
            assert_eq!(
                &Arg::decode(arg.clone()).encode(),
                arg,
                "{}",
                recording.name
            );
        }
    }
}

#[test]
fn the_whole_conversation_is_the_same_however_the_stream_is_split() {
    let recordings = recordings("");
    let expected: Vec<Frame> = recordings.iter().map(Recording::frame).collect();
    let stream = recordings
        .into_iter()
        .flat_map(|recording| recording.bytes)
        .collect::<Vec<u8>>();
    assert_eq!(
        decode(std::iter::once(&stream[..])),
        (expected.clone(), None),
        "in one piece"
    );
    assert_eq!(
        decode(stream.chunks(1)),
        (expected.clone(), None),
        "byte by byte"
    );
    for seed in 0..20 {
        let mut rest = &stream[..];
        let pieces = sizes(seed).map_while(|size| {
            let (piece, after) = rest.split_at(size.min(rest.len()));
            rest = after;
            (!piece.is_empty()).then_some(piece)
        });
        assert_eq!(decode(pieces), (expected.clone(), None), "seed {seed}");
    }
}

#[test]
fn what_pm2_asks_is_understood_and_what_we_ask_is_the_same_bytes() {
    for recording in recordings("-req-") {
        let request = Request::from(recording.frame());
        let id = request.id.clone().unwrap();
        let refused = |words: &str| match Incoming::parse(&request, |method| method != "nosuch") {
            Err(refusal) => assert_eq!(refusal.to_string(), words, "{}", recording.name),
            Ok(incoming) => panic!("{}: {incoming:?}", recording.name),
        };
        match &recording.name[..] {
            "009-rpc-req-unknown-method.hex" => refused("method \"nosuch\" does not exist"),
            "011-rpc-req-missing-args.hex" => refused(".args required"),
            "013-rpc-req-missing-method.hex" => refused(".method required"),
            "001-rpc-req-methods.hex" => {
                assert_eq!(
                    Incoming::parse(&request, |_| true).unwrap(),
                    Incoming::Methods
                );
                assert_eq!(rpc::methods_request(&id), recording.bytes);
            }
            name => {
                let Ok(Incoming::Call(call)) = Incoming::parse(&request, |_| true) else {
                    panic!("{name}")
                };
                let args: Vec<&str> = call.args.iter().map(Json::as_str).collect();
                let list = format!("[{}]", args.join(","));
                assert_eq!(
                    rpc::call(&id, &call.method, list.as_bytes()),
                    recording.bytes,
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn what_pm2_answers_is_understood_and_what_we_answer_is_the_same_bytes() {
    for recording in recordings("-rep-") {
        let name = &recording.name;
        let (id, reply) = Reply::parse(recording.frame()).unwrap();
        let ours = match reply.unwrap() {
            Reply::Success(args) => {
                let values = args.items().unwrap();
                let values: Vec<&[u8]> = values.iter().map(Json::as_bytes).collect();
                rpc::reply(&id, &values)
            }
            Reply::Failure(failure) => {
                rpc::failure(&id, &failure.message, failure.stack.as_deref())
            }
            Reply::Methods(methods) => {
                let table: serde_json::Map<String, Value> = methods.to().unwrap();
                let params: Vec<Vec<&str>> = table
                    .values()
                    .map(|method| {
                        method["params"]
                            .as_array()
                            .unwrap()
                            .iter()
                            .map(|p| p.as_str().unwrap())
                            .collect()
                    })
                    .collect();
                let table: Vec<(&str, &[&str])> = table
                    .keys()
                    .zip(&params)
                    .map(|(name, params)| (name.as_str(), &params[..]))
                    .collect();
                assert_eq!(table.len(), 30);
                rpc::methods(&id, &table)
            }
        };
        assert_eq!(ours, recording.bytes, "{name}");
    }
}

#[test]
fn what_pm2_publishes_is_understood_and_what_we_publish_is_the_same_bytes() {
    for recording in recordings("bus-") {
        let event = Event::parse(&recording.frame()).unwrap();
        assert!(event.payload.is_object());
        assert_eq!(
            axon::event(&event.name, event.payload.as_bytes()),
            recording.bytes,
            "{}",
            recording.name
        );
    }
}

/// A row of `encodings.json`.
#[derive(Deserialize)]
struct Encoding {
    name: String,
    hex: Option<String>,
    decoded: Option<Vec<Value>>,
}

#[test]
fn every_value_the_reference_encodes_is_read_as_the_reference_reads_it() {
    let rows: Vec<Encoding> = serde_json::from_str(&read("axon/encodings.json")).unwrap();
    for row in rows {
        let Some(bytes) = row.hex.as_deref().map(hex) else {
            continue;
        };
        let (frames, failure) = decode(std::iter::once(&bytes[..]));
        if frames.is_empty() {
            // A count of 0, or of 16, which is the same nibble: the reference loses its place, to us it is an error.
            assert_eq!(failure, Some(AmpError::NoArguments));
            assert!(["no args", "16 args (count overflows the nibble)"].contains(&&row.name[..]));
            continue;
        }
        let args: Vec<_> = frames[0]
            .args()
            .iter()
            .map(|arg| Arg::decode(arg.clone()).json())
            .collect();
        match (&row.name[..], row.decoded) {
            // The reference throws when it reads its own text for these.
            ("function" | "symbol", None) => assert_eq!(args[0].as_ref().unwrap(), &Json::null()),
            (name, None) => assert!(args[0].is_err(), "{name}"),
            (name, Some(decoded)) => {
                let args: Vec<Value> = args
                    .into_iter()
                    .map(|arg| arg.unwrap().to().unwrap())
                    .collect();
                assert_eq!(args, decoded, "{name}");
                if !name.contains("overflows") {
                    assert_eq!(frames[0].encode(), bytes, "{name}");
                }
            }
        }
    }
}

/// A row of `stream-parser.json`.
#[derive(Deserialize)]
struct Split {
    name: String,
    chunks: Vec<String>,
    frames: Vec<String>,
}

#[test]
fn a_split_stream_gives_the_frames_it_gives_the_reference() {
    let rows: Vec<Split> = serde_json::from_str(&read("axon/stream-parser.json")).unwrap();
    for row in rows {
        let chunks: Vec<Vec<u8>> = row.chunks.iter().map(|chunk| hex(chunk)).collect();
        let (frames, failure) = decode(chunks.iter().map(|chunk| &chunk[..]));
        let expected: Vec<Frame> = row
            .frames
            .iter()
            .flat_map(|bytes| decode(std::iter::once(&hex(bytes)[..])).0)
            .collect();
        match &row.name[..] {
            // The reference waits for a byte of the next frame; we have no reason to.
            "zero-length last argument is held back until the next byte" => {
                assert_eq!(frames.len(), 1);
            }
            "argument count 0 desynchronises the reference parser" => {
                assert_eq!(failure, Some(AmpError::NoArguments));
            }
            "length 0xffffffff never completes" => {
                assert_eq!(failure, Some(AmpError::FrameTooLong { max: MAX_FRAME }));
            }
            name => assert_eq!((frames, failure), (expected, None), "{name}"),
        }
    }
}

/// A line of a transcript in `ipc/`.
#[derive(Deserialize)]
struct Said {
    dir: String,
    fd: bool,
    msg: Value,
}

#[test]
fn every_message_between_primary_and_worker_is_understood_on_each_node() {
    for node in [18, 20, 22, 24] {
        for policy in ["rr", "shared"] {
            let text = read(&format!("ipc/cluster-node{node}-{policy}.jsonl"));
            let transcript: Vec<Said> = text
                .lines()
                .skip(1)
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            assert!(transcript.len() >= 9, "node {node} {policy}");
            for said in transcript {
                check_said(&said);
            }
        }
    }
}

fn check_said(said: &Said) {
    let text = Json::of(&said.msg).unwrap();
    let mut decoder = ipc::Decoder::default();
    decoder.push(&ipc::encode(&text));
    let line = decoder.next().unwrap().unwrap();
    assert!(decoder.next().is_none());
    match said.msg["cmd"].as_str() {
        None => {
            let Line::Message(message) = line else {
                panic!("{line:?}")
            };
            let event = message.event.unwrap();
            assert_eq!(
                (Value::from(event.name), event.data.to().unwrap()),
                (said.msg["type"].clone(), said.msg["data"].clone())
            );
        }
        Some("NODE_CLUSTER") => assert_eq!(line, Line::Cluster(text)),
        Some("NODE_HANDLE") => {
            let Line::Handle(handle) = line else {
                panic!("{line:?}")
            };
            let inner = Json::of(&said.msg["msg"]).unwrap();
            assert_eq!(handle.inner.as_deref(), Some(&Line::Cluster(inner.clone())));
            assert_eq!(
                ipc::encode_handle(&handle.kind, &inner),
                ipc::encode(&text),
                "what we send with a descriptor"
            );
        }
        Some("NODE_HANDLE_ACK") => {
            assert_eq!(line, Line::HandleAck);
            assert_eq!(ipc::encode(&text), ipc::HANDLE_ACK);
        }
        Some(other) => panic!("{other}"),
    }
    assert_eq!(said.fd, said.msg["cmd"] == "NODE_HANDLE", "{}", said.dir);
}
