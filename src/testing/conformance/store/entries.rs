//! Promises about entries: small values that processes share beside the records.

use std::sync::Arc;

use super::Fixture;
use super::processes::Other;
use super::samples::{MANY, entry, hostile_ids, sample, short, stored};
use crate::store::{Store, StoreEntry};
use crate::testing::conformance::threads::Threads;
use crate::testing::conformance::{Stop, Verdict, same};

/// What is under the keys, in the order of those.
fn found(store: &dyn Store, keys: &[String]) -> Result<Vec<StoreEntry>, Stop> {
    let mut found = store.load_entries(keys)?;
    let place = |entry: &StoreEntry| keys.iter().position(|key| *key == entry.key);
    found.sort_by_key(place);
    Ok(found)
}

fn one(store: &dyn Store, key: &str) -> Result<Option<StoreEntry>, Stop> {
    Ok(found(store, &[key.to_owned()])?.pop())
}

pub(super) fn an_entry_is_found_under_its_key(fixture: &Fixture) -> Verdict {
    let store = fixture.open();
    let keys = hostile_ids();
    same("what a new store has", &found(&*store, &keys)?, &vec![])?;
    store.save_entries(&[], MANY)?;
    let values = keys.iter().map(|key| format!("of {key}"));
    let all: Vec<_> = keys
        .iter()
        .zip(values)
        .map(|(key, value)| entry(key, &value, 1))
        .collect();
    store.save_entries(&all, MANY)?;
    for store in [store, fixture.open()] {
        for wanted in &all {
            let what = format!("the entry {}", short(&wanted.key));
            same(&what, &one(&*store, &wanted.key)?.as_ref(), &Some(wanted))?;
        }
        same("all of them", &found(&*store, &keys)?, &all)?;
        let unknown = ["unknown".to_owned(), keys[0].clone()];
        same("one of two", &found(&*store, &unknown)?.len(), &1)?;
    }
    Ok(())
}

pub(super) fn the_last_entry_under_a_key_counts(fixture: &Fixture) -> Verdict {
    let store = fixture.open();
    store.save_entries(&[entry("a", "1", 9), entry("b", "1", 1)], MANY)?;
    let second = entry("a", "2", 1);
    fixture
        .open()
        .save_entries(std::slice::from_ref(&second), MANY)?;
    same("a replaced entry", &one(&*store, "a")?, &Some(second))?;
    let again = [
        StoreEntry::removal("a"),
        StoreEntry::removal("unknown"),
        entry("b", "2", 2),
        StoreEntry::removal("c"),
        entry("c", "1", 3),
        entry("b", "3", 3),
    ];
    store.save_entries(&again, MANY)?;
    let keys = ["a", "b", "c", "unknown"].map(str::to_owned);
    same(
        "what is left of all writes",
        &found(&*fixture.open(), &keys)?,
        &vec![entry("b", "3", 3), entry("c", "1", 3)],
    )
}

pub(super) fn entries_are_no_records(fixture: &Fixture) -> Verdict {
    let store = fixture.open();
    store.save(&sample("a"))?;
    store.save_entries(&[entry("a", "1", 1), entry("b", "1", 1)], MANY)?;
    store.delete("b")?;
    same("the records", &stored(&*fixture.open())?.len(), &1)?;
    store.save_entries(&[StoreEntry::removal("a")], MANY)?;
    same("the records", &stored(&*fixture.open())?.len(), &1)?;
    same("the entry", &one(&*store, "b")?, &Some(entry("b", "1", 1)))
}

pub(super) fn the_entries_that_expire_first_make_room(fixture: &Fixture) -> Verdict {
    let store = fixture.open();
    let key = |number: u64| format!("{number:03}");
    // Those that end last are neither the first nor the last that are written.
    for number in (0..ENTRIES).step_by(3) {
        let some = (number..number + 3).map(|number| {
            let ends = (number * 7) % ENTRIES;
            entry(&key(ends), "x", ends)
        });
        store.save_entries(&some.collect::<Vec<_>>(), FEW)?;
    }
    let all: Vec<_> = (0..ENTRIES).map(key).collect();
    let left = found(&*fixture.open(), &all)?;
    ensure!(
        left.len() <= 2 * FEW,
        "{} entries are kept where {FEW} are enough",
        left.len()
    );
    let last: Vec<_> = left
        .iter()
        .rev()
        .take(FEW)
        .rev()
        .map(|entry| &entry.key)
        .collect();
    let wanted: Vec<_> = all.iter().rev().take(FEW).rev().collect();
    same("those that end last", &last, &wanted)
}

pub(super) fn no_entry_of_another_writer_is_lost(fixture: &Fixture) -> Verdict {
    let shared = Arc::clone(fixture);
    let key = |thread: usize, number: usize| format!("{thread}-{number}");
    let threads = Threads::start(THREADS, move |thread| {
        let store = shared.open();
        for number in 0..WRITES {
            let mine = entry(&key(thread, number), "x", 1);
            store.save_entries(&[mine.clone(), entry("all", "x", 1)], MANY)?;
            same(
                "what was just written",
                &one(&*store, &mine.key)?,
                &Some(mine),
            )?;
        }
        Ok(())
    })?;
    threads.join()?;
    let numbers = (0..THREADS).flat_map(|thread| (0..WRITES).map(move |number| (thread, number)));
    let keys: Vec<_> = numbers
        .map(|(thread, number)| key(thread, number))
        .collect();
    same(
        "the entries of all",
        &found(&*fixture.open(), &keys)?.len(),
        &keys.len(),
    )
}

pub(super) fn what_a_killed_process_has_written_is_there(fixture: &Fixture) -> Verdict {
    let store = fixture.open();
    let mut other = Other::start(fixture, "keep a")?;
    while other.hear_number()? < 5 {}
    let said = other.kill()?;
    let last = said.last().map_or(Ok(5), |said| said.parse::<u64>());
    let last = last.map_err(|_| Stop::Broken("it says no number".to_owned()))?;
    let left = one(&*store, "a")?;
    let value = left.and_then(|entry| entry.value).unwrap_or_default();
    let written: u64 = value.parse().unwrap_or_default();
    ensure!(
        written >= last,
        "the entry has {value}, and {last} was written"
    );
    // What it was killed in keeps no other process from writing.
    let next = entry("b", "1", 1);
    store.save_entries(std::slice::from_ref(&next), MANY)?;
    same(
        "an entry of afterwards",
        &one(&*fixture.open(), "b")?,
        &Some(next),
    )
}

const FEW: usize = 20;
/// No multiple of seven, and one of three.
const ENTRIES: u64 = 240;
const THREADS: usize = 4;
const WRITES: usize = 20;
