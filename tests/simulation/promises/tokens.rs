//! Promises about tokens in the store and in memory.

use super::{breach_all, present, running, stored};
use crate::truth::{Presence, sent_token};
use crate::world::World;

/// The live refresh token of each login is in the store and in every process.
pub fn an_edit_never_loses_the_login(world: &mut World) {
    let mut breaches = Vec::new();
    for id in present(world, Presence::Present) {
        let Some(live) = world.truth().lock().live_token(&id) else {
            continue;
        };
        let token = stored(world, &id).and_then(|auth| sent_token(&auth));
        if token.as_ref() != Some(&live) {
            breaches.push(format!("the store has {token:?} of {id}; {live} is live"));
        }
        if world.truth().lock().was_just_renewed(&id) {
            // The others see it at their next look.
            continue;
        }
        for process in running(world) {
            let auth = process.manager.get_by_id(&id);
            let token = auth.and_then(|auth| sent_token(&auth));
            if token.as_ref() != Some(&live) {
                breaches.push(format!(
                    "p{} has {token:?} of {id}; {live} is live",
                    process.pid
                ));
            }
        }
    }
    breach_all(world, "an_edit_never_loses_the_login", breaches);
}

pub fn needs_login_ends_with_the_next_login(world: &mut World) {
    let mut breaches = Vec::new();
    for id in present(world, Presence::Present) {
        let Some(live) = world.truth().lock().live_token(&id) else {
            continue;
        };
        for process in running(world) {
            let Some(auth) = process.manager.get_by_id(&id) else {
                continue;
            };
            let told = process.manager.refresh_health().needs_login.contains(&id);
            let shown = auth.status_message == "needs login";
            if sent_token(&auth).as_ref() == Some(&live) && (told || shown) {
                breaches.push(format!("p{} says that {id} needs a login (health {told}, status {shown}); {live} is live", process.pid));
            }
        }
    }
    breach_all(world, "needs_login_ends_with_the_next_login", breaches);
}

pub fn a_token_used_from_memory_is_told_until_it_is_saved(world: &mut World) {
    let mut breaches = Vec::new();
    let mut truth = world.plant.truth.lock();
    for process in running(world) {
        let told = process.manager.refresh_health().unpersisted_rotation;
        for auth in process.manager.list() {
            let token = sent_token(&auth).unwrap_or_default();
            let is_own = truth
                .endpoint
                .token(&token)
                .is_some_and(|one| one.received.contains(&process.pid) && one.stored.is_none());
            // While a write hangs, its refresh has not come to its end.
            let hangs = world.plant.trouble.state().hangs;
            if is_own && !hangs && !told.contains(&auth.id) && !auth.is_runtime_only() {
                breaches.push(format!(
                    "p{} uses {token}, which no store has, and does not say so",
                    process.pid
                ));
            }
        }
    }
    drop(truth);
    breach_all(
        world,
        "a_token_used_from_memory_is_told_until_it_is_saved",
        breaches,
    );
}
