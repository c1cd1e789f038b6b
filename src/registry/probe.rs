//! The guard of a probe: one of the few requests that a half-open circuit, or an exhausted quota, admits.

use std::sync::Arc;
use std::time::Duration;

use super::record::Record;
use super::{Picked, Query, Registry, State};
use crate::auth::{Auth, BreakerState, HalfOpen};
use crate::clock::{Timestamp, later};
use crate::failure_kind::CooldownSource;
use crate::health::Readiness;

/// Keeps others away from a credential for a model, as far as its [`HalfOpen`] state says, until it is dropped or its patience
/// is over.
pub(crate) struct ProbeGuard {
    registry: Arc<Registry>,
    id: Arc<str>,
    model: String,
    number: u64,
}

impl Registry {
    /// The permit to probe a credential that is offered again. `None` when another call was faster.
    pub(crate) fn probe(
        self: &Arc<Self>,
        query: Query<'_>,
        picked: &Picked,
        patience: Duration,
    ) -> Option<ProbeGuard> {
        self.take(query, &picked.member.id, |record, now| {
            let offered = match record.readiness(query.model, now) {
                Readiness::Ready => true,
                Readiness::Paced(_) | Readiness::Capped(_) => picked.hurried,
                _ => false,
            };
            offered.then(|| later(now, patience))
        })
        .map(|(_, permit)| permit)
    }

    /// A credential, even one that is unavailable, with the permit to probe it. `None` when it is disabled, or all its permits are taken.
    pub(crate) fn insist(
        self: &Arc<Self>,
        query: Query<'_>,
        id: &str,
        patience: Duration,
    ) -> Option<(Picked, ProbeGuard)> {
        self.take(query, id, |record, now| {
            let blocked = record.readiness(query.model, now) == Readiness::Blocked;
            let model = record.sent_as(query.model)?;
            let full = record.half_open(model).any(|half| half.is_full(now));
            (!blocked && !full).then(|| later(now, patience))
        })
    }

    /// Of the credentials that are cooling down for nothing but a fault of their provider, the one that is due soonest and that no call
    /// probes; until its cooldown would have ended, no other call gets it.
    pub(crate) fn floor(
        self: &Arc<Self>,
        query: Query<'_>,
        patience: Duration,
    ) -> Option<(Picked, ProbeGuard)> {
        let id = self.with_lane(query, |slots, lane, call| {
            lane.returning()
                .filter(|(_, slot)| call.admits(slots, *slot))
                .find(|(_, slot)| slots[*slot].floor_end(query.model, call.now).is_some())
                .map(|(_, slot)| Arc::clone(slots.id(slot)))
        })?;
        self.take(query, &id, |record, now| {
            let end = record.floor_end(query.model, now)?;
            Some(end.max(later(now, patience)))
        })
    }

    /// A permit until then, if there is one to be had.
    fn take(
        self: &Arc<Self>,
        query: Query<'_>,
        id: &str,
        until: impl FnOnce(&Record, Timestamp) -> Option<Timestamp>,
    ) -> Option<(Picked, ProbeGuard)> {
        let mut state = self.state.lock();
        let now = state.now(query.now);
        let slot = state.slot(id)?;
        let until = until(&state.slots[slot], now)?;
        let picked = state.slots[slot].picked(query.model);
        let model = picked.sent_as.as_deref().unwrap_or(query.model);
        state.permits += 1;
        let number = state.permits;
        state.probing(slot, model, |cause, half_open| {
            if cause.is_some() || half_open.needs_permit(cause) {
                half_open.begin(number, until, now);
            }
        });
        let permit = ProbeGuard {
            registry: Arc::clone(self),
            id: Arc::clone(&picked.member.id),
            model: model.to_owned(),
            number,
        };
        Some((picked, permit))
    }
}

impl State {
    /// Changes how a model, and the whole credential, return.
    fn probing(
        &mut self,
        slot: u32,
        model: &str,
        mut change: impl FnMut(Option<BreakerState>, &mut HalfOpen),
    ) {
        let auth = self.slots[slot].change();
        let everywhere = auth.is_out_as_a_whole();
        change(auth.outage, &mut auth.outage_half_open);
        if let Some((cause, half_open)) = own(auth, model) {
            change(cause, half_open);
        }
        self.look_again(slot, model, everywhere);
    }
}

impl Record {
    /// When its cooldown ends, if that is for nothing but a fault of the provider, and no call probes the credential.
    fn floor_end(&self, asked: &str, now: Timestamp) -> Option<Timestamp> {
        let model = self.sent_as(asked)?;
        let [Some(own), None] = self.causes(model) else {
            return None;
        };
        let tried = self.half_open(model).any(|half| half.is_full(now));
        let fit = self.auth.misconfigured.is_none();
        // The server has said when to come again.
        let told = matches!(own.origin, CooldownSource::Header | CooldownSource::Body)
            || own.told_until.is_some_and(|at| at > now);
        own.until
            .filter(|end| fit && !told && own.fault.is_transient() && *end > now && !tried)
    }
}

impl Drop for ProbeGuard {
    fn drop(&mut self) {
        let mut state = self.registry.state.lock();
        let Some(slot) = state.slot(&self.id) else {
            return;
        };
        state.probing(slot, &self.model, |_, half_open| {
            half_open.end(self.number);
        });
    }
}

/// What there is of one model: for the empty one, of calls without a model.
fn own<'a>(auth: &'a mut Auth, model: &str) -> Option<(Option<BreakerState>, &'a mut HalfOpen)> {
    match auth.model_states.get_mut(model) {
        Some(state) => Some((state.cause, &mut state.half_open)),
        None if model.is_empty() => Some((auth.cause, &mut auth.half_open)),
        None => None,
    }
}
