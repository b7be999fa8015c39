//! The client against a pretend daemon that answers, or misbehaves, as each test wants.

mod calls;
mod endings;
mod starting;

use std::future::Future;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::{Client, ClientConfig};
use crate::wire::amp::{Decoder, MAX_FRAME};
use crate::wire::arg::Arg;
use crate::wire::axon::{Request, RequestId};

/// Runs a test on the runtime that the client is made for.
fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test)
}

/// A home in which the test plays the daemon.
struct Stage {
    home: TempDir,
    client: Client,
}

impl Stage {
    /// `executable` is what the client would start as a daemon.
    fn with_executable(executable: &str) -> Self {
        let home = tempfile::Builder::new().prefix("pm2").tempdir().unwrap();
        let client = Client::new(ClientConfig {
            home: home.path().to_path_buf(),
            executable: Some(PathBuf::from(executable)),
            ..ClientConfig::default()
        });
        Self {
            client: client.unwrap(),
            home,
        }
    }

    /// No daemon can be started here: a test that gets as far as trying fails.
    fn new() -> Self {
        Self::with_executable("/nonexistent")
    }

    fn path(&self) -> &Path {
        self.home.path()
    }

    fn listen(&self) -> UnixListener {
        listen(&self.path().join("rpc.sock"))
    }

    /// Connects the client to a daemon that the test plays.
    async fn connect(&self) -> Peer {
        let listener = self.listen();
        let (connected, peer) = tokio::join!(self.client.connect(), Peer::accept(&listener));
        connected.unwrap();
        peer
    }
}

/// Serves a path, whatever was there before.
fn listen(path: &Path) -> UnixListener {
    let _missing = std::fs::remove_file(path);
    UnixListener::bind(path).unwrap()
}

/// One connection as the pretend daemon sees it.
struct Peer {
    stream: UnixStream,
    decoder: Decoder,
}

impl Peer {
    async fn accept(listener: &UnixListener) -> Self {
        let (stream, _) = listener.accept().await.unwrap();
        Self {
            stream,
            decoder: Decoder::new(MAX_FRAME),
        }
    }

    /// The next request: its JSON text and its id. `None` when the client has hung up.
    async fn request(&mut self) -> Option<(String, RequestId)> {
        loop {
            if let Some(frame) = self.decoder.next().unwrap() {
                let Request { message, id, .. } = frame.into();
                let Arg::Json(text) = message else {
                    panic!("a request is JSON")
                };
                return Some((String::from_utf8(text.into()).unwrap(), id.unwrap()));
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(read) => self.decoder.push(&buffer[..read]),
            }
        }
    }

    async fn id(&mut self) -> RequestId {
        self.request().await.unwrap().1
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }
}

/// A reply frame with this message, which need not make sense.
fn frame(id: &RequestId, message: &[u8]) -> Vec<u8> {
    crate::wire::amp::encode(&[&[b"j:", message].concat(), id.as_bytes()]).to_vec()
}
