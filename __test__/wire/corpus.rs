//! Replays the inputs of `__test__/golden/corpus` through the checks that fuzzing uses, so that what was found once stays fixed
//! without a fuzzer; and each of them with some of its bytes changed, always the same ones.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

#[path = "../../fuzz/checks.rs"]
mod checks;
#[path = "../../fuzz/kept.rs"]
mod kept;
#[path = "../../fuzz/texts.rs"]
mod texts;

/// The fewest inputs a corpus has; fewer means it was not found.
const INPUTS_MIN: usize = 8;
/// Variants of each input. `PM2_FUZZ_VARIANTS` asks for more.
const VARIANTS: u64 = 20;

/// Changes inputs, the same way each time.
struct Mutator(u64);

impl Mutator {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % limit.max(1)
    }

    /// One to four changes: a bit, a byte that means something to some format, a piece cut out, doubled, or taken from another input.
    fn variant(&mut self, input: &[u8], other: &[u8]) -> Vec<u8> {
        const TELLING: &[u8] = b"\0\x01\x7f\xff\n\"{}[],:0-9*/!\\";
        let mut bytes = input.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            let length = self.below(16);
            let end = (at + length).min(bytes.len());
            match self.below(6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => bytes[at] = TELLING[self.below(TELLING.len())],
                2 => drop(bytes.drain(at..end)),
                3 => {
                    let piece = bytes[at..end].to_vec();
                    bytes.splice(at..at, piece);
                }
                4 => {
                    let from = self.below(other.len() + 1);
                    let until = (from + length).min(other.len());
                    bytes.splice(at..at, other[from..until].iter().copied());
                }
                _ => bytes.truncate(at),
            }
        }
        bytes
    }
}

fn replay(target: &str, check: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("__test__/golden/corpus")
        .join(target);
    let mut paths: Vec<PathBuf> = fs::read_dir(directory)
        .expect("the corpus is part of the repository")
        .map(|entry| entry.expect("it can be listed").path())
        .collect();
    // In the order of their names, so that the variants are the same everywhere.
    paths.sort();
    assert!(
        paths.len() >= INPUTS_MIN,
        "{} inputs for {target}",
        paths.len()
    );
    let inputs: Vec<Vec<u8>> = paths
        .iter()
        .map(|path| fs::read(path).expect("an input can be read"))
        .collect();
    let variants = std::env::var("PM2_FUZZ_VARIANTS");
    let variants = variants.map_or(VARIANTS, |text| text.parse().expect("a number"));
    let mut mutator = Mutator(1);
    for (path, input) in paths.iter().zip(&inputs) {
        let outcome = catch_unwind(|| check(input));
        assert!(outcome.is_ok(), "{} breaks a promise", path.display());
        for _ in 0..variants {
            let other = &inputs[mutator.below(inputs.len())];
            let variant = mutator.variant(input, other);
            let outcome = catch_unwind(|| check(&variant));
            assert!(
                outcome.is_ok(),
                "a variant of {} breaks a promise: {}",
                path.display(),
                variant.escape_ascii()
            );
        }
    }
}

#[test]
fn every_known_frame_stream_keeps_the_promises() {
    replay("amp", checks::amp);
}

#[test]
fn every_known_request_or_reply_keeps_the_promises() {
    replay("rpc", checks::rpc);
}

#[test]
fn every_known_child_stream_keeps_the_promises() {
    replay("ipc", checks::ipc);
}

#[test]
fn every_known_record_of_a_daemon_keeps_the_promises() {
    replay("records", kept::records);
}

#[test]
fn every_known_record_of_a_keeper_keeps_the_promises() {
    replay("handover", kept::handover);
}

#[test]
fn every_known_roster_keeps_the_promises() {
    replay("roster", kept::roster);
}

#[test]
fn every_known_word_between_keeper_and_daemon_keeps_the_promises() {
    replay("keeper", kept::keeper);
}

#[test]
fn every_known_saved_list_keeps_the_promises() {
    replay("dump", kept::dump);
}

#[test]
fn every_known_configuration_keeps_the_promises() {
    replay("config", texts::config);
}

#[test]
fn every_known_schedule_or_size_keeps_the_promises() {
    replay("schedule", texts::schedule);
}

#[test]
fn every_known_pattern_of_paths_keeps_the_promises() {
    replay("ignore", texts::ignore);
}
