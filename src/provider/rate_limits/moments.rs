//! Moments as servers and people write them: dates of HTTP, of RFC 3339, `2026-11-27 06:41:44`, `Nov 28, 2026 at 4:00 UTC`, `6am (UTC)`.

use std::time::Duration;

use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::{format_description, offset};
use time::{Date, Month, PrimitiveDateTime, Time, UtcOffset};

use super::numbers::{UNIX_SECONDS_ABOVE, decimal, near};
use crate::clock::{Timestamp, later};

/// A moment, and nothing else.
pub(crate) fn moment(text: &str, now: Timestamp) -> Option<Timestamp> {
    if text.len() > LONGEST {
        return None;
    }
    let read = || match leading_moment(text, now)? {
        (at, "") => Some(at),
        _ => None,
    };
    let stated = http_date(text).or_else(|| rfc3339(text));
    stated.and_then(|at| near(at, now)).or_else(read)
}

/// Unix time in seconds; in milliseconds or less where it would be too far away otherwise.
pub(crate) fn unix(number: f64, now: Timestamp) -> Option<Timestamp> {
    let mut seconds = number;
    while seconds >= UNIX_SECONDS_BELOW {
        seconds /= 1000.0;
    }
    let since = Duration::try_from_secs_f64(seconds).ok()?;
    near(later(Timestamp::UNIX_EPOCH, since), now)
}

/// Any of the three forms of [RFC 9110 section 5.6.7](https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7).
pub(crate) fn http_date(text: &str) -> Option<Timestamp> {
    let at = httpdate::parse_http_date(text).ok()?;
    let since = at.duration_since(std::time::SystemTime::UNIX_EPOCH).ok()?;
    Some(later(Timestamp::UNIX_EPOCH, since))
}

/// The form of [RFC 3339](https://www.rfc-editor.org/rfc/rfc3339).
fn rfc3339(text: &str) -> Option<Timestamp> {
    Timestamp::parse(text, &Rfc3339).ok()
}

/// The moment that a text begins with, and the rest of the text: a date with a time or without (its beginning), a time of the day with its
/// zone (the next such), the date of HTTP, or Unix time. One without a zone is Beijing's, as the vendors that write so mean it, or UTC
/// where that has passed: the earlier of the readings that are ahead.
pub(crate) fn leading_moment(text: &str, now: Timestamp) -> Option<(Timestamp, &str)> {
    let text = text.trim_start_matches([' ', '"', '*', '`', '(']);
    if let Some((date, rest)) = text.split_at_checked(HTTP_DATE)
        && let Some(at) = http_date(date)
    {
        return Some((near(at, now)?, rest));
    }
    let digits = text
        .bytes()
        .take_while(|byte| byte.is_ascii_digit() || *byte == b'.')
        .count();
    let (number, rest) = text.split_at(digits);
    if let Some(number) = decimal(number).filter(|number| *number >= UNIX_SECONDS_ABOVE) {
        return Some((unix(number, now)?, rest));
    }
    match leading_date(text, now) {
        Some((date, rest)) => {
            let rest = rest.trim_start_matches([' ', ',']);
            let rest = rest.strip_prefix("at ").unwrap_or(rest);
            let (time, rest) = leading_time(rest).unwrap_or((Time::MIDNIGHT, rest));
            let (zone, rest) = leading_zone(rest);
            Some((at(PrimitiveDateTime::new(date, time), zone, now)?, rest))
        }
        None => {
            let (time, rest) = leading_time(text)?;
            let (zone, rest) = leading_zone(rest);
            let zone = zone?;
            let today = now.checked_to_offset(zone)?.date();
            let next = [Some(today), today.next_day()]
                .into_iter()
                .flatten()
                .filter_map(|day| in_zone(PrimitiveDateTime::new(day, time), zone))
                .find(|at| *at > now);
            Some((next?, rest))
        }
    }
}

fn at(local: PrimitiveDateTime, zone: Option<UtcOffset>, now: Timestamp) -> Option<Timestamp> {
    match zone {
        Some(zone) => near(in_zone(local, zone)?, now),
        None => [BEIJING, UtcOffset::UTC]
            .into_iter()
            .filter_map(|zone| in_zone(local, zone))
            .filter(|at| *at > now)
            .find_map(|at| near(at, now)),
    }
}

fn in_zone(local: PrimitiveDateTime, zone: UtcOffset) -> Option<Timestamp> {
    local.assume_offset(zone).checked_to_utc()
}

/// The time of the day that a text begins with, and the rest of the text: `06:41`, `06:41:44.5`, `6 AM`.
fn leading_time(text: &str) -> Option<(Time, &str)> {
    let text = text.trim_start_matches(['T', 't', ' ']);
    let digits = text
        .bytes()
        .take_while(|byte| byte.is_ascii_digit() || matches!(byte, b':' | b'.'))
        .count();
    let clock = text[..digits].trim_end_matches(['.', ':']);
    let rest = &text[clock.len()..];
    let word = rest.trim_start_matches(' ').get(..2).unwrap_or_default();
    let half = ["am", "pm"]
        .iter()
        .position(|half| half.eq_ignore_ascii_case(word));
    let mut parts = clock.splitn(3, ':');
    let hour: u8 = parts.next()?.parse().ok()?;
    let minute = match parts.next() {
        Some(minute) => minute.parse().ok()?,
        // An hour alone says that it is one.
        None => half.map(|_| 0)?,
    };
    let second = match parts.next() {
        Some(second) => second.split('.').next()?.parse().ok()?,
        None => 0,
    };
    let (hour, rest) = match half {
        Some(half) if (1..=12).contains(&hour) => {
            let noon = 12 * u8::try_from(half).ok()?;
            (hour % 12 + noon, &rest.trim_start_matches(' ')[2..])
        }
        Some(_) => return None,
        None => (hour, rest),
    };
    Some((Time::from_hms(hour, minute, second).ok()?, rest))
}

/// The date that a text begins with, and the rest of the text. One without its year is the nearest to `now`.
fn leading_date(text: &str, now: Timestamp) -> Option<(Date, &str)> {
    if let Some((date, rest)) = text.split_at_checked(10)
        && let Some(date) = numeric(date)
    {
        return Some((date, rest));
    }
    if let Some((day, rest)) = text.split_at_checked(5)
        && let Some(date) = nearest(now, |year| numeric(&format!("{year:04}-{day}")))
    {
        return Some((date, rest));
    }
    named(text, now)
}

fn numeric(date: &str) -> Option<Date> {
    Date::parse(&date.replace('/', "-"), DATE).ok()
}

/// A date with its month in letters: `Nov 28, 2026`, `November 28th`, `Fri, 27 Nov 2026`, `27-Nov-26`.
fn named(text: &str, now: Timestamp) -> Option<(Date, &str)> {
    let text = match letters(text) {
        (day, rest) if is_weekday(day) => rest.trim_start_matches([',', ' ']),
        _ => text,
    };
    let (month, day, rest) = match month(text) {
        Some((month, rest)) => {
            let (day, rest) = digits(rest.trim_start_matches([' ', '.']), 2)?;
            let (suffix, after) = letters(rest);
            let rest = match suffix {
                "st" | "nd" | "rd" | "th" => after,
                _ => rest,
            };
            (month, day, rest)
        }
        None => {
            let (day, rest) = digits(text, 2)?;
            let (month, rest) = month(rest.trim_start_matches([' ', '-']))?;
            (month, day, rest)
        }
    };
    let day = u8::try_from(day).ok()?;
    let date = |year| Date::from_calendar_date(year, month, day).ok();
    if let Some((year, after)) = digits(rest.trim_start_matches([' ', ',', '-']), 4)
        && year >= 1000
        && let Some(date) = date(i32::from(year))
    {
        return Some((date, after));
    }
    Some((nearest(now, date)?, rest))
}

/// The date of the year before, this one or the next that is the nearest to `now`.
fn nearest(now: Timestamp, date: impl Fn(i32) -> Option<Date>) -> Option<Date> {
    let years = now.year() - 1..=now.year() + 1;
    years
        .filter_map(date)
        .min_by_key(|date| (*date - now.date()).abs())
}

fn month(text: &str) -> Option<(Month, &str)> {
    let (word, rest) = letters(text);
    let start = word.get(..3)?;
    let at = MONTHS
        .iter()
        .position(|month| month.eq_ignore_ascii_case(start))?;
    Some((Month::try_from(u8::try_from(at + 1).ok()?).ok()?, rest))
}

fn is_weekday(word: &str) -> bool {
    let start = word.get(..3).unwrap_or_default();
    WEEKDAYS.iter().any(|day| day.eq_ignore_ascii_case(start))
}

fn letters(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_alphabetic).count())
}

fn digits(text: &str, most: usize) -> Option<(u16, &str)> {
    let count = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at(count);
    (count <= most)
        .then(|| digits.parse().ok())?
        .map(|number| (number, rest))
}

/// The zone that a text begins with, and the rest of the text: `Z`, `UTC`, `(GMT)`, `+08:00`, `+0800 CST`, `UTC+8`.
fn leading_zone(text: &str) -> (Option<UtcOffset>, &str) {
    let start = text.trim_start_matches([' ', '(']);
    let name = ["UTC", "GMT", "Z"].iter().find(|name| {
        let found = start.get(..name.len()).unwrap_or_default();
        found.eq_ignore_ascii_case(name)
            && !start[name.len()..].starts_with(|char: char| char.is_ascii_alphabetic())
    });
    let rest = name.map_or(start, |name| &start[name.len()..]);
    let sign = match rest.as_bytes().first() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ if name.is_some() => return (Some(UtcOffset::UTC), rest.trim_start_matches(')')),
        _ => return (None, text),
    };
    let count = rest[1..]
        .bytes()
        .take_while(|byte| byte.is_ascii_digit() || *byte == b':')
        .count();
    let (offset, rest) = rest[1..].split_at(count);
    let digits = offset.replace(':', "");
    let hours_and_minutes = match digits.len() {
        1 | 2 => digits.parse().ok().map(|hours| (hours, 0)),
        4 => digits[..2].parse().ok().zip(digits[2..].parse().ok()),
        _ => None,
    };
    let zone = hours_and_minutes.and_then(|(hours, minutes): (i8, i8)| {
        UtcOffset::from_hms(sign * hours, sign * minutes, 0).ok()
    });
    // Some programs write the zone's name behind its offset, too.
    let (_, after) = letters(rest.trim_start_matches([' ', ')']));
    (zone, after.trim_start_matches(')'))
}

const DATE: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");
const BEIJING: UtcOffset = offset!(+8);
const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

const LONGEST: usize = 64;
/// The length of a date in the form of RFC 9110.
const HTTP_DATE: usize = "Sun, 06 Nov 1994 08:49:37 GMT".len();
/// A larger number of seconds is too far away: it counts milliseconds, or less.
const UNIX_SECONDS_BELOW: f64 = 1e11;

#[cfg(test)]
mod tests {
    use time::macros::utc_datetime;

    use super::*;

    const NOW: Timestamp = utc_datetime!(2026-11-27 04:00);

    #[test]
    fn moments_are_read_as_programs_and_people_write_them() {
        for (text, seconds) in [
            ("Fri, 27 Nov 2026 04:01:00 GMT", 60),
            ("Friday, 27-Nov-26 04:01:00 GMT", 60),
            ("Fri Nov 27 04:01:00 2026", 60),
            ("fri, 27 nov 2026 4:01:00 utc", 60),
            ("Mon, 27 Nov 2026 04:01:00 GMT", 60),
            ("Fri, 27 Nov 2026 12:01:00 +0800", 60),
            ("27 Nov 2026 04:01 Z", 60),
            ("2026-11-27T04:01:00Z", 60),
            ("2026-11-27t12:01:00.000+08:00", 60),
            ("2026-11-27 04:01:00", 60),
            ("2026/11/27 12:01", 60),
            ("2026-11-27 04:01:00 UTC", 60),
            ("2026-11-27 04:01:00 +0000 UTC", 60),
            ("2026-11-27 12:01:00 +0800 CST", 60),
            ("2026-12-01 at 00:00 UTC", 331_200),
            ("11-27 04:01:00 UTC", 60),
            ("Nov 28, 2026 at 4:00 UTC", 86_400),
            ("November 28th, 4:00 AM (UTC)", 86_400),
            ("Nov. 28, 4 am UTC", 86_400),
            ("14:00 UTC", 36_000),
            ("2pm (UTC)", 36_000),
            ("12 PM GMT", 28_800),
            ("12:30 AM UTC+8", 45_000),
            ("3:59 UTC", 86_340),
            ("1795752060", 60),
            ("1795752060.0", 60),
            ("1795752060000", 60),
            ("1795752060000000", 60),
            ("1795752060000000000", 60),
        ] {
            let expected = Some(later(NOW, Duration::from_secs(seconds)));
            assert_eq!(moment(text, NOW), expected, "{text}");
        }
        for text in [
            "",
            "14:00",
            "2pm",
            "3pm (America/Santiago)",
            "14 UTC",
            "25:00 UTC",
            "13 pm UTC",
            "0 am UTC",
            "May",
            "Nov 31, 2026 at 4:00 UTC",
            "Nov 28, 2026 at 4:00 UTC or so",
            "2026-13-01 04:00:00",
            "2099-11-27 04:00:00",
            "1995752060",
            "2026",
            "\u{661}\u{662}:00 UTC",
        ] {
            assert_eq!(moment(text, NOW), None, "{text}");
        }
    }

    #[test]
    fn no_time_is_too_far_away_to_be_asked_about() {
        for now in [Timestamp::MIN, Timestamp::MAX] {
            for text in [
                "14:00 +12:00",
                "0:00 -12:00",
                "11-27",
                "Nov 28",
                "9999-12-31 23:59 -12",
            ] {
                let _ = moment(text, now);
            }
        }
    }
}
