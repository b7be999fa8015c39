//! What every task of the daemon may use: the bus, the log files, one buffer to read into, the time.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::bus::Bus;
use super::logs::Logs;
use super::scratch::{SCRATCH_BYTES, Scratch};
use crate::core::Now;

/// The tasks' common ground. Everything in it is used without waiting, so one thread shares it without a lock.
pub(crate) struct Shared {
    /// The subscribers of `pub.sock`.
    pub(crate) bus: Rc<Bus>,
    /// Every open log file.
    pub(crate) logs: Rc<Logs>,
    /// What apps write is read into this, and done with before anybody else runs.
    pub(crate) output: RefCell<Scratch>,
    /// What peers write is read into this, likewise.
    pub(crate) scratch: RefCell<Box<[u8]>>,
}

impl Shared {
    /// A quiet bus, no files.
    pub(crate) fn new(output: Scratch) -> Rc<Self> {
        Rc::new(Self {
            output: RefCell::new(output),
            bus: Rc::default(),
            logs: Rc::default(),
            scratch: RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice()),
        })
    }

    /// Both clocks, now.
    pub(crate) fn now() -> Now {
        let mono = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Now {
            mono,
            wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// Has the event loop watch a descriptor that `inner` owns until it is dropped.
#[expect(
    deprecated,
    reason = "its successor is unsafe because `inner` might give another number each time; ours own one descriptor for good"
)]
pub(crate) fn watch<T: AsRawFd>(inner: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(inner, interest)
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}
