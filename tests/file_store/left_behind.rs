//! What a writer that was killed leaves behind, and files that were damaged.

use std::fs;
use std::path::PathBuf;

use credpool::{Auth, FileStore, Revision, Saved, Store};
use serde_json::{Value, json};

use crate::place::{Place, sample};
use crate::storage::{own_form, with_storage};

fn of_generation(auth: &Auth, generation: u64, token: &str) -> Auth {
    let mut json = serde_json::to_value(auth).unwrap();
    json["generation"] = generation.into();
    json["metadata"]["refresh_token"] = token.into();
    serde_json::from_value(json).unwrap()
}

fn token(auth: &Auth) -> &str {
    auth.metadata
        .as_ref()
        .unwrap()
        .text("refresh_token")
        .unwrap()
}

/// Lets a save happen elsewhere, and puts what it wrote where a killed writer leaves it: staged, and not in place.
fn leave_staged(place: &Place, names: &[&str], write: impl FnOnce(&FileStore)) {
    let before: Vec<_> = names
        .iter()
        .map(|name| fs::read(place.path(name)).ok())
        .collect();
    write(&place.open());
    for (name, before) in names.iter().zip(before) {
        fs::rename(place.path(name), temp_of(place, name)).unwrap();
        if let Some(before) = before {
            fs::write(place.path(name), before).unwrap();
        }
    }
}

/// The staged file is named after a digest of the file's name.
fn temp_of(place: &Place, name: &str) -> PathBuf {
    use sha2::{Digest, Sha256};
    let path = place.path(name);
    let digest = Sha256::digest(path.file_name().unwrap().as_encoded_bytes());
    let start = u64::from_be_bytes(digest[..8].try_into().unwrap());
    path.with_file_name(format!(".credpool-{start:016x}.tmp"))
}

fn no_temps(place: &Place) {
    let left: Vec<_> = place
        .names()
        .into_iter()
        .filter(|name| name.starts_with(".credpool-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn newer_tokens_that_were_left_staged_are_recovered() {
    let files = ["a.credential", "a.state"];
    // By a search, by a look at one record, by whoever writes next.
    let looks: [fn(&FileStore) -> Auth; 3] = [
        |store| store.list().unwrap().records.remove(0),
        |store| store.load("a").unwrap().unwrap(),
        |store| match store.save_if(&of_generation(&sample("a"), 1, "lost"), None) {
            Ok(Saved::Conflict(Some(newer))) => *newer,
            other => panic!("{other:?}"),
        },
    ];
    for look in looks {
        let place = Place::new();
        let store = place.open();
        store.save(&of_generation(&sample("a"), 0, "old")).unwrap();
        let mut new = of_generation(&sample("a"), 1, "rotated");
        new.status_message = "fresh".into();
        leave_staged(&place, &files, |store| drop(store.save(&new).unwrap()));
        let seen = look(&store);
        assert_eq!((seen.generation(), token(&seen)), (1, "rotated"));
        assert_eq!(seen.status_message, "fresh");
        assert_eq!(place.names(), files);
        assert_eq!(token(&place.listed()["a"]), "rotated");
    }
}

#[test]
fn what_was_left_cut_off_or_old_is_removed() {
    for (content, generation) in [("whole", 3), ("whole", 2), ("cut", 9), ("empty", 9)] {
        let place = Place::new();
        let store = place.open();
        let current = of_generation(&sample("a"), 3, "current");
        store.save(&current).unwrap();
        leave_staged(&place, &["a.credential"], |store| {
            store
                .save(&of_generation(&sample("a"), generation, "left"))
                .unwrap();
        });
        let temp = temp_of(&place, "a.credential");
        let whole = fs::read_to_string(&temp).unwrap();
        match content {
            "whole" => {}
            "cut" => fs::write(&temp, &whole[..whole.len() - 3]).unwrap(),
            _ => fs::write(&temp, "").unwrap(),
        }
        // It can be read, and what comes next can be written.
        let seen = store.load("a").unwrap().unwrap();
        assert_eq!((seen.generation(), token(&seen)), (3, "current"));
        no_temps(&place);
        store.save(&of_generation(&sample("a"), 4, "next")).unwrap();
        assert_eq!(token(&place.listed()["a"]), "next");
    }
}

#[test]
fn a_staged_record_of_another_id_is_not_taken() {
    let place = Place::new();
    let store = place.open();
    store.save(&of_generation(&sample("a"), 0, "old")).unwrap();
    store.save(&of_generation(&sample("b"), 7, "of b")).unwrap();
    fs::copy(place.path("b.credential"), temp_of(&place, "a.credential")).unwrap();
    let listed = place.listed();
    assert_eq!(token(&listed["a"]), "old");
    assert_eq!(token(&listed["b"]), "of b");
}

#[test]
fn a_new_record_that_was_left_staged_is_recovered() {
    let place = Place::new();
    place.open();
    leave_staged(&place, &["a.credential", "a.state"], |store| {
        store
            .save(&of_generation(&sample("a"), 2, "first"))
            .unwrap();
    });
    assert_eq!(token(&place.listed()["a"]), "first");
    assert_eq!(place.names(), ["a.credential", "a.state"]);
}

#[test]
fn a_deleted_record_does_not_come_back() {
    let place = Place::new();
    let store = place.open();
    store.save(&of_generation(&sample("a"), 0, "old")).unwrap();
    leave_staged(&place, &["a.credential", "a.state"], |store| {
        store.save(&of_generation(&sample("a"), 1, "new")).unwrap();
    });
    store.delete("a").unwrap();
    assert!(place.listed().is_empty());
    assert!(place.names().is_empty());
}

#[test]
fn token_files_have_generations_too() {
    let place = Place::new();
    let content = json!({"type": "claude", "access_token": "a0", "refresh_token": "r0", "x": 1});
    place.put("sub/t.json", content.to_string());
    let store = place.open();
    let id = "sub/t.json";
    let first = store.load(id).unwrap().unwrap();
    assert_eq!(first.generation(), 0);
    let second = of_generation(&first, 1, "r1");
    assert!(matches!(
        store.save_if(&second, Some(&Revision::of(&first))),
        Ok(Saved::At(_))
    ));
    // Its own form is kept: the generation is beside it.
    assert_eq!(
        place.json("sub/t.json"),
        json!({"type": "claude", "access_token": "a0", "refresh_token": "r1", "x": 1})
    );
    assert_eq!(place.open().load(id).unwrap().unwrap().generation(), 1);
    // A label is no token, for whoever writes it.
    let mut labelled = place.json("sub/t.json");
    labelled["label"] = "theirs".into();
    place.put("sub/t.json", labelled.to_string());
    assert_eq!(store.load(id).unwrap().unwrap().generation(), 1);
    // The tool that shares the file has refreshed: our answer is late.
    labelled["refresh_token"] = "theirs".into();
    place.put("sub/t.json", labelled.to_string());
    let late = store.save_if(
        &of_generation(&second, 2, "r2"),
        Some(&Revision::of(&second)),
    );
    let Ok(Saved::Conflict(Some(theirs))) = late else {
        panic!("an older token has won");
    };
    assert_eq!((theirs.generation(), token(&theirs)), (2, "theirs"));
    // A cooldown does not hide it.
    store.save_state(&second).unwrap();
    assert_eq!(store.load(id).unwrap().unwrap().generation(), 2);
    let third = of_generation(&theirs, 3, "r3");
    assert!(matches!(
        store.save_if(&third, Some(&Revision::of(&theirs))),
        Ok(Saved::At(_))
    ));
    assert_eq!(place.open().load(id).unwrap().unwrap().generation(), 3);
}

#[test]
fn newer_tokens_of_a_token_file_are_recovered() {
    // Cut off before the first of two files is in place, and between the two.
    for in_place in [&[][..], &["t.json"][..]] {
        let place = Place::new();
        place.put(
            "t.json",
            json!({"type": "claude", "refresh_token": "r0"}).to_string(),
        );
        let store = place.open();
        let first = store.load("t.json").unwrap().unwrap();
        store.save(&first).unwrap();
        let mut second = of_generation(&first, 1, "r1").with_attribute("priority", "3");
        second.status_message = "fresh".into();
        let files: Vec<_> = ["t.json", "t.json.state"]
            .into_iter()
            .filter(|name| !in_place.contains(name))
            .collect();
        leave_staged(&place, &files, |store| drop(store.save(&second).unwrap()));
        let seen = store.load("t.json").unwrap().unwrap();
        assert_eq!((seen.generation(), token(&seen)), (1, "r1"));
        assert_eq!(seen.attributes.get("priority"), Some("3"));
        assert_eq!(seen.status_message, "fresh");
        assert_eq!(place.names(), ["t.json", "t.json.state"]);
    }
    // Without what says how new it is, a token file that was left is not trusted.
    let place = Place::new();
    place.put(
        "t.json",
        json!({"type": "claude", "refresh_token": "r0"}).to_string(),
    );
    let left = json!({"type": "claude", "refresh_token": "who knows"});
    fs::write(temp_of(&place, "t.json"), left.to_string()).unwrap();
    assert_eq!(token(&place.listed()["t.json"]), "r0");
    no_temps(&place);
}

#[test]
fn a_token_storage_is_not_disturbed_by_what_was_left() {
    let place = Place::new();
    let store = place.open();
    let auth = with_storage(sample("a"), own_form);
    store.save(&auth).unwrap();
    fs::write(
        temp_of(&place, "a.json"),
        "{\"type\":\"own\",\"secret\":\"cut",
    )
    .unwrap();
    let renewed = with_storage(sample("a").with_metadata("access_token", "new"), own_form);
    store.save(&renewed).unwrap();
    assert_eq!(place.json("a.json")["secret"], "new");
    assert_eq!(place.names(), ["a.json", "a.json.state"]);
}

#[test]
fn a_damaged_file_is_set_aside_when_its_place_is_taken() {
    let place = Place::new();
    let store = place.open();
    store.save(&sample("a")).unwrap();
    place.put("a.credential", "{\"refresh_token\": \"half");
    place.put("a.state", "half");
    // Looking at it changes nothing, and is told.
    assert_eq!(place.skipped().len(), 1);
    let error = store.load("a").unwrap_err();
    assert!(!format!("{error} {error:?}").contains("half"), "{error:?}");
    assert_eq!(place.names(), ["a.credential", "a.state"]);
    let saved = store.save_if(
        &of_generation(&sample("a"), 5, "whole"),
        Some(&Revision::of(&sample("a"))),
    );
    assert!(matches!(saved, Ok(Saved::At(_))), "{saved:?}");
    assert_eq!(token(&place.listed()["a"]), "whole");
    assert!(place.skipped().is_empty());
    let aside = fs::read_to_string(place.path("a.credential.damaged-1")).unwrap();
    assert_eq!(aside, "{\"refresh_token\": \"half");
    assert!(place.path("a.state.damaged-1").exists());
    assert_eq!(place.names().len(), 4);
}

#[test]
fn an_intent_that_does_not_read_stops_the_refresh() {
    let place = Place::new();
    let store = place.open();
    drop(store.lock("a", std::time::Duration::ZERO).unwrap().unwrap());
    for content in ["", "{", "{\"generation\":\"canary\"}"] {
        fs::write(place.path(".credpool/a.intent"), content).unwrap();
        let lock = store.lock("a", std::time::Duration::ZERO).unwrap().unwrap();
        let error = lock.intent().unwrap_err();
        assert!(error.message().contains("a.intent"), "{error}");
        assert!(!format!("{error:?}").contains("canary"));
    }
    let value: Value = json!({"generation": 1, "at": 0, "tries": 1});
    fs::write(place.path(".credpool/a.intent"), value.to_string()).unwrap();
    let lock = store.lock("a", std::time::Duration::ZERO).unwrap().unwrap();
    assert_eq!(lock.intent().unwrap().unwrap().generation, 1);
}
