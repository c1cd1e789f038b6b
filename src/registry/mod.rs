//! The registry: the only owner of mutable state. Records, and a ready index for each provider and model.
//!
//! Short critical sections, no I/O and no user code under the lock. What leaves is a snapshot.

mod attempted;
#[cfg(any(test, feature = "testing"))]
mod audit;
mod concurrency;
mod group;
mod index;
mod lease;
mod pace;
mod pacing;
mod pick;
mod probe;
mod rate_limiter;
mod record;
mod record_result;
mod report;
mod seat;
mod shared;
mod stats;
mod timeline;
mod unhealthy;
mod wait_queue;
mod window;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::health::operator;
pub(crate) use attempted::Attempted;
use group::Groups;
use index::model_queue::ProviderIndex;
pub(crate) use lease::Lease;
pub(crate) use pick::{Picked, Preference, Query, Supply};
pub(crate) use probe::ProbeGuard;
pub(crate) use rate_limiter::UseLimits;
use record::{Record, Slots};
pub(crate) use record_result::{ApplyResult, Target};
pub(crate) use report::ExhaustionReport;
use seat::ModelLists;
use shared::InFlight;
pub(crate) use shared::SharedState;
pub(crate) use stats::CredentialState;
pub(crate) use timeline::Moment;
use timeline::Timeline;
use unhealthy::Unhealthy;
pub(crate) use wait_queue::Ticket;
use wait_queue::WaitQueue;

use crate::auth::{Auth, Version};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::observe::Line;
use crate::panic::guard;
use crate::random::Random;
use crate::runtime::lock_of_parent;

/// All credentials of a manager.
pub(crate) struct Registry {
    state: Mutex<State>,
    waiters: Arc<WaitQueue>,
    random: Arc<Random>,
    /// What credentials are used within that say nothing of their own.
    default_limits: UseLimits,
    /// Whether a credential that is pending does not serve.
    honours_pending: bool,
    /// How many credentials may be unavailable: as long as there are none, a pick need not know the time.
    troubled: Arc<AtomicUsize>,
    /// Whether a credential has ever had a list of models.
    has_lists: Arc<AtomicBool>,
    /// What is counted of credentials that were removed.
    removed: Arc<Line>,
}

/// How much of a record its store does not have yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Dirty {
    #[default]
    Nothing,
    /// Status, errors, quota, cooldowns.
    State,
    /// All of it, tokens included: the store has older ones, or has lost it.
    Record,
    /// The store has never had it.
    Everything,
}

#[derive(Default)]
struct State {
    slots: Slots,
    by_id: FastMap<Arc<str>, Arc<SharedState>>,
    pools: FastMap<Arc<str>, ProviderIndex>,
    /// How many requests each provider has in flight.
    in_flight: FastMap<Arc<str>, Arc<InFlight>>,
    /// Lanes over all pools.
    lanes: usize,
    /// The credentials that may be unavailable for a model.
    troubled: Unhealthy,
    /// Counts picks, to tell which lane was used last.
    picks: u64,
    /// Counts permits, to tell one probe from another.
    permits: u64,
    touched: Touched,
    timeline: Timeline,
    groups: Groups,
    lists: ModelLists,
    /// Woken by whatever makes a credential ready, or ready earlier.
    waiters: Arc<WaitQueue>,
}

/// A map whose hashes cost little and are not foreseeable.
type FastMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// The records that were changed while there are watchers, and the number of watchers.
#[derive(Default)]
struct Touched {
    watchers: usize,
    ids: HashSet<String>,
}

impl Registry {
    pub(crate) fn new(random: Arc<Random>, default_limits: UseLimits) -> Self {
        let state = State::default();
        Self {
            troubled: state.troubled.count(),
            has_lists: state.lists.are_any(),
            waiters: Arc::clone(&state.waiters),
            state: Mutex::new(state),
            random,
            default_limits,
            honours_pending: false,
            removed: Arc::default(),
        }
    }

    /// Whether a credential that is pending does not serve until it has tokens or a key.
    pub(crate) fn with_pending(mut self, honoured: bool) -> Self {
        self.honours_pending = honoured;
        self
    }

    /// Puts a record in, and gives back what is there now; one with the same id is replaced.
    pub(crate) fn insert(&self, auth: Auth) -> Arc<Auth> {
        self.put(auth, |_, _| {})
    }

    /// As [`insert`](Self::insert), for a record as it was stored: see [`Auth::restore`]. Failures of older tokens do not count.
    pub(crate) fn restore(&self, auth: Auth, moment: Moment) -> Arc<Auth> {
        self.put(auth, |state, auth| {
            let now = state.now(moment);
            auth.restore(now);
            let newest = auth.generation;
            let is_about_others = auth.shows_end_of_another_login();
            let is_older = |version: &Version| is_about_others || version.is_older_than(newest);
            operator::token_renewed(auth, is_older, now);
            operator::forget_refusals(auth, now);
        })
    }

    fn put(&self, mut auth: Auth, prepare: impl FnOnce(&mut State, &mut Auth)) -> Arc<Auth> {
        auth.set_base();
        let id: Arc<str> = auth.id.as_str().into();
        let (auth, former) = {
            let mut state = self.state.lock();
            prepare(&mut state, &mut auth);
            let auth = Arc::new(auth);
            let former = state.take_out(&id);
            state.touched.extend_if_watched(&id);
            let slot = state.slots.next();
            let of_provider = state.in_flight_of(&auth.provider);
            let tally = former
                .as_ref()
                .map(|former| Arc::clone(former.member.tally()));
            let tally = tally.unwrap_or_default();
            let member = SharedState::new(Arc::clone(&id), slot, of_provider, tally);
            let member = Arc::new(member);
            let record = Record::new(Arc::clone(&member), Arc::clone(&auth));
            state.slots.insert(record);
            state.by_id.insert(id, member);
            state.slots[slot].reconfigured();
            self.keep_pending(&mut state.slots[slot]);
            let auth = Arc::clone(&state.slots[slot].auth);
            state.limit(slot, &self.default_limits);
            state.join_group(slot);
            state.seat(slot);
            (auth, former)
        };
        if let Some(former) = former {
            release(former.auth);
        }
        self.waiters.wake();
        auth
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Auth>> {
        let state = self.state.lock();
        state.record(id).map(Record::snapshot)
    }

    /// Whether the login of a credential is known to be over.
    /// As [`get`](Self::get), with an error where there is none.
    pub(crate) fn known(&self, id: &str) -> Result<Arc<Auth>, Error> {
        self.get(id).ok_or_else(|| Error::not_registered(id))
    }

    pub(crate) fn is_revoked(&self, id: &str) -> bool {
        let state = self.state.lock();
        state
            .record(id)
            .is_some_and(|record| record.auth.is_revoked())
    }

    /// Begins to note which records are changed, other than by results.
    pub(crate) fn watch(&self) {
        self.state.lock().touched.watchers += 1;
    }

    /// Whether a record was changed or removed since the [`watch`](Self::watch).
    pub(crate) fn has_changed(&self, id: &str) -> bool {
        self.state.lock().touched.has(id)
    }

    /// Whether a record was changed or removed since the [`watch`](Self::watch), or holds what the store does not have.
    pub(crate) fn is_newer_than_store(&self, id: &str) -> bool {
        let state = self.state.lock();
        let record = state.record(id);
        state.touched.has(id) || record.is_some_and(|record| record.unsaved >= Dirty::Record)
    }

    /// Ends a [`watch`](Self::watch).
    pub(crate) fn unwatch(&self) {
        self.state.lock().touched.unwatch();
    }

    /// Notes that the store has none of the records, and says which the writer must be notified of.
    pub(crate) fn all_unsaved(&self) -> Vec<Arc<str>> {
        let mut state = self.state.lock();
        let mut news = Vec::new();
        for record in state.slots.iter_mut() {
            if record.auth.is_runtime_only() {
                continue;
            }
            if record.unsaved == Dirty::Nothing {
                news.push(Arc::clone(record.id()));
            }
            record.unsaved = Dirty::Everything;
        }
        news
    }

    /// The vendor's name of a model, where it is an alias of the credential.
    pub(crate) fn unaliased(&self, id: &str, model: &str) -> Option<Arc<str>> {
        if !self.has_lists.load(Ordering::Relaxed) {
            return None;
        }
        let state = self.state.lock();
        let list = state.record(id)?.serves.as_ref()?;
        list.alias(model).cloned()
    }

    pub(crate) fn contains(&self, id: &str) -> bool {
        self.state.lock().by_id.contains_key(id)
    }

    /// All records, in the order of their ids.
    pub(crate) fn list(&self) -> Vec<Arc<Auth>> {
        let mut list: Vec<_> = {
            let state = self.state.lock();
            state.slots.iter().map(Record::snapshot).collect()
        };
        list.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        list
    }

    /// The records of a parent, as a child finds them after a fork, and how much of each the store lacks.
    ///
    /// # Errors
    /// When a thread that is not there any more has locked them for ever.
    pub(crate) fn of_parent(&self) -> Result<Vec<(Auth, Dirty)>, Error> {
        let state = lock_of_parent(&self.state, "the credentials were being changed")?;
        let records = state.slots.iter();
        let records = records.map(|record| (Auth::clone(&record.snapshot()), record.unsaved));
        Ok(records.collect())
    }

    /// The credential and all others of its provider for which `is_alike` holds.
    pub(crate) fn alike(
        &self,
        member: &Arc<SharedState>,
        is_alike: impl Fn(&Auth, &Auth) -> bool,
    ) -> Vec<Arc<SharedState>> {
        let state = self.state.lock();
        let Some(own) = state.record(&member.id) else {
            return vec![Arc::clone(member)];
        };
        let others = state.slots.iter().filter(|other| {
            other.auth.provider == own.auth.provider && is_alike(&own.auth, &other.auth)
        });
        let alike = others.map(|other| Arc::clone(&other.member));
        alike.chain([Arc::clone(member)]).collect()
    }

    pub(crate) fn remove(&self, id: &str) -> Option<Arc<Auth>> {
        let mut state = self.state.lock();
        let record = state.take_out(id)?;
        state.touched.extend_if_watched(id);
        record.member.tally().bequeath(&self.removed);
        Some(record.snapshot())
    }

    /// Changes a record in one step. The id and the provider stay. `None` when there is no such record.
    pub(crate) fn modify(&self, id: &str, change: impl FnOnce(&mut Auth)) -> Option<Arc<Auth>> {
        self.modify_entry(id, |record| {
            let before = Arc::clone(&record.auth);
            let auth = record.change();
            change(auth);
            if !auth.shows_the_same_as(&before)
                && let Some(now) = auth.updated_at
            {
                auth.raise_own(now);
            }
            auth.set_base();
        })
    }

    /// As [`modify`](Self::modify), for a record that got new tokens.
    pub(crate) fn renew(
        &self,
        id: &str,
        now: Timestamp,
        change: impl FnOnce(&mut Auth),
    ) -> Option<Arc<Auth>> {
        self.modify_entry(id, |record| {
            let auth = record.change();
            change(auth);
            auth.set_base();
            operator::token_renewed(auth, |_| true, now);
            auth.updated_at = Some(now);
            record.refresh_failures = 0;
        })
    }

    /// A credential is not ready until a refresh has brought a token, or until then; `None`: it is. Nothing changes where its tokens are
    /// no longer those of the generation.
    pub(crate) fn await_token(&self, id: &str, generation: u64, until: Option<Timestamp>) {
        let state = self.state.lock();
        let is_news = state.record(id).is_some_and(|record| {
            record.auth.generation == generation && record.auth.awaits_token != until
        });
        drop(state);
        if is_news {
            self.modify_entry(id, |record| {
                if record.auth.generation == generation {
                    record.change().awaits_token = until;
                }
            });
        }
    }

    /// A credential that nothing but the end of its token keeps from serving, and that has one.
    pub(crate) fn with_ended_token(&self, query: Query<'_>) -> Option<Picked> {
        let now = query.now;
        self.with_lane(query, |slots, lane, call| {
            let waiting = lane.returning().map(|(_, slot)| slot);
            let mut waiting = waiting.filter(|slot| call.admits(slots, *slot));
            let slot = waiting.find(|slot| {
                let auth = &slots[*slot].auth;
                auth.awaits_token.is_some()
                    && auth.access_token().is_some_and(|token| !token.is_empty())
                    && slots[*slot].is_ready_but_for_its_token(query.model, now.wall)
            })?;
            Some(lane.picked(slots, slot))
        })
    }

    fn modify_entry(&self, id: &str, change: impl FnOnce(&mut Record)) -> Option<Arc<Auth>> {
        // The former record holds user-supplied data, whose destructors must not run under the lock: the record outlives the lock.
        let before;
        let auth;
        {
            let mut state = self.state.lock();
            let state = &mut *state;
            let slot = state.slot(id)?;
            let record = &mut state.slots[slot];
            before = Arc::clone(&record.auth);
            change(record);
            if !record.auth.is_configured_as(&before) {
                record.reconfigured();
                if record.auth.misconfigured.is_none()
                    && let Some(former) = &before.misconfigured
                {
                    operator::is_fit_again(record.change(), former);
                }
            }
            self.keep_pending(record);
            auth = Arc::clone(&record.auth);
            state.touched.extend_if_watched(id);
            state.limit(slot, &self.default_limits);
            state.change_group(slot, &before);
            state.seat(slot);
        }
        release(before);
        // Those that wait may have nothing to wait for any more.
        self.waiters.wake();
        Some(auth)
    }

    /// Notes that the store lacks something of a record. True when the writer must be notified.
    pub(crate) fn mark_unsaved(&self, id: &str, what: Dirty) -> bool {
        let mut state = self.state.lock();
        state.record_mut(id).is_some_and(|record| {
            if record.auth.is_runtime_only() {
                return false;
            }
            let news = record.unsaved == Dirty::Nothing;
            record.unsaved = record.unsaved.max(what);
            news
        })
    }

    /// What the store is to write of a record now; from here on it counts as saved.
    pub(crate) fn take_unsaved(&self, id: &str) -> Option<(Arc<Auth>, Dirty)> {
        let mut state = self.state.lock();
        let record = state.record_mut(id)?;
        let unsaved = std::mem::take(&mut record.unsaved);
        (unsaved != Dirty::Nothing).then(|| (record.snapshot(), unsaved))
    }

    /// Counts one more refresh that failed in a row.
    pub(crate) fn count_refresh_failure(&self, id: &str) -> u32 {
        let mut state = self.state.lock();
        state.record_mut(id).map_or(0, |record| {
            record.refresh_failures = record.refresh_failures.saturating_add(1);
            record.refresh_failures
        })
    }

    /// Whether any credential may be unavailable, for whatever model.
    pub(crate) fn may_anybody_be_out(&self) -> bool {
        self.troubled.load(Ordering::SeqCst) > 0
    }

    /// Sees to it that a pending record stays so, whatever has just changed in it.
    fn keep_pending(&self, record: &mut Record) {
        if self.honours_pending {
            record.stay_pending();
        }
    }
}

impl Touched {
    fn unwatch(&mut self) {
        self.watchers = self.watchers.saturating_sub(1);
        if self.watchers == 0 {
            self.ids.clear();
        }
    }

    fn extend_if_watched(&mut self, id: &str) {
        if self.watchers > 0 {
            self.ids.insert(id.to_owned());
        }
    }

    fn has(&self, id: &str) -> bool {
        self.ids.contains(id)
    }
}

impl State {
    fn slot(&self, id: &str) -> Option<u32> {
        self.by_id.get(id).map(|member| member.slot)
    }

    fn record(&self, id: &str) -> Option<&Record> {
        Some(&self.slots[self.slot(id)?])
    }

    fn record_mut(&mut self, id: &str) -> Option<&mut Record> {
        let slot = self.slot(id)?;
        Some(&mut self.slots[slot])
    }

    /// Sees to it that a record is used within its limits as they are now.
    fn limit(&mut self, slot: u32, default: &UseLimits) {
        let ahead = self.timeline.ahead();
        let record = &mut self.slots[slot];
        let limits = UseLimits::of(&record.auth, default);
        record.limit(limits, ahead);
    }

    fn in_flight_of(&mut self, provider: &str) -> Arc<InFlight> {
        if let Some(in_flight) = self.in_flight.get(provider) {
            return Arc::clone(in_flight);
        }
        let in_flight = Arc::default();
        self.in_flight
            .insert(provider.into(), Arc::clone(&in_flight));
        in_flight
    }

    /// Removes a record from everywhere.
    fn take_out(&mut self, id: &str) -> Option<Record> {
        let member = self.by_id.remove(id)?;
        member.leave();
        let slot = member.slot;
        self.leave_group(slot);
        self.unseat(slot);
        let record = self.slots.remove(slot)?;
        if record.troubled {
            self.troubled.set(slot, false);
        }
        Some(record)
    }
}

/// Releases a record; destructors of user-supplied data may run, and may panic.
pub(crate) fn release(auth: Arc<Auth>) {
    let _ = guard(
        || "a destructor of a record's data".to_owned(),
        || drop(auth),
    );
}

#[cfg(test)]
mod audit_tests;
#[cfg(test)]
mod fleet_tests;
#[cfg(test)]
mod tests;
