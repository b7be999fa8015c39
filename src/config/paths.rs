//! Paths as Node's `path` module treats them: by their text alone.

/// `path.resolve(base, path)`: absolute, without `.`, `..`, doubled or trailing slashes. `base` must be absolute.
#[must_use]
pub fn resolve(base: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let whole = if path.starts_with('/') {
        [path, ""]
    } else {
        [base, path]
    };
    for part in whole.iter().flat_map(|text| text.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// `path.basename(path)`.
#[must_use]
pub fn base_name(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    path.rsplit('/').next().unwrap_or(path)
}

/// `path.extname(path)`: from the last dot of the base name, empty if there is none or it comes first.
#[must_use]
pub fn extension(path: &str) -> &str {
    let base = base_name(path);
    match base.rfind('.') {
        Some(dot) if dot > 0 && base != ".." => &base[dot..],
        _ => "",
    }
}

/// `path.dirname(path)` of an absolute path.
#[must_use]
pub fn folder(path: &str) -> &str {
    match path.trim_end_matches('/').rfind('/') {
        Some(0) | None => "/",
        Some(end) => &path[..end],
    }
}

/// Puts the home directory for a leading `~`.
#[must_use]
pub fn expand_home(path: &str, home: &str) -> String {
    match path.strip_prefix('~') {
        Some(rest) => format!(
            "{}/{}",
            home.trim_end_matches('/'),
            rest.trim_start_matches('/')
        ),
        None => path.to_owned(),
    }
}

/// The part of a log file's name that comes from the app's name: letters, digits, dot, minus and backslash stay.
#[must_use]
pub fn file_stem(name: &str) -> String {
    name.chars()
        .flat_map(|c| {
            let keep = c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '\\');
            // Compat: pm2 replaces UTF-16 units (Common.prepareAppConf), so a character beyond the first plane becomes two dashes.
            std::iter::repeat_n(if keep { c } else { '-' }, c.len_utf16())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolving_is_textual_like_nodes() {
        assert_eq!(resolve("/a/b", "c.js"), "/a/b/c.js");
        assert_eq!(resolve("/a/b", "../../../c"), "/c");
        assert_eq!(resolve("/a/b/", "./c//d/"), "/a/b/c/d");
        assert_eq!(resolve("/a", "/x/../y"), "/y");
        assert_eq!(resolve("/", ""), "/");
    }

    #[test]
    fn extensions_are_nodes() {
        for (path, expected) in [
            ("a.js", ".js"),
            ("/x.y/a", ""),
            (".bashrc", ""),
            (".a.js", ".js"),
            ("a.", "."),
            ("a.b.c", ".c"),
            ("..", ""),
            ("...", "."),
            ("", ""),
        ] {
            assert_eq!(extension(path), expected, "{path}");
        }
    }

    #[test]
    fn names_become_file_stems() {
        assert_eq!(file_stem("we ird/nä_me.x"), "we-ird-n--me.x");
        assert_eq!(file_stem("a😀b"), "a--b");
    }

    #[test]
    fn a_tilde_is_the_home_directory() {
        assert_eq!(expand_home("~/x.log", "/home/app"), "/home/app/x.log");
        assert_eq!(expand_home("/~/x", "/home/app"), "/~/x");
    }
}
