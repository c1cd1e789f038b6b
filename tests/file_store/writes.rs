//! What is written, and what stays when a write fails.

use std::{fs, thread};

use credpool::{ErrorCode, Store};

use crate::place::{Place, sample, trace};

#[test]
fn what_is_unchanged_is_not_written() {
    let place = Place::new();
    place.put("token.json", r#"{"type":"gemini",   "b":1.50,"a":2}"#);
    let store = place.open();
    store.save(&sample("a")).unwrap();
    let tokens = store.list().unwrap().records.pop().unwrap();
    store.save(&tokens).unwrap();
    let files = ["a.credential", "a.state", "token.json", "token.json.state"];
    let before = files.map(|name| trace(&place.path(name)));
    for store in [store, place.open()] {
        for auth in [&sample("a"), &tokens] {
            store.save(auth).unwrap();
            store.save_state(auth).unwrap();
        }
        assert_eq!(files.map(|name| trace(&place.path(name))), before);
    }
    let mut changed = sample("a");
    changed.status_message = "new".into();
    place.open().save(&changed).unwrap();
    assert_eq!(trace(&place.path("a.credential")), before[0]);
    assert_ne!(trace(&place.path("a.state")), before[1]);
}

#[test]
fn the_state_is_saved_without_touching_the_credential() {
    let place = Place::new();
    let store = place.open();
    let mut auth = sample("a");
    store.save(&auth).unwrap();
    let before = trace(&place.path("a.credential"));
    let bytes = fs::read(place.path("a.credential")).unwrap();
    auth.status_message = "new".into();
    auth.attributes.insert("api_key", "changed and not saved");
    store.save_state(&auth).unwrap();
    assert_eq!(trace(&place.path("a.credential")), before);
    assert_eq!(fs::read(place.path("a.credential")).unwrap(), bytes);
    assert_eq!(place.listed()["a"].status_message, "new");
}

#[test]
fn a_failed_write_leaves_the_former_record() {
    let place = Place::new();
    let store = place.open();
    store.save(&sample("a")).unwrap();
    let mut changed = sample("a").with_metadata("access_token", "canary-2");
    changed.status_message = "new".into();

    // No file can be made where the directory should be.
    let aside = place.dir.with_extension("aside");
    fs::rename(&place.dir, &aside).unwrap();
    fs::write(&place.dir, "").unwrap();
    for error in [
        store.save(&changed).unwrap_err(),
        store.save_state(&changed).unwrap_err(),
        store.delete("a").unwrap_err(),
        store.list().unwrap_err(),
    ] {
        assert_eq!(error.code(), &ErrorCode::Store);
        assert!(std::error::Error::source(&error).is_some());
        assert!(
            !format!("{error} {error:?}").contains("canary"),
            "{error:?}"
        );
    }
    fs::remove_file(&place.dir).unwrap();
    assert_eq!(store.save(&changed).unwrap_err().auth_id(), Some("a"));
    fs::rename(&aside, &place.dir).unwrap();
    assert_eq!(place.listed()["a"].metadata, sample("a").metadata);

    // The state cannot be written: the credential is not written either.
    fs::remove_file(place.path("a.state")).unwrap();
    fs::create_dir(place.path("a.state")).unwrap();
    let error = store.save(&changed).unwrap_err();
    assert!(error.message().contains("a.state"), "{error}");
    assert_eq!(place.listed()["a"].metadata, sample("a").metadata);
    assert_eq!(place.names(), ["a.credential", "a.state"]);

    // Nor is a directory replaced.
    fs::create_dir(place.path("b.credential")).unwrap();
    store.save(&sample("b")).unwrap_err();
    store.delete("b").unwrap_err();
    assert_eq!(place.names(), ["a.credential", "a.state", "b.credential"]);
}

#[test]
fn a_reader_always_sees_a_whole_record() {
    let place = Place::new();
    let store = place.open();
    let version = |n: usize| sample("a").with_metadata("token", n.to_string().repeat(20_000));
    store.save(&version(0)).unwrap();
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for n in 1..60 {
                store.save(&version(n % 10)).unwrap();
            }
        });
        let other = place.open();
        while !writer.is_finished() {
            let listing = other.list().unwrap();
            assert!(listing.skipped.is_empty(), "{:?}", listing.skipped);
            assert_eq!(listing.records.len(), 1);
            for auth in listing.records {
                let token = auth.metadata.unwrap().text("token").unwrap().to_owned();
                assert_eq!(token, token[..1].repeat(20_000));
            }
        }
    });
    assert_eq!(place.names(), ["a.credential", "a.state"]);
}
