//! The processes that the keeper has started, or has taken over from a keeper before it: nobody else is ever signalled.

use super::proto::{ChildLeft, Ended, Running};
use crate::host::foreign::{Foreign, Watch};
use crate::host::handles::Pidfd;
use crate::host::tree::Identity;
use crate::host::{process, signal, tree};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, RawFd};
use std::process::ExitStatus;

/// SIGKILL, which cannot be caught.
pub(super) const KILL: i32 = 9;

/// Runs whose process has not been reaped, or not been seen to end.
#[derive(Debug, Default)]
pub(super) struct Children {
    all: BTreeMap<u64, Child>,
    /// Of our own: by the number that `wait` gives.
    run_of: BTreeMap<i32, u64>,
    /// For those that are somebody else's children, once there are any.
    watch: Option<Watch>,
}

#[derive(Debug)]
struct Child {
    kinship: Kinship,
    /// The last signal it was sent.
    signal: i32,
}

/// Whether a number is safe to use.
#[derive(Debug)]
enum Kinship {
    /// Our own child, whose number stays its own until we reap it.
    Own(i32),
    /// A keeper before us was its parent.
    Foreign(Foreign),
}

impl Child {
    fn pid(&self) -> i32 {
        match &self.kinship {
            Kinship::Own(pid) => *pid,
            Kinship::Foreign(foreign) => foreign.identity.pid,
        }
    }

    fn identity(&self) -> Option<Identity> {
        match &self.kinship {
            Kinship::Own(pid) => Identity::of(*pid),
            Kinship::Foreign(foreign) => Some(foreign.identity),
        }
    }
}

impl Children {
    /// A child was started.
    pub(super) fn add(&mut self, run: u64, pid: i32) {
        debug_assert!(!self.has(run), "run {run} is used twice");
        self.run_of.insert(pid, run);
        let kinship = Kinship::Own(pid);
        self.all.insert(run, Child { kinship, signal: 0 });
    }

    /// Takes over what a keeper before us had. Of ourselves, if that was an earlier version of ours in this process.
    pub(super) fn take_over(&mut self, left: &[ChildLeft]) -> io::Result<()> {
        for one in left {
            let identity = Identity {
                pid: one.pid,
                start: one.start,
            };
            let Some(number) = one.watch else {
                self.add(one.run, one.pid);
                self.note_signal(one.run, one.signal);
                continue;
            };
            let fd = process::inherited(number).ok_or(io::ErrorKind::NotFound)?;
            let foreign = Foreign::of(identity, Pidfd::of(fd));
            self.adopt(one.run, foreign, one.signal)
                .map_err(|(error, _)| error)?;
        }
        Ok(())
    }

    /// Takes on somebody else's child that was last sent this signal. Given back if it cannot be waited for.
    pub(super) fn adopt(
        &mut self,
        run: u64,
        foreign: Foreign,
        signal: i32,
    ) -> Result<(), (io::Error, Foreign)> {
        let watch = match self.watch.take().map_or_else(Watch::new, Ok) {
            Ok(watch) => self.watch.insert(watch),
            Err(error) => return Err((error, foreign)),
        };
        if let Err(error) = watch.add(&foreign, run) {
            return Err((error, foreign));
        }
        let kinship = Kinship::Foreign(foreign);
        self.all.insert(run, Child { kinship, signal });
        Ok(())
    }

    fn note_signal(&mut self, run: u64, signal: i32) {
        if let Some(child) = self.all.get_mut(&run) {
            child.signal = signal;
        }
    }

    /// What the next keeper in this process is told of each. `put` gives the number of a descriptor.
    pub(super) fn leave<'a>(
        &'a self,
        mut put: impl FnMut(BorrowedFd<'a>) -> RawFd,
    ) -> Vec<ChildLeft> {
        let all = self.all.iter();
        all.map(|(&run, child)| ChildLeft {
            run,
            pid: child.pid(),
            start: child.identity().map_or(u64::MAX, |identity| identity.start),
            signal: child.signal,
            watch: match &child.kinship {
                Kinship::Own(_) => None,
                Kinship::Foreign(foreign) => Some(put(foreign.as_fd())),
            },
        })
        .collect()
    }

    /// A process was reaped. `None` for an orphan that was never ours.
    pub(super) fn reaped(&mut self, pid: i32, status: ExitStatus) -> Option<Ended> {
        let run = self.run_of.remove(&pid)?;
        self.all.remove(&run);
        let status = Some(status);
        Some(Ended { run, pid, status })
    }

    /// The next of those that somebody else reaps.
    pub(super) fn ended_elsewhere(&mut self) -> Option<Ended> {
        let ended = self.watch.as_ref()?.ended();
        ended.into_iter().find_map(|run| {
            let child = self.all.remove(&run)?;
            let Kinship::Foreign(foreign) = child.kinship else {
                return None;
            };
            Some(Ended {
                run,
                pid: foreign.identity.pid,
                status: foreign.exit_status(),
            })
        })
    }

    /// Readable when somebody else's child has ended.
    pub(super) fn watch(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(Watch::as_fd)
    }

    /// Whether this run has a child.
    pub(super) fn has(&self, run: u64) -> bool {
        self.all.contains_key(&run)
    }

    /// How many live or wait to be reaped.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Each of them.
    pub(super) fn list(&self) -> Vec<Running> {
        let all = self.all.iter();
        all.map(|(&run, child)| Running {
            run,
            pid: child.pid(),
            start: child.identity().map_or(u64::MAX, |identity| identity.start),
            signal: child.signal,
        })
        .collect()
    }

    /// Signals one child. A run that has ended is no error: its exit is on the way to who asked.
    pub(super) fn signal(&mut self, run: u64, number: i32) {
        if let Some(child) = self.all.get_mut(&run) {
            child.signal = number;
            let _gone_or_forbidden = match &child.kinship {
                Kinship::Own(pid) => signal::send(*pid, number),
                Kinship::Foreign(foreign) => foreign.signal(number),
            };
        }
    }

    /// Knows no more of those that are somebody else's children.
    pub(super) fn let_foreign_go(&mut self) {
        let is_own = |child: &Child| matches!(child.kinship, Kinship::Own(_));
        self.all.retain(|_, child| is_own(child));
    }

    /// Kills every child with all that belongs to it. They are reaped later, as always.
    pub(super) fn kill_trees(&self) {
        let roots: Vec<_> = self.all.values().filter_map(Child::identity).collect();
        tree::kill_all(&roots);
    }
}
