//! [`Permit`]: the right to be the one request that tries a credential which is out.

use std::sync::Arc;
use std::time::Duration;

use super::apply::Readiness;
use super::record::Record;
use super::{Picked, Query, Registry};
use crate::Timestamp;
use crate::auth::{Auth, Cause};
use crate::clock::{earlier, later};

/// Keeps others away from a credential for a model, until it is dropped or its time is over.
#[derive(Debug)]
pub(crate) struct Permit {
    registry: Arc<Registry>,
    id: Arc<str>,
    model: String,
    until: Timestamp,
    /// By how much the wall clock had been set back by then.
    set_back: Duration,
}

impl Registry {
    /// The permit to probe a credential that is offered again. `None` when somebody else was faster.
    pub(crate) fn probe(
        self: &Arc<Self>,
        query: Query<'_>,
        id: &str,
        patience: Duration,
    ) -> Option<Permit> {
        let offered = |record: &Record, now| record.readiness(query.model, now) == Readiness::Ready;
        self.take(query, id, |_, now| later(now, patience), offered)
            .map(|(_, permit)| permit)
    }

    /// A credential although it may be out, with the permit to be the only one that asks it. `None` when it is disabled, or
    /// somebody else has the permit.
    pub(crate) fn insist(
        self: &Arc<Self>,
        query: Query<'_>,
        id: &str,
        patience: Duration,
    ) -> Option<(Picked, Permit)> {
        let free = |record: &Record, now| {
            let tried = |cause: &Cause| cause.permit.is_some_and(|permit| permit > now);
            record.readiness(query.model, now) != Readiness::Blocked
                && !record.causes(query.model).iter().flatten().any(tried)
        };
        self.take(query, id, |_, now| later(now, patience), free)
    }

    /// Of the credentials that nothing but a fault of their provider keeps out, the one that is due soonest and that nobody
    /// tries; until it would have returned, nobody else gets it.
    pub(crate) fn floor(
        self: &Arc<Self>,
        query: Query<'_>,
        patience: Duration,
    ) -> Option<(Picked, Permit)> {
        let id = self.with_lane(query, |slots, lane, call| {
            lane.returning()
                .filter(|(_, slot)| call.admits(slots, *slot))
                .find(|(_, slot)| slots[*slot].floor_end(query.model, call.now).is_some())
                .map(|(_, slot)| Arc::clone(slots.id(slot)))
        })?;
        let until = |record: &Record, now| {
            let end = record.floor_end(query.model, now);
            end.unwrap_or(now).max(later(now, patience))
        };
        self.take(query, &id, until, |record, now| {
            record.floor_end(query.model, now).is_some()
        })
    }

    fn take(
        self: &Arc<Self>,
        query: Query<'_>,
        id: &str,
        until: impl FnOnce(&Record, Timestamp) -> Timestamp,
        may: impl FnOnce(&Record, Timestamp) -> bool,
    ) -> Option<(Picked, Permit)> {
        let mut state = self.state.lock();
        let now = state.now(query.now);
        let slot = state.slot(id)?;
        let record = &mut state.slots[slot];
        if !may(record, now) {
            return None;
        }
        let until = until(record, now);
        let picked = record.picked(query.model);
        let auth = record.change();
        let everywhere = auth.outage.is_some();
        for cause in causes(auth, query.model).into_iter().flatten() {
            cause.permit = Some(until);
        }
        state.look_again(slot, query.model, everywhere);
        let permit = Permit {
            registry: Arc::clone(self),
            id: Arc::clone(&picked.member.id),
            model: query.model.to_owned(),
            until,
            set_back: state.timeline.set_back(),
        };
        Some((picked, permit))
    }
}

impl Record {
    /// When its block ends, if nothing but a fault of the provider keeps it out, and nobody tries it.
    fn floor_end(&self, model: &str, now: Timestamp) -> Option<Timestamp> {
        let [Some(own), None] = self.causes(model) else {
            return None;
        };
        let tried = own.permit.is_some_and(|permit| permit > now);
        own.until
            .filter(|end| own.fault.is_transient() && *end > now && !tried)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.registry.state.lock();
        let Some(slot) = state.slot(&self.id) else {
            return;
        };
        let set_back_since = state.timeline.set_back().saturating_sub(self.set_back);
        let auth = state.slots[slot].change();
        let everywhere = auth.outage.is_some();
        let mut held = false;
        let until = earlier(self.until, set_back_since);
        for cause in causes(auth, &self.model).into_iter().flatten() {
            if cause.permit == Some(until) {
                cause.permit = None;
                held = true;
            }
        }
        state.look_again(slot, &self.model, everywhere);
        drop(state);
        if held {
            self.registry.waiters.wake();
        }
    }
}

fn causes<'a>(auth: &'a mut Auth, model: &str) -> [Option<&'a mut Cause>; 2] {
    let own = match auth.model_states.get_mut(model) {
        Some(state) => state.cause.as_mut(),
        None => auth.cause.as_mut().filter(|_| model.is_empty()),
    };
    [own, auth.outage.as_mut()]
}
