//! pm2's public words for where a process is.

use std::fmt;

/// What `status` says. Computed from the state, never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Running, and ready where readiness is asked for.
    Online,
    /// Asked to end, not gone yet.
    Stopping,
    /// Not running, and not going to by itself.
    Stopped,
    /// Being spawned, or running but not ready yet.
    Launching,
    /// Given up: too many crashes, or it could not be spawned or killed.
    Errored,
    /// Not running; will be after a delay.
    WaitingRestart,
    /// Known to clients, given by nothing of ours.
    OneLaunch,
}

impl Status {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Launching => "launching",
            Self::Errored => "errored",
            Self::WaitingRestart => "waiting restart",
            Self::OneLaunch => "one-launch-status",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
