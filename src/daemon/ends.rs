//! The descriptors of a run, both sides of them.

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::pipe2;

use super::inbox;
use super::mirror::Held;
use crate::model::{PmId, RunId};

/// What stdout and stderr may hold before the app's write waits: a burst costs neither the app nor the other apps anything.
const PIPE_BYTES: i32 = 1024 * 1024;
/// Without privileges, large pipes count against a limit that every program of the user shares; past it the kernel
/// gives all of them tiny pipes. So only so many pipes of ours are large then.
const LARGE_PIPES_MAX: u32 = 24;
/// What the keys of all runs begin with.
pub(crate) const PREFIX: &str = "proc/";
/// How their keys end, in the order of the descriptors.
pub(crate) const NAMES: [&str; 5] = ["stdin", "stdout", "stderr", "ipc", "inbox"];
/// How the keys of what waits for the app end.
pub(crate) const TO_STDIN: &str = "to-stdin";
pub(crate) const TO_IPC: &str = "to-ipc";
/// How the keys of all end that the app itself used, and not who inherited its output.
pub(crate) const OWN_NAMES: [&str; 5] = ["stdin", "ipc", "inbox", TO_STDIN, TO_IPC];
/// stdin, stdout, stderr and channel, for the app.
pub(crate) type TheirEnds = [OwnedFd; 4];

/// The daemon's side of a run's descriptors.
#[derive(Debug)]
pub(crate) struct OurEnds {
    pub(super) stdin: Option<Held>,
    pub(super) out: Option<Held>,
    pub(super) err: Option<Held>,
    pub(super) ipc: Option<Held>,
    /// What the app has said and nobody has acted upon.
    pub(super) inbox: Option<Held>,
    /// What waits for the app, if an earlier daemon left any.
    pub(super) to_stdin: Option<Held>,
    pub(super) to_ipc: Option<Held>,
    /// Given back when the pipes are closed.
    pub(super) share: Share,
}

/// How many large pipes a run holds of those that are allowed.
#[derive(Debug)]
pub(crate) struct Share {
    all: Rc<Cell<u32>>,
    held: u32,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.all.set(self.all.get() - self.held);
    }
}

/// Makes the descriptors of runs.
#[derive(Debug, Default)]
pub(crate) struct EndsMaker {
    large_pipes: Rc<Cell<u32>>,
}

impl EndsMaker {
    /// The descriptors of one run.
    pub(crate) fn make(&self) -> io::Result<(OurEnds, TheirEnds)> {
        let (stdin_read, stdin_write) = pipe2(OFlag::O_CLOEXEC)?;
        let (out_read, out_write) = pipe2(OFlag::O_CLOEXEC)?;
        let (err_read, err_write) = pipe2(OFlag::O_CLOEXEC)?;
        let (ipc_ours, ipc_theirs) = socketpair(
            AddressFamily::Unix,
            SockType::Stream,
            None,
            SockFlag::SOCK_CLOEXEC,
        )?;
        let mut share = Share {
            all: Rc::clone(&self.large_pipes),
            held: 0,
        };
        for pipe in [&out_read, &err_read] {
            share.enlarge(pipe);
        }
        for end in [&stdin_write, &out_read, &err_read, &ipc_ours] {
            fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        let ours = OurEnds {
            stdin: Some(stdin_write.into()),
            out: Some(out_read.into()),
            err: Some(err_read.into()),
            ipc: Some(ipc_ours.into()),
            inbox: Some(inbox::new_file()?.into()),
            to_stdin: None,
            to_ipc: None,
            share,
        };
        Ok((ours, [stdin_read, out_write, err_write, ipc_theirs]))
    }

    /// The descriptors of a run that an earlier daemon began, as far as they were stored. `take` gives what is under a key.
    pub(crate) fn restore(&self, mut take: impl FnMut(&str) -> Option<Held>) -> OurEnds {
        let [stdin, out, err, ipc, inbox] = NAMES.map(&mut take);
        let [to_stdin, to_ipc] = [TO_STDIN, TO_IPC].map(&mut take);
        let large = [&out, &err].into_iter().flatten().filter(|pipe| {
            fcntl(pipe, FcntlArg::F_GETPIPE_SZ).is_ok_and(|bytes| bytes >= PIPE_BYTES)
        });
        let held = u32::try_from(large.count()).unwrap_or(0);
        self.large_pipes.set(self.large_pipes.get() + held);
        let share = Share {
            all: Rc::clone(&self.large_pipes),
            held,
        };
        OurEnds {
            stdin,
            out,
            err,
            ipc,
            inbox,
            to_stdin,
            to_ipc,
            share,
        }
    }
}

impl OurEnds {
    /// All of them under their keys, for the keeper.
    pub(crate) fn held(&self, prefix: &str) -> Vec<(String, Held)> {
        let all = [&self.stdin, &self.out, &self.err, &self.ipc, &self.inbox];
        let named = NAMES.into_iter().zip(all);
        named
            .filter_map(|(name, fd)| Some((format!("{prefix}{name}"), fd.clone()?)))
            .collect()
    }
}

/// What the keeper's keys for the descriptors of one run begin with.
pub(crate) fn prefix(id: PmId, run: RunId) -> String {
    format!("{PREFIX}{id}/{}/", run.0)
}

impl Share {
    /// A refusal is no error: a small pipe works too, the app's writes just wait sooner.
    fn enlarge(&mut self, pipe: &OwnedFd) {
        let is_free = nix::unistd::geteuid().is_root();
        if is_free || self.all.get() < LARGE_PIPES_MAX {
            self.held += 1;
            self.all.set(self.all.get() + 1);
            let _unused = fcntl(pipe, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
        }
    }
}
