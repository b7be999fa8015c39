//! What applications say, and what is said to them.

use super::super::SupervisorConfig;
use super::super::limits::AXM_BYTES_MAX;
use super::world::World;

const FROM: &str = r#""process":{"pm_id":0,"name":"app","namespace":"default"}"#;

fn up() -> World {
    let mut world = World::new(SupervisorConfig::default());
    world.run("prepare");
    world.run("spawned 20");
    world
}

#[test]
fn messages_are_published_in_the_order_they_were_sent() {
    let mut world = up();
    assert_eq!(
        world.run(r#"says 0 {"type":"my:event","data":{"a":[1]},"other":1}"#),
        [format!(
            r#"bus my:event {{"at":1000000,"data":{{"a":[1]}},{FROM}}}"#
        )]
    );
    assert_eq!(
        world.run("says 0 null"),
        [format!(
            r#"bus process:msg {{"at":1000000,"raw":null,{FROM}}}"#
        )]
    );
    assert_eq!(
        world.run(r#"says 0 {"type":"x"}"#),
        [
            format!(r#"bus process:msg {{"at":1000000,"raw":{{"type":"x"}},{FROM}}}"#),
            format!(r#"bus x {{"at":1000000,{FROM},"pm_id":0,"msg":{{"type":"x"}}}}"#),
        ]
    );
}

#[test]
fn what_is_meant_for_us_is_consumed() {
    let mut world = up();
    for message in [
        r#"{"type":"axm:action","data":{"action_name":"a","arity":1}}"#,
        r#"{"type":"axm:action","data":{"action_name":"a","arity":2}}"#,
        r#"{"type":"axm:monitor","data":{"Probe":{"value":1}}}"#,
        r#"{"type":"axm:monitor","data":{"Probe":{"value":2},"Other":{}}}"#,
        r#"{"type":"axm:option:configuration","data":{"error":true}}"#,
        r#"{"type":"axm:option:setPID","data":5}"#,
        r#"{"node_version":"20.1.0"}"#,
        r#"{"cmd":"NODE_HANDLE_ACK"}"#,
    ] {
        assert!(
            world.run(&format!("says 0 {message}")).is_empty(),
            "{message}"
        );
    }
    assert_eq!(
        world.run("show 0 axm_actions axm_monitor axm_options node_version"),
        [
            r#"axm_actions: [{"action_name":"a","arity":1}]"#,
            r#"axm_monitor: {"Probe":{"value":2},"Other":{}}"#,
            r#"axm_options: {"error":true,"module_name":"app"}"#,
            r#"node_version: "20.1.0""#,
        ]
    );
    world.run("exited 0 0");
    world.run("spawned 21");
    assert_eq!(
        world.run("show 0 axm_actions axm_monitor axm_options node_version"),
        [
            "axm_actions: []",
            "axm_monitor: {}",
            r#"axm_options: {"module_name":"app"}"#,
            r#"node_version: "20.1.0""#
        ]
    );
}

#[test]
fn an_application_can_name_itself() {
    let mut world = up();
    world.run(
        r#"says 0 {"type":"axm:option:configuration","data":{"name":"mod","module_name":"m"}}"#,
    );
    assert_eq!(world.run("list"), ["0 mod online"]);
    assert_eq!(
        world.run("show 0 name axm_options"),
        [
            r#"name: "mod""#,
            r#"axm_options: {"name":"mod","module_name":"m"}"#
        ]
    );
}

#[test]
fn an_application_that_reports_too_much_is_not_listened_to() {
    let mut world = up();
    let long = "x".repeat(AXM_BYTES_MAX);
    let effects = world.run(&format!(
        r#"says 0 {{"type":"axm:monitor","data":{{"a":"{long}"}}}}"#
    ));
    assert_eq!(
        effects,
        ["log error App [app:0] reports too much or nothing usable in axm:monitor"]
    );
    assert_eq!(world.run("show 0 axm_monitor"), ["axm_monitor: {}"]);
}

#[test]
fn data_is_sent_whole_to_a_process_that_runs() {
    let mut world = up();
    let packet = r#"{"type":"process:msg","data":{"some":"data"},"id":"0","topic":"t","x":1}"#;
    assert_eq!(
        world.run(&format!("data {packet}")),
        [
            format!("send run 0 {packet}"),
            format!(r#"reply 2 {{"success":true,"data":{packet}}}"#)
        ]
    );
    for (packet, error) in [
        (
            r#"{"data":1,"topic":"t"}"#,
            "ID, DATA or TOPIC field is missing",
        ),
        (
            r#"{"id":0,"topic":"t"}"#,
            "ID, DATA or TOPIC field is missing",
        ),
        (
            r#"{"id":0,"data":1,"topic":""}"#,
            "ID, DATA or TOPIC field is missing",
        ),
        ("null", "ID, DATA or TOPIC field is missing"),
        (
            r#"{"id":9,"data":1,"topic":"t"}"#,
            "Process with ID <9> unknown.",
        ),
    ] {
        assert!(
            world.run(&format!("data {packet}"))[0].ends_with(error),
            "{packet}"
        );
    }
    world.run("stop 0");
    let effects = world.run(&format!("data {packet}"));
    assert!(
        effects[0].ends_with("error: Process with ID <0> offline."),
        "{effects:?}"
    );
}

#[test]
fn a_line_goes_to_standard_input() {
    let mut world = up();
    assert_eq!(
        world.run(r#"line {"pm_id":"0","line":"hello\n"}"#),
        [
            r#"stdin of run 0 "hello\n""#,
            r#"reply 2 {"pm_id":"0","line":"hello\n"}"#
        ]
    );
    for packet in [
        "{}",
        r#"{"pm_id":0}"#,
        r#"{"pm_id":0,"line":""}"#,
        r#"{"pm_id":0,"line":5}"#,
        "7",
    ] {
        assert!(
            world.run(&format!("line {packet}"))[0].ends_with("pm_id or line field missing"),
            "{packet}"
        );
    }
}

#[test]
fn an_action_is_sent_to_those_who_offer_it() {
    let mut world = up();
    world.run(r#"prepare "name":"b","namespace":"default""#);
    world.run("spawned 21");
    world.run(r#"says 0 {"type":"axm:action","data":{"action_name":"act"}}"#);
    assert_eq!(
        world.run(r#"msg {"id":0,"msg":"act"}"#),
        [
            "send run 0 \"act\"",
            r#"reply 3 {"process_count":1,"success":true}"#
        ]
    );
    for command in [
        r#"{"id":0,"msg":"act","opts":{"a":1}}"#,
        r#"{"id":0,"msg":"act","uuid":"u"}"#,
    ] {
        assert_eq!(
            world.run(&format!("msg {command}"))[0],
            format!("send run 0 {command}")
        );
    }
    for name in ["all", "app", "app.js", "default"] {
        assert_eq!(
            world.run(&format!(
                r#"msg {{"name":"{name}","msg":"act","opts":null}}"#
            ))[0],
            "send run 0 \"act\"",
            "{name}"
        );
    }
    for (command, answer) in [
        (
            r#"{"id":1,"msg":"act"}"#,
            "error: Action doesn't exist act for b",
        ),
        (r#"{"id":7,"msg":"act"}"#, "error: 7 id unknown"),
        (
            r#"{"msg":"act"}"#,
            "error: method requires name or id field",
        ),
        (
            r#"{"name":"b","msg":"act"}"#,
            r#"{"process_count":0,"success":true}"#,
        ),
    ] {
        let effects = world.run(&format!("msg {command}"));
        assert!(
            effects.len() == 1 && effects[0].ends_with(answer),
            "{effects:?}"
        );
    }
    world.run("stop 0");
    assert!(world.run(r#"msg {"id":0,"msg":"act"}"#)[0].ends_with("error: 0 : id offline"));
}

#[test]
fn an_object_with_a_type_is_sent_as_pm2_interface_documents() {
    let mut world = up();
    assert_eq!(
        world.run(r#"msg {"id":0,"msg":{"type":"hi","a":1}}"#)[0],
        r#"send run 0 {"type":"hi","a":1}"#
    );
}
