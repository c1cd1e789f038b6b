//! The context of one call: deadline, cancellation, id, and what it asks for.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use crate::cancel::{CancelToken, Never};
use crate::clock::{Clock, deadline};
use crate::error::{Error, ErrorCode};
use crate::executor::Attempt;
use crate::observe::{CallCounters, Operation, Outcome, OutcomeKind};
use crate::request::{Options, Request, RequestBody};
use crate::resources::Resource;
use crate::services::Services;

use super::Providers;
use super::hops::{Hops, hops};

/// One call: its request, its hops, its deadline.
pub(super) struct Call<'a> {
    pub(super) hops: Hops,
    pub(super) request: &'a Request,
    pub(super) options: &'a Options,
    pub(super) deadline: Option<Instant>,
    /// The body of a raw call, which may be one that can be sent once.
    pub(super) body: Option<&'a RequestBody>,
    /// The owner of what it names.
    pub(super) pinned: Option<Pinned>,
    /// How long it has waited for a worker's place.
    pub(super) waited: Duration,
    operation: Operation,
    id: u64,
    /// The attempt that is under way, or was the last.
    attempt: Cell<UnderWay>,
    /// Where the caller may cancel it.
    cancel: Option<CancelToken>,
    never: Receiver<Never>,
    clock: &'a dyn Clock,
    stopping: &'a CancelToken,
    counters: &'a CallCounters,
}

/// Why one credential alone may serve a call.
pub(super) struct Pinned {
    pub(super) provider: Arc<str>,
    pub(super) auth_id: Arc<str>,
    /// What is in its account.
    pub(super) resource: Resource,
}

#[derive(Clone, Copy, Default)]
struct UnderWay {
    number: u32,
    started: Option<Instant>,
    took: Duration,
}

impl<'a> Call<'a> {
    pub(super) fn begin(
        operation: Operation,
        services: &'a Services,
        providers: Providers,
        request: &'a Request,
        options: &'a Options,
        cancel: Option<CancelToken>,
    ) -> Self {
        let clock = &*services.clock;
        Self {
            hops: hops(services, providers, request),
            request,
            options,
            deadline: deadline_of(options, clock),
            body: None,
            pinned: None,
            waited: Duration::ZERO,
            operation,
            id: next_id(),
            attempt: Cell::default(),
            cancel,
            never: crossbeam_channel::never(),
            clock,
            stopping: services.pool.stopping(),
            counters: &services.call_counters,
        }
    }

    /// The only credential of the provider that may serve.
    pub(super) fn pinned_in(&self, provider: &str) -> Option<&str> {
        match &self.pinned {
            Some(pinned) => (*pinned.provider == *provider).then_some(&*pinned.auth_id),
            None => self.options.pinned.as_deref(),
        }
    }

    /// What is in the account of the only credential that may serve.
    pub(super) fn owned_in(&self, provider: &str) -> Option<&Resource> {
        let pinned = self.pinned.as_ref()?;
        (*pinned.provider == *provider).then_some(&pinned.resource)
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

    /// Whether what is to be sent was sent, and cannot be sent again.
    pub(super) fn is_spent(&self) -> bool {
        self.body.is_some_and(RequestBody::is_spent)
    }

    /// Whether an attempt failed only because its caller ended it. An answer of the upstream is a failure of its own.
    pub(super) fn ended_by_caller(&self, error: &Error) -> bool {
        self.is_cancelled() || (error.http_status().is_none() && self.is_late())
    }

    /// Begins an attempt.
    pub(super) fn attempt(
        &self,
        number: u32,
        last: Option<&Error>,
        services: &Services,
    ) -> Attempt {
        self.attempt.set(UnderWay {
            number,
            started: Some(self.clock.monotonic()),
            took: Duration::ZERO,
        });
        Attempt {
            number,
            deadline: self.deadline,
            // Where the caller cannot cancel the attempt, nothing does.
            cancel: self.cancel.clone().unwrap_or_default(),
            over_new_connection: last.is_some_and(|error| error.code().is_of_connection()),
            tools: Arc::clone(&services.tools),
        }
    }

    /// The attempt has its answer: how long that took.
    pub(super) fn answered(&self) -> Duration {
        let attempt = self.attempt.get();
        let took = self.time_since(attempt.started);
        self.attempt.set(UnderWay { took, ..attempt });
        took
    }

    fn time_since(&self, started: Option<Instant>) -> Duration {
        started.map_or(Duration::ZERO, |started| {
            self.clock.monotonic().saturating_duration_since(started)
        })
    }

    /// When the attempt began.
    pub(super) fn attempt_started(&self) -> Option<Instant> {
        self.attempt.get().started
    }

    pub(super) fn operation(&self) -> Operation {
        self.operation
    }

    /// The same for all its attempts, and for no other call's in this process.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// What became of the last attempt.
    pub(super) fn outcome<'b>(
        &'b self,
        auth_id: &'b str,
        provider: &'b str,
        model: &'b str,
        kind: OutcomeKind,
    ) -> Outcome<'b> {
        let attempt = self.attempt.get();
        Outcome {
            auth_id,
            provider,
            model,
            asked_for: &self.request.model,
            operation: self.operation,
            kind,
            fault: None,
            usage: None,
            counted: None,
            rate_limits: None,
            reply_text: None,
            messages: &self.options.messages,
            session_key: self.options.session_key.as_deref(),
            first_byte: None,
            at: None,
            call_id: self.id,
            attempt: attempt.number,
            elapsed: attempt.took,
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

    fn is_late(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| self.clock.monotonic() >= deadline)
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if self.attempt.get().number == 0 {
            self.counters.refused();
        }
    }
}

/// A number that no other call of the process has. Threads take them by the block, so as not to wait for each other.
fn next_id() -> u64 {
    static NEXT_BLOCK: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        static LEFT: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
    }
    let (mut next, mut end) = LEFT.get();
    if next == end {
        next = NEXT_BLOCK.fetch_add(BLOCK, Ordering::Relaxed);
        end = next + BLOCK;
    }
    LEFT.set((next + 1, end));
    next
}

const BLOCK: u64 = 1024;

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
