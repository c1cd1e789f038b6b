//! Who is ready: what a pick asks of the lanes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::lane::{Lane, ProviderPool};
use super::{Readiness, Record, Registry};
use crate::Timestamp;
use crate::auth::{Auth, Cause};

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
    /// It comes back from a cooldown: one request goes first, with a [`Permit`](super::Permit).
    pub(crate) needs_permit: bool,
}

/// What there is for a pick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Supply {
    /// Nobody is left to try.
    Nobody,
    /// All that are left are blocked; the earliest of them returns then, if any does.
    Blocked {
        candidates: usize,
        earliest: Option<Timestamp>,
    },
    /// Somebody is ready.
    Ready,
}

impl Query<'_> {
    pub(super) fn admits(&self, id: &str) -> bool {
        self.pinned.is_none_or(|pinned| pinned == id)
            && !self.tried.iter().any(|tried| **tried == *id)
    }
}

impl Record {
    pub(super) fn picked(&self, model: &str) -> Picked {
        let needs_permit = self.causes(model).iter().flatten().any(Cause::needs_permit);
        Picked {
            id: Arc::clone(&self.id),
            auth: Arc::clone(&self.auth),
            needs_permit,
        }
    }
}

impl Registry {
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
            Some(records.get(&id)?.picked(query.model))
        })
    }

    /// The first ready candidate whose id comes after `after`.
    pub(crate) fn next_ready(&self, query: Query<'_>, after: Option<&str>) -> Option<Picked> {
        self.with_lane(query, |records, lane| {
            let id = lane.ready_from(after).find(|id| query.admits(id))?;
            Some(records.get(id)?.picked(query.model))
        })
    }

    /// The candidate with this id, if it is ready.
    pub(crate) fn ready(&self, query: Query<'_>, id: &str) -> Option<Picked> {
        if !query.admits(id) {
            return None;
        }
        self.with_lane(query, |records, lane| {
            let ready = lane.is_ready(id).then(|| records.get(id)).flatten();
            Some(ready?.picked(query.model))
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
    pub(crate) fn supply(&self, query: Query<'_>) -> Supply {
        let candidates = {
            let state = self.state.lock();
            let Some(pool) = state.pools.get(query.provider) else {
                return Supply::Nobody;
            };
            match query.pinned {
                Some(id) => usize::from(pool.has(id) && query.admits(id)),
                None => pool.len() - query.tried.iter().filter(|id| pool.has(id)).count(),
            }
        };
        if candidates == 0 {
            return Supply::Nobody;
        }
        if self.ready_count(query) > 0 {
            return Supply::Ready;
        }
        let earliest = self.with_lane(query, |_, lane| {
            lane.returning()
                .find(|(_, id)| query.admits(id))
                .map(|(at, _)| at)
        });
        Supply::Blocked {
            candidates,
            earliest,
        }
    }

    /// Whether a credential is registered, enabled and not blocked without end: then this is it, ready or not.
    pub(crate) fn member(&self, query: Query<'_>, id: &str) -> Option<Picked> {
        let state = self.state.lock();
        let record = state.records.get(id)?;
        let in_pool = state
            .pools
            .get(query.provider)
            .is_some_and(|pool| pool.has(id));
        let blocked = record.readiness(query.model) == Readiness::Blocked;
        (in_pool && !blocked).then(|| record.picked(query.model))
    }

    /// Whether a credential is out for the model at the moment, but not for good.
    pub(crate) fn is_out(&self, query: Query<'_>, id: &str) -> bool {
        let state = self.state.lock();
        state.records.get(id).is_some_and(|record| {
            matches!(record.readiness(query.model), Readiness::Until(at, _) if at > query.now)
        })
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

    pub(super) fn with_lane<T>(
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
pub(super) const MOST_LANES: usize = 4096;
