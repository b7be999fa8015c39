//! The records of declarations, some of them byte for byte those that the real client was recorded sending.

use serde_json::json;

use super::super::testing::{World, object, record, record_in, surroundings, world};
use super::*;

/// The argument of the recorded call in a golden file.
fn golden(hex: &str) -> String {
    let digits: String = hex.lines().filter(|line| !line.starts_with('#')).collect();
    let digits: Vec<u8> = digits.bytes().filter(u8::is_ascii_hexdigit).collect();
    let bytes: Vec<u8> = digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    let start = bytes.windows(2).position(|pair| pair == b"j:").unwrap() + 2;
    let call: Value = serde_json::Deserializer::from_slice(&bytes[start..])
        .into_iter()
        .next()
        .unwrap()
        .unwrap();
    call["args"][0].to_string()
}

#[test]
fn a_start_by_script_sends_what_pm2_sends() {
    // Fixtures of the real client: scripts and tools read these members, in whatever order they are written.
    let env = json!({"PATH": "/usr/bin:/bin", "HOME": "/home/app", "USER": "app", "LANG": "C.UTF-8", "SHELL": "/bin/sh"});
    for (fixture, port, app) in [
        (
            include_str!("../../__test__/golden/axon/033-client-req-prepare-1.hex"),
            "18211",
            json!({"script": "web.js", "name": "web app", "namespace": "default", "filter_env": [], "watch": false}),
        ),
        (
            include_str!("../../__test__/golden/axon/035-client-req-prepare-2.hex"),
            "18212",
            json!({"script": "web.js", "name": "clu", "namespace": "default", "filter_env": [], "watch": false, "instances": "2"}),
        ),
    ] {
        let mut around = surroundings();
        around.env = object(env.clone());
        around.env.insert("PORT".into(), json!(port));
        around.env.insert("PM2_USAGE".into(), json!("CLI"));
        assert_eq!(
            record_in(&world(), &around, app).unwrap().to_string(),
            golden(fixture)
        );
    }
}

#[test]
fn a_start_by_declaration_sends_what_pm2_sends() {
    let around = Surroundings {
        env: object(
            json!({"PM2_JSON_PROCESSING": "true", "PM2_PROGRAMMATIC": "true", "SHELL": "/bin/sh", "LANG": "C.UTF-8", "USER": "app",
            "HOME": "/home/app", "PATH": "/usr/bin:/bin"}),
        ),
        programmatic: true,
        ..surroundings()
    };
    let world = world();
    let mut app = declare(
        &object(
            json!({"script": "web.js", "name": "api-app", "pmx": false, "env": {"PORT": "18210"}}),
        ),
        &around,
        &world,
    )
    .unwrap();
    app.insert("namespace".into(), json!("default"));
    let prepared = prepare(
        app,
        &around,
        &Ecosystem::default(),
        Form::Declaration,
        &world,
    )
    .unwrap();
    let expected = golden(include_str!(
        "../../__test__/golden/axon/043-client-req-prepare-3.hex"
    ));
    assert_eq!(Value::Object(prepared.record).to_string(), expected);
}

#[test]
fn names_come_from_the_script() {
    for (script, name) in [
        ("web.js", "web"),
        ("/x/001-job.js", "001-job"),
        ("index.test.mjs", "index.test"),
        (".x", ".x"),
        ("ls", "ls"),
        ("node /a/b.js --x", "b"),
    ] {
        assert_eq!(
            name_of(&object(json!({ "script": script }))).unwrap(),
            name,
            "{script}"
        );
    }
    assert_eq!(
        name_of(&object(json!({"script": "a.js", "name": ""}))).unwrap(),
        "a"
    );
    assert_eq!(name_of(&Object::new()), None);
}

#[test]
fn a_command_line_is_run_by_a_shell() {
    for key in ["script", "cmd", "command"] {
        let app = record(json!({ key: "sleep 100" })).unwrap();
        assert_eq!(app["pm_exec_path"], "/usr/bin/bash");
        assert_eq!(app["args"], json!(["-c", "sleep 100"]));
        assert_eq!(
            (&app["exec_interpreter"], &app["exec_mode"], &app["name"]),
            (&json!("none"), &json!("fork_mode"), &json!("sleep 100"))
        );
    }
}

#[test]
fn a_file_with_a_space_in_its_name_is_a_file() {
    let app = record(json!({"script": "a b.js"})).unwrap();
    assert_eq!(
        (&app["pm_exec_path"], &app["name"]),
        (&json!("/home/app/srv/a b.js"), &json!("a b"))
    );
    assert_eq!(
        record(json!({"cmd": "a b.js"})).unwrap()["pm_exec_path"],
        "/usr/bin/bash"
    );
}

#[test]
fn files_are_placed_as_asked() {
    let app = json!({"script": "web.js", "name": "L", "out": "x/o.txt", "error": "NULL", "log": true, "pid": "~/z.pid", "time": true});
    let world = world();
    let around = surroundings();
    let app = declare(&object(app), &around, &world).unwrap();
    let prepared = prepare(app, &around, &Ecosystem::default(), Form::Script, &world).unwrap();
    let record = &prepared.record;
    assert_eq!(record["pm_log_path"], "/home/app/.pm2/logs/L.log");
    assert_eq!(record["pm_out_log_path"], "/home/app/srv/x/o.txt");
    assert_eq!(record["pm_err_log_path"], "/dev/null");
    assert_eq!(record["pm_pid_path"], "/home/app/z.pid");
    assert_eq!(record["log_date_format"], "YYYY-MM-DDTHH:mm:ss");
    assert_eq!(prepared.folders, ["/home/app/srv/x", "/home/app"]);
    for gone in [
        "out_file",
        "error_file",
        "log_file",
        "pid_file",
        "script",
        "cwd",
    ] {
        assert!(!record.contains_key(gone), "{gone}");
    }
}

#[test]
fn what_is_missing_is_named() {
    assert_eq!(
        record(json!({"name": "x"})).unwrap_err(),
        "No script path - aborting"
    );
    assert_eq!(
        record(json!({"script": ""})).unwrap_err(),
        "No script path - aborting"
    );
    assert_eq!(
        record(json!({"script": "nope.js"})).unwrap_err(),
        "Script not found: /home/app/srv/nope.js"
    );
    assert_eq!(
        record(json!({"script": "/etc/nope"})).unwrap_err(),
        "Script not found: /etc/nope"
    );
    assert_eq!(
        record(json!({"script": "web.js", "cwd": "gone"})).unwrap_err(),
        "Working directory not found: /home/app/srv/gone"
    );
    assert_eq!(
        record(json!({"script": "web.js", "interpreter": "zz"})).unwrap_err(),
        "Interpreter zz is NOT AVAILABLE in PATH. (type 'which zz' to double check.)"
    );
    let mut world = world();
    world.unreadable.insert("/home/app/srv/web.js".into());
    assert_eq!(
        record_in(&world, &surroundings(), json!({"script": "web.js"})).unwrap_err(),
        "Script not readable: /home/app/srv/web.js"
    );
}

#[test]
fn a_working_directory_is_where_the_script_is_looked_for() {
    let around = Surroundings {
        cwd: "/".into(),
        env: object(json!({"PWD": "/"})),
        ..surroundings()
    };
    let app = record_in(
        &world(),
        &around,
        json!({"script": "./web.js", "cwd": "home/app/srv/"}),
    )
    .unwrap();
    assert_eq!(
        (&app["pm_cwd"], &app["pm_exec_path"]),
        (&json!("/home/app/srv"), &json!("/home/app/srv/web.js"))
    );
    assert_eq!(app["env"]["PWD"], "/home/app/srv");
    assert_eq!(app["cwd"], "home/app/srv/", "as declared");
}

#[test]
fn users_and_groups_become_numbers_and_bring_their_home() {
    let app = record(json!({"script": "web.js", "user": "www"})).unwrap();
    assert_eq!(
        (&app["uid"], &app["gid"], &app["env"]["HOME"]),
        (&json!(33), &json!(34), &json!("/var/www"))
    );
    let app = record(json!({"script": "web.js", "runAsUser": 33, "runAsGroup": "adm"})).unwrap();
    assert_eq!((&app["uid"], &app["gid"]), (&json!(33), &json!(4)));
    assert_eq!(
        record(json!({"script": "web.js", "uid": "toto"})).unwrap_err(),
        "[PM2][ERROR]  User toto cannot be found"
    );
    assert_eq!(
        record(json!({"script": "web.js", "gid": "toto"})).unwrap_err(),
        "[PM2][ERROR]  Group toto cannot be found"
    );
    let world = World {
        root: false,
        ..world()
    };
    assert_eq!(
        record_in(
            &world,
            &surroundings(),
            json!({"script": "web.js", "uid": 33})
        )
        .unwrap_err(),
        "To use UID and GID please run PM2 as root"
    );
}

#[test]
fn members_that_set_variables_do_so() {
    let app = record(json!({"script": "web.js", "port": 3000, "io": {"a": 1}, "env": {"PORT": 1}, "automation": false, "disable_trace": true})).unwrap();
    assert_eq!(
        (&app["env"]["PORT"], &app["env"]["io"]),
        (&json!(3000), &json!("{\"a\":1}"))
    );
    assert_eq!(
        (&app["pmx"], &app["trace"], app.get("disable_trace")),
        (&json!(false), &json!(false), None)
    );
}

#[test]
fn bad_options_of_an_app_are_joined_by_commas() {
    let message = record(json!({"script": 5, "args": 5, "env_a": 5})).unwrap_err();
    assert!(
        message.starts_with(
            "Expect \"script\" to be a typeof [object String], but now is [object Number]"
        ),
        "{message}"
    );
    assert!(
        message.contains("),Expect \"args\" to be a typeof [object Array] / [object String]"),
        "{message}"
    );
    assert!(
        message.contains("),Expect \"env_a\" to be a typeof [object Object] / [object String]"),
        "{message}"
    );
}

#[test]
fn debugging_output_holds_no_variables() {
    let around = Surroundings {
        env: object(json!({"SECRET": "hunter2"})),
        ..surroundings()
    };
    let app = declare(&object(json!({"script": "web.js"})), &around, &world()).unwrap();
    let prepared = prepare(app, &around, &Ecosystem::default(), Form::Script, &world()).unwrap();
    assert!(!format!("{around:?}{prepared:?}").contains("hunter2"));
}

#[test]
fn a_change_holds_what_was_given_and_nothing_that_cannot_change() {
    let given = json!({"maxMemoryRestart": "100M", "kill_timeout": "4s", "script": "x", "instances": 4, "execMode": "cluster", "updateEnv": true,
        "force": true, "watch": [], "autorestart": true, "node_args": "null", "uid": "null", "time": true, "env": {"A": 1}, "unknown": 1});
    let expected = json!({"node_args": "null", "log_date_format": "YYYY-MM-DDTHH:mm:ss", "time": true, "env": {"A": 1}, "max_memory_restart": 104_857_600,
        "kill_timeout": 4000, "autorestart": true, "uid": "null", "unknown_options": ["unknown"]});
    assert_eq!(
        change(&object(given), &world()).map(Value::Object).unwrap(),
        expected
    );
    assert!(change(&object(json!({"kill_timeout": "x"})), &world()).is_err());
}

fn any_value() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[ -~é]{0,12}".prop_map(Value::from),
        "(web.js|node@|null|NULL|~|/|[.][.]|max|[*] [*] [*] [*] [*]|1[KMGhms]s?| |=\"')"
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 4, |inner| {
        let key = "[a-z_A-Z]{0,9}|__proto__";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest::proptest! {
    #[test]
    fn no_declaration_whatever_it_holds_is_a_panic(
        given in proptest::collection::vec((0..options::TABLE.len(), any_value()), 0..12),
        other in proptest::collection::vec(("[a-zA-Z_]{0,12}|__proto__|constructor|env_a", any_value()), 0..4),
    ) {
        // Each ends in a record or in an error with a text; what comes from a user's file is never ours to crash on.
        let mut app = object(json!({"script": "web.js"}));
        app.extend(given.into_iter().map(|(index, value)| (options::TABLE[index].name.to_owned(), value)));
        app.extend(other);
        match record(Value::Object(app.clone())) {
            Ok(record) => {
                for path in ["pm_exec_path", "pm_cwd", "pm_out_log_path", "pm_err_log_path", "pm_pid_path"] {
                    assert!(record[path].as_str().is_some_and(|path| path.starts_with('/')), "{path} of {record}");
                }
                assert!(record["env"].is_object() && record["node_args"].is_array(), "{record}");
            }
            Err(message) => assert!(!message.is_empty()),
        }
        drop(change(&app, &world()));
    }
}

#[test]
fn serve_is_the_built_in_server_where_there_is_one_whatever_else_bears_the_name() {
    let mut world = world();
    world
        .files
        .insert("/home/app/srv/serve".into(), b"#!/bin/sh".to_vec());
    let around = Surroundings {
        static_server: "/pm2/lib/API/Serve.js".into(),
        ..surroundings()
    };
    world
        .files
        .insert("/pm2/lib/API/Serve.js".into(), Vec::new());
    let served = record_in(&world, &around, json!({"script": "serve"})).unwrap();
    assert_eq!(served["pm_exec_path"], "/pm2/lib/API/Serve.js");
    assert_eq!(served["exec_interpreter"], "node");
    let own = record_in(&world, &surroundings(), json!({"script": "serve"})).unwrap();
    assert_eq!(own["pm_exec_path"], "/home/app/srv/serve");
}
