//! The whole fleet: inputs are sorted here, effects collected.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::model::{
    JsonText, Measured, Members, Pid, PmId, RunId, Signal, Spliced, Ticket, Usage, View,
};

use super::cluster::{Primary, Said};
use super::fleet::Fleet;
use super::life::{Event, State};
use super::process::{Process, Step};
use super::reload::Reload;
use super::schedule::answer_ourselves;
use super::{Effect, Input, NextTick, Now};

/// What the supervisor is told once.
#[derive(Clone, Debug)]
pub struct SupervisorConfig {
    /// `PM2_KILL_TIMEOUT`, for processes without their own.
    pub kill_timeout: Duration,
    /// `PM2_KILL_SIGNAL`.
    pub kill_signal: Signal,
    /// `PM2_KILL_USE_MESSAGE`: all processes are stopped by message.
    pub kill_by_message: bool,
    /// `PM2_GRACEFUL_LISTEN_TIMEOUT`, for processes without `listen_timeout`.
    pub listen_timeout: Duration,
    /// `EXP_BACKOFF_RESET_TIMER`: a run that lasts as long ends the growth of its delays.
    pub backoff_reset: Duration,
    /// `PM2_PROCESS_INSTANCE_VAR`: instead of every `instance_var`.
    pub instance_var: Option<String>,
    /// `PM2_GRACEFUL_TIMEOUT`: how long an old worker may need to finish in a reload.
    pub graceful_timeout: Duration,
    /// Number of CPUs: what `instances: 0` means.
    pub cpus: u32,
    /// Reads cron patterns.
    pub next_tick: NextTick,
}

impl Default for SupervisorConfig {
    fn default() -> Self {
        Self {
            kill_timeout: Duration::from_millis(1600),
            kill_signal: Signal::INT,
            kill_by_message: false,
            listen_timeout: Duration::from_secs(3),
            backoff_reset: Duration::from_secs(30),
            instance_var: None,
            graceful_timeout: Duration::from_secs(8),
            cpus: 1,
            next_tick: |_, _| Ok(None),
        }
    }
}

/// All processes, and what is to be done about them.
#[derive(Debug)]
pub struct Supervisor {
    pub(super) config: SupervisorConfig,
    pub(super) fleet: Fleet,
    pub(super) rest: Rest,
    pub(super) saved: Saved,
}

/// What was written out last of what is not about one process.
#[derive(Debug, Default)]
pub(super) struct Saved {
    pub(super) header: String,
    pub(super) primary: String,
    /// The header may have changed.
    pub(super) is_stale: bool,
    /// Batches that may have changed, those that are over included.
    pub(super) batches: BTreeSet<u64>,
}

/// What the supervisor knows beside its processes.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Rest {
    pub(super) next_run: u64,
    pub(super) next_batch: u64,
    /// The daemon is ending: nothing is started.
    pub(super) is_killing: bool,
    /// Who waits for the end of everything.
    pub(super) kill_tickets: Vec<Ticket>,
    /// Declarations whose instances are being started one after another. Each is a record of its own: written here, all of
    /// them would be written whenever one of them comes a step further.
    #[serde(skip)]
    pub(super) batches: BTreeMap<u64, Batch>,
    /// Applications in cluster mode. A record of its own too; version 1 had it here.
    #[serde(default, skip_serializing)]
    pub(super) primary: Primary,
    /// Processes that are being replaced.
    #[serde(default)]
    pub(super) reloads: BTreeMap<PmId, Reload>,
}

/// One declaration whose instances are being started one after another.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Batch {
    pub(super) ticket: Ticket,
    pub(super) declaration: JsonText,
    pub(super) unique_id: Box<str>,
    /// How many there are to be in all; the record says so.
    pub(super) instances: u32,
    /// How many of them are concluded.
    pub(super) concluded: u32,
    /// Their answers, as they were then. Not written out: who waits for them has its connection to this daemon, so no other
    /// daemon can answer.
    #[serde(skip)]
    pub(super) answers: Vec<JsonText>,
}

impl Supervisor {
    /// An empty list.
    #[must_use]
    pub fn new(config: SupervisorConfig) -> Self {
        Self {
            config,
            fleet: Fleet::default(),
            rest: Rest::default(),
            saved: Saved::default(),
        }
    }

    /// Takes in one thing that happened and says what is to be done, in order.
    pub fn handle(&mut self, now: Now, input: Input) -> Vec<Effect> {
        let mut out = Vec::new();
        self.saved.is_stale |= !matches!(input, Input::Message { .. });
        match input {
            Input::Call { ticket, call } => self.call(now, ticket, call, &mut out),
            Input::Spawned { run, pid, version } => {
                if let Some(process) = self.by_run(run) {
                    process.record.axm.version = version;
                }
                self.report(now, run, Event::Spawned(pid), &mut out);
            }
            Input::SpawnFailed { run, reason } => {
                self.report(now, run, Event::SpawnFailed(reason), &mut out);
            }
            Input::NeverSpawned { run } => self.never_spawned(now, run, &mut out),
            Input::Message { run, message } => self.message(now, run, &message, &mut out),
            Input::Exited { run, exit } => self.report(now, run, Event::Exited(exit), &mut out),
            Input::Drained { run } => self.report(now, run, Event::Drained, &mut out),
            Input::Internal { run, line } => self.internal(now, run, line.as_str(), &mut out),
            Input::Disconnected { run } => {
                self.rest.primary.gone(now, run, &mut out);
                self.report(now, run, Event::Silent, &mut out);
            }
            Input::Listened { socket, result } => {
                self.rest.primary.listened(now, socket, result, &mut out);
            }
            Input::Waiting { socket } => self.rest.primary.waiting(now, socket, &mut out),
            Input::Queued {
                socket,
                connections,
            } => (self.rest.primary).queued(now, socket, connections, &mut out),
            Input::Accepted {
                socket,
                arrivals,
                is_empty,
            } => (self.rest.primary).accepted(now, socket, &arrivals, is_empty, &mut out),
            Input::Inherited {
                connection,
                listener,
                handed,
            } => (self.rest.primary).inherit(now, connection, listener, handed, &mut out),
            Input::Timeout => {
                for id in self.due(now) {
                    self.step(now, id, Event::Timeout, &mut out);
                }
                self.wake_reloads(now, &mut out);
                self.rest.primary.wake(now, &mut out);
                self.tick(now, &mut out);
            }
            Input::Measured { run, memory_bytes } => {
                self.measured(now, run, memory_bytes, &mut out);
            }
            Input::Changed { id, path } => self.changed(now, id, &path, &mut out),
        }
        answer_ourselves(&mut out);
        self.conclude_kill(&mut out);
        out
    }

    /// When to call `handle` with `Input::Timeout`, on the monotonic clock.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.fleet
            .iter()
            .filter_map(|process| process.deadline(self.config.backoff_reset))
            .chain(self.reload_deadline())
            .chain(self.rest.primary.deadline())
            .chain(self.tick_deadline())
            .min()
    }

    /// Appends the JSON array of formatted processes with `monit`, by copying.
    ///
    /// `usage` is asked for every process, with the pid to measure if there is one: its own while it is online, or the
    /// one it named instead.
    pub fn write_list(&self, out: &mut Vec<u8>, usage: &dyn Fn(PmId, Option<Pid>) -> Usage) {
        self.write_formatted(out, |process| {
            Some(used(process.id, &process.view(), usage))
        });
    }

    /// The same in pieces, for who sends it away: most of it is not copied.
    pub fn list_parts(&self, usage: &dyn Fn(PmId, Option<Pid>) -> Usage) -> Vec<Bytes> {
        let mut list = Spliced::with_room_for(self.fleet.len());
        list.push(b'[');
        for (index, process) in self.fleet.iter().enumerate() {
            if index > 0 {
                list.push(b',');
            }
            let view = process.view();
            list.push_formatted(&view, Some(used(process.id, &view, usage)));
        }
        list.push(b']');
        list.into_parts()
    }

    /// All processes, by id.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        self.fleet.iter()
    }

    /// One process.
    #[must_use]
    pub fn get(&self, id: PmId) -> Option<&Process> {
        self.fleet.get(id)
    }

    /// The process a run's reports concern, while they do.
    #[must_use]
    pub fn of_run(&self, run: RunId) -> Option<&Process> {
        self.fleet.of_run(run).and_then(|id| self.fleet.get(id))
    }

    /// The array without `monit` that several calls answer with.
    pub(super) fn formatted_list(&self) -> JsonText {
        let mut out = Vec::new();
        self.write_formatted(&mut out, |_| None);
        JsonText::from_valid(String::from_utf8_lossy(&out).into_owned())
    }

    fn write_formatted(&self, out: &mut Vec<u8>, usage: impl Fn(&Process) -> Option<Usage>) {
        out.reserve(
            self.fleet
                .iter()
                .map(|process| process.view().size_hint())
                .sum::<usize>()
                + 2,
        );
        out.push(b'[');
        for (index, process) in self.fleet.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            process.view().write_formatted(out, usage(process));
        }
        out.push(b']');
    }

    /// A report on a run. One of a run that concerns nobody any more is dropped.
    pub(super) fn report(&mut self, now: Now, run: RunId, event: Event, out: &mut Vec<Effect>) {
        if matches!(event, Event::Exited(_) | Event::SpawnFailed(_)) {
            self.rest.primary.gone(now, run, out);
        }
        match (self.fleet.of_run(run), &event) {
            (Some(id), Event::Exited(exit)) if self.inherit(now, id, *exit, out) => {}
            (Some(id), _) => {
                self.step(now, id, event, out);
            }
            (None, _) => self.report_unlisted(now, run, event, out),
        }
    }

    /// A message of Node's own, or of our preload.
    fn internal(&mut self, now: Now, run: RunId, line: &str, out: &mut Vec<Effect>) {
        let Some(members) = Members::parse(line) else {
            return;
        };
        let is_waited_for = self
            .by_run(run)
            .is_some_and(|process| process.rules.is_cluster && !process.rules.wait_ready);
        match members.text("cmd").as_deref() {
            Some("NODE_CLUSTER") => match self.rest.primary.hear(now, run, line, out) {
                Said::Online if is_waited_for => self.report(now, run, Event::Ready, out),
                Said::Listening => self.worker_listens(now, run, out),
                Said::Online | Said::Nothing => {}
            },
            // It has a SIGINT listener of its own, which knows best how to end.
            Some("NODE_PM2") if members.get("sigint") == Some("true") => {
                self.report(now, run, Event::Finished, out);
            }
            _ => {}
        }
    }

    /// The process a run's reports concern, listed or not.
    pub(super) fn by_run(&mut self, run: RunId) -> Option<&mut Process> {
        match self.fleet.of_run(run) {
            Some(id) => self.fleet.get_mut_unsaved(id),
            None => self.unlisted(run),
        }
    }

    /// What is said of this run's process next is worth writing out.
    pub(super) fn mark_changed(&mut self, run: RunId) {
        match self.fleet.of_run(run) {
            Some(id) => drop(self.fleet.get_mut(id).map(|_| ())),
            None => self.saved.is_stale = true,
        }
    }

    /// Does something with a process that is not in the list at the moment.
    pub(super) fn with_step(
        &mut self,
        now: Now,
        out: &mut Vec<Effect>,
        act: impl FnOnce(&mut Step<'_>),
    ) {
        let mut cx = Step {
            now,
            config: &self.config,
            is_killing: self.rest.is_killing,
            next_run: &mut self.rest.next_run,
            primary: &mut self.rest.primary,
            has_siblings: false,
            has_other: false,
            out,
            concluded: Vec::new(),
            is_forgotten: false,
        };
        act(&mut cx);
        debug_assert!(
            cx.concluded.is_empty(),
            "no batch waits for an unlisted one"
        );
    }

    /// One step of one process, and what it concludes for others. False if there is no such process.
    pub(super) fn step(&mut self, now: Now, id: PmId, event: Event, out: &mut Vec<Effect>) -> bool {
        let Some(mut process) = self.fleet.take(id) else {
            return false;
        };
        let is_cluster = process.rules.is_cluster;
        let has_siblings = is_cluster
            && matches!(event, Event::Delete(_))
            && self.fleet.named(process.name()).any(Process::is_up);
        let mut cx = Step {
            now,
            config: &self.config,
            is_killing: self.rest.is_killing,
            next_run: &mut self.rest.next_run,
            primary: &mut self.rest.primary,
            has_siblings,
            has_other: self.rest.reloads.contains_key(&id),
            out,
            concluded: Vec::new(),
            is_forgotten: false,
        };
        process.step(&mut cx, event);
        process.look_at_schedule(&mut cx);
        let (concluded, is_forgotten) = (cx.concluded, cx.is_forgotten);
        if is_cluster && matches!(process.state, State::Stopped | State::Errored) {
            self.rest.primary.release(now, id, out);
        }
        if is_forgotten {
            self.fleet.forgotten();
        } else {
            self.fleet.put(process);
        }
        for (batch, result) in concluded {
            self.advance(now, batch, result, out);
        }
        true
    }

    fn due(&self, now: Now) -> Vec<PmId> {
        self.fleet
            .iter()
            .filter(|process| {
                process
                    .deadline(self.config.backoff_reset)
                    .is_some_and(|at| at <= now.mono)
            })
            .map(Process::id)
            .collect()
    }

    /// Stops everything, for good.
    pub(super) fn kill_all(&mut self, now: Now, ticket: Ticket, out: &mut Vec<Effect>) {
        self.rest.is_killing = true;
        self.rest.kill_tickets.push(ticket);
        for id in self.fleet.ids() {
            self.abort_reload(now, id, out);
            self.step(now, id, Event::Stop(None), out);
        }
    }

    /// Answers those who wait for the end of everything. Who cannot be killed is not waited for.
    fn conclude_kill(&mut self, out: &mut Vec<Effect>) {
        if self.rest.kill_tickets.is_empty() {
            return;
        }
        let lives = |process: &Process| {
            process.run().is_some() && process.status() != crate::model::Status::Errored
        };
        let is_over = self.rest.reloads.is_empty() && !self.fleet.iter().any(lives);
        if !is_over {
            return;
        }
        for ticket in std::mem::take(&mut self.rest.kill_tickets) {
            let result = Ok(JsonText::from_valid("{\"success\":true}".to_owned()));
            out.push(Effect::Reply { ticket, result });
        }
    }
}

fn used(id: PmId, view: &View<'_>, usage: &dyn Fn(PmId, Option<Pid>) -> Usage) -> Usage {
    match view.measured() {
        Measured::Pid(pid) => usage(id, Some(pid)),
        Measured::Nothing => usage(id, None),
    }
}
