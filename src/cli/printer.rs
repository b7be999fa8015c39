//! What reaches the terminal. A reader that has gone is no failure: what was asked for is done.

use std::io::{self, IsTerminal as _, Write as _};

const GREEN: u8 = 32;
const YELLOW: u8 = 33;
const RED: u8 = 31;

/// pm2's prefixes, in colour where somebody looks.
#[derive(Debug)]
pub(super) struct Printer {
    is_silent: bool,
}

impl Printer {
    pub(super) fn new(is_silent: bool) -> Self {
        Self { is_silent }
    }

    /// A line as it is.
    pub(super) fn plain(&self, text: &str) {
        if !self.is_silent {
            let _closed = writeln!(io::stdout(), "{text}");
        }
    }

    /// A line about what is being done.
    pub(super) fn say(&self, text: &str) {
        let prefix = coloured("[PM2] ", GREEN, io::stdout().is_terminal());
        self.plain(&format!("{prefix}{text}"));
    }

    pub(super) fn warn(&self, text: &str) {
        self.complain("[PM2][WARN] ", YELLOW, text);
    }

    pub(super) fn error(&self, text: &str) {
        self.complain("[PM2][ERROR] ", RED, text);
    }

    /// A complaint about the command line itself, which has no prefix in pm2.
    pub(super) fn bare_error(&self, text: &str) {
        if !self.is_silent {
            let _closed = writeln!(io::stderr(), "{text}");
        }
    }

    fn complain(&self, prefix: &str, colour: u8, text: &str) {
        let prefix = coloured(prefix, colour, io::stderr().is_terminal());
        self.bare_error(&format!("{prefix}{text}"));
    }
}

fn coloured(text: &str, colour: u8, is_terminal: bool) -> String {
    let is_wanted =
        is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if is_wanted {
        format!("\x1b[{colour}m{text}\x1b[39m")
    } else {
        text.to_owned()
    }
}
