//! The state of the core, written down after every change where it outlives the daemon: in memory that the keeper holds.
//!
//! Two files in memory take turns. One is begun with everything and grows by what changes; when it holds more of the past
//! than of the present, the other is begun. Every write is one frame with a checksum, so what a dying daemon wrote in part
//! is not there for the next one, and a file that was begun in part leaves the other one in use.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::core::{Changes, PRIMARY_PART};
use crate::model::RunId;

/// The keeper's keys of the two files.
pub(crate) const KEYS: [&str; 2] = ["state/0", "state/1"];
/// The version of this format. A file of another version is left alone, and the other one is used.
pub(super) const VERSION: u32 = 1;
/// Length and checksum of a frame.
pub(super) const FRAME_HEAD: usize = 12;
/// A file may hold this much of the past, whatever its size.
const WASTE_FREE: u64 = 64 * 1024;
/// No frame is longer. A thousand processes with large environments are about 20 MiB.
const FRAME_MAX: usize = 1 << 30;

/// What an item of a frame is about.
const HEADER: u8 = 1;
const PROCESS: u8 = 2;
const GONE: u8 = 3;
const PART: u8 = 4;
const PART_GONE: u8 = 5;
const HEARD: u8 = 6;

/// What an earlier daemon wrote down last.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Frozen {
    /// What is not about one process.
    pub(crate) header: String,
    /// Parts of that which are written by themselves.
    pub(crate) parts: BTreeMap<u32, String>,
    /// Every listed process, by id.
    pub(crate) processes: BTreeMap<u32, String>,
    /// How far what each run said was taken in when this was written.
    pub(crate) heard: BTreeMap<u64, u64>,
}

/// The two files.
#[derive(Debug)]
pub(crate) struct Records {
    files: [File; 2],
    /// Which one is in use.
    current: usize,
    /// Counts beginnings: the file with the higher number is the later one.
    generation: u64,
    /// Where the next frame goes.
    end: u64,
    /// How much of the file was there at its beginning.
    live: u64,
    /// The other file may be needed by another daemon.
    is_other_kept: bool,
    /// How far what each run said has been taken in.
    heard: BTreeMap<u64, u64>,
    /// Which of these are not written down yet.
    newly_heard: BTreeSet<u64>,
}

impl Records {
    /// Continues the files of an earlier daemon, as far as there are any. Gives what they say, and which were missing and
    /// are to be stored. Nothing is changed before [`Self::begin_anew`].
    pub(crate) fn open(
        stored: [Option<OwnedFd>; 2],
    ) -> io::Result<(Self, Option<Frozen>, [bool; 2])> {
        let is_new = [stored[0].is_none(), stored[1].is_none()];
        let [one, other] = stored.map(|fd| match fd {
            Some(fd) => Ok(File::from(fd)),
            None => memory(),
        });
        let files = [one?, other?];
        let found = [read(&files[0]), read(&files[1])];
        let later = |at: usize| found[at].as_ref().map_or(0, |(generation, _)| *generation);
        let current = usize::from(later(1) > later(0));
        let generation = later(current);
        let frozen = found.into_iter().nth(current).flatten();
        let records = Self {
            files,
            current,
            generation,
            end: 0,
            live: 0,
            is_other_kept: true,
            heard: frozen
                .as_ref()
                .map_or_else(BTreeMap::new, |(_, frozen)| frozen.heard.clone()),
            newly_heard: BTreeSet::new(),
        };
        Ok((records, frozen.map(|(_, frozen)| frozen), is_new))
    }

    /// The files, for the keeper.
    pub(crate) fn copies(&self) -> io::Result<[OwnedFd; 2]> {
        let [one, other] = &self.files;
        Ok([one.try_clone()?.into(), other.try_clone()?.into()])
    }

    /// What comes of what a run said up to there is part of the next write.
    pub(crate) fn hear(&mut self, run: RunId, upto: u64) {
        self.heard.insert(run.0, upto);
        self.newly_heard.insert(run.0);
    }

    /// Nothing more is to come of this run.
    pub(crate) fn forget_heard(&mut self, run: RunId) {
        self.heard.remove(&run.0);
    }

    /// Nothing more is to come of other runs than these.
    pub(crate) fn retain_heard(&mut self, runs: &BTreeSet<RunId>) {
        self.heard.retain(|run, _| runs.contains(&RunId(*run)));
    }

    /// Adds what has changed.
    pub(crate) fn write(&mut self, changes: &Changes) -> io::Result<()> {
        let mut frame = vec![0; FRAME_HEAD];
        push_changes(&mut frame, changes);
        for run in std::mem::take(&mut self.newly_heard) {
            if let Some(upto) = self.heard.get(&run) {
                push_heard(&mut frame, run, *upto);
            }
        }
        self.append(frame)
    }

    /// Whether to begin anew.
    pub(crate) fn is_wasteful(&self) -> bool {
        !self.is_other_kept && self.end > self.live * 2 + WASTE_FREE
    }

    /// Takes the other file into use, with everything there is.
    pub(crate) fn begin_anew(&mut self, all: &Changes) -> io::Result<()> {
        let other = 1 - self.current;
        self.files[other].set_len(0)?;
        let mut frame = vec![0; FRAME_HEAD];
        let generation = self.generation + 1;
        frame.extend_from_slice(&VERSION.to_le_bytes());
        frame.extend_from_slice(&generation.to_le_bytes());
        push_changes(&mut frame, all);
        for (run, upto) in &self.heard {
            push_heard(&mut frame, *run, *upto);
        }
        let (current, end) = (self.current, self.end);
        self.current = other;
        self.end = 0;
        if let Err(error) = self.append(frame) {
            // The file that was in use still is.
            (self.current, self.end) = (current, end);
            return Err(error);
        }
        self.generation = generation;
        self.live = self.end;
        if !self.is_other_kept {
            self.files[current].set_len(0)?;
        }
        Ok(())
    }

    /// No daemon but this one will need what the other file says.
    pub(crate) fn let_other_go(&mut self) -> io::Result<()> {
        self.is_other_kept = false;
        self.files[1 - self.current].set_len(0)
    }

    /// Leaves nothing in either file.
    pub(crate) fn forget(self) {
        for file in self.files {
            // Nothing more can be done; a frame that is not whole is not believed.
            let _lost = file.set_len(0);
        }
    }

    fn append(&mut self, mut frame: Vec<u8>) -> io::Result<()> {
        if frame.len() == FRAME_HEAD {
            return Ok(());
        }
        seal(&mut frame)?;
        self.files[self.current].write_all_at(&frame, self.end)?;
        self.end += frame.len() as u64;
        Ok(())
    }
}

/// Writes the head of a frame.
pub(super) fn seal(frame: &mut [u8]) -> io::Result<()> {
    let payload = &frame[FRAME_HEAD..];
    let length = u32::try_from(payload.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let sum = checksum(payload);
    frame[..4].copy_from_slice(&length.to_le_bytes());
    frame[4..FRAME_HEAD].copy_from_slice(&sum.to_le_bytes());
    Ok(())
}

fn memory() -> io::Result<File> {
    let fd = memfd_create("pm2-state", MFdFlags::MFD_CLOEXEC)?;
    Ok(File::from(fd))
}

fn push_changes(frame: &mut Vec<u8>, changes: &Changes) {
    let mut push = |kind: u8, id: u32, text: &str| push_item(frame, kind, id, text.as_bytes());
    if let Some(header) = &changes.header {
        push(HEADER, 0, header);
    }
    for (part, text) in &changes.parts {
        match text {
            Some(text) => push(PART, *part, text),
            None => push(PART_GONE, *part, ""),
        }
    }
    for (id, text) in &changes.processes {
        match text {
            Some(text) => push(PROCESS, id.0, text),
            None => push(GONE, id.0, ""),
        }
    }
}

fn push_heard(frame: &mut Vec<u8>, run: u64, upto: u64) {
    push_item(frame, HEARD, 0, format!("{run} {upto}").as_bytes());
}

fn push_item(frame: &mut Vec<u8>, kind: u8, id: u32, text: &[u8]) {
    frame.push(kind);
    frame.extend_from_slice(&id.to_le_bytes());
    // A record is far smaller; one cut here would be found by its text being no JSON.
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(text);
}

/// What a file says, with its number; nothing if it was never begun, or is of another version.
fn read(file: &File) -> Option<(u64, Frozen)> {
    let length = usize::try_from(file.metadata().ok()?.len()).ok()?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0).ok()?;
    thaw(&bytes)
}

/// The same of a file's bytes: any.
pub(super) fn thaw(bytes: &[u8]) -> Option<(u64, Frozen)> {
    let (first, mut rest) = next_frame(bytes)?;
    let (version, first) = first.split_first_chunk()?;
    let (generation, first) = first.split_first_chunk()?;
    if u32::from_le_bytes(*version) != VERSION {
        return None;
    }
    let mut frozen = Frozen::default();
    frozen.take(first)?;
    while let Some((frame, after)) = next_frame(rest) {
        // A frame that is whole and makes no sense was written by us all the same: what follows it builds on it.
        frozen.take(frame)?;
        rest = after;
    }
    Some((u64::from_le_bytes(*generation), frozen))
}

/// The payload of the first frame, and what follows it. Nothing at the end, which may be a frame written in part.
fn next_frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (sum, rest) = rest.split_first_chunk()?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > FRAME_MAX {
        return None;
    }
    let (payload, rest) = rest.split_at_checked(length)?;
    (checksum(payload) == u64::from_le_bytes(*sum)).then_some((payload, rest))
}

impl Frozen {
    /// Without the applications in cluster mode: their listeners and channels are gone.
    pub(crate) fn without_cluster(mut self) -> Self {
        self.parts.remove(&PRIMARY_PART);
        self
    }

    fn take(&mut self, mut items: &[u8]) -> Option<()> {
        while let Some((kind, rest)) = items.split_first() {
            let (id, rest) = rest.split_first_chunk()?;
            let (length, rest) = rest.split_first_chunk()?;
            let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            let text = std::str::from_utf8(text).ok()?;
            let id = u32::from_le_bytes(*id);
            match *kind {
                HEADER => text.clone_into(&mut self.header),
                PROCESS => drop(self.processes.insert(id, text.to_owned())),
                GONE => drop(self.processes.remove(&id)),
                PART => drop(self.parts.insert(id, text.to_owned())),
                PART_GONE => drop(self.parts.remove(&id)),
                HEARD => {
                    let (run, upto) = text.split_once(' ')?;
                    self.heard.insert(run.parse().ok()?, upto.parse().ok()?);
                }
                // Of a later daemon of the same version, which can do without it.
                _ => {}
            }
            items = rest;
        }
        Some(())
    }
}

/// FNV-1a over words: it tells torn frames from whole ones, and costs less than the copy into the file.
fn checksum(bytes: &[u8]) -> u64 {
    const PRIME: u64 = 0x0100_0000_01b3;
    let (words, tail) = bytes.as_chunks::<8>();
    let mut sum = 0xcbf2_9ce4_8422_2325_u64 ^ bytes.len() as u64;
    for word in words {
        sum = (sum ^ u64::from_le_bytes(*word)).wrapping_mul(PRIME);
        sum ^= sum >> 29;
    }
    for byte in tail {
        sum = (sum ^ u64::from(*byte)).wrapping_mul(PRIME);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PmId;

    fn changes(header: Option<&str>, processes: &[(u32, Option<&str>)]) -> Changes {
        Changes {
            header: header.map(str::to_owned),
            parts: Vec::new(),
            processes: processes
                .iter()
                .map(|(id, text)| (PmId(*id), text.map(str::to_owned)))
                .collect(),
        }
    }

    fn again(records: &Records) -> Option<Frozen> {
        let copies = records.copies().unwrap().map(Some);
        Records::open(copies).unwrap().1
    }

    fn written() -> Records {
        let (mut records, none, is_new) = Records::open([None, None]).unwrap();
        assert_eq!((none, is_new), (None, [true, true]));
        records
            .begin_anew(&changes(Some("h1"), &[(0, Some("a")), (1, Some("b"))]))
            .unwrap();
        records.let_other_go().unwrap();
        records
            .write(&changes(None, &[(1, None), (2, Some("c"))]))
            .unwrap();
        let mut last = changes(Some("h2"), &[]);
        last.parts = vec![
            (0, Some("p".to_owned())),
            (7, Some("q".to_owned())),
            (7, None),
        ];
        records.write(&last).unwrap();
        records
    }

    fn expected() -> Frozen {
        Frozen {
            header: "h2".to_owned(),
            parts: [(0, "p".to_owned())].into(),
            processes: [(0, "a".to_owned()), (2, "c".to_owned())].into(),
            heard: BTreeMap::new(),
        }
    }

    // Protects: what was written, in order, is what the next daemon has.
    #[test]
    fn the_last_word_on_each_is_what_is_read() {
        assert_eq!(again(&written()), Some(expected()));
    }

    // Protects: what an app said is taken in once: what came of it and that it was heard are written down together.
    #[test]
    fn what_was_heard_is_written_with_what_came_of_it() {
        let mut records = written();
        records.hear(RunId(7), 20);
        records.hear(RunId(8), 30);
        assert_eq!(again(&records), Some(expected()), "nothing came of it yet");
        records.write(&changes(Some("h3"), &[])).unwrap();
        records.hear(RunId(7), 40);
        let heard = again(&records).unwrap().heard;
        assert_eq!(heard, [(7, 20), (8, 30)].into());
        records.forget_heard(RunId(8));
        records.begin_anew(&changes(Some("h4"), &[])).unwrap();
        assert_eq!(again(&records).unwrap().heard, [(7, 40)].into());
    }

    // Protects: a daemon that is killed while it writes. Wherever the write ended, the state before it is there.
    #[test]
    fn a_write_that_was_cut_anywhere_did_not_happen() {
        let mut records = written();
        let whole = records.end;
        records
            .write(&changes(Some("h3"), &[(0, Some("changed"))]))
            .unwrap();
        for cut in whole..records.end {
            records.files[records.current].set_len(cut).unwrap();
            assert_eq!(again(&records), Some(expected()), "cut at {cut}");
        }
    }

    // Protects: everything after a write of nothing, which a call that changes nothing leads to. Daemons of 8.0.0 wrote an empty
    // frame for it.
    #[test]
    fn a_write_of_nothing_hides_nothing_that_follows() {
        let mut records = written();
        let before = records.end;
        records.write(&changes(None, &[])).unwrap();
        assert_eq!(records.end, before);
        let mut empty = vec![0; 4];
        empty.extend_from_slice(&checksum(&[]).to_le_bytes());
        records.files[records.current]
            .write_all_at(&empty, records.end)
            .unwrap();
        records.end += empty.len() as u64;
        records.write(&changes(Some("h3"), &[])).unwrap();
        assert_eq!(again(&records).unwrap().header, "h3");
    }

    // Protects: the same while the other file is being begun.
    #[test]
    fn a_beginning_that_was_cut_anywhere_leaves_the_other_file_in_use() {
        let mut records = written();
        records.is_other_kept = true;
        records.begin_anew(&changes(Some("h3"), &[])).unwrap();
        assert_eq!(again(&records).unwrap().header, "h3");
        for cut in 0..records.end {
            records.files[records.current].set_len(cut).unwrap();
            assert_eq!(again(&records), Some(expected()), "cut at {cut}");
        }
    }

    // Protects: memory. The past is given up when it outweighs the present.
    #[test]
    fn the_files_stay_small_whatever_happens() {
        let mut records = written();
        let text = "x".repeat(1000);
        for _ in 0..1000 {
            records.write(&changes(None, &[(0, Some(&text))])).unwrap();
            if records.is_wasteful() {
                let all = changes(Some("h2"), &[(0, Some(&text)), (2, Some("c"))]);
                records.begin_anew(&all).unwrap();
            }
            let sizes = records
                .files
                .iter()
                .map(|file| file.metadata().unwrap().len());
            assert!(sizes.sum::<u64>() < WASTE_FREE + 6000);
        }
        assert_eq!(again(&records).unwrap().processes[&0], text);
    }

    // Protects: a later version's file is left alone and the older one used: a new executable that was rolled back.
    #[test]
    fn a_file_of_another_version_is_not_read() {
        let mut frame = vec![0; FRAME_HEAD];
        frame.extend_from_slice(&(VERSION + 1).to_le_bytes());
        frame.extend_from_slice(&9_u64.to_le_bytes());
        let mut records = written();
        records.current = 1 - records.current;
        records.end = 0;
        records.append(frame).unwrap();
        assert_eq!(again(&records), Some(expected()));
    }

    // Protects: bytes from anywhere are no reason to panic, or to take memory that was only promised.
    #[test]
    fn any_bytes_are_read_or_refused() {
        let mut bytes = Vec::new();
        for seed in 0..20_000_u32 {
            bytes.extend_from_slice(&seed.wrapping_mul(2_654_435_761).to_le_bytes());
            if bytes.len() > 64 {
                bytes.clear();
            }
            assert_eq!(thaw(&bytes), None);
            let mut frozen = Frozen::default();
            let _refused = frozen.take(&bytes);
        }
    }
}
