//! [`AmazonEventReader`]: events in the framing `application/vnd.amazon.eventstream`.

mod frame;

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use self::frame::{Fault, Message};
use super::events::{EventReader, read_into, too_large};
use super::exchange::GZIP;
use super::sse::DEFAULT_EVENT_LIMIT;
use super::sse::event::SseEvent;
use crate::error::{Error, ErrorCode};
use crate::json::without_mark;

/// Reads the messages of an [Amazon event stream](https://smithy.io/2.0/aws/amazon-eventstream.html)
/// (`application/vnd.amazon.eventstream`) from a byte stream, one blocking step at a time.
///
/// A message becomes an [`SseEvent`], as [`StreamProtocol`](super::StreamProtocol)s take it: its name is the `:event-type`, its data the
/// payload. An exception has its `:exception-type` as name, an error its `:error-code`, with `{"message": …}` as data; both are
/// [marked](SseEvent::is_exception). Invalid UTF-8 is replaced.
///
/// Both checksums of a frame are held against its bytes before anything of it is delivered. Memory is bounded: headers have at most
/// 128 KiB, a payload 24 MiB, a whole message what [`with_limit`](Self::with_limit) allows.
///
/// As an iterator it ends at the end of input or after its first error: code `stream_malformed` for a message over the limit
/// (not retryable), for a wrong checksum and for what is no frame (retryable); else as [`SseReader`](crate::provider::SseReader). A message
/// that the end of input cuts off is not delivered.
///
/// ```
/// use credpool::provider::AmazonEventReader;
/// use credpool::testing::amazon_events;
///
/// let stream = amazon_events([("messageStart", r#"{"role":"assistant"}"#), ("throttlingException", r#"{"message":"Slow down."}"#)]);
/// let events: Vec<_> = AmazonEventReader::new(&stream[..]).collect::<Result<_, _>>()?;
/// assert_eq!(events[0].event.as_deref(), Some("messageStart"));
/// assert_eq!(events[0].data, r#"{"role":"assistant"}"#);
/// assert!(events[1].is_exception);
/// # Ok::<(), credpool::Error>(())
/// ```
pub struct AmazonEventReader<R> {
    reader: R,
    limit: usize,
    /// What was read and not delivered, from `start` on.
    buffer: Vec<u8>,
    start: usize,
    takes_chunks: bool,
    ended: bool,
}

impl<R: Read> AmazonEventReader<R> {
    /// Reads messages from `reader`, which needs no buffer of its own.
    pub fn new(reader: R) -> Self {
        Self {
            reader,
            limit: DEFAULT_EVENT_LIMIT,
            buffer: Vec::new(),
            start: 0,
            takes_chunks: false,
            ended: false,
        }
    }

    /// Sets how many bytes one message may have. Default: 64 MiB, which is more than the format allows.
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Delivers in place of an event `{"bytes": …}` what its base64 text holds, without a name: with
    /// [`InvokeModelWithResponseStream`](https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_PayloadPart.html) these are
    /// the model's own events.
    pub fn with_chunks(mut self) -> Self {
        self.takes_chunks = true;
        self
    }

    /// The next message; `None` at the end of input, and always after it or after an error.
    ///
    /// # Errors
    /// See the type.
    pub fn next_event(&mut self) -> Result<Option<SseEvent>, Error> {
        if self.ended {
            return Ok(None);
        }
        let next = self.awaited_event();
        self.ended = !matches!(next, Ok(Some(_)));
        next
    }

    /// The event of a whole frame.
    fn event(&self, frame: &[u8]) -> Result<SseEvent, Fault> {
        let message = frame::message(frame)?;
        let payload = &frame[message.payload.clone()];
        let mut event = SseEvent::default();
        match message.header(":message-type") {
            Some("exception") => {
                event.is_exception = true;
                event.event = named(&message, ":exception-type");
                event.data = text(payload);
            }
            Some("error") => {
                event.is_exception = true;
                event.event = named(&message, ":error-code");
                let said = message.header(":error-message").unwrap_or_default();
                event.data = json!({ "message": said }).to_string().into();
            }
            _ if self.takes_chunks && message.header(":event-type") == Some("chunk") => {
                event.data = chunk(payload)?;
            }
            _ => {
                event.event = named(&message, ":event-type");
                event.data = text(payload);
            }
        }
        Ok(event)
    }
}

impl<R: Read> EventReader for AmazonEventReader<R> {
    type Source = R;

    fn buffered_event(&mut self) -> Result<Option<SseEvent>, Error> {
        let unread = &self.buffer[self.start..];
        let Some(length) = frame::length(unread).map_err(malformed)? else {
            return Ok(None);
        };
        if length > self.limit {
            return Err(too_large(self.limit));
        }
        let Some(frame) = unread.get(..length) else {
            return Ok(None);
        };
        let event = self.event(frame).map_err(malformed)?;
        self.start += length;
        Ok(Some(event))
    }

    fn read_more(&mut self) -> Result<bool, Error> {
        self.buffer.drain(..self.start);
        self.start = 0;
        if self.buffer.is_empty() && self.buffer.capacity() > LARGE {
            self.buffer = Vec::new();
        }
        let begun = self.buffer.len();
        self.buffer.resize(begun + READ, 0);
        let read = read_into(&mut self.reader, &mut self.buffer[begun..]);
        let count = *read.as_ref().unwrap_or(&0);
        self.buffer.truncate(begun + count);
        Ok(read? > 0)
    }

    fn bytes_of_event(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Without its checksum, none.
    fn cut_off(&mut self) -> Option<SseEvent> {
        None
    }

    /// The first byte of a frame is a zero, or a one where it is longer than 16 MiB.
    fn opens_document(&mut self, announced: bool) -> Option<bool> {
        let unread = &self.buffer[self.start..];
        let first = *unread.first()?;
        if announced {
            return Some(first > 1);
        }
        let text = without_mark(unread).trim_ascii_start();
        let is_compressed = unread.starts_with(GZIP);
        Some(is_compressed || matches!(text, [b'{' | b'[' | b'<', ..]))
    }

    fn read_on(&mut self) -> Result<bool, Error> {
        self.read_more()
    }

    fn into_document(mut self, limit: usize) -> Result<Vec<u8>, Error> {
        while self.buffer.len() < limit && self.read_more()? {}
        self.buffer.truncate(limit);
        Ok(self.buffer)
    }

    fn source(&self) -> &R {
        &self.reader
    }

    fn into_source(self) -> R {
        self.reader
    }
}

fn named(message: &Message<'_>, header: &str) -> Option<String> {
    message.header(header).map(str::to_owned)
}

fn text(payload: &[u8]) -> Bytes {
    String::from_utf8_lossy(payload)
        .into_owned()
        .into_bytes()
        .into()
}

/// What the base64 text of a payload `{"bytes": …}` holds.
fn chunk(payload: &[u8]) -> Result<Bytes, Fault> {
    let no_chunk = "its payload is no chunk";
    let part: Value = serde_json::from_slice(payload).map_err(|_| no_chunk)?;
    let bytes = part["bytes"].as_str().ok_or(no_chunk)?;
    let bytes = STANDARD.decode(bytes).map_err(|_| no_chunk)?;
    Ok(text(&bytes))
}

/// Another try may bring it whole.
fn malformed(fault: Fault) -> Error {
    let what = format!("the event stream has a frame that cannot be read: {fault}");
    Error::new(ErrorCode::StreamMalformed, what).with_retryable(true)
}

impl<R: Read> Iterator for AmazonEventReader<R> {
    type Item = Result<SseEvent, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_event().transpose()
    }
}

impl<R> std::fmt::Debug for AmazonEventReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AmazonEventReader")
            .field("limit", &self.limit)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// How much is read at a time.
const READ: usize = 8 * 1024;
/// A buffer that is larger is not kept for small messages.
const LARGE: usize = 256 * 1024;

#[cfg(test)]
mod tests;
