//! The methods of `rpc.sock`: pm2's names and argument shapes, made into what the pilot is to do.

use serde_json::Value;

use super::declare;
use super::outbox::ReplyTo;
use super::socket::Peer;
use crate::core::Call;
use crate::host::paths::COMPATIBLE_VERSION;
use crate::model::{JsonText, WireId};
use crate::wire::json::Json;
use crate::wire::rpc;

/// Every method with its parameters' names, as `methods` lists them: those of pm2 7.0.4 in its order, then those of older versions
/// that tools still ask for.
pub(crate) const TABLE: &[(&str, &[&str])] = &[
    ("killMe", &[]),
    ("profileCPU", &[]),
    ("profileMEM", &[]),
    ("prepare", &["env", "cb"]),
    ("getMonitorData", &["env", "cb"]),
    ("getSystemData", &["env", "cb"]),
    ("startProcessId", &["id", "cb"]),
    ("stopProcessId", &["id", "cb"]),
    ("restartProcessId", &["opts", "cb"]),
    ("deleteProcessId", &["id", "cb"]),
    ("sendLineToStdin", &["packet", "cb"]),
    ("softReloadProcessId", &["opts", "cb"]),
    ("reloadProcessId", &["opts", "cb"]),
    ("duplicateProcessId", &["id", "cb"]),
    ("resetMetaProcessId", &["id", "cb"]),
    ("stopWatch", &["method", "value", "fn"]),
    ("startWatch", &["method", "value", "fn"]),
    ("toggleWatch", &["method", "value", "fn"]),
    ("notifyByProcessId", &["opts", "cb"]),
    ("notifyKillPM2", &[]),
    ("monitor", &["pm_id", "cb"]),
    ("unmonitor", &["pm_id", "cb"]),
    ("msgProcess", &["cmd", "cb"]),
    ("sendDataToProcessId", &["packet", "cb"]),
    ("sendSignalToProcessId", &["opts", "cb"]),
    ("sendSignalToProcessName", &["opts", "cb"]),
    ("ping", &["env", "cb"]),
    ("getVersion", &["env", "cb"]),
    ("getReport", &["arg", "cb"]),
    ("reloadLogs", &["opts", "cb"]),
    ("prepareJson", &["app", "cwd", "cb"]),
    ("stopAll", &["env", "cb"]),
    ("deleteAll", &["env", "cb"]),
    ("stopProcessName", &["name", "cb"]),
    ("deleteProcessName", &["name", "cb"]),
    ("restartProcessName", &["name", "cb"]),
    ("deleteProcess", &["id", "cb"]),
    ("reload", &["env", "cb"]),
    ("reloadProcessName", &["name", "cb"]),
    ("findByScript", &["script", "cb"]),
    ("findByPort", &["port", "cb"]),
    ("findByFullPath", &["path", "cb"]),
    // Ours: pm2 has no way to replace its daemon but to end everything.
    ("replaceDaemon", &["opts", "cb"]),
];

/// One request for the pilot.
#[derive(Debug)]
pub(crate) struct Command {
    /// What is to be done.
    pub(crate) order: Order,
    /// Where the answer goes.
    pub(crate) reply: ReplyTo,
    /// Who asks.
    pub(crate) peer: Peer,
}

/// What a method asks for.
#[derive(Debug)]
pub(crate) enum Order {
    /// Something the core does.
    Core(Call, Shape),
    /// An answer that is the same every time.
    Fixed(&'static str),
    /// `getMonitorData`.
    List,
    /// `getSystemData`.
    SystemData,
    /// `getReport`.
    Report,
    /// `reloadLogs`.
    ReloadLogs,
    /// `killMe`.
    Kill {
        /// Who is to get SIGQUIT; without it, as in pm2 0.x, there is an answer instead.
        pid: Option<i32>,
    },
    /// One act on several processes.
    Several(Several),
    /// Look processes up.
    Find(Find),
    /// `replaceDaemon`.
    Replace {
        /// The executable, absolute.
        program: String,
        /// `NAME=value` of all its environment; empty: ours.
        env: Vec<String>,
    },
}

/// How the core's answer becomes a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `{"args":[value]}`.
    Value,
    /// `{"args":[]}`.
    Nothing,
    /// No reply at all: `notifyKillPM2` never had one.
    Silence,
}

/// One act on all processes, or on all of a name.
#[derive(Debug)]
pub(crate) struct Several {
    /// What to do with each.
    pub(crate) act: Act,
    /// Whose; `None`: all.
    pub(crate) name: Option<String>,
    /// What is answered.
    pub(crate) answer: SeveralAnswer,
}

/// What is done with each of several processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Stop it.
    Stop,
    /// Delete it.
    Delete,
    /// Restart it.
    Restart,
    /// Reload it.
    Reload,
}

impl Act {
    /// The core's call for one process.
    pub(crate) fn call(self, id: WireId) -> Call {
        match self {
            Self::Stop => Call::Stop(id),
            Self::Delete => Call::Delete(id),
            Self::Restart => Call::Restart { id, env: None },
            Self::Reload => Call::Reload { id, env: None },
        }
    }
}

/// What the old methods on several processes answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SeveralAnswer {
    /// The list as it was.
    ListBefore,
    /// The list as it is then.
    ListAfter,
    /// `{"process_restarted":n}`.
    Count,
}

/// What the old look-ups look for.
#[derive(Debug)]
pub(crate) enum Find {
    /// The script's file name.
    Script(String),
    /// `PORT` in the environment.
    Port(String),
    /// The script's path.
    FullPath(String),
}

/// Whether there is such a method.
pub(crate) fn is_exposed(name: &str) -> bool {
    TABLE.iter().any(|(exposed, _)| *exposed == name)
}

/// What a call asks for, or why it makes no sense.
pub(crate) fn order(call: rpc::Call) -> Result<Order, String> {
    let rpc::Call { method, args } = call;
    let first = args.first().cloned().unwrap_or_else(Json::null);
    let value = |call| Ok(Order::Core(call, Shape::Value));
    match method.as_str() {
        "ping" => Ok(Order::Fixed("{\"msg\":\"pong\"}")),
        "getVersion" => Ok(Order::Fixed(version_text())),
        "profileCPU" | "profileMEM" => Ok(Order::Fixed(
            "{\"error\":\"this daemon has no V8 to profile\"}",
        )),
        "getMonitorData" => Ok(Order::List),
        "getSystemData" => Ok(Order::SystemData),
        "getReport" => Ok(Order::Report),
        "reloadLogs" => Ok(Order::ReloadLogs),
        "killMe" => {
            let pid = member(&first, "pid").and_then(|pid| pid.as_i64());
            let pid = pid.and_then(|pid| i32::try_from(pid).ok());
            Ok(Order::Kill { pid })
        }
        "notifyKillPM2" => Ok(Order::Core(Call::NotifyKill, Shape::Silence)),
        "prepare" if first.is_object() => value(Call::Prepare {
            declaration: text(&first),
            unique_id: unique_id(),
        }),
        "prepareJson" => value(Call::Prepare {
            declaration: declare::record(&first, args.get(1))?,
            unique_id: unique_id(),
        }),
        "prepare" => Err("the declaration to prepare must be an object".to_owned()),
        "startProcessId" => value(Call::Start(bare_id(&first))),
        "stopProcessId" => value(Call::Stop(id_or_member(&first))),
        "deleteProcessId" => value(Call::Delete(id_or_member(&first))),
        "deleteProcess" => Ok(delete_process(&first)),
        "duplicateProcessId" => value(Call::Duplicate {
            id: bare_id(&first),
            unique_id: unique_id(),
        }),
        "resetMetaProcessId" => value(Call::ResetMeta(bare_id(&first))),
        "monitor" => value(Call::Monitor(bare_id(&first))),
        "unmonitor" => value(Call::Unmonitor(bare_id(&first))),
        "restartProcessId" | "reloadProcessId" | "softReloadProcessId" => restart(&method, &first),
        "notifyByProcessId" => Ok(notify(&first)),
        "sendSignalToProcessId" => value(Call::SignalId {
            id: WireId::from_json(&member(&first, "process_id").unwrap_or_default()),
            signal: word(member(&first, "signal")),
        }),
        "sendSignalToProcessName" => value(Call::SignalName {
            name: word(member(&first, "process_name")),
            signal: word(member(&first, "signal")),
        }),
        "sendLineToStdin" => value(Call::SendLine(text(&first))),
        "sendDataToProcessId" => value(Call::SendData(text(&first))),
        "msgProcess" => value(Call::MsgProcess(text(&first))),
        "stopWatch" | "startWatch" | "toggleWatch" => value(watch(&method, &first, args.get(1))),
        _ => older_method(&method, &first),
    }
}

/// Methods of pm2 0.6 and 0.7, for tools that were never changed.
fn older_method(method: &str, first: &Json) -> Result<Order, String> {
    let several = |act, name, answer| Ok(Order::Several(Several { act, name, answer }));
    let name = || Some(word(value_of(first)).into());
    match method {
        "stopAll" => several(Act::Stop, None, SeveralAnswer::ListBefore),
        "deleteAll" => several(Act::Delete, None, SeveralAnswer::ListBefore),
        "reload" => several(Act::Reload, None, SeveralAnswer::Count),
        "stopProcessName" => several(Act::Stop, name(), SeveralAnswer::ListAfter),
        "deleteProcessName" => several(Act::Delete, name(), SeveralAnswer::ListAfter),
        "restartProcessName" => several(Act::Restart, name(), SeveralAnswer::ListAfter),
        "reloadProcessName" => several(Act::Reload, name(), SeveralAnswer::Count),
        "findByScript" => Ok(Order::Find(Find::Script(word(value_of(first)).into()))),
        "findByPort" => Ok(Order::Find(Find::Port(word(value_of(first)).into()))),
        "findByFullPath" => Ok(Order::Find(Find::FullPath(word(value_of(first)).into()))),
        "replaceDaemon" => replace(first),
        _ => Err(format!("method \"{method}\" does not exist")),
    }
}

/// `{"program": path, "env": {name: text}}`.
fn replace(first: &Json) -> Result<Order, String> {
    let given: Value = serde_json::from_str(text(first).as_str()).unwrap_or_default();
    let program = given["program"].as_str().unwrap_or_default();
    if !program.starts_with('/') {
        return Err("the program to replace the daemon must be an absolute path".to_owned());
    }
    let env = given["env"].as_object();
    let entries = env.into_iter().flatten();
    let entries = entries.filter_map(|(name, value)| Some(format!("{name}={}", value.as_str()?)));
    Ok(Order::Replace {
        program: program.to_owned(),
        env: entries.collect(),
    })
}

/// The README of pm2-interface knows it under this name only: an id, or a name.
fn delete_process(first: &Json) -> Order {
    let id = id_or_member(first);
    if id.id().is_some() {
        return Order::Core(Call::Delete(id), Shape::Value);
    }
    Order::Several(Several {
        act: Act::Delete,
        name: Some(id.to_string()),
        answer: SeveralAnswer::ListAfter,
    })
}

fn restart(method: &str, first: &Json) -> Result<Order, String> {
    let given = if first.is_object() {
        member(first, "id")
    } else {
        // Compat: pm2 0.x took a bare id.
        value_of(first).filter(|id| !id.is_null())
    };
    let Some(given) = given.filter(|id| !id.is_null()) else {
        return Err(format!("opts.id not passed to {method}"));
    };
    let id = WireId::from_json(&given);
    let env = first.members(["env"]).and_then(|[env]| env);
    let env = env.filter(Json::is_object).map(|env| text(&env));
    let call = match method {
        "restartProcessId" => Call::Restart { id, env },
        "reloadProcessId" => Call::Reload { id, env },
        _ => Call::SoftReload { id, env },
    };
    Ok(Order::Core(call, Shape::Value))
}

fn notify(first: &Json) -> Order {
    let id = member(first, "id").filter(|id| !id.is_null());
    let call = Call::Notify {
        id: id.map(|id| WireId::from_json(&id)),
        action: word(member(first, "action_name")),
        manually: member(first, "manually").is_some(),
    };
    Order::Core(call, Shape::Nothing)
}

fn watch(method: &str, first: &Json, second: Option<&Json>) -> Call {
    let about = word(value_of(first));
    let value = second.map_or_else(|| text(&Json::null()), text);
    match method {
        "stopWatch" => Call::StopWatch {
            method: about,
            value,
        },
        "startWatch" => Call::StartWatch {
            method: about,
            value,
        },
        _ => Call::ToggleWatch {
            method: about,
            value,
        },
    }
}

fn version_text() -> &'static str {
    const TEXT: &str = "\"7.0.4\"";
    debug_assert_eq!(TEXT.trim_matches('"'), COMPATIBLE_VERSION);
    TEXT
}

fn text(json: &Json) -> JsonText {
    JsonText::from_valid(json.as_str().to_owned())
}

fn value_of(json: &Json) -> Option<Value> {
    json.to().ok()
}

fn member(json: &Json, name: &str) -> Option<Value> {
    let [member] = json.members([name])?;
    value_of(&member?)
}

fn bare_id(json: &Json) -> WireId {
    WireId::from_json(&value_of(json).unwrap_or_default())
}

fn id_or_member(json: &Json) -> WireId {
    if json.is_object() {
        return WireId::from_json(&member(json, "id").unwrap_or_default());
    }
    bare_id(json)
}

/// Text as it is, a number as it is written, nothing as nothing.
fn word(value: Option<Value>) -> Box<str> {
    match value {
        None | Some(Value::Null) => "".into(),
        Some(Value::String(text)) => text.into(),
        Some(other) => other.to_string().into(),
    }
}

/// A UUID of version 4, made by the kernel.
fn unique_id() -> Box<str> {
    std::fs::read_to_string("/proc/sys/kernel/random/uuid")
        .map(|text| text.trim().into())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: &str, args: &str) -> Result<Order, String> {
        let args = Json::parse(&args.to_owned().into())
            .unwrap()
            .items()
            .unwrap();
        order(rpc::Call {
            method: method.to_owned(),
            args,
        })
    }

    // Protects: no listed method without a body, whatever it is given.
    #[test]
    fn every_listed_method_takes_any_argument_without_a_panic() {
        for (name, _) in TABLE {
            for args in [
                "[]",
                "[null]",
                "[0]",
                "[\"x\"]",
                "[{}]",
                "[[1],{\"id\":[]}]",
            ] {
                if let Err(message) = parse(name, args) {
                    assert!(!message.ends_with("does not exist"), "{name}");
                }
            }
        }
    }

    // Protects: ids as numbers, as text, bare or as a member.
    #[test]
    fn ids_come_in_every_form_that_clients_use() {
        for args in ["[3]", "[\"3\"]", "[{\"id\":3}]", "[{\"id\":\"3\"}]"] {
            let Ok(Order::Core(Call::Stop(id), _)) = parse("stopProcessId", args) else {
                panic!("{args}")
            };
            assert_eq!(id, WireId::from_text("3"));
        }
        for args in ["[3]", "[{\"id\":3,\"env\":{\"a\":1}}]"] {
            let Ok(Order::Core(Call::Restart { id, .. }, _)) = parse("restartProcessId", args)
            else {
                panic!("{args}")
            };
            assert_eq!(id, WireId::from_text("3"));
        }
        assert_eq!(
            parse("restartProcessId", "[{}]").unwrap_err(),
            "opts.id not passed to restartProcessId"
        );
    }

    // Protects: a fresh id for each declaration.
    #[test]
    fn unique_ids_are_uuids_and_differ() {
        let (one, two) = (unique_id(), unique_id());
        assert_eq!(one.len(), 36);
        assert_ne!(one, two);
    }
}
