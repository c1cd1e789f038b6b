//! How a refresh ends: what is told, remembered and tried again.

use std::sync::Arc;

use super::{RefreshAttempt, has_ended, known_revoked};
use crate::auth::{Auth, Status, same_tokens};
use crate::clock::{deadline, later};
use crate::error::Error;
use crate::refresh::backoff::{Failure, MOST_ASKED, Setback, pause_after};
use crate::refresh::coordinator::{Done, cut_off, not_found};
use crate::refresh::endpoint_backoff::client;
use crate::refresh::health::RefreshEvent;
use crate::refresh::machine::End;
use crate::registry::{Unsaved, release};
use crate::store::Intent;

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
                self.lock.clear_intent(self.id);
                self.done()
            }
            End::Unpersisted => self.keep_unsaved(&error),
            End::Superseded => {
                self.lock.clear_intent(self.id);
                self.done()
            }
            End::Adopted => {
                log::info!("credential {} has got other tokens meanwhile", self.id);
                let auth = Arc::clone(&self.base);
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
            End::Removed => Done::failed(not_found(self.id)),
        }
    }

    fn done(&mut self) -> Done {
        let renewed = self.renewed.take();
        renewed.map_or_else(|| Done::failed(not_found(self.id)), Done::with)
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

    /// Waits until the token endpoint may be asked again.
    fn rest(self, error: Error) -> Done {
        let services = &self.coordinator.services;
        let left = error.retry_after().unwrap_or_default();
        let again = later(services.clock.now(), left);
        let not_before = deadline(services.clock.monotonic(), left);
        self.coordinator.states.note(self.id, &self.base, |state| {
            state.not_before = Some(not_before);
            state.shown = Some(again);
        });
        let show = |auth: &mut Auth| auth.next_refresh_after = Some(again);
        services.registry.modify(self.id, show);
        Done::failed(error)
    }

    /// A person must log in again.
    fn revoked(mut self, error: Error) -> Done {
        let answer_lost = self.tries > 1;
        let error = if answer_lost {
            error.context("the answer to a refresh was lost, and the next refresh token with it")
        } else {
            error
        };
        self.coordinator
            .states
            .note(self.id, &self.base, |state| state.answer_lost = answer_lost);
        // It is known what came of it.
        self.lock.clear_intent(self.id);
        let event = RefreshEvent::NeedsLogin {
            auth_id: self.id,
            error: &error,
            answer_lost,
        };
        log::error!("{event}");
        let done = self.record_failure(Failure::LoginOver, &error);
        // Before the lock is free: no other process need ask.
        if let Some(auth) = self.coordinator.services.registry.get(self.id) {
            let _ = self.coordinator.services.keeper.save_state(&auth);
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
            let intent = (sent_before > 0).then(|| {
                let at = self.unfinished.as_ref().map(|intent| intent.at);
                let at = at.unwrap_or_else(|| services.clock.now());
                Intent::new(self.base.generation(), at).with_tries(sent_before)
            });
            if let Err(error) = self.lock.set_intent(intent.as_ref()) {
                log::debug!(
                    "credential {}: the end of its refresh could not be noted: {error}",
                    self.id
                );
            }
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
        let again = (failure != Failure::LoginOver).then(|| later(now, wait));
        let not_before = deadline(services.clock.monotonic(), wait);
        self.coordinator.states.note(id, base, |state| {
            state.not_before = Some(not_before);
            state.shown = again;
            state.cannot_refresh = failure == Failure::CannotRefresh;
        });
        if failure == Failure::CannotRefresh {
            let show = |auth: &mut Auth| auth.next_refresh_after = again;
            services.registry.modify(id, show);
            return Done::failed(error.clone());
        }
        log::warn!("the refresh of credential {id} failed ({failures} in a row): {error}");
        let (message, revoked) = if failure == Failure::LoginOver {
            (Auth::NEEDS_LOGIN, base.grant_token())
        } else {
            (Auth::REFRESH_FAILED, None)
        };
        let recorded = error.bare();
        let changed = services.registry.modify(id, |auth| {
            auth.next_refresh_after = again;
            auth.last_error = Some(recorded);
            auth.revoked = revoked.or(auth.revoked);
            message.clone_into(&mut auth.status_message);
            if auth.status != Status::Disabled {
                auth.status = Status::Error;
            }
            auth.updated_at = Some(now);
        });
        if changed.is_some() && services.registry.mark_unsaved(id, Unsaved::State) {
            services.keeper.note(Arc::clone(id));
        }
        Done {
            outcome: Err(error.clone()),
            changed: changed.into_iter().collect(),
        }
    }
}
