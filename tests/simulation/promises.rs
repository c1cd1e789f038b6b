//! What the product promises, a function for each sentence. Those that a request to the token endpoint breaks are in `truth`.

use std::collections::BTreeSet;
use std::time::Duration;

use credpool::{Auth, Availability, Clock, Error, Expiry, Fault, Manager, Origin};
use serde_json::Value;

use crate::executor::{MODEL, PROVIDER};
use crate::process::Process;
use crate::random::Random;
use crate::timeline::Pid;
use crate::truth::{Field, Presence, REPAIRED, sent_token};
use crate::world::{Change, World};

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
];

/// Checked when all faults have ended and every process has had the time to see what the others did.
pub const IN_THE_END: &[fn(&mut World)] = &[
    a_record_is_removed_only_by_its_removal,
    a_store_that_lost_writes_gets_them_back,
    a_removed_record_stays_removed,
    an_edit_never_loses_the_login,
    acknowledged_changes_stay_until_somebody_changes_that_field,
    every_process_sees_what_is_in_the_store,
    needs_login_ends_with_the_next_login,
    health_is_good_when_all_is_well,
    idle_processes_write_nothing,
];

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
    crate::editors::save_whole(world, &mut random);
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

fn running(world: &World) -> impl Iterator<Item = &Process> {
    let processes = world.processes.iter().flatten();
    processes.filter(|process| process.frozen.is_none())
}

fn note_disturbance(world: &mut World) {
    let frozen = world
        .processes
        .iter()
        .flatten()
        .any(|one| one.frozen.is_some());
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
const SEEN: Duration = Duration::from_millis(2_500);

fn every_process_sees_a_change_within_seconds(world: &mut World) {
    let mut breaches = Vec::new();
    let half_saved = world.half_saved.as_ref().map(|(id, _)| id.clone());
    for id in present(world, Presence::Present) {
        if half_saved.as_ref() == Some(&id) {
            continue;
        }
        let fields = world.truth().lock().records[&id].fields.clone();
        for process in running(world) {
            let Some(auth) = process.manager.get_by_id(&id) else {
                continue;
            };
            for (field, slot) in &fields {
                let found = field.of(&auth);
                let differs = slot
                    .value
                    .as_ref()
                    .is_some_and(|value| !is_same(value, &found));
                if differs && has_had_time(world, process, slot.at) {
                    breaches.push(format!(
                        "p{} has {field:?} of {id} = {found}; {:?} was acknowledged at {:?}",
                        process.pid, slot.value, slot.at
                    ));
                }
            }
        }
    }
    breach_all(
        world,
        "every_process_sees_a_change_within_seconds",
        breaches,
    );
}

/// What keeps a credential out in one process keeps it out in all.
fn every_process_sees_a_cooldown_within_seconds(world: &mut World) {
    if !world.clocks_agree() {
        return;
    }
    let cooling: Vec<_> = running(world)
        .map(|one| (one, cooling(&one.manager)))
        .collect();
    let mut breaches = Vec::new();
    let truth = world.truth().lock();
    let poisoned = world.plant.trouble.poisoned();
    for (id, cooldowns) in &truth.cooldowns {
        if poisoned.as_ref() == Some(id) {
            continue;
        }
        let is_out = cooling.iter().any(|(_, ids)| ids.contains(id));
        let ends_soon = cooldowns.last_until < truth.now() + Duration::from_secs(3);
        let changed = cooldowns.told.max(cooldowns.reset.unwrap_or_default());
        for (process, ids) in &cooling {
            let late = has_had_time(world, process, changed);
            let knows = process
                .manager
                .get_by_id(id)
                .is_some_and(|auth| !auth.disabled);
            if is_out && !ends_soon && late && knows && !ids.contains(id) {
                breaches.push(format!(
                    "p{} has not seen that {id} is out, since {:?}",
                    process.pid, cooldowns.told
                ));
            }
        }
    }
    drop(truth);
    breach_all(
        world,
        "every_process_sees_a_cooldown_within_seconds",
        breaches,
    );
}

/// The credentials that are out because of a limit, or by the operator's word.
pub fn cooling(manager: &Manager) -> BTreeSet<String> {
    let standings = manager.explain(PROVIDER, MODEL).into_iter();
    standings
        .filter(|one| one.availability == Availability::Cooling)
        .filter(|one| one.fault == Some(Fault::RateLimited) || one.origin == Some(Origin::Operator))
        .map(|one| one.auth_id.to_string())
        .collect()
}

fn a_record_is_removed_only_by_its_removal(world: &mut World) {
    let mut truth = world.plant.truth.lock();
    let now = truth.now();
    for process in world.processes.iter_mut().flatten() {
        if process.frozen.is_some() {
            continue;
        }
        let listed: BTreeSet<String> = process
            .manager
            .list()
            .iter()
            .map(|auth| auth.id.clone())
            .collect();
        let gone: Vec<String> = process.seen.difference(&listed).cloned().collect();
        for id in gone {
            let expected = truth.records.get(&id);
            if expected.is_some_and(|one| one.presence == Presence::Present && one.since < now) {
                let what = format!(
                    "p{} no longer has {id}, which nobody has removed",
                    process.pid
                );
                truth.breach("a_record_is_removed_only_by_its_removal", what);
            }
        }
        process.seen = listed;
    }
}

fn a_cooldown_lasts_no_longer_than_told(world: &mut World) {
    let mut breaches = Vec::new();
    let truth = world.truth().lock();
    let now = truth.now();
    for process in running(world) {
        let since = process.began.max(world.disturbed);
        for id in cooling(&process.manager) {
            let cooldowns = truth.cooldowns.get(&id).cloned().unwrap_or_default();
            let end = cooldowns.until.max(since + cooldowns.longest) + Duration::from_secs(4);
            if now > end && !process.clock.is_lost() {
                breaches.push(format!(
                    "p{} still keeps {id} out at {now:?}; what was told ended at {:?}",
                    process.pid, cooldowns.until
                ));
            }
        }
    }
    drop(truth);
    breach_all(world, "a_cooldown_lasts_no_longer_than_told", breaches);
}

fn breach_all(world: &World, promise: &'static str, breaches: Vec<String>) {
    let mut truth = world.truth().lock();
    for what in breaches {
        truth.breach(promise, what);
    }
}

fn a_reset_stays_until_a_newer_failure(world: &mut World) {
    let calm = Duration::from_secs(6);
    let mut breaches = Vec::new();
    let truth = world.truth().lock();
    let now = truth.now();
    for process in running(world) {
        for id in cooling(&process.manager) {
            let cooldowns = truth.cooldowns.get(&id).cloned().unwrap_or_default();
            if world.plant.trouble.poisoned().as_ref() == Some(&id) {
                continue;
            }
            let Some(reset) = cooldowns.reset.filter(|reset| *reset > cooldowns.told) else {
                continue;
            };
            if now > reset + calm && now > world.disturbed + calm && now > process.began + calm {
                breaches.push(format!(
                    "p{} keeps {id} out, which was reset at {reset:?}",
                    process.pid
                ));
            }
        }
    }
    drop(truth);
    breach_all(world, "a_reset_stays_until_a_newer_failure", breaches);
}

fn health_tells_a_store_that_is_away(world: &mut World) {
    let Some(since) = world.away_since else {
        return;
    };
    let late = |from: Duration| world.now() > from + Duration::from_secs(5);
    let mut breaches = Vec::new();
    for process in running(world).filter(|one| late(one.began) && late(since) && late(one.thawed)) {
        let good = process.manager.refresh_health().is_good();
        if good && process.manager.store_health().is_good() {
            breaches.push(format!(
                "the health of p{} is good, and the store is away since {since:?}",
                process.pid
            ));
        }
    }
    breach_all(world, "health_tells_a_store_that_is_away", breaches);
}

fn a_token_used_from_memory_is_told_until_it_is_saved(world: &mut World) {
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

/// The credentials with which a call must be served at this moment: keys, and logins whose tokens are fresh by every clock.
pub fn ready(world: &World, process: &Process) -> Vec<String> {
    let truth = world.truth().lock();
    let (now, half) = (truth.now(), truth.endpoint.lifetime / 2);
    let is_fresh = |auth: &Auth| {
        let access = auth
            .metadata
            .as_ref()
            .and_then(|all| all.text("access_token"));
        let serves = access.is_some_and(|access| truth.endpoint.serves(access, now + half));
        let ends = auth.expiration_time();
        serves && matches!(ends, Expiry::At(end) if end > process.clock.now() + half)
    };
    let standings = process.manager.explain(PROVIDER, MODEL).into_iter();
    standings
        .filter(|one| one.availability == Availability::Ready)
        .filter(|one| {
            truth
                .limited
                .get(&*one.auth_id)
                .is_none_or(|end| *end < now)
        })
        .filter_map(|one| process.manager.get_by_id(&one.auth_id))
        .filter(|auth| auth.attributes.get("api_key").is_some() || is_fresh(auth))
        .map(|auth| auth.id.clone())
        .collect()
}

/// A call has ended.
pub fn check_call(
    world: &World,
    pid: Pid,
    ready_then: &[String],
    began: Duration,
    result: &Result<(), Error>,
) {
    let Some(process) = running(world).find(|one| one.pid == pid) else {
        return;
    };
    let ready_now = ready(world, process);
    let still = ready_then.iter().find(|id| ready_now.contains(id));
    let waited = world.now() - began;
    if process.thawed > began {
        return;
    }
    let what =
        format!("a call of p{pid} took {waited:?} and ended {result:?}; {still:?} was ready");
    if still.is_some() && (waited > Duration::from_secs(1) || result.is_err()) {
        let promise = "a_call_is_served_while_any_credential_is_ready";
        breach_all(world, promise, vec![what]);
    } else if waited > MAX_WAIT && world.disturbed < began {
        breach_all(world, "a_call_waits_no_longer_than_max_wait", vec![what]);
    }
}

/// `FailurePolicy::max_wait` by default, and something for attempts.
const MAX_WAIT: Duration = Duration::from_secs(32);

fn stored(world: &World, id: &str) -> Option<Auth> {
    world.backend.open(0).load(id).ok().flatten()
}

fn present(world: &World, presence: Presence) -> Vec<String> {
    let truth = world.truth().lock();
    let records = truth.records.iter();
    records
        .filter(|(_, expected)| expected.presence == presence)
        .map(|(id, _)| id.clone())
        .collect()
}

fn a_store_that_lost_writes_gets_them_back(world: &mut World) {
    let mut breaches = Vec::new();
    for id in present(world, Presence::Present) {
        if stored(world, &id).is_none() {
            breaches.push(format!("the store does not have {id}"));
        }
    }
    breach_all(world, "a_store_that_lost_writes_gets_them_back", breaches);
}

fn a_removed_record_stays_removed(world: &mut World) {
    let mut breaches = Vec::new();
    for id in present(world, Presence::Removed) {
        if stored(world, &id).is_some() {
            breaches.push(format!("the store has {id} again, which was removed"));
        }
        for process in running(world).filter(|one| one.manager.get_by_id(&id).is_some()) {
            breaches.push(format!("p{} has {id}, which was removed", process.pid));
        }
    }
    breach_all(world, "a_removed_record_stays_removed", breaches);
}

/// The live refresh token of each login is in the store and in every process.
fn an_edit_never_loses_the_login(world: &mut World) {
    let mut breaches = Vec::new();
    for id in present(world, Presence::Present) {
        let Some(live) = world.truth().lock().live_token(&id) else {
            continue;
        };
        let token = stored(world, &id).and_then(|auth| sent_token(&auth));
        if token.as_ref() != Some(&live) {
            breaches.push(format!("the store has {token:?} of {id}; {live} is live"));
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

fn acknowledged_changes_stay_until_somebody_changes_that_field(world: &mut World) {
    for id in present(world, Presence::Present) {
        let Some(auth) = stored(world, &id) else {
            continue;
        };
        let fields = world.truth().lock().records[&id].fields.clone();
        for (field, slot) in fields {
            let found = field.of(&auth);
            if slot
                .value
                .as_ref()
                .is_some_and(|value| !is_same(value, &found))
            {
                let promise = if field == Field::Disabled {
                    "what_the_operator_disabled_stays_disabled"
                } else {
                    "acknowledged_changes_stay_until_somebody_changes_that_field"
                };
                let what = format!(
                    "{field:?} of {id} is {found}, and should be {:?}",
                    slot.value
                );
                breach_all(world, promise, vec![what]);
            }
        }
    }
}

/// An empty text and none are one.
fn is_same(one: &Value, other: &Value) -> bool {
    let none = |value: &Value| value.is_null() || value.as_str() == Some("");
    one == other || none(one) && none(other)
}

fn every_process_sees_what_is_in_the_store(world: &mut World) {
    let mut breaches = Vec::new();
    for auth in world
        .backend
        .open(0)
        .list()
        .map(|listing| listing.records)
        .unwrap_or_default()
    {
        for process in running(world) {
            let Some(ours) = process.manager.get_by_id(&auth.id) else {
                breaches.push(format!("p{} does not have {}", process.pid, auth.id));
                continue;
            };
            for field in Field::ALL {
                let (ours, theirs) = (field.of(&ours), field.of(&auth));
                if !is_same(&ours, &theirs) {
                    breaches.push(format!(
                        "p{} has {field:?} of {} = {ours}; the store has {theirs}",
                        process.pid, auth.id
                    ));
                }
            }
        }
    }
    breach_all(world, "every_process_sees_what_is_in_the_store", breaches);
}

fn needs_login_ends_with_the_next_login(world: &mut World) {
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

fn health_is_good_when_all_is_well(world: &mut World) {
    let mut breaches = Vec::new();
    for process in running(world) {
        let (refreshes, store) = (
            process.manager.refresh_health(),
            process.manager.store_health(),
        );
        if !store.is_good() || !refreshes.unpersisted_rotation.is_empty() {
            breaches.push(format!("p{}: {store:?}, {refreshes:?}", process.pid));
        }
    }
    breach_all(world, "health_is_good_when_all_is_well", breaches);
}

fn idle_processes_write_nothing(world: &mut World) {
    for _ in 0..4 {
        let (writes, requests) = counts(world);
        let is_idle = {
            let truth = world.truth().lock();
            let endpoint = &truth.endpoint;
            endpoint.under_way.is_empty() && truth.now() > endpoint.departed + SETTLED
        };
        world.advance(Duration::from_secs(10));
        let (writes_after, requests_after) = counts(world);
        if !is_idle || requests != requests_after {
            // A refresh writes.
            continue;
        }
        if writes != writes_after {
            let count = writes_after - writes;
            let what = format!("{count} writes in 10 s without a call or a refresh");
            breach_all(world, "idle_processes_write_nothing", vec![what]);
        }
        return;
    }
}

/// Until what a refresh has changed is written.
const SETTLED: Duration = Duration::from_secs(5);

fn counts(world: &World) -> (usize, usize) {
    let truth = world.truth().lock();
    (truth.writes, truth.endpoint.requests)
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

fn the_next_start_has_every_login(world: &mut World) {
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
        let answered = truth.endpoint.grants[grant].lost_token();
        let revoked =
            truth.endpoint.grants[grant].revoked && !truth.endpoint.grants[grant].by_provider;
        if revoked
            && answered.is_none()
            && truth.lost_at.is_none()
            && truth.endpoint.grants[grant].lost_at.is_none()
        {
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

/// The store has lost writes. What nobody has in memory is gone, and of operators' changes no more is expected.
pub fn expect_lost_writes(world: &mut World) {
    world.disturbed = world.now();
    let now = world.now();
    world.truth().lock().lost_at = Some(now);
    let ids: Vec<String> = world.truth().lock().records.keys().cloned().collect();
    for id in ids {
        let mut truth = world.truth().lock();
        for field in Field::ALL {
            truth.blur_field(&id, field);
        }
        truth.cooldowns.entry(id.clone()).or_default().reset = None;
        let live = truth.live_token(&id);
        if let Some(expected) = truth.records.get_mut(&id) {
            if live.is_none() {
                expected.grant = None;
            }
            if expected.presence == Presence::Removed {
                expected.presence = Presence::Unclear;
            }
        }
        drop(truth);
        forgive_if_gone(world, &id);
    }
}

/// A record that no process has and the store lacks has gone with its last owner.
fn forgive_if_gone(world: &World, id: &str) {
    let mut processes = world.processes.iter().flatten();
    let is_kept = processes.any(|one| one.manager.get_by_id(id).is_some());
    if !is_kept && stored(world, id).is_none() {
        world.truth().lock().blur_record(id);
    }
}

/// A process has died. What it had not written yet is lost.
pub fn forgive_what_only_the_dead_knew(world: &World) {
    let mut truth = world.truth().lock();
    let now = truth.now();
    let recent = truth.lost_at.is_some_and(|lost| now < lost + REPAIRED);
    for cooldowns in truth.cooldowns.values_mut() {
        let reset = cooldowns.reset;
        let unsaved = world.is_troubled() || now < world.disturbed + REPAIRED;
        if unsaved || reset.is_some_and(|reset| now < reset + Duration::from_secs(3)) {
            cooldowns.reset = None;
        }
    }
    drop(truth);
    if recent || world.unmounted {
        for id in present(world, Presence::Present) {
            forgive_if_gone(world, &id);
        }
    }
}

/// An older text has taken a record's place: each field may be as it was there, or as it was.
pub fn expect_older_text(world: &World, id: &str, text: &Value) {
    let is_token_file = world.backend.is_token_file(id);
    let mut truth = world.truth().lock();
    let now = truth.now();
    let Some(expected) = truth.records.get(id).cloned() else {
        return;
    };
    for (field, slot) in &expected.fields {
        let path = field.path(is_token_file).iter();
        let older = path.fold(Some(text), |at, name| at?.get(*name));
        let older = older.cloned().unwrap_or_default();
        if slot
            .value
            .as_ref()
            .is_some_and(|value| !is_same(value, &older))
        {
            truth.blur_field(id, *field);
        }
    }
    let token = if is_token_file {
        text.get("refresh_token")
    } else {
        text.get("metadata")
            .and_then(|all| all.get("refresh_token"))
    };
    let token = token.and_then(Value::as_str).unwrap_or_default();
    let grant = crate::truth::grant_of(token);
    if let Some(grant) = expected.grant {
        truth.endpoint.grants[grant].lost_at = Some(now);
    }
    if grant != expected.grant
        && let Some(expected) = truth.records.get_mut(id)
    {
        // The login of another time, perhaps not spent.
        expected.grant = None;
    }
}
