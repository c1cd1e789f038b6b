//! Promises about cooldowns.

use std::collections::BTreeSet;
use std::time::Duration;

use credpool::{Availability, CooldownSource, FailureKind, Manager};

use super::{breach_all, has_had_time, running};
use crate::executor::{MODEL, PROVIDER};
use crate::truth::REPAIRED;
use crate::world::World;

/// The credentials that are out because of a limit, or by the operator's word.
pub fn cooling(manager: &Manager) -> BTreeSet<String> {
    let standings = manager.explain(PROVIDER, MODEL).into_iter();
    standings
        .filter(|one| one.availability == Availability::Cooling)
        .filter(|one| {
            one.fault == Some(FailureKind::RateLimited)
                || one.origin == Some(CooldownSource::Operator)
        })
        .map(|one| one.auth_id.to_string())
        .collect()
}

/// The credentials that a call may get.
fn ready(manager: &Manager) -> BTreeSet<String> {
    let standings = manager.explain(PROVIDER, MODEL).into_iter();
    standings
        .filter(|one| one.availability == Availability::Ready)
        .map(|one| one.auth_id.to_string())
        .collect()
}

pub fn a_cooldown_lasts_no_longer_than_told(world: &mut World) {
    let mut breaches = Vec::new();
    let truth = world.truth().lock();
    let now = truth.now();
    for process in running(world) {
        let since = process.began.max(world.disturbed);
        for id in cooling(&process.manager) {
            let cooldowns = truth.cooldowns.get(&id).cloned().unwrap_or_default();
            let end = cooldowns.until.max(since + cooldowns.longest) + Duration::from_secs(4);
            if now > end && !process.clock.is_lost() {
                breaches.push(format!(
                    "p{} still keeps {id} out at {now:?}; what was told ended at {:?}",
                    process.pid, cooldowns.until
                ));
            }
        }
    }
    drop(truth);
    breach_all(world, "a_cooldown_lasts_no_longer_than_told", breaches);
}

pub fn a_reset_stays_until_a_newer_failure(world: &mut World) {
    if !world.backend.keeps_recoveries() && !world.clocks_agree() {
        // The state that was written last is believed, by the clock of its writer.
        return;
    }
    let calm = Duration::from_secs(6);
    let mut breaches = Vec::new();
    let truth = world.truth().lock();
    let now = truth.now();
    for process in running(world) {
        for id in cooling(&process.manager) {
            let cooldowns = truth.cooldowns.get(&id).cloned().unwrap_or_default();
            if world.plant.trouble.poisoned().as_ref() == Some(&id) {
                continue;
            }
            let Some(reset) = cooldowns.reset.filter(|reset| *reset > cooldowns.told) else {
                continue;
            };
            if now > reset + calm && now > world.disturbed + calm && now > process.began + calm {
                breaches.push(format!(
                    "p{} keeps {id} out, which was reset at {reset:?}",
                    process.pid
                ));
            }
        }
    }
    drop(truth);
    breach_all(world, "a_reset_stays_until_a_newer_failure", breaches);
}

/// What keeps a credential out in one process keeps it out in all.
pub fn every_process_sees_a_cooldown_within_seconds(world: &mut World) {
    if !world.clocks_agree() {
        return;
    }
    let cooling: Vec<_> = running(world)
        .map(|one| (one, cooling(&one.manager), ready(&one.manager)))
        .collect();
    let mut breaches = Vec::new();
    let truth = world.truth().lock();
    // Nor is a record taken over that does not read.
    let half_saved = world.half_saved.as_ref().map(|(id, _)| id.clone());
    let unseen = [world.plant.trouble.poisoned(), half_saved];
    for (id, cooldowns) in &truth.cooldowns {
        if unseen.iter().flatten().any(|unseen| unseen == id) {
            continue;
        }
        let is_out = cooling.iter().any(|(_, out, _)| out.contains(id));
        let ends_soon = cooldowns.last_until < truth.now() + Duration::from_secs(3);
        let changed = cooldowns.told.max(cooldowns.reset.unwrap_or_default());
        for (process, _, ready) in &cooling {
            // The news of a store's trouble are tried again with a pause.
            let is_written = truth.now() > truth.troubled_at + REPAIRED;
            let late = is_written && has_had_time(world, process, changed);
            if is_out && !ends_soon && late && ready.contains(id) {
                breaches.push(format!(
                    "p{} has not seen that {id} is out, since {:?}",
                    process.pid, cooldowns.told
                ));
            }
        }
    }
    drop(truth);
    breach_all(
        world,
        "every_process_sees_a_cooldown_within_seconds",
        breaches,
    );
}
