//! Headers about limits, and what bodies add: nothing over its clamp.
#![no_main]

use std::time::Duration;

use credpool::{RateLimits, Timestamp};
use credpool_fuzz::{NOW, parts, settings};
use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(([when, status], rest)) = settings(input) else {
        return;
    };
    let now = match when % 8 {
        0 => Timestamp::MIN,
        1 => Timestamp::MAX,
        2 => Timestamp::UNIX_EPOCH,
        _ => NOW,
    };
    let mut parts = parts(rest).into_iter();
    let headers = headers(parts.next().unwrap_or_default());
    let body = parts.next().unwrap_or_default();
    let status = if status < 128 {
        429
    } else {
        400 + u16::from(status)
    };
    let told = RateLimits::from_headers(&headers, now);
    let error = RateLimits::from_error(status, &headers, body, now);
    for limits in [&told, &error] {
        check(limits, now);
    }
    if body.is_empty() {
        assert_eq!(error.windows, told.windows);
    }
});

fn check(limits: &RateLimits, now: Timestamp) {
    assert!(
        limits.retry_after.is_none_or(|wait| wait <= FARTHEST),
        "{limits:?}"
    );
    assert_eq!(
        limits.retry_after.is_some(),
        limits.retry_after_source.is_some()
    );
    // As many as headers and a body may bring.
    assert!(limits.windows.len() <= 2 * 32, "{}", limits.windows.len());
    for window in &limits.windows {
        assert!((1..=64).contains(&window.name.len()), "{window:?}");
        for count in [window.limit, window.remaining].into_iter().flatten() {
            assert!(count <= 1_000_000_000_000_000, "{window:?}");
        }
        if let Some(at) = window.resets_at {
            assert!((at - now).unsigned_abs() <= FARTHEST, "{window:?}");
        }
        assert!(
            window
                .used_ratio()
                .is_none_or(|used| (0.0..=100.0).contains(&used)),
            "{window:?}"
        );
        assert!(
            window
                .status
                .as_ref()
                .is_none_or(|status| status.len() <= 64),
            "{window:?}"
        );
    }
}

fn headers(text: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in text.split(|byte| *byte == b'\n').take(100) {
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.unwrap_or(line.len()));
        let value = value.strip_prefix(b":").unwrap_or(value).trim_ascii();
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.append(name, value);
        }
    }
    headers
}

/// No server is believed about more.
const FARTHEST: Duration = Duration::from_secs(35 * 86_400);
