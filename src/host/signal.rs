//! Signals by name and number, and receiving them as data instead of being interrupted.

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::str::FromStr;

/// The last real-time signal on Linux.
pub(super) const LAST: i32 = 64;

/// A signal that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "understand the signal {given:?}: allowed are names such as SIGINT or INT, and numbers from 0 to {LAST}"
)]
pub struct UnknownSignal {
    /// What was asked for.
    pub given: String,
}

/// The number of `SIGINT`, `int`, `2`. Zero, which only asks whether a process exists, is a number.
pub fn parse(text: &str) -> Result<i32, UnknownSignal> {
    let unknown = || UnknownSignal {
        given: text.to_owned(),
    };
    if let Ok(number) = text.parse::<i32>() {
        return (0..=LAST)
            .contains(&number)
            .then_some(number)
            .ok_or_else(unknown);
    }
    let upper = text.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    let bare = match bare {
        // Node's other names for the same signals.
        "IOT" => "ABRT",
        "POLL" => "IO",
        "UNUSED" => "SYS",
        bare => bare,
    };
    Signal::from_str(&format!("SIG{bare}"))
        .map(|signal| signal as i32)
        .map_err(|_| unknown())
}

/// `SIGINT` for 2; `None` for real-time signals and numbers that are none.
#[must_use]
pub fn name(number: i32) -> Option<&'static str> {
    Signal::try_from(number).ok().map(Signal::as_str)
}

/// Signals the process with this number. Use [`super::tree::Identity::signal`] unless it is an own child not yet reaped.
pub fn send(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: `kill` takes numbers.
    if pid > 0 && unsafe { libc::kill(pid, signal) } == 0 {
        return Ok(());
    }
    Err(if pid > 0 {
        io::Error::last_os_error()
    } else {
        io::ErrorKind::InvalidInput.into()
    })
}

/// Signals the process group that `leader` leads.
pub fn send_group(leader: i32, signal: i32) -> io::Result<()> {
    // SAFETY: `killpg` takes numbers. 0 and 1 would mean our own group and everybody.
    if leader > 1 && unsafe { libc::killpg(leader, signal) } == 0 {
        return Ok(());
    }
    Err(if leader > 1 {
        io::Error::last_os_error()
    } else {
        io::ErrorKind::InvalidInput.into()
    })
}

/// Makes these signals do nothing to this process. Children started by [`super::spawn`] do not inherit it.
pub fn ignore(signals: &[i32]) {
    for &number in signals {
        // SAFETY: ignoring needs no handler.
        unsafe {
            libc::signal(number, libc::SIG_IGN);
        }
    }
}

/// Signals that wait to be read.
#[derive(Debug)]
pub struct Queue(SignalFd);

impl Queue {
    /// From now on these signals, sent to this thread's process, are read here and have no other effect. Meant for a
    /// process with one thread.
    pub fn open(signals: &[i32]) -> io::Result<Self> {
        let mut set = SigSet::empty();
        for &number in signals {
            set.add(Signal::try_from(number)?);
        }
        set.thread_block()?;
        for &number in signals {
            // Whoever executed us may have ignored it, as a shell does with SIGINT of a background job; what is ignored
            // never arrives, and with SIGCHLD ignored the kernel throws exit statuses away.
            // SAFETY: the default disposition needs no handler, and the signal is blocked by now.
            unsafe {
                libc::signal(number, libc::SIG_DFL);
            }
        }
        Ok(Self(SignalFd::with_flags(
            &set,
            SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC,
        )?))
    }

    /// The next one; several of a kind may have become one.
    #[must_use]
    pub fn next(&self) -> Option<i32> {
        loop {
            match self.0.read_signal() {
                Ok(Some(info)) => return i32::try_from(info.ssi_signo).ok(),
                Err(Errno::EINTR) => {}
                Ok(None) | Err(_) => return None,
            }
        }
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_and_without_prefix_and_numbers_are_the_same_signal() {
        for text in ["SIGINT", "INT", "sigint", "2"] {
            assert_eq!(parse(text), Ok(2), "{text}");
        }
        assert_eq!(parse("SIGUSR2"), Ok(libc::SIGUSR2));
        assert_eq!(parse("SIGPOLL"), Ok(libc::SIGIO));
        assert_eq!(parse("0"), Ok(0));
        assert_eq!(parse("40"), Ok(40), "real-time signals have numbers only");
        assert_eq!(name(15), Some("SIGTERM"));
        assert_eq!(name(40), None);
    }

    #[test]
    fn an_unknown_signal_is_an_error_that_says_what_was_given() {
        for text in ["", "SIG", "SIGNOPE", "-9", "65", "9.5", "SIGSIGINT"] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.given, text);
        }
    }

    #[test]
    fn no_group_or_everybody_is_ever_signalled() {
        // Protects: a pid of 0 or less, from a record gone wrong, must not become "all my processes".
        for pid in [0, -1, i32::MIN] {
            assert!(send(pid, 0).is_err());
            assert!(send_group(pid, 0).is_err());
        }
        assert!(send_group(1, 0).is_err());
    }
}
