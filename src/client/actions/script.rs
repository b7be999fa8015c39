//! `start` of a text: something that runs already, or a script.

use serde_json::Value;

use super::attributes::raw_args;
use super::files::{create_folders, write_declaration};
use super::list::{Entry, Listing, elements, first, join};
use super::operate::{Operation, on_selection};
use super::payload::Payload;
use super::target::{ALL, Selection, id_json, is_number, select};
use super::{ActionError, Rpc};
use crate::config::resolve::{self, Ecosystem, Form};
use crate::config::{Lookup as _, Object, paths, units};
use crate::host::world::World;

/// Starts what `script` means: processes of that name, a namespace, all, an id, the stopped process of that script, else the script itself.
pub(super) async fn start<R: Rpc>(
    rpc: &R,
    payload: &Payload,
    script: &str,
) -> Result<String, ActionError> {
    let world = World::new(&payload.around.env, &payload.around.cwd);
    let app = resolve::declare(&declaration(payload, script), &payload.around, &world)
        .map_err(|error| ActionError::new(error.to_string()))?;
    let name = resolve::name_of(&app).unwrap_or_default();
    if app.get("write").is_some_and(|write| write == true) {
        let folder = payload
            .around
            .env
            .get("PWD")
            .and_then(Value::as_str)
            .unwrap_or(&payload.around.cwd);
        write_declaration(&app, &name, folder)?;
    }
    let listing = Listing::fetch(rpc).await?;
    if let Some(selection) = running(&listing, payload, &world, script, &app, &name)? {
        return on_selection(rpc, payload, Operation::Restart, &listing, &selection).await;
    }
    let ecosystem = Ecosystem {
        environment: payload.text_option("env"),
        deploy: None,
    };
    let prepared = resolve::prepare(app, &payload.around, &ecosystem, Form::Script, &world)
        .map_err(|error| ActionError::new(error.to_string()))?;
    create_folders(&prepared.folders)?;
    let started = launch(rpc, &prepared.record).await?;
    Ok(join(started.iter().map(String::as_str)))
}

/// Asks the daemon to start a record. Gives each of its processes as JSON.
pub(super) async fn launch<R: Rpc>(rpc: &R, record: &Object) -> Result<Vec<String>, ActionError> {
    let record =
        serde_json::to_string(record).map_err(|error| ActionError::new(error.to_string()))?;
    let reply = rpc.call("prepare", &format!("[{record}]")).await?;
    let started = elements(first(&reply)?.unwrap_or("[]"))?;
    Ok(started.into_iter().map(str::to_owned).collect())
}

/// The declaration that a script and its options make.
fn declaration(payload: &Payload, script: &str) -> Object {
    let mut app = payload.options.clone();
    app.insert("script".into(), Value::from(script));
    if let Some(args) = raw_args(&app) {
        app.insert("args".into(), args);
    }
    if !app
        .get("namespace")
        .is_some_and(crate::config::spelling::is_truthy)
    {
        app.insert("namespace".into(), Value::from("default"));
    }
    // A list of nothing to watch is what command lines give when nobody asked to watch.
    if app
        .get("watch")
        .is_some_and(|watch| watch.as_array().is_some_and(Vec::is_empty))
    {
        app.shift_remove("watch");
    }
    // Compat: in this spelling and form alone a bare number is seconds (behaviour 4.3); pinned by `a_watch_delay_in_camel_case_is_in_seconds`.
    let seconds = match app.get("watchDelay") {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => units::number(text),
        _ => None,
    };
    if let Some(seconds) = seconds {
        app.shift_remove("watchDelay");
        app.insert(
            "watch_delay".into(),
            crate::config::check::json_number(seconds * 1000.0),
        );
    }
    app
}

/// The processes that the text means, if it means any that exist.
fn running(
    listing: &Listing,
    payload: &Payload,
    world: &World,
    script: &str,
    app: &Object,
    name: &str,
) -> Result<Option<Selection>, ActionError> {
    let is_word = !script.contains('/') && paths::extension(script).is_empty();
    if is_number(script) {
        return Ok(Some(selected_number(listing, payload, script)));
    }
    if is_word {
        let selection = select(listing, script, payload.around.here());
        if script == ALL {
            return selection.map(Some);
        }
        // A word that names no process is a script or a program.
        if let Ok(selection) = selection {
            return Ok(Some(selection));
        }
    }
    let base = payload.around.working_directory(app, &world.home_folder());
    let path = paths::resolve(&base, script);
    let is_same = |entry: &&Entry| {
        entry.name == name && entry.record.pm_exec_path.as_deref() == Some(path.as_str())
    };
    let Some(same) = listing.entries.iter().rfind(is_same) else {
        return Ok(None);
    };
    let is_idle = matches!(
        same.record.status.as_deref(),
        Some("stopped" | "stopping" | "errored")
    );
    if is_idle {
        return select(listing, name, payload.around.here()).map(Some);
    }
    if payload.is_on("force") {
        Ok(None)
    } else {
        Err(ActionError::new("Script already launched"))
    }
}

/// A number is a name or a namespace first.
fn selected_number(listing: &Listing, payload: &Payload, script: &str) -> Selection {
    let found = select(listing, script, payload.around.here());
    found.unwrap_or_else(|_| Selection {
        ids: vec![id_json(script)],
        name: None,
    })
}
