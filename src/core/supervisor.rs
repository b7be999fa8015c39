//! The whole fleet: inputs are sorted here, effects collected.

use std::time::Duration;

use crate::model::{Pid, PmId, Signal, Status, Usage};

use super::{Effect, Input, Now};

/// What the supervisor is told once.
#[derive(Clone, Debug)]
pub struct SupervisorConfig {
    /// `PM2_KILL_TIMEOUT`, for processes without their own.
    pub kill_timeout: Duration,
    /// `PM2_KILL_SIGNAL`.
    pub kill_signal: Signal,
    /// `PM2_KILL_USE_MESSAGE`: all processes are stopped by message.
    pub kill_by_message: bool,
    /// `PM2_GRACEFUL_LISTEN_TIMEOUT`, for processes without `listen_timeout`.
    pub listen_timeout: Duration,
    /// `PM2_PROCESS_INSTANCE_VAR`: instead of every `instance_var`.
    pub instance_var: Option<String>,
    /// Number of CPUs: what `instances: 0` means.
    pub cpus: u32,
}

impl Default for SupervisorConfig {
    fn default() -> Self {
        Self {
            kill_timeout: Duration::from_millis(1600),
            kill_signal: Signal::INT,
            kill_by_message: false,
            listen_timeout: Duration::from_secs(3),
            instance_var: None,
            cpus: 1,
        }
    }
}

/// All processes, and what is to be done about them.
#[derive(Debug)]
pub struct Supervisor {
    config: SupervisorConfig,
}

/// One process of the list.
#[derive(Debug)]
pub struct Process {
    id: PmId,
}

impl Process {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> PmId {
        self.id
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        ""
    }

    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        ""
    }

    /// pm2's word for where it is.
    #[must_use]
    pub fn status(&self) -> Status {
        Status::Stopped
    }

    /// The process that runs, if one does.
    #[must_use]
    pub fn pid(&self) -> Option<Pid> {
        None
    }
}

impl Supervisor {
    /// An empty list.
    #[must_use]
    pub fn new(config: SupervisorConfig) -> Self {
        Self { config }
    }

    /// Takes in one thing that happened and says what is to be done, in order.
    pub fn handle(&mut self, now: Now, input: Input) -> Vec<Effect> {
        let _ = (now, input, &self.config);
        Vec::new()
    }

    /// When to call `handle` with `Input::Timeout`, on the monotonic clock.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        None
    }

    /// Appends the JSON array of formatted processes with `monit`, by copying.
    pub fn write_list(&self, out: &mut Vec<u8>, usage: &dyn Fn(PmId, Option<Pid>) -> Usage) {
        let _ = usage;
        out.extend_from_slice(b"[]");
    }

    /// All processes, by id.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        std::iter::empty()
    }

    /// One process.
    #[must_use]
    pub fn get(&self, id: PmId) -> Option<&Process> {
        let _ = id;
        None
    }
}
