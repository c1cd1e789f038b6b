//! Errors in the vendors' forms, for the clients of a gateway: [`Error::to_http_response`], [`Error::to_sse_event`].

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use serde_json::Value;

use super::anthropic::error::AnthropicErrors;
use super::gemini::error::GeminiErrors;
use super::http::error_body::ReportedError;
use super::http::error_form::{ClientError, ErrorForm};
use super::openai::error::OpenAiErrors;
use crate::error::{Error, ErrorCode};
use crate::request::Format;

impl Error {
    /// The error as an answer in a vendor's form, which the vendor's own SDKs understand: for gateways. Formats are
    /// [`Format::OPENAI`], [`Format::ANTHROPIC`] and [`Format::GEMINI`]; any other one is answered in the form of OpenAI, as compatible
    /// servers do.
    ///
    /// | part | is |
    /// |---|---|
    /// | status | the upstream's, where its answer is the error; else see below |
    /// | `retry-after` | [`retry_after`](Self::retry_after) in whole seconds, rounded up |
    /// | `x-should-retry` | [`is_retryable`](Self::is_retryable): the SDKs of OpenAI and Anthropic obey it before their own rules |
    /// | `x-request-id`, Anthropic: `request-id` | the upstream's id of the request, where it sent one |
    /// | body | the upstream's, where it has this vendor's form; else an error in this form, with the upstream's message or a sentence for the code |
    ///
    /// | code | status |
    /// |---|---|
    /// | `unsupported_format` | 400 |
    /// | `provider_not_found`, `executor_not_found`, `model_not_found` | 404 |
    /// | `cancelled` | 499 |
    /// | `limit_reached` | [`http_status`](Self::http_status), else 429 |
    /// | `unsupported` | 501 |
    /// | `upstream`, with no status that is an error's | 502 |
    /// | `transport`, `stream_truncated`, `stream_malformed`, `stream_interrupted` | 502 |
    /// | `auth_unavailable`, `pool_saturated` | [`http_status`](Self::http_status), else 503 |
    /// | `auth_not_found`, `needs_login`, `refresh_failed`, `shut_down` | 503 |
    /// | `deadline_exceeded`, `stream_stalled` | 504 |
    /// | `config`, `store`, `conflict`, `panicked`, `forked` | 500 |
    /// | none, or one of another crate | [`http_status`](Self::http_status), else 500 |
    ///
    /// Status and wait are those of the failure itself: nothing is shown of an earlier error that is only its source, such as the
    /// upstream's before a `deadline_exceeded`. Nothing else is passed on either: no message of this crate's own, which may name
    /// credentials, hosts and files, no other header of the upstream's, no [`exhaustion`](Self::exhaustion). A program that wants more adds
    /// it, from
    /// [`head`](Self::head) for example. A status such as 401 is about the pool's credential: a gateway whose clients have keys of their
    /// own may want to change it.
    ///
    /// ```
    /// use credpool::{Error, ErrorCode, Format};
    /// use std::time::Duration;
    ///
    /// let error = Error::new(ErrorCode::AuthUnavailable, "no credential of provider openai is available")
    ///     .with_http_status(429)
    ///     .with_retry_after(Duration::from_millis(6_200));
    /// let answer = error.to_http_response(&Format::ANTHROPIC);
    /// assert_eq!(answer.status(), 429);
    /// assert_eq!(answer.headers()["retry-after"], "7");
    /// let body: serde_json::Value = serde_json::from_slice(answer.body())?;
    /// assert_eq!(body["error"]["type"], "rate_limit_error");
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[doc(alias = "gateway")]
    #[doc(alias = "proxy")]
    pub fn to_http_response(&self, format: &Format) -> Response<Bytes> {
        let form = form_of(format);
        let answered = self.upstream_answer();
        let error = self.for_clients(answered.as_ref());
        let body = match self.own_body().zip(answered) {
            Some((text, json)) if form.is_own(&json) => Bytes::copy_from_slice(text.as_bytes()),
            _ => form.body(&error).to_string().into(),
        };
        let mut answer = Response::new(body);
        *answer.status_mut() =
            StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let should_retry = if self.original().is_retryable() {
            "true"
        } else {
            "false"
        };
        headers.insert("x-should-retry", HeaderValue::from_static(should_retry));
        if let Some(seconds) = error.wait {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        let id = error.request_id.and_then(|id| id.try_into().ok());
        if let Some(id) = id {
            headers.insert(form.request_id_header(), id);
        }
        answer
    }

    /// The error as the last event of a stream in a vendor's form, for a gateway whose answer has begun: the bytes of one server-sent
    /// event, with the same contents as the body of [`to_http_response`](Self::to_http_response). `[DONE]` must not follow.
    ///
    /// ```
    /// use credpool::{Error, ErrorCode, Format};
    ///
    /// let error = Error::new(ErrorCode::StreamStalled, "no event for 120 s");
    /// let event = error.to_sse_event(&Format::ANTHROPIC);
    /// assert!(event.starts_with(b"event: error\ndata: {"));
    /// assert!(event.ends_with(b"}\n\n"));
    /// ```
    pub fn to_sse_event(&self, format: &Format) -> Bytes {
        let form = form_of(format);
        let body = match self.upstream_answer() {
            Some(json) if form.is_own(&json) => json,
            other => form.body(&self.for_clients(other.as_ref())),
        };
        form.event(body).into()
    }

    fn for_clients(&self, answered: Option<&Value>) -> ClientError<'_> {
        let wait = self.own_retry_after().map(rounded_up);
        let head = self.own_head();
        let said = answered
            .and_then(message_of)
            .or_else(|| self.upstream_message());
        ClientError {
            status: status(self),
            is_answer: said.is_some(),
            message: said.unwrap_or_else(|| sentence(self.own_code(), wait)),
            wait,
            request_id: head.and_then(|head| head.request_id()),
        }
    }

    /// The JSON of the upstream's answer, where that is the error.
    fn upstream_answer(&self) -> Option<Value> {
        let body = self.own_body().filter(|_| is_upstreams(self.own_code()))?;
        serde_json::from_str(body).ok()
    }

    /// What the upstream answered, where that is no JSON with a message.
    fn upstream_message(&self) -> Option<String> {
        let code = self.own_code();
        let is_answer =
            *code == ErrorCode::Upstream || self.own_body().is_some() && is_upstreams(code);
        is_answer.then(|| self.own_message().to_owned())
    }
}

/// The message of an error in any vendor's form.
fn message_of(body: &Value) -> Option<String> {
    let failed_response = || Some(ReportedError::of(body.pointer("/response/error")?));
    ReportedError::find(body).or_else(failed_response)?.message
}

fn form_of(format: &Format) -> &'static dyn ErrorForm {
    match format.as_str().to_ascii_lowercase().as_str() {
        "anthropic" => &AnthropicErrors,
        "gemini" => &GeminiErrors,
        _ => &OpenAiErrors,
    }
}

/// Whether an error of this code may be an upstream's answer to the call. A token endpoint's never is.
fn is_upstreams(code: &ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::Upstream | ErrorCode::Unspecified | ErrorCode::Other(_)
    )
}

fn status(error: &Error) -> u16 {
    let own_else = |status| {
        let own = error.own_status();
        own.filter(|own| (400..600).contains(own)).unwrap_or(status)
    };
    match error.own_code() {
        ErrorCode::UnsupportedFormat => 400,
        ErrorCode::ProviderNotFound | ErrorCode::ExecutorNotFound | ErrorCode::ModelNotFound => 404,
        ErrorCode::LimitReached => own_else(429),
        ErrorCode::Cancelled => 499,
        ErrorCode::Unsupported => 501,
        ErrorCode::Upstream => own_else(502),
        ErrorCode::Transport
        | ErrorCode::StreamTruncated
        | ErrorCode::StreamMalformed
        | ErrorCode::StreamInterrupted => 502,
        ErrorCode::AuthUnavailable | ErrorCode::PoolSaturated => own_else(503),
        ErrorCode::AuthNotFound
        | ErrorCode::RefreshFailed
        | ErrorCode::NeedsLogin
        | ErrorCode::ShutDown => 503,
        ErrorCode::DeadlineExceeded | ErrorCode::StreamStalled => 504,
        ErrorCode::Config
        | ErrorCode::Panicked
        | ErrorCode::Store
        | ErrorCode::Conflict
        | ErrorCode::Forked => 500,
        ErrorCode::Unspecified | ErrorCode::Other(_) => own_else(500),
    }
}

/// What a client gets for an error that is not an upstream's answer.
fn sentence(code: &ErrorCode, wait: Option<u64>) -> String {
    let what = match code {
        ErrorCode::ProviderNotFound | ErrorCode::ExecutorNotFound => {
            "No provider is set up for this request."
        }
        ErrorCode::ModelNotFound => "The model does not exist, or is not served here.",
        ErrorCode::AuthNotFound => "No credential is set up for this request.",
        ErrorCode::AuthUnavailable => "No credential is available for this request at present.",
        ErrorCode::LimitReached => "All credentials for this request are at their limits.",
        ErrorCode::Unsupported | ErrorCode::UnsupportedFormat => {
            "The provider does not support this request."
        }
        ErrorCode::RefreshFailed | ErrorCode::NeedsLogin => {
            "No credential for this request has a valid token."
        }
        ErrorCode::Transport => "The upstream was not reached, or the connection to it failed.",
        ErrorCode::StreamTruncated | ErrorCode::StreamInterrupted => {
            "The upstream's stream was cut off."
        }
        ErrorCode::StreamMalformed => "The upstream's stream could not be read.",
        ErrorCode::StreamStalled => "The upstream's stream fell silent.",
        ErrorCode::DeadlineExceeded => "The request took too long.",
        ErrorCode::Cancelled => "The request was cancelled.",
        ErrorCode::PoolSaturated => "The server is too busy for this request.",
        ErrorCode::ShutDown => "The server is shutting down.",
        ErrorCode::Upstream
        | ErrorCode::Config
        | ErrorCode::Panicked
        | ErrorCode::Store
        | ErrorCode::Conflict
        | ErrorCode::Forked
        | ErrorCode::Unspecified
        | ErrorCode::Other(_) => "The server failed to handle this request.",
    };
    match wait {
        // OpenAI's words: some clients read the wait from them.
        Some(seconds) if seconds > 0 => format!("{what} Please try again in {seconds}s."),
        _ => what.to_owned(),
    }
}

fn rounded_up(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}
