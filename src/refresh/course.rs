//! [`Course`]: one refresh once nothing stands in its way: asked until it is known what came of it, then kept or put off.

use std::sync::Arc;
use std::time::Duration;

use super::adopt::adopt;
use super::engine::RefreshEngine;
use super::failure::Failure;
use super::flight::{Done, not_found};
use super::health::RefreshEvent;
use super::held::Held;
use super::merge::merge;
use super::procedure::{forget_failure, is_due_before};
use crate::auth::Auth;
use crate::clock::{deadline, later};
use crate::error::{Error, ErrorCode};
use crate::registry::{Unsaved, release};
use crate::store::Intent;

/// A refresh that is under way.
pub(super) struct Course<'a> {
    pub(super) engine: &'a Arc<RefreshEngine>,
    pub(super) id: &'a Arc<str>,
    /// The record that is refreshed.
    pub(super) base: Arc<Auth>,
    pub(super) held: Held,
    /// The intent that was there before.
    pub(super) earlier: Option<Intent>,
    /// How often the refresh token has been sent, this time included.
    pub(super) tries: u32,
}

impl Course<'_> {
    pub(super) fn ask_until_known(mut self) -> Done {
        let engine = self.engine;
        let mut number = 0;
        loop {
            number += 1;
            self.tries = self.tries.saturating_add(1);
            let now = engine.services.clock.now();
            let intent = Intent::new(self.base.generation, now).with_tries(self.tries);
            if let Err(error) = self.held.set_intent(Some(&intent)) {
                engine.let_go(self.id, self.held);
                return engine.defer(self.id, &error);
            }
            let error = match engine.call(&self.base, number) {
                Ok(new) => return self.keep(&new),
                Err(error) => error.about(self.id),
            };
            let failure = Failure::of(&error);
            match failure {
                // At once: servers that forgive a lost answer do so for a few seconds.
                Failure::InDoubt if self.tries == 1 => {
                    log::warn!(
                        "the answer to the refresh of {} was lost, trying once more: {error}",
                        self.id
                    );
                }
                Failure::LoginOver => return self.login_over(error),
                _ => {
                    engine.note_quiet(&self.base, &error);
                    return self.put_off(failure, &error);
                }
            }
        }
    }

    /// Durable first, then in use. Only where the store fails are the tokens used from memory, and written later.
    fn keep(mut self, new: &Auth) -> Done {
        let services = &self.engine.services;
        let id = &**self.id;
        let turn = match services.keeper.turn(id) {
            Ok(turn) => turn,
            Err(error) => return Done::failed(error),
        };
        let Some(current) = services.registry.get(id) else {
            log::info!("{id} was removed while it was refreshed: its new tokens are dropped");
            return Done::failed(not_found(id));
        };
        let now = services.clock.now();
        let mut durable = (*current).clone();
        release(current);
        // An operator may have changed it there.
        if !durable.is_runtime_only()
            && let Ok(Some(stored)) = services.keeper.load(id)
        {
            adopt(&mut durable, stored);
        }
        let from = durable.generation;
        let renewed = merge(&self.base, new, &mut durable);
        if !renewed {
            log::info!("{id} has got other tokens while it was refreshed: they stay");
        } else if durable.metadata != self.base.metadata {
            durable.generation = from.saturating_add(1);
        }
        durable.last_refreshed_at = Some(now);
        let soon = later(now, self.engine.gap);
        if is_due_before(&durable, soon) {
            durable.next_refresh_after = durable.next_refresh_after.max(Some(soon));
        }
        let saved = services.keeper.save_newer(&durable, from);
        if let Ok(Some(newer)) = saved {
            log::warn!("the store has got newer tokens of {id} while it was refreshed: they stay");
            let adopted = self.engine.take_over(id, *newer);
            let adopted = adopted.or_else(|| services.registry.get(id));
            let _ = self.held.set_intent(None);
            drop(turn);
            return adopted.map_or_else(|| Done::failed(not_found(id)), Done::with);
        }
        let (shown, saved) = (durable.next_refresh_after, saved.map(drop));
        let auth = services.registry.renew(id, now, |auth| {
            // Nothing but results can have come in since: they leave these alone.
            take_renewed(auth, durable);
            forget_failure(auth);
        });
        let Some(auth) = auth else {
            return Done::failed(not_found(id));
        };
        self.engine.tracks.note(self.id, &auth, |track| {
            let not_before = deadline(services.clock.monotonic(), self.engine.gap);
            track.not_before = Some(not_before);
            // What the executor itself asked for is none of ours.
            track.shown = shown.filter(|shown| *shown == soon);
            track.doubtful_tries = 0;
            track.deferred = 0;
        });
        // What the renewal changed beside the tokens.
        if services.registry.mark_unsaved(id, Unsaved::State) {
            services.keeper.note(Arc::clone(self.id));
        }
        drop(turn);
        log::info!("refreshed {id}");
        match saved {
            Ok(()) => {
                if let Err(error) = self.held.set_intent(None) {
                    log::debug!("the end of {id}'s refresh could not be noted: {error}");
                }
            }
            Err(error) => {
                let event = RefreshEvent::UnpersistedRotation {
                    auth_id: id,
                    error: &error,
                };
                log::error!("{event}");
                self.held.unsaved = true;
                self.engine.hold_on(self.id, self.held);
                services.hooks.refresh_event(&event);
            }
        }
        Done::with(auth)
    }

    /// The server takes the refresh token no more. Perhaps because somebody else has used it: then there is a newer one.
    fn login_over(mut self, error: Error) -> Done {
        let services = &self.engine.services;
        let waits = services.keeper.has_store() && !self.base.is_runtime_only();
        for last in [false, true] {
            if last && waits {
                self.engine.pause(SOMEBODY_ELSE);
            }
            match self.engine.reread(self.id, &self.base) {
                Ok(Some(newer)) => {
                    log::info!("{} has got other tokens meanwhile", self.id);
                    return Done::with(newer);
                }
                Ok(None) => {}
                Err(error) if *error.code() == ErrorCode::AuthNotFound => {
                    return Done::failed(error);
                }
                Err(error) => log::warn!("{} cannot be looked up again: {error}", self.id),
            }
        }
        let answer_lost = self.tries > 1;
        let error = if answer_lost {
            error.context("the answer to a refresh was lost, and the next refresh token with it")
        } else {
            error
        };
        let (engine, id) = (self.engine, self.id);
        engine.tracks.note(id, &self.base, |track| {
            track.is_over = true;
            track.answer_lost = answer_lost;
        });
        // It is known what came of it.
        if let Err(error) = self.held.set_intent(None) {
            log::debug!("the end of {id}'s refresh could not be noted: {error}");
        }
        let event = RefreshEvent::NeedsLogin {
            auth_id: id,
            error: &error,
            answer_lost,
        };
        log::error!("{event}");
        let done = engine.record_failure(id, &self.base, Failure::LoginOver, error.clone());
        engine.let_go(id, self.held);
        services.hooks.refresh_event(&event);
        done
    }

    /// No new tokens this time.
    fn put_off(mut self, failure: Failure, error: &Error) -> Done {
        let engine = self.engine;
        if !failure.leaves_doubt() {
            // This try has left the token as it was: in doubt only if it was so before.
            let sent_before = self.tries - 1;
            let intent = (sent_before > 0).then(|| {
                let at = self.earlier.as_ref().map(|intent| intent.at);
                let at = at.unwrap_or_else(|| engine.services.clock.now());
                Intent::new(self.base.generation, at).with_tries(sent_before)
            });
            if let Err(error) = self.held.set_intent(intent.as_ref()) {
                log::debug!(
                    "the end of {}'s refresh could not be noted: {error}",
                    self.id
                );
            }
            self.tries = sent_before;
        }
        let tries = self.tries;
        engine.tracks.note(self.id, &self.base, |track| {
            track.doubtful_tries = tries;
        });
        let done = engine.record_failure(self.id, &self.base, failure, error.clone());
        engine.let_go(self.id, self.held);
        if failure.leaves_doubt() {
            let event = RefreshEvent::InDoubt {
                auth_id: self.id,
                error,
            };
            engine.services.hooks.refresh_event(&event);
        }
        done
    }
}

/// The part of a record that a refresh, and the host before it, changed.
fn take_renewed(auth: &mut Auth, durable: Auth) {
    auth.metadata = durable.metadata;
    auth.attributes = durable.attributes;
    auth.label = durable.label;
    auth.proxy_url = durable.proxy_url;
    auth.file_name = durable.file_name;
    auth.runtime = durable.runtime;
    auth.storage = durable.storage;
    auth.generation = durable.generation;
    auth.last_refreshed_at = durable.last_refreshed_at;
    auth.next_refresh_after = durable.next_refresh_after;
    if auth.disabled != durable.disabled {
        super::adopt::switch(auth, durable.disabled);
    }
}

/// How long somebody else, who has used the token, may take to make the next one durable.
const SOMEBODY_ELSE: Duration = Duration::from_secs(2);
