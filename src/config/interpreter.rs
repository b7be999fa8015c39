//! Which program runs a script, and in which mode.

use serde_json::Value;

use super::check::DELETE;
use super::resolve::{ResolveError, Surroundings};
use super::spelling::is_truthy;
use super::{Lookup, Object, paths};

/// No program: the script is executed itself.
pub(crate) const NONE: &str = "none";

/// Decides `exec_interpreter` for the script at `path` and puts what it needs into `node_args` and `env`.
pub(crate) fn decide(
    app: &mut Object,
    path: &str,
    around: &Surroundings,
    lookup: &impl Lookup,
) -> Result<(), ResolveError> {
    let given = app
        .get("exec_interpreter")
        .and_then(Value::as_str)
        .filter(|name| !name.is_empty());
    let mut chosen = match given {
        Some(name) if name.contains("node@") => node_of_version(name, app, around, lookup)?,
        Some(name) => name.to_owned(),
        None => by_extension(app, path, around, lookup)?,
    };
    if chosen.contains("python")
        && let Some(Value::Object(env)) = app.get_mut("env")
    {
        env.insert("PYTHONUNBUFFERED".into(), Value::from("1"));
    }
    // The caller's own Node runs: there is no need to look for it.
    if chosen != NONE && chosen != around.node && !is_available(&chosen, lookup) {
        if chosen != "node" {
            return Err(ResolveError::InterpreterMissing(chosen));
        }
        chosen.clone_from(&around.node);
    }
    app.insert("exec_interpreter".into(), Value::from(chosen));
    Ok(())
}

/// Fails if the app names an interpreter that is not there: whoever changes it would find out when the app has ended. (A `node` that is not in the
/// caller's `PATH` may well be in the app's.)
pub fn require_chosen(app: &Object, lookup: &impl Lookup) -> Result<(), ResolveError> {
    let given = app.get("exec_interpreter").and_then(Value::as_str);
    let is_known =
        |name: &str| [NONE, "node", "", DELETE].contains(&name) || is_available(name, lookup);
    match given {
        Some(name) if !is_known(name) => Err(ResolveError::InterpreterMissing(name.to_owned())),
        _ => Ok(()),
    }
}

/// The Node that `node@<version>` stands for; none if the app does not choose one so.
pub fn chosen_node(
    app: &Object,
    around: &Surroundings,
    lookup: &impl Lookup,
) -> Result<Option<String>, ResolveError> {
    let given = app.get("exec_interpreter").and_then(Value::as_str);
    let chosen = given.filter(|name| name.contains("node@"));
    chosen
        .map(|name| node_of_version(name, app, around, lookup))
        .transpose()
}

/// Decides `exec_mode` and `instances` where they were not given: apps of Node or bun that name a count are clusters.
///
/// A cluster of anything that is certainly not Node is refused: it would never be ready. Programs of other names may be Node (`node20`, `tsx`).
pub(crate) fn decide_mode(app: &mut Object) -> Result<(), ResolveError> {
    let is_cluster = app
        .get("exec_mode")
        .is_some_and(|mode| mode == "cluster_mode");
    let interpreter = app.get("exec_interpreter").and_then(Value::as_str);
    if let Some(interpreter) = interpreter.filter(|name| is_cluster && is_never_node(name)) {
        return Err(ResolveError::ClusterNeedsNode(interpreter.to_owned()));
    }
    if !app.get("exec_mode").is_some_and(is_truthy) {
        let interpreter = app
            .get("exec_interpreter")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let base = paths::base_name(interpreter);
        let shares_ports = base.ends_with("node") || base.ends_with("bun");
        // Compat: -2 and below stay fork mode (behaviour 4.7); pinned by `modes_follow_the_count`.
        let count = app.get("instances");
        let is_count = count
            .and_then(Value::as_f64)
            .is_some_and(|count| count >= 1.0)
            || count
                .and_then(Value::as_i64)
                .is_some_and(|count| matches!(count, -1 | 0));
        let mode = if shares_ports && is_count {
            "cluster_mode"
        } else {
            "fork_mode"
        };
        app.insert("exec_mode".into(), Value::from(mode));
    }
    if !app.contains_key("instances") {
        app.insert("instances".into(), Value::from(1));
    }
    Ok(())
}

/// Is it one of the programs that run other languages, whatever its version?
fn is_never_node(interpreter: &str) -> bool {
    const OTHERS: [&str; 9] = [
        NONE, "bash", "sh", "dash", "zsh", "python", "ruby", "php", "perl",
    ];
    let base = paths::base_name(interpreter);
    let name = base.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
    OTHERS.contains(&name)
}

fn is_available(program: &str, lookup: &impl Lookup) -> bool {
    if program.contains('/') {
        lookup.is_executable(program)
    } else {
        lookup.find_in_path(program).is_some()
    }
}

fn by_extension(
    app: &mut Object,
    path: &str,
    around: &Surroundings,
    lookup: &impl Lookup,
) -> Result<String, ResolveError> {
    let chosen = match paths::extension(path) {
        ".sh" => "bash",
        ".py"
            if lookup.find_in_path("python").is_none()
                && lookup.find_in_path("python3").is_some() =>
        {
            "python3"
        }
        ".py" => "python",
        ".rb" => "ruby",
        ".php" => "php",
        ".pl" => "perl",
        ".js" => "node",
        ".coffee" => "coffee",
        ".ls" => "lsc",
        ".ts" if lookup.find_in_path("bun").is_none() => return node_for_typescript(app, around),
        ".ts" | ".tsx" => "bun",
        _ => return Ok(by_content(path, around, lookup)),
    };
    Ok(chosen.to_owned())
}

/// A script without a known extension: a program runs itself, anything else is taken for JavaScript.
fn by_content(path: &str, around: &Surroundings, lookup: &impl Lookup) -> String {
    let Some(head) = lookup.head(path) else {
        // A program that may be executed but not read.
        return if lookup.is_executable(path) && lookup.is_file(path) {
            NONE.into()
        } else {
            around.node.clone()
        };
    };
    if head.contains(&0) {
        return NONE.into();
    }
    // pm2 gives every text to node, where a shell script can only fail; its first line says better.
    let first_line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let names = |word: &[u8]| first_line.windows(word.len()).any(|window| window == word);
    let is_foreign = first_line.starts_with(b"#!") && !names(b"node") && !names(b"bun");
    if is_foreign && lookup.is_executable(path) {
        NONE.into()
    } else {
        around.node.clone()
    }
}

/// Node itself for TypeScript, where this Node can strip types.
fn node_for_typescript(app: &mut Object, around: &Surroundings) -> Result<String, ResolveError> {
    const FLAG: &str = "--experimental-strip-types";
    let version = around
        .node_version
        .as_deref()
        .and_then(parse_version)
        .ok_or(ResolveError::NoTypeScript)?;
    let by_itself = (version >= (22, 18) && version.0 == 22) || version >= (23, 6);
    let with_flag = version >= (22, 6);
    if !with_flag {
        return Err(ResolveError::NoTypeScript);
    }
    if !by_itself
        && let Some(Value::Array(args)) = app.get_mut("node_args")
        && !args.iter().any(|arg| arg == FLAG)
    {
        args.push(Value::from(FLAG));
    }
    Ok("node".into())
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim_start_matches('v').split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// `node@<version>`: the one that nvm installed. In cluster mode the workers run on one Node, so the choice is refused.
fn node_of_version(
    name: &str,
    app: &Object,
    around: &Surroundings,
    lookup: &impl Lookup,
) -> Result<String, ResolveError> {
    let is_cluster = app
        .get("exec_mode")
        .and_then(Value::as_str)
        .is_some_and(|mode| mode.contains("cluster"));
    let nvm = around
        .env
        .get("NVM_DIR")
        .and_then(Value::as_str)
        .filter(|folder| !folder.is_empty());
    let (Some(nvm), false) = (nvm, is_cluster) else {
        return Err(ResolveError::InterpreterMissing(name.to_owned()));
    };
    let version = name
        .split('@')
        .nth(1)
        .unwrap_or_default()
        .trim_start_matches('v');
    let path = paths::resolve(nvm, &format!("versions/node/v{version}/bin/node"));
    if version.contains('/') || !lookup.is_executable(&path) {
        return Err(ResolveError::NodeVersionMissing {
            version: version.to_owned(),
            path,
        });
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{object, record, record_in, surroundings, world};
    use super::*;

    #[test]
    fn interpreters_follow_extension_content_and_path() {
        let mut world = world();
        world
            .files
            .insert("/home/app/srv/sh-tool".into(), b"#!/bin/sh\necho".to_vec());
        world.executable.insert("/home/app/srv/sh-tool".into());
        world.files.insert(
            "/home/app/srv/npm".into(),
            b"#!/usr/bin/env node\n".to_vec(),
        );
        world.executable.insert("/home/app/srv/npm".into());
        let cases = [
            ("web.js", "node"),
            ("run.sh", "bash"),
            ("job.py", "python3"),
            ("tool", "/opt/node"),
            ("x.mjs", "/opt/node"),
            ("ls", "none"),
            ("sh-tool", "none"),
            ("npm", "/opt/node"),
        ];
        for (script, interpreter) in cases {
            let app = record_in(&world, &surroundings(), json!({ "script": script }))
                .unwrap_or_else(|error| panic!("{script}: {error}"));
            assert_eq!(app["exec_interpreter"], interpreter, "{script}");
        }
        assert_eq!(
            record(json!({"script": "ls"})).unwrap()["pm_exec_path"],
            "/usr/bin/ls"
        );
        assert_eq!(
            record(json!({"script": "job.py"})).unwrap()["env"]["PYTHONUNBUFFERED"],
            "1"
        );
        let by_itself = json!({"script": "tool", "interpreter": "none"});
        let refused = record(by_itself.clone()).unwrap_err();
        assert!(refused.starts_with("Script not executable: "), "{refused}");
        world.executable.insert("/home/app/srv/tool".into());
        let app = record_in(&world, &surroundings(), by_itself).unwrap();
        assert_eq!(app["exec_interpreter"], "none");
        world.path.remove("node");
        assert_eq!(
            record_in(&world, &surroundings(), json!({"script": "web.js"})).unwrap()["exec_interpreter"],
            "/opt/node"
        );
    }

    // Protects: a cluster that would never be ready is refused, and no Node under another name is.
    #[test]
    fn other_languages_are_no_cluster() {
        for name in [
            "none",
            "bash",
            "/bin/sh",
            "python3",
            "/usr/bin/python3.12",
            "ruby",
            "php8.2",
            "perl",
        ] {
            assert!(is_never_node(name), "{name}");
        }
        for name in [
            "node",
            "/opt/node-v20/bin/node",
            "node20",
            "nodejs",
            "bun",
            "tsx",
            "ts-node",
        ] {
            assert!(!is_never_node(name), "{name}");
        }
    }

    #[test]
    fn typescript_needs_bun_or_a_node_that_strips_types() {
        let run = |version: Option<&str>| {
            let around = Surroundings {
                node_version: version.map(Into::into),
                ..surroundings()
            };
            record_in(&world(), &around, json!({"script": "mod.ts"}))
                .map(|app| (app["exec_interpreter"].clone(), app["node_args"].clone()))
        };
        assert_eq!(run(Some("v22.18.0")), Ok((json!("node"), json!([]))));
        assert_eq!(run(Some("v24.1.0")), Ok((json!("node"), json!([]))));
        assert_eq!(
            run(Some("v22.7.0")),
            Ok((json!("node"), json!(["--experimental-strip-types"])))
        );
        for old in [Some("v20.20.2"), None, Some("x")] {
            assert!(
                run(old)
                    .unwrap_err()
                    .starts_with("TypeScript apps require bun")
            );
        }
        let mut world = world();
        world.path.insert("bun".into(), "/usr/bin/bun".into());
        assert_eq!(
            record_in(&world, &surroundings(), json!({"script": "mod.ts"})).unwrap()["exec_interpreter"],
            "bun"
        );
    }

    #[test]
    fn a_chosen_node_version_is_nvms() {
        let mut world = world();
        world
            .executable
            .insert("/nvm/versions/node/v20.1.0/bin/node".into());
        let around = Surroundings {
            env: object(json!({"NVM_DIR": "/nvm"})),
            ..surroundings()
        };
        let app = record_in(
            &world,
            &around,
            json!({"script": "web.js", "interpreter": "node@20.1.0"}),
        )
        .unwrap();
        assert_eq!(
            app["exec_interpreter"],
            "/nvm/versions/node/v20.1.0/bin/node"
        );
        let missing = record_in(
            &world,
            &around,
            json!({"script": "web.js", "interpreter": "node@9.9.9"}),
        )
        .unwrap_err();
        assert!(
            missing.contains("9.9.9") && missing.contains("nvm install"),
            "{missing}"
        );
        let cluster = record_in(
            &world,
            &around,
            json!({"script": "web.js", "interpreter": "node@20.1.0", "exec_mode": "cluster"}),
        )
        .unwrap_err();
        assert!(
            cluster.starts_with("Interpreter node@20.1.0 is NOT AVAILABLE"),
            "{cluster}"
        );
    }

    #[test]
    fn modes_follow_the_count() {
        let mode = |app: Value| {
            let app = record(app).unwrap();
            (
                app["exec_mode"].as_str().unwrap().to_owned(),
                app["instances"].as_i64().unwrap(),
                app.get("merge_logs").is_some(),
            )
        };
        let cluster = || "cluster_mode".to_owned();
        let fork = || "fork_mode".to_owned();
        assert_eq!(mode(json!({"script": "web.js"})), (fork(), 1, true));
        assert_eq!(
            mode(json!({"script": "web.js", "instances": "1"})),
            (cluster(), 1, false)
        );
        assert_eq!(
            mode(json!({"script": "web.js", "instances": 4})),
            (cluster(), 4, false)
        );
        assert_eq!(
            mode(json!({"script": "web.js", "instances": "max"})),
            (cluster(), 0, true)
        );
        assert_eq!(
            mode(json!({"script": "web.js", "instances": -1})),
            (cluster(), -1, false)
        );
        assert_eq!(
            mode(json!({"script": "web.js", "instances": -2})),
            (fork(), -2, false)
        );
        assert_eq!(
            mode(json!({"script": "web.js", "instances": 4, "exec_mode": "fork"})),
            (fork(), 4, false)
        );
        assert_eq!(
            mode(json!({"script": "web.js", "exec_mode": "cluster"})),
            (cluster(), 1, false)
        );
        assert_eq!(
            mode(json!({"script": "job.py", "instances": 4})),
            (fork(), 4, false)
        );
        assert_eq!(
            mode(json!({"script": "web.js", "instances": 4, "executeCommand": true})),
            (fork(), 4, false)
        );
    }
}
