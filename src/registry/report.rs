//! Reports of availability, for `explain` and for exhaustion.

use std::sync::Arc;

use super::pick::first_return;
use super::record::Record;
use super::{Moment, Query, Registry};
use crate::auth::{Auth, BreakerState, ModelState, Status};
use crate::clock::Timestamp;
use crate::error::{Availability, CredentialReport};
use crate::failure_kind::FailureKind;
use crate::health::Readiness;

/// The credentials that are unavailable for a model, when none is ready.
#[derive(Debug, Default)]
pub(crate) struct ExhaustionReport {
    /// Those that return soonest first.
    pub(crate) standings: Vec<CredentialReport>,
    pub(crate) omitted: usize,
    pub(crate) earliest: Option<Timestamp>,
    /// How many are unavailable, by failure kind.
    pub(crate) faults: Vec<(FailureKind, usize)>,
}

/// A provider, a name in a list of one of its credentials, and, of an alias, the vendor's name.
pub(crate) type ListedModel = (Arc<str>, Arc<str>, Option<Arc<str>>);

impl Registry {
    /// The availability of every credential of a provider for a model, in the order of ids.
    pub(crate) fn explain(
        &self,
        provider: &str,
        model: &str,
        moment: Moment,
    ) -> Vec<CredentialReport> {
        let mut standings: Vec<_> = {
            let mut state = self.state.lock();
            let now = state.now(moment);
            let all = state.slots.iter();
            all.filter(|record| record.auth.provider == provider)
                .map(|record| record.standing(provider.into(), model, now))
                .collect()
        };
        standings.sort_unstable_by(|one, other| one.auth_id.cmp(&other.auth_id));
        standings
    }

    /// How many credentials of a provider serve a model, and how many of these are ready. This looks at all of them.
    pub(crate) fn count_ready(
        &self,
        provider: &str,
        model: &str,
        moment: Moment,
    ) -> (usize, usize) {
        let mut state = self.state.lock();
        let now = state.now(moment);
        let Some(pool) = state.pools.get(provider) else {
            return (0, 0);
        };
        let members = pool.members().map(|slot| &state.slots[slot]);
        let is_ready = |record: &&Record| record.readiness(model, now) == Readiness::Ready;
        (pool.count_serving(model), members.filter(is_ready).count())
    }

    /// The names that lists of models have.
    pub(crate) fn listed_models(&self) -> Vec<ListedModel> {
        let state = self.state.lock();
        let lists = state.pools.iter().flat_map(|(provider, pool)| {
            pool.lists().flat_map(move |list| {
                let names = list.names();
                names.map(move |name| {
                    (
                        Arc::clone(provider),
                        Arc::clone(name),
                        list.alias(name).cloned(),
                    )
                })
            })
        });
        lists.collect()
    }

    /// Whether any credential of a provider has served a model and does not fail for it now.
    pub(crate) fn has_served(&self, provider: &str, model: &str) -> bool {
        let state = self.state.lock();
        let mut of_provider = state
            .slots
            .iter()
            .filter(|record| record.auth.provider == provider);
        of_provider.any(|record| {
            let serves = |state: &ModelState| state.last_error.is_none();
            record
                .snapshot()
                .model_states
                .get(model)
                .is_some_and(serves)
        })
    }

    /// Why a pick finds no credential: at most `most` credentials one by one, all of them in numbers, with those that were tried.
    pub(crate) fn shortage(&self, query: Query<'_>, most: usize) -> ExhaustionReport {
        let provider: Arc<str> = query.provider.into();
        self.with_lane(query, |slots, lane, call| {
            let admitted = || lane.returning().filter(|(_, slot)| call.is_about(*slot));
            let listed: Vec<_> = admitted()
                .take(most)
                .map(|(_, slot)| &slots[slot])
                .map(|record| record.standing(Arc::clone(&provider), query.model, call.now))
                .collect();
            let (total, faults) = match query.pinned {
                Some(_) => {
                    let fault = listed.first().and_then(|standing| standing.fault);
                    let faults = fault.map(|fault| (fault, 1)).into_iter().collect();
                    (listed.len(), faults)
                }
                None => (lane.out_len(), lane.faults().collect()),
            };
            Some(ExhaustionReport {
                omitted: total - listed.len(),
                earliest: first_return(admitted(), slots, query.model, call.now),
                faults,
                standings: listed,
            })
        })
        .unwrap_or_default()
    }
}

impl Record {
    pub(super) fn standing(
        &self,
        provider: Arc<str>,
        asked: &str,
        now: Timestamp,
    ) -> CredentialReport {
        let auth = &*self.auth;
        let serves = self.sent_as(asked);
        let model = serves.unwrap_or(asked);
        let error = match auth.model_states.get(model) {
            Some(state) => state.last_error.as_ref(),
            None => auth.last_error.as_ref().filter(|_| model.is_empty()),
        };
        let [own, outage] = self.causes(model);
        let readiness = self.readiness(asked, now);
        let out_for = match readiness {
            Readiness::Until(at, fault) if at > now => Some(fault),
            _ => None,
        };
        // What has ended makes nothing unavailable.
        let counts =
            |cause: &BreakerState| out_for.is_none() || cause.until.is_none_or(|end| end > now);
        let cause = decisive(own, outage).filter(counts);
        let busy = match readiness {
            Readiness::Full(at) | Readiness::Paced(at) | Readiness::Capped(at) => Some(at),
            _ => None,
        };
        let (availability, until) = match self.health(model) {
            Readiness::Blocked if auth.disabled || auth.status == Status::Disabled => {
                (Availability::Disabled, None)
            }
            _ if serves.is_none() => (Availability::NotServed, None),
            _ if self.is_pending() && !auth.disabled => (Availability::Pending, None),
            Readiness::Blocked => (Availability::Disabled, None),
            _ if auth.misconfigured.is_some() => (Availability::Misconfigured, None),
            _ if self.half_open(model).any(|half| half.is_full(now)) => {
                (Availability::Probing, end(auth, model, cause))
            }
            // Until a new token comes, where it has none, whatever else keeps it out.
            Readiness::Until(at, _) if at > now && auth.awaits_token < Some(at) => {
                let until = end(auth, model, cause).max(Some(at));
                (
                    Availability::Cooling,
                    until.max(self.returns_at(asked, now)),
                )
            }
            _ if busy.is_some() => (Availability::Busy, busy.filter(|at| *at < Timestamp::MAX)),
            _ if auth.awaits_token.is_some_and(|at| at > now) || auth.lacks_token(now) => {
                let at = auth.awaits_token.filter(|at| *at < Timestamp::MAX);
                (Availability::Refreshing, at)
            }
            _ if cause.is_some() && self.needs_permit(model) => {
                (Availability::Probe, end(auth, model, cause))
            }
            _ => (Availability::Ready, None),
        };
        let refreshing = availability == Availability::Refreshing;
        let whole = outage.is_some() || refreshing;
        let error = error.or(auth.last_error.as_ref().filter(|_| whole));
        let misconfigured = auth.misconfigured.as_deref();
        let cause = cause.filter(|_| misconfigured.is_none());
        CredentialReport {
            auth_id: Arc::clone(self.id()),
            provider,
            model: asked.into(),
            sent_as: serves.filter(|model| *model != asked).map(Into::into),
            availability,
            fault: if misconfigured.is_some() {
                Some(FailureKind::Misconfigured)
            } else if refreshing {
                Some(FailureKind::TokenEnded)
            } else {
                cause.map(|cause| cause.fault).or(out_for)
            },
            origin: cause.map(|cause| cause.origin),
            failures: cause.map_or(0, |cause| cause.failures),
            until,
            remaining: until
                .filter(|until| *until > now && *until < Timestamp::MAX)
                .map(|at| crate::clock::until(now, at)),
            probe_at: cause.and_then(|cause| cause.probe_at),
            error: misconfigured.or(error).cloned(),
        }
    }
}

/// Of what makes the model unavailable and what makes the whole credential so, the one that lasts longer.
fn decisive(own: Option<BreakerState>, outage: Option<BreakerState>) -> Option<BreakerState> {
    let causes = own.into_iter().chain(outage);
    causes.max_by_key(|cause| cause.until)
}

/// The end of the block, of which a record that came without a cause shows only its own.
fn end(auth: &Auth, model: &str, cause: Option<BreakerState>) -> Option<Timestamp> {
    let visible = match auth.model_states.get(model) {
        Some(state) => state.next_retry_after,
        None if model.is_empty() => auth.next_retry_after,
        None => None,
    };
    visible.max(cause.and_then(|cause| cause.until))
}
