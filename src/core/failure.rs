//! Why a call fails. Scripts compare these texts, so those of pm2 are kept to the letter.

use crate::model::{Pid, PmId, RunId, SpecError, WireId};

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
    /// No such process (soft reload).
    #[error("pm_id {0} not available in {0}")]
    IdUnknownToSoftReload(WireId),
    /// No such process (monitor).
    #[error("Unknown pm_id")]
    IdUnknownToMonitor,
    /// No such process (notify).
    #[error("process id doesnt exists")]
    IdUnknownToNotify,
    /// A notification without an id.
    #[error("process id missing")]
    NotifyWithoutId,
    /// No process of that name (signal).
    #[error("Unknown process name")]
    NameUnknown,
    /// No such process (stdin, data).
    #[error("Process with ID <{0}> unknown.")]
    ReceiverUnknown(WireId),
    /// It does not run (stdin, data, signal).
    #[error("Process with ID <{0}> offline.")]
    ReceiverOffline(WireId),
    /// It does not run (message).
    #[error("{0} : id offline")]
    MessageOffline(WireId),
    /// The application offers no such action.
    #[error("Action doesn't exist {action} for {name}")]
    NoSuchAction {
        /// What was asked.
        action: String,
        /// The application.
        name: String,
    },
    /// A message for nobody.
    #[error("method requires name or id field")]
    MessageForNobody,
    /// A line without a process or a text.
    #[error("pm_id or line field missing")]
    LineIncomplete,
    /// Data without one of its members.
    #[error("ID, DATA or TOPIC field is missing")]
    DataIncomplete,
    /// There is no such signal.
    #[error("Error when sending signal (signal unknown)")]
    SignalUnknown,
    /// Start of what runs.
    #[error("process already online")]
    AlreadyOnline,
    /// Start of what is being started.
    #[error("process already started")]
    AlreadyStarted,
    /// Start of what has not ended yet.
    #[error("Process with pid {0} already exists")]
    PidExists(Pid),
    /// The daemon is ending.
    #[error("[RestartProcessId] PM2 is being killed, stopping restart procedure...")]
    BeingKilled,
    /// The declaration, or what a restart made of it, cannot be used.
    #[error(transparent)]
    Declaration(#[from] SpecError),
    /// A reload of it is under way.
    #[error("Reload already in progress for process id {0}, retry later")]
    ReloadInProgress(PmId),
    /// A reload came to nothing. The old process is as it was.
    #[error("reload of {name} (id {id}) failed: {reason}; the old process goes on")]
    NotReplaced {
        /// Its name.
        name: String,
        /// Its id.
        id: PmId,
        /// What became of the new process.
        reason: String,
        /// The run that failed: its last words say more.
        run: RunId,
    },
    /// `cron_restart` is no pattern.
    #[error("Cron pattern error: {0}")]
    Cron(String),
    /// There is no process, and no restart will follow.
    #[error("{name} (id {id}) could not be started: {reason}")]
    NotSpawned {
        /// Its name.
        name: String,
        /// Its id.
        id: PmId,
        /// Which step failed, and on what.
        reason: String,
    },
    /// Somebody stopped or deleted it before it was up.
    #[error("{name} (id {id}) was stopped before it was online")]
    StoppedFirst {
        /// Its name.
        name: String,
        /// Its id.
        id: PmId,
    },
    /// It is still there after SIGKILL and the time given.
    #[error("Process with pid {0} could not be killed")]
    NotKilled(Pid),
    /// Its descendants are still there after SIGKILL and the time given.
    #[error("descendants of {name} (id {id}) could not be killed")]
    TreeNotKilled {
        /// Its name.
        name: String,
        /// Its id.
        id: PmId,
    },
    /// Past one of our limits.
    #[error("{what}: at most {limit} are allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
}
