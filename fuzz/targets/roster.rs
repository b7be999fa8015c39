//! See `../kept.rs`.
#![no_main]

#[path = "../kept.rs"]
#[expect(dead_code, reason = "each target uses one of the checks")]
mod kept;

libfuzzer_sys::fuzz_target!(|input: &[u8]| kept::roster(input));
