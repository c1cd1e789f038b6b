//! What an error does to its credential and to its call, under the default policy.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use credpool::{
    Auth, Error, FailurePolicy, Manager, ManualClock, OAuthTokens, Options, Outcome, Request,
    Status,
};
use support::{Act, Fake, Recorder, manual};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_nanos(1);

/// The rules of the default policy, without chance and without what may go around a cooldown, over one provider `p`, or two.
fn pool(credentials: usize) -> (Manager, Fake, ManualClock, Recorder) {
    let (clock, hook) = (manual(), Recorder::default());
    let manager = Manager::builder()
        .clock(clock.clone())
        .hook(hook.clone())
        .policy(rules())
        .build()
        .unwrap();
    let fake = Fake::new("p");
    manager.register_executor(fake.clone());
    for n in 0..credentials {
        let auth = Auth::api_key("p", "k").with_id(format!("a{n:02}"));
        manager.register(auth).unwrap();
    }
    (manager, fake, clock, hook)
}

fn rules() -> FailurePolicy {
    FailurePolicy::default()
        .with_jitter(0.0)
        .without_waiting()
        .with_last_resort(false)
        .with_probes(None)
        .with_outage_detection(None)
}

fn everybody(fake: &Fake, credentials: usize, error: &Error) {
    for n in 0..credentials {
        fake.on(&format!("a{n:02}"), Act::Fail(error.clone()));
    }
}

fn call_for(manager: &Manager, model: &str) -> Result<String, Error> {
    let request = Request::new(model, "{}");
    manager
        .execute(["p", "q"], &request, &Options::new())
        .map(|response| response.auth_id.to_string())
}

fn call(manager: &Manager) -> Result<String, Error> {
    call_for(manager, "m")
}

/// For how long `id` is out for model `m` from now on.
fn out_for(manager: &Manager, clock: &ManualClock, id: &str) -> Option<Duration> {
    let auth = manager.get_by_id(id).unwrap();
    let until = auth.model_states.get("m")?.next_retry_after?;
    Duration::try_from(until - credpool::Clock::now(clock)).ok()
}

/// `id` is out until just before `length` is over, and back at its end.
fn returns_after(manager: &Manager, clock: &ManualClock, id: &str, length: Duration) {
    assert_eq!(out_for(manager, clock, id), Some(length));
    let pinned = Options::new().with_pinned(id);
    let ask = || manager.execute(["p"], &Request::new("m", "{}"), &pinned);
    let code = |error: Error| error.code().as_str().to_owned();
    assert_eq!(code(ask().unwrap_err()), "auth_unavailable");
    clock.advance(length.saturating_sub(TICK));
    assert_eq!(code(ask().unwrap_err()), "auth_unavailable");
    clock.advance(TICK);
}

#[test]
fn a_bad_request_is_tried_once_and_blames_nobody() {
    for status in [400, 413, 422] {
        let (manager, fake, _, hook) = pool(50);
        everybody(&fake, 50, &Error::upstream(status, "your request is wrong"));
        let error = call(&manager).unwrap_err();
        assert_eq!(error.http_status(), Some(status));
        assert_eq!((fake.calls().len(), hook.results()), (1, 1));
        let auth = manager.get_by_id("a00").unwrap();
        assert!(auth.model_states.is_empty() && auth.last_error.is_none());
    }
}

#[test]
fn a_bad_key_behind_a_400_is_the_credentials_fault() {
    let (manager, fake, _, _) = pool(2);
    let body = r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}"#;
    fake.on("a00", Act::Fail(Error::upstream(400, body)));
    assert_eq!(call(&manager).unwrap(), "a01");
    // It is out for every model.
    for model in ["m", "n", ""] {
        assert_eq!(call_for(&manager, model).unwrap(), "a01");
    }
}

#[test]
fn what_the_request_holds_is_not_the_credentials_fault_behind_a_403_either() {
    for said in [
        "your input was flagged",
        "You do not have permission to access the File x",
    ] {
        let (manager, fake, _, hook) = pool(50);
        everybody(&fake, 50, &Error::upstream(403, said));
        assert_eq!(call(&manager).unwrap_err().http_status(), Some(403));
        assert_eq!((fake.calls().len(), hook.results()), (1, 1), "{said}");
        assert!(manager.get_by_id("a00").unwrap().last_error.is_none());
    }
}

#[test]
fn a_request_above_an_accounts_own_limit_goes_on_and_puts_nobody_out() {
    for status in [413, 429] {
        let (manager, fake, clock, _) = pool(2);
        let large =
            "Request too large for m on tokens per min (TPM): Limit 30000, Requested 31538.";
        fake.on("a00", Act::Fail(Error::upstream(status, large)));
        assert_eq!(call(&manager).unwrap(), "a01");
        assert_eq!(out_for(&manager, &clock, "a00"), None);
        // Its next request may be smaller.
        fake.on("a00", Act::Serve);
        let pinned = Options::new().with_pinned("a00");
        manager
            .execute(["p"], &Request::new("m", "{}"), &pinned)
            .unwrap();
    }
}

#[test]
fn an_overloaded_server_is_not_walked_through_whatever_its_status() {
    for status in [429, 500, 503, 529] {
        let (manager, fake, _, _) = pool(20);
        let error = Error::upstream(status, "The engine is currently overloaded");
        everybody(&fake, 20, &error);
        call(&manager).unwrap_err();
        assert_eq!(fake.calls().len(), 2, "{status}");
    }
}

#[test]
fn refused_keys_are_out_for_every_model_for_half_an_hour() {
    for status in [401, 402, 403] {
        let (manager, fake, clock, _) = pool(2);
        fake.on("a00", Act::Fail(Error::upstream(status, "no")));
        assert_eq!(call(&manager).unwrap(), "a01");
        assert_eq!(call_for(&manager, "other").unwrap(), "a01");
        let auth = manager.get_by_id("a00").unwrap();
        assert!(auth.unavailable && auth.next_retry_after.is_some());
        fake.on("a00", Act::Serve);
        returns_after(&manager, &clock, "a00", 30 * MINUTE);
        let pinned = Options::new().with_pinned("a00");
        manager
            .execute(["p"], &Request::new("other", "{}"), &pinned)
            .unwrap();
        // A success ends the block of the credential as a whole.
        let auth = manager.get_by_id("a00").unwrap();
        assert!(!auth.unavailable && auth.next_retry_after.is_none());
    }
}

#[test]
fn a_missing_model_is_out_for_a_minute_doubling_to_an_hour() {
    let (manager, fake, clock, _) = pool(1);
    everybody(&fake, 1, &Error::upstream(404, "no such model"));
    for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
        call(&manager).unwrap_err();
        returns_after(&manager, &clock, "a00", minutes * MINUTE);
    }
    // Other models are not concerned.
    fake.on("a00", Act::Serve);
    assert_eq!(call_for(&manager, "other").unwrap(), "a00");
}

#[test]
fn a_rate_limit_without_a_word_doubles_from_a_second_and_a_burst_counts_once() {
    let (manager, fake, clock, _) = pool(1);
    everybody(&fake, 1, &Error::upstream(429, "slow down"));
    for seconds in [1, 2, 4, 8] {
        call(&manager).unwrap_err();
        for _ in 0..10 {
            // More of the same that was under way.
            let late = Error::upstream(429, "slow down");
            manager.mark_result(&credpool::Outcome::failure("a00", "p", "m", late));
        }
        returns_after(&manager, &clock, "a00", seconds * SECOND);
    }
    fake.on("a00", Act::Serve);
    call(&manager).unwrap();
    everybody(&fake, 1, &Error::upstream(429, "slow down"));
    call(&manager).unwrap_err();
    returns_after(&manager, &clock, "a00", SECOND);
}

#[test]
fn the_servers_word_is_taken_within_bounds() {
    let day = 24 * 60 * MINUTE;
    for (hint, length) in [
        (Duration::ZERO, SECOND),
        (20 * SECOND, 20 * SECOND),
        (60 * MINUTE, 60 * MINUTE),
        (5 * 60 * MINUTE, 5 * 60 * MINUTE),
        (18 * day, 7 * day),
        (Duration::MAX, 7 * day),
    ] {
        let (manager, fake, clock, _) = pool(1);
        let error = Error::upstream(429, "slow down").with_retry_after(hint);
        everybody(&fake, 1, &error);
        call(&manager).unwrap_err();
        returns_after(&manager, &clock, "a00", length);
    }
}

#[test]
fn a_fault_of_the_provider_is_tried_on_one_more_credential_and_then_elsewhere() {
    for error in [
        Error::upstream(500, "oops"),
        Error::upstream(529, "overloaded"),
        Error::new(credpool::ErrorCode::Transport, "connection refused"),
    ] {
        let (manager, fake, clock, _) = pool(20);
        everybody(&fake, 20, &error);
        call(&manager).unwrap_err();
        assert_eq!(fake.calls().len(), 2, "{error}");
        let other = Fake::new("q");
        manager.register_executor(other.clone());
        manager
            .register(Auth::api_key("q", "k").with_id("q0"))
            .unwrap();
        assert_eq!(call(&manager).unwrap(), "q0");
        assert_eq!(out_for(&manager, &clock, "a00"), None, "once is not enough");
        manager.mark_result(&Outcome::failure("a00", "p", "m", error));
        returns_after(&manager, &clock, "a00", SECOND);
    }
}

#[test]
fn faults_of_the_provider_never_park_a_credential_for_more_than_a_minute() {
    let (manager, fake, clock, _) = pool(1);
    everybody(
        &fake,
        1,
        &Error::upstream(503, "down").with_retry_after(60 * MINUTE),
    );
    call(&manager).unwrap_err();
    returns_after(&manager, &clock, "a00", MINUTE);
    everybody(&fake, 1, &Error::upstream(503, "down"));
    for _ in 0..12 {
        call(&manager).unwrap_err();
        let out = out_for(&manager, &clock, "a00").unwrap();
        assert!(out <= MINUTE, "{out:?}");
        clock.advance(out);
    }
}

fn login(manager: &Manager) {
    let tokens = OAuthTokens::new("stale").with_refresh_token("r");
    manager
        .register(Auth::oauth("p", tokens).with_id("login"))
        .unwrap();
}

/// Serves whoever does not come with the token `stale`, which is refused with `refused`.
fn choosy(fake: &Fake, manager: &Manager, refused: &Error) {
    let (inner, refused) = (manager.clone(), refused.clone());
    fake.on(
        "login",
        Act::Do(Arc::new(move || {
            let auth = inner.get_by_id("login").unwrap();
            let token = auth.metadata.as_ref().unwrap().text("access_token");
            if token == Some("stale") {
                return Err(refused.clone());
            }
            Ok(credpool::Response::new("ok"))
        })),
    );
}

#[test]
fn a_refused_token_is_refreshed_once_and_the_same_credential_tried_again() {
    for refused in [
        Error::upstream(401, "expired"),
        Error::upstream(403, "OAuth token has been revoked."),
    ] {
        let (manager, fake, _, hook) = pool(0);
        login(&manager);
        choosy(&fake, &manager, &refused);
        fake.renews(|auth| Ok(auth.clone().with_metadata("access_token", "fresh")));
        let response = manager
            .execute(["p"], &Request::new("m", "{}"), &Options::new())
            .unwrap();
        assert_eq!((&*response.auth_id, response.attempts), ("login", 2));
        assert_eq!(fake.refreshes("login"), 1);
        assert_eq!(hook.results(), 2, "both attempts were reported");
        let auth = manager.get_by_id("login").unwrap();
        assert_eq!(auth.status, Status::Active);
        assert!(!auth.unavailable);
        fake.on("login", Act::Serve);
    }
}

#[test]
fn a_token_that_cannot_be_refreshed_or_is_refused_again_puts_its_credential_out() {
    for renewed in ["stale", ""] {
        let (manager, fake, clock, _) = pool(0);
        login(&manager);
        choosy(&fake, &manager, &Error::upstream(401, "expired"));
        if !renewed.is_empty() {
            fake.renews(move |auth| Ok(auth.clone().with_metadata("access_token", renewed)));
        }
        let error = manager
            .execute(["p"], &Request::new("m", "{}"), &Options::new())
            .unwrap_err();
        assert_eq!(error.http_status(), Some(401));
        assert_eq!(fake.refreshes("login"), 1);
        assert_eq!(out_for(&manager, &clock, "login"), Some(30 * MINUTE));
        fake.on("login", Act::Serve);
    }
}

#[test]
fn a_token_that_somebody_else_replaced_meanwhile_is_adopted_without_a_refresh() {
    let (manager, fake, _, _) = pool(0);
    login(&manager);
    let (inner, calls) = (manager.clone(), fake.clone());
    fake.on(
        "login",
        Act::Do(Arc::new(move || {
            if calls.calls().len() > 1 {
                return Ok(credpool::Response::new("ok"));
            }
            let tokens = OAuthTokens::new("fresh").with_refresh_token("r2");
            inner
                .update(Auth::oauth("p", tokens).with_id("login"))
                .unwrap();
            Err(Error::upstream(401, "expired"))
        })),
    );
    let response = manager
        .execute(["p"], &Request::new("m", "{}"), &Options::new())
        .unwrap();
    assert_eq!(response.attempts, 2);
    assert_eq!(fake.refreshes("login"), 0);
    fake.on("login", Act::Serve);
}

#[test]
fn keys_are_not_refreshed() {
    let (manager, fake, _, _) = pool(2);
    fake.on("a00", Act::Fail(Error::upstream(401, "no")));
    assert_eq!(call(&manager).unwrap(), "a01");
    assert_eq!(fake.refreshes("a00"), 0);
}
