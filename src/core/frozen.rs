//! The supervisor as text, between two inputs: what the next daemon continues from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::PmId;

use super::fleet::Fleet;
use super::process::Process;
use super::supervisor::{Rest, Saved};
use super::{Supervisor, SupervisorConfig};

/// The version of the format. Raise it when an older daemon could not continue from what is written.
pub const FROZEN_VERSION: u32 = 2;

/// The part about applications in cluster mode. The others are about a batch each.
pub const PRIMARY_PART: u32 = 0;

/// What was written cannot be continued from.
#[derive(Debug, thiserror::Error)]
pub enum ThawError {
    /// The part that is not about one process.
    #[error("read the supervisor's header")]
    Header(#[source] serde_json::Error),
    /// One of the parts that are about neither; its number.
    #[error("read part {0} of the supervisor")]
    Part(u32, #[source] serde_json::Error),
    /// The part about one process; which one, in the order they were given.
    #[error("read the record of process number {0}")]
    Process(usize, #[source] serde_json::Error),
    /// The part about one process, which one, that has the id or the run of another.
    #[error("keep the record of process number {0}: another one has its id or its run")]
    Twice(usize),
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
    /// What is not about one process, and not a part of its own. Changes with most inputs; a few dozen bytes.
    #[must_use]
    pub fn freeze_header(&self) -> String {
        let header = Header {
            version: FROZEN_VERSION,
            next_id: self.fleet.upcoming_id(),
            rest: &self.rest,
        };
        to_text(&header)
    }

    /// What is not about one process and changes seldom, or would be long in the header.
    #[must_use]
    pub fn freeze_parts(&self) -> BTreeMap<u32, String> {
        let batches = self.rest.batches.iter();
        let batches = batches.map(|(id, batch)| (part_of(*id), to_text(batch)));
        batches
            .chain([(PRIMARY_PART, self.freeze_primary())])
            .collect()
    }

    /// The parts that have changed; those without a text are no more.
    pub(super) fn changed_parts(&mut self) -> Vec<(u32, Option<String>)> {
        let mut parts: Vec<(u32, Option<String>)> = Vec::new();
        for id in std::mem::take(&mut self.saved.batches) {
            parts.push((part_of(id), self.rest.batches.get(&id).map(to_text)));
        }
        let is_marked = self.rest.primary.take_changed();
        if is_marked || self.saved.primary.is_empty() {
            let primary = self.freeze_primary();
            if primary != self.saved.primary {
                self.saved.primary.clone_from(&primary);
                parts.push((PRIMARY_PART, Some(primary)));
            }
        }
        debug_assert_eq!(
            self.saved.primary,
            self.freeze_primary(),
            "a change of the primary was not marked"
        );
        parts
    }

    fn freeze_primary(&self) -> String {
        to_text(&self.rest.primary)
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
        parts: &BTreeMap<u32, String>,
        processes: impl IntoIterator<Item = &'t str>,
    ) -> Result<Self, ThawError> {
        let mut header: Header<Rest> = serde_json::from_str(header).map_err(ThawError::Header)?;
        if header.version > FROZEN_VERSION {
            return Err(ThawError::Version(header.version));
        }
        for (part, text) in parts {
            let failed = |error| ThawError::Part(*part, error);
            if *part == PRIMARY_PART {
                header.rest.primary = serde_json::from_str(text).map_err(failed)?;
            } else {
                let batch = serde_json::from_str(text).map_err(failed)?;
                header.rest.batches.insert(batch_of(*part), batch);
            }
        }
        let mut fleet = Fleet::with_next_id(header.next_id);
        for (index, text) in processes.into_iter().enumerate() {
            let mut process: Process =
                serde_json::from_str(text).map_err(|error| ThawError::Process(index, error))?;
            let is_run_known = process.run().is_some_and(|run| fleet.of_run(run).is_some());
            if is_run_known || fleet.get(process.id).is_some() {
                return Err(ThawError::Twice(index));
            }
            let next_run = process.run().map_or(0, |run| run.0.saturating_add(1));
            header.rest.next_run = header.rest.next_run.max(next_run);
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

/// The number of a batch's part. Batches are counted from the daemon's beginning; four thousand million of them are not expected.
fn part_of(batch: u64) -> u32 {
    u32::try_from(batch).map_or(u32::MAX, |batch| batch.saturating_add(1))
}

fn batch_of(part: u32) -> u64 {
    u64::from(part).saturating_sub(1)
}

fn to_text(value: &impl Serialize) -> String {
    // Maps with keys that are no text would be the only failure, and there are none.
    serde_json::to_string(value).unwrap_or_default()
}
