//! Tokens from an authorization server, by every grant, against a server on loopback that answers as the RFCs say.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use credpool::provider::{Gemini, OpenAi, refresh_grant, refresh_tokens};
use credpool::testing::{
    Gate, GeminiUpstream, KeyBehaviour, Reply, Upstream, service_account_file,
};
use credpool::{
    Attempt, Auth, CancelToken, Clock, Error, ErrorCode, FileStore, Manager, ManualClock,
    MemoryStore, Options, ProviderExecutor, Request, Status, Store, SystemClock, Timestamp,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use support::eventually;
use time::macros::utc_datetime;

const NOW: Timestamp = utc_datetime!(2025-06-01 12:00);
const LONG: Duration = Duration::from_secs(20);

fn attempt() -> Attempt {
    Attempt::for_tests(ManualClock::at(NOW))
}

fn client(upstream: &Upstream) -> Auth {
    Auth::client_credentials(
        "gemini",
        upstream.url() + "/token",
        "my app",
        "canary&secret",
    )
    .with_id("team-a")
}

fn robot(token_uri: &str) -> Auth {
    let file = service_account_file(token_uri);
    Auth::service_account("gemini", &file)
        .unwrap()
        .with_id("robot")
}

fn login(upstream: &Upstream) -> Auth {
    Auth::new("gemini")
        .with_id("team-a")
        .with_metadata("refresh_token", "canary-refresh")
        .with_attribute("token_url", upstream.url() + "/token")
}

fn text(auth: &Auth, name: &str) -> Option<String> {
    let metadata = auth.metadata.as_ref()?;
    metadata.text(name).map(str::to_owned)
}

/// A field of a form, without its escapes.
fn field(form: &[u8], name: &str) -> Option<String> {
    let form = std::str::from_utf8(form).unwrap();
    let (_, value) = form
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)?;
    let mut bytes = Vec::new();
    let mut rest = value.split('%');
    bytes.extend(rest.next().unwrap().bytes());
    for escaped in rest {
        bytes.push(u8::from_str_radix(&escaped[..2], 16).unwrap());
        bytes.extend(escaped[2..].bytes());
    }
    Some(String::from_utf8(bytes).unwrap())
}

fn part(assertion: &str, at: usize) -> Value {
    let part = assertion.split('.').nth(at).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// Every line of the test key's text, and the other secrets of this file.
fn secrets() -> Vec<String> {
    let file: Value = serde_json::from_str(&service_account_file("x")).unwrap();
    let pem = file["private_key"].as_str().unwrap().to_owned();
    let mut secrets: Vec<_> = pem
        .lines()
        .filter(|line| !line.starts_with("-----") && line.len() > 6)
        .map(str::to_owned)
        .collect();
    assert!(secrets.len() > 20);
    secrets.push("canary".to_owned());
    secrets.push(STANDARD.encode("my%20app:canary%26secret"));
    secrets
}

fn assert_clean(shown: &str) {
    for secret in secrets() {
        assert!(!shown.contains(&secret), "{secret} in {shown}");
    }
}

fn shown(error: &Error) -> String {
    let mut shown = format!("{error} {error:?} {:?}", error.body());
    let mut source = std::error::Error::source(error);
    while let Some(below) = source {
        shown = format!("{shown} {below} {below:?}");
        source = below.source();
    }
    shown
}

/// RFC 6749 section 4.4: <https://www.rfc-editor.org/rfc/rfc6749#section-4.4>.
mod client_credentials {
    use super::*;

    #[test]
    fn the_request_is_the_grant_of_the_standard() {
        let upstream = Upstream::start(|_| Reply::json(200, r#"{"access_token":"new"}"#));
        let auth = client(&upstream).with_attribute("scope", "a b");
        refresh_tokens(&attempt(), &auth).unwrap();
        refresh_tokens(&attempt(), &auth.with_attribute("client_auth", "basic")).unwrap();
        let got = upstream.requests();
        let form = "application/x-www-form-urlencoded";
        assert!(
            got.iter()
                .all(|got| got.header("content-type") == Some(form))
        );
        assert_eq!(got[0].header("authorization"), None);
        assert_eq!(
            got[0].body,
            "grant_type=client_credentials&client_id=my%20app&client_secret=canary%26secret&scope=a%20b"
        );
        // Section 2.3.1: name and secret are encoded before they are joined.
        let basic = format!("Basic {}", STANDARD.encode("my%20app:canary%26secret"));
        assert_eq!(got[1].header("authorization"), Some(basic.as_str()));
        assert_eq!(got[1].body, "grant_type=client_credentials&scope=a%20b");
    }

    #[test]
    fn a_token_is_had_and_used_and_had_again() {
        let upstream = GeminiUpstream::start();
        upstream.set_client("my app", "canary&secret", KeyBehaviour::Serve);
        for client_auth in ["body", "basic"] {
            let auth = client(upstream.server())
                .with_attribute("client_auth", client_auth)
                .with_attribute("base_url", upstream.base_url());
            let auth = refresh_tokens(&attempt(), &auth).unwrap();
            assert_eq!(
                auth.expiration_time().at(),
                Some(utc_datetime!(2025-06-01 13:00))
            );
            let request = Request::new("m", r#"{"contents":[{"parts":[{"text":"Hi"}]}]}"#);
            let options = Options::new();
            let response = Gemini::new().execute(&attempt(), &auth, &request, &options);
            assert_eq!(
                response.unwrap().reply_text.as_deref(),
                Some("You said: Hi")
            );
            let again = refresh_tokens(&attempt(), &auth).unwrap();
            assert_ne!(text(&again, "access_token"), text(&auth, "access_token"));
            assert_eq!(text(&again, "refresh_token"), None);
        }
        assert_eq!(upstream.grants(), 4);
    }

    /// Section 4.4.3: a refresh token should not come, and is not needed.
    #[test]
    fn a_refresh_token_that_comes_is_not_kept() {
        let upstream = Upstream::start(|_| {
            let body = r#"{"access_token":"new","refresh_token":"r","scope":"less","token_type":"Bearer"}"#;
            Reply::json(200, body)
        });
        let auth = refresh_tokens(&attempt(), &client(&upstream)).unwrap();
        assert_eq!(text(&auth, "token_type").as_deref(), Some("Bearer"));
        assert_eq!(
            (text(&auth, "refresh_token"), text(&auth, "scope")),
            (None, None)
        );
    }

    #[test]
    fn settings_that_are_missing_are_named() {
        let upstream = Upstream::start(|_| Reply::json(200, "{}"));
        for name in ["token_url", "client_id", "client_secret"] {
            let auth = client(&upstream).with_attribute(name, " ");
            let error = refresh_tokens(&attempt(), &auth).unwrap_err();
            assert_eq!(
                (error.code(), error.auth_id()),
                (&ErrorCode::Config, Some("team-a"))
            );
            assert!(error.message().contains(name), "{error}");
        }
        let mut nowhere = client(&upstream);
        nowhere.metadata = None;
        let error = refresh_tokens(&attempt(), &nowhere).unwrap_err();
        assert!(error.message().contains("no metadata"), "{error}");
        assert_eq!(upstream.connections_opened(), 0);
    }

    #[test]
    fn a_client_that_stays_in_memory_has_a_place_for_its_token() {
        let upstream = Upstream::start(|_| Reply::json(200, r#"{"access_token":"new"}"#));
        let auth = refresh_tokens(&attempt(), &client(&upstream).runtime_only()).unwrap();
        assert_eq!(text(&auth, "access_token").as_deref(), Some("new"));
        assert!(auth.is_runtime_only());
    }

    /// Section 5.2: <https://www.rfc-editor.org/rfc/rfc6749#section-5.2>.
    #[test]
    fn refusals_say_what_to_do() {
        let upstream = GeminiUpstream::start();
        let error = refresh_tokens(&attempt(), &client(upstream.server())).unwrap_err();
        assert_eq!(
            (error.code(), error.http_status(), error.is_retryable()),
            (&ErrorCode::Config, Some(401), false)
        );
        assert!(error.message().contains("invalid_client"));
        assert!(error.message().contains("check client_id"));
        assert_clean(&shown(&error));
    }
}

/// RFC 7523, as <https://developers.google.com/identity/protocols/oauth2/service-account#httprest> describes it.
mod service_account {
    use super::*;

    #[test]
    fn the_assertion_is_what_google_documents() {
        let upstream = Upstream::start(|_| Reply::json(200, r#"{"access_token":"new"}"#));
        let token_uri = upstream.url() + "/token";
        let auth = robot(&token_uri);
        refresh_tokens(&attempt(), &auth).unwrap();
        let got = &upstream.requests()[0];
        let grant_type = field(&got.body, "grant_type");
        assert_eq!(
            grant_type.as_deref(),
            Some("urn:ietf:params:oauth:grant-type:jwt-bearer")
        );
        assert_eq!(got.header("authorization"), None);
        let assertion = field(&got.body, "assertion").unwrap();
        assert_eq!(
            part(&assertion, 0),
            json!({"alg": "RS256", "typ": "JWT", "kid": "test-key-1"})
        );
        let issued_at = NOW.unix_timestamp();
        let scope = "https://www.googleapis.com/auth/cloud-platform \
                     https://www.googleapis.com/auth/generative-language.retriever";
        assert_eq!(
            part(&assertion, 1),
            json!({
                "iss": "robot@test-project.iam.gserviceaccount.com", "scope": scope, "aud": token_uri,
                "iat": issued_at, "exp": issued_at + 3600,
            })
        );
        assert!(!assertion.contains('='), "without padding");
    }

    #[test]
    fn scope_subject_and_address_can_be_set() {
        let upstream = Upstream::start(|_| Reply::json(200, r#"{"access_token":"new"}"#));
        let auth = robot("https://oauth2.googleapis.com/token")
            .with_attribute("token_url", upstream.url() + "/proxy")
            .with_attribute("scope", "a b")
            .with_attribute("subject", "user@example.org");
        refresh_tokens(&attempt(), &auth).unwrap();
        let got = &upstream.requests()[0];
        assert_eq!(got.path, "/proxy");
        let claims = part(&field(&got.body, "assertion").unwrap(), 1);
        assert_eq!(claims["aud"], "https://oauth2.googleapis.com/token");
        assert_eq!(claims["scope"], "a b");
        assert_eq!(claims["sub"], "user@example.org");
    }

    #[test]
    fn a_server_that_checks_the_signature_gives_tokens() {
        let upstream = GeminiUpstream::start_with_clock(ManualClock::at(NOW));
        let token_uri = upstream.token_url();
        let file = service_account_file(&token_uri);
        upstream.set_service_account(&file, KeyBehaviour::Serve);
        let nested = |value: Value| {
            Auth::new("gemini")
                .with_metadata("type", "gemini")
                .with_metadata("service_account", value)
        };
        for (auth, executor) in [
            (robot(&token_uri), &Gemini::new() as &dyn ProviderExecutor),
            (nested(serde_json::from_str(&file).unwrap()), &OpenAi::new()),
            (nested(file.as_str().into()), &Gemini::named("x")),
        ] {
            let auth = executor.refresh(&attempt(), &auth).unwrap();
            let token = text(&auth, "access_token").unwrap();
            assert!(token.starts_with("access-"));
            assert_eq!(
                auth.expiration_time().at(),
                Some(utc_datetime!(2025-06-01 13:00))
            );
            executor.refresh(&attempt(), &auth).unwrap();
        }
        assert_eq!(upstream.grants(), 6);
        assert_eq!(
            upstream.server().connections_opened(),
            6,
            "a grant goes over a connection of its own"
        );
    }

    #[test]
    fn a_server_that_refuses_is_told_apart_from_a_login() {
        let upstream = GeminiUpstream::start_with_clock(ManualClock::at(NOW));
        let file = service_account_file(&upstream.token_url());
        let auth = robot(&upstream.token_url());
        let refused = |at: Timestamp| {
            let attempt = Attempt::for_tests(ManualClock::at(at));
            let error = refresh_tokens(&attempt, &auth).unwrap_err();
            assert_eq!(
                (error.code(), error.http_status(), error.auth_id()),
                (&ErrorCode::Config, Some(400), Some("robot"))
            );
            assert_clean(&shown(&error));
            error.message().to_owned()
        };
        assert!(refused(NOW).contains("account not found"));
        upstream.set_service_account(&file, KeyBehaviour::Serve);
        let late = refused(NOW - Duration::from_secs(7200));
        assert!(late.contains("this machine's clock"), "{late}");
        refused(NOW + Duration::from_secs(7200));
        assert!(refresh_tokens(&attempt(), &auth).is_ok());
    }

    #[test]
    fn an_account_that_is_damaged_is_named_and_not_quoted() {
        let upstream = Upstream::start(|_| Reply::json(200, "{}"));
        let good = robot(&upstream.url());
        for (name, value) in [
            ("client_email", json!("")),
            ("private_key", json!(null)),
            ("private_key", json!("canary")),
            (
                "private_key",
                json!("-----BEGIN PRIVATE KEY-----\ncanary*\n-----END PRIVATE KEY-----"),
            ),
        ] {
            let auth = good.clone().with_metadata(name, value);
            let error = refresh_tokens(&attempt(), &auth).unwrap_err();
            assert_eq!(
                (error.code(), error.auth_id()),
                (&ErrorCode::Config, Some("robot"))
            );
            assert!(error.message().contains(name), "{error}");
            assert_clean(&shown(&error));
        }
        let plain_http = good.with_metadata("token_uri", "http://h.example/token");
        assert_eq!(
            *refresh_tokens(&attempt(), &plain_http).unwrap_err().code(),
            ErrorCode::Config
        );
        assert_eq!(upstream.connections_opened(), 0);
    }
}

/// RFC 6749 section 6: <https://www.rfc-editor.org/rfc/rfc6749#section-6>.
mod refresh_token {
    use super::*;

    #[test]
    fn both_entries_do_the_same() {
        let upstream = GeminiUpstream::start();
        upstream.set_login("canary-refresh", KeyBehaviour::Serve);
        let auth = login(upstream.server());
        let first = refresh_tokens(&attempt(), &auth).unwrap();
        assert_eq!(text(&first, "refresh_token").as_deref(), Some("refresh-1"));
        let second = refresh_grant(&attempt(), &first).unwrap();
        assert_eq!(text(&second, "refresh_token").as_deref(), Some("refresh-2"));
        let error = refresh_tokens(&attempt(), &auth).unwrap_err();
        assert_eq!(*error.code(), ErrorCode::NeedsLogin);
    }

    /// Of a server that answers each refresh token with the next one, in this form.
    fn chain(form: fn(usize) -> Reply) -> (Upstream, Auth) {
        let number = Mutex::new(0);
        let upstream = Upstream::start(move |_| {
            let mut number = number.lock();
            *number += 1;
            form(*number)
        });
        let auth = login(&upstream);
        (upstream, auth)
    }

    fn sent(upstream: &Upstream) -> Vec<String> {
        let requests = upstream.requests();
        let sent = requests.iter().map(|got| field(&got.body, "refresh_token"));
        sent.map(Option::unwrap).collect()
    }

    #[test]
    fn no_form_of_an_answer_costs_the_next_refresh_token() {
        let forms: [fn(usize) -> Reply; 6] = [
            |n| {
                let body = format!("access_token=a{n}&refresh_token=r{n}&token_type=bearer");
                Reply::new(200)
                    .header("content-type", "application/x-www-form-urlencoded")
                    .body(body)
            },
            |n| {
                Reply::json(
                    200,
                    format!("\u{feff}{{\"access_token\":\"a{n}\",\"refresh_token\":\"r{n}\"}}"),
                )
            },
            |n| {
                Reply::json(
                    200,
                    format!(r#"{{"name":"\ud83d","access_token":"a{n}","refresh_token":"r{n}"}}"#),
                )
            },
            |n| {
                Reply::json(
                    200,
                    format!(r#"{{"data":{{"access_token":"a{n}","refresh_token":"r{n}"}}}}"#),
                )
            },
            |n| {
                Reply::json(
                    200,
                    format!(r#"{{"n":1e400,"accessToken":"a{n}","refreshToken":"r{n}"}}"#),
                )
            },
            |n| {
                Reply::json(
                    200,
                    format!(r#"{{"error":"none","access_token":"a{n}","refresh_token":"r{n}"}}"#),
                )
            },
        ];
        for form in forms {
            let (upstream, auth) = chain(form);
            let auth = refresh_tokens(&attempt(), &auth).unwrap();
            assert_eq!(text(&auth, "access_token").as_deref(), Some("a1"));
            refresh_tokens(&attempt(), &auth).unwrap();
            assert_eq!(sent(&upstream), ["canary-refresh", "r1"]);
        }
    }

    #[test]
    fn a_refresh_token_that_comes_alone_is_kept_and_sent_next() {
        let (upstream, auth) = chain(|n| match n {
            1 => Reply::json(200, r#"{"refresh_token":"r1","expires_in":3600}"#),
            _ => Reply::json(200, r#"{"access_token":"a2","refresh_token":"r2"}"#),
        });
        let auth = auth
            .with_metadata("access_token", "a0")
            .with_metadata("expires_at", "2025-06-01T18:00:00Z");
        let rotated = refresh_tokens(&attempt(), &auth).unwrap();
        assert_eq!(text(&rotated, "refresh_token").as_deref(), Some("r1"));
        assert_eq!(rotated.expiration_time().at(), Some(NOW));
        let renewed = refresh_tokens(&attempt(), &rotated).unwrap();
        assert_eq!(text(&renewed, "access_token").as_deref(), Some("a2"));
        assert_eq!(renewed.expiration_time().at(), None);
        assert_eq!(sent(&upstream), ["canary-refresh", "r1"]);
    }

    #[test]
    fn an_answer_that_brings_nothing_new_is_no_refresh() {
        for body in [
            r#"{"refresh_token":"canary-refresh"}"#,
            r#"{"refresh_token":""}"#,
            r#"{"access_token":"","refresh_token":null}"#,
            "refresh_token=canary-refresh",
        ] {
            let upstream = Upstream::start(move |_| Reply::json(200, body));
            let error = refresh_tokens(&attempt(), &login(&upstream)).unwrap_err();
            assert_eq!(
                (error.code(), error.is_retryable()),
                (&ErrorCode::RefreshFailed, true),
                "{body}"
            );
            assert_clean(&shown(&error));
        }
        // A grant without refresh tokens has no use for one.
        let upstream = Upstream::start(|_| Reply::json(200, r#"{"refresh_token":"r"}"#));
        assert!(refresh_tokens(&attempt(), &client(&upstream)).is_err());
        // An error may repeat what was sent.
        let upstream = Upstream::start(|_| {
            Reply::json(
                200,
                r#"{"error":"invalid_grant","refresh_token":"canary-refresh"}"#,
            )
        });
        let error = refresh_tokens(&attempt(), &login(&upstream)).unwrap_err();
        assert_eq!(error.code(), &ErrorCode::NeedsLogin);
    }

    #[test]
    fn a_server_that_asks_for_a_person_needs_a_login() {
        for name in [
            "interaction_required",
            "login_required",
            "consent_required",
            "bad_token",
        ] {
            let upstream = Upstream::start(move |_| {
                let body = json!({"error": name, "error_description": "AADSTS50076: canary-refresh", "suberror": "basic_action"});
                Reply::json(400, body.to_string())
            });
            let error = refresh_tokens(&attempt(), &login(&upstream)).unwrap_err();
            assert_eq!(
                (error.code(), error.is_retryable()),
                (&ErrorCode::NeedsLogin, false)
            );
            assert!(error.message().contains("log in again"), "{error}");
            assert_clean(&shown(&error));
        }
    }

    #[test]
    fn an_answer_without_a_refresh_token_keeps_the_old_one() {
        for (expires_in, end) in [
            (json!(60), Some(utc_datetime!(2025-06-01 12:01))),
            (json!("60"), Some(utc_datetime!(2025-06-01 12:01))),
            (json!(0), None),
            (json!(-1), None),
            (json!("x"), None),
            (json!(null), None),
        ] {
            let body = json!({"access_token": "new", "expires_in": expires_in});
            let upstream = Upstream::start(move |_| Reply::json(200, body.to_string()));
            let auth = refresh_tokens(&attempt(), &login(&upstream)).unwrap();
            let kept = text(&auth, "refresh_token");
            assert_eq!(kept.as_deref(), Some("canary-refresh"));
            assert_eq!(auth.expiration_time().at(), end, "{expires_in}");
        }
    }
}

/// What holds for every grant.
mod faults {
    use super::*;

    fn every_grant(upstream: &Upstream) -> [Auth; 3] {
        [
            client(upstream),
            robot(&(upstream.url() + "/token")),
            login(upstream),
        ]
    }

    #[test]
    fn every_fault_is_an_error_that_may_be_tried_again() {
        let whole = Reply::json(200, r#"{"access_token":"new"}"#);
        for (name, reply, code) in [
            ("reset", whole.clone().reset(), ErrorCode::Transport),
            ("cut", whole.clone().cut_after(9), ErrorCode::Transport),
            (
                "cut, chunked",
                whole.clone().chunked().cut_after(9),
                ErrorCode::Transport,
            ),
            (
                "cut, close-delimited",
                whole.clone().close_delimited().cut_after(9),
                ErrorCode::RefreshFailed,
            ),
            ("garbage", Reply::json(200, "{{"), ErrorCode::RefreshFailed),
            (
                "no token",
                Reply::json(200, r#"{"access_token":""}"#),
                ErrorCode::RefreshFailed,
            ),
            ("busy", Reply::new(503), ErrorCode::RefreshFailed),
        ] {
            let upstream = Upstream::start(move |_| reply.clone());
            for auth in every_grant(&upstream) {
                let error = refresh_tokens(&attempt(), &auth).unwrap_err();
                assert_eq!(
                    (error.code(), error.is_retryable()),
                    (&code, true),
                    "{name}"
                );
                assert_clean(&shown(&error));
            }
        }
    }

    #[test]
    fn silence_ends_with_the_call() {
        let gate = Gate::new();
        let reply = Reply::json(200, "{}").stall_before_head(&gate);
        let upstream = Upstream::start(move |_| reply.clone());
        for auth in every_grant(&upstream) {
            let clock = SystemClock;
            let end = clock.monotonic() + Duration::from_millis(100);
            let late = Attempt::for_tests(clock).with_deadline(end);
            let error = refresh_tokens(&late, &auth).unwrap_err();
            assert_eq!(*error.code(), ErrorCode::DeadlineExceeded);
            assert!(upstream.wait_abandoned(LONG));
        }
        let token = CancelToken::new();
        token.cancel();
        let over = attempt().with_cancel(token);
        let error = refresh_tokens(&over, &login(&upstream)).unwrap_err();
        assert_eq!(*error.code(), ErrorCode::Cancelled);
    }

    #[test]
    fn a_redirect_is_not_followed() {
        let other = Upstream::start(|_| Reply::json(200, r#"{"access_token":"new"}"#));
        let location = other.url();
        let upstream = Upstream::start(move |_| Reply::new(307).header("location", &location));
        for auth in every_grant(&upstream) {
            let error = refresh_tokens(&attempt(), &auth).unwrap_err();
            assert_eq!(*error.code(), ErrorCode::RefreshFailed);
        }
        assert_eq!(other.connections_opened(), 0);
    }

    #[test]
    fn a_server_that_echoes_what_it_got_makes_nothing_told() {
        for status in [200, 400, 401, 500] {
            for name in ["invalid_grant", "invalid_client", "odd"] {
                let upstream = Upstream::start(move |request| {
                    let form = String::from_utf8_lossy(&request.body).into_owned();
                    let all = ["refresh_token", "client_secret", "assertion"]
                        .map(|name| field(&request.body, name).unwrap_or_default());
                    let basic = request.header("authorization").unwrap_or_default();
                    let description = format!("{} {basic} {form}", all.join(" "));
                    let error = json!({"error": name, "error_description": description});
                    Reply::json(status, error.to_string())
                });
                let [client, robot, login] = every_grant(&upstream);
                let basic = client.clone().with_attribute("client_auth", "basic");
                for auth in [client, basic, robot, login] {
                    let error = refresh_tokens(&attempt(), &auth).unwrap_err();
                    assert_clean(&shown(&error));
                    let sent = upstream.requests();
                    let sent = sent.last().unwrap();
                    if let Some(assertion) = field(&sent.body, "assertion") {
                        let (_, signature) = assertion.rsplit_once('.').unwrap();
                        assert!(!shown(&error).contains(signature));
                        assert!(!shown(&error).contains(&signature[..20]));
                    }
                }
            }
        }
    }

    #[test]
    fn a_key_that_an_upstream_echoes_is_cut_out() {
        let file: Value = serde_json::from_str(&service_account_file("x")).unwrap();
        let pem = file["private_key"].as_str().unwrap().to_owned();
        for echo in [
            pem.clone(),
            pem.replace('\n', "\\n"),
            pem.replace('\n', ""),
            json!({"error": {"message": pem, "code": pem}}).to_string(),
        ] {
            let upstream = Upstream::start(move |_| Reply::json(400, echo.clone()));
            let auth = robot("https://oauth2.googleapis.com/token")
                .with_metadata("access_token", "canary-access")
                .with_attribute("base_url", upstream.url());
            let request = Request::new("m", "{}");
            let options = Options::new();
            let result = Gemini::new().execute(&attempt(), &auth, &request, &options);
            assert_clean(&shown(&result.unwrap_err()));
            assert_clean(&format!("{auth:?}"));
        }
    }
}

/// Credentials that have no token at first, in a pool.
mod pool {
    use super::*;

    fn pool(clock: &ManualClock) -> Manager {
        let manager = Manager::builder().clock(clock.clone()).build().unwrap();
        manager.register_executor(Gemini::new());
        manager
    }

    #[test]
    fn a_refresh_token_that_comes_alone_is_stored_before_it_is_sent() {
        let number = Mutex::new(0);
        let upstream = Upstream::start(move |_| {
            let mut number = number.lock();
            *number += 1;
            match *number {
                1 => Reply::json(200, r#"{"refresh_token":"r1"}"#),
                _ => Reply::json(200, r#"{"access_token":"a2","refresh_token":"r2"}"#),
            }
        });
        let clock = ManualClock::at(NOW);
        let store = std::sync::Arc::new(MemoryStore::new());
        let manager = Manager::builder()
            .clock(clock.clone())
            .store(std::sync::Arc::clone(&store))
            .build()
            .unwrap();
        manager.register_executor(Gemini::new());
        manager
            .register(login(&upstream).with_metadata("access_token", "a0"))
            .unwrap();
        let refreshed = manager.refresh_now("team-a").unwrap();
        let stored = store.load("team-a").unwrap().unwrap();
        assert_ne!(
            text(&stored, "refresh_token").as_deref(),
            Some("canary-refresh")
        );
        if text(&refreshed, "access_token").as_deref() == Some("a0") {
            assert_eq!(stored.expiration_time().at(), Some(NOW));
            clock.advance(Duration::from_secs(60));
            manager.refresh_now("team-a").unwrap();
        }
        let stored = store.load("team-a").unwrap().unwrap();
        assert_eq!(text(&stored, "access_token").as_deref(), Some("a2"));
        assert_eq!(text(&stored, "refresh_token").as_deref(), Some("r2"));
        let requests = upstream.requests();
        let sent: Vec<_> = requests
            .iter()
            .map(|got| field(&got.body, "refresh_token").unwrap())
            .collect();
        assert_eq!(sent, ["canary-refresh", "r1"]);
    }

    #[test]
    fn the_first_token_is_had_at_once_and_the_next_one_in_time() {
        let clock = ManualClock::at(NOW);
        let upstream = GeminiUpstream::start_with_clock(clock.clone());
        let file = service_account_file(&upstream.token_url());
        upstream.set_service_account(&file, KeyBehaviour::Serve);
        upstream.set_client("my app", "canary&secret", KeyBehaviour::Serve);
        let manager = pool(&clock);
        manager.start_auto_refresh(Duration::from_secs(60)).unwrap();
        let base_url = upstream.base_url();
        for auth in [client(upstream.server()), robot(&upstream.token_url())] {
            let auth = auth.with_attribute("base_url", base_url.as_str());
            manager.register(auth).unwrap();
        }
        eventually("the first tokens", || upstream.grants() == 2);
        let has_token = |id: &str| {
            let auth = manager.get_by_id(id).unwrap();
            text(&auth, "access_token").is_some() && auth.status == Status::Active
        };
        eventually("their use", || has_token("team-a") && has_token("robot"));
        let request = Request::new("m", r#"{"contents":[{"parts":[{"text":"Hi"}]}]}"#);
        for _ in 0..2 {
            let response = manager.execute(["gemini"], &request, &Options::new());
            assert_eq!(response.unwrap().attempts, 1);
        }
        eventually("the refresher's sleep", || clock.timers() > 0);
        clock.advance(Duration::from_secs(54 * 60));
        eventually("the refresher's sleep", || clock.timers() > 0);
        assert_eq!(upstream.grants(), 2);
        eventually("the next tokens", || {
            clock.advance(Duration::from_secs(60));
            upstream.grants() >= 4
        });
        manager.shutdown(LONG).unwrap();
    }

    #[test]
    fn a_server_that_says_no_is_not_asked_without_end() {
        let clock = ManualClock::at(NOW);
        let upstream = GeminiUpstream::start_with_clock(clock.clone());
        let manager = pool(&clock);
        manager.start_auto_refresh(Duration::from_secs(60)).unwrap();
        manager.register(client(upstream.server())).unwrap();
        let failed = || manager.get_by_id("team-a").unwrap().next_refresh_after;
        // It does not know the client: a person has to see to that.
        eventually("the refusal", || {
            failed() == Some(NOW + Duration::from_secs(15 * 60))
        });
        for _ in 0..14 {
            eventually("the refresher's sleep", || clock.timers() > 0);
            clock.advance(Duration::from_secs(60));
        }
        eventually("the refresher's sleep", || clock.timers() > 0);
        assert_eq!(upstream.server().request_count(), 1);
        upstream.set_client("my app", "canary&secret", KeyBehaviour::Serve);
        eventually("the token", || {
            clock.advance(Duration::from_secs(1));
            upstream.grants() == 1
        });
        manager.shutdown(LONG).unwrap();
    }

    #[test]
    fn a_service_account_survives_a_restart_in_a_file() {
        let clock = ManualClock::at(NOW);
        let upstream = GeminiUpstream::start_with_clock(clock.clone());
        let file = service_account_file(&upstream.token_url());
        upstream.set_service_account(&file, KeyBehaviour::Serve);
        let dir = tempfile::tempdir().unwrap();
        // A file of the form that other tools write, dropped into the directory.
        let dropped = json!({"type": "gemini", "service_account": serde_json::from_str::<Value>(&file).unwrap()});
        std::fs::write(dir.path().join("dropped.json"), dropped.to_string()).unwrap();
        for round in 0..2 {
            let store = FileStore::open(dir.path()).unwrap();
            let builder = Manager::builder().clock(clock.clone()).store(store);
            let manager = builder.build().unwrap();
            manager.register_executor(Gemini::new());
            assert_eq!(manager.load().unwrap().skipped.len(), 0);
            if round == 0 {
                manager.register(robot(&upstream.token_url())).unwrap();
            }
            assert_eq!(manager.list().len(), 2);
            for auth in manager.list() {
                assert_eq!(text(&auth, "access_token").is_some(), round == 1);
                manager.refresh_now(&auth.id).unwrap();
            }
            manager.shutdown(LONG).unwrap();
        }
        assert_eq!(upstream.grants(), 4);
    }
}

/// One logger for the whole process, which keeps every line.
struct Lines(Mutex<Vec<String>>);

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.target().starts_with("credpool") {
            let line = format!("{}", record.args());
            self.0.lock().push(line);
        }
    }

    fn flush(&self) {}
}

#[test]
fn no_log_line_holds_a_secret() {
    static LINES: OnceLock<Lines> = OnceLock::new();
    let lines = LINES.get_or_init(|| Lines(Mutex::default()));
    log::set_logger(lines).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let upstream = GeminiUpstream::start();
    let manager = Manager::builder().build().unwrap();
    manager.register_executor(Gemini::new());
    let token_url = upstream.token_url();
    let file = service_account_file(&token_url);
    for auth in [client(upstream.server()), robot(&token_url)] {
        let auth = auth.with_attribute("base_url", upstream.base_url());
        let auth = manager.register(auth).unwrap();
        manager.refresh_now(&auth.id).unwrap_err();
    }
    upstream.set_service_account(&file, KeyBehaviour::Serve);
    upstream.set_client("my app", "canary&secret", KeyBehaviour::Serve);
    for id in ["team-a", "robot"] {
        let auth = manager.refresh_now(id).unwrap();
        assert_clean(&format!("{auth:?} {manager:?}"));
    }
    let request = Request::new("m", "{}");
    manager
        .execute(["gemini"], &request, &Options::new())
        .unwrap();
    manager.shutdown(LONG).unwrap();
    let lines = lines.0.lock().join("\n");
    assert!(lines.contains("refreshed credential robot"), "{lines}");
    assert_clean(&lines);
    assert!(!lines.contains("access-1"), "{lines}");
}
