//! Values of options against the table: types, conversions, limits, and errors that say what was given and what is allowed.

use std::fmt;

use serde_json::Value;

use super::options::{Default, Kind, NAMED_ENVIRONMENT, OptionSpec, Pattern, TABLE, Unit};
use super::spelling::is_named_environment;
use super::{Object, cron, texts, units, words};

/// What the checked options are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A new process: options that were not given get their defaults.
    Start,
    /// A change to a running one: only what was given, and the text `null` deletes.
    Update,
}

/// Validates and converts options that already have their one name ([`super::spelling::canonical`]).
///
/// Every bad option is reported, in the order of the table. The result is in the order of the table, then the `env_<name>` members.
pub fn check(app: &Object, purpose: Purpose) -> Result<Object, Vec<OptionError>> {
    let mut out = Object::new();
    let mut errors = Vec::new();
    for spec in TABLE {
        let given = app.get(spec.name).filter(|value| !value.is_null());
        let converted = match given {
            Some(Value::String(text)) if text == DELETE && purpose == Purpose::Update => {
                Some(Value::from(DELETE))
            }
            Some(value) => match convert(spec.name, spec, value) {
                Ok(value) => value,
                Err(error) => {
                    errors.push(error);
                    continue;
                }
            },
            None => None,
        };
        match converted {
            Some(value) => drop(out.insert(spec.name.into(), value)),
            None if purpose == Purpose::Start => insert_default(&mut out, spec),
            None => {}
        }
    }
    for (key, value) in app.iter().filter(|(key, _)| is_named_environment(key)) {
        match convert(key, &NAMED_ENVIRONMENT, value) {
            Ok(Some(value)) => drop(out.insert(key.clone(), value)),
            Ok(None) => {}
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        Ok(out)
    } else {
        Err(errors)
    }
}

/// A text that deletes an attribute when it is given in a change.
pub const DELETE: &str = "null";

/// One option that cannot be taken as it was given. Its text begins with pm2's own.
#[derive(Debug, Clone, PartialEq)]
pub struct OptionError {
    /// The option's name.
    pub key: String,
    /// What is wrong with it.
    pub problem: Problem,
    /// The value, shortened.
    pub given: String,
    /// What would have been allowed.
    pub allowed: String,
}

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Problem {
    /// It is of none of the types; holds what is expected and what it is.
    Type(String, &'static str),
    /// Its text has another form; holds the description of the right one.
    Form(String),
    /// It is too small; holds the least number.
    Minimum(f64),
    /// It is too big; holds the greatest number.
    Maximum(f64),
    /// It is no cron pattern; holds the reason.
    Cron(String),
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        // Compat: pm2's message forms (lib/API/Config, behaviour 10.2); pinned by `errors_begin_with_pm2s_text`.
        match &self.problem {
            Problem::Type(expected, actual) => write!(
                f,
                "Expect \"{key}\" to be a typeof {expected}, but now is [object {actual}]"
            )?,
            Problem::Form(description) => {
                write!(f, "Verify \"{key}\" with regex failed, {description}")?;
            }
            Problem::Minimum(min) => write!(
                f,
                "The minimum of \"{key}\" is {min}, but now is {}",
                self.given
            )?,
            Problem::Maximum(max) => write!(
                f,
                "The maximum of \"{key}\" is {max}, but now is {}",
                self.given
            )?,
            Problem::Cron(reason) => write!(f, "Cron pattern error: {reason}")?,
        }
        write!(f, " (given: {}, allowed: {})", self.given, self.allowed)
    }
}

impl std::error::Error for OptionError {}

/// A number as JSON, whole if it is whole.
#[must_use]
pub fn json_number(number: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() < EXACT {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "whole and below 2^53, checked above"
        )]
        return Value::from(number as i64);
    }
    serde_json::Number::from_f64(number).map_or(Value::Null, Value::Number)
}

fn insert_default(out: &mut Object, spec: &OptionSpec) {
    let value = match spec.default {
        Default::Absent => return,
        Default::True => Value::Bool(true),
        Default::Number(number) => Value::from(number),
        Default::Text(text) => Value::from(text),
    };
    out.insert(spec.name.into(), value);
}

/// Every permission.
const UMASK_MAX: u32 = 0o777;

/// The value as the record holds it; none if it stands for "not given".
fn convert(key: &str, spec: &OptionSpec, value: &Value) -> Result<Option<Value>, OptionError> {
    let fail = |problem| Err(error(key, spec, value, problem));
    if let Err((place, problem)) = texts::check(key, spec, value) {
        return Err(error(&place, spec, value, problem));
    }
    if let (Some(Pattern::Octal), Value::String(text)) = (spec.pattern, value) {
        // Read before decimal text is.
        return match u32::from_str_radix(text.trim(), 8) {
            Ok(number) if number <= UMASK_MAX => Ok(Some(Value::from(number))),
            _ => fail(Problem::Form("it should be octal digits up to 777".into())),
        };
    }
    let takes = |kind| spec.types.contains(&kind);
    let number = if takes(Kind::Number) {
        as_number(spec, value)
    } else {
        None
    };
    if let Some(number) = number {
        if number == 0.0 && spec.zero_means_default {
            return Ok(None);
        }
        if let Some(min) = spec.min.filter(|min| number < *min) {
            return fail(Problem::Minimum(min));
        }
        let max = spec.max();
        if number.abs() > max {
            return fail(Problem::Maximum(max));
        }
        if spec.whole && number.fract() != 0.0 {
            return fail(Problem::Form("it should be a whole number".into()));
        }
        if spec.name == "cron_restart" && number != 0.0 {
            return fail(Problem::Cron(
                "a pattern has five or six parts, and only the number 0 (none) stands for itself"
                    .into(),
            ));
        }
        return Ok(Some(json_number(number)));
    }
    if !takes(kind_of(value)) {
        return fail(Problem::Type(expected(spec), kind_of(value).label()));
    }
    match value {
        Value::String(_) if spec.unit != Unit::None => fail(Problem::Form(unit_form(spec.unit))),
        Value::String(text) if spec.pattern == Some(Pattern::ExecMode) => match exec_mode(text) {
            Some(mode) => Ok(Some(Value::from(mode))),
            None => fail(Problem::Form(
                r#"it should be "cluster"("cluster_mode") or "fork"("fork_mode") only"#.into(),
            )),
        },
        Value::String(text) if spec.name == "cron_restart" => match cron::check(text) {
            Ok(()) => Ok(Some(value.clone())),
            Err(reason) => fail(Problem::Cron(reason)),
        },
        Value::String(text) if spec.types[0] == Kind::List => Ok(Some(
            words::split(text).into_iter().map(Value::from).collect(),
        )),
        Value::Array(items) if matches!(spec.name, "args" | "node_args") => {
            Ok(Some(items.iter().map(as_word).collect()))
        }
        _ => Ok(Some(value.clone())),
    }
}

fn as_number(spec: &OptionSpec, value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64().filter(|number| number.is_finite()),
        // JSON has no such numbers; callers' reach us as these texts.
        Value::String(text) if matches!(text.as_str(), "NaN" | "Infinity" | "-Infinity") => None,
        Value::String(text) if spec.name == "instances" => Some(instances(text)),
        Value::String(text) => units::number(text).or_else(|| match spec.unit {
            Unit::None => None,
            Unit::Bytes => units::bytes(text),
            Unit::Milliseconds => units::millis(text),
        }),
        _ => None,
    }
}

/// `max` and any text that begins with no number mean 0, one for each CPU.
fn instances(text: &str) -> f64 {
    let text = text.trim_start();
    let sign = text.len() - text.trim_start_matches(['+', '-']).len();
    let digits = text[sign..].bytes().take_while(u8::is_ascii_digit).count();
    if sign > 1 {
        return 0.0;
    }
    text[..sign + digits].parse().unwrap_or(0.0)
}

fn exec_mode(text: &str) -> Option<&'static str> {
    match text {
        "fork" | "fork_mode" => Some("fork_mode"),
        "cluster" | "cluster_mode" => Some("cluster_mode"),
        _ => None,
    }
}

/// An argument of a program is text, whatever it was in the declaration.
fn as_word(item: &Value) -> Value {
    match item {
        Value::String(_) => item.clone(),
        other => Value::from(other.to_string()),
    }
}

fn kind_of(value: &Value) -> Kind {
    match value {
        Value::Bool(_) => Kind::Boolean,
        Value::Number(_) => Kind::Number,
        Value::Null | Value::String(_) => Kind::Text,
        Value::Array(_) => Kind::List,
        Value::Object(_) => Kind::Map,
    }
}

fn expected(spec: &OptionSpec) -> String {
    let labels: Vec<String> = spec
        .types
        .iter()
        .map(|kind| format!("[object {}]", kind.label()))
        .collect();
    labels.join(" / ")
}

fn unit_form(unit: Unit) -> String {
    match unit {
        Unit::Bytes => r#"it should be a NUMBER - byte, "[NUMBER]G"(Gigabyte), "[NUMBER]M"(Megabyte) or "[NUMBER]K"(Kilobyte)"#.into(),
        Unit::None | Unit::Milliseconds => {
            r#"it should be a NUMBER - milliseconds, "[NUMBER]h"(hours), "[NUMBER]m"(minutes) or "[NUMBER]s"(seconds)"#.into()
        }
    }
}

/// More of a bad value than this in a message helps nobody.
const SHOWN_CHARS: usize = 60;

fn error(key: &str, spec: &OptionSpec, value: &Value, problem: Problem) -> OptionError {
    OptionError {
        key: key.into(),
        problem,
        given: shown(spec, value),
        allowed: spec.allowed(),
    }
}

/// The value as a message shows it. Containers of variables hold secrets, so nothing of them is shown.
fn shown(spec: &OptionSpec, value: &Value) -> String {
    let holds_variables = spec.name == "env" || spec.name == NAMED_ENVIRONMENT.name;
    if holds_variables && (value.is_array() || value.is_object()) {
        return if value.is_array() {
            "a list".into()
        } else {
            "an object".into()
        };
    }
    // The whole text is never built: a declaration may hold megabytes.
    let text = match value {
        Value::String(text) => {
            Value::from(text.chars().take(SHOWN_CHARS + 1).collect::<String>()).to_string()
        }
        Value::Array(items) if items.len() > SHOWN_CHARS => format!("a list of {}", items.len()),
        Value::Object(members) if members.len() > SHOWN_CHARS => {
            format!("an object of {}", members.len())
        }
        other => other.to_string(),
    };
    if text.chars().count() <= SHOWN_CHARS {
        return text;
    }
    let mut short: String = text.chars().take(SHOWN_CHARS).collect();
    short.push('…');
    short
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
