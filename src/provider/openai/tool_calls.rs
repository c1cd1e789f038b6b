//! Tool calls of chat completions, whole in a message or in pieces in a stream.

use serde_json::Value;

use crate::provider::http::call_numbers::CallNumbers;
use crate::provider::http::json::{arguments, filled_text, number};
use crate::request::{ToolCall, ToolCallDelta};

/// The tool calls of a [message](https://platform.openai.com/docs/api-reference/chat/object).
pub(super) fn of_message(message: &Value) -> Vec<ToolCall> {
    ToolCall::join(deltas(message, &mut CallNumbers::default()))
}

/// What a [delta](https://platform.openai.com/docs/api-reference/chat-streaming) adds to them.
pub(super) fn deltas(delta: &Value, numbers: &mut CallNumbers) -> Vec<ToolCallDelta> {
    let calls = delta.get("tool_calls").and_then(Value::as_array);
    let read = |call: &Value| {
        // The input of a custom tool is plain text.
        let function = call.get("function").or_else(|| call.get("custom"));
        let member = |name: &str| function.and_then(|function| function.get(name));
        let id = call.get("id").and_then(filled_text);
        let name = member("name").and_then(filled_text);
        let index = call.get("index").and_then(number);
        ToolCallDelta {
            index: numbers.of_piece(index, id, name.is_some()),
            id: id.map(str::to_owned),
            name: name.map(str::to_owned),
            arguments: arguments(member("arguments").or_else(|| member("input"))),
        }
    };
    calls.into_iter().flatten().map(read).collect()
}
