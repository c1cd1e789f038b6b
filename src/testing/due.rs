//! The due queue, for the bench.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::refresh::DueQueue;

/// The refresher's queue, for the bench.
#[derive(Debug, Default)]
pub struct DueTimes(DueQueue);

impl DueTimes {
    /// Puts a credential in.
    pub fn put(&mut self, id: Arc<str>, at: Timestamp) {
        self.0.put(id, at);
    }

    /// Takes out one that is due.
    pub fn pop_due(&mut self, now: Timestamp) -> Option<Arc<str>> {
        self.0.pop_due(now)
    }
}
