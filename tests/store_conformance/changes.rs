//! What other handles, and other hands, do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use credpool::{Auth, Changes, Cursor, Status, Store};
use serde_json::Value;

use crate::backends::Backend;
use crate::records::json;

fn sample(id: &str) -> Auth {
    Auth::api_key("p", "k").with_id(id)
}

fn look(store: &dyn Store, since: Option<&Cursor>) -> Changes {
    let changes = store.changes(since).unwrap().unwrap();
    assert!(changes.skipped.is_empty(), "{:?}", changes.skipped);
    changes
}

fn written(changes: &Changes) -> BTreeMap<&str, Value> {
    let written = changes.written.iter();
    written.map(|auth| (auth.id.as_str(), json(auth))).collect()
}

pub(crate) fn changes_begin_where_one_asks(backend: &dyn Backend) {
    let other = backend.open();
    other.save(&sample("before")).unwrap();
    let store = backend.open();
    let begin = look(&*store, None);
    assert!(begin.written.is_empty() && begin.removed.is_empty());
    other.save(&sample("after")).unwrap();
    let first = look(&*store, Some(&begin.cursor));
    assert!(written(&first).contains_key("after"));
    // The same question has the same answer, and the next one another.
    let again = look(&*store, Some(&begin.cursor));
    assert_eq!(written(&first), written(&again));
    let then = look(&*store, Some(&again.cursor));
    // It may be told again, but nothing else is.
    let told = written(&first);
    assert!(
        written(&then)
            .iter()
            .all(|(id, auth)| told.get(id) == Some(auth))
    );
    assert!(then.removed.is_empty());
}

pub(crate) fn a_listing_says_where_changes_begin(backend: &dyn Backend) {
    let other = backend.open();
    other.save(&sample("before")).unwrap();
    let store = backend.open();
    let listing = store.list().unwrap();
    assert_eq!(listing.records.len(), 1);
    other.save(&sample("after")).unwrap();
    let cursor = listing.cursor.unwrap();
    let news = look(&*store, Some(&cursor));
    // What was being written at that moment may be told again.
    let seen = written(&news);
    assert!(seen.contains_key("after"));
    assert!(seen.keys().all(|id| ["before", "after"].contains(id)));
    let read_again = store.list().unwrap();
    let news = look(&*store, read_again.cursor.as_ref());
    assert!(news.written.iter().all(|auth| {
        read_again
            .records
            .iter()
            .any(|listed| json(listed) == json(auth))
    }));
}

pub(crate) fn what_another_handle_does_is_seen(backend: &dyn Backend) {
    let store = backend.open();
    let other = backend.open();
    for id in ["a", "b", "c"] {
        other.save(&sample(id)).unwrap();
    }
    assert_eq!(store.list().unwrap().records.len(), 3);
    let mut cursor = look(&*store, None).cursor;
    // What has gone may be told again.
    let mut gone: BTreeSet<String> = BTreeSet::new();
    let mut step = |expected: &[Auth], removed: &[&str]| {
        let changes = look(&*store, Some(&cursor));
        let seen = written(&changes);
        for auth in expected {
            assert_eq!(seen.get(auth.id.as_str()), Some(&json(auth)));
        }
        for id in removed {
            assert!(changes.removed.iter().any(|told| told == id), "{id}");
            gone.insert((*id).to_owned());
        }
        assert!(changes.removed.iter().all(|id| gone.contains(id)));
        cursor = changes.cursor;
    };
    // A token, a cooldown, an operator's switch, an arrival, a departure.
    let renewed = sample("a").with_metadata("access_token", "new");
    other.save(&renewed).unwrap();
    step(std::slice::from_ref(&renewed), &[]);
    let mut cooling = renewed.clone();
    cooling.status = Status::Error;
    cooling.status_message = "quota exhausted".into();
    other.save_state(&cooling).unwrap();
    step(&[cooling], &[]);
    let mut disabled = sample("b");
    disabled.disabled = true;
    disabled.status = Status::Disabled;
    other.save(&disabled).unwrap();
    other.save(&sample("d")).unwrap();
    other.delete("c").unwrap();
    step(&[disabled, sample("d")], &["c"]);
    // Gone and back.
    other.delete("d").unwrap();
    other.save(&sample("d").with_label("back")).unwrap();
    step(&[sample("d").with_label("back")], &[]);
    step(&[], &[]);
}

pub(crate) fn own_writes_are_no_news(backend: &dyn Backend) {
    if !backend.knows_its_own_writes() {
        return;
    }
    let store = backend.open();
    let other = backend.open();
    store.save(&sample("a")).unwrap();
    store.save(&sample("b")).unwrap();
    let begin = look(&*store, None).cursor;
    store.save(&sample("a").with_label("new")).unwrap();
    let mut cooling = sample("b");
    cooling.status_message = "slow".into();
    store.save_state(&cooling).unwrap();
    store.save(&sample("c")).unwrap();
    let changes = look(&*store, Some(&begin));
    assert_eq!(written(&changes), BTreeMap::new());
    // Where two write, each hears of the other, whoever was last.
    other.save(&sample("a").with_label("theirs")).unwrap();
    let mut cooling = sample("a");
    cooling.status_message = "ours".into();
    store.save_state(&cooling).unwrap();
    let changes = look(&*store, Some(&begin));
    assert_eq!(changes.written.len(), 1);
    assert_eq!(changes.written[0].label, "theirs");
    assert_eq!(changes.written[0].status_message, "ours");
}

pub(crate) fn no_writer_is_missed(backend: &dyn Backend) {
    const WRITERS: usize = 4;
    const RECORDS: usize = 15;
    let store = backend.open();
    let mut cursor = look(&*store, None).cursor;
    let mut seen = BTreeSet::new();
    let done = AtomicUsize::new(0);
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let done = &done;
            scope.spawn(move || {
                let store = backend.open();
                for number in 0..RECORDS {
                    store.save(&sample(&format!("{writer}-{number}"))).unwrap();
                }
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
        loop {
            let last = done.load(Ordering::SeqCst) == WRITERS;
            let changes = look(&*store, Some(&cursor));
            cursor = changes.cursor;
            seen.extend(changes.written.into_iter().map(|auth| auth.id));
            if last {
                break;
            }
        }
    });
    assert_eq!(seen.len(), WRITERS * RECORDS);
}

/// As after a server has lost its last writes, or an older copy was put back.
pub(crate) fn a_foreign_cursor_gives_all_there_is(backend: &dyn Backend) {
    let store = backend.open();
    for id in ["a", "b", "c"] {
        store.save(&sample(id)).unwrap();
    }
    store.delete("c").unwrap();
    let begin = look(&*store, None);
    assert!(!begin.complete);
    assert!(!look(&*store, Some(&begin.cursor)).complete);
    for foreign in ["", "elsewhere", "9223372036854775807"] {
        let all = look(&*store, Some(&Cursor::new(foreign)));
        assert!(all.complete, "{foreign:?}");
        let ids: Vec<_> = written(&all).into_keys().map(str::to_owned).collect();
        assert_eq!(ids, ["a", "b"]);
        assert!(all.removed.iter().all(|id| id == "c"), "{:?}", all.removed);
        assert!(!look(&*store, Some(&all.cursor)).complete);
    }
}
