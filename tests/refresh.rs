//! Refreshes in the background and on demand: when, how often, and what becomes of the answer.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use credpool::{
    Auth, AuthRuntime, Availability, Error, ErrorCode, Listing, Manager, ManualClock, MemoryStore,
    OAuthTokens, Outcome, RefreshEvaluator, Status, Store, Timestamp,
};
use parking_lot::Mutex;
use support::{Act, Fake, Recorder, SOON, START, eventually, pool_with};

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

fn expiring(id: &str, at: Timestamp) -> Auth {
    let tokens = OAuthTokens::new("old")
        .with_refresh_token("r")
        .with_expires_at(at);
    Auth::oauth("p", tokens).with_id(id)
}

/// A refresh that gives a token for another hour.
fn renewing(clock: &ManualClock) -> Act {
    let clock = clock.clone();
    Act::Refresh(Arc::new(move |auth| {
        let now = credpool::Clock::now(&clock);
        let until = now + time::Duration::HOUR;
        let text = until.format(&time::format_description::well_known::Rfc3339);
        Ok(auth
            .clone()
            .with_metadata("access_token", "new")
            .with_metadata("expires_at", text.unwrap()))
    }))
}

fn token(manager: &Manager, id: &str) -> String {
    let auth = manager.get_by_id(id).unwrap();
    auth.metadata
        .as_ref()
        .unwrap()
        .text("access_token")
        .unwrap()
        .to_owned()
}

/// Moves the clock once the refresher sleeps again.
fn advance(clock: &ManualClock, by: Duration) {
    eventually("the refresher's sleep", || clock.timers() > 0);
    clock.advance(by);
}

#[test]
fn a_token_is_refreshed_within_its_lead_and_not_before() {
    let hook = Recorder::default();
    let (manager, fake, clock) = pool_with(0, |builder| builder.hook(hook.clone()));
    fake.on("o", renewing(&clock));
    manager.register(expiring("o", START + HOUR)).unwrap();
    manager.start_auto_refresh(MINUTE).unwrap();
    advance(&clock, 54 * MINUTE);
    advance(&clock, MINUTE.saturating_sub(Duration::from_nanos(1)));
    eventually("the refresher's sleep", || clock.timers() > 0);
    assert_eq!(fake.refreshes("o"), 0);
    // Chance puts it off by half of the lead at most.
    for _ in 0..150 {
        advance(&clock, Duration::from_secs(1));
    }
    eventually("the refresh", || token(&manager, "o") == "new");
    let auth = manager.get_by_id("o").unwrap();
    let at = auth.last_refreshed_at.unwrap() - START;
    assert!((55 * MINUTE..58 * MINUTE).contains(&Duration::try_from(at).unwrap()));
    assert_eq!(auth.next_refresh_after, None);
    eventually("the hook", || {
        hook.events() == ["registered o", "updated o"]
    });
    // The next one is due an hour later, less the lead.
    advance(&clock, 52 * MINUTE);
    eventually("the refresher's sleep", || clock.timers() > 0);
    assert_eq!(fake.refreshes("o"), 1);
    eventually("the second refresh", || {
        clock.advance(MINUTE);
        fake.refreshes("o") == 2
    });
    manager.stop_auto_refresh();
}

#[test]
fn a_login_without_tokens_is_asked_for_once_until_it_has_some() {
    let (manager, fake, clock) = pool_with(0, |builder| builder);
    let nothing = |_: &Auth| Err(Error::new(ErrorCode::NeedsLogin, "nothing to refresh with"));
    fake.on("o", Act::Refresh(Arc::new(nothing)));
    let pending = Auth::pending("p").with_id("o");
    let ended = pending.with_metadata("expires_at", "2024-12-31T23:00:00Z");
    manager.register(ended).unwrap();
    manager.start_auto_refresh(MINUTE).unwrap();
    eventually("the failure", || {
        manager.refresh_health().needs_login == ["o"]
    });
    fake.on("other", renewing(&clock));
    manager.register(expiring("other", START)).unwrap();
    for _ in 0..3 {
        // Its answer is kept, not only asked for: what comes after the clock moves has another time.
        eventually("the other's refresh", || {
            let other = manager.get_by_id("other").unwrap();
            other.last_refreshed_at == Some(credpool::Clock::now(&clock))
        });
        advance(&clock, HOUR);
    }
    assert_eq!(fake.refreshes("o"), 1);
    fake.on("o", renewing(&clock));
    let known = (*manager.get_by_id("o").unwrap()).clone();
    manager
        .update(known.with_metadata("refresh_token", "its own"))
        .unwrap();
    eventually("the refresh", || {
        manager.get_by_id("o").unwrap().last_refreshed_at.is_some()
    });
    assert!(manager.refresh_health().is_good());
    assert_eq!(
        (fake.refreshes("o"), token(&manager, "o")),
        (2, "new".to_owned())
    );
}

#[test]
fn a_login_that_has_ended_shows_what_keeps_the_token_out_that_it_still_has() {
    let (manager, fake, _) = pool_with(0, |builder| builder);
    let ended = |_: &Auth| Err(Error::new(ErrorCode::NeedsLogin, "invalid_grant"));
    fake.on("o", Act::Refresh(Arc::new(ended)));
    manager.register(expiring("o", START + HOUR)).unwrap();
    manager.refresh_now("o").unwrap_err();
    let shown = || manager.explain("p", "m").remove(0);
    assert_eq!(shown().availability, Availability::Ready);
    let limited = Error::upstream(429, "slow down").with_retry_after(10 * MINUTE);
    manager.mark_result(&Outcome::failure("o", "p", "m", limited));
    assert_eq!(shown().availability, Availability::Cooling);
    let auth = manager.get_by_id("o").unwrap();
    assert_eq!(shown().until, auth.model_states["m"].next_retry_after);
}

#[test]
fn a_credential_that_comes_later_wakes_the_refresher() {
    let (manager, fake, clock) = pool_with(1, |builder| builder);
    manager.start_auto_refresh(MINUTE).unwrap();
    // Starting again replaces the first.
    manager.start_auto_refresh(MINUTE).unwrap();
    fake.on("late", renewing(&clock));
    manager.register(expiring("late", START + MINUTE)).unwrap();
    eventually("the refresh", || token(&manager, "late") == "new");
    assert_eq!(fake.refreshes("late"), 1);
    assert_eq!(fake.refreshes("a0"), 0, "a key has nothing to refresh");
    eventually("the refresher's sleep", || clock.timers() > 0);
    manager.set_disabled("late", true).unwrap();
    for _ in 0..10 {
        clock.advance(HOUR);
    }
    // Nothing is due: the refresher has no timer any more, and hears of the next credential all the same.
    fake.on("last", renewing(&clock));
    let soon = credpool::Clock::now(&clock) + MINUTE;
    manager.register(expiring("last", soon)).unwrap();
    eventually("the last one's refresh", || fake.refreshes("last") == 1);
    assert_eq!(fake.refreshes("late"), 1, "a disabled one is left alone");
}

#[test]
fn a_failed_refresh_shows_backs_off_and_ends_with_the_next_success() {
    let (manager, fake, clock) = pool_with(0, |builder| builder);
    manager.register(expiring("o", START + MINUTE)).unwrap();
    let error = manager.refresh_now("o").unwrap_err();
    assert_eq!(error.code(), &ErrorCode::RefreshFailed);
    assert_eq!(error.auth_id(), Some("o"));
    let auth = manager.get_by_id("o").unwrap();
    assert_eq!(auth.status, Status::Error);
    assert_eq!(auth.status_message, "refresh failed");
    assert!(
        auth.last_error
            .as_ref()
            .unwrap()
            .message()
            .contains("no token today")
    );
    let next = || {
        let again = manager.get_by_id("o").unwrap().next_refresh_after;
        Duration::try_from(again.unwrap() - START).unwrap()
    };
    assert_eq!(next(), 30 * SECOND, "the least gap");
    let waits: Vec<_> = (0..60)
        .map(|_| {
            manager.refresh_now("o").unwrap_err();
            next()
        })
        .collect();
    let within = 30 * SECOND..=5 * MINUTE;
    assert!(waits.iter().all(|wait| within.contains(wait)), "{waits:?}");
    assert!(waits.iter().any(|wait| *wait > 2 * MINUTE), "{waits:?}");
    fake.on("o", renewing(&clock));
    let auth = manager.refresh_now("o").unwrap();
    assert_eq!(
        (auth.status, auth.last_error.is_none()),
        (Status::Active, true)
    );
    assert_eq!(auth.next_refresh_after, None);
}

#[test]
fn a_success_that_is_due_again_at_once_does_not_spin() {
    let (manager, fake, clock) = pool_with(0, |builder| builder);
    fake.on("o", Act::Refresh(Arc::new(|auth| Ok(auth.clone()))));
    manager.register(expiring("o", START)).unwrap();
    manager.start_auto_refresh(MINUTE).unwrap();
    eventually("the refresh", || fake.refreshes("o") == 1);
    eventually("its end", || {
        manager.get_by_id("o").unwrap().last_refreshed_at.is_some()
    });
    for _ in 0..29 {
        advance(&clock, Duration::from_secs(1));
    }
    assert_eq!(fake.refreshes("o"), 1);
    eventually("the next one", || {
        clock.advance(Duration::from_secs(1));
        fake.refreshes("o") == 2
    });
}

#[test]
fn one_refresh_at_a_time_serves_all_who_wait() {
    let (manager, fake, _) = pool_with(0, |builder| builder);
    let (hold, held) = crossbeam_channel::bounded::<()>(0);
    fake.on(
        "o",
        Act::Refresh(Arc::new(move |auth| {
            let _ = held.recv();
            Ok(auth.clone().with_metadata("access_token", "new"))
        })),
    );
    manager.register(expiring("o", START)).unwrap();
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            let manager = manager.clone();
            std::thread::spawn(move || manager.refresh_now("o").unwrap())
        })
        .collect();
    eventually("the refresh", || fake.refreshes("o") == 1);
    // Whoever comes late joins the flight or flies alone; let the early ones in first.
    std::thread::yield_now();
    drop(hold);
    for thread in waiting {
        let auth = thread.join().unwrap();
        assert_eq!(
            auth.metadata.as_ref().unwrap().text("access_token"),
            Some("new")
        );
    }
}

#[test]
fn what_happens_during_a_refresh_is_not_undone() {
    let store = Arc::new(MemoryStore::new());
    let (manager, fake, _) = pool_with(0, |builder| builder.store(Arc::clone(&store)));
    let inner = Arc::new(Mutex::new(None::<Manager>));
    let busy = Arc::clone(&inner);
    fake.on(
        "o",
        Act::Refresh(Arc::new(move |auth| {
            let manager = busy.lock().clone().unwrap();
            let limited = Error::upstream(429, "slow down");
            manager.mark_result(&Outcome::failure("o", "p", "m", limited));
            let now = manager.get_by_id("o").unwrap();
            let relabelled = (*now)
                .clone()
                .with_label("mine")
                .with_metadata("note", "kept");
            manager.update(relabelled).unwrap();
            manager.set_disabled("o", true).unwrap();
            Ok(auth.clone().with_metadata("access_token", "new"))
        })),
    );
    manager.register(expiring("o", START)).unwrap();
    *inner.lock() = Some(manager.clone());
    manager.refresh_now("o").unwrap();
    *inner.lock() = None;
    let auth = manager.get_by_id("o").unwrap();
    let metadata = auth.metadata.as_ref().unwrap();
    assert_eq!(metadata.text("access_token"), Some("new"));
    assert_eq!(metadata.text("note"), Some("kept"));
    assert_eq!(auth.label, "mine");
    assert!(auth.disabled && auth.status == Status::Disabled);
    assert!(auth.model_states["m"].quota.exceeded);
    let stored = &store.list().unwrap().records[0];
    assert_eq!(
        stored.metadata.as_ref().unwrap().text("access_token"),
        Some("new")
    );
}

#[test]
fn a_removed_credential_is_not_revived_by_its_refresh() {
    let store = Arc::new(MemoryStore::new());
    let (manager, fake, _) = pool_with(0, |builder| builder.store(Arc::clone(&store)));
    let inner = Arc::new(Mutex::new(None::<Manager>));
    let busy = Arc::clone(&inner);
    fake.on(
        "o",
        Act::Refresh(Arc::new(move |auth| {
            busy.lock().as_ref().unwrap().remove("o").unwrap();
            Ok(auth.clone())
        })),
    );
    manager.register(expiring("o", START)).unwrap();
    *inner.lock() = Some(manager.clone());
    let error = manager.refresh_now("o").unwrap_err();
    *inner.lock() = None;
    assert_eq!(error.code(), &ErrorCode::AuthNotFound);
    assert!(manager.list().is_empty() && store.list().unwrap().records.is_empty());
}

/// Fails to save as long as it is told to.
#[derive(Default)]
struct Broken(MemoryStore, Mutex<bool>);

impl Store for Broken {
    fn list(&self) -> Result<Listing, Error> {
        self.0.list()
    }

    fn save(&self, auth: &Auth) -> Result<String, Error> {
        if *self.1.lock() {
            return Err(Error::new(ErrorCode::Store, "the disk is full"));
        }
        self.0.save(auth)
    }

    fn delete(&self, id: &str) -> Result<(), Error> {
        self.0.delete(id)
    }
}

#[test]
fn a_rotated_token_that_cannot_be_saved_is_used_and_saved_later() {
    let store = Arc::new(Broken::default());
    let (manager, fake, clock) = pool_with(0, |builder| builder.store(Arc::clone(&store)));
    fake.on("o", renewing(&clock));
    manager.register(expiring("o", START)).unwrap();
    *store.1.lock() = true;
    manager.refresh_now("o").unwrap();
    assert_eq!(token(&manager, "o"), "new");
    let stored = || {
        let record = store.0.list().unwrap().records.remove(0);
        record
            .metadata
            .unwrap()
            .text("access_token")
            .unwrap()
            .to_owned()
    };
    assert_eq!(stored(), "old");
    *store.1.lock() = false;
    eventually("the write", || {
        clock.advance(MINUTE);
        stored() == "new"
    });
}

struct Whenever(Mutex<bool>);

impl AuthRuntime for Whenever {
    fn refresh_evaluator(&self) -> Option<&dyn RefreshEvaluator> {
        Some(self)
    }
}

impl RefreshEvaluator for Whenever {
    fn should_refresh(&self, _: Timestamp, _: &Auth) -> bool {
        *self.0.lock()
    }
}

#[test]
fn an_evaluator_is_asked_at_the_interval() {
    let (manager, fake, clock) = pool_with(0, |builder| builder);
    fake.on("o", renewing(&clock));
    let runtime = Arc::new(Whenever(Mutex::new(false)));
    let mut auth = expiring("o", START);
    auth.runtime = Some(Arc::clone(&runtime) as Arc<dyn AuthRuntime>);
    manager.register(auth).unwrap();
    manager.start_auto_refresh(5 * MINUTE).unwrap();
    for _ in 0..10 {
        advance(&clock, 5 * MINUTE);
    }
    assert_eq!(fake.refreshes("o"), 0);
    *runtime.0.lock() = true;
    eventually("the refresh", || {
        clock.advance(MINUTE);
        fake.refreshes("o") >= 1
    });
}

#[test]
fn an_executor_that_cannot_refresh_marks_nobody() {
    struct Plain(Fake);
    impl credpool::ProviderExecutor for Plain {
        fn identifier(&self) -> &'static str {
            "q"
        }
        fn execute(
            &self,
            attempt: &credpool::Attempt,
            auth: &Auth,
            request: &credpool::Request,
            options: &credpool::Options,
        ) -> Result<credpool::Response, Error> {
            self.0.execute(attempt, auth, request, options)
        }
        fn execute_stream(
            &self,
            attempt: &credpool::Attempt,
            auth: &Auth,
            request: &credpool::Request,
            options: &credpool::Options,
        ) -> Result<credpool::ChunkSource, Error> {
            self.0.execute_stream(attempt, auth, request, options)
        }
        fn count_tokens(
            &self,
            attempt: &credpool::Attempt,
            auth: &Auth,
            request: &credpool::Request,
            options: &credpool::Options,
        ) -> Result<credpool::Response, Error> {
            self.0.count_tokens(attempt, auth, request, options)
        }
    }
    let (manager, fake, _) = pool_with(0, |builder| builder);
    manager.register_executor(Plain(fake));
    let tokens = OAuthTokens::new("old").with_expires_at(START);
    manager
        .register(Auth::oauth("q", tokens).with_id("q0"))
        .unwrap();
    let error = manager.refresh_now("q0").unwrap_err();
    assert_eq!(error.code(), &ErrorCode::Unsupported);
    let auth = manager.get_by_id("q0").unwrap();
    assert_eq!(
        (auth.status, auth.last_error.is_none()),
        (Status::Active, true)
    );
    assert_eq!(
        manager.refresh_now("ghost").unwrap_err().code(),
        &ErrorCode::AuthNotFound
    );
}

#[test]
fn shutting_down_waits_for_a_refresh_and_keeps_its_answer() {
    let store = Arc::new(MemoryStore::new());
    let (manager, fake, clock) = pool_with(0, |builder| builder.store(Arc::clone(&store)));
    let (hold, held) = crossbeam_channel::bounded::<()>(0);
    let renew = renewing(&clock);
    fake.on(
        "o",
        Act::Refresh(Arc::new(move |auth| {
            let _ = held.recv();
            let Act::Refresh(renew) = &renew else {
                unreachable!("it is one")
            };
            renew(auth)
        })),
    );
    manager.register(expiring("o", START)).unwrap();
    manager.start_auto_refresh(MINUTE).unwrap();
    eventually("the refresh", || fake.refreshes("o") == 1);
    let closing = {
        let manager = manager.clone();
        std::thread::spawn(move || manager.shutdown(SOON))
    };
    drop(hold);
    closing.join().unwrap().unwrap();
    let stored = store.list().unwrap().records.remove(0);
    assert_eq!(stored.metadata.unwrap().text("access_token"), Some("new"));
    let refused = manager.start_auto_refresh(MINUTE).unwrap_err();
    assert_eq!(refused.code(), &ErrorCode::ShutDown);
}
