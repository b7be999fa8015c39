//! Supervision without IO: inputs and the time come in, effects go out.
//!
//! **Invariant:** nothing here reads a clock, touches a file, draws a random number or waits. The same inputs give the
//! same effects, and the whole of it can be written out and read back between any two inputs.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]
#![deny(clippy::wildcard_enum_match_arm)]

mod calls;
mod clock;
mod cluster;
mod failure;
mod fleet;
mod frozen;
mod input;
mod life;
mod limits;
mod messages;
mod plan;
mod prepare;
mod process;
mod reload;
mod restart;
mod resume;
mod schedule;
mod stop;
mod supervisor;

#[cfg(test)]
mod tests;

pub use clock::Now;
pub use cluster::{ListenAddress, PortShare, SocketName};
pub use failure::Failure;
pub use frozen::{FROZEN_VERSION, PRIMARY_PART, ThawError};
pub use input::{Arrival, Call, Effect, Input, Taker};
pub use life::{State, Then};
pub use plan::{Runtime, SpawnMode, SpawnPlan};
pub use process::Process;
pub use resume::{Changes, Fate};
pub use schedule::{Limited, NextTick};
pub use supervisor::{Supervisor, SupervisorConfig};
