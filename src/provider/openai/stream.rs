//! The chunks of a chat completion that is streamed.

use std::io::Read;

use serde_json::Value;

use crate::auth::Auth;
use crate::error::{Error, ErrorCode};
use crate::executor::Attempt;
use crate::request::StreamChunk;

use super::super::http::check_running;
use super::super::problem::Problem;
use super::super::sse::{SseEvent, SseReader};
use super::reply;

/// Turns events into chunks, and knows whether the stream is whole when it ends.
pub(super) struct ChatStream<R> {
    attempt: Attempt,
    auth: Auth,
    /// Gone after the end or an error, and the connection with it.
    events: Option<SseReader<R>>,
    /// A choice has said why it ended.
    finished: bool,
    /// Something of the reply has come.
    has_content: bool,
}

impl<R: Read> ChatStream<R> {
    pub(super) fn new(attempt: &Attempt, auth: &Auth, reader: R) -> Self {
        Self {
            attempt: attempt.clone(),
            auth: auth.clone(),
            events: Some(SseReader::new(reader)),
            finished: false,
            has_content: false,
        }
    }

    fn next_chunk(&mut self) -> Result<Option<StreamChunk>, Error> {
        let Some(events) = &mut self.events else {
            return Ok(None);
        };
        check_running(&self.attempt)?;
        match events.next_event() {
            Ok(Some(event)) if event.data[..].trim_ascii() == *b"[DONE]" => Ok(None),
            Ok(Some(event)) => self.read(event).map(Some),
            // The reply is whole: what is lost is no more than the closing marker.
            Ok(None) if self.finished => Ok(None),
            Err(error) if self.finished && *error.code() != ErrorCode::StreamMalformed => Ok(None),
            Ok(None) => Err(Error::new(
                ErrorCode::StreamTruncated,
                "the stream ended before the reply did: neither [DONE] nor a finish_reason came",
            )),
            Err(error) => {
                // A cancelled call's connection is closed under the reader.
                check_running(&self.attempt)?;
                Err(error)
            }
        }
    }

    fn read(&mut self, event: SseEvent) -> Result<StreamChunk, Error> {
        let Ok(json) = serde_json::from_slice::<Value>(&event.data) else {
            return Err(Error::new(
                ErrorCode::StreamMalformed,
                "an event of the stream is not JSON",
            ));
        };
        let named_error = event.event.as_deref() == Some("error");
        let problem = Problem::find(&json).or_else(|| named_error.then(|| Problem::of(&json)));
        if let Some(problem) = problem {
            return Err(super::reported(&problem, &json.to_string(), &self.auth));
        }
        if !json.is_object() {
            return Err(Error::new(
                ErrorCode::StreamMalformed,
                "an event of the stream is not a JSON object",
            ));
        }
        let choices = json.get("choices").and_then(Value::as_array);
        let choices = choices.map_or(&[][..], Vec::as_slice);
        self.finished |= choices.iter().any(is_finished);
        self.has_content |= choices.iter().any(has_content);
        let mut chunk = StreamChunk::new(event.data);
        chunk.event = event.event;
        chunk.text = text(choices);
        chunk.usage = json.get("usage").and_then(reply::usage);
        chunk.preamble = !self.has_content;
        Ok(chunk)
    }
}

impl<R: Read> Iterator for ChatStream<R> {
    type Item = Result<StreamChunk, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_chunk().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.events = None;
        }
        next.map(|chunk| chunk.map_err(|error| error.with_auth_id(&self.auth.id)))
    }
}

/// What the chunk adds to the first choice.
fn text(choices: &[Value]) -> Option<String> {
    let first = choices
        .iter()
        .find(|choice| choice.get("index").and_then(Value::as_u64).unwrap_or(0) == 0)?;
    let delta = first.get("delta").and_then(|delta| delta.get("content"));
    reply::content(delta.or_else(|| first.get("text"))?).filter(|text| !text.is_empty())
}

fn is_finished(choice: &Value) -> bool {
    choice
        .get("finish_reason")
        .is_some_and(|reason| !reason.is_null())
}

/// Whether a choice brings something: text, a tool call, a refusal, reasoning, or its end.
fn has_content(choice: &Value) -> bool {
    let filled = |value: &Value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    };
    let delta = choice.get("delta").and_then(Value::as_object);
    is_finished(choice)
        || choice.get("text").is_some_and(filled)
        || delta.is_some_and(|delta| {
            delta
                .iter()
                .any(|(name, value)| name != "role" && filled(value))
        })
}
