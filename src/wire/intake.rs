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

    /// Adds a copy of what was read.
    pub(super) fn push(&mut self, received: &[u8]) {
        self.bytes.extend_from_slice(received);
    }

    /// Where to append what is read: room for the `expected` rest of a message, else for at least `least` bytes. What has to grow at
    /// least doubles, so that a large message is moved a few times only.
    pub(super) fn room(&mut self, least: usize, expected: usize) -> &mut BytesMut {
        let free = self.bytes.capacity() - self.bytes.len();
        let is_enough = expected > 0 && free >= expected;
        if !is_enough && free < least {
            let growth = if expected > 0 {
                expected
            } else {
                self.bytes.len()
            };
            self.bytes.reserve(growth.max(least));
        }
        &mut self.bytes
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

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_small_messages_stays_where_it_is() {
        let mut intake = Intake::default();
        intake.push(b"onetwo");
        let one = intake.take(3);
        let before = intake.bytes().as_ptr();
        intake.settle();
        assert_eq!((&one[..], intake.bytes()), (&b"one"[..], &b"two"[..]));
        assert_eq!(intake.bytes().as_ptr(), before);
    }

    #[test]
    fn what_is_left_of_many_messages_does_not_keep_their_memory() {
        let mut intake = Intake::default();
        intake.push(&vec![b'x'; SHARED_BYTES_MAX + 3]);
        let messages = intake.take(SHARED_BYTES_MAX + 1);
        intake.settle();
        assert_eq!(intake.bytes(), b"xx");
        assert!(
            messages.is_unique(),
            "the messages are the only owners of their memory"
        );
    }

    #[test]
    fn taking_more_than_there_is_gives_what_there_is() {
        let mut intake = Intake::default();
        intake.push(b"ab");
        assert_eq!(intake.take(9), "ab");
        intake.settle();
        assert_eq!(intake.capacity(), 0);
    }
}
