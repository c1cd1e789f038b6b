//! The executor for an invented API, with few of the parts for HTTP APIs.

use credpool::provider::http::{key_value, secret_of, upstream_error};
use credpool::provider::{SseEvent, SseReader};
use credpool::{
    Attempt, Auth, Body, ChunkSource, Error, ErrorCode, Limits, Options, ProviderExecutor, Request,
    RequestPreparer, Response, StreamChunk,
};
use http::request::Parts;
use serde::Deserialize as _;
use serde_json::Value;

/// `POST` of `{"text", "stream"}`, with the key in `x-acme-key`.
pub(crate) struct Acme;

pub(crate) const END: &str = r#"{"end":true}"#;

#[rustfmt::skip] // One line for each signature.
impl ProviderExecutor for Acme {
    fn identifier(&self) -> &'static str {
        "acme"
    }

    fn execute(&self, attempt: &Attempt, auth: &Auth, request: &Request, options: &Options) -> Result<Response, Error> {
        let limits = attempt.call_limits(&options.timeouts);
        let payload = self.post(attempt, auth, request, &limits)?.into_bytes(1024 * 1024)?;
        let text = text_of(&payload, "said").map_err(|error| {
            if error.is_eof() && !payload.is_empty() {
                Error::new(ErrorCode::Transport, "the body's JSON is cut short")
            } else {
                Error::new(ErrorCode::Upstream, "not what this API documents")
            }
        })?;
        Ok(Response::new(payload).with_reply_text(text))
    }

    fn execute_stream(&self, attempt: &Attempt, auth: &Auth, request: &Request, options: &Options) -> Result<ChunkSource, Error> {
        let limits = attempt.stream_limits(&options.timeouts);
        let mut events = SseReader::new(self.post(attempt, auth, request, &limits)?);
        if let Some(limit) = options.event_limit {
            events = events.with_limit(limit);
        }
        Ok(Box::new(Words { attempt: attempt.clone(), events: Some(events) }))
    }

    fn request_preparer(&self) -> Option<&dyn RequestPreparer> {
        Some(self)
    }
}

impl RequestPreparer for Acme {
    fn prepare_request(&self, request: &mut Parts, auth: &Auth) -> Result<(), Error> {
        // Checked and marked: no error holds the key, and no debug form of the request either.
        let key = key_value(auth, secret_of(auth).unwrap_or_default())?;
        request.headers.insert("x-acme-key", key);
        Ok(())
    }
}

impl Acme {
    /// Sends the payload; an answer without success becomes an error that the policy judges by its status.
    fn post(
        &self,
        attempt: &Attempt,
        auth: &Auth,
        request: &Request,
        limits: &Limits,
    ) -> Result<Body, Error> {
        let url = auth.attributes.get("base_url");
        let request = http::Request::post(url.unwrap_or("https://acme.example/say"))
            .header("content-type", "application/json")
            .body(request.payload.clone())
            .map_err(|_| Error::new(ErrorCode::Config, "base_url is not a URL"))?;
        let (mut head, body) = request.into_parts();
        self.prepare_request(&mut head, auth)?;
        let answer = attempt.send(auth, http::Request::from_parts(head, body), limits)?;
        if answer.status().is_success() {
            Ok(answer.into_body())
        } else {
            Err(upstream_error(attempt, auth, answer))
        }
    }
}

/// The words of a stream, up to its end.
struct Words {
    attempt: Attempt,
    /// Gone after the end or an error.
    events: Option<SseReader<Body>>,
}

impl Iterator for Words {
    type Item = Result<StreamChunk, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let events = self.events.as_mut()?;
        let item = if self.attempt.is_cancelled() {
            Err(Error::new(ErrorCode::Cancelled, "the call was cancelled"))
        } else {
            match events.next_event() {
                Ok(Some(event)) if event.data == END => {
                    self.events = None;
                    return None;
                }
                Ok(Some(event)) => chunk(event),
                // The end is an event of this API: a stream that stops without it is not whole.
                Ok(None) => Err(Error::new(ErrorCode::StreamTruncated, "no end event came")),
                Err(error) => Err(error),
            }
        };
        if item.is_err() {
            self.events = None;
        }
        Some(item)
    }
}

fn chunk(event: SseEvent) -> Result<StreamChunk, Error> {
    let text = text_of(&event.data, "word")
        .map_err(|_| Error::new(ErrorCode::StreamMalformed, "not what this API documents"))?;
    Ok(StreamChunk::new(event.data).with_text(text))
}

fn text_of(json: &[u8], member: &str) -> Result<String, serde_json::Error> {
    let json: Value = serde_json::from_slice(json)?;
    String::deserialize(&json[member])
}
