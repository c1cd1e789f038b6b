//! The steps of a pool's world.

use std::sync::atomic::Ordering;
use std::time::Duration;

use credpool::Auth;

use super::callers::{Caller, Manner};
use super::upstream::{Bucket, Hints, Key, MODELS, PROVIDER};
use super::world::{DECLINES, PANICS, Pool};
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
    pool_kind("a key serves long calls", 2, long_calls),
    pool_kind("the provider is down", 2, outage),
    pool_kind("the clock is set", 4, set_clock),
    pool_kind("the machine sleeps", 2, sleep),
    pool_kind("an operator resets", 2, reset),
    pool_kind("an operator cools down", 2, cool_down),
    pool_kind("a hook panics", 1, hook_panics),
    pool_kind("the selector declines", 1, selector_declines),
    pool_kind("hook and selector are well", 3, all_is_well),
];

fn time_passes(pool: &mut Pool, random: &mut Random) {
    let span = random.millis(&[300, 1_000, 3_000, 12_000, 40_000, 70_000]);
    pool.note(format!("{span:?} pass"));
    pool.advance(span);
}

fn caller_begins(pool: &mut Pool, random: &mut Random) {
    if pool.callers.len() < 16 {
        let manner = Manner::draw(random, true);
        pool.start_caller(manner);
    }
}

fn caller_ends(pool: &mut Pool, random: &mut Random) {
    if let Some(caller) = random.pick(&pool.callers) {
        caller.stop.store(true, Ordering::SeqCst);
    }
}

fn one_call(pool: &mut Pool, random: &mut Random) {
    let manner = Manner::draw(random, false);
    pool.start_caller(manner);
}

fn many_calls(pool: &mut Pool, random: &mut Random) {
    let manner = Manner::draw(random, false);
    for _ in 0..=random.below(12) {
        pool.start_caller(manner.clone());
    }
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

fn draw_key(random: &mut Random) -> Key {
    let limited = random.chance(1, 2);
    Key {
        bucket: limited.then(|| {
            let rates = [0.2, 1.0, 1.0, 5.0];
            Bucket::new(
                *random.pick(&rates).unwrap(),
                *random.pick(&[1.0, 3.0]).unwrap(),
            )
        }),
        hints: *random
            .pick(&[Hints::RetryAfter, Hints::Headers, Hints::None])
            .unwrap(),
        faults: *random.pick(&[0, 0, 0, 50, 300]).unwrap(),
        always: None,
        unusable: random.chance(1, 12),
        latency: random.millis(&[20, 100, 100, 2_000]),
        rpm: random.chance(1, 6).then_some(20),
        max_concurrent: random.chance(1, 5).then_some(1),
        disabled: false,
        tpm: random.chance(1, 6).then_some(60),
    }
}

/// Registers a key that is drawn.
pub fn add_key(pool: &mut Pool, random: &mut Random, number: usize) {
    let id = format!("key-{number:02}");
    let key = draw_key(random);
    pool.note(format!("{id} is registered: {key:?}"));
    pool.truth().lock().keys.insert(id.clone(), key.clone());
    pool.truth().lock().tried_unusable.remove(&id);
    pool.truth().lock().sent.remove(&id);
    let auth = record(&id, &key, random.next());
    pool.ground.manager.register(auth).unwrap();
}

fn record(id: &str, key: &Key, secret: u64) -> Auth {
    let mut auth = Auth::api_key(PROVIDER, format!("sk-{secret}"))
        .with_id(id)
        .runtime_only();
    let limits = [
        ("rpm", key.rpm),
        ("tpm", key.tpm),
        ("max_concurrent", key.max_concurrent),
    ];
    for (name, value) in limits {
        if let Some(value) = value {
            auth = auth.with_attribute(name, value.to_string());
        }
    }
    auth.disabled = key.disabled;
    auth
}

fn pick(pool: &Pool, random: &mut Random) -> Option<String> {
    let ids: Vec<_> = pool.truth().lock().keys.keys().cloned().collect();
    random.pick(&ids).cloned()
}

fn change(
    pool: &mut Pool,
    random: &mut Random,
    what: &str,
    change: impl FnOnce(&mut Key, &mut Random),
) {
    let Some(id) = pick(pool, random) else { return };
    let mut truth = pool.truth().lock();
    if let Some(key) = truth.keys.get_mut(&id) {
        change(key, random);
        let key = key.clone();
        truth.note(format!("{id} {what}: {key:?}"));
    }
}

fn key_is_added(pool: &mut Pool, random: &mut Random) {
    let number = random.below(10);
    let id = format!("key-{number:02}");
    // One that is there is changed by other steps; of one that was removed calls may be under way.
    if pool.truth().lock().sent.contains_key(&id) || pool.truth().lock().keys.contains_key(&id) {
        return;
    }
    add_key(pool, random, number);
}

fn key_is_removed(pool: &mut Pool, random: &mut Random) {
    if let Some(id) = pick(pool, random) {
        pool.note(format!("{id} is removed"));
        let _ = pool.ground.manager.remove(&id);
        pool.truth().lock().keys.remove(&id);
    }
}

fn disable(pool: &mut Pool, random: &mut Random) {
    let Some(id) = pick(pool, random) else { return };
    let disabled = random.chance(1, 2);
    let _ = pool.ground.manager.set_disabled(&id, disabled);
    let mut truth = pool.truth().lock();
    // Who enables it asks for another try.
    truth.tried_unusable.remove(&id);
    if let Some(key) = truth.keys.get_mut(&id) {
        key.disabled = disabled;
    }
    drop(truth);
    pool.note(format!("{id} is disabled: {disabled}"));
}

fn key_fails(pool: &mut Pool, random: &mut Random) {
    change(pool, random, "fails always", |key, random| {
        key.always = random.pick(&[401, 402, 403, 404, 429, 500, 503]).copied();
    });
}

fn key_fails_at_times(pool: &mut Pool, random: &mut Random) {
    change(pool, random, "fails at times", |key, random| {
        key.faults = *random.pick(&[10, 50, 300]).unwrap();
    });
}

fn key_is_well(pool: &mut Pool, random: &mut Random) {
    change(pool, random, "is well", |key, _| {
        key.always = None;
        key.faults = 0;
        key.latency = Duration::from_millis(100);
    });
}

/// Another key under the same id.
fn key_is_replaced(pool: &mut Pool, random: &mut Random) {
    let Some(id) = pick(pool, random) else { return };
    let key = {
        let mut truth = pool.truth().lock();
        truth.tried_unusable.remove(&id);
        let key = truth.keys.get_mut(&id).unwrap();
        key.always = None;
        key.unusable = false;
        key.clone()
    };
    pool.note(format!("{id} is replaced: {key:?}"));
    pool.ground
        .manager
        .register(record(&id, &key, random.next()))
        .unwrap();
}

fn setting_is_wrong(pool: &mut Pool, random: &mut Random) {
    let Some(id) = pick(pool, random) else { return };
    let key = {
        let mut truth = pool.truth().lock();
        truth.tried_unusable.remove(&id);
        let key = truth.keys.get_mut(&id).unwrap();
        key.unusable = true;
        key.clone()
    };
    pool.note(format!("{id} gets a wrong setting"));
    pool.ground
        .manager
        .register(record(&id, &key, random.next()))
        .unwrap();
}

fn limits_change(pool: &mut Pool, random: &mut Random) {
    change(pool, random, "has other limits", |key, random| {
        let drawn = draw_key(random);
        key.bucket = drawn.bucket;
        key.hints = drawn.hints;
    });
}

/// A key that has a wrong setting for a moment, which is tried, and is well then, is asked as often as it may be.
fn use_up(pool: &mut Pool, random: &mut Random) {
    let of_use = |(id, key): (&String, &Key)| {
        let limited = key.rpm.is_some() || key.tpm.is_some();
        (limited && !key.disabled).then(|| id.clone())
    };
    let ids: Vec<_> = pool.truth().lock().keys.iter().filter_map(of_use).collect();
    let (Some(id), Some(model)) = (random.pick(&ids), random.pick(&MODELS)) else {
        return;
    };
    let is_down = pool.now() < pool.truth().lock().outage_until;
    if is_down || pool.mischief.load(Ordering::SeqCst) == DECLINES {
        return;
    }
    pool.note(format!("{id} is used up for {model}"));
    set_again(pool, random, id, |key| key.unusable = true);
    let _ = super::conclusion::ask_pinned(pool, model, id);
    set_again(pool, random, id, |key| {
        key.unusable = false;
        key.always = None;
        key.faults = 0;
        key.bucket = None;
        key.latency = Duration::from_millis(20);
    });
    let _ = pool.ground.manager.reset(id);
    super::conclusion::check_allowance(pool, model, id);
}

/// Another key under the same id, with other properties.
fn set_again(pool: &Pool, random: &mut Random, id: &str, change: impl FnOnce(&mut Key)) {
    let key = {
        let mut truth = pool.truth().lock();
        truth.tried_unusable.remove(id);
        super::promises::forget_told(&mut truth, id);
        let key = truth.keys.get_mut(id).unwrap();
        change(key);
        key.clone()
    };
    let record = record(id, &key, random.next());
    pool.ground.manager.register(record).unwrap();
}

/// In place of all others: three keys that are well.
pub fn only_keys_that_are_well(pool: &mut Pool) {
    let mut truth = pool.truth().lock();
    let former = std::mem::take(&mut truth.keys);
    truth.outage_until = Duration::ZERO;
    drop(truth);
    for id in former.keys() {
        let _ = pool.ground.manager.remove(id);
    }
    for number in 0..3 {
        let key = Key {
            bucket: None,
            hints: Hints::None,
            faults: 0,
            always: None,
            unusable: false,
            latency: Duration::from_millis(20),
            rpm: None,
            tpm: None,
            max_concurrent: None,
            disabled: false,
        };
        let id = format!("even-{number}");
        let record = record(&id, &key, number);
        pool.truth().lock().keys.insert(id, key);
        pool.ground.manager.register(record).unwrap();
    }
}

fn long_calls(pool: &mut Pool, random: &mut Random) {
    change(pool, random, "serves long calls", |key, random| {
        key.latency = random.millis(&[15_000, 45_000]);
    });
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
        super::promises::forget_told(&mut truth, &id);
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
        super::promises::forget_told(&mut pool.truth().lock(), &id);
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
