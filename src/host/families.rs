//! Resident memory of whole process trees, looked at again and again for little.
//!
//! A look at the whole process table costs as much as there are processes on the machine. Who belongs to a tree changes only when
//! something is born, and the kernel says which number it gave out last: so between two looks only the numbers given out since are
//! looked at, and a machine on which nothing is born costs one read per process whose memory is asked for.

use super::proc_stat::{Memory, Proc, ProcStat, Resident, page_bytes};
use super::tree::Snapshot;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

/// The number that the kernel gave out last, to a process or a thread.
const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";

/// More births than this between two looks cost more than a look at everything.
const BIRTHS_MAX: i32 = 4096;

/// The whole table is looked at after this time in any case: who has left its family is forgotten then.
const LOOK_AT_ALL: Duration = Duration::from_mins(1);

/// One part in this many of the descriptors that we may have is kept open for memory. The others are for what apps need.
const HELD_PART: u64 = 8;

/// The trees under some processes, as of the last look.
#[derive(Debug, Default)]
pub struct Families {
    system: Option<System>,
    /// By the number of its first process: the numbers of all, the first one at the front.
    members: HashMap<i32, Vec<i32>>,
    /// To which family a number belongs.
    family_of: HashMap<i32, i32>,
    births: Option<Births>,
    /// Where the memory of some of them is read, by their numbers.
    held: HashMap<i32, Memory>,
}

/// What is read at every look, kept open.
#[derive(Debug)]
struct System {
    proc: Proc,
    /// Not every kernel has it.
    last_pid: Option<File>,
    page_bytes: u64,
    /// How many of `held` there may be.
    held_max: usize,
}

/// Up to which number everything has been looked at.
#[derive(Clone, Copy, Debug)]
struct Births {
    /// At the last look, and at the one before: a number may have been given out whose process was not there yet, so each is looked
    /// at twice.
    newest: i32,
    newest_before: i32,
    all_at: Instant,
}

impl Families {
    /// Resident bytes of each of these processes and its descendants, in order; 0 of one that has gone.
    ///
    /// What descendants share with others, such as the code of a program that several run, is not counted: it would be counted
    /// several times.
    pub fn memory(&mut self, roots: &[i32], now: Instant) -> Vec<u64> {
        if self.system.is_none() {
            self.system = System::open();
        }
        let Some(system) = self.system.take() else {
            return vec![0; roots.len()];
        };
        self.keep_up(&system, roots, now);
        let bytes = roots.iter().map(|root| self.sum(&system, *root)).collect();
        self.system = Some(system);
        bytes
    }

    /// Makes the families what they are now.
    fn keep_up(&mut self, system: &System, roots: &[i32], now: Instant) {
        // Read before anything is looked at: what is born meanwhile is looked at next time.
        let newest = system.newest();
        let births = self.births.filter(|births| {
            let is_recent = now.duration_since(births.all_at) < LOOK_AT_ALL;
            // Negative when numbers have begun again at the low ones.
            let count = newest.map(|newest| newest - births.newest_before);
            is_recent && count.is_some_and(|count| (0..=BIRTHS_MAX).contains(&count))
        });
        let (Some(births), Some(newest)) = (births, newest) else {
            return self.look_at_all(roots, newest, now);
        };
        for root in roots {
            if self.members.contains_key(root) {
                continue;
            }
            // One that is older may have a family already.
            if *root <= births.newest_before {
                return self.look_at_all(roots, Some(newest), now);
            }
            self.put(*root, *root);
        }
        if self.members.len() > roots.len() {
            let wanted: HashSet<i32> = roots.iter().copied().collect();
            self.members.retain(|root, _| wanted.contains(root));
            self.family_of.retain(|_, root| wanted.contains(root));
            self.held.retain(|pid, _| self.family_of.contains_key(pid));
        }
        for pid in births.newest_before + 1..=newest {
            self.look_at(system, pid);
        }
        self.births = Some(Births {
            newest,
            newest_before: births.newest,
            ..births
        });
    }

    fn look_at_all(&mut self, roots: &[i32], newest: Option<i32>, now: Instant) {
        self.members.clear();
        self.family_of.clear();
        self.held.clear();
        let Ok(snapshot) = Snapshot::take() else {
            self.births = None;
            return;
        };
        for root in roots {
            let tree = snapshot.identity(*root).map(|root| snapshot.tree(root));
            // The root is the last one of its tree.
            for member in tree.unwrap_or_default().iter().rev() {
                self.put(member.pid, *root);
            }
        }
        self.births = newest.map(|newest| Births {
            newest,
            newest_before: newest,
            all_at: now,
        });
    }

    /// A number was given out: to a child of somebody we know, to a thread, or to somebody else, who may have it after one of ours.
    fn look_at(&mut self, system: &System, pid: i32) {
        self.held.remove(&pid);
        let found = system
            .proc
            .stat(pid)
            .filter(|stat| !stat.is_thread && !stat.has_ended());
        let root = found.and_then(|stat| self.family_of_new(&stat));
        let known = self.family_of.get(&pid).copied();
        if known == root || known == Some(pid) {
            return;
        }
        if let Some(members) = known.and_then(|known| self.members.get_mut(&known)) {
            members.retain(|member| *member != pid);
            self.family_of.remove(&pid);
        }
        if let Some(root) = root {
            self.put(pid, root);
        }
    }

    fn family_of_new(&self, stat: &ProcStat) -> Option<i32> {
        let relatives = [stat.parent, stat.session, stat.group];
        relatives
            .iter()
            .find_map(|relative| self.family_of.get(relative).copied())
    }

    fn put(&mut self, pid: i32, root: i32) {
        self.members.entry(root).or_default().push(pid);
        self.family_of.insert(pid, root);
    }

    fn sum(&mut self, system: &System, root: i32) -> u64 {
        let Some(members) = self.members.get_mut(&root) else {
            return 0;
        };
        let mut pages = 0;
        let (family_of, held) = (&mut self.family_of, &mut self.held);
        members.retain(|pid| match resident(system, held, *pid) {
            Some(resident) if *pid == root => {
                pages += resident.all_pages;
                true
            }
            Some(resident) => {
                pages += resident.own_pages;
                true
            }
            None => {
                family_of.remove(pid);
                held.remove(pid);
                false
            }
        });
        pages * system.page_bytes
    }
}

fn resident(system: &System, held: &mut HashMap<i32, Memory>, pid: i32) -> Option<Resident> {
    if let Some(memory) = held.get(&pid) {
        return memory.resident();
    }
    if held.len() >= system.held_max {
        return system.proc.resident(pid);
    }
    let memory = system.proc.memory_of(pid)?;
    let resident = memory.resident()?;
    held.insert(pid, memory);
    Some(resident)
}

impl System {
    fn open() -> Option<Self> {
        Some(Self {
            proc: Proc::open().ok()?,
            last_pid: File::open(LAST_PID).ok(),
            page_bytes: page_bytes(),
            held_max: held_max(),
        })
    }

    fn newest(&self) -> Option<i32> {
        let mut text = [0; 16];
        let length = self.last_pid.as_ref()?.read_at(&mut text, 0).ok()?;
        std::str::from_utf8(&text[..length])
            .ok()?
            .trim()
            .parse()
            .ok()
    }
}

fn held_max() -> usize {
    use nix::sys::resource::{Resource, getrlimit};
    let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    usize::try_from(descriptors / HELD_PART).unwrap_or(usize::MAX)
}

#[cfg(test)]
#[path = "families_tests.rs"]
mod tests;
