//! Where what apps write is read into: memory that outlives the daemon.
//!
//! What was read is gone from the pipe. A daemon that is killed before it has put it into the log would lose it, so it is
//! read into memory that the keeper holds, beside a note of whose it is and what has become of it; that costs no system call.
//! A read that nobody lived to take note of is told by its bytes: those that are not in use are always zero.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;

use crate::host::memory::Mapping;
use crate::model::RunId;

/// One read. A pipe's whole capacity would be read in sixteen of these; larger ones measure no faster.
pub(crate) const SCRATCH_BYTES: usize = 64 * 1024;
/// The keeper's key of the memory.
pub(crate) const KEY: &str = "scratch";

/// The note comes first, on a page of its own so that reads are aligned.
const NOTE_BYTES: usize = 4096;
/// Since 2 the note of a read from a channel says where in that stream it began.
const VERSION: u8 = 2;
/// Where in the note is what.
const SOURCE: usize = 0;
const PHASE: usize = 1;
const FORMAT: usize = 2;
const RUN: usize = 8;
const LENGTH: usize = 16;
const BEFORE: usize = 24;

/// Nothing is in use.
const IDLE: u8 = 0;
/// A read is under way, or has just ended.
const READING: u8 = 1;
/// The length is known, and what was read may have been put into the log, all of it or some.
const STORING: u8 = 2;

/// What was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// stdout.
    Out,
    /// stderr.
    Err,
    /// The channel.
    Ipc,
}

/// What an earlier daemon had read and may not have finished with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Leftover {
    /// Whose.
    pub(crate) run: RunId,
    /// Where it came from.
    pub(crate) source: Source,
    /// What was read.
    pub(crate) bytes: Vec<u8>,
    /// If some of it may have been put into the log: how long that file was before. Of the channel: how much of that stream had
    /// been put into the inbox before.
    pub(crate) stored_at: Option<u64>,
}

/// The memory.
pub(crate) struct Scratch {
    memory: Mapping,
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch").finish_non_exhaustive()
    }
}

impl Scratch {
    /// Takes over the memory of an earlier daemon with what it left, or makes a new one, which is to be stored. What was left
    /// stays there until [`Self::done`]: this daemon may be killed as well.
    pub(crate) fn open(stored: Option<OwnedFd>) -> io::Result<(Self, Option<Leftover>, bool)> {
        let old = stored.and_then(|fd| Mapping::of(fd, NOTE_BYTES + SCRATCH_BYTES).ok());
        let old = old.filter(|memory| memory.bytes()[FORMAT] == VERSION);
        let is_new = old.is_none();
        let memory = match old {
            Some(memory) => memory,
            None => Mapping::new(NOTE_BYTES + SCRATCH_BYTES)?,
        };
        let mut scratch = Self { memory };
        let leftover = scratch.leftover();
        if !is_new && leftover.is_none() {
            scratch.memory.bytes_mut().fill(0);
        }
        scratch.memory.bytes_mut()[FORMAT] = VERSION;
        Ok((scratch, leftover, is_new))
    }

    /// For the keeper.
    pub(crate) fn copy(&self) -> io::Result<OwnedFd> {
        self.memory.copy()
    }

    /// Somewhere to read into. `before` is how long was what follows what is read now.
    pub(crate) fn begin(&mut self, run: RunId, source: Source, before: u64) -> &mut [u8] {
        let (note, data) = self.memory.bytes_mut().split_at_mut(NOTE_BYTES);
        put(note, BEFORE, before);
        put(note, RUN, run.0);
        note[SOURCE] = source as u8;
        note[PHASE] = READING;
        data
    }

    /// So much was read, and the log file was this long. What follows may be done only in part.
    pub(crate) fn store(&mut self, length: usize, before: u64) -> &[u8] {
        let (note, data) = self.memory.bytes_mut().split_at_mut(NOTE_BYTES);
        put(note, LENGTH, length as u64);
        put(note, BEFORE, before);
        note[PHASE] = STORING;
        &data[..length]
    }

    /// What was read.
    pub(crate) fn read(&self, length: usize) -> &[u8] {
        &self.memory.bytes()[NOTE_BYTES..][..length]
    }

    /// All is done with what was read.
    pub(crate) fn done(&mut self, length: usize) {
        let (note, data) = self.memory.bytes_mut().split_at_mut(NOTE_BYTES);
        if note[PHASE] == IDLE {
            // Nothing is in use, so it is zero already, and pages that were never written take no memory.
            return;
        }
        note[PHASE] = IDLE;
        data[..length].fill(0);
    }

    fn leftover(&self) -> Option<Leftover> {
        let (note, data) = self.memory.bytes().split_at(NOTE_BYTES);
        let source = match note[SOURCE] {
            0 => Source::Out,
            1 => Source::Err,
            _ => Source::Ipc,
        };
        let (length, stored_at) = match note[PHASE] {
            READING => {
                // Whatever ends in zeros loses those, which nobody will miss.
                let last = data.iter().rposition(|byte| *byte != 0);
                let before = (source == Source::Ipc).then(|| get(note, BEFORE));
                (last.map_or(0, |last| last + 1), before)
            }
            STORING => {
                let length = usize::try_from(get(note, LENGTH)).unwrap_or(usize::MAX);
                (length.min(SCRATCH_BYTES), Some(get(note, BEFORE)))
            }
            _ => return None,
        };
        let bytes = data[..length].to_vec();
        (length > 0).then_some(Leftover {
            run: RunId(get(note, RUN)),
            source,
            bytes,
            stored_at,
        })
    }
}

fn put(note: &mut [u8], at: usize, value: u64) {
    note[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn get(note: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&note[at..at + 8]);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn killed(scratch: &Scratch) -> Option<Leftover> {
        let copy = scratch.copy().unwrap();
        let (mut again, leftover, is_new) = Scratch::open(Some(copy)).unwrap();
        assert!(!is_new);
        assert_eq!(again.leftover(), leftover, "told until it is done with");
        again.done(SCRATCH_BYTES);
        assert!(again.leftover().is_none());
        leftover
    }

    // Protects: bytes that were read and not yet written, at each moment a daemon can be killed in.
    #[test]
    fn what_was_read_is_there_until_all_is_done_with_it() {
        let new = || Scratch::open(None).unwrap().0;
        assert_eq!(killed(&new()), None);
        let mut scratch = new();
        scratch.begin(RunId(7), Source::Err, 0);
        assert_eq!(killed(&scratch), None, "nothing was read");
        scratch.begin(RunId(7), Source::Err, 0)[..3].copy_from_slice(b"abc");
        let leftover = Leftover {
            run: RunId(7),
            source: Source::Err,
            bytes: b"abc".to_vec(),
            stored_at: None,
        };
        assert_eq!(
            killed(&scratch),
            Some(leftover),
            "the length was not known yet"
        );
        scratch.begin(RunId(8), Source::Out, 0)[..3].copy_from_slice(b"a\0\0");
        scratch.store(3, 40);
        let leftover = Leftover {
            run: RunId(8),
            source: Source::Out,
            bytes: b"a\0\0".to_vec(),
            stored_at: Some(40),
        };
        assert_eq!(killed(&scratch), Some(leftover));
        scratch.begin(RunId(8), Source::Out, 0)[..3].copy_from_slice(b"xyz");
        scratch.store(3, 40);
        scratch.done(3);
        assert_eq!(killed(&scratch), None);
        scratch.begin(RunId(9), Source::Ipc, 5)[..1].copy_from_slice(b"n");
        assert_eq!(
            killed(&scratch).unwrap().bytes,
            b"n",
            "nothing of what was before"
        );
        scratch.begin(RunId(9), Source::Ipc, 5)[..1].copy_from_slice(b"n");
        assert_eq!(killed(&scratch).unwrap().stored_at, Some(5));
    }
}
