//! What an app wrote, made into what its log files and the bus get: as it is, with dates, or as JSON.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::rc::Rc;

use super::dates::{self, DateFormat};
use super::logs::{LogError, LogFile, Logs};

/// An unfinished line that is waited for. A longer one is treated as if it had ended.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// How much a carried buffer may keep of its memory once it is empty.
const CARRY_BYTES_KEPT: usize = 0;

/// Where and how the output of one run is logged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogSettings {
    /// `pm_out_log_path`.
    pub(crate) out: PathBuf,
    /// `pm_err_log_path`.
    pub(crate) err: PathBuf,
    /// `pm_log_path`: both streams, in addition.
    pub(crate) combined: Option<PathBuf>,
    /// `log_date_format`.
    pub(crate) date_format: Option<String>,
    /// `log_type: 'json'`.
    pub(crate) is_json: bool,
    /// `disable_logs`: neither files nor events.
    pub(crate) is_disabled: bool,
    /// JSON envelopes name the process.
    pub(crate) pm_id: u32,
    /// JSON envelopes name the process.
    pub(crate) name: String,
}

/// Which of a process's two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// stdout.
    Out,
    /// stderr.
    Err,
}

impl Stream {
    /// The name of its event on the bus.
    pub(crate) fn event(self) -> &'static str {
        match self {
            Self::Out => "log:out",
            Self::Err => "log:err",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::Err => "err",
        }
    }
}

/// One read from a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunk<'a> {
    /// Which stream.
    pub(crate) stream: Stream,
    /// What was read; empty when nothing more is there, now or ever.
    pub(crate) bytes: &'a [u8],
    /// With bytes: more may already be waiting, so an unfinished last line ends in the next chunk. Without: the stream goes on.
    pub(crate) is_cut: bool,
}

/// The log of one run: its files, its format, and what waits for the rest of its line.
#[derive(Debug)]
pub(crate) struct RunLog {
    logs: Rc<Logs>,
    files: [Option<Rc<LogFile>>; 2],
    combined: Option<Rc<LogFile>>,
    format: Format,
    carries: [Vec<u8>; 2],
    is_disabled: bool,
}

#[derive(Debug)]
enum Format {
    Raw,
    Dated(Box<DateFormat>),
    Json(Box<Envelope>),
}

#[derive(Debug)]
struct Envelope {
    date: Option<DateFormat>,
    tail: String,
}

impl RunLog {
    /// Opens the files. Those that exist are continued.
    pub(crate) fn open(logs: &Rc<Logs>, settings: &LogSettings) -> Result<Self, LogError> {
        let open = |path: &PathBuf| {
            if settings.is_disabled {
                return Ok(None);
            }
            logs.open(path)
        };
        let date = settings.date_format.as_deref().filter(|f| !f.is_empty());
        let date = date.map(DateFormat::new);
        let format = match (settings.is_json, date) {
            (true, date) => {
                let name = serde_json::Value::from(settings.name.as_str());
                let pm_id = settings.pm_id;
                let tail = format!(",\"process_id\":{pm_id},\"app_name\":{name}}}\n");
                Format::Json(Box::new(Envelope { date, tail }))
            }
            (false, Some(date)) => Format::Dated(Box::new(date)),
            (false, None) => Format::Raw,
        };
        Ok(Self {
            logs: Rc::clone(logs),
            files: [open(&settings.out)?, open(&settings.err)?],
            combined: settings.combined.as_ref().map_or(Ok(None), open)?,
            format,
            carries: [Vec::new(), Vec::new()],
            is_disabled: settings.is_disabled,
        })
    }

    /// Appends to the files; gives the text for the bus if `is_heard` and there is any.
    pub(crate) fn accept(
        &mut self,
        chunk: Chunk<'_>,
        wall_ms: u64,
        is_heard: bool,
    ) -> Option<String> {
        if self.is_disabled {
            return None;
        }
        if matches!(self.format, Format::Raw) {
            self.store(chunk.stream, chunk.bytes);
            return self.raw_text(chunk, is_heard);
        }
        let carry = &mut self.carries[chunk.stream as usize];
        if carry.is_empty() && chunk.bytes.is_empty() {
            return None;
        }
        let mut bytes = std::mem::take(carry);
        bytes.extend_from_slice(chunk.bytes);
        let whole = whole_length(&bytes, chunk);
        *carry = bytes.split_off(whole);
        carry.shrink_to(CARRY_BYTES_KEPT);
        if bytes.is_empty() {
            return None;
        }
        let text = self.format.text(chunk.stream, &bytes, wall_ms);
        self.store(chunk.stream, text.as_bytes());
        is_heard.then_some(text)
    }

    /// How long a stream's own file is now; 0 if it has none.
    pub(crate) fn length(&self, stream: Stream) -> u64 {
        let own = self.files[stream as usize]
            .as_ref()
            .or(self.combined.as_ref());
        own.map_or(0, |file| file.length())
    }

    /// How many of these bytes an earlier daemon stored that died while it did so. `before` is how long the file was.
    pub(crate) fn stored(&self, stream: Stream, bytes: &[u8], before: u64) -> usize {
        let now = self.length(stream);
        let written = usize::try_from(now.saturating_sub(before)).unwrap_or(usize::MAX);
        match self.format {
            Format::Raw => written.min(bytes.len()),
            // What was written is longer than what was read, and one write.
            Format::Dated(_) | Format::Json(_) if written > 0 => bytes.len(),
            Format::Dated(_) | Format::Json(_) => 0,
        }
    }

    fn store(&self, stream: Stream, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let own = &self.files[stream as usize];
        for file in own.iter().chain(&self.combined) {
            self.logs.append(file, bytes);
        }
    }

    /// The files get bytes, the bus gets text: a character cut in two waits for its other half.
    fn raw_text(&mut self, chunk: Chunk<'_>, is_heard: bool) -> Option<String> {
        let carry = &mut self.carries[chunk.stream as usize];
        if !is_heard {
            *carry = Vec::new();
            return None;
        }
        let mut bytes = std::mem::take(carry);
        bytes.extend_from_slice(chunk.bytes);
        if !chunk.bytes.is_empty() || chunk.is_cut {
            let whole = whole_characters(&bytes);
            *carry = bytes.split_off(whole);
            carry.shrink_to(CARRY_BYTES_KEPT);
        }
        (!bytes.is_empty()).then(|| lossy(bytes))
    }
}

impl Format {
    fn text(&mut self, stream: Stream, bytes: &[u8], wall_ms: u64) -> String {
        let text = String::from_utf8_lossy(bytes);
        match self {
            Self::Raw => text.into_owned(),
            Self::Dated(date) => {
                let date = date.text(wall_ms);
                let mut out = String::with_capacity(text.len() + 64);
                for line in text.strip_suffix('\n').unwrap_or(&text).split('\n') {
                    // Writing to a String cannot fail.
                    let _ = writeln!(out, "{date}: {line}");
                }
                out
            }
            Self::Json(envelope) => {
                let message = serde_json::Value::from(text);
                let timestamp = match &mut envelope.date {
                    Some(date) => date.text(wall_ms).to_owned(),
                    None => dates::iso(wall_ms),
                };
                let timestamp = serde_json::Value::from(timestamp);
                let word = stream.word();
                let tail = &envelope.tail;
                format!(
                    "{{\"message\":{message},\"timestamp\":{timestamp},\"type\":\"{word}\"{tail}"
                )
            }
        }
    }
}

/// How much of `bytes` is to be formatted now. pm2 ends a line wherever a read ended; ours does so only where the app's write
/// ended too, as far as that can be told.
fn whole_length(bytes: &[u8], chunk: Chunk<'_>) -> usize {
    if chunk.bytes.is_empty() && !chunk.is_cut {
        return bytes.len();
    }
    if chunk.bytes.is_empty() || !chunk.is_cut {
        return whole_characters(bytes);
    }
    let lines = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
    if bytes.len() - lines > LINE_BYTES_MAX {
        return whole_characters(bytes);
    }
    lines
}

/// The length of `bytes` without the beginning of a character at its end.
fn whole_characters(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(3);
    for at in (tail..bytes.len()).rev() {
        let needed = match bytes[at] {
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            0x80..=0xBF => continue,
            _ => break,
        };
        if bytes.len() - at < needed {
            return at;
        }
        break;
    }
    bytes.len()
}

fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Case {
        _home: tempfile::TempDir,
        out: PathBuf,
        log: RunLog,
    }

    fn case(change: impl FnOnce(&mut LogSettings)) -> Case {
        let home = tempfile::tempdir().unwrap();
        let out = home.path().join("o.log");
        let mut settings = LogSettings {
            out: out.clone(),
            pm_id: 23,
            name: "l\"j".to_owned(),
            ..LogSettings::default()
        };
        change(&mut settings);
        let log = RunLog::open(&Rc::default(), &settings).unwrap();
        Case {
            _home: home,
            out,
            log,
        }
    }

    impl Case {
        fn feed(&mut self, bytes: &[u8], is_cut: bool) -> Option<String> {
            let chunk = Chunk {
                stream: Stream::Out,
                bytes,
                is_cut,
            };
            self.log.accept(chunk, 1_795_207_402_123, true)
        }

        fn file(&self) -> String {
            std::fs::read_to_string(&self.out).unwrap()
        }
    }

    // Protects: files get the app's bytes at once; the bus never gets half a character.
    #[test]
    fn raw_bytes_are_stored_as_they_are_and_published_in_whole_characters() {
        let mut case = case(|_| {});
        assert_eq!(
            case.feed("a\u{e9}".as_bytes().split_at(2).0, false)
                .as_deref(),
            Some("a")
        );
        assert_eq!(
            case.feed(&"\u{e9}".as_bytes()[1..], false).as_deref(),
            Some("\u{e9}")
        );
        assert_eq!(case.feed(b"\xff!", false).as_deref(), Some("\u{fffd}!"));
        assert_eq!(std::fs::read(&case.out).unwrap(), b"a\xc3\xa9\xff!");
    }

    // Protects: every line has its date, also the last one without an end; lines cut by our reads stay whole.
    #[test]
    fn dates_stand_before_every_line_and_never_inside_one() {
        let mut case = case(|s| s.date_format = Some("[D]".to_owned()));
        assert_eq!(
            case.feed(b"one\ntwo", false).as_deref(),
            Some("D: one\nD: two\n")
        );
        assert_eq!(case.feed(b"three\nfo", true).as_deref(), Some("D: three\n"));
        assert_eq!(
            case.feed(b"ur\n\n", false).as_deref(),
            Some("D: four\nD: \n")
        );
        assert_eq!(case.feed(b"fi\xc3", true), None);
        assert_eq!(
            case.feed(b"", true).as_deref(),
            Some("D: fi\n"),
            "nothing more for now"
        );
        assert_eq!(case.feed(b"\xa9", false).as_deref(), Some("D: \u{e9}\n"));
        assert_eq!(case.feed(b"fi", true), None);
        assert_eq!(
            case.feed(b"", false).as_deref(),
            Some("D: fi\n"),
            "the end of the stream"
        );
        assert_eq!(
            case.file(),
            "D: one\nD: two\nD: three\nD: four\nD: \nD: fi\nD: \u{e9}\nD: fi\n"
        );
    }

    // Protects: the JSON envelope's members and their order.
    #[test]
    fn json_logs_are_one_object_per_chunk() {
        let mut case = case(|s| s.is_json = true);
        case.feed(b"line1\nline2\n", false);
        assert_eq!(
            case.file(),
            "{\"message\":\"line1\\nline2\\n\",\"timestamp\":\"2026-11-20T20:43:22.123Z\",\"type\":\"out\",\"process_id\":23,\"app_name\":\"l\\\"j\"}\n"
        );
    }

    // Protects: both streams reach the combined file; `disable_logs` silences files and bus.
    #[test]
    fn combined_and_disabled_logs() {
        let mut both = case(|s| s.combined = Some(std::mem::take(&mut s.out)));
        let err = Chunk {
            stream: Stream::Err,
            bytes: b"e\n",
            is_cut: false,
        };
        both.log.accept(err, 0, false);
        both.feed(b"o\n", false);
        assert_eq!(both.file(), "e\no\n");
        let mut none = case(|s| s.is_disabled = true);
        assert_eq!(none.feed(b"x\n", false), None);
        assert!(!none.out.exists());
    }
}
