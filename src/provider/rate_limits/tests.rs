use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use serde_json::json;
use time::macros::utc_datetime;

use super::*;
use crate::limits::LimitWindow;

const NOW: Timestamp = utc_datetime!(1994-11-06 08:49:00);

fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in all {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn wait(name: &'static str, value: &str) -> Option<Duration> {
    retry_after(&headers(&[(name, value)]), NOW)
}

fn wait_of(body: &Value) -> Option<Duration> {
    of_error(RateLimits::new(), Some(429), body, NOW).retry_after
}

fn window(all: &[(&'static str, &str)], name: &str) -> Option<LimitWindow> {
    let limits = RateLimits::from_headers(&headers(all), NOW);
    limits.window(name).cloned()
}

#[test]
fn seconds_decimals_and_dates() {
    for (value, seconds) in [
        ("0", 0.0),
        ("7", 7.0),
        (" 1.5 ", 1.5),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 37.0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 37.0),
        ("Sun Nov  6 08:49:37 1994", 37.0),
        ("Sun, 06 Nov 1994 08:48:00 GMT", 0.0),
        // The same hour on another clock, and as servers write it that look up no standard.
        ("Sun, 06 Nov 1994 09:49:37 +0100", 37.0),
        ("sun, 6 nov 1994 8:49:37 utc", 37.0),
        ("1994-11-06T08:49:37Z", 37.0),
        ("PT1M30S", 90.0),
        ("1m30s", 90.0),
        ("30 seconds", 30.0),
        ("\"12\"", 12.0),
        // The longest.
        ("3024000", 3_024_000.0),
        ("Sun, 11 Dec 1994 08:49:00 GMT", 3_024_000.0),
    ] {
        let expected = Some(Duration::from_secs_f64(seconds));
        assert_eq!(wait("retry-after", value), expected, "{value}");
    }
}

#[test]
fn what_is_no_wait_is_ignored() {
    for value in [
        "",
        "-1",
        "+1",
        "NaN",
        "inf",
        "1e30",
        "soon",
        ".",
        "1.2.3",
        "3024001",
        "18446744073709551615",
        "99999999999999999999",
        "999999999999999999999999",
        "Sun, 11 Dec 1994 08:49:01 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Sun, 06 Nov 99999 08:49:37 GMT",
        &"7".repeat(10_000),
        &" ".repeat(10_000),
    ] {
        assert_eq!(wait("retry-after", value), None, "{value}");
        assert_eq!(
            wait("retry-after-ms", value),
            match value {
                "3024001" => Some(Duration::from_millis(3_024_001)),
                _ => None,
            }
        );
    }
    let mut odd = HeaderMap::new();
    odd.insert("retry-after", HeaderValue::from_bytes(b"7\xfc").unwrap());
    assert_eq!(retry_after(&odd, NOW), None);
}

#[test]
fn milliseconds_go_first_when_they_read() {
    let both = headers(&[("retry-after", "9"), ("retry-after-ms", "250")]);
    assert_eq!(retry_after(&both, NOW), Some(Duration::from_millis(250)));
    let odd = headers(&[("retry-after", "9"), ("retry-after-ms", "x")]);
    assert_eq!(retry_after(&odd, NOW), Some(Duration::from_secs(9)));
    let azures = headers(&[("retry-after", "9"), ("x-ms-retry-after-ms", "250")]);
    assert_eq!(retry_after(&azures, NOW), Some(Duration::from_millis(250)));
    let unix = headers(&[("retry-after", "1748779260")]);
    let wait = retry_after(&unix, utc_datetime!(2025-06-01 12:00));
    assert_eq!(wait, Some(Duration::from_secs(60)));
}

#[test]
fn of_two_the_first_that_reads_counts() {
    let twice = headers(&[
        ("retry-after", "soon"),
        ("retry-after", "5"),
        ("retry-after", "9"),
        ("x-should-retry", "maybe"),
        ("x-should-retry", "false"),
        ("x-ratelimit-limit-requests", "-1"),
        ("x-ratelimit-limit-requests", "10"),
        ("x-ratelimit-limit-requests", "20"),
    ]);
    let limits = RateLimits::from_headers(&twice, NOW);
    assert_eq!(limits.retry_after, Some(Duration::from_secs(5)));
    assert_eq!(limits.should_retry, Some(false));
    assert_eq!(limits.window("requests").unwrap().limit, Some(10));
}

#[test]
fn durations_have_units() {
    let wait = |text| durations::duration(text);
    for (text, seconds) in [
        ("6m0s", 360.0),
        ("12ms", 0.012),
        ("1s", 1.0),
        ("0s", 0.0),
        ("1h2m3.5s", 3723.5),
        ("2d", 172_800.0),
        ("20 seconds", 20.0),
        ("5 minutes 1 second", 301.0),
        ("135h9m46s", 486_586.0),
        ("100us", 0.0001),
    ] {
        assert_eq!(wait(text), Some(Duration::from_secs_f64(seconds)), "{text}");
    }
    for text in [
        "",
        "s",
        "1",
        "1x",
        "-1s",
        "1s2",
        "1ss",
        "1.2.3s",
        "36d",
        "1e3s",
        "1 fortnight",
        "s1",
        "99999999999999999999h",
        "35d1s",
        "١s",
        "1日",
    ] {
        assert_eq!(wait(text), None, "{text}");
    }
}

#[test]
fn resets_in_every_form() {
    let reset = |text| times::reset(text, NOW);
    let later = |seconds| Some(crate::clock::later(NOW, Duration::from_secs(seconds)));
    for text in [
        "1m",
        "60",
        "60.0",
        "1994-11-06T08:50:00Z",
        "1994-11-06T09:50:00.000+01:00",
    ] {
        assert_eq!(reset(text), later(60), "{text}");
    }
    let now = utc_datetime!(2025-06-01 12:00);
    for text in ["1748779260", "1748779260.0", "1748779260000"] {
        let at = times::reset(text, now);
        assert_eq!(at, Some(utc_datetime!(2025-06-01 12:01)), "{text}");
    }
    // A moment that has just passed is one, too.
    let passed = times::reset("2025-06-01T11:59:59Z", now);
    assert_eq!(passed, Some(utc_datetime!(2025-06-01 11:59:59)));
    for text in [
        "",
        "-1",
        "never",
        "1e9",
        "NaN",
        "1994-11-06",
        "1994-11-06T25:00:00Z",
        "9999-12-31T23:59:59Z",
        "0001-01-01T00:00:00Z",
        "1748779260",
        "18446744073709551615",
        "9999999999",
    ] {
        assert_eq!(reset(text), None, "{text}");
    }
}

#[test]
fn numbers_that_cannot_be_true_leave_no_window() {
    for odd in [
        "-1",
        "NaN",
        "1e30",
        "",
        "lots",
        "18446744073709551615",
        "1000000000000001",
        &"9".repeat(10_000),
    ] {
        let all = [
            ("x-ratelimit-limit-tokens", odd),
            ("x-ratelimit-remaining-tokens", odd),
            ("x-ratelimit-reset-tokens", odd),
            ("anthropic-ratelimit-unified-5h-utilization", odd),
            ("anthropic-ratelimit-unified-5h-reset", odd),
        ];
        let limits = RateLimits::from_headers(&headers(&all), NOW);
        assert!(limits.is_empty(), "{odd}: {limits:?}");
    }
    let most = [("x-ratelimit-limit-tokens", "1000000000000000")];
    assert_eq!(
        window(&most, "tokens").unwrap().limit,
        Some(1_000_000_000_000_000)
    );
    let part = [("x-ratelimit-remaining-tokens", "149984.9")];
    assert_eq!(window(&part, "tokens").unwrap().remaining, Some(149_984));
    let over = [("anthropic-ratelimit-unified-5h-utilization", "100.5")];
    assert_eq!(window(&over, "unified-5h"), None);
}

#[test]
fn windows_are_bounded_in_number_and_name() {
    let mut many = HeaderMap::new();
    for number in 0..100 {
        let name = format!("x-ratelimit-limit-w{number:03}");
        many.insert(
            HeaderName::try_from(name).unwrap(),
            HeaderValue::from_static("1"),
        );
    }
    let long = format!("x-ratelimit-limit-{}", "w".repeat(65));
    many.insert(
        HeaderName::try_from(long).unwrap(),
        HeaderValue::from_static("1"),
    );
    let limits = RateLimits::from_headers(&many, NOW);
    assert_eq!(limits.windows.len(), 32);
    let status = [("anthropic-ratelimit-unified-status", "not a status")];
    assert_eq!(window(&status, "unified"), None);
}

#[test]
fn only_what_rejects_is_waited_for() {
    let now = utc_datetime!(2025-06-01 12:00);
    let wait = |whole, five, overage| {
        let all = headers(&[
            ("anthropic-ratelimit-unified-status", whole),
            ("anthropic-ratelimit-unified-5h-status", five),
            ("anthropic-ratelimit-unified-5h-reset", "1748782800"),
            ("anthropic-ratelimit-unified-7d-status", "allowed"),
            ("anthropic-ratelimit-unified-7d-reset", "1748869200"),
            ("anthropic-ratelimit-unified-overage-status", overage),
            ("anthropic-ratelimit-unified-overage-reset", "1748869200"),
        ]);
        let limits = RateLimits::from_error(429, &all, b"", now);
        (limits.retry_after, limits.exhausted)
    };
    let an_hour = Some(Duration::from_secs(3600));
    let quota = (an_hour, Some(Exhausted::Quota));
    assert_eq!(wait("rejected", "rejected", "rejected"), quota);
    assert_eq!(wait("", "rejected", "allowed"), quota);
    assert_eq!(wait("allowed", "rejected", "allowed"), (None, None));
    assert_eq!(wait("allowed", "allowed", "rejected"), (None, None));
}

#[test]
fn a_window_that_is_used_up_asks_to_wait_only_after_a_429() {
    let all = headers(&[
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", "20s"),
        ("x-ratelimit-remaining-tokens", "0"),
        ("x-ratelimit-reset-tokens", "12ms"),
        ("x-ratelimit-remaining-images", "1"),
        ("x-ratelimit-reset-images", "1h"),
    ]);
    let of = |status| RateLimits::from_error(status, &all, b"", NOW);
    assert_eq!(of(429).retry_after, Some(Duration::from_secs(20)));
    assert_eq!(of(429).retry_after_source, Some(HintSource::Window));
    for status in [400, 401, 500, 503] {
        assert_eq!(of(status).retry_after, None, "{status}");
    }
    assert_eq!(RateLimits::from_headers(&all, NOW).retry_after, None);
}

#[test]
fn words_name_a_wait() {
    let wait = |message: &str| wait_of(&json!({"error": {"message": message}}));
    for (message, seconds) in [
        ("Please try again in 20s. Visit…", 20.0),
        ("Limit 100. Please try again in 1m2.5s.", 62.5),
        ("try again in 350ms", 0.35),
        ("Please retry in 36.2s.", 36.2),
        ("Please retry after 2 seconds.", 2.0),
        ("Your quota will reset after 135h10m5s.", 486_605.0),
        ("Resets in 1h54m13s", 6853.0),
        ("Try again in a moment. TRY AGAIN IN 5S", 5.0),
    ] {
        assert_eq!(
            wait(message),
            Some(Duration::from_secs_f64(seconds)),
            "{message}"
        );
    }
    for message in [
        "try again in ",
        "try again in a while",
        "try again in -5s",
        "try again in 99999999999d",
        "retry in 5 apples",
        &format!("{}try again in 5s", "é".repeat(4096)),
    ] {
        assert_eq!(wait(message), None, "{message}");
    }
}

#[test]
fn bodies_of_any_shape_say_nothing_false() {
    for body in [
        json!(null),
        json!([]),
        json!([[[]]]),
        json!({"error": 5}),
        json!({"error": {"resets_in_seconds": -5}}),
        json!({"error": {"resets_in_seconds": 1e300}}),
        json!({"error": {"resets_at": u64::MAX}}),
        json!({"error": {"resets_at": -1}}),
        json!({"error": {"details": {"@type": "RetryInfo"}}}),
        json!({"error": {"details": [1, null, {"@type": 5}]}}),
        json!({"error": {"details": [{"@type": "google.rpc.RetryInfo", "retryDelay": "-5s"}]}}),
        json!({"error": {"details": [{"@type": "google.rpc.RetryInfo", "retryDelay": {"seconds": -5}}]}}),
        json!({"error": {"details": [{"@type": "google.rpc.QuotaFailure", "violations": [{}, 5]}]}}),
    ] {
        let limits = of_error(RateLimits::new(), Some(429), &body, NOW);
        assert!(limits.is_empty(), "{body}: {limits:?}");
    }
}

fn any_value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9]{1,25}",
        "-?[0-9]{1,20}(\\.[0-9]{0,20})?(e[0-9]{1,3})?",
        "([0-9.]{1,20}(ms|s|m|h|d)){1,9}",
        "[0-9]{4,6}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|\\+[0-9]{2}:[0-9]{2})",
        "(Sun|Mon), [0-9]{2} (Nov|Feb) [0-9]{4,5} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT",
        "(NaN|inf|rejected|allowed|true|false)",
        "[ -~]{0,60}",
        "\\PC{0,60}",
    ]
}

fn any_name() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("retry-after".to_owned()),
        Just("retry-after-ms".to_owned()),
        Just("x-should-retry".to_owned()),
        "x-ratelimit-(limit|remaining|reset)(-(requests|tokens|[a-z]{1,3}))?",
        "anthropic-ratelimit-(tokens|unified|unified-5h|[a-z]{0,3})-(limit|remaining|reset|status|utilization)",
    ]
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any_value().prop_map(Value::from),
        any_value().prop_map(|wait| Value::from(format!("try again in {wait}"))),
        "type.googleapis.com/google.rpc.(RetryInfo|QuotaFailure|ErrorInfo)".prop_map(Value::from),
    ];
    let name = prop::sample::select(vec![
        "error",
        "response",
        "message",
        "details",
        "@type",
        "retryDelay",
        "violations",
        "quotaId",
        "quotaValue",
        "metadata",
        "quotaResetDelay",
        "quotaResetTimeStamp",
        "quota_limit",
        "reason",
        "quota_limit_value",
        "resets_at",
        "resets_in_seconds",
        "code",
        "type",
        "status",
        "seconds",
    ]);
    leaf.prop_recursive(5, 60, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name.clone(), inner, 0..6).prop_map(|members| {
                let members = members.into_iter();
                members
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect::<serde_json::Map<_, _>>()
                    .into()
            }),
        ]
    })
}

proptest! {
    #[test]
    fn no_header_panics(
        all in prop::collection::vec((any_name(), any_value()), 0..12),
        raw in prop::collection::vec(32_u8..=255, 0..40),
        seconds in any::<i64>(),
    ) {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                headers.append(name, value);
            }
        }
        if let Ok(raw) = HeaderValue::from_bytes(&raw) {
            headers.append("retry-after", raw.clone());
            headers.append("x-ratelimit-reset-tokens", raw);
        }
        let now = Timestamp::from_unix_timestamp(seconds % 250_000_000_000).unwrap_or(NOW);
        let limits = RateLimits::from_error(429, &headers, b"", now);
        let longest = Duration::from_secs(35 * 86_400);
        prop_assert!(limits.retry_after.is_none_or(|wait| wait <= longest));
        for window in &limits.windows {
            prop_assert!(window.used_ratio().is_none_or(|used| (0.0..=100.0).contains(&used)));
            prop_assert!(window.resets_at.is_none_or(|at| until(now, at) <= longest && until(at, now) <= longest));
        }
    }

    #[test]
    fn no_body_panics(body in any_json(), raw in prop::collection::vec(any::<u8>(), 0..60)) {
        let limits = of_error(RateLimits::new(), Some(429), &body, NOW);
        prop_assert!(limits.retry_after.is_none_or(|wait| wait <= Duration::from_secs(35 * 86_400)));
        let bytes = body.to_string();
        prop_assert_eq!(RateLimits::from_error(429, &HeaderMap::new(), bytes.as_bytes(), NOW).retry_after_source, limits.retry_after_source);
        let _ = RateLimits::from_error(429, &HeaderMap::new(), &raw, NOW);
    }
}

/// What a 429 with these headers says: the wait, and the windows that are used up.
fn refused(all: &[(&'static str, &str)]) -> (Option<f64>, Vec<String>) {
    let limits = RateLimits::from_headers(&headers(all), NOW);
    let limits = of_error(limits, Some(429), &Value::Null, NOW);
    let used_up = limits.windows.iter().filter(|window| window.is_used_up());
    (
        limits.retry_after.map(|wait| wait.as_secs_f64()),
        used_up.map(|window| window.name.clone()).collect(),
    )
}

#[test]
fn the_fields_of_the_ietf_in_all_their_drafts() {
    let default = vec!["default".to_owned()];
    for (all, wait, used_up) in [
        // draft-ietf-httpapi-ratelimit-headers-11 and -08
        (
            vec![
                ("ratelimit", "\"default\";r=0;t=42"),
                ("ratelimit-policy", "\"default\";q=100;w=60"),
            ],
            Some(42.0),
            default.clone(),
        ),
        (vec![("ratelimit", "\"default\";r=3;t=42")], None, vec![]),
        (
            vec![(
                "ratelimit",
                "\"burst\";r=0;t=5, \"daily\";r=0;t=3600;pk=:cHsdsRa894==:",
            )],
            Some(3600.0),
            vec!["burst".to_owned(), "daily".to_owned()],
        ),
        (
            vec![("ratelimit", "\"burst\";r=0;t=5,\"daily\";r=9;t=3600")],
            Some(5.0),
            vec!["burst".to_owned()],
        ),
        // A token as a name, and one with separators (Hugging Face).
        (
            vec![("ratelimit", "default;r=0;t=7")],
            Some(7.0),
            default.clone(),
        ),
        (
            vec![("ratelimit", "\"api|pages, more\";r=0;t=298")],
            Some(298.0),
            vec!["api|pages, more".to_owned()],
        ),
        // A policy alone says how long: a minute is waited for, an hour is not.
        (
            vec![
                ("ratelimit", "\"default\";r=0"),
                ("ratelimit-policy", "\"default\";q=10;w=30"),
            ],
            Some(30.0),
            default.clone(),
        ),
        (
            vec![
                ("ratelimit", "\"default\";r=0"),
                ("ratelimit-policy", "\"default\";q=10;w=3600"),
            ],
            None,
            default.clone(),
        ),
        // draft 07
        (
            vec![
                ("ratelimit", "limit=100, remaining=0, reset=42"),
                ("ratelimit-policy", "100;w=60"),
            ],
            Some(42.0),
            default.clone(),
        ),
        (
            vec![("ratelimit", "limit=100, remaining=1, reset=42")],
            None,
            vec![],
        ),
        // drafts 00 to 06
        (
            vec![
                ("ratelimit-limit", "100, 100;w=60"),
                ("ratelimit-remaining", "0"),
                ("ratelimit-reset", "42"),
            ],
            Some(42.0),
            default.clone(),
        ),
        // Retry-After wins.
        (
            vec![("retry-after", "3"), ("ratelimit", "\"default\";r=0;t=42")],
            Some(3.0),
            default,
        ),
        (
            vec![("ratelimit", "\"default\";r=-1;t=x, ;;=, \"")],
            None,
            vec![],
        ),
        (
            vec![("ratelimit-policy", "\"default\";q=100;w=60")],
            None,
            vec![],
        ),
    ] {
        assert_eq!(refused(&all), (wait, used_up), "{all:?}");
    }
    let both = [
        ("ratelimit", "\"default\";r=7;t=42"),
        ("ratelimit-policy", "\"default\";q=100;w=60"),
    ];
    let window = window(&both, "default").unwrap();
    assert_eq!((window.limit, window.remaining), (Some(100), Some(7)));
    assert_eq!(window.length, Some(Duration::from_secs(60)));
}

#[test]
fn a_window_is_as_long_as_its_name_says() {
    for (name, seconds) in [
        ("req-minute", Some(60)),
        ("tokens-month", Some(30 * 86_400)),
        ("requests-day", Some(86_400)),
        ("tokens-hour", Some(3600)),
        ("unified-5h", Some(5 * 3600)),
        ("unified-7d", Some(7 * 86_400)),
        ("requests", None),
        ("input-tokens", None),
        ("4k", None),
        ("", None),
    ] {
        assert_eq!(
            times::length_in(name),
            seconds.map(Duration::from_secs),
            "{name}"
        );
    }
    // Mistral, as its servers answer; it has no reset.
    for (header, wait) in [
        ("x-ratelimit-remaining-req-minute", Some(60.0)),
        ("x-ratelimit-remaining-tokens-minute", Some(60.0)),
        ("x-ratelimit-remaining-tokens-month", None),
        ("x-ratelimitbysize-remaining-minute", Some(60.0)),
        ("x-ratelimitbysize-remaining-month", None),
        ("x-ratelimit-remaining-requests", None),
        ("x-trial-endpoint-call-remaining", Some(60.0)),
        ("x-tokenlimit-remaining", None),
    ] {
        let (found, used_up) = refused(&[(header, "0")]);
        assert_eq!((found, used_up.len()), (wait, 1), "{header}");
        assert_eq!(refused(&[(header, "1")]), (None, vec![]), "{header}");
    }
    let sized = [
        ("ratelimitbysize-remaining", "0"),
        ("ratelimitbysize-reset", "28"),
    ];
    assert_eq!(refused(&sized), (Some(28.0), vec!["size".to_owned()]));
}

/// openai/codex, codex-rs/codex-api/src/rate_limits.rs; Wei-Shaw/sub2api#2258.
#[test]
fn windows_of_subscriptions_to_openai() {
    let headers = |primary: &'static str, secondary: &'static str| {
        vec![
            ("x-codex-primary-used-percent", primary),
            ("x-codex-primary-window-minutes", "10080"),
            ("x-codex-primary-reset-after-seconds", "400000"),
            ("x-codex-secondary-used-percent", secondary),
            ("x-codex-secondary-window-minutes", "300"),
            ("x-codex-secondary-reset-after-seconds", "15000"),
            ("x-codex-primary-over-secondary-limit-percent", "100"),
            ("x-codex-credits-has-credits", "False"),
        ]
    };
    let name = |name: &str| format!("codex-{name}");
    for (primary, secondary, wait, used_up) in [
        ("30", "100", Some(15_000.0), vec![name("secondary")]),
        ("100", "12", Some(400_000.0), vec![name("primary")]),
        (
            "100.5",
            "100",
            Some(400_000.0),
            vec![name("primary"), name("secondary")],
        ),
        ("30", "12", None, vec![]),
        ("99.9", "99.9", None, vec![]),
        ("x", "-1", None, vec![]),
    ] {
        assert_eq!(
            refused(&headers(primary, secondary)),
            (wait, used_up),
            "{primary} {secondary}"
        );
    }
    let window = window(&headers("30", "12"), "codex-secondary").unwrap();
    assert_eq!(window.used_ratio(), Some(0.12));
    assert_eq!(window.length, Some(Duration::from_secs(5 * 3600)));
    // One that is not there has no length and no reset; one of a single model has a name of its own.
    let none = [
        ("x-codex-secondary-used-percent", "0"),
        ("x-codex-secondary-window-minutes", "0"),
        ("x-codex-secondary-reset-after-seconds", "0"),
        ("x-codex-bengalfox-primary-used-percent", "100"),
        ("x-codex-bengalfox-primary-reset-at", "784116940"),
    ];
    assert_eq!(refused(&none).1, [name("bengalfox-primary")]);
}

#[test]
fn moments_in_words() {
    let wait = |message: &str| wait_of(&json!({"error": {"message": message}}));
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    // It is 08:49 UTC, 16:49 in Beijing.
    for (message, expected) in [
        (
            "Your limit will reset at 1994-11-06 18:49:00",
            seconds(7200),
        ),
        ("Your limit will reset at 1994-11-06 18:49", seconds(7200)),
        (
            "Weekly/Monthly Limit Exhausted. Your limit will reset at 1994-11-08 16:49:00.",
            seconds(172_800),
        ),
        (
            "\u{60a8}\u{7684}\u{9650}\u{989d}\u{5c06}\u{5728} 1994-11-06 18:49:00 \u{91cd}\u{7f6e}\u{3002}",
            seconds(7200),
        ),
        // In Beijing that has passed; in UTC it is ahead.
        ("will reset at 1994-11-06 09:49:00", seconds(3600)),
        ("will reset at 1994-11-06T10:49:00Z", seconds(7200)),
        ("resets at 1994-11-06 10:49:00 UTC", seconds(7200)),
        ("resets at 1994-11-06 10:49:00.123 GMT", seconds(7200)),
        ("try again at 1994-11-06T10:49:00+01:00", seconds(3600)),
        ("will reset at 1994-11-06 17:49:00 +0800 CST", seconds(3600)),
        ("will reset at 1994-11-06 17:49:00 (UTC+8)", seconds(3600)),
        (
            "please retry after 1994-11-06 03:49:00 -0600",
            seconds(3600),
        ),
        // What a zone puts into the past is no wait; without a zone it says nothing.
        ("resets at 1994-11-06 07:49:00 UTC", Some(Duration::ZERO)),
        ("resets at 1994-11-06 07:49:00", None),
        ("resets at 1995-11-06 07:49:00", None),
        ("resets at 1994-13-41 07:49:00", None),
        ("resets at 1994-11-06", None),
        ("resets at 1994-11-06 25:61:00", None),
        // Without its year: the nearest.
        ("will reset at 11-06 10:49:00 UTC.", seconds(7200)),
        ("will reset at 11-08 08:49 UTC", seconds(172_800)),
        ("will reset at 11-06 18:49:00", seconds(7200)),
        ("will reset at 11-06 07:49:00 UTC", Some(Duration::ZERO)),
        ("will reset at 03-06 07:49:00 UTC", None),
        ("will reset at 02-30 07:49:00 UTC", None),
        ("will reset at 11-06", None),
        ("will reset at 1994/11/06 18:49:00", seconds(7200)),
        ("retry after Sun, 06 Nov 1994 10:49:00 GMT", seconds(7200)),
        ("resets 1994-11-06T10:49:00Z", seconds(7200)),
        ("Reset time: 1994-11-06 18:49:00", seconds(7200)),
        (
            "\u{9650}\u{989d}\u{5c06}\u{4e8e} 1994-11-06 18:49:00 \u{91cd}\u{7f6e}",
            seconds(7200),
        ),
        (
            "\u{8bf7}\u{5728} 1994-11-06 18:49:00 \u{540e}\u{91cd}\u{8bd5}",
            seconds(7200),
        ),
        // The beginning of a day.
        ("resets on 1994-11-07.", seconds(7 * 3600 + 11 * 60)),
        ("resets on 1994-11-07 UTC", seconds(15 * 3600 + 11 * 60)),
        ("will reset at 5", None),
        ("will reset at 123456789012345678901234567890", None),
        ("resets at noon", None),
        ("resets at ", None),
        ("the job of 1994-11-06 18:49:00 failed", None),
    ] {
        assert_eq!(wait(message), expected, "{message}");
    }
}

#[test]
fn moments_in_words_may_be_unix_seconds_or_milliseconds() {
    let now = utc_datetime!(2026-11-27 04:00);
    for (moment, expected) in [
        ("1795759200", Some(Duration::from_secs(7200))),
        ("1795759200.", Some(Duration::from_secs(7200))),
        ("1795759200000", Some(Duration::from_secs(7200))),
        // Far away, and none.
        ("9795759200", None),
        ("17957592", None),
    ] {
        let body = json!({"error": {"message": format!("Your limit will reset at {moment}")}});
        let limits = of_error(RateLimits::new(), Some(429), &body, now);
        assert_eq!(limits.retry_after, expected, "{moment}");
    }
}

#[test]
fn a_year_that_is_left_out_may_be_the_next() {
    let new_year = utc_datetime!(2026-12-30 22:00);
    let body = br#"{"error":{"message":"The quota will reset at 01-02 22:00:00 UTC."}}"#;
    let limits = RateLimits::from_error(429, &HeaderMap::new(), body, new_year);
    assert_eq!(limits.retry_after, Some(Duration::from_secs(3 * 86_400)));
    // The first and the last year that there are.
    for (now, expected) in [
        (Timestamp::MIN, Some(Duration::from_secs(46 * 3600))),
        (Timestamp::MAX, None),
    ] {
        let limits = RateLimits::from_error(429, &HeaderMap::new(), body, now);
        assert_eq!(limits.retry_after, expected);
    }
}

#[test]
fn words_for_a_wait() {
    let wait = |message: &str| wait_of(&json!({"error": {"message": message}}));
    for (message, seconds) in [
        ("Please retry after 6 seconds.", 6.0),
        ("Please wait 12 seconds before retrying.", 12.0),
        ("You have to wait for 1 minute", 60.0),
        ("Try again in 5 hours 3 minutes.", 18_180.0),
        ("Resets in 1 day and 2 hours", 93_600.0),
        ("Try again in 1 minute, 30 seconds, please.", 90.0),
        ("try again after 30s", 30.0),
        ("Your quota will reset after 21h11m3s.", 76_263.0),
        ("Your limit will reset in 2.5 s", 2.5),
    ] {
        assert_eq!(
            wait(message),
            Some(Duration::from_secs_f64(seconds)),
            "{message}"
        );
    }
}

/// <https://openrouter.ai/docs/api/reference/limits>; Gitlawb/openclaude#936.
#[test]
fn headers_in_a_body() {
    let wait = |headers: Value| {
        wait_of(&json!({"error": {"code": 429, "message": "m", "metadata": {"headers": headers}}}))
    };
    let later = utc_datetime!(2026-11-27 08:00);
    let reset = (later.unix_timestamp() + 5400) * 1000;
    for reset in [json!(reset), json!(reset.to_string()), json!(reset / 1000)] {
        let headers = json!({"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset});
        let body =
            json!({"error": {"code": 429, "message": "m", "metadata": {"headers": headers}}});
        let limits = of_error(RateLimits::new(), Some(429), &body, later);
        assert_eq!(
            limits.retry_after,
            Some(Duration::from_secs(5400)),
            "{reset}"
        );
        assert_eq!(limits.retry_after_source, Some(HintSource::Body));
        assert_eq!(limits.window("default").unwrap().limit, Some(50));
    }
    let seconds = Some(Duration::from_secs(5400));
    for (headers, expected) in [
        (json!({"Retry-After": "5400"}), seconds),
        (json!({"Retry-After": 5400}), seconds),
        (
            json!({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "5400"}),
            seconds,
        ),
        (
            json!({"X-RateLimit-Remaining": "3", "X-RateLimit-Reset": "5400"}),
            None,
        ),
        (json!({"bad name": "5400", "retry-after": ["x"]}), None),
        (json!("x"), None),
    ] {
        assert_eq!(wait(headers.clone()), expected, "{headers}");
    }
}
