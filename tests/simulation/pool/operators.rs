//! The steps of a pool's world.

use std::sync::atomic::Ordering;

use super::callers::{Caller, Manner};
use super::files::{file_is_asked_for, file_is_deleted, file_is_made};
use super::keys::{
    disable, faults_are_marked, key_fails, key_fails_at_times, key_is_added, key_is_removed,
    key_is_replaced, key_is_well, limits_change, login_is_awaited, long_calls, pick,
    setting_is_wrong, use_up,
};
use super::models::list_changes;
use super::selector::DECLINES;
use super::upstream::MODELS;
use super::world::{PANICS, Pool};
use crate::random::Random;
use crate::steps::{Kind, pool_kind};

pub const KINDS: &[Kind] = &[
    pool_kind("time passes", 8, time_passes),
    pool_kind("a caller begins", 6, caller_begins),
    pool_kind("a caller ends", 2, caller_ends),
    pool_kind("one call", 6, one_call),
    pool_kind("many calls at once", 3, many_calls),
    pool_kind("a call is cancelled", 4, cancel),
    pool_kind("a key is added", 3, key_is_added),
    pool_kind("a key is removed", 1, key_is_removed),
    pool_kind("a key is disabled or enabled", 2, disable),
    pool_kind("a key fails always", 3, key_fails),
    pool_kind("a key fails at times", 3, key_fails_at_times),
    pool_kind("a key is well", 5, key_is_well),
    pool_kind("a key is replaced", 3, key_is_replaced),
    pool_kind("a key's setting is wrong", 3, setting_is_wrong),
    pool_kind("a key's limits change", 3, limits_change),
    pool_kind("a key's allowance is used up", 3, use_up),
    pool_kind("a key's list of models changes", 3, list_changes),
    pool_kind("a key serves long calls", 2, long_calls),
    pool_kind("the provider is down", 2, outage),
    pool_kind("the clock is set", 4, set_clock),
    pool_kind("the machine sleeps", 2, sleep),
    pool_kind("an operator resets", 2, reset),
    pool_kind("an operator cools down", 2, cool_down),
    pool_kind("a hook panics", 1, hook_panics),
    pool_kind("the selector declines", 1, selector_declines),
    pool_kind("hook and selector are well", 3, all_is_well),
    pool_kind("a login is awaited", 2, login_is_awaited),
    pool_kind("a call is about no model", 2, call_about_no_model),
    pool_kind("faults are marked", 2, faults_are_marked),
    pool_kind("a file is made", 4, file_is_made),
    pool_kind("a file is asked for", 5, file_is_asked_for),
    pool_kind("a file is deleted", 1, file_is_deleted),
];

fn time_passes(pool: &mut Pool, random: &mut Random) {
    let span = random.millis(&[300, 1_000, 3_000, 12_000, 40_000, 70_000]);
    pool.note(format!("{span:?} pass"));
    pool.advance(span);
}

fn caller_begins(pool: &mut Pool, random: &mut Random) {
    if pool.callers.len() < 16 {
        let manner = Manner::draw(random, &pool.files(), true);
        pool.start_caller(manner);
    }
}

fn caller_ends(pool: &mut Pool, random: &mut Random) {
    if let Some(caller) = random.pick(&pool.callers) {
        caller.stop.store(true, Ordering::SeqCst);
    }
}

fn one_call(pool: &mut Pool, random: &mut Random) {
    let manner = Manner::draw(random, &pool.files(), false);
    pool.start_caller(manner);
}

fn many_calls(pool: &mut Pool, random: &mut Random) {
    let manner = Manner::draw(random, &pool.files(), false);
    for _ in 0..=random.below(12) {
        pool.start_caller(manner.clone());
    }
}

/// It asks for a path that is not there, which no key can help.
fn call_about_no_model(pool: &mut Pool, random: &mut Random) {
    let status = *random.pick(&[404, 405, 400]).unwrap();
    pool.note(format!("a call about no model, which gets {status}"));
    pool.truth().lock().without_model = status;
    super::conclusion::check_no_model(pool, status);
}

fn cancel(pool: &mut Pool, random: &mut Random) {
    let now = pool.now();
    let in_a_call = |caller: &&Caller| caller.place.lock().call.is_some();
    let callers: Vec<_> = pool.callers.iter().filter(in_a_call).collect();
    if let Some(caller) = random.pick(&callers) {
        let mut place = caller.place.lock();
        let under = place.call.as_mut().unwrap();
        under.cancelled_at.get_or_insert(now);
        let (cancel, number) = (under.cancel.clone(), under.number);
        drop(place);
        pool.note(format!("call {number} is cancelled"));
        cancel.cancel();
    }
}

fn outage(pool: &mut Pool, random: &mut Random) {
    let span = random.millis(&[500, 3_000, 20_000, 90_000]);
    let until = pool.now() + span;
    pool.note(format!("the provider is down until {until:?}"));
    pool.truth().lock().outage_until = until;
}

fn set_clock(pool: &mut Pool, random: &mut Random) {
    let offsets = [
        0,
        3_000,
        -3_000,
        3_600_000,
        -3_600_000,
        -86_400_000,
        86_400_000,
    ];
    let offset = *random.pick(&offsets).unwrap();
    pool.note(format!("the wall clock is set to {offset} ms"));
    pool.clock.set_offset(offset);
    let now = pool.now();
    pool.truth().lock().clock_set = now;
}

/// Suspends the machine for a while.
fn sleep(pool: &mut Pool, random: &mut Random) {
    let span = random.millis(&[5_000, 60_000, 3_600_000]);
    pool.note(format!("the machine sleeps for {span:?}"));
    pool.ground.timeline.freeze(pool.ground.pid);
    let end = pool.now() + span;
    pool.ground.timeline.fire_next(end);
    pool.clock.add_sleep(span);
    pool.ground.timeline.thaw_all(pool.ground.pid, span);
    let now = pool.now();
    pool.truth().lock().slept = now;
}

fn reset(pool: &mut Pool, random: &mut Random) {
    if let Some(id) = pick(pool, random) {
        pool.note(format!("an operator resets {id}"));
        let _ = pool.ground.manager.reset(&id);
        let mut truth = pool.truth().lock();
        super::promises::forget_refusals(&mut truth, &id);
        // He may have mended what the pool does not see.
        truth.tried_unusable.remove(&id);
    }
}

fn cool_down(pool: &mut Pool, random: &mut Random) {
    if let Some(id) = pick(pool, random) {
        let model = random.pick(&MODELS).unwrap();
        pool.note(format!("an operator cools {id} down for {model}"));
        let span = random.millis(&[2_000, 20_000]);
        // His word counts, also where it is a shorter one.
        super::promises::forget_refusals(&mut pool.truth().lock(), &id);
        let _ = pool.ground.manager.cool_down(&id, Some(model), span);
    }
}

fn hook_panics(pool: &mut Pool, _: &mut Random) {
    pool.mischief.store(PANICS, Ordering::SeqCst);
}

fn selector_declines(pool: &mut Pool, _: &mut Random) {
    pool.mischief.store(DECLINES, Ordering::SeqCst);
}

fn all_is_well(pool: &mut Pool, _: &mut Random) {
    pool.mischief.store(0, Ordering::SeqCst);
}
