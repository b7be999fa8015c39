//! One name for every option, whatever spelling it came in.

use serde_json::Value;

use super::Object;
use super::options::{NAMED_ENVIRONMENT_PREFIX, OptionSpec, TABLE, camel_case};

/// Brings the options of a declaration to the names of [`TABLE`], in its order, followed by the `env_<name>` members in their own.
///
/// Another spelling counts only if the main name holds nothing or something false; of several the first in
/// [`OptionSpec::aliases`], then the camelCase one. `cmd` and `command` stand for `script`. Unknown members are left out, `null` counts as absent.
#[must_use]
pub fn canonical(raw: &Object) -> Object {
    let mut out = Object::new();
    for spec in TABLE {
        if let Some(value) = value_of(raw, spec) {
            out.insert(spec.name.into(), value.clone());
        }
    }
    if !out.get("script").is_some_and(is_truthy)
        && let Some(command) = ["cmd", "command"]
            .iter()
            .find_map(|key| raw.get(*key).filter(|v| is_truthy(v)))
    {
        out.insert("script".into(), command.clone());
    }
    for (key, value) in raw {
        if is_named_environment(key) && !value.is_null() {
            out.insert(key.clone(), value.clone());
        }
    }
    out
}

/// The value of one option in a declaration of any spelling.
#[must_use]
pub fn value_of<'a>(raw: &'a Object, spec: &OptionSpec) -> Option<&'a Value> {
    let main = raw.get(spec.name).filter(|value| !value.is_null());
    if main.is_some_and(is_truthy) {
        return main;
    }
    let given = |key: &str| raw.get(key).filter(|value| !value.is_null());
    let other = spec.aliases.iter().find_map(|alias| given(alias));
    other.or_else(|| given(&camel_case(spec.name))).or(main)
}

/// Is this the name of a set of variables for one environment?
#[must_use]
pub fn is_named_environment(key: &str) -> bool {
    key.strip_prefix(NAMED_ENVIRONMENT_PREFIX)
        .is_some_and(|name| !name.contains(char::is_whitespace))
}

/// What JavaScript's `if (value)` thinks of it.
#[must_use]
pub fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64().is_some_and(|number| number != 0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[expect(
        clippy::needless_pass_by_value,
        reason = "literals of JSON read better by value"
    )]
    fn of(raw: Value) -> Value {
        Value::Object(canonical(raw.as_object().expect("an object")))
    }

    #[test]
    fn every_spelling_of_every_option_is_understood() {
        // A spelling that the table promises but nobody reads would be an option silently ignored.
        for spec in TABLE {
            for alias in spec
                .aliases
                .iter()
                .map(|a| (*a).to_owned())
                .chain([camel_case(spec.name), spec.name.into()])
            {
                assert_eq!(of(json!({ alias.clone(): "x" }))[spec.name], "x", "{alias}");
            }
        }
    }

    #[test]
    fn the_main_name_wins_unless_it_is_false() {
        assert_eq!(
            of(json!({"merge_logs": false, "combine_logs": true})),
            json!({"merge_logs": true})
        );
        assert_eq!(
            of(json!({"merge_logs": true, "combine_logs": false})),
            json!({"merge_logs": true})
        );
        assert_eq!(
            of(json!({"merge_logs": false})),
            json!({"merge_logs": false})
        );
        assert_eq!(
            of(json!({"name": null, "out_file": null, "out": "a", "output": "b"})),
            json!({"out_file": "b"})
        );
    }

    #[test]
    fn old_names_of_the_first_api_are_understood() {
        let raw = json!({"nodeArgs": ["--a"], "scriptArgs": ["b"], "runAsUser": 1, "runAsGroup": 2, "cron": "* * * * *", "mergeLogs": true,
            "executeCommand": true, "cmd": "ls", "error": "e", "output": "o", "minUptime": 5000, "interpreterArgs": "x"});
        let expected = json!({"script": "ls", "args": ["b"], "node_args": "x", "out_file": "o", "error_file": "e", "cron_restart": "* * * * *",
            "merge_logs": true, "min_uptime": 5000, "execute_command": true, "uid": 1, "gid": 2});
        assert_eq!(of(raw), expected);
    }

    #[test]
    fn unknown_and_strange_keys_do_no_harm() {
        let raw = json!({"script": "a.js", "__proto__": {"x": 1}, "constructor": 1, "max": 3, "": 1, "env_production": {"A": 1}, "env_a b": {}, "env_": {}});
        assert_eq!(
            of(raw),
            json!({"script": "a.js", "env_production": {"A": 1}, "env_": {}})
        );
    }
}
