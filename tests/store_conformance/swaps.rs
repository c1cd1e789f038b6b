//! Writing only over what one has read.

use std::collections::BTreeSet;
use std::thread;

use credpool::{Auth, Missing, Revision, Saved};
use parking_lot::Mutex;
use serde_json::Value;

use crate::backends::Backend;
use crate::children::{Other, SWAPS};
use crate::records::{json, stored};

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

/// What is there instead.
fn conflict(saved: Saved) -> Option<Auth> {
    match saved {
        Saved::Conflict(there) => there.map(|there| *there),
        Saved::At(place) => panic!("saved at {place}"),
    }
}

fn at(saved: Saved) -> String {
    match saved {
        Saved::At(place) => place,
        Saved::Conflict(there) => panic!("there is {:?}", there.map(|there| there.generation())),
    }
}

pub(crate) fn a_swap_needs_the_revision_that_is_there(backend: &dyn Backend) {
    let store = backend.open();
    let first = Auth::api_key("p", "k").with_id("a").with_metadata("n", 1);
    let revision = Revision::of(&first);
    let second = first.clone().with_label("second");
    // Not where there is none.
    assert!(conflict(store.save_if(&second, Some(&revision)).unwrap()).is_none());
    assert!(store.load("a").unwrap().is_none());
    let place = at(store.save_if(&first, None).unwrap());
    assert!(!place.is_empty());
    // Every setting is part of it: no generation tells these from what is there.
    let mut disabled = first.clone();
    disabled.disabled = true;
    let others = [
        disabled,
        first.clone().with_attribute("api_key", "other"),
        first.clone().with_metadata("n", 2),
        of_generation(&first, 1),
    ];
    for expected in others.iter().map(Revision::of).map(Some).chain([None]) {
        let there = conflict(store.save_if(&second, expected.as_ref()).unwrap()).unwrap();
        assert_eq!(json(&there), json(&first));
        assert_eq!(Revision::of(&there), revision);
    }
    assert_eq!(stored(&*store), [json(&first)]);
    assert_eq!(
        at(backend.open().save_if(&second, Some(&revision)).unwrap()),
        place
    );
    assert_eq!(stored(&*store), [json(&second)]);
    // What was removed is not there.
    store.delete("a").unwrap();
    let expected = Some(&Revision::of(&second));
    assert!(conflict(backend.open().save_if(&first, expected).unwrap()).is_none());
    assert!(stored(&*store).is_empty());
    at(backend.open().save_if(&first, None).unwrap());
    assert_eq!(stored(&*backend.open()), [json(&first)]);
}

pub(crate) fn a_state_changes_no_revision(backend: &dyn Backend) {
    let store = backend.open();
    let first = Auth::api_key("p", "k").with_id("a");
    store.save(&first).unwrap();
    let mut cooling = first.clone();
    cooling.status_message = "slow".into();
    backend.open().save_state(&cooling).unwrap();
    let there = store.load("a").unwrap().unwrap();
    assert_eq!(there.status_message, "slow");
    assert_eq!(Revision::of(&there), Revision::of(&first));
    at(store
        .save_if(&first.clone().with_label("l"), Some(&Revision::of(&first)))
        .unwrap());
}

pub(crate) fn a_format_changes_no_revision(backend: &dyn Backend) {
    let store = backend.open();
    let first = Auth::api_key("p", "k")
        .with_id("a")
        .with_metadata("access_token", "é\n")
        .with_metadata("n", 1);
    store.save(&first).unwrap();
    if !backend.rewrite("a", formatted_otherwise) {
        return;
    }
    for store in [&store, &backend.open()] {
        let there = store.load("a").unwrap().unwrap();
        assert_eq!(json(&there), json(&first));
        assert_eq!(Revision::of(&there), Revision::of(&first));
        let stale = Some(Revision::of(&first.clone().with_label("l")));
        let next = first.clone().with_metadata("n", 2);
        assert!(conflict(store.save_if(&next, stale.as_ref()).unwrap()).is_some());
    }
    let second = first.clone().with_metadata("n", 2);
    at(store.save_if(&second, Some(&Revision::of(&first))).unwrap());
    assert_eq!(stored(&*backend.open()), [json(&second)]);
}

/// The same record, as another program writes JSON: the members in another order, with escapes and white space.
fn formatted_otherwise(text: &str) -> String {
    let record: Value = serde_json::from_str(text).unwrap();
    let members: Vec<_> = record.as_object().unwrap().iter().rev().collect();
    let members: Vec<_> = members
        .into_iter()
        .map(|(name, value)| {
            let value = value
                .to_string()
                .replace('é', "\\u00e9")
                .replace("\":", "\" :\t");
            format!(
                "\r\n\"\\u{:04x}{}\" : {value}",
                name.as_bytes()[0],
                &name[1..]
            )
        })
        .collect();
    let anew = format!("{{{} }}\n", members.join(" ,"));
    assert_ne!(anew, text);
    anew
}

pub(crate) fn a_swap_that_was_made_is_made(backend: &dyn Backend) {
    // Whoever lost the answer to a swap tries it again.
    let store = backend.open();
    let first = Auth::api_key("p", "k").with_id("a");
    let place = at(store.save_if(&first, None).unwrap());
    assert_eq!(at(store.save_if(&first, None).unwrap()), place);
    let second = of_generation(&first, 1);
    let expected = Some(&Revision::of(&first));
    assert_eq!(at(store.save_if(&second, expected).unwrap()), place);
    assert_eq!(at(store.save_if(&second, expected).unwrap()), place);
    let other = second.clone().with_metadata("refresh_token", "another");
    let there = conflict(store.save_if(&other, expected).unwrap()).unwrap();
    assert_eq!(json(&there), json(&second));
    assert_eq!(stored(&*backend.open()), [json(&second)]);
}

/// Two who count, each from what it has read, leave nothing out.
pub(crate) fn no_update_is_lost(backend: &dyn Backend) {
    const EACH: i64 = 500;
    let start = Auth::api_key("p", "k").with_id("a").with_metadata("n", 0);
    backend.open().save(&start).unwrap();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let store = backend.open();
                let mut seen = store.load("a").unwrap().unwrap();
                for _ in 0..EACH {
                    loop {
                        // Two who write the very same record have both written it.
                        let next = seen.clone().with_metadata("writer", writer());
                        let next = next.with_metadata("n", counted(&seen) + 1);
                        match store.save_if(&next, Some(&Revision::of(&seen))).unwrap() {
                            Saved::At(_) => {
                                seen = next;
                                break;
                            }
                            Saved::Conflict(there) => seen = *there.unwrap(),
                        }
                    }
                }
            });
        }
    });
    let last = backend.open().load("a").unwrap().unwrap();
    assert_eq!(counted(&last), 2 * EACH);
}

pub(crate) fn a_removal_is_told_from_a_loss(backend: &dyn Backend) {
    let store = backend.open();
    let auth = Auth::api_key("p", "k").with_id("a");
    store.save(&auth).unwrap();
    store.delete("a").unwrap();
    assert_eq!(backend.open().missing("a").unwrap(), Missing::Removed);
    if backend.remembers_removals() {
        assert_eq!(store.missing("never").unwrap(), Missing::Lost);
        at(store.save_if(&auth, None).unwrap());
        assert_eq!(store.missing("a").unwrap(), Missing::Lost, "it is there");
    }
}

fn counted(auth: &Auth) -> i64 {
    json(auth)["metadata"]["n"].as_i64().unwrap()
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
                    let saved = store.save_if(&next, Some(&Revision::of(&seen))).unwrap();
                    if let Saved::At(_) = saved {
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
