//! [`StreamProtocol`] and streams over it, which are complete only after the provider's own end.

mod halves;
mod protocol;

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use halves::ReplyHalves;
pub use protocol::{EventMeaning, StreamProtocol};

use super::dialect::Dialect;
use super::error_body::ReportedError;
use super::events::EventReader;
use super::exchange::{COMPRESSED, GZIP, check_running, reported};
use super::patience::Patience;
use super::sse::SseEvent;
use crate::auth::Auth;
use crate::error::{Error, ErrorCode};
use crate::executor::{Attempt, Body};
use crate::head::ResponseHead;
use crate::json::{parse_lenient, parse_piece, without_mark};
use crate::limits::RateLimits;
use crate::provider::rate_limits;
use crate::request::StreamChunk;

/// Where a stream's bytes come from.
pub(crate) trait Source: Read {
    /// Limits for how long reads wait from now on, in all.
    fn allow(&self, left: Duration);

    /// Reads what is left to its end, for so long and no more: then the connection can serve again.
    fn finish_within(&mut self, limit: Duration);
}

impl Source for Body {
    fn allow(&self, left: Duration) {
        Self::allow(self, left);
    }

    fn finish_within(&mut self, limit: Duration) {
        Self::finish_within(self, limit);
    }
}

/// What the head of an answer says that the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Announced {
    Events,
    /// JSON, or a web page.
    Document,
    /// Compressed, whatever it is.
    Compressed,
}

/// Turns events into chunks, and knows whether the stream is whole when it ends.
pub(crate) struct EventStream<E: EventReader, P> {
    attempt: Attempt,
    auth: Auth,
    /// Gone after the end or an error.
    events: Option<E>,
    /// What follows the end of the events: the end of the body, after which the connection can serve again.
    rest: Option<E::Source>,
    /// Whether it is known that events come.
    begun: bool,
    /// Whether the input has ended.
    read_out: bool,
    protocol: P,
    dialect: Dialect,
    patience: Patience,
    halves: ReplyHalves,
    /// What the headers said of limits.
    limits: Option<Arc<RateLimits>>,
    /// The head of the answer, which the first chunk carries, too.
    head: Option<Arc<ResponseHead>>,
    has_told_head: bool,
}

impl<E: EventReader<Source: Source>, P: StreamProtocol> EventStream<E, P> {
    pub(crate) fn new(
        attempt: &Attempt,
        auth: &Auth,
        events: E,
        protocol: P,
        patience: Patience,
    ) -> Self {
        Self {
            attempt: attempt.clone(),
            auth: auth.clone(),
            events: Some(events),
            rest: None,
            begun: false,
            read_out: false,
            protocol,
            dialect: Dialect::new(),
            patience,
            halves: ReplyHalves::default(),
            limits: None,
            head: None,
            has_told_head: false,
        }
    }

    /// Sets what the vendor calls by names of its own.
    pub(crate) fn with_dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        self
    }

    /// Says what the headers said of limits: the first chunk will carry it, and an error.
    pub(crate) fn with_limits(mut self, limits: Option<RateLimits>) -> Self {
        self.limits = limits.map(Arc::new);
        self
    }

    /// Says what the head of the answer was: the first chunk will carry it, and an error.
    pub(crate) fn with_head(mut self, head: ResponseHead) -> Self {
        self.head = Some(Arc::new(head));
        self
    }

    /// Waits for the first bytes of an answer whose head announces something else, and fails unless they are those of events.
    pub(crate) fn begin(&mut self, announced: Announced) -> Result<(), Error> {
        self.check_beginning(announced)
            .map_err(|error| self.own(error))
    }

    /// Many servers answer a stream's request with the JSON of an error, whatever media type they name.
    fn check_beginning(&mut self, announced: Announced) -> Result<(), Error> {
        if std::mem::replace(&mut self.begun, true) {
            return Ok(());
        }
        let is_other = announced != Announced::Events;
        let opens_document = loop {
            let Some(events) = &mut self.events else {
                return Ok(());
            };
            if let Some(opens_document) = events.opens_document(is_other) {
                break opens_document;
            }
            if !self.wait(E::read_on)? {
                break is_other;
            }
        };
        let Some(events) = self.events.take_if(|_| opens_document) else {
            return Ok(());
        };
        events.source().allow(LONGEST_DOCUMENT);
        let document = events.into_document(LARGEST_DOCUMENT);
        // A cancelled call's connection is closed under the reader.
        check_running(&self.attempt)?;
        Err(self.refused(&document?, announced))
    }

    /// The error that a document is where events were expected.
    fn refused(&self, document: &[u8], announced: Announced) -> Error {
        let malformed = || {
            let what = "the upstream answered a stream request with one JSON document";
            Error::new(ErrorCode::StreamMalformed, what)
        };
        match parse_lenient(document) {
            Ok(json) => match ReportedError::find(&json) {
                Some(problem) => self.failed(&problem, &json),
                // No reply of any form, but a word of why there is none.
                None if ReportedError::of(&json).message.is_some() => {
                    self.failed(&ReportedError::of_no_reply(&json), &json)
                }
                None => malformed(),
            },
            Err(_) if announced == Announced::Compressed || document.starts_with(GZIP) => {
                let what =
                    format!("the upstream's answer to a stream request cannot be read{COMPRESSED}");
                Error::new(ErrorCode::Upstream, what).with_retryable(false)
            }
            Err(_) if document.len() >= LARGEST_DOCUMENT => malformed(),
            Err(error) if error.is_eof() => Error::new(
                ErrorCode::StreamTruncated,
                "the upstream answered a stream request with JSON that ends too early",
            ),
            Err(_) => {
                let what = "the upstream answered a stream request with something that is neither events nor JSON";
                let text = without_mark(document).trim_ascii_start();
                let hint = if text.starts_with(b"<") {
                    " (it is a web page: check base_url)"
                } else {
                    ""
                };
                Error::new(ErrorCode::Upstream, format!("{what}{hint}")).with_retryable(true)
            }
        }
    }

    fn next_chunk(&mut self) -> Result<Option<StreamChunk>, Error> {
        if self.events.is_none() {
            return Ok(None);
        }
        check_running(&self.attempt)?;
        self.check_beginning(Announced::Events)?;
        self.patience.resume();
        while let Some(event) = self.next_event()? {
            self.patience.note_event();
            if let Some(chunk) = self.read(event)? {
                return Ok(Some(chunk));
            }
        }
        Ok(None)
    }

    /// The next event; `None` at the end of a stream that is whole.
    fn next_event(&mut self) -> Result<Option<SseEvent>, Error> {
        loop {
            let Some(events) = &mut self.events else {
                return Ok(None);
            };
            if let Some(event) = events.buffered_event()? {
                return Ok(Some(event));
            }
            let is_whole = self.protocol.is_whole();
            match self.wait(E::read_more) {
                Ok(true) => {}
                // What is lost is no more than the closing marker.
                Ok(false) | Err(_) if is_whole => return Ok(None),
                Ok(false) => return self.last_event().map(Some),
                Err(error) => return Err(error),
            }
        }
    }

    /// The last event may lack its blank line. It is one where all of it is there.
    fn last_event(&mut self) -> Result<SseEvent, Error> {
        let is_first = !std::mem::replace(&mut self.read_out, true);
        let event = self.events.as_mut().and_then(E::cut_off);
        event
            .filter(|event| is_first && is_complete(&event.data))
            .ok_or_else(|| self.truncated())
    }

    /// Waits for more by one of the reader's ways, no longer than the limits allow.
    fn wait(&mut self, read: impl FnOnce(&mut E) -> Result<bool, Error>) -> Result<bool, Error> {
        let Some(events) = &mut self.events else {
            return Ok(false);
        };
        let left = self
            .patience
            .left(events.bytes_of_event(), self.protocol.is_whole())
            .map_err(|limit| Error::new(ErrorCode::StreamStalled, limit))?;
        if let Some(left) = left {
            events.source().allow(left);
        }
        let clock = self.attempt.clock();
        let since = clock.monotonic();
        let more = read(events);
        let waited = clock.monotonic().saturating_duration_since(since);
        self.patience.note_wait(waited);
        // A cancelled call's connection is closed under the reader.
        if more.is_err() {
            check_running(&self.attempt)?;
        }
        more
    }

    /// What an event brings; nothing where it is only to keep the connection awake.
    fn read(&mut self, event: SseEvent) -> Result<Option<StreamChunk>, Error> {
        if event.is_exception {
            return Err(self.exception(&event));
        }
        if event.event.is_none()
            && !self.halves.are_open()
            && let Some(chunk) = self.protocol.fast_path(&event.data)
        {
            self.patience.note_content();
            return Ok(Some(self.filled(chunk, event)));
        }
        let (json, has_halves) = match event.data.trim_ascii() {
            b"" | b"null" => return Ok(None),
            b"[DONE]" => (None, false),
            data => match self.object(&event, data)? {
                Some((json, has_halves)) => (Some(json), has_halves),
                None => return Ok(None),
            },
        };
        let said = self.protocol.read(&event, json.as_ref());
        let has_progressed = self.protocol.has_progressed() || said.shows_something();
        if has_progressed {
            self.patience.note_content();
        }
        let mut chunk = match self.translated(said) {
            EventMeaning::Chunk(mut chunk) => {
                chunk.preamble |= !self.patience.had_content();
                chunk
            }
            EventMeaning::Last(chunk) => {
                self.end();
                chunk
            }
            EventMeaning::End => {
                self.end();
                return Ok(None);
            }
            EventMeaning::Cut => return Err(self.truncated()),
            EventMeaning::Failed(problem) => {
                return Err(self.failed(&problem, &json.unwrap_or_default()));
            }
        };
        if has_halves || self.halves.are_open() {
            self.halves.join(&mut chunk, has_progressed);
        }
        Ok(Some(self.filled(chunk, event)))
    }

    /// A reply whose end is a fault by the vendor's own word has failed.
    fn translated(&self, said: EventMeaning) -> EventMeaning {
        let (EventMeaning::Chunk(chunk) | EventMeaning::Last(chunk)) = &said else {
            return said;
        };
        let fault = self.dialect.fault(chunk.finish_reason.as_deref());
        fault.map_or(said, EventMeaning::Failed)
    }

    /// Nothing of the reply follows: of the body, no more than its end is due.
    fn end(&mut self) {
        self.rest = self.events.take().map(E::into_source);
    }

    /// Gives the connection back where the body ends now, too.
    fn give_back(&mut self) {
        if let Some(mut rest) = self.rest.take() {
            rest.finish_within(END_OF_BODY);
        }
    }

    /// The chunk with its event, the first one with the limits of the headers.
    fn filled(&mut self, mut chunk: StreamChunk, event: SseEvent) -> StreamChunk {
        chunk.payload = event.data;
        chunk.event = event.event;
        if !self.has_told_head {
            self.has_told_head = true;
            chunk.rate_limits.clone_from(&self.limits);
            chunk.head.clone_from(&self.head);
        }
        chunk
    }

    fn truncated(&self) -> Error {
        let missing = self.protocol.missing();
        let what = format!("the stream ended before the reply was complete: {missing}");
        Error::new(ErrorCode::StreamTruncated, what)
    }

    /// The error that an event reports, with what it says of limits.
    fn failed(&self, problem: &ReportedError, json: &Value) -> Error {
        let error = reported(problem, json, self.dialect, &self.auth);
        let limits = self.limits.as_deref().cloned().unwrap_or_default();
        let now = self.attempt.clock().now();
        let limits = rate_limits::of_error(limits, error.http_status(), json, now);
        rate_limits::attach(error, limits, &self.auth)
    }

    /// The error that an exception in place of an event is. Its name is kept in its body, where answers with an error status have it.
    fn exception(&self, event: &SseEvent) -> Error {
        let mut json = parse_lenient(&event.data).unwrap_or_default();
        if let (Some(members), Some(name)) = (json.as_object_mut(), &event.event) {
            members.insert("__type".to_owned(), name.as_str().into());
        }
        let problem = ReportedError::of(&json);
        self.failed(&problem, &json)
    }

    /// An error of this stream: about its credential, with the limits of the headers.
    fn own(&self, error: Error) -> Error {
        let error = error.about(&self.auth.id);
        let error = match &self.head {
            Some(head) if error.head().is_none() => error.with_head(Arc::clone(head)),
            _ => error,
        };
        match &self.limits {
            Some(limits) if error.rate_limits().is_none() => {
                error.with_rate_limits(Arc::clone(limits))
            }
            _ => error,
        }
    }

    /// The event's data as a JSON object, or the error that it reports. `None` for an event in other words than the API's.
    fn object(&self, event: &SseEvent, data: &[u8]) -> Result<Option<(Value, bool)>, Error> {
        // Another try may bring what the API says.
        let malformed = |what| Error::new(ErrorCode::StreamMalformed, what).with_retryable(true);
        let name = event.event.as_deref();
        let named_error = name == Some("error");
        let is_foreign = name.is_some_and(|name| !self.protocol.knows(name));
        let (json, has_halves) = match parse_piece(data) {
            Ok(read) => read,
            // What a gateway says in its own words.
            Err(_) if named_error => {
                let mut problem = ReportedError::default();
                problem.message = Some(String::from_utf8_lossy(data).into_owned());
                return Err(self.failed(&problem, &Value::Null));
            }
            // `event: ping` with `data: ping`, for example: a client that listens to the API's own events never sees it.
            Err(_) if is_foreign => return Ok(None),
            // Of a whole reply no more than the closing marker is left, which some servers write in their own way.
            Err(_) if self.protocol.is_whole() => return Ok(None),
            Err(error) if error.is_data() => {
                let what =
                    "an event of the stream exceeds the client's limit of JSON parts for its size";
                return Err(malformed(what).with_retryable(false));
            }
            Err(_) => return Err(malformed("an event of the stream is not JSON")),
        };
        let problem =
            ReportedError::find(&json).or_else(|| named_error.then(|| ReportedError::of(&json)));
        if let Some(problem) = problem {
            return Err(self.failed(&problem, &json));
        }
        if json.is_object() {
            Ok(Some((json, has_halves)))
        } else if is_foreign || self.protocol.is_whole() {
            Ok(None)
        } else {
            Err(malformed("an event of the stream is not a JSON object"))
        }
    }
}

impl<E: EventReader<Source: Source>, P: StreamProtocol> Iterator for EventStream<E, P> {
    type Item = Result<StreamChunk, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_chunk().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.events = None;
            self.give_back();
        }
        next.map(|chunk| chunk.map_err(|error| self.own(error)))
    }
}

/// How long the end of a stream waits for the end of its body, which mostly comes along with it, so that the next request finds the
/// connection. A server that keeps the body open costs its reader no more.
const END_OF_BODY: Duration = Duration::from_millis(25);

/// Whether an event's data is all there.
fn is_complete(data: &[u8]) -> bool {
    let data = data.trim_ascii();
    data == b"[DONE]" || parse_lenient(data).is_ok_and(|json| json.is_object())
}

/// No more of a document is read than an error has, and for no longer.
const LARGEST_DOCUMENT: usize = 1024 * 1024;
const LONGEST_DOCUMENT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
