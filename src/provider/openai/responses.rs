//! The [Responses API](https://platform.openai.com/docs/api-reference/responses): its reply, and the
//! [events](https://platform.openai.com/docs/api-reference/responses-streaming) of one that is streamed.

use std::collections::BTreeSet;

use serde_json::Value;

use super::reply;
use crate::provider::http::call_numbers::CallNumbers;
use crate::provider::http::event_stream::{EventMeaning, StreamProtocol};
use crate::provider::http::json::{arguments, filled_text, is_filled, number};
use crate::provider::http::sse::SseEvent;
use crate::provider::http::{Reply, ReplyReader, ReportedError};
use crate::request::{StreamChunk, ToolCall, ToolCallDelta};

/// What is needed of a response.
pub(super) const REPLIES: ReplyReader = ReplyReader::new(read).with_failure(failure);

fn read(response: &Value) -> Reply {
    Reply {
        text: text(response),
        reasoning: reasoning(response),
        tool_calls: tool_calls(response),
        finish_reason: finish_reason(response),
        usage: response.get("usage").and_then(reply::usage),
    }
}

/// The text of the reply: the `output_text` parts of its messages. `None` where there is no message.
fn text(response: &Value) -> Option<String> {
    let mut messages = items(response, "message").peekable();
    messages.peek()?;
    let texts = messages.flat_map(|message| texts(message, "content", "output_text"));
    Some(texts.collect())
}

/// The [reasoning](https://platform.openai.com/docs/guides/reasoning) of all items: its summary, and its text, which
/// open models show.
fn reasoning(response: &Value) -> Option<String> {
    let texts = items(response, "reasoning").flat_map(|item| {
        texts(item, "summary", "summary_text").chain(texts(item, "content", "reasoning_text"))
    });
    Some(texts.collect()).filter(|text: &String| !text.is_empty())
}

/// The calls of functions and of custom tools among the items.
fn tool_calls(response: &Value) -> Vec<ToolCall> {
    let items = response.get("output").and_then(Value::as_array);
    let calls = items
        .into_iter()
        .flatten()
        .filter(|item| is_tool_call(item));
    ToolCall::join(
        calls
            .enumerate()
            .map(|(index, item)| tool_call(item, index)),
    )
}

fn is_tool_call(item: &Value) -> bool {
    is_of_type(item, "function_call") || is_of_type(item, "custom_tool_call")
}

/// The item of a [function call](https://platform.openai.com/docs/guides/function-calling), or of one of a custom tool, whose input is
/// plain text.
fn tool_call(item: &Value, index: usize) -> ToolCallDelta {
    let word = |name| item.get(name).and_then(filled_text).map(str::to_owned);
    ToolCallDelta {
        index,
        id: word("call_id").or_else(|| word("id")),
        name: word("name"),
        arguments: arguments(item.get("arguments").or_else(|| item.get("input"))),
    }
}

/// The items of the output that are of a type.
fn items<'a>(response: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let items = response.get("output").and_then(Value::as_array);
    let items = items.into_iter().flatten();
    items.filter(move |item| is_of_type(item, kind))
}

/// The texts of an item's parts that are of a type.
fn texts<'a>(item: &'a Value, parts: &str, kind: &'a str) -> impl Iterator<Item = &'a str> {
    let parts = item.get(parts).and_then(Value::as_array);
    let parts = parts.into_iter().flatten();
    parts
        .filter(move |part| is_of_type(part, kind))
        .filter_map(|part| part.get("text")?.as_str())
}

/// Why the response ended: why it is incomplete, or else its status, once that is its last.
fn finish_reason(response: &Value) -> Option<String> {
    let word = |of: &Value, name: &str| {
        let word = of.get(name)?.as_str()?;
        (!matches!(word, "" | "queued" | "in_progress")).then(|| word.to_owned())
    };
    let incomplete = response.get("incomplete_details");
    incomplete
        .and_then(|details| word(details, "reason"))
        .or_else(|| word(response, "status"))
}

/// Why the response failed, if it did, or holds no reply: no output, and nothing that says why.
pub(super) fn failure(response: &Value) -> Option<ReportedError> {
    if has_failed(response) {
        return Some(why(response));
    }
    let status = response.get("status").and_then(Value::as_str);
    let has_output = response.get("output").is_some_and(is_filled);
    // One in the background is only begun.
    let is_begun = response.get("background") == Some(&Value::Bool(true));
    let has_ended = matches!(status, Some("completed" | "incomplete" | "cancelled"));
    (!has_output && !is_begun && !has_ended).then(|| ReportedError::of_no_reply(response))
}

fn has_failed(response: &Value) -> bool {
    let status = response.get("status");
    status.is_some_and(|status| status == "failed") || response.get("error").is_some_and(is_filled)
}

fn why(response: &Value) -> ReportedError {
    let mut problem = response
        .get("error")
        .map(ReportedError::of)
        .unwrap_or_default()
        .typed_by(response);
    if problem == ReportedError::default() {
        problem.message = Some("the response failed without a reason".into());
    }
    problem
}

/// Whole after `response.completed` or `response.incomplete`, and not before.
#[derive(Default)]
pub(super) struct ResponseEvents {
    /// Something of the reply has come.
    has_content: bool,
    /// The last event brought something, or showed that work goes on.
    has_progressed: bool,
    calls: CallNumbers,
    /// The calls whose arguments have come.
    filled_calls: BTreeSet<usize>,
}

impl StreamProtocol for ResponseEvents {
    fn read(&mut self, event: &SseEvent, json: Option<&Value>) -> EventMeaning {
        // Compatible servers may end with it as with a chat; before the reply's own end it is no end.
        let Some(json) = json else {
            return EventMeaning::Cut;
        };
        // One without a type says nothing that the API knows.
        let kind = json.get("type").and_then(Value::as_str);
        let kind = kind.or(event.event.as_deref()).unwrap_or_default();
        let brings_something = has_content(kind, json);
        self.has_content |= brings_something;
        self.has_progressed = brings_something || shows_progress(kind);
        let response = json.get("response").unwrap_or(&Value::Null);
        let mut chunk = StreamChunk {
            usage: response.get("usage").and_then(reply::usage),
            preamble: !self.has_content,
            ..StreamChunk::default()
        };
        match kind {
            "response.failed" => return EventMeaning::Failed(why(response)),
            // Of the older name, gateways still make use.
            "response.completed" | "response.incomplete" | "response.done" => {
                return if has_failed(response) {
                    EventMeaning::Failed(why(response))
                } else {
                    chunk.finish_reason = finish_reason(response);
                    EventMeaning::Last(chunk)
                };
            }
            "response.output_text.delta" => chunk.text = delta(json).map(str::to_owned),
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                chunk.reasoning = delta(json).map(str::to_owned);
            }
            _ => chunk.tool_calls.extend(self.tool_call(kind, json)),
        }
        EventMeaning::Chunk(chunk)
    }

    fn knows(&self, event: &str) -> bool {
        event.starts_with("response.")
    }

    fn has_progressed(&self) -> bool {
        self.has_progressed
    }

    fn is_whole(&self) -> bool {
        // What whole streams end with is their last chunk.
        false
    }

    fn missing(&self) -> &'static str {
        "neither response.completed nor response.incomplete arrived"
    }
}

impl ResponseEvents {
    /// What an event adds to a tool call. An item that is done repeats what its deltas brought, of servers that send any.
    fn tool_call(&mut self, kind: &str, event: &Value) -> Option<ToolCallDelta> {
        let place = event.get("output_index").and_then(number);
        let delta = match kind {
            "response.output_item.added" | "response.output_item.done" => {
                let item = event.get("item").filter(|item| is_tool_call(item))?;
                let call = tool_call(item, 0);
                let begun = self.calls.begun(place).filter(|_| kind.ends_with("done"));
                let is_new = begun.is_none();
                let index = begun.unwrap_or_else(|| self.calls.begin(place, None));
                if !is_new && self.filled_calls.contains(&index) {
                    return None;
                }
                ToolCallDelta {
                    index,
                    id: call.id.filter(|_| is_new),
                    name: call.name.filter(|_| is_new),
                    arguments: call.arguments,
                }
            }
            "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
                ToolCallDelta::new(self.calls.begun(place)?).with_arguments(delta(event)?)
            }
            _ => return None,
        };
        if !delta.arguments.is_empty() {
            self.filled_calls.insert(delta.index);
        }
        Some(delta)
    }
}

/// Whether an event brings something of the reply. That something begins (`*.added`, `*.in_progress`) is not yet anything.
fn has_content(kind: &str, event: &Value) -> bool {
    match kind.rsplit('.').next() {
        Some("delta") => event
            .get("delta")
            .is_some_and(|delta| !delta.is_null() && delta != ""),
        Some("done" | "partial_image" | "incomplete") => true,
        _ => kind == "response.completed",
    }
}

/// Whether an event shows that work on the reply goes on: an item that begins, reasoning, a tool, a search. That it waits, or has been
/// taken on, does not.
fn shows_progress(kind: &str) -> bool {
    kind.starts_with("response.")
        && !matches!(
            kind,
            "response.created" | "response.queued" | "response.in_progress"
        )
}

fn delta(event: &Value) -> Option<&str> {
    event.get("delta")?.as_str().filter(|text| !text.is_empty())
}

fn is_of_type(value: &Value, kind: &str) -> bool {
    value.get("type").is_some_and(|found| found == kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn text_is_what_messages_say() {
        let response = json!({"output": [
            {"type": "reasoning", "content": [{"type": "output_text", "text": "hm"}]},
            {"type": "message", "content": [
                {"type": "output_text", "text": "a"},
                {"type": "refusal", "refusal": "no"},
                {"type": "output_text", "text": "b"},
            ]},
            {"type": "function_call", "arguments": "{}"},
            {"type": "message", "content": [{"type": "output_text", "text": "c"}, {"type": "output_text"}]},
        ]});
        assert_eq!(text(&response).as_deref(), Some("abc"));
        let silent = json!({"output": [{"type": "message", "content": []}]});
        assert_eq!(text(&silent).as_deref(), Some(""));
        for odd in [
            json!({}),
            json!([]),
            json!({"output": []}),
            json!({"output": "x"}),
            json!({"output": [{"type": "function_call"}]}),
        ] {
            assert_eq!(text(&odd), None, "{odd}");
        }
    }

    #[test]
    fn a_failure_has_a_reason() {
        let failed = json!({"status": "failed", "error": {"code": "server_error", "message": "m"}});
        assert_eq!(failure(&failed).unwrap().status(), Some(500));
        let silent = failure(&json!({"status": "failed", "error": null})).unwrap();
        assert!(silent.message.unwrap().contains("without a reason"));
        for status in ["completed", "incomplete", "cancelled"] {
            assert_eq!(failure(&json!({"status": status, "error": null})), None);
        }
        for status in ["in_progress", "queued"] {
            let begun = json!({"status": status, "output": [], "background": true});
            assert_eq!(failure(&begun), None);
            let silent = json!({"status": status, "output": []});
            assert!(failure(&silent).is_some(), "{status}");
            let output = json!({"status": status, "output": [{"type": "message"}]});
            assert_eq!(failure(&output), None);
        }
    }
}
