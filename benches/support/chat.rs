//! What the upstreams of the benches answer: a chat completion, whole and as events, with the members that
//! [the API's reference](https://platform.openai.com/docs/api-reference/chat/object) shows.

use serde_json::{Value, json};

/// The head of a stream in HTTP chunks.
pub(crate) const STREAM_HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// What ends a stream in HTTP chunks.
pub(crate) const STREAM_END: &str = "0\r\n\r\n";

/// Head and body of a whole completion.
pub(crate) fn plain_answer() -> String {
    let body = json!({
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "object": "chat.completion",
        "created": 1_741_569_952,
        "model": "gpt-5",
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": "word ".repeat(60), "refusal": null, "annotations": []},
            "logprobs": null,
            "finish_reason": "stop",
        }],
        "usage": {
            "prompt_tokens": 100,
            "completion_tokens": 60,
            "total_tokens": 160,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        "service_tier": "default",
    })
    .to_string();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_1\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// An event with a word, as an HTTP chunk.
pub(crate) fn event() -> String {
    chunk(&completion_chunk(
        &json!({"content": " word"}),
        &json!(null),
    ))
}

/// The event that ends the choice, and the one behind it that ends the stream, as HTTP chunks.
pub(crate) fn finish() -> String {
    let last = completion_chunk(&json!({}), &json!("stop"));
    chunk(&last) + &chunk("data: [DONE]\n\n")
}

fn completion_chunk(delta: &Value, finish_reason: &Value) -> String {
    let data = json!({
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "object": "chat.completion.chunk",
        "created": 1_741_569_952,
        "model": "gpt-5",
        "service_tier": "default",
        "system_fingerprint": "fp_44709d6fcb",
        "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason}],
        "usage": null,
    });
    format!("data: {data}\n\n")
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}
