//! The parts of a reply beside its text, in the vendors' documented shapes: reasoning and the reason of the end, plain and streamed.

use credpool::testing::Reply;
use serde_json::{Value, json};

use crate::replay::{Api, Play, Played, events};

/// What a plain answer or a stream holds.
struct Case {
    name: &'static str,
    /// The page that shows it.
    source: &'static str,
    api: Api,
    body: Body,
    text: &'static str,
    reasoning: &'static str,
    finish_reason: &'static str,
}

pub enum Body {
    Plain(Value),
    Events(Vec<Value>),
}

impl Body {
    /// What a call comes to: a plain one, or a stream, by chunks and as one response.
    pub fn played(&self, api: Api) -> Vec<Played> {
        let play = || Play::new(api);
        match self {
            Self::Plain(body) => vec![play().plain(Reply::json(200, body.to_string()))],
            Self::Events(all) => {
                let texts = all.iter().map(|event| format!("data: {event}\n\n"));
                let answer = events(texts.collect::<String>());
                vec![play().stream(answer.clone()), play().collected(answer)]
            }
        }
    }
}

impl Case {
    /// What is not as it should be.
    fn check(&self) -> Option<String> {
        let is_wrong = |played: &Played| {
            played.error.is_some()
                || played.text != self.text
                || played.reasoning != self.reasoning
                || played.finish_reason.as_deref() != Some(self.finish_reason)
                || !played.tool_calls.is_empty()
        };
        let wrong = self.body.played(self.api).into_iter().find(is_wrong)?;
        let (name, source) = (self.name, self.source);
        Some(format!("{:?}, {name}: {wrong:?} ({source})", self.api))
    }
}

#[test]
fn reasoning_and_the_reason_of_the_end_are_read_in_every_vendors_shapes() {
    let all = [chat(), responses(), messages(), gemini()].into_iter();
    let wrong: Vec<_> = all.flatten().filter_map(|case| case.check()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn chat() -> Vec<Case> {
    let plain = |message: Value, reason: &str| {
        let choice = json!({"index": 0, "message": message, "finish_reason": reason});
        let usage = json!({"prompt_tokens": 3, "completion_tokens": 4});
        Body::Plain(
            json!({"id": "c", "object": "chat.completion", "choices": [choice], "usage": usage}),
        )
    };
    let piece = |index: u64, delta: Value, reason: Value| {
        let choice = json!({"index": index, "delta": delta, "finish_reason": reason});
        json!({"id": "c", "object": "chat.completion.chunk", "choices": [choice]})
    };
    let stream = |deltas: &[Value], reason: &str| {
        let pieces = deltas
            .iter()
            .map(|delta| piece(0, delta.clone(), Value::Null));
        Body::Events(pieces.chain([piece(0, json!({}), json!(reason))]).collect())
    };
    let rows = [
        (
            "no reasoning",
            "https://platform.openai.com/docs/api-reference/chat/object",
            plain(
                json!({"role": "assistant", "content": "fine", "refusal": null}),
                "stop",
            ),
            ("fine", "", "stop"),
        ),
        (
            "no reasoning, streamed",
            "https://platform.openai.com/docs/api-reference/chat-streaming",
            stream(
                &[
                    json!({"role": "assistant", "content": ""}),
                    json!({"content": "fi"}),
                    json!({"content": "ne"}),
                ],
                "length",
            ),
            ("fine", "", "length"),
        ),
        (
            "reasoning_content",
            "https://api-docs.deepseek.com/guides/reasoning_model",
            plain(
                json!({"role": "assistant", "reasoning_content": "hm", "content": "fine"}),
                "stop",
            ),
            ("fine", "hm", "stop"),
        ),
        (
            "reasoning_content, streamed",
            "https://api-docs.deepseek.com/guides/reasoning_model",
            stream(
                &[
                    json!({"role": "assistant", "content": null, "reasoning_content": "h"}),
                    json!({"content": null, "reasoning_content": "m"}),
                    json!({"content": "fine", "reasoning_content": null}),
                ],
                "stop",
            ),
            ("fine", "hm", "stop"),
        ),
        (
            "text and reasoning in one chunk, after one with text alone",
            "https://docs.vllm.ai/en/v0.11.2/features/reasoning_outputs/",
            stream(
                &[
                    json!({"content": "fi"}),
                    json!({"content": "n", "reasoning_content": "hm"}),
                    json!({"content": "e", "reasoning_content": ""}),
                ],
                "stop",
            ),
            ("fine", "hm", "stop"),
        ),
        (
            "reasoning and reasoning_content, the same",
            "https://docs.vllm.ai/en/v0.11.2/features/reasoning_outputs/",
            plain(
                json!({"content": "fine", "reasoning": "hm", "reasoning_content": "hm"}),
                "stop",
            ),
            ("fine", "hm", "stop"),
        ),
        (
            "reasoning",
            "https://openrouter.ai/docs/use-cases/reasoning-tokens",
            plain(
                json!({"content": "fine", "reasoning": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}),
                "stop",
            ),
            ("fine", "hm", "stop"),
        ),
        (
            "reasoning, streamed",
            "https://console.groq.com/docs/reasoning",
            stream(
                &[json!({"reasoning": "hm"}), json!({"content": "fine"})],
                "stop",
            ),
            ("fine", "hm", "stop"),
        ),
        (
            "thinking parts of the content",
            "https://docs.mistral.ai/studio-api/conversations/reasoning",
            plain(
                json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "fine"}]}),
                "stop",
            ),
            ("fine", "hm", "stop"),
        ),
        (
            "thinking parts of the content, streamed",
            "https://docs.mistral.ai/studio-api/conversations/reasoning",
            stream(
                &[
                    json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "h"}]}]}),
                    json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "m"}]}]}),
                    json!({"content": "fine"}),
                ],
                "stop",
            ),
            ("fine", "hm", "stop"),
        ),
        (
            "of several choices the first one's",
            "https://platform.openai.com/docs/api-reference/chat-streaming",
            Body::Events(vec![
                piece(
                    1,
                    json!({"content": "other", "reasoning": "no"}),
                    json!(null),
                ),
                piece(
                    0,
                    json!({"content": "fine", "reasoning": "hm"}),
                    json!(null),
                ),
                piece(0, json!({}), json!("content_filter")),
                piece(1, json!({}), json!("stop")),
            ]),
            ("fine", "hm", "content_filter"),
        ),
    ];
    rows.into_iter().map(|row| case(Api::Chat, row)).collect()
}

fn responses() -> Vec<Case> {
    let output = json!([
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "h"}, {"type": "summary_text", "text": "m"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "fine", "annotations": []}]},
    ]);
    let shown = json!([
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"type": "message", "content": [{"type": "output_text", "text": "fine"}]},
    ]);
    let response = |status: &str, why: Value, output: &Value| json!({"id": "r", "object": "response", "status": status, "incomplete_details": why, "output": output});
    let text = json!({"type": "response.output_text.delta", "output_index": 1, "delta": "fine"});
    let delta = |kind: &str, text: &str| json!({"type": kind, "output_index": 0, "delta": text});
    let summary = |text| delta("response.reasoning_summary_text.delta", text);
    let why = json!({"reason": "max_output_tokens"});
    let rows = [
        (
            "a summary",
            "https://platform.openai.com/docs/guides/reasoning",
            Body::Plain(response("completed", Value::Null, &output)),
            ("fine", "hm", "completed"),
        ),
        (
            "a summary, streamed, of an incomplete response",
            "https://platform.openai.com/docs/api-reference/responses-streaming",
            Body::Events(vec![
                json!({"type": "response.created", "response": response("in_progress", Value::Null, &json!([]))}),
                summary("h"),
                summary("m"),
                json!({"type": "response.reasoning_summary_text.done", "text": "hm"}),
                text.clone(),
                json!({"type": "response.incomplete", "response": response("incomplete", why.clone(), &output)}),
            ]),
            ("fine", "hm", "max_output_tokens"),
        ),
        (
            "the reasoning's text, of an incomplete response",
            "https://platform.openai.com/docs/api-reference/responses/object",
            Body::Plain(response("incomplete", why, &shown)),
            ("fine", "hm", "max_output_tokens"),
        ),
        (
            "the reasoning's text, streamed",
            "https://platform.openai.com/docs/api-reference/responses-streaming",
            Body::Events(vec![
                delta("response.reasoning_text.delta", "hm"),
                text,
                json!({"type": "response.completed", "response": response("completed", Value::Null, &shown)}),
            ]),
            ("fine", "hm", "completed"),
        ),
    ];
    rows.into_iter()
        .map(|row| case(Api::Responses, row))
        .collect()
}

fn messages() -> Vec<Case> {
    let delta = |index: u64, delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
    let start = |index: u64, block: Value| json!({"type": "content_block_start", "index": index, "content_block": block});
    let rows = [
        (
            "thinking",
            "https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking",
            Body::Plain(json!({
                "type": "message", "role": "assistant", "stop_reason": "max_tokens", "stop_sequence": null,
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "redacted_thinking", "data": "x"},
                    {"type": "text", "text": "fine"},
                ],
            })),
            ("fine", "hm", "max_tokens"),
        ),
        (
            "thinking, streamed",
            "https://docs.anthropic.com/en/docs/build-with-claude/streaming",
            Body::Events(vec![
                json!({"type": "message_start", "message": {"id": "m", "content": [], "stop_reason": null}}),
                start(
                    0,
                    json!({"type": "thinking", "thinking": "", "signature": ""}),
                ),
                delta(0, json!({"type": "thinking_delta", "thinking": "h"})),
                delta(0, json!({"type": "thinking_delta", "thinking": "m"})),
                delta(0, json!({"type": "signature_delta", "signature": "s"})),
                json!({"type": "content_block_stop", "index": 0}),
                start(1, json!({"type": "text", "text": ""})),
                delta(1, json!({"type": "text_delta", "text": "fine"})),
                json!({"type": "content_block_stop", "index": 1}),
                json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null}, "usage": {"output_tokens": 9}}),
                json!({"type": "message_stop"}),
            ]),
            ("fine", "hm", "end_turn"),
        ),
    ];
    rows.into_iter()
        .map(|row| case(Api::Messages, row))
        .collect()
}

fn gemini() -> Vec<Case> {
    let reply = |parts: Value, reason: Value| json!({"candidates": [{"index": 0, "content": {"role": "model", "parts": parts}, "finishReason": reason}]});
    let rows = [
        (
            "thoughts",
            "https://ai.google.dev/gemini-api/docs/thinking",
            Body::Plain(reply(
                json!([{"text": "hm", "thought": true}, {"text": "fine"}]),
                json!("MAX_TOKENS"),
            )),
            ("fine", "hm", "MAX_TOKENS"),
        ),
        (
            "thoughts, streamed",
            "https://ai.google.dev/gemini-api/docs/thinking",
            Body::Events(vec![
                reply(json!([{"text": "h", "thought": true}]), Value::Null),
                reply(
                    json!([{"text": "m", "thought": true}, {"text": "fi"}]),
                    Value::Null,
                ),
                reply(json!([{"text": "ne"}]), json!("STOP")),
            ]),
            ("fine", "hm", "STOP"),
        ),
        (
            "a blocked prompt",
            "https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse.BlockReason",
            Body::Plain(json!({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}})),
            ("", "", "PROHIBITED_CONTENT"),
        ),
    ];
    rows.into_iter().map(|row| case(Api::Gemini, row)).collect()
}

type Parts = (&'static str, &'static str, &'static str);

fn case(api: Api, (name, source, body, parts): (&'static str, &'static str, Body, Parts)) -> Case {
    let (text, reasoning, finish_reason) = parts;
    Case {
        name,
        source,
        api,
        body,
        text,
        reasoning,
        finish_reason,
    }
}

/// Half of a surrogate pair in one piece, half in the next.
#[test]
fn characters_cut_between_two_pieces_are_joined() {
    let piece =
        |part: &str| format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{{part}}}}}]}}\n\n");
    let body = [
        piece(r#""reasoning_content":"a\ud83d""#),
        piece(r#""reasoning_content":"\ude00b""#),
        piece(r#""content":"fine""#),
        piece(
            r#""tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":"a\ud83d"}}]"#,
        ),
        piece(r#""tool_calls":[{"index":0,"function":{"arguments":"\ude00b\ud83d"}}]"#),
        piece(
            r#""tool_calls":[{"index":1,"id":"d","function":{"name":"g","arguments":"c\ud83d"}}]"#,
        ),
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n".into(),
    ];
    let played = Play::new(Api::Chat).stream(events(body.concat()));
    assert_eq!((&*played.text, &*played.reasoning), ("fine", "a\u{1f600}b"));
    let arguments = played.tool_calls.iter().map(|call| &*call.arguments);
    assert_eq!(
        arguments.collect::<Vec<_>>(),
        ["a\u{1f600}b\u{fffd}", "c\u{fffd}"]
    );
}
