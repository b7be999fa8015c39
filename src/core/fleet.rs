//! The list: ids, names, instance numbers, selection.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Place, PmId, Record, RunId, Wanted};

use super::process::Process;

/// All processes, by id.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    processes: BTreeMap<PmId, Process>,
    /// Which process a run is of: reports name only the run.
    runs: BTreeMap<RunId, PmId>,
    /// Processes that may not be as they were when they were last written out, those that have gone included.
    changed: BTreeSet<PmId>,
    next_id: u32,
}

impl Fleet {
    /// An empty list whose next id is known.
    pub(super) fn with_next_id(next_id: u32) -> Self {
        Self {
            next_id,
            ..Self::default()
        }
    }

    /// Puts a process in that was listed before.
    pub(super) fn restore(&mut self, process: Process) {
        self.next_id = self.next_id.max(process.id.0.saturating_add(1));
        self.put(process);
    }

    /// Gives the next id. Never one that was given before, until the list is empty.
    pub(super) fn next_id(&mut self) -> PmId {
        let id = PmId(self.next_id);
        self.next_id += 1;
        id
    }

    /// What `next_id` will give.
    pub(super) fn upcoming_id(&self) -> u32 {
        self.next_id
    }

    /// Takes a process out for a step. Put it back, or forget it.
    pub(super) fn take(&mut self, id: PmId) -> Option<Process> {
        let process = self.processes.remove(&id)?;
        self.changed.insert(id);
        if let Some(run) = process.run() {
            self.runs.remove(&run);
        }
        Some(process)
    }

    /// Puts a process in, or back.
    pub(super) fn put(&mut self, process: Process) {
        if let Some(run) = process.run() {
            self.runs.insert(run, process.id);
        }
        self.changed.insert(process.id);
        let replaced = self.processes.insert(process.id, process);
        debug_assert!(replaced.is_none(), "two processes with one id");
    }

    /// A process that was taken does not come back. When it was the last, ids begin again at 0.
    pub(super) fn forgotten(&mut self) {
        if self.processes.is_empty() {
            self.next_id = 0;
        }
    }

    pub(super) fn get(&self, id: PmId) -> Option<&Process> {
        self.processes.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: PmId) -> Option<&mut Process> {
        self.changed.insert(id);
        self.processes.get_mut(&id)
    }

    /// The same for a change that need not be written out: it is lost with the daemon, or written with the next one that is.
    pub(super) fn get_mut_unsaved(&mut self, id: PmId) -> Option<&mut Process> {
        self.processes.get_mut(&id)
    }

    /// Which processes may have changed since this was asked last.
    pub(super) fn take_changed(&mut self) -> BTreeSet<PmId> {
        std::mem::take(&mut self.changed)
    }

    /// Whether any process may have changed.
    pub(super) fn is_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// The process a run is of, while that run concerns it.
    pub(super) fn of_run(&self, run: RunId) -> Option<PmId> {
        self.runs.get(&run).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Process> {
        self.processes.values()
    }

    pub(super) fn ids(&self) -> Vec<PmId> {
        self.processes.keys().copied().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.processes.len()
    }

    /// Those of this name.
    pub(super) fn named(&self, name: &str) -> impl Iterator<Item = &Process> {
        self.iter().filter(move |process| process.name() == name)
    }

    /// Where one more process of this name stands: the lowest free instance number, and one more than the highest count.
    pub(super) fn place(&self, name: &str, wanted: &Wanted) -> Place {
        let mut taken: Vec<u32> = self
            .named(name)
            .filter_map(|process| process.record.instance(&wanted.instance_var))
            .collect();
        taken.sort_unstable();
        taken.dedup();
        let free = (0..)
            .zip(&taken)
            .find(|(number, taken)| number != *taken)
            .map(|(number, _)| number);
        let number = free.unwrap_or_else(|| u32::try_from(taken.len()).unwrap_or(u32::MAX));
        let increment = wanted.increment.clone().map(|(variable, first)| {
            let last = self
                .named(name)
                .filter_map(|process| process.record.incremented(&variable))
                .max();
            let value = last.map_or(first, |last| last.saturating_add(1));
            (variable, value)
        });
        Place {
            instance: Some((wanted.instance_var.clone(), number)),
            increment,
        }
    }

    /// Keeps the environment text of a new record once if a process of its name has the same.
    pub(super) fn share_env(&self, record: &mut Record) {
        if let Some(sibling) = self.named(record.name()).last() {
            record.share_env_with(&sibling.record);
        }
    }
}
