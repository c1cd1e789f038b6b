//! What the pool promises, a function for each sentence.

use std::sync::atomic::Ordering;
use std::time::Duration;

use credpool::{Availability, Error, ErrorCode, Options, Request};

use super::callers::{Caller, Ground, Manner, Under};
use super::operators;
use super::upstream::{Key, MODELS, PROVIDER, Sent, Truth};
use super::world::{DECLINES, Pool};

/// A call that has ended.
pub struct Ended<'a> {
    pub under: Under,
    pub manner: &'a Manner,
    pub result: Result<u32, Error>,
    /// Who was ready when it ended.
    pub ready: Vec<String>,
}

/// What may come late.
const GRACE: Duration = Duration::from_millis(100);

/// At any moment at which everything waits.
pub fn check_waits(pool: &Pool) {
    let now = pool.now();
    let mut breaches = Vec::new();
    for caller in &pool.callers {
        let Some(under) = caller.place.lock().call.clone() else {
            continue;
        };
        if pool.truth().lock().slept >= under.began {
            // Its clock stood still meanwhile.
            continue;
        }
        let number = under.number;
        if let Some(timeout) = under.timeout
            && now > under.began + timeout + GRACE
        {
            breaches.push((
                "a_call_returns_within_its_timeout",
                format!(
                    "call {number} is {:?} old, its timeout is {timeout:?}",
                    now.saturating_sub(under.began)
                ),
            ));
        }
        if let Some(at) = under.cancelled_at
            && now > at + GRACE
        {
            breaches.push((
                "a_cancelled_call_returns_at_once",
                format!(
                    "call {number} was cancelled {:?} ago",
                    now.saturating_sub(at)
                ),
            ));
        }
    }
    let mut truth = pool.truth().lock();
    for (promise, what) in breaches {
        if !truth.breaches.iter().any(|known| known.promise == promise) {
            truth.breach(promise, what);
        }
    }
}

/// At any moment at which everything waits: a key that a call has been told to leave alone is asked again after that, where others wait.
pub fn check_returns(pool: &Pool) {
    if pool.mischief.load(Ordering::SeqCst) == DECLINES {
        return;
    }
    let now = pool.now();
    let under = |caller: &Caller| caller.place.lock().call.clone();
    let under: Vec<_> = pool.callers.iter().filter_map(under).collect();
    let mut truth = pool.truth().lock();
    let mut breaches = Vec::new();
    for (id, key) in &truth.keys {
        let is_free = truth.in_flight.get(id).is_none_or(|count| *count == 0);
        let may_serve = !key.disabled && !key.unusable && key.rpm.or(key.tpm).is_none();
        let sent = truth.sent.get(id).map_or(&[][..], Vec::as_slice);
        let Some((last, (at, wait))) = sent.last().and_then(|last| Some((last, last.told?))) else {
            continue;
        };
        let returns = at + wait + wait.mul_f64(JITTER) + GRACE;
        let due = if is_busy(pool, &last.model, id) {
            returns + SLOWEST_PACE
        } else {
            returns
        };
        if now <= due || !is_free || !may_serve || truth.clock_set >= at || truth.slept >= at {
            continue;
        }
        // What has asked others may have to let time pass for those.
        let waits = |under: &&Under| {
            let mut all = truth.sent.values().flatten();
            under.model == last.model
                && under.began + GRACE < now
                && !all.any(|sent| sent.call == under.number)
        };
        if let Some(under) = under.iter().find(waits) {
            let late = now.saturating_sub(at + wait);
            let number = under.number;
            breaches.push(format!(
                "call {number} waits, and {id} is not asked {late:?} after it should be"
            ));
        }
    }
    for what in breaches {
        let promise = "a_credential_is_asked_again_when_the_server_said_where_calls_wait";
        if !truth.breaches.iter().any(|known| known.promise == promise) {
            truth.breach(promise, what);
        }
    }
}

/// By which part of itself chance lengthens a wait at most.
const JITTER: f64 = 0.1;

/// Where the pool has learnt how often a key is served, it lets so much time pass between two requests at most.
const SLOWEST_PACE: Duration = Duration::from_secs(30);

fn is_busy(pool: &Pool, model: &str, id: &str) -> bool {
    let standings = pool.ground.manager.explain(PROVIDER, model).into_iter();
    let mut busy = standings.filter(|one| one.availability == Availability::Busy);
    busy.any(|one| &*one.auth_id == id)
}

/// When a request comes.
pub fn check_request(truth: &mut Truth, id: &str, key: &Key, model: &str, call: u64) {
    let now = truth.now();
    let sent = truth.sent.get(id).cloned().unwrap_or_default();
    if key.disabled {
        let what = format!("call {call} asks {id}, which is disabled");
        truth.breach("no_request_is_sent_for_a_disabled_credential", what);
    }
    let minute = sent
        .iter()
        .filter(|one| one.model == model && one.at + Duration::from_secs(60) > now);
    if let (Some(rpm), count) = (key.rpm, minute.count())
        && count >= rpm
    {
        let what = format!(
            "{id} is asked {} times in a minute, {rpm} are allowed",
            count + 1
        );
        truth.breach("no_more_requests_a_minute_than_allowed", what);
    }
    let in_flight = truth.in_flight.get(id).copied().unwrap_or_default();
    if key.max_concurrent.is_some_and(|most| in_flight >= most) {
        let what = format!("{id} has {in_flight} requests in flight");
        truth.breach("no_more_requests_at_once_than_allowed", what);
    }
    let mut of_model = sent.iter().rev().filter(|one| one.model == model);
    let told = of_model.find_map(|one| one.told);
    if let Some((at, wait)) = told
        && at > truth.clock_set
        && now > at
        && now + Duration::from_millis(1) < at + wait
    {
        let what = format!(
            "call {call} asks {id} {:?} after it was told to wait {wait:?}",
            now.saturating_sub(at)
        );
        truth.breach(
            "a_credential_is_not_asked_before_the_time_that_the_server_told",
            what,
        );
    }
    let lately = |one: &&Sent| one.model == model && one.at + Duration::from_secs(60) > now;
    let failed = sent.iter().filter(lately).filter(|one| one.is_hopeless);
    let failed = failed.count();
    let others = truth.sent.iter().filter(|(other, _)| *other != id);
    let served = others
        .flat_map(|(_, sent)| sent.iter().filter(lately))
        .filter(|one| !one.failed)
        .count();
    if truth.no_floor
        && key.always.is_some()
        && failed > 15
        && served > 30
        && now >= truth.outage_until + Duration::from_secs(60)
    {
        let what = format!("{id} has failed {failed} times in a minute, {served} were served");
        truth.breach("a_credential_that_fails_alone_leaves_the_rotation", what);
    }
}

/// What an upstream or an operator has said is void.
pub fn forget_told(truth: &mut Truth, id: &str) {
    for sent in truth.sent.get_mut(id).into_iter().flatten() {
        sent.told = None;
    }
}

/// When a call has ended.
pub fn check_call(ground: &Ground, ended: &Ended<'_>) {
    let now = ground.timeline.now();
    let Ended {
        under,
        manner,
        result,
        ready,
    } = ended;
    let number = under.number;
    let attempts: usize = {
        let truth = ground.truth.lock();
        let all = truth.sent.values().flatten();
        all.filter(|sent| sent.call == number).count()
    };
    let took = now.saturating_sub(under.began);
    let mut truth = ground.truth.lock();
    let outcome = match result {
        Ok(attempts) => format!("served at attempt {attempts}"),
        Err(error) => format!("{error}"),
    };
    truth.note(format!("call {number} ends after {took:?}: {outcome}"));
    if attempts > MOST_ATTEMPTS {
        truth.breach(
            "a_call_makes_a_bounded_number_of_attempts",
            format!("call {number} made {attempts}"),
        );
    }
    let Err(error) = result else { return };
    if is_refusal(error) && error.message().contains("key-") {
        truth.breach(
            "the_message_of_a_refusal_names_no_credential",
            error.to_string(),
        );
    }
    if ground.mischief.load(Ordering::SeqCst) == DECLINES {
        return;
    }
    let settled = ground.settled.lock();
    let long_ready = ready.iter().find(|id| {
        let since = settled.get(&(manner.model.to_owned(), (*id).clone()));
        since.is_some_and(|since| *since + Duration::from_secs(1) < now)
    });
    let Some(id) = long_ready else { return };
    if error.message().contains("came first") {
        // The first of those is woken by that, and takes it, or hands on.
        let since = settled[&(manner.model.to_owned(), id.clone())];
        let before = ground.behind.lock().insert(manner.model.to_owned(), now);
        if before.is_none_or(|before| before < since || now < before + GRACE) {
            return;
        }
    }
    let is_limit = error.http_status() == Some(429) || is_refusal(error);
    let at_bound = attempts >= 3 && took >= under.may_wait;
    if is_limit && attempts < 10 && !at_bound && !error.message().contains("selector") {
        let what = format!(
            "call {number} ends after {took:?} and {attempts} attempts with {error}; {id} was ready"
        );
        truth.breach("no_call_ends_for_a_limit_while_a_credential_is_ready", what);
    }
    if *error.code() == ErrorCode::Config {
        let what = format!("call {number} ends with {error}; {id} was ready");
        truth.breach(
            "no_call_ends_for_a_wrong_setting_of_another_credential",
            what,
        );
    }
}

/// With the default settings: 32 at once, and one after each wait.
const MOST_ATTEMPTS: usize = 39;

/// After each step.
pub fn check(pool: &mut Pool) {
    let standings: Vec<_> = MODELS
        .iter()
        .flat_map(|model| pool.ground.manager.explain(PROVIDER, model))
        .collect();
    let mut truth = pool.truth().lock();
    for standing in standings {
        let is_disabled = truth
            .keys
            .get(&*standing.auth_id)
            .is_some_and(|key| key.disabled);
        if is_disabled && standing.availability != Availability::Disabled {
            truth.breach(
                "explain_tells_who_may_serve",
                format!("{standing}: it is disabled"),
            );
        }
    }
}

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
    for model in MODELS {
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
        if !declined {
            check_hint(pool, model);
        }
    }
    check_faults(pool);
}

/// Many calls of which one answer in twenty is a fault.
fn check_faults(pool: &mut Pool) {
    operators::only_keys_that_are_well(pool);
    // An outage may have emptied the budget.
    errors_of(pool, CALLS_THAT_FILL_THE_BUDGET);
    for key in pool.truth().lock().keys.values_mut() {
        key.faults = 50;
    }
    let errors = errors_of(pool, CALLS_WITH_FAULTS);
    if errors.len() > CALLS_WITH_FAULTS / 200 {
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

fn is_refusal(error: &Error) -> bool {
    matches!(
        error.code(),
        ErrorCode::AuthUnavailable | ErrorCode::LimitReached
    )
}

/// A large call that does not wait, and can be served by one key alone.
pub fn ask_pinned(pool: &Pool, model: &str, id: &str) -> Result<(), Error> {
    let options = Options::new().with_pinned(id).with_max_attempts(1);
    let options = options.with_max_wait(Duration::ZERO);
    let request = Request::new(model, LARGE);
    pool.watch(move |manager| manager.execute([PROVIDER], &request, &options).map(drop))
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
        let what = format!("{error} (in {wait:?}); then for {model} {result:?}");
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
