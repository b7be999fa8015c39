//! Runs that are being ended: whom the signal goes to, and when nothing of them lives any more.
//!
//! The keeper signals and reaps the processes it started; everybody else in a tree is signalled here, by number and start time, so
//! that a number which is in use again harms nobody. All trees that are to be found are found in one look at the process table,
//! and looks are kept apart by what they cost. Who has left its family and its session is known by the environment it inherited.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::host::tree::{Identity, Mark, Snapshot};
use crate::model::RunId;

/// Between two looks while something that was asked to end still lives. Nothing is looked at otherwise.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// So many times the cost of a look nothing is looked at after it. Where thousands of processes live, stops that come one by
/// one are thereby carried out together, and most of the time is left for everything else.
const REST_PER_LOOK: u32 = 1;

/// What is to be done to one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    /// Which.
    pub(crate) run: RunId,
    /// The process the keeper started.
    pub(crate) root: Identity,
    /// What its descendants inherit, where that is known.
    pub(crate) mark: Option<Mark>,
    /// How.
    pub(crate) how: How,
}

/// How a run is made to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// This signal, to the root alone.
    Root(i32),
    /// This signal, to all of the tree.
    Tree(i32),
    /// Nothing yet; what is left of the tree when the root has ended is waited for.
    Wait,
    /// SIGKILL to all that is left, of the tree too if that was meant before.
    Kill,
}

/// Runs that are being ended.
#[derive(Debug, Default)]
pub(crate) struct Stops {
    runs: HashMap<RunId, Stop>,
    /// Trees that are to be signalled in the next look, and with what.
    unsignalled: Vec<(RunId, i32)>,
    last_look: Duration,
    /// No look before that.
    rest_until: Duration,
}

#[derive(Debug)]
struct Stop {
    root: Identity,
    mark: Option<Mark>,
    /// What members of the tree get that show up later; nothing where only the root is meant.
    tree_signal: Option<i32>,
    /// Everybody who was ever found in the tree, but the root. One that has ended may have left a session or children behind by
    /// which others are found.
    known: Vec<Identity>,
    /// Those of them that lived when last looked at.
    rest: Vec<Identity>,
    is_root_gone: bool,
}

const SIGKILL: i32 = 9;

impl Stops {
    /// Takes in what one turn asks for. Gives the runs whose root the keeper must signal at once, and with what; whoever has a
    /// tree is signalled in the next look.
    pub(crate) fn begin(&mut self, endings: &[Ending]) -> Vec<(RunId, i32)> {
        let mut roots = Vec::new();
        for ending in endings {
            let Ending {
                run,
                root,
                mark,
                how,
            } = *ending;
            let stop = self.runs.entry(run).or_insert(Stop {
                root,
                mark,
                tree_signal: None,
                known: Vec::new(),
                rest: Vec::new(),
                is_root_gone: false,
            });
            let signal = match how {
                How::Root(signal) => signal,
                How::Tree(signal) => {
                    stop.tree_signal = Some(signal);
                    signal
                }
                How::Wait => {
                    stop.tree_signal = Some(0);
                    continue;
                }
                How::Kill => {
                    stop.tree_signal = stop.tree_signal.map(|_| SIGKILL);
                    SIGKILL
                }
            };
            if stop.tree_signal.is_some() {
                self.unsignalled.push((run, signal));
            } else {
                roots.push((run, signal));
            }
        }
        roots
    }

    /// The root of this run has ended. True when nothing else of it was meant, so that it is over at once.
    pub(crate) fn root_gone(&mut self, run: RunId) -> bool {
        match self.runs.get_mut(&run) {
            Some(stop) if stop.tree_signal.is_some() => {
                stop.is_root_gone = true;
                false
            }
            _ => {
                self.runs.remove(&run);
                true
            }
        }
    }

    /// When to look again, on the monotonic clock.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        if !self.unsignalled.is_empty() {
            return Some(self.rest_until);
        }
        let is_waiting = self.runs.values().any(|stop| stop.is_root_gone);
        is_waiting.then(|| self.rest_until.max(self.last_look + LOOK_PAUSE))
    }

    /// Signals the trees that were to be signalled, and finds the runs of which nothing lives any more; all in one look at the
    /// process table. Does nothing before the deadline. `roots` gives the numbers of the processes that the keeper started for
    /// runs.
    pub(crate) fn look(&mut self, now: Duration, roots: impl Fn() -> HashSet<i32>) -> Looked {
        let mut looked = Looked::default();
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return looked;
        }
        self.last_look = now;
        let mut table = Table::new(roots);
        for (run, signal) in std::mem::take(&mut self.unsignalled) {
            let Some(stop) = self.runs.get_mut(&run) else {
                continue;
            };
            if let Some(seen) = table.look() {
                stop.find_members(seen);
                signal_all(&stop.rest, signal);
            }
            if !stop.is_root_gone {
                looked.roots.push((run, signal));
            }
        }
        for (run, stop) in &mut self.runs {
            if !stop.is_root_gone {
                continue;
            }
            stop.rest.retain(|member| member.is_alive());
            if !stop.rest.is_empty() {
                continue;
            }
            // All that were known have gone; they may have left children behind in their last moments.
            let Some(seen) = table.look() else {
                continue;
            };
            stop.find_members(seen);
            match stop.tree_signal {
                _ if stop.rest.is_empty() => looked.over.push(*run),
                Some(signal) => signal_all(&stop.rest, signal),
                None => {}
            }
        }
        for run in &looked.over {
            self.runs.remove(run);
        }
        if let Some(cost) = table.cost {
            self.rest_until = now + cost * (1 + REST_PER_LOOK);
        }
        looked
    }
}

/// What came of a look.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    /// The runs whose root the keeper must signal, and with what.
    pub(crate) roots: Vec<(RunId, i32)>,
    /// The runs of which nothing lives any more.
    pub(crate) over: Vec<RunId>,
}

/// The process table, looked at when it is needed first.
struct Table<Roots> {
    roots: Roots,
    seen: Option<Seen>,
    /// How long that took, if it was tried.
    cost: Option<Duration>,
}

/// What one look has shown.
struct Seen {
    snapshot: Snapshot,
    orphans: HashMap<Mark, Vec<Identity>>,
}

impl<Roots: Fn() -> HashSet<i32>> Table<Roots> {
    fn new(roots: Roots) -> Self {
        Self {
            roots,
            seen: None,
            cost: None,
        }
    }

    fn look(&mut self) -> Option<&Seen> {
        if self.cost.is_none() {
            let begun = Instant::now();
            self.seen = Snapshot::take().ok().map(|snapshot| {
                let mut orphans: HashMap<Mark, Vec<Identity>> = HashMap::new();
                for (orphan, mark) in snapshot.marked_orphans(&(self.roots)()) {
                    orphans.entry(mark).or_default().push(orphan);
                }
                Seen { snapshot, orphans }
            });
            self.cost = Some(begun.elapsed());
        }
        self.seen.as_ref()
    }
}

impl Stop {
    /// Looks for everybody in the trees of the root, of its marked orphans and of those who were ever known, and remembers them.
    fn find_members(&mut self, seen: &Seen) {
        let mut rest: Vec<Identity> = Vec::new();
        let orphans = self.mark.and_then(|mark| seen.orphans.get(&mark));
        let seeds = [self.root]
            .into_iter()
            .chain(orphans.into_iter().flatten().copied());
        for seed in seeds.chain(self.known.iter().copied()) {
            for member in seen.snapshot.tree(seed) {
                if member.pid != self.root.pid && !rest.contains(&member) {
                    rest.push(member);
                }
            }
        }
        for member in &rest {
            if !self.known.contains(member) {
                self.known.push(*member);
            }
        }
        self.rest = rest;
    }
}

fn signal_all(members: &[Identity], signal: i32) {
    if signal == 0 {
        return;
    }
    for member in members {
        // It may have ended just now, which is what was wanted.
        let _gone = member.signal(signal);
    }
}
