use super::*;
use serde_json::json;

#[expect(
    clippy::needless_pass_by_value,
    reason = "literals of JSON read better by value"
)]
fn checked(app: Value) -> Result<Value, String> {
    match check(app.as_object().expect("an object"), Purpose::Update) {
        Ok(app) => Ok(Value::Object(app)),
        Err(errors) => Err(errors
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(",")),
    }
}

#[test]
fn numeric_text_becomes_a_number() {
    let given = json!({"max_restarts": "3", "restart_delay": " 12 ", "max_memory_restart": "5", "instances": "-1", "port": "3000", "kill_timeout": 1.0});
    let expected = json!({"max_memory_restart": 5, "restart_delay": 12, "instances": -1, "kill_timeout": 1, "max_restarts": 3, "port": 3000});
    assert_eq!(checked(given), Ok(expected));
}

#[test]
fn units_are_understood_wherever_a_number_is_a_size_or_a_time() {
    let given = json!({"max_memory_restart": "1.5G", "min_uptime": "1h", "kill_timeout": "4s", "listen_timeout": "500ms", "watch_delay": "4000ms", "restart_delay": "0.5s"});
    let expected = json!({"max_memory_restart": 1_610_612_736, "restart_delay": 500, "kill_timeout": 4000, "listen_timeout": 500, "watch_delay": 4000, "min_uptime": 3_600_000});
    assert_eq!(checked(given), Ok(expected));
}

#[test]
fn instances_takes_max_and_any_other_text_as_one_per_cpu() {
    for (given, count) in [
        ("max", 0),
        ("4", 4),
        ("+2", 2),
        ("x", 0),
        ("", 0),
        ("3x", 3),
        ("--3", 0),
    ] {
        assert_eq!(
            checked(json!({"instances": given})),
            Ok(json!({"instances": count})),
            "{given}"
        );
    }
}

#[test]
fn errors_begin_with_pm2s_text() {
    let all = checked(json!({"instances": true, "max_memory_restart": "1.5X", "min_uptime": 5}))
        .unwrap_err();
    assert_eq!(
        all,
        "Verify \"max_memory_restart\" with regex failed, it should be a NUMBER - byte, \"[NUMBER]G\"(Gigabyte), \"[NUMBER]M\"(Megabyte) or \
         \"[NUMBER]K\"(Kilobyte) (given: \"1.5X\", allowed: bytes or text like \"150M\", at least 0),\
         Expect \"instances\" to be a typeof [object Number], but now is [object Boolean] (given: true, allowed: a whole number or \"max\"),\
         The minimum of \"min_uptime\" is 100, but now is 5 (given: 5, allowed: milliseconds or text like \"500ms\", \"4s\", \"1.5h\", at least 100)"
    );
    let mode = checked(json!({"exec_mode": "clusterx"})).unwrap_err();
    assert!(mode.starts_with("Verify \"exec_mode\" with regex failed, it should be \"cluster\"(\"cluster_mode\") or \"fork\"(\"fork_mode\") only (given: \"clusterx\""));
}

#[test]
fn every_wrong_type_of_every_option_is_an_error_that_names_it() {
    // Whatever JSON comes, an option is either taken or named; it is never taken as something else.
    for spec in TABLE {
        for value in [
            json!(true),
            json!(1),
            json!("x"),
            json!([1]),
            json!({"a": 1}),
        ] {
            let kind = kind_of(&value);
            let result = checked(json!({ spec.name: value.clone() }));
            if spec.types.contains(&kind) {
                continue;
            }
            if spec.name == "instances" && kind == Kind::Text {
                continue;
            }
            let message = result.expect_err(spec.name);
            assert!(
                message.starts_with(&format!("Expect \"{}\" to be a typeof [object ", spec.name)),
                "{message}"
            );
            assert!(
                message.contains("(given: ") && message.contains("allowed: "),
                "{message}"
            );
        }
    }
}

#[test]
fn negative_infinite_and_nonsense_numbers_are_refused() {
    for key in [
        "kill_timeout",
        "listen_timeout",
        "restart_delay",
        "watch_delay",
        "min_uptime",
        "max_restarts",
        "max_memory_restart",
    ] {
        assert!(
            checked(json!({ key: -1 }))
                .unwrap_err()
                .starts_with("The minimum of"),
            "{key}"
        );
        for text in ["NaN", "Infinity", "", "1e999", "0x10", "--1"] {
            assert!(checked(json!({ key: text })).is_err(), "{key} {text}");
        }
    }
}

#[test]
fn zero_for_an_option_with_a_default_is_no_value() {
    // pm2 never sees such a zero; files that say `max_restarts: 0` have run with the default for years.
    let given = json!({"kill_timeout": 0, "max_restarts": 0, "min_uptime": 0, "restart_delay": 0, "cron_restart": 0});
    assert_eq!(
        checked(given),
        Ok(json!({"restart_delay": 0, "cron_restart": 0}))
    );
}

#[test]
fn text_for_a_list_is_split_and_list_items_become_text() {
    let given = json!({"args": "a \"b c\"", "ignore_watch": "x y", "node_args": ["--a", 1, true], "watch": "my dir", "stop_exit_codes": "5"});
    let expected = json!({"args": ["a", "b c"], "node_args": ["--a", "1", "true"], "stop_exit_codes": 5, "watch": "my dir", "ignore_watch": ["x", "y"]});
    assert_eq!(checked(given), Ok(expected));
}

#[test]
fn messages_stay_short_and_show_no_variables() {
    let long = checked(json!({"kill_timeout": "x".repeat(1_000_000)})).unwrap_err();
    assert!(long.len() < 400, "{}", long.len());
    let list = checked(json!({"env": ["SECRET=1"]})).unwrap_err();
    assert!(!list.contains("SECRET"), "{list}");
    let named = checked(json!({"env_x": ["SECRET=1"]})).unwrap_err();
    assert!(
        !named.contains("SECRET") && named.contains("\"env_x\""),
        "{named}"
    );
    assert!(
        checked(json!({"instances": vec![0; 100_000]}))
            .unwrap_err()
            .len()
            < 300
    );
}

#[test]
fn a_change_holds_only_what_was_given_and_null_deletes() {
    assert_eq!(
        checked(json!({"node_args": "null", "max_memory_restart": "null"})),
        Ok(json!({"node_args": "null", "max_memory_restart": "null"}))
    );
    assert_eq!(checked(json!({})), Ok(json!({})));
}

#[test]
fn a_start_gets_the_defaults() {
    let app = check(&Object::new(), Purpose::Start).unwrap();
    let expected = json!({"vizion": true, "autostart": true, "autorestart": true, "instance_var": "NODE_APP_INSTANCE", "pmx": true, "automation": true,
        "treekill": true, "windowsHide": true, "kill_retry_time": 100});
    assert_eq!(Value::Object(app), expected);
}
