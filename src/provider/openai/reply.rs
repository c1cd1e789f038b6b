//! What comes back, read leniently: text and usage from where they are, nothing from where they are not.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::super::json::is_filled;
pub(super) use super::super::json::number;
use super::super::problem::Problem;
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

    /// Why there is none, where the answer says so beside a choice.
    pub(super) fn failure(json: &Value) -> Option<Problem> {
        let choices = json.get("choices")?.as_array()?;
        choices.iter().find_map(failure)
    }

    /// Taken out of the ordinary answer without looking at the rest, which is several times cheaper; `None` for any other.
    pub(super) fn glance(body: &[u8]) -> Option<Self> {
        let glance: Glance<'_> = serde_json::from_str(std::str::from_utf8(body).ok()?).ok()?;
        if glance.error.is_some() || glance.kind.is_some() {
            return None;
        }
        let [choice] = glance.choices;
        if choice.error.is_some() || choice.finish_reason.is_some_and(|reason| reason == "error") {
            return None;
        }
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
struct Glance<'a> {
    #[serde(borrow)]
    choices: [GlanceChoice<'a>; 1],
    usage: GlanceUsage,
    error: Option<IgnoredAny>,
    #[serde(rename = "type")]
    kind: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct GlanceChoice<'a> {
    message: GlanceMessage,
    #[serde(borrow)]
    finish_reason: Option<Cow<'a, str>>,
    error: Option<IgnoredAny>,
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

/// Why a choice failed, if it did: gateways put an error beside what a reply has come to
/// (<https://openrouter.ai/docs/api/reference/errors-and-debugging>), or name it as the reason of the end.
pub(super) fn failure(choice: &Value) -> Option<Problem> {
    let error = choice.get("error").filter(|error| is_filled(error));
    let failed = choice
        .get("finish_reason")
        .is_some_and(|reason| reason == "error");
    if error.is_none() && !failed {
        return None;
    }
    let mut problem = Problem::find(choice).unwrap_or_default();
    if problem == Problem::default() {
        problem.message = Some("the reply failed, and the upstream does not say why".into());
    }
    Some(problem)
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
