//! What outlives keeper and daemon both: files in the home, from which the next ones learn what was there.
//!
//! They need no disk that is synced: they are for processes that die, not for machines that do, and another boot makes them void. A
//! disk that is full, or a home that cannot be written, takes nothing from anybody but this: then processes whose keeper and daemon
//! are killed at once are ended by the next ones, or found by nobody if they could not even enter themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use super::mirror::Held;
use super::records::{Frozen, Records};
use crate::core::Changes;
use crate::host::handles;
use crate::host::paths::{Home, STATE_FILES};
use crate::host::roster::{self, Entry, SLOTS_MAX};
use crate::keeper::proto::Roster;

/// After a failed write, nothing is tried for so long.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// The files.
#[derive(Debug, Default)]
pub(crate) struct Testament {
    records: Option<Records>,
    /// When the records may be begun anew, if they are not in use.
    retry_at: Duration,
    roster: Option<File>,
    /// The slot of each run.
    slots: BTreeMap<u64, u32>,
    /// Slots below `unused` that nobody has.
    free: BTreeSet<u32>,
    unused: u32,
}

/// What those who died had written.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// What was decided last, if that could be read.
    pub(crate) frozen: Option<Frozen>,
    /// Processes that were started and not known to have ended.
    pub(crate) entries: Vec<Entry>,
}

impl Testament {
    /// Opens the files, and gives what is in them, if it is of this boot. What cannot be used is done without, and told.
    pub(crate) fn open(home: &Home) -> (Self, Found, Option<io::Error>) {
        match Self::try_open(&home.state) {
            Ok((testament, found)) => (testament, found, None),
            Err(error) => (Self::default(), Found::default(), Some(error)),
        }
    }

    fn try_open(folder: &Path) -> io::Result<(Self, Found)> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let open = |name| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            options.mode(0o600).custom_flags(nix::libc::O_NOFOLLOW);
            options.open(folder.join(name))
        };
        let [one, other, roster] = STATE_FILES.map(open);
        let (one, other, roster) = (one?, other?, roster?);
        let boot = roster::world()?;
        let mut bytes = Vec::new();
        let limit = ((SLOTS_MAX + 1) * roster::SLOT) as u64;
        roster.try_clone()?.take(limit).read_to_end(&mut bytes)?;
        let entries = roster::read(&bytes, &boot);
        if entries.is_none() {
            one.set_len(0)?;
            other.set_len(0)?;
            roster::begin(&roster, &boot)?;
        }
        let (records, frozen, _) = Records::open([Some(one.into()), Some(other.into())])?;
        let entries = entries.unwrap_or_default();
        let mut testament = Self {
            records: Some(records),
            retry_at: Duration::ZERO,
            roster: Some(roster),
            slots: entries.iter().map(|(slot, one)| (one.run, *slot)).collect(),
            free: BTreeSet::new(),
            unused: entries.last().map_or(0, |(slot, _)| slot + 1),
        };
        let taken: BTreeSet<u32> = testament.slots.values().copied().collect();
        testament.free = (0..testament.unused)
            .filter(|slot| !taken.contains(slot))
            .collect();
        let entries = entries.into_iter().map(|(_, entry)| entry).collect();
        Ok((testament, Found { frozen, entries }))
    }

    /// Where the process of a run is to enter itself; nothing if it cannot.
    pub(crate) fn place(&mut self, run: u64, pipes: [Option<&Held>; 3]) -> Option<Roster> {
        let file = self.roster.as_ref()?.try_clone().ok()?.into();
        let slot = self.free.pop_first().or_else(|| {
            let slot = self.unused;
            ((slot as usize) < SLOTS_MAX).then(|| {
                self.unused += 1;
                slot
            })
        })?;
        self.slots.insert(run, slot);
        let pipes = pipes.map(|pipe| pipe.map_or(0, |fd| handles::inode(fd.as_fd())));
        Some(Roster { file, slot, pipes })
    }

    /// The process of a run has ended, or there never was one.
    pub(crate) fn gone(&mut self, run: u64) {
        if let Some(slot) = self.slots.remove(&run)
            && let Some(roster) = &self.roster
        {
            // What stays there names a process that is not there.
            let _full = roster::free(roster, slot);
            self.free.insert(slot);
        }
    }

    /// Every slot but those of these runs is free.
    pub(crate) fn retain(&mut self, is_there: impl Fn(u64) -> bool) {
        let gone: Vec<u64> = self
            .slots
            .keys()
            .copied()
            .filter(|run| !is_there(*run))
            .collect();
        for run in gone {
            self.gone(run);
        }
    }

    /// Adds what has changed.
    pub(crate) fn write(&mut self, now: Duration, changes: &Changes) {
        if let Some(records) = &mut self.records
            && records.write(changes).is_err()
        {
            self.give_up(now);
        }
    }

    /// Whether to begin anew with everything.
    pub(crate) fn is_wasteful(&self, now: Duration) -> bool {
        match &self.records {
            Some(records) => records.is_wasteful(),
            None => self.roster.is_some() && now >= self.retry_at,
        }
    }

    /// Begins anew with everything.
    pub(crate) fn begin_anew(&mut self, now: Duration, home: &Home, all: &Changes) {
        if self.records.is_none() {
            self.records = Self::try_open(&home.state)
                .ok()
                .and_then(|(testament, _)| testament.records);
        }
        let Some(records) = &mut self.records else {
            self.retry_at = now + RETRY_PAUSE;
            return;
        };
        let begun = records.begin_anew(all);
        if begun.and_then(|()| records.let_other_go()).is_err() {
            self.give_up(now);
        }
    }

    /// What is not the whole truth is not left to be believed.
    fn give_up(&mut self, now: Duration) {
        if let Some(records) = self.records.take() {
            records.forget();
        }
        self.retry_at = now + RETRY_PAUSE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PmId;

    fn home(folder: &tempfile::TempDir) -> Home {
        Home::new(folder.path(), &|_| None).unwrap()
    }

    fn all(text: &str) -> Changes {
        Changes {
            header: Some(text.to_owned()),
            parts: Vec::new(),
            processes: vec![(PmId(0), Some("a".to_owned()))],
        }
    }

    // Protects: what was written last is what is found, privately, and another boot finds nothing.
    #[test]
    fn what_was_written_is_found_in_this_boot_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let home = home(&folder);
        let (mut testament, found, trouble) = Testament::open(&home);
        assert!(found.frozen.is_none() && found.entries.is_empty() && trouble.is_none());
        testament.begin_anew(Duration::ZERO, &home, &all("h1"));
        testament.write(Duration::ZERO, &all("h2"));
        let (_, found, _) = Testament::open(&home);
        assert_eq!(found.frozen.unwrap().header, "h2");
        for name in STATE_FILES {
            let mode = home
                .state
                .join(name)
                .metadata()
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let roster = File::options()
            .write(true)
            .open(home.state.join(STATE_FILES[2]))
            .unwrap();
        roster::begin(&roster, "another").unwrap();
        let (_, found, _) = Testament::open(&home);
        assert!(found.frozen.is_none());
    }

    // Protects: a slot is one process's at a time, and the file does not grow while processes come and go.
    #[test]
    fn slots_are_used_again_and_limited() {
        let folder = tempfile::tempdir().unwrap();
        let (mut testament, ..) = Testament::open(&home(&folder));
        let mut slot = |run| testament.place(run, [None; 3]).map(|place| place.slot);
        assert_eq!([slot(1), slot(2), slot(3)], [Some(0), Some(1), Some(2)]);
        testament.gone(2);
        testament.gone(2);
        assert_eq!(testament.place(4, [None; 3]).unwrap().slot, 1);
        testament.retain(|run| run == 4);
        assert_eq!(testament.place(5, [None; 3]).unwrap().slot, 0);
        testament.unused = u32::try_from(SLOTS_MAX).unwrap();
        testament.free.clear();
        assert!(testament.place(6, [None; 3]).is_none());
    }

    // Protects: a home that cannot be written costs nothing but this.
    #[test]
    fn without_a_folder_nothing_is_kept_and_nothing_fails() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("state"), "").unwrap();
        let home = home(&folder);
        let (mut testament, _, trouble) = Testament::open(&home);
        assert!(trouble.is_some() && testament.place(1, [None; 3]).is_none());
        testament.begin_anew(Duration::ZERO, &home, &all("h"));
        testament.write(Duration::ZERO, &all("h"));
        testament.gone(1);
    }
}
