//! [`Load`]: what a credential has to do at the moment, and [`Lease`], a part of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::limiter::Granted;
use super::record::Handle;
use super::{Picked, Query, Registry};

/// Shared by a record and all who use it, so that it is counted without a lock.
#[derive(Debug, Default)]
pub(crate) struct Load {
    in_flight: AtomicU32,
    of_provider: Arc<AtomicU32>,
}

/// One use of a credential, from its pick to the end of the attempt or of the stream. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Lease {
    load: Arc<Load>,
    /// What it takes of the credential's limits, where it has any.
    share: Option<Share>,
}

#[derive(Debug)]
struct Share {
    registry: Arc<Registry>,
    handle: Handle,
    model: Arc<str>,
    granted: Granted,
    used: Option<u64>,
}

impl Load {
    /// A credential's, whose provider has this in flight in all.
    pub(super) fn new(of_provider: Arc<AtomicU32>) -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            of_provider,
        }
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    fn lease(self: Arc<Self>, share: Option<Share>) -> Lease {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.of_provider.fetch_add(1, Ordering::Relaxed);
        Lease { load: self, share }
    }
}

impl Registry {
    /// How many requests are in flight with all credentials of a provider.
    pub(crate) fn in_flight(&self, provider: &str) -> u32 {
        let state = self.state.lock();
        let of_provider = state.in_flight.get(provider);
        of_provider.map_or(0, |of_provider| of_provider.load(Ordering::Relaxed))
    }

    /// The use of a credential that was picked, for a request of about so many tokens. `None`: its limits do not allow it now,
    /// and it is no candidate until they do.
    pub(crate) fn lease(
        self: &Arc<Self>,
        query: Query<'_>,
        picked: &Picked,
        tokens: u64,
    ) -> Option<Lease> {
        let load = Arc::clone(&picked.load);
        if !picked.limited {
            return Some(load.lease(None));
        }
        let mut state = self.state.lock();
        if !state.slots.holds(picked.handle) {
            // It was removed meanwhile; what is under way with it comes to its end.
            return Some(load.lease(None));
        }
        let slot = picked.handle.slot;
        let Some(limiter) = &mut state.slots[slot].limiter else {
            return Some(load.lease(None));
        };
        let model: Arc<str> = query.model.into();
        let granted = limiter.take(query.model, || Arc::clone(&model), tokens, query.now);
        state.look_again(slot, query.model, true);
        let granted = granted?;
        drop(state);
        Some(load.lease(Some(Share {
            registry: Arc::clone(self),
            handle: picked.handle,
            model,
            granted,
            used: None,
        })))
    }
}

impl Lease {
    /// How many tokens the request really used; it was reckoned with a guess until now.
    pub(crate) fn settle(&mut self, used: u64) {
        if let Some(share) = &mut self.share {
            share.used = Some(used);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.load.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.load.of_provider.fetch_sub(1, Ordering::Relaxed);
        let Some(share) = self.share.take() else {
            return;
        };
        let mut state = share.registry.state.lock();
        if !state.slots.holds(share.handle) {
            return;
        }
        let slot = share.handle.slot;
        if let Some(limiter) = &mut state.slots[slot].limiter {
            limiter.give_back(&share.model, share.granted, share.used);
            state.look_again(slot, &share.model, true);
        }
        drop(state);
        share.registry.waiters.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_are_counted_until_they_are_dropped() {
        let load = Arc::new(Load::default());
        let leases = [Arc::clone(&load).lease(None), Arc::clone(&load).lease(None)];
        assert_eq!(load.in_flight(), 2);
        assert_eq!(load.of_provider.load(Ordering::Relaxed), 2);
        drop(leases);
        assert_eq!(load.in_flight(), 0);
        assert_eq!(load.of_provider.load(Ordering::Relaxed), 0);
    }
}
