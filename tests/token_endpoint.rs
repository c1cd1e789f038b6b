//! Faults of a token endpoint that pass: what they cost a login, and what they do not.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::collections::VecDeque;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use credpool::provider::Anthropic;
use credpool::testing::{Reply, Upstream};
use credpool::{
    Auth, Availability, Clock, Error, ErrorCode, FileStore, Manager, ManualClock, OAuthTokens,
    Options, Request, Status, Timestamp,
};
use parking_lot::Mutex;
use serde_json::json;
use support::{SOON, eventually, pool_with};
use tempfile::TempDir;
use time::macros::utc_datetime;

const NOW: Timestamp = utc_datetime!(2026-11-26 15:00);
const HOURS_AGO: Timestamp = utc_datetime!(2026-11-26 12:00);
/// So soon that a call begins a refresh.
const SOON_AFTER: Timestamp = utc_datetime!(2026-11-26 15:00:20);
const ID: &str = "claude-ada.json";
const SECOND: Duration = Duration::from_secs(1);
/// So small that no time is up because of a thread that comes late.
const STEP: Duration = Duration::from_millis(10);
const HOUR: Duration = Duration::from_secs(3600);

/// A token file that another tool has written, in a directory; a token endpoint; and a provider that serves its tokens until they end.
struct Login {
    manager: Manager,
    clock: ManualClock,
    server: Upstream,
    faults: Arc<Mutex<VecDeque<Reply>>>,
    _dir: TempDir,
}

fn served() -> Reply {
    let message = json!({
        "id": "m", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": "ok"}],
        "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1},
    });
    Reply::json(200, message.to_string())
}

impl Login {
    fn ends_at(end: Timestamp) -> Self {
        let clock = ManualClock::at(NOW);
        let faults = Arc::new(Mutex::new(VecDeque::new()));
        let server = Upstream::start({
            let (clock, faults) = (clock.clone(), Arc::clone(&faults));
            move |request| {
                if request.path == "/token" {
                    let tokens = json!({"access_token": "new", "refresh_token": "next", "expires_in": 36000});
                    let fault = faults.lock().pop_front();
                    return fault.unwrap_or_else(|| Reply::json(200, tokens.to_string()));
                }
                match request.bearer() {
                    Some("old") if clock.now() < end => served(),
                    Some("new") => served(),
                    _ => Reply::json(
                        401,
                        r#"{"type":"error","error":{"type":"authentication_error","message":"no"}}"#,
                    ),
                }
            }
        });
        let dir = tempfile::tempdir().unwrap();
        let shown = end.format(&time::format_description::well_known::Rfc3339);
        let file = json!({
            "id_token": "", "access_token": "old", "refresh_token": "first", "last_refresh": "2026-11-26T04:00:00Z",
            "email": "ada@example.org", "type": "claude", "expired": shown.unwrap(),
        });
        std::fs::write(dir.path().join(ID), file.to_string()).unwrap();
        let manager = Manager::builder()
            .store(FileStore::open(dir.path()).unwrap())
            .clock(clock.clone())
            .seed(7)
            .build()
            .unwrap();
        manager.register_executor(Anthropic::named("claude"));
        manager.load().unwrap();
        let login = Self {
            manager,
            clock,
            server,
            faults,
            _dir: dir,
        };
        login.refreshes_at(&(login.server.url() + "/token"));
        login
    }

    fn refreshes_at(&self, token_url: &str) {
        let auth = (*self.manager.get_by_id(ID).unwrap()).clone();
        let auth = auth
            .with_attribute("base_url", self.server.url())
            .with_attribute("token_url", token_url);
        self.manager.update(auth).unwrap();
    }

    /// The next answers of the token endpoint.
    fn answers(&self, faults: &[Reply]) {
        self.faults.lock().extend(faults.iter().cloned());
    }

    /// How often the token endpoint was asked.
    fn asked(&self) -> usize {
        self.sent("/token").len()
    }

    /// The tokens that the provider was sent.
    fn tokens_sent(&self) -> Vec<String> {
        self.sent("/v1/messages")
    }

    fn sent(&self, path: &str) -> Vec<String> {
        let requests = self.server.requests().into_iter();
        requests
            .filter(|request| request.path == path)
            .map(|request| request.bearer().unwrap_or_default().to_owned())
            .collect()
    }

    fn call(&self, options: &Options) -> Result<(), Error> {
        let request = Request::new("m", r#"{"model":"m","messages":[]}"#);
        self.manager
            .execute(["claude"], &request, options)
            .map(drop)
    }

    /// A call that waits for nothing.
    fn hasty_call(&self) -> Result<(), Error> {
        self.call(&Options::new().with_max_wait(Duration::ZERO))
    }

    /// Waits until the token endpoint was asked so often, and for the end of that refresh.
    fn refresh_is_over(&self, asked: usize) {
        eventually("the request", || self.asked() == asked);
        let pending = self.clock.now() + Duration::from_secs(60);
        eventually("the end of the refresh", || {
            self.manager.get_by_id(ID).unwrap().next_refresh_after != Some(pending)
        });
    }

    fn availability(&self) -> Availability {
        self.manager.explain("claude", "m")[0].availability
    }

    /// A call that does not wait has no token, and nothing is held against the login.
    fn assert_fails_in_passing(&self, name: &str) {
        let error = self.hasty_call().unwrap_err();
        let shown = (error.code(), error.http_status(), error.is_retryable());
        let expected = (&ErrorCode::RefreshFailed, Some(503), true);
        assert_eq!(shown, expected, "{name}: {error}");
        assert_eq!(self.availability(), Availability::Refreshing, "{name}");
        assert!(!self.needs_login(), "{name}");
    }

    fn needs_login(&self) -> bool {
        !self.manager.refresh_health().needs_login.is_empty()
    }
}

/// What passes, each as often as it takes for a refresh to fail: one that may have spent the refresh token is sent again immediately.
fn passing_faults() -> Vec<(&'static str, Vec<Reply>)> {
    let twice = |reply: Reply| vec![reply.clone(), reply];
    let tokens = r#"{"access_token":"new","refresh_token":"next","expires_in":36000}"#;
    let unavailable = r#"{"error":"temporarily_unavailable"}"#;
    vec![
        ("503", vec![Reply::new(503).body("busy")]),
        ("429", vec![Reply::json(429, r#"{"type":"error"}"#)]),
        ("408", vec![Reply::new(408)]),
        ("500", twice(Reply::new(500))),
        (
            "502",
            twice(Reply::new(502).body("<html>Bad gateway</html>")),
        ),
        ("broken JSON", twice(Reply::json(200, &tokens[..20]))),
        ("reset", twice(Reply::json(200, tokens).reset())),
        ("cut", twice(Reply::json(200, tokens).cut_after(9))),
        ("unavailable", vec![Reply::json(400, unavailable)]),
    ]
}

#[test]
fn a_passing_fault_costs_seconds_and_nothing_is_held_against_the_login() {
    for (name, faults) in passing_faults() {
        for refresher in [false, true] {
            let login = Login::ends_at(HOURS_AGO);
            login.answers(&faults);
            if refresher {
                login.manager.start_auto_refresh(HOUR).unwrap();
            } else {
                login.assert_fails_in_passing(name);
            }
            login.refresh_is_over(faults.len());
            // A call that does not wait sends the old token as the last resort. The provider's 401 says nothing new.
            login.assert_fails_in_passing(name);
            assert!(login.tokens_sent().iter().all(|sent| sent == "old"));
            assert_eq!(login.asked(), faults.len(), "{name}: not without a pause");

            let again = login.manager.get_by_id(ID).unwrap().next_refresh_after;
            assert!(again.unwrap() <= NOW + 2 * SECOND, "{name}: {again:?}");
            login.clock.advance(2 * SECOND);
            eventually("the next tokens", || {
                let _ = refresher || login.hasty_call().is_ok();
                login.availability() == Availability::Ready
            });
            login.hasty_call().unwrap();
            assert_eq!(login.asked(), faults.len() + 1, "{name}");
            let auth = login.manager.get_by_id(ID).unwrap();
            assert_eq!((auth.status, &auth.last_error), (Status::Active, &None));
            assert!(login.manager.refresh_health().is_good(), "{name}");
            login.manager.shutdown(SOON).unwrap();
        }
    }
}

#[test]
fn a_call_that_may_wait_is_served_after_the_fault() {
    for (name, faults) in passing_faults() {
        let login = Login::ends_at(HOURS_AGO);
        login.answers(&faults);
        std::thread::scope(|scope| {
            let call = scope.spawn(|| login.call(&Options::new()));
            login.refresh_is_over(faults.len());
            eventually("the call's end", || {
                // Where it waits for nothing but the next try.
                if login.clock.timers() > 0 && login.asked() == faults.len() {
                    login.clock.advance(STEP);
                }
                call.is_finished()
            });
            call.join().unwrap().unwrap();
        });
        assert_eq!(login.tokens_sent(), ["new"], "{name}");
        assert_eq!(login.asked(), faults.len() + 1, "{name}");
        let waited = login.clock.now() - NOW;
        assert!(waited < 30 * SECOND, "{name}: {waited}");
    }
}

#[test]
fn an_endpoint_that_is_not_there_or_says_nothing_is_asked_again_within_seconds() {
    let login = Login::ends_at(HOURS_AGO);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    login.refreshes_at(&format!("http://{address}/token"));
    login.assert_fails_in_passing("closed");
    eventually("the failure", || {
        login.manager.get_by_id(ID).unwrap().last_error.is_some()
    });
    assert!(login.manager.refresh_health().is_good(), "nothing was sent");
    assert_eq!(login.availability(), Availability::Refreshing);
    login.refreshes_at(&(login.server.url() + "/token"));
    login.clock.advance(2 * SECOND);
    eventually("the tokens", || login.hasty_call().is_ok());
    assert_eq!(login.asked(), 1);

    let (manager, fake, clock) = pool_with(0, |builder| builder.seed(7));
    let tokens = OAuthTokens::new("old")
        .with_refresh_token("first")
        .with_expires_at(clock.now());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    fake.renews(move |auth| {
        if count.fetch_add(1, Ordering::SeqCst) < 2 {
            return Err(Error::new(ErrorCode::DeadlineExceeded, "no answer in 30 s"));
        }
        Ok(auth
            .clone()
            .with_metadata("access_token", "new")
            .with_metadata("refresh_token", "next")
            .with_metadata("expires_at", "2100-01-01T00:00:00Z"))
    });
    manager
        .register(Auth::oauth("p", tokens).with_id("a"))
        .unwrap();
    manager.refresh_now("a").unwrap_err();
    assert_eq!(manager.refresh_health().in_doubt, ["a"]);
    clock.advance(2 * SECOND);
    let hasty = Options::new().with_max_wait(Duration::ZERO);
    eventually("the tokens", || {
        let _ = manager.execute(["p"], &Request::new("m", "{}"), &hasty);
        manager.refresh_health().is_good()
    });
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

#[test]
fn calls_go_on_with_the_token_that_there_is_while_the_endpoint_is_down() {
    for (name, faults) in passing_faults() {
        let login = Login::ends_at(SOON_AFTER);
        login.answers(&faults);
        for _ in 0..3 {
            login.hasty_call().unwrap();
            login.refresh_is_over(faults.len());
        }
        assert_eq!(login.tokens_sent(), ["old"; 3], "{name}");
        assert_eq!(login.asked(), faults.len(), "{name}");
        assert!(!login.needs_login(), "{name}");
        assert_eq!(login.availability(), Availability::Ready, "{name}");
        // Well before the end, although refreshes are half a minute apart.
        login.clock.advance(2 * SECOND);
        eventually("the next tokens", || {
            login.hasty_call().unwrap();
            login.tokens_sent().last().unwrap() == "new"
        });
        assert_eq!(login.asked(), faults.len() + 1, "{name}");
        assert!(login.manager.refresh_health().is_good(), "{name}");
    }
}

#[test]
fn what_does_not_pass_is_told_and_not_asked_again_in_a_hurry() {
    let over = Reply::json(400, r#"{"error":"invalid_grant"}"#);
    let login = Login::ends_at(HOURS_AGO);
    login.answers(std::slice::from_ref(&over));
    let _ = login.hasty_call();
    // The store is given two seconds in which another program may have made the next token durable.
    eventually("the refusal", || {
        login.clock.advance(SECOND);
        login.needs_login()
    });
    for _ in 0..3 {
        assert!(login.hasty_call().is_err());
        login.clock.advance(HOUR);
    }
    assert_eq!(login.asked(), 1);

    // Its access token is good until its own end.
    let login = Login::ends_at(SOON_AFTER);
    login.answers(&[over]);
    login.call(&Options::new()).unwrap();
    eventually("the refusal", || {
        if login.asked() == 1 && login.clock.timers() > 0 {
            login.clock.advance(STEP);
        }
        login.needs_login()
    });
    login.hasty_call().unwrap();
    assert_eq!(login.tokens_sent(), ["old"; 2]);
    login.clock.advance(120 * SECOND);
    assert!(login.hasty_call().is_err());
    assert_eq!(login.asked(), 1);

    // A refusal that names no end of the login, and does not say that it passes, waits for as long as refreshes are apart.
    let login = Login::ends_at(HOURS_AGO);
    login.answers(&[Reply::json(400, r#"{"error":"invalid_scope"}"#)]);
    assert!(login.hasty_call().is_err());
    login.refresh_is_over(1);
    let again = login.manager.get_by_id(ID).unwrap().next_refresh_after;
    assert_eq!(again, Some(NOW + 30 * SECOND));
    assert!(!login.needs_login());
}
