//! Stopping, restarting, deleting, and everything at once.

use std::time::Duration;

use crate::model::Signal;

use super::super::SupervisorConfig;
use super::world::{check, check_with};

/// A process that is up, as ticket 1.
const UP: &str = r"
    > prepare
      log App [app:0] starting in -fork mode-
      spawn 0 as run 0
    > spawned 20
      pid file /p/app-0.pid 20
      event online of 0, launching
      log App [app:0] online
      event start manually of 0, online
      reply 1 [child 0 online pid 20]
";

/// Its end when it was asked to.
const DOWN: &str = r"
    > exited 0 SIGINT
      log App [app:0] exited with code [0] via signal [SIGINT]
      no pid file /p/app-0.pid
      event exit of 0, stopping
    > drained 0
      log pid=20 msg=process tree killed
      event exit of 0, stopped
";

fn check_up(script: &str) {
    check(&format!("{UP}{}", script.replace("DOWN", DOWN)));
}

#[test]
fn a_stop_yields_two_exits_and_then_its_answer() {
    check_up(
        r"
        > stop 0
          log Stopping app:app id:0
          terminate run 0 with SIGINT and its tree
        > list
          0 app stopping
        DOWN
          reply 2 formatted 0 stopped pid 0
        > stop 0
          reply 3 formatted 0 stopped pid 0
        > stop 5
          reply 4 error: 5 : id unknown
        > show 0 restart_time exit_code
          restart_time: 0
          exit_code: 0
        ",
    );
}

#[test]
fn a_second_stop_joins_the_first() {
    check_up(
        r"
        > stop 0
          log Stopping app:app id:0
          terminate run 0 with SIGINT and its tree
        > stop 0
        DOWN
          reply 2 formatted 0 stopped pid 0
          reply 3 formatted 0 stopped pid 0
        ",
    );
}

#[test]
fn descendants_are_waited_for() {
    check_up(
        r"
        > stop 0
          log Stopping app:app id:0
          terminate run 0 with SIGINT and its tree
        > exited 0 SIGINT
          log App [app:0] exited with code [0] via signal [SIGINT]
          no pid file /p/app-0.pid
          event exit of 0, stopping
        > after 1600
          log Process with pid 20 still alive after 1600ms, sending SIGKILL
          kill run 0
        > after 1600
          event exit of 0, errored
          reply 2 error: descendants of app (id 0) could not be killed
        > start 0
          log App [app:0] starting in -fork mode-
          spawn 0 as run 1
        ",
    );
}

#[test]
fn who_ignores_the_signal_is_killed_after_its_kill_timeout() {
    check(
        r#"
        > prepare "kill_timeout":800,"treekill":false
          log App [app:0] starting in -fork mode-
          spawn 0 as run 0
        > spawned 20
          pid file /p/app-0.pid 20
          event online of 0, launching
          log App [app:0] online
          event start manually of 0, online
          reply 1 [child 0 online pid 20]
        > stop 0
          log Stopping app:app id:0
          terminate run 0 with SIGINT
        > deadline
          in 800
        > after 799
        > after 1
          log Process with pid 20 still alive after 800ms, sending SIGKILL
          kill run 0
        > exited 0 SIGKILL
          log App [app:0] exited with code [0] via signal [SIGKILL]
          no pid file /p/app-0.pid
          event exit of 0, stopping
        > drained 0
          log pid=20 msg=process killed
          event exit of 0, stopped
          reply 2 formatted 0 stopped pid 0
        "#,
    );
}

#[test]
fn who_cannot_be_killed_is_errored_and_never_doubled() {
    check_up(
        r"
        > delete 0
          log Stopping app:app id:0
          terminate run 0 with SIGINT and its tree
        > after 1600
          log Process with pid 20 still alive after 1600ms, sending SIGKILL
          kill run 0
        > after 1600
          event exit of 0, errored
          reply 2 error: Process with pid 20 could not be killed
        > start 0
          reply 3 error: Process with pid 20 already exists
        > stop 0
          log Stopping app:app id:0
          terminate run 0 with SIGINT and its tree
        DOWN
          reply 4 formatted 0 stopped pid 0
        ",
    );
}

#[test]
fn an_unkillable_process_that_ends_late_is_errored_without_a_pid() {
    check_up(
        r"
        > stop 0
          log Stopping app:app id:0
          terminate run 0 with SIGINT and its tree
        > after 1600
          log Process with pid 20 still alive after 1600ms, sending SIGKILL
          kill run 0
        > after 1600
          event exit of 0, errored
          reply 2 error: Process with pid 20 could not be killed
        > exited 0 SIGKILL
          log App [app:0] exited with code [0] via signal [SIGKILL]
          no pid file /p/app-0.pid
          event exit of 0, errored
        > start 0
          log App [app:0] starting in -fork mode-
          spawn 0 as run 1
        ",
    );
}

#[test]
fn a_process_may_ask_to_be_stopped_by_message() {
    check(
        r#"
        > prepare "shutdown_with_message":true
          log App [app:0] starting in -fork mode-
          spawn 0 as run 0
        > spawned 20
          pid file /p/app-0.pid 20
          event online of 0, launching
          log App [app:0] online
          event start manually of 0, online
          reply 1 [child 0 online pid 20]
        > stop 0
          log Stopping app:app id:0
          terminate run 0 by message and its tree
        > deadline
          in 1600
        "#,
    );
}

#[test]
fn the_daemons_settings_apply_to_processes_without_their_own() {
    let config = SupervisorConfig {
        kill_timeout: Duration::from_millis(50),
        kill_signal: Signal::TERM,
        ..SupervisorConfig::default()
    };
    check_with(
        config,
        &format!(
            "{UP}
            > stop 0
              log Stopping app:app id:0
              terminate run 0 with SIGTERM and its tree
            > deadline
              in 50
            "
        ),
    );
}

#[test]
fn a_restart_stops_counts_and_starts() {
    check_up(
        r"
        > after 5000
        > restart 0
          log Stopping app:app id:0
          terminate run 0 with SIGINT and its tree
        DOWN
          log App [app:0] starting in -fork mode-
          spawn 0 as run 1
        > spawned 21
          pid file /p/app-0.pid 21
          event online of 0, launching
          log App [app:0] online
          reply 2 child 0 online pid 21
        > show 0 restart_time created_at prev_restart_delay unstable_restarts
          restart_time: 1
          created_at: 1005000
          prev_restart_delay: 0
          unstable_restarts: 0
        ",
    );
}

#[test]
fn a_restart_of_a_stopped_process_is_a_start_and_counts_nothing() {
    check_up(
        r"
        > stop 0
          log Stopping app:app id:0
          terminate run 0 with SIGINT and its tree
        DOWN
          reply 2 formatted 0 stopped pid 0
        > restart 0
          log App [app:0] starting in -fork mode-
          spawn 0 as run 1
        > show 0 restart_time
          restart_time: 0
        ",
    );
}

#[test]
fn a_restart_while_stopping_brings_it_up_again_and_the_stop_is_answered() {
    check_up(
        r"
        > stop 0
          log Stopping app:app id:0
          terminate run 0 with SIGINT and its tree
        > restart 0
        DOWN
          reply 2 formatted 0 stopped pid 0
          log App [app:0] starting in -fork mode-
          spawn 0 as run 1
        > spawned 21
          pid file /p/app-0.pid 21
          event online of 0, launching
          log App [app:0] online
          reply 3 child 0 online pid 21
        ",
    );
}

#[test]
fn a_stop_during_a_restart_ends_it_and_tells_who_waits() {
    check_up(
        r"
        > restart 0
          log Stopping app:app id:0
          terminate run 0 with SIGINT and its tree
        > stop 0
          reply 2 error: app (id 0) was stopped before it was online
        DOWN
          reply 3 formatted 0 stopped pid 0
        > list
          0 app stopped
        ",
    );
}

#[test]
fn a_delete_stops_says_so_and_forgets() {
    check_up(
        r"
        > delete 0
          log Stopping app:app id:0
          terminate run 0 with SIGINT and its tree
        > restart 0
          reply 3 error: God db process id unknown
        DOWN
          event delete manually of 0, stopped
          reply 2 formatted 0 stopped pid 0
          forget 0
        > delete 0
          reply 4 error: 0 : id unknown
        > notify 0 delete
          reply 5 error: process id doesnt exists
        ",
    );
}

#[test]
fn a_delete_overtakes_a_restart_and_a_stop() {
    check_up(
        r"
        > restart 0
          log Stopping app:app id:0
          terminate run 0 with SIGINT and its tree
        > stop 0
          reply 2 error: app (id 0) was stopped before it was online
        > delete 0
        > stop 0
        DOWN
          reply 3 formatted 0 stopped pid 0
          reply 5 formatted 0 stopped pid 0
          event delete manually of 0, stopped
          reply 4 formatted 0 stopped pid 0
          forget 0
        ",
    );
}

#[test]
fn a_stop_that_comes_while_spawning_is_kept() {
    check(
        r"
        > prepare
          log App [app:0] starting in -fork mode-
          spawn 0 as run 0
        > stop 0
          reply 1 error: app (id 0) was stopped before it was online
        > spawned 20
          pid file /p/app-0.pid 20
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
        ",
    );
}

#[test]
fn a_spawn_that_fails_after_a_stop_or_a_delete_is_the_end() {
    check(
        r"
        > prepare
          log App [app:0] starting in -fork mode-
          spawn 0 as run 0
        > stop 0
          reply 1 error: app (id 0) was stopped before it was online
        > delete 0
        > unspawned nothing there
          log error app (id 0) could not be started: nothing there
          event exit of 0, stopped
          reply 2 formatted 0 stopped pid 0
          event delete manually of 0, stopped
          reply 3 formatted 0 stopped pid 0
          forget 0
        ",
    );
}

#[test]
fn restarts_that_come_while_spawning_start_it_once_more_for_all() {
    check(
        r"
        > prepare
          log App [app:0] starting in -fork mode-
          spawn 0 as run 0
        > restart 0
        > restart 0
        > spawned 20
          pid file /p/app-0.pid 20
          log Stopping app:app id:0
          terminate run 0 with SIGINT and its tree
        > exited 0 0
          log App [app:0] exited with code [0] via signal [SIGINT]
          no pid file /p/app-0.pid
          event exit of 0, stopping
        > drained 0
          log pid=20 msg=process tree killed
          event exit of 0, stopped
          log App [app:0] starting in -fork mode-
          spawn 0 as run 1
        > spawned 21
          pid file /p/app-0.pid 21
          event online of 0, launching
          log App [app:0] online
          event start manually of 0, online
          reply 2 child 0 online pid 21
          reply 3 child 0 online pid 21
          reply 1 [child 0 online pid 21]
        ",
    );
}

#[test]
fn killing_everything_ends_all_and_starts_nothing() {
    check_up(
        r#"
        > prepare "name":"b","instances":2
          log App [b:1] starting in -fork mode-
          spawn 1 as run 1
        > restart 0
          log Stopping app:app id:0
          terminate run 0 with SIGINT and its tree
        > kill-all
          reply 3 error: app (id 0) was stopped before it was online
          reply 2 error: b (id 1) was stopped before it was online
        > restart 1
          reply 5 error: [RestartProcessId] PM2 is being killed, stopping restart procedure...
        DOWN
        > unspawned gone
          log error b (id 1) could not be started: gone
          event exit of 1, stopped
          reply 4 {"success":true}
        > list
          0 app stopped, 1 b stopped
        "#,
    );
}

#[test]
fn killing_nothing_is_answered_at_once() {
    check(
        r#"
        > kill-all
          reply 1 {"success":true}
        "#,
    );
}

#[test]
fn after_the_word_that_pm2_is_killed_nothing_is_restarted() {
    check_up(
        r#"
        > restart 0
          log Stopping app:app id:0
          terminate run 0 with SIGINT and its tree
        > notify-kill
          reply 3 {"success":true}
        DOWN
          reply 2 error: [RestartProcessId] PM2 is being killed, stopping restart procedure...
        > prepare
          reply 4 error: [RestartProcessId] PM2 is being killed, stopping restart procedure...
        "#,
    );
}
