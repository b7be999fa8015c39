//! The daemon's end of the socket to the keeper.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::Ready;
use tokio::io::unix::AsyncFd;

use super::shared::watch;
use crate::keeper::proto::{Channel, ProtoError, Received, Report, Request};

/// Why the keeper cannot be talked to any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// It has gone.
    #[error("talk to the keeper: it has gone")]
    Closed,
    /// The socket or what came over it.
    #[error(transparent)]
    Proto(#[from] ProtoError),
    /// The socket cannot be waited for.
    #[error("wait for the keeper")]
    Wait(#[from] io::Error),
}

/// Requests go out at once or are kept until they can; reports are waited for.
#[derive(Debug)]
pub(crate) struct Link {
    channel: AsyncFd<Channel>,
}

impl Link {
    /// Takes over the socket the keeper gave us.
    pub(crate) fn new(socket: OwnedFd) -> Result<Self, LinkError> {
        let channel = Channel::new(socket)?;
        Ok(Self {
            channel: watch(channel, Interest::READABLE | Interest::WRITABLE)?,
        })
    }

    /// Sends without waiting. A lost keeper shows in `receive`, so only a request that can never be sent is an error.
    pub(crate) fn send(&mut self, request: Request) -> Result<(), ProtoError> {
        self.channel.get_mut().send(request)
    }

    /// Whether the socket has taken everything.
    pub(crate) fn is_flushed(&self) -> bool {
        self.channel.get_ref().unsent_bytes() == 0
    }

    /// Appends what the keeper reports to `reports`, at least once awake. Cancel-safe: it waits before it takes anything.
    pub(crate) async fn receive(
        &mut self,
        reports: &mut VecDeque<Report>,
    ) -> Result<(), LinkError> {
        let interest = if self.channel.get_ref().unsent_bytes() > 0 {
            Interest::READABLE | Interest::WRITABLE
        } else {
            Interest::READABLE
        };
        let mut guard = self.channel.ready_mut(interest).await?;
        if guard.ready().is_writable() && !guard.get_inner_mut().flush()? {
            guard.clear_ready_matching(Ready::WRITABLE);
        }
        if guard.ready().is_readable() || guard.ready().is_read_closed() {
            loop {
                match guard.get_inner_mut().receive()? {
                    Received::Message(report) => reports.push_back(report),
                    Received::Nothing => {
                        guard.clear_ready_matching(Ready::READABLE);
                        break;
                    }
                    // What came before the end is handed in first; the end is met again.
                    Received::Closed if reports.is_empty() => return Err(LinkError::Closed),
                    Received::Closed => break,
                }
            }
        }
        Ok(())
    }

    /// Waits until everything has been sent.
    pub(crate) async fn flush(&mut self) -> Result<(), LinkError> {
        loop {
            if self.channel.get_mut().flush()? {
                return Ok(());
            }
            let mut guard = self.channel.writable_mut().await?;
            guard.clear_ready();
        }
    }
}
