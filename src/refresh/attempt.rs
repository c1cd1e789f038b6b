//! One refresh: what is done in each state of the [`machine`](super::machine).

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::select;

use super::backoff::{Failure, Setback, back_off, pause_after};
use super::coordinator::{Done, RefreshCoordinator, not_found};
use super::due::{Due, asks_for_refresh, due_in_pool, is_due_before};
use super::endpoint_backoff::client;
use super::health::RefreshEvent;
use super::lock::RefreshLock;
use super::machine::{End, Event, State};
use super::state::Deferrals;
use crate::auth::{Auth, GrantToken, Status, same_tokens};
use crate::clock::{Timestamp, deadline, later};
use crate::error::{Error, ErrorCode};
use crate::executor::Attempt;
use crate::registry::{Unsaved, release};
use crate::runtime::guard;
use crate::store::{Committed, Intent, Missing};

/// The whole of one refresh, on a worker.
pub(super) fn run(coordinator: &Arc<RefreshCoordinator>, id: &Arc<str>) -> Done {
    let Some(base) = coordinator.services.registry.get(id) else {
        return Done::failed(not_found(id));
    };
    let mut attempt = RefreshAttempt {
        coordinator,
        id,
        base,
        lock: RefreshLock::default(),
        unfinished: None,
        tries: 0,
        calls: 0,
        answer: None,
        sending: None,
        is_half: false,
        failure: None,
        renewed: None,
    };
    let mut state = State::Begun;
    loop {
        if let State::Ended(end) = state {
            coordinator.end_sending(attempt.sending.take());
            let base = Arc::clone(&attempt.base);
            let done = attempt.end(end);
            coordinator
                .states
                .note(id, &base, |state| state.commanded = false);
            release(base);
            coordinator.pending_saves.done(id);
            return done;
        }
        let event = attempt.perform(state);
        state = state.after(event).unwrap_or_else(|| {
            log::error!("credential {id}: a refresh cannot meet {event:?} in {state:?}");
            State::Ended(End::Deferred)
        });
    }
}

struct RefreshAttempt<'a> {
    coordinator: &'a Arc<RefreshCoordinator>,
    id: &'a Arc<str>,
    /// The record that is refreshed.
    base: Arc<Auth>,
    lock: RefreshLock,
    /// The intent of an earlier refresh that came to no end.
    unfinished: Option<Intent>,
    /// How often the refresh token has been sent, this time included.
    tries: u32,
    /// How often the executor was asked.
    calls: u32,
    answer: Option<Auth>,
    /// The refresh token that no other credential sends meanwhile.
    sending: Option<GrantToken>,
    /// The answer holds a new refresh token, and no access token that is good.
    is_half: bool,
    failure: Option<(Failure, Error)>,
    /// The record with its new tokens.
    renewed: Option<Arc<Auth>>,
}

impl RefreshAttempt<'_> {
    fn perform(&mut self, state: State) -> Event {
        match state {
            State::Begun => self.begin(),
            State::Locking => self.take_lock(),
            State::LookingAgain | State::Reading => self.look(),
            State::ReadingIntent => self.read_intent(),
            State::NotingIntent => self.note_intent(),
            State::Sending => self.send(),
            State::Saving => self.save(),
            State::Confirming => self.confirm(),
            State::Ended(_) => Event::Failed,
        }
    }

    fn is_commanded(&self) -> bool {
        let state = self.coordinator.states.of(&self.base);
        state.is_some_and(|state| state.commanded)
    }

    fn failed(&mut self, failure: Failure, error: Error) {
        self.failure = Some((failure, error.about(self.id)));
    }

    fn begin(&mut self) -> Event {
        let services = &self.coordinator.services;
        if self.base.is_revoked() && !self.is_commanded() {
            return Event::Refused;
        }
        let now = services.clock.monotonic();
        let resting = self.coordinator.endpoints.left(&client(&self.base), now);
        if let Some(left) = resting {
            let message = format!(
                "the token endpoint of credential {} has asked for a pause of another {} s",
                self.id,
                left.as_secs().max(1)
            );
            let error = Error::new(ErrorCode::RefreshFailed, message).with_retry_after(left);
            self.failed(Failure::NotSent, error);
            return Event::EndpointRests;
        }
        // Shows that a refresh is under way.
        let pending = later(services.clock.now(), PENDING);
        self.coordinator
            .states
            .note(self.id, &self.base, |state| state.shown = Some(pending));
        let pending = |auth: &mut Auth| auth.next_refresh_after = Some(pending);
        if let Some(auth) = services.registry.modify(self.id, pending) {
            self.base = auth;
        }
        Event::MayBegin
    }

    fn take_lock(&mut self) -> Event {
        let services = &self.coordinator.services;
        if self.base.is_runtime_only() {
            return Event::Locked;
        }
        // It is held already where the last tokens are still to be saved. Should the store work again, this is the moment.
        if self.coordinator.pending_saves.has(self.id) {
            let _ = self.coordinator.save_pending(self.id);
        }
        if let Some(lock) = self.coordinator.pending_saves.take(self.id) {
            self.lock = lock;
            return Event::Locked;
        }
        let end = deadline(services.clock.monotonic(), LOCK_WAIT);
        loop {
            match RefreshLock::take(&services.keeper, self.id, LOCK_STEP) {
                Ok(Some(lock)) => {
                    self.lock = lock;
                    return Event::Locked;
                }
                Ok(None) if services.clock.monotonic() < end && !self.is_stopping() => {}
                Ok(None) => {
                    self.failed(Failure::NotSent, being_refreshed(self.id));
                    return Event::Busy;
                }
                Err(error) => {
                    self.failed(Failure::NotSent, error);
                    return Event::StoreFailed;
                }
            }
        }
    }

    /// Takes over what the store has by now.
    fn look(&mut self) -> Event {
        let current = match self.coordinator.reread(self.id) {
            Ok(Some(current)) => current,
            Ok(None) => return Event::Gone,
            Err(error) => {
                self.failed(Failure::NotSent, error);
                return Event::StoreFailed;
            }
        };
        let former = std::mem::replace(&mut self.base, current);
        let other = !same_tokens(former.metadata.as_ref(), self.base.metadata.as_ref());
        if self.base.is_revoked() && !self.is_commanded() {
            Event::Refused
        } else if other && !self.coordinator.is_due(&self.base) {
            Event::Renewed
        } else {
            self.follow().unwrap_or(Event::Due)
        }
    }

    /// Takes the tokens of another credential with the same login that has rotated them already.
    fn follow(&mut self) -> Option<Event> {
        let leader = self.coordinator.ahead_of(&self.base)?;
        match self.coordinator.follow(self.id, &leader) {
            Ok(Some(auth)) => {
                self.base = auth;
                Some(Event::Renewed)
            }
            Ok(None) => Some(Event::Gone),
            Err(error) => {
                self.failed(Failure::NotSent, error);
                Some(Event::StoreFailed)
            }
        }
    }

    fn read_intent(&mut self) -> Event {
        let intent = match self.lock.intent() {
            Ok(intent) => intent.filter(|intent| intent.generation == self.base.generation()),
            Err(error) => {
                self.failed(Failure::NotSent, error);
                return Event::StoreFailed;
            }
        };
        let now = self.coordinator.services.clock.monotonic();
        let holder_is_dead = self.lock.holder_is_dead();
        let since_loss = self.coordinator.since_loss(now).filter(|_| !holder_is_dead);
        let (in_doubt, left) = self.coordinator.states.note(self.id, &self.base, |state| {
            let own = intent
                .as_ref()
                .is_none_or(|intent| intent.tries <= state.in_doubt);
            if own || holder_is_dead {
                state.seen_intent = None;
                // A store that has lost something may have lost the intent of a request that is under way.
                let left = since_loss.map(|since| WAIT_OUT.saturating_sub(since));
                return (state.in_doubt, left.unwrap_or_default());
            }
            let seen = state.seen_intent.take();
            let seen = seen.filter(|(seen, _)| Some(seen) == intent.as_ref());
            let since = seen.map_or(now, |(_, since)| since);
            state.seen_intent = intent.clone().map(|intent| (intent, since));
            let waited = now.saturating_duration_since(since);
            (state.in_doubt, WAIT_OUT.saturating_sub(waited))
        });
        if !left.is_zero() {
            let message = format!(
                "another process has begun to refresh credential {} and may still be at it; its refresh token is sent again in {} s, unless new tokens come before",
                self.id,
                left.as_secs().max(1)
            );
            let error = Error::new(ErrorCode::RefreshFailed, message).with_retry_after(left);
            self.failed(Failure::NotSent, error.with_retryable(true));
            return Event::MayBeUnderWay;
        }
        let sent = intent.as_ref().map_or(0, |intent| intent.tries);
        if sent > in_doubt {
            log::warn!(
                "credential {}: the answer to its last refresh was lost; trying once more",
                self.id
            );
        }
        self.tries = sent.max(in_doubt);
        self.unfinished = intent;
        if !self.coordinator.begin_sending(self.base.grant_token()) {
            self.failed(Failure::NotSent, being_refreshed(self.id));
            return Event::MayBeUnderWay;
        }
        self.sending = self.base.grant_token();
        Event::Clear
    }

    fn note_intent(&mut self) -> Event {
        self.tries = self.tries.saturating_add(1);
        let now = self.coordinator.services.clock.now();
        let intent = Intent::new(self.base.generation(), now).with_tries(self.tries);
        match self.lock.set_intent(Some(&intent)) {
            Ok(()) => Event::Noted,
            Err(error) => {
                self.tries -= 1;
                self.failed(Failure::NotSent, error);
                Event::StoreFailed
            }
        }
    }

    fn send(&mut self) -> Event {
        self.calls += 1;
        let error = match self.coordinator.call(&self.base, self.calls) {
            Ok(answer) => {
                let now = self.coordinator.services.clock.now();
                // Once only: the token endpoint may have nothing better to give.
                self.is_half = self.calls == 1 && is_half(&self.base, &answer, now);
                self.answer = Some(answer);
                return if self.is_half {
                    Event::HalfAnswered
                } else {
                    Event::Answered
                };
            }
            Err(error) => error,
        };
        let failure = Failure::of(&error);
        let event = match failure {
            Failure::LoginOver => Event::TokenRefused,
            // Immediately: servers that forgive a lost answer do so for a few seconds.
            Failure::InDoubt if self.tries == 1 => {
                log::warn!(
                    "credential {}: the answer to its refresh was lost; trying once more: {error}",
                    self.id
                );
                Event::Lost
            }
            _ => Event::Failed,
        };
        self.failed(failure, error);
        event
    }

    /// Makes the answer durable. Where the store fails, the tokens are used from memory, and saved later.
    fn save(&mut self) -> Event {
        let coordinator = self.coordinator;
        let services = &coordinator.services;
        let id = &**self.id;
        let Some(answer) = self.answer.take() else {
            return Event::OtherLogin;
        };
        let Ok(turn) = services.keeper.turn(id) else {
            return Event::OtherLogin;
        };
        let Some(current) = services.registry.get(id) else {
            log::info!(
                "credential {id} was removed during its refresh: the new tokens are dropped"
            );
            return Event::Gone;
        };
        let (now, monotonic) = (services.clock.now(), services.clock.monotonic());
        let mut renewed = true;
        let mut put = |record: &mut Auth| {
            renewed = record.merge_refreshed(&self.base, &answer);
            if renewed {
                record.last_refreshed_at = Some(now);
                let soon = later(now, coordinator.gap);
                if is_due_before(record, soon) {
                    record.next_refresh_after = record.next_refresh_after.max(Some(soon));
                }
            }
            Ok(())
        };
        let committed = services.keeper.commit(&current, &mut put);
        let (record, failed) = match committed {
            Ok(Committed::Saved(record)) => (*record, None),
            Ok(Committed::Removed) => {
                drop(turn);
                coordinator.let_go(id);
                return Event::Gone;
            }
            Err(error) => {
                let mut record = (*current).clone();
                let _ = put(&mut record);
                (record, Some(error))
            }
        };
        release(current);
        let former = Arc::clone(&self.base);
        let shown = record.next_refresh_after;
        let Some(auth) = coordinator.publish(self.id, record, true) else {
            return Event::Gone;
        };
        drop(turn);
        if !renewed {
            log::info!("credential {id} got another login during its refresh: that one stays");
            // Others may have the login that was refreshed.
            let mut led = (*former).clone();
            led.merge_refreshed(&former, &answer);
            coordinator.lead(&former, &led);
            self.renewed = Some(auth);
            return Event::OtherLogin;
        }
        coordinator.states.note(self.id, &auth, |state| {
            state.not_before = Some(deadline(monotonic, coordinator.gap));
            // What the executor itself asked for is its own affair.
            state.shown = shown.filter(|shown| *shown == later(now, coordinator.gap));
            state.in_doubt = 0;
            state.cannot_refresh = false;
        });
        self.base = Arc::clone(&auth);
        self.renewed = Some(auth);
        self.tries = 0;
        match failed {
            None => {
                coordinator.lead(&former, &self.base);
                if self.is_half {
                    Event::HalfSaved
                } else {
                    Event::Saved
                }
            }
            Some(error) => {
                self.failed(Failure::NotSent, error);
                Event::StoreFailed
            }
        }
    }

    /// The token endpoint takes the refresh token no more. Perhaps another program has used it: then there is a newer one, or will be
    /// in a moment.
    fn confirm(&mut self) -> Event {
        let first = self.look();
        let is_shared =
            self.coordinator.services.keeper.has_store() && !self.base.is_runtime_only();
        if first != Event::Due || !is_shared {
            return first;
        }
        self.pause(ANOTHER_PROGRAM);
        self.look()
    }

    fn end(mut self, end: End) -> Done {
        let (failure, error) = match self.failure.take() {
            Some((failure, error)) => (failure, error),
            None => (Failure::Refused, super::coordinator::cut_off(self.id)),
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
        self.coordinator.states.note(self.id, &self.base, |state| {
            state.not_before = Some(deadline(services.clock.monotonic(), left));
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
            let end = deadline(
                services.clock.monotonic(),
                asked.min(super::backoff::MOST_ASKED),
            );
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
            tokens_ended: has_ended(base, now),
        };
        let chance = services.random.fraction();
        let wait = pause_after(setback, error, self.coordinator.gap, chance);
        let again = (failure != Failure::LoginOver).then(|| later(now, wait));
        self.coordinator.states.note(id, base, |state| {
            state.not_before = Some(deadline(services.clock.monotonic(), wait));
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

    fn is_stopping(&self) -> bool {
        self.coordinator.services.pool.stopping().is_cancelled()
    }

    /// Waits, as long as no shutdown is in a hurry.
    fn pause(&self, wait: Duration) {
        let timer = self.coordinator.services.clock.after(wait);
        select! {
            recv(timer) -> _ => {}
            recv(self.coordinator.services.pool.stopping().cancelled()) -> _ => {}
        }
    }
}

impl RefreshCoordinator {
    /// Takes over what the store has by now: the record then. `None` where it is gone.
    fn reread(&self, id: &str) -> Result<Option<Arc<Auth>>, Error> {
        let services = &self.services;
        let Some(current) = services.registry.get(id) else {
            return Ok(None);
        };
        if current.is_runtime_only() || !services.keeper.has_store() {
            return Ok(Some(current));
        }
        release(current);
        let turn = services.keeper.turn(id)?;
        match services.keeper.load(id)? {
            Some(stored) => {
                self.take_over(id, stored);
            }
            None if services.keeper.missing(id)? == Missing::Removed => {
                drop(turn);
                self.let_go(id);
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
            log::info!("the store has newer tokens of credential {id}: they are taken over");
        }
        let refreshed_at = record.last_refreshed_at;
        let is_refreshed = merged.renewed && refreshed_at.is_some() && refreshed_at != last;
        let auth = self.publish(id, record, merged.renewed);
        if let Some(auth) = auth.as_ref().filter(|_| is_refreshed) {
            // Another process has just refreshed it, whatever its clock shows.
            let not_before = deadline(services.clock.monotonic(), self.gap);
            self.states.note(&id.into(), auth, |state| {
                state.not_before = Some(not_before);
            });
        }
        if merged.behind {
            self.note_loss();
            log::warn!(
                "the store has older tokens of credential {id} than those in use: it is written again"
            );
            if services.registry.mark_unsaved(id, Unsaved::Record) {
                services.keeper.note(id.into());
            }
        }
        auth
    }

    /// Puts a record that is durable, or is to be, in use. The caller has the record's turn: nothing but results can have come in
    /// since it was read, and they leave these parts alone.
    pub(crate) fn publish(&self, id: &str, record: Auth, renewed: bool) -> Option<Arc<Auth>> {
        let services = &self.services;
        if !renewed {
            return services
                .registry
                .modify(id, |auth| auth.take_durable(record));
        }
        let now = services.clock.now();
        let auth = services
            .registry
            .renew(id, now, |auth| auth.take_durable(record));
        // What the renewal changed beside the tokens.
        if auth.is_some() && services.registry.mark_unsaved(id, Unsaved::State) {
            services.keeper.note(id.into());
        }
        auth
    }

    /// The record was removed from the store.
    pub(super) fn let_go(&self, id: &str) {
        if let Some(removed) = self.services.registry.remove(id) {
            log::info!("credential {id} was removed from the store");
            self.services.hooks.removed(&removed);
        }
    }

    /// Gives the others that hold the login its new tokens.
    fn lead(&self, former: &Auth, leader: &Auth) {
        for id in self.followers(former) {
            match self.follow(&id, leader) {
                Ok(Some(auth)) => {
                    log::warn!(
                        "credential {id} has the same login as {}: it follows it; keep one of the two",
                        leader.id
                    );
                    self.note_change(&id);
                    self.services.hooks.updated(&auth);
                }
                Ok(None) => {}
                Err(error) => {
                    log::warn!(
                        "credential {id} could not be given the new tokens of {}: {error}",
                        leader.id
                    );
                }
            }
        }
    }

    /// Gives a credential the tokens of another one with the same login. `None` where it is gone.
    fn follow(&self, id: &str, leader: &Auth) -> Result<Option<Arc<Auth>>, Error> {
        let services = &self.services;
        let turn = services.keeper.turn(id)?;
        let Some(current) = services.registry.get(id) else {
            return Ok(None);
        };
        let committed = services.keeper.commit(&current, &mut |record: &mut Auth| {
            if record.grant_token() != leader.grant_token() {
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

    /// A refresh that could not even begin: the tokens stay as they are, and it is tried again soon.
    fn defer(&self, id: &Arc<str>, error: &Error) -> Done {
        let services = &self.services;
        let Some(auth) = services.registry.get(id) else {
            return Done::failed(not_found(id));
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
            let again = later(now, wait);
            state.not_before = Some(deadline(monotonic, wait));
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

    fn call(&self, base: &Auth, number: u32) -> Result<Auth, Error> {
        let services = &self.services;
        let provider = services.executors.provider(&base.provider);
        let executor = provider.executor()?;
        let attempt = Attempt {
            number,
            // Another process counts on it, where it cannot know whether this one lives.
            deadline: Some(deadline(services.clock.monotonic(), LONGEST_REQUEST)),
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

    /// Whether a record is due for another refresh already.
    fn is_due(&self, auth: &Auth) -> bool {
        let now = self.services.clock.now();
        match due_in_pool(auth, 0.0) {
            Due::Asks => asks_for_refresh(auth, now),
            _ => is_due_before(auth, now),
        }
    }
}

/// Whether an answer brought a new refresh token and no access token: then the executor has set the end of the old one.
fn is_half(base: &Auth, answer: &Auth, now: Timestamp) -> bool {
    answer.grant_token() != base.grant_token()
        && answer.access_token() == base.access_token()
        && answer.expiration_time() != base.expiration_time()
        && has_ended(answer, now)
}

fn has_ended(auth: &Auth, now: Timestamp) -> bool {
    auth.awaits_first_token() || auth.expiration_time().at().is_some_and(|end| end <= now)
}

fn known_revoked(auth: &Auth) -> Error {
    let what = format!(
        "the login of credential {} is over: log in again, or refresh it by command to have the token endpoint asked once more",
        auth.id
    );
    let error = Error::new(ErrorCode::NeedsLogin, what).with_auth_id(&auth.id);
    match &auth.last_error {
        Some(last) if last.is_retryable() => error.with_source(last.clone()).with_retryable(false),
        Some(last) => error.with_source(last.clone()),
        None => error,
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
/// How long it waits in the store for that, until it looks again whether a shutdown is in a hurry.
const LOCK_STEP: Duration = Duration::from_millis(100);

/// The longest that one request to a token endpoint takes.
const LONGEST_REQUEST: Duration = Duration::from_secs(30);

/// How long an intent is waited out whose holder may live: its request, and the time until it knows that it has begun.
const WAIT_OUT: Duration = Duration::from_secs(35);

const LEAST_DEFERRAL: Duration = Duration::from_secs(1);

/// How long another program, which has used the token, may take to make the next one durable.
const ANOTHER_PROGRAM: Duration = Duration::from_secs(2);
