//! Promises about what a probe is told.

use std::time::Duration;

use super::{breach_all, running};
use crate::world::World;

pub fn health_tells_a_store_that_is_away(world: &mut World) {
    let Some(since) = world.away_since else {
        return;
    };
    let late = |from: Duration| world.now() > from + Duration::from_secs(5);
    let mut breaches = Vec::new();
    for process in running(world).filter(|one| late(one.began) && late(since) && late(one.thawed)) {
        let good = process.manager.refresh_health().is_good();
        if good && process.manager.store_health().is_good() {
            breaches.push(format!(
                "the health of p{} is good, and the store is away since {since:?}",
                process.pid
            ));
        }
    }
    breach_all(world, "health_tells_a_store_that_is_away", breaches);
}

pub fn health_is_good_when_all_is_well(world: &mut World) {
    let mut breaches = Vec::new();
    for process in running(world) {
        let (refreshes, store) = (
            process.manager.refresh_health(),
            process.manager.store_health(),
        );
        if !store.is_good() || !refreshes.unpersisted_rotation.is_empty() {
            breaches.push(format!("p{}: {store:?}, {refreshes:?}", process.pid));
        }
    }
    breach_all(world, "health_is_good_when_all_is_well", breaches);
}
