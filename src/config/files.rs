//! Where the files of an app lie: its output, its errors, both together, and its process id.

use serde_json::Value;

use super::resolve::{ResolveError, Surroundings};
use super::{Lookup, Object, paths};

/// Replaces the file options by absolute paths and gives the folders that those the user chose lie in.
pub(super) fn place(
    app: &mut Object,
    name: &str,
    cwd: &str,
    around: &Surroundings,
    lookup: &impl Lookup,
) -> Result<Vec<String>, ResolveError> {
    const FILES: [(&str, &str, &str, &str); 4] = [
        ("log_file", "pm_log_path", "", "log"),
        ("out_file", "pm_out_log_path", "-out", "log"),
        ("error_file", "pm_err_log_path", "-error", "log"),
        ("pid_file", "pm_pid_path", "", "pid"),
    ];
    let home = lookup.home_folder();
    let stem = paths::file_stem(name);
    let mut folders: Vec<String> = Vec::new();
    for (option, field, suffix, extension) in FILES {
        let given = app.shift_remove(option);
        let path = match given.as_ref() {
            Some(Value::String(text)) if text == "NULL" || text == "/dev/null" => {
                "/dev/null".to_owned()
            }
            Some(Value::String(text)) if !text.is_empty() => {
                let path = paths::resolve(cwd, &paths::expand_home(text, &home));
                if lookup.is_folder(&path) {
                    return Err(ResolveError::FileIsFolder { option, path });
                }
                let folder = paths::folder(&path).to_owned();
                if !folders.contains(&folder) {
                    folders.push(folder);
                }
                path
            }
            other => {
                if option == "log_file" && other != Some(&Value::Bool(true)) {
                    continue;
                }
                paths::resolve(
                    if extension == "pid" {
                        &around.pid_folder
                    } else {
                        &around.log_folder
                    },
                    &format!("{stem}{suffix}.{extension}"),
                )
            }
        };
        app.insert(field.into(), Value::from(path));
    }
    Ok(folders)
}
