//! The lock-free shared part of a record: counters and successes that need no lock of the registry.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::auth::Auth;
use crate::clock::Timestamp;
use crate::observe::Tally;

use super::Registry;
use crate::health::{healthy::is_healthy, model_states};

/// A registered credential, as long as it is in use. What a pick touches comes first, next to the count of its users.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct SharedState {
    in_flight: AtomicU32,
    pub(super) slot: u32,
    /// The registry waits for the ends of requests that it has not counted.
    is_watched: AtomicBool,
    of_provider: Arc<InFlight>,
    /// What is counted of it: the same as before where a record of the same id replaced another one.
    tally: Arc<Tally>,
    pub(crate) id: Arc<str>,
    served: Mutex<PendingSuccesses>,
    registry: OnceLock<Weak<Registry>>,
}

/// What a provider has in flight, counted from the first look at the count on.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    asked: AtomicBool,
    count: AtomicU32,
}

/// Successes that change nothing but times, and that the record does not have yet.
#[derive(Debug, Default)]
struct PendingSuccesses {
    /// The record is registered, and nothing is amiss with it: another success changes nothing but times.
    healthy: bool,
    models: SmallVec<[(Arc<str>, Timestamp); 1]>,
}

impl SharedState {
    pub(super) fn new(
        id: Arc<str>,
        slot: u32,
        of_provider: Arc<InFlight>,
        tally: Arc<Tally>,
    ) -> Self {
        Self {
            slot,
            of_provider,
            tally,
            id,
            ..Self::default()
        }
    }

    /// What is counted of its attempts.
    pub(crate) fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// From here on, the registry is notified of each end: what is in flight by now, and still is when it is looked next, is not missed.
    pub(super) fn watch(&self, registry: &Arc<Registry>) {
        self.registry.get_or_init(|| Arc::downgrade(registry));
        self.is_watched.store(true, Ordering::SeqCst);
    }

    pub(super) fn unwatch(&self) {
        self.is_watched.store(false, Ordering::SeqCst);
    }

    /// What waits for the end of a request.
    pub(super) fn watcher(&self) -> Option<Arc<Registry>> {
        if !self.is_watched.load(Ordering::SeqCst) {
            return None;
        }
        self.registry.get()?.upgrade()
    }

    /// Counts one more request in flight; whether it is counted with the provider's, too.
    pub(super) fn begin(&self) -> bool {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let counted = self.of_provider.asked.load(Ordering::Relaxed);
        if counted {
            self.of_provider.count.fetch_add(1, Ordering::Relaxed);
        }
        counted
    }

    pub(super) fn end(&self, counted: bool) {
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        if counted {
            self.of_provider.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Notes a success that changes nothing but times. False where it may change more, or the model has not served before.
    pub(super) fn serves_again(&self, model: &str, now: Timestamp) -> bool {
        let mut served = self.served.lock();
        if !served.healthy {
            return false;
        }
        let models = &mut served.models;
        let Some(place) = models.iter().position(|(known, _)| **known == *model) else {
            return false;
        };
        // The last one is the latest.
        let last = models.len() - 1;
        models.swap(place, last);
        models[last].1 = now;
        true
    }

    /// As [`serves_again`](Self::serves_again), the first time.
    pub(super) fn serves(&self, model: Arc<str>, now: Timestamp) -> bool {
        let mut served = self.served.lock();
        let noted = served.healthy && served.models.len() < MOST_MODELS;
        if noted {
            served.models.push((model, now));
        }
        noted
    }

    /// From here on successes go to the record itself; those that were noted are put into it.
    pub(super) fn put_into(&self, auth: &mut Auth) {
        let mut served = self.served.lock();
        served.healthy = false;
        for (model, at) in served.models.drain(..) {
            note(auth, &model, at);
        }
    }

    /// A copy of the record with the successes that were noted; `None` where there are none.
    pub(super) fn up_to_date(&self, auth: &Auth) -> Option<Auth> {
        let served = self.served.lock();
        if served.models.is_empty() {
            return None;
        }
        let mut auth = auth.clone();
        for (model, at) in &served.models {
            note(&mut auth, model, *at);
        }
        Some(auth)
    }

    /// Looks whether another success would change nothing but times.
    pub(super) fn look_at(&self, auth: &Auth) {
        self.served.lock().healthy = is_healthy(auth);
    }

    /// It is registered no more.
    pub(super) fn leave(&self) {
        self.served.lock().healthy = false;
    }
}

impl InFlight {
    /// How many requests are in flight, without those that began before the first call of this.
    pub(super) fn count(&self) -> u32 {
        if !self.asked.load(Ordering::Relaxed) {
            self.asked.store(true, Ordering::Relaxed);
        }
        self.count.load(Ordering::Relaxed)
    }
}

fn note(auth: &mut Auth, model: &str, at: Timestamp) {
    if !model.is_empty() {
        model_states::state_of(auth, model).updated_at = Some(at);
    }
    auth.updated_at = Some(at);
}

/// A credential serves few models at a time; successes of more are noted in the record immediately.
const MOST_MODELS: usize = 8;
