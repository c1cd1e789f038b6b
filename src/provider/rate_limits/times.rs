//! Times in headers: of waits, of resets, of windows.

use std::time::Duration;

use super::durations::duration;
use super::moments;
use super::numbers::{UNIX_SECONDS_ABOVE, decimal, seconds, wait_until};
use crate::clock::{Timestamp, later};

/// When a window resets: in seconds from now, a duration, Unix time, or a moment. May have passed.
pub(crate) fn reset(text: &str, now: Timestamp) -> Option<Timestamp> {
    let text = unquoted(text);
    let in_seconds = || decimal(text).filter(|number| *number < UNIX_SECONDS_ABOVE);
    match in_seconds() {
        Some(number) => Some(later(now, seconds(number)?)),
        None => duration(text)
            .map(|wait| later(now, wait))
            .or_else(|| moments::moment(text, now)),
    }
}

/// The wait that a header names, as [`reset`]; zero where the moment has passed.
pub(crate) fn wait(text: &str, now: Timestamp) -> Option<Duration> {
    let at = moments::http_date(unquoted(text)).or_else(|| reset(text, now))?;
    wait_until(at, now)
}

fn unquoted(text: &str) -> &str {
    let text = text.trim();
    let inner = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    inner.unwrap_or(text)
}

/// How long a window is, by its name: `req-minute`, `tokens-month`, `unified-5h`.
pub(crate) fn length_in(name: &str) -> Option<Duration> {
    let words = name.split(|char: char| !char.is_ascii_alphanumeric());
    let lengths = words.filter_map(|word| {
        let seconds = match word {
            "second" => 1,
            "minute" | "min" => 60,
            "hour" | "hourly" => 3600,
            "day" | "daily" => 86_400,
            "week" | "weekly" => 7 * 86_400,
            "month" | "monthly" => 30 * 86_400,
            _ => {
                return word
                    .starts_with(|char: char| char.is_ascii_digit())
                    .then(|| duration(word))?;
            }
        };
        Some(Duration::from_secs(seconds))
    });
    lengths.into_iter().next_back()
}
