//! Teaches the registry the pace of a credential, from its refusals.

use std::sync::Arc;
use std::time::Duration;

use super::pace::{Paces, SharedPaces};
use super::rate_limiter::Granted;
use super::record_result::Target;
use super::{Lease, Moment, Registry, State};
use crate::clock::Timestamp;

impl Registry {
    /// A credential was refused for its rate: from here on its starts for the model are spaced as the upstream allows them. `told` is when
    /// it may be used next, as the server says. It holds for its group.
    pub(crate) fn pace_down(
        self: &Arc<Self>,
        target: Target<'_>,
        model: &str,
        told: Option<Duration>,
        moment: Moment,
    ) {
        let granted = target.lease.and_then(Lease::granted);
        let start = granted.and_then(Granted::start);
        if let Some(lease) = target.lease
            && self.is_explained_by_cap(lease, model, told, moment)
        {
            return;
        }
        self.pace(target.id, model, moment, |paces, model, now, _| {
            paces.refuse(model, start, told, now);
        });
    }

    /// Whether a refusal is for what was in flight: then it says nothing of the pace. Of a group it is not known what else is.
    fn is_explained_by_cap(
        self: &Arc<Self>,
        lease: &Lease,
        model: &str,
        told: Option<Duration>,
        moment: Moment,
    ) -> bool {
        let member = lease.member();
        let mut state = self.state.lock();
        let now = state.now(moment);
        let ahead = state.timeline.ahead();
        if state.slots.of_mut(member).is_none() || state.group_of(member.slot).is_some() {
            return false;
        }
        let auth = Arc::clone(&state.slots[member.slot].auth);
        let shared_model = state.shared_model(&auth.provider, model);
        let limiter = state.slots[member.slot].limiter_mut(ahead);
        member.watch(self);
        let learning = limiter.refuse(lease, shared_model, told, now);
        let everywhere = limiter.concerns_all_models() || learning.concerns_all_models;
        state.look_again(member.slot, model, everywhere);
        learning.is_explained
    }

    /// A successful answer said that nothing is left until then: calls that can wait use the credential no earlier, as far as that
    /// is within two minutes. It holds for its group.
    pub(crate) fn hold(&self, id: &str, model: &str, until: Timestamp, moment: Moment) {
        self.pace(id, model, moment, |paces, model, now, ahead| {
            paces.hold(model, until.saturating_sub(ahead), now);
        });
    }

    fn pace(
        &self,
        id: &str,
        model: &str,
        moment: Moment,
        learn: impl FnOnce(&mut Paces, Arc<str>, Timestamp, time::Duration),
    ) {
        let mut state = self.state.lock();
        let now = state.now(moment);
        let Some(slot) = state.slot(id) else {
            return;
        };
        let ahead = state.timeline.ahead();
        let shared_model = state.shared_model(&state.slots[slot].auth.provider, model);
        let (paces, members) = state.paces_of(slot);
        learn(
            &mut paces.lock(),
            shared_model,
            now.saturating_sub(ahead),
            ahead,
        );
        for member in members {
            let limiter = state.slots[member].limiter_mut(ahead);
            limiter.set_paces(Some(Arc::clone(&paces)));
            let everywhere = limiter.concerns_all_models();
            state.look_again(member, model, everywhere);
        }
    }
}

impl State {
    /// The paces of a record, and whose they are.
    fn paces_of(&self, slot: u32) -> (SharedPaces, Vec<u32>) {
        self.group_of(slot).unwrap_or_else(|| {
            let limiter = self.slots[slot].limiter.as_ref();
            let paces = limiter.and_then(|limiter| limiter.paces());
            (paces.map(Arc::clone).unwrap_or_default(), vec![slot])
        })
    }
}

#[cfg(test)]
mod tests;
