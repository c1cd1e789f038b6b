//! What befalls stores, endpoints, processes and clocks.

use crate::endpoint::{Lifetime, Mood};
use crate::promises;
use crate::random::Random;
use crate::steps::{pick_record, pick_running, running};
use crate::world::World;

pub fn unmount(world: &mut World, _: &mut Random) {
    if !world.unmounted && !world.is_troubled() && world.backend.unmount() {
        world.note("the store is unmounted");
        world.unmounted = true;
    }
}

pub fn mount(world: &mut World, _: &mut Random) {
    if std::mem::take(&mut world.unmounted) {
        world.note("the store is mounted again");
        world.backend.mount();
        promises::forgiven::expect_lost_writes(world);
    }
}

fn set_mood(world: &World, mood: Mood) {
    world.note(format!("the endpoint will: {mood:?}"));
    world.truth().lock().endpoint.moods.push_back(mood);
}

pub fn endpoint_hangs(world: &mut World, random: &mut Random) {
    set_mood(world, Mood::Answer(random.millis(&[3_000, 8_000, 20_000])));
}

pub fn answer_is_lost(world: &mut World, random: &mut Random) {
    let after = random.millis(&[50, 1_000, 5_000]);
    let mood = if random.chance(1, 2) {
        Mood::LostAfter(after)
    } else {
        Mood::LostBefore(after)
    };
    set_mood(world, mood);
}

pub fn endpoint_refuses(world: &mut World, random: &mut Random) {
    let mood = if random.chance(1, 2) {
        Mood::Unavailable
    } else {
        Mood::TooMany(random.millis(&[2_000, 20_000, 60_000]))
    };
    set_mood(world, mood);
}

pub fn odd_lifetime(world: &mut World, random: &mut Random) {
    let odd = [None, Some(0), Some(1), Some(u64::from(u32::MAX))];
    set_mood(world, Mood::Lifetime(Lifetime(*random.pick(&odd).unwrap())));
}

pub fn revoke(world: &mut World, random: &mut Random) {
    let Some(id) = pick_record(world, random) else {
        return;
    };
    let mut truth = world.truth().lock();
    let grant = truth.records.get(&id).and_then(|expected| expected.grant);
    if let Some(grant) = grant {
        let revoked = &mut truth.endpoint.grants[grant];
        (revoked.revoked, revoked.by_provider) = (true, true);
        truth.note(format!("the provider revokes grant {grant} of {id}"));
    }
}

pub fn upstream_limits(world: &mut World, random: &mut Random) {
    let Some(id) = pick_record(world, random) else {
        return;
    };
    let length = random.millis(&[2_000, 15_000, 60_000]);
    let mut truth = world.truth().lock();
    let end = truth.now() + length;
    truth.note(format!("the upstream limits {id} for {length:?}"));
    truth.limited.insert(id, end);
}

pub fn store_is_away(world: &mut World, _: &mut Random) {
    if !world.is_troubled() {
        world.note("the store is away");
        world.plant.trouble.set(|state| state.fails = true);
        world.away_since = Some(world.now());
    }
}

pub fn store_is_full(world: &mut World, _: &mut Random) {
    if !world.is_troubled() {
        world.note("the store is full");
        world.plant.trouble.set(|state| state.full = true);
    }
}

pub fn store_hangs(world: &mut World, _: &mut Random) {
    if !world.is_troubled() {
        world.note("writes to the store hang");
        world.plant.trouble.set(|state| state.hangs = true);
    }
}

/// One record cannot be saved: a directory in its place, another owner.
pub fn record_cannot_be_saved(world: &mut World, random: &mut Random) {
    if world.plant.trouble.poisoned().is_some() {
        return;
    }
    if let Some(id) = pick_record(world, random) {
        world.note(format!("{id} cannot be saved"));
        world.plant.trouble.poison(Some(id));
    }
}

pub fn store_is_well(world: &mut World, _: &mut Random) {
    if let Some(id) = world.plant.trouble.poisoned() {
        world.note(format!("{id} can be saved again"));
        world.plant.trouble.poison(None);
        world.disturbed = world.now();
    }
    if world.plant.trouble.is_present() {
        world.note("the store is well again");
        world.plant.trouble.end();
        world.away_since = None;
    }
}

pub fn last_write_is_lost(world: &mut World, _: &mut Random) {
    if world.backend.lose_last_write() {
        world.note("the store loses its last write");
        promises::forgiven::expect_lost_writes(world);
    }
}

pub fn all_is_lost(world: &mut World, _: &mut Random) {
    if world.backend.lose_all() {
        world.note("the store loses everything");
        promises::forgiven::expect_lost_writes(world);
    }
}

pub fn snapshot(world: &mut World, _: &mut Random) {
    if world.backend.take_snapshot() {
        world.note("a replica is up to date");
        world.has_snapshot = true;
    }
}

pub fn fail_over(world: &mut World, _: &mut Random) {
    if world.has_snapshot {
        world.note("the store fails over to the replica");
        world.backend.fail_over();
        promises::forgiven::expect_lost_writes(world);
    }
}

pub fn locks_are_forgotten(world: &mut World, _: &mut Random) {
    if world.backend.forget_locks() {
        world.note("the store restarts: its locks are free");
    }
}

pub fn kill(world: &mut World, random: &mut Random) {
    let place = random.below(world.processes.len());
    world.kill_process(place);
}

/// Starts what does not run. A program that finds no store does not start.
pub fn start(world: &mut World, _: &mut Random) {
    if world.plant.trouble.is_present() {
        return;
    }
    if let Some(place) = world.processes.iter().position(Option::is_none) {
        world.start_process(place);
    }
}

/// A clean end, and a new beginning.
pub fn restart(world: &mut World, random: &mut Random) {
    if world.is_troubled() || world.plant.trouble.poisoned().is_some() {
        return;
    }
    let Some(place) = pick_running(world, random) else {
        return;
    };
    let ended = world.shut_down_process(place);
    promises::conclusion::every_credential_is_in_the_store_after_a_clean_shutdown(
        world, place, ended,
    );
    world.drop_process(place);
    world.start_process(place);
}

/// SIGSTOP, or a machine that sleeps. The one that stands still is not always alone.
pub fn freeze(world: &mut World, random: &mut Random) {
    let asleep = random.chance(1, 2);
    if let Some(place) = pick_running(world, random) {
        let plant = world.plant.clone();
        let process = world.processes[place].as_mut().unwrap();
        process.freeze(&plant, asleep);
        let pid = process.pid;
        world.note(format!("p{pid} stands still (asleep: {asleep})"));
        world.advance(random.millis(&[0, 2_000, 8_000, 15_000]));
    }
}

pub fn thaw(world: &mut World, _: &mut Random) {
    let plant = world.plant.clone();
    let mut thawed = Vec::new();
    for process in world.processes.iter_mut().flatten() {
        if process.frozen.is_some() {
            process.thaw(&plant);
            thawed.push(process.pid);
        }
    }
    if !thawed.is_empty() {
        world.note(format!("{thawed:?} go on"));
    }
}

/// A wall clock is set: by a little, or by a day.
pub fn set_clock(world: &mut World, random: &mut Random) {
    let places = running(world);
    let offsets = [0, 1_000, -5_000, 60_000, -600_000, 86_400_000, -86_400_000];
    if let (Some(place), Some(offset)) = (random.pick(&places), random.pick(&offsets)) {
        let process = world.processes[*place].as_ref().unwrap();
        process.clock.set_offset(*offset);
        world.note(format!(
            "the clock of p{} is set to {offset} ms",
            process.pid
        ));
    }
}
