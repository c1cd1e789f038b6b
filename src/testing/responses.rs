//! The Responses API of an [`OpenAiUpstream`](super::OpenAiUpstream), as
//! <https://platform.openai.com/docs/api-reference/responses> and
//! <https://platform.openai.com/docs/api-reference/responses-streaming> describe it.

use serde_json::{Value, json};

use super::Reply;
use super::keys::words;

pub(super) fn whole(payload: &Value) -> Reply {
    let text = echo(payload);
    let item = message(&text, "completed");
    Reply::json(
        200,
        response(payload, "completed", Some(item), &text).to_string(),
    )
    .header("x-request-id", "req-1")
}

pub(super) fn streamed(payload: &Value) -> Reply {
    let text = echo(payload);
    let part = |text: &str| json!({"type": "output_text", "text": text, "annotations": []});
    let begun = response(payload, "in_progress", None, "");
    let mut events = vec![
        json!({"type": "response.created", "response": begun}),
        json!({"type": "response.in_progress", "response": begun}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": message("", "in_progress")}),
        of_part("response.content_part.added", json!({"part": part("")})),
    ];
    events.extend(
        text.split_inclusive(' ')
            .map(|word| of_part("response.output_text.delta", json!({"delta": word}))),
    );
    let item = message(&text, "completed");
    let complete = response(payload, "completed", Some(item.clone()), &text);
    events.extend([
        of_part("response.output_text.done", json!({"text": text})),
        of_part("response.content_part.done", json!({"part": part(&text)})),
        json!({"type": "response.output_item.done", "output_index": 0, "item": item}),
        json!({"type": "response.completed", "response": complete}),
    ]);
    let body: Vec<_> = events
        .into_iter()
        .enumerate()
        .map(|(number, mut event)| {
            event["sequence_number"] = number.into();
            let name = event["type"].as_str().unwrap_or_default();
            format!("event: {name}\ndata: {event}\n\n")
        })
        .collect();
    Reply::new(200)
        .header("content-type", "text/event-stream")
        .body(body.concat())
        .chunked()
}

/// An event about the only part of the only message.
fn of_part(kind: &str, members: Value) -> Value {
    let mut event = members;
    event["type"] = kind.into();
    event["item_id"] = "msg_1".into();
    event["output_index"] = 0.into();
    event["content_index"] = 0.into();
    event
}

fn message(text: &str, status: &str) -> Value {
    let part = json!({"type": "output_text", "text": text, "annotations": []});
    let content = if text.is_empty() { vec![] } else { vec![part] };
    json!({"type": "message", "id": "msg_1", "status": status, "role": "assistant", "content": content})
}

fn response(payload: &Value, status: &str, item: Option<Value>, text: &str) -> Value {
    let (input, output) = (words(&payload["input"]), text.split_whitespace().count());
    let usage = item.as_ref().map(|_| {
        json!({
            "input_tokens": input,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": output,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": input + output,
        })
    });
    json!({
        "id": "resp_1",
        "object": "response",
        "created_at": 1_700_000_000,
        "status": status,
        "error": null,
        "incomplete_details": null,
        "model": payload["model"],
        "output": item.into_iter().collect::<Vec<_>>(),
        "usage": usage,
    })
}

/// The input, or the text of its last item, said back.
fn echo(payload: &Value) -> String {
    let input = &payload["input"];
    let last = input.as_array().and_then(|items| items.last());
    let content = last.map_or(input, |item| &item["content"]);
    let part = content.as_array().and_then(|parts| parts.last());
    let said = part.map_or(content, |part| &part["text"]).as_str();
    format!("You said: {}", said.unwrap_or_default())
}
