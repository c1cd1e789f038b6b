//! Keeping records.

use std::thread;

use credpool::{Auth, Error, ModelState, QuotaState, Revision, Status, Store};
use serde_json::{Value, json};
use time::macros::utc_datetime;

use crate::backends::Backend;
use crate::swaps::of_generation;

pub(crate) fn a_new_store_is_empty(backend: &dyn Backend) {
    let listing = backend.open().list().unwrap();
    assert!(listing.records.is_empty() && listing.skipped.is_empty());
}

pub(crate) fn what_is_saved_is_listed(backend: &dyn Backend) {
    let full: Auth = serde_json::from_value(json!({
        "id": "full", "provider": "openai", "label": "Full", "status": "error",
        "status_message": "quota exhausted", "disabled": true, "unavailable": true,
        "proxy_url": "socks5://user:word@127.0.0.1:1",
        "attributes": {"api_key": "sk-1", "priority": "3", "": ""},
        "metadata": {"access_token": "t", "nested": {"deep": [1, 2.5, null, {"x": "é\u{0}\n"}]}, "n": u64::MAX},
        "quota": {"exceeded": true, "reason": "quota", "next_recover_at": "2030-01-02T03:04:05.123456789Z"},
        "last_error": {"code": "upstream", "message": "no", "retryable": true, "http_status": 429},
        "created_at": "2025-01-01T00:00:00Z", "updated_at": "2025-01-02T00:00:00.5Z",
        "last_refreshed_at": "2025-01-03T00:00:00Z", "next_refresh_after": "2025-01-04T00:00:00Z",
        "next_retry_after": "2025-01-05T00:00:00Z",
        "model_states": {"m/1": {"status": "error", "unavailable": true, "novel": [1]}, "": {}},
        "novel": {"kept": true},
    }))
    .unwrap();
    let plain = Auth::api_key("openai", "sk-2").with_id("plain");
    let mut unset = Auth::api_key("openai", "sk-3").with_id("unset");
    unset.status = Status::Unset;
    let store = backend.open();
    for auth in [&full, &plain, &unset] {
        assert!(!store.save(auth).unwrap().is_empty());
    }
    assert_eq!(stored(&*store), [json(&full), json(&plain), json(&unset)]);
    assert_eq!(stored(&*backend.open()), stored(&*store));
}

pub(crate) fn a_save_replaces(backend: &dyn Backend) {
    let store = backend.open();
    let auth = Auth::api_key("openai", "old")
        .with_id("a")
        .with_metadata("x", 1);
    store.save(&auth).unwrap();
    let mut changed = Auth::api_key("claude", "new").with_id("a");
    changed.label = "changed".into();
    let place = store.save(&changed).unwrap();
    assert_eq!(store.save(&changed).unwrap(), place);
    assert_eq!(stored(&*backend.open()), [json(&changed)]);
}

pub(crate) fn ids_are_free_text(backend: &dyn Backend) {
    for id in hostile_ids() {
        let store = backend.open();
        let auth = Auth::api_key("p", "k").with_id(id.clone());
        store.save(&auth).unwrap();
        assert_eq!(stored(&*backend.open()), [json(&auth)], "{id:?}");
        store.save_state(&auth).unwrap();
        store.delete(&id).unwrap();
        assert!(stored(&*backend.open()).is_empty(), "{id:?}");
    }
}

pub(crate) fn no_two_ids_are_the_same_record(backend: &dyn Backend) {
    let store = backend.open();
    let mut ids = hostile_ids();
    for (number, id) in ids.iter().enumerate() {
        let auth = Auth::api_key("p", number.to_string()).with_id(id.clone());
        store.save(&auth).unwrap();
    }
    let listing = backend.open().list().unwrap();
    assert!(listing.skipped.is_empty(), "{:?}", listing.skipped);
    for auth in &listing.records {
        let number: usize = auth.attributes.get("api_key").unwrap().parse().unwrap();
        assert_eq!(ids[number], auth.id);
    }
    let mut listed: Vec<_> = listing.records.into_iter().map(|auth| auth.id).collect();
    ids.sort();
    listed.sort();
    assert_eq!(listed, ids);
}

pub(crate) fn what_is_deleted_is_gone(backend: &dyn Backend) {
    let store = backend.open();
    let mut a = Auth::api_key("p", "k").with_id("a");
    a.status_message = "from before".into();
    let b = Auth::api_key("p", "k").with_id("b");
    store.save(&a).unwrap();
    store.save(&b).unwrap();
    store.delete("a").unwrap();
    assert_eq!(stored(&*store), [json(&b)]);
    // Nothing of the former record comes back with a new one.
    let again = Auth::api_key("p", "other").with_id("a");
    store.save(&again).unwrap();
    assert_eq!(stored(&*backend.open()), [json(&again), json(&b)]);
}

pub(crate) fn deleting_the_unknown_is_no_error(backend: &dyn Backend) {
    let store = backend.open();
    store.delete("").unwrap();
    for id in hostile_ids() {
        store.delete(&id).unwrap();
    }
}

pub(crate) fn the_state_can_be_saved_alone(backend: &dyn Backend) {
    let store = backend.open();
    let mut auth = Auth::api_key("p", "k").with_id("a").with_label("label");
    store.save(&auth).unwrap();
    let at = utc_datetime!(2030-01-01 0:00);
    auth.status = Status::Error;
    auth.unavailable = true;
    auth.next_retry_after = Some(at);
    auth.quota = QuotaState::exceeded("quota", Some(at));
    auth.last_error = Some(Error::upstream(429, "slow down"));
    let mut model = ModelState::default();
    model.unavailable = true;
    auth.model_states.insert("gpt".into(), model);
    store.save_state(&auth).unwrap();
    assert_eq!(stored(&*backend.open()), [json(&auth)]);
    auth.model_states.clear();
    auth.last_error = None;
    store.save_state(&auth).unwrap();
    assert_eq!(stored(&*backend.open()), [json(&auth)]);
}

pub(crate) fn what_is_listed_is_loaded(backend: &dyn Backend) {
    let store = backend.open();
    for id in hostile_ids() {
        assert!(store.load(&id).unwrap().is_none(), "{id:?}");
        let auth = Auth::api_key("p", "k").with_id(id).with_metadata("x", 1);
        backend.open().save(&auth).unwrap();
        assert_eq!(json(&store.load(&auth.id).unwrap().unwrap()), json(&auth));
        // It is read anew each time.
        let changed = auth.with_label("changed");
        backend.open().save(&changed).unwrap();
        let loaded = store.load(&changed.id).unwrap().unwrap();
        assert_eq!(json(&loaded), json(&changed));
        assert!(loaded.runtime.is_none());
        backend.open().delete(&changed.id).unwrap();
        assert!(store.load(&changed.id).unwrap().is_none());
    }
}

pub(crate) fn a_state_brings_nothing_else_back(backend: &dyn Backend) {
    let old = Auth::api_key("p", "k").with_id("a").with_label("old");
    let store = backend.open();
    store.save(&old).unwrap();
    // Another one refreshes and disables it; the state that comes late is of the former record.
    let mut new = of_generation(&old, 1).with_label("new");
    new.disabled = true;
    new.status = Status::Disabled;
    backend.open().save(&new).unwrap();
    let mut late = old;
    late.unavailable = true;
    late.next_retry_after = Some(utc_datetime!(2030-01-01 0:00));
    store.save_state(&late).unwrap();
    let there = store.load("a").unwrap().unwrap();
    assert_eq!((there.generation(), there.label.as_str()), (1, "new"));
    assert_eq!(there.metadata, new.metadata);
    assert!(there.disabled && there.status == Status::Disabled);
    assert_eq!(there.next_retry_after, late.next_retry_after);
    // Nor does it bring back a record that is gone.
    backend.open().delete("a").unwrap();
    store.save_state(&late).unwrap();
    assert!(backend.open().list().unwrap().records.is_empty());
    let again = Auth::api_key("p", "k").with_id("a");
    store.save(&again).unwrap();
    assert_eq!(stored(&*backend.open()), [json(&again)]);
}

pub(crate) fn large_records_are_whole(backend: &dyn Backend) {
    let auth = Auth::api_key("p", "k")
        .with_id("a")
        .with_metadata("text", "é\"".repeat(200_000));
    let store = backend.open();
    store.save(&auth).unwrap();
    assert_eq!(stored(&*backend.open()), [json(&auth)]);
    assert_eq!(json(&store.load("a").unwrap().unwrap()), json(&auth));
}

pub(crate) fn what_is_not_saved_changes_nothing(backend: &dyn Backend) {
    let former = Auth::api_key("p", "k").with_id("a");
    let store = backend.open();
    store.save(&former).unwrap();
    let mut deep = json!(1);
    for _ in 0..200 {
        deep = json!([deep]);
    }
    for value in [deep, "x".repeat(3 << 20).into()] {
        let auth = former.clone().with_metadata("x", value);
        // Some stores have no such limits.
        let expected = if let Err(error) = store.save(&auth) {
            assert_eq!(error.auth_id(), Some("a"));
            assert!(store.save_if(&auth, Some(&Revision::of(&former))).is_err());
            json(&former)
        } else {
            json(&auth)
        };
        assert_eq!(json(&store.load("a").unwrap().unwrap()), expected);
    }
}

pub(crate) fn a_record_without_metadata_members_stays_storable(backend: &dyn Backend) {
    let auth = Auth::api_key("p", "k").with_id("a");
    backend.open().save(&auth).unwrap();
    let listing = backend.open().list().unwrap();
    assert!(!listing.records[0].is_runtime_only());
}

pub(crate) fn records_are_listed_in_id_order(backend: &dyn Backend) {
    let store = backend.open();
    let mut ids = ["b", "B", "a/1", "a", "é", "a-1", "~"];
    for id in ids {
        store.save(&Auth::api_key("p", "k").with_id(id)).unwrap();
    }
    ids.sort_unstable();
    let listed: Vec<_> = store.list().unwrap().records;
    assert!(listed.iter().map(|auth| auth.id.as_str()).eq(ids));
}

pub(crate) fn several_threads_may_save(backend: &dyn Backend) {
    let store = backend.open();
    thread::scope(|scope| {
        for thread in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for number in 0..10 {
                    let auth = Auth::api_key("p", "k").with_id(format!("{thread}-{number}"));
                    store.save(&auth).unwrap();
                    store.save_state(&auth).unwrap();
                    if number % 2 == 1 {
                        store.delete(&auth.id).unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(stored(&*backend.open()).len(), 20);
}

pub(crate) fn hostile_ids() -> Vec<String> {
    let mut ids: Vec<String> = [
        "a",
        "A",
        "a.b",
        ".a",
        "..",
        ".",
        "../x",
        "/etc/x",
        "a/b",
        "a\\b",
        "a\0b",
        "a b",
        "é",
        "~",
        "a~b",
        "x.json",
        "X.JSON",
        "sub/x.json",
        "../x.json",
        "x.json.state",
        "a.credential",
        "A.credential",
        "a.state",
        "con",
        "\n",
        "a.tmp",
    ]
    .into_iter()
    .map(str::to_owned)
    .collect();
    ids.extend([100, 101, 4096].map(|length| "x".repeat(length)));
    ids
}

pub(crate) fn stored(store: &dyn Store) -> Vec<Value> {
    let listing = store.list().unwrap();
    assert!(listing.skipped.is_empty(), "{:?}", listing.skipped);
    listing.records.iter().map(json).collect()
}

pub(crate) fn json(auth: &Auth) -> Value {
    serde_json::to_value(auth).unwrap()
}
