//! The whole fleet: inputs are sorted here, effects collected.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{
    JsonText, Measured, Pid, PmId, ProcessSpec, Record, RunId, Signal, Ticket, Usage, Wanted,
};

use super::fleet::Fleet;
use super::life::Event;
use super::limits::{INSTANCES_MAX, PROCESSES_MAX, RECORD_BYTES_MAX};
use super::process::{Claim, Claimant, Goal, Process, Step};
use super::{Effect, Failure, Input, Now};

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
    /// Number of CPUs: what `instances: 0` means.
    pub cpus: u32,
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
            cpus: 1,
        }
    }
}

/// All processes, and what is to be done about them.
#[derive(Debug)]
pub struct Supervisor {
    pub(super) config: SupervisorConfig,
    pub(super) fleet: Fleet,
    pub(super) rest: Rest,
}

/// What the supervisor knows beside its processes.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Rest {
    pub(super) next_run: u64,
    next_batch: u64,
    /// The daemon is ending: nothing is started.
    pub(super) is_killing: bool,
    /// Who waits for the end of everything.
    kill_tickets: Vec<Ticket>,
    /// Declarations whose instances are being started one after another.
    batches: BTreeMap<u64, Batch>,
}

/// One declaration whose instances are being started one after another.
#[derive(Debug, Serialize, Deserialize)]
struct Batch {
    ticket: Ticket,
    declaration: JsonText,
    unique_id: Box<str>,
    /// How many there are to be in all; the record says so.
    instances: u32,
    /// The answers of those that are concluded, as they were then.
    answers: Vec<JsonText>,
}

impl Supervisor {
    /// An empty list.
    #[must_use]
    pub fn new(config: SupervisorConfig) -> Self {
        Self {
            config,
            fleet: Fleet::default(),
            rest: Rest::default(),
        }
    }

    /// Takes in one thing that happened and says what is to be done, in order.
    pub fn handle(&mut self, now: Now, input: Input) -> Vec<Effect> {
        let mut out = Vec::new();
        match input {
            Input::Call { ticket, call } => self.call(now, ticket, call, &mut out),
            Input::Spawned { run, pid, version } => {
                if let Some(process) = self.fleet.of_run(run).and_then(|id| self.fleet.get_mut(id))
                {
                    process.record.axm.version = version;
                }
                self.report(now, run, Event::Spawned(pid), &mut out);
            }
            Input::SpawnFailed { run, reason } => {
                self.report(now, run, Event::SpawnFailed(reason), &mut out);
            }
            Input::Message { run, message } => self.message(now, run, &message, &mut out),
            Input::Exited { run, exit } => self.report(now, run, Event::Exited(exit), &mut out),
            Input::Drained { run } => self.report(now, run, Event::Drained, &mut out),
            Input::Timeout => {
                for id in self.due(now) {
                    self.step(now, id, Event::Timeout, &mut out);
                }
            }
        }
        self.conclude_kill(&mut out);
        out
    }

    /// When to call `handle` with `Input::Timeout`, on the monotonic clock.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.fleet
            .iter()
            .filter_map(|process| process.deadline(self.config.backoff_reset))
            .min()
    }

    /// Appends the JSON array of formatted processes with `monit`, by copying.
    ///
    /// `usage` is asked for every process, with the pid to measure if there is one: its own while it is online, or the
    /// one it named instead.
    pub fn write_list(&self, out: &mut Vec<u8>, usage: &dyn Fn(PmId, Option<Pid>) -> Usage) {
        self.write_formatted(out, |process| {
            Some(match process.view().measured() {
                Measured::Pid(pid) => usage(process.id, Some(pid)),
                Measured::Nothing => usage(process.id, None),
            })
        });
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
    fn report(&mut self, now: Now, run: RunId, event: Event, out: &mut Vec<Effect>) {
        if let Some(id) = self.fleet.of_run(run) {
            self.step(now, id, event, out);
        }
    }

    /// One step of one process, and what it concludes for others. False if there is no such process.
    pub(super) fn step(&mut self, now: Now, id: PmId, event: Event, out: &mut Vec<Effect>) -> bool {
        let Some(mut process) = self.fleet.take(id) else {
            return false;
        };
        let mut cx = Step {
            now,
            config: &self.config,
            is_killing: self.rest.is_killing,
            next_run: &mut self.rest.next_run,
            out,
            concluded: Vec::new(),
            is_forgotten: false,
        };
        process.step(&mut cx, event);
        let (concluded, is_forgotten) = (cx.concluded, cx.is_forgotten);
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

    /// Begins a declaration.
    pub(super) fn prepare(
        &mut self,
        now: Now,
        ticket: Ticket,
        declaration: JsonText,
        unique_id: Box<str>,
        out: &mut Vec<Effect>,
    ) -> Result<(), Failure> {
        let (_, _, wanted) = self.read(&declaration, &unique_id)?;
        let instances = self.instances(&wanted)?;
        let id = self.rest.next_batch;
        self.rest.next_batch += 1;
        let batch = Batch {
            ticket,
            declaration,
            unique_id,
            instances,
            answers: Vec::new(),
        };
        self.rest.batches.insert(id, batch);
        self.make_next(now, id, out);
        Ok(())
    }

    fn read(
        &self,
        declaration: &JsonText,
        unique_id: &str,
    ) -> Result<(Record, ProcessSpec, Wanted), Failure> {
        if self.rest.is_killing {
            return Err(Failure::BeingKilled);
        }
        let (record, spec, wanted) = Record::prepare(
            declaration.as_str(),
            unique_id,
            self.config.instance_var.as_deref(),
        )?;
        if spec.is_cluster {
            return Err(Failure::ClusterMissing(record.name().to_owned()));
        }
        if record.size() > RECORD_BYTES_MAX {
            return Err(Failure::TooMany {
                what: "bytes of one declaration",
                limit: RECORD_BYTES_MAX,
            });
        }
        Ok((record, spec, wanted))
    }

    /// How many processes a declaration is.
    fn instances(&self, wanted: &Wanted) -> Result<u32, Failure> {
        let count = match wanted.instances {
            None => 1,
            Some(count) if count <= 0 => count.saturating_add(i64::from(self.config.cpus)).max(1),
            Some(count) => count,
        };
        if count > INSTANCES_MAX {
            let limit = usize::try_from(INSTANCES_MAX).unwrap_or(usize::MAX);
            return Err(Failure::TooMany {
                what: "instances",
                limit,
            });
        }
        Ok(u32::try_from(count).unwrap_or(1))
    }

    /// One instance of a batch is concluded: the next, or the answer.
    fn advance(
        &mut self,
        now: Now,
        id: u64,
        result: Result<JsonText, Failure>,
        out: &mut Vec<Effect>,
    ) {
        match result {
            Ok(answer) => {
                if let Some(batch) = self.rest.batches.get_mut(&id) {
                    batch.answers.push(answer);
                }
                self.make_next(now, id, out);
            }
            Err(failure) => {
                if let Some(batch) = self.rest.batches.remove(&id) {
                    out.push(Effect::Reply {
                        ticket: batch.ticket,
                        result: Err(failure),
                    });
                }
            }
        }
    }

    /// Makes the next instance of a batch, or answers when all are there.
    fn make_next(&mut self, now: Now, id: u64, out: &mut Vec<Effect>) {
        while let Some(batch) = self.rest.batches.get(&id) {
            let instances = batch.instances;
            if batch.answers.len() >= instances as usize {
                let answers: Vec<&str> = batch.answers.iter().map(JsonText::as_str).collect();
                let result = Ok(JsonText::from_valid(format!("[{}]", answers.join(","))));
                out.push(Effect::Reply {
                    ticket: batch.ticket,
                    result,
                });
                self.rest.batches.remove(&id);
                return;
            }
            let made = self.read(&batch.declaration, &batch.unique_id).and_then(
                |(record, spec, wanted)| self.insert(now, record, &spec, &wanted, Some(instances)),
            );
            let (process, how) = match made {
                Ok(made) => made,
                Err(failure) => return self.advance(now, id, Err(failure), out),
            };
            let claim = Claim {
                by: Claimant::Batch(id),
                goal: Goal::Up { is_new: true },
            };
            if self.begin(now, process, how, claim, out) {
                // It goes on in `advance`, when this one is concluded.
                return;
            }
            let answer = self.fleet.get(process).map(Process::child);
            if let Some((batch, answer)) = self.rest.batches.get_mut(&id).zip(answer) {
                batch.answers.push(answer);
            }
        }
    }

    /// Puts a new process into the list; says what is to be done with it.
    pub(super) fn insert(
        &mut self,
        now: Now,
        mut record: Record,
        spec: &ProcessSpec,
        wanted: &Wanted,
        instances: Option<u32>,
    ) -> Result<(PmId, Begin), Failure> {
        if self.fleet.len() >= PROCESSES_MAX {
            return Err(Failure::TooMany {
                what: "processes",
                limit: PROCESSES_MAX,
            });
        }
        let id = self.fleet.next_id();
        let mut place = self.fleet.place(record.name(), wanted);
        if wanted.instances.is_none() {
            // A record that comes back from a dump keeps the number it has there, or has none.
            place.instance = None;
        }
        record.settle(id, place, instances.filter(|_| wanted.instances.is_some()));
        record.counts.pm_uptime_ms = now.wall_ms;
        record.counts.created_at_ms.get_or_insert(now.wall_ms);
        self.fleet.share_env(&mut record);
        self.fleet.put(Process::new(id, record, spec.rules.clone()));
        let begin = match (
            wanted.is_resting && wanted.instances.is_none(),
            spec.rules.autostart,
        ) {
            (true, _) => Begin::Silently,
            (false, false) => Begin::Stopped,
            (false, true) => Begin::Started,
        };
        Ok((id, begin))
    }

    /// Begins a new process's life. True if the claim has to wait for it.
    pub(super) fn begin(
        &mut self,
        now: Now,
        id: PmId,
        how: Begin,
        claim: Claim,
        out: &mut Vec<Effect>,
    ) -> bool {
        match how {
            Begin::Started => self.step(now, id, Event::Start(claim), out),
            Begin::Silently => false,
            Begin::Stopped => {
                if let Some(process) = self.fleet.get(id) {
                    out.push(Effect::Announce(crate::model::BusEvent::process(
                        now.wall_ms,
                        "start",
                        true,
                        &process.view(),
                    )));
                }
                false
            }
        }
    }

    /// Stops everything, for good.
    pub(super) fn kill_all(&mut self, now: Now, ticket: Ticket, out: &mut Vec<Effect>) {
        self.rest.is_killing = true;
        self.rest.kill_tickets.push(ticket);
        for id in self.fleet.ids() {
            self.step(now, id, Event::Stop(None), out);
        }
    }

    /// Answers those who wait for the end of everything. Who cannot be killed is not waited for.
    fn conclude_kill(&mut self, out: &mut Vec<Effect>) {
        let lives = |process: &Process| {
            process.run().is_some() && process.status() != crate::model::Status::Errored
        };
        if self.rest.kill_tickets.is_empty() || self.fleet.iter().any(lives) {
            return;
        }
        for ticket in std::mem::take(&mut self.rest.kill_tickets) {
            let result = Ok(JsonText::from_valid("{\"success\":true}".to_owned()));
            out.push(Effect::Reply { ticket, result });
        }
    }
}

/// How a new process's life begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// It is started.
    Started,
    /// `autostart` is false: it is listed, and that is said.
    Stopped,
    /// It comes back from a dump in which it was stopped.
    Silently,
}
