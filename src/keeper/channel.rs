//! Frames over a socketpair: what is half read, half written, and the descriptors that ride along. Never blocks.

use crate::host::handles::{self, FDS_MAX};
use std::collections::VecDeque;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// The longest payload: a Spawn with the largest environment Linux can exec (2 MiB of strings by default), twice over.
pub const PAYLOAD_MAX: usize = 4 << 20;

/// Length, kind and descriptor count.
const HEADER: usize = 6;

/// Bytes read at a time; on the stack, so that an idle channel holds nothing.
const READ_CHUNK: usize = 4096;

/// A buffer that grew past this for one large frame is given back when it is empty.
const KEEP_CAPACITY: usize = 16 << 10;

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
                // The peer ended before it read everything of ours.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Ok(Received::Closed);
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
    /// What rides on the first byte.
    pub(super) fds: Vec<OwnedFd>,
}

impl Frame {
    fn new() -> Self {
        Self {
            bytes: vec![0; HEADER],
            sent: 0,
            fds: Vec::new(),
        }
    }

    pub(super) fn kind(&mut self, kind: u8) -> &mut Self {
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

    pub(super) fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes.push(value);
        self
    }

    pub(super) fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(super) fn i32(&mut self, value: i32) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(super) fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Lengths past `u32` would be past `PAYLOAD_MAX` too, where the frame as a whole is refused.
    pub(super) fn count(&mut self, value: usize) -> &mut Self {
        self.u32(u32::try_from(value).unwrap_or(u32::MAX))
    }

    pub(super) fn text(&mut self, value: &[u8]) -> &mut Self {
        self.count(value.len());
        self.bytes.extend_from_slice(value);
        self
    }

    pub(super) fn optional(&mut self, value: Option<u32>) -> &mut Self {
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
    /// Those of this frame, in order.
    pub(super) fds: VecDeque<OwnedFd>,
}

impl<'a> Reader<'a> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.bytes().map(u8::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.bytes().map(u32::from_le_bytes)
    }

    pub(super) fn i32(&mut self) -> Option<i32> {
        self.bytes().map(i32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.bytes().map(u64::from_le_bytes)
    }

    pub(super) fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()? as usize;
        let (head, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(head)
    }

    pub(super) fn string(&mut self) -> Option<String> {
        self.text()
            .and_then(|text| String::from_utf8(text.to_vec()).ok())
    }

    pub(super) fn c_string(&mut self) -> Option<CString> {
        self.text().and_then(|text| CString::new(text).ok())
    }

    #[expect(
        clippy::option_option,
        reason = "outside: was it readable; inside: was a value given"
    )]
    pub(super) fn optional(&mut self) -> Option<Option<u32>> {
        match self.u8()? {
            0 => Some(None),
            1 => Some(Some(self.u32()?)),
            _ => None,
        }
    }

    /// As many items as a count before them says; grows by what is there, never by what was promised.
    pub(super) fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
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
