//! Faults, injected: deaths at random moments, a system that refuses, peers that do everything wrong.
//!
//! What is random has a seed, which a failing test prints: `PM2_FAULT_SEED=<seed>` repeats its decisions, and
//! `PM2_FAULT_ROUNDS=<n>` makes it longer.

mod chaos;
mod lines;
mod load;
mod peers;
mod reload;
pub(crate) mod system;

use std::time::{SystemTime, UNIX_EPOCH};

use super::recovery::Dice;

/// Dice of a seed nobody has chosen, or of the one that is asked for. Printed, which shows when the test fails.
#[expect(
    clippy::print_stdout,
    reason = "the harness shows it with a failure, and only then"
)]
fn dice(test: &str) -> Dice {
    let seed = number("PM2_FAULT_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.map_or(1, |now| u64::from(now.subsec_nanos()))
    });
    println!("{test}: PM2_FAULT_SEED={seed}");
    Dice(seed)
}

fn rounds(usual: u64) -> u64 {
    number("PM2_FAULT_ROUNDS").unwrap_or(usual)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable)
        .ok()
        .map(|text| text.parse().expect("a number"))
}
