//! Retry headers: `Retry-After`, `retry-after-ms`, `x-should-retry`.

use std::time::Duration;

use http::HeaderMap;

use super::parse;
use crate::clock::Timestamp;

/// The wait in `retry-after-ms` (milliseconds, as OpenAI and Azure send it), else in `retry-after`
/// ([RFC 9110 section 10.2.3](https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3): seconds or an HTTP date; some
/// servers send decimals). A date in the past is no wait at all; a value that is no wait is ignored.
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let milliseconds = |text: &str| parse::seconds(parse::decimal(text)? / 1000.0);
    let wait = |text: &str| match parse::decimal(text) {
        Some(seconds) => parse::seconds(seconds),
        None => parse::wait_until(parse::http_date(text)?, now),
    };
    texts(headers, "retry-after-ms")
        .find_map(milliseconds)
        .or_else(|| texts(headers, "retry-after").find_map(wait))
}

/// `x-should-retry`, which OpenAI's and Anthropic's own clients obey before their own rules.
pub(crate) fn should_retry(headers: &HeaderMap) -> Option<bool> {
    texts(headers, "x-should-retry").find_map(|text| match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    })
}

fn texts<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok().map(str::trim))
}
