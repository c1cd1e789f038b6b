//! Refresh tokens: answers that are lost, late, odd or cannot be kept.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use credpool::testing::{Gate, LostAnswer, Reply};
use credpool::{CancelToken, Clock, ErrorCode, Intent, Options, Request, Status, Store};

use crate::refresh_support::{Fails, Fleet, call, token};
use crate::support::{Act, SOON, START, eventually, pool_with};
use crate::{HOUR, MINUTE, SECOND};

/// At the system calls themselves: see the test of crash points. Here, what the next process finds of each step.
#[test]
fn fault_02_a_process_is_killed_at_a_step_of_its_refresh() {
    // Before anything was sent: no trace but the lock, which went with it.
    let fleet = Fleet::new();
    fleet.store.save(&fleet.server.login("p", "a")).unwrap();
    let next = fleet.process();
    next.refresh_now("a").unwrap();
    assert_eq!((fleet.server.refreshes(), fleet.server.replays()), (1, 0));

    // After the intent, before the request: the token is sent for the first time, although that cannot be known.
    let fleet = Fleet::new();
    fleet.store.save(&fleet.server.login("p", "a")).unwrap();
    fleet.store.set_intent("a", Intent::new(0, START));
    fleet.process().refresh_now("a").unwrap();
    assert_eq!((fleet.server.refreshes(), fleet.server.replays()), (1, 0));
    assert_eq!(fleet.store.intent("a"), None);

    // After the request: within the leeway the same token gives another answer.
    let fleet = Fleet::new();
    fleet.server.set_leeway(5 * SECOND);
    let killed = fleet.process();
    killed.register(fleet.server.login("p", "a")).unwrap();
    let before = fleet.store.record("a");
    killed.refresh_now("a").unwrap();
    fleet.store.save(&before).unwrap();
    fleet
        .store
        .set_intent("a", Intent::new(before.generation(), START));
    let next = fleet.process();
    assert!(next.refresh_now("a").unwrap().generation() > before.generation());
    assert!(fleet.server.is_alive("a"));
    assert_eq!(fleet.server.replays(), 1);

    // And without a leeway, the loss is said to be one.
    let fleet = Fleet::new();
    let killed = fleet.process();
    killed.register(fleet.server.login("p", "a")).unwrap();
    let before = fleet.store.record("a");
    killed.refresh_now("a").unwrap();
    fleet.store.save(&before).unwrap();
    fleet
        .store
        .set_intent("a", Intent::new(before.generation(), START));
    let next = fleet.process();
    let error = fleet.refresh(&next, "a").unwrap_err();
    assert_eq!(*error.code(), ErrorCode::NeedsLogin, "{error}");
    assert_eq!(fleet.events.heard(), ["lost a"]);
    assert_eq!(fleet.store.token("a"), "access-0", "no byte is deleted");
}

#[test]
fn fault_04_the_answer_to_a_refresh_is_lost() {
    for how in [
        LostAnswer::Reset,
        LostAnswer::Cut,
        LostAnswer::BadGateway,
        LostAnswer::Nonsense,
    ] {
        let fleet = Fleet::new();
        fleet.server.set_leeway(5 * SECOND);
        let manager = fleet.process();
        manager.register(fleet.server.login("p", "a")).unwrap();
        fleet.server.lose_answer(how);
        manager.refresh_now("a").unwrap();
        assert_eq!(
            (fleet.server.replays(), fleet.server.is_alive("a")),
            (1, true),
            "{how:?}"
        );

        let fleet = Fleet::new();
        let manager = fleet.process();
        manager.register(fleet.server.login("p", "a")).unwrap();
        fleet.server.lose_answer(how);
        let error = fleet.refresh(&manager, "a").unwrap_err();
        assert_eq!(*error.code(), ErrorCode::NeedsLogin, "{how:?}: {error}");
        assert!(
            fleet.events.heard().contains(&"lost a".to_owned()),
            "{how:?}"
        );
        assert_eq!(fleet.server.replays(), 1, "{how:?}: once more, and no more");
    }
}

#[test]
fn fault_05_nobody_waits_for_a_refresh_any_more() {
    for how in ["cancelled", "panicked", "shut down"] {
        let fleet = Fleet::new();
        let manager = fleet.process();
        manager.register(fleet.server.login("p", "a")).unwrap();
        let gate = Gate::new();
        let slow = Reply::json(
            200,
            r#"{"access_token":"late","refresh_token":"late","expires_in":3600}"#,
        );
        fleet.server.answer_instead(slow.stall_before_head(&gate));
        let cancel = CancelToken::new();
        let caller = {
            let (manager, cancel) = (manager.clone(), cancel.clone());
            thread::spawn(move || {
                let options = Options::new().with_cancel(cancel);
                let answer = manager.execute(["p"], &Request::new("m", "{}"), &options);
                assert!(how != "panicked", "the caller is told to panic");
                answer.map(drop)
            })
        };
        assert!(gate.wait_reached(SOON));
        let closing = match how {
            "cancelled" => {
                cancel.cancel();
                let error = caller.join().unwrap().unwrap_err();
                assert_eq!(*error.code(), ErrorCode::Cancelled);
                None
            }
            "panicked" => {
                cancel.cancel();
                assert!(caller.join().is_err());
                None
            }
            _ => {
                let manager = manager.clone();
                let closing = thread::spawn(move || manager.shutdown(SOON));
                gate.open();
                let _ = caller.join().unwrap();
                Some(closing)
            }
        };
        gate.open();
        eventually("the answer is kept", || fleet.store.token("a") == "late");
        if let Some(closing) = closing {
            closing.join().unwrap().unwrap();
        }
        eventually("the end of it", || fleet.store.intent("a").is_none());
        assert_eq!(fleet.server.server().request_count(), 1, "{how}");
    }
}

#[test]
fn fault_06_a_refusal_comes_after_another_process_has_the_next_token() {
    let fleet = Fleet::new();
    let slow = fleet.process();
    slow.register(fleet.server.login("p", "a")).unwrap();
    fleet
        .server
        .answer_instead(Reply::json(400, r#"{"error":"invalid_grant"}"#));
    let running = {
        let slow = slow.clone();
        thread::spawn(move || slow.refresh_now("a"))
    };
    eventually("the refusal", || fleet.clock.timers() > 0);
    fleet.store.edit("a", |json| {
        json["metadata"]["access_token"] = "theirs".into();
        json["metadata"]["expires_at"] = "2025-01-01T23:00:00Z".into();
        json["generation"] = 2.into();
    });
    fleet.clock.advance(2 * SECOND);
    running.join().unwrap().unwrap();
    assert_eq!(call(&slow).unwrap(), "theirs");
    let auth = slow.get_by_id("a").unwrap();
    assert_eq!((auth.status, auth.disabled), (Status::Active, false));
    assert_eq!(auth.generation(), 2);
    assert!(slow.refresh_health().is_good());
    assert_eq!(fleet.events.heard(), Vec::<String>::new());
}

#[test]
fn fault_07_results_and_a_new_login_come_during_a_refresh() {
    let fleet = Fleet::new();
    let manager = fleet.process();
    manager.register(fleet.server.login("p", "a")).unwrap();
    let gate = Gate::new();
    let slow = Reply::json(
        200,
        r#"{"access_token":"refreshed","refresh_token":"next","expires_in":3600}"#,
    );
    fleet.server.answer_instead(slow.stall_before_head(&gate));
    let running = {
        let manager = manager.clone();
        thread::spawn(move || manager.refresh_now("a"))
    };
    assert!(gate.wait_reached(SOON));
    // A limit is met and an operator labels it: both stay, and so does the token.
    let limited = credpool::Error::upstream(429, "slow down").with_retry_after(HOUR);
    manager.mark_result(&credpool::Outcome::failure("a", "p", "m", limited));
    let labelled = (*manager.get_by_id("a").unwrap()).clone().with_label("new");
    manager.update(labelled).unwrap();
    gate.open();
    running.join().unwrap().unwrap();
    let auth = manager.get_by_id("a").unwrap();
    assert_eq!(
        (token(&manager, "a").as_str(), auth.label.as_str()),
        ("refreshed", "new")
    );
    assert!(auth.model_states["m"].unavailable);
    assert_eq!(fleet.store.token("a"), "refreshed");

    // A person logs in anew while a refresh of the old login is on its way: the new login stays.
    let gate = Gate::new();
    let slow = Reply::json(
        200,
        r#"{"access_token":"of the old","refresh_token":"old","expires_in":3600}"#,
    );
    fleet.server.answer_instead(slow.stall_before_head(&gate));
    let running = {
        let manager = manager.clone();
        thread::spawn(move || manager.refresh_now("a"))
    };
    assert!(gate.wait_reached(SOON));
    let tokens = credpool::OAuthTokens::new("logged in")
        .with_refresh_token("fresh")
        .with_expires_at(fleet.clock.now() + HOUR);
    let login = credpool::Auth::oauth("p", tokens)
        .with_id("a")
        .with_attribute("token_url", fleet.server.token_url());
    manager.register(login).unwrap();
    gate.open();
    let _ = running.join().unwrap();
    assert_eq!(token(&manager, "a"), "logged in");
    eventually("it is stored", || fleet.store.token("a") == "logged in");
}

#[test]
fn fault_08_an_answer_has_no_refresh_token_or_an_odd_lifetime() {
    let odd = ["null", "0", "-1", "5", "1e18", "0.001", "\"soon\"", "1e300"];
    for expires_in in odd {
        let fleet = Fleet::new();
        let value: serde_json::Value = serde_json::from_str(expires_in).unwrap();
        fleet.server.set_expires_in(value);
        let manager = fleet.process();
        manager.register(fleet.server.login("p", "a")).unwrap();
        manager.start_auto_refresh(HOUR).unwrap();
        eventually("the refresh", || token(&manager, "a") == "access-1");
        for _ in 0..60 {
            fleet.clock.advance(SECOND);
            call(&manager).unwrap();
        }
        let asked = fleet.server.server().request_count();
        assert!(
            asked <= 3,
            "{expires_in}: {asked} within a minute of the first"
        );
        assert_eq!(fleet.server.replays(), 0, "{expires_in}");
        assert_eq!(
            fleet.store.record("a").generation(),
            manager.get_by_id("a").unwrap().generation()
        );
        manager.shutdown(SOON).unwrap();
    }
    let fleet = Fleet::new();
    fleet.server.set_rotation(false);
    let manager = fleet.process();
    let login = manager.register(fleet.server.login("p", "a")).unwrap();
    let refresh_token = |auth: &credpool::Auth| {
        let metadata = auth.metadata.as_ref().unwrap();
        metadata.text("refresh_token").unwrap().to_owned()
    };
    for round in 1..=3 {
        let refreshed = manager.refresh_now("a").unwrap();
        assert_eq!(refreshed.generation(), 1 + round);
        for auth in [&*refreshed, &fleet.store.record("a")] {
            assert_eq!(refresh_token(auth), refresh_token(&login));
        }
    }
}

#[test]
fn fault_09_a_hundred_accounts_have_expired_together() {
    let fleet = Fleet::new();
    // All of one client: never two at once, and a refusal holds for all of them.
    for n in 0..100 {
        let login = fleet.server.login("p", &format!("a{n:02}"));
        fleet.store.save(&login).unwrap();
    }
    fleet
        .server
        .answer_instead(Reply::json(429, "{}").header("retry-after", "60"));
    let manager = fleet.process_with(|builder| builder.refreshes_per_client(1));
    manager.start_auto_refresh(HOUR).unwrap();
    fleet.until("the refusal", || fleet.server.server().request_count() == 1);
    let refused = fleet.clock.now();
    let mut quiet = true;
    while fleet.clock.now() < refused + MINUTE - SECOND {
        eventually("the refresher's sleep", || fleet.clock.timers() > 0);
        fleet.clock.advance(SECOND);
        quiet &= fleet.server.server().request_count() == 1;
    }
    assert!(quiet, "it had asked to be left alone");
    fleet.until("the last", || {
        (0..100).all(|n| token(&manager, &format!("a{n:02}")) != "access-0")
    });
    assert_eq!(
        (fleet.server.most_at_once(), fleet.server.replays()),
        (1, 0)
    );
    manager.shutdown(SOON).unwrap();
}

#[test]
fn fault_10_the_wall_clock_jumps_or_the_machine_sleeps() {
    let fleet = Fleet::new();
    let manager = fleet.process();
    manager.register(fleet.server.login("p", "a")).unwrap();
    manager.start_auto_refresh(HOUR).unwrap();
    eventually("the first refresh", || token(&manager, "a") == "access-1");
    let asleep = || eventually("the refresher's sleep", || fleet.clock.timers() > 0);
    asleep();
    // It sleeps for five hours, in which its timers stand still.
    fleet.clock.set_wall(fleet.clock.now() + 5 * HOUR);
    for _ in 0..30 {
        asleep();
        fleet.clock.advance(SECOND);
    }
    eventually("half a minute later it has a token", || {
        token(&manager, "a") == "access-2"
    });
    // Back by four hours: nothing waits for the time to come round again.
    fleet.clock.set_wall(fleet.clock.now() - 4 * HOUR);
    assert!(call(&manager).is_ok());
    manager.refresh_now("a").unwrap();
    assert!(!fleet.store.is_locked("a"));
    manager.shutdown(SOON).unwrap();

    // The server's clock is ahead, and it refuses a token that is good by ours: one refresh, for all who are refused.
    let (manager, fake, clock) = pool_with(0, |builder| {
        builder.policy(credpool::FailurePolicy::default())
    });
    let until = clock.now() + HOUR;
    let tokens = |access: &str| {
        let tokens = credpool::OAuthTokens::new(access).with_refresh_token("r");
        tokens.with_expires_at(until)
    };
    let login = credpool::Auth::oauth("p", tokens("old")).with_id("a");
    manager.register(login).unwrap();
    let renewed = credpool::Auth::oauth("p", tokens("new"));
    fake.renews(move |auth| {
        let mut auth = auth.clone();
        auth.metadata.clone_from(&renewed.metadata);
        Ok(auth)
    });
    let refused = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&refused);
    let together = Arc::new(Barrier::new(8));
    fake.on(
        "a",
        Act::Do(Arc::new(move || {
            if count.fetch_add(1, Ordering::SeqCst) < 8 {
                together.wait();
                return Err(credpool::Error::upstream(401, "expired"));
            }
            Ok(credpool::Response::new("ok"))
        })),
    );
    thread::scope(|scope| {
        let call = || {
            let answer = manager.execute(["p"], &Request::new("m", "{}"), &Options::new());
            answer.map(drop)
        };
        let callers: Vec<_> = (0..8).map(|_| scope.spawn(call)).collect();
        for caller in callers {
            caller.join().unwrap().unwrap();
        }
    });
    assert_eq!(fake.refreshes("a"), 1);
    assert_eq!(refused.load(Ordering::SeqCst), 16);
}

#[test]
fn fault_03_a_rotated_token_cannot_be_saved() {
    let fleet = Fleet::new();
    let manager = fleet.process();
    manager.register(fleet.server.login("p", "a")).unwrap();
    fleet.store.fail(Fails::Save, true);
    manager.refresh_now("a").unwrap();
    assert_eq!(
        call(&manager).unwrap(),
        "access-1",
        "it is used from memory"
    );
    assert_eq!(manager.refresh_health().unpersisted_rotation, ["a"]);
    assert_eq!(fleet.events.heard(), ["unpersisted_rotation a"]);
    assert_eq!(
        fleet.store.token("a"),
        "access-0",
        "the former record is whole"
    );
    assert!(fleet.store.is_locked("a"), "nobody else uses the old one");
    for _ in 0..600 {
        fleet.clock.advance(SECOND);
    }
    fleet.store.fail(Fails::Save, false);
    fleet.until("the write", || fleet.store.token("a") == "access-1");
    eventually("the end of it", || manager.refresh_health().is_good());
    assert_eq!(fleet.events.heard().last().unwrap(), "persisted a");
    assert_eq!(fleet.server.replays(), 0);
    manager.shutdown(SOON).unwrap();
}
