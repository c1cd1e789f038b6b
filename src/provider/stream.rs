//! Streams that cannot lie: whole only once the provider's own end has come.

use std::io::Read;

use serde_json::Value;

use super::exchange::{check_running, reported};
use super::problem::Problem;
use super::sse::{SseEvent, SseReader};
use crate::auth::Auth;
use crate::error::{Error, ErrorCode};
use crate::executor::Attempt;
use crate::request::{Followed, StreamChunk};

/// How one API speaks in events.
pub(super) trait Protocol: Send {
    /// What an event says. `json` is the event's data, a JSON object that reports no error; `None` where the data is `[DONE]`.
    fn read(&mut self, event: &SseEvent, json: Option<&Value>) -> Said;

    /// What the ordinary event says, read from its data without looking at the rest of it: most events of a stream are alike,
    /// and this is several times cheaper. `None` for every event that must be read in full.
    fn glance(&mut self, data: &[u8]) -> Option<StreamChunk> {
        let _ = data;
        None
    }

    /// Whether the reply is complete: a stream that stops now has lost nothing.
    fn is_whole(&self) -> bool;

    /// What a stream misses that stops before it is whole.
    fn missing(&self) -> &'static str;
}

/// What an event says.
pub(super) enum Said {
    /// Something for the caller. Payload and event name are filled in.
    Chunk(StreamChunk),
    /// The end.
    End,
}

/// Turns events into chunks, and knows whether the stream is whole when it ends.
pub(super) struct EventStream<R, P> {
    attempt: Attempt,
    auth: Auth,
    /// Gone after the end or an error, and the connection with it.
    events: Option<SseReader<R>>,
    /// The next event, where it came together with the last one.
    ahead: Option<Result<SseEvent, Error>>,
    protocol: P,
}

impl<R: Read, P: Protocol> EventStream<R, P> {
    pub(super) fn new(attempt: &Attempt, auth: &Auth, reader: R, protocol: P) -> Self {
        Self {
            attempt: attempt.clone(),
            auth: auth.clone(),
            events: Some(SseReader::new(reader)),
            ahead: None,
            protocol,
        }
    }

    fn next_chunk(&mut self) -> Result<Option<StreamChunk>, Error> {
        let Some(events) = &mut self.events else {
            return Ok(None);
        };
        check_running(&self.attempt)?;
        let event = match self.ahead.take() {
            Some(event) => event.map(Some),
            None => events.next_event(),
        };
        match event {
            Ok(Some(event)) => {
                self.ahead = events.buffered_event();
                let mut chunk = self.read(event)?;
                if let Some(chunk) = &mut chunk {
                    chunk.followed = Followed(matches!(self.ahead, Some(Ok(_))));
                }
                Ok(chunk)
            }
            // The reply is whole: what is lost is no more than the closing marker.
            Ok(None) if self.protocol.is_whole() => Ok(None),
            Err(error)
                if self.protocol.is_whole() && *error.code() != ErrorCode::StreamMalformed =>
            {
                Ok(None)
            }
            Ok(None) => Err(Error::new(
                ErrorCode::StreamTruncated,
                format!(
                    "the stream ended before the reply did: {}",
                    self.protocol.missing()
                ),
            )),
            Err(error) => {
                // A cancelled call's connection is closed under the reader.
                check_running(&self.attempt)?;
                Err(error)
            }
        }
    }

    fn read(&mut self, event: SseEvent) -> Result<Option<StreamChunk>, Error> {
        if event.event.is_none()
            && let Some(mut chunk) = self.protocol.glance(&event.data)
        {
            chunk.payload = event.data;
            return Ok(Some(chunk));
        }
        let json = match event.data.trim_ascii() {
            b"[DONE]" => None,
            data => Some(self.object(&event, data)?),
        };
        match self.protocol.read(&event, json.as_ref()) {
            Said::End => Ok(None),
            Said::Chunk(mut chunk) => {
                chunk.payload = event.data;
                chunk.event = event.event;
                Ok(Some(chunk))
            }
        }
    }

    /// The event's data as a JSON object, or the error that it reports.
    fn object(&self, event: &SseEvent, data: &[u8]) -> Result<Value, Error> {
        let malformed = |what| Error::new(ErrorCode::StreamMalformed, what);
        let json: Value = serde_json::from_slice(data)
            .map_err(|_| malformed("an event of the stream is not JSON"))?;
        let named_error = event.event.as_deref() == Some("error");
        let problem = Problem::find(&json).or_else(|| named_error.then(|| Problem::of(&json)));
        if let Some(problem) = problem {
            return Err(reported(&problem, &json.to_string(), &self.auth));
        }
        if json.is_object() {
            Ok(json)
        } else {
            Err(malformed("an event of the stream is not a JSON object"))
        }
    }
}

impl<R: Read, P: Protocol> Iterator for EventStream<R, P> {
    type Item = Result<StreamChunk, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_chunk().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.events = None;
            self.ahead = None;
        }
        next.map(|chunk| chunk.map_err(|error| error.about(&self.auth.id)))
    }
}
