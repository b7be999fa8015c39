//! The records of declarations, some of them byte for byte those that the real client was recorded sending.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::*;
use crate::config::Account;

/// A machine of our making.
#[derive(Default)]
struct World {
    files: BTreeMap<String, Vec<u8>>,
    executable: BTreeSet<String>,
    unreadable: BTreeSet<String>,
    folders: BTreeSet<String>,
    path: BTreeMap<String, String>,
    root: bool,
}

impl Lookup for World {
    fn is_file(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }
    fn is_folder(&self, path: &str) -> bool {
        self.folders.contains(path)
    }
    fn is_readable(&self, path: &str) -> bool {
        !self.unreadable.contains(path)
    }
    fn is_executable(&self, path: &str) -> bool {
        self.executable.contains(path)
    }
    fn head(&self, path: &str) -> Option<Vec<u8>> {
        self.files
            .get(path)
            .filter(|_| self.is_readable(path))
            .cloned()
    }
    fn find_in_path(&self, program: &str) -> Option<String> {
        self.path.get(program).cloned()
    }
    fn user(&self, name: &str) -> Option<Account> {
        matches!(name, "www" | "33").then(|| Account {
            uid: 33,
            gid: 34,
            home: "/var/www".into(),
        })
    }
    fn group(&self, name: &str) -> Option<u32> {
        matches!(name, "adm" | "4").then_some(4)
    }
    fn is_root(&self) -> bool {
        self.root
    }
    fn user_name(&self) -> String {
        "root".into()
    }
    fn home_folder(&self) -> String {
        "/home/app".into()
    }
}

fn world() -> World {
    let mut world = World {
        root: true,
        ..World::default()
    };
    for folder in ["/", "/home/app", "/home/app/srv", "/usr/bin"] {
        world.folders.insert(folder.into());
    }
    for name in [
        "web.js", "job.py", "run.sh", "tool", "a b.js", "mod.ts", "x.mjs",
    ] {
        world
            .files
            .insert(format!("/home/app/srv/{name}"), b"// text".to_vec());
    }
    for program in ["node", "bash", "sh", "python3", "ls"] {
        let path = format!("/usr/bin/{program}");
        world.files.insert(path.clone(), b"\x7fELF\0\0".to_vec());
        world.executable.insert(path.clone());
        world.path.insert(program.into(), path);
    }
    world
}

fn surroundings() -> Surroundings {
    Surroundings {
        cwd: "/home/app/srv".into(),
        node: "/opt/node".into(),
        pm2_home: "/home/app/.pm2".into(),
        ..Surroundings::default()
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "literals of JSON read better by value"
)]
fn object(value: Value) -> Object {
    value.as_object().expect("an object").clone()
}

fn record_in(world: &World, around: &Surroundings, app: Value) -> Result<Value, String> {
    let app = declare(&object(app), around, world).map_err(|error| error.to_string())?;
    let prepared = prepare(app, around, &Ecosystem::default(), Form::Script, world)
        .map_err(|error| error.to_string())?;
    Ok(Value::Object(prepared.record))
}

fn record(app: Value) -> Result<Value, String> {
    record_in(&world(), &surroundings(), app)
}

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
fn interpreters_follow_extension_content_and_path() {
    let mut world = world();
    world
        .files
        .insert("/home/app/srv/sh-tool".into(), b"#!/bin/sh\necho".to_vec());
    world.executable.insert("/home/app/srv/sh-tool".into());
    world.files.insert(
        "/home/app/srv/npm".into(),
        b"#!/usr/bin/env node\n".to_vec(),
    );
    world.executable.insert("/home/app/srv/npm".into());
    let cases = [
        ("web.js", "node"),
        ("run.sh", "bash"),
        ("job.py", "python3"),
        ("tool", "/opt/node"),
        ("x.mjs", "/opt/node"),
        ("ls", "none"),
        ("sh-tool", "none"),
        ("npm", "/opt/node"),
    ];
    for (script, interpreter) in cases {
        let app = record_in(&world, &surroundings(), json!({ "script": script }))
            .unwrap_or_else(|error| panic!("{script}: {error}"));
        assert_eq!(app["exec_interpreter"], interpreter, "{script}");
    }
    assert_eq!(
        record(json!({"script": "ls"})).unwrap()["pm_exec_path"],
        "/usr/bin/ls"
    );
    assert_eq!(
        record(json!({"script": "job.py"})).unwrap()["env"]["PYTHONUNBUFFERED"],
        "1"
    );
    assert_eq!(
        record(json!({"script": "tool", "interpreter": "none"})).unwrap()["exec_interpreter"],
        "none"
    );
    world.path.remove("node");
    assert_eq!(
        record_in(&world, &surroundings(), json!({"script": "web.js"})).unwrap()["exec_interpreter"],
        "/opt/node"
    );
}

#[test]
fn typescript_needs_bun_or_a_node_that_strips_types() {
    let run = |version: Option<&str>| {
        let around = Surroundings {
            node_version: version.map(Into::into),
            ..surroundings()
        };
        record_in(&world(), &around, json!({"script": "mod.ts"}))
            .map(|app| (app["exec_interpreter"].clone(), app["node_args"].clone()))
    };
    assert_eq!(run(Some("v22.18.0")), Ok((json!("node"), json!([]))));
    assert_eq!(run(Some("v24.1.0")), Ok((json!("node"), json!([]))));
    assert_eq!(
        run(Some("v22.7.0")),
        Ok((json!("node"), json!(["--experimental-strip-types"])))
    );
    for old in [Some("v20.20.2"), None, Some("x")] {
        assert!(
            run(old)
                .unwrap_err()
                .starts_with("TypeScript apps require bun")
        );
    }
    let mut world = world();
    world.path.insert("bun".into(), "/usr/bin/bun".into());
    assert_eq!(
        record_in(&world, &surroundings(), json!({"script": "mod.ts"})).unwrap()["exec_interpreter"],
        "bun"
    );
}

#[test]
fn a_chosen_node_version_is_nvms() {
    let mut world = world();
    world
        .executable
        .insert("/nvm/versions/node/v20.1.0/bin/node".into());
    let around = Surroundings {
        env: object(json!({"NVM_DIR": "/nvm"})),
        ..surroundings()
    };
    let app = record_in(
        &world,
        &around,
        json!({"script": "web.js", "interpreter": "node@20.1.0"}),
    )
    .unwrap();
    assert_eq!(
        app["exec_interpreter"],
        "/nvm/versions/node/v20.1.0/bin/node"
    );
    let missing = record_in(
        &world,
        &around,
        json!({"script": "web.js", "interpreter": "node@9.9.9"}),
    )
    .unwrap_err();
    assert!(
        missing.contains("9.9.9") && missing.contains("nvm install"),
        "{missing}"
    );
    let cluster = record_in(
        &world,
        &around,
        json!({"script": "web.js", "interpreter": "node@20.1.0", "exec_mode": "cluster"}),
    )
    .unwrap_err();
    assert!(
        cluster.starts_with("Interpreter node@20.1.0 is NOT AVAILABLE"),
        "{cluster}"
    );
}

#[test]
fn modes_follow_the_count() {
    let mode = |app: Value| {
        let app = record(app).unwrap();
        (
            app["exec_mode"].as_str().unwrap().to_owned(),
            app["instances"].as_i64().unwrap(),
            app.get("merge_logs").is_some(),
        )
    };
    let cluster = || "cluster_mode".to_owned();
    let fork = || "fork_mode".to_owned();
    assert_eq!(mode(json!({"script": "web.js"})), (fork(), 1, true));
    assert_eq!(
        mode(json!({"script": "web.js", "instances": "1"})),
        (cluster(), 1, false)
    );
    assert_eq!(
        mode(json!({"script": "web.js", "instances": 4})),
        (cluster(), 4, false)
    );
    assert_eq!(
        mode(json!({"script": "web.js", "instances": "max"})),
        (cluster(), 0, true)
    );
    assert_eq!(
        mode(json!({"script": "web.js", "instances": -1})),
        (cluster(), -1, false)
    );
    assert_eq!(
        mode(json!({"script": "web.js", "instances": -2})),
        (fork(), -2, false)
    );
    assert_eq!(
        mode(json!({"script": "web.js", "instances": 4, "exec_mode": "fork"})),
        (fork(), 4, false)
    );
    assert_eq!(
        mode(json!({"script": "web.js", "exec_mode": "cluster"})),
        (cluster(), 1, false)
    );
    assert_eq!(
        mode(json!({"script": "job.py", "instances": 4})),
        (fork(), 4, false)
    );
    assert_eq!(
        mode(json!({"script": "web.js", "instances": 4, "executeCommand": true})),
        (fork(), 4, false)
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
