//! Starting a daemon when none answers, and waiting until it serves.
//!
//! The keeper takes the home's lock before anything else, so of many callers at once one starts the daemon and the others hear
//! `locked` and wait for the socket. Neither `pm2.pid` nor a socket file that nobody serves is ever believed.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, PipeReader, PipeWriter, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::fcntl::OFlag;
use serde::Deserialize;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::unix::pipe;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::error::ClientError;
use super::socket::Socket;
use super::{Client, locked};
use crate::host::files::open_to_write;
use crate::host::handles::Pidfd;
use crate::host::notify::{SOCKET_VARIABLE, WATCHDOG_PID_VARIABLE, WATCHDOG_VARIABLE};
use crate::keeper::proto::PRIVATE_VARIABLES;

/// How long a daemon may take from its start until it serves. It needs about 10 ms; a machine that is swapping needs seconds.
pub(super) const LAUNCH_LIMIT: Duration = Duration::from_secs(15);

/// How often the socket is tried while somebody else starts the daemon: at first, and at most.
const POLL_FIRST: Duration = Duration::from_millis(2);
const POLL_MAX: Duration = Duration::from_millis(50);

/// How long to wait for somebody else's daemon before trying to start one: at first, and at most.
///
/// The holder of the lock may be on its way out, which takes a few milliseconds, or starting, and must not be besieged then.
const PATIENCE_FIRST: Duration = Duration::from_millis(20);
const PATIENCE_MAX: Duration = Duration::from_millis(500);

/// The longest readiness line that is read. Ours has under 100 bytes, a reason perhaps a few hundred.
const READY_LINE_MAX: u64 = 16 * 1024;

/// How much of what the daemon logged goes into an error.
const TAIL_BYTES: u64 = 2048;
const TAIL_LINES: usize = 10;

/// What is between the caller and its own service manager: a keeper that spoke to that would keep alive a service that hangs.
const MANAGER_VARIABLES: [&str; 3] = [SOCKET_VARIABLE, WATCHDOG_VARIABLE, WATCHDOG_PID_VARIABLE];

/// What this process holds of the daemons it has started.
#[derive(Debug, Default)]
pub(super) struct Launched {
    /// Collect the keepers when they end, which would stay zombies of this process otherwise.
    reapers: JoinSet<()>,
    /// A tied daemon ends when this closes, at the latest with this process.
    tie: Option<PipeWriter>,
}

/// What the daemon says about its start.
#[derive(Debug, Deserialize)]
struct Ready {
    online: bool,
    #[serde(default)]
    reason: Option<String>,
}

/// Starts the client's daemon, or waits for the one somebody else is starting. True if it was us.
pub(super) async fn launch(client: &Client) -> Result<(Socket, bool), ClientError> {
    let launched = attempt(client).await;
    if !matches!(launched, Ok((_, true))) {
        // What was tied to us, and never became our daemon, ends.
        locked(&client.0.launched).tie = None;
    }
    launched
}

async fn attempt(client: &Client) -> Result<(Socket, bool), ClientError> {
    let home = client.home();
    let deadline = Instant::now() + LAUNCH_LIMIT;
    home.create()?;
    let program = program(client)?;
    let log_start = fs::metadata(&home.log_file).map_or(0, |log| log.len());
    let failed = |reason: &str| ClientError::Launch {
        reason: reason.to_owned(),
        log: home.log_file.clone(),
        tail: tail(&home.log_file, log_start),
    };
    let mut patience = PATIENCE_FIRST;
    loop {
        let ready = match start(client, &program) {
            Ok(ready) => ready,
            // A process forked by another thread while the copy was being written holds it open until its exec.
            Err(error)
                if error.kind() == io::ErrorKind::ExecutableFileBusy
                    && Instant::now() < deadline =>
            {
                sleep(POLL_FIRST).await;
                continue;
            }
            Err(source) => return Err(ClientError::Start { program, source }),
        };
        let line = timeout_at(deadline, read_line(ready)).await.map_err(|_| {
            failed(&format!(
                "it is not ready after {} s",
                LAUNCH_LIMIT.as_secs()
            ))
        })?;
        match serde_json::from_slice(&line) {
            Ok(Ready { online: true, .. }) => {
                let socket = client.open(&home.rpc).await?;
                return socket
                    .map(|socket| (socket, true))
                    .ok_or_else(|| failed("it ended right after it was ready"));
            }
            Ok(Ready {
                reason: Some(reason),
                ..
            }) if reason == "locked" => {
                if let Some(socket) = wait_for_another(client, patience).await? {
                    return Ok((socket, false));
                }
                patience = (patience * 2).min(PATIENCE_MAX);
                if Instant::now() >= deadline {
                    return Err(failed(&format!(
                        "another one holds {} and does not serve after {} s",
                        home.lock.display(),
                        LAUNCH_LIMIT.as_secs()
                    )));
                }
            }
            Ok(Ready { reason, .. }) => {
                return Err(failed(reason.as_deref().unwrap_or("it gave no reason")));
            }
            Err(_) => return Err(failed("it ended before it was ready")),
        }
    }
}

/// The executable's copy in the home, made now if it is not there.
pub(super) fn program(client: &Client) -> Result<PathBuf, ClientError> {
    let executable = executable(client)?;
    Ok(client
        .home()
        .install(&executable, env!("CARGO_PKG_VERSION"))?
        .program)
}

/// The executable that is copied.
pub(super) fn executable(client: &Client) -> Result<PathBuf, ClientError> {
    let given = client.0.executable.clone();
    let executable = given.map_or_else(std::env::current_exe, Ok);
    executable.map_err(|source| ClientError::Start {
        program: PathBuf::from("/proc/self/exe"),
        source,
    })
}

/// Waits for a daemon that somebody else is starting. `None` when it is time to try to start one again.
async fn wait_for_another(
    client: &Client,
    patience: Duration,
) -> Result<Option<Socket>, ClientError> {
    let until = Instant::now() + patience;
    let mut pause = POLL_FIRST;
    while Instant::now() < until {
        if let Some(socket) = client.open(&client.home().rpc).await? {
            return Ok(Some(socket));
        }
        sleep(pause).await;
        pause = (pause * 2).min(POLL_MAX);
    }
    Ok(None)
}

/// Starts a keeper and gives the end of the pipe on which its daemon reports.
fn start(client: &Client, program: &Path) -> io::Result<PipeReader> {
    let home = client.home();
    let settings = locked(&client.0.settings).clone();
    let (ready, report) = io::pipe()?;
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    let log = open_to_write(&home.log_file, &mut options, OFlag::empty())?;
    let mut command = Command::new(program);
    command.arg("__keeper").arg(&home.root);
    command
        .env_clear()
        .envs(environment(settings.env))
        .envs(&client.0.variables)
        .env("PM2_HOME", &home.root);
    if let Some(manager) = &settings.manager {
        command.envs(manager.variables());
    }
    // The descriptors travel as standard streams: those reach exactly this child, whatever other threads start meanwhile.
    command
        .env("PM2_READY_FD", "1")
        .stdin(Stdio::null())
        .stdout(report)
        .stderr(log);
    let mut tie = None;
    if settings.is_tied {
        let (held, kept) = io::pipe()?;
        command.env("PM2_TIE_FD", "0").stdin(held);
        tie = Some(kept);
    }
    let keeper = command.spawn()?;
    let mut launched = locked(&client.0.launched);
    while launched.reapers.try_join_next().is_some() {}
    launched.reapers.spawn(reap(keeper));
    if tie.is_some() {
        launched.tie = tie;
    }
    Ok(ready)
}

/// What a daemon of this client is started with.
pub(super) fn daemon_environment(client: &Client) -> impl Iterator<Item = (OsString, OsString)> {
    let settings = locked(&client.0.settings).clone();
    let moved: Vec<_> = client
        .0
        .variables
        .clone()
        .into_iter()
        .map(|(name, value)| (OsString::from(name), value))
        .collect();
    environment(settings.env).chain(moved)
}

/// The daemon's environment: the one that was given, else our own, without what is meant for somebody else.
fn environment(given: Vec<(OsString, OsString)>) -> impl Iterator<Item = (OsString, OsString)> {
    let env = if given.is_empty() {
        std::env::vars_os().collect()
    } else {
        given
    };
    env.into_iter().filter(|(name, _)| {
        let mut private = PRIVATE_VARIABLES.iter().chain(&MANAGER_VARIABLES);
        !private.any(|private| OsStr::new(private) == name)
    })
}

async fn read_line(ready: PipeReader) -> Vec<u8> {
    let mut line = Vec::new();
    let Ok(receiver) = pipe::Receiver::from_owned_fd(OwnedFd::from(ready)) else {
        return line;
    };
    let mut receiver = receiver.take(READY_LINE_MAX);
    while !line.contains(&b'\n') {
        // An error leaves what was read, which then is no whole line.
        if !matches!(receiver.read_buf(&mut line).await, Ok(1..)) {
            break;
        }
    }
    line
}

/// Waits for a child without a thread and without SIGCHLD, which belongs to Node.
async fn reap(mut child: Child) {
    let pidfd = i32::try_from(child.id())
        .ok()
        .and_then(|pid| Pidfd::open(pid).ok());
    #[expect(
        deprecated,
        reason = "its successor is unsafe, for types whose descriptor may change; ours owns one for life"
    )]
    let ended = pidfd.and_then(|pidfd| AsyncFd::try_with_interest(pidfd, Interest::READABLE).ok());
    if let Some(ended) = ended
        && ended.readable().await.is_ok()
    {
        let _ = child.wait();
    }
}

/// The last lines of what was logged since `start`, each after a line break.
fn tail(log: &Path, start: u64) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        let end = file.metadata()?.len();
        file.seek(SeekFrom::Start(start.max(end.saturating_sub(TAIL_BYTES))))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    last.iter()
        .fold(String::new(), |text, line| text + "\n" + line)
}
