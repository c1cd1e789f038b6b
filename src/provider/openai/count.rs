//! Token counts: a chat payload in the form that the counting endpoint takes.
//!
//! The endpoint takes the input of the Responses API
//! (<https://platform.openai.com/docs/api-reference/responses/input-tokens>); how chat messages map to it is described in
//! <https://platform.openai.com/docs/guides/migrate-to-responses>.

use crate::request::Usage;
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::reply;

/// A chat payload as the endpoint's; `None` leaves a payload that already has `input`, or has no messages, as it is.
pub(super) fn responses_payload(payload: &[u8]) -> Option<Bytes> {
    let chat: Map<String, Value> = serde_json::from_slice(payload).ok()?;
    if chat.contains_key("input") {
        return None;
    }
    let messages = chat.get("messages")?.as_array()?;
    let mut counted = Map::new();
    for name in ["model", "instructions", "parallel_tool_calls"] {
        if let Some(value) = chat.get(name) {
            counted.insert(name.into(), value.clone());
        }
    }
    let input: Vec<_> = messages.iter().flat_map(items).collect();
    counted.insert("input".into(), input.into());
    if let Some(tools) = chat.get("tools").and_then(Value::as_array) {
        counted.insert("tools".into(), tools.iter().map(tool).collect());
    }
    serde_json::to_vec(&counted).ok().map(Bytes::from)
}

/// The number in the answer.
pub(super) fn usage(answer: &Value) -> Option<Usage> {
    tokens(answer).map(|tokens| Usage::new(tokens, 0))
}

fn tokens(answer: &Value) -> Option<u64> {
    ["input_tokens", "total_tokens", "prompt_tokens", "tokens"]
        .iter()
        .find_map(|name| reply::number(answer.get(*name)?))
}

/// A message, and the tool calls in it, as input items.
fn items(message: &Value) -> Vec<Value> {
    let text = |name| message.get(name).cloned().unwrap_or_default();
    if message.get("role").is_some_and(|role| role == "tool") {
        let output = message.get("content").and_then(reply::content);
        return vec![json!({
            "type": "function_call_output",
            "call_id": text("tool_call_id"),
            "output": output.unwrap_or_default(),
        })];
    }
    let mut items = Vec::new();
    if let Some(content) = message.get("content").filter(|content| !content.is_null()) {
        let role = text("role");
        let content = match content {
            Value::Array(parts) => parts.iter().map(|part| self::part(part, &role)).collect(),
            text => text.clone(),
        };
        items.push(json!({"role": role, "content": content}));
    }
    let calls = message.get("tool_calls").and_then(Value::as_array);
    for call in calls.into_iter().flatten() {
        let function = call.get("function").unwrap_or(&Value::Null);
        items.push(json!({
            "type": "function_call",
            "call_id": call.get("id"),
            "name": function.get("name"),
            "arguments": function.get("arguments"),
        }));
    }
    items
}

/// A part of a message; one of an unknown kind is left for the upstream to judge.
fn part(part: &Value, role: &Value) -> Value {
    match part.get("type").and_then(Value::as_str) {
        Some("text") => {
            let kind = if role == "assistant" {
                "output_text"
            } else {
                "input_text"
            };
            json!({"type": kind, "text": part.get("text")})
        }
        Some("image_url") => {
            let image = part.get("image_url").unwrap_or(&Value::Null);
            let mut item = json!({"type": "input_image", "image_url": image.get("url")});
            if let Some(detail) = image.get("detail") {
                item["detail"] = detail.clone();
            }
            item
        }
        _ => part.clone(),
    }
}

/// A function's definition without the wrapping that it has in the chat API.
fn tool(tool: &Value) -> Value {
    let Some(Value::Object(function)) = tool.get("function") else {
        return tool.clone();
    };
    let mut flat = function.clone();
    flat.insert("type".into(), "function".into());
    flat.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(chat: &Value) -> Option<Value> {
        let payload = responses_payload(chat.to_string().as_bytes())?;
        Some(serde_json::from_slice(&payload).unwrap())
    }

    #[test]
    fn a_chat_becomes_input_items() {
        let chat = json!({
            "model": "gpt-5", "temperature": 1, "stream": true,
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [
                    {"type": "text", "text": "What is it?"},
                    {"type": "image_url", "image_url": {"url": "data:,x", "detail": "low"}},
                ]},
                {"role": "assistant", "content": null, "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}},
                ]},
                {"role": "tool", "tool_call_id": "c1", "content": "a cat"},
                {"role": "assistant", "content": [{"type": "text", "text": "A cat."}]},
            ],
            "tools": [{"type": "function", "function": {"name": "look", "parameters": {}}}],
        });
        let expected = json!({
            "model": "gpt-5",
            "input": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [
                    {"type": "input_text", "text": "What is it?"},
                    {"type": "input_image", "image_url": "data:,x", "detail": "low"},
                ]},
                {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c1", "output": "a cat"},
                {"role": "assistant", "content": [{"type": "output_text", "text": "A cat."}]},
            ],
            "tools": [{"type": "function", "name": "look", "parameters": {}}],
        });
        assert_eq!(converted(&chat), Some(expected));
    }

    #[test]
    fn what_is_no_chat_stays_as_it_is() {
        for payload in [
            json!({"input": "x", "messages": []}),
            json!({"model": "m"}),
            json!([1]),
            json!({"messages": 1}),
        ] {
            assert_eq!(converted(&payload), None);
        }
        assert_eq!(responses_payload(b"not json"), None);
    }
}
