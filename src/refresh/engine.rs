//! One refresh: call the executor, make the new tokens durable, publish them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use parking_lot::Mutex;

use crate::Timestamp;
use crate::auth::{Auth, Status};
use crate::cancel::CancelToken;
use crate::clock::later;
use crate::error::{Error, ErrorCode};
use crate::executor::Attempt;
use crate::policy::refuses_token;
use crate::registry::Unsaved;
use crate::runtime::{Lane, WaitFor, guard};
use crate::services::Services;

use super::decide::{Due, due_in_pool};
use super::merge::merge;

/// Runs refreshes on the refresh lane: at most one for a credential at a time, whoever asks.
#[derive(Debug)]
pub(crate) struct RefreshEngine {
    pub(super) services: Arc<Services>,
    /// The credentials in flight, and who waits for each.
    flights: Mutex<HashMap<Arc<str>, Vec<Sender<Refreshed>>>>,
    /// Credentials whose due time may have changed; nothing while no refresher listens.
    changed: Mutex<Option<HashSet<String>>>,
    wake: Sender<()>,
    woken: Receiver<()>,
}

type Refreshed = Result<Arc<Auth>, Error>;

/// A refresh that has begun. Dropped without an answer, it tells those who wait.
struct Flight {
    engine: Arc<RefreshEngine>,
    id: Arc<str>,
    answer: Option<Refreshed>,
}

impl RefreshEngine {
    pub(crate) fn new(services: Arc<Services>) -> Self {
        let (wake, woken) = crossbeam_channel::bounded(1);
        Self {
            services,
            flights: Mutex::default(),
            changed: Mutex::default(),
            wake,
            woken,
        }
    }

    /// Refreshes a credential now and waits for the outcome. One that is in flight already is not asked for again.
    pub(crate) fn refresh_now(self: &Arc<Self>, id: &str) -> Refreshed {
        let (tell, told) = crossbeam_channel::bounded(1);
        self.take_off(id, Some(tell))?;
        told.recv().unwrap_or_else(|_| Err(cut_off(id)))
    }

    /// Starts a refresh unless one is in flight.
    pub(super) fn take_off(
        self: &Arc<Self>,
        id: &str,
        waiter: Option<Sender<Refreshed>>,
    ) -> Result<(), Error> {
        if !self.services.registry.contains(id) {
            return Err(not_found(id));
        }
        let id: Arc<str> = id.into();
        {
            let mut flights = self.flights.lock();
            if let Some(waiters) = flights.get_mut(&id) {
                waiters.extend(waiter);
                return Ok(());
            }
            flights.insert(Arc::clone(&id), waiter.into_iter().collect());
        }
        let flight = Flight {
            engine: Arc::clone(self),
            id,
            answer: None,
        };
        let wait = WaitFor {
            deadline: None,
            cancel: None,
        };
        let slot = self.services.pool.reserve(Lane::Refreshes, wait)?;
        self.services.pool.run(slot, move || flight.fly())
    }

    /// Tells the refresher that a credential's due time may have changed.
    pub(crate) fn note_change(&self, id: &str) {
        if let Some(changed) = &mut *self.changed.lock() {
            changed.insert(id.to_owned());
        } else {
            return;
        }
        let _ = self.wake.try_send(());
    }

    /// Begins or ends listening for changes.
    pub(super) fn listen(&self, on: bool) {
        *self.changed.lock() = on.then(HashSet::new);
    }

    pub(super) fn take_changed(&self) -> HashSet<String> {
        self.changed
            .lock()
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    pub(super) fn woken(&self) -> Receiver<()> {
        self.woken.clone()
    }

    /// The whole of one refresh, on a worker.
    fn refresh(&self, id: &str) -> Refreshed {
        let services = &self.services;
        let pending = later(services.clock.now(), PENDING);
        let base = services
            .registry
            .modify(id, |auth| auth.next_refresh_after = Some(pending))
            .ok_or_else(|| not_found(id))?;
        match self.ask(&base) {
            Ok(new) => self.publish(&base, &new),
            Err(error) => Err(self.put_off(id, error)),
        }
    }

    fn ask(&self, base: &Auth) -> Result<Auth, Error> {
        let services = &self.services;
        let (provider, executor) = services.executors.find(&base.provider)?;
        let attempt = Attempt {
            number: 1,
            deadline: None,
            // Tied to no caller: the answer to a refresh may be the only copy of a token.
            cancel: CancelToken::new(),
            clock: Arc::clone(&services.clock),
            transport: Arc::clone(&services.transport),
        };
        guard(
            || format!("the executor for {provider}"),
            || executor.refresh(&attempt, base),
        )
        .flatten()
    }

    /// Durable first, then in use. Only where the store fails are the tokens used from memory, and written later.
    fn publish(&self, base: &Auth, new: &Auth) -> Refreshed {
        let services = &self.services;
        let id = base.id.as_str();
        let _turn = services.keeper.turn(id)?;
        let current = services.registry.get(id).ok_or_else(|| not_found(id))?;
        let now = services.clock.now();
        let change = |auth: &mut Auth| {
            merge(base, new, auth);
            succeeded(auth, now);
        };
        let mut durable = (*current).clone();
        drop(current);
        change(&mut durable);
        let saved = services.keeper.save(&durable);
        let auth = services
            .registry
            .modify(id, change)
            .ok_or_else(|| not_found(id))?;
        services.registry.count_refresh_failure(id, false);
        if let Err(error) = saved {
            log::error!(
                "the refreshed tokens of {id} are in use but could not be saved, trying again: {error}"
            );
            if services.registry.mark_unsaved(id, Unsaved::Record) {
                services.keeper.note(id.into());
            }
        }
        log::info!("refreshed {id}");
        services.hooks.updated(&auth);
        Ok(auth)
    }

    /// Notes a failed refresh and when to try again.
    fn put_off(&self, id: &str, error: Error) -> Error {
        let services = &self.services;
        let error = error.about(id);
        let now = services.clock.now();
        if *error.code() == ErrorCode::Unsupported {
            log::debug!("{id} cannot be refreshed: {error}");
            services.registry.modify(id, |auth| {
                auth.next_refresh_after = Some(later(now, CANNOT_REFRESH));
            });
            return error;
        }
        let failures = services.registry.count_refresh_failure(id, true);
        let again = later(now, back_off(failures));
        log::warn!("the refresh of {id} failed ({failures} in a row), next at {again}: {error}");
        let changed = services.registry.modify(id, |auth| {
            auth.next_refresh_after = Some(again);
            auth.last_error = Some(error.recorded());
            auth.status_message = if *error.code() == ErrorCode::NeedsLogin {
                "needs login".to_owned()
            } else {
                "refresh failed".to_owned()
            };
            if auth.status != Status::Disabled {
                auth.status = Status::Error;
            }
            auth.updated_at = Some(now);
        });
        if let Some(auth) = changed {
            if services.registry.mark_unsaved(id, Unsaved::State) {
                services.keeper.note(id.into());
            }
            services.hooks.updated(&auth);
        }
        error
    }
}

impl Flight {
    fn fly(mut self) {
        self.answer = Some(self.engine.refresh(&self.id));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let waiters = self.engine.flights.lock().remove(&self.id);
        let answer = self.answer.take().unwrap_or_else(|| Err(cut_off(&self.id)));
        for waiter in waiters.into_iter().flatten() {
            let _ = waiter.try_send(answer.clone());
        }
        self.engine.note_change(&self.id);
    }
}

/// What a success means for the record, beside its tokens.
fn succeeded(auth: &mut Auth, now: Timestamp) {
    auth.last_refreshed_at = Some(now);
    auth.updated_at = Some(now);
    auth.last_error = None;
    // What the old token was refused says nothing of the new one.
    for state in auth.model_states.values_mut() {
        let refused = state.last_error.as_ref().is_some_and(refuses_token);
        if refused && state.status == Status::Error {
            state.status = Status::Active;
            state.status_message.clear();
            state.unavailable = false;
            state.next_retry_after = None;
            state.last_error = None;
        }
    }
    let out = |state: &crate::ModelState| state.status == Status::Error;
    if auth.status != Status::Disabled && !auth.model_states.values().any(out) {
        auth.status = Status::Active;
        auth.status_message.clear();
        auth.unavailable = false;
        auth.next_retry_after = None;
    }
    // Tokens that are due again at once must not be refreshed at once.
    let soon = later(now, LEAST_GAP);
    if let Due::At(at) = due_in_pool(auth)
        && at < soon
    {
        auth.next_refresh_after = Some(soon);
    }
}

fn back_off(failures: u32) -> Duration {
    LEAST_GAP
        .saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)))
        .min(MOST_BACK_OFF)
}

fn not_found(id: &str) -> Error {
    Error::new(
        ErrorCode::AuthNotFound,
        format!("no credential {id} is registered"),
    )
    .with_auth_id(id)
}

fn cut_off(id: &str) -> Error {
    Error::new(
        ErrorCode::RefreshFailed,
        format!("the refresh of {id} was cut off before it was done"),
    )
    .with_auth_id(id)
}

/// How long a refresh in flight keeps the next one away.
const PENDING: Duration = Duration::from_secs(60);

/// Between two refreshes of one credential, whatever they say.
const LEAST_GAP: Duration = Duration::from_secs(30);
const MOST_BACK_OFF: Duration = Duration::from_secs(300);

/// Until an executor that cannot refresh is asked again: it may have been replaced.
const CANNOT_REFRESH: Duration = Duration::from_secs(3600);
