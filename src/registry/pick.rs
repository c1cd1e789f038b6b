//! Picks: queries of the ready index for one call.

use std::sync::Arc;

use smallvec::SmallVec;

use super::index::model_queue::{ProviderIndex, QueueView, Why};
use super::index::ordered_slots::index_at;
use super::record::Slots;
use super::shared::SharedState;
use super::{Attempted, FastMap, Moment, Registry, State};
use crate::auth::Auth;
use crate::clock::Timestamp;
use crate::failure_kind::FailureKind;
use crate::health::Readiness;

/// Which candidates a pick is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query<'a> {
    pub(crate) provider: &'a str,
    /// As the call asks for it: an alias of some credentials, or the vendor's own name.
    pub(crate) model: &'a str,
    /// Already tried in this call.
    pub(crate) tried: Option<&'a Attempted>,
    /// The only one that may serve.
    pub(crate) pinned: Option<&'a str>,
    pub(crate) now: Moment,
}

/// By what one of the ready is chosen.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Preference {
    /// Their order: the one after the last that was picked.
    Rotate,
    /// Their weights: the one whose turn is first. Those of weight 0 have none.
    ByWeight,
    /// Their use: the one with the fewest requests under way.
    LeastBusy,
    AtRandom,
}

/// A ready credential: what its users share, and a snapshot.
#[derive(Clone, Debug)]
pub(crate) struct Picked {
    pub(crate) member: Arc<SharedState>,
    pub(crate) auth: Arc<Auth>,
    /// The vendor's name of the model, where the call asks for an alias.
    pub(crate) sent_as: Option<Arc<str>>,
    /// The credential returns from a cooldown: only few requests may probe it at first, each with a [`ProbeGuard`](super::ProbeGuard).
    pub(crate) needs_permit: bool,
    /// It is used within limits, or at a pace.
    pub(crate) limited: bool,
    /// The call cannot wait: it respects no pace.
    pub(crate) hurried: bool,
}

/// What there is for a pick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Supply {
    /// No credential is left to try.
    Nobody,
    /// All that are left are blocked; the earliest of them returns then, if any does.
    Blocked {
        candidates: usize,
        earliest: Option<Timestamp>,
        /// Some of them for nothing but their own limits, or for what is in flight.
        full: bool,
        /// Some of them for nothing but their pace.
        paced: bool,
        /// Some wait for a refresh to bring a token.
        refreshing: bool,
    },
    /// A credential is ready.
    Ready,
}

impl Registry {
    /// One of the ready credentials of the highest priority.
    pub(crate) fn choose(&self, query: Query<'_>, preference: Preference) -> Option<Picked> {
        self.with_lane(query, |slots, lane, call| {
            let slot = match call.who {
                Who::Anybody => {
                    let tier = lane.top_tier(slots, call)?;
                    let admits = |slot| call.admits(slots, slot);
                    match preference {
                        Preference::Rotate => lane.rotate(slots, tier, admits),
                        Preference::ByWeight => lane.by_weight(slots, tier, admits),
                        Preference::LeastBusy => lane.least_busy(slots, tier, admits),
                        Preference::AtRandom => {
                            lane.at_random(tier, self.random.fraction(), admits)
                        }
                    }
                }
                _ => call.pinned(lane, slots),
            }?;
            Some(lane.picked(slots, slot))
        })
    }

    /// Up to `most` random ready candidates of the highest priority, in random order.
    pub(crate) fn sample(&self, query: Query<'_>, most: usize) -> SmallVec<[Picked; 16]> {
        let mut drawn: SmallVec<[u32; 16]> = SmallVec::new();
        let draw = || self.random.fraction();
        self.with_lane(query, |slots, lane, call| {
            match call.who {
                Who::Anybody => {
                    let tier = lane.top_tier(slots, call)?;
                    if lane.ready_in(slots, tier, call) <= most {
                        drawn.extend(lane.all(tier).filter(|slot| call.admits(slots, *slot)));
                        for last in (1..drawn.len()).rev() {
                            drawn.swap(last, index_at(draw(), last + 1));
                        }
                    } else {
                        for _ in 0..DRAWS * most {
                            if drawn.len() == most {
                                break;
                            }
                            let is_new = |slot| !drawn.contains(&slot) && call.admits(slots, slot);
                            drawn.extend(lane.at_random(tier, draw(), is_new));
                        }
                    }
                }
                _ => drawn.push(call.pinned(lane, slots)?),
            }
            let picked = drawn.iter().map(|slot| lane.picked(slots, *slot));
            Some(picked.collect())
        })
        .unwrap_or_default()
    }

    /// The first ready candidate whose id comes after `after`.
    pub(crate) fn next_ready(&self, query: Query<'_>, after: Option<&str>) -> Option<Picked> {
        self.with_lane(query, |slots, lane, call| {
            if call.who != Who::Anybody {
                let slot = call.pinned(lane, slots)?;
                let later = after.is_none_or(|after| &**slots.id(slot) > after);
                return later.then(|| lane.picked(slots, slot));
            }
            let tier = lane.top_tier(slots, call)?;
            let after = after.and_then(|after| lane.place_up_to(slots, tier, after));
            let slot = lane.next(tier, after, |slot| call.admits(slots, slot))?;
            Some(lane.picked(slots, slot))
        })
    }

    /// The candidate with this id, if it is ready, whatever its priority.
    pub(crate) fn ready(&self, query: Query<'_>, id: &str) -> Option<Picked> {
        let mut state = self.state.lock();
        let slot = state.slot(id)?;
        state.with_lane(query, |slots, lane, call| {
            let seat = slots[slot].seat().filter(|_| call.admits(slots, slot))?;
            lane.is_ready(seat).then(|| lane.picked(slots, slot))
        })
    }

    /// How many candidates are ready, tried ones not counted: those of the highest priority of which there are any.
    pub(crate) fn ready_count(&self, query: Query<'_>) -> usize {
        self.with_lane(query, |slots, lane, call| {
            if call.who != Who::Anybody {
                return Some(usize::from(call.pinned(lane, slots).is_some()));
            }
            let tier = lane.top_tier(slots, call)?;
            Some(lane.ready_in(slots, tier, call))
        })
        .unwrap_or(0)
    }

    /// Whether a ready credential may serve any number of requests concurrently, as far as a look at a few of them shows.
    pub(crate) fn is_anybody_unlimited(&self, query: Query<'_>) -> bool {
        const FEW: usize = 16;
        self.with_lane(query, |slots, lane, call| {
            let is_unlimited = |slot: &u32| {
                let picked = lane.picked(slots, *slot);
                !picked.limited && !picked.needs_permit
            };
            match call.who {
                Who::Anybody => {
                    let tier = lane.top_tier(slots, call)?;
                    let admitted = lane.all(tier).filter(|slot| call.admits(slots, *slot));
                    admitted.take(FEW).find(is_unlimited)
                }
                _ => call.pinned(lane, slots).filter(is_unlimited),
            }
        })
        .is_some()
    }

    /// What prevents a pick.
    pub(crate) fn supply(&self, query: Query<'_>) -> Supply {
        let mut state = self.state.lock();
        let call = state.restrict(query);
        let Some(pool) = state.pools.get(query.provider) else {
            return Supply::Nobody;
        };
        let is_member = |slot: u32| {
            let record = &state.slots[slot];
            record.place().is_some()
                && record.auth.provider == query.provider
                && record.sent_as(query.model).is_some()
        };
        let candidates = match call.who {
            Who::Nobody => 0,
            Who::Only(slot) => usize::from(is_member(slot) && call.admits(&state.slots, slot)),
            Who::Anybody => {
                let tried = call.tried_of(&state.slots);
                let tried = tried.filter(|slot| is_member(*slot)).count();
                pool.count_serving(query.model) - tried
            }
        };
        if candidates == 0 {
            return Supply::Nobody;
        }
        state
            .with_lane(query, |slots, lane, call| {
                let ready = match call.who {
                    Who::Anybody => lane.top_tier(slots, call).is_some(),
                    _ => call.pinned(lane, slots).is_some(),
                };
                if ready {
                    return Some(Supply::Ready);
                }
                let returning = lane.returning();
                let returning = returning.filter(|(_, slot)| call.admits(slots, *slot));
                let earliest = first_return(returning, slots, query.model, call.now);
                let is_any_admitted = |why: Why| {
                    let admitted =
                        |(_, slot)| call.admits(slots, slot) && lane.is_out_for(slot, why);
                    lane.count(why) > 0 && (call.is_about_all() || lane.returning().any(admitted))
                };
                Some(Supply::Blocked {
                    candidates,
                    earliest,
                    full: is_any_admitted(Why::Full) || is_any_admitted(Why::Capped),
                    paced: is_any_admitted(Why::Paced),
                    refreshing: lane.count(Why::FailureKind(FailureKind::TokenEnded)) > 0,
                })
            })
            .unwrap_or(Supply::Nobody)
    }

    /// The credential that is due soonest of those that nothing but what was learnt of their limits keeps from being ready: for a call that
    /// cannot wait.
    pub(crate) fn soonest_paced(&self, query: Query<'_>) -> Option<Picked> {
        self.with_lane(query, |slots, lane, call| {
            let held_up = [Why::Paced, Why::Capped];
            if held_up.iter().all(|why| lane.count(*why) == 0) {
                return None;
            }
            let is_held_up = |slot| held_up.iter().any(|why| lane.is_out_for(slot, *why));
            let mut returning = lane.returning().map(|(_, slot)| slot);
            let slot = returning.find(|slot| is_held_up(*slot) && call.admits(slots, *slot))?;
            Some(Picked {
                hurried: true,
                ..lane.picked(slots, slot)
            })
        })
    }

    /// Whether a credential is registered, enabled and not blocked without end: then this is it, ready or not.
    pub(crate) fn member(&self, query: Query<'_>, id: &str) -> Option<Picked> {
        let mut state = self.state.lock();
        let now = state.now(query.now);
        let slot = state.slot(id)?;
        let record = &state.slots[slot];
        let blocked = record.readiness(query.model, now) == Readiness::Blocked;
        (record.place().is_some() && !blocked).then(|| record.picked(query.model))
    }

    /// Until when a credential is unavailable for the model; `None` where it is ready, or unavailable without an end.
    pub(crate) fn out_until(&self, query: Query<'_>, id: &str) -> Option<Timestamp> {
        let mut state = self.state.lock();
        let now = state.now(query.now);
        state.record(id)?.returns_at(query.model, now)
    }

    /// Whether there are credentials that a pick is about, and none of them serves its model, ready or not.
    pub(crate) fn serves_none(&self, query: Query<'_>) -> bool {
        let state = self.state.lock();
        match query.pinned {
            Some(id) => state
                .record(id)
                .is_some_and(|record| record.sent_as(query.model).is_none()),
            None => state
                .pools
                .get(query.provider)
                .is_some_and(|pool| pool.count_serving(query.model) == 0),
        }
    }

    /// All members of a provider's pool that serve the model and their readiness now, without attempted ones.
    pub(crate) fn candidates(&self, query: Query<'_>) -> Vec<(Picked, Readiness)> {
        let mut state = self.state.lock();
        let now = state.now(query.now);
        let call = state.restrict(query);
        let Some(pool) = state.pools.get(query.provider) else {
            return Vec::new();
        };
        let admitted = pool
            .members()
            .filter(|slot| call.admits(&state.slots, *slot));
        let records = admitted.map(|slot| &state.slots[slot]);
        records
            .filter(|record| record.sent_as(query.model).is_some())
            .map(|record| {
                let picked = Picked {
                    auth: record.snapshot(),
                    ..record.picked(query.model)
                };
                (picked, record.readiness(query.model, now))
            })
            .collect()
    }

    /// Does something with the lane that a pick is about; it is made where there is none. `None` without such a provider, and for a model
    /// that none of its credentials serves: names that calls invent take no memory then.
    pub(super) fn with_lane<T>(
        &self,
        query: Query<'_>,
        work: impl FnOnce(&Slots, &mut QueueView<'_>, &Restriction<'_>) -> Option<T>,
    ) -> Option<T> {
        self.state.lock().with_lane(query, work)
    }
}

/// What a call may still try.
pub(super) struct Restriction<'a> {
    provider: &'a str,
    tried: Option<&'a Attempted>,
    pub(super) who: Who,
    pub(super) now: Timestamp,
}

/// What a call selects from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Anybody,
    Only(u32),
    /// The only one is not registered, or is another provider's.
    Nobody,
}

impl Restriction<'_> {
    /// Whether it is about this one, tried or not.
    pub(super) fn is_about(&self, slot: u32) -> bool {
        match self.who {
            Who::Anybody => true,
            Who::Only(only) => only == slot,
            Who::Nobody => false,
        }
    }

    pub(super) fn admits(&self, slots: &Slots, slot: u32) -> bool {
        self.is_about(slot) && !self.tried.is_some_and(|tried| tried.has(slots, slot))
    }

    /// Whether it may ask any credential of its provider.
    pub(super) fn is_about_all(&self) -> bool {
        self.who == Who::Anybody && self.is_first()
    }

    /// Whether no credential was tried yet.
    pub(super) fn is_first(&self) -> bool {
        self.tried.is_none_or(Attempted::is_empty)
    }

    /// The attempted credentials of the call's provider.
    pub(super) fn tried_of<'s>(&'s self, slots: &'s Slots) -> impl Iterator<Item = u32> + 's {
        let tried = self.tried.into_iter();
        tried.flat_map(|tried| tried.of(slots, self.provider))
    }

    /// The only one that may be selected, if it is ready.
    fn pinned(&self, lane: &QueueView<'_>, slots: &Slots) -> Option<u32> {
        match self.who {
            Who::Only(slot) if self.admits(slots, slot) => {
                lane.is_ready(slots[slot].seat()?).then_some(slot)
            }
            _ => None,
        }
    }
}

impl State {
    fn restrict<'q>(&self, query: Query<'q>) -> Restriction<'q> {
        let is_here = |slot: &u32| self.slots[*slot].auth.provider == query.provider;
        Restriction {
            provider: query.provider,
            tried: query.tried,
            now: query.now.wall,
            who: match query.pinned {
                None => Who::Anybody,
                Some(id) => {
                    let slot = self.slot(id).filter(is_here);
                    slot.map_or(Who::Nobody, Who::Only)
                }
            },
        }
    }

    fn with_lane<T>(
        &mut self,
        query: Query<'_>,
        work: impl FnOnce(&Slots, &mut QueueView<'_>, &Restriction<'_>) -> Option<T>,
    ) -> Option<T> {
        let now = self.now(query.now);
        let restriction = Restriction {
            now,
            ..self.restrict(query)
        };
        self.picks += 1;
        let slots = &self.slots;
        let pool = self.pools.get_mut(query.provider)?;
        if let Some(mut view) = pool.view(query.model) {
            view.used(slots, self.picks, now);
            return work(slots, &mut view, &restriction);
        }
        if pool.count_serving(query.model) == 0 {
            return None;
        }
        let is_here = |slot: &u32| slots[*slot].auth.provider == query.provider;
        let members = self.troubled.iter().filter(is_here);
        let troubled = members.filter_map(|slot| {
            let record = &slots[slot];
            Some((slot, record.seat()?, record.readiness(query.model, now)))
        });
        pool.build_lane(query.model, slots, troubled);
        self.lanes += 1;
        if self.lanes > MOST_LANES {
            self.lanes -= 1;
            drop_oldest_lane(&mut self.pools, self.picks);
        }
        let mut view = self.pools.get_mut(query.provider)?.view(query.model)?;
        view.used(slots, self.picks, now);
        work(slots, &mut view, &restriction)
    }
}

fn drop_oldest_lane(pools: &mut FastMap<Arc<str>, ProviderIndex>, newest: u64) {
    let oldest = pools
        .iter()
        .flat_map(|(provider, pool)| {
            pool.lanes
                .iter()
                .map(move |(model, lane)| (lane.last_used(), provider, model))
        })
        .filter(|(used, ..)| *used < newest && *used > 0)
        .min_by_key(|(used, ..)| *used)
        .map(|(_, provider, model)| (Arc::clone(provider), Arc::clone(model)));
    if let Some((provider, model)) = oldest
        && let Some(pool) = pools.get_mut(&provider)
    {
        pool.drop_lane(&model);
    }
}

/// Draws for each candidate that is wanted: nearly always enough.
const DRAWS: usize = 2;

/// A lane is a cache of what the records say: dropping one costs a scan when it is needed again.
pub(super) const MOST_LANES: usize = 4096;

/// When the first of these is ready again, if any is. They come in the order in which what makes them unavailable ends; their own limits
/// may last longer.
pub(super) fn first_return(
    returning: impl Iterator<Item = (Timestamp, u32)>,
    slots: &Slots,
    model: &str,
    now: Timestamp,
) -> Option<Timestamp> {
    let mut first = Timestamp::MAX;
    for (at, slot) in returning {
        if at >= first {
            break;
        }
        let returns = slots[slot].returns_at(model, now);
        first = first.min(returns.unwrap_or(at).max(at));
    }
    (first < Timestamp::MAX).then_some(first)
}
