//! Having another executable take over from the running daemon, while the apps go on.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::ClientError;
use super::{Attached, Client, kill, launch};

/// How many daemons may come and go while we ask which one it is: the one that leaves, the one that is tried, and the old one again.
const ASKED_MAX: u32 = 5;

#[derive(Deserialize)]
struct Report {
    #[serde(default)]
    daemon_pid: Option<u32>,
    #[serde(default)]
    not_replaced: Option<String>,
}

/// See [`Client::update`].
pub(super) async fn update(client: &Client) -> Result<Attached, ClientError> {
    let attached = client.connect().await?;
    if attached.is_new_daemon {
        return Ok(attached);
    }
    // What could go wrong with our executable goes wrong before anything is ended.
    let program = launch::program(client)?;
    let before = match report(client).await {
        Ok(report) if report.daemon_pid.is_some() => report,
        // Compat: pm2's own daemon says no such thing, an old one nothing at all. It hands nothing over; pm2 ends it with all its apps, too.
        Ok(_) | Err(ClientError::Remote { .. }) => {
            kill::kill(client).await?;
            return client.connect().await;
        }
        Err(error) => return Err(error),
    };
    let env: Map<String, Value> = launch::daemon_environment(client)
        .map(|(name, value)| {
            let name = name.to_string_lossy().into_owned();
            (name, value.to_string_lossy().into_owned().into())
        })
        .collect();
    let args = serde_json::json!([{"program": program, "env": env}]);
    match client.call("replaceDaemon", &args.to_string()).await {
        // The daemon that was asked is gone, which is its answer.
        Ok(_) | Err(ClientError::Lost) => {}
        Err(error) => return Err(error),
    }
    let after = report(client).await?;
    match after.not_replaced {
        None if after.daemon_pid != before.daemon_pid => Ok(attached),
        reason => Err(ClientError::Update {
            program,
            reason: reason.unwrap_or_else(|| "the old one did not go".to_owned()),
        }),
    }
}

/// What the daemon of the moment says of itself.
async fn report(client: &Client) -> Result<Report, ClientError> {
    let mut lost = ClientError::Lost;
    for _ in 0..ASKED_MAX {
        match client.call("getReport", "[{}]").await {
            Ok(reply) => {
                let (report,): (Report,) =
                    serde_json::from_slice(&reply).map_err(|error| ClientError::Garbled {
                        reason: error.to_string(),
                    })?;
                return Ok(report);
            }
            Err(error) if error.is_retryable() => lost = error,
            Err(error) => return Err(error),
        }
    }
    Err(lost)
}
