//! What becomes of calls when the connection, the daemon or the runtime ends.

use std::sync::{Arc, Mutex};

use crate::client::ClientError;
use crate::host::testing;
use crate::wire::rpc;

use super::{Peer, Stage, run};

/// The reference never calls back in this case. Ours says so, and goes on with the next daemon.
#[test]
fn a_call_whose_daemon_dies_fails_and_the_next_one_connects_anew() {
    run(async {
        let stage = Stage::new();
        let listener = stage.listen();
        let daemon = async {
            let mut peer = Peer::accept(&listener).await;
            peer.id().await;
            drop(peer);
            let mut successor = Peer::accept(&listener).await;
            let id = successor.id().await;
            successor.write(&rpc::reply(&id, &[b"1"])).await;
            successor
        };
        let calls = async {
            let lost = stage.client.call("a", "[]").await.unwrap_err();
            (lost, stage.client.call("b", "[]").await.unwrap())
        };
        let (_peer, (lost, value)) = tokio::join!(daemon, calls);
        assert!(matches!(lost, ClientError::Lost), "{lost:?}");
        assert!(lost.is_retryable());
        assert_eq!(lost.code().as_deref(), Some("ECONNRESET"));
        assert_eq!(value, "[1]");
    });
}

/// A daemon that died while nobody called must not cost the next call an error: nothing of it was sent.
#[test]
fn a_call_after_an_unnoticed_death_reaches_the_successor() {
    run(async {
        let stage = Stage::new();
        let listener = stage.listen();
        let (connected, peer) = tokio::join!(stage.client.connect(), Peer::accept(&listener));
        connected.unwrap();
        testing::end(peer.stream);
        // The client's task has had no chance to see the end of the stream: nothing was awaited since.
        assert!(stage.client.is_connected());
        let daemon = async {
            let mut successor = Peer::accept(&listener).await;
            let id = successor.id().await;
            successor.write(&rpc::reply(&id, &[b"1"])).await;
            successor
        };
        let (value, _peer) = tokio::join!(stage.client.call("a", "[]"), daemon);
        assert_eq!(value.unwrap(), "[1]");
    });
}

/// After bytes that are no frame there is no telling where the next begins.
#[test]
fn garbage_fails_everything_outstanding_and_the_next_call_connects_anew() {
    run(async {
        let stage = Stage::new();
        let listener = stage.listen();
        let daemon = async {
            let mut peer = Peer::accept(&listener).await;
            let (_first, _second) = (peer.id().await, peer.id().await);
            peer.write(b"\0HTTP/1.1 400 Bad Request\r\n").await;
            let mut next = Peer::accept(&listener).await;
            let id = next.id().await;
            next.write(&rpc::reply(&id, &[b"1"])).await;
            (peer, next)
        };
        let calls = async {
            let (first, second) =
                tokio::join!(stage.client.call("a", "[]"), stage.client.call("b", "[]"));
            for error in [first.unwrap_err(), second.unwrap_err()] {
                assert!(matches!(error, ClientError::Garbled { .. }), "{error:?}");
            }
            stage.client.call("c", "[]").await.unwrap()
        };
        let (_peers, value) = tokio::join!(daemon, calls);
        assert_eq!(value, "[1]");
    });
}

/// A reply of 4 GiB that is only announced must fail the connection, not the memory.
#[test]
fn an_announced_reply_beyond_the_limit_is_refused() {
    run(async {
        let stage = Stage::new();
        let listener = stage.listen();
        let daemon = async {
            let mut peer = Peer::accept(&listener).await;
            peer.id().await;
            peer.write(&[0x12, 0xff, 0xff, 0xff, 0xff]).await;
            peer
        };
        let (result, _peer) = tokio::join!(stage.client.call("a", "[]"), daemon);
        let error = result.unwrap_err();
        assert!(error.to_string().contains("268435456 bytes"), "{error}");
    });
}

/// Every callback exactly once also when the caller itself hangs up.
#[test]
fn disconnecting_fails_what_is_outstanding() {
    run(async {
        let stage = Stage::new();
        let listener = stage.listen();
        let daemon = async {
            let mut peer = Peer::accept(&listener).await;
            peer.id().await;
            stage.client.disconnect();
            // The socket closes at once, too.
            assert!(peer.request().await.is_none());
        };
        let (result, ()) = tokio::join!(stage.client.call("a", "[]"), daemon);
        assert!(matches!(result, Err(ClientError::Closed)), "{result:?}");
        assert!(!stage.client.is_connected());
    });
}

/// The addon's thread may end at any moment; what it owes must not be forgotten with it.
#[test]
fn a_runtime_that_ends_fails_what_is_outstanding() {
    let stage = Stage::new();
    let ended = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&ended);
    run(async {
        let listener = stage.listen();
        let (connected, _peer) = tokio::join!(stage.client.connect(), Peer::accept(&listener));
        connected.unwrap();
        let on_reply = Box::new(move |reply| *seen.lock().unwrap() = Some(reply));
        assert!(stage.client.call_now("a", "[]", on_reply, None).is_ok());
    });
    assert!(matches!(
        *ended.lock().unwrap(),
        Some(Err(ClientError::Closed))
    ));
    assert!(!stage.client.is_connected());
}

/// The calls that both our daemon and the reference's understand, in the reference client's order; `killMe` names no living pid.
#[test]
fn kill_deletes_everything_and_waits_for_the_daemon_to_go() {
    run(async {
        let stage = Stage::new();
        let listener = stage.listen();
        std::fs::write(stage.path().join("pm2.pid"), "4194305").unwrap();
        let daemon = async {
            let mut peer = Peer::accept(&listener).await;
            // Looked whether anybody is there.
            if peer.request().await.is_none() {
                peer = Peer::accept(&listener).await;
            }
            let mut seen =
                vec![r#"{"type":"call","method":"notifyKillPM2","args":[{}]}"#.to_owned()];
            while let Some((text, id)) = peer.request().await {
                seen.push(text.clone());
                if text.contains("getMonitorData") {
                    peer.write(&rpc::reply(&id, &[br#"[{"pm_id":0,"x":[1]},{"pm_id":7}]"#]))
                        .await;
                } else if text.contains("deleteProcessId\",\"args\":[7") {
                    peer.write(&rpc::failure(&id, "7 : id unknown", None)).await;
                } else if text.contains("killMe") {
                    break;
                } else {
                    peer.write(&rpc::reply(&id, &[b"{}"])).await;
                }
            }
            let path = stage.path().join("rpc.sock");
            std::fs::remove_file(path).unwrap();
            drop(listener);
            seen
        };
        let (killed, seen) = tokio::join!(stage.client.kill(), daemon);
        killed.unwrap();
        let count = |text: &str| seen.iter().filter(|seen| seen.contains(text)).count();
        assert_eq!(count("\"method\":\"deleteProcessId\""), 2);
        assert_eq!(count("stopWatch\",\"args\":[\"deleteProcessId\""), 2);
        assert!(seen[seen.len() - 2].contains(r#""args":["deleteAll",{"pid":2147483647}]"#));
        assert!(seen[seen.len() - 1].contains(r#""method":"killMe","args":[{"pid":2147483647}]"#));
    });
}

/// There is nobody to end, and nobody is started for it.
#[test]
fn kill_without_a_daemon_succeeds() {
    run(async {
        let stage = Stage::new();
        stage.client.kill().await.unwrap();
        // A file that a dead daemon left behind changes nothing.
        testing::end(stage.listen());
        stage.client.kill().await.unwrap();
    });
}
