//! Writing only over what one has read.

use std::collections::BTreeSet;
use std::thread;

use credpool::{Auth, Saved};
use parking_lot::Mutex;

use crate::backends::Backend;
use crate::children::{Other, SWAPS};
use crate::records::{json, stored};

pub(crate) fn generation_of(auth: &Auth) -> u64 {
    auth.generation()
}

/// The same record with tokens of another generation, as a refresh makes it.
pub(crate) fn of_generation(auth: &Auth, generation: u64) -> Auth {
    let mut json = json(auth);
    json["generation"] = generation.into();
    json["metadata"]["refresh_token"] = format!("token-{generation}").into();
    serde_json::from_value(json).unwrap()
}

pub(crate) fn successor(auth: &Auth) -> Auth {
    of_generation(auth, auth.generation() + 1).with_metadata("writer", writer())
}

/// Says which thread of which process it was.
fn writer() -> String {
    format!("{} {:?}", std::process::id(), thread::current().id())
}

fn refused(saved: Saved) -> Auth {
    match saved {
        Saved::Refused(auth) => *auth,
        Saved::At(place) => panic!("saved at {place}"),
    }
}

fn at(saved: Saved) -> String {
    match saved {
        Saved::At(place) => place,
        Saved::Refused(auth) => panic!("refused for {}", auth.generation()),
    }
}

pub(crate) fn a_swap_needs_the_generation_that_is_there(backend: &dyn Backend) {
    let store = backend.open();
    let first = Auth::api_key("p", "k").with_id("a");
    // There is none: any generation will do.
    let place = at(store.save_if(&of_generation(&first, 5), 4).unwrap());
    assert!(!place.is_empty());
    let sixth = of_generation(&first, 6).with_label("sixth");
    for expected in [0, 4, 6, 7] {
        let there = refused(store.save_if(&sixth, expected).unwrap());
        assert_eq!(json(&there), json(&of_generation(&first, 5)), "{expected}");
    }
    assert_eq!(stored(&*store), [json(&of_generation(&first, 5))]);
    assert_eq!(at(backend.open().save_if(&sixth, 5).unwrap()), place);
    assert_eq!(stored(&*store), [json(&sixth)]);
    // The same generation may be written again, by who knows it: a label is no token.
    let relabelled = of_generation(&first, 6).with_label("again");
    at(store.save_if(&relabelled, 6).unwrap());
    assert_eq!(stored(&*store), [json(&relabelled)]);
    store.delete("a").unwrap();
    at(store.save_if(&sixth, 0).unwrap());
    assert_eq!(stored(&*backend.open()), [json(&sixth)]);
}

pub(crate) fn a_swap_that_was_made_is_made(backend: &dyn Backend) {
    // Whoever lost the answer to a swap tries it again.
    let store = backend.open();
    let first = Auth::api_key("p", "k").with_id("a");
    store.save(&first).unwrap();
    let second = of_generation(&first, 1);
    let place = at(store.save_if(&second, 0).unwrap());
    assert_eq!(at(store.save_if(&second, 0).unwrap()), place);
    let other = second.clone().with_metadata("refresh_token", "another");
    refused(store.save_if(&other, 0).unwrap());
    assert_eq!(stored(&*backend.open()), [json(&second)]);
}

pub(crate) fn one_thread_wins_each_generation(backend: &dyn Backend) {
    let start = Auth::api_key("p", "k").with_id("a");
    backend.open().save(&start).unwrap();
    let won = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let store = backend.open();
                for _ in 0..10 {
                    let seen = store.load("a").unwrap().unwrap();
                    let next = successor(&seen);
                    if let Saved::At(_) = store.save_if(&next, seen.generation()).unwrap() {
                        won.lock().push(next.generation());
                    }
                }
            });
        }
    });
    let won = won.into_inner();
    let distinct: BTreeSet<u64> = won.iter().copied().collect();
    assert_eq!(distinct.len(), won.len(), "{won:?}");
    let last = backend.open().load("a").unwrap().unwrap().generation();
    assert_eq!(last, won.len() as u64);
    assert!(last >= 10, "who is alone wins: {last}");
}

pub(crate) fn one_process_wins_each_generation(backend: &dyn Backend) {
    let start = Auth::api_key("p", "k").with_id("a");
    backend.open().save(&start).unwrap();
    let others: Vec<_> = (0..3)
        .filter_map(|_| Other::start(backend, "swap a"))
        .collect();
    if others.is_empty() {
        return;
    }
    let won: u64 = others
        .into_iter()
        .map(|mut other| {
            let won: u64 = other.hear().parse().unwrap();
            other.end();
            won
        })
        .sum();
    let last = backend.open().load("a").unwrap().unwrap();
    assert_eq!(last.generation(), won);
    assert!(won >= SWAPS, "who is alone wins: {won}");
}

pub(crate) fn a_killed_writer_leaves_the_last_record_whole(backend: &dyn Backend) {
    let store = backend.open();
    let start = Auth::api_key("p", "k").with_id("a");
    store.save(&start).unwrap();
    for heard in 0..6 {
        let Some(mut other) = Other::start(backend, "write a") else {
            return;
        };
        let mut acknowledged: u64 = other.hear().parse().unwrap();
        for _ in 0..heard {
            acknowledged = other.hear().parse().unwrap();
        }
        // Wherever it is by now.
        for said in other.kill() {
            acknowledged = said.parse().unwrap();
        }
        let listing = backend.open().list().unwrap();
        assert!(listing.skipped.is_empty(), "{:?}", listing.skipped);
        let there = store.load("a").unwrap().unwrap();
        let generation = there.generation();
        assert!(
            (acknowledged..=acknowledged + 1).contains(&generation),
            "{generation} is there, {acknowledged} was acknowledged"
        );
        let token = there.metadata.as_ref().unwrap().text("refresh_token");
        assert_eq!(token, Some(format!("token-{generation}").as_str()));
    }
}
