//! What becomes of a call while the connection holds.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use crate::client::connection::MAX_OUTSTANDING;
use crate::client::{ClientError, OnPiece, OnReply};
use crate::wire::axon::RequestId;
use crate::wire::rpc;

use super::{Peer, Stage, frame, listen, run};

/// Replies may come in any order, and each caller must get its own.
#[test]
fn calls_made_side_by_side_get_their_own_replies() {
    run(async {
        let stage = Stage::new();
        let listener = stage.listen();
        let daemon = async {
            let mut peer = Peer::accept(&listener).await;
            let first = peer.id().await;
            let second = peer.id().await;
            peer.write(&rpc::reply(&second, &[b"2"])).await;
            peer.write(&rpc::reply(&first, &[b"1", b"null"])).await;
            peer
        };
        let (first, second, _peer) = tokio::join!(
            stage.client.call("one", "[]"),
            stage.client.call("two", "[]"),
            daemon
        );
        assert_eq!(first.unwrap(), "[1,null]");
        assert_eq!(second.unwrap(), "[2]");
    });
}

/// The reference's form of ids and requests, which its daemon and every tool that listens in expects.
#[test]
fn requests_look_like_those_of_the_reference() {
    run(async {
        let stage = Stage::new();
        let listener = stage.listen();
        let daemon = async {
            let mut peer = Peer::accept(&listener).await;
            let (text, first) = peer.request().await.unwrap();
            peer.write(&rpc::reply(&first, &[])).await;
            let second = peer.id().await;
            peer.write(&rpc::reply(&second, &[])).await;
            (text, first, second, peer)
        };
        let calls = async {
            stage.client.call("ping", "[{}]").await.unwrap();
            stage.client.call("ping", "[{}]").await.unwrap()
        };
        let ((text, first, second, _peer), last) = tokio::join!(daemon, calls);
        assert_eq!(text, r#"{"type":"call","method":"ping","args":[{}]}"#);
        let pid = std::process::id();
        assert_eq!(first.as_bytes(), format!("s:{pid}:0").as_bytes());
        assert_eq!(second.as_bytes(), format!("s:{pid}:1").as_bytes());
        assert_eq!(last, "[]");
    });
}

/// Scripts compare these texts, and show these stacks.
#[test]
fn an_error_of_the_daemon_keeps_its_text_and_stack() {
    run(async {
        let stage = Stage::new();
        let listener = stage.listen();
        let daemon = async {
            let mut peer = Peer::accept(&listener).await;
            let id = peer.id().await;
            peer.write(&rpc::failure(&id, "7 id unknown", Some("Error: at x")))
                .await;
            peer
        };
        let (result, _peer) = tokio::join!(stage.client.call("startProcessId", "[7]"), daemon);
        let error = result.unwrap_err();
        assert_eq!(
            error.to_json(),
            r#"{"message":"7 id unknown","stack":"Error: at x"}"#
        );
        assert!(!error.is_retryable());
    });
}

/// One reply that makes no sense must not take the others with it.
#[test]
fn a_reply_that_is_no_json_fails_its_own_call_only() {
    run(async {
        let stage = Stage::new();
        let listener = stage.listen();
        let daemon = async {
            let mut peer = Peer::accept(&listener).await;
            let broken = peer.id().await;
            let shapeless = peer.id().await;
            let good = peer.id().await;
            peer.write(&frame(&broken, b"{\"args\":[")).await;
            peer.write(&frame(&shapeless, b"{}")).await;
            peer.write(&rpc::reply(&good, &[b"true"])).await;
            peer
        };
        let (broken, shapeless, good, _peer) = tokio::join!(
            stage.client.call("a", "[]"),
            stage.client.call("b", "[]"),
            stage.client.call("c", "[]"),
            daemon
        );
        assert!(
            matches!(broken, Err(ClientError::Garbled { .. })),
            "{broken:?}"
        );
        assert!(
            matches!(shapeless, Err(ClientError::Garbled { .. })),
            "{shapeless:?}"
        );
        assert_eq!(good.unwrap(), "[true]");
    });
}

/// Compat: the reference client ignores both, and a reply may well come after its caller has gone.
#[test]
fn replies_that_nobody_waits_for_are_ignored() {
    run(async {
        let stage = Stage::new();
        let listener = stage.listen();
        let daemon = async {
            let mut peer = Peer::accept(&listener).await;
            let abandoned = peer.id().await;
            let id = peer.id().await;
            peer.write(&rpc::reply(&abandoned, &[b"0"])).await;
            peer.write(&rpc::reply(&id, &[b"1"])).await;
            peer.write(&rpc::reply(&id, &[b"2"])).await;
            let last = peer.id().await;
            peer.write(&rpc::reply(&last, &[b"3"])).await;
            peer
        };
        let calls = async {
            {
                let abandoned = std::pin::pin!(stage.client.call("a", "[]"));
                // Polled until it is sent, which connecting takes, and dropped then.
                let sent = async {
                    while !stage.client.is_connected() {
                        tokio::task::yield_now().await;
                    }
                };
                tokio::select! { biased; _ = abandoned => {}, () = sent => {} }
            }
            let second = stage.client.call("b", "[]").await.unwrap();
            let third = stage.client.call("c", "[]").await.unwrap();
            (second, third)
        };
        let (_peer, (second, third)) = tokio::join!(daemon, calls);
        assert_eq!(second, "[1]");
        assert_eq!(third, "[3]");
    });
}

/// JSON of any depth: either an error or the text, and never a stack that overflows.
#[test]
fn deeply_nested_replies_do_no_harm() {
    for depth in [20_000, 200_000] {
        run(async {
            let stage = Stage::new();
            let listener = stage.listen();
            let value = ["[".repeat(depth), "]".repeat(depth)].concat();
            let daemon = async {
                let mut peer = Peer::accept(&listener).await;
                let id = peer.id().await;
                peer.write(&rpc::reply(&id, &[value.as_bytes()])).await;
                peer
            };
            let (result, _peer) = tokio::join!(stage.client.call("a", "[]"), daemon);
            match result {
                Ok(text) => assert_eq!(text.len(), value.len() + 2),
                Err(error) => assert!(matches!(error, ClientError::Garbled { .. })),
            }
        });
    }
}

/// The list of a thousand processes is the largest reply there is in practice, and comes in many pieces.
#[test]
fn a_large_reply_arrives_whole() {
    run(async {
        let stage = Stage::new();
        let listener = stage.listen();
        let value = format!("[{}\"ü\"]", "{\"pm_id\":0},".repeat(200_000));
        let daemon = async {
            let mut peer = Peer::accept(&listener).await;
            let id = peer.id().await;
            let reply = rpc::reply(&id, &[value.as_bytes()]);
            for piece in reply.chunks(100_003) {
                peer.write(piece).await;
            }
            peer
        };
        let (result, _peer) = tokio::join!(stage.client.call("getMonitorData", "[{}]"), daemon);
        assert_eq!(result.unwrap(), format!("[{value}]"));
    });
}

/// What a call with pieces has heard.
#[derive(Default)]
struct Heard {
    pieces: Mutex<Vec<Bytes>>,
    end: Mutex<Option<Result<Bytes, ClientError>>>,
}

impl Heard {
    /// Makes a call on a connection that is there.
    fn call(stage: &Stage) -> Arc<Self> {
        let heard = Arc::<Self>::default();
        let (on_end, on_piece) = (Arc::clone(&heard), Arc::clone(&heard));
        let on_reply: OnReply = Box::new(move |reply| *on_end.end.lock().unwrap() = Some(reply));
        let on_piece: OnPiece = Arc::new(move |piece| on_piece.pieces.lock().unwrap().push(piece));
        let sent = stage
            .client
            .call_now("getMonitorData", "[{}]", on_reply, Some(on_piece));
        assert!(sent.is_ok());
        heard
    }

    fn is_ended(&self) -> bool {
        self.end.lock().unwrap().is_some()
    }

    /// All elements of the list that is the first value.
    fn elements(&self) -> Vec<Value> {
        let end = self.end.lock().unwrap().take().unwrap().unwrap();
        let mut elements: Vec<Value> = Vec::new();
        for piece in self.pieces.lock().unwrap().iter() {
            elements.extend(serde_json::from_slice::<Vec<Value>>(piece).unwrap());
        }
        let values: Value = serde_json::from_slice(&end).unwrap();
        elements.extend_from_slice(values[0].as_array().unwrap());
        elements
    }
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A list of 400 kB, as a reply has it.
fn long_list() -> (Vec<Value>, String) {
    let elements: Vec<Value> = (0..100)
        .map(|id| serde_json::json!({"pm_id": id, "text": "ü],[\"".repeat(500)}))
        .collect();
    let text = Value::from(elements.clone()).to_string();
    (elements, text)
}

/// Whoever parses a long list need not wait for all of it, and gets all of it.
#[test]
fn most_of_a_long_list_is_handed_out_before_its_end_has_come() {
    run(async {
        let stage = Stage::new();
        let mut peer = stage.connect().await;
        let (elements, text) = long_list();
        for _ in 0..2 {
            let heard = Heard::call(&stage);
            let reply = rpc::reply(&peer.id().await, &[text.as_bytes()]);
            let (most, end) = reply.split_at(reply.len() - 10);
            peer.write(most).await;
            until(|| heard.pieces.lock().unwrap().len() > 5).await;
            assert!(!heard.is_ended());
            peer.write(end).await;
            until(|| heard.is_ended()).await;
            assert_eq!(heard.elements(), elements);
        }
    });
}

/// The id stands at the end: as long as two calls wait, nobody knows whose list it is.
#[test]
fn a_list_that_may_be_another_caller_s_is_handed_out_whole() {
    run(async {
        let stage = Stage::new();
        let mut peer = stage.connect().await;
        let (elements, text) = long_list();
        let (first, second) = (Heard::call(&stage), Heard::call(&stage));
        let (first_id, second_id) = (peer.id().await, peer.id().await);
        peer.write(&rpc::reply(&second_id, &[text.as_bytes()]))
            .await;
        until(|| second.is_ended()).await;
        assert_eq!(
            (first.pieces.lock().unwrap().len(), first.is_ended()),
            (0, false)
        );
        assert_eq!(second.pieces.lock().unwrap().len(), 0);
        assert_eq!(second.elements(), elements);
        peer.write(&rpc::reply(&first_id, &[b"[]"])).await;
        until(|| first.is_ended()).await;
    });
}

/// Pieces that were handed out cannot be taken back.
#[test]
fn a_list_that_ends_as_the_answer_to_something_else_fails_the_call() {
    run(async {
        let stage = Stage::new();
        let mut peer = stage.connect().await;
        let heard = Heard::call(&stage);
        peer.id().await;
        let stranger = RequestId::new("4194305", 9);
        peer.write(&rpc::reply(&stranger, &[long_list().1.as_bytes()]))
            .await;
        until(|| heard.is_ended()).await;
        assert!(heard.end.lock().unwrap().take().unwrap().is_err());
        assert!(!stage.client.is_connected());
    });
}

/// A daemon that never answers must not make its callers grow without bound.
#[test]
fn calls_beyond_the_limit_fail_at_once() {
    run(async {
        let stage = Stage::new();
        let _peer = stage.connect().await;
        for _ in 0..MAX_OUTSTANDING {
            assert!(
                stage
                    .client
                    .call_now("a", "[]", Box::new(|_| ()), None)
                    .is_ok()
            );
        }
        let error = stage.client.call("a", "[]").await.unwrap_err();
        assert!(error.is_retryable(), "{error}");
        assert_eq!(error.code().as_deref(), Some("ENOBUFS"));
    });
}

/// Events are what a subscriber is there for: none lost, none cut, names of any kind.
#[test]
fn a_subscriber_gets_every_event_however_the_bytes_come() {
    run(async {
        let stage = Stage::new();
        let (rpc_listener, bus) = (stage.listen(), listen(&stage.path().join("pub.sock")));
        let daemon = async {
            let peer = Peer::accept(&rpc_listener).await;
            let mut bus = Peer::accept(&bus).await;
            let mut bytes = Vec::new();
            bytes.extend(crate::wire::axon::event("log:out", b"{\"data\":\"x\"}"));
            bytes.extend(crate::wire::amp::encode(&[b"j:{\"a\":1}", b"j:2"]));
            bytes.extend(crate::wire::amp::encode(&[b"s:alone"]));
            for byte in bytes {
                bus.write(&[byte]).await;
            }
            peer
        };
        let listening = async {
            let mut subscription = stage.client.subscribe().await.unwrap();
            let mut seen = Vec::new();
            while let Some(event) = subscription.next().await.unwrap() {
                seen.push((event.name, event.payload));
            }
            seen
        };
        let (seen, _peer) = tokio::join!(listening, daemon);
        let seen: Vec<_> = seen
            .iter()
            .map(|(name, payload)| (name.as_str(), &payload[..]))
            .collect();
        let expected: [(&str, &[u8]); 3] = [
            ("log:out", b"{\"data\":\"x\"}"),
            ("{\"a\":1}", b"2"),
            ("alone", b"null"),
        ];
        assert_eq!(seen, expected);
    });
}
