//! InvokeModel: the models' own requests and replies. Those of Anthropic are read; of others no more than the tokens.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::error::Error;
use crate::provider::http::event_stream::{EventMeaning, StreamProtocol};
use crate::provider::http::json::number;
use crate::provider::http::sse::SseEvent;
use crate::provider::http::{Reply, ReplyReader, payload};
use crate::request::{StreamChunk, Usage};

/// Whether a model speaks Anthropic's Messages: by its id, an inference profile's, or an ARN of either
/// (<https://docs.aws.amazon.com/bedrock/latest/userguide/models-supported.html>).
pub(super) fn is_anthropics(model: &str) -> bool {
    model
        .split(['.', '/', ':'])
        .any(|part| part == "anthropic" || part.starts_with("claude"))
}

/// The payload of a message as Bedrock takes it: the model is in the path, the path says whether it is streamed, and the version is a member
/// (<https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages-request-response.html>).
pub(super) fn message_payload(payload: &Bytes) -> Result<Bytes, Error> {
    let no_object = || Error::config("the request's payload is not a JSON object");
    let payload = payload::without(payload, &["model", "stream"]).ok_or_else(no_object)?;
    if payload::has(&payload, "anthropic_version") {
        return Ok(payload);
    }
    payload::with(&payload, "anthropic_version", VERSION).ok_or_else(no_object)
}

const VERSION: &str = "\"bedrock-2023-05-31\"";

/// The request of a count (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModelTokensRequest.html>).
pub(super) fn count_payload(payload: &Bytes) -> Bytes {
    let body = STANDARD.encode(payload);
    json!({"input": {"invokeModel": {"body": body}}})
        .to_string()
        .into()
}

/// How replies of models are read of which nothing is known.
pub(super) const REPLIES: ReplyReader = ReplyReader::new(|_| Reply::default());

/// The events of such models. Whole after the one with the metrics, which Bedrock adds to the last one of every model.
#[derive(Default)]
pub(super) struct ModelEvents {
    is_whole: bool,
}

impl StreamProtocol for ModelEvents {
    fn read(&mut self, _: &SseEvent, json: Option<&Value>) -> EventMeaning {
        let mut chunk = StreamChunk::default();
        let Some(metrics) = json.and_then(|json| json.get(METRICS)) else {
            return EventMeaning::Chunk(chunk);
        };
        self.is_whole = true;
        let count = |name| metrics.get(name).and_then(number);
        let counts = count("inputTokenCount").zip(count("outputTokenCount"));
        chunk.usage = counts.map(|(input, output)| Usage::new(input, output));
        EventMeaning::Last(chunk)
    }

    fn has_progressed(&self) -> bool {
        true
    }

    fn is_whole(&self) -> bool {
        self.is_whole
    }

    fn missing(&self) -> &'static str {
        "no amazon-bedrock-invocationMetrics arrived"
    }
}

const METRICS: &str = "amazon-bedrock-invocationMetrics";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anthropics_models_are_known_by_their_ids() {
        for model in [
            "anthropic.claude-sonnet-4-5-20250929-v1:0",
            "eu.anthropic.claude-opus-4-6-v1",
            "global.anthropic.claude-haiku-4-5-20251001-v1:0",
            "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0",
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-v1:0",
        ] {
            assert!(is_anthropics(model), "{model}");
        }
        for model in [
            "amazon.nova-pro-v1:0",
            "meta.llama3-70b-instruct-v1:0",
            "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2",
        ] {
            assert!(!is_anthropics(model), "{model}");
        }
    }

    #[test]
    fn a_message_names_its_version_and_neither_model_nor_stream() {
        for (payload, expected) in [
            (
                r#"{"model":"m","stream":true,"max_tokens":1}"#,
                r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":1}"#,
            ),
            (
                r#"{"anthropic_version":"x","messages":[]}"#,
                r#"{"anthropic_version":"x","messages":[]}"#,
            ),
            ("{}", r#"{"anthropic_version":"bedrock-2023-05-31"}"#),
        ] {
            let changed = message_payload(&Bytes::from_static(payload.as_bytes())).unwrap();
            assert_eq!(changed, expected);
        }
        assert!(message_payload(&Bytes::from_static(b"[]")).is_err());
    }
}
