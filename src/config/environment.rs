//! The variables an app is given: inherited, declared, of a named environment, from the module configuration.

use serde_json::Value;

use super::Object;
use super::resolve::{Ecosystem, Form, Surroundings};
use super::spelling::is_truthy;

/// Fields of pm2's record which a managed process finds among its variables, and which must not become an app's that it starts.
// Compat: the same fields as pm2 drops (Common.safeExtend); the tests with a managed caller pin some of them.
const RECORD_FIELDS: &[&str] = &[
    "MODULE_DEBUG",
    "args",
    "automation",
    "autorestart",
    "autostart",
    "axm_actions",
    "axm_dynamic",
    "axm_monitor",
    "axm_options",
    "command",
    "created_at",
    "env",
    "exec_interpreter",
    "exec_mode",
    "exit_code",
    "filter_env",
    "instance_var",
    "instances",
    "kill_retry_time",
    "merge_logs",
    "name",
    "node_args",
    "pm_cwd",
    "pm_err_log_path",
    "pm_exec_path",
    "pm_id",
    "pm_out_log_path",
    "pm_pid_path",
    "pm_uptime",
    "pmx",
    "pmx_module",
    "prev_restart_delay",
    "restart_time",
    "status",
    "sticky",
    "stop_exit_codes",
    "treekill",
    "unstable_restart",
    "unstable_restarts",
    "username",
    "versioning",
    "vizion",
    "vizion_runing",
    "watch",
    "windowsHide",
];

/// Further fields that say which process the caller is. They are dropped only when the caller is managed: elsewhere they are somebody's variables.
const IDENTITY_FIELDS: &[&str] = &[
    "NODE_APP_INSTANCE",
    "_pm2_version",
    "km_link",
    "namespace",
    "node_version",
    "unique_id",
    "version",
    "vizion_running",
];

/// What a record field prints as when an object was made a variable.
const PRINTED_OBJECT: &str = "[object Object]";

/// The caller's variables as an app inherits them, before the declaration has its say.
#[must_use]
pub fn inherited(around: &Surroundings) -> Object {
    let managed = around.env.contains_key("pm_id");
    if !managed && !around.programmatic {
        return around.env.clone();
    }
    let dropped =
        |key: &str| RECORD_FIELDS.contains(&key) || (managed && IDENTITY_FIELDS.contains(&key));
    around
        .env
        .iter()
        .filter(|(key, value)| !dropped(key) && value.as_str() != Some(PRINTED_OBJECT))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Leaves out what `filter_env` names: every variable whose name contains an item of a list, the one variable of a text, or all.
pub fn filter(env: &mut Object, filter: Option<&Value>) {
    match filter {
        Some(Value::Bool(true)) => env.clear(),
        Some(Value::String(name)) => drop(env.shift_remove(name)),
        Some(Value::Array(parts)) => {
            let parts: Vec<&str> = parts.iter().filter_map(Value::as_str).collect();
            env.retain(|key, _| !parts.iter().any(|part| key.contains(part)));
        }
        _ => {}
    }
}

/// Every variable of an app, each layer over the one before: inherited, `env`, `deploy.<environment>.env`, `env_<environment>`,
/// `PM2_HOME`, and the section of the module configuration that bears the app's name.
pub fn of_app(
    app: &Object,
    name: &str,
    around: &Surroundings,
    ecosystem: &Ecosystem<'_>,
    form: Form,
) -> Object {
    let mut env = inherited(around);
    filter(&mut env, app.get("filter_env"));
    if app.get("cwd").is_some_and(is_truthy)
        && let Some(cwd) = app.get("cwd")
        && env.contains_key("PWD")
    {
        // A shell that changes into the directory would say so in PWD, and scripts rely on it.
        env.insert("PWD".into(), cwd.clone());
    }
    overlay(&mut env, &declared(app, ecosystem));
    env.insert("PM2_HOME".into(), Value::from(around.pm2_home.as_str()));
    let module = of_module(name, around, form, &env);
    env.extend(module);
    env
}

/// The variables that the declaration itself names, for the chosen environment. Objects become JSON text.
pub fn declared(app: &Object, ecosystem: &Ecosystem<'_>) -> Object {
    let mut env = Object::new();
    let own = app.get("env").and_then(Value::as_object);
    if let Some(environment) = ecosystem.environment {
        let deploy = ecosystem
            .deploy
            .and_then(|deploy| deploy.get(environment)?.get("env")?.as_object());
        let named = app
            .get(&format!("env_{environment}"))
            .and_then(Value::as_object);
        // Compat: pm2 lays `deploy` over `env`, whatever it says about the order; pinned by the conformance scenario `files`.
        for layer in [own, deploy, named].into_iter().flatten() {
            overlay(&mut env, layer);
        }
    } else if let Some(own) = own {
        overlay(&mut env, own);
    }
    if let Some(port) = app.get("port") {
        env.insert("PORT".into(), port.clone());
    }
    if let Some(io) = app.get("io").filter(|io| is_truthy(io)) {
        env.insert("io".into(), as_variable(io));
    }
    env
}

/// The variable named like the app, with what the module configuration holds for it, and the members of that section.
pub fn of_module(name: &str, around: &Surroundings, form: Form, taken: &Object) -> Object {
    let mut out = Object::new();
    match around.module_conf.get(name).and_then(Value::as_object) {
        Some(section) => {
            overlay(&mut out, section);
            out.insert(
                name.into(),
                Value::from(Value::Object(section.clone()).to_string()),
            );
        }
        // A variable of that name which means something (an app called HOME) is worth more than an empty object.
        None if taken.contains_key(name) => {}
        None => {
            // Compat: an object from a start by script, its text from a start by declaration (fixtures 033 and 043).
            let empty = Value::Object(Object::new());
            let value = if form == Form::Declaration {
                Value::from(empty.to_string())
            } else {
                empty
            };
            out.insert(name.into(), value);
        }
    }
    out
}

fn overlay(env: &mut Object, layer: &Object) {
    for (key, value) in layer {
        env.insert(key.clone(), as_variable(value));
    }
}

/// Numbers and booleans stay what they are in the record; what has no text of its own becomes JSON.
fn as_variable(value: &Value) -> Value {
    match value {
        Value::Null | Value::Array(_) | Value::Object(_) => Value::from(value.to_string()),
        other => other.clone(),
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
    fn object(value: Value) -> Object {
        value.as_object().expect("an object").clone()
    }

    fn around(env: Value) -> Surroundings {
        Surroundings {
            env: object(env),
            pm2_home: "/h".into(),
            ..Surroundings::default()
        }
    }

    fn env_of(
        app: Value,
        around: &Surroundings,
        environment: Option<&str>,
        deploy: Option<&Value>,
    ) -> Value {
        let ecosystem = Ecosystem {
            environment,
            deploy,
        };
        Value::Object(of_app(&object(app), "n", around, &ecosystem, Form::Script))
    }

    #[test]
    fn later_layers_win() {
        let mut outer = around(
            json!({"A": "client", "B": "client", "C": "client", "D": "client", "E": "client"}),
        );
        outer.module_conf = object(json!({"n": {"E": "module"}}));
        let app = json!({"env": {"C": "own", "D": "own", "E": "own"}, "env_prod": {"D": "prod", "E": "prod"}});
        let deploy = json!({"prod": {"env": {"B": "deploy", "C": "deploy"}}});
        let expected = json!({"A": "client", "B": "deploy", "C": "deploy", "D": "prod", "E": "module", "PM2_HOME": "/h", "n": "{\"E\":\"module\"}"});
        assert_eq!(
            env_of(app.clone(), &outer, Some("prod"), Some(&deploy)),
            expected
        );
        let plain = env_of(app, &outer, None, Some(&deploy));
        assert_eq!(
            (&plain["B"], &plain["C"], &plain["D"]),
            (&json!("client"), &json!("own"), &json!("own"))
        );
    }

    #[test]
    fn objects_become_json_text() {
        let env = env_of(
            json!({"env": {"CONF": {"si": "si"}, "L": [1], "N": null, "I": 5, "T": true}}),
            &around(json!({})),
            None,
            None,
        );
        assert_eq!(
            env,
            json!({"CONF": "{\"si\":\"si\"}", "L": "[1]", "N": "null", "I": 5, "T": true, "PM2_HOME": "/h", "n": {}})
        );
    }

    #[test]
    fn filter_env_drops_by_part_of_name_by_name_or_all() {
        let outer = around(json!({"SHOULD": "1", "SHOULD_X": "2", "PATH": "3"}));
        let keys = |filter: Value| {
            let mut env = inherited(&outer);
            super::filter(&mut env, Some(&filter));
            env.keys().cloned().collect::<Vec<_>>()
        };
        assert_eq!(keys(json!(["SHOULD"])), ["PATH"]);
        assert_eq!(keys(json!("SHOULD")), ["SHOULD_X", "PATH"]);
        assert_eq!(keys(json!(true)), Vec::<String>::new());
        assert_eq!(keys(json!([])), ["SHOULD", "SHOULD_X", "PATH"]);
        assert_eq!(keys(json!(false)).len(), 3);
    }

    #[test]
    fn a_managed_caller_does_not_pass_on_who_it_is() {
        let env = json!({"name": "outer", "pm_id": "0", "restart_time": "3", "NODE_APP_INSTANCE": "1", "namespace": "x", "env": "[object Object]", "outer": "[object Object]", "KEEP": "1"});
        let managed = inherited(&around(env.clone()));
        assert_eq!(Value::Object(managed), json!({"KEEP": "1"}));
        // A shell user who calls a variable `name` keeps it.
        assert_eq!(inherited(&around(json!({"name": "mine"}))).len(), 1);
        let program = Surroundings {
            programmatic: true,
            ..around(json!({"name": "mine", "namespace": "k8s"}))
        };
        assert_eq!(
            Value::Object(inherited(&program)),
            json!({"namespace": "k8s"})
        );
    }

    #[test]
    fn a_variable_that_bears_the_apps_name_survives() {
        let env = env_of(json!({}), &around(json!({"n": "mine"})), None, None);
        assert_eq!(env["n"], "mine");
    }
}
