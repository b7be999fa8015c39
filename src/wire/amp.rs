//! AMP frames: one byte with version and argument count, then each argument after its big-endian 32-bit length.

use bytes::Bytes;

use super::intake::Intake;

/// The largest frame a daemon accepts on its RPC socket, headers included.
///
/// The reference has no limit. Its largest requests carry one environment; 64 MiB is far beyond any and still bounded.
pub const MAX_FRAME: usize = 64 * 1024 * 1024;

/// The most arguments a frame can have: the count is four bits.
pub const MAX_ARGUMENTS: usize = 15;

/// The version we write. What we read may say anything, as with the reference.
const VERSION: u8 = 1;

/// Bytes of the length before each argument.
const LENGTH_BYTES: usize = 4;

/// Takes a stream apart into frames, however the bytes arrive.
///
/// After an error the stream has no place left to go on from: everything received is dropped, the same error comes again, and the
/// connection should be closed.
#[derive(Debug)]
pub struct Decoder {
    intake: Intake,
    max_frame: usize,
    /// What is known of the frame in front. Kept so that a frame in many small pieces is still read in linear time.
    header: Header,
    failure: Option<AmpError>,
}

/// How far the frame in front has been read.
#[derive(Debug, Default, Clone, Copy)]
struct Header {
    /// 0: not even the first byte is there.
    count: u8,
    /// Arguments that are here completely.
    complete: u8,
    lengths: [u32; MAX_ARGUMENTS],
    /// Where the next length field begins.
    position: usize,
}

impl Decoder {
    /// A decoder that accepts frames of up to `max_frame` bytes, headers included.
    #[must_use]
    pub fn new(max_frame: usize) -> Self {
        Self {
            intake: Intake::default(),
            max_frame,
            header: Header::default(),
            failure: None,
        }
    }

    /// Adds bytes read from the stream. They are copied once; [`Decoder::next`] copies nothing.
    ///
    /// Drain the decoder with `next` before pushing more, or what is waiting has no bound.
    pub fn push(&mut self, received: &[u8]) {
        if self.failure.is_none() {
            self.intake.push(received);
        }
    }

    /// The next complete frame, or `None` until more bytes have come.
    #[expect(
        clippy::should_implement_trait,
        reason = "`None` means \"not yet\" here, not the end that an iterator would mean"
    )]
    pub fn next(&mut self) -> Result<Option<Frame>, AmpError> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        match self.advance() {
            Ok(true) => Ok(Some(self.take_frame())),
            Ok(false) => {
                self.intake.settle();
                Ok(None)
            }
            Err(failure) => {
                self.intake.clear();
                self.failure = Some(failure);
                Err(failure)
            }
        }
    }

    /// Whether part of a frame is waiting for its rest. At the end of a stream this tells a cut frame from a clean end.
    #[must_use]
    pub fn is_mid_frame(&self) -> bool {
        !self.intake.bytes().is_empty()
    }

    /// Reads on from where the last call stopped; true once the frame in front is complete.
    fn advance(&mut self) -> Result<bool, AmpError> {
        let bytes = self.intake.bytes();
        let header = &mut self.header;
        if header.count == 0 {
            let Some(first) = bytes.first() else {
                return Ok(false);
            };
            header.count = first & 0x0f;
            header.position = 1;
            if header.count == 0 {
                return Err(AmpError::NoArguments);
            }
        }
        while header.complete < header.count {
            let Some(field) = bytes
                .get(header.position..)
                .and_then(<[u8]>::first_chunk::<LENGTH_BYTES>)
            else {
                return Ok(false);
            };
            let length = u32::from_be_bytes(*field);
            // In 64 bits, where fifteen such lengths cannot overflow.
            let end = header.position as u64 + LENGTH_BYTES as u64 + u64::from(length);
            let end = match usize::try_from(end) {
                Ok(end) if end <= self.max_frame => end,
                _ => {
                    return Err(AmpError::FrameTooLong {
                        max: self.max_frame,
                    });
                }
            };
            if bytes.len() < end {
                return Ok(false);
            }
            header.lengths[usize::from(header.complete)] = length;
            header.complete += 1;
            header.position = end;
        }
        Ok(true)
    }

    fn take_frame(&mut self) -> Frame {
        let header = std::mem::take(&mut self.header);
        debug_assert_eq!(header.complete, header.count);
        let mut rest = self.intake.take(header.position);
        let _meta = rest.split_to(1);
        let args = header.lengths[..usize::from(header.count)]
            .iter()
            .map(|&length| {
                let _length = rest.split_to(LENGTH_BYTES);
                rest.split_to(length as usize)
            })
            .collect();
        Frame { args }
    }
}

/// One message: 1 to 15 arguments, still encoded. They share the memory of the frame they came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    args: Vec<Bytes>,
}

impl Frame {
    /// The arguments in order; never empty.
    #[must_use]
    pub fn args(&self) -> &[Bytes] {
        &self.args
    }

    /// The frame as bytes again, with our version.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        begin(&mut out, self.args.len());
        for arg in &self.args {
            write_argument(&mut out, arg);
        }
        out.into()
    }
}

/// A frame of these arguments, which must be encoded already ([`super::arg::Arg::encode`]).
#[must_use]
pub fn encode<const N: usize>(args: &[&[u8]; N]) -> Bytes {
    const {
        assert!(
            N > 0 && N <= MAX_ARGUMENTS,
            "the argument count is four bits and never 0"
        );
    }
    let mut out = Vec::with_capacity(
        1 + args
            .iter()
            .map(|arg| LENGTH_BYTES + arg.len())
            .sum::<usize>(),
    );
    begin(&mut out, N);
    for arg in args {
        write_argument(&mut out, arg);
    }
    out.into()
}

/// Begins a frame in `out`; `count` arguments must follow.
pub(super) fn begin(out: &mut Vec<u8>, count: usize) {
    debug_assert!(
        (1..=MAX_ARGUMENTS).contains(&count),
        "a frame has 1 to 15 arguments, not {count}"
    );
    out.push(u8::try_from(count).map_or(0, |count| VERSION << 4 | count));
}

/// Adds one argument.
pub(super) fn write_argument(out: &mut Vec<u8>, arg: &[u8]) {
    write_argument_with(out, |out| out.extend_from_slice(arg));
}

/// Adds one argument written in place, so that a large one needs no buffer of its own.
pub(super) fn write_argument_with(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    write(out);
    let length = u32::try_from(out.len() - at - LENGTH_BYTES);
    debug_assert!(length.is_ok(), "no message of ours comes near 4 GiB");
    out[at..at + LENGTH_BYTES].copy_from_slice(&length.unwrap_or(u32::MAX).to_be_bytes());
}

/// Why a stream is not made of AMP frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmpError {
    /// The count of arguments is 0. The reference parser loses its place on it, so nobody sends it on purpose.
    #[error("a frame without arguments")]
    NoArguments,
    /// A frame announced more bytes than are accepted. Nothing was allocated for them.
    #[error("a frame of more than {max} bytes")]
    FrameTooLong {
        /// What is accepted.
        max: usize,
    },
}
