//! daemon

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;

/// Runs the daemon of `home` until it is told to end; `keeper` is the socket to its parent.
#[must_use]
pub fn run(home: &Path, keeper: OwnedFd) -> ExitCode {
    let _unused = (home, keeper);
    ExitCode::FAILURE
}
