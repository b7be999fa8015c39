//! The shapes a process is shown in.

use serde_json::{Value, json};

use super::*;

fn record(more: &str) -> Record {
    let text = format!(
        r#"{{"name":"app","namespace":"default","env":{{"A":"1"}},"pm_exec_path":"/srv/app.js","pm_out_log_path":"/o","pm_err_log_path":"/e","pm_pid_path":"/p"{more}}}"#
    );
    Record::prepare(&text, "u-1", None).unwrap().0
}

fn view(record: &Record, status: Status, pid: Option<Pid>) -> View<'_> {
    View {
        id: PmId(3),
        status,
        pid,
        worker: None,
        is_outgoing: false,
        record,
    }
}

fn keys(text: &JsonText) -> Vec<String> {
    Members::parse(text.as_str())
        .unwrap()
        .iter()
        .map(|(key, _)| key.to_owned())
        .collect()
}

#[test]
fn a_formatted_process_has_its_members_in_pm2s_order() {
    let record = record("");
    let view = view(&record, Status::Online, Some(Pid(20)));
    assert_eq!(
        keys(&view.formatted(None)),
        ["pid", "name", "pm2_env", "pm_id"]
    );
    let usage = Usage {
        memory_bytes: 52_502_528,
        cpu_tenths: 15,
    };
    let text = view.formatted(Some(usage));
    assert_eq!(keys(&text), ["pid", "name", "pm2_env", "pm_id", "monit"]);
    assert!(
        text.as_str()
            .ends_with(r#""pm_id":3,"monit":{"memory":52502528,"cpu":1.5}}"#),
        "{}",
        text.as_str()
    );
    let idle = view.formatted(Some(Usage::default()));
    assert!(idle.as_str().ends_with(r#""monit":{"memory":0,"cpu":0}}"#));
}

#[test]
fn members_that_clients_read_without_asking_are_always_there() {
    let record = record("");
    let text = view(&record, Status::Stopped, None).formatted(Some(Usage::default()));
    let process: Value = serde_json::from_str(text.as_str()).unwrap();
    assert_eq!(
        (&process["pid"], &process["name"], &process["pm_id"]),
        (&json!(0), &json!("app"), &json!(3))
    );
    for key in [
        "name",
        "pm_id",
        "status",
        "exec_mode",
        "namespace",
        "node_args",
        "env",
        "pm_exec_path",
        "pm_out_log_path",
        "pm_err_log_path",
        "pm_pid_path",
        "restart_time",
        "created_at",
        "pm_uptime",
        "axm_actions",
        "axm_monitor",
        "axm_options",
        "version",
        "username",
    ] {
        assert!(process["pm2_env"].get(key).is_some(), "{key}");
    }
    assert_eq!(
        process["pm2_env"]["axm_options"],
        json!({"module_name": "app"})
    );
}

#[test]
fn a_child_has_what_callers_use_of_nodes_object() {
    let record = record(r#","args":["x"],"node_args":["--y"]"#);
    let spec = record.spec().unwrap();
    let running = view(&record, Status::Online, Some(Pid(20))).child(&spec);
    let child: Value = serde_json::from_str(running.as_str()).unwrap();
    assert_eq!(child["pid"], json!(20));
    assert_eq!(child["process"], json!({"pid": 20}));
    assert_eq!(
        child["spawnargs"],
        json!(["node", "--y", "/srv/app.js", "x"])
    );
    assert_eq!(child["pm2_env"]["env"]["A"], json!("1"));
    let resting = view(&record, Status::Stopped, None).child(&spec);
    assert_eq!(keys(&resting), ["pm2_env", "process"]);
    assert!(resting.as_str().ends_with(r#""process":{"pid":0}}"#));
}

#[test]
fn usage_is_measured_of_the_pid_an_application_names() {
    let mut record = record("");
    let measured = |record: &Record, status| view(record, status, Some(Pid(20))).measured();
    assert_eq!(measured(&record, Status::Online), Measured::Pid(Pid(20)));
    assert_eq!(measured(&record, Status::Stopping), Measured::Nothing);
    for (options, expected) in [
        (r#"{"pid":77}"#, Measured::Pid(Pid(77))),
        (r#"{"pid":"78"}"#, Measured::Pid(Pid(78))),
        (r#"{"pid":"self"}"#, Measured::Nothing),
        (r#"{"pid":-1}"#, Measured::Nothing),
        (r#"{"pid":0}"#, Measured::Pid(Pid(20))),
        (r#"{"other":{"pid":1}}"#, Measured::Pid(Pid(20))),
    ] {
        record.axm.options = Some(options.into());
        assert_eq!(measured(&record, Status::Online), expected, "{options}");
    }
}

#[test]
fn an_action_is_added_once_and_only_up_to_the_limit() {
    let mut record = record("");
    assert!(record.add_action(r#"{"action_name":"a","arity":1}"#, 100));
    assert!(record.add_action(r#"{"action_name":"a","arity":2}"#, 100));
    assert!(record.add_action(r#"{"action_name":"b"}"#, 100));
    assert_eq!(
        record.axm.actions.as_deref(),
        Some(r#"[{"action_name":"a","arity":1},{"action_name":"b"}]"#)
    );
    assert!(record.has_action("\"b\"") && !record.has_action("\"c\""));
    assert!(!record.add_action(
        r#"{"action_name":"one too many, and far too long for what is left of the limit"}"#,
        100
    ));
}

#[test]
fn assigned_members_replace_those_of_the_same_name() {
    let text = assigned(Some(r#"{"a":1,"b":2}"#), r#"{"c":3,"a":{"x":[]}}"#, 100);
    assert_eq!(text.as_deref(), Some(r#"{"a":{"x":[]},"b":2,"c":3}"#));
    assert_eq!(assigned(None, "3", 100), None);
    assert_eq!(assigned(None, r#"{"a":"too long"}"#, 10), None);
}
