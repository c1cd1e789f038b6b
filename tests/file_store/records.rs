//! The files of a record.

use std::fs;
use std::path::Path;

use credpool::{ErrorCode, FileStore, Status, Store};
use serde_json::json;

use crate::place::{Place, sample};

#[test]
fn a_record_is_two_readable_files() {
    let place = Place::new();
    let mut auth = sample("team-a");
    auth.status_message = "odd".into();
    let location = place.open().save(&auth).unwrap();
    assert_eq!(Path::new(&location), place.path("team-a.credential"));
    assert_eq!(place.names(), ["team-a.credential", "team-a.state"]);
    let text = fs::read_to_string(&location).unwrap();
    assert!(
        text.starts_with("{\n  \"") && text.ends_with("}\n"),
        "{text}"
    );
    let (credential, state) = (place.json("team-a.credential"), place.json("team-a.state"));
    assert_eq!(credential["metadata"], json!({"access_token": "canary"}));
    assert_eq!(credential["attributes"]["api_key"], "sk-canary");
    for name in [
        "status",
        "status_message",
        "unavailable",
        "quota",
        "updated_at",
        "next_retry_after",
    ] {
        assert_eq!(credential.get(name), None, "{name}");
        assert!(state.get(name).is_some(), "{name}");
    }
    assert_eq!(state["id"], "team-a");
    assert!(
        !fs::read_to_string(place.path("team-a.state"))
            .unwrap()
            .contains("canary")
    );
    assert_eq!(
        place.listed()["team-a"].file_name.as_deref(),
        Some("team-a.credential")
    );
}

#[test]
fn only_a_directory_is_opened() {
    let place = Place::new();
    fs::write(&place.dir, "x").unwrap();
    let error = FileStore::open(&place.dir).unwrap_err();
    assert_eq!(error.code(), &ErrorCode::Config);
    assert!(error.message().contains("not a directory"), "{error}");
    let below = FileStore::open(place.dir.join("below")).unwrap_err();
    assert_eq!(below.code(), &ErrorCode::Store);
    assert_eq!(fs::read(&place.dir).unwrap(), b"x");
}

#[test]
fn missing_directories_are_created() {
    let place = Place::new();
    let store = FileStore::open(place.path("a/b/c")).unwrap();
    assert_eq!(store.dir(), place.path("a/b/c"));
    store.save(&sample("a")).unwrap();
    FileStore::open(place.path("a/b/c")).unwrap();
}

#[test]
fn what_cannot_be_stored_is_refused() {
    let place = Place::new();
    let store = place.open();
    for auth in [sample(""), sample("a").runtime_only()] {
        for error in [
            store.save(&auth).unwrap_err(),
            store.save_state(&auth).unwrap_err(),
        ] {
            assert_eq!(error.code(), &ErrorCode::Config);
        }
    }
    let mut deep = json!(1);
    for _ in 0..200 {
        deep = json!([deep]);
    }
    let large = "canary".repeat(200_000);
    store.save(&sample("a")).unwrap();
    for auth in [
        sample("a").with_metadata("x", deep),
        sample("a").with_metadata("x", large),
    ] {
        let error = store.save(&auth).unwrap_err();
        assert_eq!(error.code(), &ErrorCode::Store);
        assert_eq!(error.auth_id(), Some("a"));
        assert!(!format!("{error:?}").contains("canary"));
    }
    assert_eq!(place.listed()["a"].metadata, sample("a").metadata);
    assert_eq!(place.names(), ["a.credential", "a.state"]);
}

#[test]
fn a_record_may_be_dropped_in() {
    let place = Place::new();
    place.put(
        "sub/Mine.json",
        r#"{"id":"mine","provider":"openai","attributes":{"api_key":"k"},"status":"error","novel":1}"#,
    );
    place.put("second.json", r#"{"id":"mine","provider":"claude"}"#);
    place.put("third.json", r#"{"id":"third","provider":"claude"}"#);
    let store = place.open();
    let listing = store.list().unwrap();
    assert_eq!(listing.records.len(), 2);
    assert_eq!(listing.skipped[0].location, "sub/Mine.json");
    let mut third = listing.records[1].clone();
    assert_eq!((third.id.as_str(), third.status), ("third", Status::Active));

    fs::remove_file(place.path("second.json")).unwrap();
    let mut mine = place.listed()["mine"].clone();
    assert_eq!(
        (mine.status, mine.is_runtime_only()),
        (Status::Error, false)
    );
    mine.label = "Label".into();
    third.label = "Third".into();
    // A store that has not listed finds it too.
    let fresh = place.open();
    fresh.save(&mine).unwrap();
    fresh.save(&third).unwrap();
    assert_eq!(place.names(), ["sub", "third.json", "third.json.state"]);
    let written = place.json("sub/Mine.json");
    assert_eq!(
        (&written["label"], &written["novel"]),
        (&json!("Label"), &json!(1))
    );
    assert_eq!(written.get("status"), None);
    assert_eq!(place.listed()["mine"].status, Status::Error);
    assert_eq!(
        place.listed()["mine"].file_name.as_deref(),
        Some("sub/Mine.json")
    );

    // Somebody else's record took the file: it is left alone.
    place.put("third.json", r#"{"id":"new","provider":"claude"}"#);
    fresh.save(&third).unwrap();
    assert_eq!(place.json("third.json")["id"], "new");
    fresh.delete("mine").unwrap();
    assert_eq!(
        place.listed().into_keys().collect::<Vec<_>>(),
        ["new", "third"]
    );
}

#[test]
fn no_id_reaches_outside() {
    let place = Place::new();
    let store = place.open();
    let outside = place.dir.parent().unwrap().join("x.json");
    fs::write(&outside, r#"{"type":"gemini"}"#).unwrap();
    let absolute = outside.to_str().unwrap();
    let ids = [
        "../x.json",
        "sub/../../x.json",
        "./../x.json",
        "../x",
        absolute,
        "..\0/x.json",
    ];
    for id in ids {
        store.save(&sample(id)).unwrap();
        store.save_state(&sample(id)).unwrap();
        assert_eq!(place.listed()[id].id, id);
        store.delete(id).unwrap();
    }
    assert_eq!(
        fs::read_to_string(&outside).unwrap(),
        r#"{"type":"gemini"}"#
    );
    assert_eq!(
        fs::read_dir(place.dir.parent().unwrap()).unwrap().count(),
        2
    );
    assert!(place.names().is_empty());
}
