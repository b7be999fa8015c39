//! One frame: a message as bytes and descriptors, and back.

use super::channel::ProtoError;
use crate::host::handles::FDS_MAX;
use std::collections::VecDeque;
use std::ffi::CString;
use std::os::fd::OwnedFd;

/// The longest payload: a Spawn with the largest environment Linux can exec (2 MiB of strings by default), twice over.
pub const PAYLOAD_MAX: usize = 4 << 20;

/// Length, kind and descriptor count.
pub(super) const HEADER: usize = 6;

/// One message being built or sent.
#[derive(Debug)]
pub struct Frame {
    pub(super) bytes: Vec<u8>,
    /// How much of `bytes` the socket has taken.
    pub(super) sent: usize,
    /// What rides on the first byte.
    pub(super) fds: Vec<OwnedFd>,
}

impl Frame {
    pub(super) fn new() -> Self {
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

    pub(super) fn finish(&mut self) -> Result<usize, ProtoError> {
        self.finish_with(self.fds.len())
    }

    /// The same of one whose descriptors are still to be found.
    pub(super) fn finish_with(&mut self, fds: usize) -> Result<usize, ProtoError> {
        let length = self.bytes.len() - HEADER;
        if length > PAYLOAD_MAX {
            return Err(ProtoError::TooLong(length));
        }
        let fd_count = u8::try_from(fds)
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
    pub(super) rest: &'a [u8],
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

    pub(super) fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
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
