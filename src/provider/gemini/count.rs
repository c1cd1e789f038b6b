//! Token counts: <https://ai.google.dev/api/tokens>.

use crate::request::Usage;
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::model::Model;
use super::reply;

/// The payload of a generation as that of a count; `None` leaves it as it is: `contents` alone, a count's own payload, and
/// what belongs to Vertex AI, which takes it whole.
pub(super) fn payload(payload: &[u8], model: &Model) -> Option<Bytes> {
    let mut members: Map<String, Value> = serde_json::from_slice(payload).ok()?;
    let has_more = members.keys().any(|name| name != "contents");
    if !has_more || !model.is_plain() || REQUEST.iter().any(|name| members.contains_key(*name)) {
        return None;
    }
    // The endpoint wants the whole name there.
    members.insert("model".into(), model.name().into());
    let counted = json!({REQUEST[0]: members});
    serde_json::to_vec(&counted).ok().map(Bytes::from)
}

/// The number in the answer.
pub(super) fn usage(answer: &Value) -> Option<Usage> {
    let tokens = answer.get("totalTokens").and_then(reply::number)?;
    Some(Usage::new(tokens, 0).with_cached(cached(answer)))
}

/// How many of them are cached.
fn cached(answer: &Value) -> u64 {
    let cached = answer.get("cachedContentTokenCount");
    cached.and_then(reply::number).unwrap_or_default()
}

/// What holds a whole request, in both spellings of protocol buffers in JSON.
const REQUEST: [&str; 2] = ["generateContentRequest", "generate_content_request"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Request;

    fn converted(generation: &Value, model: &str) -> Option<Value> {
        let model = Model::of(&Request::new(model, "")).unwrap();
        let counted = payload(generation.to_string().as_bytes(), &model)?;
        Some(serde_json::from_slice(&counted).unwrap())
    }

    #[test]
    fn more_than_contents_becomes_a_whole_request() {
        let generation = json!({
            "contents": [{"parts": [{"text": "Hi"}]}], "model": "m",
            "systemInstruction": {"parts": [{"text": "Be brief."}]}, "tools": [{"googleSearch": {}}],
        });
        let mut expected = generation.clone();
        expected["model"] = "models/gemini-2.5-pro".into();
        assert_eq!(
            converted(&generation, "gemini-2.5-pro"),
            Some(json!({"generateContentRequest": expected}))
        );
    }

    #[test]
    fn the_rest_stays_as_it_is() {
        for payload in [
            json!({"contents": []}),
            json!({}),
            json!([1]),
            json!({"generateContentRequest": {"contents": []}}),
            json!({"generate_content_request": {"contents": []}, "x": 1}),
        ] {
            assert_eq!(converted(&payload, "m"), None);
        }
        let vertex = json!({"contents": [], "systemInstruction": {}});
        assert_eq!(converted(&vertex, "publishers/google/models/m"), None);
        let model = Model::of(&Request::new("m", "")).unwrap();
        assert_eq!(payload(b"not json", &model), None);
    }
}
