//! A word about members of declarations that are no options.

use crate::config::unknown::{MEMBER, meant};
use crate::core::Call;
use crate::model::{Members, quoted};

/// Of one declaration; whoever sends more reads no log either.
const NAMES_MAX: usize = 8;

/// Of each name.
const CHARS_MAX: usize = 64;

/// What the log says about a call whose declaration has members that are no options.
pub(super) fn notice(call: &Call) -> Option<String> {
    let (text, is_change) = match call {
        Call::Prepare { declaration, .. } => (declaration, false),
        Call::Restart { env, .. } | Call::Reload { env, .. } | Call::SoftReload { env, .. } => {
            (env.as_ref()?, true)
        }
        _ => return None,
    };
    // Nearly every declaration has none, and is not read twice for it.
    if !text.as_str().contains(MEMBER) {
        return None;
    }
    let all = Members::parse(text.as_str())?;
    let declared = if is_change {
        Members::parse(all.get("current_conf")?)?
    } else {
        all
    };
    let names: Vec<String> = serde_json::from_str(declared.get(MEMBER)?).ok()?;
    let shown: Vec<String> = names
        .iter()
        .take(NAMES_MAX)
        .map(|name| shown(name))
        .collect();
    if shown.is_empty() {
        return None;
    }
    let whose = match declared.text("name") {
        Some(name) => format!("App {} has", shown_name(&name)),
        None => "A restart came with".to_owned(),
    };
    Some(format!("{whose} unknown options: {}", shown.join(", ")))
}

fn shown(name: &str) -> String {
    match meant(name) {
        Some(option) => format!("{} (did you mean {option}?)", shown_name(name)),
        None => shown_name(name),
    }
}

/// Quoted, so that no name can write lines of its own into the log.
fn shown_name(name: &str) -> String {
    quoted(&name.chars().take(CHARS_MAX).collect::<String>())
}
