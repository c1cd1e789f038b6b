//! The due time of a credential in the pool: the record's, and the back-off that the coordinator remembers.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::coordinator::RefreshCoordinator;
use super::due::{Due, asks_for_refresh, due_in_pool, is_due_before};
use super::state::RefreshState;
use crate::auth::Auth;
use crate::clock::{Timestamp, later};

impl RefreshCoordinator {
    /// When a credential is due: by its record, but not before it may be refreshed again.
    pub(super) fn next_due(&self, auth: &Auth) -> Due {
        let due = due_in_pool(auth, self.chance(auth));
        if due == Due::Never || auth.is_revoked() {
            return Due::Never;
        }
        let state = self.states.of(auth);
        let now = self.services.clock.now();
        let shown = state.as_ref().and_then(|state| state.shown);
        let asked = auth
            .next_refresh_after
            .filter(|after| shown != Some(*after));
        let floor = self.floor(auth, state.as_ref(), now).max(asked);
        match (due, floor) {
            (Due::At(at), Some(floor)) => Due::At(at.max(floor)),
            (Due::Asks, Some(floor)) if floor > now => Due::At(floor),
            (due, _) => due,
        }
    }

    /// Whether a refresh that is not commanded may begin now.
    pub(super) fn may_begin(&self, auth: &Auth) -> bool {
        let now = self.services.clock.now();
        let state = self.states.of(auth);
        !auth.is_revoked()
            && self
                .floor(auth, state.as_ref(), now)
                .is_none_or(|floor| floor <= now)
    }

    /// No refresh of the credential, or of the one whose refresh renews it, before this moment.
    fn floor(
        &self,
        auth: &Auth,
        state: Option<&RefreshState>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let own = self.own_floor(auth, state, now);
        let leader = self.grants.lock().leader(auth);
        let leader = leader.and_then(|leader| self.services.registry.get(&leader));
        let theirs = leader.and_then(|leader| {
            let state = self.states.of(&leader);
            self.own_floor(&leader, state.as_ref(), now)
        });
        own.max(theirs)
    }

    /// No refresh before this moment: by what this process remembers, on a clock that does not jump; and by the record, which
    /// another process may have refreshed.
    fn own_floor(
        &self,
        auth: &Auth,
        state: Option<&RefreshState>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let monotonic = self.services.clock.monotonic();
        let remembered = state
            .and_then(|state| state.not_before)
            .filter(|not_before| *not_before > monotonic)
            .map(|not_before| later(now, not_before - monotonic));
        let last = auth.last_refreshed_at.filter(|last| *last <= now);
        remembered.max(last.map(|last| later(last, self.gap)))
    }

    /// From 0 to 1: drawn once for each generation of a credential.
    fn chance(&self, auth: &Auth) -> f64 {
        let mut hasher = DefaultHasher::new();
        (self.salt, &auth.id, auth.generation()).hash(&mut hasher);
        let bits = u32::try_from(hasher.finish() >> 32).unwrap_or(0);
        f64::from(bits) / f64::from(u32::MAX)
    }

    /// Whether a record is due for another refresh already.
    pub(super) fn is_due(&self, auth: &Auth) -> bool {
        let now = self.services.clock.now();
        match due_in_pool(auth, 0.0) {
            Due::Asks => asks_for_refresh(auth, now),
            _ => is_due_before(auth, now),
        }
    }
}
