//! Bytes and messages: what travels on `rpc.sock`, on `pub.sock` and on the channel to a Node child.
//!
//! Bytes that arrive are pushed into a decoder and taken out as whole frames or lines; messages that leave are built as one piece of
//! bytes. JSON is carried as the text it came as ([`json::Json`]) and looked into only where a decision needs it, so what one peer
//! sends is what the other receives: same order, same numbers, no second copy of a large reply.
//!
//! **Invariant:** no process, socket, file or clock is known here, and every function is total: any bytes give messages, "not yet"
//! or an error, never a panic, and never an allocation that a length field merely promised.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod amp;
pub mod arg;
pub mod axon;
#[cfg(test)]
mod golden;
mod intake;
pub mod ipc;
pub mod json;
mod lines;
pub mod rpc;
