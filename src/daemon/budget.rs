//! What peers together may have the daemon hold for them: requests that are not whole yet, and answers that they do not read.
//!
//! Each of the limits of one peer is generous, because one peer may have a reason. A thousand of them have none.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// All peers together. Four of the largest requests, or a hundred lists of a thousand processes.
const HELD_BYTES_MAX: usize = 256 * 1024 * 1024;
/// A request that has begun must be whole within this time; the largest one takes a second.
const REQUEST_TIME_MAX: Duration = Duration::from_mins(1);

/// The sum of what is held.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    shares: RefCell<BTreeMap<u64, Rc<Share>>>,
    next: Cell<u64>,
    used: Cell<usize>,
}

/// What is held for one peer.
#[derive(Debug, Default)]
struct Share {
    bytes: Cell<usize>,
    is_given_up: Cell<bool>,
    wake: Notify,
}

/// A peer's part in the budget, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Account {
    budget: Rc<Budget>,
    id: u64,
    share: Rc<Share>,
}

impl Account {
    /// For a peer of whom nothing is held yet.
    pub(crate) fn new(budget: &Rc<Budget>) -> Self {
        let id = budget.next.get();
        budget.next.set(id + 1);
        let share = Rc::<Share>::default();
        budget.shares.borrow_mut().insert(id, Rc::clone(&share));
        Self {
            budget: Rc::clone(budget),
            id,
            share,
        }
    }

    /// So much is held now. When it is too much in all, whoever has most is given up: perhaps this peer, perhaps another one.
    pub(crate) fn hold(&self, bytes: usize) {
        let before = self.share.bytes.replace(bytes);
        self.budget
            .used
            .set(self.budget.used.get() - before + bytes);
        while self.budget.used.get() > HELD_BYTES_MAX && self.budget.give_one_up() {}
    }

    /// Whether this peer is to be left.
    pub(crate) fn is_given_up(&self) -> bool {
        self.share.is_given_up.get()
    }

    /// Waits until it is. Cancel-safe.
    pub(crate) async fn given_up(&self) {
        while !self.is_given_up() {
            self.share.wake.notified().await;
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.hold(0);
        self.budget.shares.borrow_mut().remove(&self.id);
    }
}

impl Budget {
    /// False if nobody is left who holds anything.
    fn give_one_up(&self) -> bool {
        let shares = self.shares.borrow();
        let held = shares.values().filter(|share| !share.is_given_up.get());
        let Some(most) = held.max_by_key(|share| share.bytes.get()) else {
            return false;
        };
        // It is counted no more; its memory is given back as soon as its task runs.
        self.used.set(self.used.get() - most.bytes.replace(0));
        most.is_given_up.set(true);
        most.wake.notify_one();
        true
    }
}

/// How long a request has been under way that is not whole.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    since: Option<Instant>,
}

impl Patience {
    /// `is_unfinished`: part of a request is here and we wait for the rest. `is_progress`: another one has become whole since.
    pub(crate) fn look(&mut self, is_unfinished: bool, is_progress: bool, now: Instant) {
        if !is_unfinished || is_progress {
            self.since = None;
        }
        if is_unfinished {
            self.since.get_or_insert(now);
        }
    }

    /// When it is at its end.
    pub(crate) fn end(&self) -> Option<Instant> {
        self.since.map(|since| since + REQUEST_TIME_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Protects: a crowd of peers who each stay within their own limits. Whoever has most goes, and nobody else.
    #[test]
    fn past_the_limit_whoever_holds_most_is_given_up() {
        let budget = Rc::<Budget>::default();
        let many: Vec<Account> = (0..5).map(|_| Account::new(&budget)).collect();
        for account in &many[..4] {
            account.hold(HELD_BYTES_MAX / 4);
        }
        assert!(many.iter().all(|account| !account.is_given_up()));
        many[2].hold(HELD_BYTES_MAX / 4 + 1);
        let gone: Vec<bool> = many.iter().map(Account::is_given_up).collect();
        assert_eq!(gone, [false, false, true, false, false]);
        many[4].hold(100);
        assert!(!many[4].is_given_up(), "there is room again");
        drop(many);
        assert_eq!(budget.used.get(), 0);
    }

    // Protects: the daemon from requests that never end, and callers from our own slowness.
    #[test]
    fn a_request_must_be_whole_in_time() {
        let start = Instant::now();
        let later = start + Duration::from_secs(10);
        let mut patience = Patience::default();
        patience.look(true, false, start);
        patience.look(true, false, later);
        assert_eq!(patience.end(), Some(start + REQUEST_TIME_MAX));
        patience.look(true, true, later);
        assert_eq!(patience.end(), Some(later + REQUEST_TIME_MAX));
        patience.look(false, false, later);
        assert_eq!(patience.end(), None);
    }
}
