//! [`Framing`], and streams of a vendor's API in each of them.

use bytes::Bytes;
use http::header::CONTENT_TYPE;

use super::amazon::AmazonEventReader;
use super::call::{VendorCall, is_compressed, media_type_has};
use super::event_stream::{Announced, EventStream, StreamProtocol};
use super::events::EventReader;
use super::exchange::response_head;
use super::headers::{AMAZON_EVENT_STREAM, EVENT_STREAM};
use super::patience::Patience;
use super::sse::SseReader;
use crate::error::{Error, ErrorCode};
use crate::executor::{Body, ChunkSource};
use crate::head::ResponseHead;
use crate::limits::RateLimits;

/// How events stand in the bytes of a stream. See [`VendorCall::stream_in`].
///
/// ```
/// use credpool::provider::http::{Framing, StreamProtocol, VendorCall};
/// use credpool::{ChunkSource, Error, Request};
///
/// /// The `stream` of a vendor whose models run on SageMaker.
/// fn stream(call: &VendorCall<'_>, request: &Request, protocol: impl StreamProtocol + 'static) -> Result<ChunkSource, Error> {
///     let path = "/endpoints/blue/invocations-response-stream";
///     call.stream_in(Framing::AmazonEvents, path, request.payload.clone(), protocol)
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Framing {
    /// `text/event-stream`, read by [`SseReader`].
    ServerSentEvents,
    /// `application/vnd.amazon.eventstream`, read by [`AmazonEventReader`].
    AmazonEvents,
    /// The same, with events inside of events: see [`AmazonEventReader::with_chunks`].
    AmazonChunks,
}

impl Framing {
    fn media_type(self) -> &'static str {
        match self {
            Self::ServerSentEvents => EVENT_STREAM,
            Self::AmazonEvents | Self::AmazonChunks => AMAZON_EVENT_STREAM,
        }
    }

    /// That of streams in which nothing can be read.
    fn foreign_media_type(self) -> &'static str {
        match self {
            Self::ServerSentEvents => AMAZON_EVENT_STREAM,
            Self::AmazonEvents | Self::AmazonChunks => EVENT_STREAM,
        }
    }
}

impl VendorCall<'_> {
    /// Sends the payload and reads the answer as a stream of server-sent events in `protocol`.
    ///
    /// # Errors
    /// As [`plain`](Self::plain), and `stream_malformed` for what is no stream of events. Errors that come later are items of the stream.
    pub fn stream(
        &self,
        path: &str,
        payload: Bytes,
        protocol: impl StreamProtocol + 'static,
    ) -> Result<ChunkSource, Error> {
        self.stream_in(Framing::ServerSentEvents, path, payload, protocol)
    }

    /// As [`stream`](Self::stream), for events in any framing. See [`Framing`] for an example.
    ///
    /// # Errors
    /// As [`stream`](Self::stream). An answer in another framing is not retryable.
    pub fn stream_in(
        &self,
        framing: Framing,
        path: &str,
        payload: Bytes,
        protocol: impl StreamProtocol + 'static,
    ) -> Result<ChunkSource, Error> {
        let waits = self.attempt.stream_limits(&self.options.timeouts);
        let answer = self.send(path, payload, framing.media_type(), &waits)?;
        let (head, body) = answer.into_parts();
        let limits = self.limits_of(&head.headers);
        let head = response_head(head, self.auth);
        let media_type = head.headers.get(CONTENT_TYPE);
        let says = |part| media_type_has(media_type, part);
        let foreign = framing.foreign_media_type();
        if says(foreign) {
            let own = framing.media_type();
            let what = format!("the answer is {foreign}, not {own}: check base_url");
            let error = Error::new(ErrorCode::StreamMalformed, what).with_auth_id(&self.auth.id);
            return Err(error.with_head(head));
        }
        let announced = if is_compressed(&head.headers) {
            Announced::Compressed
        } else if says("json") || says("html") {
            Announced::Document
        } else {
            Announced::Events
        };
        let begun = Begun {
            limits,
            head,
            announced,
            patience: Patience::new(&waits, body.since_sent()),
        };
        let limit = self.options.event_limit.unwrap_or(self.event_limit);
        let amazon = |body| AmazonEventReader::new(body).with_limit(limit);
        match framing {
            Framing::ServerSentEvents => {
                let events = SseReader::new(body).with_limit(limit);
                self.chunks(events, protocol, begun)
            }
            Framing::AmazonEvents => self.chunks(amazon(body), protocol, begun),
            Framing::AmazonChunks => self.chunks(amazon(body).with_chunks(), protocol, begun),
        }
    }

    fn chunks(
        &self,
        events: impl EventReader<Source = Body> + Send + 'static,
        protocol: impl StreamProtocol + 'static,
        begun: Begun,
    ) -> Result<ChunkSource, Error> {
        let stream = EventStream::new(self.attempt, self.auth, events, protocol, begun.patience);
        let mut stream = stream
            .with_dialect(self.vendor.dialect())
            .with_limits(begun.limits)
            .with_head(begun.head);
        if begun.announced != Announced::Events {
            stream.begin(begun.announced)?;
        }
        Ok(Box::new(stream))
    }
}

/// What is known of a stream by the head of its answer.
struct Begun {
    limits: Option<RateLimits>,
    head: ResponseHead,
    announced: Announced,
    patience: Patience,
}
