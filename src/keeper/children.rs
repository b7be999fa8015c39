//! The keeper's own children that have not been reaped: nobody else is ever signalled.

use super::proto::{Ended, Running};
use crate::host::{signal, tree};
use std::collections::BTreeMap;
use std::process::ExitStatus;

/// SIGKILL, which cannot be caught.
pub(super) const KILL: i32 = 9;

/// Run ↔ pid, both ways, with the last signal each was sent.
#[derive(Debug, Default)]
pub(super) struct Children {
    pid_of: BTreeMap<u64, (i32, i32)>,
    run_of: BTreeMap<i32, u64>,
}

impl Children {
    /// A child was started.
    pub(super) fn add(&mut self, run: u64, pid: i32) {
        debug_assert!(!self.pid_of.contains_key(&run), "run {run} is used twice");
        self.pid_of.insert(run, (pid, 0));
        self.run_of.insert(pid, run);
    }

    /// A process was reaped. `None` for an orphan that was never ours.
    pub(super) fn ended(&mut self, pid: i32, status: ExitStatus) -> Option<Ended> {
        let run = self.run_of.remove(&pid)?;
        self.pid_of.remove(&run);
        Some(Ended { run, pid, status })
    }

    /// Whether this run has a child.
    pub(super) fn has(&self, run: u64) -> bool {
        self.pid_of.contains_key(&run)
    }

    /// How many live or wait to be reaped.
    pub(super) fn len(&self) -> usize {
        self.pid_of.len()
    }

    /// Each of them.
    pub(super) fn list(&self) -> Vec<Running> {
        let all = self.pid_of.iter();
        all.map(|(&run, &(pid, signal))| Running { run, pid, signal })
            .collect()
    }

    /// Signals one child. A run that has ended is no error: its exit is on the way to who asked.
    pub(super) fn signal(&mut self, run: u64, number: i32) {
        if let Some((pid, last)) = self.pid_of.get_mut(&run) {
            *last = number;
            let _gone_or_forbidden = signal::send(*pid, number);
        }
    }

    /// Signals the group that a child leads.
    pub(super) fn signal_group(&self, run: u64, number: i32) {
        if let Some((pid, _)) = self.pid_of.get(&run) {
            let _gone_or_forbidden = signal::send_group(*pid, number);
        }
    }

    /// Kills every child with all that belongs to it. They are reaped later, as always.
    pub(super) fn kill_trees(&self) {
        let roots: Vec<_> = self
            .run_of
            .keys()
            .filter_map(|pid| tree::Identity::of(*pid))
            .collect();
        tree::kill_all(&roots);
    }
}
