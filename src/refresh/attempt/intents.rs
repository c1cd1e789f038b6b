//! Write-ahead intents of a refresh: read before a token is sent, written, and cleared.

use std::time::Duration;

use super::{MOST_TO_NOTE, RefreshAttempt, WAIT_OUT, generations, sent_for_another};
use crate::error::{Error, ErrorCode};
use crate::refresh::lock::note_end;
use crate::refresh::machine::Event;
use crate::registry::release;
use crate::store::Intent;

impl RefreshAttempt<'_> {
    pub(super) fn read_intent(&mut self) -> Event {
        let generations = generations(self.coordinator, &self.base);
        let intent = match self.lock.intent(generations) {
            Ok(intent) => intent,
            Err(error) => return self.not_sent(error, Event::StoreFailed),
        };
        let services = &self.coordinator.services;
        let now = services.clock.monotonic();
        let holder_is_dead = self.lock.holder_is_dead();
        let since_loss = self.coordinator.since_loss(now).filter(|_| !holder_is_dead);
        // While the store was in trouble, another process may not have been able to save what it has got.
        let calm = services
            .store_handle
            .since_trouble()
            .unwrap_or(Duration::MAX);
        let left_of = |waited: Duration| WAIT_OUT.saturating_sub(waited.min(calm));
        let (in_doubt, left) = self.coordinator.states.note(self.id, &self.base, |state| {
            let own = intent
                .as_ref()
                .is_none_or(|intent| intent.tries <= state.in_doubt);
            if own || holder_is_dead {
                state.seen_intent = None;
                // A store that has lost something may have lost the intent of a request that is under way.
                let left = since_loss.map(left_of);
                return (state.in_doubt, left.unwrap_or_default());
            }
            let seen = state.seen_intent.take();
            let seen = seen.filter(|(seen, _)| Some(seen) == intent.as_ref());
            let since = seen.map_or(now, |(_, since)| since);
            state.seen_intent = intent.clone().map(|intent| (intent, since));
            let left = left_of(now.saturating_duration_since(since));
            (state.in_doubt, left)
        });
        if !left.is_zero() {
            let message = format!(
                "another process may still be refreshing credential {}; without new tokens by then, its refresh token is sent again in {} s",
                self.id,
                left.as_secs().max(1)
            );
            let error = Error::new(ErrorCode::RefreshFailed, message).with_retry_after(left);
            return self.not_sent(error.with_retryable(true), Event::MayBeUnderWay);
        }
        let sent = intent.as_ref().map_or(0, |intent| intent.tries);
        if sent > in_doubt {
            log::warn!(
                "credential {}: the response to its last refresh was lost; retrying once",
                self.id
            );
        }
        self.tries = sent.max(in_doubt);
        self.unfinished = intent;
        if !self.coordinator.begin_sending(self.base.grant_token()) {
            return self.not_sent(sent_for_another(self.id), Event::MayBeUnderWay);
        }
        self.sending = self.base.grant_token();
        Event::Clear
    }

    pub(super) fn note_intent(&mut self) -> Event {
        let clock = &self.coordinator.services.clock;
        let (began, now) = (clock.monotonic(), clock.now());
        let tries = self.tries.saturating_add(1);
        let intent = Intent::new(self.base.generation(), now).with_tries(tries);
        let noted = {
            let generations = generations(self.coordinator, &self.base);
            self.lock.set_intent(&intent, generations)
        };
        if let Err(error) = noted {
            return self.not_sent(error, Event::StoreFailed);
        }
        let took = clock.monotonic().saturating_duration_since(began);
        if took > MOST_TO_NOTE || !self.is_as_seen() {
            // Another may have sent the token meanwhile, or have come to hold it.
            self.note_former_intent(self.tries);
            let message = format!(
                "credential {} may have changed while the refresh intent was being written",
                self.id
            );
            let error = Error::new(ErrorCode::RefreshFailed, message).with_retryable(true);
            return self.not_sent(error, Event::StoreFailed);
        }
        self.tries = tries;
        Event::Noted
    }

    /// Whether the record still has the tokens that were looked at, and the locks of all their holders are ours.
    fn is_as_seen(&self) -> bool {
        let current = self.coordinator.services.registry.get(self.id);
        let Some(current) = current else {
            return false;
        };
        let same = current.grant_token() == self.base.grant_token();
        release(current);
        let followers = self.coordinator.followers(&self.base);
        let all_locked = || followers.iter().all(|id| self.lock.has(id));
        same && (self.base.is_runtime_only() || all_locked())
    }

    /// Notes again what the store said before this try: that the token was sent so many times, or never.
    pub(super) fn note_former_intent(&mut self, sent: u32) {
        if sent == 0 {
            self.lock.clear_intent();
            return;
        }
        let at = self.unfinished.as_ref().map(|intent| intent.at);
        let at = at.unwrap_or_else(|| self.coordinator.services.clock.now());
        let intent = Intent::new(self.base.generation(), at).with_tries(sent);
        let generations = generations(self.coordinator, &self.base);
        note_end(self.id, self.lock.set_intent(&intent, generations));
    }
}
