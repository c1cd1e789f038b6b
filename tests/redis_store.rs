//! The store on a Redis server: what is beside its promises as a store, and what happens when the server fails.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod store_support;

use std::thread;
use std::time::{Duration, Instant};

use credpool::{ErrorCode, Intent, RedisStore, Revision, Saved, Store};
use redis::Commands;
use store_support::{Server, next_change, of_generation, revision, sample, when_up};
use time::macros::utc_datetime;

fn connect(server: &Server) -> RedisStore {
    when_up(|| RedisStore::connect(server.redis_url()))
}

fn direct(server: &Server) -> redis::Connection {
    let client = redis::Client::open(server.redis_url()).unwrap();
    when_up(|| client.get_connection())
}

fn intent() -> Intent {
    Intent::new(1, utc_datetime!(2026-01-01 0:00))
}

/// Every other connection ends, as an administrator or a failover does it.
fn cut(admin: &mut redis::Connection) {
    let _: i64 = redis::cmd("CLIENT")
        .arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"])
        .query(admin)
        .unwrap();
}

#[test]
fn connections_that_died_are_replaced() {
    let Some(server) = store_support::start_redis() else {
        return;
    };
    let store = connect(&server);
    let mut admin = direct(&server);
    store.save(&sample("a")).unwrap();
    let mut lock = store.lock("a", Duration::ZERO).unwrap().unwrap();
    cut(&mut admin);
    assert!(store.load("a").unwrap().is_some());
    cut(&mut admin);
    let relabelled = sample("a").with_label("new");
    store.save(&relabelled).unwrap();
    cut(&mut admin);
    assert!(matches!(
        store.save_if(&of_generation(1), Some(&Revision::of(&relabelled))),
        Ok(Saved::At(_))
    ));
    cut(&mut admin);
    assert_eq!(store.list().unwrap().records.len(), 1);
    // A lease is no connection: it is still held.
    lock.set_intent(Some(&intent())).unwrap();
    assert!(store.lock("a", Duration::ZERO).unwrap().is_none());
}

#[test]
fn what_was_answered_outlives_a_crash_of_the_server() {
    let Some(server) = store_support::start_redis() else {
        return;
    };
    let store = connect(&server);
    for generation in 0..20 {
        if generation > 0 {
            let saved = store.save_if(&of_generation(generation), Some(&revision(generation - 1)));
            assert!(matches!(saved, Ok(Saved::At(_))), "{saved:?}");
        } else {
            store.save(&of_generation(0)).unwrap();
        }
        if generation % 5 == 4 {
            server.crash();
            let there = when_up(|| store.load("a"));
            assert_eq!(there.unwrap().generation(), generation);
        }
    }
}

/// A holder whose renewals do not get through has no lease for long; what it does then has no effect.
#[test]
fn a_lease_that_is_not_renewed_goes_to_the_next_one() {
    let Some(server) = store_support::start_redis() else {
        return;
    };
    let store = connect(&server).with_lease(Duration::from_secs(1));
    store.save(&of_generation(1)).unwrap();
    let mut admin = direct(&server);
    let mut late = store.lock("a", Duration::ZERO).unwrap().unwrap();
    late.set_intent(Some(&intent())).unwrap();
    // As if it had been asleep for all of its lease.
    let _: () = admin.del("{credpool}:lock:a").unwrap();
    let mut next = store.lock("a", Duration::from_secs(5)).unwrap().unwrap();
    assert_eq!(next.intent().unwrap(), Some(intent()));
    next.set_intent(Some(&intent().with_tries(2))).unwrap();
    assert!(!next.holder_is_dead(), "it was stopped, and lives");
    let error = late.set_intent(None).unwrap_err();
    assert!(!late.is_held() && next.is_held());
    assert_eq!(
        (error.code(), error.auth_id()),
        (&ErrorCode::Store, Some("a"))
    );
    assert!(error.to_string().contains("was lost"), "{error}");
    assert_eq!(next.intent().unwrap().unwrap().tries, 2);
    assert!(matches!(
        store.save_if(&of_generation(2), Some(&revision(1))),
        Ok(Saved::At(_))
    ));
    let Saved::Conflict(Some(there)) = store
        .save_if(&of_generation(2).with_label("late"), Some(&revision(1)))
        .unwrap()
    else {
        panic!("a holder without a lease has won");
    };
    assert_eq!(there.generation(), 2);
    // To give back what is another one's takes nothing from it.
    drop(late);
    assert!(store.lock("a", Duration::ZERO).unwrap().is_none());
    drop(next);
    assert!(store.lock("a", Duration::ZERO).unwrap().is_some());
}

#[test]
fn a_lease_is_renewed_as_long_as_it_is_held() {
    let Some(server) = store_support::start_redis() else {
        return;
    };
    let store = connect(&server).with_lease(Duration::from_millis(300));
    let mut admin = direct(&server);
    let lock = store.lock("a", Duration::ZERO).unwrap().unwrap();
    let (start, mut most) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_millis(1200) {
        assert!(
            store
                .lock("a", Duration::from_millis(50))
                .unwrap()
                .is_none()
        );
        let left: i64 = admin.pttl("{credpool}:lock:a").unwrap();
        most = most.max(left);
    }
    assert!(lock.is_held());
    assert!(most > 100, "{most}");
    drop(lock);
    let left: i64 = admin.pttl("{credpool}:lock:a").unwrap();
    assert_eq!(left, -2, "there is none");
}

/// A server that stopped answering takes the lease away unheard.
#[test]
fn a_holder_that_cannot_renew_knows_it() {
    let Some(server) = store_support::start_redis() else {
        return;
    };
    let store = connect(&server).with_lease(Duration::from_millis(600));
    let lock = store.lock("a", Duration::ZERO).unwrap().unwrap();
    assert!(lock.is_held());
    server.signal("-STOP");
    let start = Instant::now();
    while lock.is_held() {
        assert!(
            start.elapsed() < Duration::from_millis(1_200),
            "it believes in it"
        );
        thread::sleep(Duration::from_millis(5));
    }
    server.signal("-CONT");
}

#[test]
fn what_others_write_to_the_keys_is_told_and_left_alone() {
    let Some(server) = store_support::start_redis() else {
        return;
    };
    let store = connect(&server);
    let (mut admin, start) = (direct(&server), store.changes(None).unwrap().unwrap());
    for id in ["a", "b", "c"] {
        store.save(&sample(id)).unwrap();
    }
    let _: () = admin.del("{credpool}:record:b").unwrap();
    let _: () = admin.set("{credpool}:record:b", "text").unwrap();
    let _: () = admin
        .hset("{credpool}:record:c", "c", "{sk-canary")
        .unwrap();
    let listing = store.list().unwrap();
    assert_eq!(listing.records.len(), 1);
    assert_eq!(listing.skipped.len(), 2, "{:?}", listing.skipped);
    let other = connect(&server);
    let changes = other.changes(Some(&start.cursor)).unwrap().unwrap();
    assert_eq!((changes.written.len(), changes.skipped.len()), (1, 2));
    for skipped in listing.skipped.iter().chain(&changes.skipped) {
        assert!(!format!("{skipped:?}").contains("canary"), "{skipped:?}");
    }
    for error in [
        store.load("b").unwrap_err(),
        store.load("c").unwrap_err(),
        store.save(&sample("b")).unwrap_err(),
    ] {
        assert_eq!(*error.code(), ErrorCode::Store);
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    }
    let text: String = admin.get("{credpool}:record:b").unwrap();
    assert_eq!(text, "text");
}

#[test]
fn many_changes_are_told_in_parts_and_none_twice() {
    let Some(server) = store_support::start_redis() else {
        return;
    };
    let (store, other) = (connect(&server), connect(&server));
    let start = store.changes(None).unwrap().unwrap();
    for n in 0..1_203 {
        other.save(&sample(&format!("a{n}"))).unwrap();
    }
    other.delete("a7").unwrap();
    store.save(&sample("mine")).unwrap();
    let changes = store.changes(Some(&start.cursor)).unwrap().unwrap();
    assert_eq!((changes.written.len(), changes.removed.len()), (1_202, 1));
    let again = store.changes(Some(&changes.cursor)).unwrap().unwrap();
    assert!(again.written.is_empty() && again.removed.is_empty());
    // What another handle did to a record is told although this one has changed it since.
    other.save(&sample("a1").with_label("theirs")).unwrap();
    for n in 0..600 {
        let auth = sample(&format!("b{n}"));
        other.save(&auth).unwrap();
    }
    let mut noted = sample("a1");
    noted.status_message = "ours".into();
    store.save_state(&noted).unwrap();
    let changes = store.changes(Some(&again.cursor)).unwrap().unwrap();
    assert_eq!(changes.written.len(), 601);
    assert!(changes.written.iter().any(|auth| auth.label == "theirs"));
    // A server that lost everything begins at the beginning, however much it has counted by then.
    let _: () = redis::cmd("FLUSHALL").query(&mut direct(&server)).unwrap();
    for n in 0..2_000 {
        other.save(&sample(&format!("c{n}"))).unwrap();
    }
    let changes = store.changes(Some(&changes.cursor)).unwrap().unwrap();
    assert_eq!(changes.written.len(), 2_000);
}

#[test]
fn a_server_that_starts_again_tells_everything_once_more() {
    let Some(server) = store_support::start_redis() else {
        return;
    };
    let (store, other) = (connect(&server), connect(&server));
    other.save(&sample("a")).unwrap();
    let start = store.changes(None).unwrap().unwrap();
    server.crash();
    let changes = when_up(|| store.changes(Some(&start.cursor))).unwrap();
    assert_eq!(changes.written.len(), 1);
    let again = store.changes(Some(&changes.cursor)).unwrap().unwrap();
    assert!(again.written.is_empty());
}

#[test]
fn pools_with_names_of_their_own_share_a_server() {
    let Some(server) = store_support::start_redis() else {
        return;
    };
    let (one, other) = (connect(&server), connect(&server).with_name("other"));
    one.save(&sample("a")).unwrap();
    assert!(other.load("a").unwrap().is_none());
    assert!(other.list().unwrap().records.is_empty());
    let _held = one.lock("a", Duration::ZERO).unwrap().unwrap();
    assert!(other.lock("a", Duration::ZERO).unwrap().is_some());
}

#[test]
fn no_error_shows_the_password() {
    let refused = |url: &str| RedisStore::connect(url).unwrap_err();
    for url in [
        "redis://user:canary@127.0.0.1:1/0",
        "redis://user:canary@127.0.0.1:1/canary",
        "canary://user:canary@127.0.0.1",
        "canary",
    ] {
        let error = refused(url);
        assert!(
            !format!("{error:?} {error}").contains("canary"),
            "{error:?}"
        );
    }
    let Some(server) = store_support::start_redis() else {
        return;
    };
    drop(connect(&server));
    let url = server
        .redis_url()
        .replace("redis://", "redis://user:canary@");
    let error = refused(&url);
    assert!(
        !format!("{error:?} {error}").contains("canary"),
        "{error:?}"
    );
    assert!(!format!("{:?}", connect(&server)).contains("127.0.0.1"));
}

#[test]
fn a_server_that_is_gone_is_an_error_in_bounded_time() {
    let Some(server) = store_support::start_redis() else {
        return;
    };
    let store = connect(&server);
    store.save(&sample("a")).unwrap();
    drop(server);
    let start = Instant::now();
    thread::scope(|scope| {
        let calls = [
            scope.spawn(|| store.load("a").is_err()),
            scope.spawn(|| store.save(&sample("a")).is_err()),
            scope.spawn(|| store.lock("a", Duration::ZERO).is_err()),
        ];
        assert!(calls.into_iter().all(|call| call.join().unwrap()));
    });
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_server_is_not_asked_while_nothing_changes_and_changes_are_told_at_once() {
    let Some(server) = store_support::start_redis() else {
        return;
    };
    let (store, other) = (connect(&server), connect(&server));
    let mut admin = direct(&server);
    other.save(&sample("a")).unwrap();
    let mut cursor = store.list().unwrap().cursor.unwrap();
    assert!(!store.is_quiet(&cursor), "it has not listened");
    let first = store.changes(Some(&cursor)).unwrap().unwrap();
    assert!(first.is_notified && first.written.is_empty());
    let processed = |admin: &mut redis::Connection| -> u64 {
        let said: String = redis::cmd("INFO").arg("stats").query(admin).unwrap();
        let count = said
            .lines()
            .find_map(|line| line.strip_prefix("total_commands_processed:"));
        count.unwrap().trim().parse().unwrap()
    };
    let before = processed(&mut admin);
    for _ in 0..100 {
        assert!(store.is_quiet(&first.cursor));
    }
    assert_eq!(
        processed(&mut admin),
        before + 1,
        "that of the question itself"
    );
    cursor = first.cursor;
    let mut told = || {
        let changes = next_change(&store, &mut cursor);
        assert!(changes.is_notified);
        changes
    };
    other.save(&sample("b")).unwrap();
    assert_eq!(told().written[0].id, "b");
    other.save_state(&sample("b").with_label("x")).unwrap();
    other.delete("a").unwrap();
    assert_eq!(told().removed, ["a"]);
    // What is lost is told, too, and so is what changes while the connection is gone.
    let _: () = redis::cmd("FLUSHALL").query(&mut admin).unwrap();
    assert!(told().complete);
    cut(&mut admin);
    other.save(&sample("c")).unwrap();
    assert_eq!(told().written[0].id, "c");
}
