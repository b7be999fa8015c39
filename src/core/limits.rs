//! Every bound in the core, with its reason.

use std::time::Duration;

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

/// How long a worker may need until its Node says `online`. It does so before any code of the application; only a program that is no
/// Node, or a machine that hardly moves, takes longer.
pub(super) const WORKER_SILENCE_MAX: Duration = Duration::from_secs(30);

/// How long a successor may need to be ready where no `listen_timeout` is declared. A slow start is no failure.
pub(super) const SUCCESSOR_MAX: Duration = Duration::from_mins(1);

/// How long a worker that has finished everything may take to end by itself, before it is asked to like any other. Timers and pools
/// would keep it for ever.
pub(super) const LINGER_MAX: Duration = Duration::from_millis(100);
