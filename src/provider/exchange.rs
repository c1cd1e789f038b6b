//! One request and its answer: bounded bodies, and errors that hold no secret.

use std::io::Read;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::request::Parts;

use crate::auth::{Auth, scrub};
use crate::error::{Error, ErrorCode};
use crate::executor::Attempt;
use crate::limits::RateLimits;
use crate::transport::{Body, Limits};

use super::limits;
use super::problem::Problem;

/// Sends a request and waits for the head of an answer that is a success; another one is an error. Redirects are answers too:
/// a key is never carried on to another place.
pub(super) fn send(
    attempt: &Attempt,
    auth: &Auth,
    limits: &Limits,
    head: Parts,
    body: Bytes,
) -> Result<Response<Body>, Error> {
    let answer = attempt.send(auth, http::Request::from_parts(head, body), limits)?;
    if answer.status().is_success() {
        Ok(answer)
    } else {
        Err(upstream_error(attempt, auth, answer))
    }
}

/// An error when the attempt was cancelled or its time is over.
pub(super) fn check_running(attempt: &Attempt) -> Result<(), Error> {
    if attempt.is_cancelled() {
        return Err(Error::new(ErrorCode::Cancelled, "the call was cancelled"));
    }
    if attempt.remaining().is_some_and(|left| left.is_zero()) {
        return Err(Error::new(
            ErrorCode::DeadlineExceeded,
            "the call's deadline passed",
        ));
    }
    Ok(())
}

/// The error that an answer without success is: status, body without secrets, and the server's hints.
fn upstream_error(attempt: &Attempt, auth: &Auth, answer: Response<Body>) -> Error {
    let (head, body) = answer.into_parts();
    let mut body = read_error_body(auth, body);
    // What is not JSON says nothing that could be read.
    let json: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
    let problem = Problem::find(&json).unwrap_or_default();
    if !json.is_null() {
        // JSON can spell a secret with escapes, which printing it anew undoes.
        let plain = json.to_string();
        let scrubbed = scrub(&plain, auth);
        if scrubbed != plain {
            body = scrubbed;
        }
    }
    let (status, now) = (head.status.as_u16(), attempt.clock().now());
    let limits = RateLimits::from_headers(&head.headers, now);
    let limits = limits::of_error(limits, Some(status), &json, now);
    let error = described(status, body, &problem, auth);
    let error = match limits.should_retry {
        Some(should_retry) => error.with_retryable(should_retry),
        None => error,
    };
    limits::attach(error, limits, auth)
}

/// The error that an upstream reports inside an answer with a success status.
pub(super) fn reported(problem: &Problem, body: &str, auth: &Auth) -> Error {
    if let Some(status) = problem.status() {
        return described(status, scrub(body, auth), problem, auth);
    }
    let said = [problem.name(), problem.message.clone()];
    let said = said.into_iter().flatten().collect::<Vec<_>>().join(": ");
    let said = excerpt(&scrub(&said, auth));
    let message = format!("the upstream reports an error: {said}");
    Error::new(ErrorCode::Upstream, message).with_auth_id(&auth.id)
}

/// An upstream error whose message names the problem's code and type, wherever in the body they stand.
fn described(status: u16, body: String, problem: &Problem, auth: &Auth) -> Error {
    let error = Error::upstream(status, body).with_auth_id(&auth.id);
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
pub(super) fn excerpt(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    start(&line, EXCERPT).to_owned()
}

/// At most `limit` bytes of `text`, in whole characters.
pub(super) fn start(text: &str, limit: usize) -> &str {
    let end = (0..=limit.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

/// As much of an error's body as arrives within three seconds, up to 64 KiB, without the credential's secrets.
fn read_error_body(auth: &Auth, body: Body) -> String {
    body.hurry(ERROR_BODY_WAIT);
    let mut bytes = Vec::new();
    // A connection that breaks in the middle of an error body leaves what was read.
    let complete = body
        .take(ERROR_BODY)
        .read_to_end(&mut bytes)
        .is_ok_and(|read| (read as u64) < ERROR_BODY);
    let mut text = scrub(&String::from_utf8_lossy(&bytes), auth);
    if !complete {
        // The cut may have gone through a secret, which then was not recognised.
        let sure = text.len().saturating_sub(LONGEST_SECRET);
        text.truncate(start(&text, sure).len());
    }
    text
}

const ERROR_BODY: u64 = 64 * 1024;
/// An error's body is worth no longer wait.
const ERROR_BODY_WAIT: Duration = Duration::from_secs(3);
const LONGEST_SECRET: usize = 8 * 1024;
const EXCERPT: usize = 200;
