//! [`Lease`]: a credential in use by one attempt, released on drop.

use std::sync::Arc;

use super::rate_limiter::{End, Granted, Use};
use super::shared::SharedState;
use super::{Picked, Query, Registry};
use crate::auth::Auth;
use crate::health::Readiness;

/// One use of a credential, from its pick to the end of the attempt or of the stream. Dropping it ends it.
pub(crate) struct Lease {
    member: Arc<SharedState>,
    /// The failure epoch of the credential by then.
    knows: u32,
    /// It is counted among what its provider has in flight.
    counted: bool,
    /// What it takes of the credential's limits, where it has any.
    share: Option<Box<Share>>,
}

struct Share {
    registry: Arc<Registry>,
    model: Arc<str>,
    granted: Granted,
    end: End,
}

impl Registry {
    /// How many requests are in flight with all credentials of a provider, of those that began since the first call of this.
    pub(crate) fn in_flight(&self, provider: &str) -> u32 {
        let state = self.state.lock();
        let in_flight = state.in_flight.get(provider);
        in_flight.map_or(0, |in_flight| in_flight.count())
    }

    /// The use of a credential that was picked, and the credential; for a request of about so many tokens. `None`: its limits do
    /// not allow it now, and it is no candidate until they do.
    pub(crate) fn lease(
        self: &Arc<Self>,
        query: Query<'_>,
        picked: Picked,
        tokens: u64,
    ) -> Option<(Lease, Arc<Auth>)> {
        let Picked {
            member,
            auth,
            sent_as,
            ..
        } = picked;
        let model = sent_as.as_deref().unwrap_or(query.model);
        let knows = auth.setbacks;
        if !picked.limited {
            return Some((Lease::new(member, knows, None), auth));
        }
        let mut state = self.state.lock();
        let now = state.now(query.now);
        let ahead = state.timeline.ahead();
        // If it was removed meanwhile, what is under way with it comes to its end.
        let record = state.slots.of_mut(&member);
        let dropped = record.is_some_and(|record| record.drop_idle_limiter(now));
        if dropped {
            state.look_again(member.slot, "", true);
        }
        let model = state.shared_model(query.provider, model);
        let record = state.slots.of_mut(&member);
        let Some(limiter) = record.and_then(|record| record.limiter.as_mut()) else {
            return Some((Lease::new(member, knows, None), auth));
        };
        limiter.set_ahead(ahead);
        let recounted = limiter.recount(&member);
        let wanted = Use {
            model: &model,
            tokens,
            hurried: picked.hurried,
        };
        let granted = limiter.take(wanted, now);
        let everywhere = limiter.concerns_all_models() || recounted;
        let is_paced = granted
            .as_ref()
            .is_some_and(|granted| granted.start().is_some());
        let is_as_before =
            granted.is_some() && !everywhere && limiter.readiness(&model, now) == Readiness::Ready;
        if !is_as_before {
            state.look_again(member.slot, &model, everywhere);
        }
        if is_paced {
            state.look_at_group(member.slot, &model);
        }
        let granted = granted?;
        drop(state);
        let share = Share {
            registry: Arc::clone(self),
            model,
            granted,
            end: End::Used(None),
        };
        Some((Lease::new(member, knows, Some(Box::new(share))), auth))
    }
}

impl Registry {
    /// A request has ended that was not counted.
    fn recount(&self, member: &SharedState) {
        let mut state = self.state.lock();
        let Some(record) = state.slots.of_mut(member) else {
            return;
        };
        let Some(limiter) = &mut record.limiter else {
            member.unwatch();
            return;
        };
        if !limiter.recount(member) {
            return;
        }
        state.look_again(member.slot, "", true);
    }
}

impl Lease {
    fn new(member: Arc<SharedState>, knows: u32, share: Option<Box<Share>>) -> Self {
        let counted = member.begin();
        Self {
            member,
            knows,
            counted,
            share,
        }
    }

    /// Whose it is.
    pub(crate) fn id(&self) -> &Arc<str> {
        &self.member.id
    }

    pub(crate) fn member(&self) -> &Arc<SharedState> {
        &self.member
    }

    /// The failure epoch of the credential when it was picked.
    pub(crate) fn knows(&self) -> u32 {
        self.knows
    }

    /// How many tokens the request really used; it was reckoned with a guess until now.
    pub(crate) fn settle(&mut self, used: u64) {
        if let Some(share) = &mut self.share {
            share.end = End::Used(Some(used));
        }
    }

    /// Nothing was sent: dropping it undoes it whole.
    pub(crate) fn unsent(&mut self) {
        if let Some(share) = &mut self.share {
            share.end = End::Unsent;
        }
    }

    /// What was granted of the credential's limits, where it has any.
    pub(super) fn granted(&self) -> Option<&Granted> {
        self.share.as_ref().map(|share| &share.granted)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.member.end(self.counted);
        let Some(share) = self.share.take() else {
            if let Some(registry) = self.member.watcher() {
                registry.recount(&self.member);
            }
            return;
        };
        let mut state = share.registry.state.lock();
        let now = state.timeline.latest();
        let Some(record) = state.slots.of_mut(&self.member) else {
            return;
        };
        let Some(limiter) = &mut record.limiter else {
            return;
        };
        let has_room = limiter.give_back(&share.model, &share.granted, share.end, now);
        let recounted = limiter.recount(&self.member);
        let everywhere = limiter.concerns_all_models() || recounted;
        if !has_room && !everywhere {
            return;
        }
        let slot = self.member.slot;
        state.look_again(slot, &share.model, everywhere);
        if share.end == End::Unsent && share.granted.start().is_some() {
            state.look_at_group(slot, &share.model);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::shared::InFlight;

    #[test]
    fn leases_are_counted_until_they_are_dropped() {
        let of_provider = Arc::<InFlight>::default();
        let member = Arc::new(SharedState::new(
            "a".into(),
            0,
            Arc::clone(&of_provider),
            Arc::default(),
        ));
        let lease = || Lease::new(Arc::clone(&member), 0, None);
        let before = lease();
        assert_eq!(of_provider.count(), 0, "nobody had asked");
        let leases = [lease(), lease()];
        assert_eq!((member.in_flight(), of_provider.count()), (3, 2));
        drop(before);
        assert_eq!((member.in_flight(), of_provider.count()), (2, 2));
        drop(leases);
        assert_eq!((member.in_flight(), of_provider.count()), (0, 0));
    }
}
