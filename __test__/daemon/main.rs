//! A real keeper and a real daemon, driven over their sockets as any client would.
#![expect(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "a test that cannot go on has failed, and values are written where they are used"
)]

mod bus;
mod calls;
mod channel;
mod crashes;
mod ends;
mod faults;
mod garbage;
mod heirs;
mod helper;
mod limits;
mod logs;
mod many;
mod orphans;
mod processes;
mod recovery;
mod service;
mod stops;
mod strangers;
