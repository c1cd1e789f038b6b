//! A store and an executor that are no part of this crate, written as their authors would, keep what the crate's own keep.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../examples/custom_executor/executor.rs"]
mod acme;
/// The library's own file, compiled against the public interface: a vendor with an API of its own needs nothing else.
#[allow(unreachable_pub, reason = "public where it stands")]
#[path = "../src/provider/cohere/mod.rs"]
mod cohere;
#[path = "executor_support/cohere.rs"]
mod cohere_answers;
#[path = "../examples/redb_store/store.rs"]
mod store;

use std::sync::Arc;

use acme::Acme;
use cohere::Cohere;
use cohere_answers::CohereAnswers;
use credpool::provider;
use credpool::testing::conformance::{
    Ability, Event, ExecutorFixture, StoreFixture, check_executor, check_store,
};
use credpool::{ProviderExecutor, Request, Store};
use serde_json::json;
use store::RedbStore;

mod auth {
    pub(crate) use credpool::Auth;
}
mod error {
    pub(crate) use credpool::Error;
}
mod executor {
    pub(crate) use credpool::ChunkSource;
}
mod request {
    pub(crate) use credpool::{Request, Response, StreamChunk, ToolCall, Usage};
}

struct Redb {
    store: RedbStore,
    _dir: tempfile::TempDir,
}

impl Redb {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = RedbStore::open(&dir.path().join("records.redb")).unwrap();
        Self { store, _dir: dir }
    }
}

impl StoreFixture for Redb {
    fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.store.clone())
    }

    fn lacks(&self) -> &[Ability] {
        &[Ability::OwnWrites, Ability::Entries]
    }
}

#[test]
fn a_store_over_redb_keeps_what_every_store_promises() {
    let report = check_store(Redb::new);
    println!("{report}");
    let skipped: Vec<_> = report
        .skipped
        .iter()
        .map(|(promise, _)| &**promise)
        .collect();
    assert_eq!(
        skipped,
        [
            "a format changes no revision",
            "one process wins each generation",
            "a killed writer leaves the last record whole",
            "a killed holder has no lock",
            "own writes are no news",
            "an entry is found under its key",
            "the last entry under a key counts",
            "entries are no records",
            "the entries that expire first make room",
            "no entry of another writer is lost",
            "what a killed process has written is there",
        ]
    );
}

/// One process has the file: what a new process finds is what it left.
#[test]
fn a_store_over_redb_is_there_after_it_was_closed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("records.redb");
    let auth = credpool::Auth::api_key("p", "k").with_id("a");
    let store = RedbStore::open(&path).unwrap();
    store.save(&auth).unwrap();
    let cursor = store.changes(None).unwrap().unwrap().cursor;
    assert!(RedbStore::open(&path).is_err());
    drop(store);
    let store = RedbStore::open(&path).unwrap();
    assert_eq!(store.load("a").unwrap().unwrap().provider, "p");
    let changes = store.changes(Some(&cursor)).unwrap().unwrap();
    assert!(changes.complete && changes.written.len() == 1);
}

#[test]
fn an_executor_for_cohere_keeps_what_every_executor_promises() {
    let answers = CohereAnswers {
        executor: || Arc::new(Cohere::new()),
    };
    let report = check_executor(&answers);
    println!("{report}");
    assert_eq!(report.skipped, []);
}

/// What a vendor costs whose API is its own.
#[test]
fn an_executor_for_cohere_takes_less_than_150_lines() {
    let source = include_str!("../src/provider/cohere/mod.rs");
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
    let lines = source.lines().filter(is_code).count();
    println!("{lines} lines");
    assert!(lines < 150, "{lines}");
}

/// The invented API of the example.
struct AcmeAnswers;

impl ExecutorFixture for AcmeAnswers {
    fn executor(&self) -> Arc<dyn ProviderExecutor> {
        Arc::new(Acme)
    }

    fn request(&self) -> Request {
        Request::new("parrot", r#"{"text":"hello there"}"#)
    }

    fn reply(&self, text: &str) -> String {
        json!({ "said": text }).to_string()
    }

    fn stream_piece(&self, text: &str) -> Event {
        ("", json!({ "word": text }).to_string())
    }

    fn stream_end(&self) -> Vec<Event> {
        vec![("", acme::END.to_owned())]
    }

    fn error(&self, message: &str) -> String {
        json!({ "problem": message }).to_string()
    }
}

#[test]
fn an_executor_without_the_parts_for_vendors_keeps_them_too() {
    let report = check_executor(&AcmeAnswers);
    println!("{report}");
    let kept = "raw calls are made or said not to be".to_owned();
    assert!(report.kept.contains(&kept));
    let (of_raw_calls, skipped): (Vec<_>, Vec<_>) = report
        .skipped
        .iter()
        .partition(|(_, why)| why == "the executor makes no raw calls");
    assert_eq!(of_raw_calls.len(), 9);
    let skipped: Vec<_> = skipped.iter().map(|(promise, _)| &**promise).collect();
    assert_eq!(
        skipped,
        [
            "an error inside a success is an error",
            "an error event is the last item",
        ]
    );
}
