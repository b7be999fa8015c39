//! How a process ended, and the signals that make it end.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// It returned or called exit with this code.
    Code(i32),
    /// This signal ended it.
    Signal(Signal),
    /// It has ended, and the system did not say how: its parent was killed, and the kernel is older than Linux 6.15.
    Unknown,
}

impl Exit {
    /// The code pm2 records: a death by signal counts as 0, and so does one that nobody knows.
    #[must_use]
    pub fn recorded_code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(_) | Self::Unknown => 0,
        }
    }
}

/// A signal by its Linux number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signal(pub i32);

impl Signal {
    /// Ctrl-C; what pm2 asks a process to stop with.
    pub const INT: Self = Self(2);
    /// The one that cannot be ignored.
    pub const KILL: Self = Self(9);
    /// The system's usual request to end.
    pub const TERM: Self = Self(15);

    /// By name, with or without `SIG`, or by number as text. `None` for what is no signal, 0 included.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(number) = text.parse::<i32>() {
            return (1..=SIGNAL_MAX).contains(&number).then_some(Self(number));
        }
        let short = text.strip_prefix("SIG").unwrap_or(text);
        let position = NAMES.iter().position(|name| &name[3..] == short)?;
        i32::try_from(position + 1).ok().map(Self)
    }

    /// `SIGINT` and so on; the number for a real-time signal.
    #[must_use]
    pub fn name(self) -> String {
        usize::try_from(self.0)
            .ok()
            .and_then(|number| number.checked_sub(1))
            .and_then(|index| NAMES.get(index))
            .map_or_else(|| self.0.to_string(), |name| (*name).to_owned())
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// The highest signal number there is (`SIGRTMAX`).
const SIGNAL_MAX: i32 = 64;

/// Names by number, starting at 1. The numbers of Linux on x86-64 and arm64.
const NAMES: [&str; 31] = [
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_known_by_name_and_number() {
        assert_eq!(Signal::parse("SIGUSR2"), Some(Signal(12)));
        assert_eq!(Signal::parse("INT"), Some(Signal::INT));
        assert_eq!(Signal::parse("15"), Some(Signal::TERM));
        assert_eq!(Signal::TERM.name(), "SIGTERM");
        assert_eq!(Signal(40).name(), "40");
    }

    #[test]
    fn signal_zero_and_nonsense_are_no_signals() {
        for text in ["0", "65", "-1", "SIGNOPE", "", "SIG", "sigint"] {
            assert_eq!(Signal::parse(text), None, "{text}");
        }
    }
}
