//! What answers say of their limits: read from headers and bodies as vendors send them, and told to whom it may concern.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::Arc;
use std::time::Duration;

use credpool::provider::OpenAi;
use credpool::testing::{KeyBehaviour, OpenAiUpstream, Reply, Upstream};
use credpool::{
    Auth, Candidate, Candidates, Error, Exhausted, FailurePolicy, HintSource, Hook, LimitWindow,
    Manager, ManualClock, Options, Outcome, RateLimits, Request, Selector, Timestamp,
};
use http::{HeaderMap, HeaderValue};
use parking_lot::Mutex;
use serde_json::json;
use time::macros::utc_datetime;

const NOW: Timestamp = utc_datetime!(2025-06-01 12:00);

fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in all {
        headers.append(*name, HeaderValue::from_static(value));
    }
    headers
}

fn after(seconds: f64) -> Timestamp {
    NOW + Duration::from_secs_f64(seconds)
}

fn of_body(body: &serde_json::Value) -> RateLimits {
    RateLimits::from_error(429, &HeaderMap::new(), body.to_string().as_bytes(), NOW)
}

mod read {
    use super::*;

    /// <https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers>
    #[test]
    fn openai_headers() {
        let limits = RateLimits::from_headers(
            &headers(&[
                ("x-ratelimit-limit-requests", "60"),
                ("x-ratelimit-limit-tokens", "150000"),
                ("x-ratelimit-remaining-requests", "59"),
                ("x-ratelimit-remaining-tokens", "149984"),
                ("x-ratelimit-reset-requests", "1s"),
                ("x-ratelimit-reset-tokens", "6m0s"),
                ("x-request-id", "req_1"),
            ]),
            NOW,
        );
        let expected = RateLimits::new()
            .with_window(
                LimitWindow::new("requests")
                    .with_limit(60)
                    .with_remaining(59)
                    .with_resets_at(after(1.0)),
            )
            .with_window(
                LimitWindow::new("tokens")
                    .with_limit(150_000)
                    .with_remaining(149_984)
                    .with_resets_at(after(360.0)),
            );
        assert_eq!(limits, expected);
    }

    /// What the same page's API sends for large tiers
    /// (<https://community.openai.com/t/how-to-get-rate-limit-reset-time-for-response-api/1268905>), and what Azure sends
    /// where it does not count (<https://learn.microsoft.com/en-us/answers/questions/5625878>).
    #[test]
    fn openai_headers_in_milliseconds_and_unknown_ones() {
        let limits = RateLimits::from_headers(
            &headers(&[
                ("x-ratelimit-limit-tokens_usage_based", "160000"),
                ("x-ratelimit-remaining-tokens_usage_based", "159976"),
                ("x-ratelimit-reset-tokens_usage_based", "9ms"),
                ("x-ratelimit-limit-tokens", "-1"),
                ("x-ratelimit-remaining-tokens", "-1"),
                ("x-ratelimit-reset-tokens", "0"),
            ]),
            NOW,
        );
        let expected = RateLimits::new()
            .with_window(LimitWindow::new("tokens").with_resets_at(NOW))
            .with_window(
                LimitWindow::new("tokens_usage_based")
                    .with_limit(160_000)
                    .with_remaining(159_976)
                    .with_resets_at(after(0.009)),
            );
        assert_eq!(limits, expected);
    }

    /// <https://docs.anthropic.com/en/api/rate-limits#response-headers>
    #[test]
    fn anthropic_headers() {
        let limits = RateLimits::from_error(
            429,
            &headers(&[
                ("retry-after", "12"),
                ("anthropic-ratelimit-requests-limit", "1000"),
                ("anthropic-ratelimit-requests-remaining", "999"),
                ("anthropic-ratelimit-requests-reset", "2025-06-01T11:59:59Z"),
                ("anthropic-ratelimit-tokens-limit", "96000"),
                ("anthropic-ratelimit-tokens-remaining", "16000"),
                ("anthropic-ratelimit-tokens-reset", "2025-06-01T12:00:40Z"),
                ("anthropic-ratelimit-input-tokens-limit", "80000"),
                ("anthropic-ratelimit-input-tokens-remaining", "0"),
                (
                    "anthropic-ratelimit-input-tokens-reset",
                    "2025-06-01T12:00:40Z",
                ),
                ("anthropic-ratelimit-output-tokens-limit", "16000"),
                ("anthropic-ratelimit-output-tokens-remaining", "16000"),
                (
                    "anthropic-ratelimit-output-tokens-reset",
                    "2025-06-01T12:00:00Z",
                ),
            ]),
            br#"{"type":"error","error":{"type":"rate_limit_error","message":"Slow"},"request_id":"req_1"}"#,
            NOW,
        );
        let window = |name, limit, remaining, seconds: i64| {
            let window = LimitWindow::new(name)
                .with_limit(limit)
                .with_remaining(remaining);
            window.with_resets_at(NOW + time::Duration::seconds(seconds))
        };
        let expected = RateLimits::new()
            .with_window(window("input-tokens", 80_000, 0, 40))
            .with_window(window("output-tokens", 16_000, 16_000, 0))
            .with_window(window("requests", 1000, 999, -1))
            .with_window(window("tokens", 96_000, 16_000, 40))
            .with_retry_after(Duration::from_secs(12), HintSource::Header)
            .with_exhausted(Exhausted::Rate);
        assert_eq!(limits, expected);
    }

    /// What subscribers are sent. The vendor describes it nowhere: these are answers as they come.
    #[test]
    fn anthropic_unified_headers() {
        let headers = headers(&[
            ("anthropic-ratelimit-unified-status", "rejected"),
            ("anthropic-ratelimit-unified-reset", "1748782800"),
            ("anthropic-ratelimit-unified-5h-status", "rejected"),
            ("anthropic-ratelimit-unified-5h-utilization", "1.02"),
            ("anthropic-ratelimit-unified-5h-reset", "1748782800"),
            ("anthropic-ratelimit-unified-7d-status", "allowed_warning"),
            ("anthropic-ratelimit-unified-7d-utilization", "0.634"),
            ("anthropic-ratelimit-unified-7d-reset", "1749196800"),
            (
                "anthropic-ratelimit-unified-representative-claim",
                "five_hour",
            ),
            ("anthropic-ratelimit-unified-fallback-percentage", "0.5"),
            ("anthropic-ratelimit-unified-overage-status", "rejected"),
            (
                "anthropic-ratelimit-unified-overage-disabled-reason",
                "org_level_disabled",
            ),
            ("x-should-retry", "true"),
        ]);
        let body = br#"{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your account's rate limit."}}"#;
        let limits = RateLimits::from_error(429, &headers, body, NOW);
        let one = utc_datetime!(2025-06-01 13:00);
        let expected = RateLimits::new()
            .with_window(
                LimitWindow::new("unified")
                    .with_status("rejected")
                    .with_resets_at(one),
            )
            .with_window(
                LimitWindow::new("unified-5h")
                    .with_length(Duration::from_secs(5 * 3600))
                    .with_status("rejected")
                    .with_used_ratio(1.02)
                    .with_resets_at(one),
            )
            .with_window(
                LimitWindow::new("unified-7d")
                    .with_length(Duration::from_secs(7 * 86_400))
                    .with_status("allowed_warning")
                    .with_used_ratio(0.634)
                    .with_resets_at(utc_datetime!(2025-06-06 08:00)),
            )
            .with_window(LimitWindow::new("unified-overage").with_status("rejected"))
            .with_retry_after(Duration::from_secs(3600), HintSource::Window)
            .with_should_retry(true)
            .with_exhausted(Exhausted::Quota);
        assert_eq!(limits, expected);
    }

    /// The order is that of OpenAI's and Anthropic's own clients, and then from the precise to the vague.
    #[test]
    fn hints_have_an_order() {
        let body =
            br#"{"error":{"code":429,"message":"Please retry in 4s.","status":"RESOURCE_EXHAUSTED",
            "details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"5s"}]}}"#;
        let mut all = headers(&[
            ("retry-after-ms", "1500"),
            ("retry-after", "2"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "3s"),
        ]);
        let mut seen = Vec::new();
        for next in ["retry-after-ms", "retry-after", "x-ratelimit-reset-tokens"] {
            let limits = RateLimits::from_error(429, &all, body, NOW);
            seen.push((limits.retry_after.unwrap(), limits.retry_after_source));
            all.remove(next);
        }
        let limits = RateLimits::from_error(429, &all, body, NOW);
        seen.push((limits.retry_after.unwrap(), limits.retry_after_source));
        assert_eq!(
            seen,
            [
                (Duration::from_millis(1500), Some(HintSource::Header)),
                (Duration::from_secs(2), Some(HintSource::Header)),
                (Duration::from_secs(3), Some(HintSource::Window)),
                (Duration::from_secs(5), Some(HintSource::Body)),
            ]
        );
    }

    /// <https://ai.google.dev/gemini-api/docs/rate-limits>, with the details of
    /// <https://cloud.google.com/apis/design/errors#error_details>.
    #[test]
    fn google_quota_failure() {
        let violation = |id: &str, value: &str| {
            json!({
                "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
                "quotaId": id,
                "quotaDimensions": {"model": "gemini-2.5-flash", "location": "global"},
                "quotaValue": value,
            })
        };
        let minute = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier";
        let day = "GenerateRequestsPerDayPerProjectPerModel-FreeTier";
        let body = |violations: &[serde_json::Value]| {
            json!({"error": {
                "code": 429,
                "message": "You exceeded your current quota, please check your plan and billing details.\nPlease retry in 58.217843437s.",
                "status": "RESOURCE_EXHAUSTED",
                "details": [
                    {"@type": "type.googleapis.com/google.rpc.Help", "links": []},
                    {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations},
                    {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "58s"},
                ],
            }})
        };
        let exceeded = |name, limit| LimitWindow::new(name).with_limit(limit).with_remaining(0);
        let expected = RateLimits::new()
            .with_window(exceeded(minute, 5))
            .with_retry_after(Duration::from_secs(58), HintSource::Body)
            .with_exhausted(Exhausted::Rate);
        assert_eq!(of_body(&body(&[violation(minute, "5")])), expected);
        let both = body(&[violation(minute, "5"), violation(day, "250")]);
        let expected = expected
            .with_window(exceeded(day, 250))
            .with_exhausted(Exhausted::Quota);
        assert_eq!(of_body(&both), expected);
        assert_eq!(of_body(&json!([both])), expected, "as a stream's error");
    }

    /// [`ErrorInfo`](https://cloud.google.com/apis/design/errors#error_info), as Google's code assistance fills it.
    #[test]
    fn google_error_info() {
        let body = |reason: &str, metadata: serde_json::Value| {
            json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "m", "details": [{
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": reason, "domain": "googleapis.com", "metadata": metadata,
            }]}})
        };
        let daily = of_body(&body(
            "RATE_LIMIT_EXCEEDED",
            json!({"quota_limit": "Gemini25ProRequestsPerDay", "quota_limit_value": "100"}),
        ));
        assert_eq!(daily.exhausted, Some(Exhausted::Quota));
        assert_eq!(daily.windows[0].limit, Some(100));
        let reset = |metadata| of_body(&body("QUOTA_EXHAUSTED", metadata));
        let limits = reset(
            json!({"quotaResetDelay": "135h9m46s", "quotaResetTimeStamp": "2025-06-01T12:00:05Z"}),
        );
        assert_eq!(limits.retry_after, Some(Duration::from_secs(486_586)));
        assert_eq!(limits.exhausted, Some(Exhausted::Quota));
        let limits = reset(json!({"quotaResetTimeStamp": "2025-06-01T12:00:05Z"}));
        assert_eq!(limits.retry_after, Some(Duration::from_secs(5)));
        let busy = of_body(&body("MODEL_CAPACITY_EXHAUSTED", json!({})));
        assert_eq!(busy.exhausted, Some(Exhausted::Overloaded));
    }

    #[test]
    fn what_is_used_up() {
        for (body, exhausted, seconds) in [
            // https://platform.openai.com/docs/guides/error-codes
            (
                json!({"error": {"message": "You exceeded your current quota, please check your plan and billing details.",
                    "type": "insufficient_quota", "param": null, "code": "insufficient_quota"}}),
                Some(Exhausted::Quota),
                None,
            ),
            (
                json!({"error": {"message": "Rate limit reached for gpt-4o in organization org-1 on tokens per min (TPM): Limit 30000, Used 29000, Requested 2000. Please try again in 2s. Visit https://platform.openai.com/account/rate-limits to learn more.",
                    "type": "tokens", "param": null, "code": "rate_limit_exceeded"}}),
                Some(Exhausted::Rate),
                Some(2.0),
            ),
            (
                json!({"error": {"message": "Billing hard limit has been reached", "type": "invalid_request_error", "code": "billing_hard_limit_reached"}}),
                Some(Exhausted::Billing),
                None,
            ),
            // https://platform.openai.com/docs/guides/error-codes: 503 Slow Down
            (
                json!({"error": {"message": "Slow Down", "type": "server_error", "code": "slow_down"}}),
                Some(Exhausted::Overloaded),
                None,
            ),
            // https://console.groq.com/docs/rate-limits
            (
                json!({"error": {"message": "Rate limit reached for model `m` on tokens per day (TPD): Limit 200000. Please try again in 1m2.639999999s.",
                    "type": "tokens", "code": "rate_limit_exceeded"}}),
                Some(Exhausted::Rate),
                Some(62.639_999_999),
            ),
            // What subscribers to OpenAI are told, as its own open client reads it.
            (
                json!({"error": {"type": "usage_limit_reached", "message": "The usage limit has been reached", "plan_type": "plus", "resets_at": 1_748_782_800, "resets_in_seconds": 3599}}),
                Some(Exhausted::Quota),
                Some(3599.0),
            ),
            (
                json!({"error": {"type": "usage_limit_reached", "message": "…", "resets_at": 1_748_782_800}}),
                Some(Exhausted::Quota),
                Some(3600.0),
            ),
            // https://docs.anthropic.com/en/api/errors
            (
                json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
                Some(Exhausted::Overloaded),
                None,
            ),
            (
                json!({"type": "error", "error": {"type": "billing_error", "message": "m"}}),
                Some(Exhausted::Billing),
                None,
            ),
            (
                json!({"type": "error", "error": {"type": "invalid_request_error", "message": "Your credit balance is too low to access the Anthropic API."}}),
                Some(Exhausted::Billing),
                None,
            ),
            // https://ai.google.dev/gemini-api/docs/troubleshooting
            (
                json!({"error": {"code": 503, "message": "The model is overloaded. Please try again later.", "status": "UNAVAILABLE"}}),
                Some(Exhausted::Overloaded),
                None,
            ),
            // https://platform.openai.com/docs/api-reference/responses-streaming/response/failed
            (
                json!({"type": "response.failed", "response": {"status": "failed", "error": {"code": "rate_limit_exceeded", "message": "Please try again in 350ms."}}}),
                Some(Exhausted::Rate),
                Some(0.35),
            ),
            (
                json!({"error": {"message": "Incorrect API key provided", "type": "invalid_request_error", "code": "invalid_api_key"}}),
                None,
                None,
            ),
        ] {
            let limits = of_body(&body);
            assert_eq!(limits.exhausted, exhausted, "{body}");
            let wait = seconds.map(Duration::from_secs_f64);
            assert_eq!(limits.retry_after, wait, "{body}");
        }
    }

    #[test]
    fn an_answer_without_limits_says_nothing() {
        let plain = headers(&[("content-type", "application/json"), ("x-request-id", "1")]);
        assert!(RateLimits::from_headers(&plain, NOW).is_empty());
        for body in [&b""[..], b"<html>", b"{", b"\xff\xfe", b"{}"] {
            assert!(RateLimits::from_error(500, &plain, body, NOW).is_empty());
        }
    }
}

/// Remembers what it is told of each attempt.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Vec<Heard>>>);

#[derive(Clone, Debug)]
struct Heard {
    success: bool,
    remaining: Option<u64>,
    limits: Option<RateLimits>,
}

impl Listener {
    fn hear(&self, outcome: &Outcome<'_>) {
        let limits = outcome.rate_limits;
        let requests = limits.and_then(|limits| limits.window("requests"));
        self.0.lock().push(Heard {
            success: outcome.is_success(),
            remaining: requests.and_then(|window| window.remaining),
            limits: limits.cloned(),
        });
    }

    fn heard(&self) -> Vec<Heard> {
        self.0.lock().clone()
    }
}

impl Hook for Listener {
    fn on_result(&self, outcome: &Outcome<'_>) {
        self.hear(outcome);
    }
}

impl Selector for Listener {
    fn pick(&self, candidates: &Candidates<'_>, _: &Options) -> Result<Option<Candidate>, Error> {
        Ok(candidates.iter().next())
    }

    fn observe(&self, outcome: &Outcome<'_>) {
        self.hear(outcome);
    }
}

/// A manager with one credential, and what its hook and its selector hear.
fn pool(base_url: String) -> (Manager, Listener, Listener) {
    let (hook, selector) = (Listener::default(), Listener::default());
    let manager = Manager::builder()
        .clock(ManualClock::at(NOW))
        .hook(hook.clone())
        .selector(selector.clone())
        .policy(FailurePolicy::default().without_waiting())
        .build()
        .unwrap();
    manager.register_executor(OpenAi::new());
    let auth = Auth::api_key("openai", "sk-canary-0123456789")
        .with_id("a")
        .with_attribute("base_url", base_url);
    manager.register(auth).unwrap();
    (manager, hook, selector)
}

fn chat() -> Request {
    let payload = json!({"model": "m", "messages": [{"role": "user", "content": "Hello"}]});
    Request::new("m", payload.to_string())
}

mod told {
    use super::*;

    #[test]
    fn after_a_plain_call() {
        let upstream = OpenAiUpstream::start();
        upstream.set_key("sk-canary-0123456789", KeyBehaviour::Serve);
        let (manager, hook, selector) = pool(upstream.base_url());
        let response = manager
            .execute(["openai"], &chat(), &Options::new())
            .unwrap();
        let limits = response.rate_limits.unwrap();
        let requests = limits.window("requests").unwrap();
        assert_eq!(
            (requests.limit, requests.remaining),
            (Some(10_000), Some(9_999))
        );
        assert_eq!(requests.resets_at, Some(after(8.64)));
        for heard in [hook.heard(), selector.heard()] {
            assert_eq!(heard.len(), 1);
            assert!(heard[0].success);
            assert_eq!(heard[0].limits.as_ref(), Some(&*limits));
        }
    }

    #[test]
    fn with_the_first_chunk_and_after_the_stream() {
        let upstream = OpenAiUpstream::start();
        upstream.set_key("sk-canary-0123456789", KeyBehaviour::Serve);
        let (manager, hook, selector) = pool(upstream.base_url());
        let stream = manager
            .execute_stream(["openai"], &chat(), &Options::new())
            .unwrap();
        let chunks: Vec<_> = stream.map(Result::unwrap).collect();
        let carried: Vec<_> = chunks
            .iter()
            .map(|chunk| chunk.rate_limits.is_some())
            .collect();
        assert!(carried[0] && chunks.len() > 3);
        assert!(!carried[1..].contains(&true));
        for heard in [hook.heard(), selector.heard()] {
            assert_eq!(heard.len(), 1);
            assert_eq!((heard[0].success, heard[0].remaining), (true, Some(9_999)));
        }
    }

    #[test]
    fn after_a_failure() {
        let upstream = Upstream::start(|_| {
            let body = json!({"error": {"code": "rate_limit_exceeded", "type": "requests", "message": "m"}});
            Reply::json(429, body.to_string())
                .header("x-ratelimit-remaining-requests", "0")
                .header("x-ratelimit-reset-requests", "6m0s")
        });
        let (manager, hook, selector) = pool(upstream.url());
        let error = manager
            .execute(["openai"], &chat(), &Options::new())
            .unwrap_err();
        assert_eq!(error.retry_after(), Some(Duration::from_secs(360)));
        assert_eq!(
            error.rate_limits().unwrap().exhausted,
            Some(Exhausted::Rate)
        );
        for heard in [hook.heard(), selector.heard()] {
            assert_eq!(heard.len(), 1);
            assert_eq!((heard[0].success, heard[0].remaining), (false, Some(0)));
        }
    }

    #[test]
    fn after_a_stream_that_failed() {
        let content = json!({"choices": [{"index": 0, "delta": {"content": "a"}}]}).to_string();
        let limited =
            json!({"error": {"code": "rate_limit_exceeded", "message": "try again in 7s"}})
                .to_string();
        // In the middle the opening's limits and the error's are one; where the stream is cut, the opening's are left.
        for (events, wait) in [
            (vec![content.clone(), limited.clone()], Some(7)),
            (vec![content], None),
            (vec![limited], Some(7)),
            (vec![], None),
        ] {
            let upstream = Upstream::start(move |_| {
                Reply::sse(events.clone())
                    .header("x-ratelimit-remaining-requests", "3")
                    .header("x-ratelimit-reset-requests", "1s")
            });
            let (manager, hook, selector) = pool(upstream.url());
            let stream = manager.execute_stream(["openai"], &chat(), &Options::new());
            let error = match stream {
                Ok(stream) => stream.filter_map(Result::err).last().unwrap(),
                Err(error) => error,
            };
            let wait = wait.map(Duration::from_secs);
            assert_eq!(error.retry_after(), wait);
            for heard in [hook.heard(), selector.heard()] {
                assert_eq!(heard.len(), 1);
                assert_eq!((heard[0].success, heard[0].remaining), (false, Some(3)));
                assert_eq!(heard[0].limits.as_ref().unwrap().retry_after, wait);
            }
        }
    }

    #[test]
    fn by_the_program_itself() {
        let (manager, hook, _) = pool("http://localhost:1".into());
        let limits = RateLimits::new().with_retry_after(Duration::from_secs(5), HintSource::Body);
        let error = Error::upstream(429, "").with_rate_limits(limits.clone());
        manager.mark_result(&Outcome::failure("a", "openai", "m", error));
        let mut outcome = Outcome::success("a", "openai", "m");
        outcome.rate_limits = Some(&limits);
        manager.mark_result(&outcome);
        let heard = hook.heard();
        assert_eq!(heard.len(), 2);
        assert!(
            heard
                .iter()
                .all(|heard| heard.limits.as_ref() == Some(&limits))
        );
    }

    #[test]
    fn without_the_secrets_that_an_upstream_echoes() {
        let key = "sk-canary-0123456789";
        let violations = json!([{"quotaId": format!("PerDay-{key}"), "quotaValue": "1"}]);
        let body = json!({"error": {"code": 429, "details": [
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations},
        ]}});
        let escaped = body.to_string().replace("canary", "\\u0063anary");
        for (status, body) in [
            (429, body.to_string()),
            (429, escaped.clone()),
            (200, body.to_string()),
            (200, escaped),
        ] {
            let upstream = Upstream::start(move |_| {
                Reply::json(status, body.clone())
                    .header("anthropic-ratelimit-unified-status", key)
                    .header(&format!("x-ratelimit-limit-{key}"), "5")
            });
            let (manager, hook, _) = pool(upstream.url());
            let error = manager
                .execute(["openai"], &chat(), &Options::new())
                .unwrap_err();
            let limits = error.rate_limits().unwrap();
            assert_eq!(limits.windows.len(), 3, "{limits:?}");
            let shown = format!("{limits:?} {:?}", hook.heard());
            assert!(!shown.contains("canary"), "{shown}");
        }
    }
}
