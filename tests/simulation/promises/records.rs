//! Promises about records: what was acknowledged stays, and everybody sees it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::{breach_all, has_had_time, present, running, stored};
use crate::truth::{Field, Presence};
use crate::world::World;

pub fn a_record_is_removed_only_by_its_removal(world: &mut World) {
    let mut truth = world.plant.truth.lock();
    let now = truth.now();
    for process in world.processes.iter_mut().flatten() {
        if process.frozen.is_some() {
            continue;
        }
        let listed: BTreeSet<String> = process
            .manager
            .list()
            .iter()
            .map(|auth| auth.id.clone())
            .collect();
        let gone: Vec<String> = process.seen.difference(&listed).cloned().collect();
        for id in gone {
            let expected = truth.records.get(&id);
            if expected.is_some_and(|one| one.presence == Presence::Present && one.since < now) {
                let what = format!(
                    "p{} no longer has {id}, which nobody has removed",
                    process.pid
                );
                truth.breach("a_record_is_removed_only_by_its_removal", what);
            }
        }
        process.seen = listed;
    }
}

pub fn a_store_that_lost_writes_gets_them_back(world: &mut World) {
    let mut breaches = Vec::new();
    for id in present(world, Presence::Present) {
        if stored(world, &id).is_none() {
            breaches.push(format!("the store does not have {id}"));
        }
    }
    breach_all(world, "a_store_that_lost_writes_gets_them_back", breaches);
}

pub fn a_removed_record_stays_removed(world: &mut World) {
    let mut breaches = Vec::new();
    for id in present(world, Presence::Removed) {
        if stored(world, &id).is_some() {
            breaches.push(format!("the store has {id} again, which was removed"));
        }
        for process in running(world).filter(|one| one.manager.get_by_id(&id).is_some()) {
            breaches.push(format!("p{} has {id}, which was removed", process.pid));
        }
    }
    breach_all(world, "a_removed_record_stays_removed", breaches);
}

pub fn acknowledged_changes_stay_until_somebody_changes_that_field(world: &mut World) {
    for id in present(world, Presence::Present) {
        let Some(auth) = stored(world, &id) else {
            continue;
        };
        let fields = world.truth().lock().records[&id].fields.clone();
        for (field, slot) in fields {
            let found = field.of(&auth);
            if slot
                .value
                .as_ref()
                .is_some_and(|value| !is_same(value, &found))
            {
                let promise = if field == Field::Disabled {
                    "what_the_operator_disabled_stays_disabled"
                } else {
                    "acknowledged_changes_stay_until_somebody_changes_that_field"
                };
                let what = format!(
                    "{field:?} of {id} is {found}, and should be {:?}",
                    slot.value
                );
                breach_all(world, promise, vec![what]);
            }
        }
    }
}

pub fn every_process_sees_what_is_in_the_store(world: &mut World) {
    let mut breaches = Vec::new();
    for auth in world
        .backend
        .look()
        .list()
        .map(|listing| listing.records)
        .unwrap_or_default()
    {
        for process in running(world) {
            let Some(ours) = process.manager.get_by_id(&auth.id) else {
                breaches.push(format!("p{} does not have {}", process.pid, auth.id));
                continue;
            };
            for field in Field::ALL {
                let (ours, theirs) = (field.of(&ours), field.of(&auth));
                if !is_same(&ours, &theirs) {
                    breaches.push(format!(
                        "p{} has {field:?} of {} = {ours}; the store has {theirs}",
                        process.pid, auth.id
                    ));
                }
            }
        }
    }
    breach_all(world, "every_process_sees_what_is_in_the_store", breaches);
}

pub fn every_process_sees_a_change_within_seconds(world: &mut World) {
    let mut breaches = Vec::new();
    let half_saved = world.half_saved.as_ref().map(|(id, _)| id.clone());
    for id in present(world, Presence::Present) {
        if half_saved.as_ref() == Some(&id) {
            continue;
        }
        let fields = world.truth().lock().records[&id].fields.clone();
        for process in running(world) {
            let Some(auth) = process.manager.get_by_id(&id) else {
                continue;
            };
            for (field, slot) in &fields {
                let found = field.of(&auth);
                let differs = slot
                    .value
                    .as_ref()
                    .is_some_and(|value| !is_same(value, &found));
                if differs && has_had_time(world, process, slot.at) {
                    breaches.push(format!(
                        "p{} has {field:?} of {id} = {found}; {:?} was acknowledged at {:?}",
                        process.pid, slot.value, slot.at
                    ));
                }
            }
        }
    }
    breach_all(
        world,
        "every_process_sees_a_change_within_seconds",
        breaches,
    );
}

pub fn idle_processes_write_nothing(world: &mut World) {
    for _ in 0..4 {
        let (writes, requests) = counts(world);
        let is_idle = {
            let truth = world.truth().lock();
            let endpoint = &truth.endpoint;
            endpoint.is_quiet() && truth.now() > endpoint.departed + SETTLED
        };
        world.advance(Duration::from_secs(10));
        let (writes_after, requests_after) = counts(world);
        if !is_idle || requests != requests_after {
            // A refresh writes.
            continue;
        }
        if writes != writes_after {
            let count = writes_after - writes;
            let what = format!("{count} writes in 10 s without a call or a refresh");
            breach_all(world, "idle_processes_write_nothing", vec![what]);
        }
        return;
    }
}

/// Until what a refresh has changed is written.
pub const SETTLED: Duration = Duration::from_secs(5);

pub fn counts(world: &World) -> (usize, usize) {
    let truth = world.truth().lock();
    (truth.writes, truth.endpoint.requests + truth.vain_refreshes)
}

/// An empty text and none are one.
pub fn is_same(one: &Value, other: &Value) -> bool {
    let none = |value: &Value| value.is_null() || value.as_str() == Some("");
    one == other || none(one) && none(other)
}
