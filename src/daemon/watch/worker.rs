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
use std::time::Duration;

use notify::event::{CreateKind, Event, EventKind, ModifyKind};
use notify::{Config, PollWatcher, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use super::change::{Moment, is_change};
use super::plan::Plan;
use super::trouble::{is_gone, told};
use super::watcher::Watcher;
use crate::model::PmId;

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
    /// With the moment from which on changes count.
    Set(PmId, Option<(Moment, Box<Plan>)>),
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

    /// Watches for a process from that moment on, or no longer. What changes before the thread comes to it counts as well.
    pub(super) fn set(&self, id: PmId, plan: Option<(Moment, Plan)>) {
        let plan = plan.map(|(since, plan)| (since, Box::new(plan)));
        // The thread ends only when told to.
        let _sent = self.0.send(Order::Set(id, plan));
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
                    if let Some((since, plan)) = plan {
                        self.set(id, since, &plan);
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

    fn set(&mut self, id: PmId, since: Moment, plan: &Plan) {
        self.watchers.insert(id, Watcher::new(plan, since));
        let done = match plan.poll {
            Some(interval) => self.poll(id, since, plan, interval),
            None => self.begin(id, plan),
        };
        if let Err(trouble) = done {
            // All or nothing: half a watch would look like one.
            self.unset(id);
            self.report(Report::Trouble(id, trouble));
            return;
        }
        // Said only now: the same change may wait in the queue as an event, and both are to be one burst.
        let missed = self.watchers.get_mut(&id).and_then(Watcher::end_look_back);
        if let Some((root, path)) = missed {
            self.say(id, root, &path);
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
                self.look_back(&root.path, &interest);
                self.walk(root.path.clone(), interest)?;
            } else {
                // A file, or nothing yet: its folder tells when it comes.
                self.look_for(&root.path, &interest)?;
            }
        }
        Ok(())
    }

    fn poll(
        &mut self,
        id: PmId,
        since: Moment,
        plan: &Plan,
        interval: Duration,
    ) -> Result<(), String> {
        let orders = self.orders.clone();
        let config = Config::default()
            .with_poll_interval(interval)
            .with_follow_symlinks(plan.follows_links);
        let heard = move |event| {
            let _sent = orders.send(Order::Polled(id, event));
        };
        let orders = self.orders.clone();
        let seen = move |path: notify::Result<PathBuf>| {
            if let Ok(path) = path
                && since.has_passed_before(&path)
            {
                let event = Event::new(EventKind::Create(CreateKind::Any)).add_path(path);
                let _sent = orders.send(Order::Polled(id, Ok(event)));
            }
        };
        let poll = PollWatcher::with_initial_scan(heard, config, seen);
        let mut poll = poll.map_err(|error| told(&error, &plan.cwd))?;
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
    fn look_for(&mut self, path: &Path, interest: &Interest) -> Result<(), String> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(());
        };
        let only = Some(name.to_owned());
        let is_new = self.watch(
            folder,
            Interest {
                only,
                ..interest.clone()
            },
        )?;
        if is_new {
            self.look_back(path, interest);
        }
        Ok(())
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
                self.look_back(&entry.path(), &inner);
                if kind.is_dir() {
                    open.push((entry.path(), inner));
                } else if kind.is_symlink() && self.follows_links(interest.id) {
                    let Ok(target) = fs::canonicalize(entry.path()) else {
                        continue;
                    };
                    if target.is_dir() {
                        open.push((target, inner));
                    } else {
                        self.look_for(&target, &inner)?;
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
        let watcher = self.watchers.get(&interest.id);
        watcher.is_some_and(|it| it.wants(&interest.known_as, interest.depth))
    }

    /// Takes note of something that changed while its folder was not watched yet.
    fn look_back(&mut self, path: &Path, interest: &Interest) {
        if let Some(watcher) = self.watchers.get_mut(&interest.id) {
            watcher.look_back(path, interest.root, &interest.known_as);
        }
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
        let (id, root, known_as) = (interest.id, interest.root, interest.known_as.clone());
        // Before it is said: whoever is restarted for a new folder may write into it at once.
        if path.is_dir() {
            let only = None;
            if let Err(trouble) = self.walk(path.to_path_buf(), Interest { only, ..interest }) {
                self.report(Report::Trouble(id, trouble));
            }
        }
        self.say(id, root, &known_as);
    }

    fn say(&self, id: PmId, root: usize, path: &Path) {
        if self
            .watchers
            .get(&id)
            .is_some_and(|watcher| watcher.means(root, path))
        {
            let path = path.to_string_lossy().into_owned();
            self.report(Report::Changed(id, path.into()));
        }
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

#[cfg(test)]
mod tests;
