//! What the product promises, a function for each sentence.

pub mod calls;
pub mod conclusion;
pub mod cooldowns;
pub mod forgiven;
pub mod health;
pub mod records;
mod requests;
pub mod tokens;

use std::time::Duration;

use credpool::Auth;

use crate::elsewhere::{
    another_programs_file_is_as_that_program_wrote_it, another_programs_login_is_followed,
};
use crate::process::Process;
use crate::sealed::{a_sealed_store_shows_no_token, no_change_of_keys_loses_a_record};
use crate::truth::Presence;
use crate::world::World;
use cooldowns::{
    a_cooldown_lasts_no_longer_than_told, a_reset_stays_until_a_newer_failure,
    every_process_sees_a_cooldown_within_seconds,
};
use health::{health_is_good_when_all_is_well, health_tells_a_store_that_is_away};
use records::{
    a_record_is_removed_only_by_its_removal, a_removed_record_stays_removed,
    a_store_that_lost_writes_gets_them_back,
    acknowledged_changes_stay_until_somebody_changes_that_field,
    every_process_sees_a_change_within_seconds, every_process_sees_what_is_in_the_store,
    idle_processes_write_nothing,
};
use tokens::{
    a_token_used_from_memory_is_told_until_it_is_saved, an_edit_never_loses_the_login,
    needs_login_ends_with_the_next_login,
};

/// Checked after each step.
pub const ALWAYS: &[fn(&mut World)] = &[
    note_disturbance,
    a_record_is_removed_only_by_its_removal,
    a_cooldown_lasts_no_longer_than_told,
    a_reset_stays_until_a_newer_failure,
    health_tells_a_store_that_is_away,
    a_token_used_from_memory_is_told_until_it_is_saved,
    every_process_sees_a_change_within_seconds,
    every_process_sees_a_cooldown_within_seconds,
    a_sealed_store_shows_no_token,
    another_programs_file_is_as_that_program_wrote_it,
];

/// Checked when all faults have ended and every process has had the time to see what the others did.
pub const IN_THE_END: &[fn(&mut World)] = &[
    a_record_is_removed_only_by_its_removal,
    a_store_that_lost_writes_gets_them_back,
    a_removed_record_stays_removed,
    an_edit_never_loses_the_login,
    acknowledged_changes_stay_until_somebody_changes_that_field,
    every_process_sees_what_is_in_the_store,
    no_change_of_keys_loses_a_record,
    needs_login_ends_with_the_next_login,
    health_is_good_when_all_is_well,
    another_programs_login_is_followed,
    idle_processes_write_nothing,
];

pub fn running(world: &World) -> impl Iterator<Item = &Process> {
    let processes = world.processes.iter().flatten();
    processes.filter(|process| process.frozen.is_none())
}

fn note_disturbance(world: &mut World) {
    let frozen = world
        .processes
        .iter()
        .flatten()
        .any(|one| one.frozen.is_some());
    let now = world.now();
    if world.is_troubled() {
        world.truth().lock().troubled_at = now;
    }
    if world.is_troubled() || frozen {
        world.disturbed = world.now();
    }
}

/// Whether a process has had the time to see what happened at a moment.
fn has_had_time(world: &World, process: &Process, at: Duration) -> bool {
    let from = at
        .max(process.began)
        .max(process.thawed)
        .max(world.disturbed);
    world.now() > from + SEEN
}

/// With a reload interval of a second at most: an operator's change is seen within two.
pub const SEEN: Duration = Duration::from_millis(2_500);

pub fn breach_all(world: &World, promise: &'static str, breaches: Vec<String>) {
    let mut truth = world.truth().lock();
    for what in breaches {
        truth.breach(promise, what);
    }
}

fn stored(world: &World, id: &str) -> Option<Auth> {
    world.backend.look().load(id).ok().flatten()
}

pub fn present(world: &World, presence: Presence) -> Vec<String> {
    let truth = world.truth().lock();
    let records = truth.records.iter();
    records
        .filter(|(_, expected)| expected.presence == presence)
        .map(|(id, _)| id.clone())
        .collect()
}
