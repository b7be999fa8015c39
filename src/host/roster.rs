//! A file that says which processes were started, written by each of them before it becomes its program: so whoever comes
//! after everybody who knew them has died finds them.
//!
//! A process is named by its number and a moment at which it had that number: whoever has the number now and started before
//! that moment is the same process. Another boot makes all of it void.

use super::proc_stat::Proc;
use super::tree::Identity;
use nix::libc;
use std::fs::{self, File};
use std::io;
use std::mem::zeroed;
use std::os::fd::RawFd;
use std::os::unix::fs::FileExt as _;

/// Bytes of one entry.
pub const SLOT: usize = 64;

/// The head has as many.
const HEAD: usize = 64;
const MAGIC: [u8; 8] = *b"pm2rost\x01";
/// Where in the head the boot is named: 36 characters, a slash, and a number.
const BOOT: usize = 8;

/// Where in an entry is what.
const RUN: usize = 0;
const PIPES: usize = 8;
const PID: usize = 32;
const MOMENT: usize = 40;
const CHECK: usize = 56;

/// One entry more than this is not written: a file of 2 MiB.
pub const SLOTS_MAX: usize = 32_768;

/// One process that was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// What it was called by who had it started.
    pub run: u64,
    /// The inodes of the pipes that are its stdin, stdout and stderr; 0 for what is none.
    pub pipes: [u64; 3],
    /// Its number.
    pub pid: i32,
    /// When it had it, in nanoseconds since boot.
    pub moment: u64,
}

/// The entry of a process that is about to be started, as the process itself completes it.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The file.
    pub file: std::os::fd::BorrowedFd<'a>,
    /// Which slot.
    pub slot: u32,
    /// What it is called.
    pub run: u64,
    /// The inodes of its pipes.
    pub pipes: [u64; 3],
}

/// The boot of the machine, and of the container if this is one: what was written in another says nothing of this one's
/// processes. Containers share the machine's boot, but not the process that all others come from.
pub fn world() -> io::Result<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    // Where it is hidden from us, it is hidden from every daemon of ours.
    let first = Proc::open()?.stat(1).map_or(0, |stat| stat.start);
    Ok(format!("{}/{first}", boot.trim()))
}

/// Begins the file anew for this boot, with no entries.
pub fn begin(file: &File, boot: &str) -> io::Result<()> {
    let mut head = [0; HEAD];
    head[..MAGIC.len()].copy_from_slice(&MAGIC);
    let boot = &boot.as_bytes()[..boot.len().min(HEAD - BOOT)];
    head[BOOT..BOOT + boot.len()].copy_from_slice(boot);
    file.set_len(0)?;
    file.write_all_at(&head, 0)
}

/// Every entry by its slot. `None` if the file is of another boot, or is none of ours. Total.
#[must_use]
pub fn read(bytes: &[u8], boot: &str) -> Option<Vec<(u32, Entry)>> {
    let (head, slots) = bytes.split_at_checked(HEAD)?;
    let named = head[BOOT..].split(|byte| *byte == 0).next();
    if !head.starts_with(&MAGIC) || named != Some(boot.as_bytes()) {
        return None;
    }
    let (slots, _cut) = slots.as_chunks::<SLOT>();
    let entries = (0..).zip(slots.iter().take(SLOTS_MAX));
    Some(
        entries
            .filter_map(|(slot, bytes)| Some((slot, Entry::decode(bytes)?)))
            .collect(),
    )
}

/// Empties a slot.
pub fn free(file: &File, slot: u32) -> io::Result<()> {
    file.write_all_at(&[0; SLOT], offset(slot))
}

fn offset(slot: u32) -> u64 {
    HEAD as u64 + u64::from(slot) * SLOT as u64
}

impl Entry {
    fn encode(&self) -> [u8; SLOT] {
        let mut bytes = [0; SLOT];
        let mut put = |at: usize, value: u64| {
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        };
        put(RUN, self.run);
        for (index, inode) in self.pipes.into_iter().enumerate() {
            put(PIPES + index * 8, inode);
        }
        put(PID, u64::from(self.pid.cast_unsigned()));
        put(MOMENT, self.moment);
        put(CHECK, self.check());
        bytes
    }

    fn decode(bytes: &[u8; SLOT]) -> Option<Self> {
        let get = |at: usize| {
            let mut value = [0; 8];
            value.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(value)
        };
        let entry = Self {
            run: get(RUN),
            pipes: [get(PIPES), get(PIPES + 8), get(PIPES + 16)],
            pid: i32::try_from(get(PID)).ok()?,
            moment: get(MOMENT),
        };
        (entry.pid > 1 && get(CHECK) == entry.check()).then_some(entry)
    }

    /// Tells an entry from an empty slot and from one that was written in part.
    fn check(&self) -> u64 {
        const PRIME: u64 = 0x0100_0000_01b3;
        let pid = u64::from(self.pid.cast_unsigned());
        let [one, two, three] = self.pipes;
        [self.run, one, two, three, pid, self.moment]
            .into_iter()
            .fold(0xcbf2_9ce4_8422_2325, |sum, value| {
                (sum ^ value).wrapping_mul(PRIME)
            })
    }

    /// The process, if it lives.
    #[must_use]
    pub fn living(&self) -> Option<Identity> {
        let stat = Proc::open().ok()?.stat(self.pid)?;
        // SAFETY: asks for a number.
        let per_second = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).ok()?;
        let tick = 1_000_000_000 / per_second.max(1);
        let is_it = stat.start <= self.moment / tick && !stat.has_ended();
        is_it.then_some(Identity {
            pid: self.pid,
            start: stat.start,
        })
    }
}

/// The same in a freshly forked child, which must not allocate, and has its dispositions reset after this. A full disk is no
/// reason not to become what was asked for, nor is a limit on the size of files.
pub(super) fn enter(file: RawFd, slot: u32, run: u64, pipes: [u64; 3]) {
    // SAFETY: system calls on a number and on variables of ours.
    unsafe {
        let mut now: libc::timespec = zeroed();
        libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut now);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let entry = Entry {
            run,
            pipes,
            pid: libc::getpid(),
            moment: seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0),
        };
        let bytes = entry.encode();
        let at = libc::off_t::try_from(offset(slot)).unwrap_or(libc::off_t::MAX);
        libc::pwrite(file, bytes.as_ptr().cast(), bytes.len(), at);
        // Such a limit raises a signal, which is blocked now and would end us later. Ignoring it takes it back.
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd as _;

    const PIPES_OF: [u64; 3] = [7, 8, 0];

    fn bytes_of(file: &File) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    // Protects: a container that is restarted, with the same files, under the same boot of the machine.
    #[test]
    fn a_world_is_a_boot_and_its_first_process() {
        let world = world().unwrap();
        let first = Proc::open().unwrap().stat(1).unwrap().start;
        assert!(
            world.ends_with(&format!("/{first}")) && world.len() > 36,
            "{world}"
        );
        assert!(world.len() <= HEAD - BOOT, "all of it is in the head");
    }

    // Protects: both killed. A process that lives is found by what it wrote itself; one that has ended, or has its number
    // from later on, is not.
    #[test]
    fn who_entered_itself_is_found_while_it_lives() {
        let file = tempfile::tempfile().unwrap();
        begin(&file, "boot").unwrap();
        enter(file.as_raw_fd(), 2, 9, PIPES_OF);
        let entries = read(&bytes_of(&file), "boot").unwrap();
        let [(2, entry)] = entries[..] else {
            panic!("{entries:?}")
        };
        assert_eq!((entry.run, entry.pipes), (9, PIPES_OF));
        let own = std::process::id().cast_signed();
        assert_eq!(entry.living(), Identity::of(own));
        let before = Entry { moment: 0, ..entry };
        assert_eq!(before.living(), None, "somebody who came later");
        free(&file, 2).unwrap();
        assert_eq!(read(&bytes_of(&file), "boot"), Some(Vec::new()));
    }

    #[test]
    fn another_boot_and_torn_or_strange_bytes_say_nothing() {
        let file = tempfile::tempfile().unwrap();
        begin(&file, "boot").unwrap();
        enter(file.as_raw_fd(), 0, 9, PIPES_OF);
        let whole = bytes_of(&file);
        assert_eq!(read(&whole, "other"), None);
        for cut in 0..whole.len() {
            let found = read(&whole[..cut], "boot").unwrap_or_default();
            assert!(found.is_empty(), "{cut}");
        }
        for at in HEAD..whole.len() {
            let mut torn = whole.clone();
            torn[at] ^= 1;
            // Bytes that nobody uses may be anything.
            let found = read(&torn, "boot").unwrap();
            let is_unused = (PID + 4..PID + 8).contains(&(at - HEAD))
                || (MOMENT + 8..CHECK).contains(&(at - HEAD));
            assert!(found.is_empty() || is_unused, "{at}");
        }
    }
}
