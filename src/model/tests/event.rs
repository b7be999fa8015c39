//! Messages of applications, and the events they become.

use super::*;

fn kind(text: &str) -> String {
    format!("{:?}", AppMessage::parse(text).unwrap().kind())
}

#[test]
fn only_type_and_data_together_name_an_event() {
    assert_eq!(
        kind(r#"{"type":"my:event","data":{"a":1}}"#),
        r#"Typed { name: "my:event", data: "{\"a\":1}" }"#
    );
    for text in [
        "null",
        "true",
        "3",
        r#""text""#,
        "[]",
        r#"{"a":1}"#,
        r#"{"type":"","data":1}"#,
        r#"{"type":7,"data":1}"#,
        r#"{"type":{"a":1},"data":1}"#,
        r#"{"type":["a"],"data":1}"#,
        r#"{"cmd":"NODE","a":1}"#,
    ] {
        assert_eq!(kind(text), "Raw { name: None }", "{text}");
    }
    for text in [
        r#"{"type":"x"}"#,
        r#"{"type":"x","data":0}"#,
        r#"{"type":"x","data":""}"#,
        r#"{"type":"x","data":null}"#,
    ] {
        assert_eq!(kind(text), r#"Raw { name: Some("x") }"#, "{text}");
    }
}

#[test]
fn some_messages_are_not_for_listeners() {
    assert_eq!(kind(r#""ready""#), "Ready");
    assert_eq!(
        kind(r#"{"node_version":"20.1.0"}"#),
        r#"NodeVersion("\"20.1.0\"")"#
    );
    assert_eq!(kind(r#"{"cmd":"NODE_CLUSTER","act":"online"}"#), "Internal");
    assert_eq!(
        kind(r#"{"type":"x","data":1,"node_version":"20"}"#),
        r#"Typed { name: "x", data: "1" }"#
    );
    assert!(AppMessage::parse("{nonsense").is_none());
}

#[test]
fn a_type_too_long_for_a_topic_is_only_data() {
    let longest = format!(r#"{{"type":"{}","data":1}}"#, "x".repeat(EVENT_NAME_MAX));
    assert!(kind(&longest).starts_with("Typed"));
    let longer = format!(
        r#"{{"type":"{}","data":1}}"#,
        "x".repeat(EVENT_NAME_MAX + 1)
    );
    assert_eq!(kind(&longer), "Raw { name: None }");
}

fn from() -> Sender<'static> {
    Sender {
        id: PmId(3),
        name: "app",
        namespace: "default",
        is_worker: false,
    }
}

fn raw(message: &str, kind: Option<&str>) -> Vec<(String, String)> {
    BusEvent::raw(7, from(), message, kind)
        .into_iter()
        .map(|event| (event.name.into(), event.payload.into_string()))
        .collect()
}

const PROCESS: &str = r#""process":{"pm_id":3,"name":"app","namespace":"default"}"#;

#[test]
fn a_message_without_type_or_data_is_raw() {
    assert_eq!(
        raw("null", None),
        [(
            "process:msg".to_owned(),
            format!(r#"{{"at":7,"raw":null,{PROCESS}}}"#)
        )]
    );
}

#[test]
fn a_type_without_data_also_comes_in_the_shape_of_pm2_interface() {
    let message = r#"{"type":"my:event","a":1}"#;
    assert_eq!(
        raw(message, Some("my:event")),
        [
            (
                "process:msg".to_owned(),
                format!(r#"{{"at":7,"raw":{message},{PROCESS}}}"#)
            ),
            (
                "my:event".to_owned(),
                format!(r#"{{"at":7,{PROCESS},"pm_id":3,"msg":{message}}}"#)
            ),
        ]
    );
}

#[test]
fn the_old_shape_never_comes_under_a_name_of_ours() {
    let message = r#"{"type":"process:event"}"#;
    assert_eq!(raw(message, Some("process:event")).len(), 1);
    let message = r#"{"type":"process:msg"}"#;
    assert_eq!(
        raw(message, Some("process:msg")),
        [(
            "process:msg".to_owned(),
            format!(r#"{{"at":7,"raw":{message},{PROCESS},"pm_id":3,"msg":{message}}}"#)
        )]
    );
}

#[test]
fn the_daemons_own_events_have_pm2s_shapes() {
    let event = BusEvent::typed(7, from(), "x", "[1]");
    assert_eq!(
        event.payload.as_str(),
        format!(r#"{{"at":7,"data":[1],{PROCESS}}}"#)
    );
    let worker = Sender {
        is_worker: true,
        ..from()
    };
    let event = BusEvent::typed(7, worker, "x", "[1]");
    assert_eq!(
        event.payload.as_str(),
        r#"{"at":7,"data":[1],"process":{"pm_id":3,"name":"app","rev":null,"namespace":"default"}}"#
    );
    let event = BusEvent::log(7, true, from(), "a\n");
    assert_eq!(&*event.name, "log:err");
    assert_eq!(
        event.payload.as_str(),
        r#"{"process":{"pm_id":3,"name":"app","rev":null,"namespace":"default"},"at":7,"data":"a\n"}"#
    );
    let event = BusEvent::daemon_log(7, "x");
    assert_eq!(
        event.payload.as_str(),
        r#"{"process":{"pm_id":"PM2","name":"PM2","rev":null},"at":7,"data":"x\n"}"#
    );
    let event = BusEvent::daemon_killed("CLI");
    assert_eq!(
        event.payload.as_str(),
        r#"{"status":"killed","msg":"pm2 has been killed via CLI"}"#
    );
}
