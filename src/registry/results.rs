//! What changes how a credential stands: results, the operator, a second thought.

use std::sync::Arc;

use super::apply::Effect;
use super::{Record, Registry, State, Unsaved, amend, apply};
use crate::Timestamp;
use crate::auth::Auth;

/// What became of a result.
#[derive(Debug)]
pub(crate) enum Applied {
    /// No such record.
    Unknown,
    Known,
    /// The writer must be told of this record.
    Unsaved(Arc<str>),
}

impl Registry {
    /// Applies a result. Says whether the record is known, and whether its store must be told of it and does not yet know
    /// that it must.
    pub(crate) fn apply(
        &self,
        id: &str,
        model: &str,
        effect: &Effect<'_>,
        now: Timestamp,
    ) -> Applied {
        self.change(id, model, |auth| {
            let everywhere = effect.concerns_all_models(auth.outage.is_some());
            apply::apply(auth, model, effect, now);
            everywhere
        })
    }

    /// The operator ends what results have led to, for one model or for all.
    pub(crate) fn reset(&self, id: &str, model: Option<&str>, now: Timestamp) -> Applied {
        self.change(id, model.unwrap_or_default(), |auth| {
            amend::reset(auth, model, now);
            model.is_none()
        })
    }

    /// The operator takes a credential out until then, for one model or for all.
    pub(crate) fn cool_down(
        &self,
        id: &str,
        model: Option<&str>,
        until: Timestamp,
        now: Timestamp,
    ) -> Applied {
        self.change(id, model.unwrap_or_default(), |auth| {
            amend::cool_down(auth, model, until, now);
            model.is_none()
        })
    }

    /// Takes back what the failure of `since` led to, unless something else has happened since.
    pub(crate) fn pardon(
        &self,
        id: &str,
        model: &str,
        since: Timestamp,
        now: Timestamp,
    ) -> Applied {
        self.change(id, model, |auth| {
            amend::pardon(auth, model, since, now);
            false
        })
    }

    /// Changes how a record stands for `model`; `change` says whether the other models are concerned, too.
    fn change(&self, id: &str, model: &str, change: impl FnOnce(&mut Auth) -> bool) -> Applied {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(record) = state.records.get_mut(id) else {
            return Applied::Unknown;
        };
        let was_clean = is_clean(&record.auth, model);
        let everywhere = change(Arc::make_mut(&mut record.auth));
        let is_clean = is_clean(&record.auth, model);
        let news = !(was_clean && is_clean)
            && record.unsaved == Unsaved::Nothing
            && !record.auth.is_runtime_only();
        if news {
            record.unsaved = Unsaved::State;
        }
        let shared = news.then(|| Arc::clone(&record.id));
        state.look_again(id, model, everywhere);
        if !was_clean && is_clean {
            self.waiters.wake();
        }
        shared.map_or(Applied::Known, Applied::Unsaved)
    }
}

impl State {
    /// Puts into the lanes how a record stands by now: in that of `model`, or everywhere.
    pub(super) fn look_again(&mut self, id: &str, model: &str, everywhere: bool) {
        let Some(Record { id, auth, .. }) = self.records.get(id) else {
            return;
        };
        let Some(pool) = self.pools.get_mut(&auth.provider) else {
            return;
        };
        if everywhere {
            pool.update(id, auth);
            return;
        }
        for model in [model, ""] {
            pool.update_lane(model, id, auth);
        }
    }
}

/// Nothing but the time of its last use is worth telling the store.
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
