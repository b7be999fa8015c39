//! Bytes that make no sense cost their sender its connection, and nobody else anything.

use std::io::Write as _;

use serde_json::json;

use super::helper::{Daemon, Frames, frame, json_of};

// Protects: real pm2 dies of several of these; ours must answer, or leave that one peer.
#[test]
fn well_framed_nonsense_is_answered_and_the_connection_goes_on() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let messages: [(&[u8], &str); 7] = [
        (b"j:{not json", "invalid JSON"),
        (b"j:null", ".method required"),
        (b"s:hello", ".method required"),
        (b"\x00\x01\x02", ".method required"),
        (
            b"j:{\"type\":\"call\",\"method\":\"ping\",\"args\":{}}",
            ".args must be an array",
        ),
        (
            b"j:{\"type\":\"call\",\"method\":\"prepare\",\"args\":[]}",
            "must be an object",
        ),
        (
            b"j:{\"type\":\"call\",\"method\":\"prepare\",\"args\":[{}]}",
            "",
        ),
    ];
    for (message, wanted) in messages {
        for id in [&b"s:1:1"[..], b"j:7", b"\xff\xfe"] {
            client
                .frames
                .stream
                .write_all(&frame(&[message, id]))
                .unwrap();
            let reply = client.frames.next().unwrap();
            assert_eq!(reply[1], id);
            let error = json_of(&reply[0])["error"].to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
    // Three arguments, fewer arguments than the method wants, an old version.
    client
        .frames
        .stream
        .write_all(&frame(&[b"j:{}", b"j:{}", b"s:3"]))
        .unwrap();
    assert_eq!(client.frames.next().unwrap()[1], b"s:3");
    for method in [
        "stopProcessId",
        "msgProcess",
        "sendDataToProcessId",
        "sendLineToStdin",
        "monitor",
    ] {
        assert!(!client.error(method, json!([])).is_empty());
    }
    let mut old = frame(&[
        b"j:{\"type\":\"call\",\"method\":\"ping\",\"args\":[{}]}",
        b"s:9",
    ]);
    old[0] = 0x22;
    client.frames.stream.write_all(&old).unwrap();
    assert_eq!(client.frames.next().unwrap()[1], b"s:9");
}

// Protects: what cannot be answered ends that connection, at once and alone.
#[test]
fn unframed_nonsense_ends_that_connection_alone() {
    let daemon = Daemon::start();
    let mut bystander = daemon.client();
    let headless = frame(&[b"j:{\"type\":\"call\",\"method\":\"ping\",\"args\":[{}]}"]);
    let huge = [&[0x11][..], &u32::MAX.to_be_bytes()].concat();
    for nonsense in [&[0x10][..], &headless, &huge] {
        let mut client = daemon.client();
        client.frames.stream.write_all(nonsense).unwrap();
        assert!(client.frames.next().is_none(), "closed");
    }
    // A frame that never ends, and random bytes, of a peer that then goes away.
    for nonsense in [
        &frame(&[b"j:{}", b"s:1"])[..7],
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let mut client = daemon.client();
        let _closed = client.frames.stream.write_all(nonsense);
    }
    assert_eq!(bystander.ok("ping", json!([{}])), json!({"msg": "pong"}));
}

// Protects: subscribers are not listened to.
#[test]
fn bytes_from_a_subscriber_are_ignored() {
    let daemon = Daemon::start();
    let mut bus = daemon.bus();
    bus.frames.stream.write_all(&vec![0xff; 100_000]).unwrap();
    bus.frames.stream.write_all(&frame(&[b"j:{}"])).unwrap();
    daemon.client().ok("reloadLogs", json!([{}]));
    assert_eq!(bus.named("log:PM2")["data"], "Reloading all logs...\n");
}

// Protects: a caller that sends and never reads is paused; the daemon and others go on.
#[test]
fn a_caller_that_does_not_read_is_not_read_from_for_ever() {
    let daemon = Daemon::start();
    let mut greedy = Frames::new(&daemon.path("rpc.sock"));
    greedy.stream.set_nonblocking(true).unwrap();
    let request = frame(&[
        b"j:{\"type\":\"call\",\"method\":\"getReport\",\"args\":[{}]}",
        b"s:1",
    ]);
    let many = request.repeat(1000);
    let mut sent = 0;
    // The daemon stops reading once it is owed too little attention; then the socket is full.
    for _ in 0..2000 {
        match greedy.stream.write(&many) {
            Ok(length) => sent += length,
            Err(_) => break,
        }
    }
    let mut bystander = daemon.client();
    assert_eq!(bystander.ok("ping", json!([{}])), json!({"msg": "pong"}));
    assert!(sent < 100 * 1024 * 1024);
    greedy.stream.set_nonblocking(false).unwrap();
    assert_eq!(
        greedy.next().unwrap()[1],
        b"s:1",
        "what it asked for is still there"
    );
}
