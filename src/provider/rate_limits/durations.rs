//! Durations as servers and people write them: `6m0s`, `about 2 minutes`, `PT1M30S`, `1.02:03:04`.

use std::time::Duration;

use super::numbers::{decimal, plausible};

/// A duration, and nothing else.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let (wait, rest) = leading_duration(text.trim())?;
    rest.is_empty().then_some(wait)
}

/// The duration that a text begins with, and the rest of the text.
pub(crate) fn leading_duration(text: &str) -> Option<(Duration, &str)> {
    let text = unhedged(text);
    let (wait, rest) = iso_8601(text)
        .or_else(|| by_the_clock(text))
        .or_else(|| with_units(text))?;
    Some((plausible(wait)?, rest))
}

/// The text behind marks and words that make a number no other: `~30s`, `**30s**`, `about 30 seconds`.
fn unhedged(text: &str) -> &str {
    let mut text = text;
    loop {
        let next =
            text.trim_start_matches(|char: char| char.is_whitespace() || MARKS.contains(&char));
        let next = HEDGES
            .iter()
            .find_map(|hedge| next.strip_prefix(*hedge))
            .unwrap_or(next);
        if next.len() == text.len() {
            return text;
        }
        text = next;
    }
}

/// Numbers with units, added up: `1h2m3.5s`, `2 hours and 5 minutes`, `a minute`.
fn with_units(text: &str) -> Option<(Duration, &str)> {
    if let Some((unit, rest)) = ["a ", "an ", "one "]
        .iter()
        .find_map(|one| unit(text.strip_prefix(*one)?))
    {
        return Some((scaled(1.0, unit)?, rest));
    }
    let mut rest = text;
    let mut sum = None;
    for _ in 0..MOST_PARTS {
        let next = rest.trim_start_matches([' ', ',']);
        let next = next.strip_prefix("and ").unwrap_or(next);
        let Some((part, after)) = number_and_unit(next) else {
            break;
        };
        sum = Some(sum.unwrap_or(Duration::ZERO).checked_add(part)?);
        rest = after;
    }
    Some((sum?, rest))
}

fn number_and_unit(text: &str) -> Option<(Duration, &str)> {
    let (number, rest) = number(text)?;
    let (unit, rest) = unit(rest.trim_start_matches(' '))?;
    Some((scaled(number, unit)?, rest))
}

/// The unit that a text begins with, in seconds.
fn unit(text: &str) -> Option<(f64, &str)> {
    let letters = text.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (word, rest) = text.split_at(letters);
    if word.is_empty() {
        // What follows is written without a blank.
        return SIGNS
            .iter()
            .find_map(|(sign, scale)| Some((*scale, text.strip_prefix(*sign)?)));
    }
    UNITS
        .iter()
        .find(|(names, _)| names.iter().any(|name| name.eq_ignore_ascii_case(word)))
        .map(|(_, scale)| (*scale, rest))
}

/// A [duration of ISO 8601](https://www.rfc-editor.org/rfc/rfc3339#appendix-A) without years and months.
fn iso_8601(text: &str) -> Option<(Duration, &str)> {
    let mut rest = text.strip_prefix(['P', 'p'])?;
    let mut is_time = false;
    let mut sum = None;
    for _ in 0..MOST_PARTS {
        if !is_time && let Some(time) = rest.strip_prefix(['T', 't']) {
            is_time = true;
            rest = time;
        }
        let Some((count, after)) = number(rest) else {
            break;
        };
        let designator = after.chars().next()?.to_ascii_uppercase();
        let scale = match (is_time, designator) {
            (false, 'W') => WEEK,
            (false, 'D') => DAY,
            (true, 'H') => HOUR,
            (true, 'M') => MINUTE,
            (true, 'S') => 1.0,
            _ => return None,
        };
        sum = Some(
            sum.unwrap_or(Duration::ZERO)
                .checked_add(scaled(count, scale)?)?,
        );
        rest = &after[1..];
    }
    Some((sum?, rest))
}

/// Hours, minutes and seconds, perhaps behind days, as .NET writes a span
/// (<https://learn.microsoft.com/dotnet/standard/base-types/standard-timespan-format-strings>): `00:01:30`, `1.02:03:04`.
fn by_the_clock(text: &str) -> Option<(Duration, &str)> {
    let end = text
        .find(|char: char| !char.is_ascii_digit() && !matches!(char, ':' | '.'))
        .unwrap_or(text.len());
    let span = text[..end].trim_end_matches(['.', ':']);
    let mut parts = span.splitn(3, ':');
    let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next()?);
    let (days, hours) = hours.split_once('.').unwrap_or(("0", hours));
    let parts = [
        (days, DAY),
        (hours, HOUR),
        (minutes, MINUTE),
        (seconds, 1.0),
    ];
    let seconds: Option<f64> = parts
        .iter()
        .map(|(number, scale)| Some(decimal(number)? * scale))
        .sum();
    Some((scaled(seconds?, 1.0)?, &text[span.len()..]))
}

/// The plain number that a text begins with.
fn number(text: &str) -> Option<(f64, &str)> {
    let digits = text
        .bytes()
        .take_while(|byte| byte.is_ascii_digit() || *byte == b'.')
        .count();
    let (number, rest) = text.split_at(digits);
    Some((decimal(number)?, rest))
}

fn scaled(number: f64, scale: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(number * scale).ok()
}

const MINUTE: f64 = 60.0;
const HOUR: f64 = 3600.0;
const DAY: f64 = 86_400.0;
const WEEK: f64 = 7.0 * DAY;

const UNITS: [(&[&str], f64); 8] = [
    (&["ns"], 1e-9),
    (&["us"], 1e-6),
    (&["ms", "millisecond", "milliseconds"], 1e-3),
    (&["s", "sec", "secs", "second", "seconds"], 1.0),
    (&["m", "min", "mins", "minute", "minutes"], MINUTE),
    (&["h", "hr", "hrs", "hour", "hours"], HOUR),
    (&["d", "day", "days"], DAY),
    (&["w", "week", "weeks"], WEEK),
];

/// Microseconds, and Chinese: milliseconds, seconds, minutes, hours (three words), days.
const SIGNS: [(&str, f64); 9] = [
    ("\u{b5}s", 1e-6),
    ("\u{3bc}s", 1e-6),
    ("\u{6beb}\u{79d2}", 1e-3),
    ("\u{79d2}", 1.0),
    ("\u{5206}", MINUTE),
    ("\u{5c0f}\u{65f6}", HOUR),
    ("\u{4e2a}\u{5c0f}\u{65f6}", HOUR),
    ("\u{65f6}", HOUR),
    ("\u{5929}", DAY),
];

const MARKS: [char; 7] = ['~', '*', '`', '"', '\'', '(', '\u{2248}'];
const HEDGES: [&str; 6] = [
    "about ",
    "approximately ",
    "around ",
    "roughly ",
    "at least ",
    "another ",
];

/// Days, hours, minutes, seconds, and what is below.
const MOST_PARTS: usize = 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_programs_and_people_write_them() {
        for (text, seconds) in [
            ("PT30S", 30.0),
            ("PT1M30.5S", 90.5),
            ("P1DT2H", 93_600.0),
            ("P1W", 604_800.0),
            ("pt5m", 300.0),
            ("00:01:30", 90.0),
            ("02:03:04.5", 7384.5),
            ("1.02:03:04", 93_784.0),
            ("1 week", 604_800.0),
            ("2w", 1_209_600.0),
            ("17\u{b5}s", 0.000_017),
            ("~30s", 30.0),
            ("about 30 seconds", 30.0),
            ("approximately ~2 minutes", 120.0),
            ("a minute", 60.0),
            ("an hour", 3600.0),
            ("one day", 86_400.0),
            ("2 hours and 5 minutes", 7500.0),
            ("30\u{79d2}", 30.0),
            ("5 \u{5206}", 300.0),
            ("2\u{5c0f}\u{65f6}", 7200.0),
        ] {
            let expected = Some(Duration::from_secs_f64(seconds));
            assert_eq!(duration(text), expected, "{text}");
        }
        for (text, seconds, rest) in [
            ("**30s** or later", 30, "** or later"),
            ("\u{a0}30 s.", 30, "."),
            ("`1m`", 60, "`"),
            ("PT30S.", 30, "."),
            ("00:01:30.", 90, "."),
            ("30 \u{79d2}\u{540e}", 30, "\u{540e}"),
            ("5 \u{5206}\u{949f}", 300, "\u{949f}"),
            ("5 minutes a day", 300, " a day"),
        ] {
            let expected = Some((Duration::from_secs(seconds), rest));
            assert_eq!(leading_duration(text), expected, "{text}");
        }
        for text in [
            "P",
            "PT",
            "P1Y",
            "P1M",
            "PT1D",
            "PT-5S",
            "PT5",
            "Please",
            "00:30",
            "1:2:3:4",
            "::",
            "a moment",
            "a few minutes",
            "another",
            "~",
            "30\u{5e74}",
            "P40D",
            "99999999:00:00",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
