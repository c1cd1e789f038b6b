//! The log that `JsonLines` writes: its lines, what becomes of those that cannot be written, and the replay of the example `simulate`.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[allow(dead_code, reason = "the example uses all of it")]
#[path = "../examples/simulate/clock.rs"]
mod clock;
#[allow(dead_code, reason = "the example uses all of it")]
#[path = "../examples/simulate/log.rs"]
mod log;
#[allow(dead_code, reason = "the example uses all of it")]
#[path = "../examples/simulate/script.rs"]
mod script;
mod support;

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use credpool::{
    Auth, Error, FailurePolicy, Hook, JsonLines, LimitWindow, Manager, OAuthTokens, Operation,
    Options, Outcome, RateLimits, RefreshEvent, Request, Usage,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use support::{Act, START, manual, pool_with};

type Log = Arc<JsonLines<Vec<u8>>>;

fn log() -> Log {
    Arc::new(JsonLines::new(Vec::new()).with_clock(manual()))
}

fn lines(log: &Log) -> Vec<Value> {
    let text = log.with_writer(|bytes| String::from_utf8(bytes.clone()).unwrap());
    let text = text.unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_result_has_what_is_known_of_it_and_nothing_else() {
    let log = log();
    let limits = RateLimits::new().with_window(LimitWindow::new("requests").with_remaining(3));
    let mut outcome = Outcome::success("a", "p", "m");
    outcome.asked_for = "best";
    outcome.operation = Operation::Stream;
    outcome.usage = Some(Usage::new(10, 2));
    outcome.rate_limits = Some(&limits);
    outcome.reply_text = Some("a reply is nobody's business");
    outcome.session_key = Some("nor is a session");
    outcome.first_byte = Some(Duration::from_millis(250));
    outcome.elapsed = Duration::from_millis(1500);
    outcome.at = Some(START + Duration::from_secs(1));
    (outcome.call_id, outcome.attempt) = (7, 2);
    log.on_result(&outcome);
    log.on_result(&Outcome::abandoned("a", "p", "m"));
    let expected = json!({
        "v": 1, "kind": "result", "at": "2025-01-01T10:00:01Z", "auth_id": "a", "provider": "p", "model": "m", "asked_for": "best",
        "operation": "stream", "call_id": 7, "attempt": 2, "result": "success", "first_byte": 0.25, "elapsed": 1.5,
        "usage": {"input": 10, "output": 2, "cached": 0, "cache_written": 0, "reasoning": 0},
        "limits": [{"name": "requests", "remaining": 3}],
    });
    let abandoned = json!({
        "v": 1, "kind": "result", "at": "2025-01-01T10:00:00Z", "auth_id": "a", "provider": "p", "model": "m",
        "operation": "execute", "call_id": 0, "attempt": 0, "result": "abandoned", "elapsed": 0.0,
    });
    assert_eq!(lines(&log), [expected, abandoned]);
}

#[test]
fn a_failure_says_what_the_policy_takes_it_for() {
    let log = log();
    let hook = Arc::clone(&log);
    let (manager, fake, _) = pool_with(1, |builder| {
        let policy = FailurePolicy::default().without_waiting();
        builder.policy(policy).hook(hook)
    });
    let error = Error::upstream(429, "slow down").with_retry_after(Duration::from_secs(20));
    fake.on("a0", Act::Fail(error));
    let request = Request::new("m", "{}");
    manager
        .execute(["p"], &request, &Options::new())
        .unwrap_err();
    let lines = lines(&log);
    let [registered, result] = &lines[..] else {
        panic!("{lines:?}");
    };
    assert_eq!(registered["kind"], "registered");
    assert_eq!(
        (&result["fault"], &result["code"], &result["status"]),
        (&json!("rate_limited"), &json!("upstream"), &json!(429))
    );
    assert_eq!(
        (&result["error"], &result["retry_after"]),
        (&json!("HTTP 429: slow down"), &json!(20.0))
    );
}

#[test]
fn every_event_is_a_line() {
    let log = log();
    let error = Error::message_only("no");
    let tokens = OAuthTokens::new("access").with_refresh_token("refresh");
    let auth = Auth::oauth("p", tokens).with_id("a").with_label("team");
    log.on_auth_registered(&auth);
    log.on_auth_updated(&auth);
    log.on_auth_removed(&auth);
    let auth_id = "a";
    for event in [
        RefreshEvent::UnpersistedRotation {
            auth_id,
            error: &error,
        },
        RefreshEvent::Persisted { auth_id },
        RefreshEvent::InDoubt {
            auth_id,
            error: &error,
        },
        RefreshEvent::NeedsLogin {
            auth_id,
            error: &error,
            answer_lost: true,
        },
    ] {
        log.on_refresh_event(&event);
    }
    let lines = lines(&log);
    let kinds: Vec<_> = lines
        .iter()
        .map(|line| (line["kind"].as_str().unwrap(), line["event"].as_str()))
        .collect();
    assert_eq!(
        kinds,
        [
            ("registered", None),
            ("updated", None),
            ("removed", None),
            ("refresh", Some("unpersisted_rotation")),
            ("refresh", Some("persisted")),
            ("refresh", Some("in_doubt")),
            ("refresh", Some("needs_login")),
        ]
    );
    assert!(
        lines
            .iter()
            .all(|line| line["v"] == 1 && line["auth_id"] == "a")
    );
    assert_eq!(
        (&lines[0]["label"], &lines[6]["answer_lost"]),
        (&json!("team"), &json!(true))
    );
    assert!(!lines.iter().any(|line| {
        let text = line.to_string();
        text.contains("access") || text.contains("\"refresh\",\"token")
    }));
}

/// Fails as it is told, after a part of the line.
struct Failing {
    written: Vec<u8>,
    fails: Arc<Mutex<Option<Failure>>>,
}

#[derive(Clone, Copy)]
enum Failure {
    Torn,
    Panic,
}

impl Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match *self.fails.lock() {
            None => self.written.write(bytes),
            Some(Failure::Torn) if self.written.last() == Some(&b'{') => {
                Err(io::Error::other("the disk is full"))
            }
            Some(Failure::Torn) => self.written.write(&bytes[..1]),
            Some(Failure::Panic) => panic!("the writer panics"),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_line_that_cannot_be_written_harms_neither_the_call_nor_the_next_line() {
    std::panic::set_hook(Box::new(|_| {}));
    let fails = Arc::<Mutex<Option<Failure>>>::default();
    let log = Arc::new(JsonLines::new(Failing {
        written: Vec::new(),
        fails: Arc::clone(&fails),
    }));
    let hook = Arc::clone(&log);
    let (manager, _, _) = pool_with(1, |builder| builder.hook(hook));
    let call = |failure| {
        *fails.lock() = failure;
        let request = Request::new("m", "{}");
        manager.execute(["p"], &request, &Options::new()).unwrap();
    };
    for failure in [None, Some(Failure::Torn), None, Some(Failure::Panic), None] {
        call(failure);
    }
    assert_eq!(log.failed(), 2);
    let text = log.with_writer(|writer| String::from_utf8(writer.written.clone()).unwrap());
    let text = text.unwrap();
    let whole = text
        .lines()
        .filter(|line| serde_json::from_str::<Value>(line).is_ok());
    // The registration, and three calls.
    assert_eq!(whole.count(), 4, "{text}");
}

/// Asks the manager for something that is a line itself.
struct Curious(Arc<Mutex<Option<Manager>>>, Vec<u8>);

impl Write for Curious {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let manager = self.0.lock().take();
        if let Some(manager) = manager {
            manager.reset("a0").unwrap();
            *self.0.lock() = Some(manager);
        }
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_writer_may_call_the_manager() {
    let holder = Arc::<Mutex<Option<Manager>>>::default();
    let log = Arc::new(JsonLines::new(Curious(Arc::clone(&holder), Vec::new())));
    let hook = Arc::clone(&log);
    let (manager, _, _) = pool_with(1, |builder| builder.hook(hook));
    *holder.lock() = Some(manager.clone());
    let request = Request::new("m", "{}");
    manager.execute(["p"], &request, &Options::new()).unwrap();
    holder.lock().take();
    assert_eq!(log.failed(), 1);
    let count = |writer: &mut Curious| writer.1.split(|byte| *byte == b'\n').count() - 1;
    assert_eq!(log.with_writer(count), Some(2));
}

#[test]
fn threads_write_whole_lines() {
    let log = log();
    let hook = Arc::clone(&log);
    let (manager, _, _) = pool_with(3, |builder| builder.hook(hook));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let request = Request::new("m", "{}");
                for _ in 0..100 {
                    manager.execute(["p"], &request, &Options::new()).unwrap();
                }
            });
        }
    });
    let lines = lines(&log);
    assert_eq!(lines.len(), 3 + 800);
    let counted = manager.stats().total().requests;
    let results = lines.iter().filter(|line| line["kind"] == "result");
    assert_eq!(results.count() as u64, counted);
}

#[test]
fn a_replay_answers_as_the_upstream_did() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("outcomes.jsonl");
    let clock = clock::JumpingClock::new();
    let hook = log::to(&path, clock.clone()).unwrap();
    let at = |seconds: u64| Some(clock::START + Duration::from_secs(seconds));
    let tell = |mut outcome: Outcome<'_>, seconds| {
        outcome.at = at(seconds);
        hook.on_result(&outcome);
    };
    let limited = Error::upstream(429, "slow down").with_retry_after(Duration::from_secs(30));
    hook.on_auth_registered(&Auth::api_key("p", "k").with_id("a"));
    tell(Outcome::success("a", "p", "m"), 0);
    tell(Outcome::failure("a", "p", "m", limited), 10);
    tell(
        Outcome::failure("b", "p", "m", Error::upstream(503, "down")),
        20,
    );
    tell(Outcome::abandoned("b", "p", "m"), 25);
    tell(
        Outcome::failure("b", "p", "m", Error::upstream(400, "wrong")),
        60,
    );
    tell(Outcome::success("a", "p", "m"), 100);
    let script = log::replay(path.to_str().unwrap()).unwrap();
    assert_eq!(script.credentials, ["a", "b"]);
    let answer = |who: &str, seconds| {
        let at = Duration::from_secs(seconds);
        let answer = script.answer(who, at, 1, (0, Duration::ZERO));
        answer
            .err()
            .map(|error| (error.http_status().unwrap(), error.retry_after()))
    };
    assert_eq!(answer("a", 5), None);
    assert_eq!(answer("a", 20), Some((429, Some(Duration::from_secs(20)))));
    assert_eq!(answer("a", 41), None);
    assert_eq!(answer("b", 30), Some((503, None)));
    assert_eq!(answer("b", 61), None);

    let other = directory.path().join("other.jsonl");
    std::fs::write(&other, r#"{"v":2,"kind":"result","auth_id":"a"}"#).unwrap();
    let refusal = log::replay(other.to_str().unwrap()).unwrap_err();
    assert!(refusal.contains("another form"), "{refusal}");
}
