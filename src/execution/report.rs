//! [`Report`]: reports an answer that is still being read when its call has returned, and how that ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::context::Call;
use super::{Engine, Held, Recorded, Served};
use crate::error::Error;
use crate::failure_kind::FailureKind;
use crate::limits::RateLimits;
use crate::observe::{Operation, Outcome, OutcomeKind};
use crate::policy::FailurePolicy;
use crate::request::{Message, StreamChunk, Usage};

/// What the outcome will say.
pub(super) struct Report {
    pub(super) auth_id: Arc<str>,
    pub(super) provider: Arc<str>,
    pub(super) model: String,
    pub(super) asked_for: String,
    pub(super) messages: Vec<Message>,
    pub(super) session_key: Option<String>,
    pub(super) operation: Operation,
    pub(super) call_id: u64,
    pub(super) attempt: u32,
    pub(super) started: Option<Instant>,
    pub(super) first_byte: Duration,
    pub(super) usage: Option<Usage>,
    pub(super) rate_limits: Option<Arc<RateLimits>>,
    pub(super) reply: Option<String>,
}

/// How the reading of an answer ended.
pub(super) enum End {
    Complete,
    Failed(Error),
    Abandoned(Error),
}

/// The end of an answer, recorded but not yet reported.
pub(super) struct Concluded {
    pub(super) result: Result<(), Error>,
    kind: OutcomeKind,
    fault: Option<FailureKind>,
    elapsed: Duration,
    recorded: Option<Recorded>,
}

impl Engine {
    /// Records that the head of an answer, or its first content, has come: the credential serves again. How it ends is reported then.
    pub(super) fn commit(&self, report: &Report, held: &mut Held) {
        if held.permit.is_some() {
            let outcome = report.outcome(OutcomeKind::Success, Duration::ZERO);
            self.apply_success(&outcome, Some(held), self.services.moment());
            held.permit = None;
        }
    }

    /// Records how an answer ended, and gives back what it held.
    pub(super) fn conclude(&self, report: &Report, mut held: Held, end: End) -> Concluded {
        let elapsed = report.time_to(self.services.clock.monotonic());
        if let Some(usage) = report.usage {
            held.lease.settle(usage.input.saturating_add(usage.output));
        }
        let (kind, result) = match end {
            End::Complete => (OutcomeKind::Success, Ok(())),
            End::Failed(error) => {
                let verdict = self.policy.classify(&error);
                let error = FailurePolicy::settled(error, &verdict);
                (OutcomeKind::Failure(Some(error.recorded())), Err(error))
            }
            End::Abandoned(error) => (OutcomeKind::Abandoned, Err(error)),
        };
        let mut outcome = report.outcome(kind.clone(), elapsed);
        let recorded = self.enter(&mut outcome, report.rate_limits.as_ref(), Some(held));
        Concluded {
            recorded,
            result,
            fault: outcome.fault,
            kind,
            elapsed,
        }
    }

    /// Notifies hook and selector.
    pub(super) fn tell_concluded(&self, report: &Report, concluded: Concluded) {
        let mut outcome = report.outcome(concluded.kind, concluded.elapsed);
        outcome.fault = concluded.fault;
        self.tell_recorded(outcome, concluded.recorded);
    }
}

impl Report {
    pub(super) fn of(served: &Served<'_>, call: &Call<'_>) -> Self {
        let options = call.options;
        Self {
            auth_id: Arc::clone(served.held.lease.id()),
            provider: Arc::clone(served.provider),
            model: served.request.model.clone(),
            asked_for: call.request.model.clone(),
            messages: options.messages.clone(),
            session_key: options.session_key.clone(),
            operation: call.operation(),
            call_id: call.id(),
            attempt: served.attempts,
            started: call.attempt_started(),
            first_byte: served.first_byte,
            usage: None,
            rate_limits: None,
            reply: None,
        }
    }

    /// The model that serves, where the call asked for it by another name.
    pub(super) fn sent_as(&self) -> Option<&str> {
        (self.model != self.asked_for).then_some(&*self.model)
    }

    pub(super) fn note(&mut self, chunk: &StreamChunk) {
        if chunk.usage.is_some() {
            self.usage = chunk.usage;
        }
        if let Some(limits) = &chunk.rate_limits {
            self.rate_limits = Some(Arc::clone(limits));
        }
        if let Some(text) = &chunk.text
            && !self.messages.is_empty()
        {
            let reply = self.reply.get_or_insert_default();
            if reply.len() + text.len() <= MOST_REPLY_BYTES {
                reply.push_str(text);
            }
        }
    }

    /// How long the attempt has taken by then.
    fn time_to(&self, end: Instant) -> Duration {
        self.started.map_or(Duration::ZERO, |started| {
            end.saturating_duration_since(started)
        })
    }

    pub(super) fn outcome(&self, kind: OutcomeKind, elapsed: Duration) -> Outcome<'_> {
        Outcome {
            auth_id: &self.auth_id,
            provider: &self.provider,
            model: &self.model,
            asked_for: &self.asked_for,
            operation: self.operation,
            kind,
            fault: None,
            usage: self.usage,
            counted: None,
            rate_limits: self.rate_limits.as_deref(),
            reply_text: self.reply.as_deref(),
            messages: &self.messages,
            session_key: self.session_key.as_deref(),
            first_byte: Some(self.first_byte),
            at: None,
            call_id: self.call_id,
            attempt: self.attempt,
            elapsed,
        }
    }
}

/// A reply longer than this is no key to a conversation.
const MOST_REPLY_BYTES: usize = 4 << 20;
