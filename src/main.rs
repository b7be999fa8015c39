//! The one executable: the first word decides between the command line, the keeper and the daemon.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<OsString> = env::args_os().skip(1).collect();
    let at = |index: usize| words.get(index).map(OsString::as_os_str);
    match (at(0).and_then(OsStr::to_str), at(1)) {
        (Some("__keeper"), Some(home)) => pm2::keeper::run(Path::new(home)),
        (Some("__daemon"), Some(home)) => match pm2::keeper::inheritance() {
            Some(keeper) => pm2::daemon::run(Path::new(home), keeper),
            None => no_keeper(),
        },
        _ => pm2::cli::run(words),
    }
}

fn no_keeper() -> ExitCode {
    let text = "[PM2][ERROR] pm2 __daemon is started by pm2 __keeper only";
    let _closed = writeln!(std::io::stderr(), "{text}");
    ExitCode::FAILURE
}
