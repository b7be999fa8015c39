//! The operating system, as the other rooms want to see it: processes, descriptors, signals, files.
//!
//! **Invariant:** this is the only room with `unsafe`, and every descriptor made here is close-on-exec. Nothing here keeps
//! state of its own or decides anything about an application.
#![expect(
    unsafe_code,
    reason = "the one room that talks to the kernel without a wrapper; each block says why it is sound"
)]

pub mod account;
pub mod dump;
pub mod families;
pub mod files;
pub mod foreign;
pub mod handles;
pub mod install;
pub mod listen;
pub mod memory;
pub mod notify;
pub mod passing;
pub mod paths;
mod proc_stat;
pub mod process;
pub mod roster;

pub mod signal;
pub mod sockets;
pub mod spawn;
#[cfg(test)]
pub(crate) mod testing;
pub mod tree;
pub mod usage;
pub mod world;
pub mod zone;

use std::io;
use std::path::PathBuf;

/// What can go wrong between us and the operating system, one variant per thing attempted.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A folder of the home structure could not be made or is not ours to write.
    #[error("use {path} as part of PM2_HOME")]
    Home {
        /// The folder or file concerned.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file could not be read, written or replaced.
    #[error("{action} {path}")]
    File {
        /// What was attempted, as a verb: `copy`, `write`, `open`, `lock`.
        action: &'static str,
        /// The file concerned.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A Unix socket path is longer than the kernel's address structure.
    #[error(
        "use the socket path {path}: it has {length} bytes, the system allows {limit}; choose a shorter PM2_HOME"
    )]
    SocketPathTooLong {
        /// The path as it would be used.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
        /// The longest the system takes.
        limit: usize,
    },
    /// The text of an address variable means nothing.
    #[error(
        "understand the address {value:?}: allowed are a path, unix:<path>, tcp://<host>:<port> and a port number"
    )]
    Address {
        /// What was given.
        value: String,
    },
    /// Someone answers at the address we wanted to serve.
    #[error("bind {address}: another process already serves it")]
    AlreadyServed {
        /// The address as text.
        address: String,
    },
    /// Where the socket should be is a file of another kind, which is not ours to delete.
    #[error("bind {path}: something that is not a socket is there")]
    NotASocket {
        /// The path of the obstacle.
        path: PathBuf,
    },
    /// The address could not be bound for another reason.
    #[error("bind {address}")]
    Bind {
        /// The address as text.
        address: String,
        /// The system's answer.
        source: io::Error,
    },
}
