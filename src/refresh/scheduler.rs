//! The scheduler: one thread that sleeps until the next credential is due.

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, select};

use super::coordinator::{Asker, NO_WORKER, RefreshCoordinator};
use super::due::{Due, asks_for_refresh, due_in_pool};
use super::queue::DueQueue;
use super::wakeups::Inbox;
use crate::auth::Auth;
use crate::cancel::Never;
use crate::clock::{Clock, Timestamp, later, until};
use crate::error::Error;
use crate::runtime::Worker;

/// Starts the refresher. `interval` is how often a credential is looked at whose runtime decides by itself.
pub(crate) fn start(
    coordinator: &Arc<RefreshCoordinator>,
    interval: Duration,
) -> Result<Worker, Error> {
    let weak = Arc::downgrade(coordinator);
    let inbox = coordinator.mailbox.open();
    Worker::spawn("credpool-refresher", move |stop| {
        let mut refresher = Refresher {
            coordinator: weak,
            interval: interval.max(LEAST_INTERVAL),
            inbox,
            queue: DueQueue::default(),
            fresh_starts: HashSet::new(),
            seen: HashSet::new(),
            last_look: None,
        };
        refresher.look_at_all();
        while refresher.sleep(&stop) {}
        if let Some(coordinator) = refresher.coordinator.upgrade() {
            coordinator.mailbox.close(&refresher.inbox);
        }
    })
}

struct Refresher {
    coordinator: Weak<RefreshCoordinator>,
    interval: Duration,
    inbox: Arc<Inbox>,
    queue: DueQueue,
    /// Those that were due when they were first seen, and still wait.
    fresh_starts: HashSet<Arc<str>>,
    seen: HashSet<Arc<str>>,
    /// What both clocks showed last.
    last_look: Option<(Timestamp, Instant)>,
}

impl Refresher {
    fn look_at_all(&mut self) {
        if let Some(coordinator) = self.coordinator.upgrade() {
            self.queue.clear();
            let now = coordinator.services.clock.now();
            for auth in coordinator.services.registry.list() {
                self.schedule(&coordinator, &auth, now);
            }
        }
    }

    /// Starts what is due, then sleeps until something is, or something changes. False: stop.
    fn sleep(&mut self, stop: &Receiver<Never>) -> bool {
        let Some(coordinator) = self.coordinator.upgrade() else {
            return false;
        };
        let clock = Arc::clone(&coordinator.services.clock);
        if self.clock_has_jumped(&*clock) {
            log::info!("the wall clock has jumped; checking all tokens again");
            self.look_at_all();
        }
        for id in self.inbox.take() {
            match coordinator.services.registry.get(&id) {
                Some(auth) => self.schedule(&coordinator, &auth, clock.now()),
                None => self.forget(&id),
            }
        }
        let now = clock.now();
        while let Some(id) = self.queue.pop_due(now) {
            self.fresh_starts.remove(&id);
            let completed = coordinator.completed();
            if let Some(auth) = coordinator.services.registry.get(&id) {
                self.start_or_schedule(&coordinator, id, &auth, completed, now);
            }
        }
        drop(coordinator);
        let next = self.queue.next();
        // With nothing to wait for, there is no timer either. Else the wall clock may jump, and a machine may sleep: look again
        // in a while, however far the next one seems.
        let timer = next.map_or_else(crossbeam_channel::never, |at| {
            clock.after(until(now, at).min(CLOCK_CHECK))
        });
        if next.is_some_and(|at| at <= clock.now()) {
            // The clock has moved while the timer was being set.
            return true;
        }
        select! {
            recv(self.inbox.woken) -> _ => true,
            recv(timer) -> _ => true,
            recv(stop) -> _ => false,
        }
    }

    /// Whether the wall clock has gone another way than time itself since the last look.
    fn clock_has_jumped(&mut self, clock: &dyn Clock) -> bool {
        let (wall, monotonic) = (clock.now(), clock.monotonic());
        let Some((wall_then, monotonic_then)) = self.last_look.replace((wall, monotonic)) else {
            return false;
        };
        let expected = later(
            wall_then,
            monotonic.saturating_duration_since(monotonic_then),
        );
        (wall - expected).abs() > JUMP
    }

    /// Its moment has come: refresh it, unless it has changed its mind since.
    fn start_or_schedule(
        &mut self,
        coordinator: &Arc<RefreshCoordinator>,
        id: Arc<str>,
        auth: &Auth,
        completed: u64,
        now: Timestamp,
    ) {
        match coordinator.next_due(auth) {
            Due::Asks if !asks_for_refresh(auth, now) => {
                self.queue.put(id, later(now, self.interval));
            }
            Due::At(at) if at > now => self.queue.put(id, at),
            Due::Never => {}
            Due::Asks | Due::At(_) => {
                match coordinator.request(&id, Some(completed), Asker::Schedule) {
                    Ok(true) => {}
                    // Another one has completed: what was seen may be old.
                    Ok(false) => self.queue.put(id, now),
                    Err(error) => {
                        log::debug!("the refresh of credential {id} has to wait: {error}");
                        self.queue.put(id, later(now, NO_WORKER));
                    }
                }
            }
        }
    }

    fn schedule(&mut self, coordinator: &RefreshCoordinator, auth: &Auth, now: Timestamp) {
        let id: Arc<str> = auth.id.as_str().into();
        let is_new = self.seen.insert(Arc::clone(&id));
        let at = match coordinator.next_due(auth) {
            Due::Never => {
                self.fresh_starts.remove(&id);
                self.queue.remove(&id);
                return;
            }
            Due::At(at) => at,
            Due::Asks => now,
        };
        if at > now {
            self.fresh_starts.remove(&id);
            self.queue.put(id, at);
            return;
        }
        if self.fresh_starts.contains(&id) && self.queue.contains(&id) {
            // It has its moment.
            return;
        }
        let at = if is_new && !auth.lacks_token(now) && due_in_pool(auth, 0.0) != Due::Asks {
            // A program that starts finds many that are due: they are spread. Those without any token can wait for nothing.
            let span = START_SPREAD
                .saturating_mul(u32::try_from(self.fresh_starts.len()).unwrap_or(u32::MAX))
                .min(MOST_START_SPREAD);
            self.fresh_starts.insert(Arc::clone(&id));
            later(now, span.mul_f64(coordinator.services.random.fraction()))
        } else {
            now
        };
        self.queue.put(id, at);
    }

    fn forget(&mut self, id: &str) {
        self.queue.remove(id);
        self.fresh_starts.remove(id);
        self.seen.remove(id);
    }
}

/// How far apart refreshes at the start are, on average, and over how much time they are spread at most.
const START_SPREAD: Duration = Duration::from_millis(250);
const MOST_START_SPREAD: Duration = Duration::from_secs(60);

/// How late a jump of the wall clock, or the end of a machine's sleep, may be seen.
const CLOCK_CHECK: Duration = Duration::from_secs(30);

/// What the two clocks may differ in without one of them having jumped.
const JUMP: time::Duration = time::Duration::seconds(2);

const LEAST_INTERVAL: Duration = Duration::from_secs(1);
