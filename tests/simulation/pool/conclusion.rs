//! What the pool promises of a time at which nothing is under way: the checks make calls of their own.

use std::sync::atomic::Ordering;
use std::time::Duration;

use credpool::{Availability, Error, Manager, Options, Outcome, Request};

use super::files;
use super::keys;
use super::models::NAMES;
use super::promises::is_refusal;
use super::selector::DECLINES;
use super::upstream::{MODELS, PROVIDER};
use super::world::Pool;
use crate::random::Random;

/// When all callers have stopped.
pub fn conclude(pool: &mut Pool) {
    let declined = pool.mischief.load(Ordering::SeqCst) == DECLINES;
    pool.calm_down();
    let (heard, attempts) = {
        let truth = pool.truth().lock();
        (truth.heard, truth.attempts)
    };
    if heard != attempts {
        let what = format!("{attempts} attempts, {heard} were told");
        pool.truth()
            .lock()
            .breach("each_attempt_is_told_to_the_hook_once", what);
    }
    let in_flight: usize = pool.truth().lock().in_flight.values().sum();
    assert_eq!(in_flight, 0, "the upstream has let go of all");
    for model in NAMES {
        for standing in pool.ground.manager.explain(PROVIDER, model) {
            let held = match standing.availability {
                Availability::Probing => true,
                // Nothing is under way: only the last minute counts.
                Availability::Busy => standing.until.is_none(),
                _ => false,
            };
            if held {
                pool.truth().lock().breach(
                    "no_permit_or_lease_is_held_without_a_call",
                    standing.to_string(),
                );
            }
            if standing.availability == Availability::Ready && !declined {
                check_pinned(pool, model, &standing.auth_id);
            }
        }
        if !declined && MODELS.contains(&model) {
            check_hint(pool, model);
        }
    }
    files::check_files(pool, &mut Random::seeded(pool.seed));
    check_faults(pool);
    check_long_calls(pool);
}

/// A key that is back after a refusal, and callers whose calls take long.
fn check_long_calls(pool: &mut Pool) {
    let mut random = Random::seeded(pool.seed);
    keys::only_keys_that_are_well(pool, 1);
    let latency = random.millis(&[15_000, 30_000, 45_000, 60_000]);
    let callers = 5 + random.below(16);
    let id = {
        let mut truth = pool.truth().lock();
        let (id, key) = truth.keys.iter_mut().next().unwrap();
        key.latency = latency;
        id.clone()
    };
    let told = Error::upstream(429, "slow down").with_retry_after(Duration::from_secs(1));
    let refused = Outcome::failure(&id, PROVIDER, MODELS[0], told);
    pool.ground.manager.mark_result(&refused);
    let call = |manager: &Manager| {
        let request = Request::new(MODELS[0], "{}");
        manager.execute([PROVIDER], &request, &Options::new())
    };
    let errors = pool.watch(move |manager| {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..callers)
                .map(|_| scope.spawn(|| call(manager)))
                .collect();
            let results = threads.into_iter().map(|thread| thread.join().unwrap());
            results.filter_map(Result::err).collect::<Vec<_>>()
        })
    });
    if let Some(error) = errors.first() {
        let what = format!(
            "{} of {callers} calls of {latency:?} fail, the first with {error}",
            errors.len()
        );
        let mut truth = pool.truth().lock();
        truth.breach("a_credential_that_is_back_serves_long_calls", what);
    }
}

/// Many calls of which one answer in twenty is a fault.
fn check_faults(pool: &mut Pool) {
    keys::only_keys_that_are_well(pool, 3);
    // An outage may have emptied the budget.
    errors_of(pool, CALLS_THAT_FILL_THE_BUDGET);
    for key in pool.truth().lock().keys.values_mut() {
        key.faults = 50;
    }
    let faults = |pool: &Pool| {
        let truth = pool.truth().lock();
        truth
            .sent
            .values()
            .flatten()
            .filter(|one| one.failed)
            .count()
    };
    let before = faults(pool);
    let errors = errors_of(pool, CALLS_WITH_FAULTS);
    // Chance may draw many more: then it is another rate.
    let is_one_in_twenty = faults(pool) - before <= CALLS_WITH_FAULTS * 3 / 40;
    if is_one_in_twenty && errors.len() > CALLS_WITH_FAULTS / 200 {
        let what = format!(
            "{} of {CALLS_WITH_FAULTS} calls fail, the first with {}",
            errors.len(),
            errors[0]
        );
        pool.truth().lock().breach(
            "of_calls_with_one_fault_in_twenty_answers_at_most_one_in_two_hundred_fails",
            what,
        );
    }
}

const CALLS_THAT_FILL_THE_BUDGET: usize = 200;
const CALLS_WITH_FAULTS: usize = 600;

/// What fails of so many calls, one after the other.
fn errors_of(pool: &Pool, calls: usize) -> Vec<Error> {
    pool.watch(move |manager| {
        let request = Request::new(MODELS[0], "{}");
        let options = Options::new();
        let calls = (0..calls).map(|_| manager.execute([PROVIDER], &request, &options));
        calls.filter_map(Result::err).collect()
    })
}

/// Asks a key until it is refused without being asked: it has been sent as much as it may be then.
pub fn check_allowance(pool: &Pool, model: &str, id: &str) {
    let mut refusals = (0..MOST_UNTIL_REFUSED).map(|_| ask_pinned(pool, model, id));
    let refused = refusals.find_map(|result| result.err().filter(is_refusal));
    drop(refusals);
    let mut truth = pool.truth().lock();
    let now = truth.now();
    let key = &truth.keys[id];
    let (rpm, tpm) = (key.rpm, key.tpm);
    let is_full = key.max_concurrent.is_some() && truth.in_flight.get(id).is_some_and(|n| *n > 0);
    let Some(error) = refused.filter(|_| !is_full) else {
        return;
    };
    // While it slept, no time passed for the pool.
    let slept = truth.slept + MINUTE_AND_A_SECOND > now;
    let lately = |at| slept || at + MINUTE_AND_A_SECOND > now;
    let minute = truth.sent.get(id).into_iter().flatten();
    let minute = minute.filter(|one| one.model == model && lately(one.at));
    let (requests, tokens) = minute.fold((0, 0), |(requests, tokens), one| {
        let used = if one.failed { 0 } else { one.tokens };
        (requests + 1, tokens + used)
    });
    let is_used_up = rpm.is_some_and(|most| requests >= most)
        || tpm.is_some_and(|most| tokens + LARGE.len() / 4 > most);
    if !is_used_up {
        let what = format!(
            "{id} was sent {requests} requests with {tokens} tokens in a minute, and then: {error}"
        );
        truth.breach("what_was_not_sent_uses_nothing_up", what);
    }
}

/// The minutes of the pool are of whole seconds.
const MINUTE_AND_A_SECOND: Duration = Duration::from_secs(61);

/// Ten tokens.
const LARGE: &str = r#"{"a request of ten": "tokens and more"}  "#;

/// A large call that does not wait, and can be served by one key alone.
pub fn ask_pinned(pool: &Pool, model: &str, id: &str) -> Result<(), Error> {
    let options = Options::new().with_pinned(id).with_max_attempts(1);
    let options = options.with_max_wait(Duration::ZERO);
    let request = Request::new(model, LARGE);
    pool.watch(move |manager| manager.execute([PROVIDER], &request, &options).map(drop))
}

/// What a call about no model does not find puts no credential out for such calls.
pub fn check_no_model(pool: &Pool, status: u16) {
    let out = || {
        let reports = pool.ground.manager.explain(PROVIDER, "").into_iter();
        let of_status = reports.filter(|report| {
            let error = report.error.as_ref().and_then(Error::http_status);
            report.availability == Availability::Cooling && error == Some(status)
        });
        of_status.collect::<Vec<_>>()
    };
    let before: Vec<_> = out().into_iter().map(|report| report.auth_id).collect();
    let _ = ask(pool, "", Options::new());
    let mut after = out().into_iter();
    if let Some(report) = after.find(|report| !before.contains(&report.auth_id)) {
        pool.truth().lock().breach(
            "what_a_call_about_no_model_does_not_find_puts_no_credential_out",
            report.to_string(),
        );
    }
}

/// The next call may be sent with who is said to be ready.
fn check_pinned(pool: &Pool, model: &str, id: &str) {
    let options = Options::new().with_pinned(id).with_max_attempts(1);
    let (result, is_sent) = ask(pool, model, options);
    if !is_sent {
        let what = format!("{id} is ready for {model}, and a call for it ends with {result:?}");
        let mut truth = pool.truth().lock();
        truth.breach("who_is_ready_is_asked", what);
    }
}

/// Calls, until one is refused without asking anybody.
fn check_hint(pool: &mut Pool, model: &str) {
    let mut refusals = (0..MOST_UNTIL_REFUSED).map(|_| ask(pool, model, Options::new()));
    let refused = refusals.find_map(|(result, is_sent)| result.err().filter(|_| !is_sent));
    drop(refusals);
    let Some(error) = refused else { return };
    let Some(wait) = error.retry_after().filter(|wait| *wait < LONGEST_HINT) else {
        return;
    };
    pool.advance(wait);
    let (result, is_sent) = ask(pool, model, Options::new());
    if !is_sent {
        let reports = pool.ground.manager.explain(PROVIDER, model);
        let reports: Vec<_> = reports.iter().map(ToString::to_string).collect();
        let reports = reports.join("; ");
        let what = format!("{error} (in {wait:?}); then for {model} {result:?}: {reports}");
        let mut truth = pool.truth().lock();
        truth.breach("a_call_at_the_time_that_a_refusal_names_is_sent", what);
    }
}

const MOST_UNTIL_REFUSED: usize = 40;
const LONGEST_HINT: Duration = Duration::from_secs(3600);

/// A call that does not wait, and whether anything was sent for it.
fn ask(pool: &Pool, model: &str, options: Options) -> (Result<(), Error>, bool) {
    let before = pool.truth().lock().attempts;
    let options = options.with_max_wait(Duration::ZERO);
    let request = Request::new(model, "{}");
    let result =
        pool.watch(move |manager| manager.execute([PROVIDER], &request, &options).map(drop));
    (result, pool.truth().lock().attempts > before)
}
