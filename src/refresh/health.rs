//! The health report of all refreshes.

use super::coordinator::RefreshCoordinator;
use crate::observe::{DeferredRefresh, RefreshHealth};
use crate::registry::release;

impl RefreshCoordinator {
    /// Health of the refreshes.
    pub(crate) fn health(&self) -> RefreshHealth {
        let mut health = RefreshHealth {
            unpersisted_rotation: self.pending_saves.ids(),
            shared_logins: self.grants.lock().all_followers().into_iter().collect(),
            ..RefreshHealth::default()
        };
        for auth in self.services.registry.list() {
            if auth.is_revoked() {
                health.needs_login.push(auth.id.clone());
            }
            release(auth);
        }
        for (id, state) in self.states.all() {
            let current = self.services.registry.get(&id);
            let Some(auth) = current.filter(|auth| self.states.of(auth).is_some()) else {
                continue;
            };
            let id = || id.to_string();
            if auth.is_revoked() {
                health.lost_answers.extend(state.answer_lost.then(id));
            } else {
                health.in_doubt.extend((state.in_doubt > 0).then(id));
                if let Some(deferred) = state.deferred.filter(|_| self.is_due(&auth)) {
                    health.deferred.push(DeferredRefresh {
                        auth_id: id(),
                        since: deferred.since,
                        reason: deferred.reason,
                    });
                }
            }
            release(auth);
        }
        health
    }
}
