//! What JavaScript can ask for.

use std::cell::RefCell;
use std::ffi::OsString;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pm2::client::actions::{self, ActionError};
use pm2::client::startup::{self, Verb};
use pm2::client::{Client, ClientError, LaunchSettings, Subscription};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use crate::outbox::{Answer, Outbox};

/// The most events that JavaScript has not seen yet. Beyond it the bus is not read, and the daemon drops what is oldest.
const EVENTS_MAX: usize = 1024;

/// Two attempts to hear the bus are at least this far apart.
const RESUBSCRIBE_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

/// The value of what has none.
const NOTHING: &str = "null";

/// One thing asked for.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) op: String,
    /// Method or action.
    pub(crate) name: String,
    /// JSON text.
    pub(crate) payload: String,
}

impl Request {
    /// Whether this is one call to the daemon and nothing more.
    pub(crate) fn is_call(&self) -> bool {
        self.op == "call"
    }
}

/// What the thread works with.
#[derive(Debug)]
pub(crate) struct Desk {
    client: Client,
    queued: Arc<AtomicUsize>,
    /// The task that reads the bus, while there is one.
    bus: RefCell<Option<AbortHandle>>,
}

/// The payload of `connect`.
#[derive(Deserialize)]
struct Connect {
    #[serde(default = "yes")]
    daemon: bool,
    #[serde(default)]
    env: std::collections::HashMap<String, String>,
}

impl Desk {
    pub(crate) fn new(client: Client, queued: Arc<AtomicUsize>) -> Self {
        Self {
            client,
            queued,
            bus: RefCell::default(),
        }
    }

    fn unsubscribe(&self) {
        if let Some(bus) = self.bus.take() {
            bus.abort();
        }
    }

    async fn update(&self, payload: &str) -> Result<String, Failure> {
        settle_launch(&self.client, payload)?;
        let attached = self.client.update().await?;
        Ok(meta(&self.client, attached.is_new_daemon))
    }

    async fn connect(&self, payload: &str) -> Result<String, Failure> {
        settle_launch(&self.client, payload)?;
        let attached = self.client.connect().await?;
        Ok(meta(&self.client, attached.is_new_daemon))
    }

    async fn subscribe(self: &Rc<Self>, outbox: Outbox) -> Result<String, Failure> {
        if self.bus.borrow().is_some() {
            return Ok(NOTHING.to_owned());
        }
        let subscription = self.client.subscribe().await?;
        // Another request may have been faster.
        if self.bus.borrow().is_none() {
            let desk = Rc::downgrade(self);
            let client = self.client.clone();
            let task = tokio::task::spawn_local(async move {
                let mut subscription = subscription;
                loop {
                    let since = tokio::time::Instant::now();
                    forward(subscription, &outbox).await;
                    // One that closes at once would otherwise be asked again and again.
                    tokio::time::sleep_until(since + RESUBSCRIBE_PAUSE).await;
                    // A daemon that died is followed by another, at whose socket we wait until it serves.
                    match client.resubscribe().await {
                        Ok(Some(again)) => subscription = again,
                        Ok(None) | Err(_) => break,
                    }
                }
                if let Some(desk) = desk.upgrade() {
                    desk.bus.take();
                }
                outbox.bus_closed();
            });
            *self.bus.borrow_mut() = Some(task.abort_handle());
        }
        Ok(NOTHING.to_owned())
    }
}

/// Sends a call from JavaScript's thread, or gives the answer back if there is no connection any more.
pub(crate) fn call_now(client: &Client, request: &Request, answer: Answer) -> Result<(), Answer> {
    let on_piece = answer.pieces();
    // The client gives back what it cannot use, but as a closure; the answer has to be got out of it.
    let slot = Arc::new(Mutex::new(Some(answer)));
    let take =
        |slot: &Mutex<Option<Answer>>| slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    let answers = Arc::clone(&slot);
    let on_reply = Box::new(move |reply| {
        if let Some(answer) = take(&answers) {
            answer.result(reply);
        }
    });
    match client.call_now(&request.name, &request.payload, on_reply, Some(on_piece)) {
        Ok(()) => Ok(()),
        Err(_) => take(&slot).map_or(Ok(()), Err),
    }
}

/// Connects here and now if a daemon serves already; what `connect` says then.
pub(crate) fn attach(client: &Client) -> Option<String> {
    client.attach_now().then(|| meta(client, false))
}

/// Takes over what a daemon that is launched, or that takes over, gets from the caller.
fn settle_launch(client: &Client, payload: &str) -> Result<(), Failure> {
    let Connect { daemon, env } = serde_json::from_str(payload).map_err(Failure::bad_payload)?;
    let env = env
        .into_iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    client.set_launch(LaunchSettings {
        env: env.collect(),
        is_tied: !daemon,
        manager: None,
    });
    Ok(())
}

/// What `connect` says.
fn meta(client: &Client, is_new_daemon: bool) -> String {
    let home = client.home();
    json!({
        "new_pm2_instance": is_new_daemon,
        "rpc_socket_file": home.rpc.to_string(),
        "pub_socket_file": home.bus.to_string(),
        "pm2_home": home.root,
    })
    .to_string()
}

/// Carries a request out and gives its answer.
pub(crate) async fn perform(desk: Rc<Desk>, request: Request, answer: Answer) {
    let client = &desk.client;
    let result = match request.op.as_str() {
        "call" => return call(&desk, request, answer).await,
        "methods" => return answer.result(client.methods().await),
        "connect" => desk.connect(&request.payload).await,
        "action" => {
            let value = actions::run(client, &request.name, &request.payload).await;
            value.map_err(|error| Failure(error.to_json()))
        }
        "subscribe" => desk.subscribe(answer.outbox()).await,
        "unsubscribe" => {
            desk.unsubscribe();
            Ok(NOTHING.to_owned())
        }
        "kill" => client
            .kill()
            .await
            .map(|()| r#"{"success":true}"#.to_owned())
            .map_err(Failure::from),
        "update" => desk.update(&request.payload).await,
        "startup" | "unstartup" => startup(client, &request).await,
        "ping" => Ok(client.ping().await.to_string()),
        "disconnect" => {
            desk.unsubscribe();
            client.disconnect();
            Ok(NOTHING.to_owned())
        }
        unknown => Err(Failure(
            json!({ "message": format!("unknown operation {unknown}") }).to_string(),
        )),
    };
    match result {
        Ok(value) => answer.value(value),
        Err(Failure(error)) => answer.failure(error),
    }
}

/// Makes or removes the service that brings everything back at boot. Its commands are waited for elsewhere.
async fn startup(client: &Client, request: &Request) -> Result<String, Failure> {
    let verb = match request.op.as_str() {
        "startup" => Verb::Startup,
        _ => Verb::Unstartup,
    };
    let (client, payload) = (client.clone(), request.payload.clone());
    let work = move || startup::run(&client, verb, &payload);
    let done = tokio::task::spawn_blocking(work).await;
    let made =
        done.map_err(|panic| Failure(json!({ "message": panic.to_string() }).to_string()))?;
    let made = made.map_err(|error| Failure(ActionError::from(error).to_json()))?;
    Ok(made.to_json(verb))
}

/// A call that came while there was no connection: connects, then sends it before any that come later.
async fn call(desk: &Desk, request: Request, answer: Answer) {
    let client = &desk.client;
    let connected = client.connect().await;
    let sent = match connected {
        Ok(_) => call_now(client, &request, answer),
        Err(error) => {
            answer.failure(error.to_json());
            Ok(())
        }
    };
    desk.queued.fetch_sub(1, Ordering::AcqRel);
    if let Err(answer) = sent {
        answer.result(client.call(&request.name, &request.payload).await);
    }
}

/// Hands events to JavaScript as fast as it takes them, until the bus ends.
async fn forward(mut subscription: Subscription, outbox: &Outbox) {
    let room = Arc::new(Semaphore::new(EVENTS_MAX));
    while let Ok(permit) = Arc::clone(&room).acquire_owned().await {
        match subscription.next().await {
            Ok(Some(event)) => outbox.event(event, permit),
            Ok(None) | Err(_) => return,
        }
    }
}

/// The JSON text of an error.
struct Failure(String);

impl Failure {
    #[expect(clippy::needless_pass_by_value, reason = "fits map_err")]
    fn bad_payload(error: serde_json::Error) -> Self {
        Self(json!({ "message": format!("bad payload: {error}") }).to_string())
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self(error.to_json())
    }
}

fn yes() -> bool {
    true
}
