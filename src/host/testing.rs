//! What tests do beside one another as threads of one process: each starts processes now and then, and such a one has a copy of every
//! descriptor of ours until it executes.

use std::os::fd::{AsFd, AsRawFd as _};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::socket::{Shutdown, shutdown};

/// Far beyond what anything takes here; a test that gets there has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Looks again until it is so.
#[track_caller]
pub(crate) fn until(mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "waited in vain");
        std::thread::yield_now();
    }
}

/// Ends a connection or a listener, as its last close does: our own close may not be the last.
pub(crate) fn end(socket: impl AsFd) {
    shutdown(socket.as_fd().as_raw_fd(), Shutdown::Both).unwrap();
}

/// Writes a program. Another process does: what somebody may still write to cannot be executed.
pub(crate) fn program(path: &Path, text: &str) {
    shell(
        r#"printf %s "$2" > "$1" && chmod 755 "$1""#,
        &[path.as_os_str(), text.as_ref()],
    );
}

/// Makes a program of ours one that another process has written.
pub(crate) fn rewrite(path: &Path) {
    shell(
        r#"cp -p "$1" "$1.new" && mv "$1.new" "$1""#,
        &[path.as_os_str()],
    );
}

fn shell(text: &str, words: &[&std::ffi::OsStr]) {
    let mut shell = Command::new("/bin/sh");
    let status = shell.args(["-c", text, "sh"]).args(words).status();
    assert!(status.unwrap().success(), "{words:?}");
}

/// Does the work of the test of this name in a process of its own: it changes what all threads of one have in common.
pub(crate) fn alone(test: &str, work: impl FnOnce()) {
    const MARK: &str = "PM2_TEST_ALONE";
    if std::env::var_os(MARK).is_some() {
        return work();
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", test]).env(MARK, "1").output();
    let said = String::from_utf8_lossy(&output.unwrap().stdout).into_owned();
    assert!(said.contains("1 passed"), "{said}");
}
