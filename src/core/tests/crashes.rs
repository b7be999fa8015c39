//! Processes that end by themselves.

use super::world::{World, check};
use crate::core::SupervisorConfig;

fn up(more: &str) -> String {
    format!(
        "
        > prepare {more}
          log App [app:0] starting in -fork mode-
          spawn 0 as run 0
        > spawned 20
          pid file /p/app-0.pid 20
          event online of 0, launching
          log App [app:0] online
          event start manually of 0, online
          reply 1 [child 0 online pid 20]
        "
    )
}

fn check_up(more: &str, script: &str) {
    check(&format!("{}{script}", up(more)));
}

#[test]
fn a_crash_is_followed_by_a_start_at_once() {
    check_up(
        "",
        r#"
        > after 2000
        > exited 0 1
          log App [app:0] exited with code [1] via signal [SIGINT]
          no pid file /p/app-0.pid
          event exit of 0, stopped
          log App [app:0] starting in -fork mode-
          spawn 0 as run 1
        > spawned 21
          pid file /p/app-0.pid 21
          event online of 0, launching
          log App [app:0] online
        > show 0 restart_time unstable_restarts exit_code created_at pm_uptime
          restart_time: 1
          unstable_restarts: 0
          exit_code: 1
          created_at: 1000000
          pm_uptime: 1002000
        "#,
    );
}

/// Protects: an app that ran for days. A date that is set back makes no crash loop of it, neither at once nor as long as the date has not
/// caught up.
#[test]
fn a_date_that_is_set_back_makes_no_run_unstable() {
    check_up(
        "",
        r#"
        > after 500
        > clock 200000
        > exited 0 1
          log App [app:0] exited with code [1] via signal [SIGINT]
          no pid file /p/app-0.pid
          event exit of 0, stopped
          log App [app:0] starting in -fork mode-
          spawn 0 as run 1
        > spawned 21
          pid file /p/app-0.pid 21
          event online of 0, launching
          log App [app:0] online
        > show 0 unstable_restarts created_at pm_uptime
          unstable_restarts: 0
          created_at: 200000
          pm_uptime: 200000
        > after 60000
        > after 500
        > exited 0 1
          log App [app:0] exited with code [1] via signal [SIGINT]
          no pid file /p/app-0.pid
          event exit of 0, stopped
          log App [app:0] starting in -fork mode-
          spawn 0 as run 2
        > show 0 unstable_restarts
          unstable_restarts: 0
        "#,
    );
}

/// Protects: delays and limits, which are times and no dates: a stop ends and a restart comes when it should, whatever the date does.
#[test]
fn delays_do_not_follow_the_date() {
    check_up(
        r#""restart_delay":5000,"kill_timeout":3000"#,
        r#"
        > exited 0 1
          log App [app:0] exited with code [1] via signal [SIGINT]
          no pid file /p/app-0.pid
          event exit of 0, stopped
        > clock 99000000
        > deadline
          in 5000
        > clock 5
        > after 5000
          log App [app:0] starting in -fork mode-
          spawn 0 as run 1
        "#,
    );
}

#[test]
fn who_is_not_to_be_restarted_rests() {
    for more in [
        r#""autorestart":false"#,
        r#""stop_exit_codes":[7,0]"#,
        r#""stop_exit_codes":"0""#,
    ] {
        check_up(
            more,
            r#"
            > exited 0 SIGSEGV
              log App [app:0] exited with code [0] via signal [SIGSEGV]
              no pid file /p/app-0.pid
              event exit of 0, stopped
            > deadline
              none
            "#,
        );
    }
}

#[test]
fn a_crash_loop_ends_in_errored_after_max_restarts() {
    let mut world = World::new(SupervisorConfig::default());
    world.run("prepare");
    let mut spawns = 1;
    let last = loop {
        world.run("spawned 20");
        world.run("after 10");
        let effects = world.run("exited 0 1");
        if !effects.iter().any(|effect| effect.starts_with("spawn ")) {
            break effects;
        }
        spawns += 1;
    };
    assert_eq!(spawns, 16);
    assert_eq!(
        last,
        [
            "log App [app:0] exited with code [1] via signal [SIGINT]",
            "no pid file /p/app-0.pid",
            "log Script /srv/app.js had too many unstable restarts (16). Stopped. \"errored\"",
            "event restart overlimit of 0, errored",
            "event exit of 0, errored",
        ]
    );
    assert_eq!(
        world.run("show 0 restart_time unstable_restarts created_at status"),
        [
            "restart_time: 15",
            "unstable_restarts: 0",
            "created_at: null",
            "status: \"errored\""
        ]
    );
    assert_eq!(world.run("deadline"), ["none"]);
    // It can be started again, and then counts from there.
    world.run("start 0");
    assert_eq!(world.run("show 0 created_at"), ["created_at: 1000160"]);
}

#[test]
fn slow_crashes_are_not_counted() {
    let mut world = World::new(SupervisorConfig::default());
    world.run("prepare");
    for _ in 0..40 {
        world.run("spawned 20");
        world.run("after 1000");
        world.run("exited 0 1");
    }
    assert_eq!(
        world.run("show 0 restart_time unstable_restarts"),
        ["restart_time: 40", "unstable_restarts: 0"]
    );
}

#[test]
fn short_runs_past_the_window_are_not_counted() {
    let mut world = World::new(SupervisorConfig::default());
    world.run(r#"prepare "max_restarts":2"#);
    world.run("spawned 20");
    world.run("after 2000");
    for _ in 0..5 {
        world.run("exited 0 1");
        world.run("spawned 20");
        world.run("after 1");
    }
    assert_eq!(
        world.run("show 0 unstable_restarts status"),
        ["unstable_restarts: 0", "status: \"online\""]
    );
}

#[test]
fn a_restart_delay_is_waited_for_and_shown() {
    check_up(
        r#""restart_delay":500"#,
        r#"
        > exited 0 1
          log App [app:0] exited with code [1] via signal [SIGINT]
          no pid file /p/app-0.pid
          event exit of 0, stopped
        > list
          0 app waiting restart
        > deadline
          in 500
        > after 500
          log App [app:0] starting in -fork mode-
          spawn 0 as run 1
        > show 0 restart_time prev_restart_delay
          restart_time: 1
          prev_restart_delay: -
        "#,
    );
}

#[test]
fn a_backoff_grows_and_is_forgiven_after_thirty_seconds() {
    check_up(
        r#""exp_backoff_restart_delay":100,"restart_delay":7"#,
        r#"
        > exited 0 1
          log App [app:0] exited with code [1] via signal [SIGINT]
          no pid file /p/app-0.pid
          event exit of 0, stopped
          log App [app:0] will restart in 100ms
        > after 100
          log App [app:0] starting in -fork mode-
          spawn 0 as run 1
        > spawned 21
          pid file /p/app-0.pid 21
          event online of 0, launching
          log App [app:0] online
        > exited 0 1
          log App [app:0] exited with code [1] via signal [SIGINT]
          no pid file /p/app-0.pid
          event exit of 0, stopped
          log App [app:0] will restart in 150ms
        > show 0 prev_restart_delay status
          prev_restart_delay: 150
          status: "waiting restart"
        > after 150
          log App [app:0] starting in -fork mode-
          spawn 0 as run 2
        > spawned 22
          pid file /p/app-0.pid 22
          event online of 0, launching
          log App [app:0] online
        > deadline
          in 30000
        > after 30000
          log [PM2][WORKER] Reset the restart delay, as app app has been up for more than 30000ms
        > show 0 prev_restart_delay
          prev_restart_delay: 0
        > deadline
          none
        "#,
    );
}

#[test]
fn a_stop_cancels_a_pending_restart() {
    check_up(
        r#""restart_delay":500"#,
        r#"
        > exited 0 1
          log App [app:0] exited with code [1] via signal [SIGINT]
          no pid file /p/app-0.pid
          event exit of 0, stopped
        > stop 0
          reply 2 formatted 0 stopped pid 0
        > after 1000
        > list
          0 app stopped
        "#,
    );
}

#[test]
fn a_start_or_restart_does_not_wait_for_a_pending_restart() {
    for verb in ["start", "restart"] {
        check_up(
            r#""restart_delay":500"#,
            &format!(
                r#"
                > exited 0 1
                  log App [app:0] exited with code [1] via signal [SIGINT]
                  no pid file /p/app-0.pid
                  event exit of 0, stopped
                > {verb} 0
                  log App [app:0] starting in -fork mode-
                  spawn 0 as run 1
                > after 500
                > show 0 restart_time
                  restart_time: 0
                "#
            ),
        );
    }
}

#[test]
fn over_the_limit_no_restart_is_pending_whatever_the_delay() {
    check_up(
        r#""restart_delay":500,"max_restarts":1"#,
        r#"
        > exited 0 1
          log App [app:0] exited with code [1] via signal [SIGINT]
          no pid file /p/app-0.pid
          log Script /srv/app.js had too many unstable restarts (1). Stopped. "errored"
          event restart overlimit of 0, errored
          event exit of 0, errored
        > deadline
          none
        "#,
    );
}

#[test]
fn a_deliberate_stop_of_a_young_process_counts_and_gives_nobody_up() {
    check_up(
        r#""max_restarts":1"#,
        r#"
        > stop 0
          log Stopping app:app id:0
          terminate run 0 with SIGINT and its tree
        > exited 0 0
          log App [app:0] exited with code [0] via signal [SIGINT]
          no pid file /p/app-0.pid
          event exit of 0, stopping
        > drained 0
          log pid=20 msg=process tree killed
          event exit of 0, stopped
          reply 2 formatted 0 stopped pid 0
        > show 0 unstable_restarts status
          unstable_restarts: 1
          status: "stopped"
        "#,
    );
}

#[test]
fn a_late_drain_of_an_earlier_run_changes_nothing() {
    let mut world = World::new(SupervisorConfig::default());
    world.run("prepare");
    world.run("spawned 20");
    let run = world
        .supervisor
        .get(crate::model::PmId(0))
        .unwrap()
        .run()
        .unwrap();
    world.run("exited 0 1");
    world.run("spawned 21");
    assert!(world.input(crate::core::Input::Drained { run }).is_empty());
    let exit = crate::model::Exit::Code(0);
    assert!(
        world
            .input(crate::core::Input::Exited { run, exit })
            .is_empty()
    );
    assert_eq!(world.run("list"), ["0 app online"]);
}

#[test]
fn a_spawn_that_fails_with_nobody_waiting_is_logged() {
    check_up(
        "",
        r#"
        > exited 0 1
          log App [app:0] exited with code [1] via signal [SIGINT]
          no pid file /p/app-0.pid
          event exit of 0, stopped
          log App [app:0] starting in -fork mode-
          spawn 0 as run 1
        > unspawned gone
          log error app (id 0) could not be started: gone
          event exit of 0, errored
        > deadline
          none
        "#,
    );
}
