//! Declarations, ids, places in the list, copies.

use serde_json::{Value, json};

use super::super::limits::{CLAIMS_MAX, INSTANCES_MAX};
use super::super::{Call, Effect, Input, Runtime, SpawnMode, SupervisorConfig};
use super::world::{World, check, check_with, declaration};
use crate::model::{JsonText, PmId, Ticket};

fn started(world: &mut World, more: &str) {
    let mut effects = world.run(&format!("prepare {more}"));
    while effects.iter().any(|effect| effect.starts_with("spawn ")) {
        effects = world.run("spawned 20");
    }
}

#[test]
fn instances_are_counted_from_the_cpus() {
    for (more, count) in [
        ("", 1),
        (r#""instances":0"#, 4),
        (r#""instances":"max""#, 4),
        (r#""instances":-1"#, 3),
        (r#""instances":-9"#, 1),
        (r#""instances":"2""#, 2),
    ] {
        let mut world = World::new(SupervisorConfig {
            cpus: 4,
            ..SupervisorConfig::default()
        });
        started(&mut world, more);
        assert_eq!(world.supervisor.processes().count(), count, "{more}");
    }
}

#[test]
fn more_instances_than_can_be_meant_are_refused() {
    let mut world = World::new(SupervisorConfig::default());
    let effects = world.run(&format!(r#"prepare "instances":{}"#, INSTANCES_MAX + 1));
    assert_eq!(
        effects,
        ["reply 1 error: instances: at most 1000 are allowed"]
    );
    assert!(
        world
            .run(&format!(r#"prepare "instances":{INSTANCES_MAX}"#))
            .len()
            > 1
    );
}

#[test]
fn what_cannot_be_used_is_named() {
    check(
        r#"
        > prepare "max_restarts":"x"
          reply 1 error: "max_restarts" is "x", allowed: a number, 0 or more
        > list

        "#
        .replace("> list\n", "")
        .as_str(),
    );
}

#[test]
fn a_stopped_record_of_a_dump_is_listed_and_not_started() {
    check(
        r#"
        > prepare "status":"stopped","NODE_APP_INSTANCE":2
          reply 1 [child 0 stopped pid -]
        > show 0 NODE_APP_INSTANCE restart_time
          NODE_APP_INSTANCE: 2
          restart_time: 0
        "#,
    );
}

#[test]
fn ids_are_not_reused_until_the_list_is_empty() {
    check(
        r#"
        > prepare "autostart":false
          event start manually of 0, stopped
          reply 1 [child 0 stopped pid -]
        > prepare "autostart":false
          event start manually of 1, stopped
          reply 2 [child 1 stopped pid -]
        > delete 1
          event delete manually of 1, stopped
          reply 3 formatted 1 stopped pid 0
          forget 1
        > prepare "autostart":false
          event start manually of 2, stopped
          reply 4 [child 2 stopped pid -]
        > delete 0
          event delete manually of 0, stopped
          reply 5 formatted 0 stopped pid 0
          forget 0
        > delete 2
          event delete manually of 2, stopped
          reply 6 formatted 2 stopped pid 0
          forget 2
        > prepare "autostart":false
          event start manually of 0, stopped
          reply 7 [child 0 stopped pid -]
        "#,
    );
}

#[test]
fn instance_numbers_are_the_lowest_free_of_their_name() {
    let mut world = World::new(SupervisorConfig::default());
    started(
        &mut world,
        r#""instances":3,"increment_var":"PORT","env":{"PORT":"3000"}"#,
    );
    started(&mut world, r#""name":"other","instances":1"#);
    let number = |world: &mut World, id: u32| {
        world
            .run(&format!("show {id} NODE_APP_INSTANCE PORT"))
            .join(" ")
    };
    assert_eq!(number(&mut world, 2), "NODE_APP_INSTANCE: 2 PORT: 3002");
    assert_eq!(number(&mut world, 3), "NODE_APP_INSTANCE: 0 PORT: -");
    world.run("delete 1");
    world.run("exited 1 0");
    world.run("drained 1");
    world.run("duplicate 0");
    world.run("spawned 30");
    assert_eq!(number(&mut world, 4), "NODE_APP_INSTANCE: 1 PORT: 3003");
    world.run("duplicate 0");
    world.run("spawned 31");
    assert_eq!(number(&mut world, 5), "NODE_APP_INSTANCE: 3 PORT: 3004");
}

#[test]
fn the_variable_of_instance_numbers_can_be_renamed() {
    let mut world = World::new(SupervisorConfig::default());
    started(&mut world, r#""instances":1,"instance_var":"APP_ID""#);
    assert_eq!(
        world.run("show 0 APP_ID NODE_APP_INSTANCE"),
        ["APP_ID: 0", "NODE_APP_INSTANCE: -"]
    );
    let config = SupervisorConfig {
        instance_var: Some("MINE".to_owned()),
        ..SupervisorConfig::default()
    };
    let mut world = World::new(config);
    started(&mut world, r#""instances":1,"instance_var":"APP_ID""#);
    assert_eq!(world.run("show 0 MINE APP_ID"), ["MINE: 0", "APP_ID: -"]);
}

#[test]
fn a_copy_is_announced_as_new_and_counts_from_nothing() {
    check(
        r#"
        > duplicate 0
          reply 1 error: 0 id unknown
        > prepare "instances":1
          log App [app:0] starting in -fork mode-
          spawn 0 as run 0
        > spawned 20
          pid file /p/app-0.pid 20
          event online of 0, launching
          log App [app:0] online
          event start manually of 0, online
          reply 2 [child 0 online pid 20]
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
        > duplicate 0
          log App [app:1] starting in -fork mode-
          spawn 1 as run 2
        > spawned 22
          pid file /p/app-1.pid 22
          event online of 1, launching
          log App [app:1] online
          event start manually of 1, online
          reply 3 child 1 online pid 22
        > show 1 unique_id restart_time exit_code NODE_APP_INSTANCE
          unique_id: "u-2"
          restart_time: 0
          exit_code: -
          NODE_APP_INSTANCE: 1
        "#,
    );
}

#[test]
fn a_plan_has_everything_for_the_spawn() {
    let mut world = World::new(SupervisorConfig::default());
    let more = r#""exec_interpreter":"/usr/bin/node","node_args":["--a"],"args":["b"],"uid":7,"pmx":false,"log_type":"json""#;
    let call = Call::Prepare {
        declaration: JsonText::from_valid(declaration(more)),
        unique_id: "u".into(),
    };
    let effects = world.supervisor.handle(
        world.now,
        Input::Call {
            ticket: Ticket(1),
            call,
        },
    );
    let Some(Effect::Spawn { plan, .. }) = effects.last() else {
        panic!("{effects:?}")
    };
    assert_eq!(
        (plan.mode, plan.runtime, plan.uid, plan.gid),
        (SpawnMode::Fork, Runtime::Node, Some(7), None)
    );
    assert!(!plan.pmx && plan.logs.json);
    let (program, args) = plan.command(&["--require", "/preload.js"]);
    assert_eq!(program, "/usr/bin/node");
    assert_eq!(
        args,
        ["--a", "--require", "/preload.js", "/srv/app.js", "b"]
    );
    assert!(plan.env.contains(&("PATH".to_owned(), "/bin".to_owned())));
    assert!(
        plan.env
            .contains(&("status".to_owned(), "launching".to_owned()))
    );
    assert!(!format!("{plan:?}").contains("PATH"));
}

#[test]
fn a_restart_can_change_what_is_run() {
    check(
        r#"
        > prepare "autostart":false
          event start manually of 0, stopped
          reply 1 [child 0 stopped pid -]
        > restart 0 {"A":"1","current_conf":{"kill_timeout":5,"namespace":"x"}}
          log App [app:0] starting in -fork mode-
          spawn 0 as run 0
        > show 0 A kill_timeout namespace
          A: "1"
          kill_timeout: 5
          namespace: "x"
        > spawned 20
          pid file /p/app-0.pid 20
          event online of 0, launching
          log App [app:0] online
          reply 2 child 0 online pid 20
        > stop 0
          log Stopping app:app id:0
          terminate run 0 with SIGINT and its tree
        > deadline
          in 5
        "#,
    );
}

#[test]
fn unknown_ids_are_answered_in_the_words_of_each_method() {
    check_with(
        SupervisorConfig::default(),
        r#"
        > restart x
          reply 1 error: God db process id unknown
        > reload x
          reply 2 error: PM2 ID unknown
        > soft-reload x
          reply 3 error: pm_id x not available in x
        > stop x
          reply 4 error: x : id unknown
        > reset x
          reply 5 error: x id unknown
        > monitor x
          reply 6 error: Unknown pm_id
        > notify x y
          reply 7 error: process id doesnt exists
        > notify - y
          reply 8 error: process id missing
        > signal x SIGINT
          reply 9 error: x id unknown
        > signal-name nobody SIGINT
          reply 10 error: Unknown process name
        "#,
    );
}

#[test]
fn the_list_is_assembled_with_usage() {
    let mut world = World::new(SupervisorConfig::default());
    started(&mut world, r#""instances":2"#);
    world.run("stop 1");
    let mut out = b"list: ".to_vec();
    world
        .supervisor
        .write_list(&mut out, &|id, pid| crate::model::Usage {
            memory_bytes: pid.map_or(0, |_| 4096 + u64::from(id.0)),
            cpu_tenths: 0,
        });
    let list: Value = serde_json::from_slice(&out[6..]).unwrap();
    assert_eq!(list[0]["monit"], json!({"memory": 4096, "cpu": 0}));
    assert_eq!(
        (&list[1]["monit"]["memory"], &list[1]["pid"]),
        (&json!(0), &json!(20))
    );
    assert_eq!(list[1]["pm2_env"]["status"], json!("stopping"));
    assert_eq!(
        world.supervisor.get(PmId(1)).unwrap().namespace(),
        "default"
    );
}

#[test]
fn one_caller_too_many_for_one_process_is_told_so() {
    let mut world = World::new(SupervisorConfig::default());
    started(&mut world, "");
    for _ in 0..CLAIMS_MAX {
        assert!(
            world
                .run("stop 0")
                .iter()
                .all(|effect| !effect.starts_with("reply"))
        );
    }
    let effects = world.run("stop 0");
    assert_eq!(
        effects,
        ["reply 1026 error: callers waiting for one process: at most 1024 are allowed"]
    );
}

/// The daemon has 20 kB for a process in all; this is what a record of its own takes, with a usual environment.
#[test]
fn a_record_is_little_more_than_its_text() {
    let env: serde_json::Map<String, Value> = (0..60)
        .map(|number| (format!("VARIABLE_{number}"), json!("v".repeat(50))))
        .collect();
    let mut world = World::new(SupervisorConfig::default());
    started(
        &mut world,
        &format!(r#""instances":2,"env":{}"#, Value::Object(env)),
    );
    let process = world.supervisor.get(PmId(0)).unwrap();
    assert!(
        process.record().size() < 6_000,
        "{} bytes of text",
        process.record().size()
    );
    let fixed = std::mem::size_of::<super::super::Process>();
    assert!(fixed <= 640, "{fixed} bytes beside it");
}
