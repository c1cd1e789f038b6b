//! What operators, and the programs themselves, ask of a process.

use credpool::{Auth, Error, Metadata, Options, Outcome, Request};

use crate::elsewhere;
use crate::endpoint::{access_token, refresh_token};
use crate::exchanges::is_exchanged;
use crate::executor::{MODEL, PROVIDER};
use crate::jobs::Change;
use crate::promises::SEEN;
use crate::promises::cooldowns::cooling;
use crate::random::Random;
use crate::steps::{pick_record, pick_running};
use crate::truth::{Field, Presence, grant_of, sent_token};
use crate::world::{Copy, World, key};

/// A process that runs, and the record as it has it.
fn pick(world: &World, random: &mut Random) -> Option<(usize, Auth)> {
    let place = pick_running(world, random)?;
    let id = pick_record(world, random)?;
    let auth = world.processes[place].as_ref()?.manager.get_by_id(&id)?;
    Some((place, (*auth).clone()))
}

/// The fields that a record of this form has.
pub fn fields(world: &World, id: &str) -> Vec<Field> {
    let is_key = id.starts_with('k');
    let is_elsewhere = id == elsewhere::ID;
    let fits = |field: &Field| match field {
        Field::Key => is_key,
        Field::BaseUrl => !world.backend.is_token_file(id),
        // The whole of the metadata is another program's.
        Field::Note | Field::MaxTokens => !is_elsewhere,
        _ => true,
    };
    Field::ALL.into_iter().filter(fits).collect()
}

pub fn refresh(world: &mut World, random: &mut Random) {
    let Some((place, auth)) = pick(world, random) else {
        return;
    };
    let id = auth.id;
    let record = world_record(world, place, &id);
    if sent_token(&record).is_none() && !is_exchanged(&record) && id != elsewhere::ID {
        return;
    }
    let changes = vec![Change::Refreshed(id.clone())];
    world.start(place, format!("refresh {id}"), changes, move |manager| {
        manager.refresh_now(&id).map(drop)
    });
}

fn world_record(world: &World, place: usize, id: &str) -> Auth {
    let process = world.processes[place].as_ref();
    let auth = process.and_then(|process| process.manager.get_by_id(id));
    auth.map(|auth| (*auth).clone()).unwrap_or_default()
}

/// A call by any credential. Where one is ready, it must not wait.
pub fn call(world: &mut World, random: &mut Random) {
    let Some(place) = pick_running(world, random) else {
        return;
    };
    let process = world.processes[place].as_ref().unwrap();
    let ready = crate::promises::calls::ready(world, process);
    let cancel = process.cancel.clone();
    let changes = vec![Change::Called(ready)];
    world.start(place, "call", changes, move |manager| {
        let options = Options::new().with_cancel(cancel);
        let request = Request::new(MODEL, "{}");
        manager.execute([PROVIDER], &request, &options).map(drop)
    });
}

pub fn update_fresh(world: &mut World, random: &mut Random) {
    if let Some((place, auth)) = pick(world, random) {
        update(world, random, place, auth, "fresh");
    }
}

pub fn take_copy(world: &mut World, random: &mut Random) {
    if let Some((place, auth)) = pick(world, random) {
        let pid = world.processes[place].as_ref().unwrap().pid;
        world.note(format!("p{pid}: a copy of {} is taken", auth.id));
        world.copies.push(Copy { pid, auth });
    }
}

/// A copy that was taken some steps ago comes back.
pub fn update_old(world: &mut World, random: &mut Random) {
    let places = world.processes.iter().enumerate();
    let alive: Vec<_> = places
        .filter_map(|(place, process)| Some((place, process.as_ref()?)))
        .filter(|(_, process)| process.frozen.is_none())
        .map(|(place, process)| (place, process.pid))
        .collect();
    let owned = |copy: &Copy| alive.iter().find(|(_, pid)| *pid == copy.pid);
    let copies = world.copies.iter();
    let usable: Vec<_> = copies
        .filter_map(|copy| Some((owned(copy)?.0, copy.auth.clone())))
        .collect();
    if let Some((place, auth)) = random.pick(&usable).cloned() {
        update(world, random, place, auth, "old");
    }
}

/// Changes one field of a copy, or another expiry, and gives it back.
fn update(world: &mut World, random: &mut Random, place: usize, mut auth: Auth, age: &str) {
    let id = auth.id.clone();
    let fields = fields(world, &id);
    let mut changes = Vec::new();
    let what = if random.chance(1, 6) && sent_token(&auth).is_some() {
        let metadata = auth.metadata.get_or_insert_default();
        metadata.insert("expires_at", "2025-01-01T10:00:01Z");
        format!("update {age} {id}: expires_at")
    } else {
        let field = *random.pick(&fields).unwrap();
        let value = world.new_value(field);
        // Where the copy has that value already, its caller changes nothing.
        let changes_it = field.of(&auth) != value;
        field.set(&mut auth, &value);
        let what = format!("update {age} {id}: {field:?} = {value}");
        changes.extend(changes_it.then_some(Change::Field(id, field, value)));
        what
    };
    world.start(place, what, changes, move |manager| {
        manager.update(auth).map(drop)
    });
}

pub fn set_disabled(world: &mut World, random: &mut Random) {
    let Some((place, auth)) = pick(world, random) else {
        return;
    };
    let (id, disabled) = (auth.id.clone(), random.chance(2, 3));
    let changes = vec![Change::Field(id.clone(), Field::Disabled, disabled.into())];
    world.start(
        place,
        format!("set_disabled {id} {disabled}"),
        changes,
        move |manager| manager.set_disabled(&id, disabled).map(drop),
    );
}

/// A program registers its configured records at each start.
pub fn register_again(world: &mut World, random: &mut Random) {
    let Some(place) = pick_running(world, random) else {
        return;
    };
    let id = ["a", "b", "k"][random.below(3)];
    let expected = world.truth().lock().records.get(id).cloned();
    let expected = expected.unwrap_or_default();
    let is_there = expected.presence == Presence::Present;
    let mut changes = vec![Change::Registered(id.into())];
    let auth = if id == "k" {
        changes.push(Change::Field(id.into(), Field::Key, "sk-0".into()));
        key("k", "sk-0")
    } else if is_there {
        let grant = usize::from(id == "b") + configured(world);
        if expected.grant != Some(grant) {
            changes.push(Change::BlurLogin(id.into()));
        }
        world.truth().lock().forget_refusals(grant);
        world.login(id, grant)
    } else {
        // Nothing can know any more which tokens it has spent.
        let grant = world.log_in();
        changes.push(Change::Login(id.into(), grant));
        world.login(id, grant)
    };
    changes.extend([
        Change::Field(id.into(), Field::Label, "configured".into()),
        Change::Field(id.into(), Field::BaseUrl, Field::BaseUrl.of(&auth)),
        Change::Blur(id.into(), Field::Note),
        Change::Blur(id.into(), Field::MaxTokens),
    ]);
    world.start(
        place,
        format!("register {id} again"),
        changes,
        move |manager| manager.register(auth).map(drop),
    );
}

/// The grant of the first configured login.
fn configured(world: &World) -> usize {
    usize::from(world.backend.is_token_file(crate::world::TOKEN_FILE))
}

/// A person logs in anew, and a process is given the tokens.
pub fn log_in_again(world: &mut World, random: &mut Random) {
    let Some((place, mut auth)) = pick(world, random) else {
        return;
    };
    if sent_token(&auth).is_none() {
        return;
    }
    let grant = world.log_in();
    let id = auth.id.clone();
    put_login(auth.metadata.get_or_insert_default(), grant);
    let changes = vec![Change::Login(id.clone(), grant)];
    world.start(
        place,
        format!("new login {grant} for {id}"),
        changes,
        move |manager| manager.update(auth).map(drop),
    );
}

fn put_login(metadata: &mut Metadata, grant: usize) {
    metadata.insert("access_token", access_token(grant, 0));
    metadata.insert("refresh_token", refresh_token(grant, 0));
    metadata.remove("expires_at");
}

pub fn replace_key(world: &mut World, random: &mut Random) {
    let Some(place) = pick_running(world, random) else {
        return;
    };
    let mut auth = world_record(world, place, "k");
    if auth.id.is_empty() {
        return;
    }
    let value = world.new_value(Field::Key);
    Field::Key.set(&mut auth, &value);
    let changes = vec![Change::Field("k".into(), Field::Key, value.clone())];
    world.start(
        place,
        format!("update k: Key = {value}"),
        changes,
        move |manager| manager.update(auth).map(drop),
    );
}

pub fn remove(world: &mut World, random: &mut Random) {
    let Some((place, auth)) = pick(world, random) else {
        return;
    };
    let id = auth.id;
    if id == elsewhere::ID {
        // That is up to the program whose file it is in.
        return;
    }
    let changes = vec![Change::Removed(id.clone())];
    // Another command may follow it before it is acknowledged.
    world.truth().lock().ever_removed.insert(id.clone());
    world.start(place, format!("remove {id}"), changes, move |manager| {
        manager.remove(&id).map(drop)
    });
}

/// The same login under two ids.
pub fn register_same_login(world: &mut World, random: &mut Random) {
    let Some((place, auth)) = pick(world, random) else {
        return;
    };
    let id = format!("{}-copy", auth.id.trim_end_matches(".json"));
    let known = world.truth().lock().records.contains_key(&id);
    let Some(token) = sent_token(&auth).filter(|_| !known) else {
        return;
    };
    let metadata = auth.metadata.clone().unwrap_or_default();
    let mut copy = Auth::new(PROVIDER).with_id(&id);
    for (name, value) in metadata.iter() {
        copy = copy.with_metadata(name, value.clone());
    }
    expect_copy(world, &id, &token, &copy);
    let changes = vec![Change::Registered(id.clone())];
    world.start(
        place,
        format!("register {id} with {token}"),
        changes,
        move |manager| manager.register(copy).map(drop),
    );
}

/// A record that shares its login with another one.
pub fn expect_copy(world: &mut World, id: &str, token: &str, auth: &Auth) {
    world.expect(id, grant_of(token), auth);
    let mut truth = world.truth().lock();
    if let Some(grant) = grant_of(token) {
        truth.forget_refusals(grant);
    }
    truth.blur_record(id);
    if let Some(expected) = truth.records.get_mut(id) {
        expected.is_copy = true;
    }
}

pub fn cool_down(world: &mut World, random: &mut Random) {
    let Some((place, auth)) = pick(world, random) else {
        return;
    };
    let id = auth.id;
    let length = random.millis(&[5_000, 20_000, 60_000]);
    let changes = vec![Change::Cooled(id.clone(), length)];
    world.start(
        place,
        format!("cool_down {id} {length:?}"),
        changes,
        move |manager| manager.cool_down(&id, None, length),
    );
}

/// Mostly what is out is reset.
pub fn reset(world: &mut World, random: &mut Random) {
    let Some((place, auth)) = pick(world, random) else {
        return;
    };
    let manager = &world.processes[place].as_ref().unwrap().manager;
    let cooling: Vec<_> = cooling(manager).into_iter().collect();
    let id = match random.pick(&cooling) {
        Some(id) if random.chance(3, 4) => id.clone(),
        _ => auth.id,
    };
    let cools = cooling.contains(&id);
    // What another process has just been told may not be known here.
    let told = world.truth().lock().cooldowns.get(&id).map(|one| one.told);
    let settled = told.unwrap_or_default().max(world.disturbed) + SEEN;
    let changes = if cools && world.now() > settled {
        vec![Change::Reset(id.clone())]
    } else {
        Vec::new()
    };
    world.start(place, format!("reset {id}"), changes, move |manager| {
        manager.reset(&id)
    });
}

/// The program has made a request by itself, and was limited.
pub fn mark_result(world: &mut World, random: &mut Random) {
    let Some((place, auth)) = pick(world, random) else {
        return;
    };
    let id = auth.id;
    let length = random.millis(&[2_000, 20_000, 90_000]);
    let changes = vec![Change::Cooled(id.clone(), length)];
    world.start(
        place,
        format!("mark_result {id} 429 {length:?}"),
        changes,
        move |manager| {
            let error = Error::upstream(429, "slow down").with_retry_after(length);
            manager.mark_result(&Outcome::failure(&id, PROVIDER, MODEL, error));
            Ok(())
        },
    );
}
