//! Fields of limit headers: which window, and which number of it, in each vendor's form.

use std::borrow::Cow;
use std::time::Duration;

use super::{numbers, times};
use crate::clock::{Timestamp, later};

/// What one header says.
pub(crate) enum Field {
    Limit(u64),
    Remaining(u64),
    ResetsAt(Timestamp),
    UsedRatio(f64),
    Status(String),
    Length(Duration),
}

/// What a header says, by window.
pub(crate) fn read(header: &str, text: &str, now: Timestamp) -> Vec<(String, Field)> {
    match header {
        // https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-11, and 07 before it.
        "ratelimit" => items(text).flat_map(|item| item.limit(now)).collect(),
        "ratelimit-policy" => items(text).flat_map(Item::policy).collect(),
        _ => {
            let found = part(header);
            let said = found.and_then(|(window, field)| Some((window, said(field, text, now)?)));
            said.into_iter().collect()
        }
    }
}

/// A header's window and field.
///
/// | form | of |
/// |---|---|
/// | `x-ratelimit-FIELD[-NAME]` | OpenAI (<https://platform.openai.com/docs/guides/rate-limits>), Azure, Groq, Cerebras, Mistral, OpenRouter |
/// | `x-ratelimit-NAME-FIELD`, `x-rate-limit-FIELD` | gateways |
/// | `x-ratelimit-renewalperiod-NAME` | Azure OpenAI, in seconds |
/// | `anthropic-ratelimit-NAME-FIELD` | <https://docs.anthropic.com/en/api/rate-limits> |
/// | `x-codex-NAME-FIELD` | subscriptions to OpenAI (openai/codex, `codex-rs/codex-api/src/rate_limits.rs`) |
/// | `[x-]ratelimitbysize-FIELD[-NAME]` | Mistral |
/// | `x-tokenlimit-FIELD[-dynamic]` | Together (<https://docs.together.ai/docs/rate-limits>) |
/// | `x-trial-endpoint-call-FIELD` | Cohere's trial keys |
/// | `ratelimit-FIELD` | drafts 00 to 06 of the IETF, and gateways |
fn part(header: &str) -> Option<(String, &str)> {
    if let Some(rest) = header.strip_prefix("anthropic-ratelimit-") {
        let (window, field) = rest.rsplit_once('-')?;
        return Some((window.to_owned(), field));
    }
    let plain = header.strip_prefix("x-").unwrap_or(header);
    if let Some(rest) = either_prefix(plain, ["ratelimit-", "rate-limit-"]) {
        let (window, field) = window_and_field(rest)?;
        return Some((window.unwrap_or("default").to_owned(), field));
    }
    if let Some(rest) = plain.strip_prefix("ratelimitbysize-") {
        let (window, field) = window_and_field(rest)?;
        let window = window.map_or("size".to_owned(), |window| format!("size-{window}"));
        return Some((window, field));
    }
    if let Some(rest) = plain.strip_prefix("tokenlimit-") {
        let (window, field) = window_and_field(rest)?;
        return match window {
            None => Some(("tokens".to_owned(), field)),
            Some("dynamic") => Some(("tokens-dynamic".to_owned(), field)),
            Some(_) => None,
        };
    }
    if let Some(field) = plain.strip_prefix("trial-endpoint-call-") {
        return Some(("trial-endpoint-call-minute".to_owned(), field));
    }
    let rest = plain.strip_prefix("codex-")?;
    let fields = [
        "used-percent",
        "window-minutes",
        "reset-after-seconds",
        "reset-at",
    ];
    fields.iter().find_map(|field| {
        let window = rest.strip_suffix(field)?.strip_suffix('-')?;
        Some((format!("codex-{window}"), *field))
    })
}

fn either_prefix<'a>(text: &'a str, prefixes: [&str; 2]) -> Option<&'a str> {
    prefixes.iter().find_map(|prefix| text.strip_prefix(prefix))
}

/// The field that a name begins with, or else ends with, and the window that the rest is.
fn window_and_field(name: &str) -> Option<(Option<&str>, &'static str)> {
    let first = FIELDS.iter().find_map(|field| {
        let window = name.strip_prefix(field)?;
        let window = match window {
            "" => None,
            window => Some(window.strip_prefix('-')?),
        };
        Some((window, *field))
    });
    first.or_else(|| {
        FIELDS.iter().find_map(|field| {
            let window = name.strip_suffix(field)?.strip_suffix('-')?;
            Some((Some(window), *field))
        })
    })
}

fn said(field: &str, text: &str, now: Timestamp) -> Option<Field> {
    match field {
        // The drafts may list the policies behind the number.
        "limit" => numbers::count(text.split(',').next()?).map(Field::Limit),
        // On its way, a header that came twice may have become a list.
        "remaining" => numbers::count(text.split(", ").next()?).map(Field::Remaining),
        "reset" | "reset-after" => times::reset(text, now).map(Field::ResetsAt),
        // 0 stands for no reset that is known.
        "reset-at" => {
            let at = times::reset(text, now).filter(|_| numbers::decimal(text) != Some(0.0));
            at.map(Field::ResetsAt)
        }
        "reset-after-seconds" => {
            let wait = numbers::seconds(numbers::decimal(text)?)?;
            (!wait.is_zero()).then(|| Field::ResetsAt(later(now, wait)))
        }
        "utilization" => numbers::ratio(text).map(Field::UsedRatio),
        "used-percent" => numbers::ratio_of_percent(text).map(Field::UsedRatio),
        "window-minutes" => minutes(text).map(Field::Length),
        "renewalperiod" => {
            let length = numbers::seconds(numbers::decimal(text)?)?;
            (!length.is_zero()).then_some(Field::Length(length))
        }
        "status" => word(text).map(Field::Status),
        _ => None,
    }
}

fn minutes(text: &str) -> Option<Duration> {
    let length = numbers::seconds(numbers::decimal(text)? * 60.0)?;
    (!length.is_zero()).then_some(length)
}

/// A status: one short word.
fn word(text: &str) -> Option<String> {
    let text = text.trim();
    let plain = (1..=LONGEST_STATUS).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    plain.then(|| text.to_ascii_lowercase())
}

/// One item of a structured field (<https://www.rfc-editor.org/rfc/rfc9651>) with its parameters.
struct Item<'a> {
    name: Cow<'a, str>,
    parameters: Vec<(&'a str, &'a str)>,
}

fn items(text: &str) -> impl Iterator<Item = Item<'_>> {
    split(text, ',').take(MOST_ITEMS).map(|item| {
        let mut name = Cow::Borrowed("");
        let mut parameters = Vec::new();
        for (at, part) in split(item, ';').map(str::trim).enumerate() {
            match part.split_once('=') {
                Some((name, value)) if at > 0 => parameters.push((name.trim(), value.trim())),
                // Hugging Face writes the kind of the policy before its name (https://huggingface.co/docs/hub/rate-limits).
                _ if at == 0 || part.starts_with('"') => name = unquoted(part),
                _ => {}
            }
        }
        Item { name, parameters }
    })
}

fn unquoted(name: &str) -> Cow<'_, str> {
    let inner = name.trim_matches('"');
    if inner.contains('\\') {
        inner.replace("\\\"", "\"").replace("\\\\", "\\").into()
    } else {
        inner.into()
    }
}

impl Item<'_> {
    /// `"default";r=50;t=30`, and draft 07's `remaining=50, reset=30`.
    fn limit(self, now: Timestamp) -> Vec<(String, Field)> {
        if let Some((field, value)) = self.name.split_once('=') {
            let said = said(field.trim(), value.trim(), now);
            return said
                .map(|said| ("default".to_owned(), said))
                .into_iter()
                .collect();
        }
        self.named(|parameter, value| match parameter {
            "r" => said("remaining", value, now),
            "t" => said("reset", value, now),
            _ => None,
        })
    }

    /// `"default";q=100;w=60`, and draft 07's `100;w=60`.
    fn policy(self) -> Vec<(String, Field)> {
        self.named(|parameter, value| match parameter {
            "q" => numbers::count(value).map(Field::Limit),
            "w" => numbers::seconds(numbers::decimal(value)?).map(Field::Length),
            _ => None,
        })
    }

    fn named(&self, of: impl Fn(&str, &str) -> Option<Field>) -> Vec<(String, Field)> {
        let is_number = self.name.bytes().all(|byte| byte.is_ascii_digit());
        let name = if is_number { "default" } else { &*self.name };
        let said = self
            .parameters
            .iter()
            .filter_map(|(name, value)| of(name, value));
        said.map(|said| (name.to_owned(), said)).collect()
    }
}

/// The parts between separators that stand in no quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |char| {
        quoted ^= char == '"' && !escaped;
        escaped = quoted && char == '\\' && !escaped;
        char == separator && !quoted
    })
}

/// Of names that begin alike, the longer one first.
const FIELDS: [&str; 5] = [
    "limit",
    "remaining",
    "reset-after",
    "reset",
    "renewalperiod",
];
const MOST_ITEMS: usize = 16;
const LONGEST_STATUS: usize = 32;

#[cfg(test)]
mod tests {
    use time::macros::utc_datetime;

    use super::*;

    const NOW: Timestamp = utc_datetime!(2026-11-27 04:00);

    /// What headers say of a window, in words.
    fn words(header: &str, text: &str) -> Vec<String> {
        let seconds = |at: Timestamp| (at - NOW).as_seconds_f64();
        let word = |(window, field): (String, Field)| match field {
            Field::Limit(count) => format!("{window} has {count}"),
            Field::Remaining(count) => format!("{window} left {count}"),
            Field::ResetsAt(at) => format!("{window} resets in {}", seconds(at)),
            Field::UsedRatio(ratio) => format!("{window} used {ratio}"),
            Field::Length(length) => format!("{window} lasts {}", length.as_secs()),
            Field::Status(status) => format!("{window} is {status}"),
        };
        read(header, text, NOW).into_iter().map(word).collect()
    }

    #[test]
    fn fields_stand_before_the_window_or_behind_it() {
        for (header, text, said) in [
            ("x-ratelimit-remaining-requests", "0", "requests left 0"),
            ("x-ratelimit-requests-remaining", "0", "requests left 0"),
            ("ratelimit-requests-reset", "30", "requests resets in 30"),
            ("x-rate-limit-remaining", "0", "default left 0"),
            ("x-ratelimit-reset-after", "30", "default resets in 30"),
            (
                "x-ratelimit-reset-after-tokens",
                "30",
                "tokens resets in 30",
            ),
            (
                "ratelimitbysize-remaining-minute",
                "0",
                "size-minute left 0",
            ),
            ("x-ratelimitbysize-limit", "5", "size has 5"),
            ("x-tokenlimit-remaining", "0", "tokens left 0"),
            (
                "x-tokenlimit-remaining-dynamic",
                "0",
                "tokens-dynamic left 0",
            ),
            ("x-ratelimit-limit-dynamic", "1", "dynamic has 1"),
            ("x-ratelimit-remaining-tokens", "0, 0", "tokens left 0"),
            ("x-ratelimit-limit", "100, 100;w=60", "default has 100"),
            ("x-ratelimit-reset-tokens", "PT1M", "tokens resets in 60"),
            (
                "x-ratelimit-reset",
                "Fri, 27 Nov 2026 04:01:00 GMT",
                "default resets in 60",
            ),
            (
                "x-ratelimit-reset",
                "2026-11-27 04:01:00 +0000 UTC",
                "default resets in 60",
            ),
            (
                "x-codex-primary-used-percent",
                "100%",
                "codex-primary used 1",
            ),
            (
                "x-codex-primary-used-percent",
                "99.5 %",
                "codex-primary used 0.995",
            ),
            (
                "x-codex-primary-reset-at",
                "2026-11-27T04:01:00Z",
                "codex-primary resets in 60",
            ),
            (
                "anthropic-ratelimit-unified-5h-utilization",
                "102%",
                "unified-5h used 1.02",
            ),
            (
                "anthropic-ratelimit-unified-5h-utilization",
                "1.02",
                "unified-5h used 1.02",
            ),
        ] {
            assert_eq!(words(header, text), [said], "{header}: {text}");
        }
        for (header, text) in [
            ("x-ratelimit-remaining-requests", "-1"),
            ("x-ratelimit-remainingrequests", "0"),
            ("x-ratelimit-used", "5"),
            ("x-ratelimit-over-limit", "yes"),
            ("x-tokenlimit-remaining-x", "0"),
            ("x-codex-primary-used-percent", "%"),
            ("x-codex-primary-used-percent", "NaN"),
            ("x-codex-primary-reset-at", "0"),
            ("x-codex-primary-reset-after-seconds", "0"),
            ("anthropic-ratelimit-requests", "0"),
        ] {
            assert_eq!(words(header, text), [""; 0], "{header}: {text}");
        }
    }

    #[test]
    fn structured_fields_have_items_with_names_and_parameters() {
        for (header, text, said) in [
            (
                "ratelimit",
                "\"a\" ; r=0 ; t=42, \"b\";r=7",
                vec!["a left 0", "a resets in 42", "b left 7"],
            ),
            (
                "ratelimit",
                "a;r=0;t=42.5",
                vec!["a left 0", "a resets in 42.5"],
            ),
            ("ratelimit", "\"a,b;c\";r=0", vec!["a,b;c left 0"]),
            ("ratelimit", "\"a\\\"b,c\";r=0", vec!["a\"b,c left 0"]),
            ("ratelimit", "\"a\";r=0;pk=:dHJpYWw=:", vec!["a left 0"]),
            ("ratelimit", "\"a\";r=-1;t=x", vec![]),
            (
                "ratelimit",
                "limit=100, remaining=0, reset=50",
                vec!["default has 100", "default left 0", "default resets in 50"],
            ),
            ("ratelimit-policy", "100;w=60", vec!["default lasts 60"]),
            (
                "ratelimit-policy",
                "\"a\";q=10;w=60;qu=\"content-bytes\"",
                vec!["a has 10", "a lasts 60"],
            ),
            (
                "ratelimit-policy",
                "\"fixed window\";\"api\";q=500;w=300",
                vec!["api has 500", "api lasts 300"],
            ),
            ("ratelimit", "", vec![]),
            ("ratelimit", ";;,,=;\"", vec![]),
        ] {
            assert_eq!(words(header, text), said, "{header}: {text}");
        }
    }
}
