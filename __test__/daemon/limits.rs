//! One step past what peers may do: whoever goes there is left, or told so, and everybody else is served.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use serde_json::json;

use crate::helper::{Daemon, PATIENCE, frame, raise_open_files};

/// `PEERS_MAX` and `SUBSCRIBERS_MAX` of the daemon.
const CALLERS: usize = 1024;
const LISTENERS: usize = 512;

/// Connections to a socket.
fn connect(daemon: &Daemon, socket: &str, count: usize) -> Vec<UnixStream> {
    let one = || {
        let stream = UnixStream::connect(daemon.path(socket)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    (0..count).map(|_| one()).collect()
}

/// Whether the daemon answers on this connection, or has closed it.
fn is_answered(stream: &mut UnixStream) -> bool {
    let call = br#"j:{"type":"call","method":"ping","args":[{}]}"#;
    let mut answer = [0; 256];
    // Closed before or after we have spoken, or with our words unread: it is closed.
    let said = stream.write_all(&frame(&[call, b"s:1:1"]));
    said.is_ok() && read(stream, &mut answer).is_some_and(|length| length > 0)
}

/// How much was read; nothing where the daemon has left us.
fn read(stream: &mut UnixStream, into: &mut [u8]) -> Option<usize> {
    loop {
        match stream.read(into) {
            // A read with a time limit is not begun again by itself when the machine was halted for a moment.
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            result => return result.ok(),
        }
    }
}

// Protects the callers that are there from those that come in masses, and lets others in when some have gone.
#[test]
fn one_caller_too_many_is_left_and_has_a_place_when_another_goes() {
    raise_open_files();
    let daemon = Daemon::start();
    let mut callers = connect(&daemon, "rpc.sock", CALLERS);
    // The last one that is let in is so when it is answered; by then the others are.
    assert!(is_answered(callers.last_mut().unwrap()));
    assert!(!is_answered(&mut connect(&daemon, "rpc.sock", 1)[0]));
    assert!(callers.iter_mut().step_by(100).all(is_answered));
    drop(callers.pop());
    crate::helper::wait_for("a place", || {
        is_answered(&mut connect(&daemon, "rpc.sock", 1)[0]).then_some(())
    });
}

// Protects the daemon's memory: each listener may have a queue.
#[test]
fn one_listener_too_many_is_left_and_the_others_hear() {
    raise_open_files();
    let daemon = Daemon::start();
    let mut listeners = connect(&daemon, "pub.sock", LISTENERS);
    let mut late = connect(&daemon, "pub.sock", 1).pop().unwrap();
    assert_eq!(read(&mut late, &mut [0; 16]), Some(0), "it is closed");
    daemon.start_shell(&mut daemon.client(), "a", "exec sleep 1000", &json!({}));
    for listener in listeners.iter_mut().step_by(73) {
        assert!(read(listener, &mut [0; 16]).is_some_and(|length| length > 0));
    }
}

// Protects the list from names and texts of any length: what is refused says so, and nothing of it is kept.
#[test]
fn a_declaration_that_is_too_large_is_refused_and_the_next_one_is_not() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let script = daemon.script("a.sh", "exec sleep 1000");
    let large = json!({"env": {"LARGE": "x".repeat(2 * 1024 * 1024)}});
    let app = daemon.declaration("a", "/bin/sh", &script, &large);
    let error = client.error("prepare", json!([app]));
    assert!(
        error.contains("bytes of one declaration") && error.contains("2097152"),
        "{error}"
    );
    assert_eq!(client.ok("getMonitorData", json!([{}])), json!([]));
    daemon.start_shell(&mut client, "a", "exec sleep 1000", &json!({}));
    let more = json!([{"id": 0, "env": {"LARGE": "x".repeat(2 * 1024 * 1024)}}]);
    let error = client.error("restartProcessId", more);
    assert!(error.contains("2097152"), "{error}");
    assert_eq!(client.status("a"), "online");
}
