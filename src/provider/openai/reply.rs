//! Plain chat completions, parsed leniently: text, reasoning, the reason of the end, usage.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::{finish_reasons, tool_calls};
use crate::provider::finish_reasons::{is_fault, is_reason};
use crate::provider::http::json::is_filled;
pub(super) use crate::provider::http::json::number;
use crate::provider::http::{Reply, ReplyReader, ReportedError};
use crate::request::Usage;

/// How chat completions are read.
pub(super) const REPLIES: ReplyReader = ReplyReader::new(read)
    .with_failure(failure)
    .with_fast_path(fast_path);

/// Read from the whole answer.
pub(super) fn read(json: &Value) -> Reply {
    let choice = json.get("choices").and_then(|choices| choices.get(0));
    let message = choice.and_then(|choice| choice.get("message"));
    Reply {
        text: text(json),
        reasoning: message.and_then(reasoning),
        tool_calls: message.map(tool_calls::of_message).unwrap_or_default(),
        finish_reason: choice.and_then(finish_reasons::reason).map(str::to_owned),
        usage: json.get("usage").and_then(usage),
    }
}

/// Why there is none: an error beside a choice, or no choice that holds anything or says why it ended.
pub(super) fn failure(json: &Value) -> Option<ReportedError> {
    let choices = json.get("choices").and_then(Value::as_array);
    let choices = choices.map_or(&[][..], Vec::as_slice);
    let is_reply = |choice| finish_reasons::is_finished(choice) || brings_something(choice);
    choices
        .iter()
        .find_map(finish_reasons::failure)
        .or_else(|| {
            let holds_none = !choices.iter().any(is_reply);
            holds_none.then(|| ReportedError::of_no_reply(json))
        })
}

/// Taken out of the ordinary answer without looking at the rest, which is several times cheaper; `None` for any other.
pub(super) fn fast_path(body: &[u8]) -> Option<Reply> {
    let body = std::str::from_utf8(body).ok()?;
    let glance: Glance<'_, GlanceChoice, GlanceUsage> = serde_json::from_str(body).ok()?;
    let is_odd = glance.is_odd();
    let [choice] = glance.choices;
    let finish_reason = choice.finish_reason;
    let has_failed = choice.error.is_some() || finish_reason.as_deref().is_some_and(is_fault);
    let message = choice.message;
    // An empty one may be no reply.
    if is_odd || has_failed || message.content.is_empty() {
        return None;
    }
    let filled = |text: &String| !text.is_empty();
    let reasoning = message.reasoning_content.filter(filled);
    Some(Reply {
        text: Some(message.content),
        tool_calls: Vec::new(),
        reasoning: reasoning.or_else(|| message.reasoning.filter(filled)),
        finish_reason: finish_reason.filter(|word| is_reason(word)),
        usage: Some(glance.usage.read()?),
    })
}

/// What the fast paths read of an answer or a chunk: its one choice, its usage, and whatever else the full reader is needed for.
#[derive(Deserialize)]
pub(super) struct Glance<'a, Choice, Usage> {
    pub(super) choices: [Choice; 1],
    pub(super) usage: Usage,
    error: Option<IgnoredAny>,
    errors: Option<IgnoredAny>,
    #[serde(rename = "type")]
    kind: Option<IgnoredAny>,
    #[serde(borrow)]
    object: Option<Cow<'a, str>>,
    base_resp: Option<IgnoredAny>,
    error_code: Option<IgnoredAny>,
    success: Option<IgnoredAny>,
    pub(super) x_groq: Option<IgnoredAny>,
}

impl<Choice, Usage> Glance<'_, Choice, Usage> {
    /// Whether something in it may mean an error.
    pub(super) fn is_odd(&self) -> bool {
        self.error.is_some()
            || self.errors.is_some()
            || self.kind.is_some()
            || self.object.as_ref().is_some_and(|object| object == "error")
            || self.base_resp.is_some()
            || self.error_code.is_some()
            || self.success.is_some()
    }
}

#[derive(Deserialize)]
struct GlanceChoice {
    message: GlanceMessage,
    finish_reason: Option<String>,
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct GlanceMessage {
    content: String,
    reasoning_content: Option<String>,
    reasoning: Option<String>,
    /// None, or the answer is read in full.
    #[serde(rename = "tool_calls")]
    _tool_calls: Option<[IgnoredAny; 0]>,
}

#[derive(Deserialize)]
struct GlanceUsage {
    prompt_tokens: u64,
    completion_tokens: u64,
    prompt_tokens_details: Option<GlanceDetails>,
    completion_tokens_details: Option<GlanceDetails>,
    // Names of other vendors for the same.
    cached_tokens: Option<IgnoredAny>,
    prompt_cache_hit_tokens: Option<IgnoredAny>,
    input_tokens: Option<IgnoredAny>,
    output_tokens: Option<IgnoredAny>,
    input_tokens_details: Option<IgnoredAny>,
    output_tokens_details: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
struct GlanceDetails {
    #[serde(rename = "cached_tokens")]
    cached: Option<u64>,
    #[serde(rename = "cache_write_tokens")]
    cache_written: Option<u64>,
    #[serde(rename = "reasoning_tokens")]
    reasoning: Option<u64>,
}

impl GlanceUsage {
    fn read(self) -> Option<Usage> {
        let others = [
            self.cached_tokens,
            self.prompt_cache_hit_tokens,
            self.input_tokens,
            self.output_tokens,
            self.input_tokens_details,
            self.output_tokens_details,
        ];
        if others.iter().any(Option::is_some) {
            return None;
        }
        let input = self.prompt_tokens_details.unwrap_or_default();
        let output = self.completion_tokens_details.unwrap_or_default();
        Some(
            Usage::new(self.prompt_tokens, self.completion_tokens)
                .with_cached(input.cached.unwrap_or_default())
                .with_cache_written(input.cache_written.unwrap_or_default())
                .with_reasoning(output.reasoning.unwrap_or_default()),
        )
    }
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

/// Whether a choice, or a piece of one, brings something: text, a tool call, a refusal, reasoning.
pub(super) fn brings_something(choice: &Value) -> bool {
    let parts = ["delta", "message"].map(|name| choice.get(name).and_then(Value::as_object));
    choice.get("text").is_some_and(is_filled)
        || parts.into_iter().flatten().any(|part| {
            part.iter()
                .any(|(name, value)| name != "role" && is_filled(value))
        })
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

/// The reasoning in a message, or in a piece of one: `reasoning_content` (<https://api-docs.deepseek.com/guides/reasoning_model>),
/// `reasoning` (<https://openrouter.ai/docs/use-cases/reasoning-tokens>, <https://console.groq.com/docs/reasoning>), which some servers send
/// both with the same text, the thinking parts of the content (<https://docs.mistral.ai/studio-api/conversations/reasoning>), or
/// `reasoning_details` alone (<https://platform.minimax.io/docs/api-reference/text-openai-api>).
pub(super) fn reasoning(message: &Value) -> Option<String> {
    let named = ["reasoning_content", "reasoning"]
        .iter()
        .find_map(|name| message.get(*name)?.as_str().filter(|text| !text.is_empty()));
    let texts = |list: &str, of: &dyn Fn(&Value) -> Option<String>| {
        let parts = message.get(list)?.as_array()?;
        let texts: String = parts.iter().filter_map(of).collect();
        Some(texts).filter(|text| !text.is_empty())
    };
    let detail = |detail: &Value| content(detail.get("text").or_else(|| detail.get("summary"))?);
    named
        .map(str::to_owned)
        .or_else(|| texts("content", &|part| content(part.get("thinking")?)))
        .or_else(|| texts("reasoning_details", &detail))
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
    let detail = |of: [&str; 2], part| {
        of.iter()
            .find_map(|name| number(usage.get(*name)?.get(part)?))
    };
    let of_input = |part| detail(["prompt_tokens_details", "input_tokens_details"], part);
    let of_output = |part| detail(["completion_tokens_details", "output_tokens_details"], part);
    // DeepSeek (https://api-docs.deepseek.com/guides/kv_cache) and Moonshot count them beside the others.
    let cached = of_input("cached_tokens")
        .or_else(|| either(["prompt_cache_hit_tokens", "cached_tokens"]))
        .unwrap_or_default();
    let written = of_input("cache_write_tokens").unwrap_or_default();
    let reasoning = of_output("reasoning_tokens").unwrap_or_default();
    Some(
        Usage::new(input.unwrap_or_default(), output.unwrap_or_default())
            .with_cached(cached)
            .with_cache_written(written)
            .with_reasoning(reasoning),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
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
            "completion_tokens_details": {"reasoning_tokens": 1, "audio_tokens": null},
        });
        let with = |name: &str, value: Value| {
            let mut answer = reply(choices.clone(), tokens.clone());
            answer[name] = value;
            answer
        };
        for (glances, answer) in [
            (true, reply(choices.clone(), tokens.clone())),
            (true, reply(choices.clone(), cached)),
            (true, with("error", Value::Null)),
            (false, with("error", json!({"message": "no"}))),
            (false, with("errors", json!([{"message": "no"}]))),
            (false, with("type", json!("error"))),
            (true, with("object", json!("chat.completion"))),
            (false, with("object", json!("error"))),
            (false, with("base_resp", json!({"status_code": 1002}))),
            (false, with("error_code", json!("ModelArts.81101"))),
            (false, with("success", json!(false))),
            (
                false,
                reply(
                    choices.clone(),
                    json!({"prompt_tokens": 1, "completion_tokens": 4, "prompt_cache_hit_tokens": 1}),
                ),
            ),
            (
                false,
                reply(
                    json!([{"message": {"content": "x"}, "finish_reason": "abort"}]),
                    tokens.clone(),
                ),
            ),
            (
                false,
                reply(json!([{"message": {"content": ""}}]), tokens.clone()),
            ),
            (false, reply(choices.clone(), Value::Null)),
            (
                false,
                reply(
                    choices.clone(),
                    json!({"prompt_tokens": 1.5, "completion_tokens": 4}),
                ),
            ),
            (false, reply(json!([]), tokens.clone())),
            (
                false,
                reply(json!([{"message": {"content": null}}]), tokens.clone()),
            ),
            (false, reply(json!([{"text": "old"}]), tokens.clone())),
        ] {
            let glanced = fast_path(answer.to_string().as_bytes());
            assert_eq!(glanced.is_some(), glances, "{answer}");
            if let Some(glanced) = glanced {
                assert_eq!(glanced, read(&answer));
            }
        }
        assert_eq!(fast_path(b"not json"), None);
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

    proptest! {
        #[test]
        fn whatever_a_glance_reads_is_what_reading_in_full_reads(
            text in "[ -~é]{0,6}",
            reason in prop::sample::select(vec!["stop", "length", "error", "abort", "ABORT", "null", "", "network_error"]),
            top in prop::collection::btree_map(odd_name(), odd_value(), 0..3),
            of_usage in prop::collection::btree_map(odd_name(), odd_value(), 0..3),
        ) {
            let mut answer = json!({
                "choices": [{"message": {"content": text}, "finish_reason": reason}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 2},
            });
            for (name, value) in of_usage {
                answer["usage"][&name] = value;
            }
            for (name, value) in top {
                answer[&name] = value;
            }
            if let Some(glanced) = fast_path(answer.to_string().as_bytes()) {
                prop_assert_eq!(ReportedError::find(&answer), None);
                prop_assert_eq!(failure(&answer), None);
                prop_assert_eq!(glanced, read(&answer));
            }
        }
    }

    fn odd_name() -> impl Strategy<Value = String> {
        prop::sample::select(vec![
            "error",
            "type",
            "object",
            "base_resp",
            "errors",
            "error_code",
            "success",
            "id",
            "prompt_tokens_details",
            "completion_tokens_details",
            "cached_tokens",
            "prompt_cache_hit_tokens",
            "input_tokens",
            "output_tokens",
        ])
        .prop_map(str::to_owned)
    }

    fn odd_value() -> impl Strategy<Value = Value> {
        prop::sample::select(vec![
            json!(null),
            json!(""),
            json!("error"),
            json!(0),
            json!(1),
            json!(2.0),
            json!(false),
            json!({}),
            json!([]),
            json!({"status_code": 1002}),
            json!({"cached_tokens": 1, "cache_write_tokens": 2, "reasoning_tokens": 3}),
            json!({"cached_tokens": null}),
            json!({"message": "m"}),
        ])
    }
}
