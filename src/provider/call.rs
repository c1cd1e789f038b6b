//! One call of an executor: a payload out, JSON or a stream of events back.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;

use super::exchange::{reported, send};
use super::head::{EVENT_STREAM, JSON, Vendor, head};
use super::limits;
use super::patience::Patience;
use super::problem::Problem;
use super::stream::{Announced, EventStream, Protocol};
use crate::auth::{Auth, Metadata};
use crate::error::{Error, ErrorCode};
use crate::executor::{Attempt, ChunkSource};
use crate::json_input::{parse_lenient, without_mark};
use crate::limits::RateLimits;
use crate::request::{Options, Response};
use crate::transport::{Body, Limits};

/// One request to the upstream, for whom and how.
pub(super) struct Call<'a> {
    pub(super) vendor: &'a dyn Vendor,
    pub(super) attempt: &'a Attempt,
    pub(super) auth: &'a Auth,
    pub(super) options: &'a Options,
    /// How many bytes one event of a stream may have.
    pub(super) event_limit: usize,
}

impl Call<'_> {
    /// Sends the payload and reads the JSON that comes back.
    pub(super) fn plain(&self, path: &str, payload: Bytes) -> Result<(Response, Value), Error> {
        self.plain_as(path, payload, |_| None, |_| None, |json| json)
    }

    /// As [`plain`](Self::plain), for answers that are mostly alike: `glance` takes what is needed straight out of the
    /// ordinary one, or nothing, and then `read` gets the whole JSON. `failure` finds an error that does not stand where errors
    /// mostly do.
    pub(super) fn plain_as<T>(
        &self,
        path: &str,
        payload: Bytes,
        glance: impl FnOnce(&[u8]) -> Option<T>,
        failure: impl FnOnce(&Value) -> Option<Problem>,
        read: impl FnOnce(Value) -> T,
    ) -> Result<(Response, T), Error> {
        let limits = self.attempt.call_limits(&self.options.timeouts);
        let answer = self.send(path, payload, JSON, &limits)?;
        let status = answer.status();
        let request_id = REQUEST_IDS
            .iter()
            .find_map(|name| answer.headers().get(*name)?.to_str().ok())
            .map(str::to_owned);
        let limits = self.limits_of(&answer);
        let head = answer.headers().clone();
        let body = answer.into_body().into_bytes(LARGEST_BODY)?;
        let found = match glance(&body) {
            Some(found) => found,
            None => {
                let json = self.json(&body, status, &head)?;
                if let Some(problem) = Problem::find(&json).or_else(|| failure(&json)) {
                    return Err(self.reported(&problem, &json, limits));
                }
                read(json)
            }
        };
        let mut response = Response::new(body);
        response.rate_limits = limits.map(Arc::new);
        response.metadata = request_id.map(|id| Metadata::from_iter([("request_id", id)]));
        Ok((response, found))
    }

    /// Sends the payload and reads the answer as a stream of events in `protocol`.
    pub(super) fn stream(
        &self,
        path: &str,
        payload: Bytes,
        protocol: impl Protocol + 'static,
    ) -> Result<ChunkSource, Error> {
        let waits = self.attempt.stream_limits(&self.options.timeouts);
        let answer = self.send(path, payload, EVENT_STREAM, &waits)?;
        let limits = self.limits_of(&answer);
        let media_type = answer.headers().get(CONTENT_TYPE);
        let says = |part| media_type_has(media_type, part);
        if says("amazon.eventstream") {
            let what = "the answer is application/vnd.amazon.eventstream, not text/event-stream: is base_url right?";
            return Err(Error::new(ErrorCode::StreamMalformed, what).with_auth_id(&self.auth.id));
        }
        let announced = if is_compressed(answer.headers()) {
            Announced::Compressed
        } else if says("json") || says("html") {
            Announced::Document
        } else {
            Announced::Events
        };
        let body = answer.into_body();
        let patience = Patience::new(&waits, body.since_sent());
        let event_limit = self.options.event_limit.unwrap_or(self.event_limit);
        let stream = EventStream::new(self.attempt, self.auth, body, protocol, patience);
        let mut stream = stream.with_event_limit(event_limit).with_limits(limits);
        if announced != Announced::Events {
            stream.begin(announced)?;
        }
        Ok(Box::new(stream))
    }

    fn send(
        &self,
        path: &str,
        payload: Bytes,
        accept: &'static str,
        limits: &Limits,
    ) -> Result<http::Response<Body>, Error> {
        let head = head(self.vendor, self.auth, path, accept, self.options)?;
        send(self.attempt, self.auth, limits, head, payload)
    }

    fn json(&self, body: &[u8], status: StatusCode, head: &HeaderMap) -> Result<Value, Error> {
        parse_lenient(body).map_err(|error| {
            let is_too_rich = error.is_data();
            let hint = if is_too_rich {
                TOO_RICH
            } else {
                not_json_hint(head, body)
            };
            let status = status.as_u16();
            let is_cut = error.is_eof() && !body.trim_ascii().is_empty();
            // Whoever is asked: the payload asks for it.
            let is_stream = media_type_has(head.get(CONTENT_TYPE), "event-stream");
            let is_in_another_form = is_stream || is_compressed(head) || body.starts_with(GZIP);
            let (code, what) = if is_cut {
                (ErrorCode::Transport, "the body ends before its JSON does")
            } else if is_too_rich {
                (ErrorCode::Upstream, "the body is too much JSON")
            } else {
                (ErrorCode::Upstream, "the body is not JSON")
            };
            Error::new(code, format!("HTTP {status}, but {what}{hint}"))
                .with_retryable(!is_in_another_form && !is_too_rich)
                .with_auth_id(&self.auth.id)
        })
    }

    /// What the headers say of limits, if anything.
    fn limits_of(&self, answer: &http::Response<Body>) -> Option<RateLimits> {
        let limits = RateLimits::from_headers(answer.headers(), self.attempt.clock().now());
        (!limits.is_empty()).then(|| limits::scrubbed(limits, self.auth))
    }

    /// The error that a JSON body reports in spite of its status.
    fn reported(&self, problem: &Problem, json: &Value, limits: Option<RateLimits>) -> Error {
        let error = reported(problem, json, self.auth);
        let now = self.attempt.clock().now();
        let limits = limits.unwrap_or_default();
        let limits = limits::of_error(limits, error.http_status(), json, now);
        limits::attach(error, limits, self.auth)
    }
}

/// What may be wrong with an answer that turns out not to be JSON.
fn not_json_hint(head: &HeaderMap, body: &[u8]) -> &'static str {
    let media_type = head.get(CONTENT_TYPE);
    let is_page = without_mark(body).trim_ascii_start().starts_with(b"<");
    if media_type_has(media_type, "event-stream") {
        " (it is a stream: is \"stream\" set in the payload?)"
    } else if media_type_has(media_type, "html") || is_page {
        " (it is a web page: is base_url right?)"
    } else if body.starts_with(GZIP) || is_compressed(head) {
        COMPRESSED
    } else {
        ""
    }
}

/// Whether the head says that the body is compressed. The request asks for none of that.
fn is_compressed(head: &HeaderMap) -> bool {
    let encodings = head.get_all(CONTENT_ENCODING).iter();
    let mut names = encodings.filter_map(|value| value.to_str().ok());
    names.any(|name| !matches!(name.trim(), "" | "identity"))
}

fn media_type_has(media_type: Option<&HeaderValue>, part: &str) -> bool {
    media_type
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| kind.to_ascii_lowercase().contains(part))
}

/// Where vendors say which request it was, for their support.
const REQUEST_IDS: [&str; 2] = ["x-request-id", "request-id"];

/// The only way in which JSON is no JSON of ours.
const TOO_RICH: &str = " (a limit of this side: it holds more parts than its size allows)";

/// What another try would bring as well.
pub(super) const COMPRESSED: &str = " (it is compressed, which was not asked for)";

pub(super) const GZIP: &[u8] = b"\x1f\x8b";

const LARGEST_BODY: usize = 64 * 1024 * 1024;
