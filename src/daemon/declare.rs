//! `prepareJson` of pm2 0.6 and 0.7: its callers send a declaration as it stands in a file, so what callers do since is done here.

use std::path::Path;

use crate::config::Object;
use crate::config::resolve::{self, Ecosystem, Form, Surroundings};
use crate::host::paths::Home;
use crate::host::world::World;
use crate::model::JsonText;
use crate::wire::json::Json;

/// The record of a declared app. Its paths are relative to `cwd`, else to its own `cwd`, else to the root; it gets the daemon's variables.
pub(super) fn record(app: &Json, cwd: Option<&Json>) -> Result<JsonText, String> {
    let app: Object = app
        .to()
        .map_err(|_| "the declaration to prepare must be an object".to_owned())?;
    let cwd = cwd.and_then(|cwd| cwd.to::<String>().ok());
    let around = surroundings(cwd.unwrap_or_else(|| "/".to_owned()))?;
    let world = World::new(&around.env, &around.cwd);
    let declared = resolve::declare(&app, &around, &world).map_err(|error| error.to_string())?;
    let ecosystem = Ecosystem::default();
    let prepared = resolve::prepare(declared, &around, &ecosystem, Form::Declaration, &world)
        .map_err(|error| error.to_string())?;
    for folder in &prepared.folders {
        std::fs::create_dir_all(folder)
            .map_err(|error| format!("failed to create folder {folder}: {error}"))?;
    }
    let text = serde_json::to_string(&prepared.record).map_err(|error| error.to_string())?;
    Ok(JsonText::from_valid(text))
}

fn surroundings(cwd: String) -> Result<Surroundings, String> {
    let variable = |name: &str| std::env::var_os(name);
    let root = Home::locate(&variable, Path::new("/"));
    let home = Home::new(&root, &variable).map_err(|error| error.to_string())?;
    let shown = |path: &Path| path.to_string_lossy().into_owned();
    let env = std::env::vars_os().map(|(name, value)| {
        let name = name.to_string_lossy().into_owned();
        (name, value.to_string_lossy().into_owned().into())
    });
    Ok(Surroundings {
        cwd,
        process_cwd: None,
        env: env.collect(),
        node: "node".to_owned(),
        node_version: None,
        pm2_home: shown(&home.root),
        log_folder: shown(&home.logs),
        pid_folder: shown(&home.pids),
        programmatic: true,
        module_conf: Object::new(),
        static_server: String::new(),
    })
}
