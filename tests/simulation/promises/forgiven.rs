//! What no longer has to hold once writes are lost, a process has died, or an older text has taken a record's place.

use std::time::Duration;

use serde_json::Value;

use super::records::is_same;
use super::{present, stored};
use crate::endpoint::{parse, refresh_token};
use crate::timeline::Pid;
use crate::truth::{Field, Presence, REPAIRED, Truth, sent_token};
use crate::world::World;

/// The store has lost writes. What nobody has in memory is gone, and of operators' changes no more is expected.
pub fn expect_lost_writes(world: &mut World) {
    world.disturbed = world.now();
    let now = world.now();
    world.truth().lock().lost_at = Some(now);
    world.truth().lock().files.clear();
    let ids: Vec<String> = world.truth().lock().records.keys().cloned().collect();
    for id in ids {
        forget_what_was_only_read(world, &id);
        forgive_another_login(world, &id);
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
        if world.backend.remembers_removal(&id) {
            // Of an earlier record with this id.
            world.truth().lock().blur_record(&id);
        }
        forgive_if_gone(world, &id);
    }
}

/// A login that the store had for a moment, and that a process read while the record was being written there, is in no process's hands.
fn forget_what_was_only_read(world: &World, id: &str) {
    let processes = world.processes.iter().flatten();
    let holders: Vec<(Pid, Option<String>)> = processes
        .map(|one| (one.pid, one.manager.get_by_id(id)))
        .map(|(pid, auth)| (pid, auth.and_then(|auth| sent_token(&auth))))
        .collect();
    let mut truth = world.truth().lock();
    let Some(grant) = truth.records.get(id).and_then(|expected| expected.grant) else {
        return;
    };
    let live = truth.endpoint.live(grant);
    let name = refresh_token(grant, live);
    let token = &mut truth.endpoint.grants[grant].tokens[live];
    let received = &token.received;
    token
        .known
        .retain(|pid| received.contains(pid) || holders.contains(&(*pid, Some(name.clone()))));
}

/// Editors do not count their changes, and a removal ends the count: where the store is back at the login before one that an editor has
/// put in, or before a removal, nothing tells which of them is the newer one.
fn forgive_another_login(world: &World, id: &str) {
    let there = stored(world, id).and_then(|auth| sent_token(&auth));
    let there = there.and_then(|token| Some(parse("rt", &token)?.0));
    let mut truth = world.truth().lock();
    let Truth {
        records,
        put_in,
        ever_removed,
        ..
    } = &mut *truth;
    if let Some(expected) = records.get_mut(id)
        && (ever_removed.contains(id)
            || expected.grant.is_some_and(|grant| put_in.contains(&grant)))
        && there.is_some()
        && there != expected.grant
    {
        expected.grant = None;
    }
}

/// A record that no process has and the store lacks has gone with its last owner.
pub fn forgive_if_gone(world: &World, id: &str) {
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
    // While the store was in trouble or a process stood still, it may not have been repaired.
    let lost_at = truth.lost_at.map(|lost| lost.max(world.disturbed));
    let recent = lost_at.is_some_and(|lost| now < lost + REPAIRED);
    for cooldowns in truth.cooldowns.values_mut() {
        let reset = cooldowns.reset;
        let unsaved = world.is_troubled() || now < world.disturbed + REPAIRED;
        if unsaved || reset.is_some_and(|reset| now < reset + Duration::from_secs(3)) {
            cooldowns.reset = None;
        }
    }
    drop(truth);
    let poisoned = world.plant.trouble.poisoned();
    for id in present(world, Presence::Present) {
        if recent || world.unmounted || poisoned.as_ref() == Some(&id) {
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
        let mut path = field.path(is_token_file).iter();
        let older = path.try_fold(text, |at, name| at.get(*name));
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
    if let Some(grant) = grant {
        truth.forget_refusals(grant);
    }
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
