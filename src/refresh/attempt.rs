//! One refresh attempt: the work of each state of the [`machine`](super::machine).

mod endings;
mod intents;
mod saving;

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::select;

use super::backoff::Failure;
use super::coordinator::{Done, RefreshCoordinator};
use super::endpoint_backoff::client;
use super::lock::RefreshLock;
use super::machine::{End, Event, State};
use crate::auth::{Auth, GrantToken, same_tokens};
use crate::clock::{Timestamp, deadline, later};
use crate::error::{Error, ErrorCode};
use crate::executor::Attempt;
use crate::panic::guard;
use crate::registry::release;
use crate::store::Intent;

/// The whole of one refresh, on a worker.
pub(super) fn run(coordinator: &Arc<RefreshCoordinator>, id: &Arc<str>) -> Done {
    let Some(base) = coordinator.services.registry.get(id) else {
        return Done::failed(Error::not_registered(id));
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
        refused: None,
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
    /// How often the executor was called.
    calls: u32,
    answer: Option<Auth>,
    /// The refresh token that no other credential sends meanwhile.
    sending: Option<GrantToken>,
    /// The answer holds a new refresh token, and no access token that is good.
    is_half: bool,
    failure: Option<(Failure, Error)>,
    /// The record whose refresh token the token endpoint takes no more.
    refused: Option<Arc<Auth>>,
    /// The record with its new tokens.
    renewed: Option<Arc<Auth>>,
}

impl RefreshAttempt<'_> {
    fn perform(&mut self, state: State) -> Event {
        match state {
            State::Begun => self.begin(),
            State::Locking => self.take_lock(),
            State::LookingAgain | State::Reading => self.look(),
            State::LockingCopies => self.lock_copies(),
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

    /// The event of a failure before anything was sent.
    fn not_sent(&mut self, error: Error, event: Event) -> Event {
        self.failed(Failure::NotSent, error);
        event
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
                "the token endpoint of credential {} rate limited the client; retry in {} s",
                self.id,
                left.as_secs().max(1)
            );
            let error = Error::new(ErrorCode::RefreshFailed, message).with_retry_after(left);
            return self.not_sent(error, Event::EndpointRests);
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
        self.wait_for_lock(self.id)
    }

    fn wait_for_lock(&mut self, id: &Arc<str>) -> Event {
        let services = &self.coordinator.services;
        let end = deadline(services.clock.monotonic(), LOCK_WAIT);
        loop {
            match self.lock.add(&services.store_handle, id, LOCK_STEP) {
                Ok(true) => return Event::Locked,
                Ok(false) if services.clock.monotonic() < end && !self.is_stopping() => {}
                Ok(false) => return self.not_sent(being_refreshed(self.id), Event::Busy),
                Err(error) => return self.not_sent(error, Event::StoreFailed),
            }
        }
    }

    /// Merges the stored record.
    fn look(&mut self) -> Event {
        let current = match self.coordinator.reread(self.id) {
            Ok(Some(current)) => current,
            Ok(None) => return Event::Gone,
            Err(error) => return self.not_sent(error, Event::StoreFailed),
        };
        let former = std::mem::replace(&mut self.base, current);
        let other = !same_tokens(former.metadata.as_ref(), self.base.metadata.as_ref());
        // A command tries once more, but does not repeat a request that another process has just made.
        let is_news = self.base.is_revoked() && !former.is_revoked();
        if is_news || self.base.is_revoked() && !self.is_commanded() {
            Event::Refused
        } else if other && !self.coordinator.is_due(&self.base) {
            Event::Renewed
        } else {
            self.follow().unwrap_or(Event::Due)
        }
    }

    /// Takes the locks of the other credentials that hold the tokens: another process may know one of them alone, and refresh that.
    fn lock_copies(&mut self) -> Event {
        if self.base.is_runtime_only() {
            return Event::Locked;
        }
        for id in self.coordinator.followers(&self.base) {
            if self.lock.has(&id) {
                continue;
            }
            match self.wait_for_lock(&id) {
                Event::Locked => {}
                other => return other,
            }
            if let Err(error) = self.coordinator.reread(&id) {
                return self.not_sent(error, Event::StoreFailed);
            }
            self.coordinator.note_change(&id);
        }
        self.follow().unwrap_or(Event::Locked)
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
            Err(error) => Some(self.not_sent(error, Event::StoreFailed)),
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
            Failure::LoginOver => {
                self.refused = Some(Arc::clone(&self.base));
                Event::TokenRefused
            }
            // Immediately: servers that forgive a lost answer do so for a few seconds.
            Failure::InDoubt if self.tries == 1 => {
                log::warn!(
                    "credential {}: the response to its refresh was lost; retrying once: {error}",
                    self.id
                );
                Event::Lost
            }
            _ => Event::Failed,
        };
        self.failed(failure, error);
        event
    }

    /// The token endpoint takes the refresh token no more. Perhaps another program has used it: then there is a newer one, or will be
    /// in a moment.
    fn confirm(&mut self) -> Event {
        match self.look_for_newer() {
            // It is due by itself, and was not refused.
            Event::Due if self.has_other_login() => Event::Renewed,
            event => event,
        }
    }

    fn look_for_newer(&mut self) -> Event {
        let first = self.look();
        let is_shared =
            self.coordinator.services.store_handle.has_store() && !self.base.is_runtime_only();
        // Of a token that was refused long ago there is no newer one in a moment.
        let is_settled = self.base.is_revoked() || self.has_other_login();
        if first != Event::Due || !is_shared || is_settled {
            return first;
        }
        self.pause(ANOTHER_PROGRAM);
        self.look()
    }

    /// Whether the record has another login by now than the one that was refused.
    fn has_other_login(&self) -> bool {
        let refused = self.refused.as_ref();
        refused.is_some_and(|refused| refused.grant_token() != self.base.grant_token())
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
            over_new_connection: false,
            tools: Arc::clone(&services.tools),
        };
        guard(
            || format!("the executor for {}", provider.name),
            || executor.refresh(&attempt, base),
        )
        .flatten()
    }
}

/// The generation of each record that holds the tokens of `base`.
fn generations<'a>(
    coordinator: &'a RefreshCoordinator,
    base: &'a Auth,
) -> impl Fn(&str) -> Option<u64> + use<'a> {
    move |id| {
        if *id == *base.id {
            return Some(base.generation());
        }
        let auth = coordinator.services.registry.get(id)?;
        (auth.grant_token() == base.grant_token()).then(|| auth.generation())
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
        "the login of credential {} has expired or was revoked: log in again, or call refresh to try the token endpoint once more",
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
    let what = format!("credential {id} is already being refreshed by another process");
    not_begun(id, what)
}

fn sent_for_another(id: &str) -> Error {
    let what = format!(
        "the tokens of credential {id} are already being refreshed, for another credential that holds them"
    );
    not_begun(id, what)
}

fn not_begun(id: &str, what: String) -> Error {
    let error = Error::new(ErrorCode::RefreshFailed, what);
    error.with_retryable(true).with_auth_id(id)
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

/// How long the store may take to note an intent; beyond, others may have waited it out before its request has ended, and what was
/// looked at before is old.
const MOST_TO_NOTE: Duration = WAIT_OUT.saturating_sub(LONGEST_REQUEST);

/// How long another program, which has used the token, may take to make the next one durable.
const ANOTHER_PROGRAM: Duration = Duration::from_secs(2);
