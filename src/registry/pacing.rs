//! What teaches the registry the pace of a credential.

use std::sync::Arc;
use std::time::Duration;

use super::pace::{Paces, SharedPaces};
use super::results::Target;
use super::{Lease, Moment, Registry, State};
use crate::Timestamp;

impl Registry {
    /// A credential was refused for its rate: from here on its starts for the model are spaced as the upstream allows them. `told` is when it
    /// may be used next, as the server says. It holds for its group.
    pub(crate) fn pace_down(
        &self,
        target: Target<'_>,
        model: &str,
        told: Option<Duration>,
        moment: Moment,
    ) {
        let start = target.lease.and_then(Lease::start);
        self.pace(target.id, model, moment, |paces, model, now, _| {
            paces.refuse(model, start, told, now);
        });
    }

    /// An answer that was served has told that nothing is left until then: calls that can wait use the credential no earlier, as far as that
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
            state.look_again(member, model, false);
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
