//! Streams that cannot lie: whole only once the provider's own end has come.

use std::io::Read;
use std::sync::Arc;

use serde_json::Value;

use super::exchange::{check_running, reported};
use super::limits;
use super::problem::Problem;
use super::sse::{SseEvent, SseReader};
use crate::auth::Auth;
use crate::error::{Error, ErrorCode};
use crate::executor::Attempt;
use crate::limits::RateLimits;
use crate::request::StreamChunk;

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
    /// The end, which the caller is given, too.
    Last(StreamChunk),
    /// The end.
    End,
    /// What this API never says.
    Malformed(&'static str),
    /// The end, before the reply is whole.
    Cut,
    /// The reply failed.
    Failed(Problem),
}

/// Turns events into chunks, and knows whether the stream is whole when it ends.
pub(super) struct EventStream<R, P> {
    attempt: Attempt,
    auth: Auth,
    /// Gone after the end or an error, and the connection with it.
    events: Option<SseReader<R>>,
    /// Whether it is known that events come.
    begun: bool,
    protocol: P,
    /// What the headers said of limits, and whether a chunk has carried it.
    limits: Option<Arc<RateLimits>>,
    limits_told: bool,
}

impl<R: Read, P: Protocol> EventStream<R, P> {
    pub(super) fn new(attempt: &Attempt, auth: &Auth, reader: R, protocol: P) -> Self {
        Self {
            attempt: attempt.clone(),
            auth: auth.clone(),
            events: Some(SseReader::new(reader)),
            begun: false,
            protocol,
            limits: None,
            limits_told: false,
        }
    }

    /// Sets how many bytes one event may have.
    pub(super) fn with_event_limit(mut self, bytes: usize) -> Self {
        self.events = self.events.map(|events| events.with_limit(bytes));
        self
    }

    /// Says what the headers said of limits: the first chunk will carry it, and an error.
    pub(super) fn with_limits(mut self, limits: Option<RateLimits>) -> Self {
        self.limits = limits.map(Arc::new);
        self
    }

    /// Waits for the first bytes of an answer whose media type is a document's, and fails unless they are those of events.
    pub(super) fn begin(&mut self) -> Result<(), Error> {
        self.check_beginning(true).map_err(|error| self.own(error))
    }

    /// Many servers answer a stream's request with the JSON of an error, whatever media type they name.
    fn check_beginning(&mut self, announced: bool) -> Result<(), Error> {
        if std::mem::replace(&mut self.begun, true) {
            return Ok(());
        }
        let events = self.events.as_mut();
        let opening = events.map(|events| events.opens_document(announced));
        let found = match opening.transpose() {
            Ok(Some(true)) => {
                let events = self.events.take();
                events.map(|events| events.into_document(LARGEST_DOCUMENT))
            }
            Ok(_) => return Ok(()),
            Err(error) => Some(Err(error)),
        };
        // A cancelled call's connection is closed under the reader.
        check_running(&self.attempt)?;
        match found.transpose()? {
            Some(document) => Err(self.refused(&document)),
            None => Ok(()),
        }
    }

    /// The error that a document is where events were expected.
    fn refused(&self, document: &[u8]) -> Error {
        let malformed = || {
            let what = "the upstream answered a stream request with one JSON document";
            Error::new(ErrorCode::StreamMalformed, what)
        };
        match serde_json::from_slice(document) {
            Ok(json) => match Problem::find(&json) {
                Some(problem) => self.failed(&problem, &json),
                None => malformed(),
            },
            Err(_) if document.len() >= LARGEST_DOCUMENT => malformed(),
            Err(error) if error.is_eof() => Error::new(
                ErrorCode::StreamTruncated,
                "the upstream answered a stream request with JSON that ends too early",
            ),
            Err(_) => {
                let what = "the upstream answered a stream request with something that is neither events nor JSON";
                let hint = if document.trim_ascii_start().starts_with(b"<") {
                    " (it is a web page: is base_url right?)"
                } else {
                    ""
                };
                Error::new(ErrorCode::Upstream, format!("{what}{hint}"))
            }
        }
    }

    fn next_chunk(&mut self) -> Result<Option<StreamChunk>, Error> {
        if self.events.is_none() {
            return Ok(None);
        }
        check_running(&self.attempt)?;
        self.check_beginning(false)?;
        let Some(events) = &mut self.events else {
            return Ok(None);
        };
        match events.next_event() {
            Ok(Some(event)) => self.read(event),
            // The reply is whole: what is lost is no more than the closing marker.
            Ok(None) if self.protocol.is_whole() => Ok(None),
            Err(error)
                if self.protocol.is_whole() && *error.code() != ErrorCode::StreamMalformed =>
            {
                Ok(None)
            }
            Ok(None) => Err(self.truncated()),
            Err(error) => {
                // A cancelled call's connection is closed under the reader.
                check_running(&self.attempt)?;
                Err(error)
            }
        }
    }

    fn read(&mut self, event: SseEvent) -> Result<Option<StreamChunk>, Error> {
        if event.event.is_none()
            && let Some(chunk) = self.protocol.glance(&event.data)
        {
            return Ok(Some(self.filled(chunk, event)));
        }
        let json = match event.data.trim_ascii() {
            b"[DONE]" => None,
            data => Some(self.object(&event, data)?),
        };
        let chunk = match self.protocol.read(&event, json.as_ref()) {
            Said::Chunk(chunk) => chunk,
            Said::Last(chunk) => {
                self.events = None;
                chunk
            }
            Said::End => return Ok(None),
            Said::Malformed(what) => return Err(Error::new(ErrorCode::StreamMalformed, what)),
            Said::Cut => return Err(self.truncated()),
            Said::Failed(problem) => return Err(self.failed(&problem, &json.unwrap_or_default())),
        };
        Ok(Some(self.filled(chunk, event)))
    }

    /// The chunk with its event, the first one with the limits that the headers told.
    fn filled(&mut self, mut chunk: StreamChunk, event: SseEvent) -> StreamChunk {
        chunk.payload = event.data;
        chunk.event = event.event;
        if !self.limits_told {
            self.limits_told = true;
            chunk.rate_limits.clone_from(&self.limits);
        }
        chunk
    }

    fn truncated(&self) -> Error {
        let missing = self.protocol.missing();
        let what = format!("the stream ended before the reply did: {missing}");
        Error::new(ErrorCode::StreamTruncated, what)
    }

    /// The error that an event reports, with what it says of limits.
    fn failed(&self, problem: &Problem, json: &Value) -> Error {
        let error = reported(problem, json, &self.auth);
        let limits = self.limits.as_deref().cloned().unwrap_or_default();
        let now = self.attempt.clock().now();
        let limits = limits::of_error(limits, error.http_status(), json, now);
        limits::attach(error, limits, &self.auth)
    }

    /// An error of this stream: about its credential, with the limits that the headers told.
    fn own(&self, error: Error) -> Error {
        let error = error.about(&self.auth.id);
        match &self.limits {
            Some(limits) if error.rate_limits().is_none() => {
                error.with_rate_limits(Arc::clone(limits))
            }
            _ => error,
        }
    }

    /// The event's data as a JSON object, or the error that it reports.
    fn object(&self, event: &SseEvent, data: &[u8]) -> Result<Value, Error> {
        let malformed = |what| Error::new(ErrorCode::StreamMalformed, what);
        let named_error = event.event.as_deref() == Some("error");
        let json: Value = match serde_json::from_slice(data) {
            Ok(json) => json,
            // What a gateway says in its own words.
            Err(_) if named_error => {
                let mut problem = Problem::default();
                problem.message = Some(String::from_utf8_lossy(data).into_owned());
                return Err(self.failed(&problem, &Value::Null));
            }
            Err(_) => return Err(malformed("an event of the stream is not JSON")),
        };
        let problem = Problem::find(&json).or_else(|| named_error.then(|| Problem::of(&json)));
        if let Some(problem) = problem {
            return Err(self.failed(&problem, &json));
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
        }
        next.map(|chunk| chunk.map_err(|error| self.own(error)))
    }
}

/// No more of a document is read than an error has.
const LARGEST_DOCUMENT: usize = 1024 * 1024;
