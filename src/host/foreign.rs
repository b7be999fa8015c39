//! A process whose parent is somebody else: known by its descriptor, so that its number may be used again.

use super::handles::Pidfd;
use super::proc_stat::Proc;
use super::tree::Identity;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

/// One of them. Readable when it has ended.
#[derive(Debug)]
pub struct Foreign {
    /// Number and start time.
    pub identity: Identity,
    watch: Pidfd,
}

impl Foreign {
    /// Gets hold of a process that lives, or has ended and was not reaped. `None` when it has gone.
    #[must_use]
    pub fn find(identity: Identity) -> Option<Self> {
        let watch = identity.watch()?;
        Some(Self { identity, watch })
    }

    /// One that is held already.
    #[must_use]
    pub fn of(identity: Identity, watch: Pidfd) -> Self {
        Self { identity, watch }
    }

    /// Signals exactly this process.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        self.watch.signal(signal)
    }

    /// Whether it has ended, reaped or not.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.watch.has_ended()
    }

    /// How it ended: told by the kernel once it has been reaped, read from `/proc` before. `None` when neither is to be had,
    /// that is before Linux 6.15 unless we look before its parent does.
    #[must_use]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        let told = || self.watch.exit_status();
        // It may be reaped between the first two looks, so the first is taken once more.
        told().or_else(|| self.zombie_status()).or_else(told)
    }

    fn zombie_status(&self) -> Option<ExitStatus> {
        let stat = Proc::open().ok()?.stat(self.identity.pid)?;
        let is_it = stat.start == self.identity.start && stat.has_ended();
        is_it.then(|| ExitStatus::from_raw(stat.exit_status))
    }
}

impl AsFd for Foreign {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}

/// Waits for the end of any number of them by one descriptor, which is readable when some have ended.
#[derive(Debug)]
pub struct Watch(Epoll);

/// How many ends are taken at a time.
const ENDS_PER_LOOK: usize = 32;

impl Watch {
    /// Waits for nobody yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?))
    }

    /// Waits for this one too, until it is dropped; `key` says later which it was.
    pub fn add(&self, process: &Foreign, key: u64) -> io::Result<()> {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, key);
        Ok(self.0.add(process, event)?)
    }

    /// The keys of some that have ended. Given again until they are dropped.
    #[must_use]
    pub fn ended(&self) -> Vec<u64> {
        let mut events = [EpollEvent::empty(); ENDS_PER_LOOK];
        let count = self.0.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        events[..count].iter().map(EpollEvent::data).collect()
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::process::{PollFd, PollFlags, wait};
    use crate::host::testing::until;
    use std::process::Command;

    fn wait_for(watch: &Watch) {
        let mut one = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
        wait(&mut one, None).unwrap();
    }

    // Protects: the exit code of an app whose keeper was killed. Before it is reaped, and after.
    #[test]
    fn the_status_of_somebody_elses_child_is_known_before_and_after_it_is_reaped() {
        let watch = Watch::new().unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "read x; exit 3"]);
        command.stdin(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let identity = Identity::of(child.id().cast_signed()).unwrap();
        let foreign = Foreign::find(identity).unwrap();
        watch.add(&foreign, 7).unwrap();
        assert!(watch.ended().is_empty() && foreign.exit_status().is_none());
        drop(child.stdin.take());
        wait_for(&watch);
        assert_eq!(watch.ended(), [7]);
        assert_eq!(foreign.exit_status().unwrap().code(), Some(3));
        child.wait().unwrap();
        assert!(foreign.has_ended() && Foreign::find(identity).is_none());
        assert!(foreign.signal(0).is_err());
        // An older kernel does not say any more.
        let status = foreign.exit_status();
        assert!(
            status.is_none_or(|status| status.code() == Some(3)),
            "{status:?}"
        );
        drop(foreign);
        until(|| watch.ended().is_empty());
    }
}
