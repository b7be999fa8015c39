//! What the keeper holds, as far as the daemon knows: enough to start another keeper where that one was.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use crate::host::handles;
use crate::host::tree::Identity;
use crate::keeper::proto::{Ended, Report, Request, Running, Store};

/// A descriptor that the daemon may use as well.
pub(super) type Held = Rc<OwnedFd>;

/// Runs, exits and descriptors.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    pub(super) store: Store<Held>,
    running: BTreeMap<u64, Running>,
    unsettled: BTreeMap<u64, Ended>,
    /// Spawns that were asked for and not answered.
    asked: BTreeMap<u64, Asked>,
    /// Signals that were asked for and not acknowledged, in order.
    signals: VecDeque<(u64, i32)>,
    pub(super) is_ready: bool,
}

/// A spawn whose answer has not come.
#[derive(Debug)]
struct Asked {
    /// The process writes its number to the other end before it becomes the program.
    witness: OwnedFd,
    /// What is stored with it.
    held: Vec<(String, Held)>,
}

/// What becomes of the runs when there is no keeper any more.
#[derive(Debug, Default)]
pub(super) struct Fates {
    /// Processes of which the keeper did not live to tell.
    pub(super) spawned: Vec<(u64, i32)>,
    /// Runs that were not begun, and will never be.
    pub(super) never: Vec<u64>,
}

impl Mirror {
    /// A spawn is being asked for.
    pub(super) fn ask(&mut self, run: u64, witness: OwnedFd, held: Vec<(String, Held)>) {
        self.asked.insert(run, Asked { witness, held });
    }

    /// A process is being given to the keeper.
    pub(super) fn adopt(&mut self, running: Running) {
        self.running.insert(running.run, running);
    }

    /// The keeper will have done this, or another one in its place.
    pub(super) fn said(&mut self, request: &Request) {
        match request {
            Request::Signal { run, signal } => self.signals.push_back((*run, *signal)),
            Request::Discard { key } => self.store.discard(key),
            Request::Settled { run } => drop(self.unsettled.remove(run)),
            Request::Ready => self.is_ready = true,
            // A spawn and what is stored are noted by who makes them; the others leave nothing behind.
            Request::Hello { .. }
            | Request::Adopt { .. }
            | Request::Spawn(_)
            | Request::Store { .. }
            | Request::Replace { .. }
            | Request::Quit => {}
        }
    }

    /// The keeper has said this.
    pub(super) fn heard(&mut self, report: &Report) {
        match report {
            Report::Hello { exits, running, .. } => {
                self.unsettled = exits.iter().map(|one| (one.run, *one)).collect();
                self.running = running.iter().map(|one| (one.run, *one)).collect();
            }
            Report::Spawned { run, pid } => self.spawned(*run, *pid),
            Report::SpawnFailed { run, .. } => drop(self.asked.remove(run)),
            Report::Exited(ended) => {
                self.running.remove(&ended.run);
                self.signals.retain(|(run, _)| *run != ended.run);
                self.unsettled.insert(ended.run, *ended);
            }
            Report::Signalled { run, signal } => {
                let done = (*run, *signal);
                if let Some(at) = self.signals.iter().position(|one| *one == done) {
                    self.signals.remove(at);
                }
                if let Some(running) = self.running.get_mut(run) {
                    running.signal = *signal;
                }
            }
            Report::StoreRefused { key } => self.store.discard(key),
            Report::Give { .. }
            | Report::GiveEnd
            | Report::Took { .. }
            | Report::Shutdown
            | Report::ReloadLogs => {}
        }
    }

    fn spawned(&mut self, run: u64, pid: i32) {
        for (key, fd) in self
            .asked
            .remove(&run)
            .into_iter()
            .flat_map(|asked| asked.held)
        {
            // The keeper has as much room.
            let _refused = self.store.put(key, fd);
        }
        // It may have ended already; then the number still names what is left of its session.
        let start = Identity::of(pid).map_or(u64::MAX, |identity| identity.start);
        let signal = 0;
        let running = Running {
            run,
            pid,
            start,
            signal,
        };
        self.running.insert(run, running);
    }

    /// The process of a run; its start time is `u64::MAX` if it had gone when we looked.
    pub(super) fn root(&self, run: u64) -> Option<Identity> {
        self.running.get(&run).map(|one| Identity {
            pid: one.pid,
            start: one.start,
        })
    }

    /// The keeper has ended: decides every spawn that it did not answer. What has not become a process by now never will.
    pub(super) fn decide(&mut self) -> Fates {
        let mut fates = Fates::default();
        let runs: Vec<u64> = self.asked.keys().copied().collect();
        for run in runs {
            let pid = self
                .asked
                .get(&run)
                .and_then(|asked| handles::testimony(&asked.witness));
            if let Some(pid) = pid {
                self.spawned(run, pid);
                fates.spawned.push((run, pid));
            } else {
                self.asked.remove(&run);
                fates.never.push(run);
            }
        }
        fates
    }

    /// Runs whose process may live.
    pub(super) fn running(&self) -> Vec<Running> {
        self.running.values().copied().collect()
    }

    /// Exits that are not settled.
    pub(super) fn unsettled(&self) -> Vec<Ended> {
        self.unsettled.values().copied().collect()
    }

    /// Signals that may not have been sent.
    pub(super) fn signals(&self) -> Vec<(u64, i32)> {
        self.signals.iter().copied().collect()
    }
}
