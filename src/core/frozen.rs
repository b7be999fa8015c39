//! The supervisor as text, between two inputs: what the next daemon continues from.

use serde::{Deserialize, Serialize};

use crate::model::PmId;

use super::fleet::Fleet;
use super::process::Process;
use super::supervisor::{Rest, Saved};
use super::{Supervisor, SupervisorConfig};

/// The version of the format. Raise it when an older daemon could not continue from what is written.
pub const FROZEN_VERSION: u32 = 1;

/// What was written cannot be continued from.
#[derive(Debug, thiserror::Error)]
pub enum ThawError {
    /// The part that is not about one process.
    #[error("read the supervisor's header")]
    Header(#[source] serde_json::Error),
    /// The part about one process; which one, in the order they were given.
    #[error("read the record of process number {0}")]
    Process(usize, #[source] serde_json::Error),
    /// Written by a later version that says it cannot be understood.
    #[error("version {0} of the supervisor's records is later than {FROZEN_VERSION}")]
    Version(u32),
}

/// What is not about one process.
#[derive(Serialize, Deserialize)]
struct Header<R> {
    version: u32,
    next_id: u32,
    rest: R,
}

impl Supervisor {
    /// What is not about one process. Changes with most inputs; a few dozen bytes.
    #[must_use]
    pub fn freeze_header(&self) -> String {
        let header = Header {
            version: FROZEN_VERSION,
            next_id: self.fleet.upcoming_id(),
            rest: &self.rest,
        };
        to_text(&header)
    }

    /// One process.
    #[must_use]
    pub fn freeze_process(&self, id: PmId) -> Option<String> {
        self.fleet.get(id).map(to_text)
    }

    /// Continues from what was written. The monotonic clock must be the one that was read before.
    pub fn thaw<'t>(
        config: SupervisorConfig,
        header: &str,
        processes: impl IntoIterator<Item = &'t str>,
    ) -> Result<Self, ThawError> {
        let header: Header<Rest> = serde_json::from_str(header).map_err(ThawError::Header)?;
        if header.version > FROZEN_VERSION {
            return Err(ThawError::Version(header.version));
        }
        let mut fleet = Fleet::with_next_id(header.next_id);
        for (index, text) in processes.into_iter().enumerate() {
            let mut process: Process =
                serde_json::from_str(text).map_err(|error| ThawError::Process(index, error))?;
            fleet.share_env(&mut process.record);
            fleet.restore(process);
        }
        Ok(Self {
            config,
            fleet,
            rest: header.rest,
            saved: Saved::default(),
        })
    }
}

fn to_text(value: &impl Serialize) -> String {
    // Maps with keys that are no text would be the only failure, and there are none.
    serde_json::to_string(value).unwrap_or_default()
}
