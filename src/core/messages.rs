//! What applications say, and what is said to them.

use crate::model::{
    AppMessage, BusEvent, JsonText, Members, MessageKind, RunId, WireId, as_text, assigned,
    is_truthy,
};

use super::calls::{Answer, success};
use super::life::Event;
use super::limits::AXM_BYTES_MAX;
use super::process::Process;
use super::{Effect, Failure, Now, Supervisor};

impl Supervisor {
    /// A message of an application: consumed, or published.
    pub(super) fn message(
        &mut self,
        now: Now,
        run: RunId,
        message: &AppMessage,
        out: &mut Vec<Effect>,
    ) {
        // What apps tell of themselves once is written out; what they tell all the time is not worth it.
        let is_kept = match message.kind() {
            MessageKind::NodeVersion(_) => true,
            MessageKind::Typed { name, .. } => name.starts_with("axm:") && name != "axm:monitor",
            MessageKind::Internal | MessageKind::Raw { .. } | MessageKind::Ready => false,
        };
        if is_kept {
            self.mark_changed(run);
        }
        let Some(process) = self.by_run(run) else {
            return;
        };
        match message.kind() {
            MessageKind::Internal => {}
            MessageKind::NodeVersion(version) => {
                // Anything but a short text is no version, and would only cost memory.
                if as_text(version).is_some_and(|version| version.len() <= 64) {
                    process.record.axm.node_version = Some(version.into());
                }
            }
            MessageKind::Typed { name, data } => {
                if !process.consume(&name, data, out) {
                    out.push(Effect::Announce(BusEvent::typed(
                        now.wall_ms,
                        process.sender(),
                        &name,
                        data,
                    )));
                }
            }
            MessageKind::Raw { name } => {
                out.extend(raw(now, process, message, name.as_deref()));
            }
            MessageKind::Ready => {
                out.extend(raw(now, process, message, None));
                self.report(now, run, Event::Ready, out);
            }
        }
    }

    pub(super) fn send_line(&self, packet: &JsonText, out: &mut Vec<Effect>) -> Answer {
        let packet = Members::parse(packet.as_str()).ok_or(Failure::LineIncomplete)?;
        let (Some(id), Some(line)) = (packet.get("pm_id"), packet.get("line")) else {
            return Err(Failure::LineIncomplete);
        };
        let text = as_text(line)
            .filter(|text| !text.is_empty())
            .ok_or(Failure::LineIncomplete)?;
        let run = self.receiver(id)?;
        out.push(Effect::Stdin {
            run,
            text: text.into(),
        });
        Ok(Some(JsonText::from_valid(format!(
            "{{\"pm_id\":{id},\"line\":{line}}}"
        ))))
    }

    pub(super) fn send_data(&self, packet: JsonText, out: &mut Vec<Effect>) -> Answer {
        let members = Members::parse(packet.as_str()).ok_or(Failure::DataIncomplete)?;
        let id = members.get("id").ok_or(Failure::DataIncomplete)?;
        if !members.has("data") || !members.get("topic").is_some_and(is_truthy) {
            return Err(Failure::DataIncomplete);
        }
        let run = self.receiver(id)?;
        let answer = success(&format!(",\"data\":{}", packet.as_str()));
        out.push(Effect::Send { run, line: packet });
        Ok(Some(answer))
    }

    pub(super) fn msg_process(&self, command: &JsonText, out: &mut Vec<Effect>) -> Answer {
        let members = Members::parse(command.as_str()).ok_or(Failure::MessageForNobody)?;
        let msg = members.get("msg").unwrap_or("null");
        let is_bare = members.get("opts").is_none_or(|raw| raw == "null");
        let line = |is_bare: bool| {
            JsonText::from_valid(if is_bare {
                msg.to_owned()
            } else {
                command.as_str().to_owned()
            })
        };
        if let Some(id) = members.get("id") {
            let id = wire_id(id);
            let process = self
                .find(&id)
                .ok_or_else(|| Failure::IdUnknown(id.clone()))?;
            if !process.record.has_action(msg) && !is_old_message(msg) {
                let action = as_text(msg).unwrap_or_else(|| msg.to_owned());
                return Err(Failure::NoSuchAction {
                    action,
                    name: process.name().to_owned(),
                });
            }
            let run = process
                .run()
                .filter(|_| process.is_reachable())
                .ok_or(Failure::MessageOffline(id))?;
            let is_bare = is_bare && !members.get("uuid").is_some_and(is_truthy);
            out.push(Effect::Send {
                run,
                line: line(is_bare),
            });
            return Ok(Some(success_count(1)));
        }
        let Some(name) = members
            .get("name")
            .map(|raw| as_text(raw).unwrap_or_else(|| raw.to_owned()))
        else {
            return Err(Failure::MessageForNobody);
        };
        let mut count = 0;
        for process in self
            .fleet
            .iter()
            .filter(|process| is_addressed(process, &name))
        {
            let Some(run) = process.run().filter(|_| process.is_reachable()) else {
                continue;
            };
            if process.record.has_action(msg) || is_old_message(msg) {
                out.push(Effect::Send {
                    run,
                    line: line(is_bare),
                });
                count += 1;
            }
        }
        Ok(Some(success_count(count)))
    }

    /// The run that is to get something.
    fn receiver(&self, id: &str) -> Result<RunId, Failure> {
        let id = wire_id(id);
        let Some(process) = self.find(&id) else {
            return Err(Failure::ReceiverUnknown(id));
        };
        process
            .run()
            .filter(|_| process.is_reachable())
            .ok_or(Failure::ReceiverOffline(id))
    }
}

impl Process {
    /// Takes in what is meant for us. False if it is not.
    fn consume(&mut self, name: &str, data: &str, out: &mut Vec<Effect>) -> bool {
        let axm = &mut self.record.axm;
        let is_taken = match name {
            "axm:action" => self.record.add_action(data, AXM_BYTES_MAX),
            "axm:monitor" => set(&mut axm.monitor, data),
            "axm:option:configuration" => {
                let is_taken = set(&mut axm.options, data);
                let name = Members::parse(data).and_then(|options| options.text("name"));
                if let Some(name) = name.filter(|name| is_taken && !name.is_empty()) {
                    self.record.rename(&name);
                }
                is_taken
            }
            "axm:option:setPID" => true,
            _ => return false,
        };
        if !is_taken {
            let text = format!(
                "App [{}:{}] reports too much or nothing usable in {name}",
                self.name(),
                self.id
            );
            out.push(Effect::Log {
                text,
                is_error: true,
            });
        }
        true
    }
}

fn set(object: &mut Option<Box<str>>, data: &str) -> bool {
    match assigned(object.as_deref(), data, AXM_BYTES_MAX) {
        Some(text) => {
            *object = Some(text);
            true
        }
        None => false,
    }
}

fn raw<'p>(
    now: Now,
    from: &'p Process,
    message: &AppMessage,
    kind: Option<&str>,
) -> impl Iterator<Item = Effect> + use<'p> {
    BusEvent::raw(now.wall_ms, from.sender(), message.as_str(), kind)
        .into_iter()
        .map(Effect::Announce)
}

/// pm2-interface's documents send any object with a type; pm2 itself only takes names of actions. Both are taken.
fn is_old_message(msg: &str) -> bool {
    Members::parse(msg).is_some_and(|msg| msg.text("type").is_some_and(|kind| !kind.is_empty()))
}

/// Whether a message by name is for this process.
fn is_addressed(process: &Process, name: &str) -> bool {
    let is_script = || {
        let script = process
            .record
            .declared("pm_exec_path")
            .and_then(|raw| as_text(&raw))
            .unwrap_or_default();
        script.rsplit('/').next() == Some(name)
    };
    name == "all" || process.name() == name || process.namespace() == name || is_script()
}

fn wire_id(raw: &str) -> WireId {
    serde_json::from_str(raw).map_or_else(
        |_| WireId::from_text(raw),
        |value| WireId::from_json(&value),
    )
}

fn success_count(count: u32) -> JsonText {
    JsonText::from_valid(format!("{{\"process_count\":{count},\"success\":true}}"))
}
