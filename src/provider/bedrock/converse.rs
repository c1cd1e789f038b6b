//! Converse and ConverseStream: replies, events, and what a token count takes of a request.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::provider::finish_reasons;
use crate::provider::http::call_numbers::CallNumbers;
use crate::provider::http::event_stream::{EventMeaning, StreamProtocol};
use crate::provider::http::json::{arguments, filled_text, is_filled, number};
use crate::provider::http::sse::SseEvent;
use crate::provider::http::{Reply, ReplyReader, ReportedError};
use crate::request::{StreamChunk, ToolCall, ToolCallDelta, Usage};

/// How [replies](https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html) are read.
pub(super) const REPLIES: ReplyReader = ReplyReader::new(read).with_failure(failure);

fn read(reply: &Value) -> Reply {
    let blocks = || content(reply);
    let calls = blocks().filter_map(|block| block.get("toolUse"));
    let calls = calls
        .enumerate()
        .map(|(index, call)| tool_call(call, index));
    Reply {
        text: joined(blocks().filter_map(|block| block.get("text")?.as_str())),
        reasoning: joined(blocks().filter_map(|block| {
            let text = block.pointer("/reasoningContent/reasoningText/text")?;
            filled_text(text)
        })),
        tool_calls: ToolCall::join(calls),
        finish_reason: stop_reason(reply),
        usage: usage(reply),
    }
}

/// The blocks of a reply's content.
fn content(reply: &Value) -> impl Iterator<Item = &Value> {
    let blocks = reply
        .pointer("/output/message/content")
        .and_then(Value::as_array);
    blocks.into_iter().flatten()
}

fn joined<'a>(texts: impl Iterator<Item = &'a str>) -> Option<String> {
    let texts: Vec<_> = texts.collect();
    (!texts.is_empty()).then(|| texts.concat())
}

/// A [call](https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolUseBlock.html), or its start.
fn tool_call(call: &Value, index: usize) -> ToolCallDelta {
    let word = |name| call.get(name).and_then(filled_text).map(str::to_owned);
    ToolCallDelta {
        index,
        id: word("toolUseId"),
        name: word("name"),
        arguments: arguments(call.get("input")),
    }
}

fn stop_reason(of: &Value) -> Option<String> {
    let reason = of.get("stopReason")?.as_str()?;
    finish_reasons::is_reason(reason).then(|| reason.to_owned())
}

fn fault(of: &Value) -> Option<ReportedError> {
    finish_reasons::fault(of.get("stopReason")?.as_str()?)
}

/// Why there is no reply: a fault ended it, or it has neither content nor a reason why it ended.
fn failure(reply: &Value) -> Option<ReportedError> {
    let is_empty = || content(reply).next().is_none() && stop_reason(reply).is_none();
    let no_reply = || ReportedError::of_no_reply(reply);
    fault(reply).or_else(|| is_empty().then(no_reply))
}

/// The [tokens used](https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html). What was
/// [written to and read from the cache](https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html) is counted apart there.
pub(super) fn usage(of: &Value) -> Option<Usage> {
    let usage = of.get("usage")?;
    let count = |name| usage.get(name).and_then(number);
    let (input, output) = (count("inputTokens"), count("outputTokens"));
    let [read, written] = ["cacheReadInputTokens", "cacheWriteInputTokens"]
        .map(|name| count(name).unwrap_or_default());
    input.or(output)?;
    let input = input.unwrap_or_default();
    let input = input.saturating_add(read).saturating_add(written);
    let usage = Usage::new(input, output.unwrap_or_default()).with_cached(read);
    Some(usage.with_cache_written(written))
}

/// The request of a [count](https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseTokensRequest.html), which takes a
/// part of what Converse takes. One that is a count's already stays as it is.
pub(super) fn count_payload(payload: &Bytes) -> Option<Bytes> {
    let members: Map<String, Value> = serde_json::from_slice(payload).ok()?;
    if members.contains_key("input") {
        return Some(payload.clone());
    }
    let counted = members
        .into_iter()
        .filter(|(name, _)| COUNTED.contains(&&**name));
    let counted: Map<String, Value> = counted.collect();
    Some(json!({"input": {"converse": counted}}).to_string().into())
}

const COUNTED: [&str; 4] = [
    "messages",
    "system",
    "toolConfig",
    "additionalModelRequestFields",
];

/// [Events](https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStreamOutput.html). Whole after `messageStop`, which
/// `metadata` with the usage follows, the last one.
#[derive(Default)]
pub(super) struct ConverseStream {
    /// Something of the reply has come.
    has_content: bool,
    /// The last event brought something, or began a block.
    has_progressed: bool,
    has_stopped: bool,
    calls: CallNumbers,
}

impl StreamProtocol for ConverseStream {
    fn read(&mut self, event: &SseEvent, json: Option<&Value>) -> EventMeaning {
        let Some(json) = json else {
            return EventMeaning::of_done(self.has_stopped);
        };
        let mut chunk = StreamChunk::default();
        self.has_progressed = false;
        let place = json.get("contentBlockIndex").and_then(number);
        match event.event.as_deref().unwrap_or_default() {
            "contentBlockStart" => {
                self.has_progressed = true;
                if let Some(call) = json.pointer("/start/toolUse") {
                    self.has_content = true;
                    let index = self.calls.begin(place, None);
                    chunk.tool_calls.push(tool_call(call, index));
                }
            }
            "contentBlockDelta" => {
                let delta = json.get("delta").unwrap_or(&Value::Null);
                self.has_progressed = says_something(delta);
                self.has_content |= self.has_progressed;
                let text = |path| delta.pointer(path).and_then(filled_text);
                chunk.text = text("/text").map(str::to_owned);
                chunk.reasoning = text("/reasoningContent/text").map(str::to_owned);
                if let Some((index, input)) = self.calls.begun(place).zip(text("/toolUse/input")) {
                    let call = ToolCallDelta::new(index).with_arguments(input);
                    chunk.tool_calls.push(call);
                }
            }
            "messageStop" => {
                if let Some(problem) = fault(json) {
                    return EventMeaning::Failed(problem);
                }
                self.has_progressed = true;
                self.has_stopped = true;
                chunk.finish_reason = stop_reason(json);
            }
            "metadata" => {
                chunk.usage = usage(json);
                if self.has_stopped {
                    return EventMeaning::Last(chunk);
                }
            }
            // The start, the ends of blocks, and what there may be one day.
            _ => {}
        }
        chunk.preamble = !self.has_content;
        EventMeaning::Chunk(chunk)
    }

    fn knows(&self, event: &str) -> bool {
        event.starts_with("message") || event.starts_with("contentBlock") || event == "metadata"
    }

    fn has_progressed(&self) -> bool {
        self.has_progressed
    }

    fn is_whole(&self) -> bool {
        self.has_stopped
    }

    fn missing(&self) -> &'static str {
        "no messageStop arrived"
    }
}

/// Whether a delta brings something: text, a piece of a tool's input, reasoning, a citation.
fn says_something(delta: &Value) -> bool {
    let inner = |part: &Value| match part {
        Value::Object(members) => members.values().any(is_filled),
        part => is_filled(part),
    };
    delta
        .as_object()
        .is_some_and(|members| members.values().any(inner))
}
