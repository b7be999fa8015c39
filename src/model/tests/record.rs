//! Records: what real clients send, what real daemons make of it, and what must never get mixed up.

use serde_json::{Value, json};

use super::super::{Pid, Status, View};
use super::*;

/// The first argument of the call, or of the answer, in a recorded frame.
fn golden(hex: &str) -> Value {
    let digits: String = hex.lines().filter(|line| !line.starts_with('#')).collect();
    let bytes: Vec<u8> = digits
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize;
    let message: Value = serde_json::from_slice(&bytes[7..5 + length]).unwrap();
    message["args"][0].clone()
}

macro_rules! golden {
    ($name:literal) => {
        golden(include_str!(concat!(
            "../../../__test__/golden/axon/",
            $name,
            ".hex"
        )))
    };
}

fn prepare(declaration: &Value) -> (Record, ProcessSpec, Wanted) {
    Record::prepare(&declaration.to_string(), "u-1", None).unwrap()
}

fn shown(record: &Record, id: u32) -> Value {
    let view = View {
        id: PmId(id),
        status: Status::Online,
        pid: Some(Pid(20)),
        worker: None,
        is_outgoing: false,
        record,
    };
    serde_json::from_str(view.formatted(None).as_str()).unwrap()
}

fn place(number: u32) -> Place {
    Place {
        instance: Some(("NODE_APP_INSTANCE".into(), number)),
        increment: None,
    }
}

fn least() -> Value {
    json!({
        "name": "app", "env": {"PATH": "/bin", "app": {}, "PORT": "80"}, "exec_mode": "fork_mode", "username": "root",
        "pm_exec_path": "/srv/app.js", "pm_cwd": "/srv", "pm_out_log_path": "/l/app-out.log",
        "pm_err_log_path": "/l/app-error.log", "pm_pid_path": "/p/app.pid", "node_args": [], "namespace": "default",
    })
}

fn with(mut declaration: Value, more: Value) -> Value {
    let Value::Object(more) = more else {
        panic!("not an object")
    };
    declaration.as_object_mut().unwrap().extend(more);
    declaration
}

#[test]
fn the_record_of_a_recorded_declaration_is_that_of_the_real_daemon() {
    for (request, reply, id) in [
        (
            golden!("033-client-req-prepare-1"),
            golden!("034-client-rep-prepare-1"),
            0,
        ),
        (
            golden!("043-client-req-prepare-3"),
            golden!("044-client-rep-prepare-3"),
            4,
        ),
    ] {
        let (mut record, spec, wanted) = prepare(&request);
        assert!(!spec.is_cluster && spec.rules.autostart && spec.rules.tree);
        assert_eq!(wanted.instances, Some(1));
        record.settle(PmId(id), place(0), Some(1));
        let mut real = reply[0]["pm2_env"].clone();
        for key in ["pm_uptime", "created_at"] {
            real[key] = json!(7);
        }
        // What clients read without asking, and the real daemon only has once the application reported.
        real["axm_options"] = json!({"module_name": real["name"]});
        real["env"]["unique_id"] = json!("u-1");
        real["unique_id"] = json!("u-1");
        record.counts.pm_uptime_ms = 7;
        record.counts.created_at_ms = Some(7);
        assert_eq!(shown(&record, id)["pm2_env"], real);
    }
}

#[test]
fn a_recorded_cluster_declaration_is_read() {
    let (record, spec, wanted) = prepare(&golden!("035-client-req-prepare-2"));
    assert!(spec.is_cluster);
    assert_eq!((record.name(), wanted.instances), ("clu", Some(2)));
}

#[test]
fn no_member_is_written_twice() {
    let env = json!({
        "watch": "x", "status": "x", "name": "x", "pm_id": "x", "env": "x", "NODE_APP_INSTANCE": "9", "version": "x",
        "unique_id": "x", "exit_code": "x", "PORT": "1", "app": {}, "axm_options": "x", "prev_restart_delay": "x",
    });
    let declaration = with(
        least(),
        json!({"env": env, "watch": false, "increment_var": "PORT"}),
    );
    let (mut record, _, wanted) = prepare(&declaration);
    record.settle(
        PmId(3),
        Place {
            increment: wanted.increment,
            ..place(0)
        },
        Some(1),
    );
    record.counts.exit_code = Some(1);
    record.counts.previous_delay_ms = Some(0);
    record.axm.node_version = Some("\"20.1.0\"".into());
    let view = View {
        id: PmId(3),
        status: Status::Online,
        pid: None,
        worker: None,
        is_outgoing: false,
        record: &record,
    };
    let mut out = Vec::new();
    view.write_record(&mut out, true);
    let mut keys: Vec<String> = Vec::new();
    for (key, _) in pairs(std::str::from_utf8(&out).unwrap()) {
        assert!(!keys.contains(&key), "{key} twice");
        keys.push(key);
    }
    let record = shown(&record, 3)["pm2_env"].clone();
    assert_eq!(record["watch"], json!(false));
    assert_eq!(record["env"]["watch"], json!("x"));
    assert_eq!(record["status"], json!("online"));
    assert_eq!(
        (&record["PORT"], &record["env"]["PORT"]),
        (&json!(1), &json!(1))
    );
}

/// All members of an object as written, equal keys included.
fn pairs(text: &str) -> Vec<(String, Value)> {
    struct Pairs(Vec<(String, Value)>);
    impl<'de> serde::Deserialize<'de> for Pairs {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Collect;
            impl<'de> serde::de::Visitor<'de> for Collect {
                type Value = Pairs;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(
                    self,
                    mut map: A,
                ) -> Result<Pairs, A::Error> {
                    let mut pairs = Vec::new();
                    while let Some(pair) = map.next_entry()? {
                        pairs.push(pair);
                    }
                    Ok(Pairs(pairs))
                }
            }
            deserializer.deserialize_map(Collect)
        }
    }
    serde_json::from_str::<Pairs>(text).unwrap().0
}

#[test]
fn variables_reach_the_child_over_options_and_under_what_is_set_at_run_time() {
    let env = json!({"namespace": "mine", "status": "mine", "PORT": 80, "ON": true, "NIL": null, "LIST": [1], "app": {}});
    let (mut record, _, _) = prepare(&with(
        least(),
        json!({"env": env, "args": ["a"], "autorestart": true}),
    ));
    record.settle(PmId(3), place(2), Some(1));
    record.begin_run(9);
    let view = View {
        id: PmId(3),
        status: Status::Launching,
        pid: None,
        worker: None,
        is_outgoing: false,
        record: &record,
    };
    let env: std::collections::BTreeMap<String, String> = view.child_env().into_iter().collect();
    for (key, value) in [
        ("namespace", "mine"),
        ("status", "launching"),
        ("PORT", "80"),
        ("ON", "true"),
        ("name", "app"),
        ("pm_id", "3"),
        ("NODE_APP_INSTANCE", "2"),
        ("autorestart", "true"),
        ("unique_id", "u-1"),
        ("pm_uptime", "9"),
        ("created_at", "9"),
        ("restart_time", "0"),
        ("vizion_running", "false"),
        ("pm_exec_path", "/srv/app.js"),
    ] {
        assert_eq!(env.get(key).map(String::as_str), Some(value), "{key}");
    }
    for key in [
        "NIL",
        "LIST",
        "app",
        "args",
        "env",
        "node_args",
        "axm_options",
    ] {
        assert!(!env.contains_key(key), "{key}");
    }
}

#[test]
fn the_environment_is_never_shown_by_debug() {
    let declaration = with(least(), json!({"env": {"TOKEN": "s3cret"}}));
    let (record, spec, _) = prepare(&declaration);
    let view = View {
        id: PmId(0),
        status: Status::Online,
        pid: None,
        worker: None,
        is_outgoing: false,
        record: &record,
    };
    let event = super::super::BusEvent::process(1, "online", false, &view);
    let text = format!(
        "{record:?} {spec:?} {view:?} {event:?} {:?}",
        view.formatted(None)
    );
    assert!(
        !text.contains("s3cret") && !text.contains("TOKEN"),
        "{text}"
    );
}

#[test]
fn a_record_from_a_dump_is_a_declaration() {
    let (mut record, _, wanted) = prepare(&with(least(), json!({"instances": 2})));
    record.settle(
        PmId(5),
        Place {
            instance: Some((wanted.instance_var, 1)),
            increment: None,
        },
        Some(2),
    );
    record.counts.exit_code = Some(3);
    record.counts.restarts = 9;
    let mut dumped = shown(&record, 5)["pm2_env"].clone();
    dumped.as_object_mut().unwrap().remove("instances");
    dumped.as_object_mut().unwrap().remove("pm_id");
    dumped["status"] = json!("stopped");
    let (mut again, _, wanted) = prepare(&dumped);
    assert_eq!(wanted.instances, None);
    assert!(wanted.is_resting);
    again.settle(PmId(0), Place::default(), None);
    let mut expected = shown(&record, 0)["pm2_env"].clone();
    for (key, value) in [
        ("pm_pid_path", json!("/p/app-0.pid")),
        ("pm_out_log_path", json!("/l/app-out-0.log")),
        ("pm_err_log_path", json!("/l/app-error-0.log")),
        ("restart_time", json!(0)),
    ] {
        expected[key] = value;
    }
    expected
        .as_object_mut()
        .unwrap()
        .retain(|key, _| key != "instances");
    let again = shown(&again, 0)["pm2_env"].clone();
    assert_eq!(again, expected);
    assert_eq!(again["NODE_APP_INSTANCE"], json!(1));
}

#[test]
fn logs_get_the_id_unless_they_are_merged() {
    for (more, out, pid) in [
        (json!({}), "/l/app-out-7.log", "/p/app-7.pid"),
        (
            json!({"merge_logs": true}),
            "/l/app-out.log",
            "/p/app-7.pid",
        ),
        (
            json!({"pm_out_log_path": "/l/x-3.log", "pm_pid_path": "/p/y-3.pid"}),
            "/l/x-7.log",
            "/p/y-7.pid",
        ),
        (
            json!({"pm_out_log_path": "/dev/null", "pm_pid_path": "/p/y.foo"}),
            "/dev/null",
            "/p/y.foo",
        ),
    ] {
        let (mut record, _, _) = prepare(&with(least(), more));
        record.settle(PmId(7), place(0), Some(1));
        let record = &shown(&record, 7)["pm2_env"];
        assert_eq!(
            (&record["pm_out_log_path"], &record["pm_pid_path"]),
            (&json!(out), &json!(pid))
        );
    }
}

#[test]
fn a_restart_merges_variables_and_configuration() {
    let (mut record, _, _) = prepare(&with(least(), json!({"watch": true, "max_restarts": 3})));
    record.settle(PmId(7), place(0), Some(1));
    let changes = json!({
        "NEW": "1", "PORT": "81", "app": {}, "LIST": [1],
        "current_conf": {
            "filter_env": [], "env": {}, "merge_logs": true, "kill_timeout": 5, "max_restarts": "null", "watch": "null",
            "exec_mode": "cluster_mode", "pm_id": 99, "name": "renamed", "pm_out_log_path": "/l/other.log",
        },
    });
    let spec = record.merge(PmId(7), &changes.to_string()).unwrap();
    assert_eq!(
        spec.rules.kill_timeout,
        Some(std::time::Duration::from_millis(5))
    );
    assert_eq!(spec.rules.restart.restarts_max, 16);
    assert!(!spec.is_cluster);
    let record = &shown(&record, 7)["pm2_env"];
    for (key, value) in [
        ("NEW", json!("1")),
        ("PORT", json!("81")),
        ("name", json!("renamed")),
        ("pm_id", json!(7)),
        ("exec_mode", json!("fork_mode")),
        ("filter_env", json!([])),
        ("LIST", json!([1])),
        ("pm_out_log_path", json!("/l/other.log")),
        ("pm_err_log_path", json!("/l/app-error-7.log")),
    ] {
        assert_eq!(record[key], value, "{key}");
    }
    assert_eq!(
        record["env"],
        json!({"PATH": "/bin", "PORT": "81", "NEW": "1", "LIST": [1], "app": {}, "unique_id": "u-1"})
    );
    assert!(record.get("watch").is_none() && record.get("max_restarts").is_none());
}

#[test]
fn a_restart_with_the_declarations_environment_keeps_all_other_variables() {
    let (mut record, _, _) = prepare(&least());
    let changes = json!({"current_conf": {"env": {"PORT": "99"}}});
    record.merge(PmId(0), &changes.to_string()).unwrap();
    assert_eq!(shown(&record, 0)["pm2_env"]["env"]["PORT"], json!("99"));
    assert_eq!(shown(&record, 0)["pm2_env"]["env"]["PATH"], json!("/bin"));
}

#[test]
fn a_restart_with_a_wrong_option_changes_nothing() {
    let (mut record, _, _) = prepare(&least());
    let before = shown(&record, 0);
    let changes = json!({"NEW": 1, "current_conf": {"name": "other", "max_restarts": {}}});
    let error = record.merge(PmId(0), &changes.to_string()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "\"max_restarts\" is {}, allowed: a number, 0 or more"
    );
    assert_eq!(shown(&record, 0), before);
}

#[test]
fn a_new_option_that_has_a_variables_name_takes_its_place() {
    let (mut record, _, _) = prepare(&with(least(), json!({"env": {"watch": "mine"}})));
    assert_eq!(shown(&record, 0)["pm2_env"]["watch"], json!("mine"));
    record.declare("watch", "false");
    assert_eq!(shown(&record, 0)["pm2_env"]["watch"], json!(false));
    assert_eq!(shown(&record, 0)["pm2_env"]["env"]["watch"], json!("mine"));
}

#[test]
fn instances_keep_one_environment() {
    let (record, _, _) = prepare(&least());
    let (mut other, _, _) = prepare(&least());
    other.share_env_with(&record);
    assert!(Arc::ptr_eq(&record.env_flat, &other.env_flat));
    let copy = record.duplicate("u-2");
    assert!(Arc::ptr_eq(&record.env_flat, &copy.env_flat));
    assert_eq!(shown(&copy, 1)["pm2_env"]["unique_id"], json!("u-2"));
}

#[test]
fn a_declaration_that_is_none_says_what_is_wrong() {
    for (declaration, text) in [
        (json!([]), "the declaration must be an object"),
        (
            with(least(), json!({"env": "A=1"})),
            "\"env\" must be an object",
        ),
        (with(least(), json!({"name": 3})), "\"name\" is required"),
        (
            with(least(), json!({"pm_pid_path": null})),
            "\"pm_pid_path\" is required",
        ),
    ] {
        let error = Record::prepare(&declaration.to_string(), "u", None).unwrap_err();
        assert_eq!(error.to_string(), text);
    }
}
