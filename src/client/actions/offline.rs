//! What can be said of declarations without a daemon: for tools that check or resolve them by themselves.

use serde_json::Value;

use super::ActionError;
use super::payload::{Payload, What};
use crate::config::ecosystem::{self, Declarations};
use crate::config::resolve::{self, Ecosystem, Form};
use crate::host::world::World;

/// Does `name` to the declarations in `payload`, which is what [`super::run`] takes:
///
/// | name | value (JSON text) |
/// |---|---|
/// | `parse` | the value of `text`, by the name of its `file`: YAML, else JSON |
/// | `verify` | the apps as they are once checked, under one spelling, with their defaults |
/// | `resolve` | the records that a daemon would be asked to start |
pub fn offline(name: &str, payload: &str) -> Result<String, ActionError> {
    let payload = &Payload::read(payload)?;
    match name {
        "parse" => parse(payload),
        "verify" => verify(payload),
        "resolve" => resolved(payload),
        _ => Err(ActionError::new(format!("unknown action {name}"))),
    }
}

fn parse(payload: &Payload) -> Result<String, ActionError> {
    let text = |key: &str| {
        payload
            .further
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let value = ecosystem::parse(text("file"), text("text"))
        .map_err(|error| ActionError::new(error.to_string()))?;
    Ok(value.to_string())
}

fn verify(payload: &Payload) -> Result<String, ActionError> {
    let world = World::new(&payload.around.env, &payload.around.cwd);
    let apps: Vec<Value> = declared(payload)?
        .apps
        .iter()
        .map(|app| resolve::declare(app, &payload.around, &world).map(Value::Object))
        .collect::<Result<_, _>>()
        .map_err(|error| ActionError::new(error.to_string()))?;
    Ok(Value::Array(apps).to_string())
}

fn resolved(payload: &Payload) -> Result<String, ActionError> {
    let world = World::new(&payload.around.env, &payload.around.cwd);
    let mut records = Vec::new();
    for app in &declared(payload)?.apps {
        let app = resolve::declare(app, &payload.around, &world)
            .map_err(|error| ActionError::new(error.to_string()))?;
        let prepared = resolve::prepare(
            app,
            &payload.around,
            &Ecosystem::default(),
            Form::Script,
            &world,
        );
        let prepared = prepared.map_err(|error| ActionError::new(error.to_string()))?;
        records.push(Value::Object(prepared.record));
    }
    Ok(Value::Array(records).to_string())
}

fn declared(payload: &Payload) -> Result<&Declarations, ActionError> {
    match &payload.what {
        What::Apps(declared) => Ok(declared),
        _ => Err(ActionError::new("apps are missing")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ask(name: &str, more: &Value) -> Result<Value, String> {
        let mut payload =
            json!({"cwd": "/", "pm2_home": "/tmp/none", "env": {"PATH": "/usr/bin:/bin"}});
        for (key, value) in more.as_object().unwrap() {
            payload[key] = value.clone();
        }
        offline(name, &payload.to_string())
            .map(|text| serde_json::from_str(&text).unwrap())
            .map_err(|error| error.message)
    }

    #[test]
    fn declarations_are_parsed_checked_and_resolved_without_a_daemon() {
        let parsed = ask(
            "parse",
            &json!({"file": "x.yml", "text": "apps:\n - script: sh"}),
        );
        assert_eq!(parsed, Ok(json!({"apps": [{"script": "sh"}]})));
        let what = json!({"what": {"apps": [{"script": "sh", "maxMemoryRestart": "1K"}]}});
        let verified = ask("verify", &what).unwrap();
        assert_eq!(verified[0]["name"], "sh");
        assert_eq!(verified[0]["max_memory_restart"], 1024);
        let record = ask("resolve", &what).unwrap();
        assert!(record[0]["pm_exec_path"].as_str().unwrap().ends_with("/sh"));
        assert_eq!(record[0]["pm_cwd"], "/");
    }

    #[test]
    fn what_cannot_be_parsed_checked_or_resolved_is_an_error() {
        let bad = json!({"what": {"apps": [{"script": "sh", "instances": true}]}});
        assert!(ask("verify", &bad).unwrap_err().contains("\"instances\""));
        let missing = json!({"what": {"apps": [{"script": "/no/such.js"}]}});
        assert_eq!(
            ask("resolve", &missing),
            Err("Script not found: /no/such.js".to_owned())
        );
        assert!(
            ask("parse", &json!({"file": "x.yml", "text": "a: ["}))
                .unwrap_err()
                .contains("line 1")
        );
        assert_eq!(
            ask("verify", &json!({})),
            Err("apps are missing".to_owned())
        );
        assert_eq!(
            ask("guess", &json!({})),
            Err("unknown action guess".to_owned())
        );
    }
}
