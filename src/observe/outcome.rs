//! [`Outcome`]: the result of one attempt.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::error::Error;
use crate::failure_kind::FailureKind;
use crate::limits::RateLimits;
use crate::request::{Message, Usage};

/// The result of one attempt, as hooks and selectors see it and as
/// [`Manager::mark_result`](crate::Manager::mark_result) takes it.
///
/// ```
/// use credpool::{Error, Outcome};
///
/// let outcome = Outcome::failure("team-a", "openai", "gpt-5", Error::upstream(429, "slow down"));
/// assert!(!outcome.is_success());
/// assert_eq!(outcome.error().and_then(Error::http_status), Some(429));
/// ```
#[doc(alias = "Result")]
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outcome<'a> {
    /// The credential that was used.
    pub auth_id: &'a str,
    /// Its provider.
    pub provider: &'a str,
    /// The model, as the vendor calls it; empty for a result about the credential itself. Cooldowns, limits and usage are of this one.
    pub model: &'a str,
    /// The model as the call asked for it: an alias of the credential, or the name of a chain of models; else the same as `model`.
    pub asked_for: &'a str,
    /// What kind of call it belonged to.
    pub operation: Operation,
    /// How it ended.
    pub kind: OutcomeKind,
    /// What the policy takes the failure for, where it is one: the manager adds it for hooks and selectors.
    pub fault: Option<FailureKind>,
    /// Tokens used, where the upstream said so.
    pub usage: Option<Usage>,
    /// The tokens that were counted, where the attempt was a token count ([`Manager::execute_count`](crate::Manager::execute_count)): they
    /// were not used, and appear in no `usage`.
    pub counted: Option<u64>,
    /// What the upstream said of its limits, in the answer, at the opening of the stream or in the error.
    pub rate_limits: Option<&'a RateLimits>,
    /// The text of the reply, where the executor knows it.
    pub reply_text: Option<&'a str>,
    /// The conversation that the call carried.
    pub messages: &'a [Message],
    /// The call's session key.
    pub session_key: Option<&'a str>,
    /// From the start of the attempt to its first byte of content: for a plain call, to its answer.
    pub first_byte: Option<Duration>,
    /// When it was recorded, by the manager's clock: what the manager tells has it.
    pub at: Option<Timestamp>,
    /// The call that the attempt belongs to: the same number for all attempts of a call, and another one for every other call in this
    /// process. 0 for a result that the program has observed by itself.
    pub call_id: u64,
    /// Which attempt of its call it was, from 1. 0 for a result that the program has observed by itself.
    pub attempt: u32,
    /// From the start of the attempt to its end, failures too: for a plain call, to its answer; for a stream, to its last chunk. Zero
    /// where it is not known.
    pub elapsed: Duration,
}

/// Which kind of call an attempt belonged to.
///
/// ```
/// use credpool::{Operation, Outcome};
///
/// let outcome = Outcome::success("a", "openai", "gpt-5");
/// assert_eq!(outcome.operation, Operation::Execute);
/// assert_eq!(Operation::Stream.as_str(), "stream");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// A plain call ([`Manager::execute`](crate::Manager::execute)), or one that a program made itself.
    #[default]
    Execute,
    /// A stream ([`Manager::execute_stream`](crate::Manager::execute_stream)).
    Stream,
    /// A token count ([`Manager::execute_count`](crate::Manager::execute_count)).
    Count,
    /// A raw call ([`Manager::execute_raw`](crate::Manager::execute_raw)).
    Raw,
}

impl Operation {
    /// `stream`, for example.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Execute => "execute",
            Self::Stream => "stream",
            Self::Count => "count",
            Self::Raw => "raw",
        }
    }
}

/// How an attempt ended.
///
/// ```
/// use credpool::{Outcome, OutcomeKind};
///
/// let outcome = Outcome::success("a", "openai", "gpt-5");
/// assert!(matches!(outcome.kind, OutcomeKind::Success));
/// // As of a call that the user cancelled: it says nothing about the credential.
/// let outcome = Outcome::abandoned("a", "openai", "gpt-5");
/// assert!(matches!(outcome.kind, OutcomeKind::Abandoned) && outcome.is_abandoned());
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum OutcomeKind {
    /// It was served.
    Success,
    /// It failed, and the credential's state changes. Without an error, nothing is known but that.
    Failure(Option<Error>),
    /// The caller dropped or cancelled the attempt: no credential's state changes.
    Abandoned,
}

impl<'a> Outcome<'a> {
    /// An attempt that was served.
    pub const fn success(auth_id: &'a str, provider: &'a str, model: &'a str) -> Self {
        Self::new(auth_id, provider, model, OutcomeKind::Success)
    }

    /// An attempt that failed, with its error where one is known.
    pub fn failure(
        auth_id: &'a str,
        provider: &'a str,
        model: &'a str,
        error: impl Into<Option<Error>>,
    ) -> Self {
        Self::new(auth_id, provider, model, OutcomeKind::Failure(error.into()))
    }

    /// An attempt that its caller gave up.
    pub const fn abandoned(auth_id: &'a str, provider: &'a str, model: &'a str) -> Self {
        Self::new(auth_id, provider, model, OutcomeKind::Abandoned)
    }

    const fn new(auth_id: &'a str, provider: &'a str, model: &'a str, kind: OutcomeKind) -> Self {
        Self {
            auth_id,
            provider,
            model,
            asked_for: model,
            operation: Operation::Execute,
            kind,
            fault: None,
            usage: None,
            counted: None,
            rate_limits: None,
            reply_text: None,
            messages: &[],
            session_key: None,
            first_byte: None,
            at: None,
            call_id: 0,
            attempt: 0,
            elapsed: Duration::ZERO,
        }
    }

    /// Whether it was served.
    pub const fn is_success(&self) -> bool {
        matches!(self.kind, OutcomeKind::Success)
    }

    /// Whether its caller gave it up.
    pub const fn is_abandoned(&self) -> bool {
        matches!(self.kind, OutcomeKind::Abandoned)
    }

    /// The failure as it is recorded: its text and status. For what the executor returned, see [`Outcome::cause`].
    pub const fn error(&self) -> Option<&Error> {
        match &self.kind {
            OutcomeKind::Failure(error) => error.as_ref(),
            OutcomeKind::Success | OutcomeKind::Abandoned => None,
        }
    }

    /// As listeners receive it: with its time, and with the limits that its error carries, if it does: they are the latest.
    pub(crate) fn told_at<'b>(
        mut self,
        now: Timestamp,
        of_error: Option<&'b RateLimits>,
    ) -> Outcome<'b>
    where
        'a: 'b,
    {
        self.at = Some(now);
        let mut told: Outcome<'b> = self;
        told.rate_limits = of_error.or(told.rate_limits);
        told
    }

    /// The failure as the executor returned it, with its code, hints and body.
    pub fn cause(&self) -> Option<&Error> {
        self.error().map(Error::original)
    }
}
