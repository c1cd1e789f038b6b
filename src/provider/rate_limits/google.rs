//! The details of Google's errors: `RetryInfo`, `QuotaFailure` and `ErrorInfo` of
//! [google.rpc](https://cloud.google.com/apis/design/errors#error_details), in their JSON form.

use std::time::Duration;

use serde_json::Value;

use super::durations::duration;
use super::numbers;
use super::reported::Reported;
use super::times;
use crate::clock::Timestamp;
use crate::limits::{Exhausted, LimitWindow};

pub(crate) fn read(error: &Value, now: Timestamp) -> Reported {
    let mut said = Reported::default();
    let details = error.get("details").and_then(Value::as_array);
    let (mut retry, mut reset) = (None, None);
    for detail in details.into_iter().flatten().take(MOST) {
        let kind = detail.get("@type").and_then(Value::as_str).unwrap_or("");
        match kind.rsplit('.').next() {
            Some("RetryInfo") => {
                retry = retry.or_else(|| delay(either(detail, ["retryDelay", "retry_delay"])?));
            }
            Some("QuotaFailure") => violations(detail, &mut said),
            Some("ErrorInfo") => {
                reset = reset.or_else(|| reset_of(detail, now));
                info(detail, &mut said);
            }
            _ => {}
        }
    }
    said.wait = retry.or(reset);
    said
}

/// What is violated is used up. A quota of a day is one, although the `RetryInfo` beside it may speak of seconds.
fn violations(detail: &Value, said: &mut Reported) {
    let violations = detail.get("violations").and_then(Value::as_array);
    for violation in violations.into_iter().flatten().take(MOST) {
        let text = |name| violation.get(name).and_then(Value::as_str);
        let Some(name) = text("quotaId").or_else(|| text("quotaMetric")) else {
            continue;
        };
        exceeded(name, violation.get("quotaValue"), said);
    }
}

/// [`ErrorInfo`](https://cloud.google.com/apis/design/errors#error_info): why, and which quota.
fn info(detail: &Value, said: &mut Reported) {
    said.exhausted = match detail.get("reason").and_then(Value::as_str) {
        Some("RATE_LIMIT_EXCEEDED") => said.exhausted.or(Some(Exhausted::Rate)),
        Some("QUOTA_EXHAUSTED") => Some(Exhausted::Quota),
        Some("MODEL_CAPACITY_EXHAUSTED") => Some(Exhausted::Overloaded),
        Some("BILLING_DISABLED") => Some(Exhausted::Billing),
        _ => said.exhausted,
    };
    if let Some(metadata) = detail.get("metadata")
        && let Some(name) = metadata.get("quota_limit").and_then(Value::as_str)
    {
        exceeded(name, metadata.get("quota_limit_value"), said);
    }
}

fn exceeded(name: &str, limit: Option<&Value>, said: &mut Reported) {
    if name.to_ascii_lowercase().contains("perday") {
        said.exhausted = Some(Exhausted::Quota);
    } else if said.exhausted.is_none() {
        said.exhausted = Some(Exhausted::Rate);
    }
    let fits = (1..=LONGEST_NAME).contains(&name.len())
        && said.windows.len() < MOST
        && said.windows.iter().all(|window| window.name != name);
    if fits {
        let mut window = LimitWindow::new(name).with_remaining(0);
        window.limit = limit.and_then(|value| match value {
            Value::String(text) => numbers::count(text),
            other => numbers::count(&other.to_string()),
        });
        said.windows.push(window);
    }
}

fn reset_of(detail: &Value, now: Timestamp) -> Option<Duration> {
    let metadata = detail.get("metadata")?;
    let at = || {
        let text = metadata.get("quotaResetTimeStamp")?.as_str()?;
        times::wait(text, now)
    };
    metadata.get("quotaResetDelay").and_then(delay).or_else(at)
}

/// A member by its name in JSON, or by that of the message's field, which
/// [parsers accept, too](https://protobuf.dev/programming-guides/json/).
fn either<'a>(detail: &'a Value, names: [&str; 2]) -> Option<&'a Value> {
    names.iter().find_map(|name| detail.get(*name))
}

/// A [`Duration`](https://protobuf.dev/programming-guides/json/) in JSON: `36s`, `1.5s`; some servers write its members, or a number.
fn delay(value: &Value) -> Option<Duration> {
    match value {
        Value::String(text) => duration(text),
        Value::Number(seconds) => numbers::seconds(seconds.as_f64()?),
        Value::Object(members) => {
            // A number of 64 bits is text in JSON.
            let number = |name| match members.get(name) {
                None => Some(0.0),
                Some(Value::String(text)) => numbers::decimal(text),
                Some(other) => other.as_f64(),
            };
            numbers::seconds(number("seconds")? + number("nanos")? / 1e9)
        }
        _ => None,
    }
}

const MOST: usize = 32;
const LONGEST_NAME: usize = 128;
