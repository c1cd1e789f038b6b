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
/// #[derive(Default)]
/// struct Texts {
///     is_whole: bool,
///     has_progressed: bool,
/// }
///
/// impl StreamProtocol for Texts {
///     fn read(&mut self, _: &SseEvent, json: Option<&Value>) -> EventMeaning {
///         let text = json.and_then(|json| json["text"].as_str());
///         self.has_progressed = text.is_some();
///         self.is_whole = json.is_some_and(|json| json["done"] == true);
///         let mut chunk = StreamChunk::default();
///         chunk.text = text.map(str::to_owned);
///         if self.is_whole { EventMeaning::Last(chunk) } else { EventMeaning::Chunk(chunk) }
///     }
///
///     fn has_progressed(&self) -> bool {
///         self.has_progressed
///     }
///
///     fn is_whole(&self) -> bool {
///         self.is_whole
///     }
///
///     fn missing(&self) -> &'static str {
///         "an event with done"
///     }
/// }
/// ```
pub trait StreamProtocol: Send {
    /// What an event says. `json` is the event's data, a JSON object that reports no error; `None` where the data is `[DONE]`.
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

    /// Whether the last event that was read brought something of the reply, or showed that work on it goes on: reasoning, a tool, a
    /// search. A greeting and a ping do not.
    fn has_progressed(&self) -> bool;

    /// Whether the reply is complete: a stream that stops now has lost nothing.
    fn is_whole(&self) -> bool;

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
    /// What `[DONE]` means for a reply that has said its end, or has not.
    pub(crate) fn of_done(has_ended: bool) -> Self {
        if has_ended { Self::End } else { Self::Cut }
    }
}
