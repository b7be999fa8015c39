//! What one process wants to hear of, as the thread that watches knows it.

use std::path::{Path, PathBuf};

use globset::GlobSet;
use notify::PollWatcher;

use super::change::Moment;
use super::ignore::{self, Ignore};
use super::plan::{Plan, Root};

pub(super) struct Watcher {
    pub(super) plan: Plan,
    pub(super) ignore: Ignore,
    patterns: Vec<Option<GlobSet>>,
    /// Only of those who poll.
    pub(super) poll: Option<PollWatcher>,
    /// Until everything is watched for the first time.
    look_back: Option<LookBack>,
}

/// The look for what changed before it was watched: nobody tells of that.
struct LookBack {
    since: Moment,
    /// Below which root, and what. One change is enough for a restart.
    found: Option<(usize, PathBuf)>,
}

impl Watcher {
    /// What changes from that moment on counts.
    pub(super) fn new(plan: &Plan, since: Moment) -> Self {
        let pattern = |root: &Root| root.pattern.as_deref().map(ignore::only);
        Self {
            ignore: plan.ignore(),
            patterns: plan.roots.iter().map(pattern).collect(),
            poll: None,
            look_back: Some(LookBack { since, found: None }),
            plan: plan.clone(),
        }
    }

    /// Whether a path is not ignored and not too deep.
    pub(super) fn wants(&self, path: &Path, depth: usize) -> bool {
        // A file lies in a folder of its own depth.
        let is_deep = self.plan.depth.is_some_and(|limit| depth > limit + 1);
        !is_deep && !self.ignore.matches(path)
    }

    /// Whether a path is one of those below the root that are meant.
    pub(super) fn means(&self, root: usize, path: &Path) -> bool {
        let pattern = self.patterns.get(root).and_then(Option::as_ref);
        pattern.is_none_or(|pattern| pattern.is_match(path))
    }

    /// Takes note of something that changed while its folder was not watched yet.
    pub(super) fn look_back(&mut self, path: &Path, root: usize, known_as: &Path) {
        let is_meant = self.means(root, known_as);
        if is_meant
            && let Some(look_back) = &mut self.look_back
            && look_back.found.is_none()
            && look_back.since.has_passed_before(path)
        {
            look_back.found = Some((root, known_as.to_path_buf()));
        }
    }

    /// Everything is watched. What was found, and below which root?
    pub(super) fn end_look_back(&mut self) -> Option<(usize, PathBuf)> {
        self.look_back.take()?.found
    }
}
