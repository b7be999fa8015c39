//! The process so small that it cannot fail: parent of every application, holder of descriptors, starter of daemons.
//!
//! **Invariant:** no tokio, no JSON, no socket of its own, nothing that grows with time. An application's exit is reported
//! exactly once, and only the keeper's own, not yet reaped children are ever signalled.

pub mod proto;
