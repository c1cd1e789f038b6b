//! What people and other tools do in the directory while the store is open.

use std::fs;

use credpool::{Auth, Changes, Cursor, FileStore, Status, Store};
use serde_json::json;

use crate::place::{Place, sample};

struct Watch {
    store: FileStore,
    cursor: Cursor,
}

impl Watch {
    fn new(place: &Place) -> Self {
        let store = place.open();
        let cursor = store.changes(None).unwrap().unwrap().cursor;
        Self { store, cursor }
    }

    fn look(&mut self) -> Changes {
        let changes = self.store.changes(Some(&self.cursor)).unwrap().unwrap();
        self.cursor = changes.cursor.clone();
        changes
    }

    fn quiet(&mut self) {
        let changes = self.look();
        assert!(changes.written.is_empty(), "{:?}", changes.written);
        assert!(changes.removed.is_empty() && changes.skipped.is_empty());
    }

    fn one(&mut self) -> Auth {
        let mut changes = self.look();
        assert_eq!(changes.written.len(), 1, "{changes:?}");
        changes.written.remove(0)
    }
}

#[test]
fn files_are_added_edited_disabled_and_removed() {
    let place = Place::new();
    let mut watch = Watch::new(&place);
    place.put("sub/t.json", json!({"type": "claude", "k": 1}).to_string());
    let auth = watch.one();
    assert_eq!(
        (auth.id.as_str(), auth.provider.as_str()),
        ("sub/t.json", "claude")
    );
    watch.quiet();
    place.put("sub/t.json", json!({"type": "claude", "k": 2}).to_string());
    assert_eq!(watch.one().metadata.unwrap().get("k"), Some(&json!(2)));
    place.put(
        "sub/t.json",
        json!({"type": "claude", "disabled": true}).to_string(),
    );
    let auth = watch.one();
    assert!(auth.disabled && auth.status == Status::Disabled);
    fs::rename(place.path("sub/t.json"), place.path("u.json")).unwrap();
    let changes = watch.look();
    assert_eq!(changes.written[0].id, "u.json");
    assert_eq!(changes.removed, ["sub/t.json"]);
    fs::remove_file(place.path("u.json")).unwrap();
    assert_eq!(watch.look().removed, ["u.json"]);
    watch.quiet();
}

#[test]
fn an_edit_that_leaves_size_and_time_as_they_were_is_seen() {
    let place = Place::new();
    place.put("t.json", json!({"type": "claude", "k": 1}).to_string());
    let mut watch = Watch::new(&place);
    // In place, of the same length, with the time put back, as a careful tool does.
    let time = fs::metadata(place.path("t.json"))
        .unwrap()
        .modified()
        .unwrap();
    place.put("t.json", json!({"type": "claude", "k": 2}).to_string());
    fs::File::options()
        .write(true)
        .open(place.path("t.json"))
        .unwrap()
        .set_modified(time)
        .unwrap();
    assert_eq!(watch.one().metadata.unwrap().get("k"), Some(&json!(2)));
    // A new date without a new word is no change.
    fs::File::options()
        .write(true)
        .open(place.path("t.json"))
        .unwrap()
        .set_modified(time + std::time::Duration::from_secs(3600))
        .unwrap();
    watch.quiet();
}

#[test]
fn own_writes_are_no_news_whatever_they_write() {
    let place = Place::new();
    place.put("t.json", json!({"type": "claude", "k": 1}).to_string());
    let mut watch = Watch::new(&place);
    let mut tokens = watch.store.load("t.json").unwrap().unwrap();
    tokens = tokens.with_metadata("access_token", "new");
    watch.store.save(&tokens).unwrap();
    watch.store.save(&sample("a")).unwrap();
    watch.quiet();
    tokens.status_message = "slow".into();
    watch.store.save_state(&tokens).unwrap();
    watch.store.delete("a").unwrap();
    watch.quiet();
    // An operator's edit after it is.
    let mut content = place.json("t.json");
    content["access_token"] = "old".into();
    place.put("t.json", content.to_string());
    assert_eq!(
        watch.one().metadata.unwrap().text("access_token"),
        Some("old")
    );
}

#[test]
fn a_file_that_is_half_written_is_no_removal() {
    let place = Place::new();
    place.put("t.json", json!({"type": "claude", "k": 1}).to_string());
    let mut watch = Watch::new(&place);
    place.put("t.json", "{\"type\": \"claude\", \"k\"");
    let changes = watch.look();
    assert!(changes.written.is_empty() && changes.removed.is_empty());
    assert_eq!(changes.skipped.len(), 1);
    assert_eq!(changes.skipped[0].location, "t.json");
    watch.quiet();
    place.put("t.json", json!({"type": "claude", "k": 2}).to_string());
    assert_eq!(watch.one().metadata.unwrap().get("k"), Some(&json!(2)));
    place.put("t.json", "");
    assert_eq!(watch.look().skipped.len(), 1);
    fs::remove_file(place.path("t.json")).unwrap();
    assert_eq!(watch.look().removed, ["t.json"]);
}

#[test]
fn of_two_files_with_one_id_the_first_counts() {
    let place = Place::new();
    let record = |label: &str| json!({"id": "mine", "provider": "p", "label": label}).to_string();
    place.put("b.json", record("b"));
    let mut watch = Watch::new(&place);
    place.put("a.json", record("a"));
    assert_eq!(watch.one().label, "a");
    assert_eq!(watch.store.load("mine").unwrap().unwrap().label, "a");
    fs::remove_file(place.path("a.json")).unwrap();
    assert_eq!(watch.one().label, "b");
    // The file changes hands.
    place.put(
        "b.json",
        json!({"id": "other", "provider": "p"}).to_string(),
    );
    let changes = watch.look();
    assert_eq!(changes.written[0].id, "other");
    assert_eq!(changes.removed, ["mine"]);
}

#[test]
fn a_cursor_of_another_handle_begins_at_the_beginning() {
    let place = Place::new();
    let store = place.open();
    store.save(&sample("a")).unwrap();
    for foreign in [
        place.open().changes(None).unwrap().unwrap().cursor,
        Cursor::new("nonsense"),
        Cursor::new(""),
    ] {
        for store in [&store, &place.open()] {
            let changes = store.changes(Some(&foreign)).unwrap().unwrap();
            assert_eq!(changes.written.len(), 1);
            assert!(changes.removed.is_empty());
        }
    }
}

#[test]
fn a_directory_that_cannot_be_read_is_an_error_and_no_removal() {
    let place = Place::new();
    place.put("t.json", json!({"type": "claude"}).to_string());
    let mut watch = Watch::new(&place);
    let aside = place.dir.with_extension("aside");
    fs::rename(&place.dir, &aside).unwrap();
    watch.store.changes(Some(&watch.cursor)).unwrap_err();
    fs::rename(&aside, &place.dir).unwrap();
    watch.quiet();
}

#[test]
fn lock_files_stay_and_their_age_says_nothing() {
    let place = Place::new();
    let store = place.open();
    let lock = store.lock("a", std::time::Duration::ZERO).unwrap().unwrap();
    let path = place.path(".credpool/a.refresh");
    let old = std::time::SystemTime::UNIX_EPOCH;
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(old).unwrap();
    assert!(
        place
            .open()
            .lock("a", std::time::Duration::ZERO)
            .unwrap()
            .is_none()
    );
    drop(lock);
    store.delete("a").unwrap();
    assert!(path.exists());
    let future = std::time::SystemTime::now() + std::time::Duration::from_secs(1 << 20);
    file.set_modified(future).unwrap();
    assert!(
        store
            .lock("a", std::time::Duration::ZERO)
            .unwrap()
            .is_some()
    );
    // One that somebody removed while it was held is held by nobody else's measure: the next one makes its own.
    let lock = store.lock("a", std::time::Duration::ZERO).unwrap().unwrap();
    fs::remove_file(&path).unwrap();
    let other = place.open().lock("a", std::time::Duration::ZERO).unwrap();
    assert!(other.is_some());
    drop(lock);
}
