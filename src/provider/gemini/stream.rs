//! Gemini's stream protocol: <https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent>.

use std::collections::BTreeMap;

use serde_json::Value;

use super::reply;
use crate::provider::http::call_numbers::CallNumbers;
use crate::provider::http::event_stream::{EventMeaning, StreamProtocol};
use crate::provider::http::sse::SseEvent;
use crate::request::StreamChunk;

/// Whole once as many candidates as requested have given a finish reason, or the prompt was blocked.
#[derive(Default)]
pub(super) struct GenerateContent {
    /// How many candidates were requested.
    asked: usize,
    /// The last event brought something.
    has_progressed: bool,
    /// The prompt was refused, which is the end.
    blocked: bool,
    /// The candidates that came, and whether each has ended. The API answers with eight at most.
    candidates: BTreeMap<u8, bool>,
    /// Something of the reply has come.
    has_content: bool,
    calls: CallNumbers,
}

impl StreamProtocol for GenerateContent {
    fn read(&mut self, _: &SseEvent, json: Option<&Value>) -> EventMeaning {
        let Some(json) = json else {
            // Not Gemini's, but that of servers in front of it. It makes nothing whole.
            return EventMeaning::of_done(self.have_ended());
        };
        if let Some(problem) = reply::fault(json) {
            return EventMeaning::Failed(problem);
        }
        self.has_progressed = false;
        for (index, candidate) in reply::candidates(json) {
            let ended = reply::reason(candidate, "finishReason").is_some();
            self.has_progressed |= ended || reply::parts(candidate).any(is_filled);
            if let Ok(index) = u8::try_from(index) {
                *self.candidates.entry(index).or_default() |= ended;
            }
        }
        let feedback = json.get("promptFeedback");
        self.blocked |=
            feedback.is_some_and(|feedback| reply::reason(feedback, "blockReason").is_some());
        self.has_progressed |= self.blocked;
        self.has_content |= self.has_progressed;
        EventMeaning::Chunk(StreamChunk {
            text: reply::text(json).filter(|text| !text.is_empty()),
            reasoning: reply::thoughts(json),
            tool_calls: reply::tool_calls(json, &mut self.calls),
            finish_reason: reply::finish_reason(json),
            usage: reply::usage(json),
            preamble: !self.has_content,
            ..StreamChunk::default()
        })
    }

    fn has_progressed(&self) -> bool {
        self.has_progressed
    }

    fn is_whole(&self) -> bool {
        self.have_ended() && (self.blocked || self.candidates.len() >= self.asked)
    }

    fn missing(&self) -> &'static str {
        if self.have_ended() {
            "fewer candidates arrived than requested"
        } else {
            "no finishReason arrived"
        }
    }
}

impl GenerateContent {
    /// The reply to a request for so many candidates.
    pub(super) fn of(candidates: usize) -> Self {
        Self {
            asked: candidates,
            ..Self::default()
        }
    }

    /// Whether all candidates that came have ended.
    fn have_ended(&self) -> bool {
        let have_ended = self.candidates.values().all(|ended| *ended);
        self.blocked || (have_ended && !self.candidates.is_empty())
    }
}

/// Whether a part brings something: text, a thought, a call, data.
fn is_filled(part: &Value) -> bool {
    let filled = |value: &Value| match value {
        Value::Null | Value::Bool(_) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(_) | Value::Number(_) => true,
    };
    part.as_object()
        .is_some_and(|members| members.values().any(filled))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn after(events: &[Value]) -> (GenerateContent, Vec<StreamChunk>) {
        let mut protocol = GenerateContent::default();
        let mut chunks = Vec::new();
        for event in events {
            match protocol.read(&SseEvent::default(), Some(event)) {
                EventMeaning::Chunk(chunk) => chunks.push(chunk),
                _ => panic!("an event is a chunk"),
            }
        }
        (protocol, chunks)
    }

    fn candidate(index: u64, text: &str, reason: Option<&str>) -> Value {
        json!({"index": index, "content": {"parts": [{"text": text}]}, "finishReason": reason})
    }

    #[test]
    fn every_candidate_must_end() {
        let both = json!({"candidates": [candidate(0, "a", None), candidate(1, "b", None)]});
        let first = json!({"candidates": [candidate(0, "", Some("STOP"))]});
        let second = json!({"candidates": [candidate(1, "", Some("MAX_TOKENS"))]});
        assert!(!after(&[both.clone(), first.clone()]).0.is_whole());
        assert!(after(&[both, second.clone(), first.clone()]).0.is_whole());
        let third = json!({"candidates": [candidate(2, "c", None)]});
        assert!(!after(&[first.clone(), third]).0.is_whole());
        let usage = json!({"candidates": [{"index": 0}], "usageMetadata": {"promptTokenCount": 1}});
        assert!(after(&[first, usage]).0.is_whole());
    }

    #[test]
    fn an_unspecified_reason_is_no_end() {
        for event in [
            json!({"candidates": [candidate(0, "a", Some("FINISH_REASON_UNSPECIFIED"))]}),
            json!({"candidates": [candidate(0, "a", Some(""))]}),
            json!({"promptFeedback": {"blockReason": "BLOCK_REASON_UNSPECIFIED"}}),
            json!({"promptFeedback": {"safetyRatings": []}}),
            json!({}),
        ] {
            assert!(!after(&[event]).0.is_whole());
        }
        let blocked = json!({"promptFeedback": {"blockReason": "SAFETY"}});
        assert!(after(&[blocked]).0.is_whole());
    }

    #[test]
    fn the_preamble_ends_with_the_first_content() {
        let parts = |parts: Value| json!({"candidates": [{"content": {"parts": parts}}]});
        let (_, chunks) = after(&[
            json!({"usageMetadata": {"promptTokenCount": 3}}),
            parts(json!([{"text": ""}])),
            parts(json!([{"text": "Hm", "thought": true}])),
            parts(json!([{"text": "a"}])),
        ]);
        let preamble: Vec<_> = chunks.iter().map(|chunk| chunk.preamble).collect();
        assert_eq!(preamble, [true, true, false, false]);
        let texts: Vec<_> = chunks.iter().map(|chunk| chunk.text.as_deref()).collect();
        assert_eq!(texts, [None, None, None, Some("a")]);
    }

    #[test]
    fn a_foreign_end_makes_nothing_whole() {
        let mut protocol = GenerateContent::default();
        let said = protocol.read(&SseEvent::default(), None);
        assert!(matches!(said, EventMeaning::Cut));
        let mut protocol = after(&[json!({"candidates": [candidate(0, "", Some("STOP"))]})]).0;
        let said = protocol.read(&SseEvent::default(), None);
        assert!(matches!(said, EventMeaning::End));
    }
}
