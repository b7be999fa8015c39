//! Cron patterns: whether one can be meant, and when it comes next.

use croner::parser::{CronParser, Seconds};
use jiff::Zoned;

/// Longest pattern taken. A list of every minute of an hour has 170 characters.
const PATTERN_CHARS_MAX: usize = 1_000;

/// The first moment after `after` that the pattern names, in the time zone of `after`. `None` if there is none any more.
pub fn next(pattern: &str, after: &Zoned) -> Result<Option<Zoned>, String> {
    Ok(parse(pattern)?.find_next_occurrence(after, false).ok())
}

/// Checks that there is a schedule. Gives the reason if there is none.
pub fn check(pattern: &str) -> Result<(), String> {
    parse(pattern).map(drop)
}

fn parse(pattern: &str) -> Result<croner::Cron, String> {
    // Looked at by us first: our texts are pm2's where those are known.
    check_fields(pattern)?;
    let parser = CronParser::builder().seconds(Seconds::Optional).build();
    let parsed = parser.parse(pattern);
    parsed.map_err(|error| format!("CronPattern: '{}': {error}", shorten(pattern)))
}

/// Checks a pattern of five fields, or six with seconds first, or a nickname such as `@daily`. Gives the reason if it is none.
fn check_fields(pattern: &str) -> Result<(), String> {
    const NICKNAMES: [&str; 7] = [
        "@yearly",
        "@annually",
        "@monthly",
        "@weekly",
        "@daily",
        "@midnight",
        "@hourly",
    ];
    if NICKNAMES.contains(&pattern.trim()) {
        return Ok(());
    }
    if pattern.len() > PATTERN_CHARS_MAX && pattern.contains(' ') {
        return Err(format!(
            "CronPattern: longer than {PATTERN_CHARS_MAX} characters"
        ));
    }
    let fields: Vec<&str> = pattern.split_whitespace().collect();
    let limits: &[(&str, u32, u32)] = match fields.len() {
        5 => &FIELDS[1..],
        6 => &FIELDS,
        // Compat: pm2's text, its spelling included; scripts compare it (behaviour 10.2).
        _ => {
            return Err(format!(
                "CronPattern: invalid configuration format ('{}'), exacly five or six space separated parts required.",
                shorten(pattern)
            ));
        }
    };
    for (field, (name, low, high)) in fields.iter().zip(limits) {
        for item in field.split(',') {
            item_is_allowed(item, *low, *high).ok_or_else(|| {
                format!(
                    "CronPattern: '{}' is no {name} ({low} to {high})",
                    shorten(item)
                )
            })?;
        }
    }
    Ok(())
}

const FIELDS: [(&str, u32, u32); 6] = [
    ("second", 0, 59),
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of the month", 1, 31),
    ("month", 1, 12),
    ("day of the week", 0, 7),
];

/// More of a pattern than this in a message helps nobody.
const SHOWN_CHARS: usize = 60;

fn shorten(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}

fn item_is_allowed(item: &str, low: u32, high: u32) -> Option<()> {
    let (range, step) = match item.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (item, None),
    };
    if let Some(step) = step {
        step.parse::<u32>().ok().filter(|step| *step > 0)?;
    }
    match range.split_once('-') {
        Some((from, to)) => {
            value_is_allowed(from, low, high)?;
            value_is_allowed(to, low, high)
        }
        None if range == "*" || range == "?" || (range.is_empty() && step.is_some()) => Some(()),
        None => value_is_allowed(range, low, high),
    }
}

/// A number in its limits; names of months and days, and the letters `L`, `W`, `#` of day fields are left to the daemon.
fn value_is_allowed(text: &str, low: u32, high: u32) -> Option<()> {
    if let Ok(number) = text.parse::<u32>() {
        return (low..=high).contains(&number).then_some(());
    }
    let is_day_or_month = low == 1 || high == 7;
    let plausible = text.len() <= 4
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '#')
        && !text.is_empty();
    (is_day_or_month && plausible).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use jiff::tz::TimeZone;

    #[test]
    fn patterns_of_five_or_six_fields_pass() {
        for good in [
            "* * * * *",
            "*/5 0-23/2 1,15 JAN-DEC MON",
            "0 0 0 L * 5#2",
            "@daily",
            "  1 2 3 4 5  ",
            "0 22 * * 1-5",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    // Protects: seconds, local time with its jumps, and patterns that never come.
    #[test]
    fn the_next_moment_is_told_in_local_time() {
        let new_york = TimeZone::posix("EST5EDT,M3.2.0,M11.1.0").unwrap();
        let next = |pattern: &str, zone: &TimeZone, after: &str| {
            let after: Timestamp = after.parse().unwrap();
            let next = next(pattern, &after.to_zoned(zone.clone())).unwrap();
            next.map(|at| at.strftime("%FT%T%:z").to_string())
        };
        let at = |text: &str| Some(text.to_owned());
        assert_eq!(
            next("* * * * *", &TimeZone::UTC, "2026-01-01T00:00:10Z"),
            at("2026-01-01T00:01:00+00:00")
        );
        assert_eq!(
            next("*/2 * * * * *", &TimeZone::UTC, "2026-01-01T00:00:10Z"),
            at("2026-01-01T00:00:12+00:00")
        );
        assert_eq!(
            next("@daily", &new_york, "2026-03-07T12:00:00-05:00"),
            at("2026-03-08T00:00:00-05:00")
        );
        assert_eq!(
            next("@daily", &new_york, "2026-03-08T12:00:00-04:00"),
            at("2026-03-09T00:00:00-04:00")
        );
        assert_eq!(
            next("0 0 30 2 *", &TimeZone::UTC, "2026-01-01T00:00:00Z"),
            None,
            "there is no such day"
        );
    }

    #[test]
    fn nonsense_is_named() {
        assert_eq!(
            check("zz").unwrap_err(),
            "CronPattern: invalid configuration format ('zz'), exacly five or six space separated parts required."
        );
        for bad in [
            "",
            "99 * * * *",
            "* * * * 9",
            "*/0 * * * *",
            "* * * *",
            "a * * * *",
            "-1 * * * *",
            "* * 0 * *",
            "1,,2 * * * *",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert!(check(&"x".repeat(100_000)).unwrap_err().len() < 300);
    }
}
