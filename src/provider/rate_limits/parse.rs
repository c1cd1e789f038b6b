//! Numbers, durations and times as servers write them. Implausible values are ignored.

use std::time::Duration;

use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::{format_description, offset};
use time::{Date, PrimitiveDateTime, Time, UtcOffset};

use crate::clock::{Timestamp, later, until};

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

/// A part of a whole, perhaps more than the whole.
pub(crate) fn ratio(text: &str) -> Option<f64> {
    decimal(text).filter(|number| *number <= LARGEST_RATIO)
}

/// A part of a whole in percent.
pub(crate) fn ratio_of_percent(text: &str) -> Option<f64> {
    decimal(text)
        .map(|percent| percent / 100.0)
        .filter(|ratio| *ratio <= LARGEST_RATIO)
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

/// A duration with units, and nothing else: `6m0s`, `12ms`, `1.5s`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let (wait, rest) = leading_duration(text.trim())?;
    rest.is_empty().then_some(wait)
}

/// The duration with units that a text begins with, and the rest of the text.
pub(crate) fn leading_duration(text: &str) -> Option<(Duration, &str)> {
    let mut rest = text;
    let mut sum = None;
    for _ in 0..MOST_PARTS {
        let next = rest.trim_start_matches([' ', ',']);
        let next = next.strip_prefix("and ").unwrap_or(next);
        let Some((part, after)) = part_of_duration(next) else {
            break;
        };
        sum = Some(sum.unwrap_or(Duration::ZERO).checked_add(part)?);
        rest = after;
    }
    Some((plausible(sum?)?, rest))
}

/// When a window resets: RFC 3339, a duration with units, seconds from now, or Unix seconds or milliseconds. May have
/// passed.
pub(crate) fn reset(text: &str, now: Timestamp) -> Option<Timestamp> {
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
pub(crate) fn unix(number: f64, now: Timestamp) -> Option<Timestamp> {
    let seconds = if number >= UNIX_MILLISECONDS_ABOVE {
        number / 1000.0
    } else {
        number
    };
    let since = Duration::try_from_secs_f64(seconds).ok()?;
    near(later(Timestamp::UNIX_EPOCH, since), now)
}

/// A moment in the form of [RFC 3339](https://www.rfc-editor.org/rfc/rfc3339).
pub(crate) fn rfc3339(text: &str, now: Timestamp) -> Option<Timestamp> {
    if text.len() > LONGEST_MOMENT {
        return None;
    }
    near(Timestamp::parse(text, &Rfc3339).ok()?, now)
}

/// Any of the three forms of [RFC 9110 section 5.6.7](https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7).
pub(crate) fn http_date(text: &str) -> Option<Timestamp> {
    let at = httpdate::parse_http_date(text).ok()?;
    let since = at.duration_since(std::time::SystemTime::UNIX_EPOCH).ok()?;
    Some(later(Timestamp::UNIX_EPOCH, since))
}

/// The moment that a text begins with: `2026-11-27 06:41:44`, with slashes, with `T`, without seconds, without the time (its
/// beginning), without the year, with a zone or without; the date of [RFC 9110](https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7);
/// or Unix seconds or milliseconds. One without a zone is Beijing's, as the vendors that write so mean it, or UTC where that has passed:
/// the earlier of the readings that are ahead.
pub(crate) fn leading_moment(text: &str, now: Timestamp) -> Option<Timestamp> {
    let text = text.trim_start_matches([' ', '"']);
    if let Some(at) = text.get(..HTTP_DATE).and_then(http_date) {
        return near(at, now);
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if let Some(number) = decimal(&text[..digits]).filter(|number| *number >= UNIX_SECONDS_ABOVE) {
        return unix(number, now);
    }
    let (date, rest) = leading_date(text, now)?;
    let (time, zone) = leading_time(rest)?;
    let local = PrimitiveDateTime::new(date, time);
    let at = |offset: UtcOffset| Some(local.assume_offset(offset).to_utc());
    match zone_of(zone.trim_start()) {
        Some(offset) => near(at(offset)?, now),
        None => [BEIJING, UtcOffset::UTC]
            .into_iter()
            .filter_map(at)
            .filter(|at| *at > now)
            .find_map(|at| near(at, now)),
    }
}

/// The time of the day that a text begins with, and what follows it; midnight where it begins with none.
fn leading_time(text: &str) -> Option<(Time, &str)> {
    let rest = text.trim_start_matches(['T', 't', ' ']);
    let digits = rest
        .bytes()
        .take_while(|byte| byte.is_ascii_digit() || matches!(byte, b':' | b'.'))
        .count();
    let (clock, rest) = rest.split_at_checked(digits)?;
    let clock = clock.trim_end_matches(['.', ':']);
    if clock.is_empty() {
        return Some((Time::MIDNIGHT, rest));
    }
    let mut parts = clock.splitn(3, ':');
    let mut part = || parts.next();
    let (hour, minute) = (part()?.parse().ok()?, part()?.parse().ok()?);
    let second = part().map_or(Some(0), |second| second.split('.').next()?.parse().ok())?;
    Some((Time::from_hms(hour, minute, second).ok()?, rest))
}

/// The date that a text begins with, and what follows it. One without its year (`11-27`) is the nearest to `now`.
fn leading_date(text: &str, now: Timestamp) -> Option<(Date, &str)> {
    let whole = |date: &str| Date::parse(&date.replace('/', "-"), DATE).ok();
    if let Some((date, rest)) = text.split_at_checked(10)
        && let Some(date) = whole(date)
    {
        return Some((date, rest));
    }
    let (day, rest) = text.split_at_checked(5)?;
    let years = now.year() - 1..=now.year() + 1;
    let dates = years.filter_map(|year| whole(&format!("{year:04}-{day}")));
    let nearest = dates.min_by_key(|date| (*date - now.date()).abs())?;
    Some((nearest, rest))
}

/// The zone that a text begins with: `Z`, `UTC`, `GMT`, `+08:00`, `+0800`, `UTC+8`.
fn zone_of(text: &str) -> Option<UtcOffset> {
    let text = text.trim_start_matches('(');
    let is_named = ["UTC", "GMT", "Z", "z"]
        .iter()
        .find(|name| text.starts_with(**name));
    let rest = is_named.map_or(text, |name| &text[name.len()..]);
    let sign = match rest.as_bytes().first() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => return is_named.map(|_| UtcOffset::UTC),
    };
    let digits: String = rest[1..]
        .chars()
        .take_while(|char| char.is_ascii_digit() || *char == ':')
        .filter(char::is_ascii_digit)
        .collect();
    let (hours, minutes) = match digits.len() {
        1 | 2 => (digits.parse().ok()?, 0),
        4 => (digits[..2].parse().ok()?, digits[2..].parse().ok()?),
        _ => return None,
    };
    let hours: i8 = hours;
    let minutes: i8 = minutes;
    UtcOffset::from_hms(sign * hours, sign * minutes, 0).ok()
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

const DATE: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");
const BEIJING: UtcOffset = offset!(+8);

/// No vendor has a longer period than a month.
const FARTHEST: Duration = Duration::from_secs(35 * 86_400);
const LARGEST_COUNT: f64 = 1e15;
const LARGEST_RATIO: f64 = 100.0;
const LONGEST_NUMBER: usize = 20;
const LONGEST_MOMENT: usize = 40;
const LONGEST_UNIT: usize = 12;
/// The length of a date in the form of RFC 9110.
const HTTP_DATE: usize = "Sun, 06 Nov 1994 08:49:37 GMT".len();
/// Days, hours, minutes, seconds, and what is below.
const MOST_PARTS: usize = 7;
const UNIX_SECONDS_ABOVE: f64 = 1e9;
const UNIX_MILLISECONDS_ABOVE: f64 = 1e12;
