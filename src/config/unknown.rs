//! Members of a declaration that are no options. They are accepted, as pm2 does, but not without a word.

use serde_json::Value;

use super::Object;
use super::options::{NAMED_ENVIRONMENT_PREFIX, TABLE};
use super::spelling::is_named_environment;

/// The member of a record that lists them; absent when there are none.
pub const MEMBER: &str = "unknown_options";

/// A declaration with more of them is no slip of the pen, and a record is kept for long.
const NAMES_MAX: usize = 32;

/// Of each; no option has half as many.
const CHARS_MAX: usize = 64;

/// What may stand among the options of a call and steers that call, or is another way to say `script`.
const OF_CALLS: [&str; 9] = [
    "cmd",
    "command",
    "only",
    "parallel",
    "updateEnv",
    "update_env",
    "rawArgs",
    "force_name",
    "started_as_module",
];

/// The names in a declaration that mean nothing, in its order.
#[must_use]
pub fn unknown(raw: &Object) -> Vec<String> {
    let is_known = |name: &str| {
        OF_CALLS.contains(&name)
            || is_named_environment(name)
            || TABLE.iter().any(|spec| spec.is_called(name))
    };
    raw.iter()
        .filter(|(name, value)| !value.is_null() && !is_known(name))
        .take(NAMES_MAX)
        .map(|(name, _)| name.chars().take(CHARS_MAX).collect())
        .collect()
}

/// Notes the names that mean nothing in a checked declaration.
pub(crate) fn note(raw: &Object, app: &mut Object) {
    let names = unknown(raw);
    if !names.is_empty() {
        app.insert(MEMBER.into(), names.into_iter().map(Value::from).collect());
    }
}

/// The option that was probably meant by a name that is none.
#[must_use]
pub fn meant(name: &str) -> Option<String> {
    if name.chars().count() > CHARS_MAX {
        return None;
    }
    if let Some(environment) = name.strip_prefix("env-").filter(|rest| !rest.is_empty()) {
        return Some(format!("{NAMED_ENVIRONMENT_PREFIX}{environment}"));
    }
    let given = &plain(name);
    // One slip in every four letters, and never more than two: beyond that every name resembles some other.
    let slips_max = (given.len() / 4).min(2);
    TABLE
        .iter()
        .flat_map(|spec| {
            let names = std::iter::once(spec.name).chain(spec.aliases.iter().copied());
            names.map(move |known| (distance(given, &plain(known)), spec.name))
        })
        .filter(|(slips, _)| *slips <= slips_max)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, name)| name.to_owned())
}

/// A name without what its spelling may vary in.
fn plain(name: &str) -> Vec<char> {
    let letters = name.chars().filter(|c| !matches!(c, '_' | '-' | ' '));
    letters.flat_map(char::to_lowercase).collect()
}

/// How many letters must be inserted, removed or replaced to make one word of the other.
fn distance(one: &[char], other: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(raw: &Value) -> Vec<String> {
        unknown(raw.as_object().expect("an object"))
    }

    // Protects: whoever misspells an option is told, and nobody who does not.
    #[test]
    fn only_what_no_table_knows_is_unknown() {
        let known = json!({"script": "a", "maxRestarts": 3, "max_restarts": 3, "err_log": "x", "runAsUser": 1, "env_production": {}, "cmd": "ls",
            "only": "a", "updateEnv": true, "windowsHide": false, "gone": null});
        assert_eq!(of(&known), Vec::<String>::new());
        let unknown = json!({"script": "a", "max": 3, "env-production": {}, "max_memmory_restart": "1G", "": 1});
        assert_eq!(
            of(&unknown),
            ["max", "env-production", "max_memmory_restart", ""]
        );
    }

    // Protects: a declaration of a million members must not become a record of a million names.
    #[test]
    fn the_list_is_bounded() {
        let many: Object = (0..1000)
            .map(|index| (format!("{index}-{}", "x".repeat(1000)), Value::Bool(true)))
            .collect();
        let names = unknown(&many);
        assert_eq!(names.len(), NAMES_MAX);
        assert!(names.iter().all(|name| name.len() == CHARS_MAX));
    }

    // Protects: a suggestion that is wrong is worse than none.
    #[test]
    fn near_misses_are_understood_and_others_are_not() {
        for (given, expected) in [
            ("max_memmory_restart", "max_memory_restart"),
            ("MaxMemoryRestart", "max_memory_restart"),
            ("max-memory-restart", "max_memory_restart"),
            ("instance", "instances"),
            ("scirpt", ""),
            ("scrip", "script"),
            ("node_arg", "node_args"),
            ("env-production", "env_production"),
            ("ignore_watched", "ignore_watch"),
            ("max", ""),
            ("description", ""),
            ("options", ""),
            ("", ""),
        ] {
            assert_eq!(meant(given).unwrap_or_default(), expected, "{given}");
        }
        assert_eq!(meant(&"x".repeat(1_000_000)), None);
    }
}
