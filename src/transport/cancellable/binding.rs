//! The binding of one request to a connection, with its read timeouts.

use std::sync::Arc;
use std::time::Duration;

use ureq::Timeout;
use ureq::unversioned::transport::time::Instant;
use ureq::unversioned::transport::{Buffers, NextTimeout};

use super::line::Line;
use super::scope::{Scope, current, elapsed};
use crate::cancel::OnCancel;

/// One request's hold on a connection.
pub(crate) struct Binding {
    _on_cancel: OnCancel,
    pub(crate) scope: Arc<Scope>,
    pub(crate) sent_at: Instant,
    /// The body's first bytes have come.
    pub(crate) flowing: bool,
    /// When the wait began that its reader has allowed: see [`Scope::allow`].
    allowed_at: Option<(u64, Instant)>,
}

impl Binding {
    pub(crate) fn new(line: &Arc<Line>, scope: Arc<Scope>, now: Instant) -> Self {
        let request = line.request();
        let on_cancel = scope.token.on_cancel({
            let line = Arc::clone(line);
            move || line.cut(request)
        });
        Self {
            _on_cancel: on_cancel,
            scope,
            sent_at: now,
            flowing: false,
            allowed_at: None,
        }
    }

    /// The head of an answer is read inside the scope, the body of a stream outside.
    fn reads_head(&self) -> bool {
        current().is_some_and(|scope| Arc::ptr_eq(&scope, &self.scope))
    }

    pub(crate) fn watch_for_body(&mut self, buffers: &dyn Buffers) {
        if self.scope.pace.is_some()
            && !self.flowing
            && !buffers.input().is_empty()
            && !self.reads_head()
        {
            self.flowing = true;
        }
    }

    pub(crate) fn paced(
        &mut self,
        mut timeout: NextTimeout,
        clock: &dyn Fn() -> Instant,
    ) -> NextTimeout {
        let allowed = *self.scope.allowed.lock();
        if let Some((times, allowed)) = allowed {
            let now = clock();
            let known = self.allowed_at.filter(|(of, _)| *of == times);
            let (_, since) = *self.allowed_at.insert(known.unwrap_or((times, now)));
            return sooner(timeout, allowed.saturating_sub(elapsed(since, now)));
        }
        let Some(pace) = self.scope.pace else {
            return timeout;
        };
        if self.flowing {
            timeout.per_read = Some(pace.idle.into());
            return timeout;
        }
        // The first chunk has one limit, however many reads it takes; for the head, the client itself keeps it.
        timeout.per_read = None;
        if !self.reads_head() {
            let left = pace
                .first_chunk
                .saturating_sub(elapsed(self.sent_at, clock()));
            return sooner(timeout, left);
        }
        timeout
    }
}

/// The timeout, but not after `left`.
fn sooner(mut timeout: NextTimeout, left: Duration) -> NextTimeout {
    if left < *timeout.after {
        timeout.after = left.into();
        timeout.reason = Timeout::PerRead;
    }
    timeout
}
