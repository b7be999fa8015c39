//! pm2's operations as a user means them: start, restart, reload, stop, delete, scale and their like.
//!
//! **Invariant:** nothing here opens a connection or prints. Every word to the daemon goes through [`Rpc`], so that each
//! operation runs in a test against a pretend daemon, and each call ends in exactly one value or one [`ActionError`].
//!
//! # What a caller sends
//!
//! [`run`] takes the name of an action and one JSON object. Members that are absent or `null` have the default named here.
//!
//! | member | type | meaning |
//! |---|---|---|
//! | `what` | object | what to act on, see below |
//! | `options` | object | the user's options exactly as given, in any spelling; for `start(script, file)` the evaluated content of the file (an object, an array, `{apps: […]}`, or `{apps_text, file}` as below: the first app counts). Default `{}` |
//! | `cwd` | string | base of relative scripts and configuration files (the instance's `cwd`). Required |
//! | `process_cwd` | string | base of relative working directories, and of script paths in place of names (`process.cwd()`). Default: `cwd` |
//! | `env` | object of strings | `process.env` of the caller. Default `{}` |
//! | `node` | string | `process.execPath`. Default `node` |
//! | `node_version` | string | `process.version`; decides whether TypeScript runs without bun. Default: unknown |
//! | `pm2_home` | string | the instance's home. Default: `env.PM2_HOME`, else `$HOME/.pm2` |
//! | `static_server` | string | the script that `script: 'serve'` stands for. Default: none, so that `serve` is looked for as any script |
//! | `programmatic` | boolean | true (default) for the API: a managed caller's own pm2 fields are then not inherited; false for the command line |
//!
//! `what` is one of
//!
//! | form | used by |
//! |---|---|
//! | `{"script": "app.js"}` | `start(string)` of anything that is not a configuration file: name, namespace, id, `all`, script or command (a number is taken as its text) |
//! | `{"apps": <value>, "file": "/abs/ecosystem.config.js" \| null}` | start, restart, reload, gracefulReload, stop, delete of an object, an array or a configuration file. `<value>` is what the user gave or what the file evaluated to: one app, an array, `{apps}`, `{pm2}`, with `deploy` and `static` beside them |
//! | `{"apps_text": "…", "file": "/abs/x.yml"}` | the same for a file that JavaScript need not evaluate: YAML when `file` ends in `.yml` or `.yaml`, else JSON with comments |
//! | `{"target": "name" \| 3 \| "all" \| "/regex/"}` | restart, reload, gracefulReload, stop, delete, scale, reset, describe, getPID, getProcessIdByName, sendSignal, flush |
//!
//! # Actions and their values
//!
//! | action | further members | value (JSON text) |
//! |---|---|---|
//! | `start` | | array of started processes; of trimmed processes where it became a restart |
//! | `restart`, `reload`, `gracefulReload`, `stop`, `delete` | | array of `{name, namespace, pm_id, status, restart_time, pm2_env}`; `stop` and `delete` of apps: full processes |
//! | `scale` | `count`: number or text (`4`, `"+2"`, `"-1"`) | `{"success":true}` |
//! | `reset` | | `{"success":true}` |
//! | `describe` | | array of full processes, `[]` if unknown |
//! | `getPID` | no `what`, or target `null`: all | array of pids |
//! | `getProcessIdByName` | | array of ids |
//! | `sendSignal` | `signal`: name or number; `by`: `"id"` or `"name"` | array of processes |
//! | `dump` | `force`: boolean | `{"success":true}` |
//! | `flush` | no `what`, or target `null`: everything | array of full processes |
//! | `startModule` | `source`: `package`, `tarball` or `local`; `folder`: absolute, with its `package.json` | as `start` |
//! | `launchModules` | | `{started: [name], failed: [{name, message}]}`: every module that is installed |
//!
//! Options which steer an action and are no attribute of an app: `updateEnv`, `env` (the name of an environment, with apps),
//! `only`, `namespace`, `name_prefix`, `force`, `parallel`, `cwd`, `watch`, `ignore_watch`, `instances`, `uid`, `gid`,
//! `install_url` (the last six are taken over into the declared apps, as pm2 does).
//!
//! # Errors
//!
//! [`ActionError::to_json`] gives `{"message": …, "code"?: …, "errors"?: [{"message": …}], "value"?: …}`. `errors` is present
//! exactly when pm2 hands an **array of Errors** to the callback (start, restart, reload, stop and delete of several apps, some of which
//! failed); `value` then holds what did succeed and is the callback's second argument.

mod apps;
mod attributes;
mod dispatch;
mod error;
mod files;
mod list;
mod modules;
mod offline;
mod operate;
mod payload;
mod queries;
mod restore;
mod scale;
mod script;
mod target;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod window;

pub use dispatch::{resurrect, run};
pub use error::ActionError;
pub use offline::offline;
pub use restore::Restoring;

/// A line to a daemon: calls one method and gives back the reply's argument array as JSON text.
///
/// Calls may be outstanding side by side. They must reach the daemon in the order in which their futures are first polled: ids are
/// given out in that order.
pub trait Rpc {
    /// Calls `method` with `args`, the JSON text of an array, and gives the JSON text of the array of values that came back.
    fn call(&self, method: &str, args: &str) -> impl Future<Output = Result<String, ActionError>>;
}
