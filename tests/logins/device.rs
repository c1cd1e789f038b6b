//! The device flow, by the numbers of RFC 8628.

use std::time::Duration;

use credpool::testing::Reply;
use credpool::{CancelToken, ErrorCode};
use serde_json::json;

use crate::server::{Server, form};
use crate::support::eventually;
use crate::{Begun, World, assert_first_login, text};

const SECOND: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(1);

/// Lets the login wait so long, and no moment less, until it asks for the `tries`th time.
fn asks_after(world: &World, server: &Server, waiting: usize, wait: Duration, tries: usize) {
    eventually("the login waits", || world.clock.timers() > waiting);
    world.clock.advance(wait.checked_sub(MOMENT).unwrap());
    assert_eq!(server.tries().len(), tries - 1, "too early");
    assert!(world.clock.timers() > waiting, "it waits still");
    world.clock.advance(MOMENT);
    eventually("the next request", || server.tries().len() == tries);
}

#[test]
fn the_server_is_asked_as_often_as_it_says_until_the_person_is_done() {
    let (world, server) = (World::new(), Server::start());
    for error in [
        "authorization_pending",
        "slow_down",
        "authorization_pending",
    ] {
        server.refuses(error);
    }
    let waiting = world.clock.timers();
    let login = server
        .by_device()
        .with_scope("a b")
        .with_parameter("audience", "llm");
    let begun = world.begin("new", &login);
    let prompt = begun.prompt();
    assert_eq!(prompt.url, "https://login.example.org/device");
    assert_eq!(prompt.user_code.as_deref(), Some("WDJB-MJHT"));
    assert!(prompt.complete_url.unwrap().ends_with("=WDJB-MJHT"));
    assert_eq!(prompt.expires_in, 600 * SECOND);
    for (at, wait) in [5, 5, 10, 10].into_iter().enumerate() {
        asks_after(&world, &server, waiting, wait * SECOND, at + 1);
    }
    let auth = begun.end().unwrap();
    assert_first_login(&world, &auth, &server.url("/token"));
    assert_eq!(text(&auth, "access_token"), Some("access-1"));
    assert_eq!(text(&auth, "refresh_token"), Some("refresh-1"));
    let begin = form(&server.upstream.requests()[0]);
    assert_eq!(begin["client_id"], "my-app");
    assert_eq!((&*begin["scope"], &*begin["audience"]), ("a b", "llm"));
    let asked = server.tries().pop().unwrap();
    assert_eq!(
        asked["grant_type"],
        "urn:ietf:params:oauth:grant-type:device_code"
    );
    assert_eq!(asked["device_code"], "canary-device-code");
    // And from then on it is refreshed by what the login has left there.
    server.answers(
        200,
        &json!({"access_token": "access-2", "refresh_token": "refresh-2"}),
    );
    world.manager.refresh_now("new").unwrap();
    let refresh = server.tries().pop().unwrap();
    assert_eq!(
        (&*refresh["refresh_token"], &*refresh["client_id"]),
        ("refresh-1", "my-app")
    );
}

#[test]
fn a_server_that_does_not_answer_is_asked_ever_less_often() {
    let (world, server) = (World::new(), Server::start());
    server.set_device("interval", json!(2));
    server.reply(Reply::json(200, "{}").reset());
    server.answers(503, &json!({}));
    server.reply(Reply::json(429, "{}").header("retry-after", "40"));
    let waiting = world.clock.timers();
    let begun = world.begin("new", &server.by_device());
    for (at, wait) in [2, 4, 8, 40].into_iter().enumerate() {
        asks_after(&world, &server, waiting, wait * SECOND, at + 1);
    }
    begun.end().unwrap();
}

/// A login that ends badly, and what it says.
fn fails(world: &World, begun: Begun, code: &ErrorCode, what: &str, before: &[serde_json::Value]) {
    let error = begun.end().unwrap_err();
    assert!(
        error.code() == *code && error.message().contains(what),
        "{error}"
    );
    assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    assert_eq!(error.auth_id(), Some("old"));
    assert_eq!(world.all(), before, "the records are as they were");
}

#[test]
fn a_login_that_fails_leaves_the_record_as_it_was_and_says_why() {
    let (world, server) = (World::new(), Server::start());
    let before = world.all();
    for (error, code, what) in [
        ("access_denied", ErrorCode::NeedsLogin, "declined"),
        ("expired_token", ErrorCode::NeedsLogin, "expired"),
        (
            "invalid_grant",
            ErrorCode::NeedsLogin,
            "begin the login again",
        ),
        (
            "interaction_required",
            ErrorCode::NeedsLogin,
            "interaction_required",
        ),
        ("invalid_client", ErrorCode::Config, "client_id"),
        (
            "unsupported_grant_type",
            ErrorCode::RefreshFailed,
            "unsupported_grant_type",
        ),
    ] {
        let waiting = world.clock.timers();
        let description = "canary-device-code is spent";
        server.answers(
            400,
            &json!({"error": error, "error_description": description}),
        );
        let begun = world.begin("old", &server.by_device());
        asks_after(
            &world,
            &server,
            waiting,
            5 * SECOND,
            server.tries().len() + 1,
        );
        fails(&world, begun, &code, what, &before);
    }
    // The person never comes.
    server.set_device("expires_in", json!(12));
    for _ in 0..2 {
        server.refuses("authorization_pending");
    }
    let (waiting, tries) = (world.clock.timers(), server.tries().len());
    let begun = world.begin("old", &server.by_device());
    asks_after(&world, &server, waiting, 5 * SECOND, tries + 1);
    asks_after(&world, &server, waiting, 5 * SECOND, tries + 2);
    eventually("the login waits", || world.clock.timers() > waiting);
    world.clock.advance(2 * SECOND);
    fails(&world, begun, &ErrorCode::NeedsLogin, "expired", &before);
    assert_eq!(server.tries().len(), tries + 2);
}

#[test]
fn a_login_ends_by_its_deadline_and_when_it_is_cancelled() {
    let (world, server) = (World::new(), Server::start());
    let before = world.all();
    let waiting = world.clock.timers();
    let begun = world.begin("old", &server.by_device().with_timeout(3 * SECOND));
    eventually("the login waits", || world.clock.timers() > waiting);
    world.clock.advance(3 * SECOND);
    fails(
        &world,
        begun,
        &ErrorCode::DeadlineExceeded,
        "not completed in its time",
        &before,
    );

    let cancel = CancelToken::new();
    let waiting = world.clock.timers();
    let begun = world.begin("old", &server.by_device().with_cancel(cancel.clone()));
    eventually("the login waits", || world.clock.timers() > waiting);
    cancel.cancel();
    fails(&world, begun, &ErrorCode::Cancelled, "cancelled", &before);
    assert!(server.tries().is_empty());
}

#[test]
fn what_cannot_be_shown_to_a_person_begins_no_login() {
    let (world, server) = (World::new(), Server::start());
    let before = world.all();
    server.set_device("user_code", json!("\u{1b}[2J"));
    let begun = world.begin("old", &server.by_device());
    fails(
        &world,
        begun,
        &ErrorCode::RefreshFailed,
        "control characters",
        &before,
    );
    let tell = |_: &credpool::LoginPrompt| panic!("canary");
    let error = world
        .manager
        .log_in("old", &server.by_browser(), tell)
        .unwrap_err();
    assert!(error.code() == ErrorCode::Panicked, "{error}");
    assert_eq!(world.all(), before);
}

#[test]
fn the_endpoints_are_found_where_the_issuer_publishes_them() {
    let (world, server) = (World::new(), Server::start());
    let issuer = server.upstream.url();
    let login = credpool::Login::by_device("my-app").with_issuer(issuer.clone());
    let begun = world.begin("new", &login);
    assert!(
        begun
            .end()
            .unwrap_err()
            .message()
            .contains("publishes no endpoints")
    );
    server.publish(json!({
        "issuer": issuer, "token_endpoint": server.url("/token"),
        "device_authorization_endpoint": server.url("/device"),
        "token_endpoint_auth_methods_supported": ["client_secret_basic"],
    }));
    let waiting = world.clock.timers();
    let begun = world.begin("new", &login.clone().with_client_secret("canary-secret"));
    asks_after(&world, &server, waiting, 5 * SECOND, 1);
    let auth = begun.end().unwrap();
    assert_first_login(&world, &auth, &server.url("/token"));
    assert_eq!(auth.attributes.get("client_auth"), Some("basic"));
    assert!(!server.tries()[0].contains_key("client_secret"));
    server.publish(json!({"issuer": "https://other", "token_endpoint": server.url("/token")}));
    let error = world.begin("new", &login).end().unwrap_err();
    assert!(error.code() == ErrorCode::Config && error.message().contains("another issuer"));
}
