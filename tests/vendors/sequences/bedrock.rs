//! Bedrock's streams and replies: events in frames, exceptions in their place, and Claude by InvokeModel; and Claude on Vertex.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use credpool::testing::{Reply, amazon_events};
use credpool::{FailureKind, Usage};
use serde_json::{Value, json};

use super::{Body, Case, Want, named};
use crate::replay::Api;

const CONVERSE: &str =
    "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStreamOutput.html";
const INVOKE: &str =
    "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ResponseStream.html";
const REPLY: &str =
    "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html";
const FRAMES: &str = "https://smithy.io/2.0/aws/amazon-eventstream.html";
const VERTEX: &str = "https://platform.claude.com/docs/en/build-with-claude/claude-on-vertex-ai";

type Events = Vec<(&'static str, String)>;

fn start() -> (&'static str, String) {
    (
        "messageStart",
        r#"{"role":"assistant","p":"abcdefgh"}"#.into(),
    )
}

fn piece(text: &str) -> (&'static str, String) {
    let delta = json!({"contentBlockIndex": 0, "delta": {"text": text}, "p": "abc"});
    ("contentBlockDelta", delta.to_string())
}

fn stop(reason: &str) -> (&'static str, String) {
    (
        "messageStop",
        json!({"stopReason": reason, "p": "ab"}).to_string(),
    )
}

fn metadata() -> (&'static str, String) {
    let usage =
        json!({"inputTokens": 5, "outputTokens": 6, "totalTokens": 11, "serverToolUsage": {}});
    let event = json!({"metrics": {"latencyMs": 1254}, "p": "abcd", "usage": usage});
    ("metadata", event.to_string())
}

fn exception(name: &'static str) -> (&'static str, String) {
    (name, json!({"message": "It says why."}).to_string())
}

fn end_of_block() -> (&'static str, String) {
    ("contentBlockStop", r#"{"contentBlockIndex":0}"#.into())
}

/// Anthropic's events, each in a chunk.
fn chunks(events: &[Value]) -> Events {
    let chunk = |event: &Value| {
        let bytes = STANDARD.encode(event.to_string());
        ("chunk", json!({"bytes": bytes, "p": "ab"}).to_string())
    };
    events.iter().map(chunk).collect()
}

/// A stream of which the last byte but `back` is another one.
fn damaged(events: Events, back: usize) -> Reply {
    let mut bytes = amazon_events(events);
    let at = bytes.len() - 1 - back;
    bytes[at] ^= 1;
    Reply::new(200)
        .header("content-type", "application/vnd.amazon.eventstream")
        .body(bytes)
}

pub fn cases() -> Vec<Case> {
    let used = Some(Usage::new(5, 6));
    let hi = || vec![start(), piece("Hi")];
    let with = |mut events: Events, more: Events| {
        events.extend(more);
        events
    };
    let whole = || {
        with(
            hi(),
            vec![
                piece(" there"),
                end_of_block(),
                stop("end_turn"),
                metadata(),
            ],
        )
    };
    let after_hi = |more: Events| with(hi(), more);
    let frames = |events: Events| Reply::amazon_events(events);
    let cut = |events: Events, back: usize| {
        let reply = frames(events);
        let size = reply.size();
        reply.cut_after(size - back)
    };
    let mut rows: Vec<(String, &'static str, Reply, Want)> = vec![
        ("the ordinary stream".into(), CONVERSE, frames(whole()), Want::Whole("Hi there", used)),
        ("without metadata".into(), CONVERSE, frames(after_hi(vec![stop("end_turn")])), Want::Whole("Hi", None)),
        ("metadata before the stop".into(), CONVERSE, frames(after_hi(vec![metadata(), stop("end_turn")])), Want::Whole("Hi", used)),
        ("an initial response first".into(), FRAMES, frames(with(vec![("initial-response", "{}".into())], whole())), Want::Whole("Hi there", used)),
        ("an event of an unknown kind".into(), CONVERSE, frames(after_hi(vec![("audioDelta", r#"{"x":1}"#.into()), stop("end_turn")])), Want::Whole("Hi", None)),
        ("an event of an unknown kind that is no JSON".into(), FRAMES, frames(after_hi(vec![("audioDelta", "\u{1}".into()), stop("end_turn")])), Want::Whole("Hi", None)),
        ("redacted reasoning".into(), "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ReasoningContentBlockDelta.html",
            frames(with(vec![start(), ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"redactedContent":"AAA="}}}"#.into())], whole())), Want::Whole("Hi there", used)),
        ("cut before the stop".into(), CONVERSE, frames(hi()), Want::Fails("Hi", "stream_truncated")),
        ("cut before any content".into(), CONVERSE, frames(vec![start()]), Want::Next(Some(FailureKind::Transient))),
        ("cut in the frame of the stop".into(), FRAMES, cut(after_hi(vec![stop("end_turn")]), 1), Want::Fails("Hi", "stream_truncated")),
        ("cut in the frame of the metadata".into(), FRAMES, cut(whole(), 1), Want::Whole("Hi there", None)),
        ("a wrong checksum of the stop".into(), FRAMES, damaged(after_hi(vec![stop("end_turn")]), 0), Want::Fails("Hi", "stream_malformed")),
        ("a payload that was changed on the way".into(), FRAMES, damaged(after_hi(vec![stop("end_turn")]), 8), Want::Fails("Hi", "stream_malformed")),
        ("a first frame that was changed on the way".into(), FRAMES, damaged(vec![piece("Hi")], 9), Want::Next(Some(FailureKind::Transient))),
        ("an event that is no JSON".into(), CONVERSE, frames(after_hi(vec![("contentBlockDelta", "{".into())])), Want::Fails("Hi", "stream_malformed")),
        ("an exception of an unknown kind".into(), CONVERSE, frames(vec![start(), exception("someOtherException")]), Want::Next(Some(FailureKind::Transient))),
        ("an exception without words".into(), CONVERSE, frames(vec![start(), ("throttlingException", "{}".into())]), Want::Next(Some(FailureKind::RateLimited))),
        ("an exception that is no JSON".into(), CONVERSE, frames(vec![start(), ("internalServerException", String::new())]), Want::Next(Some(FailureKind::Transient))),
        ("a JSON error in place of a stream".into(), "https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html",
            Reply::json(200, r#"{"__type":"com.amazon.coral#ThrottlingException","message":"Too many requests"}"#), Want::Next(Some(FailureKind::RateLimited))),
        ("server-sent events in place of frames".into(), FRAMES, Reply::sse(["{}"]), Want::Final("stream_malformed")),
    ];
    for (name, fault) in [
        ("throttlingException", Some(FailureKind::RateLimited)),
        ("modelStreamErrorException", Some(FailureKind::Transient)),
        ("modelTimeoutException", Some(FailureKind::Transient)),
        ("internalServerException", Some(FailureKind::Transient)),
        ("serviceUnavailableException", Some(FailureKind::Transient)),
        ("validationException", None),
    ] {
        let early = match fault {
            Some(fault) => Want::Next(Some(fault)),
            None => Want::Final("upstream"),
        };
        rows.push((
            format!("{name} before any content"),
            CONVERSE,
            frames(vec![start(), exception(name)]),
            early,
        ));
        rows.push((
            format!("{name} after content"),
            CONVERSE,
            frames(after_hi(vec![exception(name)])),
            Want::Fails("Hi", "upstream"),
        ));
    }
    for reason in [
        "max_tokens",
        "stop_sequence",
        "guardrail_intervened",
        "content_filtered",
        "malformed_model_output",
        "malformed_tool_use",
        "model_context_window_exceeded",
    ] {
        rows.push((
            format!("stop reason {reason}"),
            CONVERSE,
            frames(after_hi(vec![stop(reason), metadata()])),
            Want::Whole("Hi", used),
        ));
    }
    let case = |vendor, api, name, source, body, want| Case {
        vendor,
        name,
        source,
        api,
        payload: None,
        body,
        want,
    };
    let mut cases: Vec<_> = rows
        .into_iter()
        .map(|(name, source, reply, want)| {
            case(
                "Bedrock",
                Api::Converse,
                name,
                source,
                Body::Answer(reply),
                want,
            )
        })
        .collect();

    let said = |text: &str| json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}});
    let begin = json!({"type": "message_start", "message": {"usage": {"input_tokens": 5, "output_tokens": 1}}});
    let delta = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 6}});
    let end = json!({"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 5, "outputTokenCount": 6}});
    let overloaded =
        json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    let unavailable = json!({"error": {"code": 503, "status": "UNAVAILABLE", "message": "m"}});
    let all = [begin.clone(), said("Hi"), delta, end];
    for (name, events, want) in [
        ("the ordinary stream", chunks(&all), Want::Whole("Hi", used)),
        (
            "cut before the stop",
            chunks(&all[..3]),
            Want::Fails("Hi", "stream_truncated"),
        ),
        (
            "a model's error before content",
            chunks(&[begin.clone(), overloaded.clone()]),
            Want::Next(Some(FailureKind::Overloaded)),
        ),
        (
            "a model's error after content",
            chunks(&[begin.clone(), said("Hi"), overloaded.clone()]),
            Want::Fails("Hi", "upstream"),
        ),
        (
            "an exception before content",
            with(chunks(&all[..1]), vec![exception("throttlingException")]),
            Want::Next(Some(FailureKind::RateLimited)),
        ),
        (
            "an exception after content",
            with(
                chunks(&all[..2]),
                vec![exception("modelStreamErrorException")],
            ),
            Want::Fails("Hi", "upstream"),
        ),
        (
            "a chunk that is no base64",
            with(
                chunks(&all[..2]),
                vec![("chunk", r#"{"bytes":"?"}"#.into())],
            ),
            Want::Fails("Hi", "stream_malformed"),
        ),
    ] {
        let body = Body::Answer(frames(events));
        cases.push(case(
            "Claude on Bedrock",
            Api::Invoke,
            name.into(),
            INVOKE,
            body,
            want,
        ));
    }
    let ping = json!({"type": "vertex_event"});
    for (name, events, want) in [
        ("the ordinary stream", named(&all), Want::Whole("Hi", used)),
        (
            "an event of Vertex's own first",
            named(&[ping]) + &named(&all),
            Want::Whole("Hi", used),
        ),
        (
            "cut before the stop",
            named(&all[..3]),
            Want::Fails("Hi", "stream_truncated"),
        ),
        (
            "Anthropic's error",
            named(&[begin.clone(), overloaded]),
            Want::Next(Some(FailureKind::Overloaded)),
        ),
        (
            "Google's error",
            named(&[begin]) + &format!("data: {unavailable}\n\n"),
            Want::Next(Some(FailureKind::Transient)),
        ),
    ] {
        let body = Body::Stream(events);
        cases.push(case(
            "Claude on Vertex",
            Api::VertexClaude,
            name.into(),
            VERTEX,
            body,
            want,
        ));
    }
    let gemini = r#"data: {"candidates":[{"content":{"parts":[{"text":"Hi"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":6,"trafficType":"ON_DEMAND"}}"#;
    let page = "https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference";
    cases.push(case(
        "Gemini on Vertex",
        Api::VertexGemini,
        "the ordinary stream".into(),
        page,
        Body::Stream(format!("{gemini}\r\n\r\n")),
        Want::Whole("Hi", used),
    ));
    for (name, body, want) in [
        (
            "a reply with reasoning, text and a tool",
            json!({"output": {"message": {"role": "assistant", "content": [
                {"reasoningContent": {"reasoningText": {"text": "Hm", "signature": "s"}}}, {"text": "Hi"}, {"text": " there"},
                {"toolUse": {"toolUseId": "t", "name": "n", "input": {}}}, {"citationsContent": {"content": []}},
            ]}}, "stopReason": "tool_use", "usage": {"inputTokens": 5, "outputTokens": 6, "totalTokens": 11}}),
            Want::Whole("Hi there", used),
        ),
        (
            "a reply that a guardrail emptied",
            json!({"output": {"message": {"role": "assistant", "content": []}}, "stopReason": "guardrail_intervened", "usage": {"inputTokens": 5, "outputTokens": 6, "totalTokens": 11}}),
            Want::Whole("", used),
        ),
        (
            "no reply",
            json!({"Output": {}}),
            Want::Next(Some(FailureKind::Transient)),
        ),
        (
            "an error with its type alone",
            json!({"__type": "ModelNotReadyException"}),
            Want::Next(Some(FailureKind::Overloaded)),
        ),
    ] {
        cases.push(case(
            "Bedrock",
            Api::Converse,
            name.into(),
            REPLY,
            Body::Plain(body.to_string()),
            want,
        ));
    }
    cases
}
