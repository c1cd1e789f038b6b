//! Rate limits in the JSON body of an error.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::durations::leading_duration;
use super::reported::Reported;
use super::{google, moments, numbers, retry_headers, times, window_headers};
use crate::clock::{Timestamp, until};
use crate::json::error_layers;
use crate::limits::{Exhausted, LimitWindow};
use crate::provider::http::exchange::start;

pub(crate) fn read(body: &Value, now: Timestamp) -> Reported {
    let found = Found::of(body, now);
    // What the upstream of a gateway said, as the gateway passes it on: its wait is the gateway's, too, but not its want of money
    // (https://openrouter.ai/docs/api/reference/errors-and-debugging).
    let passed_on = || {
        let raw = body.pointer("/error/metadata/raw")?;
        Found::of(raw, now).wait()
    };
    Reported {
        wait: found.wait().or_else(passed_on),
        exhausted: found.by_google.or(found.by_words).or(found.by_name),
        windows: found.windows,
    }
}

/// What the layers of a body have said so far. Of layers that say the same thing, the outer one counts.
#[derive(Default)]
struct Found {
    /// By Google's details, by members, by the headers that a gateway has put in, by words: the first of them counts.
    waits: [Option<Duration>; 4],
    by_google: Option<Exhausted>,
    by_words: Option<Exhausted>,
    by_name: Option<Exhausted>,
    windows: Vec<LimitWindow>,
}

impl Found {
    fn of(body: &Value, now: Timestamp) -> Self {
        let mut found = Self::default();
        error_layers(body, &mut |layer| match layer.as_str() {
            Some(text) => found.add_text(text, now),
            None => found.add(layer, now),
        });
        found
    }

    fn wait(&self) -> Option<Duration> {
        self.waits.iter().copied().flatten().next()
    }

    fn add(&mut self, layer: &Value, now: Timestamp) {
        let google = google::read(layer, now);
        let headers = inner_headers(layer);
        let windows = window_headers::read(&headers, now);
        let by_headers = || {
            let reset = || Some(until(now, window_headers::latest_reset(&windows, now)?));
            retry_headers::retry_after(&headers, now).or_else(reset)
        };
        let [by_google, by_member, by_header, _] = &mut self.waits;
        *by_google = by_google.or(google.wait);
        // OpenRouter says when a budget is there again: https://openrouter.ai/docs/api/reference/limits
        let metadata = || member(layer.get("metadata")?, now);
        *by_member = by_member.or_else(|| member(layer, now).or_else(metadata));
        *by_header = by_header.or_else(by_headers);
        self.by_google = self.by_google.or(google.exhausted);
        self.by_name = self.by_name.or_else(|| exhausted_by_name(layer));
        for window in google.windows.into_iter().chain(windows) {
            let is_known = self.windows.iter().any(|known| known.name == window.name);
            if !is_known && self.windows.len() < MOST_WINDOWS {
                self.windows.push(window);
            }
        }
    }

    fn add_text(&mut self, text: &str, now: Timestamp) {
        let words = start(text, MESSAGE).split_whitespace();
        let text = words.collect::<Vec<_>>().join(" ");
        let [.., by_words] = &mut self.waits;
        *by_words = by_words.or_else(|| in_words(&text, now));
        self.by_words = self.by_words.or_else(|| exhausted_by_words(&text));
    }
}

/// The headers of its limits that a gateway puts into an error
/// (<https://openrouter.ai/docs/api/reference/errors-and-debugging>).
fn inner_headers(layer: &Value) -> HeaderMap {
    let headers = ["/metadata/headers", "/headers"]
        .iter()
        .find_map(|path| layer.pointer(path)?.as_object());
    let headers = headers.into_iter().flatten().take(MOST_HEADERS);
    let header = |(name, value): (&String, &Value)| {
        // Some clients keep each header's values in an array.
        let text = match value.get(0).unwrap_or(value) {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        Some((
            HeaderName::try_from(name).ok()?,
            HeaderValue::try_from(text).ok()?,
        ))
    };
    headers.filter_map(header).collect()
}

/// The wait that a member names: in seconds, in milliseconds, or as the moment of its end.
fn member(layer: &Value, now: Timestamp) -> Option<Duration> {
    let read = |names: &[&str], scale: f64| {
        names.iter().find_map(|name| match layer.get(*name)? {
            Value::Number(number) => numbers::seconds(number.as_f64()? * scale),
            Value::String(text) => match numbers::decimal(text) {
                Some(number) => numbers::seconds(number * scale),
                None => times::wait(text, now),
            },
            _ => None,
        })
    };
    let at = |name: &&str| match layer.get(*name)? {
        Value::Number(number) => numbers::wait_until(moments::unix(number.as_f64()?, now)?, now),
        Value::String(text) => times::wait(text, now),
        _ => None,
    };
    read(&SECONDS, 1.0)
        .or_else(|| read(&MILLISECONDS, 1e-3))
        .or_else(|| MOMENTS.iter().find_map(at))
}

/// From the code, else the type, else the status, as the [error codes guide of
/// OpenAI](https://platform.openai.com/docs/guides/error-codes), the [error page of
/// Anthropic](https://docs.anthropic.com/en/api/errors) and [Google's](https://cloud.google.com/apis/design/errors) name them.
fn exhausted_by_name(error: &Value) -> Option<Exhausted> {
    let paths = [
        "/code",
        "/type",
        "/status",
        "/error_type",
        "/metadata/error_type",
    ];
    let mut names = paths
        .iter()
        .filter_map(|path| error.pointer(path)?.as_str());
    names.find_map(of_name)
}

fn exhausted_by_words(message: &str) -> Option<Exhausted> {
    // Anthropic has no code for it.
    if message.contains("credit balance is too low") {
        return Some(Exhausted::Billing);
    }
    // Alibaba calls its limit of tokens a minute `insufficient_quota`, with a link to what it is:
    // https://www.alibabacloud.com/help/en/model-studio/rate-limit
    message
        .contains("error-code#token-limit")
        .then_some(Exhausted::Rate)
}

fn of_name(name: &str) -> Option<Exhausted> {
    Some(match name {
        // OpenAI names the exhausted limit in `type`: requests or tokens.
        "rate_limit_exceeded"
        | "rate_limit_error"
        | "rate_limit_reached"
        | "requests"
        | "tokens"
        | "too_many_requests"
        | "RESOURCE_EXHAUSTED" => Exhausted::Rate,
        "insufficient_quota" | "quota_exceeded" | "usage_limit_reached" => Exhausted::Quota,
        "billing_error"
        | "billing_hard_limit_reached"
        | "billing_not_active"
        | "credit_balance_exhausted"
        | "payment_required" => Exhausted::Billing,
        "overloaded"
        | "overloaded_error"
        | "provider_overloaded"
        | "server_overloaded"
        | "server_is_overloaded"
        | "engine_overloaded"
        | "service_unavailable"
        | "service_unavailable_error"
        | "slow_down"
        | "UNAVAILABLE" => Exhausted::Overloaded,
        _ => return None,
    })
}

/// The wait that a message names in words: "Please try again in 1m2.5s", "Your limit will reset at 2026-11-27 06:41:44".
fn in_words(message: &str, now: Timestamp) -> Option<Duration> {
    // Of the same length.
    let lower = message.to_ascii_lowercase();
    let first = |markers: &[&str], read: &dyn Fn(&str) -> Option<Duration>| {
        markers.iter().find_map(|words| {
            lower
                .match_indices(*words)
                .find_map(|(at, words)| read(message.get(at + words.len()..)?))
        })
    };
    let duration = |text: &str| Some(leading_duration(text)?.0);
    let moment = |text: &str| {
        let (at, _) = moments::leading_moment(text, now)?;
        numbers::wait_until(at, now)
    };
    let value = |text: &str| {
        let value = text.split([' ', ',', ';', ')', '"']).next()?;
        times::wait(value.trim_end_matches('.'), now)
    };
    first(&BEFORE_DURATIONS, &duration)
        .or_else(|| first(&BEFORE_MOMENTS, &moment))
        .or_else(|| first(&BEFORE_VALUES, &value))
}

/// Members of errors that are waits, of OpenAI to subscribers (the first), Hugging Face (a model that is being loaded), and gateways.
const SECONDS: [&str; 7] = [
    "resets_in_seconds",
    "retry_after_seconds",
    "retry_after",
    "retryAfter",
    "retryAfterSeconds",
    "reset_after_seconds",
    "estimated_time",
];
const MILLISECONDS: [&str; 2] = ["retry_after_ms", "retryAfterMs"];
const MOMENTS: [&str; 5] = [
    "resets_at",
    "reset_at",
    "reset_time",
    "resetAt",
    "resetTime",
];

const BEFORE_DURATIONS: [&str; 19] = [
    "try again in ",
    "retry in ",
    "retry after ",
    "try again after ",
    "reset after ",
    "resets after ",
    "resets in ",
    "reset in ",
    "replenished in ",
    "available in ",
    "allowed in ",
    "wait for ",
    "please wait ",
    "must wait ",
    // Wait; in, after, or no word before the time: Chinese.
    "\u{7b49}\u{5f85}",
    "\u{8bf7}\u{5728}",
    "\u{8bf7}\u{4e8e}",
    "\u{5c06}\u{5728}",
    "\u{8bf7}",
];

/// As Zhipu says it (<https://docs.z.ai/api-reference/api-code>, <https://docs.bigmodel.cn/cn/api/api-code>), Anthropic
/// (<https://docs.anthropic.com/en/api/rate-limits>), and others.
const BEFORE_MOMENTS: [&str; 22] = [
    "reset at ",
    "resets at ",
    "reset on ",
    "resets on ",
    "resets ",
    "reset time: ",
    "refreshed at ",
    "regain access on ",
    "regain access at ",
    "try again at ",
    "try again on ",
    "try again after ",
    "retry at ",
    "retry after ",
    "available again at ",
    "available at ",
    "until ",
    "limit reached|",
    // At, or on, in Chinese.
    "\u{5c06}\u{5728}",
    "\u{5c06}\u{4e8e}",
    "\u{8bf7}\u{5728}",
    "\u{8bf7}\u{4e8e}",
];

/// What stands before the value of a header.
const BEFORE_VALUES: [&str; 3] = ["retry-after: ", "retry_after: ", "retry-after="];

const MOST_HEADERS: usize = 32;
const MOST_WINDOWS: usize = 32;

/// As much of a message as is read.
const MESSAGE: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use time::macros::utc_datetime;

    use super::*;

    const NOW: Timestamp = utc_datetime!(2026-11-27 04:00);

    fn seconds(body: &Value) -> Option<f64> {
        Some(read(body, NOW).wait?.as_secs_f64())
    }

    #[test]
    fn messages_name_waits_and_moments_in_many_words() {
        for (message, wait) in [
            ("Your rate limit resets in ~30s.", 30.0),
            ("Try again in about 30 seconds", 30.0),
            ("try again in an hour", 3600.0),
            ("try again in **30s**", 30.0),
            ("try again\nin\u{a0}30s", 30.0),
            ("Quota will be replenished in 02:03:04.", 7384.0),
            (
                "Out of call volume quota. Quota will be replenished in 1.02:03:04.",
                93_784.0,
            ),
            ("You must wait 12 seconds", 12.0),
            ("next request allowed in 45s", 45.0),
            ("Retry-After: 30", 30.0),
            ("(retry-after=30)", 30.0),
            ("Your limit resets 6am (UTC)", 7200.0),
            ("resets at 6:00 AM UTC", 7200.0),
            ("usage limit reached|1795752500", 500.0),
            (
                "You will regain access on 2026-12-01 at 00:00 UTC.",
                331_200.0,
            ),
            ("blocked until 2026-11-27T05:00:00Z", 3600.0),
            ("resets Nov 28, 2026 at 4:00 UTC", 86_400.0),
            ("\u{8bf7}\u{5728} 30 \u{79d2}\u{540e}\u{91cd}\u{8bd5}", 30.0),
            ("\u{8bf7} 5 \u{5206}\u{949f}\u{540e}\u{518d}\u{8bd5}", 300.0),
            ("\u{8bf7}\u{7b49}\u{5f85}30\u{79d2}", 30.0),
        ] {
            assert_eq!(
                seconds(&json!({"error": {"message": message}})),
                Some(wait),
                "{message}"
            );
        }
        for message in [
            "Please try again later",
            "try again in a few seconds",
            "Please retry after 30",
            "resets at 14:00",
            "resets 3pm (America/Santiago)",
            "Retry-After: soon",
            "until further notice",
            "\u{8bf7}\u{7a0d}\u{540e}\u{518d}\u{8bd5}",
        ] {
            assert_eq!(
                seconds(&json!({"error": {"message": message}})),
                None,
                "{message}"
            );
        }
    }

    #[test]
    fn members_name_waits_in_their_units() {
        for (error, wait) in [
            (json!({"retry_after": 12}), 12.0),
            (json!({"retry_after": "1.5"}), 1.5),
            (json!({"retry_after": "1m"}), 60.0),
            (json!({"retryAfter": "Fri, 27 Nov 2026 04:01:00 GMT"}), 60.0),
            (json!({"retry_after_ms": 1500}), 1.5),
            (json!({"resets_in_seconds": "100"}), 100.0),
            (json!({"estimated_time": 20.5}), 20.5),
            (json!({"resets_at": "2026-11-27T04:01:00Z"}), 60.0),
            (json!({"reset_at": 1_795_752_060}), 60.0),
            (json!({"reset_time": 1_795_752_060_000_u64}), 60.0),
            (
                json!({"code": 403, "metadata": {"resets_at": "2026-11-27T04:01:00Z"}}),
                60.0,
            ),
            (json!({"headers": {"retry-after": "11"}}), 11.0),
            (
                json!({"metadata": {"headers": {"Retry-After": ["11"]}}}),
                11.0,
            ),
        ] {
            for body in [
                json!({ "error": error }),
                json!({ "detail": error }),
                json!({ "errors": [error] }),
                json!({"error": {"message": error.to_string()}}),
                error.clone(),
            ] {
                assert_eq!(seconds(&body), Some(wait), "{body}");
            }
        }
        for error in [
            json!({"retry_after": -1}),
            json!({"retry_after": null}),
            json!({"retry_after": "soon"}),
            json!({"retry_after_ms": 1e300}),
            json!({"resets_at": 12}),
            json!({"reset_at": "12:00"}),
            json!({"data": {"retry_after": 12}}),
        ] {
            assert_eq!(seconds(&json!({ "error": error })), None, "{error}");
        }
    }

    fn any_now() -> impl Strategy<Value = Timestamp> {
        let any = any::<i64>().prop_map(|seconds| {
            Timestamp::from_unix_timestamp(seconds % 253_000_000_000).unwrap_or(NOW)
        });
        prop_oneof![Just(NOW), Just(Timestamp::MIN), Just(Timestamp::MAX), any]
    }

    proptest! {
        #[test]
        fn no_words_break_it_or_name_a_wait_that_is_too_long(
            message in "(retry after |resets |resets at |until |in |about |PT|P|Nov |Sat, |[0-9]{1,5}|[0-9:.]{1,8}|[-/:.,+TZ]|am|pm| |UTC|\u{79d2}|\u{e9}){0,12}",
            now in any_now(),
        ) {
            let longest = Duration::from_secs(35 * 86_400);
            for body in [json!({"error": {"message": message}}), json!({"retry_after": message, "resets_at": message})] {
                prop_assert!(read(&body, now).wait.is_none_or(|wait| wait <= longest));
            }
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_str(&message) {
                headers.append("retry-after", value.clone());
                headers.append("x-ratelimit-reset", value.clone());
                headers.append("ratelimit", value);
            }
            prop_assert!(retry_headers::retry_after(&headers, now).is_none_or(|wait| wait <= longest));
            window_headers::read(&headers, now);
        }
    }

    #[test]
    fn an_upstream_that_is_quoted_tells_when_and_not_what() {
        let raw = json!({"error": {"code": "insufficient_quota", "message": "Try again in 8s"}});
        let body = json!({"error": {"code": 429, "message": "Provider returned error", "metadata": {"raw": raw.to_string()}}});
        assert_eq!(seconds(&body), Some(8.0));
        assert_eq!(read(&body, NOW).exhausted, None);
    }
}
