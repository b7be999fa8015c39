//! The nouns of process supervision: ids, exits, policies, the process record and the events about it.
//!
//! **Invariant:** nothing here has behaviour that needs a clock, a disk or a process. Everything is a value that can be
//! written out, read back and compared, and no environment is ever shown by `Debug`.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod event;
mod exit;
mod fields;
mod id;
mod json;
mod list;
mod paths;
mod policy;
mod record;
mod spec;
mod spliced;
mod status;
mod view;

pub use event::{AppMessage, BusEvent, EVENT_NAME_MAX, MessageKind, Sender};
pub use exit::{Exit, Signal};
pub use id::{ConnectionId, ListenerId, Pid, PmId, RunId, SocketId, Ticket, WireId};
pub use json::{JsonText, Members, as_text, is_object, is_truthy, quoted};
pub use policy::{Backoff, RestartPolicy, StopBy, StopPolicy};
pub use record::{Axm, Counts, Place, Record, Wanted};
pub use spec::{LogSpec, ProcessSpec, Rules, SpecError};
pub use spliced::Spliced;
pub use status::Status;
pub use view::{Measured, Usage, View, assigned};
