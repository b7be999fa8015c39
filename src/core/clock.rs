//! The time, as the core is told it.

use std::time::Duration;

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Never goes back. Deadlines are on this clock and outlive a daemon, so give `CLOCK_MONOTONIC` itself (time since
    /// boot), not the time since the daemon started.
    pub mono: Duration,
    /// Milliseconds since 1970: what people are shown.
    pub wall_ms: u64,
}
