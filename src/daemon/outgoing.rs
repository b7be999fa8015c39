//! What is on its way to an app, over its channel or its stdin.
//!
//! Half a line is the end of a Node child, and a message that a caller was told of must not be lost with the daemon. So what the app's
//! end takes whole is sent before anybody is answered; everything else waits in a [`Spool`], from which any daemon goes on at the right
//! byte. Only lines that bring a descriptor wait here: without the daemon that made them they mean nothing.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::Rc;

use super::readiness::is_passing;
use super::spool::Spool;
use crate::host::handles;

/// What may wait for an app that does not read its channel, or its stdin.
const OUTGOING_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A Unix stream socket takes this much whole or not at all: it is less than one buffer of the kernel's (36,544 bytes on Linux, less
/// where somebody has made `net.core.wmem_default` as small as 40 KiB).
const CHANNEL_WHOLE_MAX: usize = 16 * 1024;
/// The same of a pipe: `PIPE_BUF`.
const STDIN_WHOLE_MAX: usize = 4096;

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

/// What the app's end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// A socket for lines.
    Channel,
    /// A pipe for text.
    Stdin,
}

/// Bytes on their way to an app.
pub(crate) struct Outgoing {
    end: End,
    /// Nothing when it is closed.
    target: Option<Rc<OwnedFd>>,
    /// What waits, in order.
    parts: VecDeque<Part>,
    spool: Option<Spool>,
    bytes: usize,
}

/// Some of what waits.
enum Part {
    /// So many bytes of the spool.
    Spooled(usize),
    /// Bytes, how many of them are gone, and the descriptor that goes with the first of them.
    Held(Vec<u8>, usize, Option<OwnedFd>),
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("end", &self.end)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl Outgoing {
    /// Goes on with what an earlier daemon left in its spool, if there is one.
    pub(crate) fn new(end: End, target: Option<Rc<OwnedFd>>, spool: Option<OwnedFd>) -> Self {
        let restored = spool.map(|spool| Spool::restore(spool, end == End::Channel));
        // A file in memory that cannot be read any more is of no use; what was in it was not sent.
        let (spool, waiting) = restored.and_then(Result::ok).unzip();
        let waiting = waiting.unwrap_or(0);
        let parts = (waiting > 0).then_some(Part::Spooled(waiting));
        Self {
            end,
            target,
            parts: parts.into_iter().collect(),
            spool,
            bytes: waiting,
        }
    }

    /// Sends, or puts behind what waits.
    pub(crate) fn push(&mut self, bytes: Vec<u8>) -> Result<(), OutgoingError> {
        self.push_with(bytes, None)
    }

    /// The same with a descriptor.
    pub(crate) fn push_with(
        &mut self,
        bytes: Vec<u8>,
        fd: Option<OwnedFd>,
    ) -> Result<(), OutgoingError> {
        let Some(target) = self.target.clone() else {
            return Err(OutgoingError::Closed);
        };
        let whole_max = match self.end {
            End::Channel => CHANNEL_WHOLE_MAX,
            End::Stdin => STDIN_WHOLE_MAX,
        };
        let mut sent = 0;
        if self.parts.is_empty() && bytes.len() <= whole_max {
            match self.send_held(&target, &bytes, fd.as_ref()) {
                Ok(all) if all == bytes.len() => return Ok(()),
                Ok(some) => sent = some,
                Err(error) if is_passing(&error) => {}
                Err(_) => {
                    // The app closed its end. What it wrote before is still read.
                    self.close();
                    return Err(OutgoingError::Closed);
                }
            }
        }
        let left = bytes.len() - sent;
        // One message of any size may wait alone, or it could never be sent.
        if self.bytes > 0 && self.bytes + left > OUTGOING_BYTES_MAX {
            return Err(OutgoingError::Full);
        }
        self.bytes += left;
        // Where there is no memory for a file, there may be some for this.
        if fd.is_some() || self.spool(&bytes[sent..]).is_err() {
            let fd = fd.filter(|_| sent == 0);
            self.parts.push_back(Part::Held(bytes, sent, fd));
        }
        Ok(())
    }

    fn spool(&mut self, bytes: &[u8]) -> io::Result<()> {
        let spool = match &mut self.spool {
            Some(spool) => spool,
            none => none.insert(Spool::new()?),
        };
        spool.append(bytes)?;
        match self.parts.back_mut() {
            Some(Part::Spooled(length)) => *length += bytes.len(),
            _ => self.parts.push_back(Part::Spooled(bytes.len())),
        }
        Ok(())
    }

    /// A copy of the spool for the keeper, if it needs one.
    pub(crate) fn spool_to_store(&mut self) -> io::Result<Option<OwnedFd>> {
        let spool = self.spool.as_mut();
        spool.map_or(Ok(None), Spool::take_copy)
    }

    /// The keeper has that copy.
    pub(crate) fn spool_stored(&mut self) {
        if let Some(spool) = &mut self.spool {
            spool.stored();
        }
    }

    /// Where to send to, if nothing waits: what is sent there whole comes before everything that follows.
    pub(crate) fn free_target(&self) -> Option<Rc<OwnedFd>> {
        self.target.clone().filter(|_| self.parts.is_empty())
    }

    /// Drops what waits, and takes nothing more.
    pub(crate) fn close(&mut self) {
        *self = Self::new(self.end, None, None);
    }

    /// Whether something waits that may be sent.
    pub(crate) fn is_sendable(&self) -> bool {
        match self.parts.front() {
            Some(Part::Spooled(_)) => self.spool.as_ref().is_some_and(Spool::is_stored),
            Some(Part::Held(..)) => true,
            None => false,
        }
    }

    /// Sends what waits until the app's end takes no more, which is an error, or nothing is left that may be sent.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let Some(target) = self.target.clone() else {
            return Ok(());
        };
        while self.is_sendable() {
            let sent = match (self.parts.front(), &self.spool) {
                (Some(Part::Spooled(left)), Some(spool)) => spool.send(&target, *left)?,
                (Some(Part::Held(bytes, sent, fd)), _) => {
                    self.send_held(&target, &bytes[*sent..], fd.as_ref())?
                }
                _ => break,
            };
            if sent == 0 {
                // The file is shorter than it was made, or the kernel does what it has never done.
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.bytes -= sent;
            let is_done = match self.parts.front_mut() {
                Some(Part::Spooled(left)) => {
                    *left -= sent;
                    *left == 0
                }
                Some(Part::Held(bytes, gone, fd)) => {
                    // It went with the first byte; sent again it would be a second one.
                    *fd = None;
                    *gone += sent;
                    *gone == bytes.len()
                }
                None => false,
            };
            if is_done {
                self.parts.pop_front();
            }
        }
        if self.parts.is_empty() {
            self.parts = VecDeque::new();
            if let Some(spool) = &mut self.spool {
                spool.clear()?;
            }
        }
        Ok(())
    }

    fn send_held(&self, target: &OwnedFd, bytes: &[u8], fd: Option<&OwnedFd>) -> io::Result<usize> {
        match self.end {
            End::Channel => {
                let fd = fd.map(OwnedFd::as_fd);
                handles::send_with_fds(target.as_fd(), bytes, fd.as_slice())
            }
            End::Stdin => nix::unistd::write(target, bytes).map_err(io::Error::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::host::testing;

    fn pair() -> (Rc<OwnedFd>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        (Rc::new(ours.into()), theirs)
    }

    /// Lines of very different lengths, each of one letter.
    fn lines() -> impl Iterator<Item = Vec<u8>> {
        let lengths = [1, 700_000, 20, 16_000, 100_000, 17_000, 3, 40_000];
        (b'a'..=b'z')
            .zip(lengths.into_iter().cycle())
            .map(|(letter, length)| {
                let mut line = vec![letter; length];
                line.push(b'\n');
                line
            })
    }

    /// Reads what is there, up to `max` bytes.
    fn read(from: &mut UnixStream, into: &mut Vec<u8>, max: usize) -> usize {
        let mut piece = vec![0; max];
        let length = from.read(&mut piece).unwrap_or(0);
        into.extend_from_slice(&piece[..length]);
        length
    }

    // Protects: a torn line is fatal to a Node child, and a message that was promised must come. Daemons end at every stage of it, with
    // nothing of theirs but what the keeper has.
    #[test]
    fn another_daemon_goes_on_at_the_right_byte_again_and_again() {
        let (target, mut app) = pair();
        let mut got = Vec::new();
        let mut kept: Option<OwnedFd> = None;
        let mut expected = Vec::new();
        let mut lines = lines().enumerate();
        let mut sizes = (1..60_000_usize).step_by(977).cycle();
        loop {
            let spool = kept.as_ref().map(|fd| fd.try_clone().unwrap());
            let mut outgoing = Outgoing::new(End::Channel, Some(Rc::clone(&target)), spool);
            let next = lines.next();
            if let Some((_, line)) = &next {
                expected.extend_from_slice(line);
                outgoing.push(line.clone()).unwrap();
                kept = outgoing.spool_to_store().unwrap().or(kept);
                outgoing.spool_stored();
            }
            let flushed = outgoing.flush();
            assert!(flushed.is_ok() || flushed.is_err_and(|error| is_passing(&error)));
            let max = sizes.next().unwrap();
            if read(&mut app, &mut got, max) == 0 && next.is_none() {
                break;
            }
        }
        assert!(got == expected, "{} of {} bytes", got.len(), expected.len());
    }

    // Protects: half a line is not begun before the keeper has what another daemon would need to end it.
    #[test]
    fn nothing_is_sent_in_part_that_the_keeper_does_not_hold() {
        let (target, mut app) = pair();
        let mut outgoing = Outgoing::new(End::Channel, Some(target), None);
        let line = vec![b'x'; CHANNEL_WHOLE_MAX + 1];
        outgoing.push(line.clone()).unwrap();
        outgoing.flush().unwrap();
        let mut got = Vec::new();
        assert_eq!(read(&mut app, &mut got, 100_000), 0);
        assert!(outgoing.spool_to_store().unwrap().is_some());
        outgoing.flush().unwrap();
        assert_eq!(read(&mut app, &mut got, 100_000), 0);
        assert!(outgoing.spool_to_store().unwrap().is_none(), "it was given");
        outgoing.spool_stored();
        outgoing.flush().unwrap();
        while read(&mut app, &mut got, 100_000) > 0 {}
        assert_eq!(got, line);
    }

    // Protects: the order of lines, and descriptors, which go once.
    #[test]
    fn a_line_with_a_descriptor_keeps_its_place() {
        let (target, app) = pair();
        let mut outgoing = Outgoing::new(End::Channel, Some(target), None);
        outgoing.push(vec![b'1'; CHANNEL_WHOLE_MAX + 1]).unwrap();
        let fd = std::fs::File::open("/dev/null").unwrap().into();
        outgoing.push_with(b"2".to_vec(), Some(fd)).unwrap();
        outgoing.push(b"3".to_vec()).unwrap();
        drop(outgoing.spool_to_store().unwrap());
        outgoing.spool_stored();
        outgoing.flush().unwrap();
        let (mut got, mut fds) = (Vec::new(), Vec::new());
        let mut piece = [0; 1000];
        while let Ok(length @ 1..) = handles::receive_with_fds(app.as_fd(), &mut piece, &mut fds) {
            got.extend_from_slice(&piece[..length]);
        }
        assert_eq!(&got[CHANNEL_WHOLE_MAX + 1..], b"23");
        assert_eq!(fds.len(), 1);
    }

    // Protects: a line that was not written down to its end when the daemon was killed. Nobody was told that it would be sent.
    #[test]
    fn a_line_that_was_kept_in_part_was_never_said() {
        let (target, mut app) = pair();
        let mut spool = Spool::new().unwrap();
        spool.append(b"whole\n").unwrap();
        spool.append(&vec![b'x'; 200_000]).unwrap();
        let kept = spool.take_copy().unwrap();
        let mut outgoing = Outgoing::new(End::Channel, Some(target), kept);
        outgoing.push(b"next\n".to_vec()).unwrap();
        outgoing.flush().unwrap();
        let mut got = Vec::new();
        while read(&mut app, &mut got, 100) > 0 {}
        assert_eq!(got, b"whole\nnext\n");
    }

    // Protects: stdin likewise, whose text need not end in a line feed.
    #[test]
    fn text_for_stdin_goes_on_with_another_daemon() {
        let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_NONBLOCK).unwrap();
        let target = Rc::new(write);
        let mut first = Outgoing::new(End::Stdin, Some(Rc::clone(&target)), None);
        let text: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        first.push(text.clone()).unwrap();
        let kept = first.spool_to_store().unwrap();
        first.spool_stored();
        assert!(first.flush().is_err_and(|error| is_passing(&error)));
        drop(first);
        let mut second = Outgoing::new(End::Stdin, Some(target), kept);
        let mut got = Vec::new();
        while got.len() < text.len() {
            let mut piece = [0; 7001];
            let length = nix::unistd::read(&read, &mut piece).unwrap();
            got.extend_from_slice(&piece[..length]);
            let flushed = second.flush();
            assert!(flushed.is_ok() || flushed.is_err_and(|error| is_passing(&error)));
        }
        assert!(got == text);
    }

    // Protects: an app that does not read costs a bounded amount, and one message of any size can be sent.
    #[test]
    fn a_full_queue_is_an_error() {
        let (target, app) = pair();
        let mut outgoing = Outgoing::new(End::Channel, Some(target), None);
        outgoing.push(vec![0; OUTGOING_BYTES_MAX + 1]).unwrap();
        assert_eq!(outgoing.push(vec![0]), Err(OutgoingError::Full));
        outgoing.close();
        assert_eq!(outgoing.push(vec![0]), Err(OutgoingError::Closed));
        drop(app);
    }

    // Protects: who sends to an app that has closed its end hears of it at once.
    #[test]
    fn a_closed_end_is_an_error() {
        let (target, app) = pair();
        testing::end(app);
        let mut outgoing = Outgoing::new(End::Channel, Some(target), None);
        assert_eq!(
            outgoing.push(b"line\n".to_vec()),
            Err(OutgoingError::Closed)
        );
    }
}
