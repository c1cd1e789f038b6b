//! Lenient access to members of JSON values.

use serde_json::Value;

use crate::request::ToolCallDelta;

/// A count as vendors write it; some write `12.0`. What is above the range counts as the largest number.
///
/// ```
/// use credpool::provider::http::number;
/// use serde_json::json;
///
/// assert_eq!(number(&json!(12.0)), Some(12));
/// assert_eq!(number(&json!("12")), None);
/// ```
pub fn number(value: &Value) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be a count; above the range it saturates"
    )]
    let whole = |number: f64| (number >= 0.0).then_some(number as u64);
    value.as_u64().or_else(|| value.as_f64().and_then(whole))
}

/// The text that is not empty.
pub(crate) fn filled_text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}

/// The arguments of a tool call as text: some vendors write JSON into a string, others the JSON itself.
pub(crate) fn arguments(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// A tool call in the form that most vendors have, `{"id", "function": {"name", "arguments"}}`, whole or a piece of one, as that of the
/// reply's tool calls with this `index`. The input of OpenAI's custom tools stands for their arguments.
///
/// ```
/// use credpool::provider::http::function_call;
/// use credpool::{ToolCall, ToolCallDelta};
/// use serde_json::json;
///
/// let call = function_call(0, &json!({"id": "call_1", "function": {"name": "add", "arguments": "{\"a\":2}"}}));
/// assert_eq!(ToolCall::join([call])[0].name, "add");
/// ```
pub fn function_call(index: usize, call: &Value) -> ToolCallDelta {
    let function = call.get("function").or_else(|| call.get("custom"));
    let member = |name: &str| function.and_then(|function| function.get(name));
    let owned = |text: Option<&Value>| text.and_then(filled_text).map(str::to_owned);
    ToolCallDelta {
        index,
        id: owned(call.get("id")),
        name: owned(member("name")),
        arguments: arguments(member("arguments").or_else(|| member("input"))),
    }
}

/// Whether a value says something: neither null nor empty.
pub(crate) fn is_filled(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}
