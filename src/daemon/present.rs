//! The Node that runs an app, where the one it was declared with is gone.

use std::path::Path;

use crate::core::{Runtime, SpawnPlan};

/// The plan with `node` from the app's own PATH, if it names a Node by a path where nothing is any more.
///
/// What was started without naming an interpreter has the Node of whoever started it in its record, and an update of Node takes that
/// away. Any other program that is gone stays an error: nothing else is the same.
pub(super) fn with_present_node(plan: &SpawnPlan) -> Option<SpawnPlan> {
    let named = plan.interpreter.as_deref()?;
    let is_gone =
        plan.runtime == Runtime::Node && named.contains('/') && !Path::new(named).exists();
    let path = plan.env.iter().find(|(name, _)| name == "PATH");
    let folders = path.map(|(_, value)| value.as_str()).unwrap_or_default();
    let is_there = |folder: &str| !folder.is_empty() && Path::new(folder).join("node").is_file();
    (is_gone && folders.split(':').any(is_there)).then(|| SpawnPlan {
        interpreter: Some("node".to_owned()),
        ..plan.clone()
    })
}
