//! One request and its answer: limits, bounded bodies, and errors that hold no secret.

use std::io::{ErrorKind, Read};
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Response, Uri};
use ureq::{Agent, Body};

use crate::auth::{Auth, scrub};
use crate::error::{Error, ErrorCode};
use crate::executor::Attempt;
use crate::request::Timeouts;

use super::key;
use super::problem::Problem;
use super::retry_after::retry_after;

/// How long the parts of one request may take.
///
/// This is where the transport's own limits plug in: [`send`] gives these to the agent, whatever it was built with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    connect: Duration,
    /// From the end of the request to the head of the answer.
    answer: Option<Duration>,
    /// Between two reads.
    silence: Option<Duration>,
    total: Duration,
}

impl Limits {
    /// For an answer that comes as a whole.
    pub(super) fn plain(timeouts: &Timeouts) -> Self {
        Self {
            connect: timeouts.connect.unwrap_or(CONNECT),
            answer: None,
            silence: None,
            total: timeouts.total.unwrap_or(PLAIN_TOTAL),
        }
    }

    /// For a stream.
    pub(super) fn stream(timeouts: &Timeouts) -> Self {
        Self {
            connect: timeouts.connect.unwrap_or(CONNECT),
            answer: Some(timeouts.first_chunk.unwrap_or(SILENCE)),
            silence: Some(timeouts.idle.unwrap_or(SILENCE)),
            total: timeouts.total.unwrap_or(STREAM_TOTAL),
        }
    }

    /// For a token refresh.
    pub(super) fn refresh() -> Self {
        Self {
            connect: CONNECT,
            answer: None,
            silence: None,
            total: REFRESH_TOTAL,
        }
    }
}

/// Sends a request and waits for the head of the answer, whatever its status. Redirects are answers too: a key is never
/// carried on to another place.
pub(super) fn send(
    attempt: &Attempt,
    auth: &Auth,
    agent: &Agent,
    limits: Limits,
    head: Parts,
    body: &[u8],
) -> Result<Response<Body>, Error> {
    check_running(attempt)?;
    let total = attempt
        .remaining()
        .map_or(limits.total, |left| left.min(limits.total));
    let request = agent
        .configure_request(http::Request::from_parts(head, body))
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_connect(Some(limits.connect))
        .timeout_recv_response(limits.answer)
        .timeout_per_read(limits.silence)
        .timeout_global(Some(total))
        .build();
    agent
        .run(request)
        .map_err(|error| failure(attempt, auth, &error))
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

/// The whole body of an answer of at most `limit` bytes.
pub(super) fn read_body(
    attempt: &Attempt,
    auth: &Auth,
    body: Body,
    limit: usize,
) -> Result<Bytes, Error> {
    let mut bytes = Vec::new();
    let mut reader = body.into_reader().take(limit as u64 + 1);
    reader
        .read_to_end(&mut bytes)
        .map_err(|error| failure(attempt, auth, &error.into()))?;
    if bytes.len() > limit {
        return Err(Error::new(
            ErrorCode::Transport,
            format!("the answer has more than {limit} bytes"),
        )
        .with_retryable(false)
        .with_auth_id(&auth.id));
    }
    Ok(bytes.into())
}

/// The error that an answer without success is: status, body without secrets, and the server's hints.
pub(super) fn upstream_error(attempt: &Attempt, auth: &Auth, answer: Response<Body>) -> Error {
    let (head, body) = answer.into_parts();
    let mut body = read_error_body(auth, body);
    let mut problem = Problem::default();
    if let Ok(json) = serde_json::from_str::<serde_json::Value>(&body) {
        problem = Problem::find(&json).unwrap_or_default();
        // JSON can spell a secret with escapes, which printing it anew undoes.
        let plain = json.to_string();
        let scrubbed = scrub(&plain, auth);
        if scrubbed != plain {
            body = scrubbed;
        }
    }
    let mut error = described(head.status.as_u16(), body, &problem, auth);
    if let Some(wait) = retry_after(&head.headers, attempt.clock().now()) {
        error = error.with_retry_after(wait);
    }
    // OpenAI's own clients obey this header before their own rules.
    match head
        .headers
        .get("x-should-retry")
        .map(http::HeaderValue::as_bytes)
    {
        Some(b"true") => error.with_retryable(true),
        Some(b"false") => error.with_retryable(false),
        _ => error,
    }
}

/// An upstream error whose message names the problem's code and type, wherever in the body they stand.
pub(super) fn described(status: u16, body: String, problem: &Problem, auth: &Auth) -> Error {
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
fn start(text: &str, limit: usize) -> &str {
    let end = (0..=limit.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

/// As much of an error's body as arrives, up to 64 KiB, without the credential's secrets.
fn read_error_body(auth: &Auth, body: Body) -> String {
    let mut bytes = Vec::new();
    // A connection that breaks in the middle of an error body leaves what was read.
    let complete = body
        .into_reader()
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

/// The error that a failed exchange is. Only kinds and fixed texts get into the message: other texts could quote the
/// request.
pub(super) fn failure(attempt: &Attempt, auth: &Auth, error: &ureq::Error) -> Error {
    if let Err(stopped) = check_running(attempt) {
        return stopped.with_auth_id(&auth.id);
    }
    Error::new(ErrorCode::Transport, describe(error)).with_auth_id(&auth.id)
}

/// The error that a failed read within a stream is.
pub(super) fn stream_error(error: std::io::Error) -> Error {
    match ureq::Error::from(error) {
        ureq::Error::Timeout(ureq::Timeout::Global | ureq::Timeout::PerCall) => Error::new(
            ErrorCode::StreamInterrupted,
            "the stream took longer than the limit for the whole of it",
        ),
        error if is_timeout(&error) => Error::new(
            ErrorCode::StreamStalled,
            "the stream fell silent for longer than its limit",
        ),
        // The agent reports a reset as the same, and in a body without length or chunks as a clean end.
        ureq::Error::Io(error) if error.kind() == ErrorKind::UnexpectedEof => Error::new(
            ErrorCode::StreamTruncated,
            "the connection was closed before the stream's end",
        ),
        error => Error::new(
            ErrorCode::StreamInterrupted,
            format!("the stream broke off: {}", describe(&error)),
        ),
    }
}

fn is_timeout(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Timeout(_) => true,
        ureq::Error::Io(error) => {
            matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock)
        }
        _ => false,
    }
}

fn describe(error: &ureq::Error) -> String {
    let text = match error {
        ureq::Error::HostNotFound => "the host's name does not resolve",
        ureq::Error::Timeout(timeout) => return format!("timed out ({timeout})"),
        ureq::Error::Io(error) => return format!("the connection failed: {}", error.kind()),
        ureq::Error::ConnectionFailed => "no connection could be made",
        ureq::Error::ConnectProxyFailed(_) | ureq::Error::InvalidProxyUrl => {
            "the proxy did not connect"
        }
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::TlsRequired => {
            "the server's TLS certificate or protocol was not accepted"
        }
        ureq::Error::Protocol(_) | ureq::Error::LargeResponseHeader(..) => {
            "the answer is not proper HTTP"
        }
        _ => "the request failed",
    };
    text.to_owned()
}

/// `base` and `path` with `query` added, checked: `https`, or plain `http` to this machine; plain `http` to others only where
/// attribute `allow_http` is `true`.
pub(super) fn endpoint(
    auth: &Auth,
    base: &str,
    path: &str,
    query: &[(String, String)],
) -> Result<Uri, Error> {
    let (place, own_query) = base.split_once('?').unwrap_or((base, ""));
    let mut url = format!("{}{path}", place.trim_end_matches('/'));
    let mut separator = if path.contains('?') { '&' } else { '?' };
    if !own_query.is_empty() {
        url.push(separator);
        url.push_str(own_query);
        separator = '&';
    }
    for (name, value) in query {
        url.push(separator);
        encode_into(&mut url, name);
        url.push('=');
        encode_into(&mut url, value);
        separator = '&';
    }
    let uri = Uri::try_from(url).map_err(|_| key::config(auth, "its URL is not one"))?;
    check_url(auth, &uri)?;
    Ok(uri)
}

/// Refuses a URL to which no secret may go. The message never quotes it.
pub(super) fn check_url(auth: &Auth, url: &Uri) -> Result<(), Error> {
    let refuse = |what| Err(key::config(auth, what));
    let (Some(scheme), Some(authority)) = (url.scheme_str(), url.authority()) else {
        return refuse("its URL has no scheme and host");
    };
    if authority.as_str().contains('@') {
        return refuse("its URL holds a user name or password");
    }
    let allowed = match scheme {
        "https" => true,
        "http" => {
            is_loopback(authority.host()) || auth.attributes.get("allow_http") == Some("true")
        }
        _ => false,
    };
    if allowed {
        Ok(())
    } else {
        refuse(
            "its URL is not https (plain http to another machine needs attribute allow_http = true)",
        )
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Percent-encodes everything but the unreserved characters of
/// [RFC 3986 section 2.3](https://www.rfc-editor.org/rfc/rfc3986#section-2.3).
pub(super) fn encode_into(url: &mut String, text: &str) {
    use std::fmt::Write;

    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                url.push(char::from(byte));
            }
            _ => {
                let _ = write!(url, "%{byte:02X}");
            }
        }
    }
}

const CONNECT: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(120);
const PLAIN_TOTAL: Duration = Duration::from_secs(600);
const STREAM_TOTAL: Duration = Duration::from_secs(3600);
const REFRESH_TOTAL: Duration = Duration::from_secs(30);
const ERROR_BODY: u64 = 64 * 1024;
const LONGEST_SECRET: usize = 8 * 1024;
const EXCERPT: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_put_together() {
        let auth = Auth::new("p").with_id("a");
        let query = [("q w".to_owned(), "ä&=".to_owned())];
        for (base, path, query, url) in [
            ("https://h/v1/", "/chat", &[][..], "https://h/v1/chat"),
            (
                "https://h",
                "/chat",
                &query[..],
                "https://h/chat?q%20w=%C3%A4%26%3D",
            ),
            (
                "https://h/v1?api=1",
                "/chat",
                &query[..],
                "https://h/v1/chat?api=1&q%20w=%C3%A4%26%3D",
            ),
            ("https://h/?a=1", "/x?b=2", &[][..], "https://h/x?b=2&a=1"),
        ] {
            assert_eq!(endpoint(&auth, base, path, query).unwrap().to_string(), url);
        }
    }

    #[test]
    fn secrets_go_over_https_or_stay_on_this_machine() {
        let auth = Auth::new("p").with_id("a");
        for url in [
            "https://h.example",
            "http://localhost:1",
            "http://127.0.0.9",
            "http://[::1]:8080",
            "HTTP://LOCALHOST",
        ] {
            assert!(endpoint(&auth, url, "/x", &[]).is_ok(), "{url}");
        }
        let allowed = auth.clone().with_attribute("allow_http", "true");
        for url in [
            "http://h.example",
            "http://localhost.example",
            "http://10.0.0.1",
        ] {
            assert!(endpoint(&auth, url, "/x", &[]).is_err(), "{url}");
            assert!(endpoint(&allowed, url, "/x", &[]).is_ok(), "{url}");
        }
        for url in [
            "",
            "h.example",
            "/v1",
            "ftp://h",
            "https://",
            "https://user:canary@h",
            "https://h h",
            "file:///x",
        ] {
            let error = endpoint(&allowed, url, "/x", &[]).unwrap_err();
            assert_eq!(*error.code(), ErrorCode::Config, "{url}");
            assert!(!error.message().contains("canary"));
        }
    }
}
