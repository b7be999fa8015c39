//! What is always true: checked as effects are obeyed, and after each step.

use std::collections::{BTreeMap, BTreeSet};

use pm2_simulator::core::{Effect, Process};
use pm2_simulator::model::{BusEvent, Pid, PmId, RunId, Status, Ticket};
use serde::Deserialize;

use super::world::{Run, Stage, Told, World};

impl World {
    /// Whatever the supervisor holds for a process that lives, is one; and the other way round.
    pub(crate) fn look(&self) {
        let held = self.supervisor.runs();
        let held: BTreeMap<RunId, Pid> = held
            .filter_map(|(run, process)| Some((run, process.pid()?)))
            .collect();
        let is_given_up = |run: &RunId, seen: &Run| seen.is_dying() && !held.contains_key(run);
        let living = self
            .runs
            .iter()
            .filter(|(run, seen)| !is_given_up(run, seen));
        let living: BTreeMap<RunId, Pid> = living
            .filter_map(|(run, seen)| Some((*run, seen.pid()?)))
            .collect();
        assert_eq!(held, living, "a pid is held exactly when a child lives");
    }

    /// Whether a process of this id is there or on its way, both halves of a reload included. Not one that was given up: whoever
    /// waited for its end then was told so.
    fn lives(&self, id: PmId) -> bool {
        let held: BTreeSet<RunId> = self.supervisor.runs().map(|(run, _)| run).collect();
        let is_given_up = |run: &RunId, seen: &Run| seen.is_dying() && !held.contains(run);
        let runs = self.runs.iter();
        runs.filter(|(run, seen)| !is_given_up(run, seen))
            .any(|(_, seen)| seen.id == id && seen.stage != Stage::Ended)
    }

    fn tell(&mut self, run: RunId, what: Told) {
        let run = self.runs.get_mut(&run).unwrap();
        run.told = run.told.max(what);
    }

    fn is_there(&self, run: RunId) -> bool {
        self.runs.get(&run).is_some_and(|run| run.pid().is_some())
    }

    pub(crate) fn obey(&mut self, effect: Effect) {
        match effect {
            Effect::Spawn { id, run, .. } => self.spawn(id, run),
            Effect::Terminate { run, tree, .. } => {
                // Descendants may be left of one that has ended.
                let is_left = tree
                    && self
                        .runs
                        .get(&run)
                        .is_some_and(|run| run.stage == Stage::Ended);
                assert!(
                    is_left || self.is_there(run),
                    "signalled: {run}, which is not there"
                );
                self.tell(run, Told::Signal);
            }
            Effect::TerminateMessage { run, .. } => {
                assert!(
                    self.is_there(run),
                    "asked to end: {run}, which is not there"
                );
                self.tell(run, Told::Word);
            }
            Effect::Kill { run } => {
                let is_known = self
                    .runs
                    .get(&run)
                    .is_some_and(|run| run.stage != Stage::Asked);
                assert!(is_known, "killed: {run}, which is not there");
                self.tell(run, Told::Kill);
            }
            Effect::Signal { run, .. }
            | Effect::Send { run, .. }
            | Effect::Stdin { run, .. }
            | Effect::Await { run, .. } => {
                assert!(self.is_there(run), "written to: {run}, which is not there");
                // Workers that are told to disconnect end by themselves.
                let is_told = matches!(&effect, Effect::Send { line, .. } if line.as_str().contains("\"disconnect\""));
                if is_told {
                    self.tell(run, Told::Word);
                }
            }
            Effect::Reply { ticket, result } => self.answer(ticket, result.is_ok()),
            Effect::Forget { id } => {
                assert!(
                    self.supervisor.get(id).is_none(),
                    "{id} is forgotten and listed"
                );
                assert!(!self.lives(id), "{id} is forgotten while a child lives");
                self.is_up.remove(&id);
                self.ends.remove(&id);
                self.resting.remove(&id);
            }
            Effect::Announce(event) => self.hear(&event),
            Effect::Log { .. } | Effect::PidFile { .. } => {}
            Effect::Listen { .. }
            | Effect::SendSocket { .. }
            | Effect::SendConnection { .. }
            | Effect::SendProbe { .. }
            | Effect::KeepConnection { .. }
            | Effect::CloseSocket { .. }
            | Effect::CloseConnection { .. }
            | Effect::Steer { .. }
            | Effect::Watch { .. }
            | Effect::Look { .. }
            | Effect::Accept { .. }
            | Effect::Deal { .. } => panic!("{effect:?}, and no worker has asked for a server"),
        }
    }

    fn spawn(&mut self, id: PmId, run: RunId) {
        let process = self.supervisor.get(id);
        let is_cluster =
            process.is_some_and(|process| is_declared(process, "exec_mode", "\"cluster_mode\""));
        // A worker that is replaced lives beside its successor. Those that were told to end do not count: of them there may be more.
        let is_other = |other: &&Run| other.id == id && other.stage != Stage::Ended;
        let is_meant = |other: &&Run| {
            other.is_cluster == is_cluster && !(is_cluster && other.told > Told::Nothing)
        };
        let others = self.runs.values().filter(is_other).filter(is_meant).count();
        assert!(
            others <= usize::from(is_cluster),
            "{} children for {id}",
            others + 1
        );
        assert!(
            !self.is_killing,
            "{id} is started while everything is being stopped"
        );
        let is_scheduled = process.is_some_and(is_scheduled);
        assert!(
            is_scheduled || !self.resting.contains(&id),
            "{id} was stopped, and is started by nobody"
        );
        let run_seen = Run {
            id,
            is_cluster,
            stage: Stage::Asked,
            told: Told::Nothing,
            is_stubborn: self.chance.one_in(8),
        };
        let known = self.runs.insert(run, run_seen);
        assert!(known.is_none(), "{run} is used twice");
    }

    fn answer(&mut self, ticket: Ticket, is_ok: bool) {
        if ticket == Ticket::NOBODY {
            return assert!(self.deaths > 0, "an answer to nobody");
        }
        assert!(
            self.waiting.remove(&ticket),
            "{ticket:?} is answered twice, or was never asked"
        );
        let Some((id, _)) = self.ends.iter().find(|(_, wish)| **wish == ticket) else {
            return;
        };
        let id = *id;
        self.ends.remove(&id);
        if !is_ok {
            return;
        }
        assert!(!self.lives(id), "{id} was said to have stopped, and lives");
        if let Some(process) = self
            .supervisor
            .get(id)
            .filter(|process| !is_scheduled(process))
        {
            let is_down = matches!(process.status(), Status::Stopped | Status::Errored);
            assert!(
                is_down,
                "{id} was said to have stopped, and is {}",
                process.status()
            );
            self.resting.insert(id);
        }
    }

    /// What the bus says of one process comes in the order of its life.
    fn hear(&mut self, event: &BusEvent) {
        #[derive(Deserialize)]
        struct Told {
            event: String,
            process: About,
        }
        #[derive(Deserialize)]
        struct About {
            pm_id: serde_json::Value,
            exec_mode: String,
        }
        if &*event.name != "process:event" {
            return;
        }
        let told: Told = serde_json::from_str(event.payload.as_str()).unwrap();
        let id = told
            .process
            .pm_id
            .as_u64()
            .and_then(|id| u32::try_from(id).ok());
        // Two have one id in a reload.
        let Some(id) = id.filter(|_| told.process.exec_mode == "fork_mode") else {
            return;
        };
        let is_up = match told.event.as_str() {
            "online" => true,
            "exit" => false,
            _ => return,
        };
        let before = self.is_up.insert(PmId(id), is_up);
        assert!(
            !(is_up && before == Some(true)),
            "{id} is online twice without an end between"
        );
    }
}

fn is_declared(process: &Process, key: &str, raw: &str) -> bool {
    process.record().declared(key).as_deref() == Some(raw)
}

/// Whether it may be started by its schedule, whoever stopped it.
fn is_scheduled(process: &Process) -> bool {
    process.record().declared("cron_restart").is_some()
}
