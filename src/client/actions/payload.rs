//! What a caller sent, taken apart.

use std::ffi::OsString;
use std::path::Path;

use serde_json::Value;

use super::ActionError;
use super::window::{PARALLEL_DEFAULT, PARALLEL_MAX};
use crate::config::resolve::Surroundings;
use crate::config::{Object, ecosystem, units};
use crate::host::paths::Home;

/// How deep `serde_json` reads; the levels of the request itself included.
const DEPTH_MAX: usize = 127;

/// The arguments of one action.
#[derive(Clone)]
pub(super) struct Payload {
    /// What to act on.
    pub(super) what: What,
    /// The user's options, in their own spelling.
    pub(super) options: Object,
    /// Where the action happens.
    pub(super) around: Surroundings,
    /// The files of the home.
    pub(super) home: Home,
    /// The further members that some actions have.
    pub(super) further: Object,
}

/// What to act on.
#[derive(Clone)]
pub(super) enum What {
    /// A script, or whatever `start` of a text finds for it.
    Script(String),
    /// Declared apps.
    Apps(ecosystem::Declarations),
    /// Processes that exist, by name, id, namespace, pattern or `all`.
    Target(String),
    /// Nothing in particular.
    Nothing,
}

impl Payload {
    /// Reads the JSON object that the module's documentation describes.
    pub(super) fn read(text: &str) -> Result<Self, ActionError> {
        let malformed = |reason: &dyn std::fmt::Display| {
            ActionError::new(format!("malformed request: {reason}"))
        };
        let mut further: Object = serde_json::from_str(text).map_err(|error| {
            // The one reason for which text that JavaScript wrote cannot be read.
            if error.to_string().contains("recursion limit") {
                ActionError::new(format!(
                    "what was given is nested deeper than {DEPTH_MAX} levels"
                ))
            } else {
                malformed(&error)
            }
        })?;
        let mut take = |key: &str| further.shift_remove(key).filter(|value| !value.is_null());
        let what = What::read(take("what"))?;
        let options = match take("options") {
            Some(options) => options_of(options)?,
            None => Object::new(),
        };
        let mut env = match take("env") {
            Some(Value::Object(env)) => env,
            _ => Object::new(),
        };
        if matches!(what, What::Apps(_)) {
            // Compat: apps see by this variable that they were declared rather than named (behaviour 17.1).
            env.entry("PM2_JSON_PROCESSING")
                .or_insert_with(|| Value::from("true"));
        }
        let text_of = |value: Option<Value>| match value {
            Some(Value::String(text)) if !text.is_empty() => Some(text),
            _ => None,
        };
        let cwd = text_of(take("cwd"))
            .filter(|cwd| cwd.starts_with('/'))
            .ok_or_else(|| malformed(&"cwd must be an absolute path"))?;
        let variable = |name: &str| {
            env.get(name)
                .and_then(Value::as_str)
                .filter(|value| !value.is_empty())
                .map(OsString::from)
        };
        let root = match text_of(take("pm2_home")) {
            Some(home) => home.into(),
            None => Home::locate(&variable, Path::new(&cwd)),
        };
        let home = Home::new(&root, &variable)
            .map_err(|error| ActionError::new(format!("failed to {error}")))?;
        let around = Surroundings {
            cwd,
            process_cwd: text_of(take("process_cwd")).filter(|cwd| cwd.starts_with('/')),
            node: text_of(take("node")).unwrap_or_else(|| "node".to_owned()),
            node_version: text_of(take("node_version")),
            pm2_home: lossy(&home.root),
            log_folder: lossy(&home.logs),
            pid_folder: lossy(&home.pids),
            programmatic: take("programmatic") != Some(Value::Bool(false)),
            module_conf: module_conf(&home.module_conf),
            static_server: text_of(take("static_server")).unwrap_or_default(),
            env,
        };
        Ok(Self {
            what,
            options,
            around,
            home,
            further,
        })
    }

    /// The processes that the caller named.
    pub(super) fn target(&self) -> Result<&str, ActionError> {
        match &self.what {
            What::Target(target) | What::Script(target) => Ok(target),
            What::Apps(_) | What::Nothing => {
                Err(ActionError::new("a name, an id or \"all\" is missing"))
            }
        }
    }

    /// An option that is text.
    pub(super) fn text_option(&self, key: &str) -> Option<&str> {
        self.options
            .get(key)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    }

    /// An option that is a switch.
    pub(super) fn is_on(&self, key: &str) -> bool {
        self.options
            .get(key)
            .is_some_and(crate::config::spelling::is_truthy)
    }

    /// How many requests may be under way at once: what the caller says, in options or environment, else `default`.
    pub(super) fn parallel(&self, default: Option<usize>) -> usize {
        let asked = self
            .options
            .get("parallel")
            .or_else(|| self.around.env.get("PM2_CONCURRENT_ACTIONS"));
        let number = match asked {
            Some(Value::Number(number)) => number.as_f64(),
            Some(Value::String(text)) => units::number(text),
            _ => None,
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, and is clamped"
        )]
        let asked = number
            .filter(|number| *number >= 1.0)
            .map(|number| number as usize);
        asked
            .or(default)
            .unwrap_or(PARALLEL_DEFAULT)
            .clamp(1, PARALLEL_MAX)
    }
}

impl What {
    fn read(value: Option<Value>) -> Result<Self, ActionError> {
        let Some(Value::Object(mut what)) = value else {
            return Ok(Self::Nothing);
        };
        let text_of = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        if let Some(script) = what.get("script").and_then(text_of) {
            return Ok(Self::Script(script));
        }
        if let Some(target) = what.get("target") {
            if target.is_null() {
                return Ok(Self::Nothing);
            }
            return text_of(target)
                .map(Self::Target)
                .ok_or_else(|| ActionError::new("a process is named by a text or a number"));
        }
        config_in(&mut what).map(|found| found.map_or(Self::Nothing, Self::Apps))
    }
}

/// The declarations that are given as a value or as a file's text; none if neither is there.
fn config_in(members: &mut Object) -> Result<Option<ecosystem::Declarations>, ActionError> {
    let file = members
        .get("file")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let in_file = |error: ecosystem::EcosystemError| match file.as_str() {
        "" => ActionError::new(error.to_string()),
        file => ActionError::new(format!("File {file} malformated: {error}")),
    };
    let apps = members.shift_remove("apps");
    let value = match (apps, members.get("apps_text").and_then(Value::as_str)) {
        (Some(apps), _) => apps,
        (None, Some(text)) => ecosystem::parse(&file, text).map_err(in_file)?,
        (None, None) => return Ok(None),
    };
    ecosystem::declarations(value).map(Some).map_err(in_file)
}

/// Options as an object. A file of options may hold a list of apps; then they are those of the first.
fn options_of(value: Value) -> Result<Object, ActionError> {
    match value {
        Value::Object(mut options) if options.contains_key("apps_text") => {
            let found = config_in(&mut options)?;
            Ok(found
                .and_then(|found| found.apps.into_iter().next())
                .unwrap_or_default())
        }
        Value::Object(options) if !options.contains_key("apps") => Ok(options),
        listed @ (Value::Object(_) | Value::Array(_)) => {
            let found = ecosystem::declarations(listed)
                .map_err(|error| ActionError::new(error.to_string()))?;
            Ok(found.apps.into_iter().next().unwrap_or_default())
        }
        _ => Err(ActionError::new("options must be an object")),
    }
}

/// The sections of the module configuration; a file that is missing or unreadable has none.
fn module_conf(path: &Path) -> Object {
    std::fs::read(path)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

fn lossy(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(payload: &Value) -> Result<Payload, ActionError> {
        Payload::read(&payload.to_string())
    }

    #[test]
    fn members_have_the_documented_defaults() {
        let payload = read(
            &json!({"cwd": "/x", "env": {"PM2_HOME": "/tmp/h", "PM2_CONCURRENT_ACTIONS": "7"}}),
        )
        .unwrap();
        assert!(matches!(payload.what, What::Nothing));
        assert!(payload.around.programmatic);
        assert_eq!(
            (
                payload.around.pm2_home.as_str(),
                payload.around.log_folder.as_str()
            ),
            ("/tmp/h", "/tmp/h/logs")
        );
        assert_eq!(payload.parallel(None), 7);
        let payload = read(&json!({"cwd": "/x", "pm2_home": "/tmp/g", "options": {"parallel": 3}, "programmatic": false})).unwrap();
        assert_eq!(
            (payload.parallel(Some(1)), payload.around.programmatic),
            (3, false)
        );
        assert_eq!(
            read(&json!({"cwd": "/x", "pm2_home": "/g", "options": {"parallel": 1e300}}))
                .unwrap()
                .parallel(None),
            PARALLEL_MAX
        );
    }

    #[test]
    fn options_from_a_file_are_those_of_its_first_app() {
        for options in [
            json!({"name": "n"}),
            json!([{"name": "n"}]),
            json!({"apps": [{"name": "n"}, {"name": "m"}]}),
            json!({"apps_text": "name: n", "file": "/x/o.yml"}),
        ] {
            let payload =
                read(&json!({"cwd": "/x", "pm2_home": "/g", "options": options})).unwrap();
            assert_eq!(payload.text_option("name"), Some("n"));
        }
    }

    #[test]
    fn nothing_named_is_nothing_to_act_on() {
        // `undefined` members vanish on the way from JavaScript.
        for what in [
            json!(null),
            json!({}),
            json!({"target": null}),
            json!({"file": null}),
        ] {
            let payload = read(&json!({"cwd": "/x", "pm2_home": "/g", "what": what})).unwrap();
            assert!(matches!(payload.what, What::Nothing), "{what}");
        }
    }

    #[test]
    fn what_is_malformed_is_an_error() {
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"cwd":"relative"}"#,
            r#"{"cwd":"/","options":5}"#,
            r#"{"cwd":"/","what":{"target":{}}}"#,
            r#"{"cwd":"/","what":{"apps":5}}"#,
        ] {
            assert!(Payload::read(bad).is_err(), "{bad}");
        }
        let error = read(&json!({"cwd": "/", "what": {"apps_text": "a: [", "file": "/x/e.yml"}}))
            .err()
            .unwrap();
        assert!(
            error.message.starts_with("File /x/e.yml malformated: ")
                && error.message.contains("line 1"),
            "{error}"
        );
    }
}
