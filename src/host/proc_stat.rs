//! One read of `/proc/<pid>/stat`, without allocating.

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

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
    /// It is no process of its own: threads can be asked for by their numbers too.
    pub(super) is_thread: bool,
    /// Wait status of one that has ended; 0 otherwise, and where we may not know.
    pub(super) exit_status: i32,
}

impl ProcStat {
    /// Whether the process has ended and only waits to be reaped.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

/// What a process has in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resident {
    pub(super) all_pages: u64,
    /// Without what it may share with others.
    pub(super) own_pages: u64,
}

/// An open `/proc`.
#[derive(Debug)]
pub(super) struct Proc(pub(super) OwnedFd);

impl Proc {
    pub(super) fn open() -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self(open("/proc", flags, Mode::empty())?))
    }

    /// `None` when there is no such process or thread any more.
    pub(super) fn stat(&self, pid: i32) -> Option<ProcStat> {
        let mut line = [0; LINE];
        parse(self.read(pid, "stat", &mut line)?)
    }

    /// The memory of a process. `None` when there is no such process any more.
    pub(super) fn resident(&self, pid: i32) -> Option<Resident> {
        let mut line = [0; LINE];
        Resident::parse(self.read(pid, "statm", &mut line)?)
    }

    /// Where to read the memory of this one process again and again, for a third of what opening it each time costs.
    pub(super) fn memory_of(&self, pid: i32) -> Option<Memory> {
        Some(Memory(self.open_file(pid, "statm")?.into()))
    }

    fn open_file(&self, pid: i32, file: &str) -> Option<OwnedFd> {
        let mut name = [0; 24];
        let mut rest = &mut name[..];
        write!(rest, "{pid}/{file}").ok()?;
        let unused = rest.len();
        let name = std::str::from_utf8(&name[..24 - unused]).ok()?;
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        openat(&self.0, name, flags, Mode::empty()).ok()
    }

    fn read<'line>(&self, pid: i32, file: &str, line: &'line mut [u8]) -> Option<&'line [u8]> {
        let file = self.open_file(pid, file)?;
        let length = nix::unistd::read(&file, line).ok()?;
        line.get(..length)
    }
}

/// The memory of one process, as long as that lives. Another one with its number is none of this one's business.
#[derive(Debug)]
pub(super) struct Memory(File);

impl Memory {
    /// `None` when it has gone.
    pub(super) fn resident(&self) -> Option<Resident> {
        let mut line = [0; LINE];
        let length = self.0.read_at(&mut line, 0).ok()?;
        Resident::parse(line.get(..length)?)
    }
}

impl Resident {
    fn parse(line: &[u8]) -> Option<Self> {
        // Size, resident, shared and so on.
        let mut fields = std::str::from_utf8(line)
            .ok()?
            .split_ascii_whitespace()
            .skip(1);
        let all_pages: u64 = fields.next()?.parse().ok()?;
        let shared_pages: u64 = fields.next()?.parse().ok()?;
        Some(Self {
            all_pages,
            own_pages: all_pages.saturating_sub(shared_pages),
        })
    }
}

/// Bytes of a page.
pub(super) fn page_bytes() -> u64 {
    use nix::unistd::{SysconfVar, sysconf};
    let bytes = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    bytes
        .and_then(|bytes| u64::try_from(bytes).ok())
        .unwrap_or(4096)
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
    // Thirteen of limits, addresses and signals; then the signal its parent gets at its end (38), which threads do not have.
    let is_thread = fields.nth(13) == Some("-1");
    // The last field (52) of kernels since 3.5.
    let exit_status = fields.next_back()?.parse().ok()?;
    Some(ProcStat {
        state,
        parent,
        group,
        session,
        ticks: user + system,
        start,
        resident_pages: u64::try_from(resident).unwrap_or(0),
        is_thread,
        exit_status,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_blanks_does_not_shift_the_fields() {
        // Protects: a process may call itself `) Z 1 (`.
        let line = b"77 () Z 1 () S 7 8 9 0 -1 4194560 1 2 3 4 50 60 5 6 20 0 1 0 4242 1000000 333 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0\n";
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
    fn the_exit_status_is_the_last_field() {
        let fields = (3..52).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        let stat = parse(format!("7 (a) Z {fields} 768\n").as_bytes()).unwrap();
        assert_eq!((stat.exit_status, stat.has_ended()), (768, true));
    }

    #[test]
    fn a_cut_line_is_no_process() {
        assert!(parse(b"77 (a) S 7 8").is_none());
        assert!(parse(b"").is_none());
    }

    #[test]
    fn we_find_ourselves() {
        let own = i32::try_from(std::process::id()).unwrap();
        let proc = Proc::open().unwrap();
        let stat = proc.stat(own).unwrap();
        assert!(!stat.has_ended() && !stat.is_thread && stat.start > 0 && stat.resident_pages > 0);
        let resident = proc.resident(own).unwrap();
        assert!(resident.own_pages > 0 && resident.own_pages < resident.all_pages);
        let thread = std::thread::spawn(move || {
            let number = nix::unistd::gettid().as_raw();
            Proc::open().unwrap().stat(number).unwrap().is_thread
        });
        assert!(thread.join().unwrap(), "a thread is no process");
    }
}
