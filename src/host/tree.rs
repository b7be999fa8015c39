//! All processes that belong to one: found from a single look at `/proc`, and told apart from later ones with their number.

use super::handles::Pidfd;
use super::proc_stat::{Proc, ProcStat};
use nix::libc;
use std::collections::HashSet;
use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _};
use std::mem::offset_of;
use std::os::fd::AsRawFd;

/// Bytes of folder entries taken per system call, on the stack.
const ENTRIES: usize = 8192;

/// What forks faster than it can be stopped for so many rounds is no accident that we could clean up after.
const STOP_ROUNDS: usize = 32;

/// A fork that was under way when the stop arrived shows up in the round after.
const QUIET_ROUNDS: usize = 2;

/// No more of an environment is looked through; the kernel lets a program have about twice that.
const ENVIRONMENT_BYTES_MAX: u64 = 1 << 20;

/// The variables that tell the runs of one home apart. Descendants inherit them.
const MARK_NAMES: [&[u8]; 3] = [b"pm_id", b"pm_uptime", b"unique_id"];

/// What a run's environment has that no other run's has, and that whatever it starts inherits: a digest of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark(u64);

impl Mark {
    /// The mark in these `NAME=value` texts. `None` where a part of it is missing.
    pub fn of<'a>(entries: &(impl Iterator<Item = &'a [u8]> + Clone)) -> Option<Self> {
        let value = |name: &[u8]| {
            let value = |entry: &'a [u8]| entry.strip_prefix(name)?.strip_prefix(b"=");
            entries.clone().find_map(value)
        };
        let mut digest = DefaultHasher::new();
        // The keeper of another home, which an app has started, is nobody's descendant.
        value(b"PM2_HOME").hash(&mut digest);
        for name in MARK_NAMES {
            value(name)?.hash(&mut digest);
        }
        Some(Self(digest.finish()))
    }

    /// The mark in the environment that this process was executed with, as far as we may read it.
    fn of_process(pid: i32) -> Option<Self> {
        let file = File::open(format!("/proc/{pid}/environ")).ok()?;
        let mut bytes = Vec::new();
        let mut file = file.take(ENVIRONMENT_BYTES_MAX);
        file.read_to_end(&mut bytes).ok()?;
        Self::of(&bytes.split(|byte| *byte == 0))
    }
}

/// One process for good: a number is used again, number and start time are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Its number.
    pub pid: i32,
    /// When it started, in clock ticks since boot.
    pub start: u64,
}

impl Identity {
    /// The process that has this number now, zombies included.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        let stat = Proc::open().ok()?.stat(pid)?;
        Some(Self {
            pid,
            start: stat.start,
        })
    }

    /// Whether it still runs; a zombie does not.
    #[must_use]
    pub fn is_alive(self) -> bool {
        let stat = Proc::open().ok().and_then(|proc| proc.stat(self.pid));
        stat.is_some_and(|stat| stat.start == self.start && !stat.has_ended())
    }

    /// The mark of the run that it belongs to, if it was executed with one.
    #[must_use]
    pub fn mark(self) -> Option<Mark> {
        let mark = Mark::of_process(self.pid);
        // Looked at after reading: the number may have been another's by then.
        mark.filter(|_| Self::of(self.pid) == Some(self))
    }

    /// Signals it and nobody else. `ESRCH` when it has gone.
    pub fn signal(self, signal: i32) -> io::Result<()> {
        let process = Pidfd::open(self.pid)?;
        // Looked at after opening: what we hold cannot become another one now.
        if Self::of(self.pid) != Some(self) {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        process.signal(signal)
    }

    /// Something to wait on for its end. `None` when it has gone.
    #[must_use]
    pub fn watch(self) -> Option<Pidfd> {
        let process = Pidfd::open(self.pid).ok()?;
        (Self::of(self.pid) == Some(self)).then_some(process)
    }
}

/// Every process of the system at one moment, for any number of look-ups.
#[derive(Debug)]
pub struct Snapshot {
    /// In order of pid.
    entries: Vec<Entry>,
    /// Indices of `entries` in order of parent, session and group.
    by_parent: Vec<u32>,
    by_session: Vec<u32>,
    by_group: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    pid: i32,
    stat: ProcStat,
}

impl Snapshot {
    /// Looks at every process once.
    pub fn take() -> io::Result<Self> {
        let proc = Proc::open()?;
        let mut entries = Vec::new();
        for_each_pid(&proc, |pid| {
            entries.extend(proc.stat(pid).map(|stat| Entry { pid, stat }));
        })?;
        Ok(Self::index(entries))
    }

    fn index(mut entries: Vec<Entry>) -> Self {
        entries.sort_unstable_by_key(|entry| entry.pid);
        let order = |key: fn(&ProcStat) -> i32| {
            let mut indices: Vec<u32> = (0..).take(entries.len()).collect();
            indices.sort_unstable_by_key(|index| key(&entries[*index as usize].stat));
            indices
        };
        let (by_parent, by_session, by_group) = (
            order(|stat| stat.parent),
            order(|stat| stat.session),
            order(|stat| stat.group),
        );
        Self {
            entries,
            by_parent,
            by_session,
            by_group,
        }
    }

    /// Who has this number.
    pub(super) fn identity(&self, pid: i32) -> Option<Identity> {
        let start = self.find(pid)?.stat.start;
        Some(Identity { pid, start })
    }

    /// The live processes that belong to `root`, deepest first, `root` itself last if it lives.
    ///
    /// Those are its descendants by parent links, whatever session they are in, and the members of every session and
    /// process group led by `root` or a descendant, whoever their parent is by now. `root` may have ended: its session
    /// and group keep its number from being used again as long as they have members. Who has left both the session and
    /// the family is not found here but by [`Self::marked_orphans`]. Never contains the calling process.
    #[must_use]
    pub fn tree(&self, root: Identity) -> Vec<Identity> {
        // Another process has the number, so nothing is left of the session that had it.
        if self
            .find(root.pid)
            .is_some_and(|entry| entry.stat.start != root.start)
        {
            return Vec::new();
        }
        let mut found = vec![root.pid];
        let mut seen: HashSet<i32> = [root.pid, own_pid(), 1].into();
        let mut next = 0;
        while let Some(&pid) = found.get(next) {
            next += 1;
            for (order, key) in self.orders() {
                for entry in self.matching(order, key, pid) {
                    if seen.insert(entry.pid) {
                        found.push(entry.pid);
                    }
                }
            }
        }
        let living = found.iter().rev().filter_map(|pid| self.find(*pid));
        let living = living.filter(|entry| !entry.stat.has_ended() && entry.pid != own_pid());
        living
            .map(|entry| Identity {
                pid: entry.pid,
                start: entry.stat.start,
            })
            .collect()
    }

    /// The live processes whose parent has ended before them, but `known` ones, each with the mark that it carries: who has
    /// left both the session and the family of the run that it was started in is found by this.
    ///
    /// Orphans become children of the keeper, which is the caller's parent or, if the caller has started it, the caller's
    /// child; those of a keeper that has died went to whom that one itself was an orphan of.
    #[must_use]
    pub fn marked_orphans(&self, known: &HashSet<i32>) -> Vec<(Identity, Mark)> {
        let parent = |pid| self.find(pid).map(|entry| entry.stat.parent);
        let keeper = parent(own_pid());
        let beyond = keeper.and_then(parent);
        let mut found = Vec::new();
        let heirs = self.matching(&self.by_parent, |stat| stat.parent, own_pid());
        let heirs = heirs.map(|entry| entry.pid);
        let adopters = keeper.into_iter().chain(beyond.filter(|pid| *pid > 0));
        for adopter in adopters.chain(heirs) {
            for entry in self.matching(&self.by_parent, |stat| stat.parent, adopter) {
                let pid = entry.pid;
                let is_known = known.contains(&pid) || pid == own_pid() || Some(pid) == keeper;
                if is_known || entry.stat.has_ended() {
                    continue;
                }
                let start = entry.stat.start;
                let orphan = Identity { pid, start };
                found.extend(orphan.mark().map(|mark| (orphan, mark)));
            }
        }
        found
    }

    fn orders(&self) -> [(&[u32], Key); 3] {
        [
            (&self.by_parent, |stat| stat.parent),
            (&self.by_session, |stat| stat.session),
            (&self.by_group, |stat| stat.group),
        ]
    }

    fn matching(&self, order: &[u32], key: Key, value: i32) -> impl Iterator<Item = &Entry> {
        let start = order.partition_point(|index| key(&self.entries[*index as usize].stat) < value);
        let same = order[start..]
            .iter()
            .map(|index| &self.entries[*index as usize]);
        same.take_while(move |entry| key(&entry.stat) == value)
    }

    fn find(&self, pid: i32) -> Option<&Entry> {
        let index = self
            .entries
            .binary_search_by_key(&pid, |entry| entry.pid)
            .ok()?;
        self.entries.get(index)
    }
}

/// Ends these processes and all that belongs to them, whatever they do meanwhile. They are dead, or about to be, when this
/// returns; somebody still has to reap them.
///
/// Everything is stopped first, in rounds until nobody new turns up: killing a parent while its child is being born would
/// cut the only link to a child that then leaves the session.
pub fn kill_all(roots: &[Identity]) {
    let mut stopped = HashSet::new();
    let mut quiet = 0;
    for _ in 0..STOP_ROUNDS {
        let Ok(snapshot) = Snapshot::take() else {
            break;
        };
        let before = stopped.len();
        for member in roots.iter().flat_map(|root| snapshot.tree(*root)) {
            if stopped.insert(member) {
                let _gone = member.signal(libc::SIGSTOP);
            }
        }
        quiet = if stopped.len() == before {
            quiet + 1
        } else {
            0
        };
        if quiet == QUIET_ROUNDS {
            break;
        }
    }
    for member in stopped {
        let _gone = member.signal(libc::SIGKILL);
    }
}

type Key = fn(&ProcStat) -> i32;

fn own_pid() -> i32 {
    nix::unistd::getpid().as_raw()
}

/// Calls `visit` with every number that is a folder's name in `/proc`.
fn for_each_pid(proc: &Proc, mut visit: impl FnMut(i32)) -> io::Result<()> {
    #[repr(C, align(8))]
    struct Buffer([u8; ENTRIES]);
    let mut buffer = Buffer([0; ENTRIES]);
    loop {
        // SAFETY: the kernel writes at most ENTRIES bytes into a buffer of that size.
        let filled = unsafe {
            libc::syscall(
                libc::SYS_getdents64,
                proc.0.as_raw_fd(),
                buffer.0.as_mut_ptr(),
                ENTRIES,
            )
        };
        let Ok(filled) = usize::try_from(filled) else {
            return Err(io::Error::last_os_error());
        };
        if filled == 0 {
            return Ok(());
        }
        let mut rest = &buffer.0[..filled];
        while let Some(length) = rest.get(LENGTH_AT..LENGTH_AT + 2) {
            let length = usize::from(u16::from_ne_bytes([length[0], length[1]]));
            let name = rest
                .get(offset_of!(libc::dirent64, d_name)..length)
                .unwrap_or_default();
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            if let Some(pid) = std::str::from_utf8(name)
                .ok()
                .and_then(|name| name.parse().ok())
            {
                visit(pid);
            }
            rest = rest.get(length.max(1)..).unwrap_or_default();
        }
    }
}

/// Where a folder entry holds its own length.
const LENGTH_AT: usize = offset_of!(libc::dirent64, d_reclen);
