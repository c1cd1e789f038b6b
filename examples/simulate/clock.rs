//! A clock on which waiting moves time, for one thread that does all the work.

use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use credpool::{Clock, Timestamp};
use crossbeam_channel::Receiver;

/// When every simulation begins.
pub(crate) const START: Timestamp = time::macros::utc_datetime!(2026-01-01 00:00);

#[derive(Clone, Debug)]
pub(crate) struct JumpingClock {
    passed: Arc<Mutex<Duration>>,
    zero: Instant,
    owner: ThreadId,
}

impl JumpingClock {
    /// A clock that this thread moves.
    pub(crate) fn new() -> Self {
        Self {
            passed: Arc::default(),
            zero: Instant::now(),
            owner: thread::current().id(),
        }
    }

    pub(crate) fn passed(&self) -> Duration {
        *self.passed.lock().expect("nobody panics with it")
    }

    pub(crate) fn advance(&self, by: Duration) {
        *self.passed.lock().expect("nobody panics with it") += by;
    }
}

impl Clock for JumpingClock {
    fn now(&self) -> Timestamp {
        START + self.passed()
    }

    fn monotonic(&self) -> Instant {
        self.zero + self.passed()
    }

    fn after(&self, wait: Duration) -> Receiver<Instant> {
        if thread::current().id() != self.owner {
            // The manager's own threads have nothing to do here.
            return crossbeam_channel::never();
        }
        self.advance(wait);
        let (fire, fired) = crossbeam_channel::bounded(1);
        let _ = fire.send(self.monotonic());
        fired
    }
}
