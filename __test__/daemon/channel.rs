//! The IPC channel and stdin of apps.

use serde_json::json;

use super::helper::{Daemon, wait_for};

// Protects: the round trip behind `pm2.sendDataToProcessId` and `process.send`.
#[test]
fn data_reaches_the_app_and_its_answer_the_bus() {
    let daemon = Daemon::start();
    let mut bus = daemon.bus();
    let mut client = daemon.client();
    let text =
        "process.on('message', m => process.send({type: 'echo', data: m})); process.send('hi')";
    daemon.start_node(&mut client, "echo", text, &json!({}));
    let hello = bus.named("process:msg");
    assert_eq!(hello["raw"], "hi");
    let packet = json!({"type": "process:msg", "data": {"some": "data\n\u{2028}é"}, "id": 0, "topic": "my topic"});
    let reply = client.ok("sendDataToProcessId", json!([packet]));
    assert_eq!(reply, json!({"success": true, "data": packet}));
    let event = bus.named("echo");
    assert_eq!(event["data"], packet);
    assert_eq!(event["process"]["name"], "echo");
    assert_eq!(
        client.error(
            "sendDataToProcessId",
            json!([{"id": 9, "data": {}, "topic": "x"}])
        ),
        "Process with ID <9> unknown."
    );
    client.ok("stopProcessId", json!([0]));
    assert_eq!(
        client.error("sendDataToProcessId", json!([packet])),
        "Process with ID <0> offline."
    );
}

// Protects: every program has the channel, so a shell script that ends in `exec node` can say that it is ready.
#[test]
fn a_shell_script_that_becomes_node_can_say_ready() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let script = daemon.script(
        "ready.js",
        "process.send('ready'); process.on('message', () => {}); setInterval(() => {}, 1000)",
    );
    let text = format!("exec node {}", script.display());
    let more = json!({"wait_ready": true, "listen_timeout": 15000});
    let started = daemon.start_shell(&mut client, "wrapped", &text, &more);
    assert_eq!(started[0]["pm2_env"]["status"], "online");
}

// Protects: a child that sends a handle is not stuck for ever (protocol.md 7.3).
#[test]
fn a_handle_from_an_app_is_acknowledged() {
    let daemon = Daemon::start();
    let mut bus = daemon.bus();
    let mut client = daemon.client();
    let text = "const s = require('net').createServer().listen(0, '127.0.0.1', () => { process.send('h', s); process.send('after'); }); setInterval(() => {}, 1000)";
    daemon.start_node(&mut client, "sender", text, &json!({"autorestart": false}));
    bus.until(|name, payload| name == "process:msg" && payload["raw"] == "after");
}

// Protects: lines that are no messages cost nothing but themselves.
#[test]
fn nonsense_on_the_channel_is_skipped() {
    let daemon = Daemon::start();
    let mut bus = daemon.bus();
    let mut client = daemon.client();
    let text = "printf 'no json\\nnull\\n{\"type\":{\"a\":1},\"data\":1}\\n' >&3; printf '{\"type\":\"fine\",\"data\":{\"n\":1}}\\n{\"cut' >&3; exec sleep 1000";
    daemon.start_shell(&mut client, "mumbler", text, &json!({}));
    assert_eq!(bus.named("process:msg")["raw"], json!(null));
    assert_eq!(bus.named("fine")["data"], json!({"n": 1}));
    assert_eq!(client.status("mumbler"), "online");
}

// Protects: an app that does not read cannot make the daemon hold more and more for it.
#[test]
fn an_app_that_never_reads_its_channel_is_an_error_to_the_sender() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    daemon.start_shell(&mut client, "deaf", "exec sleep 1000", &json!({}));
    let packet = json!([{"id": 0, "topic": "t", "data": "x".repeat(1024 * 1024)}]);
    let error = wait_for("the queue to be full", || {
        let reply = client.call("sendDataToProcessId", packet.clone());
        reply.get("error").cloned()
    });
    assert_eq!(error, "the process does not read what it is sent");
    assert_eq!(client.status("deaf"), "online");
}

// Protects: an app that has disconnected is not told things that nobody will ever read.
#[test]
fn an_app_that_has_disconnected_cannot_be_sent_anything() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let text = "process.disconnect(); setInterval(() => {}, 1000)";
    daemon.start_node(&mut client, "gone", text, &json!({}));
    let packet = json!([{"id": 0, "topic": "t", "data": 1}]);
    let error = wait_for("an error", || {
        client
            .call("sendDataToProcessId", packet.clone())
            .get("error")
            .cloned()
    });
    assert_eq!(error, "the process has closed its channel");
    assert_eq!(client.status("gone"), "online");
}

// Protects: `pm2 send`.
#[test]
fn a_line_reaches_stdin() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    daemon.start_shell(
        &mut client,
        "reader",
        "read line; echo \"got $line\"; exec sleep 1000",
        &json!({}),
    );
    let packet = json!({"pm_id": 0, "line": "hello\n"});
    assert_eq!(client.ok("sendLineToStdin", json!([packet])), packet);
    wait_for("the echo", || {
        (daemon.out_log("reader") == "got hello\n").then_some(())
    });
    assert_eq!(
        client.error("sendLineToStdin", json!([{"pm_id": 0}])),
        "pm_id or line field missing"
    );
}

// Protects: what an app sees of its launch (protocol.md 5.5, design.md).
#[test]
fn a_node_app_is_its_own_main_module_with_a_clean_environment() {
    let daemon = Daemon::start_with(&[("SECRET_OF_THE_DAEMON", "1")]);
    let mut client = daemon.client();
    let text = "console.log(JSON.stringify({argv: process.argv.slice(1), exec: process.execArgv, env: process.env, main: require.main.filename, send: typeof process.send}))";
    let script = daemon.path("app/seen.js").to_str().unwrap().to_owned();
    let more = json!({"autorestart": false, "args": ["a", "b c"], "node_args": ["--no-warnings"]});
    daemon.start_node(&mut client, "seen", text, &more);
    let line = wait_for("the line", || {
        Some(daemon.out_log("seen")).filter(|text| text.ends_with('\n'))
    });
    let seen: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(seen["argv"], json!([script, "a", "b c"]));
    assert_eq!(seen["exec"], json!(["--no-warnings"]));
    assert_eq!(seen["main"], script);
    assert_eq!(seen["send"], "function");
    let env = seen["env"].as_object().unwrap();
    assert!(
        env.keys()
            .all(|name| !name.contains("CHANNEL") && !name.contains("PRELOAD")),
        "{env:?}"
    );
    assert!(!env.contains_key("SECRET_OF_THE_DAEMON"));
    for (name, value) in [
        ("name", "seen"),
        ("pm_id", "0"),
        ("status", "launching"),
        ("NODE_APP_INSTANCE", "0"),
    ] {
        assert_eq!(env[name], value, "{name}");
    }
}
