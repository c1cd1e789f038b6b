//! [`ErrorCode`]: machine-readable kinds of errors, and which of them a retry may mend.

use std::fmt;
use std::sync::Arc;

/// A machine-readable kind of error.
///
/// Executors of other crates may bring codes of their own: [`ErrorCode::Other`].
///
/// ```
/// use credpool::{Error, ErrorCode};
///
/// let error = Error::new(ErrorCode::Cancelled, "the user left");
/// assert!(error.code() == ErrorCode::Cancelled);
/// assert_eq!(error.code().as_str(), "cancelled");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorCode {
    /// No code: only the message, the status and the source say what happened.
    #[default]
    Unspecified,
    /// The call named no provider.
    ProviderNotFound,
    /// No executor is registered for the provider.
    ExecutorNotFound,
    /// No credential is registered for the provider, or none is left to try in this call.
    AuthNotFound,
    /// There are credentials, but all of them are blocked for the model at the moment.
    AuthUnavailable,
    /// There are credentials, but none serves the model ([`Auth::with_models`](crate::Auth::with_models)): nothing was sent.
    ModelNotFound,
    /// The executor does not speak the request's format: nothing was sent.
    UnsupportedFormat,
    /// The provider or the executor does not support the operation.
    Unsupported,
    /// A setting, a record or an argument is wrong: nothing was sent.
    Config,
    /// The upstream answered with an error; [`Error::http_status`](super::Error::http_status) and
    /// [`Error::body`](super::Error::body) say which.
    Upstream,
    /// The upstream was not reached or the connection failed before an answer.
    Transport,
    /// The call's deadline passed; the last upstream error, if any, is the source.
    DeadlineExceeded,
    /// The caller cancelled.
    Cancelled,
    /// An executor, selector, store or stream of the program panicked; the panic was contained.
    Panicked,
    /// Every worker of the lane is busy and the queue is full, or the system gives no thread.
    PoolSaturated,
    /// Every permit of the ready credentials is taken.
    LimitReached,
    /// The store could not read or write.
    Store,
    /// Another writer changed the record first.
    Conflict,
    /// A refresh did not give a new token.
    RefreshFailed,
    /// The login has expired or was revoked: a person must log in again.
    NeedsLogin,
    /// A stream ended before the provider's own end.
    StreamTruncated,
    /// A stream held something that is not the provider's format.
    StreamMalformed,
    /// A stream fell silent for longer than its timeout.
    StreamStalled,
    /// A stream's connection was lost.
    StreamInterrupted,
    /// The manager has been shut down.
    ShutDown,
    /// In a child that was forked: its parent has begun this, or was at work in another thread when it forked. Nothing was sent. Begin it anew,
    /// with another manager where this one says so again.
    Forked,
    /// A code that this crate does not know.
    Other(Arc<str>),
}

impl ErrorCode {
    /// The code as text, `auth_not_found` for example; empty for [`ErrorCode::Unspecified`].
    pub fn as_str(&self) -> &str {
        match self {
            Self::Other(code) => code,
            known => KNOWN
                .iter()
                .find(|(code, _)| code == known)
                .map_or("", |(_, text)| text),
        }
    }

    /// Whether a connection was lost, or could not be had.
    pub(crate) fn is_of_connection(&self) -> bool {
        matches!(
            self,
            Self::Transport | Self::StreamTruncated | Self::StreamStalled | Self::StreamInterrupted
        )
    }

    pub(super) fn retryable_by_nature(&self) -> bool {
        matches!(
            self,
            Self::AuthUnavailable
                | Self::Transport
                | Self::PoolSaturated
                | Self::LimitReached
                | Self::StreamTruncated
                | Self::StreamStalled
                | Self::StreamInterrupted
        )
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Compares the code of [`Error::code`](super::Error::code) as it comes.
///
/// ```
/// use credpool::{Error, ErrorCode};
///
/// let error = Error::new(ErrorCode::Cancelled, "enough");
/// assert!(error.code() == ErrorCode::Cancelled);
/// ```
impl PartialEq<ErrorCode> for &ErrorCode {
    fn eq(&self, other: &ErrorCode) -> bool {
        **self == *other
    }
}

impl From<&str> for ErrorCode {
    fn from(text: &str) -> Self {
        if text.is_empty() {
            return Self::Unspecified;
        }
        KNOWN
            .iter()
            .find(|(_, known)| *known == text)
            .map_or_else(|| Self::Other(text.into()), |(code, _)| code.clone())
    }
}

pub(super) const KNOWN: &[(ErrorCode, &str)] = &[
    (ErrorCode::ProviderNotFound, "provider_not_found"),
    (ErrorCode::ExecutorNotFound, "executor_not_found"),
    (ErrorCode::AuthNotFound, "auth_not_found"),
    (ErrorCode::AuthUnavailable, "auth_unavailable"),
    (ErrorCode::ModelNotFound, "model_not_found"),
    (ErrorCode::UnsupportedFormat, "unsupported_format"),
    (ErrorCode::Unsupported, "unsupported"),
    (ErrorCode::Config, "config"),
    (ErrorCode::Upstream, "upstream"),
    (ErrorCode::Transport, "transport"),
    (ErrorCode::DeadlineExceeded, "deadline_exceeded"),
    (ErrorCode::Cancelled, "cancelled"),
    (ErrorCode::Panicked, "panicked"),
    (ErrorCode::PoolSaturated, "pool_saturated"),
    (ErrorCode::LimitReached, "limit_reached"),
    (ErrorCode::Store, "store"),
    (ErrorCode::Conflict, "conflict"),
    (ErrorCode::RefreshFailed, "refresh_failed"),
    (ErrorCode::NeedsLogin, "needs_login"),
    (ErrorCode::StreamTruncated, "stream_truncated"),
    (ErrorCode::StreamMalformed, "stream_malformed"),
    (ErrorCode::StreamStalled, "stream_stalled"),
    (ErrorCode::StreamInterrupted, "stream_interrupted"),
    (ErrorCode::ShutDown, "shut_down"),
    (ErrorCode::Forked, "forked"),
];
