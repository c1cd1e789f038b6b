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
    /// The lease that it was used with.
    pub(crate) lease: Option<&'a Lease>,
}

/// What became of a result.
#[derive(Debug)]
pub(crate) enum ApplyResult {
    /// No such record.
    Unknown,
    Known,
    /// The writer must be notified of this record.
    Dirty(Arc<str>),
}

impl Registry {
    /// Applies a result. Says whether the record is known, and whether it must be saved and the writer does not yet know
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

    /// Takes over the failures that another process has recorded since. Where that process did not know of those recorded here, the
    /// record must be saved again.
    pub(crate) fn adopt_state(&self, id: &str, stored: &Auth, moment: Moment) -> ApplyResult {
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
    }

    /// Changes a record's state for `model`; `change` says whether the other models are concerned, too.
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
        let everywhere = change(record.change(), now);
        self.keep_pending(record);
        let changed = record.auth.versions != before;
        let applied = if changed {
            record.needs_writing()
        } else {
            ApplyResult::Known
        };
        state.look_again(slot, model, everywhere);
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
}
