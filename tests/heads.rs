//! Status and headers of answers: of plain ones, of streams and of errors, without the credential's secrets.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use credpool::provider::OpenAi;
use credpool::testing::{Reply, Upstream};
use credpool::{Auth, Error, FailurePolicy, Manager, Options, Request, ResponseHead};

const KEY: &str = "sk-canary-4711";

/// An OpenAI whose answers all have the same headers, and echo the key in one of them.
fn pool(reply: fn() -> Reply) -> (Manager, Upstream) {
    let upstream = Upstream::start(move |_| {
        reply()
            .header("x-request-id", "req_7")
            .header("openai-organization", "acme")
            .header("set-cookie", "__cf=morsel")
            .header("x-echo", &format!("Bearer {KEY}"))
    });
    let policy = FailurePolicy::default().without_waiting();
    let manager = Manager::builder().policy(policy).build().unwrap();
    manager.register_executor(OpenAi::new());
    let base_url = format!("{}/v1", upstream.url());
    let auth = Auth::api_key("openai", KEY).with_attribute("base_url", base_url);
    manager.register(auth.with_id("a").runtime_only()).unwrap();
    (manager, upstream)
}

fn request() -> Request {
    Request::new("m", r#"{"model":"m","messages":[]}"#)
}

fn check(head: &ResponseHead, status: u16) {
    assert_eq!(head.status, status);
    assert_eq!(head.request_id(), Some("req_7"));
    assert_eq!(head.headers["openai-organization"], "acme");
    assert_eq!(head.headers["x-echo"], "Bearer ***");
    let shown = format!("{head:?}");
    assert!(shown.contains("req_7"), "{shown}");
    assert!(
        !shown.contains("morsel") && !shown.contains("canary"),
        "{shown}"
    );
}

fn check_error(error: &Error, status: u16) {
    check(error.head().unwrap(), status);
    assert!(!format!("{error} {error:?}").contains("canary"));
}

const WHOLE: &str =
    r#"{"choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}]}"#;
const EVENT: &str = r#"{"choices":[{"index":0,"delta":{"content":"hi"}}]}"#;
const LAST: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;

#[test]
fn a_plain_answer_has_its_head() {
    let (manager, _upstream) = pool(|| Reply::json(200, WHOLE));
    let response = manager
        .execute(["openai"], &request(), &Options::new())
        .unwrap();
    check(&response.head.unwrap(), 200);
}

#[test]
fn a_stream_has_the_head_from_its_beginning_and_so_has_its_error() {
    let (manager, _upstream) = pool(|| Reply::sse([EVENT, LAST, "[DONE]"]));
    let mut stream = manager
        .execute_stream(["openai"], &request(), &Options::new())
        .unwrap();
    check(stream.head().unwrap(), 200);
    let first = stream.next().unwrap().unwrap();
    check(&first.head.unwrap(), 200);
    assert!(stream.next().unwrap().unwrap().head.is_none());
    assert!(stream.all(|chunk| chunk.is_ok()));

    let (manager, _upstream) = pool(|| Reply::sse([EVENT]));
    let stream = manager
        .execute_stream(["openai"], &request(), &Options::new())
        .unwrap();
    check_error(&stream.last().unwrap().unwrap_err(), 200);
}

#[test]
fn every_error_that_came_with_an_answer_has_its_head() {
    let replies: [(u16, fn() -> Reply); 5] = [
        (400, || Reply::json(400, r#"{"error":{"message":"no"}}"#)),
        (429, || Reply::json(429, "{}").header("retry-after", "7")),
        (200, || Reply::json(200, r#"{"error":{"message":"late"}}"#)),
        (200, || Reply::json(200, "not json")),
        (200, || {
            Reply::json(200, WHOLE).content_length().cut_after(10)
        }),
    ];
    for (status, reply) in replies {
        let (manager, _upstream) = pool(reply);
        let once = Options::new().with_max_attempts(1);
        let error = manager.execute(["openai"], &request(), &once).unwrap_err();
        check_error(&error, status);
        let error = manager
            .execute_stream(["openai"], &request(), &once)
            .and_then(|mut stream| stream.next().unwrap())
            .unwrap_err();
        // The cooldown that the plain call has left ends this one without an answer.
        if let Some(head) = error.head() {
            check(head, status);
        }
    }
}
