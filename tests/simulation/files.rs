//! Files: each credential is an account, and what it has made is there for no other one, whichever process asks for it.

use credpool::{ErrorCode, Options, Request};
use serde_json::{Value, json};

use crate::executor::{MODEL, PROVIDER};
use crate::random::Random;
use crate::steps::{pick_running, running};
use crate::timeline::Pid;
use crate::truth::Truth;
use crate::world::World;

/// A file that was made.
pub struct File {
    owner: String,
    /// The process that knows of it by itself.
    by: Pid,
    /// The store has that, too, since the process had nothing left to save.
    shared: bool,
}

impl Truth {
    /// What a credential answers: which file it has made, where it was to make one. It has those alone that it has made.
    pub fn answer_for(&mut self, pid: Pid, id: &str, payload: &[u8]) -> String {
        let asked: Value = serde_json::from_slice(payload).unwrap();
        if let Some(name) = asked["file_id"].as_str()
            && let Some(file) = self.files.get(name)
            && file.shared
            && file.owner != id
        {
            let what = format!("p{pid} asks {id} for {name}, which {} has made", file.owner);
            self.breach("an_id_is_asked_of_the_account_that_made_it", what);
        }
        if asked["makes"] != true {
            return id.to_owned();
        }
        self.made += 1;
        let name = format!("file-{}", self.made);
        let file = File {
            owner: id.to_owned(),
            by: pid,
            shared: false,
        };
        self.files.insert(name.clone(), file);
        json!({ "id": name, "object": "file" }).to_string()
    }
}

pub fn make(world: &mut World, random: &mut Random) {
    if let Some(place) = pick_running(world, random) {
        call(world, place, "make a file", json!({ "makes": true }), None);
    }
}

/// Asks any process for a file that all of them can know of.
pub fn ask_for(world: &mut World, random: &mut Random) {
    note_shared(world);
    let truth = world.truth();
    let files: Vec<(String, String)> = {
        let truth = truth.lock();
        let shared = truth.files.iter().filter(|(_, file)| file.shared);
        shared
            .map(|(name, file)| (name.clone(), file.owner.clone()))
            .collect()
    };
    let Some(place) = pick_running(world, random) else {
        return;
    };
    if let Some((name, owner)) = random.pick(&files) {
        let payload = json!({ "file_id": name });
        call(
            world,
            place,
            &format!("ask for {name}"),
            payload,
            Some(owner.clone()),
        );
    }
}

/// A call. Where the owner of what it names cannot serve it, the error says so.
fn call(world: &mut World, place: usize, what: &str, payload: Value, owner: Option<String>) {
    let Some(process) = &world.processes[place] else {
        return;
    };
    let (pid, cancel) = (process.pid, process.cancel.clone());
    let truth = world.truth().clone();
    world.start(place, what, Vec::new(), move |manager| {
        let options = Options::new().with_cancel(cancel);
        let request = Request::new(MODEL, payload.to_string());
        let result = manager.execute([PROVIDER], &request, &options);
        let refusals = [
            ErrorCode::AuthNotFound,
            ErrorCode::AuthUnavailable,
            ErrorCode::LimitReached,
        ];
        if let (Err(error), Some(owner)) = (&result, owner)
            && refusals.contains(error.code())
            && error.auth_id() != Some(&owner)
        {
            let what = format!("p{pid} is to ask {owner}, and says {error}");
            let mut truth = truth.lock();
            truth.breach("an_owner_that_cannot_serve_is_named", what);
        }
        result.map(drop)
    });
}

/// What a process knows that has saved all that it has, every process can know. What one knew that is gone, nobody need know.
fn note_shared(world: &World) {
    let saved: Vec<Pid> = running(world)
        .into_iter()
        .filter_map(|place| world.processes[place].as_ref())
        .filter(|process| process.manager.store_health().unsaved == 0)
        .map(|process| process.pid)
        .collect();
    let can_share = !world.unmounted;
    let mut truth = world.truth().lock();
    let Truth { files, lives, .. } = &mut *truth;
    files.retain(|_, file| {
        file.shared |= can_share && saved.contains(&file.by);
        let is_gone = lives.get(&file.by).is_none_or(|life| life.died.is_some());
        file.shared || !is_gone
    });
}
