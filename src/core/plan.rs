//! What the daemon needs to know to spawn one run.

use std::fmt;

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
    /// `pmx`: whether the preload reports exceptions and keeps the app alive over unhandled rejections.
    pub pmx: bool,
    /// `pm_out_log_path`.
    pub out_log: Option<String>,
    /// `pm_err_log_path`.
    pub err_log: Option<String>,
    /// `pm_log_path`: both streams.
    pub combined_log: Option<String>,
    /// `disable_logs`: nothing is written or published.
    pub logs_disabled: bool,
    /// `log_type` is `json`.
    pub log_json: bool,
    /// `log_date_format`.
    pub log_date_format: Option<String>,
}

/// How a process is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpawnMode {
    /// A process of its own.
    Fork,
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
