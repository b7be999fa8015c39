//! Ending every process and then the daemon, ours or the reference's, by the calls that both know.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::Client;
use super::connection::{Connection, Waiting};
use super::error::ClientError;
use crate::host::files::FileLock;
use crate::wire::rpc;

/// How long a daemon may take to go once it manages nothing any more.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// How many daemons in a row may die while they are being ended.
const ATTEMPTS_MAX: u32 = 3;

/// How often to look whether it has gone: at first, and at most.
const POLL_FIRST: Duration = Duration::from_millis(1);
const POLL_MAX: Duration = Duration::from_millis(25);

/// Whom the daemon is to signal when it goes: nobody, the kernel gives no such pid.
///
/// Compat: the reference daemon sends SIGQUIT to the pid of `killMe`, for which its own client waits. We watch the socket.
const NOBODY: i32 = i32::MAX;

#[derive(Deserialize)]
struct Row {
    pm_id: serde_json::Value,
}

/// See [`Client::kill`].
pub(super) async fn kill(client: &Client) -> Result<(), ClientError> {
    if !client.is_connected() && client.open(&client.home().rpc).await?.is_none() {
        return Ok(());
    }
    for _ in 0..ATTEMPTS_MAX {
        let (connection, _) = client.attach().await?;
        match end_everything(client, &connection).await {
            Ok(()) => break,
            // Somebody else was faster, and nobody serves any more; or the daemon fell over it, and another one goes on.
            Err(ClientError::Lost | ClientError::Closed) => {
                if client.open(&client.home().rpc).await?.is_none() {
                    break;
                }
            }
            Err(error) => return Err(error),
        }
    }
    wait_until_gone(client).await?;
    client.disconnect();
    Ok(())
}

/// Everything but the waiting. Only this connection is used: a call that connected anew could start a daemon.
async fn end_everything(client: &Client, connection: &Arc<Connection>) -> Result<(), ClientError> {
    tell(client, connection, "notifyKillPM2", "[{}]")?;
    let reply = ask(client, connection, "getMonitorData", "[{}]").await?;
    let (rows,): (Vec<Row>,) =
        serde_json::from_slice(&reply).map_err(|error| ClientError::Garbled {
            reason: error.to_string(),
        })?;
    let mut deletions = JoinSet::new();
    for Row { pm_id } in rows {
        let (client, connection) = (client.clone(), Arc::clone(connection));
        deletions.spawn(async move {
            ask(
                &client,
                &connection,
                "stopWatch",
                &format!("[\"deleteProcessId\",{pm_id}]"),
            )
            .await?;
            ask(
                &client,
                &connection,
                "deleteProcessId",
                &format!("[{pm_id}]"),
            )
            .await
        });
    }
    while let Some(deleted) = deletions.join_next().await {
        match deleted {
            // One that is gone already, or will not go, must not keep the daemon alive.
            Ok(Ok(_) | Err(ClientError::Remote { .. })) | Err(_) => {}
            Ok(Err(error)) => return Err(error),
        }
    }
    ask(
        client,
        connection,
        "stopWatch",
        &format!("[\"deleteAll\",{{\"pid\":{NOBODY}}}]"),
    )
    .await?;
    tell(
        client,
        connection,
        "killMe",
        &format!("[{{\"pid\":{NOBODY}}}]"),
    )
}

async fn ask(
    client: &Client,
    connection: &Connection,
    method: &str,
    args: &str,
) -> Result<Bytes, ClientError> {
    let (sender, receiver) = oneshot::channel();
    let id = client.next_id();
    let frame = rpc::call(&id, method, args.as_bytes());
    let waiting = Waiting::for_all(Box::new(move |reply| _ = sender.send(reply)));
    connection
        .send(id, &frame, waiting)
        .map_err(|_| ClientError::Lost)?;
    receiver.await.unwrap_or(Err(ClientError::Lost))
}

/// Sends a call to which there is no reply.
fn tell(
    client: &Client,
    connection: &Connection,
    method: &str,
    args: &str,
) -> Result<(), ClientError> {
    let frame = rpc::call(&client.next_id(), method, args.as_bytes());
    connection
        .send_unanswered(&frame)
        .map_err(|_| ClientError::Lost)
}

/// Waits until nobody serves the socket, the pid file is gone or names no living process, and the keeper's lock is free: whoever
/// starts the next daemon need not wait for it.
async fn wait_until_gone(client: &Client) -> Result<(), ClientError> {
    let home = client.home();
    let deadline = Instant::now() + KILL_LIMIT;
    let mut pause = POLL_FIRST;
    loop {
        let left = if client.open(&home.rpc).await?.is_some() {
            home.rpc.to_string()
        } else if is_alive(fs::read_to_string(&home.pid_file).ok().as_deref()) {
            home.pid_file.display().to_string()
        } else if is_locked(&home.lock) {
            home.lock.display().to_string()
        } else {
            return Ok(());
        };
        if Instant::now() >= deadline {
            return Err(ClientError::Kill {
                what: left,
                seconds: KILL_LIMIT.as_secs(),
            });
        }
        sleep(pause).await;
        pause = (pause * 2).min(POLL_MAX);
    }
}

/// Whether a keeper holds the lock. Takes and drops it to find out; a keeper that starts in that moment is tried again by its client.
///
/// Compat: the reference daemon has no such file, and none is made for it.
fn is_locked(lock: &Path) -> bool {
    lock.exists() && matches!(FileLock::take(lock), Ok(None))
}

/// Whether a pid file, if there is one, is about a process that lives.
fn is_alive(pid_file: Option<&str>) -> bool {
    let pid = pid_file
        .and_then(|text| text.trim().parse().ok())
        .filter(|pid: &i32| *pid > 0);
    pid.is_some_and(|pid| nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None).is_ok())
}
