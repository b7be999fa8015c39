//! The one executable: the first word decides between the command line, the keeper and the daemon.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::SUCCESS
}
