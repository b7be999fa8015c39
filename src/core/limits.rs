//! Every bound in the core, with its reason.

/// Processes in the list. One record is about 10 kB; past this a wrong `instances` would take the machine's memory.
pub(super) const PROCESSES_MAX: usize = 10_000;

/// Instances of one declaration. More is a typing error: they are started one after another.
pub(super) const INSTANCES_MAX: i64 = 1_000;

/// Bytes of each of `axm_actions`, `axm_monitor` and `axm_options`. An application that reports more would make every
/// list slow for everybody.
pub(super) const AXM_BYTES_MAX: usize = 64 * 1024;

/// Bytes of declaration and environment of one process. The system itself takes little more for an environment.
pub(super) const RECORD_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Callers waiting for one process. They come one per request, so a flood of them is a client gone wrong.
pub(super) const CLAIMS_MAX: usize = 1_024;
