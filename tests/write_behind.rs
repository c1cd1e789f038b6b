//! One record's trouble is its own: what cannot be saved, or hangs, delays no other record's news, nor hot reload, nor the end.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod store_support;
mod support;
mod watched;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use credpool::{Auth, Clock, ErrorCode, Manager, ManualClock, MemoryStore, Store};
use support::{Fake, SOON, eventually, manual};
use watched::Watched;

const SECOND: Duration = Duration::from_secs(1);
/// No test moves its clock so far, however long its threads take.
const LONG: Duration = Duration::from_secs(100 * 24 * 3600);
const TICK: Duration = Duration::from_millis(1);

/// The pause between two writes of one record.
const COALESCE: Duration = Duration::from_millis(500);

/// How long a write may take before another thread comes in.
const PATIENCE: Duration = Duration::from_millis(250);

/// A process that shares a store, with a clock of its own.
struct Process {
    manager: Manager,
    clock: ManualClock,
    store: Watched,
}

impl Process {
    fn over(store: Arc<dyn Store>) -> Self {
        let (clock, store) = (manual(), Watched::new(store));
        let manager = Manager::builder()
            .clock(clock.clone())
            .policy(support::steady())
            .store(store.clone())
            .build()
            .unwrap();
        manager.register_executor(Fake::new("p"));
        manager.load().unwrap();
        Self {
            manager,
            clock,
            store,
        }
    }

    fn with_hot_reload(self) -> Self {
        self.manager.start_hot_reload(SECOND).unwrap();
        self
    }

    fn register(&self, ids: &[&str]) {
        for id in ids {
            let auth = Auth::api_key("p", "k").with_id(*id);
            self.manager.register(auth).unwrap();
        }
    }

    fn cool(&self, id: &str) {
        self.manager.cool_down(id, None, LONG).unwrap();
    }

    /// Lets the clock move when a thread sleeps by it.
    fn advance(&self, by: Duration) {
        eventually("a thread's sleep", || self.clock.timers() > 0);
        self.clock.advance(by);
    }

    /// One more look at the store, and what must have come about by it.
    fn looks(&self, what: &str, holds: impl Fn(&Manager) -> bool) {
        let looks = self.store.looks();
        self.advance(SECOND);
        let mut asked = 0;
        eventually("the look", || {
            asked += 1;
            if asked % 100 == 0 {
                // The one before was still going on, and slept only then.
                self.advance(SECOND);
            }
            self.store.looks() > looks
        });
        eventually(what, || holds(&self.manager));
    }
}

fn is_cooling(auth: Option<Arc<Auth>>) -> bool {
    auth.is_some_and(|auth| auth.next_retry_after.is_some())
}

fn has_cooldown(store: &dyn Store, id: &str) -> bool {
    is_cooling(store.load(id).unwrap().map(Arc::new))
}

/// A cooldown of one process is in the store within 50 ms, and in the other process at its next look; with a record that cannot
/// be saved, too.
fn check_news(open: impl Fn() -> Arc<dyn Store>) {
    let one = Process::over(open());
    one.register(&["bad", "k0", "k1", "k2"]);
    let other = Process::over(open()).with_hot_reload();
    let place = open();
    let spread = |id: &str| {
        one.cool(id);
        one.clock.advance(50 * TICK);
        eventually("the write", || has_cooldown(&*place, id));
        other.looks("the cooldown", |manager| is_cooling(manager.get_by_id(id)));
    };
    spread("k0");
    one.store.fail_for(Some("bad"));
    one.cool("bad");
    // Its pauses have grown to half a minute.
    for failures in 1..=8 {
        eventually("the failure", || one.store.refused() == failures);
        eventually("the health", || one.manager.store_health().failures >= 1);
        one.advance(30 * SECOND);
    }
    eventually("the failure", || one.store.refused() == 9);
    spread("k1");
    spread("k2");
    let health = one.manager.store_health();
    assert!(!health.is_good(), "{health:?}");
    assert_eq!(health.failing_records, ["bad"]);
    one.store.fail_for(None);
    one.advance(30 * SECOND);
    eventually("the last one", || has_cooldown(&*place, "bad"));
    eventually("health", || one.manager.store_health().is_good());
    one.manager.shutdown(SOON).unwrap();
    other.manager.shutdown(SOON).unwrap();
}

#[test]
fn news_in_memory() {
    let store = Arc::new(MemoryStore::new());
    check_news(|| Arc::clone(&store) as Arc<dyn Store>);
}

#[test]
fn news_in_files() {
    let directory = tempfile::tempdir().unwrap();
    let address = format!("file|{}", directory.path().display());
    check_news(|| store_support::open(&address));
}

#[cfg(feature = "sqlite")]
#[test]
fn news_in_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let address = format!("sqlite|{}", directory.path().join("db").display());
    check_news(|| store_support::open(&address));
}

#[cfg(feature = "postgres")]
#[test]
fn news_in_postgres() {
    if let Some((_server, address)) = store_support::postgres_store() {
        check_news(|| store_support::open(&address));
    }
}

#[cfg(feature = "redis")]
#[test]
fn news_in_redis() {
    if let Some((_server, address)) = store_support::redis_store() {
        check_news(|| store_support::open(&address));
    }
}

#[test]
fn what_follows_a_write_within_half_a_second_is_written_together() {
    let one = Process::over(Arc::new(MemoryStore::new()));
    one.register(&["a", "b"]);
    let before = one.store.writes();
    one.cool("a");
    eventually("the first write", || one.store.writes() == before + 1);
    eventually("its end", || one.manager.store_health().unsaved == 0);
    for _ in 0..10 {
        one.manager.reset("a").unwrap();
        one.cool("a");
    }
    // Another record's first news do not wait.
    one.cool("b");
    eventually("the other one", || one.store.writes() == before + 2);
    eventually("its end", || one.manager.store_health().unsaved == 1);
    one.advance(COALESCE.checked_sub(TICK).unwrap());
    assert_eq!(one.store.writes(), before + 2);
    one.clock.advance(TICK);
    eventually("the rest", || one.store.writes() == before + 3);
    eventually("its end", || one.manager.store_health().unsaved == 0);
    one.manager.shutdown(SOON).unwrap();
    assert_eq!(one.store.writes(), before + 3);
}

#[test]
fn a_write_that_hangs_stops_neither_other_writes_nor_hot_reload() {
    let store = Arc::new(MemoryStore::new());
    let one = Process::over(Arc::clone(&store) as Arc<dyn Store>);
    one.register(&["k0", "k1", "k2", "k3"]);
    let other = Process::over(Arc::clone(&store) as Arc<dyn Store>);
    let one = one.with_hot_reload();
    let gate = one.store.hang_for("k0");
    let began = one.clock.now();
    one.cool("k0");
    eventually("the hanging write", || one.store.hanging() == 1);
    one.cool("k1");
    let both = || one.manager.store_health().unsaved == 2;
    eventually("the news", both);
    // The reloader's timer, and the writer's.
    eventually("the writer's sleep", || one.clock.timers() == 2);
    one.clock.advance(PATIENCE.checked_sub(TICK).unwrap());
    assert!(!has_cooldown(&*store, "k1"));
    one.clock.advance(TICK);
    eventually("the other write", || has_cooldown(&*store, "k1"));
    one.cool("k2");
    eventually("the next one", || has_cooldown(&*store, "k2"));

    // The record itself changes in the store: the others are seen all the same.
    other.manager.cool_down("k0", None, 2 * LONG).unwrap();
    other.manager.set_disabled("k0", true).unwrap();
    eventually("the write of the other process", || {
        has_cooldown(&*store, "k0")
    });
    other.manager.set_disabled("k3", true).unwrap();
    let is_disabled = |manager: &Manager, id| manager.get_by_id(id).unwrap().disabled;
    one.looks("k3", |manager| is_disabled(manager, "k3"));
    other.manager.remove("k1").unwrap();
    one.looks("the removal", |manager| manager.get_by_id("k1").is_none());
    assert!(!is_disabled(&one.manager, "k0"));

    let hung = Duration::try_from(one.clock.now() - began).unwrap();
    let left = (5 * SECOND).checked_sub(hung).unwrap();
    one.clock.advance(left.checked_sub(TICK).unwrap());
    assert!(one.manager.store_health().is_good());
    one.clock.advance(TICK);
    let health = one.manager.store_health();
    assert!(!health.is_good() && health.failures == 0, "{health:?}");
    assert_eq!(health.hanging_since, Some(began));
    assert_eq!(health.writing_since, Some(began));
    assert_eq!(health.failing_records, ["k0"]);

    // It comes back: what has changed meanwhile is seen.
    drop(gate);
    eventually("the end of the hanging", || one.store.hanging() == 0);
    eventually("health", || one.manager.store_health().is_good());
    one.looks("the other process's change", |manager| {
        is_disabled(manager, "k0")
    });
    one.manager.shutdown(SOON).unwrap();
    other.manager.shutdown(SOON).unwrap();
}

#[test]
fn a_change_of_the_program_that_hangs_stops_no_other_record() {
    let store = Arc::new(MemoryStore::new());
    let one = Process::over(Arc::clone(&store) as Arc<dyn Store>);
    one.register(&["k0", "k1", "k2"]);
    let other = Process::over(Arc::clone(&store) as Arc<dyn Store>);
    let one = one.with_hot_reload();
    let gate = one.store.hang_for("k0");
    thread::scope(|scope| {
        scope.spawn(|| one.manager.set_disabled("k0", true).unwrap());
        eventually("the hanging write", || one.store.hanging() == 1);
        // The writer's first thread waits for the record's turn.
        one.cool("k0");
        one.cool("k1");
        eventually("the other write", || {
            one.clock.advance(PATIENCE);
            has_cooldown(&*store, "k1")
        });
        other.manager.cool_down("k0", None, 2 * LONG).unwrap();
        eventually("the write of the other process", || {
            has_cooldown(&*store, "k0")
        });
        other.manager.set_disabled("k2", true).unwrap();
        one.looks("k2", |manager| manager.get_by_id("k2").unwrap().disabled);
        drop(gate);
    });
    one.manager.shutdown(SOON).unwrap();
    other.manager.shutdown(SOON).unwrap();
}

#[test]
fn a_shutdown_with_a_write_that_hangs_ends_in_time_and_saves_the_rest() {
    let store = Arc::new(MemoryStore::new());
    let one = Process::over(Arc::clone(&store) as Arc<dyn Store>);
    one.register(&["k0", "k1", "k2"]);
    let gate = one.store.hang_for("k0");
    one.cool("k0");
    eventually("the hanging write", || one.store.hanging() == 1);
    one.cool("k1");
    one.cool("k2");
    let error = one.manager.shutdown(SECOND).unwrap_err();
    assert_eq!(*error.code(), ErrorCode::DeadlineExceeded);
    assert_eq!(one.store.hanging(), 1);
    assert!(has_cooldown(&*store, "k1") && has_cooldown(&*store, "k2"));
    drop(gate);
}

#[test]
fn a_shutdown_is_ok_when_the_store_has_everything() {
    for comes_back in [false, true] {
        let store = Arc::new(MemoryStore::new());
        let one = Process::over(Arc::clone(&store) as Arc<dyn Store>);
        one.register(&["bad", "good"]);
        one.store.fail_for(Some("bad"));
        one.cool("bad");
        one.cool("good");
        eventually("the failure", || one.store.refused() == 1);
        eventually("its end", || one.manager.store_health().unsaved == 1);
        // News that rest, and others that wait for their record's pause: neither waits for its time.
        one.manager.reset("good").unwrap();
        if comes_back {
            one.store.fail_for(None);
        }
        let outcome = one.manager.shutdown(SOON);
        assert!(!has_cooldown(&*store, "good"));
        assert_eq!(has_cooldown(&*store, "bad"), comes_back);
        assert_eq!(
            outcome.map_err(|error| error.code().clone()),
            if comes_back {
                Ok(())
            } else {
                Err(ErrorCode::Store)
            }
        );
    }
}

#[test]
fn two_idle_processes_write_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let address = format!("file|{}", directory.path().display());
    let one = Process::over(store_support::open(&address));
    one.register(&["a", "b", "c"]);
    let one = one.with_hot_reload();
    let other = Process::over(store_support::open(&address)).with_hot_reload();
    one.cool("a");
    other.manager.cool_down("a", Some("m"), 2 * LONG).unwrap();
    other.cool("b");
    one.manager.reset("b").unwrap();
    let writes = || one.store.writes() + other.store.writes();
    // Each learns of the other, and writes what the other lacks; then both fall silent.
    let round = || {
        let before = writes();
        for process in [&one, &other] {
            let looks = process.store.looks();
            eventually("a look", || {
                if process.clock.timers() > 0 {
                    process.clock.advance(SECOND);
                }
                process.store.looks() > looks
            });
        }
        let unsaved = |process: &Process| process.manager.store_health().unsaved;
        writes() == before && unsaved(&one) + unsaved(&other) == 0
    };
    let mut silent = 0;
    for rounds in 0.. {
        silent = if round() { silent + 1 } else { 0 };
        if silent == 5 {
            break;
        }
        assert!(rounds < 50, "they do not fall silent");
    }
    let before = writes();
    for _ in 0..20 {
        round();
    }
    for process in [&one, &other] {
        assert_eq!(process.manager.store_health().unsaved, 0);
        process.manager.shutdown(SOON).unwrap();
    }
    assert_eq!(writes(), before);
}
