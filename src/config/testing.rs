//! A pretend machine for the tests of this room.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::resolve::{Ecosystem, Form, Surroundings, declare, prepare};
use super::{Account, Lookup, Object};

/// A machine of our making.
#[derive(Default)]
pub(super) struct World {
    pub(super) files: BTreeMap<String, Vec<u8>>,
    pub(super) executable: BTreeSet<String>,
    pub(super) unreadable: BTreeSet<String>,
    pub(super) folders: BTreeSet<String>,
    pub(super) path: BTreeMap<String, String>,
    pub(super) root: bool,
}

impl Lookup for World {
    fn is_file(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }
    fn is_folder(&self, path: &str) -> bool {
        self.folders.contains(path)
    }
    fn is_readable(&self, path: &str) -> bool {
        !self.unreadable.contains(path)
    }
    fn is_executable(&self, path: &str) -> bool {
        self.executable.contains(path)
    }
    fn head(&self, path: &str) -> Option<Vec<u8>> {
        self.files
            .get(path)
            .filter(|_| self.is_readable(path))
            .cloned()
    }
    fn find_in_path(&self, program: &str) -> Option<String> {
        self.path.get(program).cloned()
    }
    fn user(&self, name: &str) -> Option<Account> {
        matches!(name, "www" | "33").then(|| Account {
            uid: 33,
            gid: 34,
            home: "/var/www".into(),
        })
    }
    fn group(&self, name: &str) -> Option<u32> {
        matches!(name, "adm" | "4").then_some(4)
    }
    fn is_root(&self) -> bool {
        self.root
    }
    fn user_name(&self) -> String {
        "root".into()
    }
    fn home_folder(&self) -> String {
        "/home/app".into()
    }
}

pub(super) fn world() -> World {
    let mut world = World {
        root: true,
        ..World::default()
    };
    for folder in ["/", "/home/app", "/home/app/srv", "/usr/bin"] {
        world.folders.insert(folder.into());
    }
    for name in [
        "web.js", "job.py", "run.sh", "tool", "a b.js", "mod.ts", "x.mjs",
    ] {
        world
            .files
            .insert(format!("/home/app/srv/{name}"), b"// text".to_vec());
    }
    for program in ["node", "bash", "sh", "python3", "ls"] {
        let path = format!("/usr/bin/{program}");
        world.files.insert(path.clone(), b"\x7fELF\0\0".to_vec());
        world.executable.insert(path.clone());
        world.path.insert(program.into(), path);
    }
    world
}

pub(super) fn surroundings() -> Surroundings {
    Surroundings {
        cwd: "/home/app/srv".into(),
        node: "/opt/node".into(),
        pm2_home: "/home/app/.pm2".into(),
        log_folder: "/home/app/.pm2/logs".into(),
        pid_folder: "/home/app/.pm2/pids".into(),
        ..Surroundings::default()
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "literals of JSON read better by value"
)]
pub(super) fn object(value: Value) -> Object {
    value.as_object().expect("an object").clone()
}

pub(super) fn record_in(world: &World, around: &Surroundings, app: Value) -> Result<Value, String> {
    let app = declare(&object(app), around, world).map_err(|error| error.to_string())?;
    let prepared = prepare(app, around, &Ecosystem::default(), Form::Script, world)
        .map_err(|error| error.to_string())?;
    Ok(Value::Object(prepared.record))
}

pub(super) fn record(app: Value) -> Result<Value, String> {
    record_in(&world(), &surroundings(), app)
}
