//! The end of a world: all faults end, every promise is checked, the processes shut down, and another one starts.

use std::time::Duration;

use credpool::Error;

use super::{IN_THE_END, breach_all, present, stored};
use crate::backend::Saving;
use crate::jobs::Change;
use crate::random::Random;
use crate::truth::{Presence, sent_token};
use crate::world::World;

/// Lets all faults end, and checks what must be so then.
pub fn conclude(world: &mut World) {
    let mut random = Random::seeded(0);
    crate::accidents::mount(world, &mut random);
    crate::accidents::store_is_well(world, &mut random);
    crate::accidents::thaw(world, &mut random);
    {
        let mut truth = world.truth().lock();
        truth.endpoint.moods.clear();
        truth.limited.clear();
        truth.note("all faults end");
    }
    // An editor takes no lock: what it saves between the look of a swap and its rename is lost, or loses what is swapped.
    world.rest();
    crate::editors::save_whole(world, &mut random);
    crate::elsewhere::refresh(world, Duration::from_secs(3600), Saving::ByRename);
    if world.processes.iter().all(Option::is_none) {
        world.start_process(0);
    }
    world.advance(Duration::from_secs(60));
    for check in IN_THE_END {
        check(world);
    }
    for place in 0..world.processes.len() {
        let ended = world.shut_down_process(place);
        every_credential_is_in_the_store_after_a_clean_shutdown(world, place, ended);
        world.drop_process(place);
    }
    the_next_start_has_every_login(world);
}

pub fn the_next_start_has_every_login(world: &mut World) {
    world.start_process(0);
    let ids = present(world, Presence::Present);
    for id in &ids {
        let asked = id.clone();
        let changes = vec![Change::Refreshed(id.clone())];
        world.start(0, format!("refresh {id}"), changes, move |manager| {
            manager.refresh_now(&asked).map(drop)
        });
        world.advance(Duration::from_secs(15));
    }
    let mut breaches = Vec::new();
    for id in ids {
        let truth = world.truth().lock();
        let expected = &truth.records[&id];
        let Some(grant) = expected.grant.filter(|_| !expected.is_copy) else {
            continue;
        };
        let login = &truth.endpoint.grants[grant];
        let is_excused = login.by_provider
            || login.beyond_bound
            || login.lost_at.max(truth.lost_at).is_some()
            || truth.has_lost_an_answer(grant);
        if login.revoked && !is_excused {
            breaches.push(format!(
                "grant {grant} of {id} is revoked, and no answer was lost"
            ));
        }
    }
    breach_all(
        world,
        "no_login_is_lost_while_every_answer_is_received",
        breaches,
    );
}

/// What a process had in memory is in the store once it has shut down without an error.
pub fn every_credential_is_in_the_store_after_a_clean_shutdown(
    world: &World,
    place: usize,
    ended: Option<Result<(), Error>>,
) {
    let (Some(ended), Some(process)) = (ended, &world.processes[place]) else {
        return;
    };
    let promise = "every_credential_is_in_the_store_after_a_clean_shutdown";
    let mut breaches = Vec::new();
    if let Err(error) = ended {
        breaches.push(format!("p{} does not shut down: {error}", process.pid));
    }
    for id in present(world, Presence::Present) {
        if world
            .half_saved
            .as_ref()
            .is_some_and(|(half, _)| *half == id)
        {
            continue;
        }
        let live = world.truth().lock().live_token(&id);
        let ours = process
            .manager
            .get_by_id(&id)
            .and_then(|auth| sent_token(&auth));
        let theirs = stored(world, &id).and_then(|auth| sent_token(&auth));
        if live.is_some() && ours == live && theirs != live {
            breaches.push(format!(
                "p{} had {ours:?} of {id}; the store has {theirs:?}",
                process.pid
            ));
        }
    }
    breach_all(world, promise, breaches);
}
