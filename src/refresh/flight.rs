//! Which refreshes are under way or wait for their turn: one at a time for a credential, and for a client of a token endpoint.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::thread::ThreadId;

use crossbeam_channel::Sender;

use super::engine::RefreshEngine;
use crate::auth::Auth;
use crate::error::{Error, ErrorCode};
use crate::runtime::{Lane, WaitFor};

/// What those who wait get to hear.
pub(super) type Refreshed = Result<Arc<Auth>, Error>;

/// The refreshes that are under way, and those that wait.
#[derive(Default)]
pub(super) struct Flights {
    in_flight: HashMap<Arc<str>, InFlight>,
    runways: HashMap<Runway, Queue>,
    /// How many have landed: who has looked at a credential before the last of them has seen old tokens, perhaps.
    landings: u64,
}

/// A token endpoint and a client of it. Some servers revoke all logins of a client when two are refreshed at once.
pub(super) type Runway = Arc<str>;

struct InFlight {
    /// Who wants to hear of the outcome.
    waiters: Vec<Sender<Refreshed>>,
    runway: Runway,
}

/// Of one runway.
#[derive(Default)]
struct Queue {
    /// The worker that is at it.
    worker: Option<ThreadId>,
    waiting: VecDeque<Flight>,
}

/// A refresh that has begun or will. Dropped without an answer, it tells those who wait.
pub(super) struct Flight {
    engine: Arc<RefreshEngine>,
    id: Arc<str>,
    runway: Runway,
    done: Option<Done>,
}

/// How a refresh ended.
pub(super) struct Done {
    pub(super) outcome: Refreshed,
    /// The record to tell the hook of.
    pub(super) changed: Option<Arc<Auth>>,
}

impl Done {
    pub(super) fn failed(error: Error) -> Self {
        Self {
            outcome: Err(error),
            changed: None,
        }
    }

    pub(super) fn with(auth: Arc<Auth>) -> Self {
        Self {
            outcome: Ok(Arc::clone(&auth)),
            changed: Some(auth),
        }
    }
}

impl RefreshEngine {
    /// Starts a refresh, or waits with the others for the one that is under way. It may have to wait for its turn.
    ///
    /// With the number of landings from before the credential was looked at, none is started where another one has come: false.
    pub(super) fn take_off(
        self: &Arc<Self>,
        id: &str,
        landings: Option<u64>,
        waiter: Option<Sender<Refreshed>>,
    ) -> Result<bool, Error> {
        let Some(auth) = self.services.registry.get(id) else {
            return Err(not_found(id));
        };
        let runway = runway(&auth);
        drop(auth);
        let Some(waiter) = self.flights.lock().join(id, &runway, waiter)? else {
            return Ok(true);
        };
        // A worker first: a flight that nobody flies must not begin.
        let slot = self.services.pool.reserve(Lane::Refreshes, AT_ONCE)?;
        let flight = {
            let mut flights = self.flights.lock();
            // Somebody else may have been faster.
            let Some(waiter) = flights.join(id, &runway, waiter)? else {
                return Ok(true);
            };
            if landings.is_some_and(|landings| landings != flights.landings) {
                return Ok(false);
            }
            let id: Arc<str> = id.into();
            let in_flight = InFlight {
                waiters: waiter.into_iter().collect(),
                runway: Arc::clone(&runway),
            };
            flights.in_flight.insert(Arc::clone(&id), in_flight);
            let flight = Flight {
                engine: Arc::clone(self),
                id,
                runway: Arc::clone(&runway),
                done: None,
            };
            match flights.runways.get_mut(&runway) {
                Some(queue) => {
                    queue.waiting.push_back(flight);
                    return Ok(true);
                }
                None => {
                    flights.runways.insert(runway, Queue::default());
                    flight
                }
            }
        };
        self.services.pool.run(slot, move || flight.fly())?;
        Ok(true)
    }

    /// How many refreshes have landed.
    pub(super) fn landings(&self) -> u64 {
        self.flights.lock().landings
    }

    /// Whether a refresh of the credential is under way or waits for its turn.
    pub(super) fn is_in_flight(&self, id: &str) -> bool {
        self.flights.lock().in_flight.contains_key(id)
    }
}

type Waiter = Option<Sender<Refreshed>>;

impl Flights {
    /// Waits with the others for a refresh of `id`, where there is one; else the waiter comes back.
    fn join(&mut self, id: &str, runway: &Runway, waiter: Waiter) -> Result<Option<Waiter>, Error> {
        let me = std::thread::current().id();
        let in_flight = self.in_flight.get_mut(id);
        let runway = in_flight.as_ref().map_or(runway, |flight| &flight.runway);
        let queue = self.runways.get(runway);
        if waiter.is_some() && queue.is_some_and(|queue| queue.worker == Some(me)) {
            let what = format!(
                "a refresh asks for that of {id}, which has to wait until it is done itself"
            );
            return Err(Error::new(ErrorCode::Conflict, what).with_auth_id(id));
        }
        match in_flight {
            Some(flight) => {
                flight.waiters.extend(waiter);
                Ok(None)
            }
            None => Ok(Some(waiter)),
        }
    }

    /// Frees a runway and gives the next flight on it.
    fn landed(&mut self, flight: &Flight) -> (Option<InFlight>, Option<Flight>) {
        self.landings += 1;
        let in_flight = self.in_flight.remove(&flight.id);
        let Some(queue) = self.runways.get_mut(&flight.runway) else {
            return (in_flight, None);
        };
        queue.worker = None;
        let next = queue.waiting.pop_front();
        if next.is_none() {
            self.runways.remove(&flight.runway);
        }
        (in_flight, next)
    }
}

impl Flight {
    fn fly(mut self) {
        if let Some(queue) = self.engine.flights.lock().runways.get_mut(&self.runway) {
            queue.worker = Some(std::thread::current().id());
        }
        self.done = Some(self.engine.refresh(&self.id));
    }

    /// Starts a flight that had to wait.
    fn launch(mut self) {
        let engine = Arc::clone(&self.engine);
        match engine.services.pool.reserve(Lane::Refreshes, AT_ONCE) {
            Ok(slot) => {
                // Where it is refused, the flight is dropped, and says so.
                let _ = engine.services.pool.run(slot, move || self.fly());
            }
            Err(error) => {
                // The others would fare no better. Each is dropped with the runway free.
                let grounded = engine.flights.lock().runways.remove(&self.runway);
                let grounded = grounded.map(|queue| queue.waiting).into_iter().flatten();
                for mut flight in grounded {
                    flight.done = Some(Done::failed(error.clone()));
                    engine.hold_back(&flight.id);
                }
                engine.hold_back(&self.id);
                self.done = Some(Done::failed(error));
            }
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let (in_flight, next) = self.engine.flights.lock().landed(self);
        // Before the program's own code, which may take its time.
        if let Some(next) = next {
            next.launch();
        }
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

impl fmt::Debug for Flights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.in_flight.keys()).finish()
    }
}

/// Where a credential's refresh goes: the token endpoint and the client; where the record does not say, the provider.
pub(super) fn runway(auth: &Auth) -> Runway {
    let metadata = auth.metadata.as_ref();
    let setting = |name: &str| {
        let nested = ["token", "Token"].map(|object| metadata?.get(object)?.get(name)?.as_str());
        auth.attributes
            .get(name)
            .or_else(|| metadata?.text(name))
            .or_else(|| nested.into_iter().flatten().next())
            .map(str::trim)
            .filter(|value| !value.is_empty())
    };
    let client = setting("client_id").unwrap_or_default();
    match setting("token_url").or_else(|| setting("token_uri")) {
        Some(endpoint) => format!("{endpoint} {client}").into(),
        None => format!("{} {client}", auth.provider).into(),
    }
}

pub(super) fn not_found(id: &str) -> Error {
    Error::new(
        ErrorCode::AuthNotFound,
        format!("no credential {id} is registered"),
    )
    .with_auth_id(id)
}

pub(super) fn cut_off(id: &str) -> Error {
    Error::new(
        ErrorCode::RefreshFailed,
        format!("the refresh of {id} was cut off before it was done"),
    )
    .with_auth_id(id)
}

const AT_ONCE: WaitFor<'static> = WaitFor {
    deadline: None,
    cancel: None,
};
