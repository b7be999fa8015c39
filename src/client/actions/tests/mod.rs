//! Every action against a pretend daemon: what it asks, in which order, and what it answers.

use serde_json::{Value, json};

use super::testing::{Fake, block_on};
use super::{ActionError, run};

mod declared;
mod rest;
mod start;
mod targets;

/// A folder with scripts and a home, and actions in it.
struct Scene {
    folder: tempfile::TempDir,
    env: Value,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for script in ["app.js", "other.js", "c.js"] {
            std::fs::write(folder.path().join(script), "// nothing").unwrap();
        }
        std::fs::create_dir(folder.path().join("home")).unwrap();
        let path = std::env::var("PATH").unwrap();
        Self {
            folder,
            env: json!({"PATH": path, "HOME": "/tmp"}),
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn act_on(&self, fake: &Fake, action: &str, mut payload: Value) -> Result<Value, ActionError> {
        for (key, value) in [
            ("cwd", json!(self.path(""))),
            ("env", self.env.clone()),
            ("pm2_home", json!(self.path("home"))),
            ("node", json!("/bin/sh")),
        ] {
            payload.as_object_mut().unwrap().entry(key).or_insert(value);
        }
        let value = block_on(run(fake, action, &payload.to_string()))?;
        assert_eq!(fake.waiting.borrow().0, 0);
        Ok(serde_json::from_str(&value).unwrap())
    }

    /// Processes web (two, namespace shop, script app.js), 7 (stopped, script other.js).
    fn fake(&self) -> Fake {
        let (app, other) = (self.path("app.js"), self.path("other.js"));
        Fake::with(&[
            ("web", "shop", &app, "online"),
            ("web", "shop", &app, "online"),
            ("7", "default", &other, "stopped"),
        ])
    }
}

fn target(target: impl Into<Value>) -> Value {
    json!({"what": {"target": target.into()}})
}

fn message(result: Result<Value, ActionError>) -> String {
    result.unwrap_err().message
}
