//! What people and other programs do to records in the store itself.

use serde_json::{Map, Value};

use crate::backend::Saving;
use crate::endpoint::{access_token, refresh_token};
use crate::jobs::Change;
use crate::operators::{expect_copy, fields};
use crate::promises;
use crate::random::Random;
use crate::steps::pick_record;
use crate::truth::{Field, Presence};
use crate::world::World;

/// A record that can be edited, and its text.
fn pick(world: &World, random: &mut Random) -> Option<(String, Value)> {
    if world.unmounted {
        return None;
    }
    let id = pick_record(world, random)?;
    let text = world.backend.text(&id)?;
    Some((id, text))
}

fn draw_saving(random: &mut Random) -> Saving {
    *random.pick(&[Saving::InPlace, Saving::ByRename]).unwrap()
}

fn put(world: &World, id: &str, text: &Value, how: Saving) {
    world.backend.put(id, text, how);
    if !world.clocks_agree() {
        // The record's JSON form does not say in which order its state came about: clocks decide then.
        let mut truth = world.truth().lock();
        truth.cooldowns.entry(id.into()).or_default().reset = None;
    }
}

/// Changes one field of a text. The field, unless it is the expiry.
fn change(
    world: &mut World,
    random: &mut Random,
    id: &str,
    text: &mut Value,
) -> Option<(Field, Value)> {
    let is_token_file = world.backend.is_token_file(id);
    if random.chance(1, 6) && !id.starts_with('k') {
        let path: &[&str] = if is_token_file {
            &["expires_at"]
        } else {
            &["metadata", "expires_at"]
        };
        set(text, path, "2025-01-01T10:00:01Z".into());
        return None;
    }
    let fields = fields(world, id);
    let field = *random.pick(&fields).unwrap();
    let value = world.new_value(field);
    set(text, field.path(is_token_file), value.clone());
    Some((field, value))
}

fn set(text: &mut Value, path: &[&str], value: Value) {
    let (last, parents) = path.split_last().unwrap();
    let mut at = text;
    for name in parents {
        at = at
            .as_object_mut()
            .unwrap()
            .entry(*name)
            .or_insert_with(|| Map::new().into());
    }
    at.as_object_mut().unwrap().insert((*last).into(), value);
}

/// Reads, changes, saves.
pub fn edit(world: &mut World, random: &mut Random) {
    let Some((id, mut text)) = pick(world, random) else {
        return;
    };
    let changed = change(world, random, &id, &mut text);
    let how = draw_saving(random);
    world.note(format!("an edit of {id} ({how:?}): {changed:?}"));
    put(world, &id, &text, how);
    acknowledge(world, &id, changed);
}

fn acknowledge(world: &World, id: &str, changed: Option<(Field, Value)>) {
    let change = world.truth().lock().next_change;
    if let Some((field, value)) = changed {
        world.acknowledge(Change::Field(id.into(), field, value), change);
    }
}

/// A new login, put into the record's text.
pub fn log_in(world: &mut World, random: &mut Random) {
    let Some((id, mut text)) = pick(world, random) else {
        return;
    };
    let is_token_file = world.backend.is_token_file(&id);
    let tokens = if is_token_file {
        Some(&mut text)
    } else {
        text.get_mut("metadata")
    };
    let tokens = tokens.and_then(Value::as_object_mut);
    let Some(tokens) = tokens.filter(|all| all.contains_key("refresh_token")) else {
        return;
    };
    let grant = world.log_in();
    tokens.insert("access_token".into(), access_token(grant, 0).into());
    tokens.insert("refresh_token".into(), refresh_token(grant, 0).into());
    tokens.remove("expires_at");
    let how = draw_saving(random);
    world.note(format!("a new login {grant} is put into {id} ({how:?})"));
    put(world, &id, &text, how);
    let change = {
        let mut truth = world.truth().lock();
        truth.put_in.insert(grant);
        truth.next_change
    };
    world.acknowledge(Change::Login(id, grant), change);
}

pub fn open(world: &mut World, random: &mut Random) {
    if let Some((id, text)) = pick(world, random) {
        world.note(format!("{id} is opened in an editor"));
        world.buffers.push((id, text));
    }
}

fn pick_buffer(world: &World, random: &mut Random) -> Option<(String, Value)> {
    let there = |(id, _): &&(String, Value)| {
        let truth = world.truth().lock();
        truth
            .records
            .get(id)
            .is_some_and(|expected| expected.presence == Presence::Present)
    };
    let buffers: Vec<_> = world.buffers.iter().filter(there).cloned().collect();
    let (id, text) = random.pick(&buffers).cloned()?;
    let here = !world.unmounted && world.backend.text(&id).is_some();
    here.then_some((id, text))
}

/// Saves what was opened some steps ago, with one change.
pub fn save_buffer(world: &mut World, random: &mut Random) {
    let Some((id, mut text)) = pick_buffer(world, random) else {
        return;
    };
    let changed = change(world, random, &id, &mut text);
    let how = draw_saving(random);
    world.note(format!(
        "an old buffer of {id} is saved ({how:?}): {changed:?}"
    ));
    put_old(world, &id, &text, how, changed);
}

/// An older text takes the place of a record: the live tokens stay, other members are as the text has them.
fn put_old(
    world: &mut World,
    id: &str,
    text: &Value,
    how: Saving,
    changed: Option<(Field, Value)>,
) {
    put(world, id, text, how);
    promises::forgiven::expect_older_text(world, id, text);
    acknowledge(world, id, changed);
}

/// A tool that writes slowly: half a file now.
pub fn save_half(world: &mut World, random: &mut Random) {
    if world.half_saved.is_some() {
        return;
    }
    let Some((id, text)) = pick(world, random) else {
        return;
    };
    if world.backend.put_half(&id, &text) {
        world.note(format!("half of {id} is saved"));
        world.half_saved = Some((id, text));
    }
}

pub fn save_whole(world: &mut World, random: &mut Random) {
    if world.unmounted {
        return;
    }
    let Some((id, mut text)) = world.half_saved.take() else {
        return;
    };
    world.disturbed = world.now();
    if world.backend.is_gone(&id) {
        // It was removed meanwhile: who saved the half gives up.
        return;
    }
    let changed = change(world, random, &id, &mut text);
    world.note(format!("the whole of {id} is saved: {changed:?}"));
    put_old(world, &id, &text, Saving::InPlace, changed);
}

/// A copy from a backup is put back.
pub fn restore(world: &mut World, random: &mut Random) {
    let Some((id, text)) = pick_buffer(world, random) else {
        return;
    };
    world.note(format!("an older copy of {id} is restored"));
    put_old(world, &id, &text, Saving::ByRename, None);
}

pub fn remove(world: &mut World, random: &mut Random) {
    let Some((id, _)) = pick(world, random) else {
        return;
    };
    if crate::promises::present(world, Presence::Present).len() < 2 {
        // An empty store may be one that is not mounted.
        return;
    }
    world.note(format!("{id} is removed from the store"));
    world.backend.remove(&id);
    let change = world.truth().lock().next_change;
    world.acknowledge(Change::Removed(id.clone()), change);
    if world
        .half_saved
        .as_ref()
        .is_some_and(|(half, _)| *half == id)
    {
        world.half_saved = None;
    }
}

/// Everything is copied into a subdirectory.
pub fn back_up(world: &mut World, _: &mut Random) {
    let ids: Vec<String> = world.truth().lock().records.keys().cloned().collect();
    for id in ids.iter().filter(|id| !id.contains('/')) {
        let text = world.backend.text(id).filter(|_| !world.unmounted);
        let token = text.as_ref().and_then(|text| text.get("refresh_token"));
        let token = token.and_then(Value::as_str).unwrap_or_default();
        let copy = text.as_ref().and_then(|_| world.backend.back_up(id));
        if let Some(copy) = copy {
            world.note(format!("{id} is copied to {copy}"));
            expect_copy(world, &copy, token, &credpool::Auth::default());
        }
    }
}
