//! One connection to the bus: events in, nothing out.

use bytes::Bytes;
use tokio::io::Interest;

use super::connection::READ_BYTES;
use super::error::ClientError;
use super::socket::Socket;
use crate::wire::amp::{Decoder, Frame};
use crate::wire::arg::Arg;

/// The largest event that is accepted. An app's message is one line of JSON; nobody should send more than this in one.
const MAX_EVENT_BYTES: usize = 64 * 1024 * 1024;

/// One event as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusMessage {
    /// What listeners choose by; JSON text if an app sent a name that is none.
    pub name: String,
    /// The JSON text of what was published. Not checked: whoever parses it will find out.
    pub payload: Bytes,
}

/// Everything a daemon publishes, from the moment of subscribing.
///
/// What is not taken stays with the daemon, which drops the oldest at its own limit and says how many (`pm2:dropped`).
#[derive(Debug)]
pub struct Subscription {
    socket: Socket,
    decoder: Decoder,
    buffer: Vec<u8>,
}

impl Subscription {
    pub(super) fn new(socket: Socket) -> Self {
        Self {
            socket,
            decoder: Decoder::new(MAX_EVENT_BYTES),
            buffer: vec![0; READ_BYTES],
        }
    }

    /// The next event; `None` when the daemon has closed the bus. Loses nothing when dropped before it is ready.
    pub async fn next(&mut self) -> Result<Option<BusMessage>, ClientError> {
        loop {
            let frame = self.decoder.next().map_err(|error| ClientError::Garbled {
                reason: error.to_string(),
            })?;
            if let Some(frame) = frame {
                return Ok(Some(read(&frame)));
            }
            self.socket
                .ready(Interest::READABLE)
                .await
                .map_err(|_| ClientError::Lost)?;
            match self.socket.try_read(&mut self.buffer) {
                Ok(0) => return Ok(None),
                Ok(read) => self.decoder.push(&self.buffer[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(ClientError::Lost),
            }
        }
    }
}

fn read(frame: &Frame) -> BusMessage {
    let name = match Arg::decode(frame.args()[0].clone()) {
        Arg::Text(name) => name,
        Arg::Json(text) | Arg::Raw(text) => String::from_utf8_lossy(&text).into_owned(),
    };
    let payload = match frame.args().get(1).cloned().map(Arg::decode) {
        Some(Arg::Json(text)) => text,
        Some(other) => other
            .json()
            .map_or(Bytes::from_static(b"null"), |json| json.as_shared().clone()),
        None => Bytes::from_static(b"null"),
    };
    BusMessage { name, payload }
}
