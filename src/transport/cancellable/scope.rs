//! [`Scope`]: what the requests of one call have in common, on whatever connection.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use ureq::unversioned::transport::time::Instant;

use super::binding::elapsed;
use crate::cancel::CancelToken;
use crate::clock::{Clock, SystemClock};
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
    /// How long what is left of a body may be waited for, where its reader says so; each time it does is counted.
    pub(super) allowed: Mutex<Option<(u64, Duration)>>,
    /// When the last of a request went out.
    pub(super) sent_at: Mutex<Option<Instant>>,
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
            allowed: Mutex::new(None),
            sent_at: Mutex::new(None),
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

    /// From now on, reads of the body wait so long in all, whatever the pace.
    pub(in crate::transport) fn allow(&self, left: Duration) {
        let mut allowed = self.allowed.lock();
        let times = allowed.map_or(0, |(times, _)| times);
        *allowed = Some((times + 1, left));
    }

    /// How long ago the request had gone out.
    pub(in crate::transport) fn since_sent(&self) -> Duration {
        let sent_at = *self.sent_at.lock();
        let now = Instant::Exact(SystemClock.monotonic());
        sent_at.map_or(Duration::ZERO, |sent_at| elapsed(sent_at, now))
    }
}

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
