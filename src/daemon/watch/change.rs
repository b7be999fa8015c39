//! What counts as a change of a file.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use notify::event::{EventKind, ModifyKind};

use crate::host::files::time_of_change;

/// A change of a file's attributes is a change of its content when its time of change is as young as this (`touch`).
const TOUCH_MAX: Duration = Duration::from_secs(5);

pub(super) fn is_change(kind: EventKind, path: &Path) -> bool {
    match kind {
        EventKind::Modify(ModifyKind::Metadata(_)) => {
            let changed = fs::metadata(path).and_then(|meta| meta.modified());
            let age = changed.map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
            age.is_ok_and(|age| age < TOUCH_MAX)
        }
        EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(_) => true,
        EventKind::Any | EventKind::Access(_) | EventKind::Other => false,
    }
}

/// When somebody wished to watch. The clock of file systems is never ahead of ours: what bears a later time came later. (One on
/// another machine may be ahead: then a start is followed by a restart at worst.)
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Moment(SystemTime);

impl Moment {
    pub(super) fn now() -> Self {
        Self(SystemTime::now())
    }

    /// Whether whatever changes from now on bears a later time: the step of the file systems' clock in which it lay is over.
    pub(super) fn is_past_for_files(self) -> bool {
        // A clock that cannot be asked tells nothing: then there is nothing to wait for.
        time_of_change().is_none_or(|time| time > self.0)
    }

    /// Whether a file has changed since, or a folder has come. Of a folder the times of change say nothing: what is ignored in it
    /// moves them too.
    pub(super) fn has_passed_before(self, path: &Path) -> bool {
        let Ok(meta) = fs::symlink_metadata(path) else {
            return false;
        };
        let at = if meta.is_dir() {
            meta.created().ok()
        } else {
            // Not the time of the content: it is kept by what moves and copies files, and may be set to anything.
            let seconds = u64::try_from(meta.ctime()).unwrap_or(0);
            let nanos = u32::try_from(meta.ctime_nsec()).unwrap_or(0);
            UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
        };
        at.is_some_and(|at| at > self.0)
    }
}
