//! A credential's record in memory and in the store, merged: all reads and writes of a refresh.

use std::sync::Arc;
use std::time::Duration;

use super::coordinator::RefreshCoordinator;
use super::lock::RefreshLock;
use crate::auth::Auth;
use crate::error::Error;
use crate::observe::RefreshEvent;
use crate::persistence::{Committed, Turn};
use crate::registry::{ApplyResult, Dirty, release};
use crate::store::Missing;

impl RefreshCoordinator {
    /// Merges the stored record, and returns it. `None` where it is gone.
    pub(super) fn reread(&self, id: &str) -> Result<Option<Arc<Auth>>, Error> {
        let services = &self.services;
        let Some(current) = services.registry.get(id) else {
            return Ok(None);
        };
        if current.is_runtime_only() || !services.store_handle.has_store() {
            return Ok(Some(current));
        }
        release(current);
        let turn = services.store_handle.turn(id)?;
        match services.store_handle.load(id)? {
            Some(stored) => {
                self.take_over(id, stored);
            }
            None if services.store_handle.missing(id)? == Missing::Removed => {
                self.let_go(id, turn);
                return Ok(None);
            }
            None => self.note_loss(),
        }
        drop(turn);
        Ok(services.registry.get(id))
    }

    /// Takes over a record of the store, and has the store repaired where it has fallen behind. The caller has the record's turn.
    pub(crate) fn take_over(&self, id: &str, stored: Auth) -> Option<Arc<Auth>> {
        let services = &self.services;
        let current = services.registry.get(id)?;
        let mut record = (*current).clone();
        release(current);
        let last = record.last_refreshed_at;
        let merged = record.merge_stored(stored);
        if merged.renewed {
            log::info!("the store holds newer tokens of credential {id}; using those");
        }
        let refreshed_at = record.last_refreshed_at;
        let is_refreshed = merged.renewed && refreshed_at.is_some() && refreshed_at != last;
        let auth = self.publish(id, record, merged.renewed);
        if let Some(auth) = auth.as_ref().filter(|_| is_refreshed) {
            // Another process has just refreshed it, whatever its clock shows.
            let now = services.clock.monotonic();
            self.states
                .note(&id.into(), auth, |state| state.wait(now, self.gap));
        }
        if merged.behind {
            self.note_loss();
            log::warn!(
                "the store holds older tokens of credential {id} than those in use; saving it again"
            );
            if services.registry.mark_unsaved(id, Dirty::Record) {
                services.store_handle.note(id.into());
            }
        }
        auth
    }

    /// Puts a record that is durable, or is to be, in use. The caller has the record's turn: nothing but results can have come in
    /// since it was read, and they leave these parts alone.
    pub(crate) fn publish(&self, id: &str, record: Auth, renewed: bool) -> Option<Arc<Auth>> {
        let services = &self.services;
        if !renewed {
            services
                .registry
                .modify(id, |auth| auth.take_durable(record))?;
            return self.forget_refusals(id);
        }
        let now = services.clock.now();
        let auth = services
            .registry
            .renew(id, now, |auth| auth.take_durable(record));
        // What the renewal changed beside the tokens.
        if auth.is_some() && services.registry.mark_unsaved(id, Dirty::State) {
            services.store_handle.note(id.into());
        }
        self.forget_refusals(id)
    }

    /// Ends what former settings of a record were refused for, and gives back what is there now.
    pub(crate) fn forget_refusals(&self, id: &str) -> Option<Arc<Auth>> {
        let services = &self.services;
        let forgotten = services.registry.forget_refusals(id, services.moment());
        if let ApplyResult::Dirty(id) = forgotten {
            services.store_handle.note(id);
        }
        services.registry.get(id)
    }

    /// The record was removed from the store. The turn is that in which this was seen: after it, the id may be another registration's.
    pub(super) fn let_go(&self, id: &str, turn: Turn<'_>) {
        let removed = self.services.registry.remove(id);
        drop(turn);
        if let Some(removed) = removed {
            log::info!("credential {id} was removed from the store");
            self.services.hooks.removed(&removed);
        }
    }

    /// Gives the others that hold the login, with tokens that it has spent, its new ones. Where the store fails, they are used from
    /// memory, and saved later under their part of the lock.
    pub(super) fn lead(self: &Arc<Self>, leader: &Auth, lock: &mut RefreshLock) {
        for id in self.left_behind(leader) {
            match self.follow(&id, leader) {
                Ok(Some(auth)) => {
                    log::warn!(
                        "credential {id} shares the login of credential {}; remove one of the two",
                        leader.id
                    );
                    self.note_change(&id);
                    self.services.hooks.updated(&auth);
                }
                Ok(None) => {}
                Err(error) => self.lead_unsaved(&id, leader, lock, &error),
            }
        }
    }

    fn lead_unsaved(
        self: &Arc<Self>,
        id: &Arc<str>,
        leader: &Auth,
        lock: &mut RefreshLock,
        error: &Error,
    ) {
        let services = &self.services;
        let follow = |auth: &mut Auth| {
            if leader.has_rotated(auth) {
                auth.follow(leader);
            }
        };
        let Some(auth) = services.registry.renew(id, services.clock.now(), follow) else {
            return;
        };
        let mut lock = lock.split(id);
        lock.unsaved = true;
        if !lock.has(id) {
            // It may be another process's: then that one sends the old token, as it would have without this one.
            let _ = lock.add(&services.store_handle, id, Duration::ZERO);
        }
        self.hold_on(id, lock);
        self.note_change(id);
        let event = RefreshEvent::UnpersistedRotation { auth_id: id, error };
        log::error!("{event}");
        services.hooks.refresh_event(&event);
        services.hooks.updated(&auth);
    }

    /// Gives a credential the tokens of another one with the same login. `None` where it is gone.
    pub(super) fn follow(&self, id: &str, leader: &Auth) -> Result<Option<Arc<Auth>>, Error> {
        let services = &self.services;
        let turn = services.store_handle.turn(id)?;
        let Some(current) = services.registry.get(id) else {
            return Ok(None);
        };
        let committed = services
            .store_handle
            .commit(&current, &mut |record: &mut Auth| {
                if leader.has_rotated(record) {
                    record.follow(leader);
                }
                Ok(())
            })?;
        release(current);
        let auth = match committed {
            Committed::Saved(record) => self.publish(id, *record, true),
            Committed::Removed => None,
        };
        drop(turn);
        Ok(auth)
    }
}
