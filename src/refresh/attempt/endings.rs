//! Endings of a refresh: what is reported, remembered and scheduled again.

use std::sync::Arc;
use std::time::Duration;

use super::{RefreshAttempt, has_ended, known_revoked};
use crate::auth::{Auth, Status, same_tokens};
use crate::clock::{deadline, later};
use crate::error::Error;
use crate::observe::RefreshEvent;
use crate::refresh::backoff::{Failure, MOST_ASKED, Setback, back_off, pause_after};
use crate::refresh::coordinator::{Done, RefreshCoordinator, cut_off};
use crate::refresh::endpoint_backoff::client;
use crate::refresh::machine::End;
use crate::refresh::state::Deferrals;
use crate::registry::{Dirty, release};

impl RefreshAttempt<'_> {
    pub(super) fn end(mut self, end: End) -> Done {
        let (failure, error) = match self.failure.take() {
            Some((failure, error)) => (failure, error),
            None => (Failure::Refused, cut_off(self.id)),
        };
        if !matches!(end, End::Deferred | End::Resting) {
            self.coordinator.no_longer_deferred(self.id, &self.base);
        }
        match end {
            End::Committed => {
                log::info!("refreshed credential {}", self.id);
                self.lock.clear_intent();
                self.done()
            }
            End::Unpersisted => self.keep_unsaved(&error),
            End::Superseded => {
                self.lock.clear_intent();
                self.done()
            }
            End::Adopted => {
                log::info!("credential {} received other tokens meanwhile", self.id);
                let auth = Arc::clone(&self.base);
                self.coordinator.lead(&auth, &mut self.lock);
                self.tell_copies(&error);
                self.let_go();
                Done::with(auth)
            }
            End::Deferred => {
                let done = self.coordinator.defer(self.id, &error);
                self.let_go();
                done
            }
            End::Resting => self.rest(error),
            End::Failed => self.put_off(failure, &error),
            End::Revoked => self.revoked(error),
            End::KnownRevoked => {
                let error = known_revoked(&self.base);
                self.let_go();
                Done::failed(error)
            }
            End::Removed => Done::failed(Error::not_registered(self.id)),
        }
    }

    fn done(&mut self) -> Done {
        let renewed = self.renewed.take();
        renewed.map_or_else(|| Done::failed(Error::not_registered(self.id)), Done::with)
    }

    /// Gives the lock back, unless there are tokens still to be saved under it.
    fn let_go(self) {
        if self.lock.unsaved {
            self.coordinator.hold_on(self.id, self.lock);
        }
    }

    fn keep_unsaved(mut self, error: &Error) -> Done {
        let done = self.done();
        let event = RefreshEvent::UnpersistedRotation {
            auth_id: self.id,
            error,
        };
        log::error!("{event}");
        self.lock.unsaved = true;
        self.coordinator.hold_on(self.id, self.lock);
        self.coordinator.services.hooks.refresh_event(&event);
        done
    }

    /// Waits until the token endpoint may be called again.
    fn rest(self, error: Error) -> Done {
        let services = &self.coordinator.services;
        let left = error.retry_after().unwrap_or_default();
        let (now, monotonic) = (services.clock.now(), services.clock.monotonic());
        let again = self.coordinator.states.note(self.id, &self.base, |state| {
            let again = later(now, state.wait(monotonic, left));
            state.shown = Some(again);
            again
        });
        let show = |auth: &mut Auth| auth.next_refresh_after = Some(again);
        services.registry.modify(self.id, show);
        Done::failed(error)
    }

    /// A person must log in again.
    fn revoked(mut self, error: Error) -> Done {
        let answer_lost = self.tries > 1;
        let error = if answer_lost {
            error.context("the response to a refresh was lost, and with it the next refresh token")
        } else {
            error
        };
        self.coordinator
            .states
            .note(self.id, &self.base, |state| state.answer_lost = answer_lost);
        // It is known what came of it.
        self.lock.clear_intent();
        let event = RefreshEvent::NeedsLogin {
            auth_id: self.id,
            error: &error,
            answer_lost,
        };
        log::error!("{event}");
        let done = self.record_failure(Failure::LoginOver, &error);
        self.tell_copies(&error);
        // Before the lock is free: no other process need ask.
        if let Some(auth) = self.coordinator.services.registry.get(self.id) {
            let _ = self.coordinator.services.store_handle.save_state(&auth);
        }
        let hooks = &self.coordinator.services.hooks;
        self.let_go();
        hooks.refresh_event(&event);
        done
    }

    /// No new tokens this time.
    fn put_off(mut self, failure: Failure, error: &Error) -> Done {
        let services = &self.coordinator.services;
        if let Some(asked) = error.retry_after() {
            let end = deadline(services.clock.monotonic(), asked.min(MOST_ASKED));
            self.coordinator.endpoints.set(client(&self.base), end);
        }
        if !failure.leaves_doubt() {
            // This try has left the token as it was: in doubt only if it was so before.
            let sent_before = self.tries.saturating_sub(1);
            self.note_former_intent(sent_before);
            self.tries = sent_before;
        }
        let tries = self.tries;
        self.coordinator
            .states
            .note(self.id, &self.base, |state| state.in_doubt = tries);
        let done = self.record_failure(failure, error);
        let (id, hooks) = (self.id, &services.hooks);
        self.let_go();
        if failure.leaves_doubt() {
            hooks.refresh_event(&RefreshEvent::InDoubt { auth_id: id, error });
        }
        done
    }

    /// Notes a failed refresh and when to try again.
    fn record_failure(&self, failure: Failure, error: &Error) -> Done {
        let (id, base) = (self.id, &self.base);
        let services = &self.coordinator.services;
        let Some(current) = services.registry.get(id) else {
            return Done::failed(error.clone());
        };
        let is_other = !same_tokens(current.metadata.as_ref(), base.metadata.as_ref());
        release(current);
        if is_other {
            // The tokens that are there now have not failed.
            return Done::failed(error.clone());
        }
        let failures = if failure == Failure::CannotRefresh {
            log::debug!("credential {id} cannot be refreshed: {error}");
            0
        } else {
            services.registry.count_refresh_failure(id)
        };
        let now = services.clock.now();
        let setback = Setback {
            failure,
            failures,
            tries: self.tries,
            tokens_end: has_ended(base, later(now, self.coordinator.gap)),
        };
        let chance = services.random.fraction();
        let wait = pause_after(setback, error, self.coordinator.gap, chance);
        let monotonic = services.clock.monotonic();
        let again = self.coordinator.states.note(id, base, |state| {
            let again = later(now, state.wait(monotonic, wait));
            state.shown = (failure != Failure::LoginOver).then_some(again);
            state.cannot_refresh = failure == Failure::CannotRefresh;
            state.shown
        });
        if failure == Failure::CannotRefresh {
            let show = |auth: &mut Auth| auth.next_refresh_after = again;
            services.registry.modify(id, show);
            return Done::failed(error.clone());
        }
        log::warn!("the refresh of credential {id} failed ({failures} in a row): {error}");
        let changed = if failure == Failure::LoginOver {
            self.show_failure(id, Auth::NEEDS_LOGIN, error, |auth| {
                auth.next_refresh_after = again;
                auth.revoked = (!base.is_api_key()).then(|| base.login_token());
            })
        } else {
            self.show_failure(id, Auth::REFRESH_FAILED, error, |auth| {
                auth.next_refresh_after = again;
            })
        };
        Done {
            outcome: Err(error.clone()),
            changed: changed.into_iter().collect(),
        }
    }

    /// Where the token was refused for good, it is so for the other credentials that hold it.
    fn tell_copies(&self, error: &Error) {
        let Some(refused) = &self.refused else { return };
        for id in self.coordinator.followers(refused) {
            let shown = self.show_failure(&id, Auth::NEEDS_LOGIN, error, |auth| {
                auth.revoked = Some(refused.login_token());
            });
            self.coordinator.note_change(&id);
            if let Some(auth) = shown {
                log::error!("credential {id} needs a new login, as {} does", self.id);
                self.coordinator.services.hooks.updated(&auth);
            }
        }
    }

    fn show_failure(
        &self,
        id: &Arc<str>,
        message: &str,
        error: &Error,
        change: impl FnOnce(&mut Auth),
    ) -> Option<Arc<Auth>> {
        let services = &self.coordinator.services;
        let (now, error) = (services.clock.now(), error.bare());
        let changed = services.registry.modify(id, |auth| {
            change(auth);
            auth.last_error = Some(error);
            message.clone_into(&mut auth.status_message);
            if auth.status != Status::Disabled {
                auth.status = Status::Error;
            }
            auth.updated_at = Some(now);
        });
        if changed.is_some() && services.registry.mark_unsaved(id, Dirty::State) {
            services.store_handle.note(Arc::clone(id));
        }
        changed
    }
}

impl RefreshCoordinator {
    /// A refresh that could not even begin: the tokens stay as they are, and it is tried again soon.
    fn defer(&self, id: &Arc<str>, error: &Error) -> Done {
        let services = &self.services;
        let Some(auth) = services.registry.get(id) else {
            return Done::failed(Error::not_registered(id));
        };
        let chance = services.random.fraction();
        let (now, monotonic) = (services.clock.now(), services.clock.monotonic());
        let (again, is_first) = self.states.note(id, &auth, |state| {
            let is_first = state.deferred.is_none();
            let deferred = state.deferred.get_or_insert_with(|| Deferrals {
                count: 0,
                since: now,
                reason: String::new(),
            });
            deferred.count = deferred.count.saturating_add(1);
            deferred.reason = error.to_string();
            let wait = back_off(deferred.count, chance).max(LEAST_DEFERRAL);
            let wait = wait.max(error.retry_after().unwrap_or_default());
            let again = later(now, state.wait(monotonic, wait));
            state.shown = Some(again);
            (again, is_first)
        });
        release(auth);
        if is_first {
            log::warn!("the refresh of credential {id} has to wait: {error}");
        }
        let show = |auth: &mut Auth| auth.next_refresh_after = Some(again);
        services.registry.modify(id, show);
        Done::failed(error.clone().about(id))
    }

    fn no_longer_deferred(&self, id: &Arc<str>, auth: &Auth) {
        let former = self.states.note(id, auth, |state| state.deferred.take());
        if former.is_some() {
            log::info!("the refresh of credential {id} no longer has to wait");
        }
    }
}

const LEAST_DEFERRAL: Duration = Duration::from_secs(1);
