//! What `Manager::store_health` tells: every kind of call that fails or hangs, since when, and for which records; and the log, a line at
//! the beginning and one at the end.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;
mod watched;

use std::sync::Arc;
use std::time::Duration;

use credpool::{Auth, Clock, Manager, ManualClock, MemoryStore, OAuthTokens};
use parking_lot::Mutex;
use support::{Fake, SOON, eventually, manual};
use watched::Watched;

const SECOND: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(1);

/// How long a call may take.
const HANGS: Duration = Duration::from_secs(5);

fn pool() -> (Manager, Watched, ManualClock) {
    let (clock, store) = (manual(), Watched::new(Arc::new(MemoryStore::new())));
    let manager = Manager::builder()
        .clock(clock.clone())
        .policy(support::steady())
        .store(store.clone())
        .build()
        .unwrap();
    let fake = Fake::new("p");
    fake.renews(|auth| Ok(auth.clone()));
    manager.register_executor(fake);
    let login = Auth::oauth(
        "p",
        OAuthTokens::new("access").with_refresh_token("refresh"),
    );
    manager.register(login.with_id("login")).unwrap();
    manager.register(key("a")).unwrap();
    (manager, store, clock)
}

fn key(id: &str) -> Auth {
    Auth::api_key("p", "k").with_id(id)
}

/// A look at the store that has come to its end.
fn look(manager: &Manager, store: &Watched, clock: &ManualClock) {
    eventually("the reloader's sleep", || clock.timers() > 0);
    let looks = store.looks();
    clock.advance(SECOND);
    eventually("the look", || store.looks() > looks);
    eventually("its end", || clock.timers() > 0);
    assert!(manager.store_health().writing_since.is_none());
}

#[test]
fn each_kind_of_call_that_fails_shows_until_one_succeeds() {
    let (manager, store, clock) = pool();
    let calls: [(&str, &dyn Fn() -> bool); 4] = [
        ("list", &|| manager.load().is_ok()),
        ("lock", &|| manager.refresh_now("login").is_ok()),
        ("write", &|| manager.register(key("b")).is_ok()),
        ("write", &|| manager.remove("a").is_ok()),
    ];
    for (call, make) in calls {
        // A refresh leaves a state that the writer saves later: it is not to count among the failures.
        eventually("that all is saved", || {
            clock.advance(TICK);
            manager.store_health().unsaved == 0
        });
        assert!(manager.store_health().is_good());
        store.is_away(Some(call));
        clock.advance(SECOND);
        let since = clock.now();
        for failures in 1..=2 {
            assert!(!make(), "{call}");
            let health = manager.store_health();
            assert!(!health.is_good(), "{call}");
            assert_eq!(health.failures, failures, "{call}");
            assert_eq!(health.failing_since, Some(since), "{call}");
            let error = health.last_error.unwrap().to_string();
            assert!(error.contains("the volume is away"), "{error}");
            clock.advance(SECOND);
        }
        store.is_away(None);
        make();
        let health = manager.store_health();
        assert!(health.is_good(), "{call} {health:?}");
        assert_eq!((health.failing_since, health.last_error), (None, None));
    }
    manager.shutdown(SOON).unwrap();
}

#[test]
fn a_load_that_fails_shows_until_the_store_is_read_or_written_again() {
    let (manager, store, _clock) = pool();
    store.is_away(Some("load"));
    // A refresh looks at the record before it writes it.
    let _ = manager.refresh_now("login");
    assert!(!manager.store_health().is_good());
    store.is_away(None);
    assert!(
        !manager.store_health().is_good(),
        "nothing says that it works again"
    );
    manager.load().unwrap();
    assert!(manager.store_health().is_good());
    manager.shutdown(SOON).unwrap();
}

#[test]
fn a_refused_change_of_the_program_is_no_fault_of_the_store() {
    let (manager, _store, _clock) = pool();
    let other = Auth::api_key("q", "k").with_id("a");
    manager.update(other).unwrap_err();
    let mut wrong = key("c");
    wrong.attributes.insert("weight", "heavy");
    manager.register(wrong).unwrap_err();
    assert!(manager.store_health().is_good());
    manager.shutdown(SOON).unwrap();
}

#[test]
fn a_store_that_hangs_shows_from_the_fifth_second_on() {
    let (manager, store, clock) = pool();
    manager.start_hot_reload(SECOND).unwrap();
    eventually("the reloader's sleep", || clock.timers() > 0);
    let gate = store.hang_for("changes");
    clock.advance(SECOND);
    eventually("the look that hangs", || store.hanging() == 1);
    let since = clock.now();
    assert!(manager.store_health().is_good());
    clock.advance(HANGS.checked_sub(TICK).unwrap());
    assert!(manager.store_health().is_good());
    clock.advance(TICK);
    let health = manager.store_health();
    assert!(!health.is_good());
    assert_eq!(health.hanging_since, Some(since));
    assert!(health.failing_records.is_empty() && health.writing_since.is_none());
    drop(gate);
    eventually("its end", || manager.store_health().is_good());
    assert_eq!(manager.store_health().hanging_since, None);
    manager.shutdown(SOON).unwrap();
}

#[test]
fn a_record_that_cannot_be_saved_is_named_until_it_is_saved_or_gone() {
    for removed in [false, true] {
        let (manager, store, clock) = pool();
        store.fail_for(Some("a"));
        let since = clock.now();
        manager.cool_down("a", None, SECOND * 3600).unwrap();
        eventually("the failure", || store.refused() == 1);
        eventually("its name", || {
            manager.store_health().failing_records == ["a"]
        });
        // What another record says of the store does not hide it.
        manager.register(key("b")).unwrap();
        clock.advance(SECOND);
        let health = manager.store_health();
        assert!(!health.is_good() && health.failures >= 1, "{health:?}");
        assert_eq!(health.failing_since, Some(since));
        store.fail_for(None);
        if removed {
            manager.remove("a").unwrap();
        }
        eventually("health", || {
            clock.advance(SECOND);
            manager.store_health().is_good()
        });
        let health = manager.store_health();
        assert!(health.failing_records.is_empty() && health.failing_since.is_none());
        manager.shutdown(SOON).unwrap();
    }
}

#[test]
fn another_store_begins_without_the_faults_of_the_former_one() {
    let (manager, store, clock) = pool();
    store.is_away(Some("*"));
    manager.load().unwrap_err();
    manager.cool_down("a", None, SECOND * 3600).unwrap();
    eventually("the failure", || {
        manager.store_health().failing_records == ["a"]
    });
    manager.set_store(None);
    assert!(manager.store_health().is_good());
    manager.set_store(Some(Arc::new(MemoryStore::new())));
    eventually("all is written", || {
        clock.advance(SECOND);
        let health = manager.store_health();
        health.is_good() && health.unsaved == 0
    });
    manager.shutdown(SOON).unwrap();
}

/// The lines that say how the store is doing.
struct Lines(Mutex<Vec<String>>);

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        // Only one of these tests has hot reload that fails.
        let of_reloader = thread_name() == "credpool-reloader";
        if record.level() <= log::Level::Info && of_reloader {
            self.0.lock().push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

fn thread_name() -> String {
    std::thread::current().name().unwrap_or_default().to_owned()
}

#[test]
fn the_log_has_a_line_when_a_fault_begins_and_one_when_it_ends() {
    static LINES: Lines = Lines(Mutex::new(Vec::new()));
    log::set_logger(&LINES).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let (manager, store, clock) = pool();
    manager.start_hot_reload(SECOND).unwrap();
    let lines = |of: &str| {
        let lines = LINES.0.lock();
        lines.iter().filter(|line| line.contains(of)).count()
    };
    for round in 1..=2 {
        assert!(manager.store_health().is_good());
        store.is_away(Some("changes"));
        look(&manager, &store, &clock);
        eventually("health within one interval", || {
            !manager.store_health().is_good()
        });
        for _ in 0..20 {
            look(&manager, &store, &clock);
        }
        assert_eq!(lines("the volume is away"), round);
        assert_eq!(lines("the store can read"), round - 1);
        store.is_away(None);
        for _ in 0..20 {
            look(&manager, &store, &clock);
        }
        eventually("health", || manager.store_health().is_good());
        assert_eq!(lines("the volume is away"), round);
        assert_eq!(lines("the store can read"), round);
    }
    manager.shutdown(SOON).unwrap();
}
