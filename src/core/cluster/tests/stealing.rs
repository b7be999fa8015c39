//! What is taken from workers that are stuck, and who gets it.

use super::{World, two_slots};
use crate::core::Effect;
use crate::model::{ConnectionId, SocketId};

#[test]
fn the_queue_of_a_stuck_worker_goes_to_the_other() {
    let mut world = two_slots();
    let stuck = world.sockets[0];
    world.act(|primary, now, out| primary.waiting(now, stuck, out));
    for _ in 0..2 {
        world.pass(10);
        assert!(world.took(&Effect::Look { socket: stuck }));
        world.queued(stuck, 3);
    }
    world.pass(10);
    world.queued(stuck, 3);
    assert!(world.accepts(stuck, 3));
    world.accepted(stuck, 3, true);
    assert_eq!(world.given(), [1, 1, 1]);
    world.hear(
        1,
        r#"{"cmd":"NODE_CLUSTER","ack":1,"accepted":true,"seq":9}"#,
    );
    assert!(world.took(&Effect::CloseConnection {
        connection: ConnectionId(0)
    }));
}

/// `waiting` connections at a socket, looked at until they are taken out.
fn steal(world: &mut World, socket: SocketId, waiting: u32) {
    world.act(|primary, now, out| primary.waiting(now, socket, out));
    for _ in 0..3 {
        world.pass(10);
        world.queued(socket, waiting);
    }
    assert!(world.accepts(socket, waiting));
    // As many as were asked for: that it is empty is seen at the next look.
    world.accepted(socket, u64::from(waiting), false);
    world.pass(10);
    world.queued(socket, 0);
}

// Protects: that people wait no longer than the looks take. However many come at once, what a sibling can take goes to it in turn, and
// connections it is slow to take are followed by no others.
#[test]
fn what_is_taken_from_a_stuck_worker_is_handed_on_some_at_a_time() {
    let mut world = two_slots();
    let stuck = world.sockets[0];
    steal(&mut world, stuck, 6);
    assert_eq!(world.given(), [1, 1, 1, 1]);
    world.hear(
        1,
        r#"{"cmd":"NODE_CLUSTER","ack":1,"accepted":true,"seq":9}"#,
    );
    assert_eq!(world.given(), [1]);
    world.pass(30);
    world.hear(
        1,
        r#"{"cmd":"NODE_CLUSTER","ack":2,"accepted":true,"seq":10}"#,
    );
    assert_eq!(world.given(), [0; 0], "it is late with the third");
    for (seq, ack) in [(11, 3), (12, 4), (13, 5)] {
        let text = format!(r#"{{"cmd":"NODE_CLUSTER","ack":{ack},"accepted":true,"seq":{seq}}}"#);
        world.hear(1, &text);
    }
    assert_eq!(world.given(), [1]);
}

// Protects: a queue is looked at again at once while somebody could take what is in it, whoever is busy at the moment. Looking again
// after fifty milliseconds, as when nobody is there, would be half of what people are to wait at most.
#[test]
fn a_stuck_queue_is_looked_at_soon_again_while_its_siblings_are_busy() {
    let mut world = two_slots();
    let stuck = world.sockets[0];
    steal(&mut world, stuck, 16);
    world.act(|primary, now, out| primary.waiting(now, stuck, out));
    world.pass(10);
    world.queued(stuck, 9);
    assert!(
        world.accepts(stuck, 4),
        "as many as one sibling may have held for it"
    );
    world.accepted(stuck, 4, false);
    for _ in 0..3 {
        world.other.clear();
        world.pass(10);
        assert!(
            world.took(&Effect::Look { socket: stuck }),
            "after ten milliseconds"
        );
        world.queued(stuck, 5);
    }
}

// Protects: one that was slow for a moment is not passed over for half a second.
#[test]
fn a_worker_that_gives_a_sign_of_life_is_not_suspected_any_more() {
    let mut world = two_slots();
    let (first, second) = (world.sockets[0], world.sockets[1]);
    steal(&mut world, first, 1);
    assert_eq!(world.given(), [1]);
    // That we have emptied its queue is no sign of life.
    let text = r#"{"cmd":"NODE_CLUSTER","ack":1,"accepted":true,"seq":9}"#;
    world.hear(1, text);
    steal(&mut world, first, 2);
    world.act(|primary, now, out| primary.waiting(now, second, out));
    world.given();
    for _ in 0..3 {
        world.pass(10);
        world.queued(second, 1);
    }
    assert!(!world.accepts(second, 1));
    world.pass(10);
    world.queued(second, 0);
    // Its own queue is empty at the next look, and nobody else has emptied it.
    world.act(|primary, now, out| primary.waiting(now, first, out));
    world.pass(10);
    world.queued(first, 0);
    steal(&mut world, second, 1);
    assert_eq!(world.given(), [0]);
}

// Protects: connections that we hold are handed to somebody, even if all workers seem to be stuck.
#[test]
fn where_all_are_suspected_the_oldest_suspicion_counts_least() {
    let mut world = two_slots();
    let (first, second) = (world.sockets[0], world.sockets[1]);
    steal(&mut world, first, 5);
    assert_eq!(world.given(), [1, 1, 1, 1]);
    world.act(|primary, now, out| primary.waiting(now, second, out));
    for _ in 0..3 {
        world.pass(10);
        world.queued(second, 1);
    }
    assert_eq!(world.given(), [0; 0], "nobody has shown any life yet");
    world.pass(30);
    assert_eq!(world.given(), [0]);
}

#[test]
fn a_queue_that_gets_shorter_is_left_alone() {
    let mut world = two_slots();
    let busy = world.sockets[0];
    world.act(|primary, now, out| primary.waiting(now, busy, out));
    for connections in [9, 8, 9, 7, 8, 3, 4, 1] {
        world.pass(10);
        world.queued(busy, connections);
    }
    assert!(
        !world
            .other
            .iter()
            .any(|effect| matches!(effect, Effect::Accept { .. }))
    );
}
