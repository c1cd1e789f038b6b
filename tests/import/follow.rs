//! A manager over logins that another program renews.

use std::fs;
use std::path::Path;
use std::time::Duration;

use credpool::import;
use credpool::provider::Anthropic;
use credpool::testing::{Reply, Upstream};
use credpool::{
    Auth, Builder, ErrorCode, FileStore, Manager, ManualClock, MemoryStore, Options, Request,
    Timestamp,
};
use serde_json::json;
use time::macros::utc_datetime;

use crate::support::eventually;

const NOW: Timestamp = utc_datetime!(2026-11-27 04:00);
const HOUR: Duration = Duration::from_secs(3600);

/// Claude Code's file with one login, whose access token ends after so many hours.
fn write(file: &Path, access: &str, refresh: &str, hours: u32) {
    let end = NOW + HOUR * hours;
    let login = json!({"claudeAiOauth": {
        "accessToken": access, "refreshToken": refresh, "expiresAt": end.unix_timestamp() * 1000,
        "scopes": ["user:inference"], "subscriptionType": "max",
    }});
    fs::write(file, login.to_string()).unwrap();
}

/// Serves those tokens alone that are given to it.
fn upstream(good: &'static [&'static str]) -> Upstream {
    let served = json!({
        "id": "m", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "ok"}], "usage": {"input_tokens": 1, "output_tokens": 1},
    });
    Upstream::start(move |request| match request.bearer() {
        Some(token) if good.contains(&token) => Reply::json(200, served.to_string()),
        _ => Reply::json(
            401,
            json!({"type": "error", "error": {"type": "authentication_error", "message": "no"}})
                .to_string(),
        ),
    })
}

fn started(builder: Builder, clock: &ManualClock) -> Manager {
    let manager = builder.clock(clock.clone()).build().unwrap();
    manager.register_executor(Anthropic::new());
    manager
}

fn call(manager: &Manager) -> Result<(), credpool::Error> {
    let request = Request::new("m", r#"{"model":"m","max_tokens":1,"messages":[]}"#);
    let options = Options::new().with_max_wait(Duration::ZERO);
    manager.execute(["anthropic"], &request, &options).map(drop)
}

#[test]
fn a_file_elsewhere_is_read_again_when_its_token_has_ended_or_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(".credentials.json");
    write(&file, "first", "one-time-1", 1);
    let clock = ManualClock::at(NOW);
    let served = upstream(&["first", "second", "third"]);
    let manager = started(Manager::builder().store(MemoryStore::new()), &clock);
    let import = import::read(&file).unwrap();
    let auth = import.credentials()[0].auth();
    let auth = auth.with_id("ada").with_attribute("base_url", served.url());
    manager.register(auth).unwrap();
    call(&manager).unwrap();
    // Refused before its end.
    write(&file, "second", "one-time-2", 2);
    manager.refresh_now("ada").unwrap();
    let token = |manager: &Manager| {
        let auth = manager.get_by_id("ada").unwrap();
        let metadata = auth.metadata.clone().unwrap();
        assert_eq!(metadata.text("refresh_token"), None);
        metadata.text("access_token").unwrap().to_owned()
    };
    assert_eq!(token(&manager), "second");
    call(&manager).unwrap();
    // Ended, and not renewed yet.
    clock.advance(HOUR * 2);
    let error = manager.refresh_now("ada").unwrap_err();
    assert_eq!(*error.code(), ErrorCode::RefreshFailed);
    assert!(error.is_retryable());
    let message = error.message();
    assert!(message.contains("Claude Code holds the login"), "{message}");
    assert!(
        message.contains("ended at 2026-11-27T06:00:00Z"),
        "{message}"
    );
    assert!(manager.refresh_health().needs_login.is_empty());
    // Half written.
    fs::write(&file, "{\"claudeAiOauth\": {").unwrap();
    let error = manager.refresh_now("ada").unwrap_err();
    assert!(
        error.is_retryable() && error.message().contains("is cut short"),
        "{error}"
    );
    write(&file, "third", "one-time-3", 5);
    eventually("the renewed token", || {
        clock.advance(Duration::from_secs(10));
        call(&manager).unwrap();
        token(&manager) == "third"
    });
    manager.shutdown(Duration::from_secs(10)).unwrap();
}

#[test]
fn a_refused_token_is_read_again_by_the_call_itself() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(".credentials.json");
    write(&file, "first", "one-time-1", 5);
    let clock = ManualClock::at(NOW);
    let served = upstream(&["second"]);
    let manager = started(Manager::builder(), &clock);
    let auth = import::read(&file).unwrap().credentials()[0].auth();
    let auth = auth.with_id("ada").with_attribute("base_url", served.url());
    manager.register(auth).unwrap();
    write(&file, "second", "one-time-2", 8);
    let request = Request::new("m", r#"{"model":"m","max_tokens":1,"messages":[]}"#);
    manager
        .execute(["anthropic"], &request, &Options::new())
        .unwrap();
    assert_eq!(served.request_count(), 2);
    manager.shutdown(Duration::from_secs(10)).unwrap();
}

#[test]
fn a_file_in_the_directory_of_a_store_is_followed_by_hot_reload() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("claude.json");
    write(&file, "first", "one-time-1", 1);
    let clock = ManualClock::at(NOW);
    let store = FileStore::open(home.path()).unwrap();
    let manager = started(Manager::builder().store(store), &clock);
    let report = manager.load().unwrap();
    assert_eq!(report.loaded, 1);
    assert!(report.skipped[0].reason.contains("belongs to Claude Code"));
    manager
        .start_hot_reload(Duration::from_millis(100))
        .unwrap();
    manager.start_auto_refresh(Duration::from_secs(60)).unwrap();
    for (hour, token) in [(1, "second"), (2, "third"), (3, "fourth"), (4, "second")] {
        clock.advance(HOUR);
        write(&file, token, &format!("one-time-{hour}"), hour + 1);
        let before = fs::read(&file).unwrap();
        eventually(token, || {
            clock.advance(Duration::from_secs(1));
            let auth = manager.get_by_id("claude.json").unwrap();
            auth.metadata.as_ref().unwrap().text("access_token") == Some(token)
        });
        assert!(fs::read(&file).unwrap() == before);
    }
    let auth: Auth = (*manager.get_by_id("claude.json").unwrap()).clone();
    manager.update(auth.with_label("mine")).unwrap();
    assert!(manager.remove("claude.json").is_err());
    assert!(manager.get_by_id("claude.json").is_some());
    manager.shutdown(Duration::from_secs(10)).unwrap();
    let stored = fs::read_to_string(home.path().join("claude.json.state")).unwrap();
    assert!(!stored.contains("one-time"));
}

#[test]
fn a_login_that_was_taken_over_is_refreshed_here_and_its_file_stays() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("claude.json");
    write(&file, "first", "one-time-1", 1);
    let before = fs::read(&file).unwrap();
    let clock = ManualClock::at(NOW);
    let endpoint = Upstream::start(|request| {
        let text = String::from_utf8_lossy(&request.body).into_owned();
        let is_known = text.contains("refresh_token=one-time-1") && text.contains("client_id=app");
        if is_known {
            let tokens =
                json!({"access_token": "ours", "refresh_token": "one-time-2", "expires_in": 3600});
            Reply::json(200, tokens.to_string())
        } else {
            Reply::json(400, r#"{"error":"invalid_grant"}"#)
        }
    });
    let store = FileStore::open(home.path()).unwrap();
    let manager = started(Manager::builder().store(store), &clock);
    manager.load().unwrap();
    let held = manager.get_by_id("claude.json").unwrap();
    let taken = import::take_over(&held).unwrap();
    assert!(taken.consequence.contains("token_url, client_id"));
    let auth = taken.auth.with_attribute("token_url", endpoint.url());
    manager
        .update(auth.with_attribute("client_id", "app"))
        .unwrap();
    manager.refresh_now("claude.json").unwrap();
    assert_eq!(endpoint.request_count(), 1);
    assert!(fs::read(&file).unwrap() == before);
    manager.shutdown(Duration::from_secs(10)).unwrap();
    // Another manager finds it as it was left.
    let store = FileStore::open(home.path()).unwrap();
    let manager = started(Manager::builder().store(store), &clock);
    manager.load().unwrap();
    let auth = manager.get_by_id("claude.json").unwrap();
    let metadata = auth.metadata.as_ref().unwrap();
    assert_eq!(metadata.text("refresh_token"), Some("one-time-2"));
    manager.shutdown(Duration::from_secs(10)).unwrap();
}
