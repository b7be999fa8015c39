//! What daemon and keeper say to each other over the socketpair the daemon finds at descriptor 3.
//!
//! A frame is `u32` little-endian payload length, `u8` kind, `u8` number of descriptors, payload. The descriptors ride on
//! the frame's first byte and are matched to frames in order of arrival.
//!
//! How a daemon talks:
//! 1. The keeper sends [`Report::Hello`], one [`Report::Give`] per stored descriptor, then [`Report::GiveEnd`].
//! 2. The daemon takes over or discards what it was given, binds, and sends [`Request::Ready`]. Only then is the keeper's
//!    start a success: a daemon that dies before its first `Ready` ends the keeper, which reports why on `PM2_READY_FD`.
//! 3. Every [`Request::Spawn`] is answered by one [`Report::Spawned`] or [`Report::SpawnFailed`]; after `Spawned` comes
//!    exactly one [`Report::Exited`]. A `Signal` to a run that has ended, or never was, does nothing.
//!    The daemon answers `Exited` with [`Request::Settled`] once it has taken the exit in for good; until then every new
//!    daemon is told of it again.
//! 4. A daemon that dies is followed by another at once, and no application is touched meanwhile: what the next one needs
//!    is what was stored, and the lists in `Hello`.
//! 5. A keeper that dies is followed by another that the daemon starts: see `handover`. What the daemon hands over is what it
//!    knows the keeper to hold, so requests whose effect it could not know of are acknowledged: a spawn by its witness, a
//!    signal by [`Report::Signalled`].
//! 6. After [`Report::Shutdown`], or whenever it wants to end, the daemon stops its applications, sends [`Request::Quit`]
//!    and exits. Exiting without `Quit` is a crash: the keeper starts another daemon, but not after `Shutdown`. If there is no
//!    daemon when it is time for that, one is started which finds `Shutdown` right behind `Hello`.
//!
//! Run numbers are the daemon's. They must not repeat within the keeper's life: start above those in `Hello`.

pub use super::channel::{Channel, ProtoError, Received};
pub use super::frame::{Frame, Message, PAYLOAD_MAX, Reader};
pub use super::handover::{
    ChildLeft, DaemonLeft, HANDOVER_VARIABLE, HANDOVER_VERSION, Handover, Parcel,
};
pub use super::launch::{Inheritance, PRIVATE_VARIABLES, next_keeper};
pub use super::order::{Roster, Spawn};
pub use super::store::Store;

use crate::host::spawn::{SpawnFailure, Stage};
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// The version of this protocol, in both Hellos. The keeper outlives daemons, so it must be able to say which one it has.
pub const VERSION: u32 = 3;

/// The longest key of a stored descriptor: a Unix socket path with a prefix fits several times.
pub const KEY_MAX: usize = 512;

/// What the daemon asks of the keeper.
#[derive(Debug)]
pub enum Request {
    /// The first word of the daemon: a keeper is only followed by one of the same version or a later one.
    Hello {
        /// The [`VERSION`] of its executable.
        version: u32,
    },
    /// Both sockets are bound and served; the ready line comes next.
    Ready,
    /// Start a process.
    Spawn(Box<Spawn>),
    /// Look after a process that lives and is nobody's any more: its keeper and its daemon have died.
    Adopt {
        /// The daemon's number for it.
        run: u64,
        /// The process.
        pid: i32,
        /// When it started.
        start: u64,
        /// A descriptor of the process.
        watch: OwnedFd,
    },
    /// Signal one child, and only while it has not been reaped.
    Signal {
        /// The run to signal.
        run: u64,
        /// Signal number.
        signal: i32,
    },
    /// Keep a descriptor for the next daemon. Replaces what was under the same key. The daemon keeps its own copy.
    Store {
        /// At most [`KEY_MAX`] bytes.
        key: String,
        /// The descriptor.
        fd: OwnedFd,
    },
    /// Close a stored descriptor, or with a key that ends in `/` all whose keys begin with it; nothing happens if there is
    /// none.
    Discard {
        /// Its key.
        key: String,
    },
    /// The next daemon, after this one has exited, is this executable. If it does not become ready, the present one is
    /// started again, and told why in `Hello`. No application is ended in between.
    Replace {
        /// Absolute path.
        program: CString,
        /// Whole entries `NAME=value` that it gets in place of the environment of daemons so far; empty: the same as now.
        env: Vec<CString>,
    },
    /// The exit of this run has been taken in and need not be told to the next daemon.
    Settled {
        /// The run.
        run: u64,
    },
    /// The daemon is about to exit for good: remove `pm2.pid`, wait for the daemon, exit 0.
    Quit,
}

/// What the keeper tells the daemon.
#[derive(Debug)]
pub enum Report {
    /// The first frame to every daemon.
    Hello {
        /// The keeper's [`VERSION`].
        version: u32,
        /// The keeper's pid, which is the one in `pm2.pid`.
        keeper: i32,
        /// Exits that no daemon has settled.
        exits: Vec<Ended>,
        /// Children of earlier daemons that live.
        running: Vec<Running>,
        /// Why the executable that was to replace the present one did not, if that was the last thing that happened.
        not_replaced: Option<String>,
    },
    /// A descriptor that an earlier daemon stored. The keeper keeps its copy until `Discard`.
    Give {
        /// Its key.
        key: String,
        /// The descriptor.
        fd: OwnedFd,
    },
    /// No more `Give` follows.
    GiveEnd,
    /// The program of this run has been executed.
    Spawned {
        /// The run.
        run: u64,
        /// Its process, leader of its session and group.
        pid: i32,
    },
    /// Nothing of this run exists.
    SpawnFailed {
        /// The run.
        run: u64,
        /// What failed and why.
        failure: SpawnFailure,
    },
    /// A child has been reaped. Processes it started may still live.
    Exited(Ended),
    /// A `Signal` has been carried out: sent, unless the run had ended.
    Signalled {
        /// The run.
        run: u64,
        /// Signal number.
        signal: i32,
    },
    /// Another keeper has taken over: the first frame of one that finds a daemon.
    Took {
        /// The keeper's [`VERSION`].
        version: u32,
        /// The keeper's pid, which is the one in `pm2.pid`.
        keeper: i32,
    },
    /// Stop everything, then `Quit`: someone asked the keeper to end, or the process we are tied to has gone.
    Shutdown,
    /// Reopen log files.
    ReloadLogs,
    /// A `Store` was refused because the store is full or the key too long; the keeper holds nothing under this key.
    StoreRefused {
        /// The key, cut to [`KEY_MAX`].
        key: String,
    },
}

/// One run whose process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// The run.
    pub run: u64,
    /// Its process.
    pub pid: i32,
    /// When that started, in clock ticks since boot: with the number it names the process for good.
    pub start: u64,
    /// The last signal that a daemon had the keeper send to it; 0 if none.
    pub signal: i32,
}

/// The end of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// The run.
    pub run: u64,
    /// The pid it had; the number may be in use again by now.
    pub pid: i32,
    /// Exit code or signal. `None` when the process was somebody else's child and the system did not say.
    pub status: Option<ExitStatus>,
}

impl Request {
    /// The bytes of a [`Request::Store`], for who has the descriptor only when it is sent.
    pub fn storing(key: &str) -> Result<Vec<u8>, ProtoError> {
        let mut frame = Frame::new();
        frame.kind(6).text(key.as_bytes());
        frame.finish_with(1)?;
        Ok(frame.bytes)
    }
}

impl Message for Request {
    fn encode(self, frame: &mut Frame) {
        match self {
            Self::Hello { version } => frame.kind(1).u32(version),
            Self::Ready => frame.kind(2),
            Self::Spawn(spawn) => spawn.encode(frame.kind(3)),
            Self::Adopt {
                run,
                pid,
                start,
                watch,
            } => {
                frame.fds.push(watch);
                frame.kind(5).u64(run).i32(pid).u64(start)
            }
            Self::Signal { run, signal } => frame.kind(4).u64(run).i32(signal),
            Self::Store { key, fd } => {
                frame.fds.push(fd);
                frame.kind(6).text(key.as_bytes())
            }
            Self::Discard { key } => frame.kind(7).text(key.as_bytes()),
            Self::Replace { program, env } => {
                frame.kind(8).text(program.as_bytes()).count(env.len());
                for entry in env {
                    frame.text(entry.as_bytes());
                }
                frame
            }
            Self::Quit => frame.kind(9),
            Self::Settled { run } => frame.kind(10).u64(run),
        };
    }

    fn decode(kind: u8, reader: &mut Reader) -> Option<Self> {
        Some(match kind {
            1 => Self::Hello {
                version: reader.u32()?,
            },
            2 => Self::Ready,
            3 => Self::Spawn(Box::new(Spawn::decode(reader)?)),
            4 => Self::Signal {
                run: reader.u64()?,
                signal: reader.i32()?,
            },
            5 => Self::Adopt {
                run: reader.u64()?,
                pid: reader.i32()?,
                start: reader.u64()?,
                watch: reader.fds.pop_front()?,
            },
            6 => Self::Store {
                key: reader.string()?,
                fd: reader.fds.pop_front()?,
            },
            7 => Self::Discard {
                key: reader.string()?,
            },
            8 => Self::Replace {
                program: reader.c_string()?,
                env: reader.list(Reader::c_string)?,
            },
            9 => Self::Quit,
            10 => Self::Settled { run: reader.u64()? },
            _ => return None,
        })
    }
}

impl Message for Report {
    fn encode(self, frame: &mut Frame) {
        match self {
            Self::Hello {
                version,
                keeper,
                exits,
                running,
                not_replaced,
            } => {
                frame.kind(1).u32(version).i32(keeper).count(exits.len());
                for ended in exits {
                    ended.encode(frame);
                }
                frame.count(running.len());
                for one in running {
                    frame.u64(one.run).i32(one.pid);
                    frame.u64(one.start).i32(one.signal);
                }
                frame.text(not_replaced.unwrap_or_default().as_bytes())
            }
            Self::Give { key, fd } => {
                frame.fds.push(fd);
                frame.kind(2).text(key.as_bytes())
            }
            Self::GiveEnd => frame.kind(3),
            Self::Spawned { run, pid } => frame.kind(4).u64(run).i32(pid),
            Self::SpawnFailed { run, failure } => frame
                .kind(5)
                .u64(run)
                .u8(failure.stage as u8)
                .i32(failure.errno),
            Self::Exited(ended) => ended.encode(frame.kind(6)),
            Self::Shutdown => frame.kind(7),
            Self::ReloadLogs => frame.kind(8),
            Self::StoreRefused { key } => frame.kind(9).text(key.as_bytes()),
            Self::Signalled { run, signal } => frame.kind(10).u64(run).i32(signal),
            Self::Took { version, keeper } => frame.kind(11).u32(version).i32(keeper),
        };
    }

    fn decode(kind: u8, reader: &mut Reader) -> Option<Self> {
        Some(match kind {
            1 => Self::Hello {
                version: reader.u32()?,
                keeper: reader.i32()?,
                exits: reader.list(Ended::decode)?,
                running: reader.list(|reader| {
                    Some(Running {
                        run: reader.u64()?,
                        pid: reader.i32()?,
                        start: reader.u64()?,
                        signal: reader.i32()?,
                    })
                })?,
                not_replaced: Some(reader.string()?).filter(|reason| !reason.is_empty()),
            },
            2 => Self::Give {
                key: reader.string()?,
                fd: reader.fds.pop_front()?,
            },
            3 => Self::GiveEnd,
            4 => Self::Spawned {
                run: reader.u64()?,
                pid: reader.i32()?,
            },
            5 => {
                let run = reader.u64()?;
                let stage = Stage::from_number(reader.u8()?)?;
                Self::SpawnFailed {
                    run,
                    failure: SpawnFailure {
                        stage,
                        errno: reader.i32()?,
                    },
                }
            }
            6 => Self::Exited(Ended::decode(reader)?),
            7 => Self::Shutdown,
            8 => Self::ReloadLogs,
            9 => Self::StoreRefused {
                key: reader.string()?,
            },
            10 => Self::Signalled {
                run: reader.u64()?,
                signal: reader.i32()?,
            },
            11 => Self::Took {
                version: reader.u32()?,
                keeper: reader.i32()?,
            },
            _ => return None,
        })
    }
}

impl Ended {
    pub(super) fn encode(self, frame: &mut Frame) -> &mut Frame {
        frame.u64(self.run).i32(self.pid);
        frame.u8(self.status.is_some().into());
        frame.i32(self.status.map_or(0, ExitStatus::into_raw))
    }

    pub(super) fn decode(reader: &mut Reader) -> Option<Self> {
        let (run, pid) = (reader.u64()?, reader.i32()?);
        let (is_known, status) = (reader.flag()?, reader.i32()?);
        Some(Self {
            run,
            pid,
            status: is_known.then(|| ExitStatus::from_raw(status)),
        })
    }
}
