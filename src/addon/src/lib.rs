//! The face for Node: one class, through which JavaScript asks a daemon and hears from it.
//!
//! JavaScript's thread only hands over and takes back. The connections live on one background thread with a current-thread runtime,
//! started at the first request; its messages return through one threadsafe function.
//!
//! **Invariant:** nothing here decides what an operation means, prints, or ends the process. Every request is answered by exactly
//! one message, also when its task panics or the thread ends.

#![expect(
    clippy::needless_pass_by_value,
    reason = "arguments from JavaScript are made for the one call"
)]

mod operation;
mod outbox;
mod worker;

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;

use napi::bindgen_prelude::{FnArgs, Function};
use napi::{Env, Error, Result};
use napi_derive::napi;
use pm2::client::{ClientConfig, actions};
use serde::Deserialize;

use outbox::{Outbox, Text};
use worker::Worker;

/// The native half of one API object: everything between it and one daemon.
#[napi]
#[derive(Debug)]
pub struct Connection {
    worker: Worker,
    outbox: Outbox,
}

/// What JavaScript says about the daemon it wants.
#[derive(Deserialize)]
struct Config {
    home: PathBuf,
    executable: Option<PathBuf>,
    #[serde(default)]
    env: HashMap<String, String>,
}

#[napi]
impl Connection {
    /// Starts nothing yet. `config` is JSON text; `on_message` is called with id, status, text and extra.
    #[napi(constructor, catch_unwind)]
    pub fn new(
        config: String,
        on_message: Function<FnArgs<(i32, u32, Text, Text)>, ()>,
    ) -> Result<Self> {
        let config: Config = serde_json::from_str(&config).map_err(refused)?;
        let variables = config
            .env
            .into_iter()
            .map(|(name, value)| (name, OsString::from(value)));
        let outbox = Outbox::new(&on_message)?;
        let worker = Worker::new(ClientConfig {
            home: config.home,
            executable: config.executable,
            variables: variables.collect(),
        });
        Ok(Self { worker, outbox })
    }

    /// Asks for an operation. The answer is a message with this id; it never comes before this returns.
    #[napi(catch_unwind)]
    pub fn send(&mut self, id: i32, op: String, name: String, payload: String) -> Result<()> {
        let request = operation::Request { op, name, payload };
        self.worker.send(&self.outbox, id, request).map_err(refused)
    }

    /// Connects if a daemon serves already and that takes no waiting: the value of `connect` then, else null. Launches none.
    #[napi(catch_unwind)]
    pub fn attach(&mut self) -> Result<Option<String>> {
        self.worker.attach().map_err(refused)
    }

    /// Keeps the event loop alive from now on.
    #[napi(js_name = "ref", catch_unwind)]
    pub fn hold(&mut self, env: Env) -> Result<()> {
        self.outbox.hold(env)
    }

    /// Lets the event loop end from now on, as at the beginning.
    #[napi(catch_unwind)]
    pub fn unref(&mut self, env: Env) -> Result<()> {
        self.outbox.release(env)
    }

    /// Ends the thread and its connections. What is outstanding is answered with an error; a later request starts anew.
    #[napi(catch_unwind)]
    pub fn close(&mut self) {
        self.worker.close();
    }
}

/// What can be said of declarations without a daemon: `actions::offline`. The value's JSON text, or an error that is JSON text itself.
#[napi(catch_unwind)]
pub fn offline(name: String, payload: String) -> Result<String> {
    actions::offline(&name, &payload).map_err(|error| Error::from_reason(error.to_json()))
}

fn refused(error: impl std::fmt::Display) -> Error {
    Error::from_reason(error.to_string())
}
