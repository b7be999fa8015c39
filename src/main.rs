//! The one executable: the first word decides between the command line, the keeper and the daemon.

use std::env;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = env::args_os().skip(1);
    let first = words.next().unwrap_or_default();
    let home = words.next().map(PathBuf::from);
    match (first.to_str(), home) {
        (Some("__keeper"), Some(home)) => pm2::keeper::run(&home),
        (Some("__daemon"), Some(home)) => match pm2::keeper::inheritance() {
            Some(keeper) => pm2::daemon::run(&home, keeper),
            None => say("pm2 __daemon is started by pm2 __keeper only"),
        },
        (Some("--version"), None) => {
            let written = writeln!(std::io::stdout(), "{}", env!("CARGO_PKG_VERSION"));
            if written.is_ok() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        _ => say("the command line is not there yet: use the programmatic API"),
    }
}

fn say(text: &str) -> ExitCode {
    let _closed = writeln!(std::io::stderr(), "[PM2][ERROR] {text}");
    ExitCode::FAILURE
}
