//! The calls that start and stop nothing.

use super::super::SupervisorConfig;
use super::world::{World, check};

fn up() -> World {
    let mut world = World::new(SupervisorConfig::default());
    world.run(r#"prepare "watch":true"#);
    world.run("spawned 20");
    world
}

#[test]
fn a_reset_forgets_counts_and_answers_with_the_list() {
    let mut world = up();
    for _ in 0..3 {
        world.run("exited 0 1");
        world.run("spawned 21");
    }
    world.run("after 50");
    assert_eq!(
        world.run("reset 0"),
        ["reply 2 [formatted 0 online pid 21]"]
    );
    assert_eq!(
        world.run("show 0 restart_time unstable_restarts created_at"),
        [
            "restart_time: 0",
            "unstable_restarts: 0",
            "created_at: 1000050"
        ]
    );
}

#[test]
fn a_notification_is_published_as_given() {
    let mut world = up();
    assert_eq!(
        world.run("notify 0 graceful reload"),
        [
            "event graceful reload manually of 0, online",
            "reply 2 null"
        ]
    );
}

#[test]
fn monitoring_is_noted() {
    let mut world = up();
    assert_eq!(
        world.run("monitor 0"),
        [r#"reply 2 {"success":true,"pm_id":0}"#]
    );
    assert_eq!(world.run("show 0 _km_monitored"), ["_km_monitored: true"]);
    world.run("unmonitor 0");
    assert_eq!(world.run("show 0 _km_monitored"), ["_km_monitored: false"]);
}

#[test]
fn signals_go_only_to_what_runs() {
    let mut world = up();
    assert_eq!(
        world.run("signal 0 SIGUSR2"),
        [
            "signal run 0 with SIGUSR2",
            "reply 2 [formatted 0 online pid 20]"
        ]
    );
    assert_eq!(
        world.run("signal-name app 12"),
        [
            "signal run 0 with SIGUSR2",
            "reply 3 [formatted 0 online pid 20]"
        ]
    );
    assert_eq!(
        world.run("signal-name /srv/app.js SIGHUP")[0],
        "signal run 0 with SIGHUP"
    );
    assert_eq!(
        world.run("signal 0 NOPE"),
        ["reply 5 error: Error when sending signal (signal unknown)"]
    );
    world.run("stop 0");
    world.run("exited 0 0");
    world.run("drained 0");
    assert_eq!(
        world.run("signal 0 SIGUSR2"),
        ["reply 7 error: Process with ID <0> offline."]
    );
    assert_eq!(
        world.run("signal-name app SIGUSR2"),
        ["reply 8 error: Process with ID <0> offline."]
    );
}

#[test]
fn watching_is_switched_on_and_off() {
    let mut world = up();
    let watch = |world: &mut World| world.run("show 0 watch").remove(0);
    assert_eq!(
        world.run("stop-watch stopProcessId \"0\""),
        [r#"reply 2 {"success":true}"#]
    );
    assert_eq!(watch(&mut world), "watch: false");
    assert_eq!(
        world.run(r#"start-watch restartProcessId {"id":0}"#),
        [r#"reply 3 {"success":true}"#]
    );
    assert_eq!(watch(&mut world), "watch: true");
    assert_eq!(
        world.run(r#"start-watch restartProcessId {"id":0}"#),
        [r#"reply 4 {"success":true,"notrestarted":true}"#]
    );
    world.run(r#"toggle-watch restartProcessId {"id":"0"}"#);
    assert_eq!(watch(&mut world), "watch: false");
    world.run(r#"toggle-watch restartProcessName "app""#);
    assert_eq!(watch(&mut world), "watch: true");
    world.run(r#"stop-watch deleteAll {"pid":7}"#);
    assert_eq!(watch(&mut world), "watch: false");
    assert_eq!(
        world.run("stop-watch stopProcessId 9"),
        [r#"reply 8 {"success":true}"#]
    );
}

#[test]
fn reload_in_fork_mode_is_a_restart() {
    check(
        r#"
        > prepare
          log App [app:0] starting in -fork mode-
          spawn 0 as run 0
        > spawned 20
          pid file /p/app-0.pid 20
          event online of 0, launching
          log App [app:0] online
          event start manually of 0, online
          reply 1 [child 0 online pid 20]
        > reload 0
          log Stopping app:app id:0
          terminate run 0 with SIGINT and its tree
        "#,
    );
}
