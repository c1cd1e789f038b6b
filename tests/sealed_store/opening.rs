//! What opens and what does not; what is taken over, and what is left as it is.

use std::fs;
use std::sync::Arc;

use credpool::{ErrorCode, FileStore, Manager, MemoryStore, Revision, Store};
use serde_json::{Value, json};

use crate::secrets::files;
use crate::{Keys, key, loaded, record, text};

#[test]
fn another_key_skips_the_record_with_a_reason_and_leaves_it() {
    let memory = Arc::new(MemoryStore::new());
    let (right, wrong) = (Keys::of([1]), Keys::of([2]));
    right.seal(Arc::clone(&memory)).save(&record("a")).unwrap();
    let before = text(&loaded(&*memory, "a"));

    let store = Arc::new(wrong.seal(Arc::clone(&memory)));
    let manager = Manager::builder()
        .store(Arc::clone(&store))
        .build()
        .unwrap();
    let report = manager.load().unwrap();
    assert_eq!((report.loaded, report.skipped.len()), (0, 1));
    let reason = report.skipped[0].to_string();
    assert!(
        reason.contains("\"a\"") && reason.contains(key(1).id()),
        "{reason}"
    );
    assert!(
        reason.contains("add that key") && !reason.contains("canary"),
        "{reason}"
    );

    // Whatever the program does with the id, the record stays.
    let error = manager.register(record("a")).unwrap_err();
    assert!(error.to_string().contains(key(1).id()), "{error}");
    for attempt in [
        store.save(&record("a")).map(drop),
        store.save_if(&record("a"), None).map(drop),
        store
            .save_if(&record("a"), Some(&Revision::of(&record("a"))))
            .map(drop),
        store.load("a").map(drop),
    ] {
        let error = attempt.unwrap_err();
        assert_eq!(
            (error.code(), error.auth_id()),
            (&ErrorCode::Store, Some("a"))
        );
        assert!(!error.to_string().contains("canary"), "{error}");
    }
    store.save_state(&record("a")).unwrap();
    assert_eq!(store.reseal().unwrap().len(), 1);
    let after = loaded(&*memory, "a");
    assert_eq!(text(&after)["metadata"], before["metadata"]);
    assert_eq!(
        text(&loaded(&right.seal(Arc::clone(&memory)), "a"))["attributes"],
        text(&record("a"))["attributes"]
    );
    store.delete("a").unwrap();
    assert!(memory.load("a").unwrap().is_none());
}

#[test]
fn a_record_that_was_moved_or_changed_is_skipped_and_hides_no_other() {
    let home = tempfile::tempdir().unwrap();
    let files = Arc::new(FileStore::open(home.path()).unwrap());
    let store = Keys::of([1]).seal(Arc::clone(&files));
    for id in ["a", "b", "c"] {
        store.save(&record(id)).unwrap();
    }
    let path = |id: &str| home.path().join(format!("{id}.credential"));
    let read = |id: &str| fs::read_to_string(path(id)).unwrap();
    // The sealed part of one record in another one.
    let sealed = |text: &str| {
        let json: Value = serde_json::from_str(text).unwrap();
        json["metadata"]["credpool_sealed"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let moved = read("b").replace(&sealed(&read("b")), &sealed(&read("a")));
    fs::write(path("b"), &moved).unwrap();
    let listing = store.list().unwrap();
    let ids: Vec<_> = listing
        .records
        .iter()
        .map(|auth| auth.id.as_str())
        .collect();
    assert_eq!(ids, ["a", "c"]);
    let reason = listing.skipped[0].to_string();
    assert!(
        reason.contains("\"b\"") && reason.contains("belongs to another record"),
        "{reason}"
    );
    assert!(store.save(&record("b")).is_err());
    assert_eq!(read("b"), moved);
}

#[test]
fn plain_records_are_read_and_sealed_when_they_are_written() {
    let home = tempfile::tempdir().unwrap();
    let plain = FileStore::open(home.path()).unwrap();
    for id in ["a", "b", "c"] {
        plain.save(&record(id)).unwrap();
    }
    let login = json!({"type": "p", "email": "ada@example.org", "access_token": "canary-file", "refresh_token": "canary-r"});
    fs::write(home.path().join("login.json"), login.to_string()).unwrap();
    drop(plain);

    let keys = Keys::of([1]);
    let store = keys.seal(FileStore::open(home.path()).unwrap());
    assert_eq!(store.list().unwrap().records.len(), 4);
    assert!(store.list().unwrap().skipped.is_empty());
    let file = |name: &str| fs::read_to_string(home.path().join(name)).unwrap();
    assert!(file("a.credential").contains("canary"));
    store.save_state(&record("a")).unwrap();
    assert!(
        file("a.credential").contains("canary"),
        "a state rewrites no credential"
    );
    store.save(&record("a").with_label("new")).unwrap();
    assert!(!file("a.credential").contains("canary"));
    assert!(file("b.credential").contains("canary"));

    assert!(store.reseal().unwrap().is_empty());
    assert!(!files(home.path()).contains("canary"));
    let again = keys
        .seal(FileStore::open(home.path()).unwrap())
        .require_sealed();
    let listing = again.list().unwrap();
    assert!(listing.skipped.is_empty(), "{:?}", listing.skipped);
    let found = |id: &str| listing.records.iter().find(|auth| auth.id == id).unwrap();
    assert_eq!(
        text(found("b"))["attributes"],
        text(&record("b"))["attributes"]
    );
    let login = found("login.json");
    assert_eq!(
        login.metadata.as_ref().unwrap().text("access_token"),
        Some("canary-file")
    );
    assert_eq!(login.label, "ada@example.org");
}

#[test]
fn where_records_must_be_sealed_plain_ones_and_edited_ones_are_skipped() {
    let memory = Arc::new(MemoryStore::new());
    let keys = Keys::of([1]);
    let open = || keys.seal(Arc::clone(&memory));
    open().save(&record("a")).unwrap();
    memory.save(&record("b")).unwrap();
    // Another address beside what is sealed: the key would be sent there.
    let led_elsewhere = loaded(&*memory, "a").with_attribute("base_url", "https://evil.example");
    memory.save(&led_elsewhere).unwrap();
    let lenient = open().list().unwrap();
    assert_eq!((lenient.records.len(), lenient.skipped.len()), (2, 0));
    let base_url = lenient.records[0].attributes.get("base_url");
    assert_eq!(base_url, Some("https://evil.example"));
    let strict = open().require_sealed();
    let listing = strict.list().unwrap();
    assert_eq!((listing.records.len(), listing.skipped.len()), (0, 2));
    assert!(strict.save(&record("b")).is_err());
    // What operators may change is no secret.
    open().save(&record("a")).unwrap();
    let relabelled = loaded(&*memory, "a").with_label("theirs");
    memory.save(&relabelled).unwrap();
    assert_eq!(loaded(&strict, "a").label, "theirs");
}

#[test]
fn what_has_not_changed_is_not_written() {
    let home = tempfile::tempdir().unwrap();
    let keys = Keys::of([1]);
    let store = keys.seal(FileStore::open(home.path()).unwrap());
    store.save(&record("a")).unwrap();
    let path = home.path().join("a.credential");
    let file = || {
        (
            fs::read(&path).unwrap(),
            fs::metadata(&path).unwrap().modified().unwrap(),
        )
    };
    let before = file();
    let current = loaded(&store, "a");
    store.save(&current).unwrap();
    store
        .save_if(&current, Some(&Revision::of(&current)))
        .unwrap();
    store.save_state(&current).unwrap();
    assert!(store.reseal().unwrap().is_empty());
    assert_eq!(file(), before);
    // A change of what is readable keeps the envelope.
    store.save(&current.with_label("new")).unwrap();
    let envelope = |bytes: &[u8]| {
        let json: Value = serde_json::from_slice(bytes).unwrap();
        json["metadata"]["credpool_sealed"].clone()
    };
    assert_eq!(envelope(&file().0), envelope(&before.0));
}
