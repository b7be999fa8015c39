//! The commands that speak to a daemon.

use std::process::ExitCode;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::printer::Printer;
use crate::client::actions::{self, Restoring};
use crate::client::{Client, ServiceManager};

/// What pm2 says when there is nothing to act on.
const NOTHING: &str = "No process found";

/// What the API says of `all` and of a pattern when there is nothing.
const NONE: &str = "process name not found";

/// What it says of a name that nobody has; a person wants to see the word that was typed.
const UNKNOWN: &str = "process or namespace not found";

/// What a command needs of a process.
#[derive(Debug, Deserialize)]
struct Row {
    name: String,
    pm_id: Value,
}

/// `resurrect`. Compat: it succeeds also when nothing is saved.
pub(super) async fn resurrect(
    printer: &Printer,
    client: &Client,
    manager: Option<&ServiceManager>,
) -> Result<ExitCode, String> {
    let work = async {
        let is_ours = connect(printer, client).await?;
        if manager.is_some() && !is_ours && !ServiceManager::may_adopt() {
            return Err(format!(
                "the daemon of {} was started by hand, and only root's service can take it over: save the list, end it with `pm2 kill`, and start \
                 the service again. Nothing has been changed",
                client.home().root.display()
            ));
        }
        printer.say("Resurrecting");
        let tell = |step: Restoring| match step {
            Restoring::Unreadable(path, reason) => {
                printer.error(&format!(
                    "Failed to read dump file in {}: {reason}",
                    path.display()
                ));
            }
            Restoring::From(path) => {
                printer.say(&format!(
                    "Restoring processes located in {}",
                    path.display()
                ));
            }
            Restoring::Restored(script) => printer.say(&format!("Process {script} restored")),
        };
        if let Err(error) = actions::resurrect(client, &payload(&json!({})), &tell).await {
            printer.error(&error.message);
        }
        Ok::<_, String>(is_ours)
    };
    let Some(manager) = manager else {
        return work.await.map(|_| ExitCode::SUCCESS);
    };
    let is_ours = tokio::select! {
        done = work => done?,
        () = manager.ask_for_patience() => false,
    };
    manager
        .ready(client, is_ours)
        .map_err(|error| format!("failed to tell the service manager that all is up: {error}"))?;
    Ok(ExitCode::SUCCESS)
}

/// `save`. Compat: an empty list is no failure.
pub(super) async fn save(
    printer: &Printer,
    client: &Client,
    force: bool,
) -> Result<ExitCode, String> {
    connect(printer, client).await?;
    printer.say("Saving current process list...");
    let is_empty = !force && list(client).await?.is_empty();
    if is_empty {
        printer.warn("PM2 is not managing any process, skipping save...");
        printer.warn("To force saving use: pm2 save --force");
        return Ok(ExitCode::SUCCESS);
    }
    let saved = actions::run(client, "dump", &payload(&json!({"force": force}))).await;
    saved.map_err(|error| error.message)?;
    printer.say(&format!(
        "Successfully saved in {}",
        client.home().dump.display()
    ));
    Ok(ExitCode::SUCCESS)
}

/// `reload`.
pub(super) async fn reload(
    printer: &Printer,
    client: &Client,
    target: &str,
) -> Result<ExitCode, String> {
    connect(printer, client).await?;
    printer.plain("Use --update-env to update environment variables");
    let request = payload(&json!({"what": {"target": target}}));
    match actions::run(client, "reload", &request).await {
        Ok(done) => {
            let rows: Vec<Row> = serde_json::from_str(&done).map_err(|error| error.to_string())?;
            applied(printer, "reloadProcessId", target, &rows);
            Ok(ExitCode::SUCCESS)
        }
        Err(error) if error.message == NONE => {
            printer.warn(NOTHING);
            Ok(ExitCode::FAILURE)
        }
        Err(error) if error.message == UNKNOWN => {
            Err(format!("Process or Namespace {target} not found"))
        }
        Err(error) => Err(error.message),
    }
}

/// `kill`. Compat: it always succeeds where the daemon ends; unlike pm2's it starts none to end it.
pub(super) async fn kill(printer: &Printer, client: &Client) -> Result<ExitCode, String> {
    let rows = if client.ping().await {
        list(client).await.unwrap_or_default()
    } else {
        Vec::new()
    };
    client.kill().await.map_err(|error| error.text())?;
    if rows.is_empty() {
        printer.warn(NOTHING);
    } else {
        applied(printer, "deleteProcessId", "all", &rows);
    }
    printer.say("[v] All Applications Stopped");
    printer.say("[v] PM2 Daemon Stopped");
    Ok(ExitCode::SUCCESS)
}

/// Connects, and says so where that starts a daemon; whether it did.
async fn connect(printer: &Printer, client: &Client) -> Result<bool, String> {
    if !client.ping().await {
        let home = client.home().root.display();
        printer.say(&format!("Spawning PM2 daemon with pm2_home={home}"));
    }
    let attached = client.connect().await.map_err(|error| error.text())?;
    if attached.is_new_daemon {
        printer.say("PM2 Successfully daemonized");
        launch_modules(printer, client).await;
    }
    Ok(attached.is_new_daemon)
}

/// Starts the installed modules with the daemon. One that cannot be started is told of, and keeps nobody from anything.
async fn launch_modules(printer: &Printer, client: &Client) {
    /// What became of them.
    #[derive(Deserialize)]
    struct Launched {
        started: Vec<String>,
        failed: Vec<Failed>,
    }
    #[derive(Deserialize)]
    struct Failed {
        name: String,
        message: String,
    }
    let launched = actions::run(client, "launchModules", &payload(&json!({}))).await;
    let launched = launched.map_err(|error| error.message).and_then(|text| {
        serde_json::from_str::<Launched>(&text).map_err(|error| error.to_string())
    });
    match launched {
        Ok(Launched { started, failed }) => {
            for name in started {
                printer.say(&format!("Module {name} STARTED"));
            }
            for Failed { name, message } in failed {
                printer.error(&format!("Could not start {name}: {message}"));
            }
        }
        Err(message) => printer.error(&message),
    }
}

async fn list(client: &Client) -> Result<Vec<Row>, String> {
    let reply = client.call("getMonitorData", "[{}]").await;
    let reply = reply.map_err(|error| error.text())?;
    let (rows,): (Vec<Row>,) = serde_json::from_slice(&reply).map_err(|error| error.to_string())?;
    Ok(rows)
}

impl Row {
    /// The number that is typed for it. A cluster process that was reloaded is answered as the one that has gone, `"_old_3"`.
    fn id(&self) -> String {
        let old = self.pm_id.as_str().and_then(|id| id.strip_prefix("_old_"));
        old.map_or_else(|| self.pm_id.to_string(), str::to_owned)
    }
}

fn applied(printer: &Printer, method: &str, target: &str, rows: &[Row]) {
    let ids: Vec<String> = rows.iter().map(Row::id).collect();
    printer.say(&format!(
        "Applying action {method} on app [{target}](ids: [ {} ])",
        ids.join(", ")
    ));
    for row in rows {
        printer.say(&format!("[{}]({}) ✓", row.name, row.id()));
    }
}

/// An action's request: what it is about, and where it was made.
pub(super) fn payload(members: &Value) -> String {
    let env: Map<String, Value> = std::env::vars_os()
        .filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?.into()))
        })
        .collect();
    let cwd = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let mut request = json!({"cwd": cwd, "env": env, "programmatic": false});
    for (name, value) in members.as_object().into_iter().flatten() {
        request[name] = value.clone();
    }
    request.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Protects: what a reload prints can be typed again.
    #[test]
    fn a_reloaded_process_is_shown_by_its_own_number() {
        let rows: Vec<Row> =
            serde_json::from_str(r#"[{"name":"a","pm_id":"_old_3"},{"name":"b","pm_id":4}]"#)
                .unwrap();
        assert_eq!(rows.iter().map(Row::id).collect::<Vec<_>>(), ["3", "4"]);
    }
}
