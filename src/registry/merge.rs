//! What several processes have met with one credential, put together. Pure.
//!
//! For each model, and for the credential as a whole, the last change counts: a failure, or what ended one. A success that ended
//! nothing is no change: it knows nothing of what another process had met before it.

use crate::Timestamp;
use crate::auth::{Auth, ModelState, Status};

use super::apply::{MOST_MODELS, clear_if_well, derive, keep_out};
use super::member::{is_calm_by_itself, is_calm_model};

/// What came of putting together what is known here and what the store knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Merged {
    /// Something was new here.
    pub(super) learned: bool,
    /// Something is new for the store: another process has written over it before it knew.
    pub(super) ahead: bool,
}

/// What counts as a change: where nobody has kept what was over, any use does, and nothing is told again.
#[derive(Clone, Copy)]
struct Rule {
    any_use: bool,
}

/// Takes over what the store knows and `auth` does not. Nothing that ends later than any cooldown may is believed.
pub(super) fn merge(auth: &mut Auth, stored: &Auth, now: Timestamp) -> Merged {
    let mut stored = stored.clone();
    stored.restore(now);
    let rule = Rule {
        any_use: stored.recoveries_unknown,
    };
    let mut merged = Merged::default();
    let disabled = auth.disabled || auth.status == Status::Disabled;
    let without_models = auth.model_states.is_empty() && stored.model_states.is_empty();
    let last_use = auth.updated_at.max(stored.updated_at);

    rule.merge_models(auth, &mut stored, &mut merged);
    let outages = [&*auth, &stored].map(|auth| rule.outage_changed_at(auth));
    let own = [&*auth, &stored].map(|auth| rule.changed_at(auth));
    if merged.takes(outages) {
        // A failure does not end what the operator has said.
        let kept = auth.outage.filter(|outage| outage.is_operators(now));
        auth.outage = stored.outage.and_then(|theirs| kept.or(Some(theirs)));
    }
    // Models speak for themselves.
    if own[1] > own[0] {
        auth.cause = stored.cause;
        auth.unavailable = stored.unavailable;
        auth.next_retry_after = stored.next_retry_after;
        auth.quota = stored.quota;
        auth.last_error = stored.last_error;
        auth.status_message = stored.status_message;
        auth.status = stored.status;
    }
    if without_models {
        merged.takes(own);
    } else if merged.learned {
        derive(auth, now);
        clear_if_well(auth, now);
    }
    if merged.learned {
        // What is under way says nothing of it.
        auth.setbacks = auth.setbacks.saturating_add(1);
        auth.learned = auth.setbacks;
    }
    keep_out(auth, now);
    auth.recovered_at = auth.recovered_at.max(stored.recovered_at);
    auth.updated_at = last_use;
    if disabled {
        auth.status = Status::Disabled;
    } else if auth.status == Status::Disabled {
        auth.status = Status::Active;
    }
    merged.ahead &= !rule.any_use;
    merged
}

impl Rule {
    fn merge_models(self, auth: &mut Auth, stored: &mut Auth, merged: &mut Merged) {
        merged.ahead |= auth.model_states.iter().any(|(model, ours)| {
            !stored.model_states.contains_key(model) && self.model_changed_at(ours).is_some()
        });
        for (model, theirs) in std::mem::take(&mut stored.model_states) {
            let is_full = auth.model_states.len() >= MOST_MODELS;
            let their_change = self.model_changed_at(&theirs);
            match auth.model_states.get_mut(&model) {
                Some(ours) if merged.takes([self.model_changed_at(ours), their_change]) => {
                    *ours = theirs;
                }
                Some(ours) if is_calm_model(ours) => {
                    ours.updated_at = ours.updated_at.max(theirs.updated_at);
                }
                None if !is_full => {
                    merged.learned |= their_change.is_some();
                    auth.model_states.insert(model, theirs);
                }
                Some(_) | None => {}
            }
        }
    }

    /// When a model last failed, or came back.
    fn model_changed_at(self, state: &ModelState) -> Option<Timestamp> {
        if is_calm_model(state) && !self.any_use {
            state.recovered_at
        } else {
            state.updated_at
        }
    }

    fn outage_changed_at(self, auth: &Auth) -> Option<Timestamp> {
        let used_at = auth.updated_at.filter(|_| self.any_use);
        let since = auth.outage.map(|outage| outage.since);
        since.max(auth.recovered_at).max(used_at)
    }

    fn changed_at(self, auth: &Auth) -> Option<Timestamp> {
        if is_calm_by_itself(auth) && !self.any_use {
            auth.recovered_at
        } else {
            auth.updated_at
        }
    }
}

impl Merged {
    /// Whether theirs is news here; notes, too, where ours is news there.
    fn takes(&mut self, [ours, theirs]: [Option<Timestamp>; 2]) -> bool {
        self.learned |= theirs > ours;
        self.ahead |= ours > theirs;
        theirs > ours
    }
}
