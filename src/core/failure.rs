//! Why a call fails. Scripts compare these texts, so those of pm2 are kept to the letter.

use crate::model::{Pid, WireId};

/// The answer to a call that could not be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// No such process (start, duplicate, reset, signal, message).
    #[error("{0} id unknown")]
    IdUnknown(WireId),
    /// No such process (stop, delete).
    #[error("{0} : id unknown")]
    IdUnknownToStop(WireId),
    /// No such process (restart).
    #[error("God db process id unknown")]
    IdUnknownToRestart,
    /// No such process (reload).
    #[error("PM2 ID unknown")]
    IdUnknownToReload,
    /// Start of what runs.
    #[error("process already online")]
    AlreadyOnline,
    /// Start of what is being started.
    #[error("process already started")]
    AlreadyStarted,
    /// Start of what has not ended yet.
    #[error("Process with pid {0} already exists")]
    PidExists(Pid),
}
