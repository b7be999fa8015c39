//! `watch`: which processes watch which files, and when a burst of changes is over.
//!
//! **Invariant:** without a process that watches there is no thread, no descriptor and no timer. What cannot be watched is said in
//! the log and changes nothing for the app.

mod change;
pub(super) mod ignore;
mod plan;
mod trouble;
mod watcher;
mod worker;

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::mpsc;

use self::change::Moment;
use self::plan::Plan;
use self::worker::{Report, Worker};
use super::journal::Journal;
use super::pilot::Pilot;
use crate::core::{Input, Supervisor};
use crate::model::{PmId, RunId};

/// Reports waiting for the pilot. Past it changes are dropped: as many are there already, and one is enough for a restart.
const REPORTS_MAX: usize = 256;
/// A burst is over when nothing has changed for so long: editors and compilers write several files one after another.
const QUIET: Duration = Duration::from_millis(100);
/// A burst that never ends is cut off after so many quiet times.
const BURST_QUIETS: u32 = 10;
/// How often the clock of file systems is looked at: it moves every 1 to 10 ms.
const TICK_LOOK: Duration = Duration::from_millis(1);
/// That clock may be set back; nobody waits for it any longer than this.
const TICK_MAX: Duration = Duration::from_millis(50);

/// Everything that is watched.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    watched: HashMap<PmId, Watched>,
    worker: Option<(Worker, mpsc::Receiver<Report>)>,
    begun: Option<Begun>,
}

/// Somebody watches only since a moment ago: a change would bear the same time as what was there before.
#[derive(Debug)]
struct Begun {
    since: Moment,
    /// When to wait no longer.
    end: Duration,
}

/// One process that watches.
#[derive(Debug)]
struct Watched {
    /// The run after which its declaration was last read.
    run: Option<RunId>,
    name: Box<str>,
    plan: Plan,
    burst: Option<Burst>,
}

/// Changes that belong together.
#[derive(Debug)]
struct Burst {
    path: Box<str>,
    /// When it counts as over.
    until: Duration,
    /// When it is over at the latest.
    end: Duration,
}

impl Watches {
    /// The next thing the worker says. Never, while there is none. Cancel-safe.
    pub(crate) async fn hear(&mut self) -> Option<Report> {
        if let Some((_, reports)) = &mut self.worker {
            let report = reports.recv().await;
            if report.is_some() {
                return report;
            }
            // The thread has ended by a bug of ours. Apps go on without it.
            self.worker = None;
        }
        std::future::pending().await
    }

    /// How long nobody may yet hear that a process has started: who has heard of it may write files at once, and counts on the
    /// watch. `None`: no longer.
    pub(crate) fn hush(&mut self, now: Duration) -> Option<Duration> {
        self.begun
            .take_if(|begun| begun.end <= now || begun.since.is_past_for_files());
        self.begun.as_ref().map(|_| TICK_LOOK)
    }

    /// When a burst is over.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let bursts = self.watched.values().filter_map(|it| it.burst.as_ref());
        bursts.map(|burst| burst.until).min()
    }

    /// Takes in what the worker says.
    pub(crate) fn heard(&mut self, report: Report, now: Duration, journal: &Journal) {
        match report {
            Report::Changed(id, path) => {
                if let Some(watched) = self.watched.get_mut(&id) {
                    let quiet = watched.plan.delay.max(QUIET);
                    let burst = watched.burst.get_or_insert_with(|| Burst {
                        path,
                        until: now,
                        end: now + quiet * BURST_QUIETS,
                    });
                    burst.until = (now + quiet).min(burst.end);
                }
            }
            Report::Trouble(id, text) => {
                let name = self.watched.get(&id).map(|watched| &*watched.name);
                let name = name.unwrap_or_default();
                journal.error(&format!("[Watch] {name}: failed to watch {text}"));
            }
        }
    }

    /// Watches what is to be watched by now, and no more.
    pub(crate) fn sync(&mut self, now: Duration, supervisor: &Supervisor, journal: &Journal) {
        let is_wanted = |id: &PmId| {
            supervisor
                .get(*id)
                .is_some_and(|it| it.watched_run().is_some())
        };
        let ended: Vec<PmId> = self
            .watched
            .keys()
            .filter(|id| !is_wanted(id))
            .copied()
            .collect();
        for id in ended {
            if let Some(watched) = self.watched.remove(&id) {
                journal.log(&format!("[Watch] Stop watching {}", watched.name));
                self.tell(id, None);
            }
        }
        for process in supervisor.processes() {
            let Some(run) = process.watched_run() else {
                continue;
            };
            let id = process.id();
            let known = self.watched.get_mut(&id);
            if known.as_ref().is_some_and(|known| known.run == Some(run)) {
                continue;
            }
            let plan = Plan::read(process.record());
            match known {
                Some(known) if known.plan == plan => {
                    known.run = Some(run);
                    continue;
                }
                Some(_) => {}
                None => journal.log(&format!("[Watch] Start watching {}", process.name())),
            }
            let watched = Watched {
                run: Some(run),
                name: process.name().into(),
                plan: plan.clone(),
                burst: None,
            };
            self.watched.insert(id, watched);
            if let Err(error) = self.have_worker() {
                journal.error(&format!(
                    "[Watch] {}: failed to watch files: {error}",
                    process.name()
                ));
                continue;
            }
            // Not any longer for those who begin meanwhile, or many in turn would keep everybody waiting.
            let end = self
                .begun
                .as_ref()
                .map_or(now + TICK_MAX, |begun| begun.end);
            let since = Moment::now();
            self.begun = Some(Begun { since, end });
            self.tell(id, Some((since, plan)));
        }
        if self.watched.is_empty() {
            self.worker = None;
        }
    }

    fn have_worker(&mut self) -> std::io::Result<()> {
        if self.worker.is_none() {
            let (reports, heard) = mpsc::channel(REPORTS_MAX);
            self.worker = Some((Worker::start(reports)?, heard));
        }
        Ok(())
    }

    fn tell(&self, id: PmId, plan: Option<(Moment, Plan)>) {
        if let Some((worker, _)) = &self.worker {
            worker.set(id, plan);
        }
    }
}

impl Pilot {
    /// Tells the core of bursts that are over.
    pub(super) fn look_at_files(&mut self, now: Duration) {
        if self.watches.deadline().is_none_or(|at| now < at) {
            return;
        }
        for (id, watched) in &mut self.watches.watched {
            if let Some(burst) = watched.burst.take_if(|burst| burst.until <= now) {
                let (id, path) = (*id, burst.path);
                self.inputs.push_back(Input::Changed { id, path });
            }
        }
    }
}
