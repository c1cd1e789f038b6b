//! Generations by stream: <https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent>.

use credpool::{FailureKind, Usage};
use serde_json::{Value, json};

use super::{Body, Case, DONE, Want, data};
use crate::replay::Api;

const METHOD: &str =
    "https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent";
const REASONS: &str = "https://ai.google.dev/api/generate-content#FinishReason";

fn piece(index: u64, text: &str, reason: Option<&str>) -> Value {
    let mut candidate =
        json!({"content": {"parts": [{"text": text}], "role": "model"}, "index": index});
    if let Some(reason) = reason {
        candidate["finishReason"] = reason.into();
    }
    json!({"candidates": [candidate], "modelVersion": "g",
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "thoughtsTokenCount": 1, "cachedContentTokenCount": 1, "totalTokenCount": 6}})
}

pub fn cases() -> Vec<Case> {
    let used = Some(Usage::new(3, 3).with_cached(1).with_reasoning(1));
    let whole = || Want::Whole("Hi there", used);
    let (hi, there) = (piece(0, "Hi", None), piece(0, " there", Some("STOP")));
    let status = |code: u16, status: &str| json!({"error": {"code": code, "message": "m", "status": status}});
    let thought = json!({"candidates": [{"content": {"parts": [{"text": "Hm", "thought": true}]}, "index": 0}]});
    let image = |size| json!({"candidates": [{"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": "A".repeat(size)}}]}, "index": 0}]});
    let blocked = json!({"promptFeedback": {"blockReason": "SAFETY"}});
    let two = json!({"contents": [], "generationConfig": {"candidateCount": 2}});
    let both = [piece(0, "Hi", Some("STOP")), piece(1, "Ho", Some("STOP"))];
    let mut rows: Vec<(&'static str, String, &'static str, Option<Value>, String, Want)> = vec![
        ("Gemini", "the ordinary stream".into(), METHOD, None, data(&[hi.clone(), there.clone()]), whole()),
        ("Gemini", "the end without its blank line".into(), METHOD, None, data(&[hi.clone(), there.clone()]).trim_end().to_owned(), whole()),
        ("Gemini", "usage behind the end".into(), METHOD, None, data(&[hi.clone(), there.clone(), json!({"usageMetadata": {"promptTokenCount": 9}})]), Want::Whole("Hi there", Some(Usage::new(9, 0)))),
        ("Gemini", "thoughts first".into(), "https://ai.google.dev/gemini-api/docs/thinking", None, data(&[thought, hi.clone(), there.clone()]), whole()),
        ("Gemini", "an image of 8 MB".into(), "https://ai.google.dev/gemini-api/docs/image-generation", None, data(&[image(8_000_000), there.clone()]), Want::Whole(" there", used)),
        ("Gemini", "a blocked prompt".into(), "https://ai.google.dev/api/generate-content#BlockReason", None, data(std::slice::from_ref(&blocked)), Want::Whole("", None)),
        ("Gemini", "cut before the reason".into(), METHOD, None, data(std::slice::from_ref(&hi)), Want::Fails("Hi", "stream_truncated")),
        ("Gemini", "cut before any content".into(), METHOD, None, data(&[json!({"usageMetadata": {"promptTokenCount": 3}})]), Want::Next(Some(FailureKind::Transient))),
        ("Gemini", "a reason that is unspecified".into(), REASONS, None, data(&[piece(0, "Hi", Some("FINISH_REASON_UNSPECIFIED"))]), Want::Fails("Hi", "stream_truncated")),
        ("Gemini", "two candidates asked for, two come".into(), METHOD, Some(two.clone()), data(&both), Want::Whole("Hi", used)),
        ("Gemini", "two candidates asked for, a cut before the second".into(), METHOD, Some(two.clone()), data(&both[..1]), Want::Fails("Hi", "stream_truncated")),
        ("Gemini", "two candidates asked for in snake case, a cut before the second".into(), METHOD, Some(json!({"generation_config": {"candidate_count": 2}})), data(&both[..1]), Want::Fails("Hi", "stream_truncated")),
        ("Gemini", "two candidates asked for, a blocked prompt".into(), METHOD, Some(two), data(&[blocked]), Want::Whole("", None)),
        ("Gemini", "an array in place of events".into(), METHOD, None, json!([hi, there]).to_string(), Want::Final("stream_malformed")),
        ("Gemini", "an error as an array".into(), "https://cloud.google.com/apis/design/errors", None, json!([status(429, "RESOURCE_EXHAUSTED")]).to_string(), Want::Next(Some(FailureKind::RateLimited))),
        ("gateways", "[DONE] behind the end".into(), METHOD, None, data(&[hi.clone(), there.clone()]) + DONE, whole()),
        ("gateways", "[DONE] before the reason".into(), METHOD, None, data(std::slice::from_ref(&hi)) + DONE, Want::Fails("Hi", "stream_truncated")),
        ("gateways", "empty data".into(), "openai/openai-go#621", None, format!("data:\n\n{}data: \n\n{}", data(std::slice::from_ref(&hi)), data(std::slice::from_ref(&there))), whole()),
        ("gateways", "half a surrogate pair".into(), "elizaOS/eliza#30904", None,
            "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\\ud83d\"}]},\"index\":0}]}\n\ndata: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"\\ude00b\"}]},\"index\":0,\"finishReason\":\"STOP\"}]}\n\n".into(),
            Want::Whole("a\u{1f600}b", None)),
    ];
    for reason in [
        "MAX_TOKENS",
        "SAFETY",
        "RECITATION",
        "LANGUAGE",
        "OTHER",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "MALFORMED_FUNCTION_CALL",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_OTHER",
        "NO_IMAGE",
        "IMAGE_RECITATION",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
    ] {
        rows.push((
            "Gemini",
            format!("ends with {reason}"),
            REASONS,
            None,
            data(&[hi.clone(), piece(0, " there", Some(reason))]),
            whole(),
        ));
    }
    for reason in ["ERROR", "CANCELLED", "network_error"] {
        rows.push((
            "gateways",
            format!("fails with {reason}"),
            REASONS,
            None,
            data(&[hi.clone(), piece(0, " there", Some(reason))]),
            Want::Fails("Hi", "upstream"),
        ));
        rows.push((
            "gateways",
            format!("fails with {reason} before any content"),
            REASONS,
            None,
            data(&[piece(0, "", Some(reason))]),
            Want::Next(Some(FailureKind::Transient)),
        ));
    }
    for (code, name, fault) in [
        (503, "UNAVAILABLE", FailureKind::Transient),
        (500, "INTERNAL", FailureKind::Transient),
        (429, "RESOURCE_EXHAUSTED", FailureKind::RateLimited),
        (504, "DEADLINE_EXCEEDED", FailureKind::Transient),
        (403, "PERMISSION_DENIED", FailureKind::Forbidden),
    ] {
        rows.push((
            "Vertex AI",
            format!("{name} before content"),
            "https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/api-errors",
            None,
            data(&[status(code, name)]),
            Want::Next(Some(fault)),
        ));
        rows.push((
            "Vertex AI",
            format!("{name} after content"),
            "https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/api-errors",
            None,
            data(&[hi.clone(), status(code, name)]),
            Want::Fails("Hi", "upstream"),
        ));
    }
    rows.into_iter()
        .map(|(vendor, name, source, payload, body, want)| Case {
            vendor,
            name: format!("generations: {name}"),
            source,
            api: Api::Gemini,
            payload,
            body: Body::Stream(body),
            want,
        })
        .collect()
}
