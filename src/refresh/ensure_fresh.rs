//! Freshness of a call's token: starts a refresh where the token has expired or will soon.

use std::sync::Arc;

use super::coordinator::{Asker, RefreshCoordinator};
use super::due::{Due, stretch};
use crate::auth::{Auth, Metadata};
use crate::clock::{Timestamp, later};
use crate::registry::release;

impl RefreshCoordinator {
    /// Looks at the token of a credential that was selected. False where it has ended, or there is none yet, and a refresh can bring
    /// another one: the credential is not ready from then on until a refresh has. Begins a refresh where the token ends soon.
    ///
    /// Costs next to nothing for a key and for tokens that live on. A token that another program keeps fresh is left to that program.
    pub(crate) fn has_token(self: &Arc<Self>, auth: &Arc<Auth>) -> bool {
        let is_empty = auth.metadata.as_ref().is_none_or(Metadata::is_empty);
        if is_empty && !auth.awaits_first_token() {
            return true;
        }
        let Some(from) = stretch(auth).map(|(from, _)| from) else {
            return !auth.awaits_first_token() || !self.await_token(auth);
        };
        let now = self.services.clock.now();
        if now < from && !auth.awaits_first_token() {
            return true;
        }
        if auth.lacks_token(now) {
            return !self.await_token(auth);
        }
        // Calls go on with the token that there is.
        if (auth.can_be_refreshed() || self.mailbox.is_open()) && self.wants_refresh(auth) {
            let completed = self.completed();
            let _ = self.request(&auth.id, Some(completed), Asker::Call);
        }
        true
    }

    /// Begins a refresh of a credential whose token was refused: it is not ready until that has come to its end. False where none may
    /// begin.
    pub(crate) fn begin_for(self: &Arc<Self>, id: &str) -> bool {
        let registry = &self.services.registry;
        let completed = self.completed();
        let Some(auth) = registry.get(id) else {
            return false;
        };
        let generation = auth.generation();
        let can = auth.can_be_refreshed() && (self.is_under_way(&auth) || self.may_begin(&auth));
        release(auth);
        if !can {
            return false;
        }
        registry.await_token(id, generation, Some(Timestamp::MAX));
        let begun = self.request(id, Some(completed), Asker::Call);
        if !matches!(begun, Ok(true)) {
            self.settle_wait(id);
        }
        matches!(begun, Ok(true))
    }

    /// Has a credential wait for a token. False where none can be had: then it is used as it is.
    fn await_token(self: &Arc<Self>, auth: &Auth) -> bool {
        let registry = &self.services.registry;
        let wait = |until| registry.await_token(&auth.id, auth.generation(), Some(until));
        loop {
            let completed = self.completed();
            let Some(current) = registry.get(&auth.id) else {
                return true;
            };
            let now = self.services.clock.now();
            if current.generation() != auth.generation() || !current.lacks_token(now) {
                return true;
            }
            let next = self.next_try(&current, now);
            let is_under_way = self.is_under_way(&current);
            release(current);
            match next {
                _ if is_under_way => {}
                None => return false,
                Some(at) if at > now => {
                    wait(at);
                    return true;
                }
                Some(_) => {}
            }
            // From here on the end of that refresh tells.
            wait(Timestamp::MAX);
            match self.request(&auth.id, Some(completed), Asker::Call) {
                Ok(true) => return true,
                // Another one has completed between the looks.
                Ok(false) => wait(now),
                Err(error) => {
                    log::debug!("the refresh of credential {} has to wait: {error}", auth.id);
                    wait(later(now, super::coordinator::NO_WORKER));
                    return true;
                }
            }
        }
    }

    /// A refresh has come to its end: a credential that still has no token waits until the next one may begin.
    pub(super) fn settle_wait(&self, id: &str) {
        let registry = &self.services.registry;
        let Some(auth) = registry.get(id) else {
            return;
        };
        if auth.awaits_token == Some(Timestamp::MAX) {
            let now = self.services.clock.now();
            let next = self.next_try(&auth, now).filter(|_| auth.lacks_token(now));
            registry.await_token(id, auth.generation(), Some(next.unwrap_or(now)));
        }
        release(auth);
    }

    /// When a refresh may begin; the end of the calendar where a new login is needed. `None` where this pool cannot refresh the
    /// credential.
    fn next_try(&self, auth: &Auth, now: Timestamp) -> Option<Timestamp> {
        if auth.is_revoked() {
            return Some(Timestamp::MAX);
        }
        let cannot = self
            .states
            .of(auth)
            .is_some_and(|state| state.cannot_refresh);
        let last = auth.last_refreshed_at.filter(|last| *last <= now);
        // A token that has just come is as new as it can be, whatever is said of its end.
        let is_new = last.is_some_and(|last| later(last, self.gap) > now);
        if cannot || is_new && auth.access_token().is_some() {
            return None;
        }
        match self.next_due(auth) {
            Due::Never => None,
            Due::At(at) => Some(at),
            Due::Asks => super::should_refresh(auth, now).then_some(now),
        }
    }

    /// Whether a refresh would begin now on request.
    fn wants_refresh(&self, auth: &Auth) -> bool {
        let now = self.services.clock.now();
        match self.next_due(auth) {
            Due::Never => false,
            Due::At(at) => at <= now,
            Due::Asks => super::should_refresh(auth, now),
        }
    }
}
