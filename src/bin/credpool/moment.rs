//! Moments and lengths of time, for people and for programs.

use std::fmt::Write;
use std::time::Duration;

use credpool::{Clock, SystemClock, Timestamp};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

pub(crate) fn now() -> Timestamp {
    SystemClock.now()
}

/// As RFC 3339 has it, in UTC.
pub(crate) fn exact(at: Timestamp) -> String {
    let seconds = at.replace_nanosecond(0).unwrap_or(at);
    seconds.format(&Rfc3339).unwrap_or_default()
}

/// `03:41 UTC`, with its day where that is half a day away.
pub(crate) fn of_day(at: Timestamp, now: Timestamp) -> String {
    let hours = format_description!("[hour]:[minute] UTC");
    let days = format_description!("[month repr:short] [day] [hour]:[minute] UTC");
    let is_near = until(now, at) < Duration::from_secs(12 * 3600);
    let text = if is_near {
        at.format(hours)
    } else {
        at.format(days)
    };
    text.unwrap_or_default()
}

/// How long it is until a moment; zero when that is over.
pub(crate) fn until(now: Timestamp, at: Timestamp) -> Duration {
    Duration::try_from(at - now).unwrap_or_default()
}

/// The two largest units, rounded up: `1m29s`.
pub(crate) fn short(time: Duration) -> String {
    let seconds = time.as_millis().div_ceil(1000);
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let first = units.iter().position(|(_, length)| seconds >= *length);
    let first = first.unwrap_or(units.len() - 1);
    let (_, smallest) = units[(first + 1).min(units.len() - 1)];
    let mut rest = seconds.div_ceil(smallest) * smallest;
    let mut text = String::new();
    for (unit, length) in &units[first..] {
        if rest >= *length {
            let _ = write!(text, "{}{unit}", rest / length);
            rest %= length;
        }
    }
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use time::macros::utc_datetime;

    use super::*;

    #[test]
    fn lengths_are_short_and_never_too_small() {
        for (millis, text) in [
            (0, "0s"),
            (1, "1s"),
            (59_000, "59s"),
            (89_000, "1m29s"),
            (3_600_000, "1h"),
            (3_601_000, "1h1m"),
            (86_400_000, "1d"),
        ] {
            assert_eq!(short(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn a_moment_that_is_far_away_has_its_day() {
        let now = utc_datetime!(2026-11-27 23:12);
        let soon = utc_datetime!(2026-11-28 03:41);
        assert_eq!(of_day(soon, now), "03:41 UTC");
        let later = utc_datetime!(2026-11-28 23:59);
        assert_eq!(of_day(later, now), "Nov 28 23:59 UTC");
        assert_eq!(exact(later), "2026-11-28T23:59:00Z");
    }
}
