//! The steps about keys: what they are worth, what the pool knows of them, and others under the same id.

use std::sync::atomic::Ordering;
use std::time::Duration;

use credpool::{Auth, Availability, Clock, Error, FailureKind, Outcome, Status, Timestamp};

use super::conclusion::{ask_pinned, check_allowance};
use super::promises::forget_refusals;
use super::selector::DECLINES;
use super::upstream::{Bucket, Hints, Key, MODELS, PROVIDER};
use super::world::Pool;
use crate::random::Random;

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
        pending: false,
        tpm: random.chance(1, 6).then_some(60),
        models: super::models::draw(random),
    }
}

/// Registers a key that is drawn.
pub fn add_key(pool: &mut Pool, random: &mut Random, number: usize) {
    let id = format!("key-{number:02}");
    let key = draw_key(random);
    add(pool, random, &id, &key);
}

fn add(pool: &Pool, random: &mut Random, id: &str, key: &Key) {
    note_change(pool, id);
    pool.note(format!("{id} is registered: {key:?}"));
    pool.truth().lock().keys.insert(id.to_owned(), key.clone());
    pool.truth().lock().tried_unusable.remove(id);
    pool.truth().lock().sent.remove(id);
    let auth = record(id, key, random.next());
    pool.ground.manager.register(auth).unwrap();
    pool.truth().lock().tried_unusable.remove(id);
}

fn record(id: &str, key: &Key, secret: u64) -> Auth {
    let mut auth = if key.pending {
        Auth::new(PROVIDER)
    } else {
        Auth::api_key(PROVIDER, format!("sk-{secret}"))
    };
    auth = auth.with_id(id).runtime_only();
    if key.pending {
        auth.status = Status::Pending;
    }
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
    if let Some(list) = key.models {
        auth = auth.with_attribute("models", list.text);
    }
    auth.disabled = key.disabled;
    auth
}

/// A key that is to be changed.
pub fn pick(pool: &Pool, random: &mut Random) -> Option<String> {
    let ids: Vec<_> = pool.truth().lock().keys.keys().cloned().collect();
    let id = random.pick(&ids)?;
    note_change(pool, id);
    Some(id.clone())
}

fn note_change(pool: &Pool, id: &str) {
    let mut truth = pool.truth().lock();
    let now = truth.now();
    truth.changed.insert(id.to_owned(), now);
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

pub fn key_is_added(pool: &mut Pool, random: &mut Random) {
    let number = random.below(10);
    let id = format!("key-{number:02}");
    // One that is there is changed by other steps; of one that was removed calls may be under way.
    if pool.truth().lock().sent.contains_key(&id) || pool.truth().lock().keys.contains_key(&id) {
        return;
    }
    add_key(pool, random, number);
}

/// A record of a login that a person has yet to complete.
pub fn login_is_awaited(pool: &mut Pool, random: &mut Random) {
    let id = format!("login-{:02}", random.below(3));
    if pool.truth().lock().keys.contains_key(&id) || pool.truth().lock().sent.contains_key(&id) {
        return;
    }
    let key = Key {
        pending: true,
        ..draw_key(random)
    };
    add(pool, random, &id, &key);
}

pub fn key_is_removed(pool: &mut Pool, random: &mut Random) {
    if let Some(id) = pick(pool, random) {
        pool.note(format!("{id} is removed"));
        let _ = pool.ground.manager.remove(&id);
        pool.truth().lock().keys.remove(&id);
    }
}

pub fn disable(pool: &mut Pool, random: &mut Random) {
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

pub fn key_fails(pool: &mut Pool, random: &mut Random) {
    change(pool, random, "fails always", |key, random| {
        key.always = random.pick(&[401, 402, 403, 404, 429, 500, 503]).copied();
    });
}

pub fn key_fails_at_times(pool: &mut Pool, random: &mut Random) {
    change(pool, random, "fails at times", |key, random| {
        key.faults = *random.pick(&[10, 50, 300]).unwrap();
    });
}

pub fn key_is_well(pool: &mut Pool, random: &mut Random) {
    change(pool, random, "is well", |key, _| {
        key.always = None;
        key.faults = 0;
        key.latency = Duration::from_millis(100);
    });
}

/// Another key under the same id.
pub fn key_is_replaced(pool: &mut Pool, random: &mut Random) {
    let Some(id) = pick(pool, random) else { return };
    let key = {
        let mut truth = pool.truth().lock();
        truth.tried_unusable.remove(&id);
        let key = truth.keys.get_mut(&id).unwrap();
        key.always = None;
        key.unusable = false;
        key.pending = false;
        let key = key.clone();
        // A call that waits asks it at once.
        forget_refusals(&mut truth, &id);
        key
    };
    pool.note(format!("{id} is replaced: {key:?}"));
    pool.ground
        .manager
        .register(record(&id, &key, random.next()))
        .unwrap();
    forget_refusals(&mut pool.truth().lock(), &id);
    check_replaced(pool, &id);
}

fn check_replaced(pool: &Pool, id: &str) {
    for model in MODELS {
        let reports = pool.ground.manager.explain(PROVIDER, model).into_iter();
        for report in reports.filter(|report| &*report.auth_id == id) {
            // A rate limit may be one of the account.
            let of_the_key = matches!(
                report.fault,
                Some(FailureKind::Unauthorized | FailureKind::Forbidden | FailureKind::Billing)
            );
            if of_the_key && report.availability == Availability::Cooling {
                pool.truth().lock().breach(
                    "another_key_ends_what_the_former_was_refused_for",
                    format!("for {model}, {report}"),
                );
            }
        }
    }
}

/// The program tells of attempts that it has made itself: one fault after the other, of several kinds.
pub fn faults_are_marked(pool: &mut Pool, random: &mut Random) {
    let (Some(id), Some(model)) = (pick(pool, random), random.pick(&MODELS)) else {
        return;
    };
    {
        let mut truth = pool.truth().lock();
        let key = &truth.keys[&id];
        if key.disabled || key.pending || key.unusable || key.sent_as(model).is_none() {
            return;
        }
        forget_refusals(&mut truth, &id);
        let now = truth.now();
        truth.marked.insert(id.clone(), now);
    }
    for _ in 0..2 + random.below(3) {
        let (fault, least) = draw_fault(random);
        pool.note(format!("{id} is marked for {model}: {fault}"));
        pool.truth().lock().attempts += 1;
        let former = out_until(pool, model, &id);
        let outcome = Outcome::failure(&id, PROVIDER, model, fault);
        pool.ground.manager.mark_result(&outcome);
        let now = pool.clock.now();
        let due = former.max(Some(now + least)).filter(|due| *due > now);
        let ends = out_until(pool, model, &id);
        if ends < due {
            let standings = pool.ground.manager.explain(PROVIDER, model);
            let shown: Vec<_> = standings.iter().map(ToString::to_string).collect();
            let what = format!(
                "{id} is out for {model} until {ends:?}, and not until {due:?}: {}",
                shown.join("; ")
            );
            let mut truth = pool.truth().lock();
            truth.breach("a_cooldown_is_not_swallowed_by_another", what);
        }
    }
}

/// An error, and for how long it puts a key out at least.
fn draw_fault(random: &mut Random) -> (Error, Duration) {
    let status = *random.pick(&[401, 402, 403, 404, 429, 500, 503]).unwrap();
    let error = Error::upstream(status, "this key fails");
    match status {
        401..=404 => (error, Duration::from_secs(60)),
        429 => {
            let wait = random.millis(&[2_000, 20_000, 90_000]);
            (error.with_retry_after(wait), wait)
        }
        _ => (error, Duration::ZERO),
    }
}

fn out_until(pool: &Pool, model: &str, id: &str) -> Option<Timestamp> {
    let mut reports = pool.ground.manager.explain(PROVIDER, model).into_iter();
    let report = reports.find(|report| &*report.auth_id == id)?;
    // A probe that began before does not end it.
    let is_out = matches!(
        report.availability,
        Availability::Cooling | Availability::Probing
    );
    report.until.filter(|_| is_out)
}

pub fn setting_is_wrong(pool: &mut Pool, random: &mut Random) {
    let Some(id) = pick(pool, random) else { return };
    let key = {
        let mut truth = pool.truth().lock();
        truth.tried_unusable.remove(&id);
        let key = truth.keys.get_mut(&id).unwrap();
        key.unusable = true;
        key.pending = false;
        key.clone()
    };
    forget_refusals(&mut pool.truth().lock(), &id);
    pool.note(format!("{id} gets a wrong setting"));
    pool.ground
        .manager
        .register(record(&id, &key, random.next()))
        .unwrap();
    // What was tried meanwhile was tried with the former setting.
    pool.truth().lock().tried_unusable.remove(&id);
}

pub fn limits_change(pool: &mut Pool, random: &mut Random) {
    change(pool, random, "has other limits", |key, random| {
        let drawn = draw_key(random);
        key.bucket = drawn.bucket;
        key.hints = drawn.hints;
    });
}

/// A key that has a wrong setting for a moment, which is tried, and is well then, is asked as often as it may be.
pub fn use_up(pool: &mut Pool, random: &mut Random) {
    let of_use = |(id, key): (&String, &Key)| {
        let limited = key.rpm.is_some() || key.tpm.is_some();
        (limited && !key.disabled && !key.pending).then(|| id.clone())
    };
    let ids: Vec<_> = pool.truth().lock().keys.iter().filter_map(of_use).collect();
    let (Some(id), Some(model)) = (random.pick(&ids), random.pick(&MODELS)) else {
        return;
    };
    if pool.truth().lock().keys[id].sent_as(model) != Some(*model) {
        return;
    }
    let is_down = pool.now() < pool.truth().lock().outage_until;
    if is_down || pool.mischief.load(Ordering::SeqCst) == DECLINES {
        return;
    }
    pool.note(format!("{id} is used up for {model}"));
    set_again(pool, random, id, |key| key.unusable = true);
    let _ = ask_pinned(pool, model, id);
    set_again(pool, random, id, |key| {
        key.unusable = false;
        key.always = None;
        key.faults = 0;
        key.bucket = None;
        key.latency = Duration::from_millis(20);
    });
    let _ = pool.ground.manager.reset(id);
    check_allowance(pool, model, id);
}

/// Another key under the same id, with other properties.
fn set_again(pool: &Pool, random: &mut Random, id: &str, change: impl FnOnce(&mut Key)) {
    note_change(pool, id);
    let key = {
        let mut truth = pool.truth().lock();
        truth.tried_unusable.remove(id);
        forget_refusals(&mut truth, id);
        let key = truth.keys.get_mut(id).unwrap();
        change(key);
        key.clone()
    };
    let record = record(id, &key, random.next());
    pool.ground.manager.register(record).unwrap();
    pool.truth().lock().tried_unusable.remove(id);
}

/// In place of all others: so many keys that are well.
pub fn only_keys_that_are_well(pool: &mut Pool, count: u64) {
    let mut truth = pool.truth().lock();
    let former = std::mem::take(&mut truth.keys);
    truth.outage_until = Duration::ZERO;
    drop(truth);
    for id in former.keys() {
        let _ = pool.ground.manager.remove(id);
    }
    for number in 0..count {
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
            pending: false,
            models: None,
        };
        let id = format!("even-{number}");
        let record = record(&id, &key, number);
        pool.truth().lock().keys.insert(id, key);
        pool.ground.manager.register(record).unwrap();
    }
}

pub fn long_calls(pool: &mut Pool, random: &mut Random) {
    change(pool, random, "serves long calls", |key, random| {
        key.latency = random.millis(&[15_000, 45_000]);
    });
}
