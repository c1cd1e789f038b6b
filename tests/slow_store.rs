//! Stores that hang and stores that fail: calls do not notice, what they learn waits in bounded memory, and health tells of it.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use credpool::{
    Auth, Clock, Error, ErrorCode, Listing, Manager, ManualClock, Options, Outcome, Request, Store,
};
use support::{Fake, SOON, eventually, manual};

const SECOND: Duration = Duration::from_secs(1);

/// Writes nothing until it is let go, or refuses.
#[derive(Clone)]
struct Slow {
    fails: Arc<AtomicBool>,
    writes: Arc<AtomicUsize>,
    hangs: Arc<AtomicBool>,
    gate: crossbeam_channel::Receiver<()>,
}

impl Slow {
    fn new() -> (Self, crossbeam_channel::Sender<()>) {
        let (open, gate) = crossbeam_channel::unbounded();
        let store = Self {
            fails: Arc::default(),
            writes: Arc::default(),
            hangs: Arc::default(),
            gate,
        };
        (store, open)
    }

    fn write(&self) -> Result<(), Error> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        if self.hangs.load(Ordering::SeqCst) {
            let _ = self.gate.recv();
        }
        if self.fails.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorCode::Store, "the disk is full"));
        }
        Ok(())
    }
}

impl Store for Slow {
    fn list(&self) -> Result<Listing, Error> {
        Ok(Listing::default())
    }

    fn save(&self, auth: &Auth) -> Result<String, Error> {
        Ok(auth.id.clone())
    }

    fn delete(&self, _: &str) -> Result<(), Error> {
        Ok(())
    }

    fn save_state(&self, _: &Auth) -> Result<(), Error> {
        self.write()
    }
}

fn pool(store: Slow) -> (Manager, ManualClock) {
    let clock = manual();
    let manager = Manager::builder()
        .clock(clock.clone())
        .policy(support::steady())
        .store(store)
        .build()
        .unwrap();
    manager.register_executor(Fake::new("p"));
    for n in 0..10 {
        let auth = Auth::api_key("p", "k").with_id(format!("a{n}"));
        manager.register(auth).unwrap();
    }
    (manager, clock)
}

fn fail(manager: &Manager, n: usize) {
    let error = Error::upstream(500, "oops");
    manager.mark_result(&Outcome::failure(&format!("a{n}"), "p", "m", error));
}

/// Calls and results of all kinds, as many as one likes.
fn work(manager: &Manager) {
    for n in 0..1_000 {
        fail(manager, n % 9);
        let request = Request::new("m", "{}");
        manager.execute(["p"], &request, &Options::new()).unwrap();
        manager.mark_result(&Outcome::success(&format!("a{}", n % 9), "p", "m"));
    }
}

#[test]
fn a_store_that_hangs_holds_up_nobody_and_shows() {
    let (store, open) = Slow::new();
    store.hangs.store(true, Ordering::SeqCst);
    let (manager, clock) = pool(store.clone());
    assert!(manager.store_health().is_good());
    fail(&manager, 0);
    eventually("the write", || {
        clock.advance(SECOND);
        store.writes.load(Ordering::SeqCst) == 1
    });
    let since = manager.store_health().writing_since.unwrap();
    clock.advance(10 * SECOND);
    // It has hung for ten seconds: thousands of calls and results later, what waits is one note for each record.
    work(&manager);
    let health = manager.store_health();
    assert_eq!(health.writing_since, Some(since));
    assert!(clock.now() - since >= 10 * SECOND);
    assert!((1..=20).contains(&health.unsaved), "{health:?}");
    store.hangs.store(false, Ordering::SeqCst);
    drop(open);
    eventually("all is written", || {
        clock.advance(SECOND);
        let health = manager.store_health();
        health.unsaved == 0 && health.writing_since.is_none()
    });
    assert!(
        store.writes.load(Ordering::SeqCst) <= 40,
        "each once or twice"
    );
    manager.shutdown(SOON).unwrap();
}

#[test]
fn a_store_that_fails_is_tried_less_and_less_often_and_gets_everything_in_the_end() {
    let (store, _open) = Slow::new();
    store.fails.store(true, Ordering::SeqCst);
    let (manager, clock) = pool(store.clone());
    work(&manager);
    let rounds = |seconds: u32| {
        let before = store.writes.load(Ordering::SeqCst);
        for _ in 0..seconds {
            eventually("the writer's sleep", || clock.timers() > 0);
            clock.advance(SECOND);
        }
        store.writes.load(Ordering::SeqCst) - before
    };
    let first = rounds(60);
    let later = rounds(300);
    assert!(
        first > 0 && later <= 2 * 10 * first,
        "{first}, then {later} in five times that"
    );
    // By now at most every ten seconds, each of ten records at most once.
    assert!(later <= 310, "{later}");
    let health = manager.store_health();
    assert!(!health.is_good() && health.failures >= 5, "{health:?}");
    assert!(health.failing_since.is_some() && health.unsaved <= 20);
    assert!(
        health
            .last_error
            .unwrap()
            .to_string()
            .contains("the disk is full")
    );
    work(&manager);
    store.fails.store(false, Ordering::SeqCst);
    eventually("all is written", || {
        clock.advance(SECOND);
        manager.store_health().unsaved == 0
    });
    let health = manager.store_health();
    assert!(health.is_good() && health.last_error.is_none() && health.failing_since.is_none());
    manager.shutdown(SOON).unwrap();
}
