//! What subscribers of `pub.sock` get, and what slow ones lose.

use serde_json::json;

use super::helper::{Daemon, wait_for};

// Protects: the order that dashboards rely on (protocol.md 4.2).
#[test]
fn a_start_and_a_stop_are_told_in_pm2s_order() {
    let daemon = Daemon::start();
    let mut bus = daemon.bus();
    let mut client = daemon.client();
    daemon.start_shell(&mut client, "told", "exec sleep 1000", &json!({}));
    client.ok("stopProcessId", json!([0]));
    client.call(
        "notifyByProcessId",
        json!([{"id": 0, "action_name": "stop", "manually": true}]),
    );
    let mut told = Vec::new();
    while told.last().is_none_or(|last| last != "stop stopped") {
        let (name, payload) = bus.next().unwrap();
        if name == "process:event" {
            assert!(
                payload["process"].get("env").is_none(),
                "environments are not published as such"
            );
            assert!(payload["at"].is_u64());
            let (event, status) = (&payload["event"], &payload["process"]["status"]);
            told.push(format!(
                "{} {}",
                event.as_str().unwrap(),
                status.as_str().unwrap()
            ));
        }
    }
    let wanted = [
        "online launching",
        "start online",
        "exit stopping",
        "exit stopped",
        "stop stopped",
    ];
    assert_eq!(told, wanted);
}

// Protects: output on the bus is what the file gets, with its sender.
#[test]
fn output_is_published_with_its_process() {
    let daemon = Daemon::start();
    let mut bus = daemon.bus();
    let mut client = daemon.client();
    daemon.start_shell(
        &mut client,
        "talker",
        "echo héllo; echo oops >&2; exec sleep 1000",
        &json!({}),
    );
    let (mut out, mut err) = (None, None);
    while out.is_none() || err.is_none() {
        let (name, payload) = bus.next().unwrap();
        match name.as_str() {
            "log:out" => out = Some(payload),
            "log:err" => err = Some(payload),
            _ => {}
        }
    }
    let out = out.unwrap();
    let process = json!({"pm_id": 0, "name": "talker", "rev": null, "namespace": "default"});
    assert_eq!(
        (&out["process"], &out["data"]),
        (&process, &json!("héllo\n"))
    );
    assert_eq!(err.unwrap()["data"], "oops\n");
    assert_eq!(daemon.out_log("talker"), "héllo\n");
}

/// Twice what waits for one subscriber, in MiB.
const PARTS: usize = 32;

// Protects: one subscriber that sleeps costs bounded memory and learns what it lost; apps, files and others notice nothing.
#[test]
fn a_slow_subscriber_is_told_what_it_lost_and_nobody_else_notices() {
    let daemon = Daemon::start();
    let mut slow = daemon.bus();
    let mut quick = daemon.bus();
    let mut client = daemon.client();
    // A part at a time, so that who reads is quick however slow the machine is.
    let text =
        "while read line && [ \"$line\" = more ]; do head -c 1048576 /dev/zero | tr '\\0' x; done";
    daemon.start_shell(&mut client, "flood", text, &json!({"autorestart": false}));
    let mut say = |line: &str| {
        let packet = json!({"pm_id": 0, "line": format!("{line}\n")});
        client.ok("sendLineToStdin", json!([packet]));
    };
    let mut bytes = 0;
    for part in 1..=PARTS {
        say("more");
        while bytes < part << 20 {
            let (name, payload) = quick.next().unwrap();
            assert_ne!(name, "pm2:dropped");
            if name == "log:out" {
                bytes += payload["data"].as_str().unwrap().len();
            }
        }
    }
    say("end");
    quick.until(|name, payload| name == "process:event" && payload["event"] == "exit");
    assert_eq!(bytes, PARTS << 20);
    wait_for("the whole log", || {
        (daemon.out_log("flood").len() == PARTS << 20).then_some(())
    });
    let dropped = slow.named("pm2:dropped");
    assert!(dropped["count"].as_u64().unwrap() > 10, "{dropped}");
    assert_eq!(
        dropped["count"], dropped["logs"],
        "only log lines were lost"
    );
    slow.until(|name, payload| name == "process:event" && payload["event"] == "exit");
}

// Protects: one app that prints without end does not keep the others waiting.
#[test]
fn a_flood_of_one_app_does_not_delay_calls_and_other_apps() {
    let daemon = Daemon::start();
    let mut bus = daemon.bus();
    let mut client = daemon.client();
    let more = json!({"pm_out_log_path": "/dev/null"});
    daemon.start_shell(
        &mut client,
        "flood",
        "exec yes floodfloodfloodfloodflood",
        &more,
    );
    // Its line may be lost to who does not keep up with the flood; that it started is not.
    let reader = std::thread::spawn(move || {
        bus.until(|name, payload| {
            name == "process:event"
                && (&payload["event"], &payload["process"]["name"])
                    == (&"online".into(), &"calm".into())
        });
    });
    daemon.start_shell(
        &mut client,
        "calm",
        "echo here; exec sleep 1000",
        &json!({}),
    );
    for _ in 0..50 {
        client.ok("ping", json!([{}]));
    }
    reader.join().unwrap();
    wait_for("the line", || {
        (daemon.out_log("calm") == "here\n").then_some(())
    });
    client.ok("stopProcessId", json!([0]));
}
