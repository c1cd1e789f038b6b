//! Fields of limit headers: which window, and which number of it, in each vendor's form.

use std::time::Duration;

use super::parse;
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
/// | `anthropic-ratelimit-NAME-FIELD` | <https://docs.anthropic.com/en/api/rate-limits> |
/// | `x-codex-NAME-FIELD` | subscriptions to OpenAI (openai/codex, `codex-rs/codex-api/src/rate_limits.rs`) |
/// | `[x-]ratelimitbysize-FIELD[-NAME]` | Mistral |
/// | `x-tokenlimit-FIELD` | Together (<https://docs.together.ai/docs/rate-limits>) |
/// | `x-trial-endpoint-call-FIELD` | Cohere's trial keys |
/// | `ratelimit-FIELD` | drafts 00 to 06 of the IETF |
fn part(header: &str) -> Option<(String, &str)> {
    if let Some(rest) = header.strip_prefix("x-ratelimit-") {
        return field_first(rest, "default");
    }
    let by_size = header.strip_prefix("x-").unwrap_or(header);
    if let Some(rest) = by_size.strip_prefix("ratelimitbysize-") {
        let (window, field) = field_first(rest, "")?;
        let window = format!("size-{window}");
        return Some((window.trim_end_matches('-').to_owned(), field));
    }
    if let Some(rest) = header.strip_prefix("ratelimit-") {
        return field_first(rest, "default").filter(|(window, _)| window == "default");
    }
    if let Some(rest) = header.strip_prefix("x-tokenlimit-") {
        return field_first(rest, "tokens").filter(|(window, _)| window == "tokens");
    }
    if let Some(field) = header.strip_prefix("x-trial-endpoint-call-") {
        return Some(("trial-endpoint-call-minute".to_owned(), field));
    }
    if let Some(rest) = header.strip_prefix("anthropic-ratelimit-") {
        let (window, field) = rest.rsplit_once('-')?;
        return Some((window.to_owned(), field));
    }
    let rest = header.strip_prefix("x-codex-")?;
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

fn field_first<'a>(rest: &'a str, unnamed: &str) -> Option<(String, &'a str)> {
    let (field, window) = rest.split_once('-').unwrap_or((rest, unnamed));
    let is_field = matches!(field, "limit" | "remaining" | "reset");
    is_field.then(|| (window.to_owned(), field))
}

fn said(field: &str, text: &str, now: Timestamp) -> Option<Field> {
    match field {
        // The drafts may list the policies behind the number.
        "limit" => parse::count(text.split(',').next()?).map(Field::Limit),
        "remaining" => parse::count(text).map(Field::Remaining),
        "reset" | "reset-at" => parse::reset(text, now).map(Field::ResetsAt),
        "reset-after-seconds" => {
            let wait = parse::seconds(parse::decimal(text)?)?;
            (!wait.is_zero()).then(|| Field::ResetsAt(later(now, wait)))
        }
        "utilization" => parse::ratio(text).map(Field::UsedRatio),
        "used-percent" => parse::ratio_of_percent(text).map(Field::UsedRatio),
        "window-minutes" => minutes(text).map(Field::Length),
        "status" => word(text).map(Field::Status),
        _ => None,
    }
}

fn minutes(text: &str) -> Option<Duration> {
    let length = parse::seconds(parse::decimal(text)? * 60.0)?;
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
    name: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

fn items(text: &str) -> impl Iterator<Item = Item<'_>> {
    split(text, ',').take(MOST_ITEMS).map(|item| {
        let mut parts = split(item, ';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let parameters = parts.filter_map(|part| {
            let (name, value) = part.split_once('=')?;
            Some((name.trim(), value.trim()))
        });
        Item {
            name: name.trim_matches('"'),
            parameters: parameters.collect(),
        }
    })
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
            "q" => parse::count(value).map(Field::Limit),
            "w" => parse::seconds(parse::decimal(value)?).map(Field::Length),
            _ => None,
        })
    }

    fn named(&self, of: impl Fn(&str, &str) -> Option<Field>) -> Vec<(String, Field)> {
        let is_number = self.name.bytes().all(|byte| byte.is_ascii_digit());
        let name = if is_number { "default" } else { self.name };
        let said = self
            .parameters
            .iter()
            .filter_map(|(name, value)| of(name, value));
        said.map(|said| (name.to_owned(), said)).collect()
    }
}

/// The parts between separators that stand in no quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |char| {
        quoted ^= char == '"';
        char == separator && !quoted
    })
}

const MOST_ITEMS: usize = 16;
const LONGEST_STATUS: usize = 32;
