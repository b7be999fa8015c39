//! Declarations: how one becomes processes, and how those begin.

use crate::model::{JsonText, PmId, ProcessSpec, Record, Ticket, Wanted};

use super::life::Event;
use super::limits::{INSTANCES_MAX, PROCESSES_MAX, RECORD_BYTES_MAX};
use super::process::{Claim, Claimant, Goal, Process};
use super::supervisor::Batch;
use super::{Effect, Failure, Now, Supervisor};

impl Supervisor {
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
            concluded: 0,
            answers: Vec::new(),
        };
        self.rest.batches.insert(id, batch);
        self.saved.batches.insert(id);
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
        if let Some(pattern) = &spec.rules.cron {
            (self.config.next_tick)(pattern, 0).map_err(Failure::Cron)?;
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
    pub(super) fn advance(
        &mut self,
        now: Now,
        id: u64,
        result: Result<JsonText, Failure>,
        out: &mut Vec<Effect>,
    ) {
        match result {
            Ok(answer) => {
                self.note_concluded(id, Some(answer));
                self.make_next(now, id, out);
            }
            Err(failure) => {
                self.saved.batches.insert(id);
                if let Some(batch) = self.rest.batches.remove(&id) {
                    out.push(Effect::Reply {
                        ticket: batch.ticket,
                        result: Err(failure),
                    });
                }
            }
        }
    }

    /// One more instance of a batch is what it was to be.
    fn note_concluded(&mut self, id: u64, answer: Option<JsonText>) {
        if let Some(batch) = self.rest.batches.get_mut(&id) {
            batch.concluded += 1;
            batch.answers.extend(answer);
            self.saved.batches.insert(id);
        }
    }

    /// Makes the next instance of a batch, or answers when all are there.
    fn make_next(&mut self, now: Now, id: u64, out: &mut Vec<Effect>) {
        while let Some(batch) = self.rest.batches.get(&id) {
            let instances = batch.instances;
            if batch.concluded >= instances {
                let answers: Vec<&str> = batch.answers.iter().map(JsonText::as_str).collect();
                let result = Ok(JsonText::from_valid(format!("[{}]", answers.join(","))));
                out.push(Effect::Reply {
                    ticket: batch.ticket,
                    result,
                });
                self.rest.batches.remove(&id);
                self.saved.batches.insert(id);
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
            self.note_concluded(id, answer);
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
                self.schedule(now, id, out);
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
