//! Bytes for an app that it has not taken yet, where they outlive the daemon.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt as _;

use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::host::files;

/// A file in memory. It is sent with `sendfile`, which moves the file's own position by what was taken, in the same system
/// call: whenever a daemon is killed, the position says which byte comes next.
///
/// Pages on their way are the file's own, so what was sent is never written over: the file only grows, or is emptied as a whole,
/// which gives it new pages.
#[derive(Debug)]
pub(crate) struct Spool {
    file: File,
    end: u64,
    holder: Holder,
}

/// Who has the file beside us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    /// Nobody.
    Nobody,
    /// The keeper has been asked to.
    Asked,
    /// The keeper. Now a line may be sent in part.
    Keeper,
}

impl Spool {
    /// An empty one.
    pub(crate) fn new() -> io::Result<Self> {
        let file = File::from(memfd_create("pm2-spool", MFdFlags::MFD_CLOEXEC)?);
        Ok(Self {
            file,
            end: 0,
            holder: Holder::Nobody,
        })
    }

    /// What an earlier daemon left, and how many bytes of it are to be sent. If `is_lines`, a last line that was not written down to
    /// its end is dropped: nobody was told that it would be sent.
    pub(crate) fn restore(file: OwnedFd, is_lines: bool) -> io::Result<(Self, usize)> {
        let mut file = File::from(file);
        let (next, mut end) = (file.stream_position()?, file.metadata()?.len());
        if is_lines && next < end {
            end = line_end(&file, next, end)?;
            file.set_len(end)?;
        }
        let mut spool = Self {
            file,
            end,
            holder: Holder::Keeper,
        };
        let waiting = usize::try_from(end.saturating_sub(next)).unwrap_or(0);
        if waiting == 0 {
            spool.clear()?;
        }
        Ok((spool, waiting))
    }

    /// Puts bytes behind the others: all of them, or none and an error.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all_at(bytes, self.end) {
            self.file.set_len(self.end)?;
            return Err(error);
        }
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Sends up to `count` of the next bytes.
    pub(crate) fn send(&self, target: &impl AsFd, count: usize) -> io::Result<usize> {
        files::send_next(&self.file, target, count)
    }

    /// All has been sent. In this order: a daemon that is killed in between leaves an empty file.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.end = 0;
        Ok(())
    }

    /// A copy for the keeper, once. It shares the position.
    pub(crate) fn take_copy(&mut self) -> io::Result<Option<OwnedFd>> {
        if self.holder != Holder::Nobody {
            return Ok(None);
        }
        let copy = self.file.try_clone()?;
        self.holder = Holder::Asked;
        Ok(Some(copy.into()))
    }

    /// The keeper has, or will read, what it was asked.
    pub(crate) fn stored(&mut self) {
        if self.holder == Holder::Asked {
            self.holder = Holder::Keeper;
        }
    }

    /// Whether a line may be sent in part.
    pub(crate) fn is_stored(&self) -> bool {
        self.holder == Holder::Keeper
    }
}

/// Where the last whole line between `from` and `end` ends.
fn line_end(file: &File, from: u64, end: u64) -> io::Result<u64> {
    /// Read at a time, from the end: there the line feed is, unless a write was cut.
    const PIECE: u64 = 64 * 1024;
    let mut until = end;
    while until > from {
        let start = until.saturating_sub(PIECE).max(from);
        let mut piece = vec![0; usize::try_from(until - start).unwrap_or(0)];
        file.read_exact_at(&mut piece, start)?;
        if let Some(last) = piece.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + last as u64 + 1);
        }
        until = start;
    }
    Ok(from)
}
