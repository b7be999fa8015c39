//! What a run's task hears from its app on the channel, and what it sends.

use std::os::fd::AsFd as _;

use tokio::io::Interest;

use super::child::{ChildReport, Read, Run};
use super::readiness::{is_passing, read_now};
use super::scratch::Source;
use crate::host::handles;
use crate::model::{AppMessage, JsonText};
use crate::wire::ipc;

impl Run {
    pub(super) async fn read_ipc(&mut self, reads: usize) -> Read {
        for _ in 0..reads {
            let is_last_look = self.is_last_look();
            let Some(open) = &self.ipc else {
                return Read::Closed;
            };
            let (read, kept) = {
                let mut scratch = self.shared.output.borrow_mut();
                let mut inbox = self.state.inbox.borrow_mut();
                let handles = &mut self.handles;
                let read = read_now(open, is_last_look, |fd| {
                    let bytes = scratch.begin(self.id, Source::Ipc, inbox.end());
                    handles::receive_with_fds(fd.as_fd(), bytes, handles)
                });
                let bytes = scratch.read(*read.as_ref().unwrap_or(&0));
                let kept = if bytes.is_empty() {
                    Ok(())
                } else {
                    inbox.keep(bytes)
                };
                self.decoder.push(bytes);
                scratch.done(*read.as_ref().unwrap_or(&0));
                (read, kept)
            };
            if let Err(error) = kept {
                self.complain(format!("cannot keep its messages: {error}"))
                    .await;
            }
            match read {
                Ok(0) => {
                    self.close_ipc();
                    if !self.is_ending {
                        let report = ChildReport::Disconnected(self.id);
                        let _unheard = self.reports.send(report).await;
                    }
                    return Read::Closed;
                }
                Ok(_) => self.take_lines().await,
                Err(error) if is_passing(&error) => return Read::Empty,
                Err(error) => {
                    self.complain(format!("lost the IPC channel: {error}"))
                        .await;
                    self.close_ipc();
                    return Read::Closed;
                }
            }
        }
        Read::More
    }

    pub(super) fn close_ipc(&mut self) {
        self.ipc = None;
        self.state.to_ipc.borrow_mut().close();
    }

    /// Hands on the lines that are there.
    pub(super) async fn take_lines(&mut self) {
        while let Some(line) = self.decoder.next() {
            let upto = self.taken();
            match line {
                Ok(ipc::Line::Message(message)) => {
                    // The text was checked by the decoder.
                    if let Some(message) = AppMessage::parse(message.text.as_str()) {
                        self.state.inbox.borrow_mut().report(upto);
                        let report = ChildReport::Message(self.id, message, upto);
                        let _unheard = self.reports.send(report).await;
                    }
                }
                Ok(ipc::Line::Handle(_)) => {
                    // Fork-mode apps have nobody here to give a descriptor to, but unanswered they could not send anything more.
                    let answer = if self.handles.is_empty() {
                        ipc::HANDLE_NACK
                    } else {
                        drop(self.handles.remove(0));
                        ipc::HANDLE_ACK
                    };
                    // A full queue means that the app does not read answers either.
                    let _full = self.state.to_ipc.borrow_mut().push(answer.to_vec());
                    let report = ChildReport::Spooled(self.id);
                    let _unheard = self.reports.send(report).await;
                }
                Ok(ipc::Line::Cluster(line) | ipc::Line::Internal(line)) => {
                    let line = JsonText::from_valid(line.as_str().to_owned());
                    self.state.inbox.borrow_mut().report(upto);
                    let report = ChildReport::Internal(self.id, line, upto);
                    let _unheard = self.reports.send(report).await;
                }
                Ok(ipc::Line::HandleAck | ipc::Line::HandleNack) => {}
                Err(error) => self.complain(format!("skipped a message: {error}")).await,
            }
        }
        let upto = self.taken();
        self.state.inbox.borrow_mut().settle(upto);
    }

    /// Where in the stream the last line ends that was taken.
    fn taken(&self) -> u64 {
        self.state.inbox.borrow().end() - self.decoder.waiting_bytes() as u64
    }

    async fn complain(&self, text: String) {
        let _unheard = self
            .reports
            .send(ChildReport::Complaint(self.id, text))
            .await;
    }

    /// Sends what waits, as far as the app's ends take it.
    pub(super) fn write_outgoing(&mut self) {
        let ends = [
            (&self.ipc, &self.state.to_ipc),
            (&self.stdin, &self.state.to_stdin),
        ];
        for (end, outgoing) in ends {
            let Some(end) = end else { continue };
            if !outgoing.borrow().is_sendable() {
                continue;
            }
            let sent = end.try_io(Interest::WRITABLE, |_| outgoing.borrow_mut().flush());
            if sent.is_err_and(|error| !is_passing(&error)) {
                // The app closed its end. What it wrote before is still read.
                outgoing.borrow_mut().close();
            }
        }
    }
}
