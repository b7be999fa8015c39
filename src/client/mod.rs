//! One daemon as its callers see it: found or started, asked, listened to, ended.
//!
//! [`Client`] is the same for both faces. It speaks the public protocol and nothing else, so it works with the reference daemon too.
//! All of it runs on one current-thread runtime.
//!
//! **Invariant:** nothing here prints or ends the process. A call ends in exactly one value or one [`ClientError`], also when the
//! daemon dies under it, and whoever only asks whether a daemon is there never starts one.

pub mod actions;
mod bus;
mod connection;
mod error;
mod kill;
mod launch;
mod pieces;
mod service;
mod socket;
pub mod startup;
#[cfg(test)]
mod tests;
mod update;

pub use bus::{BusMessage, Subscription};
pub use connection::{OnPiece, OnReply};
pub use error::ClientError;
pub use service::ServiceManager;

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::host::paths::{Address, Home};
use crate::wire::axon::RequestId;
use crate::wire::rpc;
use connection::{Connection, Unsent, Waiting};
use launch::Launched;
use socket::Socket;

/// How often a call is put on a new connection because the old one had closed before any of it was written.
///
/// Once is the rule: a daemon that was killed leaves one dead connection behind. More means that daemons die as fast as they start.
const SEND_ATTEMPTS_MAX: u32 = 3;

/// How long a connection attempt may be put off by a full accept queue before that counts as no answer.
const BUSY_LIMIT: Duration = Duration::from_secs(5);

/// Whose daemon to talk to.
#[derive(Debug, Clone, Default)]
pub struct ClientConfig {
    /// The home folder, absolute.
    pub home: PathBuf,
    /// The native executable that becomes the daemon; `None` is the running one.
    pub executable: Option<PathBuf>,
    /// The `PM2_*` variables that move single files (`protocol.md` §2.1).
    pub variables: HashMap<String, OsString>,
}

impl ClientConfig {
    /// The daemon that the environment means, and this executable to start it.
    pub fn from_environment() -> io::Result<Self> {
        let cwd = std::env::current_dir()?;
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            name.starts_with("PM2_").then_some((name, value))
        });
        Ok(Self {
            home: Home::locate(&|name| std::env::var_os(name), &cwd),
            executable: None,
            variables: variables.collect(),
        })
    }
}

/// What a daemon is started with, if one has to be.
#[derive(Clone, Default)]
pub struct LaunchSettings {
    /// The environment that the daemon gets, and through it nothing else: apps get what their declaration says.
    pub env: Vec<(OsString, OsString)>,
    /// The daemon ends, and every app with it, when this process does.
    pub is_tied: bool,
    /// The service manager whose service the daemon is.
    pub manager: Option<ServiceManager>,
}

impl std::fmt::Debug for LaunchSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LaunchSettings")
            .field("env", &format_args!("{} variables", self.env.len()))
            .field("is_tied", &self.is_tied)
            .field("manager", &self.manager)
            .finish()
    }
}

/// What `connect` found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attached {
    /// Whether this call started the daemon.
    pub is_new_daemon: bool,
}

/// A handle on one daemon. Clones share the connection.
///
/// Connects, and starts the daemon, by itself when a call needs it. A daemon that went away fails what was outstanding with
/// [`ClientError::Lost`], and the next call connects anew.
#[derive(Debug, Clone)]
pub struct Client(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    home: Home,
    executable: Option<PathBuf>,
    /// Moves the files of the home, and must do so for the daemon too.
    variables: HashMap<String, OsString>,
    settings: Mutex<LaunchSettings>,
    connection: Mutex<Option<Arc<Connection>>>,
    /// Held while connecting, so that calls made meanwhile wait for that one connection, in order.
    connecting: tokio::sync::Mutex<()>,
    launched: Mutex<Launched>,
    /// Compat: ids count on over reconnects (`protocol.md` §1.6).
    next_id: AtomicU64,
    identity: String,
}

impl Client {
    /// A client that is not connected yet. Touches nothing; fails only where the paths cannot be used at all.
    pub fn new(config: ClientConfig) -> Result<Self, ClientError> {
        let ClientConfig {
            home,
            executable,
            variables,
        } = config;
        let home = Home::new(&home, &|name| variables.get(name).cloned())?;
        Ok(Self(Arc::new(Shared {
            home,
            executable,
            variables,
            settings: Mutex::default(),
            connection: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            launched: Mutex::default(),
            next_id: AtomicU64::new(0),
            identity: std::process::id().to_string(),
        })))
    }

    /// The files and sockets of this daemon.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.0.home
    }

    /// Says what a daemon is started with from now on.
    pub fn set_launch(&self, settings: LaunchSettings) {
        *locked(&self.0.settings) = settings;
    }

    /// Connects, and starts a daemon if none answers. Does nothing when connected.
    pub async fn connect(&self) -> Result<Attached, ClientError> {
        self.attach().await.map(|(_, attached)| attached)
    }

    /// Connects to a daemon that serves, if that takes no waiting: saves the time until another thread gets round to it. Starts none.
    /// Whether there is a connection then. To be called with the runtime entered that is to serve the connection.
    #[must_use]
    pub fn attach_now(&self) -> bool {
        let Ok(_turn) = self.0.connecting.try_lock() else {
            return false;
        };
        if self.is_connected() {
            return true;
        }
        let Address::Unix(path) = &self.0.home.rpc else {
            return false;
        };
        let Ok(socket) = Socket::connect_now(path) else {
            return false;
        };
        *locked(&self.0.connection) = Some(Connection::start(socket));
        true
    }

    /// Whether there is a connection now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.current().is_some()
    }

    /// Whether a daemon answers at the RPC socket. Starts nothing and keeps nothing open.
    pub async fn ping(&self) -> bool {
        self.is_connected() || matches!(self.open(&self.0.home.rpc).await, Ok(Some(_)))
    }

    /// Calls `method` with `args`, the JSON text of an array. Gives the JSON text of the array of values that came back.
    ///
    /// Calls made side by side are answered side by side; they are sent in the order in which their futures are first polled.
    /// There is no time limit: stopping a process may rightly take as long as the process wants.
    ///
    /// The text of a reply beyond 64 KiB is not checked to be JSON: whoever parses it will find out.
    pub async fn call(&self, method: &str, args: &str) -> Result<Bytes, ClientError> {
        self.exchange(|id| rpc::call(id, method, args.as_bytes()))
            .await
    }

    /// The methods that the daemon exposes: the JSON text of an object by name.
    pub async fn methods(&self) -> Result<Bytes, ClientError> {
        self.exchange(rpc::methods_request).await
    }

    /// Sends the call at once if there is a connection, from any thread, and has `on_reply` called when its end is known, on the
    /// runtime's thread. Gives `on_reply` back, unused, when there is none.
    ///
    /// Of a long list `on_piece` gets most elements while the others are still on their way; the reply is without those then.
    pub fn call_now(
        &self,
        method: &str,
        args: &str,
        on_reply: OnReply,
        on_piece: Option<OnPiece>,
    ) -> Result<(), OnReply> {
        let Some(connection) = self.current() else {
            return Err(on_reply);
        };
        let id = self.next_id();
        let frame = rpc::call(&id, method, args.as_bytes());
        let waiting = Waiting { on_reply, on_piece };
        connection
            .send(id, &frame, waiting)
            .map_err(|Unsent(waiting)| waiting.on_reply)
    }

    /// Listens to the bus, starting a daemon if none answers.
    pub async fn subscribe(&self) -> Result<Subscription, ClientError> {
        self.attach().await?;
        match self.open(&self.0.home.bus).await? {
            Some(socket) => Ok(Subscription::new(socket)),
            None => Err(ClientError::Connect {
                address: self.0.home.bus.to_string(),
                source: io::ErrorKind::ConnectionRefused.into(),
            }),
        }
    }

    /// Ends every process and the daemon, and waits until both are gone. Succeeds when there is no daemon.
    pub async fn kill(&self) -> Result<(), ClientError> {
        kill::kill(self).await
    }

    /// Has this client's executable take over from the daemon that runs, with this client's environment. No app ends or is
    /// restarted. If the executable does not come up, the old one goes on and the error says why.
    ///
    /// A daemon of pm2's own is ended with everything that it runs, and a new one started: `is_new_daemon` says so.
    pub async fn update(&self) -> Result<Attached, ClientError> {
        update::update(self).await
    }

    /// Listens to the bus again after it was closed; `None` if there is no daemon any more. Starts none.
    pub async fn resubscribe(&self) -> Result<Option<Subscription>, ClientError> {
        let socket = self.open(&self.0.home.bus).await?;
        Ok(socket.map(Subscription::new))
    }

    /// Closes the connection; what is outstanding fails with [`ClientError::Closed`]. The next call connects anew.
    pub fn disconnect(&self) {
        if let Some(connection) = locked(&self.0.connection).take() {
            connection.close();
        }
    }

    async fn exchange(&self, encode: impl Fn(&RequestId) -> Bytes) -> Result<Bytes, ClientError> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = Waiting::for_all(Box::new(move |reply| {
            // Whoever dropped the call does not want the reply.
            let _ = sender.send(reply);
        }));
        for _ in 0..SEND_ATTEMPTS_MAX {
            let (connection, _) = self.attach().await?;
            let id = self.next_id();
            match connection.send(id.clone(), &encode(&id), waiting) {
                Ok(()) => return receiver.await.unwrap_or(Err(ClientError::Lost)),
                Err(Unsent(unused)) => waiting = unused,
            }
        }
        Err(ClientError::Lost)
    }

    /// The connection, made now if need be.
    async fn attach(&self) -> Result<(Arc<Connection>, Attached), ClientError> {
        // Whoever waits here already goes first, which keeps calls in order.
        let _turn = self.0.connecting.lock().await;
        if let Some(connection) = self.current() {
            return Ok((
                connection,
                Attached {
                    is_new_daemon: false,
                },
            ));
        }
        let (socket, is_new_daemon) = match self.open(&self.0.home.rpc).await? {
            Some(socket) => (socket, false),
            None => launch::launch(self).await?,
        };
        let connection = Connection::start(socket);
        *locked(&self.0.connection) = Some(Arc::clone(&connection));
        Ok((connection, Attached { is_new_daemon }))
    }

    /// Connects to a socket; `None` when nobody is there.
    async fn open(&self, address: &Address) -> Result<Option<Socket>, ClientError> {
        match tokio::time::timeout(BUSY_LIMIT, Socket::connect(address)).await {
            Ok(Ok(socket)) => Ok(Some(socket)),
            Ok(Err(error)) if is_absence(&error) => Ok(None),
            Ok(Err(source)) => Err(ClientError::connect(address, source)),
            Err(_) => Err(ClientError::connect(
                address,
                io::ErrorKind::TimedOut.into(),
            )),
        }
    }

    fn current(&self) -> Option<Arc<Connection>> {
        locked(&self.0.connection)
            .as_ref()
            .filter(|connection| connection.is_open())
            .cloned()
    }

    fn next_id(&self) -> RequestId {
        RequestId::new(
            &self.0.identity,
            self.0.next_id.fetch_add(1, Ordering::Relaxed),
        )
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(connection) = locked(&self.connection).take() {
            connection.close();
        }
    }
}

impl actions::Rpc for Client {
    async fn call(&self, method: &str, args: &str) -> Result<String, actions::ActionError> {
        let reply = Client::call(self, method, args)
            .await
            .map_err(|error| error.to_action_error())?;
        String::from_utf8(reply.into())
            .map_err(|error| actions::ActionError::new(error.to_string()))
    }
}

/// Whether a failed connect means that nobody serves there, as against something in the way of talking to them.
fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset
    )
}

/// A panic of another thread leaves nothing half done in what these mutexes guard.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
