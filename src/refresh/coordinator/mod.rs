//! The refresh coordinator: single-flight for each grant, bounded concurrency.

mod flight;

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, select};
use parking_lot::Mutex;

use flight::Flight;
pub(super) use flight::{Done, Refreshed, cut_off};

use super::admission::Admission;
use super::endpoint_backoff::{EndpointBackoff, client};
use super::grants::{Grants, LAST_SPENT};
use super::pending_saves::PendingSaves;
use super::single_flight::{Joined, SingleFlight};
use super::state::RefreshStates;
use super::wakeups::Mailbox;
use crate::auth::{Auth, GrantToken};
use crate::cancel::Never;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorCode};
use crate::registry::release;
use crate::runtime::{Lane, WaitFor, Worker};
use crate::services::Services;

/// Runs refreshes, and remembers what came of them.
pub(crate) struct RefreshCoordinator {
    pub(super) services: Arc<Services>,
    /// Between two refreshes of one credential, whatever the server says.
    pub(super) gap: Duration,
    queue: Mutex<Queue>,
    pub(super) grants: Mutex<Grants>,
    pub(super) endpoints: EndpointBackoff,
    pub(super) states: RefreshStates,
    pub(super) pending_saves: PendingSaves,
    /// The refresh tokens that are under way.
    sent: Mutex<HashSet<GrantToken>>,
    /// When the store was last seen to have lost something: intents perhaps, too.
    lost_at: Mutex<Option<Instant>>,
    pub(super) mailbox: Mailbox,
    /// Makes chance another one for each process.
    pub(super) salt: u64,
}

/// The refreshes that were requested and have not ended.
#[derive(Debug)]
struct Queue {
    flights: SingleFlight<Arc<str>, Waiter>,
    admission: Admission,
    /// Sees to what waits while all that runs hangs.
    watcher: Option<Worker>,
    is_watched: bool,
}

/// Waits for a credential's tokens.
#[derive(Debug)]
struct Waiter {
    id: Arc<str>,
    tell: Sender<Refreshed>,
}

/// What triggers a refresh.
#[derive(Debug)]
pub(super) enum Asker {
    /// The scheduler: no call waits for it.
    Schedule,
    /// A call, which does not wait here.
    Call,
    /// A call that waits for the result.
    Ticket(Sender<Refreshed>),
}

/// What came of waiting for a refresh.
pub(super) enum Waited {
    Over(Refreshed),
    /// The refresh goes on.
    LongEnough,
    /// Another one has completed since the credential was looked at: look again.
    Outdated,
}

impl RefreshCoordinator {
    /// `width`: how many refreshes run concurrently, and `per_client`, for one client of a token endpoint.
    pub(crate) fn new(
        services: Arc<Services>,
        gap: Duration,
        width: usize,
        per_client: usize,
    ) -> Self {
        let salt = services.random.fraction().to_bits();
        Self {
            services,
            gap,
            queue: Mutex::new(Queue {
                flights: SingleFlight::default(),
                admission: Admission::new(width, per_client),
                watcher: None,
                is_watched: false,
            }),
            grants: Mutex::default(),
            endpoints: EndpointBackoff::default(),
            states: RefreshStates::default(),
            pending_saves: PendingSaves::default(),
            sent: Mutex::default(),
            lost_at: Mutex::default(),
            mailbox: Mailbox::default(),
            salt,
        }
    }

    /// Refreshes a credential now, due or not, and waits for the outcome. One that is in flight already is joined.
    pub(crate) fn refresh_now(self: &Arc<Self>, id: &str) -> Refreshed {
        if let Some(auth) = self.services.registry.get(id) {
            self.states
                .note(&id.into(), &auth, |state| state.commanded = true);
            release(auth);
        }
        let never = crossbeam_channel::never();
        match self.wait_for(id, None, &crossbeam_channel::never(), &never) {
            Waited::Over(refreshed) => refreshed,
            Waited::LongEnough | Waited::Outdated => Err(cut_off(id)),
        }
    }

    /// As [`refresh_now`](Self::refresh_now), but does not wait beyond either of the two, and does not begin a refresh that must
    /// wait: because the last one is too fresh, or has failed. `None` then. The refresh goes on all the same.
    pub(crate) fn refresh_while(
        self: &Arc<Self>,
        id: &str,
        late: &Receiver<Instant>,
        cancelled: &Receiver<Never>,
    ) -> Option<Refreshed> {
        loop {
            let completed = self.completed();
            let auth = self.services.registry.get(id)?;
            if !self.may_begin(&auth) && !self.is_under_way(&auth) {
                if self.completed() == completed {
                    return None;
                }
                // One has completed between the looks.
                continue;
            }
            release(auth);
            match self.wait_for(id, Some(completed), late, cancelled) {
                Waited::Over(refreshed) => return Some(refreshed),
                Waited::LongEnough => return None,
                Waited::Outdated => {}
            }
        }
    }

    /// Starts or joins a refresh, as [`request`](Self::request) does, and waits for it.
    pub(super) fn wait_for(
        self: &Arc<Self>,
        id: &str,
        completed: Option<u64>,
        late: &Receiver<Instant>,
        cancelled: &Receiver<Never>,
    ) -> Waited {
        let (tell, told) = crossbeam_channel::bounded(1);
        match self.request(id, completed, Asker::Ticket(tell)) {
            Ok(true) => {}
            Ok(false) => return Waited::Outdated,
            Err(error) => return Waited::Over(Err(error)),
        }
        select! {
            recv(told) -> outcome => {
                Waited::Over(outcome.unwrap_or_else(|_| Err(cut_off(id))))
            }
            recv(late) -> _ => Waited::LongEnough,
            recv(cancelled) -> _ => Waited::LongEnough,
        }
    }

    /// Asks for a refresh; for a call, it goes before those that no call waits for.
    ///
    /// With the number of completed refreshes from before the credential was looked at, none is begun where another one has completed
    /// since: false.
    pub(super) fn request(
        self: &Arc<Self>,
        id: &str,
        completed: Option<u64>,
        asker: Asker,
    ) -> Result<bool, Error> {
        self.services.pool.check_open()?;
        let auth = self.services.registry.known(id)?;
        let key = self.key(&auth);
        let (client, ends) = (client(&auth), ends(&auth));
        release(auth);
        {
            let mut queue = self.queue.lock();
            let is_new = !queue.flights.contains(&key);
            if is_new && completed.is_some_and(|completed| completed != queue.flights.completed()) {
                return Ok(false);
            }
            let attended = !matches!(asker, Asker::Schedule);
            let waiter = match asker {
                Asker::Ticket(tell) => Some(Waiter {
                    id: id.into(),
                    tell,
                }),
                Asker::Schedule | Asker::Call => None,
            };
            match queue.flights.join(&key, waiter) {
                Joined::New => queue.admission.queue(key, client, ends, attended),
                Joined::Running if attended => queue.admission.attend(&key),
                Joined::Running => {}
                Joined::OwnRun => {
                    let what = format!(
                        "the refresh of credential {id} waits for itself: an executor's refresh must not refresh its own credential"
                    );
                    return Err(Error::new(ErrorCode::Conflict, what).with_auth_id(id));
                }
            }
        }
        self.dispatch();
        Ok(true)
    }

    /// The credential that is refreshed for this one: the first of those that have the same login.
    fn key(&self, auth: &Auth) -> Arc<str> {
        let leader = self.grants.lock().leader(auth);
        let same_token = |leader: &Arc<str>| {
            let leader = self.services.registry.get(leader);
            leader.is_some_and(|leader| leader.grant_token() == auth.grant_token())
        };
        leader
            .filter(same_token)
            .unwrap_or_else(|| auth.id.as_str().into())
    }

    /// A credential with the same login that has rotated its tokens already.
    pub(super) fn ahead_of(&self, auth: &Auth) -> Option<Arc<Auth>> {
        let leader = self.grants.lock().leader(auth)?;
        let leader = self.services.registry.get(&leader)?;
        (leader.grant_token() != auth.grant_token()).then_some(leader)
    }

    /// The other credentials that hold the same tokens.
    pub(super) fn followers(&self, auth: &Auth) -> Vec<Arc<str>> {
        let grants = self.grants.lock();
        let token = auth.grant_token();
        token.map_or_else(Vec::new, |token| grants.followers(&auth.id, token))
    }

    /// The other credentials that hold tokens which this one has rotated.
    pub(super) fn left_behind(&self, auth: &Auth) -> Vec<Arc<str>> {
        let grants = self.grants.lock();
        let spent = auth.spent.rotated().iter().rev().take(LAST_SPENT);
        spent
            .flat_map(|token| grants.followers(&auth.id, *token))
            .collect()
    }

    /// Begins what may begin.
    fn dispatch(self: &Arc<Self>) {
        loop {
            let now = self.services.clock.monotonic();
            let Some(id) = self.queue.lock().admission.next(now) else {
                break;
            };
            let flight = Flight {
                coordinator: Arc::clone(self),
                id,
                done: None,
            };
            match self
                .services
                .pool
                .reserve(Lane::Refreshes, WaitFor::NOTHING)
            {
                // Where it is refused, the flight is dropped, and says so.
                Ok(slot) => drop(self.services.pool.run(slot, move |_| flight.run())),
                Err(error) => {
                    flight.give_up(&error);
                    return;
                }
            }
        }
        self.watch();
    }

    /// Has a watcher look at the queue again when a refresh that hangs makes room.
    fn watch(self: &Arc<Self>) {
        let now = self.services.clock.monotonic();
        let mut queue = self.queue.lock();
        if queue.is_watched || queue.admission.makes_room_in(now).is_none() {
            return;
        }
        let weak = Arc::downgrade(self);
        let watcher = Worker::spawn("credpool-refresh-queue", move |stop| {
            while wait_for_room(&weak, &stop) {}
        });
        match watcher {
            Ok(watcher) => {
                queue.is_watched = true;
                let former = queue.watcher.replace(watcher);
                drop(queue);
                // It has come to its end.
                drop(former);
            }
            Err(error) => log::error!("refreshes are waiting for hung ones: {error}"),
        }
    }

    /// Refuses what waits from now on: for a shutdown, with which nothing new begins.
    pub(crate) fn close(&self) {
        let (waiting, watcher) = {
            let mut queue = self.queue.lock();
            (queue.admission.clear(), queue.watcher.take())
        };
        let error = Error::shut_down();
        for id in waiting {
            self.tell(&id, &Done::failed(error.clone()));
        }
        if let Some(mut watcher) = watcher {
            watcher.join(WATCHER_END);
        }
    }

    /// Notifies the waiters of a refresh of its result.
    fn tell(&self, id: &Arc<str>, done: &Done) {
        let waiters = {
            let mut queue = self.queue.lock();
            queue.admission.ended(id);
            queue.flights.complete(id)
        };
        self.settle_waits(id);
        if let Some(member) = self.services.registry.find(id) {
            member.tally().refreshed(done.outcome.is_ok());
        }
        // The refresh is over: the hook may change the credential, or ask for another refresh.
        for auth in &done.changed {
            self.note_change(&auth.id);
            self.services.hooks.updated(auth);
        }
        for Waiter { id: asked, tell } in waiters {
            let outcome = match &done.outcome {
                Ok(auth) if auth.id != *asked => self.services.registry.known(&asked),
                outcome => outcome.clone(),
            };
            let _ = tell.try_send(outcome);
        }
        self.note_change(id);
    }

    /// The credentials that waited for this refresh.
    fn settle_waits(&self, id: &str) {
        self.settle_wait(id);
        if let Some(auth) = self.services.registry.get(id) {
            for follower in self.followers(&auth) {
                self.settle_wait(&follower);
            }
            release(auth);
        }
    }

    /// How many refreshes have completed.
    pub(super) fn completed(&self) -> u64 {
        self.queue.lock().flights.completed()
    }

    /// Whether a refresh of the credential's login runs or waits to.
    pub(super) fn is_under_way(&self, auth: &Auth) -> bool {
        let key = self.key(auth);
        self.queue.lock().flights.contains(&key)
    }

    /// Takes note that a credential was changed, added or removed.
    pub(crate) fn note_change(&self, id: &str) {
        match self.services.registry.get(id) {
            Some(auth) => {
                self.grants.lock().note(&auth);
                release(auth);
            }
            None => {
                self.grants.lock().forget(id);
                self.states.forget(id);
            }
        }
        self.mailbox.post(id);
    }

    /// Takes note that a refresh token is about to be sent. False where it is under way already, for another credential.
    pub(super) fn begin_sending(&self, token: Option<GrantToken>) -> bool {
        token.is_none_or(|token| self.sent.lock().insert(token))
    }

    pub(super) fn end_sending(&self, token: Option<GrantToken>) {
        if let Some(token) = token {
            self.sent.lock().remove(&token);
        }
    }

    /// The store lacks something that it had.
    pub(crate) fn note_loss(&self) {
        let now = self.services.clock.monotonic();
        *self.lost_at.lock() = Some(now);
    }

    /// How long ago the store was last seen to have lost something.
    pub(super) fn since_loss(&self, now: Instant) -> Option<Duration> {
        let lost_at = *self.lost_at.lock();
        lost_at.map(|at| now.saturating_duration_since(at))
    }
}

/// Waits until a refresh that hangs makes room. False when there is nothing to wait for.
fn wait_for_room(coordinator: &Weak<RefreshCoordinator>, stop: &Receiver<Never>) -> bool {
    let Some(strong) = coordinator.upgrade() else {
        return false;
    };
    let clock = Arc::clone(&strong.services.clock);
    let now = clock.monotonic();
    let wait = {
        let mut queue = strong.queue.lock();
        let wait = queue.admission.makes_room_in(now);
        queue.is_watched = wait.is_some();
        wait
    };
    drop(strong);
    let Some(wait) = wait else {
        return false;
    };
    let timer = clock.after(wait);
    select! {
        recv(timer) -> _ => {}
        recv(stop) -> _ => return false,
    }
    if let Some(strong) = coordinator.upgrade() {
        strong.dispatch();
    }
    true
}

/// When the tokens of a credential end: what ends first is refreshed first.
fn ends(auth: &Auth) -> Timestamp {
    if auth.awaits_first_token() {
        return Timestamp::MIN;
    }
    auth.expiration_time().at().unwrap_or(Timestamp::MAX)
}

/// Until a worker may be free.
pub(super) const NO_WORKER: Duration = Duration::from_secs(1);

/// How long the end of the thread is waited for that sees to what waits.
const WATCHER_END: Duration = Duration::from_millis(500);
