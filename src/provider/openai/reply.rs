//! What comes back, read leniently: text and usage from where they are, nothing from where they are not.

use serde_json::Value;

pub(super) use super::super::json::number;
use crate::request::Usage;

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
