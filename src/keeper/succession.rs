//! Another keeper in this one's place: what it takes over, and how this one becomes it.

use super::handover::{Handover, Parcel};
use super::launch::{self, log};
use super::proto::{self, DaemonLeft, Report};
use super::serving::{Daemon, Serving};
use super::{Ending, Keeper};
use crate::host::process;
use crate::host::tree::Identity;
use std::io;
use std::os::fd::AsFd as _;

impl Keeper {
    /// Goes on where another keeper was.
    pub(super) fn take_over(mut self, left: Handover) -> io::Result<Self> {
        self.children.take_over(&left.children)?;
        for (key, number) in left.store {
            let fd = process::inherited(number).ok_or(io::ErrorKind::NotFound)?;
            // No keeper had more than we take.
            let _refused = self.store.put(key, fd);
        }
        self.unsettled = left
            .unsettled
            .into_iter()
            .map(|one| (one.run, one))
            .collect();
        self.open_files = left.open_files.or(self.open_files);
        self.crashes = left.crashes;
        self.has_served = left.has_served;
        if let Some(daemon) = left.daemon {
            self.daemon = Daemon::Up(Box::new(Serving::take_over(daemon)?));
        }
        self.report(Report::Took {
            version: proto::VERSION,
            keeper: std::process::id().cast_signed(),
        });
        Ok(self)
    }

    /// Becomes the executable that has proven itself as the daemon, as soon as nothing is half said. Our number, our
    /// children and all descriptors stay. What cannot be executed, or would not understand us, leaves us as we are.
    pub(super) fn make_way_if_outdated(&mut self) {
        let Daemon::Up(up) = &self.daemon else {
            return;
        };
        let Some(channel) = up.channel.as_ref().filter(|channel| channel.is_idle()) else {
            return;
        };
        if !self.is_outdated || !up.has_everything() || self.ending != Ending::No {
            return;
        }
        let Some((path, env)) = self.program.proven() else {
            return;
        };
        self.is_outdated = false;
        if self
            .daemon_version
            .is_none_or(|version| version < proto::VERSION)
        {
            return log("the keeper stays as it is: the new executable is older");
        }
        let mut parcel = Parcel::default();
        let left = Handover {
            lock: parcel.put(self.launched.lock.as_fd()),
            tie: self
                .launched
                .tie
                .as_ref()
                .map(|tie| parcel.put(tie.as_fd())),
            daemon: Some(DaemonLeft {
                pid: up.pid,
                start: Identity::of(up.pid).map_or(u64::MAX, |identity| identity.start),
                watch: up.foreign.as_ref().map(|one| parcel.put(one.as_fd())),
                channel: parcel.put(channel.as_fd()),
                is_ready: up.is_ready,
                log_start: up.log_start,
            }),
            children: self.children.leave(|fd| parcel.put(fd)),
            store: self
                .store
                .iter()
                .map(|(key, fd)| (key.to_owned(), parcel.put(fd.as_fd())))
                .collect(),
            unsettled: self.unsettled.values().copied().collect(),
            open_files: self.open_files,
            crashes: self.crashes,
            has_served: self.has_served,
        };
        parcel.record = left;
        let record = match parcel.write() {
            Ok(record) => record,
            Err(error) => return log(&format!("the keeper stays as it is: {error}")),
        };
        let number = parcel.put(record.as_fd());
        let plan = launch::next_keeper(&self.launched.home, path, env, number);
        let error = process::execute(&plan.program, &plan.argv, &plan.env, parcel.fds());
        log(&format!("the keeper stays as it is: {path:?}: {error}"));
    }
}
