//! [`Load`]: what a credential has to do at the moment, and [`Lease`], a part of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Shared by a record and all who use it, so that it is counted without a lock.
#[derive(Debug, Default)]
pub(crate) struct Load {
    in_flight: AtomicU32,
}

/// One use of a credential, from its pick to the end of the attempt or of the stream. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Lease(Arc<Load>);

impl Load {
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(crate) fn lease(self: Arc<Self>) -> Lease {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Lease(self)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_are_counted_until_they_are_dropped() {
        let load = Arc::new(Load::default());
        let leases = [Arc::clone(&load).lease(), Arc::clone(&load).lease()];
        assert_eq!(load.in_flight(), 2);
        drop(leases);
        assert_eq!(load.in_flight(), 0);
    }
}
