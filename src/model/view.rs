//! What is shown of a process.

/// What a process uses, as sampled by the daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory.
    pub memory_bytes: u64,
    /// Tenths of a percent of one core since the previous sample.
    pub cpu_tenths: u32,
}
