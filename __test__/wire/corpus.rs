//! Replays the inputs of `__test__/golden/corpus` through the checks that fuzzing uses, so that what was found once stays fixed
//! without a fuzzer.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "../../fuzz/checks.rs"]
mod checks;

/// The fewest inputs a corpus has; fewer means it was not found.
const INPUTS_MIN: usize = 8;

fn replay(target: &str, check: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("__test__/golden/corpus")
        .join(target);
    let inputs: Vec<PathBuf> = fs::read_dir(directory)
        .expect("the corpus is part of the repository")
        .map(|entry| entry.expect("it can be listed").path())
        .collect();
    assert!(
        inputs.len() >= INPUTS_MIN,
        "{} inputs for {target}",
        inputs.len()
    );
    for path in inputs {
        let input = fs::read(&path).expect("an input can be read");
        let outcome = std::panic::catch_unwind(|| check(&input));
        assert!(outcome.is_ok(), "{} breaks a promise", path.display());
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
