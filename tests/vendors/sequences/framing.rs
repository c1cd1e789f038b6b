//! The same events, written in all the ways that the standard knows.

use super::{Body, Case, Want, data, named};
use crate::replay::Api;
use serde_json::json;

const STANDARD: &str =
    "https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation";

/// A reply `fine` in two pieces, as each interface sends it.
fn reply(api: Api) -> String {
    match api {
        Api::Chat => data(&[super::said("fi"), super::said("ne"), super::stop()]),
        Api::Responses => named(&[
            json!({"type": "response.output_text.delta", "delta": "fi"}),
            json!({"type": "response.output_text.delta", "delta": "ne"}),
            json!({"type": "response.completed", "response": {"status": "completed", "output": []}}),
        ]),
        Api::Messages => named(&[
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "fi"}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "ne"}}),
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}),
            json!({"type": "message_stop"}),
        ]),
        Api::Cohere => named(&[
            json!({"type": "content-delta", "delta": {"message": {"content": {"text": "fi"}}}}),
            json!({"type": "content-delta", "delta": {"message": {"content": {"text": "ne"}}}}),
            json!({"type": "message-end", "delta": {"finish_reason": "COMPLETE"}}),
        ]),
        Api::Gemini => data(&[
            json!({"candidates": [{"content": {"parts": [{"text": "fi"}]}}]}),
            json!({"candidates": [{"content": {"parts": [{"text": "ne"}]}, "finishReason": "STOP"}]}),
        ]),
        _ => unreachable!("of its vendor's framing"),
    }
}

/// The text with each event's JSON printed for people, a `data` line for each of its lines.
fn printed(text: &str) -> String {
    let line = |line: &str| match line.strip_prefix("data: ") {
        Some(text) => {
            let json: serde_json::Value = serde_json::from_str(text).unwrap();
            let lines = serde_json::to_string_pretty(&json).unwrap();
            format!("data: {}\n", lines.replace('\n', "\ndata: "))
        }
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// The fields of each event from the last to the first.
fn backwards(text: &str) -> String {
    let event = |event: &str| {
        let lines: Vec<_> = event.lines().rev().collect();
        lines.join("\n") + "\n\n"
    };
    text.split_terminator("\n\n").map(event).collect()
}

pub fn cases() -> Vec<Case> {
    let ways: [(&str, fn(&str) -> String); 11] = [
        ("JSON over several lines", printed),
        ("JSON over several lines, which end in CR", |text| {
            printed(text).replace('\n', "\r")
        }),
        ("lines that end in CR", |text| text.replace('\n', "\r")),
        ("lines that end in CRLF", |text| text.replace('\n', "\r\n")),
        ("no blank behind the colon", |text| {
            text.replace(": {", ":{")
        }),
        ("comments inside events", |text| {
            text.replace("data: ", ": keep-alive\ndata: ")
        }),
        ("ids and times to wait", |text| {
            text.replace("data: ", "id: 7\nretry: 3000\ndata: ")
        }),
        ("fields that nobody knows", |text| {
            text.replace("data: ", "trace: {\ndata: ")
        }),
        ("the name behind the data", backwards),
        ("more blank lines than one", |text| {
            text.replace("\n\n", "\n\n\n\n")
        }),
        ("a byte order mark and blank lines first", |text| {
            format!("\u{feff}\n\n{text}")
        }),
    ];
    let mut cases = Vec::new();
    for api in Api::ALL {
        for (name, way) in ways {
            cases.push(Case {
                vendor: "any server",
                name: format!("{api:?}: {name}"),
                source: STANDARD,
                api,
                payload: None,
                body: Body::Stream(way(&reply(api))),
                want: Want::Whole("fine", None),
            });
        }
    }
    cases
}
