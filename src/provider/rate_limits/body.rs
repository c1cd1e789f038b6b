//! Rate limits in the JSON body of an error.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::reported::Reported;
use super::{google, parse, retry_headers, window_headers};
use crate::clock::{Timestamp, until};
use crate::limits::Exhausted;
use crate::provider::http::exchange::start;

pub(crate) fn read(body: &Value, now: Timestamp) -> Reported {
    // Google wraps errors of streams in an array.
    let body = body.get(0).unwrap_or(body);
    // The Responses API keeps the error of a failed response inside it.
    let error = ["/error", "/response/error"]
        .iter()
        .find_map(|path| body.pointer(path).filter(|error| error.is_object()))
        .unwrap_or(body);
    let google = google::read(error, now);
    let message = ["message", "error_description", "error"]
        .iter()
        .find_map(|name| error.get(*name)?.as_str())
        .map(|message| start(message, MESSAGE))
        .unwrap_or_default();
    let mut windows = google.windows;
    let headers = inner_headers(error);
    windows.extend(window_headers::read(&headers, now));
    let by_headers = || {
        let reset = || Some(until(now, window_headers::latest_reset(&windows, now)?));
        retry_headers::retry_after(&headers, now).or_else(reset)
    };
    Reported {
        wait: google
            .wait
            .or_else(|| resets(error, now))
            .or_else(by_headers)
            .or_else(|| in_words(message, now))
            .or_else(|| in_words(passed_on(error)?, now)),
        exhausted: google.exhausted.or_else(|| exhausted(error, message)),
        windows,
    }
}

/// The headers of its limits that a gateway puts into an error
/// (<https://openrouter.ai/docs/api/reference/errors-and-debugging>).
fn inner_headers(error: &Value) -> HeaderMap {
    let headers = error
        .pointer("/metadata/headers")
        .and_then(Value::as_object);
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

/// What the upstream of a gateway said, as the gateway passes it on
/// (<https://openrouter.ai/docs/api/reference/errors-and-debugging>).
fn passed_on(error: &Value) -> Option<&str> {
    let raw = error.pointer("/metadata/raw")?.as_str()?;
    Some(start(raw, MESSAGE))
}

/// Beside `usage_limit_reached`, OpenAI's subscriptions get the time when the limit is lifted: `resets_in_seconds`, which needs
/// no clock, and `resets_at` in Unix seconds.
fn resets(error: &Value, now: Timestamp) -> Option<Duration> {
    let number = |name| error.get(name).and_then(Value::as_f64);
    number("resets_in_seconds")
        .and_then(parse::seconds)
        .or_else(|| parse::wait_until(parse::unix(number("resets_at")?, now)?, now))
}

/// From the code, else the type, else the status, as the [error codes guide of
/// OpenAI](https://platform.openai.com/docs/guides/error-codes), the [error page of
/// Anthropic](https://docs.anthropic.com/en/api/errors) and [Google's](https://cloud.google.com/apis/design/errors) name them.
fn exhausted(error: &Value, message: &str) -> Option<Exhausted> {
    // Anthropic has no code for it.
    if message.contains("credit balance is too low") {
        return Some(Exhausted::Billing);
    }
    // Alibaba calls its limit of tokens a minute `insufficient_quota`, with a link to what it is:
    // https://www.alibabacloud.com/help/en/model-studio/rate-limit
    if message.contains("error-code#token-limit") {
        return Some(Exhausted::Rate);
    }
    ["code", "type", "status"]
        .iter()
        .find_map(|name| of_name(error.get(*name)?.as_str()?))
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

fn in_words(message: &str, now: Timestamp) -> Option<Duration> {
    wait_in(message).or_else(|| moment_in(message, now))
}

/// The wait that a message names in words: "Please try again in 1m2.5s".
fn wait_in(message: &str) -> Option<Duration> {
    let message = message.to_ascii_lowercase();
    WORDS.iter().find_map(|words| {
        message
            .match_indices(words)
            .find_map(|(at, words)| parse::leading_duration(message.get(at + words.len()..)?))
            .map(|(wait, _)| wait)
    })
}

/// The moment that a message names in words: "Your limit will reset at 2026-11-27 06:41:44".
fn moment_in(message: &str, now: Timestamp) -> Option<Duration> {
    let lower = message.to_ascii_lowercase();
    let found = MOMENTS.iter().find_map(|words| {
        lower
            .match_indices(words)
            .find_map(|(at, words)| parse::leading_moment(message.get(at + words.len()..)?, now))
    });
    parse::wait_until(found?, now)
}

const WORDS: [&str; 9] = [
    "try again in ",
    "retry in ",
    "retry after ",
    "try again after ",
    "reset after ",
    "resets in ",
    "reset in ",
    "wait for ",
    "please wait ",
];

/// As Zhipu says it (<https://docs.z.ai/api-reference/api-code>, <https://docs.bigmodel.cn/cn/api/api-code>), and others.
const MOMENTS: [&str; 15] = [
    "reset at ",
    "resets at ",
    "reset on ",
    "resets on ",
    "resets ",
    "reset time: ",
    "refreshed at ",
    "try again at ",
    "try again after ",
    "retry after ",
    "available again at ",
    // At, or on, in Chinese.
    "\u{5c06}\u{5728}",
    "\u{5c06}\u{4e8e}",
    "\u{8bf7}\u{5728}",
    "\u{8bf7}\u{4e8e}",
];

const MOST_HEADERS: usize = 32;

/// As much of a message as is read.
const MESSAGE: usize = 4 * 1024;
