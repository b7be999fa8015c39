//! A stream of lines with a limit, taken apart however the bytes arrive.

use bytes::Bytes;

use super::intake::Intake;

/// Received bytes, given out line by line. A line beyond the limit is told once and skipped without being kept.
#[derive(Debug)]
pub(super) struct Lines {
    intake: Intake,
    max_line: usize,
    /// How much of what is waiting holds no line end. Kept so that a long line in small pieces is read in linear time.
    searched: usize,
    /// A line was too long, and its end has not come yet.
    is_skipping: bool,
}

impl Lines {
    /// Lines of up to `max_line` bytes, the line end not counted.
    pub(super) fn new(max_line: usize) -> Self {
        Self {
            intake: Intake::default(),
            max_line,
            searched: 0,
            is_skipping: false,
        }
    }

    pub(super) fn push(&mut self, received: &[u8]) {
        self.intake.push(received);
    }

    /// The next line without its end, or `None` until more bytes have come.
    pub(super) fn next(&mut self) -> Option<Result<Bytes, TooLong>> {
        loop {
            let waiting = self.intake.bytes();
            let end = waiting[self.searched..]
                .iter()
                .position(|&byte| byte == b'\n');
            let Some(end) = end else { return self.wait() };
            let mut line = self.intake.take(self.searched + end + 1);
            self.searched = 0;
            if std::mem::take(&mut self.is_skipping) {
                continue;
            }
            line.truncate(line.len() - 1);
            return Some(if line.len() > self.max_line {
                Err(self.too_long())
            } else {
                Ok(line)
            });
        }
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.intake.bytes().len()
    }

    pub(super) fn is_mid_line(&self) -> bool {
        self.is_skipping || !self.intake.bytes().is_empty()
    }

    /// No line end is there.
    fn wait(&mut self) -> Option<Result<Bytes, TooLong>> {
        let waiting = self.intake.bytes().len();
        if self.is_skipping || waiting > self.max_line {
            self.intake.clear();
            self.searched = 0;
            let was_skipping = std::mem::replace(&mut self.is_skipping, true);
            return (!was_skipping).then(|| Err(self.too_long()));
        }
        self.intake.settle();
        self.searched = waiting;
        None
    }

    fn too_long(&self) -> TooLong {
        TooLong { max: self.max_line }
    }
}

/// A line had more bytes than are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of more than {max} bytes")]
pub struct TooLong {
    /// What is accepted.
    pub max: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split<'a>(
        lines: &mut Lines,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> Vec<Result<Bytes, TooLong>> {
        let mut all = Vec::new();
        for piece in pieces {
            lines.push(piece);
            while let Some(line) = lines.next() {
                all.push(line);
            }
        }
        all
    }

    #[test]
    fn a_line_beyond_the_limit_is_told_once_and_skipped() {
        for size in [1, 3, 1000] {
            let mut lines = Lines::new(6);
            let all = split(
                &mut lines,
                b"123456\n1234567\n7\n1234567890123\n\n8".chunks(size),
            );
            let good = |text: &'static str| Ok(Bytes::from_static(text.as_bytes()));
            let too_long = Err(TooLong { max: 6 });
            assert_eq!(
                all,
                [
                    good("123456"),
                    too_long.clone(),
                    good("7"),
                    too_long,
                    good("")
                ]
            );
            assert!(lines.is_mid_line(), "the 8 has no end yet");
        }
    }

    #[test]
    fn a_line_that_is_skipped_is_not_kept() {
        let mut lines = Lines::new(6);
        assert_eq!(
            split(&mut lines, [&[b'x'; 4096][..], &[b'x'; 4096]]).len(),
            1
        );
        assert_eq!(lines.intake.capacity(), 0);
        assert!(lines.is_mid_line());
    }

    /// Protects against searching a line anew for each piece: quadratic, this would be 10^12 steps.
    #[test]
    fn a_line_in_a_million_pieces_takes_linear_time() {
        let text = [&vec![b'x'; 1_000_000][..], b"\n"].concat();
        assert_eq!(split(&mut Lines::new(1_000_000), text.chunks(1)).len(), 1);
    }
}
