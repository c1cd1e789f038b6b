//! Errors in the vendors' forms: what a gateway's client gets, and what this crate's own executors read in it.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::time::Duration;

use bytes::Bytes;
use credpool::provider::{Anthropic, Gemini, OpenAi};
use credpool::testing::{Reply, Upstream};
use credpool::{
    Attempt, Auth, Error, ErrorCode, Format, Options, ProviderExecutor, Request, ResponseHead,
    SystemClock,
};
use serde_json::{Value, json};

const FORMATS: [Format; 3] = [Format::OPENAI, Format::ANTHROPIC, Format::GEMINI];

/// Code, status, and what the three vendors call it: OpenAI's type and code, Anthropic's type, Google's status.
type Row = (
    &'static str,
    u16,
    (&'static str, Option<&'static str>),
    &'static str,
    &'static str,
);

const INVALID: &str = "invalid_request_error";
const OVERLOADED: (&str, Option<&str>) =
    ("service_unavailable_error", Some("server_is_overloaded"));
const NOT_FOUND: (&str, Option<&str>) = (INVALID, Some("model_not_found"));
const FAILED: (&str, Option<&str>) = ("server_error", None);
const LATE: (&str, Option<&str>) = ("server_error", Some("timeout_error"));

const ROWS: &[Row] = &[
    ("", 500, FAILED, "api_error", "INTERNAL"),
    ("code_of_an_executor", 500, FAILED, "api_error", "INTERNAL"),
    (
        "provider_not_found",
        404,
        NOT_FOUND,
        "not_found_error",
        "NOT_FOUND",
    ),
    (
        "executor_not_found",
        404,
        NOT_FOUND,
        "not_found_error",
        "NOT_FOUND",
    ),
    (
        "model_not_found",
        404,
        NOT_FOUND,
        "not_found_error",
        "NOT_FOUND",
    ),
    (
        "auth_not_found",
        503,
        OVERLOADED,
        "overloaded_error",
        "UNAVAILABLE",
    ),
    (
        "auth_unavailable",
        503,
        OVERLOADED,
        "overloaded_error",
        "UNAVAILABLE",
    ),
    (
        "unsupported_format",
        400,
        (INVALID, None),
        INVALID,
        "INVALID_ARGUMENT",
    ),
    ("unsupported", 501, FAILED, "api_error", "UNIMPLEMENTED"),
    ("config", 500, FAILED, "api_error", "INTERNAL"),
    ("upstream", 502, FAILED, "api_error", "UNAVAILABLE"),
    ("transport", 502, FAILED, "api_error", "UNAVAILABLE"),
    (
        "deadline_exceeded",
        504,
        LATE,
        "timeout_error",
        "DEADLINE_EXCEEDED",
    ),
    ("cancelled", 499, (INVALID, None), INVALID, "CANCELLED"),
    ("panicked", 500, FAILED, "api_error", "INTERNAL"),
    (
        "pool_saturated",
        503,
        OVERLOADED,
        "overloaded_error",
        "UNAVAILABLE",
    ),
    (
        "limit_reached",
        429,
        ("rate_limit_error", Some("rate_limit_exceeded")),
        "rate_limit_error",
        "RESOURCE_EXHAUSTED",
    ),
    ("store", 500, FAILED, "api_error", "INTERNAL"),
    ("conflict", 500, FAILED, "api_error", "INTERNAL"),
    (
        "refresh_failed",
        503,
        OVERLOADED,
        "overloaded_error",
        "UNAVAILABLE",
    ),
    (
        "needs_login",
        503,
        OVERLOADED,
        "overloaded_error",
        "UNAVAILABLE",
    ),
    ("stream_truncated", 502, FAILED, "api_error", "UNAVAILABLE"),
    ("stream_malformed", 502, FAILED, "api_error", "UNAVAILABLE"),
    (
        "stream_stalled",
        504,
        LATE,
        "timeout_error",
        "DEADLINE_EXCEEDED",
    ),
    (
        "stream_interrupted",
        502,
        FAILED,
        "api_error",
        "UNAVAILABLE",
    ),
    (
        "shut_down",
        503,
        OVERLOADED,
        "overloaded_error",
        "UNAVAILABLE",
    ),
    ("forked", 500, FAILED, "api_error", "INTERNAL"),
];

/// An error of this crate with all that a client must not see.
fn own(code: &str) -> Error {
    let is_answer = code.is_empty() || code == "upstream";
    let message = if is_answer {
        "HTTP 200, but the body is not JSON"
    } else {
        "canary-id at https://canary.example"
    };
    let error = Error::new(ErrorCode::from(code), message)
        .with_auth_id("canary-id")
        .with_provider("canary-provider");
    if is_answer {
        return error;
    }
    let earlier = Error::upstream(418, r#"{"error":{"message":"canary of another call"}}"#)
        .with_retry_after(Duration::from_secs(99));
    error.with_source(earlier)
}

fn json_of(answer: &http::Response<Bytes>) -> Value {
    serde_json::from_slice(answer.body()).unwrap()
}

fn data_of(event: &[u8]) -> Value {
    let text = str::from_utf8(event).unwrap();
    assert!(text.ends_with("\n\n"), "{text:?}");
    let mut data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let json = serde_json::from_str(data.next().unwrap()).unwrap();
    assert_eq!(data.next(), None, "one line: {text:?}");
    json
}

/// What the row says is in `body`.
fn check(body: &Value, format: &Format, row: &Row) {
    let (code, status, openai, anthropic, google) = *row;
    let error = &body["error"];
    assert!(
        error["message"]
            .as_str()
            .is_some_and(|text| !text.is_empty()),
        "{code}: {body}"
    );
    match format.as_str() {
        "openai" => {
            assert_eq!(error["type"], openai.0, "{code}");
            assert_eq!(error["code"].as_str(), openai.1, "{code}");
            assert!(error.get("param").is_some_and(Value::is_null), "{code}");
        }
        "anthropic" => {
            assert_eq!(body["type"], "error", "{code}");
            assert_eq!(error["type"], anthropic, "{code}");
        }
        _ => {
            assert_eq!(error["code"], status, "{code}");
            assert_eq!(error["status"], google, "{code}");
        }
    }
}

#[test]
fn every_code_has_a_status_and_a_name_in_every_form() {
    for row in ROWS {
        for format in &FORMATS {
            let error = own(row.0);
            let error = error
                .with_retryable(row.1 == 503)
                .with_retry_after(Duration::from_millis(6_001));
            let answer = error.to_http_response(format);
            assert_eq!(answer.status(), row.1, "{}", row.0);
            assert_eq!(answer.headers()["content-type"], "application/json");
            assert_eq!(answer.headers()["retry-after"], "7", "{}", row.0);
            let should_retry = if row.1 == 503 { "true" } else { "false" };
            assert_eq!(
                answer.headers()["x-should-retry"],
                should_retry,
                "{}",
                row.0
            );
            check(&json_of(&answer), format, row);
            let event = error.to_sse_event(format);
            check(&data_of(&event), format, row);
            for shown in [format!("{answer:?}"), format!("{event:?}")] {
                assert!(!shown.contains("canary"), "{shown}");
                let is_told = row.0 == "upstream" || shown.contains("try again in 7s");
                assert!(is_told, "{shown}");
            }
        }
    }
}

#[test]
fn the_table_holds_every_code() {
    let source = include_str!("../src/error/code.rs");
    let (_, known) = source.split_once("KNOWN: &[").unwrap();
    let names: Vec<_> = known.split('"').skip(1).step_by(2).collect();
    assert!(names.len() > 20, "the source is read");
    for name in names {
        assert!(ROWS.iter().any(|row| row.0 == name), "{name}");
    }
}

#[test]
fn a_wait_that_is_another_failures_is_not_told() {
    for format in &FORMATS {
        let answer = own("needs_login").to_http_response(format);
        assert_eq!(answer.headers().get("retry-after"), None);
    }
}

#[test]
fn an_exhausted_pool_has_the_status_of_its_reasons() {
    for status in [401, 402, 403, 404, 429, 503] {
        let error = own("auth_unavailable").with_http_status(status);
        for format in &FORMATS {
            assert_eq!(error.to_http_response(format).status(), status);
        }
    }
    // The token endpoint's status is no answer to the client.
    let refused = own("refresh_failed").with_http_status(400);
    assert_eq!(refused.to_http_response(&Format::OPENAI).status(), 503);
    // Neither is a redirect, nor a success.
    for status in [200, 302] {
        let error = own("upstream").with_http_status(status);
        assert_eq!(error.to_http_response(&Format::OPENAI).status(), 502);
    }
}

/// The same error as each of the vendors would send it.
fn bodies() -> [(Format, Value); 3] {
    [
        (
            Format::OPENAI,
            json!({"error": {"message": "Slow down", "type": "requests", "param": null, "code": "rate_limit_exceeded"}}),
        ),
        (
            Format::ANTHROPIC,
            json!({"type": "error", "error": {"type": "rate_limit_error", "message": "Slow down"}, "request_id": "req_9"}),
        ),
        (
            Format::GEMINI,
            json!({"error": {"code": 429, "message": "Slow down", "status": "RESOURCE_EXHAUSTED", "details": [{"@type": "x"}]}}),
        ),
    ]
}

#[test]
fn an_upstreams_body_is_passed_on_in_its_own_form_and_put_into_any_other() {
    let mut head = ResponseHead::new(http::StatusCode::TOO_MANY_REQUESTS);
    head.headers
        .insert("x-request-id", "req_7".parse().unwrap());
    head.headers.insert("set-cookie", "canary".parse().unwrap());
    for (of, body) in bodies() {
        // As a person would write it: passed on byte for byte.
        let text = format!(" {body:#}\n");
        let error = Error::upstream(429, text.clone())
            .with_head(head.clone())
            .with_retry_after(Duration::from_secs(7))
            .with_auth_id("canary-id")
            .context("canary");
        for format in &FORMATS {
            let answer = error.to_http_response(format);
            assert_eq!(answer.status(), 429);
            assert_eq!(answer.headers()["retry-after"], "7");
            let id = if *format == Format::ANTHROPIC {
                "request-id"
            } else {
                "x-request-id"
            };
            assert_eq!(answer.headers()[id], "req_7");
            let event = data_of(&error.to_sse_event(format));
            if *format == of {
                assert_eq!(answer.body(), text.as_bytes());
                assert_eq!(event["error"], body["error"]);
                continue;
            }
            let row = ROWS.iter().find(|row| row.1 == 429).unwrap();
            for body in [json_of(&answer), event] {
                check(&body, format, row);
                assert_eq!(body["error"]["message"], "Slow down");
            }
            assert!(!format!("{answer:?}").contains("canary"), "{answer:?}");
        }
    }
}

/// What is missing may be a file as well as a model, and some clients go on with another model where the code names that.
#[test]
fn an_upstreams_404_is_not_said_to_be_about_the_model() {
    let answers = [
        json!({"type": "error", "error": {"type": "not_found_error", "message": "No such file"}}),
        json!({"error": {"code": 404, "message": "No such file", "status": "NOT_FOUND"}}),
        json!({"detail": "No such file"}),
    ];
    for body in answers {
        let error = Error::upstream(404, body.to_string());
        let answer = error.to_http_response(&Format::OPENAI);
        assert_eq!(answer.status(), 404);
        for body in [
            json_of(&answer),
            data_of(&error.to_sse_event(&Format::OPENAI)),
        ] {
            let error = &body["error"];
            let message = error["message"].as_str().unwrap();
            assert!(message.contains("No such file"), "{message}");
            assert_eq!(error["type"], INVALID);
            assert_eq!(error["code"], Value::Null);
        }
    }
    let own = json!({"error": {"message": "No such model", "type": INVALID, "param": null, "code": "model_not_found"}});
    let answer = Error::upstream(404, own.to_string()).to_http_response(&Format::OPENAI);
    assert_eq!(answer.body(), own.to_string().as_bytes());
}

#[test]
fn what_is_no_json_is_put_into_the_form() {
    for body in [
        "",
        "<html>Bad gateway</html>",
        r#"{"error":{"message":"cut"#,
        "[1e999]",
    ] {
        let error = Error::upstream(502, body);
        for format in &FORMATS {
            let answer = error.to_http_response(format);
            assert_eq!(answer.status(), 502);
            assert_eq!(json_of(&answer)["error"]["message"], error.message());
            let event = data_of(&error.to_sse_event(format));
            assert_eq!(event["error"]["message"], error.message());
        }
    }
}

#[test]
fn the_responses_apis_errors_keep_their_message() {
    for body in [
        json!({"type": "error", "code": "server_error", "message": "Oops", "param": null, "sequence_number": 3}),
        json!({"type": "error", "sequence_number": 3, "error": {"type": "server_error", "message": "Oops", "code": null, "param": null}}),
        json!({"type": "response.failed", "response": {"error": {"code": "server_error", "message": "Oops"}}}),
    ] {
        let error = Error::upstream(500, body.to_string());
        for format in &FORMATS {
            let event = data_of(&error.to_sse_event(format));
            assert_eq!(event["error"]["message"], "Oops", "{body}");
            assert_eq!(event["error"].get("sequence_number"), None);
        }
    }
}

/// What this crate's executor for the format reads.
fn read(format: &Format, reply: Reply, is_stream: bool) -> Error {
    let upstream = Upstream::start(move |_| reply.clone());
    let auth = Auth::api_key(format.as_str(), "key-1")
        .with_attribute("base_url", format!("{}/v1", upstream.url()));
    let executor: &dyn ProviderExecutor = match format.as_str() {
        "openai" => &OpenAi::new(),
        "anthropic" => &Anthropic::new(),
        _ => &Gemini::new(),
    };
    let (attempt, options) = (Attempt::for_tests(SystemClock), Options::new());
    let request = Request::new("m", r#"{"model":"m","messages":[],"contents":[]}"#);
    if is_stream {
        let stream = executor.execute_stream(&attempt, &auth, &request, &options);
        stream.unwrap().find_map(Result::err).unwrap()
    } else {
        let answer = executor.execute(&attempt, &auth, &request, &options);
        answer.unwrap_err()
    }
}

fn reply_of(answer: &http::Response<Bytes>) -> Reply {
    let reply = Reply::new(answer.status().as_u16()).body(answer.body().clone());
    answer.headers().iter().fold(reply, |reply, (name, value)| {
        reply.header(name.as_str(), value.to_str().unwrap())
    })
}

#[test]
fn this_crates_executors_read_the_same_status_and_wait() {
    for row in ROWS {
        for format in &FORMATS {
            for wait in [None, Some(Duration::from_millis(6_001))] {
                let error = own(row.0).with_http_status(row.1);
                let error = match wait {
                    Some(wait) => error.with_retry_after(wait),
                    None => error,
                };
                let answer = error.to_http_response(format);
                let found = read(format, reply_of(&answer), false);
                assert_eq!(found.http_status(), Some(row.1), "{row:?}");
                let seconds = found.retry_after().map(|wait| wait.as_secs_f64());
                assert_eq!(seconds, wait.map(|_| 7.0), "{row:?} in {format:?}");
                assert_eq!(found.is_retryable(), error.is_retryable(), "{row:?}");
            }
        }
    }
}

#[test]
fn this_crates_executors_read_the_error_of_a_stream() {
    for row in ROWS {
        for format in &FORMATS {
            let error = own(row.0)
                .with_http_status(row.1)
                .with_retry_after(Duration::from_secs(7));
            let reply = Reply::new(200)
                .header("content-type", "text/event-stream")
                .body(error.to_sse_event(format));
            let found = read(format, reply, true);
            assert_eq!(found.code(), &ErrorCode::Upstream, "{row:?}");
            // Google's errors have a number, the others a name, which may stand for another status of the same kind.
            let status = found.http_status().expect(row.0);
            if *format == Format::GEMINI {
                assert_eq!(status, row.1, "{row:?}");
            } else {
                assert_eq!(status / 100, row.1 / 100, "{row:?}");
            }
            if row.0 != "upstream" {
                let wait = found.retry_after().map(|wait| wait.as_secs());
                assert_eq!(wait, Some(7), "{row:?} in {format:?}");
            }
        }
    }
}
