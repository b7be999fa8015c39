//! The time zone of this machine, read without the list of all zones there are, which is far larger than the one that is wanted.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

/// The largest zones have 4 kB.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// The machine's choice.
const LOCAL_FILE: &str = "/etc/localtime";
/// Where systems keep the zones, unless `TZDIR` says so.
const FOLDERS: [&str; 4] = [
    "/usr/share/zoneinfo",
    "/usr/lib/zoneinfo",
    "/usr/share/lib/zoneinfo",
    "/etc/zoneinfo",
];

/// The zone that `TZ` names, or else the one of `/etc/localtime`; UTC if that cannot be told.
#[must_use]
pub fn local() -> TimeZone {
    read(&|name| std::env::var_os(name), Path::new(LOCAL_FILE))
}

fn read(variable: &dyn Fn(&str) -> Option<OsString>, local_file: &Path) -> TimeZone {
    let Some(named) = variable("TZ") else {
        return of_file(local_file).unwrap_or(TimeZone::UTC);
    };
    let named = named.to_string_lossy();
    let named = named.strip_prefix(':').unwrap_or(&named);
    let folders = variable("TZDIR").map(PathBuf::from).into_iter();
    let mut folders = folders.chain(FOLDERS.map(PathBuf::from));
    let found = folders.find_map(|folder| {
        // An absolute path takes the place of the folder.
        let exact = of_file(&folder.join(named));
        exact
            .or_else(|_| of_file(&ignoring_case(folder, named)?))
            .ok()
    });
    // A rule: `CET-1CEST,M3.5.0,M10.5.0/3`.
    found.unwrap_or_else(|| TimeZone::posix(named).unwrap_or(TimeZone::UTC))
}

/// The path below `folder` that has this name in whatever case: `europe/berlin` is a zone to Node.
fn ignoring_case(folder: PathBuf, name: &str) -> io::Result<PathBuf> {
    name.split('/').try_fold(folder, |folder, part| {
        let mut entries = std::fs::read_dir(&folder)?.filter_map(Result::ok);
        let entry = entries.find(|entry| entry.file_name().eq_ignore_ascii_case(part));
        Ok(entry.ok_or(io::ErrorKind::NotFound)?.path())
    })
}

fn of_file(path: &Path) -> io::Result<TimeZone> {
    let mut data = Vec::new();
    // A pipe would keep us waiting.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let file = File::open(path)?;
    file.take(FILE_BYTES_MAX).read_to_end(&mut data)?;
    TimeZone::tzif("Local", &data).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    /// Offsets from UTC in January and July of 2026, in hours.
    fn offsets(zone: &TimeZone) -> [i32; 2] {
        [1_768_000_000, 1_784_000_000].map(|second| {
            let at = Timestamp::from_second(second).unwrap();
            zone.to_offset(at).seconds() / 3600
        })
    }

    fn named(tz: &str, dir: &Path) -> TimeZone {
        let variable = |name: &str| match name {
            "TZ" => Some(OsString::from(tz)),
            "TZDIR" => Some(dir.as_os_str().to_owned()),
            _ => None,
        };
        read(&variable, Path::new("/nowhere"))
    }

    /// A zone file of version 2 without transitions, whose rule is this.
    fn zone_file(rule: &str) -> Vec<u8> {
        let head = |version: u8| {
            let mut head = b"TZif".to_vec();
            head.push(version);
            head.extend_from_slice(&[0; 15]);
            // Counts: of UT/local and standard/wall indicators, leap seconds, transitions; of types and letters of their names.
            for count in [0_u32, 0, 0, 0, 1, 4] {
                head.extend_from_slice(&count.to_be_bytes());
            }
            // One type: UTC, no summer time, its name at 0.
            head.extend_from_slice(&[0, 0, 0, 0, 0, 0]);
            head.extend_from_slice(b"UTC\0");
            head
        };
        [head(b'2'), head(b'2'), format!("\n{rule}\n").into_bytes()].concat()
    }

    // Protects: dates in logs and the times of cron patterns in every way people set a zone.
    #[test]
    fn a_zone_is_found_by_name_by_path_and_by_rule() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("Over")).unwrap();
        let path = dir.path().join("Over/Here");
        std::fs::write(&path, zone_file("CET-1CEST,M3.5.0,M10.5.0/3")).unwrap();
        for tz in [
            "Over/Here",
            ":Over/Here",
            "over/HERE",
            path.to_str().unwrap(),
        ] {
            assert_eq!(offsets(&named(tz, dir.path())), [1, 2], "{tz}");
        }
        let rule = "EST5EDT,M3.2.0,M11.1.0";
        assert_eq!(offsets(&named(rule, dir.path())), [-5, -4]);
        let none = |_: &str| None;
        assert_eq!(offsets(&read(&none, &path)), [1, 2], "nothing is said");
    }

    // Protects: a daemon that starts whatever stands in `TZ`.
    #[test]
    fn what_is_no_zone_is_utc() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("broken"), "TZif2").unwrap();
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for tz in ["", ":", "broken", "fifo", "No/Such", "/", "../..", "\u{1}"] {
            assert_eq!(named(tz, dir.path()), TimeZone::UTC, "{tz:?}");
        }
        let none = |_: &str| None;
        assert_eq!(read(&none, Path::new("/nowhere")), TimeZone::UTC);
    }
}
