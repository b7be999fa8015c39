//! The thread that watches: walks folders, asks the system for their changes, and sorts those by who watches.
//!
//! Folders are watched one by one and not as trees, so that what is ignored costs nothing.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc as std_mpsc;
use std::thread;
use std::time::{Duration, SystemTime};

use globset::GlobSet;
use notify::event::{Event, EventKind, ModifyKind};
use notify::{Config, ErrorKind, PollWatcher, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use super::ignore::{self, Ignore};
use super::plan::{Plan, Root};
use crate::model::PmId;

/// A change of a file's attributes is a change of its content when its time of change is as young as this (`touch`).
const TOUCH_MAX: Duration = Duration::from_secs(5);

/// What the thread has to say.
#[derive(Debug)]
pub(crate) enum Report {
    /// Something that the process watches has changed.
    Changed(PmId, Box<str>),
    /// Something cannot be watched: which path, and why.
    Trouble(PmId, String),
}

/// The thread, as long as this lives.
#[derive(Debug)]
pub(super) struct Worker(std_mpsc::Sender<Order>);

#[derive(Debug)]
enum Order {
    Set(PmId, Option<Box<Plan>>),
    Event(notify::Result<Event>),
    /// From a watcher of one process alone.
    Polled(PmId, notify::Result<Event>),
    End,
}

impl Worker {
    pub(super) fn start(reports: mpsc::Sender<Report>) -> io::Result<Self> {
        let (orders, received) = std_mpsc::channel();
        let own = orders.clone();
        thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || State::new(own, reports).serve(&received))?;
        Ok(Self(orders))
    }

    /// Watches for a process from now on, or no longer.
    pub(super) fn set(&self, id: PmId, plan: Option<Plan>) {
        // The thread ends only when told to.
        let _sent = self.0.send(Order::Set(id, plan.map(Box::new)));
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _sent = self.0.send(Order::End);
    }
}

struct State {
    orders: std_mpsc::Sender<Order>,
    reports: mpsc::Sender<Report>,
    system: Option<RecommendedWatcher>,
    /// By the real path of the folder.
    folders: HashMap<PathBuf, Vec<Interest>>,
    watchers: HashMap<PmId, Watcher>,
}

struct Watcher {
    plan: Plan,
    ignore: Ignore,
    patterns: Vec<Option<GlobSet>>,
    /// Only of those who poll.
    poll: Option<PollWatcher>,
}

/// Why a folder is watched.
#[derive(Clone, Debug, PartialEq)]
struct Interest {
    id: PmId,
    root: usize,
    /// The path under which the process knows the folder, or the one file in it.
    known_as: PathBuf,
    /// The only name that matters.
    only: Option<OsString>,
    depth: usize,
}

impl State {
    fn new(orders: std_mpsc::Sender<Order>, reports: mpsc::Sender<Report>) -> Self {
        Self {
            orders,
            reports,
            system: None,
            folders: HashMap::new(),
            watchers: HashMap::new(),
        }
    }

    fn serve(mut self, orders: &std_mpsc::Receiver<Order>) {
        while let Ok(order) = orders.recv() {
            match order {
                Order::Set(id, plan) => {
                    self.unset(id);
                    if let Some(plan) = plan {
                        self.set(id, &plan);
                    }
                }
                Order::Event(Ok(event)) => self.happened(&event),
                Order::Polled(id, Ok(event)) => self.polled(id, &event),
                // About the system's queue or a file that has just gone.
                Order::Event(Err(_)) | Order::Polled(_, Err(_)) => {}
                Order::End => return,
            }
        }
    }

    fn unset(&mut self, id: PmId) {
        self.watchers.remove(&id);
        let mut unused = Vec::new();
        self.folders.retain(|folder, interests| {
            interests.retain(|interest| interest.id != id);
            if interests.is_empty() {
                unused.push(folder.clone());
            }
            !interests.is_empty()
        });
        if let Some(system) = &mut self.system {
            for folder in unused {
                // The system forgets folders that have gone by itself.
                let _gone = system.unwatch(&folder);
            }
        }
    }

    fn set(&mut self, id: PmId, plan: &Plan) {
        let pattern = |root: &Root| root.pattern.as_deref().map(ignore::only);
        let watcher = Watcher {
            ignore: plan.ignore(),
            patterns: plan.roots.iter().map(pattern).collect(),
            poll: None,
            plan: plan.clone(),
        };
        self.watchers.insert(id, watcher);
        let done = match plan.poll {
            Some(interval) => self.poll(id, plan, interval),
            None => self.begin(id, plan),
        };
        if let Err(trouble) = done {
            // All or nothing: half a watch would look like one.
            self.unset(id);
            self.report(Report::Trouble(id, trouble));
        }
    }

    fn begin(&mut self, id: PmId, plan: &Plan) -> Result<(), String> {
        for (index, root) in plan.roots.iter().enumerate() {
            let meta = fs::metadata(&root.path);
            let interest = Interest {
                id,
                root: index,
                known_as: root.path.clone(),
                only: None,
                depth: 0,
            };
            if meta.is_ok_and(|meta| meta.is_dir()) {
                self.walk(root.path.clone(), interest)?;
            } else {
                // A file, or nothing yet: its folder tells when it comes.
                self.look_for(&root.path, interest)?;
            }
        }
        Ok(())
    }

    fn poll(&mut self, id: PmId, plan: &Plan, interval: Duration) -> Result<(), String> {
        let orders = self.orders.clone();
        let config = Config::default()
            .with_poll_interval(interval)
            .with_follow_symlinks(plan.follows_links);
        let heard = move |event| {
            let _sent = orders.send(Order::Polled(id, event));
        };
        let mut poll = PollWatcher::new(heard, config).map_err(|error| told(&error, &plan.cwd))?;
        for root in &plan.roots {
            let watched = poll.watch(&root.path, RecursiveMode::Recursive);
            watched.map_err(|error| told(&error, &root.path))?;
        }
        if let Some(watcher) = self.watchers.get_mut(&id) {
            watcher.poll = Some(poll);
        }
        Ok(())
    }

    /// One name in its folder.
    fn look_for(&mut self, path: &Path, interest: Interest) -> Result<(), String> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(());
        };
        let only = Some(name.to_owned());
        self.watch(folder, Interest { only, ..interest }).map(drop)
    }

    /// A folder and everything below it.
    fn walk(&mut self, folder: PathBuf, interest: Interest) -> Result<(), String> {
        let mut open = vec![(folder, interest)];
        while let Some((folder, interest)) = open.pop() {
            if !self.watch(&folder, interest.clone())? {
                continue;
            }
            // It may have gone meanwhile, or not be ours to read; then nothing in it can be seen to change.
            let Ok(entries) = fs::read_dir(&folder) else {
                continue;
            };
            for entry in entries.flatten() {
                let Ok(kind) = entry.file_type() else {
                    continue;
                };
                let inner = Interest {
                    known_as: interest.known_as.join(entry.file_name()),
                    depth: interest.depth + 1,
                    ..interest.clone()
                };
                if !self.is_wanted(&inner) {
                    continue;
                }
                if kind.is_dir() {
                    open.push((entry.path(), inner));
                } else if kind.is_symlink() && self.follows_links(interest.id) {
                    let Ok(target) = fs::canonicalize(entry.path()) else {
                        continue;
                    };
                    if target.is_dir() {
                        open.push((target, inner));
                    } else {
                        self.look_for(&target, inner)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// False if it was watched for that already.
    fn watch(&mut self, folder: &Path, interest: Interest) -> Result<bool, String> {
        let Ok(real) = fs::canonicalize(folder) else {
            // Something that has just gone is no trouble; a root that cannot be read is.
            let is_inner = interest.depth > 0;
            return if is_inner {
                Ok(false)
            } else {
                Err(format!(
                    "{}: no such folder, or not readable",
                    folder.display()
                ))
            };
        };
        let known = self.folders.get(&real);
        let same = |other: &Interest| other.id == interest.id && other.only == interest.only;
        if known.is_some_and(|interests| interests.iter().any(same)) {
            return Ok(false);
        }
        if known.is_none() {
            let watched = self.system()?.watch(&real, RecursiveMode::NonRecursive);
            match watched {
                Ok(()) => {}
                Err(error) if interest.depth > 0 && is_gone(&error) => return Ok(false),
                Err(error) => return Err(told(&error, folder)),
            }
        }
        self.folders.entry(real).or_default().push(interest);
        Ok(true)
    }

    fn system(&mut self) -> Result<&mut RecommendedWatcher, String> {
        let system = if let Some(system) = self.system.take() {
            system
        } else {
            let orders = self.orders.clone();
            let heard = move |event| {
                let _sent = orders.send(Order::Event(event));
            };
            RecommendedWatcher::new(heard, Config::default())
                .map_err(|error| told(&error, Path::new("files")))?
        };
        Ok(self.system.insert(system))
    }

    fn follows_links(&self, id: PmId) -> bool {
        self.watchers
            .get(&id)
            .is_some_and(|watcher| watcher.plan.follows_links)
    }

    /// Whether a path is not ignored and not too deep.
    fn is_wanted(&self, interest: &Interest) -> bool {
        let Some(watcher) = self.watchers.get(&interest.id) else {
            return false;
        };
        // A file lies in a folder of its own depth.
        let is_deep = watcher
            .plan
            .depth
            .is_some_and(|depth| interest.depth > depth + 1);
        !is_deep && !watcher.ignore.matches(&interest.known_as)
    }

    fn happened(&mut self, event: &Event) {
        if event.need_rescan() {
            for id in self.watchers.keys().copied().collect::<Vec<_>>() {
                self.report(Report::Changed(id, "(more files than can be told)".into()));
            }
            return;
        }
        for path in &event.paths {
            let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
                continue;
            };
            let Some(interests) = self.folders.get(folder) else {
                continue;
            };
            if !is_change(event.kind, path) {
                continue;
            }
            for interest in interests.clone() {
                let found = match &interest.only {
                    Some(only) if only == name => interest,
                    Some(_) => continue,
                    None => Interest {
                        known_as: interest.known_as.join(name),
                        depth: interest.depth + 1,
                        ..interest
                    },
                };
                self.changed(path, found);
            }
        }
        if matches!(
            event.kind,
            EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
        ) {
            self.forget_gone(event);
        }
    }

    fn changed(&mut self, path: &Path, interest: Interest) {
        if !self.is_wanted(&interest) {
            return;
        }
        self.say(interest.id, interest.root, &interest.known_as);
        let (id, is_new_folder) = (interest.id, path.is_dir());
        if is_new_folder {
            let only = None;
            if let Err(trouble) = self.walk(path.to_path_buf(), Interest { only, ..interest }) {
                self.report(Report::Trouble(id, trouble));
            }
        }
    }

    fn say(&self, id: PmId, root: usize, path: &Path) {
        let pattern = self
            .watchers
            .get(&id)
            .and_then(|watcher| watcher.patterns.get(root));
        if let Some(Some(pattern)) = pattern
            && !pattern.is_match(path)
        {
            return;
        }
        let path = path.to_string_lossy().into_owned();
        self.report(Report::Changed(id, path.into()));
    }

    /// What was a watched folder may come again under its name, as another one.
    fn forget_gone(&mut self, event: &Event) {
        for path in &event.paths {
            if self.folders.contains_key(path) && !path.is_dir() {
                self.folders.retain(|folder, _| !folder.starts_with(path));
            }
        }
    }

    fn polled(&self, id: PmId, event: &Event) {
        let Some(watcher) = self.watchers.get(&id) else {
            return;
        };
        for path in &event.paths {
            let root = watcher
                .plan
                .roots
                .iter()
                .position(|root| path.starts_with(&root.path));
            if !watcher.ignore.matches(path) && is_change(event.kind, path) {
                self.say(id, root.unwrap_or(0), path);
            }
        }
    }

    fn report(&self, report: Report) {
        // Full: enough changes are on their way. Closed: nobody is interested any more.
        let _lost = self.reports.try_send(report);
    }
}

fn is_change(kind: EventKind, path: &Path) -> bool {
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

fn is_gone(error: &notify::Error) -> bool {
    match &error.kind {
        ErrorKind::PathNotFound => true,
        ErrorKind::Io(error) => matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
        ),
        _ => false,
    }
}

/// Why a path cannot be watched, and what helps.
fn told(error: &notify::Error, path: &Path) -> String {
    let path = path.display();
    match &error.kind {
        ErrorKind::MaxFilesWatch => format!(
            "{path}: the limit of watched folders is reached (ENOSPC); raise fs.inotify.max_user_watches or ignore more with ignore_watch"
        ),
        ErrorKind::Io(cause) if cause.raw_os_error() == Some(nix::libc::EMFILE) => format!(
            "{path}: the limit of watchers is reached (EMFILE); raise fs.inotify.max_user_instances"
        ),
        _ => format!("{path}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Protects: whoever reads the log learns what to do about the system's limits.
    #[test]
    fn a_limit_of_the_system_is_named_with_what_helps() {
        let text = told(
            &notify::Error::new(ErrorKind::MaxFilesWatch),
            Path::new("/srv/app"),
        );
        assert!(
            text.contains("/srv/app")
                && text.contains("ENOSPC")
                && text.contains("max_user_watches")
        );
    }

    // Protects: one that cannot be watched wholly is not watched at all, and nobody else loses anything.
    #[test]
    fn what_cannot_be_watched_is_told_and_left() {
        let (orders, _kept) = std_mpsc::channel();
        let (reports, mut heard) = mpsc::channel(8);
        let mut state = State::new(orders, reports);
        let folder = tempfile::tempdir().unwrap();
        let plan = |path: PathBuf| Plan {
            cwd: folder.path().to_path_buf(),
            roots: vec![Root {
                path,
                pattern: None,
            }],
            ..Plan::default()
        };
        state.set(PmId(0), &plan(folder.path().to_path_buf()));
        assert_eq!(state.folders.len(), 1);
        state.set(PmId(1), &plan("/nowhere/at/all".into()));
        assert!(matches!(heard.try_recv(), Ok(Report::Trouble(PmId(1), _))));
        assert_eq!(state.folders.len(), 1);
        assert!(!state.watchers.contains_key(&PmId(1)));
        state.unset(PmId(0));
        assert!(state.folders.is_empty());
    }
}
