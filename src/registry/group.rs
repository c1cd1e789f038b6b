//! Limit groups: credentials that share a provider's limit, by the attribute `limit_group`.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::pace::SharedPaces;
use super::record_result::{ApplyResult, Target};
use super::{FastMap, Moment, Registry, State};
use crate::auth::{Auth, BreakerState};
use crate::failure_kind::FailureKind;
use crate::health::Transition;
use crate::policy::Scope;

/// By provider, and by name.
#[derive(Default)]
pub(super) struct Groups(FastMap<Arc<str>, FastMap<Arc<str>, Group>>);

#[derive(Default)]
struct Group {
    members: BTreeSet<u32>,
    /// How fast all of them together may be used.
    paces: SharedPaces,
}

impl Groups {
    fn of(&self, auth: &Auth) -> Option<&Group> {
        self.0.get(&*auth.provider)?.get(name(auth)?)
    }

    fn join(&mut self, auth: &Auth, slot: u32) -> Option<SharedPaces> {
        let name = name(auth)?;
        let groups = self.0.entry(auth.provider.as_str().into()).or_default();
        let group = groups.entry(name.into()).or_default();
        group.members.insert(slot);
        Some(Arc::clone(&group.paces))
    }

    fn leave(&mut self, auth: &Auth, slot: u32) {
        let Some(groups) = self.0.get_mut(&*auth.provider) else {
            return;
        };
        for group in groups.values_mut() {
            group.members.remove(&slot);
        }
        groups.retain(|_, group| !group.members.is_empty());
        if groups.is_empty() {
            self.0.remove(&*auth.provider);
        }
    }
}

fn name(auth: &Auth) -> Option<&str> {
    auth.attributes.filled("limit_group")
}

impl State {
    /// A record becomes a member of the group that it names: the pace of the group is its own.
    pub(super) fn join_group(&mut self, slot: u32) {
        let Some(paces) = self.groups.join(&self.slots[slot].auth, slot) else {
            return;
        };
        if !paces.lock().is_empty() {
            let ahead = self.timeline.ahead();
            let limiter = self.slots[slot].limiter_mut(ahead);
            limiter.set_paces(Some(paces));
        }
    }

    pub(super) fn leave_group(&mut self, slot: u32) {
        let auth = Arc::clone(&self.slots[slot].auth);
        if name(&auth).is_some() {
            self.groups.leave(&auth, slot);
        }
    }

    /// A record may name another group than before.
    pub(super) fn change_group(&mut self, slot: u32, before: &Auth) {
        if name(before) == name(&self.slots[slot].auth) {
            return;
        }
        self.groups.leave(before, slot);
        if let Some(limiter) = &mut self.slots[slot].limiter {
            limiter.forget_learnt();
        }
        self.join_group(slot);
    }

    /// The pace of a group, and its members; `None`: the record is in none.
    pub(super) fn group_of(&self, slot: u32) -> Option<(SharedPaces, Vec<u32>)> {
        let group = self.groups.of(&self.slots[slot].auth)?;
        let members = group.members.iter().copied().collect();
        Some((Arc::clone(&group.paces), members))
    }

    /// The pace of a group has changed for a model.
    pub(super) fn look_at_group(&mut self, slot: u32, model: &str) {
        let (_, members) = self.group_of(slot).unwrap_or_default();
        for other in members.into_iter().filter(|other| *other != slot) {
            self.look_again(other, model, false);
        }
    }
}

impl Registry {
    /// The credentials of a group.
    pub(crate) fn group_members(&self, provider: &str, group: &str) -> Vec<Arc<str>> {
        let state = self.state.lock();
        let members = state.groups.0.get(provider).and_then(|of| of.get(group));
        let members = members.into_iter().flat_map(|group| &group.members);
        members
            .map(|slot| Arc::clone(state.slots[*slot].id()))
            .collect()
    }

    /// A rate limit or a quota of one member of a group holds for the others, and so does the end of one, which a
    /// probe has shown.
    pub(crate) fn apply_to_group(
        &self,
        id: &str,
        model: &str,
        effect: &Transition<'_>,
        moment: Moment,
    ) -> Vec<ApplyResult> {
        let others: Vec<Arc<str>> = {
            let state = self.state.lock();
            let slot = state.slot(id);
            let group = slot.and_then(|slot| state.groups.of(&state.slots[slot].auth));
            let members = group.into_iter().flat_map(|group| &group.members);
            let others = members.map(|other| &state.slots[*other]);
            let concerned = others.filter(|other| {
                &**other.id() != id
                    && match effect {
                        Transition::Failure { verdict, .. } => {
                            verdict.fault.is_shared_limit()
                                && matches!(verdict.scope, Scope::Model | Scope::Credential)
                        }
                        Transition::Success { .. } | Transition::Healthy => {
                            let mut causes = other.causes(model).into_iter().flatten();
                            causes.any(|cause: BreakerState| cause.fault == FailureKind::Quota)
                        }
                    }
            });
            concerned.map(|other| Arc::clone(other.id())).collect()
        };
        let effect = match effect {
            // It says nothing of how the others have fared but that.
            Transition::Success { .. } => &Transition::Healthy,
            effect => effect,
        };
        let told = others.iter().map(|id| {
            let target = Target { id, lease: None };
            self.apply(target, model, effect, moment)
        });
        told.collect()
    }
}
