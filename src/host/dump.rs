//! The saved list of processes: two generations of it, and never half of one.
//!
//! What is saved replaces the file as a whole after the one before has become the backup, so that a writer that is killed, or a machine
//! that loses power, leaves at least one list that can be read. A file that is no list is put aside, never deleted, and never becomes
//! the backup of anything.

use super::HostError;
use super::files::replace;
use super::paths::Home;
use crate::config::{Object, ecosystem};
use serde_json::Value;
use serde_json::value::RawValue;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How many unreadable files are kept beside each other; past it the last one gives way.
const ASIDE_MAX: u32 = 9;

/// A list as it was found.
#[derive(Debug)]
pub struct Saved {
    /// Where.
    pub path: PathBuf,
    /// As it was written.
    pub text: String,
    /// A record for each process.
    pub records: Vec<Object>,
}

/// What was looked at to find a saved list.
#[derive(Debug, Default)]
pub struct Found {
    /// The newest list that can be read.
    pub saved: Option<Saved>,
    /// What was there and is of no use: each file, and what became of it or why it cannot be read.
    pub unreadable: Vec<(PathBuf, String)>,
}

/// Saves `text`, the JSON text of a list, as `path`; what was saved before becomes the backup.
pub fn save(path: &Path, backup: &Path, text: &str) -> Result<(), HostError> {
    // What is no file, such as a device, has no content to keep.
    if path.metadata().is_ok_and(|found| found.is_file()) {
        let before = fs::read(path).map_err(|source| HostError::File {
            action: "read",
            path: path.to_path_buf(),
            source,
        })?;
        if is_list(&before) {
            replace(backup, &before)?;
        } else {
            put_aside(path).map_err(|source| HostError::File {
                action: "put aside",
                path: path.to_path_buf(),
                source,
            })?;
        }
    }
    replace(path, text.as_bytes())
}

/// Forgets what is saved, without a backup, as pm2.
pub fn clear(home: &Home) -> Result<(), HostError> {
    home.create_root()?;
    replace(&home.dump, b"[]")
}

/// The newest list that can be read. What is none is put aside.
#[must_use]
pub fn load(home: &Home) -> Found {
    let mut found = Found::default();
    for path in [&home.dump, &home.dump_backup] {
        let read = path.metadata().and_then(|at| {
            // A device has no list to give, and some have no end.
            let is_file = at.is_file();
            is_file.then(|| fs::read(path)).transpose()
        });
        match read {
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Ok(Some(bytes)) => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                if let Some(records) = parse(&text) {
                    let path = path.clone();
                    found.saved = Some(Saved {
                        path,
                        text,
                        records,
                    });
                    break;
                }
                let fate = match put_aside(path) {
                    Ok(aside) => format!("it is no saved list, and is kept as {}", aside.display()),
                    Err(error) => format!("it is no saved list, and stays: {error}"),
                };
                found.unreadable.push((path.clone(), fate));
            }
            Err(error) => found.unreadable.push((path.clone(), error.to_string())),
        }
    }
    found
}

/// The records in a saved list's text; nothing if it is none. Compat: pm2 evaluates its own as JavaScript, so comments and the like pass.
#[must_use]
pub fn parse(text: &str) -> Option<Vec<Object>> {
    let value = serde_json::from_str(text)
        .ok()
        .or_else(|| ecosystem::parse_json(text).ok())?;
    let Value::Array(items) = value else {
        return None;
    };
    let records = items.into_iter().map(|item| match item {
        Value::Object(record) => Some(record),
        _ => None,
    });
    records.collect()
}

/// Whether these bytes would be found again. Most are JSON, of which nothing needs to be copied to look at it.
fn is_list(bytes: &[u8]) -> bool {
    let is_object = |item: &&RawValue| item.get().starts_with('{');
    serde_json::from_slice::<Vec<&RawValue>>(bytes).is_ok_and(|items| items.iter().all(is_object))
        || parse(&String::from_utf8_lossy(bytes)).is_some()
}

/// Moves a file out of the way under a name of its own, and says which.
fn put_aside(path: &Path) -> io::Result<PathBuf> {
    let name = |number: u32| {
        let mut name = OsString::from(path.file_name().unwrap_or_default());
        name.push(".unreadable");
        if number > 1 {
            name.push(format!(".{number}"));
        }
        path.with_file_name(name)
    };
    let free = (1..ASIDE_MAX).map(name).find(|path| !path.exists());
    let aside = free.unwrap_or_else(|| name(ASIDE_MAX));
    fs::rename(path, &aside)?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(folder: &tempfile::TempDir) -> Home {
        Home::new(folder.path(), &|_| None).unwrap()
    }

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_default()
    }

    // Protects the last good list: what cannot be read never takes its place, and is not lost either.
    #[test]
    fn a_broken_list_is_put_aside_and_never_becomes_the_backup() {
        let folder = tempfile::tempdir().unwrap();
        let home = home(&folder);
        save(&home.dump, &home.dump_backup, r#"[{"name":"one"}]"#).unwrap();
        save(&home.dump, &home.dump_backup, r#"[{"name":"two"}]"#).unwrap();
        assert_eq!(text(&home.dump_backup), r#"[{"name":"one"}]"#);
        for broken in ["", "[{\"name\":", "{}", "[1]", "[{\"name\":\"x\"}", "null"] {
            fs::write(&home.dump, broken).unwrap();
            save(&home.dump, &home.dump_backup, r#"[{"name":"new"}]"#).unwrap();
            assert_eq!(text(&home.dump_backup), r#"[{"name":"one"}]"#, "{broken}");
            assert_eq!(text(&home.dump), r#"[{"name":"new"}]"#);
        }
        for (name, broken) in [("", ""), (".2", "[{\"name\":"), (".6", "null")] {
            let aside = folder.path().join(format!("dump.pm2.unreadable{name}"));
            assert_eq!(text(&aside), broken);
        }
    }

    // Protects the disk: a file that breaks again and again is kept so many times and no more.
    #[test]
    fn only_so_many_broken_lists_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let home = home(&folder);
        for round in 0..=ASIDE_MAX {
            fs::write(&home.dump, round.to_string()).unwrap();
            assert!(load(&home).saved.is_none());
        }
        let count = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(count, usize::try_from(ASIDE_MAX).unwrap());
        assert_eq!(
            text(&folder.path().join("dump.pm2.unreadable.9")),
            ASIDE_MAX.to_string()
        );
    }

    // Protects: pm2's own files, with what its parser lets pass, and the order in which files are tried.
    #[test]
    fn the_newest_list_that_can_be_read_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let home = home(&folder);
        assert!(load(&home).saved.is_none() && load(&home).unreadable.is_empty());
        fs::write(&home.dump_backup, "[{name: 'old'}] // by hand").unwrap();
        assert_eq!(load(&home).saved.unwrap().records[0]["name"], "old");
        fs::write(&home.dump, "[{").unwrap();
        let found = load(&home);
        assert_eq!(found.saved.unwrap().path, home.dump_backup);
        assert!(
            found.unreadable[0].1.contains("dump.pm2.unreadable"),
            "{:?}",
            found.unreadable
        );
        clear(&home).unwrap();
        assert_eq!(load(&home).saved.unwrap().text, "[]");
        assert_eq!(text(&home.dump_backup), "[{name: 'old'}] // by hand");
    }

    // Protects: a failed save says where, and leaves both generations as they were.
    #[test]
    fn a_list_that_cannot_be_saved_leaves_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut home = home(&folder);
        save(&home.dump, &home.dump_backup, r#"[{"name":"one"}]"#).unwrap();
        home.dump_backup = folder.path().join("missing/dump.pm2.bak");
        let error = save(&home.dump, &home.dump_backup, r#"[{"name":"two"}]"#).unwrap_err();
        assert!(
            error.to_string().ends_with("missing/dump.pm2.bak"),
            "{error}"
        );
        assert_eq!(text(&home.dump), r#"[{"name":"one"}]"#);
        home.dump = "/dev/full".into();
        let error = save(&home.dump, &home.dump_backup, "[]").unwrap_err();
        assert!(error.to_string().ends_with("/dev/full"), "{error}");
    }
}
