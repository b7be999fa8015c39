//! Texts that no program can be given: what the system refuses in an argument or a variable, refused where it can still be named.

use serde_json::Value;

use super::Object;
use super::check::Problem;
use super::options::{Kind, OptionSpec};

/// Linux takes no longer argument or variable (`MAX_ARG_STRLEN`, 32 pages), its end and a variable's name included.
const BYTES_MAX: usize = 128 * 1024 - 1;

/// In the units of UTF-16, of which each is one byte of a file's name: files are named after the app, and `-error-12345.log` must fit into the
/// 255 bytes that they may have.
const NAME_CHARS_MAX: usize = 235;

/// Where in the option something is wrong, and what.
pub(super) type Found = (String, Problem);

/// What is wrong with the texts in an option's value, at the first place where something is.
pub(super) fn check(key: &str, spec: &OptionSpec, value: &Value) -> Result<(), Found> {
    match value {
        Value::String(text) if is_name(spec) => name(key, text),
        Value::Array(items) if spec.types.contains(&Kind::List) => {
            items.iter().try_for_each(|item| {
                if holds_words(spec) && (item.is_array() || item.is_object() || item.is_null()) {
                    return problem(key, "its items should be texts, numbers or booleans");
                }
                all(key, item)
            })
        }
        Value::Object(members) if spec.name == "env" || spec.name == "env_*" => {
            variables(key, members)
        }
        other => all(key, other),
    }
}

/// A name made of a script, which may be a command line of any length and several lines.
pub(super) fn as_name(text: &str) -> String {
    let mut room = NAME_CHARS_MAX;
    let visible = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let fits = |c: &char| {
        let left = room.checked_sub(c.len_utf16());
        room = left.unwrap_or(0);
        left.is_some()
    };
    visible.take_while(fits).collect()
}

fn is_name(spec: &OptionSpec) -> bool {
    matches!(spec.name, "name" | "namespace")
}

fn holds_words(spec: &OptionSpec) -> bool {
    matches!(
        spec.name,
        "args" | "node_args" | "watch" | "ignore_watch" | "filter_env"
    )
}

fn name(key: &str, text: &str) -> Result<(), Found> {
    if text.chars().any(char::is_control) {
        return problem(key, "it should be text without control characters");
    }
    if text.encode_utf16().count() > NAME_CHARS_MAX {
        return problem(
            key,
            &format!("it should be text of at most {NAME_CHARS_MAX} characters"),
        );
    }
    Ok(())
}

/// Each variable by itself: what is not text will be given as JSON text.
fn variables(key: &str, members: &Object) -> Result<(), Found> {
    members.iter().try_for_each(|(variable, value)| {
        let shown: String = variable.chars().take(NAME_CHARS_MAX).collect();
        let key = format!("{key}.{shown}");
        one(&key, variable, 0)?;
        match value {
            Value::String(text) => one(&key, text, variable.len() + 1),
            // A character that is escaped in JSON is no NUL any more; only the length counts.
            Value::Array(_) | Value::Object(_) => one(&key, &value.to_string(), variable.len() + 1),
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
        }
    })
}

/// Every text at any depth.
fn all(key: &str, value: &Value) -> Result<(), Found> {
    match value {
        Value::String(text) => one(key, text, 0),
        Value::Array(items) => items.iter().try_for_each(|item| all(key, item)),
        Value::Object(members) => members
            .iter()
            .try_for_each(|(name, value)| one(key, name, 0).and_then(|()| all(key, value))),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

fn one(key: &str, text: &str, more: usize) -> Result<(), Found> {
    if text.contains('\0') {
        return problem(key, "it should be text without NUL characters");
    }
    if text.len() + more > BYTES_MAX {
        return problem(
            key,
            &format!("it should be text of at most {BYTES_MAX} bytes"),
        );
    }
    Ok(())
}

fn problem(key: &str, form: &str) -> Result<(), Found> {
    Err((key.to_owned(), Problem::Form(form.to_owned())))
}
