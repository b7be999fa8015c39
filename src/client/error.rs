//! Why the daemon could not be reached, or what it answered instead of a value.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use nix::errno::Errno;

use super::actions::ActionError;
use crate::host::HostError;
use crate::host::paths::Address;

/// Why a call, or the attempt to make one, failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The daemon carried the call out, or refused to, and says this.
    #[error("{message}")]
    Remote {
        /// The daemon's text.
        message: String,
        /// Where it happened in the daemon, if it said so.
        stack: Option<String>,
    },
    /// The connection ended under a call. Whether the daemon carried it out is unknown; the next call connects anew.
    #[error(
        "the connection to the pm2 daemon was lost before it answered; it may or may not have done what was asked, try again"
    )]
    Lost,
    /// The caller disconnected while the call was outstanding.
    #[error("disconnected from the pm2 daemon before it answered")]
    Closed,
    /// What arrived is not what a daemon says. The connection was given up if the rest of it made no sense either.
    #[error("the pm2 daemon sent something that is no answer: {reason}")]
    Garbled {
        /// What is wrong with it.
        reason: String,
    },
    /// More calls are outstanding, or more bytes unsent, than are kept.
    #[error("too many calls to the pm2 daemon are outstanding")]
    Overloaded,
    /// Somebody may serve there, but we did not get through.
    #[error("failed to connect to the pm2 daemon at {address}")]
    Connect {
        /// Where.
        address: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The socket is there, and this user must not use it.
    #[error(
        "failed to connect to the pm2 daemon at {path}: user {user} needs write permission on this socket and search permission on its folders"
    )]
    Denied {
        /// The socket.
        path: PathBuf,
        /// Who may not.
        user: u32,
        /// The system's answer.
        source: io::Error,
    },
    /// The home cannot be used: not writable, or its path too long.
    #[error("failed to {0}")]
    Home(#[from] HostError),
    /// No process for the daemon.
    #[error("failed to start the pm2 daemon {program}")]
    Start {
        /// What was executed.
        program: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The daemon came to be and did not get as far as serving.
    #[error("failed to start the pm2 daemon: {reason}; its log is {log}{tail}")]
    Launch {
        /// What it said, or what happened instead.
        reason: String,
        /// Where it writes what it does.
        log: PathBuf,
        /// What it wrote there meanwhile, each line after a line break; may be empty.
        tail: String,
    },
    /// The executable that was to take over did not come up; the daemon that was there goes on.
    #[error("failed to update the pm2 daemon to {program}: {reason}; the one before goes on")]
    Update {
        /// What was tried.
        program: PathBuf,
        /// What it said, or what happened instead.
        reason: String,
    },
    /// The daemon was told to end and did not, within the limit.
    #[error("failed to end the pm2 daemon: {what} is still there after {seconds} s")]
    Kill {
        /// What should be gone.
        what: String,
        /// How long was waited.
        seconds: u64,
    },
}

/// How a connection ended: the part of [`ClientError`] that can be told to several callers.
#[derive(Debug, Clone)]
pub(super) enum End {
    Lost,
    Closed,
    Garbled { reason: String },
}

impl ClientError {
    pub(super) fn connect(address: &Address, source: io::Error) -> Self {
        match address.path() {
            Some(path) if source.kind() == io::ErrorKind::PermissionDenied => Self::Denied {
                path: path.to_path_buf(),
                user: nix::unistd::geteuid().as_raw(),
                source,
            },
            _ => Self::Connect {
                address: address.to_string(),
                source,
            },
        }
    }

    /// Whether the same call may succeed when simply made again.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Lost | Self::Overloaded)
    }

    /// The whole text: the error and each of its causes.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        // `Home` shows its source itself; that one's own causes are still to come.
        if matches!(self, Self::Home(_)) {
            cause = cause.and_then(Error::source);
        }
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }

    /// A code as Node gives them (`EACCES`); `None` for what the daemon says itself.
    #[must_use]
    pub fn code(&self) -> Option<String> {
        let fixed = match self {
            Self::Lost => "ECONNRESET",
            Self::Closed => "ECONNABORTED",
            Self::Garbled { .. } => "EPROTO",
            Self::Overloaded => "ENOBUFS",
            Self::Home(HostError::SocketPathTooLong { .. }) => "ENAMETOOLONG",
            Self::Kill { .. } => "ETIMEDOUT",
            _ => return self.system_code(),
        };
        Some(fixed.to_owned())
    }

    /// The error as the addon hands it to JavaScript: `{"message": …, "stack"?: …, "code"?: …}`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut members = serde_json::Map::new();
        members.insert("message".to_owned(), self.text().into());
        if let Self::Remote {
            stack: Some(stack), ..
        } = self
        {
            members.insert("stack".to_owned(), stack.clone().into());
        }
        if let Some(code) = self.code() {
            members.insert("code".to_owned(), code.into());
        }
        serde_json::Value::Object(members).to_string()
    }

    pub(super) fn to_action_error(&self) -> ActionError {
        ActionError {
            code: self.code(),
            ..ActionError::new(self.text())
        }
    }

    fn system_code(&self) -> Option<String> {
        let mut cause = self.source();
        while let Some(error) = cause {
            if let Some(number) = error
                .downcast_ref::<io::Error>()
                .and_then(io::Error::raw_os_error)
            {
                return Some(format!("{:?}", Errno::from_raw(number)));
            }
            cause = error.source();
        }
        None
    }
}

impl From<End> for ClientError {
    fn from(end: End) -> Self {
        match end {
            End::Lost => Self::Lost,
            End::Closed => Self::Closed,
            End::Garbled { reason } => Self::Garbled { reason },
        }
    }
}
