//! When freed heap is given back: not at once, because the next request would pay for every page again, and not much later, because there may be
//! no next request for hours.

use std::time::Duration;

use crate::host::process;

/// How long freed heap is kept.
const KEPT_FOR: Duration = Duration::from_secs(1);

/// Whether there may be freed heap.
#[derive(Debug, Default)]
pub(crate) struct Slack {
    trim_at: Option<Duration>,
}

impl Slack {
    /// Something was done, and what it took is free again or soon will be.
    pub(crate) fn worked(&mut self, now: Duration) {
        self.trim_at.get_or_insert(now + KEPT_FOR);
    }

    /// When to look next.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.trim_at
    }

    /// Gives back what is due.
    pub(crate) fn look(&mut self, now: Duration) {
        if self.trim_at.is_some_and(|at| at <= now) {
            self.trim_at = None;
            process::trim_heap();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Protects: a daemon that is never quiet gives back what it does not need, and one that is has nothing left to do.
    #[test]
    fn heap_is_given_back_a_while_after_the_first_work_and_then_not_again() {
        let at = Duration::from_secs;
        let mut slack = Slack::default();
        assert_eq!(slack.deadline(), None);
        slack.worked(at(10));
        let due = slack.deadline();
        assert_eq!(due, Some(at(10) + KEPT_FOR));
        slack.worked(at(10) + KEPT_FOR / 2);
        assert_eq!(slack.deadline(), due, "put off by no later work");
        slack.look(at(10));
        assert_eq!(slack.deadline(), due);
        slack.look(at(10) + KEPT_FOR);
        assert_eq!(slack.deadline(), None);
    }
}
