//! One process from a plan: descriptors, session, folder, user, environment, in the order that works.

use std::ffi::CString;
use std::fmt;

/// Everything about a new process but its descriptors.
///
/// The environment is complete: nothing is inherited. `Debug` hides it, since it holds secrets.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// A path, or a bare name that is looked up in the `PATH` of `env`.
    pub program: CString,
    /// All arguments, the program's own name first.
    pub argv: Vec<CString>,
    /// `NAME=value`, in order.
    pub env: Vec<CString>,
    /// Working directory; empty means that of the keeper (`/`).
    pub cwd: CString,
    /// User to become.
    pub uid: Option<u32>,
    /// Group to become.
    pub gid: Option<u32>,
    /// Supplementary groups. `None` with a user or group given means none at all, as with Node's `spawn`.
    pub groups: Option<Vec<u32>>,
    /// File mode mask; `None` keeps that of the keeper.
    pub umask: Option<u32>,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("program", &self.program)
            .field("argv", &self.argv)
            .field("env", &format_args!("{} variables", self.env.len()))
            .field("cwd", &self.cwd)
            .field("uid", &self.uid)
            .field("gid", &self.gid)
            .field("groups", &self.groups)
            .field("umask", &self.umask)
            .finish()
    }
}

/// What a spawn was doing when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// Making the process itself.
    Fork = 1,
    /// Putting its descriptors in place.
    Descriptors = 2,
    /// Giving it a session of its own, limits and mask.
    Session = 3,
    /// Entering its working directory.
    Cwd = 4,
    /// Becoming its user and groups.
    Credentials = 5,
    /// Executing the program: missing, not executable, not a program.
    Program = 6,
}

impl Stage {
    /// The stage with this number on the wire.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        [
            Self::Fork,
            Self::Descriptors,
            Self::Session,
            Self::Cwd,
            Self::Credentials,
            Self::Program,
        ]
        .into_iter()
        .find(|stage| *stage as u8 == number)
    }
}

/// A process that did not come to be; nothing of it is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpawnFailure {
    /// What was attempted.
    pub stage: Stage,
    /// The system's error number.
    pub errno: i32,
}
