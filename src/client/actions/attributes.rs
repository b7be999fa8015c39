//! What a restart or reload tells the daemon to change: attributes of the record and variables of the environment.

use serde_json::Value;

use super::ActionError;
use super::list::Entry;
use super::payload::Payload;
use crate::config::check::DELETE;
use crate::config::resolve::{self, Ecosystem, Form, ResolveError};
use crate::config::{Lookup, Object, environment, options, paths, spelling, unknown};
use crate::host::world::World;

/// The change that one restart makes, before it is known to which process.
pub(super) struct Change {
    /// Variables merged into the environment first; anything named below wins.
    inherited: Object,
    /// Attributes of the record.
    conf: Object,
    /// Variables merged into the environment.
    variables: Object,
    /// Paths of log and pid files: field of the record, path.
    files: Vec<(&'static str, String)>,
    /// It is a whole declaration: what is not in it was not declared.
    is_whole: bool,
}

/// The file options, and the field of the record that each becomes.
const FILES: [(&str, &str); 4] = [
    ("log_file", "pm_log_path"),
    ("out_file", "pm_out_log_path"),
    ("error_file", "pm_err_log_path"),
    ("pid_file", "pm_pid_path"),
];

/// What cannot change on the way of a restart.
const KEPT: [&str; 5] = ["script", "cwd", "env", "instances", "exec_mode"];

impl Change {
    /// The change that options make to processes that were named. `name` is the name under which they were found.
    pub(super) fn of_options(
        payload: &Payload,
        world: &World,
        name: Option<&str>,
    ) -> Result<Self, ActionError> {
        let mut given = payload.options.clone();
        if let Some(args) = raw_args(&given) {
            given.insert("args".into(), args);
        }
        let mut conf =
            resolve::change(&given, world).map_err(|error| ActionError::new(error.to_string()))?;
        let variables = environment::declared(&conf, &Ecosystem::default());
        conf.shift_remove("env");
        resolve::require_chosen(&conf, world)
            .map_err(|error| ActionError::new(error.to_string()))?;
        let files = placed(&mut conf, &payload.around.cwd, world)?;
        conf.insert("km_link".into(), Value::Bool(false));
        let wants_env = payload.is_on("updateEnv") || payload.is_on("update_env");
        let inherited = if wants_env {
            environment::inherited(&payload.around)
        } else {
            Object::new()
        };
        let mut change = Self {
            inherited,
            conf,
            variables,
            files,
            is_whole: false,
        };
        change.add_module_section(payload, name);
        Ok(change)
    }

    /// The change that a checked declaration makes to the processes of its name.
    ///
    /// An app that declares no variables takes the caller's, as pm2 does.
    pub(super) fn of_declaration(
        app: &Object,
        name: &str,
        payload: &Payload,
        ecosystem: &Ecosystem<'_>,
        world: &World,
    ) -> Result<Self, ActionError> {
        let around = &payload.around;
        let variables = environment::declared(app, ecosystem);
        let mut inherited = Object::new();
        if variables.is_empty() {
            inherited = environment::inherited(around);
            environment::filter(&mut inherited, app.get("filter_env"));
        }
        let mut conf = app.clone();
        let cwd = around.working_directory(app, &world.home_folder());
        if let Some(node) = resolve::chosen_node(app, around, world)
            .map_err(|error| ActionError::new(error.to_string()))?
        {
            conf.insert("exec_interpreter".into(), Value::from(node));
        }
        resolve::require_chosen(&conf, world)
            .map_err(|error| ActionError::new(error.to_string()))?;
        let files = placed(&mut conf, &cwd, world)?;
        conf.retain(|key, _| {
            !KEPT.contains(&key.as_str())
                && options::find(key).is_none_or(|spec| spec.scope == options::Scope::App)
        });
        let mut change = Self {
            inherited,
            conf,
            variables,
            files,
            is_whole: true,
        };
        change.add_module_section(payload, Some(name));
        Ok(change)
    }

    /// The `env` member of the daemon's argument for this process.
    pub(super) fn for_process(&self, entry: Option<&Entry>) -> String {
        let mut conf = self.conf.clone();
        for (field, path) in &self.files {
            conf.insert(
                (*field).into(),
                Value::from(numbered(path, entry, &self.conf)),
            );
        }
        let had_unknown = entry.is_some_and(|entry| entry.record.unknown_options.is_some());
        if self.is_whole && had_unknown {
            conf.entry(unknown::MEMBER)
                .or_insert_with(|| Value::from(DELETE));
        }
        let mut env = self.inherited.clone();
        env.insert("current_conf".into(), Value::Object(conf));
        env.extend(self.variables.clone());
        Value::Object(env).to_string()
    }

    /// Folders that the changed files need.
    pub(super) fn folders(&self) -> Vec<String> {
        let chosen = self.files.iter().filter(|(_, path)| path != "/dev/null");
        chosen
            .map(|(_, path)| paths::folder(path).to_owned())
            .collect()
    }

    fn add_module_section(&mut self, payload: &Payload, name: Option<&str>) {
        if let Some(name) = name {
            let section =
                environment::of_module(name, &payload.around, Form::Script, &self.variables);
            self.variables.extend(section);
        }
    }
}

/// The words after `--` of a command line that was handed over whole.
pub(super) fn raw_args(given: &Object) -> Option<Value> {
    let words = given.get("rawArgs")?.as_array()?;
    let dashes = words.iter().position(|word| word == "--")?;
    Some(Value::Array(words[dashes + 1..].to_vec()))
}

/// Takes the file options out of the attributes and gives the fields they become.
fn placed(
    conf: &mut Object,
    cwd: &str,
    world: &World,
) -> Result<Vec<(&'static str, String)>, ActionError> {
    let mut files = Vec::new();
    for (option, field) in FILES {
        // Only a path moves a file; `true` and the deleting text leave it where the daemon put it.
        match conf.shift_remove(option) {
            Some(Value::String(path)) if path == "NULL" || path == "/dev/null" => {
                files.push((field, "/dev/null".to_owned()));
            }
            Some(Value::String(path)) if !path.is_empty() && path != DELETE => {
                let path = paths::resolve(cwd, &paths::expand_home(&path, &world.home_folder()));
                if world.is_folder(&path) {
                    let error = ResolveError::FileIsFolder { option, path };
                    return Err(ActionError::new(error.to_string()));
                }
                files.push((field, path));
            }
            _ => {}
        }
    }
    Ok(files)
}

/// The path with the process's id before its extension, under the rules by which the daemon puts it there at the first start.
fn numbered(path: &str, entry: Option<&Entry>, conf: &Object) -> String {
    let Some(entry) = entry else {
        return path.to_owned();
    };
    let merges = match conf.get("merge_logs") {
        Some(merges) => spelling::is_truthy(merges),
        None => entry.record.merge_logs == Some(true),
    };
    for (extension, is_shared) in [(".pid", false), (".log", merges)] {
        if let Some(stem) = path.strip_suffix(extension).filter(|_| !is_shared) {
            let without_id = stem.rsplit_once('-').filter(|(_, digits)| {
                !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
            });
            let stem = without_id.map_or(stem, |(stem, _)| stem);
            return format!("{stem}-{}{extension}", entry.id);
        }
    }
    path.to_owned()
}
