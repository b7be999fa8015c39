//! A pretend daemon for the tests of actions.

use std::cell::RefCell;

use serde_json::{Value, json};

use super::{ActionError, Rpc};

/// Drives a future to its end on a runtime of its own.
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// A daemon that knows some processes and remembers what it was asked, in order.
#[derive(Default)]
pub(super) struct Fake {
    /// The list it shows.
    pub(super) processes: RefCell<Vec<Value>>,
    /// What it was asked: method and arguments.
    pub(super) calls: RefCell<Vec<(String, Value)>>,
    /// Methods and the beginning of their arguments that it refuses, with the words.
    pub(super) refusals: Vec<(&'static str, &'static str, &'static str)>,
    /// How many calls wait for an answer at once, now and at most.
    pub(super) waiting: RefCell<(usize, usize)>,
}

impl Fake {
    /// A daemon with these processes: name, namespace, script path, status.
    pub(super) fn with(processes: &[(&str, &str, &str, &str)]) -> Self {
        let entry = |(id, (name, namespace, path, status)): (usize, &(&str, &str, &str, &str))| {
            json!({"pid": 100 + id, "name": name, "pm2_env": {"name": name, "namespace": namespace, "pm_exec_path": path, "status": status, "pm_id": id,
                "restart_time": 0, "env": {"X": "1"}}, "pm_id": id, "monit": {"memory": 0, "cpu": 0}})
        };
        let processes = processes.iter().enumerate().map(entry).collect();
        Self {
            processes: RefCell::new(processes),
            ..Self::default()
        }
    }

    /// What it was asked, without the list and the notices.
    pub(super) fn deeds(&self) -> Vec<String> {
        let calls = self.calls.borrow();
        let own = calls.iter().filter(|(method, _)| {
            !matches!(
                method.as_str(),
                "getMonitorData" | "notifyByProcessId" | "stopWatch"
            )
        });
        own.map(|(method, args)| format!("{method} {args}"))
            .collect()
    }

    /// The arguments of the calls of one method.
    pub(super) fn asked(&self, method: &str) -> Vec<Value> {
        let calls = self.calls.borrow();
        calls
            .iter()
            .filter(|(name, _)| name == method)
            .map(|(_, args)| args.clone())
            .collect()
    }

    fn answer(&self, method: &str, args: &Value) -> Result<Value, String> {
        let text = args.to_string();
        if let Some((_, _, words)) = self
            .refusals
            .iter()
            .find(|(name, start, _)| *name == method && text.starts_with(start))
        {
            return Err((*words).to_owned());
        }
        let id = args[0]["id"].as_u64().or(args[0].as_u64());
        let process = || {
            self.processes
                .borrow()
                .iter()
                .find(|process| process["pm_id"].as_u64() == id)
                .cloned()
        };
        Ok(match method {
            "getMonitorData" => Value::Array(self.processes.borrow().clone()),
            "prepare" => {
                let mut record = args[0].clone();
                let id = self.processes.borrow().len();
                record["pm_id"] = json!(id);
                let process = json!({"pid": 100 + id, "name": record["name"], "pm2_env": record, "pm_id": id});
                self.processes.borrow_mut().push(process.clone());
                json!([process])
            }
            "restartProcessId" => process().ok_or("God db process id unknown")?,
            "reloadProcessId" | "softReloadProcessId" => process().ok_or("PM2 ID unknown")?,
            "stopProcessId" | "deleteProcessId" => {
                process().ok_or_else(|| format!("{} : id unknown", args[0]))?
            }
            "resetMetaProcessId" => process()
                .map(|process| json!([process]))
                .ok_or_else(|| format!("{} id unknown", args[0]))?,
            _ => json!({"success": true}),
        })
    }
}

impl Rpc for Fake {
    async fn call(&self, method: &str, args: &str) -> Result<String, ActionError> {
        let args: Value = serde_json::from_str(args).expect("arguments are JSON");
        assert!(args.is_array(), "{args}");
        self.calls
            .borrow_mut()
            .push((method.to_owned(), args.clone()));
        let answer = self.answer(method, &args);
        {
            let mut waiting = self.waiting.borrow_mut();
            waiting.0 += 1;
            waiting.1 = waiting.1.max(waiting.0);
        }
        tokio::task::yield_now().await;
        self.waiting.borrow_mut().0 -= 1;
        answer
            .map(|value| json!([value]).to_string())
            .map_err(ActionError::new)
    }
}
