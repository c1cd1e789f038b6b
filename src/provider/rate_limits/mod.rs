//! Parses [`RateLimits`]: pure functions of headers, body and time.
//!
//! `numbers`, `durations` and `moments` know how they are written, `times` which of them a header has; `retry_headers` are the headers that
//! tell how to go on, `window_headers` and `fields` those that count; `body` is what errors say, and `google` the details that Google adds.

mod body;
mod durations;
mod fields;
mod google;
mod moments;
mod numbers;
mod reported;
mod retry_headers;
mod times;
mod window_headers;

use http::HeaderMap;
use serde_json::Value;

pub(super) use retry_headers::retry_after;

use crate::auth::{Auth, scrub};
use crate::clock::{Timestamp, until};
use crate::error::Error;
use crate::json::error_body;
use crate::limits::{Exhausted, HintSource, RateLimits};

impl RateLimits {
    /// What the headers of any answer say at the time `now`.
    ///
    /// | headers | documented by |
    /// |---|---|
    /// | `retry-after`: seconds, decimals, a duration, an HTTP date or another moment | [RFC 9110, 10.2.3](https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3) |
    /// | `retry-after-ms`, `x-should-retry` | OpenAI's and Anthropic's own clients |
    /// | `x-ratelimit-{limit,remaining,reset}-NAME` | [OpenAI](https://platform.openai.com/docs/guides/rate-limits) and servers like it |
    /// | `anthropic-ratelimit-NAME-{limit,remaining,reset}` | [Anthropic](https://docs.anthropic.com/en/api/rate-limits) |
    /// | `anthropic-ratelimit-unified[-NAME]-{status,utilization,reset}` | what Anthropic sends to subscribers |
    /// | `x-codex-NAME-{used-percent,window-minutes,reset-after-seconds,reset-at}` | what OpenAI sends to subscribers |
    /// | `ratelimit`, `ratelimit-policy`; before: `ratelimit-{limit,remaining,reset}` | [IETF](https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-11) |
    /// | `[x-]ratelimitbysize-{limit,remaining,reset}[-NAME]`, `x-tokenlimit-…`, `x-trial-endpoint-call-…` | Mistral, Together, Cohere |
    ///
    /// `retry-after-ms` goes before `retry-after`. Of headers that come twice, the first that reads counts. A date that has
    /// passed is a wait of zero. As if it had not been sent is what is negative, has an exponent, is not a number, lies
    /// more than 35 days away (no vendor has a longer period than a month), counts more than 10^15, is a ratio above 100, or would be a 33rd
    /// window.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use credpool::{Clock, RateLimits, SystemClock};
    ///
    /// let mut headers = http::HeaderMap::new();
    /// headers.insert("retry-after", "20".parse().unwrap());
    /// let limits = RateLimits::from_headers(&headers, SystemClock.now());
    /// assert_eq!(limits.retry_after, Some(Duration::from_secs(20)));
    /// ```
    pub fn from_headers(headers: &HeaderMap, now: Timestamp) -> Self {
        let mut limits = Self::new();
        limits.should_retry = retry_headers::should_retry(headers);
        limits.windows = window_headers::read(headers, now);
        wait(&mut limits, HintSource::Header, || {
            retry_headers::retry_after(headers, now)
        });
        limits
    }

    /// What an error answer says at the time `now`: its headers, as [`from_headers`](Self::from_headers), and its body.
    ///
    /// The wait is the first of these: the headers' own; with status 429, the latest reset of the windows that are used up;
    /// in the body, Google's `RetryInfo` and `quotaResetDelay`, members like `resets_in_seconds`, `retry_after` and `resets_at`, the headers that
    /// a gateway puts into `metadata`, at last words like "try again in 1m2.5s" and "reset at 2026-11-27 06:41:44". A window that is used up,
    /// and whose name says that it lasts a minute at most, is waited for as long. Of Anthropic's unified windows only those count that reject.
    /// An error counts wherever a body keeps it: in `error`, `errors` or `detail`, in JSON inside a message, behind other text; a page says nothing.
    ///
    /// ```
    /// use credpool::{Exhausted, HintSource, RateLimits};
    /// use std::time::Duration;
    ///
    /// let body = r#"{"error":{"type":"usage_limit_reached","message":"…","resets_in_seconds":3600}}"#;
    /// let now = time::macros::utc_datetime!(2025-06-01 12:00);
    /// let limits = RateLimits::from_error(429, &http::HeaderMap::new(), body.as_bytes(), now);
    /// assert_eq!(limits.exhausted, Some(Exhausted::Quota));
    /// assert_eq!(limits.retry_after, Some(Duration::from_secs(3600)));
    /// assert_eq!(limits.retry_after_source, Some(HintSource::Body));
    /// ```
    pub fn from_error(status: u16, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Self {
        let body = error_body(body);
        of_error(Self::from_headers(headers, now), Some(status), &body, now)
    }
}

/// What the headers said, and what an error adds to it.
pub(super) fn of_error(
    mut limits: RateLimits,
    status: Option<u16>,
    body: &Value,
    now: Timestamp,
) -> RateLimits {
    let said = body::read(body, now);
    let rejected = window_headers::rejected(&limits.windows).next().is_some();
    limits.exhausted = match said.exhausted {
        // The body of such an answer speaks of a rate.
        Some(Exhausted::Rate) | None if rejected && status == Some(429) => Some(Exhausted::Quota),
        said => said,
    };
    if status == Some(429) {
        let resets_at = window_headers::latest_reset(&limits.windows, now);
        wait(&mut limits, HintSource::Window, || {
            resets_at.map(|at| until(now, at))
        });
    }
    wait(&mut limits, HintSource::Body, || said.wait);
    limits.windows.extend(said.windows);
    limits
}

/// Puts the limits on an error: as far as they say something, and free of the credential's secrets.
pub(super) fn attach(error: Error, limits: RateLimits, auth: &Auth) -> Error {
    if limits.is_empty() {
        return error;
    }
    error.with_rate_limits(scrubbed(limits, auth))
}

/// The same without the credential's secrets, which an upstream may echo where it names its limits.
pub(super) fn scrubbed(mut limits: RateLimits, auth: &Auth) -> RateLimits {
    for window in &mut limits.windows {
        window.name = scrub(&window.name, auth);
        window.status = window.status.as_deref().map(|status| scrub(status, auth));
    }
    limits
}

fn wait(
    limits: &mut RateLimits,
    source: HintSource,
    read: impl FnOnce() -> Option<std::time::Duration>,
) {
    if limits.retry_after.is_none()
        && let Some(wait) = read()
    {
        limits.retry_after = Some(wait);
        limits.retry_after_source = Some(source);
    }
}

#[cfg(test)]
mod tests;
