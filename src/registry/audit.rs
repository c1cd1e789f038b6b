//! An audit, for tests: where derived state disagrees with the records.

use std::sync::Arc;

use super::{Moment, Registry, State};
#[cfg(test)]
use crate::auth::HalfOpen;
use crate::clock::Timestamp;
use crate::health::Readiness;

impl Registry {
    /// Where a lane, or a count of credentials that may be unavailable, disagrees with the records at this moment.
    pub(crate) fn audit(&self, moment: Moment) -> Vec<String> {
        let mut state = self.state.lock();
        let now = state.now(moment);
        let known = state.by_id.len();
        let slots: Vec<u32> = state.by_id.values().map(|member| member.slot).collect();
        let mut found = Vec::new();
        if state.slots.iter().count() != known {
            found.push(format!("{known} ids for another number of records"));
        }
        for slot in slots {
            state.audit_record(slot, &mut found);
            state.audit_lanes(slot, now, &mut found);
        }
        found
    }

    /// How many probes are under way, over all credentials and models.
    #[cfg(test)]
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
    fn audit_record(&self, slot: u32, found: &mut Vec<String>) {
        let record = &self.slots[slot];
        let counted = self.troubled.iter().any(|troubled| troubled == slot);
        for (agrees, what) in [
            (record.troubled == record.may_be_out(), "may be out"),
            (record.troubled == counted, "is counted"),
            (
                record.place().is_some() != record.auth.disabled,
                "has a seat",
            ),
        ] {
            if !agrees {
                found.push(format!("whether {} {what}", record.id()));
            }
        }
    }

    fn audit_lanes(&mut self, slot: u32, now: Timestamp, found: &mut Vec<String>) {
        let Self {
            slots,
            pools,
            picks,
            ..
        } = self;
        let record = &slots[slot];
        let id = record.id();
        let Some(pool) = pools.get_mut(&*record.auth.provider) else {
            if record.place().is_some() {
                found.push(format!("{id} has no pool"));
            }
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
            if record.place().is_some() {
                let [told, own] = [lane.picked(slots, slot), record.picked(&model)];
                if told.sent_as != own.sent_as {
                    found.push(format!(
                        "{id} sends {model:?} as {:?}; the index says {:?}",
                        own.sent_as, told.sent_as
                    ));
                }
            }
            let end = lane.end_of(slot);
            if ready != (readiness == Readiness::Ready) || end != readiness.end() {
                found.push(format!(
                    "{id} for {model:?} at {now} is {readiness:?}; the index says ready: {ready}, until {end:?}"
                ));
            }
        }
    }
}
