//! Errors that a gateway or a framework has wrapped: they mean what they mean without it.

use credpool::testing::Reply;
use credpool::{Error, FailureKind, FailurePolicy, RateLimits, Scope};
use serde_json::{Value, json};

use crate::replay::{Api, Play, events};

const NOW: credpool::Timestamp = time::macros::utc_datetime!(2026-11-27 04:00);

/// An error in all the wrappings that were met, each with a server that sends it.
fn wrapped(error: &Value) -> Vec<(&'static str, String)> {
    let inner = json!({ "error": error });
    let text = inner.to_string();
    let printed = serde_json::to_string_pretty(&inner).unwrap();
    vec![
        ("OpenAI", text.clone()),
        ("Google's streams", json!([inner]).to_string()),
        (
            "the first of several",
            json!({ "errors": [error, {"code": "other"}] }).to_string(),
        ),
        (
            "Cloudflare's AI gateway",
            json!({"success": false, "result": [], "error": [error]}).to_string(),
        ),
        ("FastAPI", json!({ "detail": error }).to_string()),
        (
            "FastAPI around an answer",
            json!({ "detail": inner }).to_string(),
        ),
        (
            "FastAPI around a text",
            json!({ "detail": text }).to_string(),
        ),
        (
            "an error in an error",
            json!({ "error": inner }).to_string(),
        ),
        (
            "LiteLLM, new-api",
            json!({"error": {"message": text, "type": "upstream_error", "code": null}}).to_string(),
        ),
        (
            "the same, printed for people",
            json!({"error": {"message": printed, "type": "upstream_error"}}).to_string(),
        ),
        ("an error as text", json!({ "error": text }).to_string()),
        (
            "Azure",
            json!({"error": {"code": "429", "message": "m", "innererror": error}}).to_string(),
        ),
        ("a document that is a text", json!(text).to_string()),
        ("a byte order mark", format!("\u{feff}{text}")),
        ("words before it", format!("Error: {text}")),
        ("an event", format!("event: error\ndata: {text}\n\n")),
        (
            "events up to [DONE]",
            format!("data: {text}\n\ndata: [DONE]\n\n"),
        ),
        ("lines of JSON", format!("{text}\n{{\"id\":1}}\n")),
    ]
}

#[test]
fn an_error_means_the_same_however_it_is_wrapped() {
    let policy = FailurePolicy::default();
    for (error, fault, scope, wait) in [
        (
            json!({"code": "insufficient_quota", "message": "m"}),
            FailureKind::Billing,
            Scope::Credential,
            None,
        ),
        (
            json!({"code": "rate_limit_exceeded", "message": "Please try again in 17s."}),
            FailureKind::RateLimited,
            Scope::Model,
            Some(17),
        ),
        (
            json!({"type": "usage_limit_reached", "resets_in_seconds": 7000}),
            FailureKind::Quota,
            Scope::Credential,
            Some(7000),
        ),
        (
            json!({"status": "RESOURCE_EXHAUSTED", "message": "m", "details": [
                {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]},
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3600s"}]}),
            FailureKind::Quota,
            Scope::Model,
            Some(3600),
        ),
    ] {
        for (server, body) in wrapped(&error) {
            let limits = RateLimits::from_error(429, &http::HeaderMap::new(), body.as_bytes(), NOW);
            let told = limits.retry_after.map(|wait| wait.as_secs());
            let verdict =
                policy.classify(&Error::upstream(429, body.as_str()).with_rate_limits(limits));
            assert_eq!(
                (verdict.fault, verdict.scope, told),
                (fault, scope, wait),
                "{server}: {body}"
            );
        }
    }
}

#[test]
fn text_and_pages_say_what_they_say() {
    let policy = FailurePolicy::default();
    for (body, fault, wait) in [
        (
            "Rate limit exceeded, retry after 7 seconds",
            FailureKind::RateLimited,
            Some(7),
        ),
        (
            "\"Too many requests. Try again in 1m30s.\"",
            FailureKind::RateLimited,
            Some(90),
        ),
        // https://www.rfc-editor.org/rfc/rfc9457
        (
            r#"{"type":"about:blank","title":"Too Many Requests","status":429,"detail":"Slow down; try again in 9 seconds"}"#,
            FailureKind::RateLimited,
            Some(9),
        ),
        (
            "<html><title>429 Too Many Requests</title> Try again in 5 seconds </html>",
            FailureKind::RateLimited,
            None,
        ),
        (
            "<ErrorResponse><Error><Code>Throttling</Code><Message>Rate exceeded</Message></Error></ErrorResponse>",
            FailureKind::RateLimited,
            None,
        ),
        ("", FailureKind::RateLimited, None),
    ] {
        let limits = RateLimits::from_error(429, &http::HeaderMap::new(), body.as_bytes(), NOW);
        let told = limits.retry_after.map(|wait| wait.as_secs());
        let verdict = policy.classify(&Error::upstream(429, body).with_rate_limits(limits));
        assert_eq!((verdict.fault, told), (fault, wait), "{body}");
    }
}

/// A program's own tools and metadata come back in errors, too: what they are called decides nothing.
#[test]
fn what_an_error_quotes_of_a_request_is_no_error() {
    let policy = FailurePolicy::default();
    let quoted = json!({"code": "insufficient_quota", "type": "billing_error"});
    for body in [
        json!({"error": {"code": "invalid_request", "message": format!("no such tool: {quoted}")}}),
        json!({"error": {"code": "invalid_request", "message": "m", "param": quoted}}),
        json!({"error": {"code": "invalid_request", "message": "m"}, "metadata": quoted}),
        json!({"error": {"code": "invalid_request", "message": "m"}, "request": {"error": quoted}}),
    ] {
        let verdict = policy.classify(&Error::upstream(400, body.to_string()));
        assert_eq!(verdict.fault, FailureKind::BadRequest, "{body}");
    }
}

/// An upstream of a gateway that has no money left says nothing of the gateway's key.
#[test]
fn the_account_of_a_gateway_is_not_the_programs() {
    let raw = r#"{"error":{"code":"insufficient_quota","message":"m"}}"#;
    let body = json!({"error": {"code": 429, "message": "Provider returned error", "metadata": {"raw": raw, "provider_name": "OpenAI"}}});
    let verdict = FailurePolicy::default().classify(&Error::upstream(429, body.to_string()));
    assert_eq!(verdict.fault, FailureKind::RateLimited);
}

#[test]
fn wrapped_errors_are_found_in_answers_that_claim_success() {
    let error = json!({"code": "insufficient_quota", "message": "m"});
    for body in [
        json!({ "errors": [error] }),
        json!({"error": json!({ "error": error }).to_string()}),
        json!({ "error": [error] }),
    ] {
        let played = Play::new(Api::Chat).plain(Reply::json(200, body.to_string()));
        assert_eq!((played.first, played.second), (1, 1), "{body}");
        assert_eq!(played.standing.fault, Some(FailureKind::Billing), "{body}");
        let stream = events(format!("data: {body}\n\n"));
        let played = Play::new(Api::Chat).stream(stream);
        assert_eq!((played.first, played.second), (1, 1), "{body}");
        assert_eq!(played.standing.fault, Some(FailureKind::Billing), "{body}");
    }
}

/// Some servers put an error into every chunk, which is none where it says nothing.
#[test]
fn an_error_that_says_nothing_is_none() {
    for nothing in [
        json!({"error": null}),
        json!({"error": false}),
        json!({"error": 0}),
        json!({"error": ""}),
        json!({"error": {}}),
        json!({"error": []}),
        json!({"error": {"code": 0, "message": "success"}}),
        json!({"error": {"code": null, "message": null, "type": ""}}),
        json!({"errors": []}),
        json!({"error_code": 0, "error_msg": ""}),
        json!({"error_code": "0"}),
        json!({"base_resp": {"status_code": 0, "status_msg": "success"}}),
        json!({"success": true, "errors": []}),
        json!({"code": 0, "message": "Success"}),
    ] {
        let mut chunk =
            json!({"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]});
        let mut reply = json!({"choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}]});
        for (name, value) in nothing.as_object().unwrap() {
            chunk[name] = value.clone();
            reply[name] = value.clone();
        }
        let played = Play::new(Api::Chat).stream(events(format!("data: {chunk}\n\n")));
        assert_eq!(
            (played.first, played.second, played.text.as_str()),
            (1, 0, "Hi"),
            "{chunk}"
        );
        let played = Play::new(Api::Chat).plain(Reply::json(200, reply.to_string()));
        assert_eq!(
            (played.first, played.second, played.text.as_str()),
            (1, 0, "Hi"),
            "{reply}"
        );
    }
}
