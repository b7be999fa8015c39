//! The service manager that started us, if one did: it is told that we live, as often as it wants, and that we end.

use crate::host::notify::{Notifier, SOCKET_VARIABLE, WATCHDOG_PID_VARIABLE, WATCHDOG_VARIABLE};
use std::ffi::OsString;
use std::time::{Duration, Instant};

/// What later daemons and keepers get of our environment whatever else theirs is: the manager goes on to watch.
pub(super) const VARIABLES: [&str; 2] = [SOCKET_VARIABLE, WATCHDOG_VARIABLE];

/// The shortest time between two signs of life, whatever the manager asks for.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

/// Whom to tell, and when next.
#[derive(Debug, Default)]
pub(super) struct Manager {
    notifier: Option<Notifier>,
    /// Half of what it waits, as it recommends.
    interval: Option<Duration>,
    due: Option<Instant>,
}

impl Manager {
    /// The manager that the environment names. Our client has taken out what was meant for another program.
    pub(super) fn new(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let notifier = variable(SOCKET_VARIABLE)
            .and_then(|address| Notifier::new(&address).ok())
            .flatten();
        let limit = variable(WATCHDOG_VARIABLE)
            .filter(|_| notifier.is_some() && variable(WATCHDOG_PID_VARIABLE).is_none())
            .and_then(|text| text.to_str()?.parse().ok())
            .filter(|micros: &u64| *micros > 0);
        let interval = limit.map(|micros| (Duration::from_micros(micros) / 2).max(INTERVAL_MIN));
        Self {
            notifier,
            interval,
            due: interval.map(|_| Instant::now()),
        }
    }

    /// Whether there is one.
    pub(super) fn is_there(&self) -> bool {
        self.notifier.is_some()
    }

    /// When it is to hear from us.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Gives a sign of life if it is time.
    pub(super) fn beat(&mut self) {
        let now = Instant::now();
        if let (Some(notifier), Some(interval)) = (&self.notifier, self.interval)
            && self.due.is_some_and(|due| due <= now)
        {
            // A manager that does not listen at the moment has other worries.
            let _unheard = notifier.send_now("WATCHDOG=1");
            self.due = Some(now + interval);
        }
    }

    /// Says that we are the main process from now on.
    pub(super) fn succeed(&self) {
        if let Some(notifier) = &self.notifier {
            let _unheard = notifier.send_now(&format!("MAINPID={}", std::process::id()));
        }
    }

    /// Says that we are about to end, on purpose.
    pub(super) fn end(&self) {
        if let Some(notifier) = &self.notifier {
            let _unheard = notifier.send_now("STOPPING=1");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(known: &[(&str, &str)]) -> Manager {
        Manager::new(|name| {
            let found = known.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| value.into())
        })
    }

    // Protects against signs of life in another program's name, and against a loop that never rests.
    #[test]
    fn only_who_is_watched_beats_and_not_too_often() {
        let socket = ("NOTIFY_SOCKET", "/tmp/nobody-listens-here");
        assert!(with(&[]).due().is_none());
        assert!(with(&[socket]).due().is_none());
        assert!(with(&[("WATCHDOG_USEC", "1000000")]).due().is_none());
        assert!(with(&[socket, ("WATCHDOG_USEC", "0")]).due().is_none());
        assert!(with(&[socket, ("WATCHDOG_USEC", "soon")]).due().is_none());
        let another = [socket, ("WATCHDOG_USEC", "1000000"), ("WATCHDOG_PID", "1")];
        assert!(with(&another).due().is_none());
        let mut watched = with(&[socket, ("WATCHDOG_USEC", "1")]);
        let first = watched.due().unwrap();
        watched.beat();
        assert!(watched.due().unwrap() >= first + INTERVAL_MIN);
    }
}
