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
//! 4. After [`Report::Shutdown`], or whenever it wants to end, the daemon stops its applications, sends [`Request::Quit`]
//!    and exits. Exiting without `Quit` is a crash: the keeper starts another daemon.
//!
//! Run numbers are the daemon's. They must not repeat within the keeper's life: start above those in `Hello`.

use crate::host::handles::{self, FDS_MAX};
use crate::host::spawn::{Plan, SpawnFailure, Stage};
use std::collections::VecDeque;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// The version of this protocol, in both Hellos. The keeper outlives daemons, so it must be able to say which one it has.
pub const VERSION: u32 = 1;

/// The longest payload: a Spawn with the largest environment Linux can exec (2 MiB of strings by default), twice over.
pub const PAYLOAD_MAX: usize = 4 << 20;

/// The longest key of a stored descriptor: a Unix socket path with a prefix fits several times.
pub const KEY_MAX: usize = 512;

/// Length, kind and descriptor count.
const HEADER: usize = 6;

/// Bytes read at a time; on the stack, so that an idle channel holds nothing.
const READ_CHUNK: usize = 4096;

/// A buffer that grew past this for one large frame is given back when it is empty.
const KEEP_CAPACITY: usize = 16 << 10;

/// What the daemon asks of the keeper.
#[derive(Debug)]
pub enum Request {
    /// Optional first word of the daemon.
    Hello {
        /// The daemon's [`VERSION`].
        version: u32,
    },
    /// Both sockets are bound and served; the ready line has been written.
    Ready,
    /// Start a process.
    Spawn(Box<Spawn>),
    /// Signal one child, and only while it has not been reaped.
    Signal {
        /// The run to signal.
        run: u64,
        /// Signal number.
        signal: i32,
    },
    /// Signal the process group that a child leads, and only while the child has not been reaped.
    SignalGroup {
        /// The run whose group to signal.
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
    /// Close a stored descriptor; nothing happens if there is none.
    Discard {
        /// Its key.
        key: String,
    },
    /// The next daemon, after this one has exited, is this executable. If it does not become ready, the present one is
    /// started again. No application is ended in between.
    Replace {
        /// Absolute path.
        program: CString,
    },
    /// The daemon is about to exit for good: remove `pm2.pid`, wait for the daemon, exit 0.
    Quit,
}

/// A process to start.
#[derive(Debug)]
pub struct Spawn {
    /// The daemon's number for this attempt.
    pub run: u64,
    /// What to execute and how.
    pub plan: Plan,
    /// What becomes descriptor 0, 1, 2, …; a missing one of the first three is `/dev/null`, a later one is closed. The
    /// fourth, descriptor 3, is the IPC channel. At most [`FDS_MAX`].
    pub fds: Vec<Option<OwnedFd>>,
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
        /// Exits that no daemon has been told of.
        exits: Vec<Ended>,
        /// Children of earlier daemons that live, as run and pid.
        running: Vec<(u64, i32)>,
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

/// The end of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// The run.
    pub run: u64,
    /// The pid it had; the number may be in use again by now.
    pub pid: i32,
    /// Exit code or signal.
    pub status: ExitStatus,
}

/// What makes a channel unusable. All but `Io` are mistakes of the peer.
#[derive(Debug, thiserror::Error)]
pub enum ProtoError {
    /// The socket failed.
    #[error("use the channel between keeper and daemon")]
    Io(#[from] io::Error),
    /// A frame longer than [`PAYLOAD_MAX`], ours or the peer's.
    #[error("pass a frame of {0} bytes between keeper and daemon: the limit is {PAYLOAD_MAX}")]
    TooLong(usize),
    /// Bytes that are no frame of this version.
    #[error("understand a frame of kind {0} between keeper and daemon")]
    Malformed(u8),
}

/// One end of the socketpair, with what is half read and half written. Never blocks.
///
/// The keeper polls it; the daemon registers it by its descriptor (`AsRawFd`), receives when it is readable until
/// [`Received::Nothing`], and flushes when it is writable.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    unparsed: Vec<u8>,
    /// How much of `unparsed` has been taken as frames.
    parsed: usize,
    /// Descriptors that have arrived and whose frames have not been taken.
    arrived: VecDeque<OwnedFd>,
    unsent: VecDeque<Frame>,
    unsent_bytes: usize,
}

/// What [`Channel::receive`] found.
#[derive(Debug)]
pub enum Received<M> {
    /// One message; there may be more.
    Message(M),
    /// Nothing more for now.
    Nothing,
    /// The peer has gone, and everything it sent has been taken.
    Closed,
}

impl Channel {
    /// Takes over a connected stream socket and makes it non-blocking.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        handles::set_nonblocking(socket.as_fd(), true)?;
        Ok(Self {
            socket,
            unparsed: Vec::new(),
            parsed: 0,
            arrived: VecDeque::new(),
            unsent: VecDeque::new(),
            unsent_bytes: 0,
        })
    }

    /// Puts a message in line and sends what the socket takes at once.
    ///
    /// An error of the socket is not reported here but by the next `flush` or `receive`. The line is not bounded: who
    /// sends much looks at [`Self::unsent_bytes`] and stops asking for more.
    pub fn send<M: Message>(&mut self, message: M) -> Result<(), ProtoError> {
        let mut frame = Frame::new();
        message.encode(&mut frame);
        let length = frame.finish()?;
        self.unsent_bytes += length;
        self.unsent.push_back(frame);
        // A failure stays with the socket and is met again by whoever polls it.
        let _later = self.flush();
        Ok(())
    }

    /// Sends what the socket takes; `true` when nothing is left.
    pub fn flush(&mut self) -> io::Result<bool> {
        while let Some(frame) = self.unsent.front_mut() {
            let mut fds = [self.socket.as_fd(); FDS_MAX];
            let count = frame.fds.len();
            for (slot, fd) in fds.iter_mut().zip(&frame.fds) {
                *slot = fd.as_fd();
            }
            match handles::send_with_fds(
                self.socket.as_fd(),
                &frame.bytes[frame.sent..],
                &fds[..count],
            ) {
                Ok(sent) => {
                    frame.fds.clear();
                    frame.sent += sent;
                    self.unsent_bytes -= sent;
                    if frame.sent == frame.bytes.len() {
                        self.unsent.pop_front();
                    }
                }
                Err(error) if is_full(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Bytes in line that the socket has not taken.
    #[must_use]
    pub fn unsent_bytes(&self) -> usize {
        self.unsent_bytes
    }

    /// The next message, reading as needed.
    pub fn receive<M: Message>(&mut self) -> Result<Received<M>, ProtoError> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Received::Message(message));
            }
            let mut chunk = [0; READ_CHUNK];
            match handles::receive_with_fds(self.socket.as_fd(), &mut chunk, &mut self.arrived) {
                Ok(0) => return Ok(Received::Closed),
                Ok(count) => self.unparsed.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Received::Nothing);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The next message that has already been read.
    fn take<M: Message>(&mut self) -> Result<Option<M>, ProtoError> {
        let rest = &self.unparsed[self.parsed..];
        let Some((header, body)) = rest.split_at_checked(HEADER) else {
            return Ok(self.tidy());
        };
        let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let (kind, fd_count) = (header[4], usize::from(header[5]));
        if length > PAYLOAD_MAX {
            return Err(ProtoError::TooLong(length));
        }
        let Some(payload) = body.get(..length) else {
            return Ok(self.tidy());
        };
        if fd_count > self.arrived.len() {
            return Err(ProtoError::Malformed(kind));
        }
        let fds = self.arrived.drain(..fd_count).collect();
        let mut reader = Reader { rest: payload, fds };
        let message = M::decode(kind, &mut reader).filter(|_| reader.rest.is_empty());
        self.parsed += HEADER + length;
        message.map(Some).ok_or(ProtoError::Malformed(kind))
    }

    /// Drops the taken frames and the memory of a large one; the answer is always "no message".
    fn tidy<M>(&mut self) -> Option<M> {
        self.unparsed.drain(..self.parsed);
        self.parsed = 0;
        if self.unparsed.is_empty() && self.unparsed.capacity() > KEEP_CAPACITY {
            self.unparsed = Vec::new();
        }
        None
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// `ETOOMANYREFS` means that the peer must first take descriptors out of its socket.
fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
        || error.raw_os_error() == Some(nix::errno::Errno::ETOOMANYREFS as i32)
}

/// One message being built or sent.
#[derive(Debug)]
pub struct Frame {
    bytes: Vec<u8>,
    sent: usize,
    fds: Vec<OwnedFd>,
}

impl Frame {
    fn new() -> Self {
        Self {
            bytes: vec![0; HEADER],
            sent: 0,
            fds: Vec::new(),
        }
    }

    fn kind(&mut self, kind: u8) -> &mut Self {
        self.bytes[4] = kind;
        self
    }

    fn finish(&mut self) -> Result<usize, ProtoError> {
        let length = self.bytes.len() - HEADER;
        if length > PAYLOAD_MAX {
            return Err(ProtoError::TooLong(length));
        }
        let fd_count = u8::try_from(self.fds.len())
            .ok()
            .filter(|count| usize::from(*count) <= FDS_MAX);
        let fd_count = fd_count.ok_or(ProtoError::Malformed(self.bytes[4]))?;
        let length = u32::try_from(length).map_err(|_| ProtoError::TooLong(length))?;
        self.bytes[..4].copy_from_slice(&length.to_le_bytes());
        self.bytes[5] = fd_count;
        Ok(self.bytes.len())
    }

    fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes.push(value);
        self
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn i32(&mut self, value: i32) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Lengths past `u32` would be past `PAYLOAD_MAX` too, where the frame as a whole is refused.
    fn count(&mut self, value: usize) -> &mut Self {
        self.u32(u32::try_from(value).unwrap_or(u32::MAX))
    }

    fn text(&mut self, value: &[u8]) -> &mut Self {
        self.count(value.len());
        self.bytes.extend_from_slice(value);
        self
    }

    fn optional(&mut self, value: Option<u32>) -> &mut Self {
        match value {
            Some(value) => self.u8(1).u32(value),
            None => self.u8(0),
        }
    }
}

/// A payload being taken apart; every answer is `None` past the end.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    fds: VecDeque<OwnedFd>,
}

impl<'a> Reader<'a> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.bytes().map(u8::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.bytes().map(i32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.bytes().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()? as usize;
        let (head, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(head)
    }

    fn string(&mut self) -> Option<String> {
        self.text()
            .and_then(|text| String::from_utf8(text.to_vec()).ok())
    }

    fn c_string(&mut self) -> Option<CString> {
        self.text().and_then(|text| CString::new(text).ok())
    }

    #[expect(
        clippy::option_option,
        reason = "outside: was it readable; inside: was a value given"
    )]
    fn optional(&mut self) -> Option<Option<u32>> {
        match self.u8()? {
            0 => Some(None),
            1 => Some(Some(self.u32()?)),
            _ => None,
        }
    }

    /// As many items as a count before them says; grows by what is there, never by what was promised.
    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.u32()?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(item(self)?);
        }
        Some(items)
    }
}

/// A request or a report.
pub trait Message: Sized {
    /// Writes kind, payload and descriptors.
    fn encode(self, frame: &mut Frame);
    /// The message of this kind; `None` if the payload is not one.
    fn decode(kind: u8, reader: &mut Reader) -> Option<Self>;
}

impl Message for Request {
    fn encode(self, frame: &mut Frame) {
        match self {
            Self::Hello { version } => frame.kind(1).u32(version),
            Self::Ready => frame.kind(2),
            Self::Spawn(spawn) => spawn.encode(frame.kind(3)),
            Self::Signal { run, signal } => frame.kind(4).u64(run).i32(signal),
            Self::SignalGroup { run, signal } => frame.kind(5).u64(run).i32(signal),
            Self::Store { key, fd } => {
                frame.fds.push(fd);
                frame.kind(6).text(key.as_bytes())
            }
            Self::Discard { key } => frame.kind(7).text(key.as_bytes()),
            Self::Replace { program } => frame.kind(8).text(program.as_bytes()),
            Self::Quit => frame.kind(9),
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
            5 => Self::SignalGroup {
                run: reader.u64()?,
                signal: reader.i32()?,
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
            },
            9 => Self::Quit,
            _ => return None,
        })
    }
}

impl Spawn {
    fn encode(self, frame: &mut Frame) -> &mut Frame {
        let Self { run, plan, fds } = self;
        frame.u64(run).text(plan.program.as_bytes());
        for list in [&plan.argv, &plan.env] {
            frame.count(list.len());
            for text in list {
                frame.text(text.as_bytes());
            }
        }
        frame.text(plan.cwd.as_bytes());
        frame
            .optional(plan.uid)
            .optional(plan.gid)
            .optional(plan.umask);
        frame.u8(plan.groups.is_some().into());
        if let Some(groups) = plan.groups {
            frame.count(groups.len());
            for group in groups {
                frame.u32(group);
            }
        }
        frame.count(fds.len());
        for fd in fds {
            frame.u8(fd.is_some().into());
            frame.fds.extend(fd);
        }
        frame
    }

    fn decode(reader: &mut Reader) -> Option<Self> {
        let run = reader.u64()?;
        let program = reader.c_string()?;
        let argv = reader.list(Reader::c_string)?;
        let env = reader.list(Reader::c_string)?;
        let cwd = reader.c_string()?;
        let (uid, gid, umask) = (reader.optional()?, reader.optional()?, reader.optional()?);
        let groups = match reader.u8()? {
            0 => None,
            _ => Some(reader.list(Reader::u32)?),
        };
        let fds = reader.list(|reader| match reader.u8()? {
            0 => Some(None),
            _ => Some(Some(reader.fds.pop_front()?)),
        })?;
        if fds.len() > FDS_MAX {
            return None;
        }
        Some(Self {
            run,
            plan: Plan {
                program,
                argv,
                env,
                cwd,
                uid,
                gid,
                groups,
                umask,
            },
            fds,
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
            } => {
                frame.kind(1).u32(version).i32(keeper).count(exits.len());
                for ended in exits {
                    ended.encode(frame);
                }
                frame.count(running.len());
                for (run, pid) in running {
                    frame.u64(run).i32(pid);
                }
                frame
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
        };
    }

    fn decode(kind: u8, reader: &mut Reader) -> Option<Self> {
        Some(match kind {
            1 => Self::Hello {
                version: reader.u32()?,
                keeper: reader.i32()?,
                exits: reader.list(Ended::decode)?,
                running: reader.list(|reader| Some((reader.u64()?, reader.i32()?)))?,
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
            _ => return None,
        })
    }
}

impl Ended {
    fn encode(self, frame: &mut Frame) -> &mut Frame {
        frame
            .u64(self.run)
            .i32(self.pid)
            .i32(self.status.into_raw())
    }

    fn decode(reader: &mut Reader) -> Option<Self> {
        let (run, pid, status) = (reader.u64()?, reader.i32()?, reader.i32()?);
        Some(Self {
            run,
            pid,
            status: ExitStatus::from_raw(status),
        })
    }
}
