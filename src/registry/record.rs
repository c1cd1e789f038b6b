//! One credential in the registry, and the slots of all credentials.

use std::ops::{Index, IndexMut};
use std::str::FromStr;
use std::sync::Arc;

use super::Dirty;
use super::index::model_queue::{Position, Priority};
use super::index::ordered_slots::Place;
use super::pick::Picked;
use super::rate_limiter::{RateLimiter, UseLimits};
use super::shared::SharedState;
use crate::auth::{Auth, BreakerState, HalfOpen, ModelList, Status};
use crate::clock::Timestamp;
use crate::health::{Readiness, readiness};

/// On a cache line of its own: a pick looks at one of many.
#[repr(align(64))]
pub(super) struct Record {
    /// What it shares with its leases.
    pub(super) member: Arc<SharedState>,
    /// As the last change left it. Successes that change nothing but times are with the member.
    pub(super) auth: Arc<Auth>,
    /// Where it is in its provider's pool: the chunk, or [`NO_CHUNK`], and the place in it. A disabled one is in no pool.
    chunk: u32,
    index: u8,
    pub(super) ranks: Priority,
    /// The models that it serves; `None`: every model, under the name that was asked for.
    pub(super) serves: Option<Arc<ModelList>>,
    /// What is used of it, where it has limits.
    pub(super) limiter: Option<Box<RateLimiter>>,
    pub(super) unsaved: Dirty,
    /// Refreshes that failed in a row.
    pub(super) refresh_failures: u32,
    /// The credential is counted among those that may be unavailable.
    pub(super) troubled: bool,
    /// It is pending, and does not serve, until it has tokens or a key.
    pub(super) waits_for_login: bool,
}

impl Record {
    pub(super) fn new(member: Arc<SharedState>, auth: Arc<Auth>) -> Self {
        Self {
            member,
            auth,
            chunk: NO_CHUNK,
            index: 0,
            ranks: Priority::default(),
            serves: None,
            limiter: None,
            unsaved: Dirty::Nothing,
            refresh_failures: 0,
            troubled: false,
            waits_for_login: false,
        }
    }

    pub(super) fn id(&self) -> &Arc<str> {
        &self.member.id
    }

    pub(super) fn place(&self) -> Option<Place> {
        (self.chunk != NO_CHUNK).then(|| Place {
            chunk: self.chunk as usize,
            index: self.index.into(),
        })
    }

    pub(super) fn put_at(&mut self, place: Option<Place>) {
        // There are no more chunks than slots, and few places in one.
        let short = |place: Place| {
            Some((
                u32::try_from(place.chunk).ok()?,
                u8::try_from(place.index).ok()?,
            ))
        };
        (self.chunk, self.index) = place.and_then(short).unwrap_or((NO_CHUNK, 0));
    }

    /// The vendor's name of the model that a call asks for; `None` where the credential does not serve it.
    pub(super) fn sent_as<'a>(&'a self, asked: &'a str) -> Option<&'a str> {
        match &self.serves {
            None => Some(asked),
            Some(list) => list.resolve(asked),
        }
    }

    /// The record as it is.
    pub(super) fn snapshot(&self) -> Arc<Auth> {
        let up_to_date = self.member.up_to_date(&self.auth);
        up_to_date.map_or_else(|| Arc::clone(&self.auth), Arc::new)
    }

    /// The record, to be changed.
    pub(super) fn change(&mut self) -> &mut Auth {
        let auth = Arc::make_mut(&mut self.auth);
        self.member.put_into(auth);
        auth
    }

    /// Whether it is ready at a moment for the model that a call asks for, and when that may change by itself.
    pub(super) fn readiness(&self, asked: &str, now: Timestamp) -> Readiness {
        let Some(model) = self.sent_as(asked) else {
            return Readiness::Blocked;
        };
        if !self.troubled {
            return Readiness::Ready;
        }
        if self.is_pending() {
            return Readiness::Blocked;
        }
        match (self.health(model).at(now), &self.limiter) {
            (Readiness::Ready, Some(limiter)) => limiter.readiness(model, now),
            (health, _) => health,
        }
    }

    /// Until when it is not ready: both what makes it unavailable and its own limits must have an end.
    pub(super) fn returns_at(&self, asked: &str, now: Timestamp) -> Option<Timestamp> {
        let model = self.sent_as(asked)?;
        let end = self.readiness(asked, now).end()?;
        let limits = self.limiter.as_ref();
        match limits.map(|limiter| limiter.readiness(model, now)) {
            Some(Readiness::Full(at)) if at < Timestamp::MAX => Some(at.max(end)),
            _ => Some(end),
        }
    }

    /// As [`readiness`](Self::readiness), its limits aside.
    pub(super) fn health(&self, model: &str) -> Readiness {
        readiness(&self.auth, model)
    }

    /// Whether it waits for a login to be completed.
    pub(super) fn is_pending(&self) -> bool {
        self.waits_for_login && self.auth.status == Status::Pending
    }

    /// Sees to it that it is used as its settings say by now.
    pub(super) fn reconfigured(&mut self) {
        let misconfigured = self.auth.check_settings().err();
        if misconfigured.is_some() || self.auth.misconfigured.is_some() {
            self.change().misconfigured = misconfigured.map(Arc::new);
        }
    }

    /// A pending record stays so until it has something to send, and is active from then on.
    pub(super) fn stay_pending(&mut self) {
        let is_pending = self.auth.status == Status::Pending;
        let waits = is_pending || self.waits_for_login;
        self.waits_for_login = waits && self.auth.has_nothing_to_send();
        let is_disabled = self.auth.disabled || self.auth.status == Status::Disabled;
        if self.waits_for_login != is_pending && !is_disabled {
            self.change().status = if self.waits_for_login {
                Status::Pending
            } else {
                Status::Active
            };
        }
    }

    /// Sets the limits that it is used within. What is used of it at the moment stays counted.
    pub(super) fn limit(&mut self, limits: UseLimits, ahead: time::Duration) {
        if self.limiter.is_some() || !limits.are_none() {
            self.limiter_mut(ahead).set_limits(limits);
        }
    }

    /// What limits it, from here on. `ahead` is of the timeline.
    pub(super) fn limiter_mut(&mut self, ahead: time::Duration) -> &mut RateLimiter {
        let new = || Box::new(RateLimiter::new(UseLimits::default(), ahead));
        let limiter = self.limiter.get_or_insert_with(new);
        limiter.set_ahead(ahead);
        limiter
    }

    /// Lets go of what limits nothing any more; whether it was there.
    pub(super) fn drop_idle_limiter(&mut self, now: Timestamp) -> bool {
        let is_idle = |limiter: &mut Box<RateLimiter>| !limiter.is_needed(now);
        self.limiter.take_if(is_idle).is_some()
    }

    /// What makes the credential unavailable for a model: of the model, and of the whole.
    pub(super) fn causes(&self, model: &str) -> [Option<BreakerState>; 2] {
        let own = match self.auth.model_states.get(model) {
            Some(state) => state.cause,
            None => self.auth.cause.filter(|_| model.is_empty()),
        };
        [own, self.auth.outage]
    }

    /// How it returns for a model: the model, and the whole.
    pub(super) fn half_open(&self, model: &str) -> impl Iterator<Item = &HalfOpen> {
        let own = match self.auth.model_states.get(model) {
            Some(state) => Some(&state.half_open),
            None => Some(&self.auth.half_open).filter(|_| model.is_empty()),
        };
        own.into_iter().chain([&self.auth.outage_half_open])
    }

    /// Whether the credential may be unavailable for any model, now or until it has served.
    pub(super) fn may_be_out(&self) -> bool {
        let auth = &self.auth;
        self.limiter.is_some()
            || self.is_pending()
            || auth.misconfigured.is_some()
            || auth.disabled
            || auth.status == Status::Disabled
            || auth.unavailable
            || auth.outage.is_some()
            || auth.cause.is_some()
            || auth.is_returning()
            || auth.awaits_token.is_some()
            || auth.model_states.values().any(|state| {
                state.unavailable || state.cause.is_some() || state.status == Status::Disabled
            })
    }

    /// Whether it would serve if its token had not ended.
    pub(super) fn is_ready_but_for_its_token(&self, asked: &str, now: Timestamp) -> bool {
        let Some(model) = self.sent_as(asked) else {
            return false;
        };
        let mut auth = (*self.auth).clone();
        auth.awaits_token = None;
        let is_free = |limiter: &RateLimiter| limiter.readiness(model, now) == Readiness::Ready;
        readiness(&auth, model).at(now) == Readiness::Ready
            && self.limiter.as_deref().is_none_or(is_free)
    }

    /// Whether the credential returns from a cooldown, so that only few requests may probe it at first.
    pub(super) fn needs_permit(&self, model: &str) -> bool {
        let auth = &*self.auth;
        let own_needs = || match auth.model_states.get(model) {
            Some(state) => state.half_open.needs_permit(state.cause),
            None => model.is_empty() && auth.half_open.needs_permit(auth.cause),
        };
        self.troubled && (auth.outage_half_open.needs_permit(auth.outage) || own_needs())
    }

    /// Its pick, by a call that asks for a model which it serves.
    pub(super) fn picked(&self, asked: &str) -> Picked {
        let list = self.serves.as_ref();
        self.picked_as(asked, list.and_then(|list| list.alias(asked)))
    }

    /// As [`picked`](Self::picked), where it is known what is an alias of what.
    pub(super) fn picked_as(&self, asked: &str, alias_of: Option<&Arc<str>>) -> Picked {
        let model = alias_of.map_or(asked, |model| model);
        Picked {
            member: Arc::clone(&self.member),
            auth: Arc::clone(&self.auth),
            sent_as: alias_of.map(Arc::clone),
            needs_permit: self.needs_permit(model),
            limited: self.limiter.is_some(),
            hurried: false,
        }
    }

    pub(super) fn seat(&self) -> Option<Position> {
        Some(Position {
            place: self.place()?,
            ranks: self.ranks,
        })
    }

    /// What its attributes say of it.
    pub(super) fn ranks_asked_for(&self) -> Priority {
        Priority {
            priority: number(&self.auth, "priority").unwrap_or(0),
            weight: number(&self.auth, "weight").unwrap_or(1),
        }
    }
}

/// Of a record that is in no pool.
const NO_CHUNK: u32 = u32::MAX;

fn number<T: FromStr>(auth: &Auth, name: &str) -> Option<T> {
    auth.attributes.get(name)?.trim().parse().ok()
}

/// All records, by number. Numbers of those that were removed are used again.
#[derive(Default)]
pub(super) struct Slots {
    records: Vec<Option<Record>>,
    free: Vec<u32>,
}

impl Slots {
    /// Where the next record goes.
    pub(super) fn next(&self) -> u32 {
        let end = || u32::try_from(self.records.len()).unwrap_or(u32::MAX);
        self.free.last().copied().unwrap_or_else(end)
    }

    /// Puts a record in, at the [`next`](Self::next) slot.
    pub(super) fn insert(&mut self, record: Record) {
        match self.free.pop() {
            Some(slot) => self.records[slot as usize] = Some(record),
            None => self.records.push(Some(record)),
        }
    }

    pub(super) fn remove(&mut self, slot: u32) -> Option<Record> {
        let record = self.records.get_mut(slot as usize)?.take();
        if record.is_some() {
            self.free.push(slot);
        }
        record
    }

    pub(super) fn id(&self, slot: u32) -> &Arc<str> {
        self[slot].id()
    }

    /// The record of a member, as long as it is registered.
    pub(super) fn of_mut(&mut self, member: &SharedState) -> Option<&mut Record> {
        let record = self.records.get_mut(member.slot as usize)?;
        record
            .as_mut()
            .filter(|record| std::ptr::eq(Arc::as_ptr(&record.member), member))
    }

    /// Whether a slot holds the record of a member.
    pub(super) fn is_of(&self, slot: u32, member: &Arc<SharedState>) -> bool {
        let record = self.records.get(slot as usize).and_then(Option::as_ref);
        record.is_some_and(|record| Arc::ptr_eq(&record.member, member))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::ModelState;
    use crate::error::Error;
    use crate::failure_kind::{CooldownSource, FailureKind};

    const START: Timestamp = time::macros::utc_datetime!(2025-01-01 00:00);

    #[test]
    fn a_record_is_one_cache_line() {
        assert_eq!(size_of::<Option<Record>>(), 64);
    }

    /// By its name, what may make something unavailable.
    type Reason<T> = (&'static str, fn(&mut T));

    fn cause() -> BreakerState {
        BreakerState {
            fault: FailureKind::Billing,
            origin: CooldownSource::Guess,
            failures: 1,
            since: START,
            until: None,
            told_until: None,
            probe_at: None,
            half_open: false,
            refused: None,
            setback: 0,
        }
    }

    fn returning() -> HalfOpen {
        let mut half_open = HalfOpen::default();
        half_open.begin(1, START, START);
        half_open
    }

    fn well() -> Record {
        let member = Arc::new(SharedState::new(
            "a".into(),
            0,
            Arc::default(),
            Arc::default(),
        ));
        Record::new(member, Arc::new(Auth::api_key("p", "k").with_id("a")))
    }

    #[test]
    fn each_reason_alone_makes_a_record_one_that_may_be_out() {
        assert!(!well().may_be_out());
        let mut limited = well();
        let limits = UseLimits {
            max_concurrent: Some(1),
            ..UseLimits::default()
        };
        limited.limit(limits, time::Duration::ZERO);
        assert!(limited.may_be_out(), "its limits");
        let mut pending = well();
        pending.waits_for_login = true;
        pending.change().status = Status::Pending;
        assert!(pending.may_be_out(), "a login that is not completed");
        let reasons: [Reason<Auth>; 9] = [
            ("its settings", |auth| {
                auth.misconfigured = Some(Arc::new(Error::message_only("wrong")));
            }),
            ("disabled", |auth| auth.disabled = true),
            ("its status", |auth| auth.status = Status::Disabled),
            ("unavailable", |auth| auth.unavailable = true),
            ("an outage", |auth| auth.outage = Some(cause())),
            ("a cause", |auth| auth.cause = Some(cause())),
            ("its return", |auth| auth.half_open = returning()),
            ("the end of an outage", |auth| {
                auth.outage_half_open = returning();
            }),
            ("a token", |auth| auth.awaits_token = Some(START)),
        ];
        for (reason, applies) in reasons {
            let mut record = well();
            applies(record.change());
            assert!(record.may_be_out(), "{reason}");
        }
        let of_a_model: [Reason<ModelState>; 4] = [
            ("unavailable", |state| state.unavailable = true),
            ("a cause", |state| state.cause = Some(cause())),
            ("disabled", |state| state.status = Status::Disabled),
            ("its return", |state| state.half_open = returning()),
        ];
        for (reason, applies) in of_a_model {
            let mut record = well();
            let states = &mut record.change().model_states;
            applies(states.entry("m".to_owned()).or_default());
            assert!(record.may_be_out(), "{reason}, of a model");
        }
    }
}
