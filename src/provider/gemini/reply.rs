//! Gemini's plain replies, parsed leniently: text, thoughts, the reason of the end, usage. See
//! <https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse>.

use serde_json::Value;

use crate::provider::finish_reasons;
use crate::provider::http::call_numbers::CallNumbers;
use crate::provider::http::{Reply, ReplyReader, ReportedError, json};
use crate::request::{ToolCall, ToolCallDelta, Usage};

/// The candidates of a response, each with its index.
pub(super) fn candidates(reply: &Value) -> impl Iterator<Item = (u64, &Value)> {
    let candidates = reply.get("candidates").and_then(Value::as_array);
    let place = |at: usize| u64::try_from(at).unwrap_or(u64::MAX);
    candidates
        .into_iter()
        .flatten()
        .enumerate()
        .map(move |(at, candidate)| {
            let index = candidate.get("index").and_then(number);
            (index.unwrap_or(place(at)), candidate)
        })
}

/// The parts of a candidate's content.
pub(super) fn parts(candidate: &Value) -> impl Iterator<Item = &Value> {
    let content = candidate.get("content");
    let parts = content.and_then(|content| content.get("parts")?.as_array());
    parts.into_iter().flatten()
}

/// How replies are read.
pub(super) const REPLIES: ReplyReader = ReplyReader::new(read).with_failure(failure);

fn read(reply: &Value) -> Reply {
    Reply {
        text: text(reply),
        reasoning: thoughts(reply),
        tool_calls: ToolCall::join(tool_calls(reply, &mut CallNumbers::default())),
        finish_reason: finish_reason(reply),
        usage: usage(reply),
    }
}

/// The text of a reply; of one that came in pieces, as a stream without events does (an array), of all of them.
pub(super) fn text(reply: &Value) -> Option<String> {
    texts(reply, false)
}

/// The text of the [thoughts](https://ai.google.dev/gemini-api/docs/thinking#summaries).
pub(super) fn thoughts(reply: &Value) -> Option<String> {
    texts(reply, true).filter(|text| !text.is_empty())
}

/// The [function calls](https://ai.google.dev/gemini-api/docs/function-calling) of the first candidate. Each comes whole.
pub(super) fn tool_calls(reply: &Value, numbers: &mut CallNumbers) -> Vec<ToolCallDelta> {
    let parts = pieces(reply).filter_map(first_candidate).flat_map(parts);
    let calls = parts.filter_map(|part| part.get("functionCall"));
    let read = |call: &Value| {
        let word = |name| {
            call.get(name)
                .and_then(json::filled_text)
                .map(str::to_owned)
        };
        ToolCallDelta {
            index: numbers.begin(None, None),
            id: word("id"),
            name: word("name"),
            arguments: json::arguments(call.get("args")),
        }
    };
    calls.map(read).collect()
}

/// Why the first candidate ended, or why the prompt was blocked.
pub(super) fn finish_reason(reply: &Value) -> Option<String> {
    let of_piece = |piece| {
        let end = first_candidate(piece).and_then(|first| reason(first, "finishReason"));
        end.or_else(|| reason(piece.get("promptFeedback")?, "blockReason"))
    };
    pieces(reply).filter_map(of_piece).last().map(str::to_owned)
}

fn texts(reply: &Value, are_thoughts: bool) -> Option<String> {
    let texts = pieces(reply).filter_map(|piece| texts_of_piece(piece, are_thoughts));
    let texts: Vec<_> = texts.collect();
    (!texts.is_empty()).then(|| texts.concat())
}

fn pieces(reply: &Value) -> impl Iterator<Item = &Value> {
    let array = reply.as_array().map(Vec::as_slice);
    array.unwrap_or(std::slice::from_ref(reply)).iter()
}

fn first_candidate(reply: &Value) -> Option<&Value> {
    let (_, first) = candidates(reply).find(|(index, _)| *index == 0)?;
    Some(first)
}

/// The text of the first candidate's thoughts, or of its other parts.
fn texts_of_piece(reply: &Value, are_thoughts: bool) -> Option<String> {
    let is_thought = |part: &Value| part.get("thought") == Some(&Value::Bool(true));
    let mut texts = parts(first_candidate(reply)?)
        .filter(|part| is_thought(part) == are_thoughts)
        .filter_map(|part| part.get("text")?.as_str())
        .peekable();
    texts.peek()?;
    Some(texts.collect())
}

/// The fault that ended a candidate: the vendor's own reasons are none, but others serve the API, too.
pub(super) fn fault(reply: &Value) -> Option<ReportedError> {
    candidates(reply)
        .find_map(|(_, candidate)| finish_reasons::fault(reason(candidate, "finishReason")?))
}

/// Why there is no reply: a fault, or no candidate with content or a reason for its end, and no reason why the prompt was blocked.
pub(super) fn failure(reply: &Value) -> Option<ReportedError> {
    if let Some(problem) = pieces(reply).find_map(fault) {
        return Some(problem);
    }
    let is_reply = |(_, candidate): (u64, &Value)| {
        reason(candidate, "finishReason").is_some() || parts(candidate).next().is_some()
    };
    let is_blocked = |piece: &Value| {
        let feedback = piece.get("promptFeedback");
        feedback.is_some_and(|feedback| reason(feedback, "blockReason").is_some())
    };
    let holds_one = |piece: &Value| is_blocked(piece) || candidates(piece).any(is_reply);
    (!pieces(reply).any(holds_one)).then(|| ReportedError::of_no_reply(reply))
}

/// The tokens used, where at least one of the numbers is there. Thoughts are output: they are charged as such.
pub(in crate::provider) fn usage(reply: &Value) -> Option<Usage> {
    pieces(reply).filter_map(usage_of_piece).last()
}

fn usage_of_piece(reply: &Value) -> Option<Usage> {
    let usage = reply.get("usageMetadata")?;
    let count = |name| usage.get(name).and_then(number);
    let input = count("promptTokenCount");
    let candidates = count("candidatesTokenCount");
    let thoughts = count("thoughtsTokenCount");
    input.or(candidates).or(thoughts)?;
    let output = candidates
        .unwrap_or_default()
        .saturating_add(thoughts.unwrap_or_default());
    let cached = count("cachedContentTokenCount").unwrap_or_default();
    let usage = Usage::new(input.unwrap_or_default(), output).with_cached(cached);
    Some(usage.with_reasoning(thoughts.unwrap_or_default()))
}

/// Why a candidate or a prompt ended; nothing where the reason is the enum's own "unspecified".
pub(super) fn reason<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    let reason = value.get(name)?.as_str()?;
    Some(reason).filter(|reason| !reason.is_empty() && !reason.ends_with("_UNSPECIFIED"))
}

/// A count: protocol buffers in JSON may write it as text, too.
pub(super) fn number(value: &Value) -> Option<u64> {
    json::number(value).or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn text_is_that_of_the_first_candidate_without_thoughts() {
        let parts = json!([
            {"text": "Hmm.", "thought": true}, {"text": "a"}, {"functionCall": {"name": "f"}},
            {"text": "b", "thought": false}, {"text": null},
        ]);
        let reply = json!({"candidates": [
            {"index": 1, "content": {"parts": [{"text": "other"}]}},
            {"index": 0, "content": {"parts": parts}},
        ]});
        assert_eq!(text(&reply).as_deref(), Some("ab"));
        let unnumbered = json!({"candidates": [{"content": {"parts": [{"text": ""}]}}]});
        assert_eq!(text(&unnumbered).as_deref(), Some(""));
        for odd in [
            json!({}),
            json!(null),
            json!({"candidates": {}}),
            json!({"candidates": [{"finishReason": "STOP"}]}),
            json!({"candidates": [{"content": {"parts": [{"thought": true, "text": "x"}]}}]}),
            json!({"promptFeedback": {"blockReason": "SAFETY"}}),
        ] {
            assert_eq!(text(&odd), None, "{odd}");
        }
    }

    #[test]
    fn usage_is_read_from_what_is_there() {
        let of = |usage: Value| super::usage(&json!({"usageMetadata": usage}));
        let full = json!({
            "promptTokenCount": 10, "candidatesTokenCount": 5, "thoughtsTokenCount": 7,
            "cachedContentTokenCount": 4, "totalTokenCount": 22,
        });
        assert_eq!(
            of(full),
            Some(Usage::new(10, 12).with_cached(4).with_reasoning(7))
        );
        assert_eq!(of(json!({"promptTokenCount": "3"})), Some(Usage::new(3, 0)));
        let huge = json!({"candidatesTokenCount": 1e300, "thoughtsTokenCount": 1});
        assert_eq!(of(huge), Some(Usage::new(0, u64::MAX).with_reasoning(1)));
        for odd in [
            json!(null),
            json!({}),
            json!({"promptTokenCount": -1}),
            json!([1]),
        ] {
            assert_eq!(of(odd), None);
        }
    }
}
