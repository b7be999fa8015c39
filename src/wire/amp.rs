//! AMP frames: one byte with version and argument count, then each argument after its big-endian 32-bit length.

use bytes::{Bytes, BytesMut};

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

/// How many times what has come of a frame is set aside for the rest of it.
const BELIEVED_TIMES: usize = 16;

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
    /// Bytes of the argument in front that have not come yet, as far as its length says.
    missing: usize,
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

    /// Where to append what is read instead of pushing it, which saves the copy of a large frame. Has room for at least `least` bytes.
    ///
    /// Grows with what has come: a length field is believed up to [`BELIEVED_TIMES`] what is here already, so that a large message is
    /// rarely moved and an empty promise costs nothing.
    pub fn room(&mut self, least: usize) -> &mut BytesMut {
        let here = self.intake.bytes().len();
        let believed = self.header.missing.min(here * BELIEVED_TIMES);
        self.intake.room(least, believed)
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

    /// How many bytes were pushed and are not part of a frame that was given out.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.intake.bytes().len()
    }

    /// Whether part of a frame is waiting for its rest. At the end of a stream this tells a cut frame from a clean end.
    #[must_use]
    pub fn is_mid_frame(&self) -> bool {
        !self.intake.bytes().is_empty()
    }

    /// What has come of the first argument of the frame in front, as long as that argument is not complete.
    #[must_use]
    pub fn begun(&self) -> &[u8] {
        let Header {
            complete,
            position,
            missing,
            ..
        } = self.header;
        if complete > 0 || missing == 0 {
            return &[];
        }
        let bytes = self.intake.bytes().get(position + LENGTH_BYTES..);
        bytes.unwrap_or_default()
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
                header.missing = end - bytes.len();
                return Ok(false);
            }
            header.missing = 0;
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

/// Adds the length of an argument, which must follow.
pub(super) fn write_length(out: &mut Vec<u8>, length: usize) {
    let length = u32::try_from(length);
    debug_assert!(length.is_ok(), "no message of ours comes near 4 GiB");
    out.extend_from_slice(&length.unwrap_or(u32::MAX).to_be_bytes());
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 1024;

    /// Feeds the pieces and takes out everything after each.
    fn decode<'a>(
        decoder: &mut Decoder,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> (Vec<Frame>, Option<AmpError>) {
        let mut frames = Vec::new();
        for piece in pieces {
            decoder.push(piece);
            loop {
                match decoder.next() {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(failure) => return (frames, Some(failure)),
                }
            }
        }
        (frames, None)
    }

    fn frame(args: &[&[u8]]) -> Frame {
        Frame {
            args: args.iter().map(|arg| Bytes::copy_from_slice(arg)).collect(),
        }
    }

    #[test]
    fn a_frame_is_a_version_a_count_and_arguments_after_their_lengths() {
        assert_eq!(encode(&[b"s:hi", b""]), &b"\x12\0\0\0\x04s:hi\0\0\0\0"[..]);
        assert_eq!(frame(&[b"s:hi", b""]).encode(), encode(&[b"s:hi", b""]));
    }

    #[test]
    fn an_empty_last_argument_is_given_out_at_once() {
        let mut decoder = Decoder::new(LIMIT);
        let (frames, failure) = decode(&mut decoder, [&b"\x11\0\0\0\0"[..]]);
        assert_eq!((frames, failure), (vec![frame(&[b""])], None));
        assert!(!decoder.is_mid_frame());
    }

    #[test]
    fn a_frame_without_arguments_is_an_error_that_stays() {
        let mut decoder = Decoder::new(LIMIT);
        let good = encode(&[b"x"]);
        let (frames, failure) = decode(&mut decoder, [&good[..], b"\x10", &good]);
        assert_eq!((frames.len(), failure), (1, Some(AmpError::NoArguments)));
        decoder.push(&good);
        assert_eq!(decoder.next(), Err(AmpError::NoArguments));
        assert_eq!(
            decoder.intake.capacity(),
            0,
            "nothing is kept for a dead connection"
        );
    }

    #[test]
    fn any_version_is_accepted() {
        for version in 0..=15_u8 {
            let (frames, _) = decode(
                &mut Decoder::new(LIMIT),
                [&[version << 4 | 1, 0, 0, 0, 1, b'a'][..]],
            );
            assert_eq!(frames, [frame(&[b"a"])]);
        }
    }

    #[test]
    fn a_frame_of_the_limit_is_accepted_and_one_byte_more_is_refused_by_its_length_alone() {
        for (argument, is_accepted) in [(LIMIT - 5, true), (LIMIT - 4, false)] {
            let bytes = encode(&[&vec![b'x'; argument]]);
            let (frames, failure) = decode(&mut Decoder::new(LIMIT), [&bytes[..5], &bytes[5..]]);
            assert_eq!(frames.len(), usize::from(is_accepted));
            assert_eq!(failure.is_none(), is_accepted);
        }
    }

    #[test]
    fn fifteen_lengths_of_four_gigabytes_are_refused_and_nothing_is_allocated() {
        let mut decoder = Decoder::new(usize::MAX);
        let (frames, failure) = decode(&mut decoder, [&b"\x1f\xff\xff\xff\xffabc"[..]]);
        assert_eq!((frames, failure), (vec![], None));
        assert!(decoder.intake.capacity() < 1024);
        let (_, failure) = decode(&mut Decoder::new(MAX_FRAME), [&b"\x1f\xff\xff\xff\xff"[..]]);
        assert_eq!(failure, Some(AmpError::FrameTooLong { max: MAX_FRAME }));
    }

    #[test]
    fn the_end_of_a_stream_inside_a_frame_is_told_apart() {
        let bytes = encode(&[b"abc", b"s:1:0"]);
        for cut in 0..=bytes.len() {
            let mut decoder = Decoder::new(LIMIT);
            decode(&mut decoder, [&bytes[..cut]]);
            assert_eq!(
                decoder.is_mid_frame(),
                cut != 0 && cut != bytes.len(),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn arguments_are_slices_of_the_frame_they_came_in() {
        let (frames, _) = decode(&mut Decoder::new(LIMIT), [&encode(&[b"abc", b"defg"])[..]]);
        let [first, second] = frames[0].args() else {
            panic!("two arguments")
        };
        assert_eq!(
            first.as_ptr().wrapping_add(3 + LENGTH_BYTES),
            second.as_ptr()
        );
    }

    #[test]
    fn the_memory_of_a_huge_frame_is_given_back() {
        let huge = encode(&[&vec![b'x'; 4 << 20], b"s:1:0"]);
        for rest in [&b""[..], b"\x12\0\0\0"] {
            let mut decoder = Decoder::new(MAX_FRAME);
            let bytes = [&huge[..], rest].concat();
            let (frames, failure) = decode(&mut decoder, bytes.chunks(64 * 1024));
            assert_eq!((frames.len(), failure), (1, None));
            assert!(
                decoder.intake.capacity() <= 64,
                "{} bytes are held",
                decoder.intake.capacity()
            );
        }
    }

    /// Protects against reading a frame anew for each piece: quadratic, this would be 10^12 steps.
    #[test]
    fn a_frame_in_a_million_pieces_takes_linear_time() {
        let bytes = encode(&[&vec![b'x'; 1_000_000]]);
        let (frames, _) = decode(&mut Decoder::new(MAX_FRAME), bytes.chunks(1));
        assert_eq!(frames.len(), 1);
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_the_same_however_it_is_split(
            frames in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..=15), 1..5),
            sizes in prop::collection::vec(1..50_usize, 1..200),
        ) {
            let frames: Vec<Frame> =
                frames.into_iter().map(|args| Frame { args: args.into_iter().map(Bytes::from).collect() }).collect();
            let bytes = frames.iter().map(Frame::encode).collect::<Vec<_>>().concat();
            let mut rest = &bytes[..];
            let mut pieces = Vec::new();
            for size in sizes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*size).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            let mut decoder = Decoder::new(MAX_FRAME);
            let decoded = decode(&mut decoder, pieces);
            prop_assert_eq!(decoded, (frames, None));
            prop_assert!(!decoder.is_mid_frame());
        }

        #[test]
        fn arbitrary_bytes_give_the_same_frames_or_error_in_one_piece_and_byte_by_byte(
            bytes in prop::collection::vec(prop_oneof![3 => 0..=20_u8, 1 => any::<u8>()], 0..300),
        ) {
            let whole = decode(&mut Decoder::new(LIMIT), [&bytes[..]]);
            let single = decode(&mut Decoder::new(LIMIT), bytes.chunks(1));
            prop_assert_eq!(whole, single);
        }
    }
}
