//! Two lives under one id, and somebody who wants the end of it.

use super::super::{Fate, Supervisor, SupervisorConfig};
use super::world::{World, show};

/// A worker in the midst of its reload: run 1 begins, run 0 is listed. Ticket 2 waits for the end of it.
fn reloading() -> World {
    let mut world = World::new(SupervisorConfig::default());
    for command in [
        r#"prepare "exec_mode":"cluster_mode","instances":1"#,
        "spawned 20",
        "online #0",
        "reload 0",
        "spawned 21",
    ] {
        world.run(command);
    }
    world
}

/// The same later: run 1 has taken over, run 0 finishes.
fn leaving() -> World {
    let mut world = reloading();
    world.run("online #1");
    world.run("after 3000");
    assert_eq!(world.run("show 0 restart_time"), ["restart_time: 1"]);
    world
}

/// What callers are told, and what is taken off the list.
fn told(world: &mut World, commands: &[&str]) -> Vec<String> {
    let effects = commands.iter().flat_map(|command| world.run(command));
    let is_told = |effect: &String| effect.starts_with("reply") || effect.starts_with("forget");
    effects.filter(is_told).collect()
}

const LISTED_ENDS: [&str; 2] = ["exited #1 SIGINT", "drained #1"];
const OTHER_ENDS: [&str; 2] = ["exited #0 SIGINT", "drained #0"];

// Protects: who is told that something has stopped can rely on it: no worker of it lives, its port is free.
#[test]
fn a_stop_in_the_midst_of_a_reload_is_answered_when_both_halves_are_gone() {
    let mut world = leaving();
    assert!(told(&mut world, &["stop 0"]).is_empty());
    assert!(told(&mut world, &LISTED_ENDS).is_empty());
    assert_eq!(world.run("list"), ["0 app stopping"]);
    assert!(
        told(&mut world, &["stop 0"]).is_empty(),
        "it joins the first"
    );
    assert_eq!(
        told(&mut world, &OTHER_ENDS),
        [
            "reply 2 formatted \"_old_0\" stopped pid 0",
            "reply 3 formatted 0 stopped pid 0",
            "reply 4 formatted 0 stopped pid 0",
        ]
    );
    assert_eq!(world.run("list"), ["0 app stopped"]);
}

// Protects: an id is not given to another app while a worker lives under it.
#[test]
fn a_delete_in_the_midst_of_a_reload_keeps_the_id_until_both_halves_are_gone() {
    let mut world = leaving();
    told(&mut world, &["delete 0"]);
    assert!(told(&mut world, &LISTED_ENDS).is_empty());
    let spawned = world.run("prepare").join(", ");
    assert!(spawned.contains("spawn 1 as run 2"), "{spawned}");
    assert_eq!(
        told(&mut world, &["start 0", "restart 0"]),
        [
            "reply 5 error: 0 id unknown",
            "reply 6 error: God db process id unknown"
        ]
    );
    assert_eq!(
        told(&mut world, &OTHER_ENDS),
        [
            "reply 2 formatted \"_old_0\" stopped pid 0",
            "reply 3 formatted 0 stopped pid 0",
            "forget 0",
        ]
    );
}

// Protects: a successor that is not wanted any more is waited for as well, and a start that comes meanwhile is not lost.
#[test]
fn a_stop_waits_for_the_successor_that_it_made_needless() {
    let mut world = reloading();
    world.run("stop 0");
    // The other way round: the listed one is the old one.
    assert!(told(&mut world, &OTHER_ENDS).is_empty());
    assert!(told(&mut world, &["start 0"]).is_empty());
    let after = ["exited #1 SIGINT", "drained #1"].map(|command| world.run(command).join(", "));
    let [_, after] = after;
    let stopped = after.find("reply 3 formatted 0 stopped pid 0");
    let started = after.find("spawn 0 as run 2");
    assert!(stopped.is_some() && stopped < started, "{after}");
}

// Protects: nobody is told that all is gone when a worker survives even SIGKILL.
#[test]
fn a_delete_fails_when_the_other_half_cannot_be_killed() {
    let mut world = leaving();
    told(&mut world, &["delete 0"]);
    assert!(told(&mut world, &LISTED_ENDS).is_empty());
    let answers = told(&mut world, &["after 1600", "after 1600"]);
    assert_eq!(
        answers,
        [
            "reply 2 formatted \"_old_0\" errored pid 20",
            "reply 3 error: Process with pid 20 could not be killed",
        ]
    );
    assert_eq!(world.run("list"), ["0 app stopped"]);
}

// Protects: the same if that comes to light while the listed one is ending.
#[test]
fn a_stop_fails_when_the_other_half_could_not_be_killed_before_the_listed_one_ended() {
    let mut world = leaving();
    // It does not finish, and the time for its end runs out.
    world.run("after 8000");
    world.run("after 1600");
    assert!(told(&mut world, &["stop 0"]).is_empty());
    assert_eq!(
        told(&mut world, &["after 1600"]),
        [
            "reply 2 formatted \"_old_0\" errored pid 20",
            "reply 3 error: Process with pid 20 could not be killed",
        ]
    );
    assert!(told(&mut world, &LISTED_ENDS).is_empty());
    assert_eq!(world.run("list"), ["0 app stopped"]);
}

// Protects: a daemon that dies in between leaves the next one the wish, not only the worker.
#[test]
fn the_next_daemon_completes_a_delete_that_waits_for_the_other_half() {
    let mut world = leaving();
    told(&mut world, &["delete 0"]);
    told(&mut world, &LISTED_ENDS);
    let all = world.supervisor.take_all();
    let header = all.header.unwrap();
    let parts = all.parts.into_iter();
    let parts = parts.filter_map(|(part, text)| Some((part, text?)));
    let parts = parts.collect();
    let texts = all.processes.iter().filter_map(|(_, text)| text.as_deref());
    let next = Supervisor::thaw(SupervisorConfig::default(), &header, &parts, texts);
    world.supervisor = next.unwrap();
    let fate = |_| Fate::Lives { is_signalled: true };
    let resumed = world.supervisor.resume(world.now, &fate);
    let resumed: Vec<String> = resumed.iter().map(show).collect();
    assert!(!resumed.join(", ").contains("forget"), "{resumed:?}");
    assert_eq!(world.run("list"), ["0 app stopping"]);
    let told = told(&mut world, &OTHER_ENDS);
    assert_eq!(told.last().unwrap(), "forget 0", "{told:?}");
    assert_eq!(world.run("list"), [""]);
}
