//! The events of a chat completion that is streamed.

use serde_json::Value;

use super::super::json::is_filled;
use super::super::sse::SseEvent;
use super::super::stream::{Protocol, Said};
use super::reply;
use crate::request::StreamChunk;

/// Whole after `[DONE]`, or after a choice has said why it ended.
#[derive(Default)]
pub(super) struct ChatCompletion {
    finished: bool,
    /// Something of the reply has come.
    has_content: bool,
}

impl Protocol for ChatCompletion {
    fn read(&mut self, _: &SseEvent, json: Option<&Value>) -> Said {
        let Some(json) = json else {
            return Said::End;
        };
        let choices = json.get("choices").and_then(Value::as_array);
        let choices = choices.map_or(&[][..], Vec::as_slice);
        self.finished |= choices.iter().any(is_finished);
        self.has_content |= choices.iter().any(has_content);
        Said::Chunk(StreamChunk {
            text: text(choices),
            usage: json.get("usage").and_then(reply::usage),
            preamble: !self.has_content,
            ..StreamChunk::default()
        })
    }

    fn is_whole(&self) -> bool {
        self.finished
    }

    fn missing(&self) -> &'static str {
        "neither [DONE] nor a finish_reason came"
    }
}

/// What the chunk adds to the first choice.
fn text(choices: &[Value]) -> Option<String> {
    let first = choices
        .iter()
        .find(|choice| choice.get("index").and_then(Value::as_u64).unwrap_or(0) == 0)?;
    let delta = first.get("delta").and_then(|delta| delta.get("content"));
    reply::content(delta.or_else(|| first.get("text"))?).filter(|text| !text.is_empty())
}

fn is_finished(choice: &Value) -> bool {
    choice
        .get("finish_reason")
        .is_some_and(|reason| !reason.is_null())
}

/// Whether a choice brings something: text, a tool call, a refusal, reasoning, or its end.
fn has_content(choice: &Value) -> bool {
    let delta = choice.get("delta").and_then(Value::as_object);
    is_finished(choice)
        || choice.get("text").is_some_and(is_filled)
        || delta.is_some_and(|delta| {
            delta
                .iter()
                .any(|(name, value)| name != "role" && is_filled(value))
        })
}
