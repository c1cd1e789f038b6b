//! The authorization code with PKCE, with everything that may come back to the port.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use credpool::{CancelToken, ErrorCode, Login, LoginPrompt};
use ring::digest::{SHA256, digest};
use serde_json::json;

use crate::server::{Server, pairs};
use crate::support::eventually;
use crate::{World, assert_first_login, text};

/// What the address that the person opens says.
fn asked(prompt: &LoginPrompt) -> BTreeMap<String, String> {
    pairs(prompt.url.split_once('?').unwrap().1)
}

/// Comes back as a browser does, and returns the status and the page.
fn come_back(asked: &BTreeMap<String, String>, query: &str) -> (u16, String) {
    let uri = &asked["redirect_uri"];
    let (host, path) = uri
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(crate::LONG)).unwrap();
    write!(
        stream,
        "GET /{path}?{query} HTTP/1.1\r\nhost: {host}\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    (answer[9..12].parse().unwrap(), answer)
}

#[test]
fn a_login_ends_with_a_page_once_its_tokens_are_durable() {
    let (world, server) = (World::new(), Server::start());
    let login = server
        .by_browser()
        .with_scope("offline")
        .with_parameter("prompt", "consent");
    let begun = world.begin("new", &login);
    let prompt = begun.prompt();
    assert!(prompt.url.starts_with(&server.url("/authorize?")));
    assert_eq!(
        prompt.to_string(),
        format!("To log in, open {}", prompt.url)
    );
    let asked = asked(&prompt);
    assert_eq!(
        (&*asked["response_type"], &*asked["code_challenge_method"]),
        ("code", "S256")
    );
    assert_eq!(
        (&*asked["client_id"], &*asked["scope"], &*asked["prompt"]),
        ("my-app", "offline", "consent")
    );

    // Others than the one who was asked.
    for (query, status) in [
        ("code=evil&state=guessed".to_owned(), 400),
        ("code=evil".to_owned(), 400),
        ("error=access_denied".to_owned(), 400),
        (
            format!("code=evil&state={s}&state={s}", s = asked["state"]),
            400,
        ),
    ] {
        let (answered, page) = come_back(&asked, &query);
        assert_eq!(answered, status);
        assert!(page.contains("Another login") && !page.contains("evil"));
    }
    assert!(server.tries().is_empty() && !begun.thread.is_finished());

    let iss = server.upstream.url();
    let (status, page) = come_back(
        &asked,
        &format!("code=the%20code&state={}&iss={iss}", asked["state"]),
    );
    // The page comes after the store.
    assert_eq!(
        text(&world.stored("new"), "refresh_token"),
        Some("refresh-1")
    );
    assert!(status == 200 && page.contains("You are logged in"));
    let auth = begun.end().unwrap();
    assert_first_login(&world, &auth, &server.url("/token"));
    let [request] = &server.tries()[..] else {
        panic!()
    };
    assert_eq!(request["grant_type"], "authorization_code");
    assert_eq!(request["code"], "the code");
    assert_eq!(request["redirect_uri"], asked["redirect_uri"]);
    let challenge = digest(&SHA256, request["code_verifier"].as_bytes());
    assert_eq!(asked["code_challenge"], URL_SAFE_NO_PAD.encode(challenge));
    let port = asked["redirect_uri"].split(['/', ':']).nth(4).unwrap();
    assert!(
        TcpStream::connect(format!("127.0.0.1:{port}")).is_err(),
        "the port is closed"
    );
}

#[test]
fn a_login_again_keeps_the_record_and_nothing_of_the_former_login() {
    let (world, server) = (World::new(), Server::start());
    server.answers(
        200,
        &json!({"access_token": "new-access", "refresh_token": "new-refresh", "expires_in": 60}),
    );
    let begun = world.begin("old", &server.by_browser());
    let asked = asked(&begun.prompt());
    come_back(&asked, &format!("code=c&state={}", asked["state"]));
    let auth = begun.end().unwrap();
    assert_eq!((auth.id.as_str(), auth.label.as_str()), ("old", "Bob"));
    assert_eq!(auth.attributes.get("note"), Some("of the team"));
    assert_eq!(text(&auth, "email"), Some("bob@example.org"));
    assert_eq!(auth.attributes.get("client_secret"), None);
    assert_eq!(text(&auth, "client_auth"), None);
    // In the form of the program whose file it is.
    let token = auth
        .metadata
        .as_ref()
        .unwrap()
        .get("token")
        .unwrap()
        .clone();
    let end = (crate::NOW + Duration::from_secs(60)).unix_timestamp();
    assert_eq!(
        token,
        json!({"access_token": "new-access", "refresh_token": "new-refresh", "expires_at": end})
    );
    assert!(!server.tries()[0].contains_key("client_secret"));
    let stored = serde_json::to_string(&world.stored("old")).unwrap();
    assert!(!stored.contains("old-access") && !stored.contains("former"));
}

#[test]
fn what_is_wrong_ends_the_login_and_leaves_the_record_as_it_was() {
    let (world, server) = (World::new(), Server::start());
    let before = world.all();
    for (query, code, what) in [
        (
            "error=access_denied&error_description=%3Cb%3Eno%1B%5B2J",
            ErrorCode::NeedsLogin,
            "access_denied: <b>no[2J",
        ),
        (
            "error=login_required",
            ErrorCode::NeedsLogin,
            "without prompt=none",
        ),
        ("error=invalid_scope", ErrorCode::Config, "invalid_scope"),
        (
            "code=canary&iss=https%3A%2F%2Fevil.example",
            ErrorCode::NeedsLogin,
            "another login server",
        ),
        ("x=1", ErrorCode::NeedsLogin, "without a code"),
    ] {
        let begun = world.begin("old", &server.by_browser());
        let asked = asked(&begun.prompt());
        let (status, page) = come_back(&asked, &format!("{query}&state={}", asked["state"]));
        assert!(status == 400 && page.contains("The login failed"), "{page}");
        assert!(
            !page.contains("<b>no") && !page.contains("canary"),
            "{page}"
        );
        let error = begun.end().unwrap_err();
        assert!(
            error.code() == code && error.message().contains(what),
            "{error}"
        );
        assert_eq!(error.auth_id(), Some("old"));
        assert_eq!(world.all(), before);
    }
    assert!(server.tries().is_empty(), "no code was traded");

    server.answers(
        400,
        &json!({"error": "invalid_grant", "error_description": "canary-code"}),
    );
    let begun = world.begin("old", &server.by_browser());
    let asked = asked(&begun.prompt());
    let (status, page) = come_back(
        &asked,
        &format!("code=canary-code&state={}", asked["state"]),
    );
    assert!(
        status == 400 && page.contains("invalid_grant") && !page.contains("canary"),
        "{page}"
    );
    let error = begun.end().unwrap_err();
    assert!(
        error.code() == ErrorCode::NeedsLogin && error.message().contains("begin the login again")
    );
    assert!(!format!("{error:?}").contains("canary"));
    assert_eq!(world.all(), before);
}

#[test]
fn a_server_that_says_who_it_is_must_say_so() {
    let (world, server) = (World::new(), Server::start());
    let issuer = server.upstream.url();
    server.publish(json!({
        "issuer": issuer, "token_endpoint": server.url("/token"), "authorization_endpoint": server.url("/authorize"),
        "authorization_response_iss_parameter_supported": true,
    }));
    let login = Login::by_browser("my-app").with_issuer(issuer);
    let begun = world.begin("new", &login);
    let asked = asked(&begun.prompt());
    come_back(&asked, &format!("code=c&state={}", asked["state"]));
    assert!(begun.end().unwrap_err().message().contains("(iss)"));
    assert!(server.tries().is_empty());
}

#[test]
fn a_port_that_is_taken_is_told_before_the_person_is_asked() {
    let (world, server) = (World::new(), Server::start());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let uri = format!("http://localhost:{port}/auth/callback");
    let login = server.by_browser().with_redirect_uri(uri.clone());
    let error = world.begin("new", &login).end().unwrap_err();
    assert!(
        error.code() == ErrorCode::Config && error.message().contains(&port.to_string()),
        "{error}"
    );
    drop(taken);
    let begun = world.begin("new", &login);
    assert_eq!(asked(&begun.prompt())["redirect_uri"], uri);
    world.clock.advance(Duration::from_secs(15 * 60));
    begun.end().unwrap_err();
    for uri in ["https://127.0.0.1/", "http://example.org/"] {
        let login = server.by_browser().with_redirect_uri(uri);
        let error = world.begin("new", &login).end().unwrap_err();
        assert!(error.message().contains("redirect URI"), "{error}");
    }
}

#[test]
fn a_browser_that_was_closed_ends_the_login_in_its_time() {
    let (world, server) = (World::new(), Server::start());
    let before = world.all();
    let waiting = world.clock.timers();
    let login = server.by_browser().with_timeout(Duration::from_secs(60));
    let begun = world.begin("old", &login);
    assert_eq!(begun.prompt().expires_in, Duration::from_secs(60));
    eventually("the login waits", || world.clock.timers() > waiting);
    world.clock.advance(Duration::from_secs(60));
    let error = begun.end().unwrap_err();
    assert!(error.code() == ErrorCode::DeadlineExceeded, "{error}");

    let cancel = CancelToken::new();
    let begun = world.begin("old", &server.by_browser().with_cancel(cancel.clone()));
    begun.prompt();
    cancel.cancel();
    let error = begun.end().unwrap_err();
    assert!(error.code() == ErrorCode::Cancelled, "{error}");
    assert_eq!(world.all(), before);
}

#[test]
fn the_end_of_the_manager_ends_its_logins() {
    let (world, server) = (World::new(), Server::start());
    let begun = world.begin("new", &server.by_browser());
    begun.prompt();
    let _ = world.manager.shutdown(Duration::ZERO);
    let error = begun.end().unwrap_err();
    assert!(error.code() == ErrorCode::ShutDown, "{error}");
}
