//! Supervision without IO: inputs and the time come in, effects go out.
//!
//! **Invariant:** nothing here reads a clock, touches a file, draws a random number or waits. The same inputs give the
//! same effects, and the whole of it can be written out and read back between any two inputs.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]
#![deny(clippy::wildcard_enum_match_arm)]

mod clock;
mod failure;
mod input;
mod plan;
mod supervisor;

pub use clock::Now;
pub use failure::Failure;
pub use input::{Call, Effect, Input};
pub use plan::{Runtime, SpawnMode, SpawnPlan};
pub use supervisor::{Process, Supervisor, SupervisorConfig};
