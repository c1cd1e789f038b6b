//! Retry headers: `Retry-After`, `retry-after-ms`, `x-should-retry`.

use std::time::Duration;

use http::HeaderMap;

use super::{numbers, times};
use crate::clock::Timestamp;

/// The wait in `retry-after-ms` or `x-ms-retry-after-ms` (milliseconds, as OpenAI and Azure send them, in
/// [that order](https://github.com/Azure/azure-sdk-for-python/blob/main/sdk/core/azure-core/azure/core/pipeline/policies/_utils.py)), else in
/// `retry-after` ([RFC 9110 section 10.2.3](https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3): seconds or an HTTP date; servers also send
/// decimals, durations, Unix time and other dates). A date in the past is no wait at all; what is no wait in any of these forms is ignored.
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let milliseconds = |text: &str| numbers::seconds(numbers::decimal(text)? / 1000.0);
    MILLISECONDS
        .iter()
        .find_map(|name| texts(headers, name).find_map(milliseconds))
        .or_else(|| texts(headers, "retry-after").find_map(|text| times::wait(text, now)))
}

/// `x-should-retry`, which OpenAI's and Anthropic's own clients obey before their own rules.
pub(crate) fn should_retry(headers: &HeaderMap) -> Option<bool> {
    texts(headers, "x-should-retry").find_map(|text| match text.to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    })
}

const MILLISECONDS: [&str; 2] = ["retry-after-ms", "x-ms-retry-after-ms"];

fn texts<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok().map(str::trim))
}
