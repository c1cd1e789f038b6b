//! The refresher: one thread that sleeps until the next credential is due.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crossbeam_channel::{Receiver, select};

use crate::Timestamp;
use crate::auth::Auth;
use crate::cancel::Never;
use crate::clock::{later, until};
use crate::error::Error;
use crate::runtime::Worker;

use super::decide::{Due, due_in_pool};
use super::engine::RefreshEngine;
use super::inbox::Inbox;

/// Starts the refresher. `interval` is how often a credential is looked at whose runtime decides by itself.
pub(crate) fn start(engine: &Arc<RefreshEngine>, interval: Duration) -> Result<Worker, Error> {
    let weak = Arc::downgrade(engine);
    let inbox = engine.mailbox.open();
    Worker::spawn("credpool-refresher", move |stop| {
        let mut refresher = Refresher {
            engine: weak,
            interval: interval.max(LEAST_INTERVAL),
            inbox,
            queue: DueQueue::default(),
        };
        refresher.look_at_all();
        while refresher.sleep(&stop) {}
        if let Some(engine) = refresher.engine.upgrade() {
            engine.mailbox.close(&refresher.inbox);
        }
    })
}

struct Refresher {
    engine: Weak<RefreshEngine>,
    interval: Duration,
    inbox: Arc<Inbox>,
    queue: DueQueue,
}

/// Who is due when.
#[derive(Default)]
struct DueQueue {
    order: BTreeSet<(Timestamp, String)>,
    due_of: HashMap<String, Timestamp>,
}

impl Refresher {
    fn look_at_all(&mut self) {
        if let Some(engine) = self.engine.upgrade() {
            for auth in engine.services.registry.list() {
                self.schedule(&auth, engine.services.clock.now());
            }
        }
    }

    /// Starts what is due, then sleeps until something is, or something changes. False: stop.
    fn sleep(&mut self, stop: &Receiver<Never>) -> bool {
        let Some(engine) = self.engine.upgrade() else {
            return false;
        };
        let clock = Arc::clone(&engine.services.clock);
        for id in self.inbox.take() {
            match engine.services.registry.get(&id) {
                Some(auth) => self.schedule(&auth, clock.now()),
                None => self.queue.remove(&id),
            }
        }
        let now = clock.now();
        while let Some(id) = self.queue.pop_due(now) {
            if let Some(auth) = engine.services.registry.get(&id) {
                self.start_or_schedule(&engine, &auth, now);
            }
        }
        // The wall clock may jump: look again in a while, however far the next one seems.
        let wait = self
            .queue
            .next()
            .map_or(CLOCK_CHECK, |at| until(now, at).min(CLOCK_CHECK));
        drop(engine);
        let timer = clock.after(wait);
        if self.queue.next().is_some_and(|at| at <= clock.now()) {
            // The clock has moved while the timer was being set.
            return true;
        }
        select! {
            recv(self.inbox.woken) -> _ => true,
            recv(timer) -> _ => true,
            recv(stop) -> _ => false,
        }
    }

    /// Its moment has come: refresh it, unless it has changed its mind since.
    fn start_or_schedule(&mut self, engine: &Arc<RefreshEngine>, auth: &Auth, now: Timestamp) {
        let id = &auth.id;
        match due_in_pool(auth) {
            Due::Asks if !super::should_refresh(auth, now) => {
                self.queue.put(id.clone(), later(now, self.interval));
            }
            Due::At(at) if at > now => self.queue.put(id.clone(), at),
            Due::Never => {}
            Due::Asks | Due::At(_) => {
                if let Err(error) = engine.take_off(id, None) {
                    log::debug!("the refresh of {id} has to wait: {error}");
                    self.queue.put(id.clone(), later(now, NO_WORKER));
                }
            }
        }
    }

    fn schedule(&mut self, auth: &Auth, now: Timestamp) {
        match due_in_pool(auth) {
            Due::Never => self.queue.remove(&auth.id),
            Due::At(at) => self.queue.put(auth.id.clone(), at),
            Due::Asks => self.queue.put(auth.id.clone(), now),
        }
    }
}

impl DueQueue {
    fn put(&mut self, id: String, at: Timestamp) {
        self.remove(&id);
        self.due_of.insert(id.clone(), at);
        self.order.insert((at, id));
    }

    fn remove(&mut self, id: &str) {
        if let Some((id, at)) = self.due_of.remove_entry(id) {
            self.order.remove(&(at, id));
        }
    }

    fn next(&self) -> Option<Timestamp> {
        self.order.first().map(|(at, _)| *at)
    }

    fn pop_due(&mut self, now: Timestamp) -> Option<String> {
        if self.next()? > now {
            return None;
        }
        let (_, id) = self.order.pop_first()?;
        self.due_of.remove(&id);
        Some(id)
    }
}

const CLOCK_CHECK: Duration = Duration::from_secs(60);
const NO_WORKER: Duration = Duration::from_secs(1);
const LEAST_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_gives_what_is_due_in_order() {
        let start = Timestamp::UNIX_EPOCH;
        let at = |seconds| later(start, Duration::from_secs(seconds));
        let mut queue = DueQueue::default();
        queue.put("a".into(), at(10));
        queue.put("b".into(), at(5));
        queue.put("c".into(), at(7));
        queue.put("a".into(), at(6));
        queue.remove("c");
        assert_eq!(queue.next(), Some(at(5)));
        assert_eq!(queue.pop_due(at(4)), None);
        assert_eq!(queue.pop_due(at(5)).as_deref(), Some("b"));
        assert_eq!(queue.pop_due(at(5)), None);
        assert_eq!(queue.pop_due(at(99)).as_deref(), Some("a"));
        assert_eq!(queue.next(), None);
    }
}
