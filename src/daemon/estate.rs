//! Starting another keeper where one was, with all that one held.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use super::mirror::Mirror;
use crate::host::foreign::Foreign;
use crate::host::handles::{self, Pidfd};
use crate::host::paths::Home;
use crate::host::spawn::{self, Gifts, OpenFiles};
use crate::host::tree::Identity;
use crate::keeper::proto::{ChildLeft, DaemonLeft, Handover, Inheritance, Parcel, next_keeper};

/// Our own executable, also when its file has been replaced or removed.
const OURSELVES: &std::ffi::CStr = c"/proc/self/exe";

/// What every keeper of this home has, whatever it holds for us.
#[derive(Debug)]
pub(super) struct Estate {
    home: Home,
    lock: OwnedFd,
    tie: Option<OwnedFd>,
    open_files: Option<OpenFiles>,
}

/// A keeper that has been started.
#[derive(Debug)]
pub(super) struct Heir {
    pub(super) channel: OwnedFd,
    pub(super) process: Pidfd,
    /// Runs whose process has gone without anybody having seen how.
    pub(super) gone: Vec<(u64, i32)>,
}

/// Why there is no other keeper.
#[derive(Debug, thiserror::Error)]
pub(super) enum EstateError {
    /// A descriptor, or memory for the record.
    #[error("hand over to another keeper")]
    Handover(#[from] io::Error),
    /// Its process.
    #[error("start another keeper: {0:?}: {1}")]
    Spawn(spawn::Stage, io::Error),
}

impl Estate {
    /// What we have from the first keeper, but for the channel.
    pub(super) fn new(
        home: Home,
        inheritance: Inheritance,
        open_files: Option<OpenFiles>,
    ) -> (Self, OwnedFd) {
        let Inheritance { channel, lock, tie } = inheritance;
        let estate = Self {
            home,
            lock,
            tie,
            open_files,
        };
        (estate, channel)
    }

    /// Starts a keeper that goes on with what `mirror` says. It has all of it from its first moment.
    pub(super) fn start_keeper(&self, mirror: &Mirror) -> Result<Heir, EstateError> {
        let (ours, theirs) = handles::stream_pair()?;
        let own = std::process::id().cast_signed();
        let ourselves = Pidfd::open(own)?;
        let mut living = Vec::new();
        let mut gone = Vec::new();
        for one in mirror.running() {
            let identity = Identity {
                pid: one.pid,
                start: one.start,
            };
            match Foreign::find(identity) {
                Some(foreign) => living.push((one, foreign)),
                None => gone.push((one.run, one.pid)),
            }
        }
        let mut parcel = Parcel::default();
        parcel.record = Handover {
            lock: parcel.put(self.lock.as_fd()),
            tie: self.tie.as_ref().map(|tie| parcel.put(tie.as_fd())),
            daemon: Some(DaemonLeft {
                pid: own,
                start: Identity::of(own).map_or(u64::MAX, |identity| identity.start),
                watch: Some(parcel.put(ourselves.as_fd())),
                channel: parcel.put(theirs.as_fd()),
                is_ready: mirror.is_ready,
                log_start: 0,
            }),
            children: living
                .iter()
                .map(|(one, foreign)| ChildLeft {
                    run: one.run,
                    pid: one.pid,
                    start: one.start,
                    signal: one.signal,
                    watch: Some(parcel.put(foreign.as_fd())),
                })
                .collect(),
            store: mirror
                .store
                .iter()
                .map(|(key, fd)| (key.to_owned(), parcel.put(fd.as_fd())))
                .collect(),
            unsettled: mirror.unsettled(),
            open_files: None,
            crashes: 0,
            has_served: mirror.is_ready,
        };
        let record = parcel.write()?;
        let number = parcel.put(record.as_fd());
        let plan = next_keeper(&self.home, OURSELVES, &[], number);
        let (stdout, stderr) = (io::stdout(), io::stderr());
        let gifts = Gifts {
            fds: &[None, Some(stdout.as_fd()), Some(stderr.as_fd())],
            kept: parcel.fds(),
            open_files: self.open_files,
            ..Gifts::default()
        };
        let pid = spawn::spawn(&plan, &gifts).map_err(|failure| {
            let error = io::Error::from_raw_os_error(failure.errno);
            EstateError::Spawn(failure.stage, error)
        })?;
        Ok(Heir {
            channel: ours,
            // Our own child, so the number is its own.
            process: Pidfd::open(pid)?,
            gone,
        })
    }
}
