//! A long text that shares its long pieces with those who hold them.

use std::sync::Arc;

use bytes::Bytes;

use super::json::inside;
use super::{Usage, View};

/// Shorter pieces are copied: that costs less than to keep count of who holds them.
const SHARED_BYTES_MIN: usize = 256;

/// A text being written. Most of a list of processes is their environments and declarations, which are there already.
#[derive(Default)]
pub struct Spliced {
    own: Vec<u8>,
    /// What comes in between, and where in `own` that is.
    shared: Vec<(usize, Bytes)>,
}

impl Spliced {
    /// Has room for what is copied of so many processes.
    #[must_use]
    pub fn with_room_for(processes: usize) -> Self {
        /// Of one, about.
        const OWN_BYTES: usize = 1024;
        Self {
            own: Vec::with_capacity(processes * OWN_BYTES),
            shared: Vec::new(),
        }
    }

    /// Copies a byte.
    pub fn push(&mut self, byte: u8) {
        self.own.push(byte);
    }

    /// The formatted process, as [`View::write_formatted`] writes it.
    pub fn push_formatted(&mut self, view: &View<'_>, usage: Option<Usage>) {
        let Self { own, shared } = self;
        view.write_formatted_by(own, usage, &mut |own, object| {
            let members = Inside(Arc::clone(object));
            if members.as_ref().len() < SHARED_BYTES_MIN {
                own.extend_from_slice(members.as_ref());
            } else {
                shared.push((own.len(), Bytes::from_owner(members)));
            }
        });
    }

    /// The text, piece by piece.
    #[must_use]
    pub fn into_parts(self) -> Vec<Bytes> {
        let (own, mut from) = (Bytes::from(self.own), 0);
        let mut parts = Vec::with_capacity(self.shared.len() * 2 + 1);
        for (at, shared) in self.shared {
            parts.push(own.slice(from..at));
            parts.push(shared);
            from = at;
        }
        parts.push(own.slice(from..));
        parts
    }
}

/// Texts are mostly environments: only the size is shown.
impl std::fmt::Debug for Spliced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Spliced({} pieces)", self.shared.len())
    }
}

/// The members of an object's text, held together with it.
struct Inside(Arc<str>);

impl AsRef<[u8]> for Inside {
    fn as_ref(&self) -> &[u8] {
        inside(&self.0).as_bytes()
    }
}
