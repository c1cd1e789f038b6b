//! One refresh: call the executor, make the new tokens durable, publish them.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, select};
use parking_lot::Mutex;

use crate::auth::{Auth, Status};
use crate::cancel::Never;
use crate::clock::later;
use crate::error::{Error, ErrorCode};
use crate::executor::Attempt;
use crate::registry::Unsaved;
use crate::runtime::{Lane, WaitFor, guard};
use crate::services::Services;

use super::decide::{Due, due_in_pool};
use super::inbox::Mailbox;
use super::merge::merge;

/// Runs refreshes on the refresh lane: at most one for a credential at a time, whoever asks.
#[derive(Debug)]
pub(crate) struct RefreshEngine {
    pub(super) services: Arc<Services>,
    flights: Mutex<HashMap<Arc<str>, InFlight>>,
    pub(super) mailbox: Mailbox,
}

/// A credential that is being refreshed.
#[derive(Debug, Default)]
struct InFlight {
    /// Who wants to hear of the outcome.
    waiters: Vec<Sender<Refreshed>>,
    /// The worker that does it.
    worker: Option<ThreadId>,
}

type Refreshed = Result<Arc<Auth>, Error>;

/// A refresh that has begun. Dropped without an answer, it tells those who wait.
struct Flight {
    engine: Arc<RefreshEngine>,
    id: Arc<str>,
    done: Option<Done>,
}

/// How a refresh ended.
struct Done {
    outcome: Refreshed,
    /// The record to tell the hook of.
    changed: Option<Arc<Auth>>,
}

impl RefreshEngine {
    pub(crate) fn new(services: Arc<Services>) -> Self {
        Self {
            services,
            flights: Mutex::default(),
            mailbox: Mailbox::default(),
        }
    }

    /// Refreshes a credential now and waits for the outcome. One that is in flight already is not asked for again.
    pub(crate) fn refresh_now(self: &Arc<Self>, id: &str) -> Refreshed {
        let never = crossbeam_channel::never();
        self.refresh_while(id, &crossbeam_channel::never(), &never)
            .unwrap_or_else(|| Err(cut_off(id)))
    }

    /// As [`refresh_now`](Self::refresh_now), but does not wait beyond either of the two. The refresh goes on all the same.
    pub(crate) fn refresh_while(
        self: &Arc<Self>,
        id: &str,
        late: &Receiver<Instant>,
        cancelled: &Receiver<Never>,
    ) -> Option<Refreshed> {
        let (tell, told) = crossbeam_channel::bounded(1);
        if let Err(error) = self.take_off(id, Some(tell)) {
            return Some(Err(error));
        }
        select! {
            recv(told) -> outcome => Some(outcome.unwrap_or_else(|_| Err(cut_off(id)))),
            recv(late) -> _ => None,
            recv(cancelled) -> _ => None,
        }
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
        if self.flights.lock().contains_key(id) {
            return self.join(id, waiter);
        }
        // A worker first: a flight that nobody flies must not begin.
        let wait = WaitFor {
            deadline: None,
            cancel: None,
        };
        let slot = self.services.pool.reserve(Lane::Refreshes, wait)?;
        let id: Arc<str> = id.into();
        {
            let mut flights = self.flights.lock();
            if flights.contains_key(&id) {
                drop(flights);
                return self.join(&id, waiter);
            }
            let in_flight = InFlight {
                waiters: waiter.into_iter().collect(),
                worker: None,
            };
            flights.insert(Arc::clone(&id), in_flight);
        }
        let flight = Flight {
            engine: Arc::clone(self),
            id,
            done: None,
        };
        self.services.pool.run(slot, move || flight.fly())
    }

    /// Waits with the others for a refresh that is in flight.
    fn join(self: &Arc<Self>, id: &str, waiter: Option<Sender<Refreshed>>) -> Result<(), Error> {
        let mut flights = self.flights.lock();
        let Some(in_flight) = flights.get_mut(id) else {
            drop(flights);
            // It has landed in this moment.
            return self.take_off(id, waiter);
        };
        if waiter.is_some() && in_flight.worker == Some(std::thread::current().id()) {
            return Err(Error::new(
                ErrorCode::Conflict,
                format!("the refresh of {id} asks for itself"),
            )
            .with_auth_id(id));
        }
        in_flight.waiters.extend(waiter);
        Ok(())
    }

    /// Tells the refresher that a credential's due time may have changed.
    pub(crate) fn note_change(&self, id: &str) {
        self.mailbox.post(id);
    }

    /// The whole of one refresh, on a worker.
    fn refresh(&self, id: &str) -> Done {
        let services = &self.services;
        let pending = later(services.clock.now(), PENDING);
        let registration = services.registry.registration(id);
        let base = services
            .registry
            .modify(id, |auth| auth.next_refresh_after = Some(pending));
        let (Some(base), Some(registration)) = (base, registration) else {
            return Done::failed(not_found(id));
        };
        match self.ask(&base) {
            Ok(new) => self.publish(&base, &new, registration),
            Err(error) => self.put_off(id, registration, error),
        }
    }

    fn ask(&self, base: &Auth) -> Result<Auth, Error> {
        let services = &self.services;
        let (provider, executor) = services.executors.find(&base.provider)?;
        let attempt = Attempt {
            number: 1,
            deadline: None,
            // Tied to no caller: the answer to a refresh may be the only copy of a token. Only a shutdown that has waited
            // for as long as it may ends it.
            cancel: services.pool.stopping().clone(),
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
    fn publish(&self, base: &Auth, new: &Auth, registration: u64) -> Done {
        let services = &self.services;
        let id = base.id.as_str();
        let turn = match services.keeper.turn(id) {
            Ok(turn) => turn,
            Err(error) => return Done::failed(error),
        };
        let current = services.registry.get(id);
        let (Some(current), true) = (
            current,
            services.registry.registration(id) == Some(registration),
        ) else {
            log::info!("{id} was removed while it was refreshed: its new tokens are dropped");
            return Done::failed(not_found(id));
        };
        let now = services.clock.now();
        let mut durable = (*current).clone();
        drop(current);
        merge(base, new, &mut durable);
        durable.last_refreshed_at = Some(now);
        durable.next_refresh_after = earliest_next(&durable, now);
        let saved = services.keeper.save(&durable);
        let auth = services.registry.renew(id, now, |auth| {
            // Nothing but results can have come in since: they leave these alone.
            auth.metadata = durable.metadata;
            auth.attributes = durable.attributes;
            auth.label = durable.label;
            auth.runtime = durable.runtime;
            auth.storage = durable.storage;
            auth.last_refreshed_at = durable.last_refreshed_at;
            auth.next_refresh_after = durable.next_refresh_after;
            if auth.status_message == FAILED || auth.status_message == NEEDS_LOGIN {
                auth.last_error = None;
            }
        });
        let unsaved = match saved {
            // What the renewal changed beside the tokens.
            Ok(()) => Unsaved::State,
            Err(error) => {
                log::error!(
                    "the refreshed tokens of {id} are in use but could not be saved, trying again: {error}"
                );
                Unsaved::Record
            }
        };
        if services.registry.mark_unsaved(id, unsaved) {
            services.keeper.note(id.into());
        }
        drop(turn);
        match auth {
            Some(auth) => {
                log::info!("refreshed {id}");
                Done {
                    outcome: Ok(Arc::clone(&auth)),
                    changed: Some(auth),
                }
            }
            None => Done::failed(not_found(id)),
        }
    }

    /// Notes a failed refresh and when to try again.
    fn put_off(&self, id: &str, registration: u64, error: Error) -> Done {
        let services = &self.services;
        let error = error.about(id);
        let now = services.clock.now();
        if services.registry.registration(id) != Some(registration) {
            return Done::failed(error);
        }
        if matches!(
            error.code(),
            ErrorCode::Unsupported | ErrorCode::ExecutorNotFound
        ) {
            log::debug!("{id} cannot be refreshed: {error}");
            services.registry.modify(id, |auth| {
                auth.next_refresh_after = Some(later(now, CANNOT_REFRESH));
            });
            return Done::failed(error);
        }
        let failures = services.registry.count_refresh_failure(id);
        let again = later(now, back_off(failures));
        log::warn!("the refresh of {id} failed ({failures} in a row), next at {again}: {error}");
        let message = if *error.code() == ErrorCode::NeedsLogin {
            NEEDS_LOGIN
        } else {
            FAILED
        };
        let recorded = error.recorded().bare();
        let changed = services.registry.modify(id, |auth| {
            auth.next_refresh_after = Some(again);
            auth.last_error = Some(recorded);
            message.clone_into(&mut auth.status_message);
            if auth.status != Status::Disabled {
                auth.status = Status::Error;
            }
            auth.updated_at = Some(now);
        });
        if changed.is_some() && services.registry.mark_unsaved(id, Unsaved::State) {
            services.keeper.note(id.into());
        }
        Done {
            outcome: Err(error),
            changed,
        }
    }
}

impl Done {
    fn failed(error: Error) -> Self {
        Self {
            outcome: Err(error),
            changed: None,
        }
    }
}

impl Flight {
    fn fly(mut self) {
        if let Some(in_flight) = self.engine.flights.lock().get_mut(&self.id) {
            in_flight.worker = Some(std::thread::current().id());
        }
        self.done = Some(self.engine.refresh(&self.id));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let in_flight = self.engine.flights.lock().remove(&self.id);
        let done = self.done.take();
        let done = done.unwrap_or_else(|| Done::failed(cut_off(&self.id)));
        // The flight is over: the hook may change the credential, or ask for another refresh.
        if let Some(auth) = &done.changed {
            self.engine.services.hooks.updated(auth);
        }
        for waiter in in_flight.into_iter().flat_map(|flight| flight.waiters) {
            let _ = waiter.try_send(done.outcome.clone());
        }
        self.engine.note_change(&self.id);
    }
}

/// Tokens that are due again at once must not be refreshed at once. A wait that the executor asked for stays.
fn earliest_next(auth: &Auth, now: crate::Timestamp) -> Option<crate::Timestamp> {
    let soon = later(now, LEAST_GAP);
    match due_in_pool(auth) {
        Due::Never => auth.next_refresh_after,
        Due::At(at) if at >= soon => auth.next_refresh_after,
        Due::At(_) | Due::Asks => auth.next_refresh_after.max(Some(soon)),
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

/// Until an executor that cannot refresh, or is not there, is asked again: one may have been registered.
const CANNOT_REFRESH: Duration = Duration::from_secs(60);

/// Status messages of a record whose refresh failed.
const FAILED: &str = "refresh failed";
const NEEDS_LOGIN: &str = "needs login";
