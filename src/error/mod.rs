//! [`Error`], the one error type, and [`ErrorCode`], its machine-readable code.

mod code;
mod exhaustion;
mod model;
mod own;
mod received;
mod scrubbed;

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

pub use code::ErrorCode;
pub use exhaustion::{Availability, CredentialReport, Exhaustion, Remedy};
use received::Received;

use crate::head::ResponseHead;
use crate::limits::RateLimits;

/// What went wrong, to which credential, and whether trying again can help.
///
/// A stored record keeps code, message, retryable flag and HTTP status. An error in flight also carries the server's retry hint, the
/// (bounded, scrubbed) body of an upstream answer and its real [`source`](StdError::source). Cloning is cheap.
///
/// The printed form is `code: message`, or the message alone where there is no code. It never holds a secret.
///
/// ```
/// use credpool::{Error, ErrorCode};
///
/// let error = Error::new(ErrorCode::AuthNotFound, "no credential is registered for openai");
/// assert_eq!(error.to_string(), "auth_not_found: no credential is registered for openai");
/// assert_eq!(error.http_status(), None);
/// assert!(!error.is_retryable());
/// ```
#[derive(Clone)]
pub struct Error {
    inner: Arc<Inner>,
}

#[derive(Clone, Default)]
struct Inner {
    code: ErrorCode,
    message: String,
    retryable: bool,
    http_status: i64,
    retry_after: Option<Duration>,
    rate_limits: Option<Arc<RateLimits>>,
    head: Option<Arc<ResponseHead>>,
    auth_id: Option<Arc<str>>,
    provider: Option<Arc<str>>,
    model: Option<Arc<str>>,
    body: Option<Arc<str>>,
    body_is_cut: bool,
    received: Option<Arc<Received>>,
    /// What the vendor calls errors, and the names that rules have for them.
    names: &'static [(&'static str, &'static str)],
    exhaustion: Option<Arc<Exhaustion>>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error with a code and a message. Retryable where the code says so by nature (transport, saturation, stalls).
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let retryable = code.retryable_by_nature();
        Self::from_inner(Inner {
            code,
            message: message.into(),
            retryable,
            ..Inner::default()
        })
    }

    /// An error with code `config`: a setting is wrong.
    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Config, message)
    }

    /// An error with code `store`: it has failed.
    pub(crate) fn store(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Store, message)
    }

    /// An error with code `shut_down`: the manager takes nothing new.
    pub(crate) fn shut_down() -> Self {
        Self::new(ErrorCode::ShutDown, "the manager has been shut down")
    }

    /// An error with code `auth_not_found`: the pool has no such credential.
    pub(crate) fn not_registered(id: &str) -> Self {
        let what = format!("no credential {id} is registered");
        Self::new(ErrorCode::AuthNotFound, what).with_auth_id(id)
    }

    /// An error without a code: a message alone. This is what a store reads back from a record.
    pub fn message_only(message: impl Into<String>) -> Self {
        Self::from_inner(Inner {
            message: message.into(),
            ..Inner::default()
        })
    }

    /// An upstream's answer with an HTTP status that is not a success.
    ///
    /// `body` must already be free of secrets; it is cut to 64 KiB ([`is_body_cut`](Self::is_body_cut)). The message quotes its start. 408, 409,
    /// 424, 429, 498, 499 and 5xx but 501 are retryable.
    ///
    /// ```
    /// let error = credpool::Error::upstream(429, r#"{"error":"slow down"}"#);
    /// assert_eq!(error.http_status(), Some(429));
    /// assert!(error.is_retryable());
    /// assert_eq!(error.body(), Some(r#"{"error":"slow down"}"#));
    /// ```
    pub fn upstream(status: u16, body: impl Into<String>) -> Self {
        let body = body.into();
        let body_is_cut = body.len() > MAX_BODY;
        let body = cut(body, MAX_BODY);
        let excerpt = excerpt(&body);
        let message = if excerpt.is_empty() {
            format!("HTTP {status}")
        } else {
            format!("HTTP {status}: {excerpt}")
        };
        Self::from_inner(Inner {
            code: ErrorCode::Upstream,
            message,
            retryable: matches!(status, 408 | 409 | 424 | 429 | 498 | 499 | 500 | 502..=599),
            http_status: i64::from(status),
            body: (!body.is_empty()).then(|| body.into()),
            body_is_cut,
            ..Inner::default()
        })
    }

    /// Any other error, kept as the source. Its text becomes the message; a status found in an [`Error`] that it wraps
    /// (at any depth) is this error's status too.
    ///
    /// ```
    /// use credpool::{Error, ErrorCode};
    ///
    /// let cause = std::io::Error::other("the disk is full");
    /// let error = Error::other(cause).with_code(ErrorCode::Store).with_auth_id("a").with_provider("openai");
    /// assert_eq!((error.auth_id(), error.provider()), (Some("a"), Some("openai")));
    /// assert_eq!(error.message(), "the disk is full");
    /// ```
    pub fn other(source: impl StdError + Send + Sync + 'static) -> Self {
        Self::from_inner(Inner {
            message: source.to_string(),
            source: Some(Arc::new(source)),
            ..Inner::default()
        })
    }

    /// The same error with context before its message; status, hints, code and source stay reachable.
    ///
    /// ```
    /// use credpool::Error;
    ///
    /// let error = Error::message_only("no route").with_http_status(503).context("fetching models");
    /// assert_eq!(error.to_string(), "fetching models: no route");
    /// assert_eq!(error.http_status(), Some(503));
    /// ```
    pub fn context(self, context: impl fmt::Display) -> Self {
        let message = format!("{context}: {self}");
        let code = self.code().clone();
        let retryable = self.is_retryable();
        Self::from_inner(Inner {
            message: match &code {
                ErrorCode::Unspecified => message,
                _ => format!("{context}: {}", self.message()),
            },
            code,
            retryable,
            source: Some(Arc::new(self)),
            ..Inner::default()
        })
    }

    /// Sets whether a retry might fix the issue by itself.
    pub fn with_retryable(self, retryable: bool) -> Self {
        self.change(|inner| inner.retryable = retryable)
    }

    /// Sets the code.
    pub fn with_code(self, code: ErrorCode) -> Self {
        self.change(|inner| inner.code = code)
    }

    /// Sets the HTTP-like status.
    pub fn with_http_status(self, status: u16) -> Self {
        self.change(|inner| inner.http_status = i64::from(status))
    }

    /// Sets what the answer said of its limits, the wait included.
    ///
    /// ```
    /// use credpool::{Error, HintSource, RateLimits};
    /// use std::time::Duration;
    ///
    /// let limits = RateLimits::new().with_retry_after(Duration::from_secs(7), HintSource::Header);
    /// let error = Error::upstream(429, "slow down").with_rate_limits(limits).context("first try");
    /// assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    /// assert!(error.rate_limits().is_some());
    /// ```
    pub fn with_rate_limits(self, limits: impl Into<Arc<RateLimits>>) -> Self {
        let limits = limits.into();
        self.change(|inner| inner.rate_limits = Some(limits))
    }

    /// Sets status and headers of the answer that the error is.
    ///
    /// ```
    /// use credpool::{Error, ResponseHead};
    ///
    /// let mut head = ResponseHead::new(http::StatusCode::TOO_MANY_REQUESTS);
    /// head.headers.insert("x-request-id", "req_7".parse().unwrap());
    /// let error = Error::upstream(429, "slow down").with_head(head);
    /// assert_eq!(error.head().and_then(|head| head.request_id()), Some("req_7"));
    /// ```
    pub fn with_head(self, head: impl Into<Arc<ResponseHead>>) -> Self {
        let head = head.into();
        self.change(|inner| inner.head = Some(head))
    }

    /// Sets how long to wait, whatever the limits say.
    pub fn with_retry_after(self, wait: Duration) -> Self {
        self.change(|inner| inner.retry_after = Some(wait))
    }

    /// Names the credential that the error is about.
    pub fn with_auth_id(self, id: &str) -> Self {
        self.change(|inner| inner.auth_id = Some(id.into()))
    }

    /// Names the provider that the error came from; rules for one provider alone look at it.
    pub fn with_provider(self, provider: &str) -> Self {
        self.change(|inner| inner.provider = Some(provider.into()))
    }

    /// Attaches the underlying error.
    ///
    /// ```
    /// use std::error::Error as _;
    ///
    /// use credpool::{Error, ErrorCode};
    ///
    /// let cause = std::io::Error::other("connection reset");
    /// let error = Error::new(ErrorCode::Transport, "no answer").with_source(cause).with_retryable(true);
    /// assert!(error.is_retryable());
    /// assert_eq!(error.source().unwrap().to_string(), "connection reset");
    /// ```
    pub fn with_source(self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.change(|inner| inner.source = Some(Arc::new(source)))
    }

    /// The code.
    pub fn code(&self) -> &ErrorCode {
        &self.inner.code
    }

    /// The message, without the code.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// Whether a retry might fix the issue by itself.
    pub fn is_retryable(&self) -> bool {
        self.inner.retryable
    }

    /// The HTTP-like status of this error or of the first one that it wraps which has one.
    #[doc(alias = "StatusCode")]
    pub fn http_status(&self) -> Option<u16> {
        self.chain()
            .find(|error| error.inner.http_status != 0)
            .and_then(|error| u16::try_from(error.inner.http_status).ok())
    }

    /// How long the server asked to wait, here or in an error below.
    pub fn retry_after(&self) -> Option<Duration> {
        self.chain().find_map(|error| {
            let limits = || error.inner.rate_limits.as_ref()?.retry_after;
            error.inner.retry_after.or_else(limits)
        })
    }

    /// What the answer said of its limits, here or in an error below.
    pub fn rate_limits(&self) -> Option<&Arc<RateLimits>> {
        self.chain()
            .find_map(|error| error.inner.rate_limits.as_ref())
    }

    /// Status and headers of the upstream's answer, where the error came with one, here or in an error below.
    pub fn head(&self) -> Option<&ResponseHead> {
        self.chain().find_map(|error| error.inner.head.as_deref())
    }

    /// The id of the credential that the error is about.
    pub fn auth_id(&self) -> Option<&str> {
        self.chain()
            .find_map(|error| error.inner.auth_id.as_deref())
    }

    /// The provider that the error came from.
    pub fn provider(&self) -> Option<&str> {
        self.chain()
            .find_map(|error| error.inner.provider.as_deref())
    }

    /// The body of the upstream's answer, at most 64 KiB, with the credential's secrets cut out.
    pub fn body(&self) -> Option<&str> {
        self.chain().find_map(|error| error.inner.body.as_deref())
    }

    /// Whether [`body`](Self::body) is only the start of what the upstream had to say: it was larger, or its connection broke.
    ///
    /// ```
    /// use credpool::Error;
    ///
    /// assert!(!Error::upstream(400, "x".repeat(64 * 1024)).is_body_cut());
    /// assert!(Error::upstream(400, "x".repeat(64 * 1024 + 1)).is_body_cut());
    /// ```
    pub fn is_body_cut(&self) -> bool {
        self.chain()
            .find(|error| error.inner.body.is_some() || error.inner.body_is_cut)
            .is_some_and(|error| error.inner.body_is_cut)
    }

    pub(crate) fn with_body_cut(self) -> Self {
        self.change(|inner| inner.body_is_cut = true)
    }

    /// Why no credential was available, where that ended the call: the state of each credential at that moment.
    pub fn exhaustion(&self) -> Option<&Exhaustion> {
        self.chain()
            .find_map(|error| error.inner.exhaustion.as_deref())
    }

    pub(crate) fn with_exhaustion(self, exhaustion: Exhaustion) -> Self {
        self.change(|inner| inner.exhaustion = Some(Arc::new(exhaustion)))
    }

    /// Names the credential, unless an error further down the chain already does.
    pub(crate) fn about(self, id: &str) -> Self {
        if self.auth_id().is_some() {
            return self;
        }
        self.with_auth_id(id)
    }

    /// The form in which a failed attempt is recorded: the printed text as message and the status; this error is its
    /// source.
    pub(crate) fn recorded(&self) -> Self {
        Self::from_inner(Inner {
            message: self.to_string(),
            source: Some(Arc::new(self.clone())),
            ..Inner::default()
        })
    }

    /// What a record keeps: code, text, whether to retry, status. No user-supplied value is inside.
    pub(crate) fn bare(&self) -> Self {
        Self::from_inner(Inner {
            code: self.code().clone(),
            message: kept(self.message()).to_owned(),
            retryable: self.is_retryable(),
            http_status: self
                .chain()
                .map(|error| error.inner.http_status)
                .find(|status| *status != 0)
                .unwrap_or(0),
            ..Inner::default()
        })
    }

    /// The deepest report of this crate about the same failure: what the executor returned, where this is its recorded
    /// form.
    pub(crate) fn original(&self) -> &Self {
        match self.below() {
            Some(below) if *self.code() == ErrorCode::Unspecified => below.original(),
            _ => self,
        }
    }

    fn chain(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |error| error.below())
    }

    /// The next error of this type among the sources.
    fn below(&self) -> Option<&Self> {
        let mut source = self.source();
        while let Some(error) = source {
            if let Some(found) = error.downcast_ref::<Self>() {
                return Some(found);
            }
            source = error.source();
        }
        None
    }

    fn from_inner(inner: Inner) -> Self {
        Self {
            inner: Arc::new(inner),
        }
    }

    fn change(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.inner));
        self
    }

    /// The four members that a record stores.
    pub(crate) fn to_json(&self) -> Map<String, Value> {
        let mut json = Map::new();
        if *self.code() != ErrorCode::Unspecified {
            json.insert("code".into(), self.code().as_str().into());
        }
        json.insert("message".into(), self.message().into());
        json.insert("retryable".into(), self.is_retryable().into());
        if let Some(status) = self.http_status() {
            json.insert("http_status".into(), status.into());
        } else if self.inner.http_status != 0 {
            json.insert("http_status".into(), self.inner.http_status.into());
        }
        json
    }

    pub(crate) fn from_json(
        code: &str,
        message: String,
        retryable: bool,
        http_status: i64,
    ) -> Self {
        Self::from_inner(Inner {
            code: ErrorCode::from(code),
            message,
            retryable,
            http_status,
            ..Inner::default()
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code() {
            ErrorCode::Unspecified => f.write_str(self.message()),
            code => write!(f, "{code}: {}", self.message()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Error");
        debug
            .field("code", &self.code().as_str())
            .field("message", &self.message())
            .field("retryable", &self.is_retryable())
            .field("http_status", &self.http_status())
            .field("retry_after", &self.retry_after());
        if let Some(id) = self.auth_id() {
            debug.field("auth_id", &id);
        }
        debug.finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner
            .source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

/// Equal when what a record stores is equal.
impl PartialEq for Error {
    fn eq(&self, other: &Self) -> bool {
        self.code() == other.code()
            && self.message() == other.message()
            && self.is_retryable() == other.is_retryable()
            && self.http_status() == other.http_status()
    }
}

fn cut(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        text.truncate(boundary(&text, limit));
    }
    text
}

/// The last end of a character at or before `at`.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at)
        .rev()
        .find(|end| text.is_char_boundary(*end))
        .unwrap_or(0)
}

/// The start of a body on one line.
/// As much of a text as a record keeps.
pub(crate) fn kept(text: &str) -> &str {
    let ends = text.char_indices().map(|(at, char)| at + char.len_utf8());
    let end = ends.take_while(|end| *end <= MOST_KEPT).last();
    &text[..end.unwrap_or(0)]
}

/// Bytes of an error's text that a record keeps.
const MOST_KEPT: usize = 1024;

fn excerpt(body: &str) -> String {
    let line = body.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() <= EXCERPT {
        return line;
    }
    let end = boundary(&line, EXCERPT);
    format!("{}…", &line[..end])
}

const MAX_BODY: usize = 64 * 1024;
const EXCERPT: usize = 300;

#[cfg(test)]
mod tests {
    use super::code::KNOWN;
    use super::*;

    #[test]
    fn every_code_survives_its_text() {
        for (code, text) in KNOWN {
            assert_eq!(ErrorCode::from(*text), *code);
            assert_eq!(code.as_str(), *text);
        }
        assert_eq!(ErrorCode::from("odd").as_str(), "odd");
        assert_eq!(ErrorCode::from(""), ErrorCode::Unspecified);
    }

    #[test]
    fn a_recorded_error_has_text_and_status_alone() {
        let error = Error::new(ErrorCode::Upstream, "boom").with_http_status(503);
        let recorded = error.recorded();
        assert_eq!(recorded.message(), "upstream: boom");
        assert_eq!(recorded.code(), &ErrorCode::Unspecified);
        assert_eq!(recorded.http_status(), Some(503));
        assert_eq!(recorded.original().code(), &ErrorCode::Upstream);
    }

    #[test]
    fn a_body_is_cut_at_a_character() {
        let error = Error::upstream(400, "é".repeat(40_000));
        assert!(error.body().unwrap().len() <= MAX_BODY);
        assert!(error.message().len() < 400);
    }
}
