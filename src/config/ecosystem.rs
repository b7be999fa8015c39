//! Configuration files: the declarations in an evaluated value, and the value of a YAML or JSON text.

use serde_json::Value;

use super::Object;
use super::check::json_number;

/// What a configuration declares.
#[derive(Clone, Default)]
pub struct Declarations {
    /// The apps as written, in order.
    pub apps: Vec<Object>,
    /// The `deploy` member.
    pub deploy: Option<Value>,
}

impl std::fmt::Debug for Declarations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Declarations hold variables, and those hold secrets.
        f.debug_struct("Declarations")
            .field("apps", &self.apps.len())
            .finish_non_exhaustive()
    }
}

/// Why a configuration cannot be taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EcosystemError {
    /// The value is neither an object nor a list.
    #[error("a configuration must be an object or a list of apps, but is {0}")]
    NoApps(&'static str),
    /// One of the apps is no object.
    #[error("app {0} of the configuration must be an object, but is {1}")]
    NotAnApp(usize, &'static str),
    /// The text cannot be read.
    #[error("{message} (line {line}, column {column})")]
    Text {
        /// What is wrong.
        message: String,
        /// Where, counted from 1.
        line: usize,
        /// Where in the line, counted from 1.
        column: usize,
    },
}

/// The declarations in an evaluated configuration: a list, `{apps}`, `{pm2}`, or one app by itself; `deploy` and `static` beside them.
pub fn declarations(value: Value) -> Result<Declarations, EcosystemError> {
    let mut config = match value {
        Value::Array(items) => {
            return Ok(Declarations {
                apps: objects(items)?,
                deploy: None,
            });
        }
        Value::Object(config) => config,
        other => return Err(EcosystemError::NoApps(describe(&other))),
    };
    let deploy = config
        .shift_remove("deploy")
        .filter(|deploy| !deploy.is_null());
    let statics = config.shift_remove("static").filter(|list| !list.is_null());
    let listed = ["apps", "pm2"]
        .iter()
        .find_map(|key| config.shift_remove(*key).filter(super::spelling::is_truthy));
    let mut apps = match listed {
        Some(Value::Array(items)) => objects(items)?,
        Some(one) => objects(vec![one])?,
        None if statics.is_some() => Vec::new(),
        None => vec![config],
    };
    if let Some(Value::Array(items)) = statics {
        apps.extend(objects(items)?.iter().map(static_server));
    }
    Ok(Declarations { apps, deploy })
}

/// The value of a configuration's text: YAML when the file's name says so, else JSON with comments, unquoted keys and trailing commas.
pub fn parse(file_name: &str, text: &str) -> Result<Value, EcosystemError> {
    if file_name.contains(".yml") || file_name.contains(".yaml") {
        parse_yaml(text)
    } else {
        parse_json(text)
    }
}

/// The value of a YAML text. Only `true` and `false` are booleans, as in YAML 1.2; an empty text is `null`.
pub fn parse_yaml(text: &str) -> Result<Value, EcosystemError> {
    let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
    let value: Value = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = error.location();
        let at = |number: Option<u64>| {
            number
                .and_then(|number| usize::try_from(number).ok())
                .unwrap_or(1)
        };
        EcosystemError::Text {
            message: without_place(&error.to_string()),
            line: at(place.map(|place| place.line())),
            column: at(place.map(|place| place.column())),
        }
    })?;
    Ok(with_whole_numbers(value))
}

/// A parser's message without the place at its end, which is told apart from it.
fn without_place(message: &str) -> String {
    let what = message.split(" at line ").next();
    what.unwrap_or_default().to_owned()
}

/// The value of a JSON text, JSON5 included.
pub fn parse_json(text: &str) -> Result<Value, EcosystemError> {
    // The parser recurses, and a stack overflow cannot be caught.
    if let Some(offset) = too_deep(text) {
        let before = &text[..offset];
        return Err(EcosystemError::Text {
            message: format!("nested deeper than {MAX_DEPTH}"),
            line: before.matches('\n').count() + 1,
            column: before.chars().rev().take_while(|c| *c != '\n').count() + 1,
        });
    }
    let value: Value = json5::from_str(text).map_err(|error| {
        let place = error.position();
        EcosystemError::Text {
            message: without_place(&error.to_string()),
            line: place.map_or(1, |place| place.line + 1),
            column: place.map_or(1, |place| place.column + 1),
        }
    })?;
    Ok(with_whole_numbers(value))
}

/// Deeper configurations are mistakes; each level costs stack.
const MAX_DEPTH: usize = 128;

/// Where brackets open deeper than allowed. Brackets in strings count too: no name or path comes near the limit.
fn too_deep(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (offset, byte) in text.bytes().enumerate() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Some(offset);
        }
    }
    None
}

/// Both parsers give `1e3` as a float, which would be written as `1000.0`.
fn with_whole_numbers(value: Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => {
            number.as_f64().map_or(Value::Null, json_number)
        }
        Value::Array(items) => items.into_iter().map(with_whole_numbers).collect(),
        Value::Object(members) => members
            .into_iter()
            .map(|(key, value)| (key, with_whole_numbers(value)))
            .collect(),
        other => other,
    }
}

fn objects(items: Vec<Value>) -> Result<Vec<Object>, EcosystemError> {
    let one = |(index, item)| match item {
        Value::Object(app) => Ok(app),
        other => Err(EcosystemError::NotAnApp(index + 1, describe(&other))),
    };
    items.into_iter().enumerate().map(one).collect()
}

/// An entry of `static` as an app: the built-in server with its settings in variables.
fn static_server(entry: &Object) -> Object {
    const VARIABLES: [(&str, &str); 7] = [
        ("port", "PM2_SERVE_PORT"),
        ("host", "PM2_SERVE_HOST"),
        ("path", "PM2_SERVE_PATH"),
        ("spa", "PM2_SERVE_SPA"),
        ("ftp", "PM2_SERVE_FTP"),
        ("directory", "PM2_SERVE_DIRECTORY"),
        ("monitor", "PM2_SERVE_MONITOR"),
    ];
    let mut env = Object::new();
    for (key, variable) in VARIABLES {
        if let Some(value) = entry.get(key).filter(|value| !value.is_null()) {
            env.insert(variable.into(), value.clone());
        }
    }
    if let Some(auth) = entry.get("basic_auth").and_then(Value::as_object) {
        env.insert("PM2_SERVE_BASIC_AUTH".into(), Value::Bool(true));
        for (key, variable) in [
            ("username", "PM2_SERVE_BASIC_AUTH_USERNAME"),
            ("password", "PM2_SERVE_BASIC_AUTH_PASSWORD"),
        ] {
            env.insert(
                variable.into(),
                auth.get(key).cloned().unwrap_or(Value::Null),
            );
        }
    }
    let name = match entry.get("name").and_then(Value::as_str) {
        Some(name) => name.to_owned(),
        None => match entry.get("port") {
            Some(Value::String(port)) => format!("static-page-server-{port}"),
            Some(port) => format!("static-page-server-{port}"),
            None => "static-page-server-undefined".to_owned(),
        },
    };
    let members = [
        ("name", Value::from(name)),
        ("script", Value::from("serve")),
        ("env", Value::Object(env)),
    ];
    members
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

fn describe(value: &Value) -> &'static str {
    match value {
        Value::Null => "empty",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn scripts(value: Value) -> Vec<String> {
        let found = declarations(value).expect("declarations");
        found
            .apps
            .iter()
            .map(|app| {
                app.get("script")
                    .map_or_else(String::new, ToString::to_string)
            })
            .collect()
    }

    #[test]
    fn every_shape_of_a_configuration_is_understood() {
        let app = json!({"script": "a"});
        for shape in [
            json!([app]),
            json!({"apps": [app]}),
            json!({"apps": app}),
            json!({"pm2": [app]}),
            app.clone(),
            json!({"apps": null, "pm2": app}),
        ] {
            assert_eq!(scripts(shape), ["\"a\""]);
        }
        assert_eq!(scripts(json!([])), Vec::<String>::new());
        assert_eq!(scripts(json!({"apps": []})), Vec::<String>::new());
        assert_eq!(scripts(json!({"apps": [app], "deploy": {}})), ["\"a\""]);
    }

    #[test]
    fn what_is_no_app_is_named() {
        assert_eq!(
            declarations(json!(5)).unwrap_err(),
            EcosystemError::NoApps("a number")
        );
        assert_eq!(
            declarations(Value::Null).unwrap_err(),
            EcosystemError::NoApps("empty")
        );
        assert_eq!(
            declarations(json!([{}, "x"])).unwrap_err(),
            EcosystemError::NotAnApp(2, "a text")
        );
        assert_eq!(
            declarations(json!({"apps": "x"})).unwrap_err(),
            EcosystemError::NotAnApp(1, "a text")
        );
    }

    #[test]
    fn static_entries_become_apps() {
        let found = declarations(json!({"static": [{"path": "/www", "port": 8080, "basic_auth": {"username": "u", "password": "p"}}]})).unwrap();
        let expected = json!({"name": "static-page-server-8080", "script": "serve", "env": {"PM2_SERVE_PORT": 8080, "PM2_SERVE_PATH": "/www",
            "PM2_SERVE_BASIC_AUTH": true, "PM2_SERVE_BASIC_AUTH_USERNAME": "u", "PM2_SERVE_BASIC_AUTH_PASSWORD": "p"}});
        assert_eq!(Value::Object(found.apps[0].clone()), expected);
    }

    #[test]
    fn json_may_be_written_by_people() {
        let text =
            "{ // apps\n apps: [{name: 'a', script: \"b.js\", kill_timeout: 1e3,},], /* end */ }";
        assert_eq!(
            parse("x.json", text).unwrap(),
            json!({"apps": [{"name": "a", "script": "b.js", "kill_timeout": 1000}]})
        );
    }

    #[test]
    fn yaml_reads_as_version_1_2() {
        let text = "x: &base {A: yes, B: 012}\napps:\n  - script: ./a.js\n    env:\n      <<: *base\n      C: 1e3\n";
        let expected = json!({"x": {"A": "yes", "B": 12}, "apps": [{"script": "./a.js", "env": {"C": 1000, "A": "yes", "B": 12}}]});
        assert_eq!(parse("x.yml", text).unwrap(), expected);
        assert_eq!(parse("x.yaml", "").unwrap(), Value::Null);
    }

    #[test]
    fn errors_say_where() {
        let json = parse("x.json", "{a: 1,\n b: }").unwrap_err();
        assert!(
            matches!(
                json,
                EcosystemError::Text {
                    line: 2,
                    column: 5,
                    ..
                }
            ),
            "{json}"
        );
        let yaml = parse("x.yml", "a: 1\nb: c: d").unwrap_err();
        assert!(
            matches!(
                yaml,
                EcosystemError::Text {
                    line: 2,
                    column: 5,
                    ..
                }
            ),
            "{yaml}"
        );
        assert_eq!(yaml.to_string().matches("line").count(), 1, "{yaml}");
    }

    #[test]
    fn a_hostile_text_is_an_error_and_not_a_crash() {
        let deep = parse("x.json", &"[".repeat(1_000_000)).unwrap_err();
        assert!(
            matches!(
                deep,
                EcosystemError::Text {
                    line: 1,
                    column: 129,
                    ..
                }
            ),
            "{deep}"
        );
        assert!(parse("x.yml", &"[".repeat(100_000)).is_err());
        assert!(parse("x.yml", &"- ".repeat(10_000)).is_err());
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for level in 1..9 {
            let items = vec![format!("*a{}", level - 1); 10].join(",");
            bomb = format!("{bomb}a{level}: &a{level} [{items}]\n");
        }
        assert!(parse("x.yml", &bomb).is_err());
    }
}
