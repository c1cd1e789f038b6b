//! The Messages API by stream: <https://docs.anthropic.com/en/docs/build-with-claude/streaming>.

use credpool::{FailureKind, Usage};
use serde_json::{Value, json};

use super::{Body, Case, DONE, Want, data, named};
use crate::replay::Api;

const EVENTS: &str = "https://docs.anthropic.com/en/docs/build-with-claude/streaming";

fn start() -> Value {
    json!({"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant", "content": [], "model": "c",
        "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 3, "cache_creation_input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": 1}}})
}

fn block(block: Value) -> Value {
    json!({"type": "content_block_start", "index": 0, "content_block": block})
}

fn text(text: &str) -> Value {
    json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})
}

fn stop_block() -> Value {
    json!({"type": "content_block_stop", "index": 0})
}

fn reason(reason: &str) -> Value {
    json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null}, "usage": {"output_tokens": 2}})
}

fn end() -> Value {
    json!({"type": "message_stop"})
}

pub fn cases() -> Vec<Case> {
    let used = Some(Usage::new(18, 2).with_cached(5).with_cache_written(10));
    let empty = || block(json!({"type": "text", "text": ""}));
    let until = |why: &str| {
        named(&[
            start(),
            empty(),
            text("Hi"),
            text(" there"),
            stop_block(),
            reason(why),
        ])
    };
    let whole = || Want::Whole("Hi there", used);
    let ping = || json!({"type": "ping"});
    let error = |kind: &str| json!({"type": "error", "error": {"type": kind, "message": "m"}});
    let close = || named(&[end()]);
    let mut rows: Vec<(&'static str, String, &'static str, String, Want)> = vec![
        ("Anthropic", "the ordinary stream".into(), EVENTS, until("end_turn") + &close(), whole()),
        ("Anthropic", "pings between".into(), EVENTS, named(&[start(), ping(), empty(), text("Hi"), ping(), text(" there"), stop_block(), reason("end_turn"), end()]), whole()),
        ("Anthropic", "the end without its blank line".into(), EVENTS, (until("end_turn") + &close()).trim_end().to_owned(), whole()),
        ("Anthropic", "thinking before text".into(), EVENTS, named(&[start(), block(json!({"type": "thinking", "thinking": "", "signature": ""})),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm"}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "s"}}), stop_block(), text("Hi there"), reason("end_turn"), end()]), whole()),
        ("Anthropic", "cut before the reason".into(), EVENTS, named(&[start(), empty(), text("Hi")]), Want::Fails("Hi", "stream_truncated")),
        ("Anthropic", "cut before any content".into(), EVENTS, named(&[start(), ping()]), Want::Next(Some(FailureKind::Transient))),
        ("Anthropic", "an event of a kind that nobody knows".into(), EVENTS, named(&[start(), json!({"type": "novel", "x": 1}), empty(), text("Hi there"), stop_block(), reason("end_turn"), end()]), whole()),
        ("gateways", "[DONE] in place of message_stop".into(), "anthropic-python 2.14.0 reads the whole reply", until("end_turn") + DONE, whole()),
        ("gateways", "[DONE] before message_stop".into(), "anthropic-python 2.14.0 reads the whole reply", until("end_turn") + DONE + &close(), whole()),
        ("gateways", "[DONE] behind message_stop".into(), EVENTS, until("end_turn") + &close() + DONE, whole()),
        ("gateways", "[DONE] before the reason".into(), EVENTS, named(&[start(), empty(), text("Hi")]) + DONE, Want::Fails("Hi", "stream_truncated")),
        ("gateways", "a ping with empty data".into(), "caozhiyuan/copilot-api#88", named(&[start(), empty(), text("Hi")]) + "event: ping\ndata: \n\n" + &named(&[text(" there"), stop_block(), reason("end_turn"), end()]), whole()),
        ("gateways", "a ping in words".into(), "caozhiyuan/copilot-api#88", named(&[start(), empty(), text("Hi")]) + "event: ping\ndata: ping\n\n" + &named(&[text(" there"), stop_block(), reason("end_turn"), end()]), whole()),
        ("gateways", "types without names".into(), EVENTS, data(&[start(), empty(), text("Hi"), text(" there"), stop_block(), reason("end_turn"), end()]), whole()),
        ("gateways", "half a surrogate pair".into(), "elie222/rakazo#416", named(&[start(), empty()])
            + "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"a\\ud83d\"}}\n\n"
            + "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"\\ude00b\"}}\n\n"
            + &named(&[stop_block(), reason("end_turn"), end()]), Want::Whole("a\u{1f600}b", used)),
        ("LiteLLM", "a whole message in answer".into(), "https://docs.litellm.ai/docs/anthropic_unified", json!({"type": "message", "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn"}).to_string(), Want::Final("stream_malformed")),
        ("gateways", "garbage in an event of its own".into(), EVENTS, named(&[start(), empty(), text("Hi")]) + "event: content_block_delta\ndata: {{\n\n", Want::Fails("Hi", "stream_malformed")),
    ];
    // https://docs.anthropic.com/en/api/handling-stop-reasons
    for why in [
        "max_tokens",
        "stop_sequence",
        "tool_use",
        "pause_turn",
        "refusal",
        "model_context_window_exceeded",
        "one_day",
    ] {
        rows.push((
            "Anthropic",
            format!("ends with {why}"),
            "https://docs.anthropic.com/en/api/handling-stop-reasons",
            until(why) + &close(),
            whole(),
        ));
    }
    // Of others that serve the API, the reasons of their own.
    for why in [
        "network_error",
        "insufficient_system_resource",
        "error",
        "cancelled",
    ] {
        rows.push((
            "gateways",
            format!("fails with {why}"),
            "https://docs.bigmodel.cn/api-reference, https://api-docs.deepseek.com/guides/anthropic_api",
            until(why) + &close(),
            Want::Fails("Hi there", "upstream"),
        ));
        rows.push((
            "gateways",
            format!("fails with {why} before any content"),
            "https://docs.bigmodel.cn/api-reference, https://api-docs.deepseek.com/guides/anthropic_api",
            named(&[start(), reason(why), end()]),
            Want::Next(Some(FailureKind::Transient)),
        ));
    }
    // https://docs.anthropic.com/en/api/errors
    for (kind, fault) in [
        ("overloaded_error", FailureKind::Overloaded),
        ("api_error", FailureKind::Transient),
        ("rate_limit_error", FailureKind::RateLimited),
        ("authentication_error", FailureKind::Unauthorized),
        ("permission_error", FailureKind::Forbidden),
        ("billing_error", FailureKind::Billing),
        ("timeout_error", FailureKind::Transient),
    ] {
        rows.push((
            "Anthropic",
            format!("{kind} before content"),
            "https://docs.anthropic.com/en/api/errors",
            named(&[start(), error(kind)]),
            Want::Next(Some(fault)),
        ));
        rows.push((
            "Anthropic",
            format!("{kind} after content"),
            "https://docs.anthropic.com/en/api/errors",
            named(&[start(), empty(), text("Hi"), error(kind)]),
            Want::Fails("Hi", "upstream"),
        ));
    }
    rows.into_iter()
        .map(|(vendor, name, source, body, want)| Case {
            vendor,
            name: format!("Messages: {name}"),
            source,
            api: Api::Messages,
            payload: None,
            body: Body::Stream(body),
            want,
        })
        .collect()
}
