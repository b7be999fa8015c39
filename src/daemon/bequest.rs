//! Going on where keeper and daemon were killed at once: nobody handed anything over, but the processes are there, and the files
//! in the home say which they are.
//!
//! A process in fork mode goes on. Its pipes are found by the process itself, which holds the other ends; its channel has gone with
//! those who held the other end. Workers of a cluster cannot go on without their primary: they are ended, and begun again by
//! their restart policy, as are those that have ended meanwhile.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::ends;
use super::link::Link;
use super::pilot::Pilot;
use super::records::Frozen;
use super::recovery::{self, Hello};
use super::report;
use super::start;
use super::testament::Found;
use crate::core::Supervisor;
use crate::host::foreign::Foreign;
use crate::host::handles;
use crate::host::paths::Home;
use crate::host::roster::Entry;
use crate::host::tree;
use crate::keeper::proto::Ended;
use crate::model::{PmId, ProcessSpec, RunId, SpecError};

/// Processes that are ended have this long to be gone, ports and all. Only a disk that hangs makes it longer.
const END_MAX: Duration = Duration::from_secs(2);
/// Between two looks at them.
const END_PAUSE: Duration = Duration::from_millis(1);

/// What became of those who were left.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Bequest {
    adopted: usize,
    ended: usize,
    gone: usize,
}

impl Bequest {
    /// For the log.
    pub(crate) fn told(&self) -> String {
        let Self {
            adopted,
            ended,
            gone,
        } = self;
        format!(
            "keeper and daemon were killed at once: {adopted} applications go on without their channels, {ended} were ended, {gone} had ended"
        )
    }
}

/// Whom a daemon follows.
#[derive(Debug)]
pub(crate) enum After {
    /// Nobody, or one that had ended everything.
    Nobody,
    /// A daemon whose keeper is there.
    Daemon,
    /// A daemon that was killed with its keeper.
    Both(Bequest),
}

/// What a daemon begins with.
#[derive(Debug)]
pub(crate) struct Begun {
    /// The list.
    pub(crate) supervisor: Supervisor,
    /// Whose it was.
    pub(crate) after: After,
    /// What of it is lost.
    pub(crate) complaints: Vec<String>,
}

/// The list to begin with: of the daemon before, whose word the keeper has kept, or of those who were killed at once.
pub(crate) fn begin(
    frozen: Option<Frozen>,
    mut found: Found,
    hello: &mut Hello,
    link: &mut Link,
) -> io::Result<Begun> {
    let left = found.frozen.take().filter(|one| !one.processes.is_empty());
    let is_after_both = frozen.is_none() && (left.is_some() || !found.entries.is_empty());
    let is_after_daemon = frozen.is_some();
    let frozen = frozen.or_else(|| left.map(Frozen::without_cluster));
    let (mut supervisor, complaints) = recovery::supervisor(frozen);
    let after = if is_after_both {
        if supervisor.is_killing() {
            // They were to end, and whoever starts a daemon now does not want that one.
            supervisor = Supervisor::new(start::supervisor_config());
        }
        After::Both(settle(found, &supervisor, hello, link)?)
    } else if is_after_daemon {
        After::Daemon
    } else {
        After::Nobody
    };
    Ok(Begun {
        supervisor,
        after,
        complaints,
    })
}

/// Finds everybody who was left, and has the keeper look after who can go on. The supervisor is told of them as of any others.
fn settle(
    found: Found,
    supervisor: &Supervisor,
    hello: &mut Hello,
    link: &mut Link,
) -> io::Result<Bequest> {
    let mut bequest = Bequest::default();
    let mut to_end = Vec::new();
    for entry in found.entries {
        let known = supervisor.runs().find(|(run, _)| run.0 == entry.run);
        let spec = known.map(|(_, process)| (process.id(), process.record().spec()));
        let forks = |spec: &Result<ProcessSpec, SpecError>| {
            spec.as_ref().is_ok_and(|spec| !spec.is_cluster)
        };
        let foreign = entry.living().and_then(Foreign::find);
        match (foreign, spec) {
            (Some(foreign), Some((id, spec))) if forks(&spec) => {
                adopt(id, entry, &foreign, hello, link)?;
                bequest.adopted += 1;
            }
            (Some(foreign), spec) => {
                to_end.push(foreign);
                bequest.ended += 1;
                if spec.is_some() {
                    hello.missed(ended(entry));
                }
            }
            (None, Some(_)) => {
                bequest.gone += 1;
                hello.missed(ended(entry));
            }
            (None, None) => {}
        }
    }
    end(&to_end);
    Ok(bequest)
}

fn ended(entry: Entry) -> Ended {
    Ended {
        run: entry.run,
        pid: entry.pid,
        status: None,
    }
}

fn adopt(
    id: PmId,
    entry: Entry,
    foreign: &Foreign,
    hello: &mut Hello,
    link: &mut Link,
) -> io::Result<()> {
    let prefix = ends::prefix(id, RunId(entry.run));
    for (number, inode) in (0..).zip(entry.pipes) {
        if let Some(fd) = handles::reopen_pipe(entry.pid, number, inode) {
            let key = format!("{prefix}{}", ends::NAMES[number]);
            hello.give(key.clone(), Rc::new(fd.try_clone()?));
            link.store(key, fd)?;
        }
    }
    hello.found(link.adopt(entry.run, foreign)?);
    Ok(())
}

/// Ends these with all that belongs to them, and waits until they are: nothing of theirs may be there when they are begun again.
fn end(processes: &[Foreign]) {
    let roots: Vec<_> = processes.iter().map(|one| one.identity).collect();
    if roots.is_empty() {
        return;
    }
    tree::kill_all(&roots);
    let until = Instant::now() + END_MAX;
    while !processes.iter().all(Foreign::has_ended) && Instant::now() < until {
        std::thread::sleep(END_PAUSE);
    }
}

impl Pilot {
    /// Begins the log as people know it.
    pub(crate) fn greet(&self, home: &Home, keeper: i32, after: &After, complaints: &[String]) {
        let version = report::OWN_VERSION;
        let what = match after {
            After::Nobody => "New PM2 Daemon started",
            After::Daemon | After::Both(_) => "PM2 Daemon goes on",
        };
        if let After::Both(bequest) = after {
            self.journal.error(&bequest.told());
        }
        for complaint in complaints {
            self.journal.error(&format!(
                "a record of the daemon before is lost: {complaint}"
            ));
        }
        self.journal.log(&format!(
            "{what}: pm2 {version}, keeper {keeper}, daemon {}",
            std::process::id()
        ));
        let (rpc, bus) = (&home.rpc, &home.bus);
        self.journal.log(&format!(
            "PM2 home {}, RPC socket {rpc}, BUS socket {bus}",
            home.root.display()
        ));
    }
}
