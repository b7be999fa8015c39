//! Restarts that nobody asked for: by schedule, by memory, by files.

use super::super::SupervisorConfig;
use super::world::{check, check_with};

/// A pattern is a number of milliseconds; anything else is none.
fn config() -> SupervisorConfig {
    SupervisorConfig {
        next_tick: |pattern, after| {
            let every: u64 = pattern.parse().map_err(|_| format!("'{pattern}'"))?;
            Ok(Some(after - after % every + every))
        },
        ..SupervisorConfig::default()
    }
}

/// Protects: one restart per tick, the next tick in order, and that a schedule ends with its process.
#[test]
fn a_schedule_restarts_once_at_each_tick() {
    check_with(
        config(),
        r#"
        > prepare "cron_restart":"10000","treekill":false
        log App [app:0] starting in -fork mode-
        spawn 0 as run 0
        log [PM2][WORKER] Registering a cron job on: 0
        > spawned 20
        pid file /p/app-0.pid 20
        event online of 0, launching
        log App [app:0] online
        event start manually of 0, online
        reply 1 [child 0 online pid 20]
        > deadline
        in 10000
        > after 9999
        > after 1
        log Stopping app:app id:0
        terminate run 0 with SIGINT
        > deadline
        in 1600
        > exited 0 0
        log App [app:0] exited with code [0] via signal [SIGINT]
        no pid file /p/app-0.pid
        event exit of 0, stopping
        > drained 0
        log pid=20 msg=process killed
        event exit of 0, stopped
        log App [app:0] starting in -fork mode-
        spawn 0 as run 1
        > spawned 21
        pid file /p/app-0.pid 21
        event online of 0, launching
        log App [app:0] online
        > show 0 restart_time
        restart_time: 1
        > deadline
        in 10000
        > delete 0
        log Stopping app:app id:0
        terminate run 1 with SIGINT
        > exited 0 0
        log App [app:0] exited with code [0] via signal [SIGINT]
        no pid file /p/app-0.pid
        event exit of 0, stopping
        > drained 0
        log pid=21 msg=process killed
        event exit of 0, stopped
        event delete manually of 0, stopped
        reply 2 formatted 0 stopped pid 0
        log [PM2] Deregistering a cron job on: 0
        forget 0
        > deadline
        none
        "#,
    );
}

/// Protects: pm2's rule that a schedule starts what was stopped, and what never was started.
#[test]
fn a_schedule_starts_what_is_stopped() {
    check_with(
        config(),
        r#"
        > prepare "cron_restart":10000,"autostart":false
        log [PM2][WORKER] Registering a cron job on: 0
        event start manually of 0, stopped
        reply 1 [child 0 stopped pid -]
        > after 10000
        log App [app:0] starting in -fork mode-
        spawn 0 as run 0
        > show 0 restart_time
        restart_time: 0
        "#,
    );
}

/// Protects: a pattern is what is read; the date may jump, and a tick is not repeated.
#[test]
fn a_schedule_follows_the_date_when_the_clock_is_set() {
    check_with(
        config(),
        r#"
        > prepare "cron_restart":"600000","autostart":false
        log [PM2][WORKER] Registering a cron job on: 0
        event start manually of 0, stopped
        reply 1 [child 0 stopped pid -]
        > deadline
        in 60000
        > clock 1250000
        > after 60000
        log App [app:0] starting in -fork mode-
        spawn 0 as run 0
        > clock 1199000
        > after 60000
        > deadline
        in 60000
        "#,
    );
}

/// Protects: a bad pattern starts nothing, 0 and a restart without it end a schedule.
#[test]
fn a_schedule_is_refused_or_ended() {
    check_with(
        config(),
        r#"
        > prepare "cron_restart":"zz"
        reply 1 error: Cron pattern error: 'zz'
        "#,
    );
    check_with(
        config(),
        r#"
        > prepare "cron_restart":"1000"
        log App [app:0] starting in -fork mode-
        spawn 0 as run 0
        log [PM2][WORKER] Registering a cron job on: 0
        > unspawned gone
        event exit of 0, errored
        reply 1 error: app (id 0) could not be started: gone
        > restart 0 {"current_conf":{"cron_restart":"0"}}
        log App [app:0] starting in -fork mode-
        spawn 0 as run 1
        log [PM2] Deregistering a cron job on: 0
        > deadline
        none
        "#,
    );
}

/// Protects: the limit, pm2's line, and that only what is online is restarted.
#[test]
fn too_much_memory_restarts_once() {
    check(
        r#"
        > prepare "max_memory_restart":"2K","treekill":false
        log App [app:0] starting in -fork mode-
        spawn 0 as run 0
        > spawned 20
        pid file /p/app-0.pid 20
        event online of 0, launching
        log App [app:0] online
        event start manually of 0, online
        reply 1 [child 0 online pid 20]
        > measured 0 2048
        > measured 0 2049
        log [PM2][WORKER] Process 0 restarted because it exceeds --max-memory-restart value (current_memory=2049 max_memory_limit=2048 [octets])
        log Stopping app:app id:0
        terminate run 0 with SIGINT
        > measured 0 4096
        "#,
    );
}

/// Protects: one change restarts everything of the name, what was stopped by hand excepted; nothing when watching is off.
#[test]
fn a_changed_file_restarts_the_app() {
    check(
        r#"
        > prepare "watch":true,"autostart":false
        event start manually of 0, stopped
        reply 1 [child 0 stopped pid -]
        > changed 0 /srv/a.js
        log Change detected on path /srv/a.js for app app - restarting
        log App [app:0] starting in -fork mode-
        spawn 0 as run 0
        > changed 0 /srv/a.js
        > spawned 20
        pid file /p/app-0.pid 20
        event online of 0, launching
        log App [app:0] online
        > stop-watch stopProcessId 0
        reply 2 {"success":true}
        > changed 0 /srv/a.js
        > changed 9 /srv/a.js
        "#,
    );
}
