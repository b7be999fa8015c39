//! From the core's plan of a run to what the keeper is asked to execute.

use std::ffi::{CString, NulError};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, User};
use serde::Deserialize;

use crate::core::{Runtime, SpawnMode, SpawnPlan};
use crate::host::spawn::{Plan, SpawnFailure, Stage};
use crate::keeper::proto::Spawn;

/// The channel's descriptor in every app: the first one after the standard three.
const CHANNEL_FD: &str = "3";
/// What we say about the channel ourselves, each variable once.
const OURS_ALONE: [&str; 4] = [
    "NODE_CHANNEL_FD",
    "NODE_CHANNEL_SERIALIZATION_MODE",
    "NODE_UNIQUE_ID",
    "PM2_CHANNEL_FD",
];
/// A package.json longer than this is not read for its version.
const PACKAGE_BYTES_MAX: u64 = 1024 * 1024;

/// What is the same for every run.
#[derive(Debug)]
pub(crate) struct Launcher {
    /// The script that Node apps load before their own.
    pub(crate) preload: PathBuf,
    /// `PM2_NODE_OPTIONS`: more words for Node, before the app's own.
    pub(crate) node_options: Vec<String>,
    /// Who we are.
    pub(crate) uid: u32,
}

/// Why a plan cannot even be put into words.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    /// Programs cannot be given such text.
    #[error("pass a text with a NUL character to {0}")]
    Nul(String, #[source] NulError),
}

impl Launcher {
    /// The keeper's side of a plan. `fds` are stdin, stdout, stderr and the channel. What goes with it is the link's business.
    pub(crate) fn spawn(
        &self,
        run: u64,
        plan: &SpawnPlan,
        fds: [OwnedFd; 4],
    ) -> Result<Spawn, LaunchError> {
        let text = |text: &str| {
            CString::new(text).map_err(|error| LaunchError::Nul(plan.script.clone(), error))
        };
        let program = program(plan);
        let mut argv = vec![text(program)?];
        let mut env = Vec::with_capacity(plan.env.len() + 4);
        for (name, value) in &plan.env {
            if OURS_ALONE.contains(&name.as_str()) {
                continue;
            }
            env.push(text(&format!("{name}={value}"))?);
        }
        if plan.interpreter.is_some() {
            if plan.runtime == Runtime::Node {
                for option in &self.node_options {
                    argv.push(text(option)?);
                }
            }
            for arg in &plan.interpreter_args {
                argv.push(text(arg)?);
            }
        }
        if let SpawnMode::Cluster {
            inspector_port: Some(port),
            ..
        } = plan.mode
        {
            argv.push(text(&format!("--inspect-port={port}"))?);
        }
        let has_preload = self.has_preload(plan);
        if has_preload {
            argv.push(text("--require")?);
            argv.push(text(&self.preload.to_string_lossy())?);
            if !plan.pmx {
                env.push(text("PM2_PRELOAD_PMX=0")?);
            }
            if has_source_maps(plan) {
                env.push(text("PM2_PRELOAD_SOURCE_MAPS=1")?);
            }
        }
        for (name, value) in channel_env(plan.mode, has_preload) {
            env.push(text(&format!("{name}={value}"))?);
        }
        if plan.interpreter.is_some() {
            argv.push(text(&plan.script)?);
        }
        for arg in &plan.args {
            argv.push(text(arg)?);
        }
        Ok(Spawn {
            run,
            plan: Plan {
                program: text(program)?,
                argv,
                env,
                cwd: text(&plan.cwd)?,
                uid: plan.uid,
                gid: plan.gid,
                groups: self.groups(plan),
                umask: plan.umask,
            },
            fds: fds.map(Some).into(),
            keep: Vec::new(),
            witness: None,
            roster: None,
        })
    }

    /// The groups that the account database gives the user, where we may choose.
    fn groups(&self, plan: &SpawnPlan) -> Option<Vec<u32>> {
        let user = User::from_uid(Uid::from_raw(plan.uid?)).ok().flatten()?;
        if self.uid != 0 {
            return None;
        }
        let name = CString::new(user.name).ok()?;
        let group = plan.gid.map_or(user.gid, Gid::from_raw);
        let groups = nix::unistd::getgrouplist(&name, group).ok()?;
        Some(groups.into_iter().map(Gid::as_raw).collect())
    }

    /// Another user cannot read what is in our home, and Node would not start at all without the file.
    fn has_preload(&self, plan: &SpawnPlan) -> bool {
        let is_readable = plan.uid.is_none_or(|uid| uid == self.uid || uid == 0);
        plan.runtime == Runtime::Node && plan.interpreter.is_some() && is_readable
    }
}

/// How the app finds its channel. A worker uses it at once; any other Node app only if it wants to.
fn channel_env(mode: SpawnMode, has_preload: bool) -> Vec<(&'static str, String)> {
    let fd = || CHANNEL_FD.to_owned();
    if mode == SpawnMode::Fork && has_preload {
        return vec![("PM2_CHANNEL_FD", fd())];
    }
    let mut env = vec![
        ("NODE_CHANNEL_FD", fd()),
        ("NODE_CHANNEL_SERIALIZATION_MODE", "json".to_owned()),
    ];
    if let SpawnMode::Cluster { worker, .. } = mode {
        env.push(("NODE_UNIQUE_ID", worker.to_string()));
        if has_preload {
            env.push(("PM2_PRELOAD_WORKER", "1".to_owned()));
        }
    }
    env
}

/// What is executed: the interpreter, or the script itself.
pub(crate) fn program(plan: &SpawnPlan) -> &str {
    plan.interpreter.as_deref().unwrap_or(&plan.script)
}

/// Why a process did not come to be, as people should read it.
pub(crate) fn reason(failure: SpawnFailure, program: &str, cwd: &str) -> String {
    let errno = nix::errno::Errno::from_raw(failure.errno);
    let what = match (failure.stage, errno) {
        // The system's own text, "try again", helps nobody.
        (Stage::Fork, nix::errno::Errno::EAGAIN) => {
            "no more processes are allowed (ulimit -u, or pids.max of the control group)"
        }
        _ => errno.desc(),
    };
    let cause = format!("{errno:?}, {what}");
    match failure.stage {
        Stage::Cwd => format!("enter the working directory {cwd}: {cause}"),
        Stage::Program => format!("spawn {program} {cause}"),
        Stage::Credentials => format!("change the user or group for {program}: {cause}"),
        Stage::Fork | Stage::Descriptors | Stage::Session => {
            format!("make a process for {program}: {cause}")
        }
    }
}

/// pm2's rule: asked for, or there is a map beside the script, unless it is switched off.
fn has_source_maps(plan: &SpawnPlan) -> bool {
    let is_on = |name: &str| plan.env.iter().any(|(n, v)| n == name && v == "true");
    if is_on("disable_source_map_support") {
        return false;
    }
    is_on("source_map_support") || Path::new(&format!("{}.map", plan.script)).exists()
}

/// The `version` of the nearest package.json at or above the script's folder.
pub(crate) fn package_version(script: &str) -> Option<Box<str>> {
    #[derive(Deserialize)]
    struct Package {
        version: Option<String>,
    }
    let folders = Path::new(script).parent()?.ancestors();
    for folder in folders {
        let Ok(file) = File::open(folder.join("package.json")) else {
            continue;
        };
        let mut text = String::new();
        file.take(PACKAGE_BYTES_MAX)
            .read_to_string(&mut text)
            .ok()?;
        let package: Package = serde_json::from_str(&text).ok()?;
        return package.version.map(Into::into);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    // Protects: the nearest package.json decides, also when it has no version.
    #[test]
    fn the_version_is_that_of_the_nearest_package() {
        let home = tempfile::tempdir().unwrap();
        let deep = home.path().join("a/b");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(home.path().join("package.json"), r#"{"version":"1.2.3"}"#).unwrap();
        let script = deep.join("x.js");
        let script = script.to_str().unwrap();
        assert_eq!(package_version(script).as_deref(), Some("1.2.3"));
        std::fs::write(deep.join("package.json"), "{}").unwrap();
        assert_eq!(package_version(script), None);
    }
}
