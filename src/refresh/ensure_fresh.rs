//! Tokens that are about to end, as a call meets them.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;

use super::coordinator::{RefreshCoordinator, Waited};
use super::due::{Due, stretch};
use crate::auth::{Auth, Metadata};
use crate::cancel::Never;
use crate::clock::until;
use crate::registry::release;

impl RefreshCoordinator {
    /// Waits for new tokens where those of `auth` have ended, or do so in a moment; the record with them, where there are any.
    ///
    /// Costs next to nothing for a key and for tokens that live on. It fails no call: what comes of the refresh or not, the call
    /// is made, with the tokens that there are. While the old ones are good, it waits no longer than half of what is left of
    /// them, and half of `left`, the call's time.
    pub(crate) fn ensure_fresh<'c>(
        self: &Arc<Self>,
        auth: &Arc<Auth>,
        left: impl FnOnce() -> Option<Duration>,
        cancelled: impl FnOnce() -> &'c Receiver<Never>,
    ) -> Option<Arc<Auth>> {
        let has_no_token = auth.metadata.as_ref().is_none_or(Metadata::is_empty);
        if has_no_token && !auth.awaits_first_token() {
            return None;
        }
        let good_for = match stretch(auth) {
            Some((from, end)) => {
                let now = self.services.clock.now();
                if now < from {
                    return None;
                }
                until(now, end)
            }
            None if auth.awaits_first_token() => Duration::ZERO,
            None => return None,
        };
        self.wait_for_fresh(auth, good_for, left(), cancelled())
    }

    fn wait_for_fresh(
        self: &Arc<Self>,
        auth: &Arc<Auth>,
        good_for: Duration,
        left: Option<Duration>,
        cancelled: &Receiver<Never>,
    ) -> Option<Arc<Auth>> {
        let id = &auth.id;
        let most = if good_for.is_zero() {
            left
        } else {
            Some((good_for / 2).min(left.map_or(Duration::MAX, |left| left / 2)))
        };
        let late = || {
            most.map_or_else(crossbeam_channel::never, |most| {
                self.services.clock.after(most)
            })
        };
        loop {
            let completed = self.completed();
            let current = self.services.registry.get(id)?;
            if current.generation() != auth.generation() {
                return Some(current);
            }
            let may_wait = self.is_under_way(&current)
                || (can_refresh(&current) || self.mailbox.is_open())
                    && self.wants_refresh(&current);
            release(current);
            if !may_wait {
                if self.completed() == completed {
                    return None;
                }
                // One has completed between the looks.
                continue;
            }
            // Whatever comes of it: who needs to know hears of it otherwise.
            match self.wait_for(id, Some(completed), &late(), cancelled) {
                Waited::Outdated => {}
                Waited::Over(_) | Waited::LongEnough => break,
            }
        }
        let current = self.services.registry.get(id)?;
        (current.generation() != auth.generation()).then_some(current)
    }

    /// Whether a refresh would begin now if there were somebody to begin it.
    fn wants_refresh(&self, auth: &Auth) -> bool {
        let now = self.services.clock.now();
        match self.next_due(auth) {
            Due::Never => false,
            Due::At(at) => at <= now,
            Due::Asks => super::should_refresh(auth, now),
        }
    }
}

/// Whether the record itself says that its tokens can be had anew. For others the program says so, by having them refreshed.
fn can_refresh(auth: &Auth) -> bool {
    auth.has_refresh_token() || auth.gets_own_tokens()
}
