//! What comes back, read leniently: text and usage from where they are, nothing from where they are not.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::request::Usage;

/// What is needed of a chat completion.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) text: Option<String>,
    pub(super) usage: Option<Usage>,
}

impl Reply {
    /// Read from the whole answer.
    pub(super) fn read(json: &Value) -> Self {
        Self {
            text: text(json),
            usage: json.get("usage").and_then(usage),
        }
    }

    /// Taken out of the ordinary answer without looking at the rest, which is several times cheaper; `None` for any other.
    pub(super) fn glance(body: &[u8]) -> Option<Self> {
        let glance: Glance = serde_json::from_str(std::str::from_utf8(body).ok()?).ok()?;
        if glance.error.is_some() || glance.kind.is_some() {
            return None;
        }
        let [choice] = glance.choices;
        let usage = glance.usage;
        let cached = usage
            .prompt_tokens_details
            .map_or(0, |details| details.cached_tokens);
        let used = Usage::new(usage.prompt_tokens, usage.completion_tokens);
        Some(Self {
            text: Some(choice.message.content),
            usage: Some(used.with_cached(cached)),
        })
    }
}

/// The ordinary answer: one choice with text, and the tokens used.
#[derive(Deserialize)]
struct Glance {
    choices: [GlanceChoice; 1],
    usage: GlanceUsage,
    error: Option<IgnoredAny>,
    #[serde(rename = "type")]
    kind: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct GlanceChoice {
    message: GlanceMessage,
}

#[derive(Deserialize)]
struct GlanceMessage {
    content: String,
}

#[derive(Deserialize)]
struct GlanceUsage {
    prompt_tokens: u64,
    completion_tokens: u64,
    prompt_tokens_details: Option<GlanceDetails>,
}

#[derive(Deserialize)]
struct GlanceDetails {
    #[serde(default)]
    cached_tokens: u64,
}

/// The text of the first choice: `message.content`, a string or a list of parts; in the older completions API, `text`.
pub(super) fn text(reply: &Value) -> Option<String> {
    let choice = reply.get("choices")?.get(0)?;
    let message = choice.get("message");
    content(
        message
            .and_then(|message| message.get("content"))
            .or_else(|| choice.get("text"))?,
    )
}

/// Text as a string or as a list of parts, of which those with text count.
pub(super) fn content(content: &Value) -> Option<String> {
    match content {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => {
            let texts = parts
                .iter()
                .filter_map(|part| part.get("text").unwrap_or(part).as_str());
            Some(texts.collect())
        }
        _ => None,
    }
}

/// The tokens used, where at least one of the numbers is there. The names are those of the
/// [chat completions API](https://platform.openai.com/docs/api-reference/chat/object), then of the
/// [Responses API](https://platform.openai.com/docs/api-reference/responses/object).
pub(super) fn usage(usage: &Value) -> Option<Usage> {
    let either = |names: [&str; 2]| names.iter().find_map(|name| number(usage.get(*name)?));
    let input = either(["prompt_tokens", "input_tokens"]);
    let output = either(["completion_tokens", "output_tokens"]);
    if input.is_none() && output.is_none() {
        return None;
    }
    let cached = ["prompt_tokens_details", "input_tokens_details"]
        .iter()
        .find_map(|name| number(usage.get(*name)?.get("cached_tokens")?));
    let used = Usage::new(input.unwrap_or_default(), output.unwrap_or_default());
    Some(used.with_cached(cached.unwrap_or_default()))
}

/// A count; servers also write `12.0`.
pub(super) fn number(value: &Value) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be a count; above the range it saturates"
    )]
    let whole = |number: f64| (number >= 0.0).then_some(number as u64);
    value.as_u64().or_else(|| value.as_f64().and_then(whole))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn text_is_found_in_its_forms() {
        let reply = |message: Value| text(&json!({"choices": [{"message": message}]}));
        assert_eq!(reply(json!({"content": "hi"})).as_deref(), Some("hi"));
        let parts = json!([{"type": "text", "text": "a"}, {"type": "image"}, "b", {"text": null}]);
        assert_eq!(reply(json!({"content": parts})).as_deref(), Some("ab"));
        assert_eq!(reply(json!({"content": null})), None);
        assert_eq!(
            text(&json!({"choices": [{"text": "old"}]})).as_deref(),
            Some("old")
        );
        for odd in [
            json!({}),
            json!([]),
            json!({"choices": []}),
            json!({"choices": {"0": 1}}),
            json!(null),
        ] {
            assert_eq!(text(&odd), None);
        }
    }

    #[test]
    fn a_glance_sees_what_reading_in_full_sees_or_nothing() {
        let reply = |choices: Value, usage: Value| json!({"choices": choices, "usage": usage});
        let choices = json!([{"message": {"content": "hi \u{e9}", "refusal": null}}]);
        let tokens = json!({"prompt_tokens": 3, "completion_tokens": 4});
        let cached = json!({
            "prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 2},
        });
        for (glances, answer) in [
            (true, reply(choices.clone(), tokens.clone())),
            (true, reply(choices.clone(), cached)),
            (
                true,
                json!({"error": null, "choices": choices, "usage": tokens}),
            ),
            (
                false,
                json!({"error": {"message": "no"}, "choices": choices, "usage": tokens}),
            ),
            (
                false,
                json!({"type": "error", "choices": choices, "usage": tokens}),
            ),
            (false, reply(choices.clone(), Value::Null)),
            (
                false,
                reply(
                    choices,
                    json!({"prompt_tokens": 1.5, "completion_tokens": 4}),
                ),
            ),
            (false, reply(json!([]), tokens.clone())),
            (
                false,
                reply(json!([{"message": {"content": null}}]), tokens.clone()),
            ),
            (false, reply(json!([{"text": "old"}]), tokens)),
        ] {
            let glanced = Reply::glance(answer.to_string().as_bytes());
            assert_eq!(glanced.is_some(), glances, "{answer}");
            if let Some(glanced) = glanced {
                assert_eq!(glanced, Reply::read(&answer));
            }
        }
        assert_eq!(Reply::glance(b"not json"), None);
    }

    #[test]
    fn usage_is_read_from_what_is_there() {
        let full = json!({"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}});
        assert_eq!(usage(&full), Some(Usage::new(10, 5).with_cached(4)));
        assert_eq!(
            usage(&json!({"input_tokens": 3.0, "output_tokens": null})),
            Some(Usage::new(3, 0))
        );
        for odd in [
            json!(null),
            json!({}),
            json!({"prompt_tokens": -1}),
            json!({"prompt_tokens": "x"}),
        ] {
            assert_eq!(usage(&odd), None);
        }
        assert_eq!(
            usage(&json!({"prompt_tokens": 1e300})),
            Some(Usage::new(u64::MAX, 0))
        );
    }
}
