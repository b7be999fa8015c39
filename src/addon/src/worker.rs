//! The background thread: takes requests and carries each out in a task of its own.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use pm2::client::{Client, ClientConfig, ClientError, LaunchSettings};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::operation::{self, Desk, Request};
use crate::outbox::{Answer, Outbox};

/// The most requests that wait for the thread to take them. It takes one in microseconds; beyond this a request fails.
const REQUESTS_MAX: usize = 65_536;

/// The thread behind one connection, and the means to do without it where it would only cost time.
#[derive(Debug)]
pub(crate) struct Worker {
    client: Result<Client, ClientError>,
    running: Option<Running>,
    /// Calls that the thread has taken on and not sent yet. A call may not pass them.
    queued: Arc<AtomicUsize>,
}

/// The thread while it runs.
#[derive(Debug)]
struct Running {
    requests: mpsc::Sender<(Request, Answer)>,
    runtime: Handle,
}

impl Worker {
    /// A worker whose thread does not run yet. A home that cannot be used shows in the answers, where an error can be handled.
    pub(crate) fn new(config: ClientConfig) -> Self {
        Self {
            client: Client::new(config),
            running: None,
            queued: Arc::default(),
        }
    }

    /// Has a request carried out. Fails only if there can be no thread.
    pub(crate) fn send(
        &mut self,
        outbox: &Outbox,
        id: i32,
        request: Request,
    ) -> std::io::Result<()> {
        let answer = outbox.answer(id);
        let client = match &self.client {
            Ok(client) => client,
            Err(error) => {
                answer.failure(error.to_json());
                return Ok(());
            }
        };
        let answer = match self.call_now(client, &request, answer) {
            Ok(()) => return Ok(()),
            Err(answer) => answer,
        };
        let running = running(&mut self.running, client, &self.queued)?;
        if request.is_call() {
            self.queued.fetch_add(1, Ordering::AcqRel);
        }
        if let Err(refused) = running.requests.try_send((request, answer)) {
            let (request, answer) = refused.into_inner();
            if request.is_call() {
                self.queued.fetch_sub(1, Ordering::AcqRel);
            }
            answer.failure(ClientError::Overloaded.to_json());
        }
        Ok(())
    }

    /// Connects here and now if a daemon serves already; what `connect` says then.
    pub(crate) fn attach(&mut self) -> std::io::Result<Option<String>> {
        let Ok(client) = &self.client else {
            return Ok(None);
        };
        let running = running(&mut self.running, client, &self.queued)?;
        let _entered = running.runtime.enter();
        Ok(operation::attach(client))
    }

    /// Ends the thread once it has noticed; the answers it owes are given as errors then.
    pub(crate) fn close(&mut self) {
        self.running = None;
        self.queued = Arc::default();
        if let Ok(client) = &self.client {
            client.disconnect();
        }
    }

    /// Writes a call to the socket here and now, which saves waking the thread. Gives the answer back when that cannot be done.
    fn call_now(&self, client: &Client, request: &Request, answer: Answer) -> Result<(), Answer> {
        if !request.is_call() || self.queued.load(Ordering::Acquire) > 0 || !client.is_connected() {
            return Err(answer);
        }
        operation::call_now(client, request, answer)
    }
}

/// The thread, started now if need be.
fn running<'a>(
    slot: &'a mut Option<Running>,
    client: &Client,
    queued: &Arc<AtomicUsize>,
) -> std::io::Result<&'a Running> {
    match slot {
        Some(running) => Ok(running),
        None => Ok(slot.insert(start(client.clone(), Arc::clone(queued))?)),
    }
}

/// Starts the thread; it ends when the sender is dropped.
fn start(client: Client, queued: Arc<AtomicUsize>) -> std::io::Result<Running> {
    // Here, on JavaScript's thread, nobody else changes the environment meanwhile.
    client.set_launch(LaunchSettings {
        env: std::env::vars_os().collect(),
        is_tied: false,
        manager: None,
    });
    let (sender, receiver) = mpsc::channel(REQUESTS_MAX);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new()
        .name("pm2".to_owned())
        .spawn(move || {
            let desk = Rc::new(Desk::new(client, queued));
            LocalSet::new().block_on(&runtime, serve(desk, receiver));
        })?;
    Ok(Running {
        requests: sender,
        runtime: handle,
    })
}

async fn serve(desk: Rc<Desk>, mut requests: mpsc::Receiver<(Request, Answer)>) {
    while let Some((request, answer)) = requests.recv().await {
        // Owned by the local set, which ends with this function. A task that panics drops its answer, which gives it.
        tokio::task::spawn_local(operation::perform(Rc::clone(&desk), request, answer));
    }
}
