//! One HTTP exchange: bounded bodies, and errors without secrets.

use std::io::Read;
use std::time::Duration;

use http::{Response, response};
use serde_json::Value;

use crate::auth::{Auth, Secrets, scrub};
use crate::error::{Error, ErrorCode};
use crate::executor::{Attempt, Body};
use crate::head::ResponseHead;
use crate::json::{error_body, parse_lenient, without_mark};
use crate::limits::RateLimits;

use super::dialect::Dialect;
use super::error_body::ReportedError;
use crate::provider::rate_limits;

/// An error when the attempt was cancelled or its time is over.
pub(crate) fn check_running(attempt: &Attempt) -> Result<(), Error> {
    if attempt.is_cancelled() {
        return Err(Error::new(ErrorCode::Cancelled, "the call was cancelled"));
    }
    if attempt.remaining().is_some_and(|left| left.is_zero()) {
        let what = "the call's deadline passed";
        return Err(Error::new(ErrorCode::DeadlineExceeded, what));
    }
    Ok(())
}

/// The error that an answer without success is: its status, as much of its body as comes within three seconds (64 KiB at most, without the
/// credential's secrets), what it names as the reason, and what it says of limits and of waiting.
///
/// For executors that send by themselves; [`VendorCall`](super::VendorCall) does it already.
///
/// ```
/// use bytes::Bytes;
/// use credpool::provider::http::upstream_error;
/// use credpool::{Attempt, Auth, Body, Error, Options};
///
/// fn ask(attempt: &Attempt, auth: &Auth, request: http::Request<Bytes>, options: &Options) -> Result<Body, Error> {
///     let limits = attempt.call_limits(&options.timeouts);
///     let answer = attempt.send(auth, request, &limits)?;
///     if answer.status().is_success() {
///         Ok(answer.into_body())
///     } else {
///         Err(upstream_error(attempt, auth, answer))
///     }
/// }
/// ```
pub fn upstream_error(attempt: &Attempt, auth: &Auth, answer: Response<Body>) -> Error {
    upstream_error_in(Dialect::new(), attempt, auth, answer)
}

/// The same of a vendor with names of its own.
pub(super) fn upstream_error_in(
    dialect: Dialect,
    attempt: &Attempt,
    auth: &Auth,
    answer: Response<Body>,
) -> Error {
    let (head, body) = answer.into_parts();
    let (status, now) = (head.status.as_u16(), attempt.clock().now());
    let limits = RateLimits::from_headers(&dialect.headers(&head.headers), now);
    let head = response_head(head, auth);
    let body = ErrorBody::read(body);
    let said = error_body(body.received.as_bytes());
    let problem = ReportedError::find(&said).unwrap_or_else(|| ReportedError::of(&said));
    let problem = problem.or_named(head.aws_error_type());
    let limits = rate_limits::of_error(limits, Some(status), &said, now);
    let json = parse_lenient(body.received.as_bytes()).unwrap_or_default();
    let error = described(status, &body, &json, &problem, dialect, auth);
    let error = match limits.should_retry {
        Some(should_retry) => error.with_retryable(should_retry),
        None => error,
    };
    rate_limits::attach(error, limits, auth).with_head(head)
}

/// The head of an answer as it may be shown.
pub(crate) fn response_head(parts: response::Parts, auth: &Auth) -> ResponseHead {
    let secrets = Secrets::of(auth);
    let mut head = ResponseHead::new(parts.status);
    head.headers = parts.headers;
    head.cleaned(|text| secrets.cut_out_of(text))
}

/// The error that an upstream reports inside an answer with a success status.
pub(super) fn reported(
    problem: &ReportedError,
    json: &Value,
    dialect: Dialect,
    auth: &Auth,
) -> Error {
    if let Some(status) = dialect.status(problem) {
        let received = match json {
            Value::Null => String::new(),
            json => json.to_string(),
        };
        return described(
            status,
            &ErrorBody::whole(received),
            json,
            problem,
            dialect,
            auth,
        );
    }
    let said = [problem.name(), problem.message.clone()];
    let said = said.into_iter().flatten().collect::<Vec<_>>().join(": ");
    let shown = excerpt(&scrub(&said, auth));
    let message = format!("the upstream reports an error: {shown}");
    Error::new(ErrorCode::Upstream, message)
        .with_auth_id(&auth.id)
        .with_retryable(true)
        .with_received(&said, None)
}

/// An upstream error whose message names the problem's code and type, wherever in the body they stand.
fn described(
    status: u16,
    body: &ErrorBody,
    json: &Value,
    problem: &ReportedError,
    dialect: Dialect,
    auth: &Auth,
) -> Error {
    let mut error = Error::upstream(status, body.shown(json, auth)).with_auth_id(&auth.id);
    error = dialect.named(error);
    if body.is_cut {
        error = error.with_body_cut();
    }
    if error.body() != Some(&*body.received) {
        let message = error.message().to_owned();
        error = error.with_received(&message, Some(&body.received));
    }
    match problem.name() {
        Some(name) => {
            // Unescaping may have brought a secret back.
            let name = excerpt(&scrub(&name, auth));
            let retryable = error.is_retryable();
            error.context(name).with_retryable(retryable)
        }
        None => error,
    }
}

/// `text` without the credential's secrets, at most a line of it.
pub(crate) fn excerpt(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    start(&line, EXCERPT).to_owned()
}

/// At most `limit` bytes of `text`, in whole characters.
pub(crate) fn start(text: &str, limit: usize) -> &str {
    let end = (0..=limit.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

/// As much of an error's body as arrives within three seconds, and as an error may show.
struct ErrorBody {
    received: String,
    is_cut: bool,
}

impl ErrorBody {
    fn read(body: Body) -> Self {
        body.allow(ERROR_BODY_WAIT);
        let mut bytes = Vec::new();
        // A connection that breaks in the middle of an error body leaves what was read.
        let read = body.take(READ + 1).read_to_end(&mut bytes);
        let is_cut = !read.is_ok_and(|read| read as u64 <= READ);
        let received = String::from_utf8_lossy(without_mark(&bytes)).into_owned();
        Self { received, is_cut }
    }

    fn whole(received: String) -> Self {
        Self {
            received,
            is_cut: false,
        }
    }

    /// The body without the credential's secrets.
    fn shown(&self, json: &Value, auth: &Auth) -> String {
        let mut shown = scrub(&self.received, auth);
        if !json.is_null() {
            // JSON can spell a secret with escapes, which printing it anew undoes.
            let plain = json.to_string();
            let scrubbed = scrub(&plain, auth);
            if scrubbed != plain {
                shown = scrubbed;
            }
        }
        if self.is_cut {
            // The cut may have gone through a secret, which then was not recognised.
            let sure = shown.len().saturating_sub(LONGEST_SECRET);
            shown.truncate(start(&shown, sure).len());
        }
        shown
    }
}

/// What an error shows at most, and as much behind it as a secret may be long.
const READ: u64 = (64 * 1024 + LONGEST_SECRET) as u64;
/// An error's body is worth no longer wait.
const ERROR_BODY_WAIT: Duration = Duration::from_secs(3);
const LONGEST_SECRET: usize = 8 * 1024;
const EXCERPT: usize = 200;

/// What another try would bring as well.
pub(super) const COMPRESSED: &str = " (it is compressed, which was not requested)";

pub(super) const GZIP: &[u8] = b"\x1f\x8b";
