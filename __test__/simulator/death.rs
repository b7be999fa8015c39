//! The daemon dies, and another goes on from what was written.

use std::collections::{BTreeMap, BTreeSet};

use pm2_simulator::core::{Call, Changes, Fate, Input, Supervisor};
use pm2_simulator::model::{Exit, PmId, RunId, Signal};

use super::world::{Run, Stage, Told, World, config};

/// What the next daemon reads: kept as the daemon keeps it, by applying what has changed.
#[derive(Default)]
pub(crate) struct Records {
    header: String,
    parts: BTreeMap<u32, String>,
    processes: BTreeMap<PmId, String>,
}

impl Records {
    pub(crate) fn write(&mut self, changes: Changes) {
        if let Some(header) = changes.header {
            self.header = header;
        }
        for (part, text) in changes.parts {
            match text {
                Some(text) => drop(self.parts.insert(part, text)),
                None => drop(self.parts.remove(&part)),
            }
        }
        for (id, text) in changes.processes {
            match text {
                Some(text) => drop(self.processes.insert(id, text)),
                None => drop(self.processes.remove(&id)),
            }
        }
    }

    fn read(&self) -> Supervisor {
        let processes = self.processes.values().map(String::as_str);
        Supervisor::thaw(config(), &self.header, &self.parts, processes).unwrap()
    }
}

impl World {
    /// The daemon is gone. The keeper goes on alone for a while; another daemon goes on from what was written.
    pub(crate) fn die(&mut self) {
        self.trace(|| "  (the daemon dies)".to_owned());
        self.deaths += 1;
        self.waiting.clear();
        self.ends.clear();
        self.is_up.clear();
        let asked = self
            .runs
            .iter()
            .filter(|(_, run)| run.stage == Stage::Asked);
        for run in asked.map(|(run, _)| *run).collect::<Vec<_>>() {
            if self.chance.one_in(4) {
                self.runs.remove(&run);
            } else {
                let pid = self.next_pid();
                self.runs.get_mut(&run).unwrap().stage = Stage::Alive(pid);
            }
        }
        for _ in 0..self.chance.below(3) {
            self.end_one(false);
        }
        self.supervisor = self.records.read();
        let used = self.runs.keys().map(|run| run.0 + 1).max();
        self.supervisor.skip_runs_to(used.unwrap_or(0));
        let runs = self.runs.clone();
        let effects = self.supervisor.resume(self.now, &|run| fate(&runs, run));
        self.records = Records::default();
        self.records.write(self.supervisor.take_all());
        // Where it was taken off the list, that was not told any more.
        self.resting.retain(|id| self.supervisor.get(*id).is_some());
        let missed = self.missed(&runs);
        // It may die at once again; what is left to be said and done then is the next one's business.
        if self.chance.one_in(8) {
            self.doom();
        }
        let deaths = self.deaths;
        self.perform(effects);
        for input in missed {
            if self.deaths > deaths {
                return;
            }
            self.take_in(input);
        }
        if self.deaths > deaths {
            return;
        }
        if self.supervisor.is_ending() {
            self.call(Call::KillAll);
        }
    }

    /// What the daemon before was not told of the runs there are.
    fn missed(&self, runs: &BTreeMap<RunId, Run>) -> Vec<Input> {
        let mut missed = Vec::new();
        let mut known = BTreeSet::new();
        for (run, process) in self.supervisor.runs() {
            known.insert(run);
            let (pid, version) = (runs.get(&run).and_then(Run::pid), None);
            match (pid, process.is_spawning(), process.stopping()) {
                (_, _, Some((_, _, _, true))) | (Some(_), false, _) | (None, true, _) => {}
                (Some(pid), true, _) => missed.push(Input::Spawned { run, pid, version }),
                (None, false, _) => {
                    let exit = Exit::Signal(Signal::KILL);
                    missed.push(Input::Exited { run, exit });
                    missed.push(Input::Drained { run });
                }
            }
        }
        let lost: Vec<_> = runs
            .iter()
            .filter(|(run, seen)| seen.pid().is_some() && !seen.is_dying() && !known.contains(*run))
            .collect();
        assert!(lost.is_empty(), "nobody knows of {lost:?} any more");
        missed
    }
}

fn fate(runs: &BTreeMap<RunId, Run>, run: RunId) -> Fate {
    match runs
        .get(&run)
        .map(|run| (run.stage, run.told >= Told::Signal))
    {
        Some((Stage::Alive(_), is_signalled)) => Fate::Lives { is_signalled },
        Some((Stage::Dead(..), _)) => Fate::Ended,
        Some((Stage::Asked | Stage::Ended, _)) | None => Fate::Unknown,
    }
}
