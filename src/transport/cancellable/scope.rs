//! The scope of a call's requests: cancellation and timeouts, on whatever connection.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use ureq::unversioned::transport::time::Instant;

use crate::cancel::CancelToken;
use crate::clock::{Clock, SystemClock};
use crate::transport::tls::Tls;

/// How fast a stream must be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdleLimits {
    /// From the end of the request to the first chunk.
    pub(crate) first_chunk: Duration,
    /// Between two chunks.
    pub(crate) idle: Duration,
}

/// Runs `work`; the requests that it starts on this thread end when the scope's token is cancelled.
pub(crate) fn within<T>(scope: Arc<Scope>, work: impl FnOnce() -> T) -> T {
    let _restore = Restore(SCOPE.replace(Some(scope)));
    work()
}

/// What the requests have in common that are started within it.
#[derive(Default)]
pub(crate) struct Scope {
    pub(crate) token: CancelToken,
    pub(crate) pace: Option<IdleLimits>,
    /// For agents without a TLS set-up of their own.
    pub(crate) tls: Option<Arc<Tls>>,
    /// How long what is left of a body may be waited for, where its reader says so; each time it does is counted.
    pub(crate) allowed: Mutex<Option<(u64, Duration)>>,
    /// When the last of a request went out.
    pub(crate) sent_at: Mutex<Option<Instant>>,
    /// Whether a request has been handed to a connection, in part at least.
    pub(crate) sent: AtomicBool,
    /// Whether the request went over a connection that had served another one before.
    pub(crate) reused: AtomicBool,
    /// Whether a byte of an answer has come.
    pub(crate) answered: AtomicBool,
}

impl Scope {
    pub(crate) fn new(
        token: &CancelToken,
        pace: Option<IdleLimits>,
        tls: Option<Arc<Tls>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            token: token.clone(),
            pace,
            tls,
            ..Self::default()
        })
    }

    /// Whether anything of a request was sent, as far as this process can tell.
    pub(crate) fn has_sent(&self) -> bool {
        self.sent.load(Ordering::Relaxed)
    }

    /// Whether the request went over a kept connection and got no answer there: the connection may have died before, while it
    /// was idle.
    pub(crate) fn reused_in_vain(&self) -> bool {
        self.reused.load(Ordering::Relaxed) && !self.answered.load(Ordering::Relaxed)
    }

    /// From now on, reads of the body wait so long in all, whatever the pace.
    pub(crate) fn allow(&self, left: Duration) {
        let mut allowed = self.allowed.lock();
        let times = allowed.map_or(0, |(times, _)| times);
        *allowed = Some((times + 1, left));
    }

    /// How long ago the request had gone out.
    pub(crate) fn since_sent(&self) -> Duration {
        let sent_at = *self.sent_at.lock();
        let now = Instant::Exact(SystemClock.monotonic());
        sent_at.map_or(Duration::ZERO, |sent_at| elapsed(sent_at, now))
    }
}

thread_local! {
    pub(crate) static SCOPE: RefCell<Option<Arc<Scope>>> = const { RefCell::new(None) };
}

/// The scope that this thread is in.
pub(crate) fn current() -> Option<Arc<Scope>> {
    SCOPE.with_borrow(Clone::clone)
}

/// Puts the outer scope back, also when the work panics.
pub(crate) struct Restore(pub(super) Option<Arc<Scope>>);

impl Drop for Restore {
    fn drop(&mut self) {
        SCOPE.set(self.0.take());
    }
}

pub(crate) fn elapsed(from: Instant, to: Instant) -> Duration {
    match (from, to) {
        (Instant::Exact(from), Instant::Exact(to)) => to.saturating_duration_since(from),
        _ => Duration::ZERO,
    }
}
