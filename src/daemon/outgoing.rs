//! What is on its way to an app, over its channel or its stdin.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// What may wait for an app that does not read its channel, or its stdin.
const OUTGOING_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Why an app cannot be sent anything more.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OutgoingError {
    /// Too much of what it was sent before is still waiting.
    #[error("the process does not read what it is sent")]
    Full,
    /// It closed its end, as `process.disconnect()` does.
    #[error("the process has closed its channel")]
    Closed,
}

/// Bytes on their way to an app. The first entry may have been sent in part.
#[derive(Default)]
pub(crate) struct Outgoing {
    parts: VecDeque<Part>,
    sent_of_first: usize,
    bytes: usize,
    is_closed: bool,
}

/// Some bytes, and the descriptor that goes with the first of them.
struct Part {
    bytes: Vec<u8>,
    fd: Option<OwnedFd>,
}

impl Outgoing {
    /// Queues a part behind the others.
    pub(crate) fn push(&mut self, part: Vec<u8>) -> Result<(), OutgoingError> {
        self.push_with(part, None)
    }

    /// The same with a descriptor.
    pub(crate) fn push_with(
        &mut self,
        bytes: Vec<u8>,
        fd: Option<OwnedFd>,
    ) -> Result<(), OutgoingError> {
        if self.is_closed {
            return Err(OutgoingError::Closed);
        }
        // One message of any size may wait alone, or it could never be sent.
        if self.bytes > 0 && self.bytes + bytes.len() > OUTGOING_BYTES_MAX {
            return Err(OutgoingError::Full);
        }
        self.bytes += bytes.len();
        self.parts.push_back(Part { bytes, fd });
        Ok(())
    }

    /// Drops what waits, and takes nothing more.
    pub(crate) fn close(&mut self) {
        *self = Self {
            is_closed: true,
            ..Self::default()
        };
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Hands what waits to `write`, which says how much it took, until it fails or nothing is left.
    pub(crate) fn write_with(
        &mut self,
        write: impl Fn(&[u8], &[BorrowedFd<'_>]) -> io::Result<usize>,
    ) -> io::Result<()> {
        while let Some(Part { bytes, fd }) = self.parts.front_mut() {
            let with: Vec<BorrowedFd<'_>> = fd.iter().map(OwnedFd::as_fd).collect();
            self.sent_of_first += write(&bytes[self.sent_of_first..], &with)?;
            // It went with the first byte; sent again it would be a second one.
            *fd = None;
            if self.sent_of_first == bytes.len() {
                self.bytes -= bytes.len();
                self.sent_of_first = 0;
                self.parts.pop_front();
            }
        }
        self.parts = VecDeque::new();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Protects: a torn line is fatal to a Node child, so what is left of one goes on where it stopped.
    #[test]
    fn a_partial_write_goes_on_where_it_stopped() {
        let mut outgoing = Outgoing::default();
        outgoing.push(b"hello\n".to_vec()).unwrap();
        outgoing.push(b"you\n".to_vec()).unwrap();
        let got = std::cell::RefCell::new(Vec::new());
        let take = |bytes: &[u8], _: &[BorrowedFd<'_>]| {
            if got.borrow().len() == 3 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            got.borrow_mut().extend_from_slice(&bytes[..3]);
            Ok(3)
        };
        assert!(outgoing.write_with(take).is_err());
        let rest = |bytes: &[u8], _: &[BorrowedFd<'_>]| {
            got.borrow_mut().extend_from_slice(bytes);
            Ok(bytes.len())
        };
        outgoing.write_with(rest).unwrap();
        assert_eq!(*got.borrow(), b"hello\nyou\n");
        assert!(outgoing.is_empty());
    }

    // Protects: an app that does not read costs a bounded amount, and one message of any size can be sent.
    #[test]
    fn a_full_queue_is_an_error() {
        let mut outgoing = Outgoing::default();
        outgoing.push(vec![0; OUTGOING_BYTES_MAX + 1]).unwrap();
        assert_eq!(outgoing.push(vec![0]), Err(OutgoingError::Full));
        outgoing.close();
        assert_eq!(outgoing.push(vec![0]), Err(OutgoingError::Closed));
    }
}
