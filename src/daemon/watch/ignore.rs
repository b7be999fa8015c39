//! `ignore_watch`: globs, paths, or the text of a regular expression.

use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use regex_lite::Regex;

use super::plan::absolute;

/// Which paths are nobody's business.
#[derive(Debug)]
pub(crate) struct Ignore {
    cwd: PathBuf,
    globs: GlobSet,
    /// Patterns that begin with `!`: what they match is not ignored.
    kept: GlobSet,
    /// Matched against the path below the working directory, with a `/` before it.
    regexes: Vec<Regex>,
}

impl Ignore {
    /// `None`: whatever begins with a dot, and `node_modules`, as pm2 does when nothing is said. What is no pattern ignores nothing.
    pub(crate) fn new(cwd: &Path, patterns: Option<&[String]>) -> Self {
        let mut ignore = Self {
            cwd: cwd.to_path_buf(),
            globs: GlobSet::empty(),
            kept: GlobSet::empty(),
            regexes: Vec::new(),
        };
        let Some(patterns) = patterns else {
            ignore
                .regexes
                .extend(Regex::new(r"[/\\]\.|node_modules").ok());
            return ignore;
        };
        let (mut globs, mut kept) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        for pattern in patterns {
            if let Some(regex) = regex(pattern) {
                ignore.regexes.push(regex);
            } else if let Some(pattern) = pattern.strip_prefix('!') {
                add(&mut kept, cwd, pattern);
            } else {
                add(&mut globs, cwd, pattern);
            }
        }
        ignore.globs = globs.build().unwrap_or_default();
        ignore.kept = kept.build().unwrap_or_default();
        ignore
    }

    pub(crate) fn matches(&self, path: &Path) -> bool {
        if self.globs.is_match(path) {
            return !self.kept.is_match(path);
        }
        if self.regexes.is_empty() {
            return false;
        }
        let below = path.strip_prefix(&self.cwd).unwrap_or(path);
        let below = format!("/{}", below.to_string_lossy().trim_start_matches('/'));
        self.regexes.iter().any(|regex| regex.is_match(&below)) && !self.kept.is_match(path)
    }
}

/// The set of one pattern of whole paths.
pub(super) fn only(pattern: &str) -> GlobSet {
    let mut globs = GlobSetBuilder::new();
    add(&mut globs, Path::new("/"), pattern);
    globs.build().unwrap_or_default()
}

/// A pattern, and everything below what it matches, as chokidar has it.
fn add(globs: &mut GlobSetBuilder, cwd: &Path, pattern: &str) {
    // picomatch's groups for one of several are braces to others.
    let pattern = pattern.replace("@(", "{").replace("?(", "{,");
    let pattern = if pattern.contains('{') {
        pattern.replace('|', ",").replace(')', "}")
    } else {
        pattern
    };
    let whole = absolute(cwd, pattern.trim_end_matches('/'));
    let whole = whole.to_string_lossy();
    for pattern in [whole.to_string(), format!("{whole}/**")] {
        let glob = GlobBuilder::new(&pattern)
            .literal_separator(true)
            .backslash_escape(true)
            .empty_alternates(true)
            .build();
        if let Ok(glob) = glob {
            globs.add(glob);
        }
    }
}

pub(super) fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '[', '{']) || text.contains("@(")
}

/// The text of a regular expression: between slashes, or with something that no path and no glob has.
fn regex(pattern: &str) -> Option<Regex> {
    if let Some((body, flags)) = pattern
        .strip_prefix('/')
        .and_then(|rest| rest.rsplit_once('/'))
        && flags.chars().all(|flag| "dgimsuvy".contains(flag))
        && !body.replace("\\/", "").contains('/')
        && !body.is_empty()
    {
        let flags: String = flags.chars().filter(|flag| "ims".contains(*flag)).collect();
        let flags = if flags.is_empty() {
            flags
        } else {
            format!("(?{flags})")
        };
        return Regex::new(&format!("{flags}{}", body.replace("\\/", "/"))).ok();
    }
    // Not `.*`: `.*` and `app.*` are globs.
    let signs = ["\\.", "[\\/", "[/", ".+", "(?:", "\\/", "\\d", "\\w"];
    let has_sign = signs.iter().any(|sign| pattern.contains(sign));
    let is_anchored = pattern.starts_with('^') || pattern.ends_with('$');
    // `*.*` and `a/.*` are globs.
    let is_plain_glob =
        pattern.contains("*.*") || pattern.contains("/.*") || pattern.contains("**");
    ((has_sign || is_anchored) && !is_plain_glob)
        .then(|| Regex::new(&pattern.replace("\\/", "/")).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(patterns: &[&str], path: &str, is_ignored: bool) {
        let patterns: Vec<String> = patterns.iter().map(|text| (*text).to_owned()).collect();
        let ignore = Ignore::new(Path::new("/srv/.hidden/app"), Some(&patterns));
        let matches = ignore.matches(&Path::new("/srv/.hidden/app").join(path));
        assert_eq!(matches, is_ignored, "{patterns:?} {path}");
    }

    // Protects: chokidar's meanings of the common forms.
    #[test]
    fn globs_paths_and_regular_expressions_are_told_apart() {
        check(&["logs"], "logs", true);
        check(&["logs"], "logs/a/b.txt", true);
        check(&["./logs/"], "logs/a", true);
        check(&["logs"], "src/logs.js", false);
        check(&["*.log"], "a.log", true);
        check(&["*.log"], "sub/a.log", false);
        check(&["**/*.log"], "sub/deep/a.log", true);
        check(&["{a,b}.js"], "b.js", true);
        check(
            &["src/**/*.test.js", "!src/keep.test.js"],
            "src/x/y.test.js",
            true,
        );
        check(
            &["src/**/*.test.js", "!src/keep.test.js"],
            "src/keep.test.js",
            false,
        );
        check(&["[\\/\\\\]\\./"], "x/./y", true);
        check(&["\\.git", "node_modules"], "a/.git/HEAD", true);
        check(&["/\\.TMP$/i"], "a/b.tmp", true);
        check(&["/\\.TMP$/"], "a/b.tmp", false);
        check(&["*.*"], "a.js", true);
        check(&[".*"], ".git/HEAD", true);
        check(&[".*"], "a.js", false);
        check(&["app.*"], "app.js", true);
        check(&["app.*"], "src/application.js", false);
        check(&["a.*\\.js$"], "src/app.js", true);
        check(&[], "node_modules/x/index.js", false);
        check(&["["], "a.js", false);
        check(&["/etc/passwd"], "a.js", false);
        check(&["@(x|y)"], "y/z", true);
    }

    // Protects: an app whose own folder lies below one with a dot still is watched.
    #[test]
    fn what_is_ignored_by_default_is_looked_for_below_the_working_directory() {
        let ignore = Ignore::new(Path::new("/srv/.hidden/app"), None);
        let is_ignored = |path: &str| ignore.matches(&Path::new("/srv/.hidden/app").join(path));
        assert!(!is_ignored("a.js"));
        assert!(is_ignored(".git/HEAD"));
        assert!(is_ignored("sub/.env"));
        assert!(is_ignored("node_modules/x/index.js"));
    }
}
