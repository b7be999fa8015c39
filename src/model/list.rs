//! The members of an object while they are being changed.

use super::json::{Members, as_text, is_object, object};

/// A member's name and the text of its value.
pub(super) type Member = (String, String);

/// Copies every variable; what prints as an object in JavaScript is no variable.
pub(super) fn extend_env(env: &mut Vec<Member>, more: &Members<'_>) {
    for (key, raw) in more.iter().filter(|(_, raw)| !is_shown_as_object(raw)) {
        set(env, key, raw);
    }
}

/// Whether JavaScript would print the value as an object: such a variable is not shown beside the options.
pub(super) fn is_shown_as_object(raw: &str) -> bool {
    is_object(raw) || raw == "\"[object Object]\""
}

/// The whole number a JSON text is, or says.
pub(super) fn integer(raw: &str) -> Option<i64> {
    let text = as_text(raw);
    let number: f64 = text.as_deref().unwrap_or(raw).trim().parse().ok()?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a float beyond the range becomes its end, which limits catch"
    )]
    number.is_finite().then_some(number as i64)
}

/// The text of a member, or what it is without one.
pub(super) fn declared_text(declared: &[Member], key: &str, default: &str) -> Box<str> {
    declared
        .iter()
        .find(|(name, _)| name == key)
        .and_then(|(_, raw)| as_text(raw))
        .map_or_else(|| default.into(), String::into_boxed_str)
}

/// A copy that can be changed.
pub(super) fn owned(members: &Members<'_>) -> Vec<Member> {
    members
        .iter()
        .map(|(key, raw)| (key.to_owned(), raw.to_owned()))
        .collect()
}

/// Sets a member in its place, or at the end.
pub(super) fn set(members: &mut Vec<Member>, key: &str, raw: &str) {
    match members.iter_mut().find(|(name, _)| name == key) {
        Some((_, old)) => raw.clone_into(old),
        None => members.push((key.to_owned(), raw.to_owned())),
    }
}

/// The members as one object.
pub(super) fn object_of(members: &[Member]) -> String {
    object(|writer| {
        for (key, raw) in members {
            writer.raw(key, raw);
        }
    })
    .into_string()
}
