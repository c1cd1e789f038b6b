//! Durations in Go's form (`1h30m`), and the refresh interval of a record.

use std::time::Duration;

use serde_json::Value;

use super::Auth;

/// How often the record asks to be refreshed: the first of four members that reads as a positive duration of at most 292
/// years.
pub(crate) fn refresh_interval(auth: &Auth) -> Option<Duration> {
    let metadata = auth.metadata.as_ref();
    NAMES
        .iter()
        .find_map(|name| metadata?.get(name).and_then(read_value))
        .or_else(|| {
            NAMES
                .iter()
                .find_map(|name| auth.attributes.get(name).and_then(read_text))
        })
}

fn read_value(value: &Value) -> Option<Duration> {
    match value {
        Value::Number(number) => number.as_f64().and_then(seconds),
        Value::String(text) => read_text(text),
        _ => None,
    }
}

fn read_text(text: &str) -> Option<Duration> {
    let text = text.trim();
    parse(text)
        .or_else(|| text.parse().ok().and_then(seconds))
        .filter(|duration| !duration.is_zero())
}

fn seconds(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|duration| (1..=LONGEST).contains(&duration.as_nanos()))
}

/// A duration such as `1h30m` or `-1.5s`; nothing when it is negative, malformed or longer than 292 years.
fn parse(text: &str) -> Option<Duration> {
    if text.starts_with('-') {
        return None;
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return None;
    }
    let mut total = 0_u128;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let (unit, nanos) = UNITS.iter().find(|(unit, _)| after.starts_with(unit))?;
        total = total
            .checked_add(whole_nanos(whole, *nanos)?)?
            .checked_add(fraction_nanos(fraction, *nanos))?;
        rest = &after[unit.len()..];
    }
    u64::try_from(total)
        .ok()
        .filter(|nanos| u128::from(*nanos) <= LONGEST)
        .map(Duration::from_nanos)
}

fn digits(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

fn whole_nanos(digits: &str, unit: u128) -> Option<u128> {
    if digits.is_empty() {
        return Some(0);
    }
    digits.parse::<u128>().ok()?.checked_mul(unit)
}

fn fraction_nanos(digits: &str, unit: u128) -> u128 {
    let digits = &digits[..digits.len().min(18)];
    let scale = 10_u128.pow(u32::try_from(digits.len()).unwrap_or(18));
    digits.parse::<u128>().unwrap_or(0) * unit / scale
}

const NAMES: [&str; 4] = [
    "refresh_interval_seconds",
    "refreshIntervalSeconds",
    "refresh_interval",
    "refreshInterval",
];

/// In nanoseconds: some 292 years, in every form alike.
const LONGEST: u128 = i64::MAX as u128;

/// Longer names first where one begins with another.
const UNITS: [(&str, u128); 8] = [
    ("h", 3_600_000_000_000),
    ("ms", 1_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ns", 1),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_units_and_plain_seconds() {
        assert_eq!(read_text("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(read_text(" 1.5s "), Some(Duration::from_millis(1500)));
        assert_eq!(read_text("5."), Some(Duration::from_secs(5)));
        assert_eq!(read_text("2e2"), Some(Duration::from_secs(200)));
        assert_eq!(
            read_text("9223372036"),
            Some(Duration::from_secs(9_223_372_036))
        );
        for bad in [
            "", "s", "1d", "-5m", "0", "1h 2m", "nan", "inf", "1e300", "1e10",
        ] {
            assert_eq!(read_text(bad), None, "{bad}");
        }
    }
}
