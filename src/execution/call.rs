use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use crate::cancel::{CancelToken, Never};
use crate::clock::{Clock, deadline};
use crate::error::{Error, ErrorCode};
use crate::executor::{Attempt, Provider};
use crate::outcome::{Outcome, OutcomeKind};
use crate::request::{Options, Request};
use crate::services::Services;

use super::Providers;

/// One call: what is asked, of whom, and when it ends.
pub(super) struct Call<'a> {
    pub(super) providers: Providers,
    pub(super) request: &'a Request,
    pub(super) options: &'a Options,
    pub(super) deadline: Option<Instant>,
    /// Where the caller may cancel it.
    cancel: Option<CancelToken>,
    never: Receiver<Never>,
    clock: &'a dyn Clock,
    stopping: &'a CancelToken,
}

impl<'a> Call<'a> {
    pub(super) fn begin(
        services: &'a Services,
        providers: Providers,
        request: &'a Request,
        options: &'a Options,
        cancel: Option<CancelToken>,
    ) -> Self {
        let clock = &*services.clock;
        Self {
            providers,
            request,
            options,
            deadline: deadline_of(options, clock),
            cancel,
            never: crossbeam_channel::never(),
            clock,
            stopping: services.pool.stopping(),
        }
    }

    /// Whether the call may go on.
    pub(super) fn check(&self, last: Option<&Error>) -> Result<(), Error> {
        let over = if self.stopping.is_cancelled() {
            Error::new(
                ErrorCode::ShutDown,
                "the manager was shut down during the call",
            )
        } else if self.is_cancelled() {
            Error::new(ErrorCode::Cancelled, "the call was cancelled")
        } else if self.is_late() {
            Error::new(
                ErrorCode::DeadlineExceeded,
                "the call's deadline has passed",
            )
        } else {
            return Ok(());
        };
        Err(match last {
            Some(last) => over.with_source(last.clone()),
            None => over,
        })
    }

    /// Whether an attempt failed because its caller ended it, and not by anybody's fault. An answer of the upstream is one.
    pub(super) fn ended_by_caller(&self, error: &Error) -> bool {
        self.is_cancelled() || (error.http_status().is_none() && self.is_late())
    }

    pub(super) fn attempt(&self, number: u32, services: &Services) -> Attempt {
        Attempt {
            number,
            deadline: self.deadline,
            // Nobody else ends it where the caller cannot.
            cancel: self.cancel.clone().unwrap_or_default(),
            tools: Arc::clone(&services.tools),
        }
    }

    pub(super) fn outcome<'b>(
        &'b self,
        auth_id: &'b str,
        provider: &'b str,
        model: &'b str,
        kind: OutcomeKind,
    ) -> Outcome<'b> {
        Outcome {
            auth_id,
            provider,
            model,
            kind,
            usage: None,
            rate_limits: None,
            reply_text: None,
            messages: &self.options.messages,
            session_key: self.options.session_key.as_deref(),
            first_byte: None,
            at: None,
        }
    }

    /// Whether the call is not over before `wait` is.
    pub(super) fn has_time_for(&self, wait: Duration) -> bool {
        self.deadline
            .is_none_or(|end| deadline(self.clock.monotonic(), wait) < end)
    }

    /// How much of the call's time is left, where it has a deadline.
    pub(super) fn time_left(&self) -> Option<Duration> {
        self.deadline
            .map(|end| end.saturating_duration_since(self.clock.monotonic()))
    }

    /// Disconnects when the caller cancels the call.
    pub(super) fn cancelled(&self) -> &Receiver<Never> {
        let cancelled = self.cancel.as_ref().map(CancelToken::cancelled);
        cancelled.unwrap_or(&self.never)
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(CancelToken::is_cancelled)
    }

    /// The providers, beginning with the one at `start`.
    pub(super) fn in_order(&self, start: usize) -> impl Iterator<Item = &Arc<Provider>> {
        let (later, first) = self.providers.split_at(start);
        first.iter().chain(later)
    }

    fn is_late(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| self.clock.monotonic() >= deadline)
    }
}

/// The earlier of the deadline and the timeout, counted from now.
pub(super) fn deadline_of(options: &Options, clock: &dyn Clock) -> Option<Instant> {
    let by_timeout = options
        .timeout
        .map(|timeout| deadline(clock.monotonic(), timeout));
    match (options.deadline, by_timeout) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
