//! The unhealthy slots of a provider, countable without the registry's lock.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The slots of credentials that may be unavailable for some model. Their number can be read without the registry's lock.
#[derive(Debug, Default)]
pub(super) struct Unhealthy {
    slots: HashSet<u32, foldhash::fast::RandomState>,
    count: Arc<AtomicUsize>,
}

impl Unhealthy {
    /// How many they are, from here on.
    pub(super) fn count(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.count)
    }

    pub(super) fn set(&mut self, slot: u32, troubled: bool) {
        if troubled {
            self.slots.insert(slot);
        } else {
            self.slots.remove(&slot);
        }
        self.count.store(self.slots.len(), Ordering::SeqCst);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        self.slots.iter().copied()
    }
}
