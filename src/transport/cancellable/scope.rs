//! [`Scope`]: what the requests of one call have in common, on whatever connection.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::cancel::CancelToken;
use crate::transport::tls::Tls;

/// How fast a stream must be.
#[derive(Clone, Copy, Debug)]
pub(in crate::transport) struct Pace {
    /// From the end of the request to the first chunk.
    pub(in crate::transport) first_chunk: Duration,
    /// Between two chunks.
    pub(in crate::transport) idle: Duration,
}

/// Runs `work`; the requests that it starts on this thread end when the scope's token is cancelled.
pub(in crate::transport) fn within<T>(scope: Arc<Scope>, work: impl FnOnce() -> T) -> T {
    let _restore = Restore(SCOPE.replace(Some(scope)));
    work()
}

/// What the requests have in common that are started within it.
pub(in crate::transport) struct Scope {
    pub(super) token: CancelToken,
    pub(super) pace: Option<Pace>,
    /// For agents without a TLS set-up of their own.
    pub(super) tls: Option<Arc<Tls>>,
    /// How many milliseconds the rest of a body may take; [`UNHURRIED`] without such a limit.
    hurried: AtomicU64,
    /// Whether a request has been handed to a connection, in part at least.
    pub(super) sent: AtomicBool,
    /// Whether the request went over a connection that had served another one before.
    pub(super) reused: AtomicBool,
    /// Whether a byte of an answer has come.
    pub(super) answered: AtomicBool,
}

impl Scope {
    pub(in crate::transport) fn new(
        token: &CancelToken,
        pace: Option<Pace>,
        tls: Option<Arc<Tls>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            token: token.clone(),
            pace,
            tls,
            hurried: AtomicU64::new(UNHURRIED),
            sent: AtomicBool::new(false),
            reused: AtomicBool::new(false),
            answered: AtomicBool::new(false),
        })
    }

    /// Whether anything of a request was sent, as far as this process can tell.
    pub(in crate::transport) fn has_sent(&self) -> bool {
        self.sent.load(Ordering::Relaxed)
    }

    /// Whether the request went over a kept connection and met no answer there: the connection may have died before, while it
    /// was idle.
    pub(in crate::transport) fn reused_in_vain(&self) -> bool {
        self.reused.load(Ordering::Relaxed) && !self.answered.load(Ordering::Relaxed)
    }

    /// From now on, what is left of a body has so long and no more.
    pub(in crate::transport) fn hurry(&self, limit: Duration) {
        let limit = u64::try_from(limit.as_millis()).unwrap_or(UNHURRIED);
        self.hurried.store(limit, Ordering::Relaxed);
    }

    pub(super) fn hurried(&self) -> Option<Duration> {
        let limit = self.hurried.load(Ordering::Relaxed);
        (limit != UNHURRIED).then(|| Duration::from_millis(limit))
    }
}

const UNHURRIED: u64 = u64::MAX;

thread_local! {
    pub(super) static SCOPE: RefCell<Option<Arc<Scope>>> = const { RefCell::new(None) };
}

/// The scope that this thread is in.
pub(super) fn current() -> Option<Arc<Scope>> {
    SCOPE.with_borrow(Clone::clone)
}

/// Puts the outer scope back, also when the work panics.
pub(super) struct Restore(pub(super) Option<Arc<Scope>>);

impl Drop for Restore {
    fn drop(&mut self) {
        SCOPE.set(self.0.take());
    }
}
