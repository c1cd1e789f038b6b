//! Stores that a former version of this crate made, and still writes: what it did is spelt here as it did it.
#![cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "sqlite")]
mod sqlite;
#[path = "../store_support/mod.rs"]
mod store_support;

use std::thread;
use std::time::Duration;

use credpool::{Auth, Intent, Missing, Revision, Saved, Status, Store};
use serde_json::{Value, json};
use time::macros::utc_datetime;

/// A process of the former version.
trait Former: Send {
    /// The credential of a record that is there, as text.
    fn load(&mut self, id: &str) -> String;

    /// Writes a record; with a generation, only over that one. It compared nothing else.
    fn put(&mut self, record: &Record<'_>, expected: Option<i64>) -> bool;

    fn remove(&mut self, id: &str);

    fn set_intent(&mut self, id: &str, intent: &str);
}

struct Record<'a> {
    id: &'a str,
    generation: i64,
    credential: &'a str,
    state: &'a str,
}

const CREDENTIAL: &str = r#"{"attributes":{"base_url":"https://llm.example.org/v1"},"created_at":"2024-01-01T00:00:00Z","disabled":false,"generation":7,"id":"team-a","label":"Team A","last_refreshed_at":"2025-01-01T00:00:00.5Z","metadata":{"access_token":"a-7","big":1e+300,"refresh_token":"r-7"},"next_refresh_after":"0001-01-01T00:00:00Z","novel":{"x":[1]},"provider":"openai","proxy_url":"http://127.0.0.1:1"}"#;
const STATE: &str = r#"{"disabled":false,"id":"team-a","last_error":{"code":"http","http_status":429,"message":"slow","retryable":true},"model_states":{"m":{"next_retry_after":"2030-01-01T00:00:00Z","odd":true,"quota":{"exceeded":true,"next_recover_at":"2030-01-01T00:00:00Z","reason":"quota"},"status":"error","unavailable":true,"updated_at":"2025-01-01T00:00:00Z"}},"next_retry_after":"0001-01-01T00:00:00Z","quota":{"exceeded":false,"next_recover_at":"0001-01-01T00:00:00Z"},"recovered":{"":"2024-06-01T00:00:00Z"},"status":"active","status_message":"fine","unavailable":false,"updated_at":"2025-01-01T00:00:00Z"}"#;
const INTENT: &str = r#"{"generation":7,"at":1735689600000,"tries":2}"#;

/// Opens what a former process wrote, after it has.
fn everything_is_kept(mut former: Box<dyn Former>, open: impl FnOnce() -> Box<dyn Store>) {
    let record = Record {
        id: "team-a",
        generation: 7,
        credential: CREDENTIAL,
        state: STATE,
    };
    assert!(former.put(&record, None));
    let gone = CREDENTIAL.replace("team-a", "gone");
    let record = Record {
        id: "gone",
        credential: &gone,
        state: r#"{"id":"gone"}"#,
        ..record
    };
    assert!(former.put(&record, Some(3)));
    former.remove("gone");
    former.set_intent("team-a", INTENT);

    let store = open();
    let listing = store.list().unwrap();
    assert!(listing.skipped.is_empty(), "{:?}", listing.skipped);
    assert_eq!(listing.records.len(), 1);
    let auth = &listing.records[0];
    let mut expected: Value = serde_json::from_str(CREDENTIAL).unwrap();
    let state: Value = serde_json::from_str(STATE).unwrap();
    for (name, value) in state.as_object().unwrap() {
        if !["disabled", "recovered"].contains(&name.as_str()) {
            expected[name] = value.clone();
        }
    }
    assert_eq!(json(auth), expected);
    assert_eq!(auth.model_states["m"].status, Status::Error);
    assert_eq!(store.missing("gone").unwrap(), Missing::Removed);
    assert_eq!(store.missing("never").unwrap(), Missing::Lost);
    let lock = store.lock("team-a", Duration::ZERO).unwrap().unwrap();
    let intent = Intent::new(7, utc_datetime!(2025-01-01 00:00)).with_tries(2);
    assert_eq!(lock.intent().unwrap(), Some(intent));
    drop(lock);
    // What the former version does not know stays as well as what it does.
    let changed = auth.clone().with_metadata("note", "new");
    let saved = store.save_if(&changed, Some(&Revision::of(auth))).unwrap();
    assert!(matches!(saved, Saved::At(_)));
    expected["metadata"]["note"] = "new".into();
    assert_eq!(json(&store.load("team-a").unwrap().unwrap()), expected);
    let there: Value = serde_json::from_str(&former.load("team-a")).unwrap();
    assert_eq!(there["metadata"], expected["metadata"]);
    // Both see what the other writes.
    let cursor = store.changes(None).unwrap().unwrap().cursor;
    former.put(&record, None);
    former.remove("team-a");
    let changes = store.changes(Some(&cursor)).unwrap().unwrap();
    assert!(!changes.complete);
    assert_eq!(changes.written[0].id, "gone");
    assert_eq!(changes.removed, ["team-a"]);
}

/// Each of the two counts for itself, in the same record: no count is undone.
fn nothing_is_lost(mut former: Box<dyn Former>, store: &dyn Store) {
    const EACH: i64 = 100;
    let start = json!({"id": "a", "provider": "p", "metadata": {"former": 0, "new": 0}});
    assert!(former.put(&of(&start, &start.to_string()), None));
    thread::scope(|scope| {
        let former = &mut former;
        scope.spawn(move || {
            for _ in 0..EACH {
                loop {
                    let there: Value = serde_json::from_str(&former.load("a")).unwrap();
                    let next = counted(&there, "former");
                    let text = next.to_string();
                    let expected = there["generation"].as_i64().unwrap_or(0);
                    if former.put(&of(&next, &text), Some(expected)) {
                        break;
                    }
                }
            }
        });
        for _ in 0..EACH {
            loop {
                let there = store.load("a").unwrap().unwrap();
                let next = serde_json::from_value(counted(&json(&there), "new")).unwrap();
                let saved = store.save_if(&next, Some(&Revision::of(&there))).unwrap();
                if matches!(saved, Saved::At(_)) {
                    break;
                }
            }
            // A state is written beside whatever credential is there.
            store
                .save_state(&store.load("a").unwrap().unwrap())
                .unwrap();
        }
    });
    let last = json(&store.load("a").unwrap().unwrap());
    assert_eq!(last["metadata"], json!({"former": EACH, "new": EACH}));
    assert_eq!(last["generation"], 2 * EACH);
    // A setting that a former process changes has no generation of its own, and is seen all the same.
    let read = store.load("a").unwrap().unwrap();
    let mut relabelled: Value = serde_json::from_str(&former.load("a")).unwrap();
    relabelled["label"] = "theirs".into();
    let text = relabelled.to_string();
    assert!(former.put(&of(&relabelled, &text), None));
    let ours = read.clone().with_label("ours");
    let Saved::Conflict(Some(there)) = store.save_if(&ours, Some(&Revision::of(&read))).unwrap()
    else {
        panic!("it was overwritten");
    };
    assert_eq!(there.label, "theirs");
    // Nor does it undo tokens that it has not seen.
    let newer = serde_json::from_value(counted(&json(&there), "new")).unwrap();
    let saved = store.save_if(&newer, Some(&Revision::of(&there))).unwrap();
    assert!(matches!(saved, Saved::At(_)));
    let late = counted(&relabelled, "former");
    let expected = relabelled["generation"].as_i64();
    assert!(!former.put(&of(&late, &late.to_string()), expected));
}

/// The record, as whoever changes its tokens writes it.
fn counted(record: &Value, who: &str) -> Value {
    let mut record = record.clone();
    let generation = record["generation"].as_i64().unwrap_or(0);
    record["generation"] = (generation + 1).into();
    let count = record["metadata"][who].as_i64().unwrap();
    record["metadata"][who] = (count + 1).into();
    record
}

fn of<'a>(record: &Value, credential: &'a str) -> Record<'a> {
    Record {
        id: "a",
        generation: record["generation"].as_i64().unwrap_or(0),
        credential,
        state: r#"{"disabled":false,"id":"a","recovered":{},"status":"active"}"#,
    }
}

fn json(auth: &Auth) -> Value {
    serde_json::to_value(auth).unwrap()
}
