//! One call of an executor: a payload out, JSON or a stream of events back.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde_json::Value;

use super::exchange::{reported, send};
use super::head::{EVENT_STREAM, JSON, Vendor, head};
use super::limits;
use super::problem::Problem;
use super::stream::{EventStream, Protocol};
use crate::auth::{Auth, Metadata};
use crate::error::{Error, ErrorCode};
use crate::executor::{Attempt, ChunkSource};
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
        let media_type = answer.headers().get(CONTENT_TYPE).cloned();
        let body = answer.into_body().into_bytes(LARGEST_BODY)?;
        let found = match glance(&body) {
            Some(found) => found,
            None => {
                let json = self.json(&body, status, media_type.as_ref())?;
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
        let limits = self.attempt.stream_limits(&self.options.timeouts);
        let answer = self.send(path, payload, EVENT_STREAM, &limits)?;
        let limits = self.limits_of(&answer);
        let media_type = answer.headers().get(CONTENT_TYPE);
        let says = |part| media_type_has(media_type, part);
        let says_document = says("json") || says("html");
        let stream = EventStream::new(self.attempt, self.auth, answer.into_body(), protocol);
        let mut stream = stream
            .with_event_limit(self.event_limit)
            .with_limits(limits);
        if says_document {
            stream.begin()?;
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

    fn json(
        &self,
        body: &[u8],
        status: StatusCode,
        media_type: Option<&HeaderValue>,
    ) -> Result<Value, Error> {
        // Parsers may ignore the mark (RFC 8259 section 8.1), and some servers send it.
        let text = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
        serde_json::from_slice(text).map_err(|error| {
            let (status, hint) = (status.as_u16(), not_json_hint(media_type));
            let is_cut = error.is_eof() && !text.trim_ascii().is_empty();
            let (code, what) = if is_cut {
                (ErrorCode::Transport, "the body ends before its JSON does")
            } else {
                (ErrorCode::Upstream, "the body is not JSON")
            };
            Error::new(code, format!("HTTP {status}, but {what}{hint}"))
                .with_retryable(is_cut)
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
fn not_json_hint(media_type: Option<&HeaderValue>) -> &'static str {
    if media_type_has(media_type, "event-stream") {
        " (it is a stream: is \"stream\" set in the payload?)"
    } else if media_type_has(media_type, "html") {
        " (it is a web page: is base_url right?)"
    } else {
        ""
    }
}

fn media_type_has(media_type: Option<&HeaderValue>, part: &str) -> bool {
    media_type
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| kind.to_ascii_lowercase().contains(part))
}

/// Where vendors say which request it was, for their support.
const REQUEST_IDS: [&str; 2] = ["x-request-id", "request-id"];

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

const LARGEST_BODY: usize = 64 * 1024 * 1024;
