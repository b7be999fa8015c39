//! The rules of the tree that no compiler checks: who may know whom, how long files and functions may be, what every room
//! says of itself, that all versions agree, and that nothing of the machine it was written on is in the repository.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which rooms a room may import from; external crates it must not name at all.
const ROOMS: [(&str, &[&str], &[&str]); 10] = [
    ("wire", &[], &["tokio", "nix"]),
    ("model", &[], &["tokio", "nix"]),
    ("config", &["model"], &["tokio", "nix"]),
    ("core", &["model"], &["tokio", "nix"]),
    // `config` asks what the machine has; `host` answers.
    ("host", &["model", "config"], &["tokio"]),
    ("keeper", &["host"], &["tokio", "serde", "serde_json"]),
    (
        "daemon",
        &["core", "host", "wire", "model", "config", "keeper::proto"],
        &[],
    ),
    (
        "client",
        &["wire", "model", "config", "host", "keeper::proto"],
        &[],
    ),
    ("cli", &["client", "model", "config", "daemon::run"], &[]),
    ("addon", &["client", "model", "config"], &[]),
];

/// The end of a file and of a function, in lines. Unit tests do not count, below the code they test or in a `…_tests.rs` beside it.
const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;

/// What may be longer, up to which line, and why.
const LONGER: [(&str, usize, &str); 1] =
    [("src/model/record.rs", 540, "one record, field by field")];

/// Hidden helpers of a test program, found through `mod` in a listed file.
const SHARED: [&str; 2] = ["mod.rs", "helper.rs"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Symbolic links that git knows of.
fn links() -> Vec<String> {
    let is_link = |path: &String| root().join(path).is_symlink();
    listed().into_iter().filter(is_link).collect()
}

/// Files that git knows of, as paths from the root.
fn tracked() -> Vec<String> {
    let is_file = |path: &String| root().join(path).is_file();
    listed().into_iter().filter(is_file).collect()
}

/// What git knows of the tree, added or not yet added.
fn listed() -> Vec<String> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git lists the tree");
    assert!(
        output.status.success(),
        "git ls-files: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let listed = String::from_utf8(output.stdout).expect("paths are text");
    listed.lines().map(str::to_owned).collect()
}

fn tracked_with(extension: &str) -> Vec<String> {
    let wanted = |path: &String| {
        Path::new(path)
            .extension()
            .is_some_and(|found| found == extension)
    };
    tracked().into_iter().filter(wanted).collect()
}

/// The room a source file belongs to, if any.
fn room_of(path: &str) -> Option<&'static str> {
    let rest = path.strip_prefix("src/")?;
    ROOMS.iter().map(|(name, ..)| *name).find(|name| {
        rest.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('/'))
    })
}

/// Fails with one line for each complaint.
fn report(rule: &str, complaints: &[String]) {
    let mut lines = String::new();
    for complaint in complaints {
        writeln!(lines, "  {complaint}").expect("a String takes everything");
    }
    assert!(complaints.is_empty(), "{rule}:\n{lines}");
}

/// Lines that are code: no comments, no docs.
fn code(source: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = source
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line));
    numbered.filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// The paths after each `crate::` (or `pm2::` in the addon) of a line, a braced group taken apart.
fn imports(line: &str, prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (start, _) in line.match_indices(prefix) {
        // `$crate::` and `other_crate::` are something else.
        let before = line[..start].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &line[start + prefix.len()..];
        let path = |text: &str| -> String {
            text.trim()
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_' || *c == ':')
                .collect()
        };
        match rest.strip_prefix('{') {
            Some(group) => found.extend(top_level(group).into_iter().map(path)),
            None => found.push(path(rest)),
        }
    }
    found.retain(|path| !path.is_empty());
    found
}

/// The members of a braced group, without what is in braces inside them.
fn top_level(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut members) = (0_usize, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                members.push(&group[start..at]);
                return members;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                members.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    members
}

#[test]
fn a_room_imports_only_from_the_rooms_below_it() {
    // Protects the floors: a pure room that learns of the system, or a face that reaches past the client, cannot be undone cheaply.
    let mut complaints = Vec::new();
    for path in tracked_with("rs") {
        let Some(room) = room_of(&path) else { continue };
        let (_, allowed, _) = ROOMS
            .iter()
            .find(|(name, ..)| *name == room)
            .expect("the room is in the table");
        let prefix = if room == "addon" { "pm2::" } else { "crate::" };
        let source = text(&root().join(&path));
        for (number, line) in code(&source) {
            for import in imports(line, prefix) {
                let is_room = ROOMS
                    .iter()
                    .any(|(name, ..)| import.split("::").next() == Some(name));
                let is_own = room != "addon" && import.split("::").next() == Some(room);
                let is_allowed = allowed
                    .iter()
                    .any(|edge| import == *edge || import.starts_with(&format!("{edge}::")));
                if is_room && !is_own && !is_allowed {
                    complaints.push(format!("{path}:{number}: {room} may not use {import}"));
                }
            }
        }
    }
    report("edges against the table of rooms", &complaints);
}

#[test]
fn a_room_names_no_crate_that_it_must_do_without() {
    // Protects the memory and the purity of the rooms: no runtime in the keeper, no system calls in the core.
    let mut complaints = Vec::new();
    for path in tracked_with("rs") {
        let Some(room) = room_of(&path) else { continue };
        let (.., forbidden) = ROOMS
            .iter()
            .find(|(name, ..)| *name == room)
            .expect("the room is in the table");
        let source = text(&root().join(&path));
        for (number, line) in code(&source) {
            for name in *forbidden {
                if imports(line, &format!("{name}::")).is_empty() {
                    continue;
                }
                complaints.push(format!("{path}:{number}: {room} does without {name}"));
            }
        }
    }
    report("crates that a room must not name", &complaints);
}

#[test]
fn every_room_says_what_it_never_does() {
    // Protects the reader: a room's first page says what is deliberately absent from it.
    let mut complaints = Vec::new();
    for (room, ..) in ROOMS {
        let candidates = [
            format!("src/{room}/mod.rs"),
            format!("src/{room}/src/lib.rs"),
        ];
        let Some(path) = candidates.iter().find(|path| root().join(path).is_file()) else {
            continue;
        };
        let source = text(&root().join(path));
        let head: String = source
            .lines()
            .take_while(|line| line.starts_with("//!") || line.starts_with("#!"))
            .collect();
        if !head.contains("**Invariant") {
            complaints.push(format!("{path}: no **Invariant** paragraph at its head"));
        }
    }
    report("invariants", &complaints);
}

#[test]
fn files_and_functions_end_before_the_reader_is_lost() {
    // Protects the reader again: past these lengths something wants to be two things.
    let mut complaints = Vec::new();
    let most = |name: &str, usual: usize| {
        LONGER
            .iter()
            .find(|(long, ..)| *long == name)
            .map_or(usual, |(_, most, _)| *most)
    };
    for path in tracked_with("rs").iter().chain(&tracked_with("js")) {
        if path.starts_with("fuzz/") || path.ends_with("_tests.rs") {
            continue;
        }
        let source = text(&root().join(path));
        let own = source
            .find("\n#[cfg(test)]\nmod ")
            .map_or(source.as_str(), |end| &source[..end]);
        let lines = own.lines().count();
        if lines > most(path, FILE_LINES) {
            complaints.push(format!(
                "{path}: {lines} lines, {FILE_LINES} are the end of a file"
            ));
        }
        // A test tells one story from its beginning to its end.
        if !path.starts_with("src/") || Path::new(path).extension().is_none_or(|kind| kind != "rs")
        {
            continue;
        }
        for (name, number, lines) in functions(own) {
            if lines > most(&format!("{path}::{name}"), FUNCTION_LINES) {
                complaints.push(format!(
                    "{path}:{number}: fn {name} has {lines} lines, {FUNCTION_LINES} are the end"
                ));
            }
        }
    }
    report("lengths", &complaints);
}

/// Name, first line and length of each function, as rustfmt lays them out: the closing brace stands under the first word.
fn functions(source: &str) -> Vec<(String, usize, usize)> {
    let lines: Vec<&str> = source.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let words: Vec<&str> = trimmed
            .split_whitespace()
            .take_while(|word| !word.contains('('))
            .collect();
        let is_head = trimmed.starts_with("fn ")
            || (words.last() == Some(&"fn") && !trimmed.starts_with("//"));
        let Some((_, after)) = trimmed
            .split_once("fn ")
            .filter(|_| is_head || words.contains(&"fn"))
        else {
            continue;
        };
        if trimmed.starts_with("//") || trimmed.ends_with(';') {
            continue;
        }
        let name = after
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        let end = format!("{}}}", &line[..line.len() - trimmed.len()]);
        if let Some(length) = lines[index..].iter().position(|line| *line == end) {
            found.push((name, index + 1, length + 1));
        }
    }
    found
}

#[test]
fn every_manifest_tells_the_same_version() {
    // Protects a release: an addon and an executable of different versions in one install.
    let json = |path: &str| -> serde_json::Value {
        serde_json::from_str(&text(&root().join(path))).expect("a manifest is JSON")
    };
    let wanted = env!("CARGO_PKG_VERSION");
    let mut versions = BTreeMap::new();
    let mut manifests: Vec<String> = tracked()
        .into_iter()
        .filter(|path| path.starts_with("npm/") && path.ends_with("package.json"))
        .collect();
    manifests.push("package.json".to_owned());
    for path in manifests {
        let manifest = json(&path);
        versions.insert(
            path.clone(),
            manifest["version"].as_str().unwrap_or("none").to_owned(),
        );
        if let Some(optional) = manifest["optionalDependencies"].as_object() {
            for (name, version) in optional {
                versions.insert(
                    format!("{path}, {name}"),
                    version.as_str().unwrap_or("none").to_owned(),
                );
            }
        }
    }
    for package in ["src/addon/Cargo.toml", "__test__/simulator/Cargo.toml"] {
        if !text(&root().join(package)).contains("version.workspace = true") {
            versions.insert(package.to_owned(), "its own".to_owned());
        }
    }
    versions.retain(|_, version| version != wanted);
    let complaints: Vec<String> = versions
        .iter()
        .map(|(place, version)| format!("{place}: {version}, not {wanted}"))
        .collect();
    report("versions", &complaints);
}

#[test]
fn nothing_of_the_machine_it_was_written_on_is_in_the_tree() {
    // Protects everybody else: a path or a mirror that only one machine has breaks their build, or tells what is none of their business.
    let forbidden = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("registry.npm", "js.org"),
        concat!("registry.yarn", "pkg.com"),
        concat!("index.cra", "tes.io"),
        concat!("static.cra", "tes.io"),
    ];
    let mut complaints = Vec::new();
    for path in links() {
        complaints.push(format!(
            "{path}: a link, which leads nowhere on another machine"
        ));
    }
    for path in tracked() {
        // What is not text has no such words in it that a person wrote.
        let Ok(source) = fs::read_to_string(root().join(&path)) else {
            continue;
        };
        for (index, line) in source.lines().enumerate() {
            for word in forbidden.iter().filter(|word| line.contains(**word)) {
                complaints.push(format!("{path}:{}: {word}", index + 1));
            }
        }
    }
    report("machine paths and registries", &complaints);
}

#[test]
fn every_test_program_is_listed() {
    // Protects the tests themselves: with `autotests = false` a file that nobody lists is never run.
    let packages = ["", "__test__/simulator/"];
    let manifests = packages.map(|folder| (folder, text(&root().join(folder).join("Cargo.toml"))));
    let sources: Vec<PathBuf> = tracked_with("rs")
        .into_iter()
        .filter(|path| path.starts_with("__test__/"))
        .map(PathBuf::from)
        .collect();
    let all: String = sources
        .iter()
        .map(|path| text(&root().join(path)))
        .collect();
    let mut complaints = Vec::new();
    for path in &sources {
        let name = path
            .file_name()
            .expect("a file has a name")
            .to_string_lossy();
        let stem = path
            .file_stem()
            .expect("a file has a name")
            .to_string_lossy();
        let is_listed = manifests.iter().any(|(folder, manifest)| {
            let below = path.strip_prefix(folder);
            below.is_ok_and(|path| manifest.contains(&format!("path = \"{}\"", path.display())))
        });
        let is_part = SHARED.contains(&&*name)
            || all.contains(&format!("mod {stem};"))
            || all.contains(&format!("/{name}\""));
        if !is_listed && !is_part {
            complaints.push(format!(
                "{}: not a [[test]] of Cargo.toml, and no part of one",
                path.display()
            ));
        }
    }
    report("test programs", &complaints);
}
