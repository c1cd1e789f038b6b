//! Refreshes of one grant by many threads and processes: how often the server is asked, and whose tokens win.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod refresh_support;
mod support;

use std::sync::{Arc, Barrier};
use std::time::Duration;

use credpool::testing::{LostAnswer, Reply, Upstream};
use credpool::{Auth, Clock, ErrorCode, Intent, Manager, MemoryStore, OAuthTokens, Status, Store};
use refresh_support::{Client, Fails, Fleet, call, process, token};
use support::{SOON, START, eventually};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn sixty_four_threads_at_expiry_refresh_once() {
    let fleet = Fleet::new();
    let manager = fleet.process();
    manager.register(fleet.server.login("p", "a")).unwrap();
    let together = Arc::new(Barrier::new(64));
    let threads: Vec<_> = (0..64)
        .map(|_| {
            let (manager, together) = (manager.clone(), Arc::clone(&together));
            std::thread::spawn(move || {
                together.wait();
                call(&manager).unwrap()
            })
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), "access-1");
    }
    assert_eq!((fleet.server.refreshes(), fleet.server.replays()), (1, 0));
    manager.shutdown(SOON).unwrap();
}

#[test]
fn eight_processes_with_many_threads_refresh_once() {
    let fleet = Fleet::new();
    fleet.store.save(&fleet.server.login("p", "a")).unwrap();
    let processes: Vec<_> = (0..8).map(|_| fleet.process()).collect();
    let together = Arc::new(Barrier::new(64));
    let threads: Vec<_> = (0..64)
        .map(|n| {
            let (manager, together) = (processes[n % 8].clone(), Arc::clone(&together));
            std::thread::spawn(move || {
                together.wait();
                call(&manager).unwrap()
            })
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), "access-1");
    }
    assert_eq!((fleet.server.refreshes(), fleet.server.replays()), (1, 0));
    for manager in processes {
        assert_eq!(manager.get_by_id("a").unwrap().generation(), 1);
        manager.shutdown(SOON).unwrap();
    }
}

#[test]
fn a_refresh_token_alone_is_enough_for_the_first_call() {
    let fleet = Fleet::new();
    let manager = fleet.process();
    let mut login = fleet.server.login("p", "a");
    let metadata = login.metadata.as_mut().unwrap();
    for name in ["access_token", "expires_at"] {
        metadata.remove(name);
    }
    assert_eq!(metadata.len(), 1);
    manager.register(login).unwrap();
    let threads: Vec<_> = (0..16)
        .map(|_| {
            let manager = manager.clone();
            std::thread::spawn(move || call(&manager).unwrap())
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), "access-1");
    }
    assert_eq!((fleet.server.refreshes(), fleet.server.replays()), (1, 0));
    assert_eq!(fleet.store.token("a"), "access-1");
}

#[test]
fn a_client_without_a_token_gets_one_before_its_first_request() {
    let answer = r#"{"access_token": "first", "expires_in": 3600}"#;
    let upstream = Upstream::start(move |_| Reply::json(200, answer));
    let manager = Fleet::new().process();
    let client = Auth::client_credentials("p", upstream.url() + "/token", "app", "secret");
    manager.register(client).unwrap();
    assert_eq!(call(&manager).unwrap(), "first");
    assert_eq!(call(&manager).unwrap(), "first");
    assert_eq!(upstream.requests().len(), 1);
    manager.shutdown(SOON).unwrap();
}

#[test]
fn a_login_that_stays_in_memory_is_refreshed_there_and_never_stored() {
    let fleet = Fleet::new();
    let manager = fleet.process();
    let login = fleet.server.login("p", "a");
    manager.register(login.clone().runtime_only()).unwrap();
    assert_eq!(call(&manager).unwrap(), "access-1");
    manager.refresh_now("a").unwrap();
    assert_eq!(token(&manager, "a"), "access-2");
    manager.set_disabled("a", true).unwrap();
    manager.set_disabled("a", false).unwrap();
    let copy = (*manager.get_by_id("a").unwrap()).clone().with_label("x");
    assert!(manager.update(copy).unwrap().is_runtime_only());
    assert_eq!(call(&manager).unwrap(), "access-2");
    assert!(fleet.store.list().unwrap().records.is_empty());
    assert!(manager.refresh_health().is_good());
    // The very same id, stored: it is there until the record in memory takes its place.
    manager.register(fleet.server.login("p", "b")).unwrap();
    assert_eq!(fleet.store.list().unwrap().records.len(), 1);
    let login = fleet.server.login("p", "b").runtime_only();
    assert!(manager.register(login).unwrap().is_runtime_only());
    manager.refresh_now("b").unwrap();
    assert!(fleet.store.list().unwrap().records.is_empty());
    assert_eq!((fleet.server.refreshes(), fleet.server.replays()), (3, 0));
}

#[test]
fn what_another_process_has_refreshed_is_taken_over_without_a_request() {
    let fleet = Fleet::new();
    let (first, second) = (fleet.process(), fleet.process());
    first.register(fleet.server.login("p", "a")).unwrap();
    second.load().unwrap();
    for round in 1..=3 {
        let (one, other) = if round % 2 == 0 {
            (&second, &first)
        } else {
            (&first, &second)
        };
        let generation = one.refresh_now("a").unwrap().generation();
        assert_eq!(generation, 1 + round);
        let adopted = other.refresh_now("a").unwrap();
        assert_eq!(adopted.generation(), generation);
        assert_eq!(token(other, "a"), format!("access-{round}"));
        fleet.clock.advance(SECOND);
    }
    assert_eq!((fleet.server.refreshes(), fleet.server.replays()), (3, 0));
    assert_eq!(fleet.store.intent("a"), None);
    assert!(!fleet.store.is_locked("a"));
}

#[test]
fn an_old_copy_brings_no_token_back_and_a_new_login_replaces_all() {
    let fleet = Fleet::new();
    let manager = fleet.process();
    let copy = manager.register(fleet.server.login("p", "a")).unwrap();
    assert_eq!(copy.generation(), 1, "the first tokens are a change");
    let noted = (*copy).clone().with_metadata("note", "n");
    assert_eq!(
        manager.update(noted).unwrap().generation(),
        1,
        "a note is no token"
    );
    manager.refresh_now("a").unwrap();
    // As a program that keeps records elsewhere would bring it: what was changed in it does not show.
    let text = serde_json::to_string(&*copy).unwrap();
    let foreign: Auth = serde_json::from_str(&text).unwrap();
    let error = manager.update(foreign).unwrap_err();
    assert_eq!(error.code(), &ErrorCode::Conflict);
    // A copy that was taken before changes what was changed in it.
    let old = (*copy).clone().with_metadata("token_type", "other");
    let auth = manager.update(old).unwrap();
    assert_eq!(
        auth.metadata.as_ref().unwrap().text("token_type"),
        Some("other")
    );
    assert_eq!(
        (auth.generation(), token(&manager, "a").as_str()),
        (3, "access-1")
    );
    let login = Auth::oauth("p", OAuthTokens::new("by hand")).with_id("a");
    let auth = manager.register(login).unwrap();
    assert_eq!(
        (auth.generation(), token(&manager, "a").as_str()),
        (4, "by hand")
    );
    assert_eq!(fleet.store.record("a").generation(), 4);
}

#[test]
fn a_change_by_one_process_keeps_the_tokens_of_another() {
    let fleet = Fleet::new();
    let (first, second) = (fleet.process(), fleet.process());
    first.register(fleet.server.login("p", "a")).unwrap();
    second.load().unwrap();
    first.refresh_now("a").unwrap();
    // The second still has the old tokens.
    assert_eq!(token(&second, "a"), "access-0");
    second.set_disabled("a", true).unwrap();
    assert_eq!(fleet.store.token("a"), "access-1");
    assert_eq!(token(&second, "a"), "access-1");
    assert!(fleet.store.record("a").disabled);
    let relabelled = (*second.get_by_id("a").unwrap()).clone().with_label("x");
    second.update(relabelled).unwrap();
    assert_eq!(fleet.store.record("a").label, "x");
    assert_eq!(fleet.store.record("a").generation(), 2);
    // A new login through a process that has never loaded it counts on.
    let third = process(&fleet.clock, &fleet.store, &fleet.events);
    let login = Auth::oauth("p", OAuthTokens::new("by hand")).with_id("a");
    assert_eq!(third.register(login).unwrap().generation(), 3);
    first.load().unwrap();
    assert_eq!(token(&first, "a"), "by hand");
}

#[test]
fn an_operator_and_a_refresh_change_one_record_at_once() {
    let fleet = Fleet::new();
    let manager = fleet.process();
    manager.register(fleet.server.login("p", "a")).unwrap();
    fleet.store.edit("a", |json| {
        json["label"] = "edited".into();
        json["metadata"]["note"] = "by hand".into();
        json["disabled"] = true.into();
    });
    let auth = manager.refresh_now("a").unwrap();
    for auth in [&*auth, &fleet.store.record("a")] {
        let metadata = auth.metadata.as_ref().unwrap();
        assert_eq!(metadata.text("access_token"), Some("access-1"));
        assert_eq!(metadata.text("note"), Some("by hand"));
        assert_eq!((auth.label.as_str(), auth.disabled), ("edited", true));
    }
    // A login by hand, in a file that knows of no generations.
    fleet.store.edit("a", |json| {
        json["metadata"]["access_token"] = "by hand".into();
        json["metadata"]["expires_at"] = "2025-01-01T23:00:00Z".into();
    });
    let auth = manager.refresh_now("a").unwrap();
    assert_eq!(token(&manager, "a"), "by hand");
    assert_eq!(auth.generation(), 3);
    assert_eq!(fleet.server.refreshes(), 1, "it is good as it is");
}

#[test]
fn a_process_that_has_the_lock_too_long_defers_the_others() {
    let fleet = Fleet::new();
    let manager = fleet.process();
    manager.register(fleet.server.login("p", "a")).unwrap();
    fleet.store.set_patience(Duration::from_millis(1));
    let lock = fleet.store.lock("a", SECOND).unwrap();
    let error = std::thread::scope(|scope| {
        let refresh = scope.spawn(|| manager.refresh_now("a").unwrap_err());
        eventually("the wait for the lock", || fleet.store.locks_refused() > 0);
        fleet.clock.advance(10 * SECOND);
        refresh.join().unwrap()
    });
    assert!(error.is_retryable(), "{error}");
    let deferred = &manager.refresh_health().deferred;
    assert!(
        deferred.len() == 1 && deferred[0].auth_id == "a",
        "{deferred:?}"
    );
    let auth = manager.get_by_id("a").unwrap();
    assert_eq!(
        (auth.status, auth.last_error.is_none()),
        (Status::Active, true)
    );
    assert_eq!(fleet.server.refreshes(), 0);
    let answer = fleet.while_time_passes(|| call(&manager));
    assert_eq!(answer.unwrap(), "access-0", "no call fails for it");
    drop(lock);
    manager.refresh_now("a").unwrap();
    assert_eq!(token(&manager, "a"), "access-1");
    assert!(manager.refresh_health().is_good());
}

#[test]
fn a_lost_answer_is_tried_once_more_at_once() {
    for (how, replays) in [
        (LostAnswer::Reset, 1),
        (LostAnswer::Cut, 1),
        (LostAnswer::BadGateway, 1),
        (LostAnswer::Nonsense, 1),
    ] {
        let fleet = Fleet::new();
        fleet.server.set_leeway(5 * SECOND);
        let manager = fleet.process();
        manager.register(fleet.server.login("p", "a")).unwrap();
        fleet.server.lose_answer(how);
        manager.refresh_now("a").unwrap();
        assert_eq!(token(&manager, "a"), "access-2", "{how:?}");
        assert_eq!(fleet.server.replays(), replays, "{how:?}");
        assert!(manager.refresh_health().is_good());
        assert_eq!(fleet.store.intent("a"), None);
        assert_eq!(fleet.events.heard(), Vec::<String>::new());
    }
}

#[test]
fn a_grant_that_stays_in_doubt_backs_off_while_the_old_token_lives() {
    let fleet = Fleet::new();
    fleet.server.set_leeway(HOUR);
    let manager = fleet.process();
    let end = (START + 60 * SECOND).unix_timestamp();
    let login = fleet
        .server
        .login("p", "a")
        .with_metadata("expires_at", end);
    manager.register(login).unwrap();
    fleet.server.lose_answer(LostAnswer::Reset);
    fleet.server.lose_answer(LostAnswer::Reset);
    let error = manager.refresh_now("a").unwrap_err();
    assert_eq!(error.code(), &ErrorCode::Transport);
    let health = manager.refresh_health();
    assert_eq!(health.in_doubt, ["a"]);
    assert_eq!(fleet.events.heard(), ["in_doubt a"]);
    let intent = fleet.store.intent("a").unwrap();
    assert_eq!((intent.generation, intent.tries), (1, 2));
    // Callers do not ask again before the least gap is over.
    for _ in 0..5 {
        assert_eq!(call(&manager).unwrap(), "access-0");
    }
    assert_eq!(fleet.server.server().request_count(), 2);
    manager.start_auto_refresh(HOUR).unwrap();
    fleet.until("the next try", || token(&manager, "a") != "access-0");
    assert!(fleet.clock.now() >= START + 2 * SECOND);
    assert!(manager.refresh_health().is_good());
    manager.shutdown(SOON).unwrap();
}

#[test]
fn a_process_that_died_in_the_middle_leaves_a_doubt() {
    let fleet = Fleet::new();
    fleet.server.set_leeway(5 * SECOND);
    fleet.store.save(&fleet.server.login("p", "a")).unwrap();
    let intent = |tries| Intent::new(0, START).with_tries(tries);
    // It had sent the token once: once more at once.
    fleet.store.set_intent("a", intent(1));
    let manager = fleet.process();
    fleet.server.lose_answer(LostAnswer::Reset);
    manager.refresh_now("a").unwrap_err();
    assert_eq!(fleet.server.server().request_count(), 1);
    assert_eq!(fleet.store.intent("a").unwrap().tries, 2);
    assert_eq!(manager.refresh_health().in_doubt, ["a"]);
    // An intent for another generation says nothing.
    fleet
        .store
        .set_intent("a", Intent::new(7, START).with_tries(9));
    let other = fleet.process();
    assert!(other.refresh_now("a").is_ok());
    assert_eq!(fleet.store.intent("a"), None);
}

#[test]
fn what_never_reached_the_server_is_in_no_doubt() {
    let fleet = Fleet::new();
    let manager = fleet.process();
    let nowhere = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/token", listener.local_addr().unwrap())
    };
    let login = fleet.server.login("p", "a");
    let lost = login.clone().with_attribute("token_url", nowhere);
    manager.register(lost).unwrap();
    let error = manager.refresh_now("a").unwrap_err();
    assert!(credpool::NotSent::is_in(&error), "{error:?}");
    assert!(manager.refresh_health().is_good());
    assert_eq!(fleet.store.intent("a"), None);
    let auth = manager.get_by_id("a").unwrap();
    assert_eq!(auth.status, Status::Error);
    let wait = auth.next_refresh_after.unwrap() - START;
    assert!(wait <= SECOND, "no gap before what was not sent: {wait}");
    let found = (*auth)
        .clone()
        .with_attribute("token_url", fleet.server.token_url());
    manager.update(found).unwrap();
    manager.refresh_now("a").unwrap();
    assert_eq!(fleet.server.replays(), 0);
}

#[test]
fn a_login_that_is_over_is_said_once_and_left_alone() {
    let fleet = Fleet::new();
    let manager = fleet.process();
    manager.register(fleet.server.login("p", "a")).unwrap();
    fleet.server.revoke("a");
    let before = fleet.clock.now();
    let error = fleet.refresh(&manager, "a").unwrap_err();
    assert_eq!(error.code(), &ErrorCode::NeedsLogin);
    assert!(
        fleet.clock.now() >= before + 2 * SECOND,
        "it is looked up again"
    );
    let auth = manager.get_by_id("a").unwrap();
    assert_eq!(
        (auth.status, auth.status_message.as_str()),
        (Status::Error, "needs login")
    );
    assert_eq!(
        auth.last_error.as_ref().unwrap().code(),
        &ErrorCode::NeedsLogin
    );
    assert!(
        auth.metadata
            .as_ref()
            .unwrap()
            .text("refresh_token")
            .is_some(),
        "nothing is deleted"
    );
    assert_eq!(manager.refresh_health().needs_login, ["a"]);
    assert_eq!(fleet.events.heard(), ["needs_login a"]);
    manager.start_auto_refresh(HOUR).unwrap();
    for _ in 0..100 {
        fleet.clock.advance(60 * SECOND);
        // The token it has may still be good.
        assert_eq!(call(&manager).unwrap(), "access-0");
    }
    assert_eq!(fleet.server.server().request_count(), 1);
    // A new login starts afresh.
    let again = fleet.server.login("p", "a");
    manager.register(again).unwrap();
    assert!(manager.refresh_health().is_good());
    eventually("the refresh", || token(&manager, "a") == "access-1");
    assert_eq!(manager.get_by_id("a").unwrap().status, Status::Active);
    manager.shutdown(SOON).unwrap();
}

#[test]
fn a_client_that_is_unknown_is_a_fault_of_the_settings() {
    let fleet = Fleet::new();
    let manager = fleet.process();
    manager.register(fleet.server.login("p", "a")).unwrap();
    fleet
        .server
        .answer_instead(Reply::json(401, r#"{"error":"invalid_client"}"#));
    let error = manager.refresh_now("a").unwrap_err();
    assert_eq!(error.code(), &ErrorCode::Config);
    let auth = manager.get_by_id("a").unwrap();
    assert_eq!(auth.next_refresh_after, Some(START + 15 * 60 * SECOND));
    assert!(manager.refresh_health().is_good(), "the login is not over");
    assert_eq!(fleet.store.intent("a"), None);
    manager.refresh_now("a").unwrap();
    assert_eq!(manager.get_by_id("a").unwrap().status, Status::Active);
}

#[test]
fn a_busy_token_endpoint_is_left_alone_for_as_long_as_it_asks() {
    for status in [429, 503] {
        let fleet = Fleet::new();
        let manager = fleet.process();
        manager.register(fleet.server.login("p", "a")).unwrap();
        fleet
            .server
            .answer_instead(Reply::json(status, "{}").header("retry-after", "120"));
        manager.refresh_now("a").unwrap_err();
        assert_eq!(fleet.store.intent("a"), None, "the server did nothing");
        assert!(manager.refresh_health().is_good());
        let auth = manager.get_by_id("a").unwrap();
        assert_eq!(auth.next_refresh_after, Some(START + 120 * SECOND));
        manager.start_auto_refresh(HOUR).unwrap();
        for _ in 0..119 {
            eventually("the refresher's sleep", || fleet.clock.timers() > 0);
            fleet.clock.advance(SECOND);
        }
        eventually("the refresher's sleep", || fleet.clock.timers() > 0);
        assert_eq!(fleet.server.server().request_count(), 1);
        fleet.until("the refresh", || token(&manager, "a") == "access-1");
        manager.shutdown(SOON).unwrap();
    }
}

#[test]
fn the_accounts_of_one_client_are_refreshed_one_after_the_other_where_the_program_says_so() {
    let fleet = Fleet::new();
    let manager = fleet.process_with(|builder| builder.refreshes_per_client(1));
    for n in 0..40 {
        let login = fleet.server.login("p", &format!("a{n}"));
        let login = login.with_attribute("client_id", "the app");
        manager.register(login).unwrap();
    }
    manager.start_auto_refresh(HOUR).unwrap();
    fleet.until("all refreshes", || fleet.server.refreshes() == 40);
    assert_eq!(fleet.server.most_at_once(), 1);
    assert_eq!(fleet.server.replays(), 0);
    manager.shutdown(SOON).unwrap();
}

#[test]
fn a_store_that_is_not_to_be_read_lets_no_refresh_begin() {
    for what in [Fails::Load, Fails::Intent] {
        let fleet = Fleet::new();
        let manager = fleet.process();
        manager.register(fleet.server.login("p", "a")).unwrap();
        fleet.store.fail(what, true);
        let error = manager.refresh_now("a").unwrap_err();
        assert_eq!(error.code(), &ErrorCode::Store, "{what:?}");
        assert_eq!(fleet.server.server().request_count(), 0);
        assert!(!fleet.store.is_locked("a"));
        assert_eq!(manager.get_by_id("a").unwrap().status, Status::Active);
        fleet.store.fail(what, false);
        manager.start_auto_refresh(HOUR).unwrap();
        fleet.until("the refresh", || token(&manager, "a") == "access-1");
        manager.shutdown(SOON).unwrap();
    }
}

#[test]
fn a_token_that_cannot_be_saved_is_used_written_later_and_reported() {
    let fleet = Fleet::new();
    let manager = fleet.process();
    manager.register(fleet.server.login("p", "a")).unwrap();
    fleet.store.fail(Fails::Save, true);
    manager.refresh_now("a").unwrap();
    assert_eq!(call(&manager).unwrap(), "access-1");
    assert_eq!(manager.refresh_health().unpersisted_rotation, ["a"]);
    assert!(
        fleet.store.is_locked("a"),
        "nobody else may use the old one"
    );
    assert!(fleet.store.intent("a").is_some());
    for _ in 0..100 {
        fleet.clock.advance(SECOND);
    }
    assert_eq!(fleet.store.token("a"), "access-0");
    let error = manager.shutdown(Duration::from_millis(50)).unwrap_err();
    assert_eq!(error.code(), &ErrorCode::Store);
    assert!(error.message().contains("1 credentials"), "{error}");
    assert_eq!(fleet.events.heard(), ["unpersisted_rotation a"]);

    let fleet = Fleet::new();
    let manager = fleet.process();
    manager.register(fleet.server.login("p", "a")).unwrap();
    fleet.store.fail(Fails::Save, true);
    manager.refresh_now("a").unwrap();
    // It can be refreshed once more before it is saved.
    manager.refresh_now("a").unwrap();
    assert_eq!(token(&manager, "a"), "access-2");
    fleet
        .store
        .edit("a", |json| json["label"] = "edited".into());
    fleet.store.fail(Fails::Save, false);
    fleet.until("the write", || fleet.store.token("a") == "access-2");
    fleet.until("the end of it", || manager.refresh_health().is_good());
    eventually("the lock", || !fleet.store.is_locked("a"));
    assert_eq!(fleet.store.intent("a"), None);
    assert_eq!(fleet.store.record("a").label, "edited");
    assert_eq!(manager.get_by_id("a").unwrap().label, "edited");
    assert_eq!(fleet.store.record("a").generation(), 3);
    assert_eq!(fleet.server.replays(), 0);
    manager.shutdown(SOON).unwrap();
    assert_eq!(fleet.events.heard().last().unwrap(), "persisted a");
}

#[test]
fn a_copy_that_one_process_knows_waits_for_the_record_that_another_one_refreshes() {
    let fleet = Fleet::new();
    let login = fleet.server.login("p", "b");
    fleet.store.save(&login).unwrap();
    let one = fleet.process();
    fleet.store.save(&login.clone().with_id("a")).unwrap();
    let other = fleet.process();
    fleet.store.fail(Fails::Save, true);
    one.refresh_now("b").unwrap();
    assert_eq!(token(&one, "b"), "access-1");
    for id in ["a", "b"] {
        let error = fleet.refresh(&other, id).unwrap_err();
        assert_eq!(error.code(), &ErrorCode::RefreshFailed, "{error}");
    }
    assert_eq!(fleet.server.refreshes(), 1);
    assert!(!fleet.store.is_locked("a"));
    fleet.store.fail(Fails::Save, false);
    fleet.until("the write", || fleet.store.token("b") == "access-1");
    eventually("the lock", || !fleet.store.is_locked("b"));
    fleet.refresh(&other, "a").unwrap();
    assert_eq!(fleet.store.token("a"), "access-1");
    // From now on both are refreshed together, under both locks.
    fleet.clock.advance(HOUR);
    fleet.store.fail(Fails::Save, true);
    fleet.refresh(&other, "b").unwrap();
    for id in ["a", "b"] {
        assert!(fleet.store.is_locked(id), "{id}");
        assert!(fleet.store.intent(id).is_some(), "{id}");
        assert_eq!(fleet.store.token(id), "access-1");
    }
    fleet.store.fail(Fails::Save, false);
    fleet.until("the writes", || {
        ["a", "b"].map(|id| fleet.store.token(id)) == ["access-2"; 2].map(str::to_owned)
    });
    eventually("the locks", || {
        !["a", "b"].into_iter().any(|id| fleet.store.is_locked(id))
    });
    assert_eq!(["a", "b"].map(|id| fleet.store.intent(id)), [None, None]);
    assert_eq!((fleet.server.refreshes(), fleet.server.replays()), (2, 0));
}

#[test]
fn a_shutdown_saves_what_it_can_until_its_limit() {
    let fleet = Fleet::new();
    let manager = fleet.process();
    manager.register(fleet.server.login("p", "a")).unwrap();
    fleet.store.fail(Fails::Save, true);
    manager.refresh_now("a").unwrap();
    let closing = {
        let manager = manager.clone();
        std::thread::spawn(move || manager.shutdown(SOON))
    };
    // The clock stands still: a shutdown goes by the machine's.
    let (_keep, never) = crossbeam_channel::bounded::<()>(0);
    let _ = never.recv_timeout(Duration::from_millis(150));
    assert!(!closing.is_finished(), "it waits for the store");
    fleet.store.fail(Fails::Save, false);
    closing.join().unwrap().unwrap();
    assert_eq!(fleet.store.token("a"), "access-1");
}

#[test]
fn calls_begin_a_refresh_in_the_last_stretch_and_wait_for_it_when_the_token_has_ended() {
    let fleet = Fleet::new();
    let manager = fleet.process();
    manager.register(fleet.server.login("p", "a")).unwrap();
    manager.refresh_now("a").unwrap();
    // An hour: the lead begins at 55 minutes, the last stretch half a minute before the end.
    fleet.clock.advance(3569 * SECOND);
    assert_eq!(call(&manager).unwrap(), "access-1");
    assert_eq!(
        fleet.server.refreshes(),
        1,
        "nobody refreshes in the background here"
    );
    fleet.clock.advance(SECOND);
    assert_eq!(
        call(&manager).unwrap(),
        "access-1",
        "it is good for half a minute more"
    );
    eventually("the refresh", || fleet.server.refreshes() == 2);
    eventually("its tokens", || token(&manager, "a") == "access-2");
    fleet.clock.advance(3599 * SECOND);
    // The former refresh may still be telling of its end.
    eventually("the refresh", || {
        let used = call(&manager).unwrap();
        used == "access-3" || token(&manager, "a") == "access-3"
    });
    fleet.clock.advance(HOUR);
    assert_eq!(call(&manager).unwrap(), "access-4", "the former has ended");
    assert_eq!(fleet.server.refreshes(), 4);
}

#[test]
fn a_jump_of_the_wall_clock_and_a_sleeping_machine_are_seen_within_half_a_minute() {
    let fleet = Fleet::new();
    let manager = fleet.process();
    manager.register(fleet.server.login("p", "a")).unwrap();
    manager.start_auto_refresh(HOUR).unwrap();
    eventually("the first refresh", || token(&manager, "a") == "access-1");
    let asleep = || eventually("the refresher's sleep", || fleet.clock.timers() > 0);
    asleep();
    // Five hours pass for the wall alone.
    fleet.clock.set_wall(fleet.clock.now() + 5 * HOUR);
    for _ in 0..30 {
        asleep();
        fleet.clock.advance(SECOND);
    }
    eventually("the second refresh", || token(&manager, "a") == "access-2");
    // Back by four hours, with a failure: its pause is not four hours longer.
    fleet.server.answer_instead(Reply::json(503, "{}"));
    eventually("the refusal", || manager.refresh_now("a").is_err());
    fleet.clock.set_wall(fleet.clock.now() - 4 * HOUR);
    let auth = manager.get_by_id("a").unwrap();
    let ended = (*auth).clone().with_metadata("expires_at", 1);
    manager.update(ended).unwrap();
    for _ in 0..400 {
        fleet.clock.advance(SECOND);
    }
    fleet.until("the third refresh", || token(&manager, "a") == "access-3");
    manager.shutdown(SOON).unwrap();
}

#[test]
fn a_start_with_a_hundred_expired_accounts_is_spread() {
    let fleet = Fleet::new();
    for n in 0..100 {
        // Each a client of its own: nothing but the spread keeps them apart.
        let login = fleet.server.login("p", &format!("a{n:02}"));
        let login = login.with_attribute("client_id", n.to_string());
        fleet.store.save(&login).unwrap();
    }
    let manager = fleet.process();
    manager.start_auto_refresh(HOUR).unwrap();
    let mut seen = 0;
    let mut most = 0;
    eventually("all of them", || {
        let now = fleet.server.refreshes();
        most = most.max(now - seen);
        seen = now;
        if now < 100 && fleet.clock.timers() > 0 {
            fleet.clock.advance(Duration::from_millis(100));
        }
        now == 100
    });
    assert!(most < 40, "{most} at once");
    manager.shutdown(SOON).unwrap();
}

#[test]
fn a_hundred_accounts_that_expire_together_are_not_refreshed_together() {
    let fleet = Fleet::new();
    let manager = fleet.process();
    let end = START + HOUR;
    for n in 0..100 {
        let mut login = fleet.server.login("p", &format!("a{n:02}"));
        login = login
            .with_attribute("client_id", n.to_string())
            .with_metadata("expires_at", end.unix_timestamp());
        login.last_refreshed_at = Some(START);
        manager.register(login).unwrap();
    }
    manager.start_auto_refresh(HOUR).unwrap();
    eventually("the refresher's sleep", || fleet.clock.timers() > 0);
    fleet.clock.advance(3299 * SECOND);
    let mut buckets = [0; 15];
    let mut seen = 0;
    for bucket in &mut buckets {
        for _ in 0..10 {
            eventually("the refresher's sleep", || {
                fleet.clock.timers() > 0 || fleet.server.refreshes() == 100
            });
            fleet.clock.advance(SECOND);
        }
        let now = fleet.server.refreshes();
        *bucket = now - seen;
        seen = now;
    }
    // On a slow machine, the last of them are still on their way to the server: for that no time passes.
    eventually("all of them", || {
        let left = end - fleet.clock.now();
        let refreshes = fleet.server.refreshes();
        if left > 2 * SECOND && fleet.clock.timers() > 0 && refreshes < 100 {
            fleet.clock.advance(SECOND);
        }
        refreshes == 100
    });
    assert!(buckets.iter().all(|count| *count < 40), "{buckets:?}");
    manager.shutdown(SOON).unwrap();
}

#[test]
fn a_key_meets_no_refresh_at_all() {
    let fleet = Fleet::new();
    let manager = Manager::builder()
        .clock(fleet.clock.clone())
        .build()
        .unwrap();
    manager.register_executor(Client);
    let key = Auth::api_key("p", "k").with_metadata("expires_at", 1);
    manager.register(key).unwrap();
    manager.start_auto_refresh(SECOND).unwrap();
    assert_eq!(call(&manager).unwrap(), "");
    assert_eq!(fleet.clock.timers(), 0, "nothing is due, nothing wakes");
    manager.shutdown(SOON).unwrap();
}

#[test]
fn a_login_that_is_over_costs_a_fleet_one_request_and_nobody_a_long_wait() {
    let fleet = Fleet::new();
    let store = Arc::new(MemoryStore::new());
    store.save(&fleet.server.login("p", "a")).unwrap();
    let process = |_| {
        let manager = fleet.process_with(|builder| builder.store(Arc::clone(&store)));
        manager.load().unwrap();
        manager
    };
    let processes: Vec<_> = (0..8).map(process).collect();
    fleet.server.revoke("a");
    let refresh_all = || {
        fleet.while_time_passes(|| {
            std::thread::scope(|scope| {
                let refresh = |process| scope.spawn(move || Manager::refresh_now(process, "a"));
                let refreshes: Vec<_> = processes.iter().map(refresh).collect();
                for refresh in refreshes {
                    let error = refresh.join().unwrap().unwrap_err();
                    assert_eq!(error.code(), &ErrorCode::NeedsLogin, "{error}");
                }
            });
        });
    };
    refresh_all();
    let asked = || fleet.server.server().request_count();
    assert_eq!(asked(), 1);
    // By another command each asks once more.
    refresh_all();
    assert_eq!(asked(), 9);
}
