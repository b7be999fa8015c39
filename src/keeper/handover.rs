//! What one keeper leaves to the next, as bytes: who is whose child, and under which numbers the descriptors are.
//!
//! A keeper is followed by another in two ways. It is killed: then the daemon writes the record, from what it knows of the
//! keeper, and starts the next one, to which the applications are somebody else's children. Or another version takes over:
//! then the keeper writes it and executes the other version in its place, so that nothing changes its number or its parent.
//! In both cases the record is a file in memory, and every descriptor it names is inherited under that number.
//!
//! The record is read by the same version or a later one, never by an earlier one.

use super::frame::{Frame, HEADER, Reader};
use super::proto::Ended;
use crate::host::memory;
use crate::host::spawn::OpenFiles;
use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// The version of the record. A record of a later version is not understood; one of an earlier version always is.
pub const HANDOVER_VERSION: u32 = 1;

/// How every record begins.
const MAGIC: u32 = u32::from_le_bytes(*b"pm2k");

/// Far more than the largest store takes: 32,768 entries with keys of 512 bytes are 17 MiB.
const RECORD_MAX: u64 = 32 << 20;

/// Names the descriptor of the record.
pub const HANDOVER_VARIABLE: &str = "PM2_HANDOVER_FD";

/// The record. Every number of a descriptor is there once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Handover {
    /// The home's lock.
    pub lock: RawFd,
    /// Its end is the keeper's end: no-daemon mode.
    pub tie: Option<RawFd>,
    /// The daemon, if one lives.
    pub daemon: Option<DaemonLeft>,
    /// Runs whose process lives, or has ended without anybody having seen it.
    pub children: Vec<ChildLeft>,
    /// Stored descriptors by key.
    pub store: Vec<(String, RawFd)>,
    /// Exits that no daemon has settled.
    pub unsettled: Vec<Ended>,
    /// The limit that processes get back, if the keeper raised its own.
    pub open_files: Option<OpenFiles>,
    /// Crashes of daemons that have not been made up for.
    pub crashes: u32,
    /// Whether any daemon has ever been up.
    pub has_served: bool,
}

/// The daemon of the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DaemonLeft {
    /// Its process.
    pub pid: i32,
    /// When it started, in clock ticks since boot.
    pub start: u64,
    /// A descriptor of the process; without one it is the keeper's own child.
    pub watch: Option<RawFd>,
    /// The keeper's end of the channel.
    pub channel: RawFd,
    /// Whether it has said that it serves.
    pub is_ready: bool,
    /// Where its part of the log begins.
    pub log_start: u64,
}

/// One application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChildLeft {
    /// Its run.
    pub run: u64,
    /// Its process.
    pub pid: i32,
    /// When it started, in clock ticks since boot.
    pub start: u64,
    /// The last signal that a daemon had sent to it; 0 if none.
    pub signal: i32,
    /// A descriptor of the process; without one it is the keeper's own child.
    pub watch: Option<RawFd>,
}

/// A record with the descriptors it names.
#[derive(Debug, Default)]
pub struct Parcel<'a> {
    /// What is written.
    pub record: Handover,
    fds: Vec<BorrowedFd<'a>>,
}

impl<'a> Parcel<'a> {
    /// Puts a descriptor in, and gives the number it is to be named by.
    pub fn put(&mut self, fd: BorrowedFd<'a>) -> RawFd {
        self.fds.push(fd);
        fd.as_raw_fd()
    }

    /// Every descriptor that the next keeper must inherit, but for the record's own.
    #[must_use]
    pub fn fds(&self) -> &[BorrowedFd<'a>] {
        &self.fds
    }

    /// The record as a file in memory.
    pub fn write(&self) -> io::Result<OwnedFd> {
        memory::file(&self.record.encode())
    }
}

/// Reads a record to its end. The error says what is wrong with it.
pub(super) fn read(file: OwnedFd) -> io::Result<Handover> {
    let mut bytes = Vec::new();
    File::from(file).take(RECORD_MAX).read_to_end(&mut bytes)?;
    Handover::decode(&bytes).ok_or_else(|| {
        let reason = format!(
            "the {} bytes are no record of version {HANDOVER_VERSION} or before",
            bytes.len()
        );
        io::Error::new(io::ErrorKind::InvalidData, reason)
    })
}

impl Handover {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut frame = Frame::new();
        frame.u32(MAGIC).u32(HANDOVER_VERSION).i32(self.lock);
        put_fd(&mut frame, self.tie);
        frame.u8(self.daemon.is_some().into());
        if let Some(daemon) = self.daemon {
            frame.i32(daemon.pid).u64(daemon.start);
            put_fd(&mut frame, daemon.watch);
            frame.i32(daemon.channel).u8(daemon.is_ready.into());
            frame.u64(daemon.log_start);
        }
        frame.count(self.children.len());
        for child in &self.children {
            frame.u64(child.run).i32(child.pid).u64(child.start);
            put_fd(frame.i32(child.signal), child.watch);
        }
        frame.count(self.store.len());
        for (key, fd) in &self.store {
            frame.text(key.as_bytes()).i32(*fd);
        }
        frame.count(self.unsettled.len());
        for ended in &self.unsettled {
            ended.encode(&mut frame);
        }
        frame.u8(self.open_files.is_some().into());
        if let Some(OpenFiles { soft, hard }) = self.open_files {
            frame.u64(soft).u64(hard);
        }
        frame.u32(self.crashes).u8(self.has_served.into());
        frame.bytes.split_off(HEADER)
    }

    /// What bytes say; nothing if they are no record, or one of a later version. Total: any bytes are read or refused.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader {
            rest: bytes,
            fds: VecDeque::new(),
        };
        let (magic, version) = (reader.u32()?, reader.u32()?);
        if magic != MAGIC || version != HANDOVER_VERSION {
            return None;
        }
        let record = Self {
            lock: reader.i32()?,
            tie: take_fd(&mut reader)?,
            daemon: match reader.u8()? {
                0 => None,
                1 => Some(DaemonLeft {
                    pid: reader.i32()?,
                    start: reader.u64()?,
                    watch: take_fd(&mut reader)?,
                    channel: reader.i32()?,
                    is_ready: reader.flag()?,
                    log_start: reader.u64()?,
                }),
                _ => return None,
            },
            children: reader.list(|reader| {
                Some(ChildLeft {
                    run: reader.u64()?,
                    pid: reader.i32()?,
                    start: reader.u64()?,
                    signal: reader.i32()?,
                    watch: take_fd(reader)?,
                })
            })?,
            store: reader.list(|reader| Some((reader.string()?, reader.i32()?)))?,
            unsettled: reader.list(Ended::decode)?,
            open_files: match reader.u8()? {
                0 => None,
                1 => Some(OpenFiles {
                    soft: reader.u64()?,
                    hard: reader.u64()?,
                }),
                _ => return None,
            },
            crashes: reader.u32()?,
            has_served: reader.flag()?,
        };
        (reader.rest.is_empty() && record.is_sound()).then_some(record)
    }

    /// Whether every descriptor is there once and none is a standard stream: whoever reads this owns each of them. And
    /// whether nobody is there twice, or is somebody who must not be signalled.
    fn is_sound(&self) -> bool {
        let mut fds = HashSet::new();
        let (mut runs, mut pids) = (HashSet::new(), HashSet::new());
        let daemon = self.daemon.iter();
        let of_daemon = daemon.flat_map(|daemon| daemon.watch.into_iter().chain([daemon.channel]));
        let mut all = [self.lock]
            .into_iter()
            .chain(self.tie)
            .chain(of_daemon)
            .chain(self.children.iter().filter_map(|child| child.watch))
            .chain(self.store.iter().map(|(_, fd)| *fd));
        let mut people = self
            .children
            .iter()
            .map(|child| child.pid)
            .chain(self.daemon.map(|daemon| daemon.pid));
        all.all(|fd| fd > 2 && fds.insert(fd))
            && people.all(|pid| pid > 1 && pids.insert(pid))
            && self.children.iter().all(|child| runs.insert(child.run))
    }
}

/// A number, or -1.
fn put_fd(frame: &mut Frame, fd: Option<RawFd>) {
    frame.i32(fd.unwrap_or(-1));
}

#[expect(
    clippy::option_option,
    reason = "outside: was it readable; inside: was a number given"
)]
fn take_fd(reader: &mut Reader) -> Option<Option<RawFd>> {
    Some(match reader.i32()? {
        -1 => None,
        fd => Some(fd),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    fn full() -> Handover {
        Handover {
            lock: 3,
            tie: Some(4),
            daemon: Some(DaemonLeft {
                pid: 100,
                start: 7,
                watch: Some(5),
                channel: 6,
                is_ready: true,
                log_start: 88,
            }),
            children: vec![
                ChildLeft {
                    run: 1,
                    pid: 101,
                    start: 8,
                    signal: 15,
                    watch: Some(7),
                },
                ChildLeft {
                    run: u64::MAX,
                    pid: 102,
                    start: 9,
                    signal: 0,
                    watch: None,
                },
            ],
            store: vec![("state/0".to_owned(), 8), ("rpc".to_owned(), 9)],
            unsettled: vec![
                Ended {
                    run: 5,
                    pid: 90,
                    status: Some(ExitStatus::from_raw(768)),
                },
                Ended {
                    run: 6,
                    pid: 91,
                    status: None,
                },
            ],
            open_files: Some(OpenFiles {
                soft: 1024,
                hard: 4096,
            }),
            crashes: 2,
            has_served: true,
        }
    }

    // Protects: an update. What a released version wrote is read by every later one; add a file for each new version.
    #[test]
    fn records_of_every_version_are_read() {
        let first = include_bytes!("../../__test__/fixtures/handover/1");
        assert_eq!(Handover::decode(first), Some(full()));
        assert_eq!(HANDOVER_VERSION, 1, "a new version needs a file here");
    }

    #[test]
    fn what_is_written_is_read() {
        let empty = Handover {
            lock: 3,
            ..Handover::default()
        };
        for record in [full(), empty] {
            assert_eq!(Handover::decode(&record.encode()), Some(record));
        }
    }

    // Protects: whoever reads a record owns each descriptor in it and may signal each process: nothing may be there twice.
    #[test]
    fn a_record_that_names_something_twice_is_refused() {
        let mut wrong = vec![full(); 7];
        wrong[0].lock = 4;
        wrong[1].store[1].1 = 8;
        wrong[2].children[1].pid = 100;
        wrong[3].children[1].run = 1;
        wrong[4].children[1].pid = 1;
        wrong[5].store[0].1 = 2;
        wrong[6].children[0].watch = Some(9);
        for record in wrong {
            assert_eq!(Handover::decode(&record.encode()), None, "{record:?}");
        }
    }

    #[test]
    fn a_record_that_is_cut_longer_or_of_a_later_version_is_refused() {
        let whole = full().encode();
        for cut in 0..whole.len() {
            assert_eq!(Handover::decode(&whole[..cut]), None, "{cut}");
        }
        assert_eq!(Handover::decode(&[&whole[..], &[0]].concat()), None);
        let mut later = whole;
        later[4] += 1;
        assert_eq!(Handover::decode(&later), None);
    }
}
