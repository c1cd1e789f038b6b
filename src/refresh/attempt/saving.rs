//! Makes the tokens of a refresh durable, and only then lets them be used.

use std::sync::Arc;

use super::RefreshAttempt;
use crate::auth::Auth;
use crate::clock::later;
use crate::persistence::Committed;
use crate::refresh::due::is_due_before;
use crate::refresh::machine::Event;
use crate::registry::release;

impl RefreshAttempt<'_> {
    /// Makes the answer durable. Where the store fails, the tokens are used from memory, and saved later.
    pub(super) fn save(&mut self) -> Event {
        let coordinator = self.coordinator;
        let services = &coordinator.services;
        let id = &**self.id;
        let Some(answer) = self.answer.take() else {
            return Event::OtherLogin;
        };
        let Ok(turn) = services.store_handle.turn(id) else {
            return Event::OtherLogin;
        };
        let Some(current) = services.registry.get(id) else {
            drop(turn);
            log::info!("credential {id} was removed during its refresh; discarding the new tokens");
            self.lead_others(&answer);
            return Event::Gone;
        };
        let (now, monotonic) = (services.clock.now(), services.clock.monotonic());
        let mut renewed = true;
        let mut put = |record: &mut Auth| {
            renewed = record.merge_refreshed(&self.base, &answer);
            if renewed {
                record.last_refreshed_at = Some(now);
                let soon = later(now, coordinator.gap);
                if is_due_before(record, soon) {
                    record.next_refresh_after = record.next_refresh_after.max(Some(soon));
                }
            }
            Ok(())
        };
        let committed = services.store_handle.commit(&current, &mut put);
        let (record, failed) = match committed {
            Ok(Committed::Saved(record)) => (*record, None),
            Ok(Committed::Removed) => {
                coordinator.let_go(id, turn);
                self.lead_others(&answer);
                return Event::Gone;
            }
            Err(error) => {
                let mut record = (*current).clone();
                let _ = put(&mut record);
                (record, Some(error))
            }
        };
        release(current);
        let shown = record.next_refresh_after;
        let published = coordinator.publish(self.id, record, true);
        drop(turn);
        let Some(auth) = published else {
            self.lead_others(&answer);
            return Event::Gone;
        };
        if !renewed {
            log::info!(
                "credential {id} received another login during its refresh; keeping that one"
            );
            self.lead_others(&answer);
            self.renewed = Some(auth);
            return Event::OtherLogin;
        }
        coordinator.states.note(self.id, &auth, |state| {
            state.wait(monotonic, coordinator.gap);
            // A wait that the executor itself set is not repeated here.
            state.shown = shown.filter(|shown| *shown == later(now, coordinator.gap));
            state.in_doubt = 0;
            state.cannot_refresh = false;
        });
        self.base = Arc::clone(&auth);
        self.renewed = Some(auth);
        self.tries = 0;
        match failed {
            None => {
                coordinator.lead(&self.base, &mut self.lock);
                if self.is_half {
                    Event::HalfSaved
                } else {
                    Event::Saved
                }
            }
            Some(error) => self.not_sent(error, Event::StoreFailed),
        }
    }

    /// The record is gone, or has another login: others may have the login that was refreshed.
    fn lead_others(&mut self, answer: &Auth) {
        let mut leader = (*self.base).clone();
        leader.merge_refreshed(&self.base, answer);
        self.coordinator.lead(&leader, &mut self.lock);
    }
}
