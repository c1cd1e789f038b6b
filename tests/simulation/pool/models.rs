//! Which models the keys of the pool serve, under which names, and the chains that callers ask for.

use std::time::Duration;

use credpool::{Availability, Manager};

use super::keys::pick;
use super::selector::DECLINES;
use super::upstream::{Key, PROVIDER, Truth};
use super::world::Pool;
use crate::random::Random;

/// The names that a call may ask for: models, aliases and chains.
pub const ASKED: [&str; 6] = ["m", "n", "fast", "quick", "best", "any"];

/// Those of them that are no chains.
pub const NAMES: [&str; 4] = ["m", "n", "fast", "quick"];

/// The chains, with what their links ask for.
pub const CHAINS: [(&str, [&str; 2]); 2] = [("best", ["m", "n"]), ("any", ["fast", "quick"])];

/// A list of a credential, and what is sent for each of the names.
#[derive(Clone, Copy, Debug)]
pub struct List {
    pub text: &'static str,
    sent: [Option<&'static str>; 4],
}

const LISTS: [List; 6] = [
    list("m", [Some("m"), None, None, None]),
    list("n*, !m", [None, Some("n"), None, None]),
    list("m, fast=n", [Some("m"), None, Some("n"), None]),
    list(
        "fast=m, quick=m",
        [Some("m"), Some("n"), Some("m"), Some("m")],
    ),
    list("!n, quick=n", [Some("m"), None, Some("fast"), Some("n")]),
    list("fast=n, !*", [None, None, Some("n"), None]),
];

const fn list(text: &'static str, sent: [Option<&'static str>; 4]) -> List {
    List { text, sent }
}

pub fn draw(random: &mut Random) -> Option<List> {
    random.pick(&LISTS).filter(|_| random.chance(1, 3)).copied()
}

impl Key {
    /// What the vendor is to be asked for, where the key serves it.
    pub fn sent_as<'a>(&self, asked: &'a str) -> Option<&'a str> {
        let Some(list) = self.models else {
            return Some(asked);
        };
        let place = NAMES.iter().position(|name| *name == asked)?;
        list.sent[place]
    }
}

/// What a call asks for, one link after the other.
pub fn links_of<'a>(asked: &'a &'a str) -> &'a [&'a str] {
    let chain = CHAINS.iter().find(|(name, _)| name == asked);
    chain.map_or(std::slice::from_ref(asked), |(_, links)| links)
}

/// When a request comes.
pub fn check_model(truth: &mut Truth, id: &str, key: &Key, model: &str, call: u64) {
    let Some(asked) = truth.asked.get(&call).copied() else {
        return;
    };
    let mut links = links_of(&asked).iter();
    let is_served = links.any(|link| key.sent_as(link) == Some(model));
    if !is_served && !truth.is_changing(id) {
        let what = format!(
            "call {call} for {asked} asks {id} for {model}: {:?}",
            key.models
        );
        truth.breach("a_model_is_asked_only_of_credentials_that_serve_it", what);
    }
}

/// Before the first request of a call comes: whoever is ready for an earlier link, and has been so for a while, was to be asked.
pub fn check_first(truth: &mut Truth, manager: &Manager, key: &Key, model: &str, call: u64) {
    let Some(asked) = truth.asked.get(&call).copied() else {
        return;
    };
    // What it uses may be one key's alone.
    let uses_file = truth.uses_file.contains(&call);
    let was_sent = truth.sent.values().flatten().any(|one| one.call == call);
    let is_odd = truth.mischief() == DECLINES;
    if was_sent || is_odd || uses_file {
        return;
    }
    let now = truth.now();
    let links = links_of(&asked);
    let earlier = links
        .iter()
        .take_while(|link| key.sent_as(link) != Some(model));
    for link in earlier {
        let reports = manager.explain(PROVIDER, link).into_iter();
        let mut ready = reports.filter(|one| {
            one.availability == Availability::Ready && truth.is_at_rest(&one.auth_id)
        });
        let settled = truth.settled.lock().clone();
        let found = ready.find(|one| {
            let since = settled.get(&((*link).to_owned(), one.auth_id.to_string()));
            since.is_some_and(|since| *since + Duration::from_secs(1) < now)
        });
        if let Some(report) = found {
            let what = format!("call {call} for {asked} asks for {model}; for {link}, {report}");
            truth.breach("a_chain_asks_its_first_ready_link", what);
        }
    }
}

/// An operator gives a key another list, or none.
pub fn list_changes(pool: &mut Pool, random: &mut Random) {
    let Some(id) = pick(pool, random) else { return };
    let list = draw(random);
    let Some(auth) = pool.ground.manager.get_by_id(&id) else {
        return;
    };
    let mut auth = (*auth).clone();
    match list {
        Some(list) => auth.attributes.insert("models", list.text),
        None => auth.attributes.remove("models"),
    }
    pool.note(format!("{id} serves {list:?}"));
    let mut truth = pool.truth().lock();
    // A record that changes may be mended by it.
    truth.tried_unusable.remove(&id);
    if let Some(key) = truth.keys.get_mut(&id) {
        key.models = list;
    }
    drop(truth);
    pool.ground.manager.update(auth).unwrap();
    // What was tried meanwhile was tried before the change was whole.
    pool.truth().lock().tried_unusable.remove(&id);
}
