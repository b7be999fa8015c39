//! The core's effects, carried out. None of them waits.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::ends;
use super::launch;
use super::lines::{LogSettings, RunLog};
use super::methods::Shape;
use super::pilot::{Farewell, Pilot, Waiter};
use super::present::with_present_node;
use super::runs::{Prepared, RunRecord, Stage};
use super::shared::Shared;
use super::sockets;
use super::stops::{Ending, How};
use super::with_causes;
use crate::core::{Effect, Failure, Input, SpawnMode, SpawnPlan};
use crate::host::dump;
use crate::host::files::note;
use crate::host::tree::Mark;
use crate::keeper::proto::Request;
use crate::model::{BusEvent, JsonText, LogSpec, Pid, PmId, RunId, Ticket};

impl Pilot {
    /// Carries out what one input led to.
    pub(super) fn perform(&mut self, effects: Vec<Effect>) {
        // What a caller asked to be sent and could not be: its answer says so.
        let mut unsent = None;
        for effect in effects {
            match effect {
                Effect::Spawn { id, run, plan } => {
                    if let Err(reason) = self.spawn(id, run, &plan) {
                        self.inputs.push_back(Input::SpawnFailed { run, reason });
                    }
                }
                Effect::Terminate { run, tree, signal } => {
                    let how = if tree {
                        How::Tree(signal.0)
                    } else {
                        How::Root(signal.0)
                    };
                    self.end_run(run, how);
                }
                Effect::TerminateMessage { run, tree } => {
                    if tree {
                        self.end_run(run, How::Wait);
                    }
                    // An app that does not read its channel is killed when its time is over.
                    let _unheard = self.send_to(run, "\"shutdown\"");
                }
                Effect::Kill { run } => self.end_run(run, How::Kill),
                Effect::Signal { run, signal } => self.signal_root(run, signal.0),
                Effect::Send { run, line } => {
                    unsent = unsent.or(self.send_to(run, line.as_str()).err());
                }
                Effect::SendSocket { run, line, socket } => self.send_socket(run, &line, socket),
                Effect::SendConnection {
                    run,
                    seq,
                    line,
                    connection,
                } => self.send_connection((run, seq), &line, connection),
                Effect::KeepConnection { connection } => {
                    self.connections.keep(connection, &mut self.link);
                }
                Effect::SendProbe { run, line } => self.send_probe(run, &line),
                Effect::Listen { socket, address } => self.listen(socket, &address),
                Effect::CloseSocket { socket } => {
                    self.sockets.close(socket);
                    self.discard(sockets::key(socket));
                }
                Effect::CloseConnection { connection } => {
                    self.connections.close(connection, &mut self.link);
                }
                Effect::Steer { socket, sockets } => self.steer(socket, sockets),
                Effect::Watch { socket } => self.sockets.watch(socket, &self.reports_in),
                Effect::Look { socket } => self.look(socket),
                Effect::Accept {
                    socket,
                    listener,
                    max,
                } => self.accept(socket, listener, max),
                Effect::Deal {
                    socket,
                    listener,
                    takers,
                } => self.deal(socket, listener, takers),
                Effect::Await { run, tree } => {
                    if tree {
                        self.end_run(run, How::Wait);
                    }
                }
                Effect::Stdin { run, text } => {
                    if let Some(Stage::Alive { child, .. }) = self.stage(run) {
                        let written = child.write_stdin(text.into_string().into_bytes());
                        unsent = unsent.or(written.err().map(|full| full.to_string()));
                        self.store_spools(run);
                    }
                }
                Effect::Reply { ticket, result } => self.reply(ticket, result, unsent.take()),
                Effect::Announce(event) => self.publish(&event),
                Effect::Log {
                    text,
                    is_error: false,
                } => self.journal.log(&text),
                Effect::Log {
                    text,
                    is_error: true,
                } => self.journal.error(&text),
                Effect::PidFile { path, pid } => self.pid_file(Path::new(&path), pid),
                // Samples go with the process, files with the run.
                Effect::Forget { id } => self.last_words.forget(id),
            }
        }
    }

    fn spawn(&mut self, id: PmId, run: RunId, plan: &SpawnPlan) -> Result<(), String> {
        let replaced = with_present_node(plan);
        if replaced.is_some() {
            let name = self
                .supervisor
                .get(id)
                .map_or("", |process| process.record().name());
            let gone = plan.interpreter.as_deref().unwrap_or_default();
            self.journal.error(&format!(
                "App [{name}:{id}] is run by node from PATH: {gone} is gone"
            ));
        }
        let plan = replaced.as_ref().unwrap_or(plan);
        let (log, log_prefix) = self.open_log(id, &plan.logs)?;
        if plan.mode != SpawnMode::Fork {
            self.last_words
                .begin(id, run, PathBuf::from(&plan.logs.err));
        }
        let (ours, theirs) = self
            .ends
            .make()
            .map_err(|error| format!("make pipes: {error}"))?;
        let prefix = ends::prefix(id, run);
        let mut spawn = self
            .launcher
            .spawn(run.0, plan, theirs)
            .map_err(|error| error.to_string())?;
        let pipes = [ours.stdin.as_ref(), ours.out.as_ref(), ours.err.as_ref()];
        spawn.roster = self.testament.place(run.0, pipes);
        let mark = Mark::of(&spawn.plan.env.iter().map(std::ffi::CString::as_bytes));
        self.link
            .spawn(spawn, ours.held(&prefix))
            .map_err(|error| format!("ask for a process: {error}"))?;
        let prepared = Prepared {
            ends: ours,
            log,
            log_prefix,
            prefix: prefix.clone(),
            leftover: None,
            heard: 0,
        };
        let record = RunRecord {
            stage: Stage::Spawning(Box::new(prepared)),
            program: launch::program(plan).into(),
            cwd: plan.cwd.as_str().into(),
            script: plan.script.as_str().into(),
            prefix: prefix.into(),
            mark,
        };
        self.runs.insert(run, record);
        Ok(())
    }

    /// The log of a run, and the beginning of what the bus gets of it.
    pub(super) fn open_log(&self, id: PmId, logs: &LogSpec) -> Result<(RunLog, String), String> {
        let process = self.supervisor.get(id);
        let name = process
            .map(|process| process.name().to_owned())
            .unwrap_or_default();
        let namespace = process.map(|process| process.namespace().to_owned());
        let process = serde_json::json!({
            "pm_id": id.0, "name": name, "rev": null, "namespace": namespace,
        });
        let settings = LogSettings {
            out: PathBuf::from(&logs.out),
            err: PathBuf::from(&logs.err),
            combined: logs.combined.as_deref().map(PathBuf::from),
            date_format: logs.date_format.clone(),
            is_json: logs.json,
            is_disabled: logs.disabled,
            pm_id: id.0,
            name,
        };
        let log = RunLog::open(&self.shared.logs, &settings).map_err(|error| error.to_string())?;
        Ok((log, format!("{{\"process\":{process},\"at\":")))
    }

    pub(super) fn stage(&self, run: RunId) -> Option<&Stage> {
        self.runs.get(&run).map(|record| &record.stage)
    }

    pub(super) fn end_run(&mut self, run: RunId, how: How) {
        let record = self.runs.get(&run);
        let mark = record.and_then(|record| record.mark);
        let root = match record.map(|record| &record.stage) {
            Some(Stage::Alive { root, .. } | Stage::Over { root }) => *root,
            Some(Stage::Spawning(_)) | None => {
                debug_assert!(
                    false,
                    "run {run} is ended before it has a process, or after all of it has gone"
                );
                return;
            }
        };
        self.endings.push(Ending {
            run,
            root,
            mark,
            how,
        });
    }

    /// Has everybody signalled whom this turn is to end.
    pub(super) fn carry_out_endings(&mut self) {
        if self.endings.is_empty() {
            return;
        }
        let endings = std::mem::take(&mut self.endings);
        for (run, signal) in self.stops.begin(&endings) {
            self.signal_root(run, signal);
        }
    }

    /// Goes on with those that are being ended, if it is time.
    pub(super) fn look_at_stops(&mut self) {
        let roots = || {
            let stages = self.runs.values().map(|record| &record.stage);
            let alive = stages.filter_map(|stage| match stage {
                Stage::Alive { root, .. } => Some(root.pid),
                Stage::Spawning(_) | Stage::Over { .. } => None,
            });
            alive.collect()
        };
        let looked = self.stops.look(Shared::now().mono, roots);
        for (run, signal) in looked.roots {
            self.signal_root(run, signal);
        }
        for run in looked.over {
            self.drained(run);
        }
    }

    fn signal_root(&mut self, run: RunId, signal: i32) {
        // Too large a request is the only error, and this one is small.
        let _sent = self.link.send(Request::Signal { run: run.0, signal });
    }

    fn send_to(&mut self, run: RunId, line: &str) -> Result<(), String> {
        let Some(Stage::Alive { child, .. }) = self.stage(run) else {
            return Err("the process has ended".to_owned());
        };
        let mut bytes = Vec::with_capacity(line.len() + 1);
        // A line feed between tokens would end the line for Node; JSON has none inside of strings.
        bytes.extend(line.bytes().filter(|byte| !matches!(byte, b'\n' | b'\r')));
        bytes.push(b'\n');
        let sent = child.send(bytes).map_err(|full| full.to_string());
        self.store_spools(run);
        sent
    }

    fn reply(&mut self, ticket: Ticket, result: Result<JsonText, Failure>, unsent: Option<String>) {
        let Some(waiter) = self.waiters.remove(&ticket) else {
            debug_assert!(ticket == Ticket::NOBODY, "{ticket:?} was answered before");
            return;
        };
        match waiter {
            Waiter::Caller(reply, shape) => match (result, unsent) {
                (Ok(_), Some(reason)) => reply.fail(&reason),
                (Ok(value), None) => match shape {
                    Shape::Value => reply.values(&[value.as_str().as_bytes()]),
                    Shape::Nothing => reply.values(&[]),
                    Shape::Silence => {}
                },
                (Err(_), _) if shape == Shape::Silence => {}
                (Err(failure), _) => {
                    let text = self.said(&failure);
                    self.journal.error(&text);
                    reply.fail(&text);
                }
            },
            Waiter::Part(progress) => self.part_done(&progress),
            Waiter::End => self.all_stopped(),
        }
    }

    /// A failure's text. Of a process that could not take over, its own last words belong to it.
    fn said(&self, failure: &Failure) -> String {
        let Failure::NotReplaced { id, run, .. } = failure else {
            return failure.to_string();
        };
        let words = self.last_words.of(*id, *run);
        if words.is_empty() {
            failure.to_string()
        } else {
            format!("{failure}. The last lines of its error log:\n{words}")
        }
    }

    fn all_stopped(&mut self) {
        let Some(killing) = self.killing.take() else {
            return;
        };
        for reply in killing.replies {
            reply.values(&[b"{\"msg\":\"pm2 killed\"}"]);
        }
        self.farewell = Some(Farewell {
            sigquit: killing.sigquit,
            is_announced: killing.is_announced,
        });
    }

    fn publish(&self, event: &BusEvent) {
        self.shared
            .bus
            .publish(&event.name, event.payload.as_str().as_bytes());
    }

    fn pid_file(&self, path: &Path, pid: Option<Pid>) {
        let done = match pid {
            Some(pid) => write_private(path, &pid.to_string()),
            None => remove_pid_file(path),
        };
        if let Err(error) = done {
            self.journal
                .error(&format!("pid file {}: {error}", path.display()));
        }
    }

    /// Saves the list as `dump.pm2` with the states it has now; what was saved before becomes the backup. An empty list saves nothing.
    pub(super) fn save_list(&self) {
        let mut list = Vec::new();
        self.write_list(&mut list);
        let list: Vec<serde_json::Value> = serde_json::from_slice(&list).unwrap_or_default();
        let saved: Vec<serde_json::Value> = list.into_iter().filter_map(dumped).collect();
        if saved.is_empty() {
            return;
        }
        let text = serde_json::Value::from(saved).to_string();
        match dump::save(&self.dump.path, &self.dump.backup, &text) {
            Ok(()) => self.journal.log("the process list was saved"),
            Err(error) => self.journal.error(&format!(
                "failed to {}; what was saved before is still there",
                with_causes(&error)
            )),
        }
    }
}

/// A record as it is saved: `pm2_env` without what is given anew, and no modules.
fn dumped(mut process: serde_json::Value) -> Option<serde_json::Value> {
    let serde_json::Value::Object(mut record) = process.get_mut("pm2_env")?.take() else {
        return None;
    };
    if record.get("pmx_module").is_some_and(|value| value == true) {
        return None;
    }
    for name in ["instances", "pm_id"] {
        record.shift_remove(name);
    }
    Some(record.into())
}

/// Removes what a pid file may be: somebody who wants none has named a device, which is not ours to remove.
fn remove_pid_file(path: &Path) -> io::Result<()> {
    let kind = path.symlink_metadata().map(|found| found.file_type());
    let removed = match kind {
        Ok(kind) if !kind.is_file() && !kind.is_symlink() => Ok(()),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    note(path, text)
}
