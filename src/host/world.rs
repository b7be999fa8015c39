//! The machine as declarations are resolved on it.

use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, Gid, Group, Uid, User, access, geteuid};
use serde_json::Value;

use crate::config::{Account, Lookup, Object};

/// The real machine, as a caller with these variables sees it.
pub struct World {
    path: Vec<PathBuf>,
    env: Object,
}

// Environments hold secrets.
impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Enough of a file to tell text from a program.
const HEAD_BYTES: usize = 512;

impl World {
    /// The machine with the caller's `PATH`.
    pub fn new(env: &Object, cwd: &str) -> Self {
        let path = env
            .get("PATH")
            .and_then(Value::as_str)
            .unwrap_or("/usr/local/bin:/usr/bin:/bin");
        let path = path
            .split(':')
            .map(|folder| Path::new(cwd).join(folder))
            .collect();
        Self {
            path,
            env: env.clone(),
        }
    }
}

impl Lookup for World {
    fn is_file(&self, path: &str) -> bool {
        Path::new(path)
            .metadata()
            .is_ok_and(|found| !found.is_dir())
    }

    fn is_folder(&self, path: &str) -> bool {
        Path::new(path).is_dir()
    }

    fn is_readable(&self, path: &str) -> bool {
        access(path, AccessFlags::R_OK).is_ok()
    }

    fn is_executable(&self, path: &str) -> bool {
        self.is_file(path) && access(path, AccessFlags::X_OK).is_ok()
    }

    fn head(&self, path: &str) -> Option<Vec<u8>> {
        // Opening a pipe would wait for its writer.
        let kind = Path::new(path).metadata().ok()?.file_type();
        if kind.is_fifo() || kind.is_dir() || kind.is_char_device() {
            return kind.is_dir().then(Vec::new);
        }
        let file = std::fs::File::open(path).ok()?;
        let mut head = Vec::with_capacity(HEAD_BYTES);
        file.take(HEAD_BYTES as u64).read_to_end(&mut head).ok()?;
        Some(head)
    }

    fn find_in_path(&self, program: &str) -> Option<String> {
        if program.is_empty() || program.contains('/') {
            return None;
        }
        let candidates = self
            .path
            .iter()
            .filter_map(|folder| folder.join(program).to_str().map(str::to_owned));
        candidates.into_iter().find(|path| self.is_executable(path))
    }

    fn user(&self, name: &str) -> Option<Account> {
        let by_name = User::from_name(name).ok().flatten();
        let by_number = || {
            User::from_uid(Uid::from_raw(name.parse().ok()?))
                .ok()
                .flatten()
        };
        let user = by_name.or_else(by_number)?;
        Some(Account {
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            home: user.dir.to_string_lossy().into_owned(),
        })
    }

    fn group(&self, name: &str) -> Option<u32> {
        let by_name = Group::from_name(name).ok().flatten();
        let by_number = || {
            Group::from_gid(Gid::from_raw(name.parse().ok()?))
                .ok()
                .flatten()
        };
        by_name.or_else(by_number).map(|group| group.gid.as_raw())
    }

    fn is_root(&self) -> bool {
        geteuid().is_root()
    }

    fn user_name(&self) -> String {
        let named = |key: &str| self.env.get(key).and_then(Value::as_str).map(str::to_owned);
        own_account()
            .map(|user| user.name)
            .or_else(|| named("USER"))
            .or_else(|| named("LOGNAME"))
            .unwrap_or_default()
    }

    fn home_folder(&self) -> String {
        let given = self
            .env
            .get("HOME")
            .and_then(Value::as_str)
            .filter(|home| !home.is_empty());
        match given {
            Some(home) => home.to_owned(),
            None => own_account().map_or_else(
                || "/".to_owned(),
                |user| user.dir.to_string_lossy().into_owned(),
            ),
        }
    }
}

fn own_account() -> Option<User> {
    User::from_uid(Uid::current()).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_in_the_callers_path_only() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("tool");
        std::fs::write(&program, "#!/bin/sh\n").unwrap();
        let env: Object = [(
            "PATH".to_owned(),
            Value::from(folder.path().to_str().unwrap()),
        )]
        .into_iter()
        .collect();
        let world = World::new(&env, "/");
        assert_eq!(world.find_in_path("tool"), None);
        std::fs::set_permissions(
            &program,
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
        assert_eq!(world.find_in_path("tool").as_deref(), program.to_str());
        assert_eq!(world.find_in_path("sh"), None);
        assert_eq!(
            world.head(program.to_str().unwrap()).unwrap(),
            b"#!/bin/sh\n"
        );
    }

    #[test]
    fn accounts_are_found_by_name_and_by_number() {
        let world = World::new(&Object::new(), "/");
        assert_eq!(world.user("root").unwrap().uid, 0);
        assert_eq!(world.user("0").unwrap().uid, 0);
        assert_eq!(world.group("0"), Some(0));
        assert_eq!(world.user("nobody of this name"), None);
        assert_eq!(world.group("-1"), None);
    }
}
