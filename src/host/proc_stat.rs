//! One read of `/proc/<pid>/stat`, without allocating.

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use std::io::{self, Write};
use std::os::fd::OwnedFd;

/// Fits the longest line: a name of 64 bytes and 51 numbers of at most 20 digits.
const LINE: usize = 1280;

/// The fields that anyone here needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProcStat {
    /// `R`, `S`, `Z`, …
    pub(super) state: u8,
    pub(super) parent: i32,
    pub(super) group: i32,
    pub(super) session: i32,
    /// User and system time in clock ticks, without children.
    pub(super) ticks: u64,
    /// Start after boot in clock ticks; with the pid it names a process for good.
    pub(super) start: u64,
    pub(super) resident_pages: u64,
}

impl ProcStat {
    /// Whether the process has ended and only waits to be reaped.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

/// An open `/proc`.
#[derive(Debug)]
pub(super) struct Proc(pub(super) OwnedFd);

impl Proc {
    pub(super) fn open() -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self(open("/proc", flags, Mode::empty())?))
    }

    /// `None` when there is no such process any more.
    pub(super) fn stat(&self, pid: i32) -> Option<ProcStat> {
        let mut name = [0; 24];
        let mut rest = &mut name[..];
        write!(rest, "{pid}/stat").ok()?;
        let unused = rest.len();
        let name = std::str::from_utf8(&name[..24 - unused]).ok()?;
        let file = openat(
            &self.0,
            name,
            OFlag::O_RDONLY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .ok()?;
        let mut line = [0; LINE];
        let length = nix::unistd::read(&file, &mut line).ok()?;
        parse(&line[..length])
    }
}

fn parse(line: &[u8]) -> Option<ProcStat> {
    // The name may contain blanks and brackets of its own; the last bracket is the kernel's.
    let end = line.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(line.get(end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    // tty, its group, flags, four fault counts; then utime (field 14) and stime.
    let user: u64 = fields.nth(7)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    // Children's times, priority, nice, threads, an unused one; then starttime (22), vsize and rss.
    let start = fields.nth(6)?.parse().ok()?;
    let resident: i64 = fields.nth(1)?.parse().ok()?;
    Some(ProcStat {
        state,
        parent,
        group,
        session,
        ticks: user + system,
        start,
        resident_pages: u64::try_from(resident).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_blanks_does_not_shift_the_fields() {
        // Protects: a process may call itself `) Z 1 (`.
        let line = b"77 () Z 1 () S 7 8 9 0 -1 4194560 1 2 3 4 50 60 5 6 20 0 1 0 4242 1000000 333 18446744073709551615 1 1\n";
        let stat = parse(line).unwrap();
        assert_eq!(
            (
                stat.state,
                stat.parent,
                stat.group,
                stat.session,
                stat.ticks,
                stat.start,
                stat.resident_pages
            ),
            (b'S', 7, 8, 9, 110, 4242, 333)
        );
    }

    #[test]
    fn a_cut_line_is_no_process() {
        assert!(parse(b"77 (a) S 7 8").is_none());
        assert!(parse(b"").is_none());
    }

    #[test]
    fn we_find_ourselves() {
        let own = i32::try_from(std::process::id()).unwrap();
        let stat = Proc::open().unwrap().stat(own).unwrap();
        assert!(!stat.has_ended() && stat.start > 0 && stat.resident_pages > 0);
    }
}
