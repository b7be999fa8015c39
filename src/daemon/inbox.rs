//! What an app has said on its channel and nobody has acted upon, where it outlives the daemon.

use std::fs::File;
use std::io::{self, IoSlice, Seek as _, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::uio::pwritev;

use crate::host::files;

/// The file begins with where in the stream its contents begin.
const HEAD_BYTES: u64 = 8;
/// A file whose contents never end in between gives its beginning back whenever it is this much.
const PUNCH_BYTES: u64 = 1024 * 1024;
/// Memory is given back in pages of this size, or whole multiples of it.
const PAGE_BYTES: u64 = 64 * 1024;

/// A stream of bytes, of which a file in memory holds what was read and not yet acted upon. What is acted upon is told by where
/// the bytes end in the stream; the file's position says how far that has come.
#[derive(Debug)]
pub(crate) struct Inbox {
    /// Nothing if there is no memory for it: then a daemon that is killed loses what it has just read.
    file: Option<File>,
    /// Where in the stream the file's contents begin.
    base: u64,
    /// How much of the stream has been read.
    end: u64,
    /// How far it has been handed on to be acted upon.
    reported: u64,
    /// How far it has been acted upon.
    acted: u64,
    /// How far it needs nobody to act upon it.
    settled: u64,
    /// How far the file's memory has been given back.
    punched: u64,
    /// The file's position may not be its beginning.
    is_moved: bool,
}

/// A file for an inbox.
pub(crate) fn new_file() -> io::Result<OwnedFd> {
    Ok(memfd_create("pm2-inbox", MFdFlags::MFD_CLOEXEC)?)
}

impl Inbox {
    /// Goes on with a file, and gives what is in it. `acted` is how far the stream was acted upon for certain; the file may know better.
    /// `read` are bytes that an earlier daemon read at that place of the stream, and may have put into the file, all of them or some.
    pub(crate) fn open(
        file: Option<OwnedFd>,
        acted: u64,
        read: Option<(u64, &[u8])>,
    ) -> (Self, Vec<u8>) {
        let found = file.map(|file| contents(File::from(file)));
        // What cannot be read is not there.
        let (file, kept) = found.and_then(Result::ok).unzip();
        let mut inbox = Self {
            file,
            base: 0,
            end: acted,
            reported: acted,
            acted,
            settled: acted,
            punched: 0,
            is_moved: true,
        };
        let mut bytes = Vec::new();
        if let Some(Some(Kept {
            base,
            acted: known,
            bytes: kept,
        })) = kept
        {
            bytes = kept;
            let begin = base + known;
            inbox.end = acted.max(begin + bytes.len() as u64);
            let skipped = usize::try_from(acted.saturating_sub(begin)).unwrap_or(usize::MAX);
            bytes.drain(..skipped.min(bytes.len()));
            let first = inbox.end - bytes.len() as u64;
            (inbox.base, inbox.reported) = (base, first);
            (inbox.acted, inbox.settled) = (first, first);
            let _unseen = inbox.shrink();
        }
        if let Some((at, read)) = read {
            let known = usize::try_from(inbox.end.saturating_sub(at)).unwrap_or(usize::MAX);
            let new = read.get(known..).unwrap_or_default();
            bytes.extend_from_slice(new);
            // It was not held by anybody before either.
            let _lost = inbox.keep(new);
        }
        (inbox, bytes)
    }

    /// How much of the stream has been read.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Takes in what was read. On an error the bytes are lost if the daemon is killed before they are acted upon.
    pub(crate) fn keep(&mut self, bytes: &[u8]) -> io::Result<()> {
        let begin = self.end;
        self.end += bytes.len() as u64;
        let Some(file) = &self.file else {
            return Ok(());
        };
        let done = if begin == self.acted {
            self.base = begin;
            let head = begin.to_le_bytes();
            pwritev(file, &[IoSlice::new(&head), IoSlice::new(bytes)], 0)
                .map_err(io::Error::from)
                .and_then(|length| {
                    let written = length.saturating_sub(head.len()).min(bytes.len());
                    file.write_all_at(&bytes[written..], HEAD_BYTES + written as u64)
                })
        } else {
            file.write_all_at(bytes, HEAD_BYTES + begin - self.base)
        };
        if done.is_err() {
            // With a gap in it, it would be wrong. The next daemon has it still, and finds nothing in it.
            file.set_len(0)?;
            self.file = None;
        }
        done
    }

    /// Somebody will act upon what comes before `upto`, and then say so.
    pub(crate) fn report(&mut self, upto: u64) {
        self.reported = upto;
    }

    /// Beyond what was reported, nobody has to act upon anything before `upto`.
    pub(crate) fn settle(&mut self, upto: u64) {
        self.settled = upto;
        if self.acted == self.reported {
            self.act(upto);
        }
    }

    /// What comes before `upto` has been acted upon.
    pub(crate) fn acted(&mut self, upto: u64) {
        let upto = if upto == self.reported {
            upto.max(self.settled)
        } else {
            upto
        };
        self.act(upto);
    }

    fn act(&mut self, upto: u64) {
        if upto <= self.acted {
            return;
        }
        self.acted = upto;
        // A failure would have a later daemon act upon it once more, and none has ever been seen.
        let _unseen = self.shrink();
    }

    fn shrink(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        if self.acted == self.end {
            // In this order: a daemon that is killed in between leaves an empty file.
            file.set_len(0)?;
            if std::mem::take(&mut self.is_moved) {
                file.seek(SeekFrom::Start(0))?;
            }
            self.punched = 0;
            return Ok(());
        }
        let position = self.acted - self.base;
        file.seek(SeekFrom::Start(position))?;
        self.is_moved = true;
        let from = self.punched.max(PAGE_BYTES);
        let to = (HEAD_BYTES + position) / PAGE_BYTES * PAGE_BYTES;
        if to >= from + PUNCH_BYTES {
            files::punch_hole(file, from, to)?;
            self.punched = to;
        }
        Ok(())
    }
}

/// What an earlier daemon left in a file.
struct Kept {
    base: u64,
    /// How much of what follows was acted upon.
    acted: u64,
    /// The rest.
    bytes: Vec<u8>,
}

/// Nothing if there is nothing in it.
fn contents(mut file: File) -> io::Result<(File, Option<Kept>)> {
    let (acted, length) = (file.stream_position()?, file.metadata()?.len());
    let Some(length) = length.checked_sub(HEAD_BYTES + acted) else {
        // It was emptied, or its very beginning was not written down to the end.
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        return Ok((file, None));
    };
    let mut base = [0; 8];
    file.read_exact_at(&mut base, 0)?;
    let mut bytes = vec![0; usize::try_from(length).map_err(|_| io::ErrorKind::FileTooLarge)?];
    file.read_exact_at(&mut bytes, HEAD_BYTES + acted)?;
    let base = u64::from_le_bytes(base);
    Ok((file, Some(Kept { base, acted, bytes })))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the next daemon finds.
    fn again(inbox: &Inbox, acted: u64, read: Option<(u64, &[u8])>) -> (Inbox, Vec<u8>) {
        let file = inbox.file.as_ref().unwrap().try_clone().unwrap();
        Inbox::open(Some(file.into()), acted, read)
    }

    fn new() -> Inbox {
        let (inbox, nothing) = Inbox::open(Some(new_file().unwrap()), 0, None);
        assert_eq!(nothing, b"");
        inbox
    }

    // Protects: what an app said is acted upon once, whenever daemons are killed.
    #[test]
    fn what_was_read_is_there_until_it_was_acted_upon() {
        let mut inbox = new();
        inbox.keep(b"one\ntwo\nthr").unwrap();
        inbox.report(8);
        inbox.settle(8);
        assert_eq!(again(&inbox, 0, None).1, b"one\ntwo\nthr");
        inbox.acted(4);
        let (mut inbox, found) = again(&inbox, 0, None);
        assert_eq!((found.as_slice(), inbox.end()), (&b"two\nthr"[..], 11));
        inbox.keep(b"ee\n").unwrap();
        inbox.report(14);
        inbox.settle(14);
        inbox.acted(14);
        let (mut inbox, found) = again(&inbox, 14, None);
        assert_eq!((found.as_slice(), inbox.end()), (&b""[..], 14));
        inbox.keep(b"four\n").unwrap();
        assert_eq!(again(&inbox, 14, None).1, b"four\n");
    }

    // Protects: what was acted upon and written down as such, by a daemon that did not live to take it out of the file.
    #[test]
    fn what_the_records_say_was_acted_upon_is_not_there_again() {
        let mut inbox = new();
        inbox.keep(b"one\ntwo\n").unwrap();
        let (inbox, found) = again(&inbox, 4, None);
        assert_eq!((found.as_slice(), inbox.end()), (&b"two\n"[..], 8));
        let (inbox, found) = again(&inbox, 8, None);
        assert_eq!((found.as_slice(), inbox.end()), (&b""[..], 8));
        assert_eq!(again(&inbox, 20, None).1, b"");
    }

    // Protects: bytes that were read by a daemon that died before, while or after it put them into the file.
    #[test]
    fn what_was_read_and_perhaps_kept_is_there_once() {
        let mut inbox = new();
        inbox.keep(b"one\n").unwrap();
        let file = inbox.file.as_ref().unwrap();
        for kept in 0..=4 {
            file.set_len(HEAD_BYTES + 4).unwrap();
            file.write_all_at(&b"two\n"[..kept], HEAD_BYTES + 4)
                .unwrap();
            let (again, found) = again(&inbox, 0, Some((4, b"two\n")));
            assert_eq!((found.as_slice(), again.end()), (&b"one\ntwo\n"[..], 8));
        }
        // The same at the very beginning of a file.
        for length in 0..=HEAD_BYTES {
            let mut inbox = new();
            inbox.keep(b"one\n").unwrap();
            inbox.file.as_ref().unwrap().set_len(length).unwrap();
            let (_, found) = again(&inbox, 0, Some((0, b"one\n")));
            assert_eq!(found, b"one\n", "{length}");
        }
    }

    // Protects: what nobody has to act upon does not stay, and does not take with it what comes before.
    #[test]
    fn what_needs_nobody_goes_with_what_comes_before_it() {
        let mut inbox = new();
        inbox.keep(b"ack\n").unwrap();
        inbox.settle(4);
        assert_eq!(again(&inbox, 0, None).1, b"");
        inbox.keep(b"one\nack\n").unwrap();
        inbox.report(8);
        inbox.settle(12);
        assert_eq!(again(&inbox, 0, None).1, b"one\nack\n");
        inbox.acted(8);
        assert_eq!(again(&inbox, 0, None).1, b"");
    }

    // Protects: memory. A stream that never pauses at the end of a line has a file that never becomes empty.
    #[test]
    fn a_file_that_is_never_empty_stays_small() {
        use std::os::unix::fs::MetadataExt as _;
        let mut inbox = new();
        let mut piece = vec![b'x'; 100_000];
        piece[50_000] = b'\n';
        for n in 0..200_u64 {
            inbox.keep(&piece).unwrap();
            let upto = n * 100_000 + 50_001;
            inbox.report(upto);
            inbox.settle(upto);
            inbox.acted(upto);
            let held = inbox.file.as_ref().unwrap().metadata().unwrap().blocks() * 512;
            assert!(held < 3 * PUNCH_BYTES, "{held} bytes");
        }
        assert_eq!(again(&inbox, 0, None).1.len(), 49_999);
    }
}
