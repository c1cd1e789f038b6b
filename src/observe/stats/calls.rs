//! [`CallCounters`]: what calls count that no credential has.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::CallStats;
use crate::per_thread::PerThread;

/// Counted by each thread in a place of its own.
#[derive(Debug)]
pub(crate) struct CallCounters(PerThread<Counters>);

/// On cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counters {
    refused: AtomicU64,
    failovers: AtomicU64,
    retries: AtomicU64,
    waits: AtomicU64,
    waited_nanos: AtomicU64,
}

impl Default for CallCounters {
    fn default() -> Self {
        Self(PerThread::new(Counters::default))
    }
}

impl CallCounters {
    /// A call ended without an attempt.
    pub(crate) fn refused(&self) {
        self.0.own().refused.fetch_add(1, Ordering::Relaxed);
    }

    /// A call makes another attempt: with the same credential as before, or with another one.
    pub(crate) fn tried_again(&self, with_the_same: bool) {
        let own = self.0.own();
        let counter = if with_the_same {
            &own.retries
        } else {
            &own.failovers
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// A call waited so long for a credential, for a worker's place, or between two attempts.
    pub(crate) fn waited(&self, time: Duration) {
        let own = self.0.own();
        own.waits.fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        own.waited_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// The sums. Of the calls that made attempts, the credentials know.
    pub(crate) fn sums(&self) -> CallStats {
        let sum = |of: fn(&Counters) -> &AtomicU64| {
            let copies = self
                .0
                .copies()
                .map(|counters| of(counters).load(Ordering::Relaxed));
            copies.fold(0, u64::wrapping_add)
        };
        CallStats {
            calls: 0,
            refused: sum(|counters| &counters.refused),
            failovers: sum(|counters| &counters.failovers),
            retries: sum(|counters| &counters.retries),
            waits: sum(|counters| &counters.waits),
            waited: Duration::from_nanos(sum(|counters| &counters.waited_nanos)),
        }
    }
}
