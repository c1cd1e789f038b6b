//! Numbers as servers write them. Implausible values are ignored.

use std::time::Duration;

use crate::clock::{Timestamp, until};

/// A count: digits, perhaps with a fraction, which is dropped.
pub(crate) fn count(text: &str) -> Option<u64> {
    let number = decimal(text).filter(|number| *number <= LARGEST_COUNT)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be in range"
    )]
    let count = number as u64;
    Some(count)
}

/// A part of a whole, perhaps more than the whole: `0.26`, `26%`.
pub(crate) fn ratio(text: &str) -> Option<f64> {
    match text.trim().strip_suffix('%') {
        Some(percent) => ratio_of_percent(percent),
        None => decimal(text).filter(|number| *number <= LARGEST_RATIO),
    }
}

/// A part of a whole in percent: `26`, `26%`.
pub(crate) fn ratio_of_percent(text: &str) -> Option<f64> {
    let text = text.trim();
    decimal(text.strip_suffix('%').unwrap_or(text))
        .map(|percent| percent / 100.0)
        .filter(|ratio| *ratio <= LARGEST_RATIO)
}

/// A plain decimal number: no sign, no exponent, no words.
pub(crate) fn decimal(text: &str) -> Option<f64> {
    let text = text.trim();
    let plain = text.len() <= LONGEST_NUMBER
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
    plain.then(|| text.parse().ok()).flatten()
}

/// A wait of so many seconds.
pub(crate) fn seconds(seconds: f64) -> Option<Duration> {
    plausible(Duration::try_from_secs_f64(seconds).ok()?)
}

/// A wait until then; zero when it has passed.
pub(crate) fn wait_until(at: Timestamp, now: Timestamp) -> Option<Duration> {
    plausible(until(now, at))
}

pub(super) fn plausible(wait: Duration) -> Option<Duration> {
    (wait <= FARTHEST).then_some(wait)
}

pub(super) fn near(at: Timestamp, now: Timestamp) -> Option<Timestamp> {
    (until(now, at) <= FARTHEST && until(at, now) <= FARTHEST).then_some(at)
}

/// No vendor has a longer period than a month.
const FARTHEST: Duration = Duration::from_secs(35 * 86_400);
const LARGEST_COUNT: f64 = 1e15;
const LARGEST_RATIO: f64 = 100.0;
const LONGEST_NUMBER: usize = 20;
/// A larger number of seconds is no wait but Unix time.
pub(super) const UNIX_SECONDS_ABOVE: f64 = 1e9;
