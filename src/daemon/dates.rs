//! Dates before log lines, in the format language that pm2's users know (dayjs: `YYYY-MM-DD HH:mm:ss.SSS`).

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::host::zone;

/// How long the time zone counts that was read: somebody may choose another one while we run.
const ZONE_FRESH_FOR: Duration = Duration::from_mins(5);

/// Months and days as dayjs prints them; it knows only English without a plugin.
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

/// Tokens in the order in which they are tried: a longer one comes before its own beginning.
const TOKENS: [(&str, Token); 27] = [
    ("YYYY", Token::Year),
    // Compat: dayjs gives the offset for what it takes for a token and does not know.
    ("YYY", Token::Offset),
    ("YY", Token::YearShort),
    ("Y", Token::Offset),
    ("MMMM", Token::MonthName),
    ("MMM", Token::MonthNameShort),
    ("MM", Token::MonthPadded),
    ("M", Token::Month),
    ("DD", Token::DayPadded),
    ("D", Token::Day),
    ("dddd", Token::WeekdayName),
    ("ddd", Token::WeekdayNameShort),
    ("dd", Token::WeekdayNameMin),
    ("d", Token::Weekday),
    ("HH", Token::HourPadded),
    ("H", Token::Hour),
    ("hh", Token::Hour12Padded),
    ("h", Token::Hour12),
    ("mm", Token::MinutePadded),
    ("m", Token::Minute),
    ("ss", Token::SecondPadded),
    ("s", Token::Second),
    ("SSS", Token::Millisecond),
    ("ZZ", Token::Offset),
    ("Z", Token::OffsetColon),
    ("A", Token::MeridiemUpper),
    ("a", Token::MeridiemLower),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Year,
    YearShort,
    MonthName,
    MonthNameShort,
    MonthPadded,
    Month,
    DayPadded,
    Day,
    WeekdayName,
    WeekdayNameShort,
    WeekdayNameMin,
    Weekday,
    HourPadded,
    Hour,
    Hour12Padded,
    Hour12,
    MinutePadded,
    Minute,
    SecondPadded,
    Second,
    Millisecond,
    Offset,
    OffsetColon,
    MeridiemUpper,
    MeridiemLower,
}

impl Token {
    /// Whether its text may change within one second.
    fn is_below_a_second(self) -> bool {
        self == Self::Millisecond
    }
}

#[derive(Debug)]
enum Part {
    Token(Token),
    Text(String),
}

/// A date format, read once, and the last text it gave: most lines share their second with the line before.
#[derive(Debug)]
pub(crate) struct DateFormat {
    parts: Vec<Part>,
    per_second: bool,
    cached: Option<(i64, String)>,
}

impl DateFormat {
    /// Reads a format. Nothing is refused: what is no token is printed as it is, `[so is this]`.
    pub(crate) fn new(format: &str) -> Self {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = format;
        while let Some(first) = rest.chars().next() {
            if first == '['
                && let Some(end) = rest.find(']').filter(|end| *end > 1)
            {
                text.push_str(&rest[1..end]);
                rest = &rest[end + 1..];
            } else if let Some((name, token)) = TOKENS.iter().find(|(t, _)| rest.starts_with(t)) {
                if !text.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut text)));
                }
                parts.push(Part::Token(*token));
                rest = &rest[name.len()..];
            } else {
                text.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        let per_second = !parts
            .iter()
            .any(|part| matches!(part, Part::Token(token) if token.is_below_a_second()));
        Self {
            parts,
            per_second,
            cached: None,
        }
    }

    /// The text of `wall_ms` (milliseconds since 1970) in the machine's time zone.
    pub(crate) fn text(&mut self, wall_ms: u64) -> &str {
        let key = if self.per_second {
            wall_ms / 1000
        } else {
            wall_ms
        };
        let key = i64::try_from(key).unwrap_or(i64::MAX);
        if self.cached.as_ref().is_none_or(|(at, _)| *at != key) {
            let text = self.render(&zoned(wall_ms, local_zone()));
            self.cached = Some((key, text));
        }
        self.cached.as_ref().map_or("", |(_, text)| text)
    }

    fn render(&self, at: &Zoned) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Token(token) => write_token(&mut out, *token, at),
            }
        }
        out
    }
}

/// `2026-11-20T20:43:22.123Z`, as `JSON.stringify(new Date())` writes it.
pub(crate) fn iso(wall_ms: u64) -> String {
    let at = zoned(wall_ms, TimeZone::UTC);
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// The time zone of this machine.
pub(crate) fn local_zone() -> TimeZone {
    static READ: Mutex<Option<(Instant, TimeZone)>> = Mutex::new(None);
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((at, zone)) = &*read
        && at.elapsed() < ZONE_FRESH_FOR
    {
        return zone.clone();
    }
    let zone = zone::local();
    *read = Some((Instant::now(), zone.clone()));
    zone
}

fn zoned(wall_ms: u64, zone: TimeZone) -> Zoned {
    let ms = i64::try_from(wall_ms).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(ms)
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .to_zoned(zone)
}

fn write_token(out: &mut String, token: Token, at: &Zoned) {
    let hour12 = match at.hour() % 12 {
        0 => 12,
        hour => hour,
    };
    let month = MONTHS[usize::try_from(at.month() - 1).unwrap_or(0) % 12];
    let weekday_number = at.weekday().to_sunday_zero_offset();
    let weekday = DAYS[usize::try_from(weekday_number).unwrap_or(0) % 7];
    let morning = at.hour() < 12;
    // Writing to a String cannot fail.
    let _ = match token {
        Token::Year => write!(out, "{:04}", at.year()),
        Token::YearShort => write!(out, "{:02}", at.year().rem_euclid(100)),
        Token::MonthName => out.write_str(month),
        Token::MonthNameShort => out.write_str(&month[..3]),
        Token::MonthPadded => write!(out, "{:02}", at.month()),
        Token::Month => write!(out, "{}", at.month()),
        Token::DayPadded => write!(out, "{:02}", at.day()),
        Token::Day => write!(out, "{}", at.day()),
        Token::WeekdayName => out.write_str(weekday),
        Token::WeekdayNameShort => out.write_str(&weekday[..3]),
        Token::WeekdayNameMin => out.write_str(&weekday[..2]),
        Token::Weekday => write!(out, "{weekday_number}"),
        Token::HourPadded => write!(out, "{:02}", at.hour()),
        Token::Hour => write!(out, "{}", at.hour()),
        Token::Hour12Padded => write!(out, "{hour12:02}"),
        Token::Hour12 => write!(out, "{hour12}"),
        Token::MinutePadded => write!(out, "{:02}", at.minute()),
        Token::Minute => write!(out, "{}", at.minute()),
        Token::SecondPadded => write!(out, "{:02}", at.second()),
        Token::Second => write!(out, "{}", at.second()),
        Token::Millisecond => write!(out, "{:03}", at.millisecond()),
        Token::Offset => write!(out, "{}", at.strftime("%z")),
        Token::OffsetColon => write!(out, "{}", at.strftime("%:z")),
        Token::MeridiemUpper => out.write_str(if morning { "AM" } else { "PM" }),
        Token::MeridiemLower => out.write_str(if morning { "am" } else { "pm" }),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-20 20:43:22.123 UTC, a Friday.
    const AT: u64 = 1_795_207_402_123;

    fn utc(format: &str) -> String {
        DateFormat::new(format).render(&zoned(AT, TimeZone::UTC))
    }

    // Protects: the formats people have in their ecosystem files.
    #[test]
    fn the_usual_tokens_give_what_dayjs_gives() {
        assert_eq!(utc("YYYY-MM-DDTHH:mm:ss"), "2026-11-20T20:43:22");
        assert_eq!(
            utc("YYYY-MM-DD HH:mm:ss.SSS Z"),
            "2026-11-20 20:43:22.123 +00:00"
        );
        assert_eq!(utc("ddd MMM D YY h:mm A ZZ"), "Fri Nov 20 26 8:43 PM +0000");
        assert_eq!(utc("dddd, MMMM DD [at] HH"), "Friday, November 20 at 20");
        assert_eq!(iso(AT), "2026-11-20T20:43:22.123Z");
    }

    // Protects: a typing error in a format must not stop an app from logging.
    #[test]
    fn a_nonsense_format_is_printed() {
        assert_eq!(utc("[never closed"), "[never clo22e5");
        assert_eq!(utc("%%--"), "%%--");
        // What other libraries have for tokens is text to dayjs, and a year of one or three letters is an offset.
        assert_eq!(utc("x X S SS Q []a"), "x X S SS Q []pm");
        assert_eq!(utc("Y YYY SSSS"), "+0000 +0000 123S");
        assert_eq!(utc(""), "");
    }

    // Protects: the cache must not outlive its second, nor hide milliseconds.
    #[test]
    fn the_cache_is_renewed_when_the_text_changes() {
        let mut seconds = DateFormat::new("s");
        let first = seconds.text(AT).to_owned();
        assert_eq!(seconds.text(AT + 1), first);
        assert_ne!(seconds.text(AT + 1000), first);
        let mut millis = DateFormat::new("SSS");
        assert_eq!(millis.text(AT), "123");
        assert_eq!(millis.text(AT + 1), "124");
    }
}
