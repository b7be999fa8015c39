use super::*;
use crate::host::testing::until;
use crate::host::tree::{self, Identity};
use std::process::{Child, Command, Stdio};

/// A shell of its own, ended and reaped with this.
struct Shell(Child);

impl Shell {
    /// Runs until its input is closed, doing each line of it.
    fn start() -> Self {
        // Apps lead sessions of their own too.
        let mut command = Command::new("setsid");
        command
            .arg("sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut shell = Self(command.spawn().unwrap());
        // Before that it is another program, with other memory.
        shell.wait_for(":");
        shell
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    fn tell(&mut self, line: &str) {
        use std::io::Write as _;
        let input = self.0.stdin.as_mut().unwrap();
        writeln!(input, "{line}").unwrap();
    }

    /// Does the line, and returns when that is done.
    fn wait_for(&mut self, line: &str) {
        use std::io::Read as _;
        self.tell(&format!("{line}\necho"));
        let output = self.0.stdout.as_mut().unwrap();
        output.read_exact(&mut [0]).unwrap();
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let all: Vec<_> = Identity::of(self.pid()).into_iter().collect();
        tree::kill_all(&all);
        let _ended = self.0.wait();
    }
}

/// Looks until the family has so many members.
#[track_caller]
fn looks_until(families: &mut Families, roots: &[i32], root: i32, members: usize) {
    until(|| {
        families.memory(roots, Instant::now());
        families.members.get(&root).map_or(0, Vec::len) == members
    });
}

/// A shell that takes megabytes and then stops: the kernel may be wrong about the memory of a process by a few hundred kB.
const LARGE: &str = "sh -c 'x=0123456789abcdef; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17; do x=$x$x; done; kill -STOP $$'";
const LARGE_BYTES: u64 = 2_000_000;

fn last_look_at_all(families: &Families) -> Option<Instant> {
    families.births.map(|births| births.all_at)
}

fn newest(families: &Families) -> Option<i32> {
    families.system.as_ref()?.newest()
}

// Protects: what an app starts later counts, and finding it costs no look at the whole process table.
#[test]
fn whoever_is_born_into_a_family_counts_from_then_on_and_no_longer_than_he_lives() {
    let (mut one, mut other) = (Shell::start(), Shell::start());
    let roots = [one.pid(), other.pid()];
    let mut families = Families::default();
    let alone = families.memory(&roots, Instant::now())[0];
    assert!(alone > 100_000, "{alone}");
    let (first_look, first_newest) = (last_look_at_all(&families), newest(&families));
    // Each is there before anybody looks: two looks at a number while its process is being made are one too few.
    one.wait_for(&format!("{LARGE} & a=$!; sleep 1000 & b=$!"));
    other.wait_for("sleep 1000 &");
    looks_until(&mut families, &roots, roots[0], 3);
    looks_until(&mut families, &roots, roots[1], 2);
    until(|| families.memory(&roots, Instant::now())[0] > alone + LARGE_BYTES);
    one.tell("kill -9 $a $b; wait");
    looks_until(&mut families, &roots, roots[0], 1);
    assert_eq!(families.members[&roots[1]].len(), 2);
    assert_eq!(families.held.len(), 3, "what has gone is not kept open");
    // Unless the machine had so many births meanwhile, or began anew with the low numbers, that this was called for.
    let births = newest(&families).zip(first_newest);
    if births.is_some_and(|(now, then)| (0..=BIRTHS_MAX).contains(&(now - then))) {
        assert_eq!(last_look_at_all(&families), first_look);
    }
}

// Protects: a grandchild whose parent has ended still belongs to the family, by the first look and by later ones.
#[test]
fn orphans_of_a_family_belong_to_it() {
    let mut shell = Shell::start();
    let mut outside = Shell::start();
    let roots = [shell.pid()];
    let mut later = Families::default();
    later.memory(&roots, Instant::now());
    outside.wait_for("sleep 1000 &");
    // Only then has the parent of the two ended.
    shell.wait_for("(sleep 1000 & sleep 1000 &)");
    looks_until(&mut later, &roots, roots[0], 3);
    let mut first = Families::default();
    looks_until(&mut first, &roots, roots[0], 3);
    let of = |families: &Families| {
        let mut members = families.members[&roots[0]].clone();
        members.sort_unstable();
        members
    };
    assert_eq!(of(&later), of(&first));
}

// Protects: with few descriptors to be had, apps come first; what is seen is the same.
#[test]
fn memory_is_read_without_keeping_it_open_too() {
    let (one, other) = (Shell::start(), Shell::start());
    let roots = [one.pid(), other.pid()];
    let mut families = Families::default();
    let kept_open = families.memory(&roots, Instant::now());
    families.system.as_mut().unwrap().held_max = 1;
    families.held.clear();
    let bytes = families.memory(&roots, Instant::now());
    assert_eq!(families.held.len(), 1);
    assert!(
        bytes
            .iter()
            .zip(kept_open)
            .all(|(now, before)| now.abs_diff(before) < 1_000_000)
    );
}

// Protects: who is asked about changes as apps come and go; nobody is kept, nobody is forgotten.
#[test]
fn families_come_and_go_with_those_who_are_asked_about() {
    let (old, kept) = (Shell::start(), Shell::start());
    let mut families = Families::default();
    families.memory(&[old.pid(), kept.pid()], Instant::now());
    let new = Shell::start();
    let bytes = families.memory(&[kept.pid(), new.pid()], Instant::now());
    assert!(bytes.iter().all(|bytes| *bytes > 0), "{bytes:?}");
    assert!(!families.members.contains_key(&old.pid()));
    assert_eq!((families.members.len(), families.family_of.len()), (2, 2));
    assert_eq!(families.held.len(), 2);
    // One who was there all the time.
    let bytes = families.memory(&[old.pid()], Instant::now());
    assert!(bytes[0] > 0 && families.members.len() == 1);
    assert_eq!(families.memory(&[i32::MAX], Instant::now()), [0]);
}
