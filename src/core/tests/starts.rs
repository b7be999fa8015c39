//! Starting, and being ready.

use super::world::check;

#[test]
fn a_start_is_announced_in_pm2s_order() {
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
        > show 0 version restart_time created_at pm_uptime
          version: "1.2.3"
          restart_time: 0
          created_at: 1000000
          pm_uptime: 1000000
        "#,
    );
}

#[test]
fn instances_are_started_one_after_another() {
    check(
        r#"
        > prepare "instances":2
          log App [app:0] starting in -fork mode-
          spawn 0 as run 0
        > list
          0 app launching
        > spawned 20
          pid file /p/app-0.pid 20
          event online of 0, launching
          log App [app:0] online
          event start manually of 0, online
          log App [app:1] starting in -fork mode-
          spawn 1 as run 1
        > spawned 21
          pid file /p/app-1.pid 21
          event online of 1, launching
          log App [app:1] online
          event start manually of 1, online
          reply 1 [child 0 online pid 20, child 1 online pid 21]
        "#,
    );
}

#[test]
fn without_autostart_a_process_is_listed_and_not_started() {
    check(
        r#"
        > prepare "autostart":false
          event start manually of 0, stopped
          reply 1 [child 0 stopped pid -]
        > start 0
          log App [app:0] starting in -fork mode-
          spawn 0 as run 0
        "#,
    );
}

#[test]
fn a_start_of_what_is_up_is_refused_in_pm2s_words() {
    check(
        r#"
        > start 7
          reply 1 error: 7 id unknown
        > prepare
          log App [app:0] starting in -fork mode-
          spawn 0 as run 0
        > start 0
          reply 3 error: process already started
        > spawned 20
          pid file /p/app-0.pid 20
          event online of 0, launching
          log App [app:0] online
          event start manually of 0, online
          reply 2 [child 0 online pid 20]
        > start 0
          reply 4 error: process already online
        > stop 0
          log Stopping app:app id:0
          terminate run 0 with SIGINT and its tree
        > start 0
          reply 6 error: Process with pid 20 already exists
        "#,
    );
}

#[test]
fn a_spawn_that_fails_is_errored_and_answered_with_the_reason() {
    check(
        r#"
        > prepare "instances":2
          log App [app:0] starting in -fork mode-
          spawn 0 as run 0
        > unspawned no such program: nodx
          event exit of 0, errored
          reply 1 error: app (id 0) could not be started: no such program: nodx
        > list
          0 app errored
        > deadline
          none
        "#,
    );
}

#[test]
fn a_process_that_waits_for_ready_is_up_when_it_says_so() {
    check(
        r#"
        > prepare "wait_ready":true
          log App [app:0] starting in -fork mode-
          spawn 0 as run 0
        > spawned 20
          pid file /p/app-0.pid 20
        > deadline
          in 3000
        > list
          0 app launching
        > says 0 "ready"
          bus process:msg {"at":1000000,"raw":"ready","process":{"pm_id":0,"name":"app","namespace":"default"}}
          event online of 0, launching
          log App [app:0] online
          event start manually of 0, online
          reply 1 [child 0 online pid 20]
        > says 0 "ready"
          bus process:msg {"at":1000000,"raw":"ready","process":{"pm_id":0,"name":"app","namespace":"default"}}
        "#,
    );
}

#[test]
fn a_process_that_never_says_ready_is_up_after_its_listen_timeout() {
    check(
        r#"
        > prepare "wait_ready":true,"listen_timeout":1000
          log App [app:0] starting in -fork mode-
          spawn 0 as run 0
        > spawned 20
          pid file /p/app-0.pid 20
        > after 999
        > after 1
          event online of 0, launching
          log App [app:0] online
          event start manually of 0, online
          reply 1 [child 0 online pid 20]
        "#,
    );
}

#[test]
fn a_process_that_dies_before_ready_concludes_the_start_and_then_dies() {
    check(
        r#"
        > prepare "wait_ready":true,"autorestart":false
          log App [app:0] starting in -fork mode-
          spawn 0 as run 0
        > spawned 20
          pid file /p/app-0.pid 20
        > exited 0 3
          event online of 0, launching
          log App [app:0] online
          event start manually of 0, online
          log App [app:0] exited with code [3] via signal [SIGINT]
          no pid file /p/app-0.pid
          event exit of 0, stopped
          reply 1 [child 0 online pid 20]
        > show 0 exit_code status
          exit_code: 3
          status: "stopped"
        "#,
    );
}
