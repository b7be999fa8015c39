//! The background thread: takes requests and carries each out in a task of its own.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use pm2::client::{Client, ClientConfig, ClientError, LaunchSettings};
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
    running: Option<mpsc::Sender<(Request, Answer)>>,
    /// Calls that the thread has taken on and not sent yet. A call may not pass them.
    queued: Arc<AtomicUsize>,
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
        if self.running.is_none() {
            self.running = Some(start(client.clone(), Arc::clone(&self.queued))?);
        }
        if request.is_call() {
            self.queued.fetch_add(1, Ordering::AcqRel);
        }
        if let Some(Err(refused)) = self
            .running
            .as_ref()
            .map(|running| running.try_send((request, answer)))
        {
            let (request, answer) = refused.into_inner();
            if request.is_call() {
                self.queued.fetch_sub(1, Ordering::AcqRel);
            }
            answer.failure(ClientError::Overloaded.to_json());
        }
        Ok(())
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

/// Starts the thread; it ends when the sender is dropped.
fn start(
    client: Client,
    queued: Arc<AtomicUsize>,
) -> std::io::Result<mpsc::Sender<(Request, Answer)>> {
    // Here, on JavaScript's thread, nobody else changes the environment meanwhile.
    client.set_launch(LaunchSettings {
        env: std::env::vars_os().collect(),
        is_tied: false,
    });
    let (sender, receiver) = mpsc::channel(REQUESTS_MAX);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    thread::Builder::new()
        .name("pm2".to_owned())
        .spawn(move || {
            let desk = Rc::new(Desk::new(client, queued));
            LocalSet::new().block_on(&runtime, serve(desk, receiver));
        })?;
    Ok(sender)
}

async fn serve(desk: Rc<Desk>, mut requests: mpsc::Receiver<(Request, Answer)>) {
    while let Some((request, answer)) = requests.recv().await {
        // Owned by the local set, which ends with this function. A task that panics drops its answer, which gives it.
        tokio::task::spawn_local(operation::perform(Rc::clone(&desk), request, answer));
    }
}
