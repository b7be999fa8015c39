//! What one process watches, read from its record.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::ignore::{Ignore, is_glob};
use crate::model::Record;

/// Paths of one declaration. More is a generated list, for which a folder is meant.
const ROOTS_MAX: usize = 1_000;

/// What one process watches.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// What relative paths are relative to.
    pub(super) cwd: PathBuf,
    pub(super) roots: Vec<Root>,
    /// `ignore_watch` and `watch_options.ignored`; `None`: what pm2 ignores when nothing is said.
    pub(super) ignored: Option<Vec<String>>,
    /// `watch_delay`.
    pub(super) delay: Duration,
    /// `watch_options.followSymlinks`.
    pub(super) follows_links: bool,
    /// `watch_options.depth`: how many folders below a root.
    pub(super) depth: Option<usize>,
    /// `watch_options.usePolling`, and how often: for file systems that report nothing, such as NFS.
    pub(super) poll: Option<Duration>,
}

/// A path that is watched, with everything below.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Root {
    pub(super) path: PathBuf,
    /// What is meant below it: a pattern of whole paths.
    pub(super) pattern: Option<String>,
}

/// chokidar's interval when it polls.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

impl Plan {
    /// Members that make no sense count as not given: they have been checked when the app was declared.
    pub(super) fn read(record: &Record) -> Self {
        let value = |key: &str| {
            let raw = record.declared(key)?;
            serde_json::from_str::<Value>(&raw).ok()
        };
        let cwd = value("pm_cwd").and_then(|cwd| cwd.as_str().map(PathBuf::from));
        let cwd = cwd.unwrap_or_else(|| "/".into());
        let options = value("watch_options").unwrap_or_default();
        // An empty list is an answer, an empty text is none.
        let mut ignored = value("ignore_watch")
            .map(|given| (given.is_array(), texts(given)))
            .filter(|(is_list, texts)| *is_list || !texts.is_empty())
            .map(|(_, texts)| texts);
        let more = options
            .get("ignored")
            .cloned()
            .map(texts)
            .unwrap_or_default();
        if !more.is_empty() {
            ignored.get_or_insert_default().extend(more);
        }
        let number = |value: Option<&Value>| value.and_then(Value::as_u64);
        let polls = options.get("usePolling") == Some(&Value::Bool(true));
        let interval = number(options.get("interval")).filter(|ms| *ms > 0);
        Self {
            roots: roots(&cwd, value("watch").map(texts).unwrap_or_default()),
            ignored,
            delay: Duration::from_millis(number(value("watch_delay").as_ref()).unwrap_or(0)),
            follows_links: options.get("followSymlinks") != Some(&Value::Bool(false)),
            depth: number(options.get("depth")).and_then(|depth| usize::try_from(depth).ok()),
            poll: polls.then(|| interval.map_or(POLL_INTERVAL, Duration::from_millis)),
            cwd,
        }
    }

    pub(super) fn ignore(&self) -> Ignore {
        Ignore::new(&self.cwd, self.ignored.as_deref())
    }
}

fn roots(cwd: &Path, paths: Vec<String>) -> Vec<Root> {
    if paths.is_empty() {
        let (path, pattern) = (cwd.to_path_buf(), None);
        return vec![Root { path, pattern }];
    }
    let roots = paths.into_iter().take(ROOTS_MAX).map(|text| {
        let path = absolute(cwd, &text);
        if !is_glob(&text) {
            return Root {
                path,
                pattern: None,
            };
        }
        let fixed = path
            .components()
            .take_while(|part| !is_glob(&part.as_os_str().to_string_lossy()))
            .collect();
        Root {
            path: fixed,
            pattern: Some(path.to_string_lossy().into_owned()),
        }
    });
    roots.collect()
}

/// Without `.` and `..`, by words alone: a pattern's parts need not exist.
pub(super) fn absolute(cwd: &Path, text: &str) -> PathBuf {
    let mut path = PathBuf::new();
    for part in cwd.join(text).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                path.pop();
            }
            other @ (Component::Prefix(_) | Component::RootDir | Component::Normal(_)) => {
                path.push(other);
            }
        }
    }
    path
}

fn texts(value: Value) -> Vec<String> {
    match value {
        Value::String(text) if !text.is_empty() => vec![text],
        Value::Array(items) => items.into_iter().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Protects: `true` and `[]` mean the working directory, globs are watched from their fixed part.
    #[test]
    fn roots_are_absolute_and_globs_begin_where_they_are_fixed() {
        let cwd = Path::new("/srv/app");
        let root = |path: &str, pattern: Option<&str>| Root {
            path: path.into(),
            pattern: pattern.map(str::to_owned),
        };
        assert_eq!(roots(cwd, vec![]), [root("/srv/app", None)]);
        let given = ["./lib", "../x.js", "src/**/*.js", "/etc/a"];
        assert_eq!(
            roots(cwd, given.map(str::to_owned).to_vec()),
            [
                root("/srv/app/lib", None),
                root("/srv/x.js", None),
                root("/srv/app/src", Some("/srv/app/src/**/*.js")),
                root("/etc/a", None),
            ]
        );
    }
}
