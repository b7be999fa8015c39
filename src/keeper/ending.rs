//! What follows the end of a daemon: another one, after a while if it crashes in a loop, or the end of everything.

use super::launch::{self, log};
use super::proto::{Received, Request};
use super::serving::Daemon;
use super::{Ending, Keeper};
use crate::host::process::{self, PollFd, PollFlags};
use std::os::fd::AsFd as _;
use std::process::{ExitCode, ExitStatus};
use std::time::{Duration, Instant};

/// After this long at the end we leave without applications that even SIGKILL does not end (a disk that hangs).
const REAP_LIMIT: Duration = Duration::from_secs(2);

/// Whoever still speaks for a daemon that has ended is done within microseconds; nobody else has its end of the channel.
const LAST_WORDS_LIMIT: Duration = Duration::from_millis(100);

/// So many crashes are followed by another daemon at once: whoever kills daemons, applications should not notice.
const CRASHES_FREE: u32 = 5;

/// A daemon makes up for one crash by living this long, so only daemons that crash in a loop are kept waiting.
const CRASH_FORGIVEN: Duration = Duration::from_millis(50);

/// The first pause before another daemon is started, doubled for each further crash.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);

/// The longest pause.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

impl Keeper {
    /// The daemon has gone, or could not be started: what now? An exit code means that we end as well.
    pub(super) fn daemon_ended(&mut self, status: Option<ExitStatus>) -> Option<ExitCode> {
        self.take_last_requests();
        self.daemon_version = None;
        let was_trial = self.program.is_on_trial();
        let was = std::mem::replace(&mut self.daemon, Daemon::Due(Instant::now()));
        let how = match (status, &was) {
            (Some(status), _) => status.to_string(),
            (None, Daemon::Up(_)) => "nobody knows how".to_owned(),
            (None, Daemon::Due(_)) => "did not start".to_owned(),
        };
        if self.ending != Ending::No {
            self.launched
                .ready
                .fail("the daemon was told to end before it was up");
            return Some(self.finish(ExitCode::SUCCESS));
        }
        let (lived, was_ready, words) = match &was {
            Daemon::Up(up) => {
                let words = launch::last_words(&self.launched.home, up.log_start);
                (up.since.elapsed(), up.is_ready, words)
            }
            Daemon::Due(_) => (Duration::ZERO, false, None),
        };
        if self.program.next_after_end(was_ready) {
            if was_trial {
                self.not_replaced =
                    Some(words.unwrap_or_else(|| format!("it ended at once: {how}")));
            }
            log(&format!(
                "the daemon made way for another executable ({how})"
            ));
            return None;
        }
        if !self.has_served {
            self.launched
                .ready
                .fail(&words.unwrap_or_else(|| format!("the daemon ended at once: {how}")));
            return Some(self.finish(ExitCode::FAILURE));
        }
        let pause = self.pause_after(lived);
        log(&format!(
            "the daemon ended unexpectedly ({how}); {} applications go on, and another daemon starts in {} ms",
            self.children.len(),
            pause.as_millis()
        ));
        self.daemon = Daemon::Due(Instant::now() + pause);
        None
    }

    /// How long to wait after the crash of a daemon that lived this long.
    fn pause_after(&mut self, lived: Duration) -> Duration {
        let forgiven = lived.as_millis() / CRASH_FORGIVEN.as_millis();
        let forgiven = u32::try_from(forgiven).unwrap_or(u32::MAX);
        self.crashes = self.crashes.saturating_sub(forgiven).saturating_add(1);
        match self.crashes.checked_sub(CRASHES_FREE + 1) {
            None => Duration::ZERO,
            Some(further) => BACKOFF_MAX.min(BACKOFF_FIRST * 2_u32.pow(further.min(8))),
        }
    }

    /// What the daemon said before it ended still counts: the next one is told what came of it. That includes what is being said
    /// after its death by somebody in its place ([`crate::host::passing`]).
    fn take_last_requests(&mut self) {
        let limit = Instant::now() + LAST_WORDS_LIMIT;
        while let Daemon::Up(up) = &mut self.daemon
            && let Some(channel) = &mut up.channel
        {
            match channel.receive::<Request>() {
                Ok(Received::Message(request)) => self.perform(request),
                Ok(Received::Closed) | Err(_) => return,
                Ok(Received::Nothing) => {
                    let left = limit.saturating_duration_since(Instant::now());
                    let mut readable = [PollFd::new(channel.as_fd(), PollFlags::POLLIN)];
                    if left.is_zero() || process::wait(&mut readable, Some(left)).is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Leaves nothing behind: no application, no pid file.
    fn finish(&mut self, code: ExitCode) -> ExitCode {
        if !self.has_served {
            // Whom a daemon found that did not come up is left as it was found, and so is what says so.
            self.children.let_foreign_go();
        }
        let limit = Instant::now() + REAP_LIMIT;
        if self.children.len() > 0 {
            log(&format!(
                "{} applications are ended with their keeper",
                self.children.len()
            ));
            self.children.kill_trees();
        }
        while self.children.len() > 0 && Instant::now() < limit {
            while let Some((pid, status)) = process::reap() {
                self.children.reaped(pid, status);
            }
            while self.children.ended_elsewhere().is_some() {}
            let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
            let mut interests = vec![readable(self.signals.as_fd())];
            interests.extend(self.children.watch().map(readable));
            let left = limit.saturating_duration_since(Instant::now());
            if self.children.len() > 0 && process::wait(&mut interests, Some(left)).is_err() {
                break;
            }
            while self.signals.next().is_some() {}
        }
        if self.has_served {
            launch::remove_state(&self.launched.home);
        }
        launch::leave(&self.launched);
        code
    }
}
