//! The only owner of mutable state: the records, and for each provider and model who is ready.
//!
//! Short critical sections, no I/O and no user code under the lock. What leaves is a snapshot.

mod apply;
mod lane;
mod ledger;
mod rotation;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use apply::readiness;
pub(crate) use apply::{Effect, Readiness};
use lane::{Lane, ProviderPool};
use ledger::Ledger;
pub(crate) use rotation::Rotation;

use crate::Timestamp;
use crate::auth::Auth;
use crate::runtime::guard;

/// All credentials of a manager.
#[derive(Default)]
pub(crate) struct Registry {
    state: Mutex<State>,
    /// Counts picks: a candidate is good for the pick that it was offered in.
    offers: AtomicU64,
}

/// Which candidates a pick is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query<'a> {
    pub(crate) provider: &'a str,
    pub(crate) model: &'a str,
    /// Already tried in this call.
    pub(crate) tried: &'a [Arc<str>],
    /// The only one that may serve.
    pub(crate) pinned: Option<&'a str>,
    pub(crate) now: Timestamp,
}

/// A ready credential: its shared id and a snapshot.
#[derive(Clone, Debug)]
pub(crate) struct Picked {
    pub(crate) id: Arc<str>,
    pub(crate) auth: Arc<Auth>,
}

/// Why a pick found nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nobody is left to try.
    NoCandidates,
    /// All that are left are blocked; the earliest of them returns then, if any does.
    AllBlocked {
        candidates: usize,
        earliest: Option<Timestamp>,
    },
    /// Somebody is ready.
    Ready,
}

/// How much of a record its store does not have yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Unsaved {
    #[default]
    Nothing,
    /// Status, errors, quota, cooldowns.
    State,
    /// All of it, tokens included.
    Record,
}

#[derive(Default)]
struct State {
    records: HashMap<Arc<str>, Record>,
    pools: HashMap<String, ProviderPool>,
    /// Lanes over all pools.
    lanes: usize,
    /// Counts picks, to tell which lane was used last.
    picks: u64,
    touched: Touched,
}

/// The records that were changed while somebody watches, and how many do.
#[derive(Default)]
struct Touched {
    watchers: usize,
    ids: HashSet<String>,
}

struct Record {
    id: Arc<str>,
    auth: Arc<Auth>,
    ledger: Ledger,
    unsaved: Unsaved,
    /// Refreshes that failed in a row.
    refresh_failures: u32,
}

impl Registry {
    /// Puts a record in; one with the same id is replaced and returned.
    pub(crate) fn insert(&self, mut auth: Auth) -> Arc<Auth> {
        auth.base.clone_from(&auth.metadata);
        let auth = Arc::new(auth);
        let id: Arc<str> = auth.id.as_str().into();
        let record = Record {
            id: Arc::clone(&id),
            auth: Arc::clone(&auth),
            ledger: Ledger::default(),
            unsaved: Unsaved::Nothing,
            refresh_failures: 0,
        };
        let former = {
            let mut state = self.state.lock();
            let former = state.records.insert(Arc::clone(&id), record);
            state.touched.extend_if_watched(&id);
            if let Some(former) = &former {
                state.leave_pool(&former.auth);
            }
            state.join_pool(&id);
            former
        };
        if let Some(former) = former {
            release(former.auth);
        }
        auth
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Auth>> {
        let state = self.state.lock();
        state.records.get(id).map(|record| Arc::clone(&record.auth))
    }

    /// Begins to note which records are changed, other than by results.
    pub(crate) fn watch(&self) {
        self.state.lock().touched.watch();
    }

    /// Whether a record was changed or removed since the [`watch`](Self::watch), or holds what the store does not have.
    pub(crate) fn is_newer_than_store(&self, id: &str) -> bool {
        let state = self.state.lock();
        let record = state.records.get(id);
        state.touched.has(id) || record.is_some_and(|record| record.unsaved == Unsaved::Record)
    }

    /// Ends a [`watch`](Self::watch).
    pub(crate) fn unwatch(&self) {
        self.state.lock().touched.unwatch();
    }

    /// Notes that the store has none of the records, and says which the writer must be told of.
    pub(crate) fn all_unsaved(&self) -> Vec<Arc<str>> {
        let mut state = self.state.lock();
        let mut news = Vec::new();
        for record in state.records.values_mut() {
            if record.auth.is_runtime_only() {
                continue;
            }
            if record.unsaved == Unsaved::Nothing {
                news.push(Arc::clone(&record.id));
            }
            record.unsaved = Unsaved::Record;
        }
        news
    }

    pub(crate) fn contains(&self, id: &str) -> bool {
        self.state.lock().records.contains_key(id)
    }

    /// All records, in the order of their ids.
    pub(crate) fn list(&self) -> Vec<Arc<Auth>> {
        let mut list: Vec<_> = {
            let state = self.state.lock();
            state
                .records
                .values()
                .map(|record| Arc::clone(&record.auth))
                .collect()
        };
        list.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        list
    }

    pub(crate) fn remove(&self, id: &str) -> Option<Arc<Auth>> {
        let mut state = self.state.lock();
        let record = state.records.remove(id)?;
        state.touched.extend_if_watched(id);
        state.leave_pool(&record.auth);
        Some(record.auth)
    }

    /// Changes a record in one step. The id and the provider stay. `None` when there is no such record.
    pub(crate) fn modify(&self, id: &str, change: impl FnOnce(&mut Auth)) -> Option<Arc<Auth>> {
        self.modify_entry(id, |record| {
            let auth = Arc::make_mut(&mut record.auth);
            change(auth);
            auth.base.clone_from(&auth.metadata);
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
            let auth = Arc::make_mut(&mut record.auth);
            change(auth);
            auth.base.clone_from(&auth.metadata);
            apply::token_renewed(auth, &mut record.ledger, now);
            record.refresh_failures = 0;
        })
    }

    fn modify_entry(&self, id: &str, change: impl FnOnce(&mut Record)) -> Option<Arc<Auth>> {
        // The former record holds the program's own data, whose destructors must not run under the lock: it outlives it.
        let before;
        let auth;
        {
            let mut state = self.state.lock();
            let state = &mut *state;
            let record = state.records.get_mut(id)?;
            before = Arc::clone(&record.auth);
            change(record);
            state.touched.extend_if_watched(id);
            let id = Arc::clone(&record.id);
            auth = Arc::clone(&record.auth);
            if before.disabled != auth.disabled {
                state.leave_pool(&auth);
            }
            state.join_pool(&id);
        }
        release(before);
        Some(auth)
    }

    /// Applies a result. Says whether the record is known, and whether its store must be told of it and does not yet know
    /// that it must.
    pub(crate) fn apply(
        &self,
        id: &str,
        model: &str,
        effect: &Effect<'_>,
        now: Timestamp,
    ) -> Applied {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(record) = state.records.get_mut(id) else {
            return Applied::Unknown;
        };
        let was_clean = is_clean(&record.auth, model);
        let was_out = record.ledger.out_until().is_some();
        let auth = Arc::make_mut(&mut record.auth);
        apply::apply(auth, &mut record.ledger, model, effect, now);
        if let Some(pool) = state.pools.get_mut(&record.auth.provider) {
            if effect.concerns_all_models(was_out) {
                pool.update(&record.id, &record.auth, &record.ledger);
            } else {
                for model in [model, ""] {
                    if let Some(lane) = pool.lanes.get_mut(model) {
                        lane.set(&record.id, record.readiness(model));
                    }
                }
            }
        }
        let news = !(was_clean && is_clean(&record.auth, model));
        if news && record.unsaved == Unsaved::Nothing && !record.auth.is_runtime_only() {
            record.unsaved = Unsaved::State;
            return Applied::Unsaved(Arc::clone(&record.id));
        }
        Applied::Known
    }

    /// Notes that the store lacks something of a record. True when the writer must be told.
    pub(crate) fn mark_unsaved(&self, id: &str, what: Unsaved) -> bool {
        let mut state = self.state.lock();
        state.records.get_mut(id).is_some_and(|record| {
            if record.auth.is_runtime_only() {
                return false;
            }
            let news = record.unsaved == Unsaved::Nothing;
            record.unsaved = record.unsaved.max(what);
            news
        })
    }

    /// What the store is to write of a record now; from here on it counts as saved.
    pub(crate) fn take_unsaved(&self, id: &str) -> Option<(Arc<Auth>, Unsaved)> {
        let mut state = self.state.lock();
        let record = state.records.get_mut(id)?;
        let unsaved = std::mem::take(&mut record.unsaved);
        (unsaved != Unsaved::Nothing).then(|| (Arc::clone(&record.auth), unsaved))
    }

    /// Counts one more refresh that failed in a row.
    pub(crate) fn count_refresh_failure(&self, id: &str) -> u32 {
        let mut state = self.state.lock();
        state.records.get_mut(id).map_or(0, |record| {
            record.refresh_failures = record.refresh_failures.saturating_add(1);
            record.refresh_failures
        })
    }

    /// A number for the next pick.
    pub(crate) fn next_offer(&self) -> u64 {
        self.offers.fetch_add(1, Ordering::Relaxed)
    }

    /// The next ready candidate in the rotation of its lane, which moves on.
    pub(crate) fn rotate(&self, query: Query<'_>) -> Option<Picked> {
        self.with_lane(query, |records, lane| {
            let id = lane
                .ready_after(lane.last_picked())
                .find(|id| query.admits(id))
                .cloned()?;
            lane.picked(&id);
            records.get(&id).map(Record::picked)
        })
    }

    /// The first ready candidate whose id comes after `after`.
    pub(crate) fn next_ready(&self, query: Query<'_>, after: Option<&str>) -> Option<Picked> {
        self.with_lane(query, |records, lane| {
            let id = lane.ready_from(after).find(|id| query.admits(id))?;
            records.get(id).map(Record::picked)
        })
    }

    /// The candidate with this id, if it is ready.
    pub(crate) fn ready(&self, query: Query<'_>, id: &str) -> Option<Picked> {
        if !query.admits(id) {
            return None;
        }
        self.with_lane(query, |records, lane| {
            lane.is_ready(id)
                .then(|| records.get(id).map(Record::picked))
                .flatten()
        })
    }

    /// How many candidates are ready, tried ones not counted.
    pub(crate) fn ready_count(&self, query: Query<'_>) -> usize {
        self.with_lane(query, |_, lane| {
            Some(match query.pinned {
                Some(id) => usize::from(lane.is_ready(id) && query.admits(id)),
                None => {
                    let tried = query.tried.iter().filter(|id| lane.is_ready(id)).count();
                    lane.ready_len() - tried
                }
            })
        })
        .unwrap_or(0)
    }

    /// What stands in the way of a pick.
    pub(crate) fn standing(&self, query: Query<'_>) -> Standing {
        let candidates = {
            let state = self.state.lock();
            let Some(pool) = state.pools.get(query.provider) else {
                return Standing::NoCandidates;
            };
            match query.pinned {
                Some(id) => usize::from(pool.has(id) && query.admits(id)),
                None => pool.len() - query.tried.iter().filter(|id| pool.has(id)).count(),
            }
        };
        if candidates == 0 {
            return Standing::NoCandidates;
        }
        if self.ready_count(query) > 0 {
            return Standing::Ready;
        }
        let earliest = self.with_lane(query, |_, lane| {
            lane.returning()
                .find(|(_, id)| query.admits(id))
                .map(|(at, _)| at)
        });
        Standing::AllBlocked {
            candidates,
            earliest,
        }
    }

    /// All members of a provider's pool and how they stand, tried ones left out.
    pub(crate) fn candidates(&self, query: Query<'_>) -> Vec<(Arc<Auth>, Readiness)> {
        let state = self.state.lock();
        let Some(pool) = state.pools.get(query.provider) else {
            return Vec::new();
        };
        pool.members()
            .filter(|id| query.admits(id))
            .filter_map(|id| state.records.get(id))
            .map(|record| (Arc::clone(&record.auth), record.readiness(query.model)))
            .collect()
    }

    fn with_lane<T>(
        &self,
        query: Query<'_>,
        work: impl FnOnce(&HashMap<Arc<str>, Record>, &mut Lane) -> Option<T>,
    ) -> Option<T> {
        let mut state = self.state.lock();
        let state = &mut *state;
        state.picks += 1;
        let pool = state.pools.get_mut(query.provider)?;
        if !pool.lanes.contains_key(query.model) {
            state.lanes += 1;
            pool.build_lane(query.model, |id| {
                state
                    .records
                    .get(id)
                    .map_or(Readiness::Blocked, |record| record.readiness(query.model))
            });
            if state.lanes > MOST_LANES {
                state.lanes -= 1;
                drop_oldest_lane(&mut state.pools, state.picks);
            }
        }
        let lane = state
            .pools
            .get_mut(query.provider)?
            .lanes
            .get_mut(query.model)?;
        lane.used(state.picks, query.now);
        work(&state.records, lane)
    }
}

/// What became of a result.
#[derive(Debug)]
pub(crate) enum Applied {
    /// No such record.
    Unknown,
    Known,
    /// The writer must be told of this record.
    Unsaved(Arc<str>),
}

impl Record {
    fn readiness(&self, model: &str) -> Readiness {
        readiness(&self.auth, &self.ledger, model)
    }

    fn picked(&self) -> Picked {
        Picked {
            id: Arc::clone(&self.id),
            auth: Arc::clone(&self.auth),
        }
    }
}

impl Touched {
    fn watch(&mut self) {
        self.watchers += 1;
    }

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

impl Query<'_> {
    fn admits(&self, id: &str) -> bool {
        self.pinned.is_none_or(|pinned| pinned == id)
            && !self.tried.iter().any(|tried| **tried == *id)
    }
}

impl State {
    /// Puts a record into its provider's pool, unless it is disabled, and looks at it anew in every lane.
    fn join_pool(&mut self, id: &Arc<str>) {
        if let Some(record) = self.records.get(id)
            && !record.auth.disabled
        {
            let pool = self.pools.entry(record.auth.provider.clone()).or_default();
            pool.join(id, &record.auth, &record.ledger);
        }
    }

    fn leave_pool(&mut self, auth: &Auth) {
        if let Some(pool) = self.pools.get_mut(&auth.provider) {
            pool.leave(&auth.id);
            if pool.len() == 0 {
                self.lanes -= pool.lanes.len();
                self.pools.remove(&auth.provider);
            }
        }
    }
}

/// Nothing but the time of its last use is worth telling the store.
fn is_clean(auth: &Auth, model: &str) -> bool {
    auth.last_error.is_none()
        && !auth.unavailable
        && !auth.quota.exceeded
        && auth.status_message.is_empty()
        && (model.is_empty()
            || auth
                .model_states
                .get(model)
                .is_none_or(|state| state.last_error.is_none() && !state.unavailable))
}

/// Lets a record go; destructors of the program's own data may run, and may panic.
pub(crate) fn release(auth: Arc<Auth>) {
    let _ = guard(
        || "a destructor of a record's data".to_owned(),
        || drop(auth),
    );
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("records", &self.state.lock().records.len())
            .finish_non_exhaustive()
    }
}

fn drop_oldest_lane(pools: &mut HashMap<String, ProviderPool>, newest: u64) {
    let oldest = pools
        .iter()
        .flat_map(|(provider, pool)| {
            pool.lanes
                .iter()
                .map(move |(model, lane)| (lane.last_used(), provider, model))
        })
        .filter(|(used, ..)| *used < newest && *used > 0)
        .min()
        .map(|(_, provider, model)| (provider.clone(), model.clone()));
    if let Some((provider, model)) = oldest
        && let Some(pool) = pools.get_mut(&provider)
    {
        pool.lanes.remove(&model);
    }
}

/// A lane is a cache of what the records say: dropping one costs a scan when it is needed again.
const MOST_LANES: usize = 4096;

#[cfg(test)]
mod tests;
