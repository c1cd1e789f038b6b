//! One refresh, step by step: the lock, the record as the store has it, an intent, the call, durable, published.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::select;

use super::adopt::adopt;
use super::course::Course;
use super::decide::{Due, asks_for_refresh, due_in_pool};
use super::engine::RefreshEngine;
use super::failure::{Failure, back_off, pause_after};
use super::flight::{Done, not_found};
use super::held::Held;
use super::tokens::same_tokens;
use crate::auth::{Auth, Status};
use crate::clock::{deadline, later};
use crate::error::{Error, ErrorCode};
use crate::executor::Attempt;
use crate::registry::{Unsaved, release};
use crate::runtime::guard;

impl RefreshEngine {
    /// The whole of one refresh, on a worker.
    pub(super) fn refresh(self: &Arc<Self>, id: &Arc<str>) -> Done {
        let Some(base) = self.begin(id) else {
            return Done::failed(not_found(id));
        };
        if let Some(done) = self.keep_quiet(id, &base) {
            return done;
        }
        let held = match self.hold(id, &base) {
            Ok(Some(held)) => held,
            Ok(None) => return self.defer(id, &being_refreshed(id)),
            Err(error) => return self.defer(id, &error),
        };
        let base = match self.reread(id, &base) {
            Ok(Some(newer)) if !is_due(&newer, self) => {
                self.let_go(id, held);
                return Done::with(newer);
            }
            Ok(Some(newer)) => newer,
            Ok(None) => base,
            Err(error) => {
                self.let_go(id, held);
                return self.defer(id, &error);
            }
        };
        let earlier = match held.intent() {
            Ok(intent) => intent.filter(|intent| intent.generation == base.generation),
            Err(error) => {
                self.let_go(id, held);
                return self.defer(id, &error);
            }
        };
        let remembered = self
            .tracks
            .of(&base)
            .map_or(0, |track| track.doubtful_tries);
        let tries = earlier.as_ref().map_or(0, |intent| intent.tries);
        if tries > remembered {
            log::warn!("the answer to the last refresh of {id} was lost: trying once more");
        }
        let course = Course {
            engine: self,
            id,
            base,
            held,
            earlier,
            tries: tries.max(remembered),
        };
        course.ask_until_known()
    }

    /// Shows that a refresh is under way.
    fn begin(&self, id: &Arc<str>) -> Option<Arc<Auth>> {
        let pending = later(self.services.clock.now(), PENDING);
        let auth = self.services.registry.get(id)?;
        self.tracks
            .note(id, &auth, |track| track.shown = Some(pending));
        release(auth);
        self.services
            .registry
            .modify(id, |auth| auth.next_refresh_after = Some(pending))
    }

    fn hold(&self, id: &str, base: &Auth) -> Result<Option<Held>, Error> {
        if base.is_runtime_only() {
            return Ok(Some(Held::nothing()));
        }
        // It is ours already where the last tokens are still to be saved. Should the store work again, this is the moment.
        let _ = self.unpersisted.has(id).then(|| self.persist(id));
        match self.unpersisted.take(id) {
            Some(held) => Ok(Some(held)),
            None => Held::take(&self.services.keeper, id, LOCK_WAIT),
        }
    }

    /// Gives the right to refresh back, unless there are tokens still to be saved under it.
    pub(super) fn let_go(self: &Arc<Self>, id: &Arc<str>, held: Held) {
        if held.unsaved {
            self.hold_on(id, held);
        }
    }

    /// Takes over what the store has by now. The record, where its tokens are others than before.
    pub(super) fn reread(&self, id: &str, base: &Auth) -> Result<Option<Arc<Auth>>, Error> {
        let services = &self.services;
        if !base.is_runtime_only() {
            let _turn = services.keeper.turn(id)?;
            if let Some(stored) = services.keeper.load(id)? {
                self.take_over(id, stored);
            }
        }
        let current = services.registry.get(id).ok_or_else(|| not_found(id))?;
        let differ = !same_tokens(current.metadata.as_ref(), base.metadata.as_ref());
        Ok(differ.then_some(current))
    }

    /// Takes over a record of the store. The caller has the record's turn.
    pub(super) fn take_over(&self, id: &str, stored: Auth) -> Option<Arc<Auth>> {
        let services = &self.services;
        let current = services.registry.get(id)?;
        let mut adopted = (*current).clone();
        let newer = adopt(&mut adopted, stored.clone());
        drop(current);
        let auth = if newer {
            log::info!("the store has newer tokens of {id}: they are taken over");
            let now = services.clock.now();
            services.registry.renew(id, now, |auth| {
                adopt(auth, stored);
                forget_failure(auth);
            })
        } else {
            services.registry.modify(id, |auth| {
                adopt(auth, stored);
            })
        };
        auth.filter(|_| newer)
    }

    /// A refresh that could not even begin: the tokens stay as they are, and it is tried again soon.
    pub(super) fn defer(&self, id: &Arc<str>, error: &Error) -> Done {
        let services = &self.services;
        // Who has the lock may be done by now.
        if let Some(base) = services.registry.get(id)
            && let Ok(Some(newer)) = self.reread(id, &base)
        {
            return Done::with(newer);
        }
        let Some(auth) = services.registry.get(id) else {
            return Done::failed(not_found(id));
        };
        let chance = services.random.fraction();
        let monotonic = services.clock.monotonic();
        let mut again = None;
        self.tracks.note(id, &auth, |track| {
            track.deferred = track.deferred.saturating_add(1);
            let wait = back_off(track.deferred, chance).max(LEAST_DEFERRAL);
            track.not_before = Some(deadline(monotonic, wait));
            again = Some(later(services.clock.now(), wait));
            track.shown = again;
        });
        log::info!("the refresh of {id} has to wait: {error}");
        services
            .registry
            .modify(id, |auth| auth.next_refresh_after = again);
        Done::failed(error.clone().about(id))
    }

    pub(super) fn call(&self, base: &Auth, number: u32) -> Result<Auth, Error> {
        let services = &self.services;
        let provider = services.executors.provider(&base.provider);
        let executor = provider.executor()?;
        let attempt = Attempt {
            number,
            deadline: None,
            // Tied to no caller: the answer to a refresh may be the only copy of a token. Only a shutdown that has waited
            // for as long as it may ends it.
            cancel: services.pool.stopping().clone(),
            tools: Arc::clone(&services.tools),
        };
        guard(
            || format!("the executor for {}", provider.name),
            || executor.refresh(&attempt, base),
        )
        .flatten()
    }

    /// Waits, as long as no shutdown is in a hurry.
    pub(super) fn pause(&self, wait: Duration) {
        let timer = self.services.clock.after(wait);
        select! {
            recv(timer) -> _ => {}
            recv(self.services.pool.stopping().cancelled()) -> _ => {}
        }
    }
}

impl RefreshEngine {
    /// Notes a failed refresh and when to try again.
    pub(super) fn record_failure(
        &self,
        id: &Arc<str>,
        base: &Auth,
        failure: Failure,
        error: Error,
    ) -> Done {
        let services = &self.services;
        let Some(current) = services.registry.get(id) else {
            return Done::failed(error);
        };
        if !same_tokens(current.metadata.as_ref(), base.metadata.as_ref()) {
            // What is there now has not failed.
            return Done::failed(error);
        }
        release(current);
        let failures = if failure == Failure::CannotRefresh {
            log::debug!("{id} cannot be refreshed: {error}");
            0
        } else {
            services.registry.count_refresh_failure(id)
        };
        let chance = services.random.fraction();
        let wait = pause_after(failure, &error, failures, self.gap, chance);
        let now = services.clock.now();
        let again = (failure != Failure::LoginOver).then(|| later(now, wait));
        self.tracks.note(id, base, |track| {
            track.not_before = Some(deadline(services.clock.monotonic(), wait));
            track.shown = again;
            track.deferred = 0;
        });
        if failure == Failure::CannotRefresh {
            services
                .registry
                .modify(id, |auth| auth.next_refresh_after = again);
            return Done::failed(error);
        }
        log::warn!("the refresh of {id} failed ({failures} in a row): {error}");
        let message = if failure == Failure::LoginOver {
            NEEDS_LOGIN
        } else {
            FAILED
        };
        let recorded = error.bare();
        let changed = services.registry.modify(id, |auth| {
            auth.next_refresh_after = again;
            auth.last_error = Some(recorded);
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
            outcome: Err(error),
            changed,
        }
    }
}

/// The failure of a former refresh says nothing of new tokens.
pub(crate) fn forget_failure(auth: &mut Auth) {
    if auth.status_message == FAILED || auth.status_message == NEEDS_LOGIN {
        auth.last_error = None;
    }
}

/// Whether a record is due for another refresh already.
fn is_due(auth: &Auth, engine: &RefreshEngine) -> bool {
    let now = engine.services.clock.now();
    match due_in_pool(auth, 0.0) {
        Due::Asks => asks_for_refresh(auth, now),
        _ => is_due_before(auth, now),
    }
}

pub(super) fn is_due_before(auth: &Auth, moment: crate::Timestamp) -> bool {
    match due_in_pool(auth, 0.0) {
        Due::Never => false,
        Due::Asks => true,
        Due::At(at) => at < moment,
    }
}

fn being_refreshed(id: &str) -> Error {
    Error::new(
        ErrorCode::RefreshFailed,
        format!("another process is refreshing {id} and has not come to an end yet"),
    )
    .with_retryable(true)
    .with_auth_id(id)
}

/// How long a refresh in flight keeps the next one away, as far as the record shows.
const PENDING: Duration = Duration::from_secs(60);

/// How long another process may refresh the same record before this one gives up for the moment.
const LOCK_WAIT: Duration = Duration::from_secs(10);

const LEAST_DEFERRAL: Duration = Duration::from_secs(1);

/// Status messages of a record whose refresh failed.
const FAILED: &str = "refresh failed";
const NEEDS_LOGIN: &str = "needs login";
