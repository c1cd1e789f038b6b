//! [`EventReader`]: how events are taken out of the bytes of a stream, whatever their framing is.

use std::io::{self, ErrorKind, Read};

use super::sse::event::SseEvent;
use crate::error::{Error, ErrorCode};

/// Takes events out of what a source gives, one blocking step at a time.
pub(crate) trait EventReader {
    type Source: Read;

    /// The next event that has been read, without waiting for more.
    fn buffered_event(&mut self) -> Result<Option<SseEvent>, Error>;

    /// Waits for more, once what was read has been looked at. False at the end of input.
    fn read_more(&mut self) -> Result<bool, Error>;

    /// The next event, however long it takes; `None` at the end of input.
    fn awaited_event(&mut self) -> Result<Option<SseEvent>, Error> {
        loop {
            let event = self.buffered_event()?;
            if event.is_some() || !self.read_more()? {
                return Ok(event);
            }
        }
    }

    /// How many bytes there are of an event that is not there in whole.
    fn bytes_of_event(&self) -> usize;

    /// What the end of input has cut off, where that may be an event nevertheless.
    fn cut_off(&mut self) -> Option<SseEvent>;

    /// Whether the input is a document and no events, by its first bytes; where a document was announced, `announced`, any but those of
    /// events. `None` while what has come may be the beginning of either. Only before the first event.
    fn opens_document(&mut self, announced: bool) -> Option<bool>;

    /// Waits for more while the beginning tells nothing yet. False at the end of input.
    fn read_on(&mut self) -> Result<bool, Error>;

    /// The document that the input is; at most `limit` bytes of it.
    fn into_document(self, limit: usize) -> Result<Vec<u8>, Error>;

    fn source(&self) -> &Self::Source;

    /// What the events were read from.
    fn into_source(self) -> Self::Source;
}

/// Reads into a buffer, whatever signals come; how many bytes it were.
pub(super) fn read_into(reader: &mut impl Read, buffer: &mut [u8]) -> Result<usize, Error> {
    loop {
        match reader.read(buffer) {
            Ok(count) => return Ok(count),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(broken(error)),
        }
    }
}

/// What a failed read means for the stream. A [`Body`](crate::Body) says it itself.
fn broken(error: io::Error) -> Error {
    let error = match error.downcast::<Error>() {
        Ok(error) => return error,
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Error::new(
            ErrorCode::StreamStalled,
            "no data within the stream's idle limit",
        ),
        ErrorKind::UnexpectedEof => Error::new(
            ErrorCode::StreamTruncated,
            "the connection was closed before the stream's end",
        ),
        kind => Error::new(
            ErrorCode::StreamInterrupted,
            format!("the stream failed: {kind}"),
        ),
    }
}

/// The error about an event of more bytes than are allowed.
pub(super) fn too_large(limit: usize) -> Error {
    let what = format!(
        "an event of the stream exceeds the limit of {limit} bytes: raise event_limit in the call's options or at the executor"
    );
    Error::new(ErrorCode::StreamMalformed, what)
}
