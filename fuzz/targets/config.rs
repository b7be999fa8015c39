//! See `../texts.rs`.
#![no_main]

#[path = "../texts.rs"]
#[expect(dead_code, reason = "each target uses one of the checks")]
mod texts;

libfuzzer_sys::fuzz_target!(|input: &[u8]| texts::config(input));
