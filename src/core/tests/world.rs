//! A world of scripts: what happens is written down, and so is what follows.

use std::fmt::Write;
use std::time::Duration;

use crate::model::{AppMessage, Exit, JsonText, Members, Pid, PmId, RunId, Signal, Ticket, WireId};

use super::super::{Call, Effect, Input, Now, Supervisor, SupervisorConfig};

/// When the world begins, in milliseconds since 1970.
const EPOCH_MS: u64 = 1_000_000;

/// Checks a script. Lines that begin with `> ` happen; the lines below each are what must follow from it.
#[track_caller]
pub(super) fn check(script: &str) {
    check_with(SupervisorConfig::default(), script);
}

/// The same with settings.
#[track_caller]
pub(super) fn check_with(config: SupervisorConfig, script: &str) {
    let mut world = World::new(config);
    let lines: Vec<&str> = script
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let mut seen = String::new();
    for line in &lines {
        if let Some(command) = line.strip_prefix("> ") {
            writeln!(seen, "{line}").unwrap();
            for effect in world.run(command) {
                writeln!(seen, "{effect}").unwrap();
            }
        }
    }
    let expected = lines.join("\n") + "\n";
    assert!(seen == expected, "expected:\n{expected}\nseen:\n{seen}");
}

pub(super) struct World {
    pub(super) supervisor: Supervisor,
    pub(super) now: Now,
    ticket: u64,
    spawning: Vec<RunId>,
}

impl World {
    pub(super) fn new(config: SupervisorConfig) -> Self {
        Self {
            supervisor: Supervisor::new(config),
            now: Now {
                mono: Duration::from_secs(5),
                wall_ms: EPOCH_MS,
            },
            ticket: 0,
            spawning: Vec::new(),
        }
    }

    /// Does one thing and says what follows.
    pub(super) fn run(&mut self, command: &str) -> Vec<String> {
        let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
        match verb {
            "after" => {
                let ms: u64 = rest.parse().unwrap();
                self.now.mono += Duration::from_millis(ms);
                self.now.wall_ms += ms;
                let is_due = self
                    .supervisor
                    .deadline()
                    .is_some_and(|at| at <= self.now.mono);
                if is_due {
                    self.input(Input::Timeout)
                } else {
                    Vec::new()
                }
            }
            "deadline" => {
                let left = self
                    .supervisor
                    .deadline()
                    .map(|at| at.saturating_sub(self.now.mono).as_millis());
                vec![left.map_or_else(|| "none".to_owned(), |ms| format!("in {ms}"))]
            }
            "spawned" => {
                let run = self.spawning.remove(0);
                let version = Some("1.2.3".into());
                self.input(Input::Spawned {
                    run,
                    pid: Pid(rest.parse().unwrap()),
                    version,
                })
            }
            "unspawned" => {
                let run = self.spawning.remove(0);
                self.input(Input::SpawnFailed {
                    run,
                    reason: rest.to_owned(),
                })
            }
            "exited" => {
                let (id, how) = rest.split_once(' ').unwrap();
                let exit = how
                    .parse()
                    .map_or_else(|_| Exit::Signal(Signal::parse(how).unwrap()), Exit::Code);
                let run = self.run_of(id);
                self.input(Input::Exited { run, exit })
            }
            "drained" => {
                let run = self.run_of(rest);
                self.input(Input::Drained { run })
            }
            "online" => self.worker_online(rest),
            "says" => {
                let (id, message) = rest.split_once(' ').unwrap();
                let (run, message) = (self.run_of(id), AppMessage::parse(message).unwrap());
                self.input(Input::Message { run, message })
            }
            "measured" => {
                let (id, bytes) = rest.split_once(' ').unwrap();
                let (run, memory_bytes) = (self.run_of(id), bytes.parse().unwrap());
                self.input(Input::Measured { run, memory_bytes })
            }
            "changed" => {
                let (id, path) = rest.split_once(' ').unwrap();
                self.input(Input::Changed {
                    id: PmId(id.parse().unwrap()),
                    path: path.into(),
                })
            }
            "clock" => {
                self.now.wall_ms = rest.parse().unwrap();
                Vec::new()
            }
            "show" => {
                let (id, members) = rest.split_once(' ').unwrap();
                let process = self.supervisor.get(PmId(id.parse().unwrap())).unwrap();
                let formatted = process.view().formatted(None);
                let record = Members::parse(formatted.as_str())
                    .unwrap()
                    .get("pm2_env")
                    .unwrap();
                let record = Members::parse(record).unwrap();
                members
                    .split(' ')
                    .map(|key| format!("{key}: {}", record.get(key).unwrap_or("-")))
                    .collect()
            }
            "list" => {
                let ids: Vec<String> = self
                    .supervisor
                    .processes()
                    .map(|process| {
                        format!("{} {} {}", process.id(), process.name(), process.status())
                    })
                    .collect();
                vec![ids.join(", ")]
            }
            _ => self.call(call(verb, rest)),
        }
    }

    /// What Node says first in a worker.
    fn worker_online(&mut self, id: &str) -> Vec<String> {
        let line = r#"{"cmd":"NODE_CLUSTER","act":"online","seq":0}"#.to_owned();
        let (run, line) = (self.run_of(id), JsonText::from_valid(line));
        self.input(Input::Internal { run, line })
    }

    pub(super) fn call(&mut self, call: Call) -> Vec<String> {
        self.ticket += 1;
        self.input(Input::Call {
            ticket: Ticket(self.ticket),
            call,
        })
    }

    pub(super) fn input(&mut self, input: Input) -> Vec<String> {
        let effects = self.supervisor.handle(self.now, input);
        for effect in &effects {
            if let Effect::Spawn { run, .. } = effect {
                self.spawning.push(*run);
            }
        }
        effects.iter().map(show).collect()
    }

    /// The run of what is listed under this id, or after a `#` the number of any.
    fn run_of(&self, id: &str) -> RunId {
        if let Some(run) = id.strip_prefix('#') {
            return RunId(run.parse().unwrap());
        }
        self.supervisor
            .get(PmId(id.parse().unwrap()))
            .unwrap()
            .run()
            .unwrap()
    }
}

fn call(verb: &str, rest: &str) -> Call {
    let (first, second) = rest.split_once(' ').unwrap_or((rest, ""));
    let id = WireId::from_text(first);
    let json = |text: &str| JsonText::from_valid(text.to_owned());
    let env = second.starts_with('{').then(|| json(second));
    match verb {
        "prepare" => Call::Prepare {
            declaration: json(&declaration(rest)),
            unique_id: "u-1".into(),
        },
        "start" => Call::Start(id),
        "stop" => Call::Stop(id),
        "restart" => Call::Restart { id, env },
        "reload" => Call::Reload { id, env },
        "soft-reload" => Call::SoftReload { id, env },
        "delete" => Call::Delete(id),
        "duplicate" => Call::Duplicate {
            id,
            unique_id: "u-2".into(),
        },
        "reset" => Call::ResetMeta(id),
        "notify" => Call::Notify {
            id: Some(id).filter(|_| first != "-"),
            action: second.into(),
            manually: true,
        },
        "signal" => Call::SignalId {
            id,
            signal: second.into(),
        },
        "signal-name" => Call::SignalName {
            name: first.into(),
            signal: second.into(),
        },
        "line" => Call::SendLine(json(rest)),
        "data" => Call::SendData(json(rest)),
        "msg" => Call::MsgProcess(json(rest)),
        "stop-watch" => Call::StopWatch {
            method: first.into(),
            value: json(second),
        },
        "start-watch" => Call::StartWatch {
            method: first.into(),
            value: json(second),
        },
        "toggle-watch" => Call::ToggleWatch {
            method: first.into(),
            value: json(second),
        },
        "monitor" => Call::Monitor(id),
        "unmonitor" => Call::Unmonitor(id),
        "notify-kill" => Call::NotifyKill,
        "kill-all" => Call::KillAll,
        other => panic!("no such command: {other}"),
    }
}

/// A declaration with some members given.
pub(super) fn declaration(more: &str) -> String {
    let comma = if more.is_empty() { "" } else { "," };
    let least = r#""name":"app","env":{"PATH":"/bin"},"merge_logs":true,"treekill":true,"pm_exec_path":"/srv/app.js","pm_out_log_path":"/l/app-out.log","pm_err_log_path":"/l/app-error.log","pm_pid_path":"/p/app.pid""#;
    format!("{{{least}{comma}{more}}}")
}

/// One effect in one line.
pub(super) fn show(effect: &Effect) -> String {
    match effect {
        Effect::Spawn { id, run, .. } => format!("spawn {id} as run {run}"),
        Effect::Terminate { run, tree, signal } => {
            format!(
                "terminate run {run} with {signal}{}",
                if *tree { " and its tree" } else { "" }
            )
        }
        Effect::TerminateMessage { run, tree } => {
            format!(
                "terminate run {run} by message{}",
                if *tree { " and its tree" } else { "" }
            )
        }
        Effect::Kill { run } => format!("kill run {run}"),
        Effect::Signal { run, signal } => format!("signal run {run} with {signal}"),
        Effect::Send { run, line } => format!("send run {run} {}", line.as_str()),
        Effect::SendSocket { run, line, socket } => {
            format!("send run {run} socket {} {}", socket.0, line.as_str())
        }
        Effect::SendConnection {
            run,
            line,
            connection,
            ..
        } => format!(
            "send run {run} connection {} {}",
            connection.0,
            line.as_str()
        ),
        Effect::KeepConnection { connection } => format!("keep connection {}", connection.0),
        Effect::SendProbe { run, line } => format!("probe run {run} {}", line.as_str()),
        Effect::Listen { socket, address } => format!("listen {} {address:?}", socket.0),
        Effect::CloseSocket { socket } => format!("close socket {}", socket.0),
        Effect::CloseConnection { connection } => format!("close connection {}", connection.0),
        Effect::Steer { socket, sockets } => format!("steer {} among {sockets}", socket.0),
        Effect::Watch { socket } => format!("watch {}", socket.0),
        Effect::Look { socket } => format!("look {}", socket.0),
        Effect::Accept { socket, max, .. } => format!("accept {} up to {max}", socket.0),
        Effect::Deal { socket, takers, .. } => {
            let runs: Vec<u64> = takers.iter().map(|taker| taker.run.0).collect();
            format!("deal {} to {runs:?}", socket.0)
        }
        Effect::Await { run, tree } => {
            format!(
                "await run {run}{}",
                if *tree { " and its tree" } else { "" }
            )
        }
        Effect::Stdin { run, text } => format!("stdin of run {run} {text:?}"),
        Effect::Reply {
            ticket,
            result: Ok(value),
        } => format!("reply {} {}", ticket.0, brief(value.as_str())),
        Effect::Reply {
            ticket,
            result: Err(failure),
        } => format!("reply {} error: {failure}", ticket.0),
        Effect::Announce(event) => {
            let payload = Members::parse(event.payload.as_str()).unwrap();
            match payload
                .get("process")
                .filter(|_| &*event.name == "process:event")
            {
                Some(process) => {
                    let process = Members::parse(process).unwrap();
                    let manually = if payload.get("manually") == Some("true") {
                        " manually"
                    } else {
                        ""
                    };
                    format!(
                        "event {}{manually} of {}, {}",
                        payload.text("event").unwrap(),
                        process.get("pm_id").unwrap(),
                        process.text("status").unwrap()
                    )
                }
                None => format!("bus {} {}", event.name, event.payload.as_str()),
            }
        }
        Effect::Log {
            text,
            is_error: false,
        } => format!("log {text}"),
        Effect::Log {
            text,
            is_error: true,
        } => format!("log error {text}"),
        Effect::PidFile {
            path,
            pid: Some(pid),
        } => format!("pid file {path} {pid}"),
        Effect::PidFile { path, pid: None } => format!("no pid file {path}"),
        Effect::Forget { id } => format!("forget {id}"),
    }
}

/// What matters of an answer: its kind, and of processes id, status and pid.
fn brief(value: &str) -> String {
    if let Ok(list) = serde_json::from_str::<Vec<Members<'_>>>(value) {
        return format!(
            "[{}]",
            list.iter()
                .map(brief_process)
                .collect::<Vec<_>>()
                .join(", ")
        );
    }
    match Members::parse(value) {
        Some(process) if process.has("pm2_env") => brief_process(&process),
        _ => value.to_owned(),
    }
}

fn brief_process(process: &Members<'_>) -> String {
    let record = Members::parse(process.get("pm2_env").unwrap()).unwrap();
    let kind = if process.has("process") {
        "child"
    } else {
        "formatted"
    };
    let pid = process.get("pid").unwrap_or("-");
    format!(
        "{kind} {} {} pid {pid}",
        record.get("pm_id").unwrap(),
        record.text("status").unwrap()
    )
}
