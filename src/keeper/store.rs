//! Descriptors kept for the next daemon, each under a key that only daemons understand.

use super::proto::KEY_MAX;
use std::collections::BTreeMap;
use std::ops::Bound;

/// The most descriptors kept: seven for each of 4,000 applications, and one for each of as many listeners. Past it a `Store` is
/// refused.
const ENTRIES_MAX: usize = 32_768;

/// Key → descriptor, in order of keys. `F` owns the descriptor, or a share of it.
#[derive(Debug)]
pub struct Store<F> {
    entries: BTreeMap<Box<str>, F>,
}

impl<F> Default for Store<F> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
        }
    }
}

impl<F> Store<F> {
    /// Keeps `fd` in place of what was under `key`. Refused, giving the key back and closing `fd`, when there is no room.
    pub fn put(&mut self, key: String, fd: F) -> Result<(), String> {
        if key.len() > KEY_MAX
            || (self.entries.len() >= ENTRIES_MAX && !self.entries.contains_key(key.as_str()))
        {
            return Err(key);
        }
        self.entries.insert(key.into_boxed_str(), fd);
        Ok(())
    }

    /// Closes what is under `key`, if anything is; all that begins with it if it ends in `/`.
    pub fn discard(&mut self, key: &str) {
        if !key.ends_with('/') {
            self.entries.remove(key);
            return;
        }
        while let Some(found) = self.after(Some(key)).map(|(found, _)| found.to_owned())
            && found.starts_with(key)
        {
            self.entries.remove(found.as_str());
        }
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &F)> {
        self.entries.iter().map(|(key, fd)| (&**key, fd))
    }

    /// The entry after `key` in order, or the first one. Entries may come and go between two calls.
    pub fn after(&self, key: Option<&str>) -> Option<(&str, &F)> {
        let from = key.map_or(Bound::Unbounded, Bound::Excluded);
        let (key, fd) = self
            .entries
            .range::<str, _>((from, Bound::Unbounded))
            .next()?;
        Some((key, fd))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::{AsFd, OwnedFd};

    fn descriptor() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    #[test]
    fn entries_are_visited_once_each_though_others_come_and_go() {
        let mut store = Store::default();
        for key in ["b", "d", "c"] {
            store.put(key.to_owned(), descriptor()).unwrap();
        }
        assert_eq!(store.after(None).unwrap().0, "b");
        store.discard("b");
        store.put("a".to_owned(), descriptor()).unwrap();
        assert_eq!(store.after(Some("b")).unwrap().0, "c");
        store.put("c".to_owned(), descriptor()).unwrap();
        assert_eq!(store.after(Some("c")).unwrap().0, "d");
        assert!(store.after(Some("d")).is_none());
    }

    #[test]
    fn a_key_that_ends_in_a_slash_discards_all_below_it_and_nothing_else() {
        let mut store = Store::default();
        for key in ["run/1", "run/1/a", "run/1/b/c", "run/10/a", "run/2/a"] {
            store.put(key.to_owned(), descriptor()).unwrap();
        }
        store.discard("run/1/");
        let left: Vec<&str> = store.entries.keys().map(|key| &**key).collect();
        assert_eq!(left, ["run/1", "run/10/a", "run/2/a"]);
    }

    #[test]
    fn one_entry_too_many_is_refused_and_a_known_key_is_not() {
        // Protects: the same for many short keys.
        let mut store = Store::<()>::default();
        for number in 0..ENTRIES_MAX {
            store.put(number.to_string(), ()).unwrap();
        }
        assert_eq!(store.put("more".to_owned(), ()), Err("more".to_owned()));
        store.put("7".to_owned(), ()).unwrap();
        store.discard("7");
        store.put("more".to_owned(), ()).unwrap();
    }

    #[test]
    fn a_store_past_its_limit_is_refused_and_closes_the_descriptor() {
        // Protects: a daemon gone wrong cannot make the keeper grow.
        let mut store = Store::<OwnedFd>::default();
        let (read, write) = std::io::pipe().unwrap();
        let long = "k".repeat(KEY_MAX + 1);
        assert_eq!(store.put(long.clone(), write.into()), Err(long));
        crate::host::testing::until(|| crate::host::process::is_hung_up(read.as_fd()));
    }
}
