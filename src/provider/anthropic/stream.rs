//! Anthropic's stream protocol: the events of a streamed message, as [the vendor describes
//! them](https://docs.anthropic.com/en/docs/build-with-claude/streaming).

use serde_json::Value;

use super::reply::{self, Tally};
use crate::provider::http::call_numbers::CallNumbers;
use crate::provider::http::event_stream::{EventMeaning, StreamProtocol};
use crate::provider::http::json::{is_filled, number};
use crate::provider::http::sse::SseEvent;
use crate::request::{StreamChunk, ToolCallDelta};

/// Whole after `message_stop`, and not before.
#[derive(Default)]
pub(super) struct MessageStream {
    tally: Tally,
    /// Something of the reply has come.
    has_content: bool,
    /// The last event brought something, or began a block.
    has_progressed: bool,
    /// The reply has said why it ended.
    has_stopped: bool,
    calls: CallNumbers,
}

impl StreamProtocol for MessageStream {
    fn read(&mut self, event: &SseEvent, json: Option<&Value>) -> EventMeaning {
        let Some(json) = json else {
            // That of gateways which translate. It makes nothing whole.
            return EventMeaning::of_done(self.has_stopped);
        };
        let kind = json.get("type").and_then(Value::as_str);
        let kind = kind.or(event.event.as_deref()).unwrap_or_default();
        let mut chunk = StreamChunk::default();
        self.has_progressed = false;
        match kind {
            "message_start" => {
                chunk.usage = self.usage(json.get("message").unwrap_or(json));
            }
            "content_block_start" => {
                let block = json.get("content_block").unwrap_or(&Value::Null);
                self.has_content |= says_something(block);
                self.has_progressed = true;
                chunk.text = reply::block_text(block, "text").and_then(filled);
                chunk.reasoning = reply::block_text(block, "thinking").and_then(filled);
                if reply::is_tool_call(block) {
                    let index = self.calls.begin(place(json), None);
                    chunk.tool_calls.push(reply::tool_call(block, index));
                }
            }
            "content_block_delta" => {
                let delta = json.get("delta").unwrap_or(&Value::Null);
                self.has_progressed = says_something(delta);
                self.has_content |= self.has_progressed;
                chunk.text = delta_text(delta, "text_delta", "text");
                chunk.reasoning = delta_text(delta, "thinking_delta", "thinking");
                let arguments = delta_text(delta, "input_json_delta", "partial_json");
                if let Some((index, arguments)) = self.calls.begun(place(json)).zip(arguments) {
                    let call = ToolCallDelta::new(index).with_arguments(arguments);
                    chunk.tool_calls.push(call);
                }
            }
            "message_delta" => {
                let delta = json.get("delta").unwrap_or(&Value::Null);
                if let Some(problem) = reply::fault(delta) {
                    return EventMeaning::Failed(problem);
                }
                chunk.finish_reason = reply::stop_reason(delta);
                self.has_stopped |= chunk.finish_reason.is_some();
                self.has_progressed = true;
                chunk.usage = self.usage(json);
            }
            "message_stop" => return EventMeaning::Last(chunk),
            // Pings, the ends of blocks, and what there may be one day.
            _ => {}
        }
        chunk.preamble = !self.has_content;
        EventMeaning::Chunk(chunk)
    }

    fn knows(&self, event: &str) -> bool {
        event.starts_with("message") || event.starts_with("content_block")
    }

    fn has_progressed(&self) -> bool {
        self.has_progressed
    }

    fn missing(&self) -> &'static str {
        "no message_stop arrived"
    }
}

impl MessageStream {
    /// The tokens used so far, where `of` tells more about it.
    fn usage(&mut self, of: &Value) -> Option<crate::request::Usage> {
        self.tally.add(of.get("usage")?);
        self.tally.usage()
    }
}

/// Whether a block or a delta brings something, beside its type: text, a tool's name, thinking, a signature.
fn says_something(part: &Value) -> bool {
    part.as_object().is_some_and(|members| {
        members
            .iter()
            .any(|(name, value)| name != "type" && is_filled(value))
    })
}

/// Which block an event is about.
fn place(event: &Value) -> Option<u64> {
    event.get("index").and_then(number)
}

/// The text of a delta that is of a kind, under the name that it has there.
fn delta_text(delta: &Value, kind: &str, name: &str) -> Option<String> {
    let is_of_kind = delta.get("type").is_some_and(|found| found == kind);
    let text = delta.get(name).filter(|_| is_of_kind);
    text.and_then(Value::as_str).and_then(filled)
}

fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Usage;
    use serde_json::json;

    fn read(stream: &mut MessageStream, json: &Value) -> StreamChunk {
        match stream.read(&SseEvent::default(), Some(json)) {
            EventMeaning::Chunk(chunk) => chunk,
            _ => panic!("a chunk: {json}"),
        }
    }

    #[test]
    fn preamble_ends_with_the_first_content() {
        let start = |block: Value| json!({"type": "content_block_start", "content_block": block});
        let delta = |delta: Value| json!({"type": "content_block_delta", "delta": delta});
        for (event, preamble) in [
            (
                json!({"type": "message_start", "message": {"id": "m"}}),
                true,
            ),
            (json!({"type": "ping"}), true),
            (
                json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}),
                true,
            ),
            (json!({"type": "novel", "content": "x"}), true),
            (start(json!({"type": "text", "text": ""})), true),
            (
                start(json!({"type": "thinking", "thinking": "", "signature": ""})),
                true,
            ),
            (start(json!({"type": "text", "text": "x"})), false),
            (
                start(json!({"type": "tool_use", "id": "t", "name": "n", "input": {}})),
                false,
            ),
            (
                start(json!({"type": "redacted_thinking", "data": "x"})),
                false,
            ),
            (delta(json!({"type": "text_delta", "text": ""})), true),
            (
                delta(json!({"type": "input_json_delta", "partial_json": ""})),
                true,
            ),
            (delta(json!({"type": "text_delta", "text": "x"})), false),
            (
                delta(json!({"type": "input_json_delta", "partial_json": "{"})),
                false,
            ),
            (
                delta(json!({"type": "thinking_delta", "thinking": "hm"})),
                false,
            ),
            (
                delta(json!({"type": "signature_delta", "signature": "s"})),
                false,
            ),
            (
                delta(json!({"type": "citations_delta", "citation": {"url": "u"}})),
                false,
            ),
        ] {
            let mut stream = MessageStream::default();
            assert_eq!(read(&mut stream, &event).preamble, preamble, "{event}");
            let after = read(&mut stream, &json!({"type": "ping"}));
            assert_eq!(after.preamble, preamble, "{event}");
        }
    }

    #[test]
    fn odd_events_do_no_harm() {
        for odd in [
            json!({}),
            json!({"type": 1}),
            json!({"type": "message_start"}),
            json!({"type": "message_start", "message": []}),
            json!({"type": "content_block_start", "content_block": 1}),
            json!({"type": "content_block_delta", "delta": {"type": "text_delta", "text": null}}),
            json!({"type": "message_delta", "usage": {"output_tokens": "many"}}),
        ] {
            let chunk = read(&mut MessageStream::default(), &odd);
            assert_eq!(
                (chunk.text, chunk.usage, chunk.preamble),
                (None, None, true)
            );
        }
    }

    #[test]
    fn counts_are_cumulative() {
        let mut stream = MessageStream::default();
        let start = json!({"type": "message_start", "message": {"usage": {"input_tokens": 25, "cache_read_input_tokens": 5, "output_tokens": 1}}});
        let expected = Usage::new(30, 1).with_cached(5);
        assert_eq!(read(&mut stream, &start).usage, Some(expected));
        let delta = |usage: Value| json!({"type": "message_delta", "usage": usage});
        let first = read(&mut stream, &delta(json!({"output_tokens": 15})));
        assert_eq!(first.usage, Some(Usage::new(30, 15).with_cached(5)));
        let second = delta(json!({"input_tokens": 10_682, "output_tokens": 510}));
        assert_eq!(
            read(&mut stream, &second).usage,
            Some(Usage::new(10_687, 510).with_cached(5))
        );
    }
}
