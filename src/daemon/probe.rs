//! Doors for the fuzz targets and the replay of their corpus: what is read of bytes and texts here, and what must hold for any of them.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::records::{self, FRAME_HEAD, Frozen, VERSION};
use super::recovery;
use super::watch::ignore::Ignore;
use crate::core::{Effect, Fate, Now, Supervisor};

/// A later moment than any record tells of.
const NOW: Now = Now {
    mono: Duration::from_secs(u32::MAX as u64),
    wall_ms: 4_102_444_800_000,
};

/// The first run that the keeper knows nothing of.
const FIRST_UNKNOWN: u64 = 1 << 40;

/// What a daemon makes of the records of the one before, whatever is in them. Gives how many processes it lists.
///
/// However the keeper's word on the processes differs from the records: nothing is started under a number that already lives, and no
/// number is given twice.
///
/// # Panics
///
/// When one of that is broken.
#[must_use]
pub fn records(file: &[u8]) -> Option<usize> {
    let (_, frozen) = records::thaw(file)?;
    let living = |_| Fate::Lives { is_signalled: true };
    let ended = |_| Fate::Ended;
    let unknown = |_| Fate::Unknown;
    let mixed = |run: crate::model::RunId| match run.0 % 3 {
        0 => Fate::Ended,
        1 => Fate::Lives {
            is_signalled: false,
        },
        _ => Fate::Unknown,
    };
    let fates: [&dyn Fn(crate::model::RunId) -> Fate; 4] = [&living, &ended, &unknown, &mixed];
    let mut count = 0;
    for fate in fates {
        let (mut supervisor, complaints) = recovery::supervisor(Some(again(&frozen)));
        drop(complaints);
        count = resume(&mut supervisor, fate);
    }
    Some(count)
}

fn again(frozen: &Frozen) -> Frozen {
    Frozen {
        header: frozen.header.clone(),
        parts: frozen.parts.clone(),
        processes: frozen.processes.clone(),
        heard: frozen.heard.clone(),
    }
}

fn resume(supervisor: &mut Supervisor, fate: &dyn Fn(crate::model::RunId) -> Fate) -> usize {
    // As a daemon does that was told what the keeper knows.
    supervisor.skip_runs_to(FIRST_UNKNOWN);
    let effects = supervisor.resume(NOW, fate);
    let mut started = BTreeSet::new();
    for effect in &effects {
        if let Effect::Spawn { run, .. } = effect {
            assert!(started.insert(*run), "{run} is started twice");
            let is_new = run.0 >= FIRST_UNKNOWN || fate(*run) == Fate::Unknown;
            assert!(is_new, "{run} is there already");
        }
    }
    // What is written down at once is read back by the next one.
    let all = supervisor.take_all();
    assert!(all.header.is_some());
    supervisor.processes().count()
}

/// A file of records whose one frame holds these bytes, with a checksum that is right: fuzzers do not find those.
#[must_use]
pub fn sealed(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; FRAME_HEAD];
    frame.extend_from_slice(&VERSION.to_le_bytes());
    frame.extend_from_slice(&1_u64.to_le_bytes());
    frame.extend_from_slice(payload);
    // Nothing that a fuzzer makes is as long as a frame can be.
    let _short = records::seal(&mut frame);
    frame
}

/// Whether `ignore_watch` with these patterns leaves a path out.
#[must_use]
pub fn is_ignored(patterns: &[String], path: &str) -> bool {
    let ignore = Ignore::new(Path::new("/srv/app"), Some(patterns));
    ignore.matches(Path::new(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Status;

    const FIRST: &[u8] = include_bytes!("../../__test__/golden/records/1");

    // Protects: an update from the first version that could be updated. Each further version of the records adds a file.
    #[test]
    fn the_records_of_every_version_are_understood() {
        let (_, frozen) = records::thaw(FIRST).unwrap();
        let (supervisor, complaints) = recovery::supervisor(Some(frozen));
        assert_eq!(complaints, Vec::<String>::new());
        let list: Vec<(String, Status)> = supervisor
            .processes()
            .map(|process| (process.name().to_owned(), process.status()))
            .collect();
        let list: Vec<(&str, &str)> = list
            .iter()
            .map(|(name, status)| (name.as_str(), status.as_str()))
            .collect();
        let expected = [
            ("plain", "online"),
            ("stopped", "stopped"),
            ("waiting", "waiting restart"),
            ("cron", "online"),
            ("web", "online"),
            ("web", "online"),
            ("stubborn", "stopping"),
            ("late", "launching"),
        ];
        assert_eq!(list, expected);
        assert_eq!(records(FIRST), Some(8));
    }

    // Protects: a daemon that finds half of what was written, or bits of it turned. It never panics and never starts anything twice.
    #[test]
    fn records_that_were_cut_or_damaged_start_nothing_twice() {
        let frames: Vec<usize> = (0..FIRST.len()).step_by(997).collect();
        for cut in frames {
            let _some = records(&FIRST[..cut]);
        }
        let mut random = 1_u64;
        for _ in 0..300 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let at = usize::try_from(random >> 33).unwrap() % FIRST.len();
            let mut damaged = FIRST.to_vec();
            damaged[at] ^= 1 << (random >> 61);
            let _some = records(&damaged);
            // The same past the checksum, which finds every one of these.
            let payload = &damaged[FRAME_HEAD + 12..];
            let _some = records(&sealed(payload));
        }
    }
}
