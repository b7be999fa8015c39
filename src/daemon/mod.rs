//! The brain of what stays running: performs the core's effects, feeds it what happens, and serves the two sockets.
//!
//! **Invariant:** one thread, and nothing in it waits for an app, a peer or a caller but the task that serves it. Whatever peers send
//! and however slowly they read, apps and other peers do not notice; every queue has an end.

mod bequest;
mod budget;
mod bus;
mod child;
mod cluster;
mod connections;
mod dates;
mod declare;
mod ends;
mod estate;
mod inbox;
mod journal;
mod last_words;
mod launch;
mod lines;
mod link;
mod logs;
mod machine;
mod memory;
mod methods;
mod mirror;
mod outbox;
mod outgoing;
mod perform;
mod pilot;
mod present;
#[doc(hidden)]
pub mod probe;
mod readiness;
mod records;
mod recovery;
mod report;
mod runs;
mod scratch;
mod server;
mod several;
mod shared;
mod slack;
mod socket;
mod sockets;
mod spool;
mod start;
mod stops;
mod talk;
mod testament;
mod unknown;
mod watch;

use std::cell::RefCell;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::watch as latest;
use tokio::task::{JoinSet, LocalSet};

use self::estate::Estate;
use self::link::{Link, LinkError};
use self::pilot::{Ears, Farewell, Pilot};
use self::recovery::Hello;
use self::server::Server;
use self::shared::Shared;
use self::socket::Listener;
use self::start::Setup;
use self::testament::Testament;
use crate::host::paths::{Address, COMPATIBLE_VERSION, Home};
use crate::host::spawn::OpenFiles;
use crate::host::{HostError, listen, process, signal};
use crate::keeper::proto::{Inheritance, ProtoError, Request};
use crate::model::BusEvent;

/// How long peers have to take what they are still owed when the daemon ends.
const FAREWELL_MAX: Duration = Duration::from_secs(1);
/// How long the keeper has to introduce itself.
const HELLO_MAX: Duration = Duration::from_secs(10);

/// Why there is no daemon.
#[derive(Debug, thiserror::Error)]
enum DaemonError {
    /// The home cannot be used, or its sockets are taken.
    #[error(transparent)]
    Host(#[from] HostError),
    /// Nobody would start our apps.
    #[error(transparent)]
    Keeper(#[from] LinkError),
    /// A request to the keeper could not be made.
    #[error(transparent)]
    Proto(#[from] ProtoError),
    /// The keeper said nothing.
    #[error("hear from the keeper within {} s", HELLO_MAX.as_secs())]
    Silence,
    /// The runtime or a socket could not be set up.
    #[error("set up the event loop")]
    Loop(#[from] std::io::Error),
}

/// Runs the daemon of `home` until it is told to end; `keeper` is what it has from its parent.
///
/// Says on `PM2_READY_FD` and `NODE_CHANNEL_FD`, as far as they are there, that both sockets are served, or why not.
/// Contract: called before the process has a second thread or opened anything itself.
#[must_use]
pub fn run(home: &Path, keeper: Inheritance) -> ExitCode {
    let mut ready = start::ready_files();
    // A log that may not grow any more is an error of its write, as a full disk is, and not our end.
    signal::ignore(&[nix::libc::SIGXFSZ]);
    process::keep_freed_heap();
    // Eight descriptors an app, twelve if it does not read what it is sent; apps themselves are started by the keeper, with the limit the user gave.
    let open_files = OpenFiles::raise();
    let started = Home::new(home, &|name| std::env::var_os(name)).map_err(DaemonError::from);
    let started = started.and_then(|home| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let tasks = LocalSet::new();
        let (estate, channel) = Estate::new(home.clone(), keeper, open_files);
        let served = async {
            let link = Link::new(channel, estate)?;
            serve(Setup::new(home), link, &mut ready).await
        };
        runtime.block_on(tasks.run_until(served))
    });
    match started {
        Ok(code) => code,
        Err(error) => {
            let reason = with_causes(&error);
            let line = serde_json::json!({"online": false, "reason": reason});
            tell(&mut ready, &line.to_string());
            // pm2.log is our standard error; there is no journal yet.
            let _lost = writeln!(std::io::stderr(), "pm2: failed to {reason}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(
    setup: Setup,
    mut link: Link,
    ready: &mut Vec<File>,
) -> Result<ExitCode, DaemonError> {
    let hello = tokio::time::timeout(HELLO_MAX, Hello::receive(&mut link)).await;
    let mut hello = hello.map_err(|_| DaemonError::Silence)??;
    let (records, frozen) = hello.records(&mut link)?;
    let (testament, found, trouble) = Testament::open(&setup.home);
    let trouble = trouble.map(|error| format!("{}: {error}", setup.home.state.display()));
    let mut begun = bequest::begin(frozen, found, &mut hello, &mut link)?;
    begun.complaints.extend(trouble);

    setup.install_preload()?;
    let scratch = hello.scratch(&mut link)?;
    let shared = Shared::new(scratch);
    let (commands, commands_out) = mpsc::channel(pilot::COMMANDS_MAX);
    let (reports, reports_out) = mpsc::channel(pilot::REPORTS_MAX);
    let (closing, left) = latest::channel(false);
    let server = Server {
        shared: Rc::clone(&shared),
        commands,
        closing: left,
        admission: setup.admission,
        budget: Rc::default(),
        tasks: Rc::new(RefCell::new(JoinSet::new())),
    };
    // pm2's order: who can call can already listen.
    let home = setup.home.clone();
    let events = bind(&setup, &home.bus, "pub", &mut hello, &mut link)?;
    let calls = bind(&setup, &home.rpc, "rpc", &mut hello, &mut link)?;
    {
        let mut tasks = server.tasks.borrow_mut();
        tasks.spawn_local(server.clone().serve_bus(events));
        tasks.spawn_local(server.clone().serve_rpc(calls));
    }
    let tasks = Rc::clone(&server.tasks);
    drop(server);

    let stores = (records, testament);
    let mut pilot = setup.pilot(&shared, link, reports, stores, begun.supervisor);
    pilot.greet(&home, hello.keeper, &begun.after, &begun.complaints);
    let keeper = hello.keeper;
    pilot.recover(hello)?;
    be_ready(&mut pilot, keeper, ready)?;

    let ears = Ears {
        commands: commands_out,
        reports: reports_out,
    };
    let Some(farewell) = pilot.run(ears).await? else {
        // Everything stays as it is, for who comes next.
        pilot.link.flush().await?;
        return Ok(ExitCode::SUCCESS);
    };
    pilot.journal.log("PM2 successfully stopped");
    if !farewell.is_announced {
        let event = BusEvent::daemon_killed("CLI");
        let payload = event.payload.as_str().as_bytes();
        shared.bus.publish(&event.name, payload);
    }
    leave(&shared, &closing, tasks, &home).await;
    say_goodbye(&farewell);
    pilot.link.send(Request::Quit)?;
    if pilot.link.flush().await.is_err() {
        // Nobody is left to do it.
        home.remove_pid_files();
    }
    Ok(ExitCode::SUCCESS)
}

/// Says so to everybody who waits for it.
fn be_ready(pilot: &mut Pilot, keeper: i32, ready: &mut Vec<File>) -> Result<(), DaemonError> {
    let success = serde_json::json!({
        "online": true, "success": true, "pid": keeper, "pm2_version": COMPATIBLE_VERSION,
    });
    // First the keeper: whoever has read the line may kill us and be served all the same.
    pilot.link.send(Request::Ready)?;
    tell(ready, &success.to_string());
    pilot.records.let_other_go()?;
    // Most of what a start touches is never needed again.
    process::trim_memory();
    Ok(())
}

/// The socket at this address: the one an earlier daemon had, with who waits there, or a new one that the keeper holds too.
fn bind(
    setup: &Setup,
    address: &Address,
    key: &str,
    hello: &mut Hello,
    link: &mut Link,
) -> Result<Listener, DaemonError> {
    if let Some(stored) = hello.copy(key)?
        && let Some(listener) = listen::adopt(stored, address)
    {
        return Ok(Listener::new(listener)?);
    }
    let listener = listen::bind(address)?;
    link.store(key.to_owned(), listener.copy()?)?;
    if let Address::Unix(path) = address {
        let widened = setup.widen(path);
        widened.map_err(|source| HostError::File {
            action: "give to PM2_SOCKET_USER and PM2_SOCKET_GROUP",
            path: path.clone(),
            source,
        })?;
    }
    Ok(Listener::new(listener)?)
}

/// Gives peers what they are owed, closes the sockets and removes their files.
async fn leave(
    shared: &Shared,
    closing: &latest::Sender<bool>,
    tasks: Rc<RefCell<JoinSet<()>>>,
    home: &Home,
) {
    shared.bus.close();
    // Nobody listens any more when every task has ended.
    let _all_gone = closing.send(true);
    // Removed first, so that a new daemon never finds a name whose listener is about to go.
    for path in [home.rpc.path(), home.bus.path()].into_iter().flatten() {
        let _gone = std::fs::remove_file(path);
    }
    let mut tasks = std::mem::take(&mut *tasks.borrow_mut());
    let all = async { while tasks.join_next().await.is_some() {} };
    // Those who do not read in time lose what they are owed.
    let _late = tokio::time::timeout(FAREWELL_MAX, all).await;
}

fn say_goodbye(farewell: &Farewell) {
    for pid in &farewell.sigquit {
        // The caller may have gone; then nobody waits.
        let _gone = signal::send(*pid, nix::sys::signal::Signal::SIGQUIT as i32);
    }
}

/// Says it once and closes: whoever waits for more, or for the end, is not kept waiting.
fn tell(files: &mut Vec<File>, line: &str) {
    for mut file in files.drain(..) {
        // Who started us may not care.
        let _gone = file.write_all(format!("{line}\n").as_bytes());
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
