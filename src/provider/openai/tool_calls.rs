//! Tool calls of chat completions, whole in a message or in pieces in a stream.

use serde_json::Value;

use crate::provider::http::call_numbers::CallNumbers;
use crate::provider::http::{function_call, number};
use crate::request::{ToolCall, ToolCallDelta};

/// The tool calls of a [message](https://platform.openai.com/docs/api-reference/chat/object).
pub(super) fn of_message(message: &Value) -> Vec<ToolCall> {
    ToolCall::join(deltas(message, &mut CallNumbers::default()))
}

/// What a [delta](https://platform.openai.com/docs/api-reference/chat-streaming) adds to them.
pub(super) fn deltas(delta: &Value, numbers: &mut CallNumbers) -> Vec<ToolCallDelta> {
    let calls = delta.get("tool_calls").and_then(Value::as_array);
    let read = |call: &Value| {
        let mut delta = function_call(0, call);
        let index = call.get("index").and_then(number);
        delta.index = numbers.of_piece(index, delta.id.as_deref(), delta.name.is_some());
        delta
    };
    calls.into_iter().flatten().map(read).collect()
}
