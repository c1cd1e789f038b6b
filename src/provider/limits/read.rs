//! Numbers, durations and moments as servers write them. What cannot be true is not read.

use std::time::Duration;

use time::format_description::well_known::Rfc3339;

use crate::clock::{Timestamp, later, until};

/// A count: digits, perhaps with a fraction, which is dropped.
pub(super) fn count(text: &str) -> Option<u64> {
    let number = decimal(text).filter(|number| *number <= LARGEST_COUNT)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be in range"
    )]
    let count = number as u64;
    Some(count)
}

/// A part of a whole, perhaps more than the whole.
pub(super) fn ratio(text: &str) -> Option<f64> {
    decimal(text).filter(|number| *number <= LARGEST_RATIO)
}

/// A plain decimal number: no sign, no exponent, no words.
pub(super) fn decimal(text: &str) -> Option<f64> {
    let text = text.trim();
    let plain = text.len() <= LONGEST_NUMBER
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
    plain.then(|| text.parse().ok()).flatten()
}

/// A wait of so many seconds.
pub(super) fn seconds(seconds: f64) -> Option<Duration> {
    plausible(Duration::try_from_secs_f64(seconds).ok()?)
}

/// A wait until then; zero when it has passed.
pub(super) fn wait_until(at: Timestamp, now: Timestamp) -> Option<Duration> {
    plausible(until(now, at))
}

/// A duration with units, and nothing else: `6m0s`, `12ms`, `1.5s`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (wait, rest) = leading_duration(text.trim())?;
    rest.is_empty().then_some(wait)
}

/// The duration with units that a text begins with, and the rest of the text.
pub(super) fn leading_duration(text: &str) -> Option<(Duration, &str)> {
    let mut rest = text;
    let mut sum = None;
    for _ in 0..MOST_PARTS {
        let Some((part, after)) = part_of_duration(rest.trim_start_matches(' ')) else {
            break;
        };
        sum = Some(sum.unwrap_or(Duration::ZERO).checked_add(part)?);
        rest = after;
    }
    Some((plausible(sum?)?, rest))
}

/// When a window resets: RFC 3339, a duration with units, seconds from now, or Unix seconds or milliseconds. May have
/// passed.
pub(super) fn reset(text: &str, now: Timestamp) -> Option<Timestamp> {
    let text = text.trim();
    match decimal(text) {
        Some(number) if number >= UNIX_SECONDS_ABOVE => unix(number, now),
        Some(number) => Some(later(now, seconds(number)?)),
        None => duration(text)
            .map(|wait| later(now, wait))
            .or_else(|| rfc3339(text, now)),
    }
}

/// A moment in Unix seconds, or milliseconds where it would be too far away otherwise.
pub(super) fn unix(number: f64, now: Timestamp) -> Option<Timestamp> {
    let seconds = if number >= UNIX_MILLISECONDS_ABOVE {
        number / 1000.0
    } else {
        number
    };
    let since = Duration::try_from_secs_f64(seconds).ok()?;
    near(later(Timestamp::UNIX_EPOCH, since), now)
}

/// A moment in the form of [RFC 3339](https://www.rfc-editor.org/rfc/rfc3339).
pub(super) fn rfc3339(text: &str, now: Timestamp) -> Option<Timestamp> {
    if text.len() > LONGEST_MOMENT {
        return None;
    }
    near(Timestamp::parse(text, &Rfc3339).ok()?, now)
}

/// A number and its unit.
fn part_of_duration(text: &str) -> Option<(Duration, &str)> {
    let digits = text
        .bytes()
        .take_while(|byte| byte.is_ascii_digit() || *byte == b'.')
        .count();
    let number = decimal(text.get(..digits).filter(|number| !number.is_empty())?)?;
    let rest = text.get(digits..)?.trim_start_matches(' ');
    let letters = rest
        .bytes()
        .take_while(u8::is_ascii_alphabetic)
        .take(LONGEST_UNIT + 1)
        .count();
    let unit = rest.get(..letters)?.to_ascii_lowercase();
    let scale = match unit.as_str() {
        "ns" => 1e-9,
        "us" => 1e-6,
        "ms" | "millisecond" | "milliseconds" => 1e-3,
        "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3600.0,
        "d" | "day" | "days" => 86_400.0,
        _ => return None,
    };
    let wait = Duration::try_from_secs_f64(number * scale).ok()?;
    Some((wait, rest.get(letters..)?))
}

fn plausible(wait: Duration) -> Option<Duration> {
    (wait <= FARTHEST).then_some(wait)
}

fn near(at: Timestamp, now: Timestamp) -> Option<Timestamp> {
    (until(now, at) <= FARTHEST && until(at, now) <= FARTHEST).then_some(at)
}

/// No vendor has a longer period than a month.
const FARTHEST: Duration = Duration::from_secs(35 * 86_400);
const LARGEST_COUNT: f64 = 1e15;
const LARGEST_RATIO: f64 = 100.0;
const LONGEST_NUMBER: usize = 20;
const LONGEST_MOMENT: usize = 40;
const LONGEST_UNIT: usize = 12;
/// Days, hours, minutes, seconds, and what is below.
const MOST_PARTS: usize = 7;
const UNIX_SECONDS_ABOVE: f64 = 1e9;
const UNIX_MILLISECONDS_ABOVE: f64 = 1e12;
