//! What the daemon needs to know to spawn one run.

use std::fmt;

use crate::model::{LogSpec, ProcessSpec};

/// Everything about one spawn. The environment is complete: nothing of the daemon's own is to be added but the channel.
#[derive(Clone, PartialEq, Eq)]
pub struct SpawnPlan {
    /// Fork or cluster.
    pub mode: SpawnMode,
    /// What will read the script.
    pub runtime: Runtime,
    /// `exec_interpreter`; `None` when the script is the program.
    pub interpreter: Option<String>,
    /// `node_args`: come before the script.
    pub interpreter_args: Vec<String>,
    /// `pm_exec_path`, absolute.
    pub script: String,
    /// `args`: come after the script.
    pub args: Vec<String>,
    /// `pm_cwd`.
    pub cwd: String,
    /// Name and value of every variable.
    pub env: Vec<(String, String)>,
    /// `uid`, where one is set.
    pub uid: Option<u32>,
    /// `gid`, where one is set.
    pub gid: Option<u32>,
    /// `umask`, where one is set.
    pub umask: Option<u32>,
    /// `pmx`: whether the preload reports exceptions and keeps the app alive over unhandled rejections.
    pub pmx: bool,
    /// Where output goes, and in which form.
    pub logs: LogSpec,
}

/// How a process is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpawnMode {
    /// A process of its own.
    Fork,
    /// A worker of our primary.
    Cluster {
        /// `cluster.worker.id`.
        worker: u32,
        /// Where its inspector listens, if it has one.
        inspector_port: Option<u16>,
    },
}

/// What reads the script, told by the interpreter's base name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// Node: gets the preload.
    Node,
    /// Bun.
    Bun,
    /// Anything else, or the script is a program.
    Other,
}

impl SpawnPlan {
    pub(super) fn new(spec: ProcessSpec, env: Vec<(String, String)>, mode: SpawnMode) -> Self {
        Self {
            mode,
            runtime: spec
                .interpreter
                .as_deref()
                .map_or(Runtime::Other, Runtime::of),
            interpreter: spec.interpreter,
            interpreter_args: spec.interpreter_args,
            script: spec.script,
            args: spec.args,
            cwd: spec.cwd,
            env,
            uid: spec.uid,
            gid: spec.gid,
            umask: spec.umask,
            pmx: spec.pmx,
            logs: spec.logs,
        }
    }

    /// What to execute: the program, and its arguments without the program itself. `before_script` comes after the
    /// interpreter's own arguments and only where there is an interpreter.
    #[must_use]
    pub fn command(&self, before_script: &[&str]) -> (String, Vec<String>) {
        let Some(interpreter) = &self.interpreter else {
            return (self.script.clone(), self.args.clone());
        };
        let args = self
            .interpreter_args
            .iter()
            .cloned()
            .chain(before_script.iter().map(|&arg| arg.to_owned()))
            .chain(std::iter::once(self.script.clone()))
            .chain(self.args.iter().cloned())
            .collect();
        (interpreter.clone(), args)
    }
}

/// Where Node's inspector listens if nothing is said.
const INSPECTOR_PORT: u16 = 9229;

/// The inspector's port that Node's arguments ask for; `None` if they ask for no inspector. Workers get those after it, as with
/// Node's own primary.
pub(super) fn inspector_port(interpreter_args: &[String]) -> Option<u16> {
    const OPTIONS: [&str; 4] = [
        "--inspect",
        "--inspect-brk",
        "--inspect-port",
        "--debug-port",
    ];
    let value = interpreter_args.iter().rev().find_map(|arg| {
        let (option, value) = arg.split_once('=').unwrap_or((arg, ""));
        OPTIONS.contains(&option).then_some(value)
    })?;
    let port = value.rsplit(':').next().and_then(|port| port.parse().ok());
    Some(port.filter(|port| *port > 0).unwrap_or(INSPECTOR_PORT))
}

impl Runtime {
    fn of(interpreter: &str) -> Self {
        match interpreter.rsplit('/').next() {
            Some("node") => Self::Node,
            Some("bun") => Self::Bun,
            _ => Self::Other,
        }
    }
}

/// Hides the environment.
impl fmt::Debug for SpawnPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpawnPlan")
            .field("mode", &self.mode)
            .field("interpreter", &self.interpreter)
            .field("interpreter_args", &self.interpreter_args)
            .field("script", &self.script)
            .field("args", &self.args)
            .field("cwd", &self.cwd)
            .field("env", &format_args!("{} variables", self.env.len()))
            .finish_non_exhaustive()
    }
}
