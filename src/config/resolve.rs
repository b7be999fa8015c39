//! A declaration and its surroundings, turned into the record that the daemon is asked to `prepare`.

use serde_json::Value;

use super::check::{DELETE, OptionError, Purpose, check};
use super::spelling::{canonical, is_truthy};
use super::{Lookup, Object, environment, files, interpreter, options, paths, texts, unknown};

pub use interpreter::{chosen_node, require_chosen};

/// Where a declaration is resolved.
#[derive(Clone, Default)]
pub struct Surroundings {
    /// Base of relative paths; absolute.
    pub cwd: String,
    /// Where the caller's process is, if that is elsewhere; absolute. See [`Self::here`].
    pub process_cwd: Option<String>,
    /// The caller's variables.
    pub env: Object,
    /// The caller's own Node, used where `PATH` has none.
    pub node: String,
    /// That Node's version.
    pub node_version: Option<String>,
    /// The home directory of pm2.
    pub pm2_home: String,
    /// Where log files lie unless the user says otherwise; absolute.
    pub log_folder: String,
    /// The same for pid files.
    pub pid_folder: String,
    /// True when a program asks, not a person: fields of pm2 among its variables are then not inherited.
    pub programmatic: bool,
    /// The module configuration: an object for each name.
    pub module_conf: Object,
    /// The built-in static server, which `script: 'serve'` means; empty where nobody knows one.
    pub static_server: String,
}

impl Surroundings {
    /// Base of what pm2 takes relative to the process and not to the instance: declared working directories, and script paths in
    /// place of names.
    #[must_use]
    pub fn here(&self) -> &str {
        self.process_cwd.as_deref().unwrap_or(&self.cwd)
    }

    /// The working directory that an app declares, else the instance's.
    #[must_use]
    pub fn working_directory(&self, app: &Object, home: &str) -> String {
        match app.get("cwd").and_then(Value::as_str) {
            Some(cwd) if !cwd.is_empty() => {
                paths::resolve(self.here(), &paths::expand_home(cwd, home))
            }
            _ => self.cwd.clone(),
        }
    }
}

impl std::fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Variables and module configurations hold secrets.
        f.debug_struct("Surroundings")
            .field("cwd", &self.cwd)
            .field("pm2_home", &self.pm2_home)
            .finish_non_exhaustive()
    }
}

/// What a file says beside its apps.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ecosystem<'a> {
    /// The environment asked for, whose `env_<name>` applies.
    pub environment: Option<&'a str>,
    /// The `deploy` member.
    pub deploy: Option<&'a Value>,
}

/// The script that stands for the built-in static server, whatever else bears that name.
const SERVE: &str = "serve";

/// How an app was named to us; visible in one variable of its environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// By its script, with options.
    Script,
    /// By an object, an array or a file.
    Declaration,
}

/// A record ready to be sent, and the folders that its files need.
#[derive(Clone)]
pub struct Prepared {
    /// The argument of `prepare`.
    pub record: Object,
    /// Folders of log and pid files that the user chose; they may not exist yet.
    pub folders: Vec<String>,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The record holds the environment.
        f.debug_struct("Prepared")
            .field("name", &self.record.get("name"))
            .field("folders", &self.folders)
            .finish_non_exhaustive()
    }
}

/// Why a declaration cannot be taken at all.
#[derive(Debug, thiserror::Error)]
pub enum DeclareError {
    /// Options that cannot be taken as given.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))]
    Options(Vec<OptionError>),
    /// Another user or group was named by somebody who may not become it.
    #[error("To use UID and GID please run PM2 as root")]
    NotRoot,
    /// Nobody of this name.
    #[error("[PM2][ERROR]  User {0} cannot be found")]
    UnknownUser(String),
    /// No group of this name.
    #[error("[PM2][ERROR]  Group {0} cannot be found")]
    UnknownGroup(String),
}

/// Why an app cannot be started from here. The texts are pm2's where it has one.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// It names no script.
    #[error("No script path - aborting")]
    NoScript,
    /// No such file, and no such program.
    #[error("Script not found: {0}")]
    ScriptNotFound(String),
    /// The file is there, but not for the caller.
    #[error("Script not readable: {0}")]
    ScriptUnreadable(String),
    /// Nothing runs it, and it cannot run by itself.
    #[error(
        "Script not executable: {0} (interpreter \"none\": make it executable or name an interpreter)"
    )]
    ScriptNotExecutable(String),
    /// A folder in which Node finds nothing to run.
    #[error("Script is a folder: {0} (it has neither package.json nor index.js)")]
    ScriptIsFolder(String),
    /// Another program than Node in cluster mode.
    #[error(
        "Verify \"exec_mode\" with interpreter failed, only Node apps run in cluster mode (given: \"cluster\" with interpreter \"{0}\", allowed: fork)"
    )]
    ClusterNeedsNode(String),
    /// A file option that names a folder.
    #[error(
        "Verify \"{option}\" failed, it should be a file (given: \"{path}\", which is a folder, allowed: the path of a file)"
    )]
    FileIsFolder {
        /// The option.
        option: &'static str,
        /// Where it leads.
        path: String,
    },
    /// The working directory is missing.
    #[error("Working directory not found: {0}")]
    CwdNotFound(String),
    /// The program that should run it is missing.
    #[error("Interpreter {0} is NOT AVAILABLE in PATH. (type 'which {0}' to double check.)")]
    InterpreterMissing(String),
    /// Nothing here runs TypeScript.
    #[error(
        "TypeScript apps require bun, Node.js >= 22.18 (native type stripping) or a custom interpreter (e.g. --interpreter ts-node)"
    )]
    NoTypeScript,
    /// A version of Node that nvm does not have.
    #[error("Node.js {version} is not installed: {path} not found (run 'nvm install {version}')")]
    NodeVersionMissing {
        /// The version asked for.
        version: String,
        /// Where it would be.
        path: String,
    },
}

/// Brings a declaration as written to its checked form: one spelling, one type for each option, a name, the user, the defaults.
pub fn declare(
    raw: &Object,
    around: &Surroundings,
    lookup: &impl Lookup,
) -> Result<Object, DeclareError> {
    let mut app = canonical(raw);
    // A form other than an object counts as no variables; checking still refuses what is neither object nor text.
    if !app.get("env").is_some_and(is_truthy) || app.get("env").is_some_and(Value::is_string) {
        app.insert("env".into(), Value::Object(Object::new()));
    }
    name_it(&mut app);
    app.insert("username".into(), Value::from(lookup.user_name()));
    run_command_line_by_a_shell(&mut app, raw, around, lookup);
    if app
        .shift_remove("execute_command")
        .is_some_and(|value| value == true)
    {
        app.insert("exec_mode".into(), Value::from("fork"));
    }
    if around.env.get("ASZ_MODE").is_some_and(is_truthy) {
        app.insert("time".into(), Value::Bool(true));
    }
    if around.env.get("PM2_DEEP_MONITORING").is_some_and(is_truthy) {
        app.insert("deep_monitoring".into(), Value::Bool(true));
    }
    simplify(&mut app);
    let mut app = check(&app, Purpose::Start).map_err(DeclareError::Options)?;
    become_user(&mut app, lookup)?;
    share_logs(&mut app);
    unknown::note(raw, &mut app);
    Ok(app)
}

/// Brings options given to a restart to the changes they make in a record: checked, without defaults. What cannot change or steers the
/// client alone is left out.
pub fn change(raw: &Object, lookup: &impl Lookup) -> Result<Object, DeclareError> {
    // A list of nothing to watch is what command lines give when nobody asked to watch.
    const NOT_CHANGED: [&str; 5] = ["script", "cwd", "instances", "exec_mode", "username"];
    let mut app = canonical(raw);
    for key in NOT_CHANGED {
        app.shift_remove(key);
    }
    if app
        .get("watch")
        .is_some_and(|watch| watch.as_array().is_some_and(Vec::is_empty))
    {
        app.shift_remove("watch");
    }
    simplify(&mut app);
    let mut app = check(&app, Purpose::Update).map_err(DeclareError::Options)?;
    become_user(&mut app, lookup)?;
    app.retain(|key, _| options::find(key).is_none_or(|spec| spec.scope == options::Scope::App));
    unknown::note(raw, &mut app);
    Ok(app)
}

/// The name an app is known by: given, or the base name of its script without its last extension.
#[must_use]
pub fn name_of(app: &Object) -> Option<String> {
    let text = |key: &str| {
        app.get(key)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    if let Some(name) = text("name") {
        return Some(name.to_owned());
    }
    let base = paths::base_name(text("script")?);
    let stem = match base.rfind('.') {
        Some(dot) if dot > 0 => &base[..dot],
        _ => base,
    };
    Some(texts::as_name(stem))
}

/// Resolves a checked declaration to the record. Its members are in the order in which pm2 sends them.
pub fn prepare(
    mut app: Object,
    around: &Surroundings,
    ecosystem: &Ecosystem<'_>,
    form: Form,
    lookup: &impl Lookup,
) -> Result<Prepared, ResolveError> {
    let script = app
        .get("script")
        .and_then(Value::as_str)
        .filter(|script| !script.is_empty())
        .ok_or(ResolveError::NoScript)?
        .to_owned();
    let name = name_of(&app).unwrap_or_default();
    let home = lookup.home_folder();
    let cwd = around.working_directory(&app, &home);
    if !lookup.is_folder(&cwd) {
        return Err(ResolveError::CwdNotFound(cwd));
    }
    if !app.get("node_args").is_some_and(is_truthy) {
        app.shift_remove("node_args");
        app.insert("node_args".into(), Value::Array(Vec::new()));
    }
    // Variables see the resolved folder; the record keeps what was declared, as pm2's does.
    let declared_cwd = app.get("cwd").cloned();
    if let Some(declared) = app.get_mut("cwd") {
        *declared = Value::from(cwd.as_str());
    }
    let path = match script.as_str() {
        SERVE if !around.static_server.is_empty() => around.static_server.clone(),
        _ => find_script(&script, &cwd, &home, lookup)?,
    };
    app.insert("pm_exec_path".into(), Value::from(path.as_str()));
    let env = environment::of_app(&app, &name, around, ecosystem, form);
    app.insert("env".into(), Value::Object(env));
    app.shift_remove("script");
    if let (Some(shown), Some(declared)) = (app.get_mut("cwd"), declared_cwd) {
        *shown = declared;
    }
    app.insert("pm_cwd".into(), Value::from(cwd.as_str()));
    interpreter::decide(&mut app, &path, around, lookup)?;
    let reads_script = app
        .get("exec_interpreter")
        .is_some_and(|chosen| chosen != interpreter::NONE);
    if !app.contains_key("uid") {
        if reads_script && !lookup.is_readable(&path) {
            return Err(ResolveError::ScriptUnreadable(path));
        }
        if !reads_script && !lookup.is_executable(&path) {
            return Err(ResolveError::ScriptNotExecutable(path));
        }
    }
    interpreter::decide_mode(&mut app)?;
    let folders = files::place(&mut app, &name, &cwd, around, lookup)?;
    app.insert("km_link".into(), Value::Bool(false));
    Ok(Prepared {
        record: app,
        folders,
    })
}

/// The absolute path of a script: a file below the working directory, else a program in `PATH`, else a folder that Node may run.
fn find_script(
    script: &str,
    cwd: &str,
    home: &str,
    lookup: &impl Lookup,
) -> Result<String, ResolveError> {
    let expanded = if script.starts_with("~/") {
        paths::expand_home(script, home)
    } else {
        script.to_owned()
    };
    let path = paths::resolve(cwd, &expanded);
    if lookup.is_file(&path) {
        return Ok(path);
    }
    if !script.contains('/')
        && let Some(program) = lookup.find_in_path(script)
    {
        return Ok(program);
    }
    if !lookup.is_folder(&path) {
        return Err(ResolveError::ScriptNotFound(path));
    }
    let has_start = ["package.json", "index.js"]
        .iter()
        .any(|name| lookup.is_file(&paths::resolve(&path, name)));
    if has_start {
        Ok(path)
    } else {
        Err(ResolveError::ScriptIsFolder(path))
    }
}

/// Replaces options that are short for others by those.
fn simplify(app: &mut Object) {
    if app.get("time").is_some_and(is_truthy) {
        app.insert("log_date_format".into(), Value::from("YYYY-MM-DDTHH:mm:ss"));
    }
    if app.get("automation").is_some_and(|value| value == false) {
        app.insert("pmx".into(), Value::Bool(false));
    }
    if app
        .shift_remove("disable_trace")
        .is_some_and(|value| is_truthy(&value))
    {
        app.insert("trace".into(), Value::Bool(false));
    }
}

fn name_it(app: &mut Object) {
    if !app.get("name").is_some_and(is_truthy)
        && let Some(name) = name_of(app)
    {
        app.insert("name".into(), Value::from(name));
    }
}

/// A script with a space in it is a command line, unless a file bears that very name.
fn run_command_line_by_a_shell(
    app: &mut Object,
    raw: &Object,
    around: &Surroundings,
    lookup: &impl Lookup,
) {
    let Some(script) = app
        .get("script")
        .and_then(Value::as_str)
        .filter(|script| script.contains(' '))
    else {
        return;
    };
    let cwd = around.working_directory(app, &lookup.home_folder());
    let is_command = ["cmd", "command"]
        .iter()
        .any(|key| raw.get(*key).and_then(Value::as_str) == Some(script));
    if !is_command && lookup.is_file(&paths::resolve(&cwd, script)) {
        return;
    }
    let Some(shell) = ["bash", "sh"]
        .into_iter()
        .find(|shell| lookup.find_in_path(shell).is_some())
    else {
        return;
    };
    let args = Value::Array(vec![Value::from("-c"), Value::from(script)]);
    app.insert("script".into(), Value::from(shell));
    app.insert("args".into(), args);
}

/// Turns `uid` and `gid` into numbers and gives the app that user's home.
fn become_user(app: &mut Object, lookup: &impl Lookup) -> Result<(), DeclareError> {
    let named = |key: &str| {
        app.get(key)
            .filter(|value| *value != DELETE)
            .map(|value| match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            })
    };
    let (user, group) = (named("uid"), named("gid"));
    if user.is_none() && group.is_none() {
        return Ok(());
    }
    if !lookup.is_root() {
        return Err(DeclareError::NotRoot);
    }
    let group = match group {
        Some(name) => Some(
            lookup
                .group(&name)
                .ok_or(DeclareError::UnknownGroup(name))?,
        ),
        None => None,
    };
    let mut gid = group;
    if let Some(name) = user {
        let account = lookup.user(&name).ok_or(DeclareError::UnknownUser(name))?;
        if let Some(Value::Object(env)) = app.get_mut("env") {
            env.insert("HOME".into(), Value::from(account.home));
        }
        app.insert("uid".into(), Value::from(account.uid));
        gid = group.or(Some(account.gid));
    }
    if let Some(gid) = gid {
        app.insert("gid".into(), Value::from(gid));
    }
    Ok(())
}

/// A single process outside cluster mode needs no number in the names of its log files.
fn share_logs(app: &mut Object) {
    let is_cluster = app
        .get("exec_mode")
        .is_some_and(|mode| mode == "cluster_mode");
    let has_count = app.get("instances").is_some_and(is_truthy);
    if !is_cluster && !has_count && !app.contains_key("merge_logs") {
        // Checked again only for the order of its members.
        app.insert("merge_logs".into(), Value::Bool(true));
        *app = in_order(app);
    }
}

fn in_order(app: &Object) -> Object {
    let known = options::TABLE
        .iter()
        .map(|spec| spec.name)
        .filter_map(|name| app.get_key_value(name));
    let others = app.iter().filter(|(key, _)| options::find(key).is_none());
    known
        .chain(others)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
