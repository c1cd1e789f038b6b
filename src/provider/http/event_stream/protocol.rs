//! [`StreamProtocol`]: how one API streams a reply in events.

use serde_json::Value;

use super::super::error_body::ReportedError;
use super::super::sse::SseEvent;
use crate::request::StreamChunk;

/// How one API streams a reply in events, and by what the end of a whole one is known. A stream that ends earlier is an error, with what it
/// [misses](Self::missing).
///
/// ```
/// use credpool::StreamChunk;
/// use credpool::provider::SseEvent;
/// use credpool::provider::http::{EventMeaning, StreamProtocol};
/// use serde_json::Value;
///
/// /// Events with a `text` each, up to one with `"done": true`.
/// struct Texts;
///
/// impl StreamProtocol for Texts {
///     fn read(&mut self, _: &SseEvent, json: Option<&Value>) -> EventMeaning {
///         let Some(json) = json else {
///             return EventMeaning::Cut;
///         };
///         let mut chunk = StreamChunk::default();
///         chunk.text = json["text"].as_str().map(str::to_owned);
///         if json["done"] == true { EventMeaning::Last(chunk) } else { EventMeaning::Chunk(chunk) }
///     }
///
///     fn missing(&self) -> &'static str {
///         "an event with done"
///     }
/// }
/// ```
pub trait StreamProtocol: Send {
    /// What an event says. `json` is the event's data, a JSON object that reports no error; `None` where the data is `[DONE]`. A chunk before
    /// which nothing of the reply has come, and that brings nothing, is marked as preamble.
    fn read(&mut self, event: &SseEvent, json: Option<&Value>) -> EventMeaning;

    /// What the ordinary event says, read from its data without looking at the rest of it: most events of a stream are alike,
    /// and this is several times cheaper. `None` for every event that must be read in full.
    ///
    /// ```
    /// use credpool::StreamChunk;
    ///
    /// /// A piece of text without escapes needs no JSON parser.
    /// fn fast_path(data: &[u8]) -> Option<StreamChunk> {
    ///     let text = data.strip_prefix(br#"{"text":""#)?.strip_suffix(br#""}"#)?;
    ///     let text = str::from_utf8(text).ok().filter(|text| !text.contains(['"', '\\']))?;
    ///     Some(StreamChunk::new(data.to_vec()).with_text(text))
    /// }
    /// assert!(fast_path(br#"{"text":"hello"}"#).is_some());
    /// ```
    fn fast_path(&mut self, data: &[u8]) -> Option<StreamChunk> {
        let _ = data;
        None
    }

    /// Whether an event of this name is one of the API's own, whose data means something. Data that cannot be parsed is an error then;
    /// under any other name it is taken for a gateway's own and skipped. Events without a name are always the API's. None by default: an
    /// API that names its events says so here.
    fn knows(&self, event: &str) -> bool {
        let _ = event;
        false
    }

    /// Whether the last event that was read brought something of the reply that its chunk does not show, or showed that work on it goes on: a
    /// search, a refusal. A greeting and a ping do not. Text, reasoning and tool calls of the chunk count without it. False by default.
    fn has_progressed(&self) -> bool {
        false
    }

    /// Whether the reply is complete: a stream that stops now has lost nothing. False by default: only [`EventMeaning::Last`] and
    /// [`EventMeaning::End`] end a reply.
    fn is_whole(&self) -> bool {
        false
    }

    /// What a stream misses that stops before it is whole.
    fn missing(&self) -> &'static str;
}

/// What an event of a stream means. See [`StreamProtocol`].
///
/// ```
/// use credpool::StreamChunk;
/// use credpool::provider::http::EventMeaning;
/// use serde_json::Value;
///
/// /// One event of a stream whose last one has a member `done`.
/// fn meaning(event: &Value) -> EventMeaning {
///     let chunk = StreamChunk::new(event.to_string());
///     match event["done"].as_bool() {
///         Some(true) => EventMeaning::Last(chunk),
///         _ => EventMeaning::Chunk(chunk),
///     }
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum EventMeaning {
    /// Something for the caller. Payload and event name are filled in.
    Chunk(StreamChunk),
    /// The end, which the caller is given, too.
    Last(StreamChunk),
    /// The end.
    End,
    /// The end, before the reply is whole.
    Cut,
    /// The reply failed.
    Failed(ReportedError),
}

impl EventMeaning {
    /// Whether it shows something of the reply.
    pub(super) fn shows_something(&self) -> bool {
        let (Self::Chunk(chunk) | Self::Last(chunk)) = self else {
            return false;
        };
        let is_filled = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        is_filled(&chunk.text) || is_filled(&chunk.reasoning) || !chunk.tool_calls.is_empty()
    }

    /// What `[DONE]` means for a reply that has said its end, or has not.
    pub(crate) fn of_done(has_ended: bool) -> Self {
        if has_ended { Self::End } else { Self::Cut }
    }
}
