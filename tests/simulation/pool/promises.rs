//! What the pool promises, a function for each sentence.

use std::sync::atomic::Ordering;
use std::time::Duration;

use credpool::testing::audit;
use credpool::{Availability, CooldownSource, CredentialReport, Error, ErrorCode};

use super::callers::{Caller, Ground, Manner, Under};
use super::models::NAMES;
use super::selector::DECLINES;
use super::upstream::{Key, MODELS, PROVIDER, Sent, Truth};
use super::world::Pool;

/// A call that has ended.
pub struct Ended<'a> {
    pub under: Under,
    pub manner: &'a Manner,
    pub result: Result<u32, Error>,
    /// Who was ready when it ended, for each link of its chain.
    pub ready: Vec<(String, String)>,
}

/// At any moment at which everything waits.
pub fn check_index(pool: &Pool) {
    let found = audit(&pool.ground.manager);
    let promise = "the_index_says_what_records_limits_and_probes_say";
    let mut truth = pool.truth().lock();
    if !found.is_empty() && !truth.breaches.iter().any(|known| known.promise == promise) {
        truth.breach(promise, found.join("; "));
    }
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
    let settled = pool.ground.settled.lock();
    let mut breaches = Vec::new();
    for (id, key) in &truth.keys {
        let is_free = truth.in_flight.get(id).is_none_or(|count| *count == 0);
        let may_serve = !key.disabled && !key.unusable && key.rpm.or(key.tpm).is_none();
        let sent = truth.sent.get(id).map_or(&[][..], Vec::as_slice);
        let Some((last, (at, wait))) = sent.last().and_then(|last| Some((last, last.told?))) else {
            continue;
        };
        let returns = at + wait + wait.mul_f64(JITTER) + GRACE;
        // A fault that it has met without such a word may keep it out for longer.
        let by_itself =
            |one: &Sent| one.failed && one.told.is_none() && one.at + LONGEST_OF_A_FAULT > now;
        if sent.iter().any(by_itself) {
            continue;
        }
        // By the names that calls have for the model.
        let mut names = NAMES
            .iter()
            .filter(|name| key.sent_as(name) == Some(&*last.model));
        let due = if names.any(|name| is_busy(pool, name, id)) {
            returns + SLOWEST_PACE
        } else {
            returns
        };
        // It may have become so at this very moment.
        let ready_since = settled.get(&(last.model.clone(), id.clone()));
        let is_new = ready_since.is_some_and(|since| *since + GRACE > now);
        if now <= due
            || is_new
            || !is_free
            || !may_serve
            || truth.clock_set >= at
            || truth.slept >= at
        {
            continue;
        }
        // What has asked others may have to let time pass for those.
        let waits = |under: &&Under| {
            let mut all = truth.sent.values().flatten();
            key.sent_as(under.model) == Some(&*last.model)
                && (!under.names_file || under.owner.as_ref() == Some(id))
                && under.began + GRACE < now
                && !all.any(|sent| sent.call == under.number)
        };
        if let Some(under) = under.iter().find(waits) {
            let late = now.saturating_sub(at + wait);
            let number = under.number;
            let report = report(pool, &last.model, id);
            let report = report.map(|report| report.to_string()).unwrap_or_default();
            breaches.push(format!(
                "call {number} waits, and {id} is not asked {late:?} after it should be: {report}"
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

/// At any moment at which everything waits: no key stays out for longer than the server told, wherever the wall clock is set.
pub fn check_ends(pool: &Pool) {
    let promise = "a_cooldown_lasts_no_longer_than_the_server_told";
    let mut truth = pool.truth().lock();
    if truth.breaches.iter().any(|known| known.promise == promise) {
        return;
    }
    let now = truth.now();
    let is_late = |at: Duration| at + Duration::from_secs(7200) > now;
    let is_over = |(id, sent): &(&String, &Vec<Sent>)| {
        if truth.marked.get(*id).is_some_and(|at| is_late(*at)) {
            return false;
        }
        let lately = |one: &&Sent| one.failed && is_late(one.at);
        let ends = sent.iter().filter(lately).map(|one| {
            let (at, wait) = one.told?;
            (at > truth.slept).then(|| at + wait + wait.mul_f64(JITTER) + GRACE)
        });
        let ends: Option<Vec<_>> = ends.collect();
        ends.is_some_and(|ends| ends.iter().max().is_some_and(|end| *end < now))
    };
    let over: Vec<String> = {
        let over = truth.sent.iter().filter(is_over);
        over.map(|(id, _)| id.clone()).collect()
    };
    for model in MODELS {
        if over.is_empty() {
            return;
        }
        let reports = pool.ground.manager.explain(PROVIDER, model).into_iter();
        let mut out = reports.filter(|one| {
            let is_operators = one.origin == Some(CooldownSource::Operator);
            one.availability == Availability::Cooling && !is_operators
        });
        if let Some(report) = out.find(|one| over.iter().any(|id| *one.auth_id == **id)) {
            truth.breach(promise, format!("for {model}, {report}"));
            return;
        }
    }
}

/// What passes by itself keeps a key out for a minute and its jitter at most.
const LONGEST_OF_A_FAULT: Duration = Duration::from_secs(66);

/// By which part of itself chance lengthens a wait at most.
const JITTER: f64 = 0.1;

/// Where the pool has learnt how often a key is served, it lets so much time pass between two requests at most.
const SLOWEST_PACE: Duration = Duration::from_secs(30);

fn is_busy(pool: &Pool, model: &str, id: &str) -> bool {
    report(pool, model, id).is_some_and(|one| one.availability == Availability::Busy)
}

fn report(pool: &Pool, model: &str, id: &str) -> Option<CredentialReport> {
    let mut reports = pool.ground.manager.explain(PROVIDER, model).into_iter();
    reports.find(|one| &*one.auth_id == id)
}

/// When a request comes.
pub fn check_request(truth: &mut Truth, id: &str, key: &Key, model: &str, call: u64) {
    let now = truth.now();
    let sent = truth.sent.get(id).cloned().unwrap_or_default();
    if key.disabled && !truth.is_changing(id) {
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
    // What the key itself is refused for lasts a minute at least.
    let lasts = |one: &&Sent| {
        let own = matches!(one.refused, Some(401..=404)) && one.model == model;
        own && one.at < now && now < one.at + Duration::from_secs(60)
    };
    if !model.is_empty()
        && let Some(refused) = sent.iter().find(lasts)
        && refused.at > truth.clock_set.max(truth.slept)
    {
        let status = refused.refused.unwrap_or_default();
        let what = format!(
            "call {call} asks {id} again {:?} after its {status}",
            now.saturating_sub(refused.at)
        );
        truth.breach(
            "no_credential_is_asked_before_the_cooldown_of_its_own_fault_has_ended",
            what,
        );
    }
    let lately = |one: &&Sent| one.model == model && one.at + Duration::from_secs(60) > now;
    let failed = sent.iter().filter(lately).filter(|one| one.is_hopeless);
    let failed = failed.count();
    let others = truth.sent.iter().filter(|(other, _)| *other != id);
    let others = others.flat_map(|(_, sent)| sent.iter().filter(lately));
    let (others_failed, served): (Vec<_>, Vec<_>) = others.partition(|one| one.failed);
    let served = served.len();
    // Where others often fail with the same words, it does not fail alone.
    let faults = others_failed.iter();
    let faults = faults.filter(|one| one.refused.is_none_or(|status| status >= 500));
    let fails_alone = faults.count() * 10 < served;
    if truth.no_floor
        && key.always.is_some()
        && fails_alone
        && failed > 15
        && served > 30
        && now >= truth.outage_until + Duration::from_secs(60)
    {
        let what = format!("{id} has failed {failed} times in a minute, {served} were served");
        truth.breach("a_credential_that_fails_alone_leaves_the_rotation", what);
    }
}

/// What an upstream has refused, and an operator has said, is void.
pub fn forget_refusals(truth: &mut Truth, id: &str) {
    for sent in truth.sent.get_mut(id).into_iter().flatten() {
        sent.told = None;
        sent.refused = None;
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
    if is_refusal(error) && manner.file.is_none() && error.message().contains("key-") {
        truth.breach(
            "the_message_of_a_refusal_names_no_credential",
            error.to_string(),
        );
    }
    if ground.mischief.load(Ordering::SeqCst) == DECLINES {
        return;
    }
    let settled = ground.settled.lock();
    // What one link has tried may be ready again when the next one meets a limit.
    let is_chain = super::models::links_of(&manner.model).len() > 1;
    let was_tried = |id: &String| {
        let mut sent = truth.sent.get(id).into_iter().flatten();
        is_chain && sent.any(|sent| sent.call == number)
    };
    // Another attempt for a link whose last one ended in a fault of the provider draws on the budget, which may be spent.
    let owes_retry = |link: &String| {
        is_chain
            && truth.sent.iter().any(|(id, sent)| {
                let sent_as = truth.keys.get(id).and_then(|key| key.sent_as(link));
                let mut sent = sent.iter().filter(|sent| sent.call == number);
                sent.any(|sent| {
                    Some(&*sent.model) == sent_as
                        && sent.refused.is_some_and(|status| status >= 500)
                })
            })
    };
    // Another call may have had it in between.
    let is_open = |(link, id): &&(String, String)| {
        truth.is_at_rest(id) && !was_tried(id) && !owes_retry(link)
    };
    let long_ready = ready.iter().filter(is_open).find(|one| {
        let since = settled.get(one);
        since.is_some_and(|since| *since + Duration::from_secs(1) < now)
    });
    let Some(one @ (_, id)) = long_ready else {
        return;
    };
    if error.message().contains("earlier calls are still waiting") {
        // The first of those is woken by that, and takes it, or hands on.
        let since = settled[one];
        let before = ground.behind.lock().insert(manner.model.to_owned(), now);
        if before.is_none_or(|before| before < since || now < before + GRACE) {
            return;
        }
    }
    let is_cancelled = *error.code() == ErrorCode::Cancelled;
    let is_limit = !is_cancelled && (error.http_status() == Some(429) || is_refusal(error));
    // Shortly before its deadline it makes no more.
    let at_bound = attempts >= 3 && took + Duration::from_millis(100) >= under.may_wait;
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
const MOST_ATTEMPTS: usize = 46;

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

pub fn is_refusal(error: &Error) -> bool {
    matches!(
        error.code(),
        ErrorCode::AuthUnavailable | ErrorCode::LimitReached
    )
}
