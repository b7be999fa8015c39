//! What must hold for any text that people write: configuration files, schedules and sizes, patterns of paths.
//! Shared by the fuzz targets and by the replay of the corpus in `cargo test`.

use jiff::civil::date;
use jiff::tz::TimeZone;
use pm2::config::check::{Purpose, check};
use pm2::config::{cron, ecosystem, spelling, split_words, units, unknown};
use pm2::daemon::probe;

/// A configuration file: read or refused with a place in it; every app in it is checked or its options named.
pub(crate) fn config(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    for name in ["ecosystem.json", "ecosystem.yaml"] {
        let value = match ecosystem::parse(name, &text) {
            Ok(value) => value,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                continue;
            }
        };
        let Ok(declared) = ecosystem::declarations(value) else {
            continue;
        };
        for app in declared.apps {
            _ = unknown::unknown(&app);
            let app = spelling::canonical(&app);
            for purpose in [Purpose::Start, Purpose::Update] {
                match check(&app, purpose) {
                    Ok(checked) => drop(checked),
                    Err(errors) => assert!(!errors.is_empty()),
                }
            }
        }
    }
    _ = split_words(&text);
}

/// A schedule, or a number with a unit. The next time is later than the one it is asked at.
pub(crate) fn schedule(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    for number in [
        units::number(&text),
        units::bytes(&text),
        units::millis(&text),
    ] {
        assert!(number.is_none_or(|number| !number.is_nan()));
    }
    if cron::check(&text).is_ok() {
        let now = date(2024, 2, 29).at(23, 59, 59, 0);
        let now = now.to_zoned(TimeZone::UTC).expect("a moment");
        let next = cron::next(&text, &now).expect("it was checked");
        assert!(next.is_none_or(|next| next > now));
    }
}

/// Patterns of paths that watch leaves out, one a line; the first line is a path.
pub(crate) fn ignore(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut lines = text.lines().map(str::to_owned);
    let path = lines.next().unwrap_or_default();
    let patterns: Vec<String> = lines.collect();
    let is_ignored = probe::is_ignored(&patterns, &path);
    assert_eq!(is_ignored, probe::is_ignored(&patterns, &path));
    assert!(!is_ignored || !patterns.is_empty());
}
