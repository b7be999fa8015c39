//! What callers ask for, one by one.

use crate::model::{BusEvent, JsonText, Members, PmId, Signal, Ticket, WireId, is_truthy};

use super::life::Event;
use super::process::{Claim, Claimant, Goal, Process};
use super::{Call, Effect, Failure, Now, Supervisor};

/// The answer, or `None` when it comes later by the claim that was made.
pub(super) type Answer = Result<Option<JsonText>, Failure>;

impl Supervisor {
    /// Does what is asked. Exactly one reply goes out for the ticket: here, or when its claim is settled.
    pub(super) fn call(&mut self, now: Now, ticket: Ticket, call: Call, out: &mut Vec<Effect>) {
        let claim = |goal| Claim {
            by: Claimant::Ticket(ticket),
            goal,
        };
        let answer = match call {
            Call::Prepare {
                declaration,
                unique_id,
            } => self
                .prepare(now, ticket, declaration, unique_id, out)
                .map(|()| None),
            Call::Start(id) => {
                let event = Event::Start(claim(Goal::Up { is_new: false }));
                self.begin_up(now, &id, event, Failure::IdUnknown(id.clone()), out)
            }
            Call::Stop(id) => self.claim_step(
                now,
                &id,
                Event::Stop(Some(claim(Goal::Down))),
                Failure::IdUnknownToStop(id.clone()),
                out,
            ),
            Call::Delete(id) => self.claim_step(
                now,
                &id,
                Event::Delete(claim(Goal::Gone)),
                Failure::IdUnknownToStop(id.clone()),
                out,
            ),
            Call::Restart { id, env } => self.restart(
                now,
                ticket,
                &id,
                env.as_ref(),
                Failure::IdUnknownToRestart,
                out,
            ),
            Call::Reload { id, env } => {
                self.reload_or_restart(now, ticket, &id, env.as_ref(), false, out)
            }
            Call::SoftReload { id, env } => {
                self.reload_or_restart(now, ticket, &id, env.as_ref(), true, out)
            }
            Call::Duplicate { id, unique_id } => self.duplicate(now, ticket, &id, &unique_id, out),
            Call::ResetMeta(id) => self.reset_meta(now, &id),
            Call::Notify {
                id,
                action,
                manually,
            } => self.notify(now, id.as_ref(), &action, manually, out),
            Call::SignalId { id, signal } => self.signal_id(&id, &signal, out),
            Call::SignalName { name, signal } => self.signal_name(&name, &signal, out),
            Call::SendLine(packet) => self.send_line(&packet, out),
            Call::SendData(packet) => self.send_data(packet, out),
            Call::MsgProcess(command) => self.msg_process(&command, out),
            Call::StopWatch { method, value } => Ok(Some(self.watch(&method, &value, Watch::Off))),
            Call::StartWatch { method, value } => Ok(Some(self.watch(&method, &value, Watch::On))),
            Call::ToggleWatch { method, value } => {
                Ok(Some(self.watch(&method, &value, Watch::Toggle)))
            }
            Call::Monitor(id) => self.monitor(&id, true),
            Call::Unmonitor(id) => self.monitor(&id, false),
            Call::NotifyKill => {
                self.rest.is_killing = true;
                Ok(Some(success("")))
            }
            Call::KillAll => {
                self.kill_all(now, ticket, out);
                Ok(None)
            }
        };
        match answer {
            Ok(None) => {}
            Ok(Some(value)) => out.push(Effect::Reply {
                ticket,
                result: Ok(value),
            }),
            Err(failure) => out.push(Effect::Reply {
                ticket,
                result: Err(failure),
            }),
        }
    }

    /// The id meant, if it is in the list.
    pub(super) fn find(&self, id: &WireId) -> Option<&Process> {
        id.id().and_then(|id| self.fleet.get(id))
    }

    fn claim_step(
        &mut self,
        now: Now,
        id: &WireId,
        event: Event,
        unknown: Failure,
        out: &mut Vec<Effect>,
    ) -> Answer {
        if let Some(id) = id.id().filter(|_| !matches!(event, Event::Start(_))) {
            self.abort_reload(now, id, out);
        }
        match id.id() {
            Some(id) if self.step(now, id, event, out) => Ok(None),
            _ => Err(unknown),
        }
    }

    /// A step that may start something.
    fn begin_up(
        &mut self,
        now: Now,
        id: &WireId,
        event: Event,
        unknown: Failure,
        out: &mut Vec<Effect>,
    ) -> Answer {
        if self.find(id).is_some() && self.rest.is_killing {
            return Err(Failure::BeingKilled);
        }
        self.claim_step(now, id, event, unknown, out)
    }

    fn restart(
        &mut self,
        now: Now,
        ticket: Ticket,
        id: &WireId,
        env: Option<&JsonText>,
        unknown: Failure,
        out: &mut Vec<Effect>,
    ) -> Answer {
        let Some(process) = id.id().and_then(|id| self.fleet.get_mut(id)) else {
            return Err(unknown);
        };
        if self.rest.is_killing {
            return Err(Failure::BeingKilled);
        }
        process.change(now, env)?;
        let claim = Claim {
            by: Claimant::Ticket(ticket),
            goal: Goal::Up { is_new: false },
        };
        self.claim_step(now, id, Event::Restart(claim), unknown, out)
    }

    fn reload_or_restart(
        &mut self,
        now: Now,
        ticket: Ticket,
        id: &WireId,
        env: Option<&JsonText>,
        by_message: bool,
        out: &mut Vec<Effect>,
    ) -> Answer {
        let unknown = if by_message {
            Failure::IdUnknownToSoftReload(id.clone())
        } else {
            Failure::IdUnknownToReload
        };
        match self.reload(now, ticket, id, env, by_message, out) {
            Some(answer) => answer,
            None => self.restart(now, ticket, id, env, unknown, out),
        }
    }

    fn duplicate(
        &mut self,
        now: Now,
        ticket: Ticket,
        id: &WireId,
        unique_id: &str,
        out: &mut Vec<Effect>,
    ) -> Answer {
        let process = self
            .find(id)
            .ok_or_else(|| Failure::IdUnknown(id.clone()))?;
        if self.rest.is_killing {
            return Err(Failure::BeingKilled);
        }
        let mut wanted = process
            .record
            .wanted_again(self.config.instance_var.as_deref());
        // A copy always gets a number of its own, whatever its original was made of.
        wanted.instances.get_or_insert(1);
        wanted.is_resting = false;
        let record = process.record.duplicate(unique_id);
        let spec = record.spec()?;
        let (made, how) = self.insert(now, record, &spec, &wanted, None)?;
        let claim = Claim {
            by: Claimant::Ticket(ticket),
            goal: Goal::Up { is_new: true },
        };
        if self.begin(now, made, how, claim, out) {
            return Ok(None);
        }
        Ok(self.fleet.get(made).map(Process::child))
    }

    fn reset_meta(&mut self, now: Now, id: &WireId) -> Answer {
        let process = id
            .id()
            .and_then(|id| self.fleet.get_mut(id))
            .ok_or_else(|| Failure::IdUnknown(id.clone()))?;
        process.record.counts.created_at_ms = Some(now.wall_ms);
        process.record.counts.unstable = 0;
        process.record.counts.restarts = 0;
        Ok(Some(self.formatted_list()))
    }

    fn notify(
        &self,
        now: Now,
        id: Option<&WireId>,
        action: &str,
        manually: bool,
        out: &mut Vec<Effect>,
    ) -> Answer {
        let process = self
            .find(id.ok_or(Failure::NotifyWithoutId)?)
            .ok_or(Failure::IdUnknownToNotify)?;
        out.push(Effect::Announce(BusEvent::process(
            now.wall_ms,
            action,
            manually,
            &process.view(),
        )));
        Ok(Some(JsonText::from_valid("null".to_owned())))
    }

    /// pm2 would signal its own process group for one that does not run; we refuse.
    fn signal_id(&self, id: &WireId, signal: &str, out: &mut Vec<Effect>) -> Answer {
        let process = self
            .find(id)
            .ok_or_else(|| Failure::IdUnknown(id.clone()))?;
        let signal = Signal::parse(signal).ok_or(Failure::SignalUnknown)?;
        let run = process.run().filter(|_| process.pid().is_some());
        let run = run.ok_or_else(|| Failure::ReceiverOffline(id.clone()))?;
        out.push(Effect::Signal { run, signal });
        Ok(Some(self.formatted_list()))
    }

    fn signal_name(&self, name: &str, signal: &str, out: &mut Vec<Effect>) -> Answer {
        let processes: Vec<&Process> = self.matching(name).collect();
        let first = processes.first().ok_or(Failure::NameUnknown)?;
        let signal = Signal::parse(signal).ok_or(Failure::SignalUnknown)?;
        let offline = Failure::ReceiverOffline(first.id.into());
        let runs: Vec<_> = processes
            .iter()
            .filter(|process| process.is_reachable())
            .filter_map(|process| process.run())
            .collect();
        if runs.is_empty() {
            return Err(offline);
        }
        out.extend(runs.into_iter().map(|run| Effect::Signal { run, signal }));
        Ok(Some(self.formatted_list()))
    }

    /// Those of this name or script path; all for `all`.
    fn matching<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s Process> {
        self.fleet.iter().filter(move |process| {
            name == "all"
                || process.name() == name
                || (name.starts_with('/')
                    && process.record.declared("pm_exec_path") == Some(crate::model::quoted(name)))
        })
    }

    /// Switching of watching. Whoever is meant by nobody is no error.
    fn watch(&mut self, method: &str, value: &JsonText, how: Watch) -> JsonText {
        let ids = self.watch_targets(method, value.as_str(), how);
        let mut is_unchanged = false;
        for id in ids {
            let Some(process) = self.fleet.get_mut(id) else {
                continue;
            };
            let is_on = process
                .record
                .declared("watch")
                .is_some_and(|raw| is_truthy(&raw));
            let wanted = match how {
                Watch::Off => false,
                Watch::On => true,
                Watch::Toggle => !is_on,
            };
            is_unchanged |= how == Watch::On && is_on;
            if is_on != wanted || how == Watch::Off {
                process
                    .record
                    .declare("watch", if wanted { "true" } else { "false" });
                process.rules.watch = wanted;
            }
        }
        success(if is_unchanged {
            ",\"notrestarted\":true"
        } else {
            ""
        })
    }

    fn watch_targets(&self, method: &str, value: &str, how: Watch) -> Vec<PmId> {
        if matches!(method, "stopAll" | "deleteAll") {
            return self.fleet.ids();
        }
        // stopWatch is given the bare argument of the method it is about, the other two an object with it.
        let inner = Members::parse(value).and_then(|members| members.get("id").map(str::to_owned));
        let plain = inner.unwrap_or_else(|| value.to_owned());
        let value = serde_json::from_str(&plain).unwrap_or(serde_json::Value::Null);
        let is_for_ids = if how == Watch::Off {
            method.contains("ProcessId")
        } else {
            method == "restartProcessId"
        };
        if is_for_ids {
            return self
                .find(&WireId::from_json(&value))
                .map(Process::id)
                .into_iter()
                .collect();
        }
        match value.as_str().filter(|_| method.contains("ProcessName")) {
            Some(name) => self.matching(name).map(Process::id).collect(),
            None => Vec::new(),
        }
    }

    fn monitor(&mut self, id: &WireId, is_on: bool) -> Answer {
        let process = id
            .id()
            .and_then(|id| self.fleet.get_mut(id))
            .ok_or(Failure::IdUnknownToMonitor)?;
        process.record.counts.monitored = Some(is_on);
        Ok(Some(success(&format!(",\"pm_id\":{}", process.id))))
    }
}

/// What is to become of watching.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Watch {
    Off,
    On,
    Toggle,
}

/// `{"success":true}`, with more members, each led by a comma.
pub(super) fn success(more: &str) -> JsonText {
    JsonText::from_valid(format!("{{\"success\":true{more}}}"))
}
