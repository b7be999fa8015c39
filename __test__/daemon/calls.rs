//! Requests and replies: the shapes that recorded clients send and expect.

use std::io::Write as _;

use serde_json::{Value, json};

use super::helper::{Daemon, frame, json_of};

/// The arguments of a recorded frame.
fn golden(name: &str) -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/__test__/golden/axon");
    let text = std::fs::read_to_string(format!("{folder}/{name}.hex")).unwrap();
    let digits: String = text.lines().filter(|line| !line.starts_with('#')).collect();
    let bytes: Vec<u8> = (0..digits.len() / 2)
        .map(|n| u8::from_str_radix(&digits[n * 2..n * 2 + 2], 16).unwrap())
        .collect();
    let mut arguments = Vec::new();
    let mut rest = &bytes[1..];
    for _ in 0..bytes[0] & 15 {
        let (length, more) = rest.split_at(4);
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
        arguments.push(more[..length].to_vec());
        rest = &more[length..];
    }
    arguments
}

/// Sends a recorded request and gives our reply and the recorded one.
fn replay(daemon: &Daemon, request: &str, reply: &str) -> (Value, Value) {
    let request = golden(request);
    let mut client = daemon.client();
    let bytes = frame(&[&request[0], &request[1]]);
    client.frames.stream.write_all(&bytes).unwrap();
    let ours = client.frames.next().unwrap();
    let recorded = golden(reply);
    assert_eq!(ours[1], recorded[1], "the id comes back as it came");
    (json_of(&ours[0]), json_of(&recorded[0]))
}

// Protects: what every client does first gets the very answer of the reference.
#[test]
fn simple_calls_are_answered_as_recorded() {
    let daemon = Daemon::start();
    for (request, reply) in [
        ("003-rpc-req-ping", "004-rpc-rep-ping"),
        ("005-rpc-req-get-version", "006-rpc-rep-get-version"),
        (
            "007-rpc-req-get-monitor-data-empty",
            "008-rpc-rep-get-monitor-data-empty",
        ),
        ("009-rpc-req-unknown-method", "010-rpc-rep-unknown-method"),
        ("011-rpc-req-missing-args", "012-rpc-rep-missing-args"),
        ("013-rpc-req-missing-method", "014-rpc-rep-missing-method"),
        ("027-rpc-req-stop-watch", "028-rpc-rep-stop-watch"),
        ("029-rpc-req-reload-logs", "030-rpc-rep-reload-logs"),
    ] {
        let (ours, recorded) = replay(&daemon, request, reply);
        assert_eq!(ours, recorded, "{request}");
    }
    for (request, reply) in [
        ("015-rpc-req-unknown-id", "016-rpc-rep-unknown-id"),
        (
            "019-rpc-req-send-data-missing-topic",
            "020-rpc-rep-send-data-missing-topic",
        ),
        (
            "045-client-req-sendsignaltoprocessname",
            "046-client-rep-sendsignaltoprocessname",
        ),
        (
            "059-client-req-notifybyprocessid-4",
            "060-client-rep-notifybyprocessid-4",
        ),
    ] {
        let (ours, recorded) = replay(&daemon, request, reply);
        assert_eq!(ours["error"], recorded["error"], "{request}");
        assert!(
            ours["stack"].as_str().unwrap().starts_with("Error: "),
            "{request}"
        );
    }
}

// Protects: clients that build their interface from the list, such as pm2-interface.
#[test]
fn every_recorded_method_is_listed_with_its_parameters() {
    let daemon = Daemon::start();
    let (ours, recorded) = replay(&daemon, "001-rpc-req-methods", "002-rpc-rep-methods");
    for (name, method) in recorded["methods"].as_object().unwrap() {
        assert_eq!(&ours["methods"][name], method);
    }
    for older in ["stopAll", "restartProcessName", "findByPort"] {
        assert_eq!(ours["methods"][older]["name"], older);
    }
}

/// Every member of `recorded` is in `ours`, but those in `except`.
fn assert_members(ours: &Value, recorded: &Value, except: &[&str]) {
    for name in recorded.as_object().unwrap().keys() {
        if !except.contains(&name.as_str()) {
            assert!(ours.get(name).is_some(), "{name} is missing in {ours}");
        }
    }
}

// Protects: the life of a process as a client goes through it, with the members it reads.
#[test]
fn prepare_list_stop_restart_and_delete_have_the_recorded_shape() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let text = "setInterval(() => {}, 1000)";
    let started = daemon.start_node(&mut client, "web app", text, &json!({}));
    assert_eq!(started.as_array().unwrap().len(), 1);
    assert_eq!(started[0]["process"]["pid"], started[0]["pid"]);
    assert_eq!(started[0]["pm2_env"]["status"], "online");

    let recorded = json_of(&golden("024-rpc-rep-get-monitor-data")[0]);
    let recorded = &recorded["args"][0][0];
    let process = client.process("web app");
    assert_members(&process, recorded, &[]);
    // Told by the app some time later, or only after monitor, reset or a crash.
    let of_this_machine = [
        "USER",
        "HOME",
        "LANG",
        "SHELL",
        "PORT",
        "PM2_USAGE",
        "node_version",
    ];
    assert_members(&process["pm2_env"], &recorded["pm2_env"], &of_this_machine);
    assert_eq!(process["pid"], started[0]["pid"]);
    // Right after its exec a process has hardly any memory yet.
    super::helper::wait_for("a sample of its memory", || {
        let memory = client.process("web app")["monit"]["memory"].as_u64()?;
        (memory > 1_000_000).then_some(())
    });

    let stopped = client.ok("stopProcessId", json!(["0"]));
    assert_eq!(
        (&stopped["pid"], &stopped["pm2_env"]["status"]),
        (&json!(0), &json!("stopped"))
    );
    assert!(stopped.get("monit").is_none());
    let restarted = client.ok(
        "restartProcessId",
        json!([{"id": 0, "env": {"current_conf": {}}}]),
    );
    assert_ne!(restarted["process"]["pid"], started[0]["pid"]);
    assert_eq!(
        client.error("startProcessId", json!([0])),
        "process already online"
    );
    assert_eq!(
        client.ok("monitor", json!([0])),
        json!({"success": true, "pm_id": 0})
    );
    let reply = client.call(
        "notifyByProcessId",
        json!([{"id": 0, "action_name": "x", "manually": true}]),
    );
    assert_eq!(reply, json!({"args": []}));
    let reset = client.ok("resetMetaProcessId", json!([0]));
    assert_eq!(reset[0]["pm2_env"]["restart_time"], 0);
    let deleted = client.ok("deleteProcessId", json!([0]));
    assert_eq!(deleted["pm2_env"]["status"], "stopped");
    assert_eq!(client.ok("getMonitorData", json!([{}])), json!([]));
}

// Protects: a quick question is not kept waiting by a slow stop on the same connection.
#[test]
fn requests_of_one_connection_are_not_answered_in_turn() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let text = "trap '' INT; echo up; while [ ! -e go ]; do sleep 0.05; done";
    let more = json!({"kill_timeout": 600_000, "pm_cwd": daemon.home()});
    daemon.start_shell(&mut client, "stubborn", text, &more);
    super::helper::wait_for("the trap", || {
        daemon.out_log("stubborn").contains("up").then_some(())
    });
    let slow = client.send("stopProcessId", json!([0]));
    let quick = client.send("ping", json!([{}]));
    let first = client.frames.next().unwrap();
    assert_eq!(first[1], quick.as_bytes());
    std::fs::write(daemon.path("go"), "").unwrap();
    let second = client.frames.next().unwrap();
    assert_eq!(second[1], slow.as_bytes());
}

// Protects: tools written for pm2 0.x.
#[test]
fn the_older_methods_act_on_several_processes() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    for name in ["a", "b"] {
        daemon.start_shell(
            &mut client,
            name,
            "exec sleep 1000",
            &json!({"env": {"PATH": "/usr/bin:/bin", "PORT": "18299", "PM2_HOME": daemon.home()}}),
        );
    }
    let found = client.ok("findByPort", json!([18299]));
    assert_eq!(found.as_array().unwrap().len(), 2);
    assert_eq!(client.ok("findByScript", json!(["a.sh"]))[0]["name"], "a");
    assert_eq!(client.ok("findByScript", json!(["nope"])), Value::Null);
    let after = client.ok("restartProcessName", json!(["b"]));
    assert_eq!(after[1]["pm2_env"]["restart_time"], 1);
    assert_eq!(
        client.ok("reload", json!([{}])),
        json!({"process_restarted": 2})
    );
    assert_eq!(
        client.ok("restartProcessId", json!([0]))["pm2_env"]["restart_time"],
        2
    );
    client.ok("stopAll", json!([{}]));
    assert_eq!(
        (client.status("a"), client.status("b")),
        ("stopped".into(), "stopped".into())
    );
    client.ok("deleteProcess", json!(["a"]));
    let before = client.ok("deleteAll", json!([{}]));
    assert_eq!(before.as_array().unwrap().len(), 1);
    assert_eq!(client.ok("getMonitorData", json!([{}])), json!([]));
    assert_eq!(
        client.error("stopProcessName", json!(["a"])),
        "Unknown process name"
    );
}

// Protects: tools that send a declaration as it stands in a file and leave all resolution to the daemon.
#[test]
fn an_older_client_starts_an_app_by_its_declaration() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("work.sh"), "exec sleep 1000\n").unwrap();
    let app = json!({"script": "./work.sh", "args": "one 'two three'", "env": {"A": 1}});
    let started = client.ok("prepareJson", json!([app, folder.path()]));
    let record = &started[0]["pm2_env"];
    assert_eq!(
        (
            &record["name"],
            &record["exec_interpreter"],
            &record["status"]
        ),
        (&json!("work"), &json!("bash"), &json!("online"))
    );
    assert_eq!(record["args"], json!(["one", "two three"]));
    assert_eq!(record["A"], 1);
    assert_eq!(
        record["pm_exec_path"].as_str().map(std::path::Path::new),
        Some(folder.path().join("work.sh").as_path())
    );
    assert_eq!(
        client.error("prepareJson", json!([{"script": "gone.js"}, folder.path()])),
        format!(
            "Script not found: {}",
            folder.path().join("gone.js").display()
        )
    );
    assert_eq!(
        client.error("prepareJson", json!([3])),
        "the declaration to prepare must be an object"
    );
}
