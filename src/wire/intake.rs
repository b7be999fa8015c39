//! The bytes of a stream that were received and not yet taken as a message.

use bytes::{Bytes, BytesMut};

/// How many bytes may have been taken from one allocation before what is left is moved to a fresh one.
///
/// A message is a slice of the allocation it arrived in, and so is the rest that stays here. Below this size that sharing is worth
/// more than the memory it holds; above it the rest of a huge message must not keep the whole alive.
const SHARED_BYTES_MAX: usize = 16 * 1024;

/// Received bytes, in order. Messages are cut off its front without copying.
#[derive(Debug, Default)]
pub(super) struct Intake {
    bytes: BytesMut,
    /// Bytes cut off since the present allocation began, which it may still hold.
    taken: usize,
}

impl Intake {
    /// Everything that was received and not taken.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds what was read. This is the only copy on the way in.
    pub(super) fn push(&mut self, received: &[u8]) {
        self.bytes.extend_from_slice(received);
    }

    /// Cuts the first `length` bytes off; all of them if there are fewer.
    pub(super) fn take(&mut self, length: usize) -> Bytes {
        let length = length.min(self.bytes.len());
        self.taken += length;
        self.bytes.split_to(length).freeze()
    }

    /// Gives memory back. To be called when what is left holds no complete message.
    ///
    /// What is left is then the beginning of one message, so however the bytes arrive, each of them is moved here once at most.
    pub(super) fn settle(&mut self) {
        if self.bytes.is_empty() {
            self.clear();
        } else if self.taken > SHARED_BYTES_MAX {
            self.bytes = BytesMut::from(&self.bytes[..]);
            self.taken = 0;
        }
    }

    /// Forgets everything and holds no memory any more.
    pub(super) fn clear(&mut self) {
        self.bytes = BytesMut::new();
        self.taken = 0;
    }
}
