//! Modules: apps that come as a package with a `package.json` of its own. The daemon's callers start them with the daemon, and neither
//! `all` nor a saved list knows them.

use std::path::Path;

use serde_json::{Value, json};

use super::operate::Operation;
use super::payload::{Payload, What};
use super::{ActionError, Rpc, apps};
use crate::config::ecosystem::{self, Declarations};
use crate::config::{Object, spelling};

/// Sections of the module configuration that say what is installed.
const PACKAGES: &str = "module-db-v2";
const TARBALLS: &str = "tar-modules";

/// Longest `package.json`, in bytes. Those of real packages have a few thousand.
const MANIFEST_MAX: u64 = 1 << 20;

/// Where a module came from; that decides what its apps are called and how they run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// From a package registry: its apps bear the package's name.
    Package,
    /// From a tarball: several apps bear its name and their own.
    Tarball,
    /// A folder under development: as a package, and restarted when it changes.
    Local,
}

impl Source {
    fn read(text: Option<&str>) -> Result<Self, ActionError> {
        match text {
            Some("package") => Ok(Self::Package),
            Some("tarball") => Ok(Self::Tarball),
            Some("local") => Ok(Self::Local),
            _ => Err(ActionError::new(
                "the source of a module is package, tarball or local",
            )),
        }
    }
}

/// Starts the module in the folder that the payload names.
pub(super) async fn start<R: Rpc>(rpc: &R, payload: &Payload) -> Result<String, ActionError> {
    let text = |key: &str| payload.further.get(key).and_then(Value::as_str);
    let source = Source::read(text("source"))?;
    let folder = text("folder").filter(|folder| folder.starts_with('/'));
    let folder = folder
        .ok_or_else(|| ActionError::new("the folder of a module must be an absolute path"))?;
    start_in(rpc, payload, source, folder).await
}

/// Starts every installed module. One that cannot be started keeps nobody else from it.
pub(super) async fn launch<R: Rpc>(rpc: &R, payload: &Payload) -> Result<String, ActionError> {
    let mut started = Vec::new();
    let mut failed = Vec::new();
    for (section, source) in [(PACKAGES, Source::Package), (TARBALLS, Source::Tarball)] {
        let installed = payload.around.module_conf.get(section);
        let Some(installed) = installed.and_then(Value::as_object) else {
            continue;
        };
        for (name, stored) in installed {
            match start_installed(rpc, payload, source, name, stored).await {
                Ok(_) => started.push(name.as_str()),
                Err(error) => failed.push(json!({"name": name, "message": error.message})),
            }
        }
    }
    Ok(json!({"started": started, "failed": failed}).to_string())
}

async fn start_installed<R: Rpc>(
    rpc: &R,
    payload: &Payload,
    source: Source,
    name: &str,
    stored: &Value,
) -> Result<String, ActionError> {
    // What the file says becomes a path; a name with steps upwards in it was not written by us.
    if name.split('/').any(|part| part == "..") || name.starts_with('/') {
        return Err(ActionError::new(format!("{name} is no name of a module")));
    }
    let mut folder = payload.home.modules.join(name);
    if source == Source::Package {
        folder = folder.join("node_modules").join(name);
    }
    let mut own = payload.clone();
    for key in ["uid", "gid", "install_url"] {
        if let Some(value) = stored.get(key) {
            own.options.insert(key.to_owned(), value.clone());
        }
    }
    start_in(rpc, &own, source, &folder.to_string_lossy()).await
}

async fn start_in<R: Rpc>(
    rpc: &R,
    payload: &Payload,
    source: Source,
    folder: &str,
) -> Result<String, ActionError> {
    let declared = declarations(source, Path::new(folder))?;
    let mut own = payload.clone();
    own.around.cwd = folder.to_owned();
    own.around.process_cwd = None;
    own.what = What::Nothing;
    let options = &mut own.options;
    options.insert("cwd".into(), Value::from(folder));
    options.insert("started_as_module".into(), Value::Bool(true));
    if source == Source::Local {
        options.insert("watch".into(), Value::Bool(true));
    }
    apps::start(rpc, &own, &declared, Operation::Restart).await
}

/// The apps that the `package.json` in `folder` declares, by the names they run under.
fn declarations(source: Source, folder: &Path) -> Result<Declarations, ActionError> {
    let path = folder.join("package.json");
    let failed = |reason: &dyn std::fmt::Display| {
        ActionError::new(format!(
            "module {} cannot be read: {reason}",
            path.display()
        ))
    };
    let size = std::fs::metadata(&path)
        .map_err(|error| failed(&error))?
        .len();
    if size > MANIFEST_MAX {
        return Err(failed(&format_args!("more than {MANIFEST_MAX} bytes")));
    }
    let text = std::fs::read(&path).map_err(|error| failed(&error))?;
    let manifest: Object = serde_json::from_slice(&text).map_err(|error| failed(&error))?;
    let name = manifest
        .get("name")
        .and_then(Value::as_str)
        .filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| failed(&"it has no name"))?;
    let declared =
        what_runs(&manifest).ok_or_else(|| failed(&"apps, pm2, bin and main are missing"))?;
    let mut declared =
        ecosystem::declarations(json!({ "apps": declared })).map_err(|error| failed(&error))?;
    let is_list_of_one = declared.apps.len() == 1;
    for app in &mut declared.apps {
        let own = spelling::canonical(app);
        let own = crate::config::resolve::name_of(&own).unwrap_or_default();
        let shown = match source {
            Source::Package | Source::Local => name.to_owned(),
            // Compat: pm2 keeps the name of the only app in a list called `pm2` (pm2's lib/API/Modules/TAR.js, its module_tar suite).
            Source::Tarball
                if own == name || (is_list_of_one && !manifest.contains_key("apps")) =>
            {
                own
            }
            Source::Tarball => format!("{name}:{own}"),
        };
        app.insert("name".into(), Value::from(shown));
    }
    Ok(declared)
}

/// `apps`, else `pm2`, else the first program, else the main script.
fn what_runs(manifest: &Object) -> Option<Value> {
    let member = |key: &str| manifest.get(key).filter(|value| spelling::is_truthy(value));
    if let Some(apps) = member("apps").or_else(|| member("pm2")) {
        return Some(apps.clone());
    }
    let program = match member("bin") {
        Some(Value::Object(programs)) => programs.values().next(),
        other => other,
    };
    let script = program.or_else(|| member("main"))?.as_str()?;
    Some(json!({ "script": script }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(source: Source, manifest: &Value) -> Result<Vec<(String, String)>, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("package.json"), manifest.to_string()).unwrap();
        let declared = declarations(source, folder.path()).map_err(|error| error.message)?;
        let text = |app: &Object, key: &str| app[key].as_str().unwrap().to_owned();
        let pairs = declared.apps.iter();
        Ok(pairs
            .map(|app| (text(app, "name"), text(app, "script")))
            .collect())
    }

    #[test]
    fn what_a_package_runs_is_its_apps_else_its_first_program_else_its_main_script() {
        for (manifest, script) in [
            (
                json!({"name": "m", "apps": [{"script": "a.js", "name": "x"}], "pm2": [{"script": "p.js"}]}),
                "a.js",
            ),
            (
                json!({"name": "m", "pm2": {"script": "p.js"}, "bin": "b.js"}),
                "p.js",
            ),
            (
                json!({"name": "m", "bin": {"one": "b1.js", "two": "b2.js"}, "main": "i.js"}),
                "b1.js",
            ),
            (json!({"name": "m", "bin": "b.js", "main": "i.js"}), "b.js"),
            (json!({"name": "m", "main": "i.js"}), "i.js"),
        ] {
            let expected = vec![("m".to_owned(), script.to_owned())];
            assert_eq!(declared(Source::Package, &manifest), Ok(expected));
        }
    }

    #[test]
    fn apps_of_a_tarball_bear_its_name_before_theirs_unless_theirs_is_enough() {
        let names = |manifest: Value| -> Vec<String> {
            let pairs = declared(Source::Tarball, &manifest).unwrap();
            pairs.into_iter().map(|(name, _)| name).collect()
        };
        let app = |name: &str| json!({"name": name, "script": "a.js"});
        assert_eq!(
            names(json!({"name": "m", "pm2": [app("x"), app("m")]})),
            ["m:x", "m"]
        );
        assert_eq!(names(json!({"name": "m", "apps": [app("x")]})), ["m:x"]);
        assert_eq!(names(json!({"name": "m", "apps": [app("m")]})), ["m"]);
        assert_eq!(names(json!({"name": "m", "pm2": [app("x")]})), ["x"]);
    }

    #[test]
    fn a_package_that_says_nothing_of_use_is_an_error_that_names_it() {
        for (manifest, reason) in [
            (json!({"main": "i.js"}), "it has no name"),
            (json!({"name": "m"}), "apps, pm2, bin and main are missing"),
            (
                json!({"name": "m", "apps": 5}),
                "app 1 of the configuration must be an object",
            ),
            (json!([]), "invalid type"),
        ] {
            let message = declared(Source::Package, &manifest).unwrap_err();
            assert!(
                message.contains("package.json cannot be read") && message.contains(reason),
                "{message}"
            );
        }
    }
}
