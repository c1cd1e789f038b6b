//! An audit, for tests: whether all derived state agrees with the records.

use std::sync::Arc;

use super::{Moment, Registry, State};
use crate::auth::HalfOpen;
use crate::clock::Timestamp;
use crate::health::Readiness;

impl Registry {
    /// Panics where a lane, or a count of credentials that may be unavailable, disagrees with the records at this moment.
    pub(super) fn audit(&self, moment: Moment) {
        let mut state = self.state.lock();
        let now = state.now(moment);
        let known = state.by_id.len();
        let slots: Vec<u32> = state.by_id.values().map(|member| member.slot).collect();
        assert_eq!(state.slots.iter().count(), known);
        for slot in slots {
            state.audit_record(slot);
            state.audit_lanes(slot, now);
        }
    }

    /// How many probes are under way, over all credentials and models.
    pub(super) fn probes(&self) -> usize {
        let state = self.state.lock();
        let records = state.slots.iter().map(|record| &record.auth);
        let probes = records.map(|auth| {
            let models = auth.model_states.values().map(|state| &state.half_open);
            let all = models.chain([&auth.half_open, &auth.outage_half_open]);
            all.map(HalfOpen::probes).sum::<usize>()
        });
        probes.sum()
    }
}

impl State {
    fn audit_record(&self, slot: u32) {
        let record = &self.slots[slot];
        let id = record.id();
        assert_eq!(record.troubled, record.may_be_out(), "{id} may be out");
        let counted = self.troubled.iter().any(|troubled| troubled == slot);
        assert_eq!(counted, record.troubled, "{id} is counted");
        let seated = record.place().is_some();
        assert_eq!(seated, !record.auth.disabled, "{id} has a seat");
    }

    fn audit_lanes(&mut self, slot: u32, now: Timestamp) {
        let Self {
            slots,
            pools,
            picks,
            ..
        } = self;
        let record = &slots[slot];
        let id = record.id();
        let Some(pool) = pools.get_mut(&*record.auth.provider) else {
            assert!(record.place().is_none(), "{id} has a pool");
            return;
        };
        let models: Vec<Arc<str>> = pool.lanes.keys().cloned().collect();
        for model in models {
            let Some(mut lane) = pool.view(&model) else {
                continue;
            };
            lane.used(slots, *picks, now);
            let ready = record.seat().is_some_and(|seat| lane.is_ready(seat));
            let readiness = match record.seat() {
                Some(_) => record.readiness(&model, now),
                None => Readiness::Blocked,
            };
            let says = format!("{id} for {model:?} at {now}: {readiness:?}");
            assert_eq!(ready, readiness == Readiness::Ready, "{says}");
            assert_eq!(lane.end_of(slot), readiness.end(), "{says}");
        }
    }
}
