//! [`Record`]: one credential in the registry, and [`Slots`], where all of them are.

use std::ops::{Index, IndexMut};
use std::str::FromStr;
use std::sync::Arc;

use smallvec::SmallVec;

use super::Unsaved;
use super::apply::{self, Readiness, readiness};
use super::lane::{Ranks, Seat};
use super::limiter::{Limiter, UseLimits};
use super::load::Load;
use super::order::Place;
use super::picks::Picked;
use crate::Timestamp;
use crate::auth::{Auth, Cause, ModelState, QuotaState, Status};

pub(super) struct Record {
    pub(super) id: Arc<str>,
    /// As the last change left it. Successes that change nothing but times are in `calm`.
    pub(super) auth: Arc<Auth>,
    /// Models that have served since, with nothing amiss.
    calm: SmallVec<[Calm; 1]>,
    /// Where it is in its provider's pool; a disabled one is in none.
    pub(super) place: Option<Place>,
    pub(super) ranks: Ranks,
    pub(super) load: Arc<Load>,
    /// What is used of it, where it has limits.
    pub(super) limiter: Option<Box<Limiter>>,
    pub(super) registration: u64,
    pub(super) unsaved: Unsaved,
    /// Refreshes that failed in a row.
    pub(super) refresh_failures: u32,
    /// It is counted among those that may be out.
    pub(super) troubled: bool,
}

/// A model that has served.
#[derive(Clone, Debug)]
struct Calm {
    model: Arc<str>,
    at: Timestamp,
}

impl Record {
    pub(super) fn new(id: Arc<str>, auth: Arc<Auth>, load: Load, registration: u64) -> Self {
        Self {
            id,
            auth,
            calm: SmallVec::new(),
            place: None,
            ranks: Ranks::default(),
            load: Arc::new(load),
            limiter: None,
            registration,
            unsaved: Unsaved::Nothing,
            refresh_failures: 0,
            troubled: false,
        }
    }

    /// The record as it is.
    pub(super) fn snapshot(&self) -> Arc<Auth> {
        if self.calm.is_empty() {
            return Arc::clone(&self.auth);
        }
        let mut auth = (*self.auth).clone();
        for calm in &self.calm {
            calm.put_into(&mut auth);
        }
        Arc::new(auth)
    }

    /// The record, to be changed.
    pub(super) fn change(&mut self) -> &mut Auth {
        let auth = Arc::make_mut(&mut self.auth);
        for calm in self.calm.drain(..) {
            calm.put_into(auth);
        }
        auth
    }

    /// Notes a success that changes nothing but times. False where it changes more.
    pub(super) fn stays_calm(
        &mut self,
        model: &str,
        shared: impl FnOnce(&Auth) -> Arc<str>,
        now: Timestamp,
    ) -> bool {
        if let Some(place) = self.calm.iter().position(|calm| *calm.model == *model) {
            // The last one is the latest.
            let last = self.calm.len() - 1;
            self.calm.swap(place, last);
            self.calm[last].at = now;
            return true;
        }
        let calm = self.calm.len() < MOST_CALM && is_calm(&self.auth);
        if calm {
            self.calm.push(Calm {
                model: shared(&self.auth),
                at: now,
            });
        }
        calm
    }

    pub(super) fn readiness(&self, model: &str) -> Readiness {
        if !self.troubled {
            return Readiness::Ready;
        }
        match (readiness(&self.auth, model), &self.limiter) {
            (Readiness::Ready, Some(limiter)) => limiter
                .free_at(model)
                .map_or(Readiness::Ready, Readiness::Full),
            (readiness, _) => readiness,
        }
    }

    /// Sets the limits that it is used within. What is used of it at the moment stays counted.
    pub(super) fn limit(&mut self, limits: UseLimits) {
        match &mut self.limiter {
            Some(limiter) => limiter.set_limits(limits),
            None if limits.are_none() => {}
            None => self.limiter = Some(Box::new(Limiter::new(limits))),
        }
    }

    /// What keeps it out for a model: of the model, and of the whole.
    pub(super) fn causes(&self, model: &str) -> [Option<Cause>; 2] {
        let own = match self.auth.model_states.get(model) {
            Some(state) => state.cause,
            None => self.auth.cause.filter(|_| model.is_empty()),
        };
        [own, self.auth.outage]
    }

    /// Whether it may be out for any model, now or until it has served.
    pub(super) fn may_be_out(&self) -> bool {
        let auth = &self.auth;
        self.limiter.is_some()
            || auth.disabled
            || auth.status == Status::Disabled
            || auth.unavailable
            || auth.outage.is_some()
            || auth.cause.is_some()
            || auth.model_states.values().any(|state| {
                state.unavailable || state.cause.is_some() || state.status == Status::Disabled
            })
    }

    /// Whether it comes back from a cooldown, so that one request goes first.
    pub(super) fn needs_permit(&self, model: &str) -> bool {
        self.troubled && self.causes(model).iter().flatten().any(Cause::needs_permit)
    }

    pub(super) fn picked(&self, slot: u32, model: &str) -> Picked {
        Picked {
            id: Arc::clone(&self.id),
            auth: Arc::clone(&self.auth),
            needs_permit: self.needs_permit(model),
            handle: Handle {
                slot,
                registration: self.registration,
            },
            load: Arc::clone(&self.load),
            limited: self.limiter.is_some(),
        }
    }

    pub(super) fn seat(&self) -> Option<Seat> {
        Some(Seat {
            place: self.place?,
            ranks: self.ranks,
        })
    }

    /// What its attributes say of it.
    pub(super) fn ranks_asked_for(&self) -> Ranks {
        Ranks {
            priority: number(&self.auth, "priority").unwrap_or(0),
            weight: number(&self.auth, "weight").unwrap_or(1),
        }
    }
}

fn number<T: FromStr>(auth: &Auth, name: &str) -> Option<T> {
    auth.attributes.get(name)?.trim().parse().ok()
}

impl Calm {
    fn put_into(&self, auth: &mut Auth) {
        if !self.model.is_empty() {
            apply::state_of(auth, &self.model).updated_at = Some(self.at);
        }
        auth.updated_at = Some(self.at);
    }
}

/// Whether a success with any model changes nothing but times, and adds the model's state.
fn is_calm(auth: &Auth) -> bool {
    auth.status == Status::Active
        && !auth.disabled
        && !auth.unavailable
        && auth.outage.is_none()
        && auth.cause.is_none()
        && auth.last_error.is_none()
        && auth.status_message.is_empty()
        && auth.next_retry_after.is_none()
        && auth.quota == QuotaState::default()
        && auth.model_states.values().all(is_calm_model)
}

fn is_calm_model(state: &ModelState) -> bool {
    state.status == Status::Active
        && !state.unavailable
        && state.cause.is_none()
        && state.last_error.is_none()
        && state.status_message.is_empty()
        && state.next_retry_after.is_none()
        && state.quota == QuotaState::default()
}

/// Where a record was found: good as long as it is registered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handle {
    pub(super) slot: u32,
    pub(super) registration: u64,
}

/// All records, by number. Numbers of those that were removed are used again.
#[derive(Default)]
pub(super) struct Slots {
    records: Vec<Option<Record>>,
    free: Vec<u32>,
}

impl Slots {
    pub(super) fn insert(&mut self, record: Record) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.records[slot as usize] = Some(record);
            return slot;
        }
        self.records.push(Some(record));
        u32::try_from(self.records.len() - 1).unwrap_or(u32::MAX)
    }

    pub(super) fn remove(&mut self, slot: u32) -> Option<Record> {
        let record = self.records.get_mut(slot as usize)?.take();
        if record.is_some() {
            self.free.push(slot);
        }
        record
    }

    pub(super) fn id(&self, slot: u32) -> &Arc<str> {
        &self[slot].id
    }

    /// Whether a handle still leads to its record.
    pub(super) fn holds(&self, handle: Handle) -> bool {
        let record = self.records.get(handle.slot as usize);
        record
            .and_then(Option::as_ref)
            .is_some_and(|record| record.registration == handle.registration)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().flatten()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Record> {
        self.records.iter_mut().flatten()
    }
}

/// A slot comes from the index of ids or from a pool: it holds a record.
impl Index<u32> for Slots {
    type Output = Record;

    fn index(&self, slot: u32) -> &Record {
        self.records[slot as usize]
            .as_ref()
            .expect("a known slot holds a record")
    }
}

impl IndexMut<u32> for Slots {
    fn index_mut(&mut self, slot: u32) -> &mut Record {
        self.records[slot as usize]
            .as_mut()
            .expect("a known slot holds a record")
    }
}

/// A credential serves few models at a time; more are written down at once.
const MOST_CALM: usize = 8;
