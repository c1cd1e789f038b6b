//! Records changes of health: results, the operator's commands, pardons.

use std::sync::Arc;
use std::time::Duration;

use super::record::Record;
use super::{Dirty, Lease, Moment, Registry, State};
use crate::auth::Auth;
use crate::clock::{Timestamp, later};
use crate::health::merge::merge;
use crate::health::{Transition, operator, transition};

/// Whose result it is.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) id: &'a str,
    /// The lease that it was used with, by who has it.
    pub(crate) lease: Option<&'a Lease>,
}

/// What became of a result.
#[derive(Debug)]
pub(crate) enum ApplyResult {
    /// No such record.
    Unknown,
    Known,
    /// The writer must be told of this record.
    Dirty(Arc<str>),
}

impl Registry {
    /// Applies a result. Says whether the record is known, and whether its store must be told of it and does not yet know
    /// that it must.
    pub(crate) fn apply(
        &self,
        target: Target<'_>,
        model: &str,
        effect: &Transition<'_>,
        moment: Moment,
    ) -> ApplyResult {
        let now = moment.wall;
        if matches!(effect, Transition::Success { .. }) {
            let member = target.lease.map(Lease::member);
            if member.is_some_and(|member| member.serves_again(model, now)) {
                return ApplyResult::Known;
            }
            let state = self.state.lock();
            let Some(member) = state.by_id.get(target.id) else {
                return ApplyResult::Unknown;
            };
            if member.serves_again(model, now) {
                return ApplyResult::Known;
            }
            let provider = &*state.slots[member.slot].auth.provider;
            if member.serves(state.shared_model(provider, model), now) {
                return ApplyResult::Known;
            }
        }
        self.change(target.id, model, moment, |auth, now| {
            let everywhere = effect.concerns_all_models(auth.is_out_as_a_whole());
            transition::apply(auth, model, effect, now);
            everywhere
        })
    }

    /// The operator ends what results have led to, for one model or for all.
    pub(crate) fn reset(&self, id: &str, model: Option<&str>, moment: Moment) -> ApplyResult {
        self.change(id, model.unwrap_or_default(), moment, |auth, now| {
            operator::reset(auth, model, now);
            model.is_none()
        })
    }

    /// Ends what former settings of a credential were refused for.
    pub(crate) fn forget_refusals(&self, id: &str, moment: Moment) -> ApplyResult {
        self.change(id, "", moment, |auth, now| {
            operator::forget_refusals(auth, now);
            true
        })
    }

    /// The operator takes a credential out for so long, for one model or for all.
    pub(crate) fn cool_down(
        &self,
        id: &str,
        model: Option<&str>,
        time: Duration,
        moment: Moment,
    ) -> ApplyResult {
        self.change(id, model.unwrap_or_default(), moment, |auth, now| {
            operator::cool_down(auth, model, later(now, time), now);
            model.is_none()
        })
    }

    /// Takes back what the failure of `since` led to, unless something else has happened since.
    pub(crate) fn pardon(
        &self,
        id: &str,
        model: &str,
        since: Timestamp,
        moment: Moment,
    ) -> ApplyResult {
        self.change(id, model, moment, |auth, now| {
            operator::pardon(auth, model, since, now);
            false
        })
    }

    /// Takes over what another process has met with a credential since. Where that process did not know what was met here, the
    /// store must be told again.
    pub(crate) fn adopt_state(&self, id: &str, stored: &Auth, moment: Moment) -> ApplyResult {
        let applied = {
            let mut state = self.state.lock();
            let now = state.now(moment);
            let Some(slot) = state.slot(id) else {
                return ApplyResult::Unknown;
            };
            let record = &mut state.slots[slot];
            let applied = if merge(record.change(), stored, now).ahead {
                record.needs_writing()
            } else {
                ApplyResult::Known
            };
            state.look_again(slot, "", true);
            applied
        };
        self.waiters.wake();
        applied
    }

    /// Changes how a record stands for `model`; `change` says whether the other models are concerned, too.
    fn change(
        &self,
        id: &str,
        model: &str,
        moment: Moment,
        change: impl FnOnce(&mut Auth, Timestamp) -> bool,
    ) -> ApplyResult {
        let mut state = self.state.lock();
        let state = &mut *state;
        let now = state.now(moment);
        let Some(slot) = state.slot(id) else {
            return ApplyResult::Unknown;
        };
        let record = &mut state.slots[slot];
        let before = record.auth.versions;
        let was_clean = is_clean(&record.auth, model);
        let was_returning = record.auth.is_returning();
        let was_pending = record.is_pending();
        let everywhere = change(record.change(), now);
        let everywhere = everywhere || record.is_pending() != was_pending;
        let changed = record.auth.versions != before;
        let is_clean = is_clean(&record.auth, model);
        let applied = if changed {
            record.needs_writing()
        } else {
            ApplyResult::Known
        };
        state.look_again(slot, model, everywhere);
        if is_clean && (!was_clean || was_returning) {
            self.waiters.wake();
        }
        applied
    }
}

impl Record {
    /// The store lacks something of its state.
    fn needs_writing(&mut self) -> ApplyResult {
        if self.unsaved != Dirty::Nothing || self.auth.is_runtime_only() {
            return ApplyResult::Known;
        }
        self.unsaved = Dirty::State;
        ApplyResult::Dirty(Arc::clone(self.id()))
    }
}

impl State {
    /// A model's name, shared with its lane where there is one.
    pub(super) fn shared_model(&self, provider: &str, model: &str) -> Arc<str> {
        let pool = self.pools.get(provider);
        let lane = pool.and_then(|pool| pool.lanes.get_key_value(model));
        lane.map_or_else(|| model.into(), |(model, _)| Arc::clone(model))
    }

    /// Puts into the lanes how a record stands by now: in that of `model`, or everywhere.
    pub(super) fn look_again(&mut self, slot: u32, model: &str, everywhere: bool) {
        let forgotten = self.note_trouble(slot);
        let now = self.timeline.latest();
        let record = &self.slots[slot];
        let Some(seat) = record.seat() else {
            return;
        };
        let Some(pool) = self.pools.get_mut(&*record.auth.provider) else {
            return;
        };
        if everywhere {
            pool.set_everywhere(slot, seat, |model| record.readiness(model, now));
            return;
        }
        let forgotten = forgotten.iter().map(String::as_str);
        for model in [model, ""].into_iter().chain(forgotten) {
            pool.set(model, slot, seat, record.readiness(model, now));
        }
    }
}

/// Nothing keeps it from serving, and it shows no error.
fn is_clean(auth: &Auth, model: &str) -> bool {
    auth.last_error.is_none()
        && !auth.unavailable
        && !auth.quota.exceeded
        && auth.status_message.is_empty()
        && auth.outage.is_none()
        && (model.is_empty()
            || auth.model_states.get(model).is_none_or(|state| {
                state.last_error.is_none() && !state.unavailable && state.cause.is_none()
            }))
}
