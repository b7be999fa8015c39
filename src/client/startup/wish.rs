//! What the caller wants, taken apart and checked.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::actions::ActionError;
use crate::config::Object;
use crate::host::paths::Home;

/// The longest name of a service; it becomes a file's name.
const SERVICE_CHARS_MAX: usize = 100;

/// What init systems look for programs in by themselves.
const USUAL_PATH: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// One call of `startup` or `unstartup`.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) platform: Option<String>,
    /// `-u`.
    pub(super) user: Option<String>,
    /// Who the environment says is calling.
    pub(super) login: Option<String>,
    /// `--hp`: the folder that the home is in.
    pub(super) hp: Option<PathBuf>,
    /// `--service-name`.
    pub(super) service: Option<String>,
    /// `--wait-ip`.
    pub(super) is_online: bool,
    /// Nothing is to be done.
    pub(super) is_print: bool,
    /// What stands for `/`: another machine's disk.
    pub(super) root: Option<PathBuf>,
    pub(super) env: Vec<(OsString, OsString)>,
    /// The caller's `PATH`.
    pub(super) search_path: OsString,
    /// The folder of the caller's Node.
    node_folder: Option<String>,
}

impl Wish {
    pub(super) fn read(payload: &str) -> Result<Self, ActionError> {
        let malformed = |reason: &str| ActionError::new(format!("malformed request: {reason}"));
        let mut members: Object =
            serde_json::from_str(payload).map_err(|error| malformed(&error.to_string()))?;
        let mut take = |name: &str| members.shift_remove(name).filter(|value| !value.is_null());
        let options = match take("options") {
            None => Object::new(),
            Some(Value::Object(options)) => options,
            Some(other) => return Err(refused("opts", "an object", &other)),
        };
        let cwd = match take("cwd") {
            Some(Value::String(cwd)) if cwd.starts_with('/') => PathBuf::from(cwd),
            _ => return Err(malformed("cwd must be an absolute path")),
        };
        let env: Vec<(OsString, OsString)> = match take("env") {
            Some(Value::Object(env)) => env
                .into_iter()
                .filter_map(|(name, value)| Some((name.into(), value.as_str()?.into())))
                .collect(),
            _ => Vec::new(),
        };
        let platform = match take("platform") {
            None => None,
            Some(Value::String(name)) => Some(name),
            Some(other) => return Err(refused("platform", "a name", &other)),
        };
        let node = take("node").and_then(|node| Some(PathBuf::from(node.as_str()?)));
        let node_folder = node
            .as_deref()
            .and_then(Path::parent)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.to_string_lossy().into_owned());
        let path = |name: &str| text(&options, name).map(|path| path.map(|path| cwd.join(path)));
        let service = text(&options, "serviceName")?;
        if let Some(name) = &service {
            require_service_name(name)?;
        }
        let mut wish = Self {
            platform,
            user: text(&options, "user")?,
            login: None,
            hp: path("hp")?,
            service,
            is_online: switch(&options, "waitIp")?,
            is_print: switch(&options, "print")?,
            root: path("root")?,
            env,
            search_path: OsString::new(),
            node_folder,
        };
        wish.search_path = wish.variable("PATH").unwrap_or_default();
        require_plain("PATH", &wish.search_path.to_string_lossy())?;
        let login = wish.variable("USER").or_else(|| wish.variable("LOGNAME"));
        wish.login = login.map(|name| name.to_string_lossy().into_owned());
        Ok(wish)
    }

    /// A variable of the caller's that is not empty.
    pub(super) fn variable(&self, name: &str) -> Option<OsString> {
        let found = self.env.iter().find(|(found, _)| found == name);
        found
            .map(|(_, value)| value.clone())
            .filter(|value| !value.is_empty())
    }

    /// Whether nobody chose this home: it is where the caller's homes are anyway.
    pub(super) fn is_default_home(&self, home: &Home) -> bool {
        let without_choice = |name: &str| self.variable(name).filter(|_| name != "PM2_HOME");
        self.variable("PM2_HOME").is_none()
            && Home::locate(&without_choice, Path::new("/")) == home.root
    }

    /// The caller's folders of programs, that of Node, and the usual ones; each once, and none that depends on where one stands.
    pub(super) fn service_path(&self) -> String {
        let given = self.search_path.to_string_lossy().into_owned();
        let mut folders: Vec<&str> = Vec::new();
        let all = given
            .split(':')
            .chain(self.node_folder.as_deref())
            .chain(USUAL_PATH);
        for folder in all.filter(|folder| folder.starts_with('/')) {
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        folders.join(":")
    }
}

/// Refuses what would begin another line, and with it another setting, in a file that root's init system reads.
pub(super) fn require_plain(what: &str, text: &str) -> Result<(), ActionError> {
    if text.chars().any(char::is_control) {
        let shown = OsStr::new(text).display();
        return Err(ActionError::new(format!(
            "{what} has a control character in it, which no init file can hold: {shown:?}"
        )));
    }
    Ok(())
}

fn require_service_name(name: &str) -> Result<(), ActionError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.@:-".contains(c);
    let is_good = name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && name.chars().all(is_plain)
        && name.len() <= SERVICE_CHARS_MAX;
    if is_good {
        return Ok(());
    }
    let allowed = format!(
        "at most {SERVICE_CHARS_MAX} letters, digits and _.@:-, the first one a letter, a digit or _"
    );
    Err(refused("serviceName", &allowed, &Value::from(name)))
}

fn text(options: &Object, name: &str) -> Result<Option<String>, ActionError> {
    match options.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => {
            require_plain(&format!("option \"{name}\""), text)?;
            Ok(Some(text.clone()))
        }
        Some(other) => Err(refused(name, "text", other)),
    }
}

fn switch(options: &Object, name: &str) -> Result<bool, ActionError> {
    match options.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(other) => Err(refused(name, "true or false", other)),
    }
}

fn refused(name: &str, allowed: &str, given: &Value) -> ActionError {
    ActionError::new(format!("option \"{name}\" must be {allowed}, not {given}"))
}
