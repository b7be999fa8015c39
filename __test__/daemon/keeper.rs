//! The keeper with real processes. This executable plays three parts: `__keeper` is the real keeper, which starts
//! `__daemon` from its own executable: a puppet that hands its channel to the test. Without such a word it runs the tests,
//! one after another, each of which must leave no process behind.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "clippy knows tests by their attribute, which a test executable with a main of its own does not have"
)]

#[path = "keeper/lives.rs"]
mod lives;
#[path = "keeper/spawns.rs"]
mod spawns;
#[path = "keeper/stage.rs"]
mod stage;
#[path = "keeper/trees.rs"]
mod trees;

use std::path::PathBuf;
use std::process::ExitCode;

/// A name and what it does.
type Test = (&'static str, fn());

/// Names functions as tests.
#[macro_export]
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub(crate) const TESTS: &[$crate::Test] = &[$((stringify!($name), $name)),*];
    };
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["__keeper", home] => pm2::keeper::run(&PathBuf::from(home)),
        ["__daemon", home] => stage::play_daemon(&PathBuf::from(home)),
        _ => run_tests(&words),
    }
}

/// The part of the usual harness that people use: a filter, `--exact`, `--list`.
fn run_tests(words: &[String]) -> ExitCode {
    let filters: Vec<&String> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let (is_exact, is_list) = (has(words, "--exact"), has(words, "--list"));
    let all = [spawns::TESTS, trees::TESTS, lives::TESTS].concat();
    let chosen = all.iter().filter(|(name, _)| {
        let matches = |filter: &&String| {
            if is_exact {
                filter.as_str() == *name
            } else {
                name.contains(filter.as_str())
            }
        };
        filters.is_empty() || filters.iter().any(matches)
    });
    let mut failed = 0;
    for (name, test) in chosen {
        if is_list {
            println!("{name}: test");
            continue;
        }
        let is_good = std::panic::catch_unwind(test).is_ok();
        let is_clean = stage::leaves_nothing();
        println!(
            "test {name} ... {}",
            if is_good && is_clean { "ok" } else { "FAILED" }
        );
        failed += usize::from(!(is_good && is_clean));
    }
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn has(words: &[String], flag: &str) -> bool {
    words.iter().any(|word| word == flag)
}
