//! Anthropic's plain replies, parsed leniently: text, thinking, the reason of the end, usage.

use serde_json::Value;

use crate::provider::finish_reasons;
use crate::provider::http::json::{arguments, filled_text, is_filled, number};
use crate::provider::http::{Reply, ReplyReader, ReportedError};
use crate::request::{ToolCall, ToolCallDelta, Usage};

/// How messages are read.
pub(super) const REPLIES: ReplyReader = ReplyReader::new(read).with_failure(failure);

fn read(message: &Value) -> Reply {
    Reply {
        text: texts(message, "text"),
        reasoning: texts(message, "thinking").filter(|text| !text.is_empty()),
        tool_calls: tool_calls(message),
        finish_reason: stop_reason(message),
        usage: usage(message),
    }
}

/// The text of all blocks of a kind, `text` or `thinking`, of a [message](https://docs.anthropic.com/en/api/messages); `None` where there is
/// no such block.
fn texts(message: &Value, kind: &str) -> Option<String> {
    let blocks = message.get("content")?.as_array()?;
    let texts = blocks.iter().filter_map(|block| block_text(block, kind));
    let texts: Vec<_> = texts.collect();
    (!texts.is_empty()).then(|| texts.concat())
}

/// The text of a block, if it is one of that kind: `text` or `thinking`.
pub(super) fn block_text<'a>(block: &'a Value, kind: &str) -> Option<&'a str> {
    let is_of_kind = block.get("type").is_some_and(|found| found == kind);
    block.get(kind).filter(|_| is_of_kind)?.as_str()
}

fn tool_calls(message: &Value) -> Vec<ToolCall> {
    let blocks = message.get("content").and_then(Value::as_array);
    let blocks = blocks.into_iter().flatten();
    let calls = blocks.filter(|block| is_tool_call(block)).enumerate();
    ToolCall::join(calls.map(|(index, block)| tool_call(block, index)))
}

/// Whether a block is a call of the program's tool. The vendor runs those of other types itself.
pub(super) fn is_tool_call(block: &Value) -> bool {
    block.get("type").is_some_and(|kind| kind == "tool_use")
}

/// The block of a [tool call](https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/overview). In a stream its input is empty at
/// first.
pub(super) fn tool_call(block: &Value, index: usize) -> ToolCallDelta {
    let word = |name| block.get(name).and_then(filled_text).map(str::to_owned);
    ToolCallDelta {
        index,
        id: word("id"),
        name: word("name"),
        arguments: arguments(block.get("input").filter(|input| is_filled(input))),
    }
}

/// Why a message ended, as it says itself or in the `delta` of a stream.
pub(super) fn stop_reason(message: &Value) -> Option<String> {
    let reason = message.get("stop_reason")?.as_str()?;
    finish_reasons::is_reason(reason).then(|| reason.to_owned())
}

/// The fault that is the reason of the end: the vendor's own reasons are none, but others serve the API, too.
pub(super) fn fault(message: &Value) -> Option<ReportedError> {
    finish_reasons::fault(message.get("stop_reason")?.as_str()?)
}

/// Why there is no reply in a message: a fault ended it, or it has no content, and no reason why it ended.
pub(super) fn failure(message: &Value) -> Option<ReportedError> {
    let says = |name| message.get(name).is_some_and(is_filled);
    let no_reply = || ReportedError::of_no_reply(message);
    fault(message).or_else(|| (!says("content") && !says("stop_reason")).then(no_reply))
}

/// The tokens that a message used.
pub(in crate::provider) fn usage(message: &Value) -> Option<Usage> {
    let mut tally = Tally::default();
    tally.add(message.get("usage")?);
    tally.usage()
}

/// The number in the answer to a [token count](https://docs.anthropic.com/en/api/messages-count-tokens).
pub(super) fn count(answer: &Value) -> Option<Usage> {
    number(answer.get("input_tokens")?).map(|tokens| Usage::new(tokens, 0))
}

/// The counts so far. A stream tells the input at its start and the output at its end, in numbers that are
/// [cumulative](https://docs.anthropic.com/en/docs/build-with-claude/streaming) and may all come again.
#[derive(Default)]
pub(super) struct Tally {
    counts: [Option<u64>; COUNTS.len()],
}

impl Tally {
    /// Takes what `usage` tells. A count that was there does not shrink.
    pub(super) fn add(&mut self, usage: &Value) {
        for (count, name) in self.counts.iter_mut().zip(COUNTS) {
            *count = (*count).max(usage.get(name).and_then(number));
        }
    }

    /// What it comes to: the input with what was
    /// [written to and read from the cache](https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching).
    pub(super) fn usage(&self) -> Option<Usage> {
        if self.counts.iter().all(Option::is_none) {
            return None;
        }
        let [output, fresh, written, read] = self.counts.map(Option::unwrap_or_default);
        let input = fresh.saturating_add(written).saturating_add(read);
        let usage = Usage::new(input, output).with_cached(read);
        Some(usage.with_cache_written(written))
    }
}

const COUNTS: [&str; 4] = [
    "output_tokens",
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_text_is_that_of_the_text_blocks() {
        let message = json!({"content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "text", "text": "a"},
            {"type": "tool_use", "id": "t", "name": "n", "input": {"text": "x"}},
            {"type": "text", "text": "b", "citations": []},
        ]});
        assert_eq!(texts(&message, "text").as_deref(), Some("ab"));
        assert_eq!(texts(&message, "thinking").as_deref(), Some("hm"));
        for odd in [
            json!(null),
            json!({}),
            json!({"content": []}),
            json!({"content": "x"}),
            json!({"content": [{"type": "tool_use"}, 1, null, {"type": "text", "text": 1}]}),
        ] {
            assert_eq!(texts(&odd, "text"), None, "{odd}");
        }
    }

    #[test]
    fn cached_input_counts_as_input() {
        let usage = |usage: Value| usage_of(&json!({ "usage": usage }));
        assert_eq!(
            usage(
                json!({"input_tokens": 10, "cache_creation_input_tokens": 200, "cache_read_input_tokens": 3000, "output_tokens": 5})
            ),
            Some(
                Usage::new(3210, 5)
                    .with_cached(3000)
                    .with_cache_written(200)
            )
        );
        assert_eq!(
            usage(json!({"input_tokens": 7, "cache_read_input_tokens": null})),
            Some(Usage::new(7, 0))
        );
        assert_eq!(
            usage(json!({"input_tokens": u64::MAX, "cache_read_input_tokens": 1})),
            Some(Usage::new(u64::MAX, 0).with_cached(1))
        );
        for odd in [json!(null), json!({}), json!({"input_tokens": "x"})] {
            assert_eq!(usage(odd), None);
        }
    }

    fn usage_of(message: &Value) -> Option<Usage> {
        super::usage(message)
    }
}
