//! What former versions wrote: files in their form, made by hand, open and keep everything.

use std::fs;

use credpool::{Auth, ErrorCode, Status, Store};
use serde_json::json;

use crate::place::{Place, sample};

#[test]
fn records_states_and_token_files_of_former_versions_open_and_keep_everything() {
    let place = Place::new();
    let record = json!({
        "id": "team-a", "provider": "openai", "label": "Team A", "disabled": false, "generation": 7,
        "attributes": {"base_url": "https://llm.example.org/v1", "token_url": "https://login.example.org/token"},
        "metadata": {"access_token": "a-7", "refresh_token": "r-7", "expires_at": "2030-01-01T00:00:00Z", "big": 1e300},
        "created_at": "2024-01-01T00:00:00Z", "last_refreshed_at": "2025-01-01T00:00:00.5Z",
        "next_refresh_after": "0001-01-01T00:00:00Z", "novel": {"x": [1]},
    });
    place.put("team-a.credential", record.to_string());
    place.put(
        "team-a.state",
        json!({
            "id": "team-a", "status": "error", "status_message": "quota", "unavailable": true, "disabled": false,
            "quota": {"exceeded": true, "reason": "quota", "next_recover_at": "2030-01-01T00:00:00Z"},
            "updated_at": "2025-01-01T00:00:00Z", "next_retry_after": "2030-01-01T00:00:00Z", "generation": 7,
        })
        .to_string(),
    );
    // A token file, and what was kept beside it. Its name is no plain one.
    place.put(
        "sub/Ada.json",
        json!({"type": "claude", "access_token": "t", "k": 1.5}).to_string(),
    );
    place.put(
        "sub/Ada.json.state",
        json!({
            "id": "sub/Ada.json", "status": "active", "unavailable": false, "disabled": false, "generation": 3,
            "quota": {"exceeded": false}, "record": {"attributes": {"priority": "3"}},
        })
        .to_string(),
    );
    // In the form of a token storage that nothing here understands, under an id of its own.
    place.put("own.json", json!({"session": {"s": "x"}}).to_string());
    place.put(
        "own.json.state",
        json!({
            "id": "robot", "status": "active", "unavailable": false, "disabled": false, "quota": {"exceeded": false},
            "file": "own.json", "record": {"provider": "web", "label": "Robot"}, "generation": 2, "tokens": "0123456789abcdef",
        })
        .to_string(),
    );
    let store = place.open();
    let listing = store.list().unwrap();
    assert!(listing.skipped.is_empty(), "{:?}", listing.skipped);
    let records = place.listed();
    let team = &records["team-a"];
    assert_eq!((team.generation(), team.status), (7, Status::Error));
    assert!(team.quota.exceeded && team.next_retry_after.is_some());
    let ada = &records["sub/Ada.json"];
    assert_eq!(
        (ada.generation(), ada.attributes.get("priority")),
        (3, Some("3"))
    );
    let robot = &records["robot"];
    assert_eq!(
        (robot.provider.as_str(), robot.label.as_str()),
        ("web", "Robot")
    );
    assert!(robot.metadata.as_ref().unwrap().get("session").is_some());

    for auth in records.values() {
        store.save(auth).unwrap();
        let changed = auth.clone().with_metadata("note", "new");
        store.save(&changed).unwrap();
        let mut again = store.load(&auth.id).unwrap().unwrap();
        if auth.id == "robot" {
            // Without its storage, it is in the form of token files.
            let metadata = again.metadata.as_mut().unwrap();
            assert_eq!(
                (metadata.text("type"), metadata.text("label")),
                (Some("web"), Some("Robot"))
            );
            metadata.remove("type");
            metadata.remove("label");
        }
        assert_eq!(
            serde_json::to_value(&again).unwrap(),
            serde_json::to_value(&changed).unwrap()
        );
    }
    let mut expected = record;
    expected["metadata"]["note"] = "new".into();
    assert_eq!(place.json("team-a.credential"), expected);
    assert_eq!(
        place.json("own.json"),
        json!({"session": {"s": "x"}, "note": "new", "type": "web", "label": "Robot"})
    );
}

#[cfg(not(windows))]
#[test]
fn records_under_the_names_of_devices_stay_where_they_are() {
    let place = Place::new();
    let content = |id: &str| serde_json::to_string(&sample(id)).unwrap();
    for id in ["con", "nul.x", "a."] {
        place.put(&format!("{id}.credential"), content(id));
    }
    // It was refreshing when it ended.
    let intent = json!({"generation": 1, "at": 1_735_689_600_000_i64, "tries": 1});
    place.put(".credpool/con.intent", intent.to_string());
    let store = place.open();
    assert!(place.skipped().is_empty());
    for id in ["con", "nul.x", "a."] {
        store.save(&sample(id).with_label("new")).unwrap();
        assert_eq!(place.json(&format!("{id}.credential"))["label"], "new");
    }
    let noted = store
        .lock("con", std::time::Duration::ZERO)
        .unwrap()
        .unwrap()
        .intent();
    assert!(noted.unwrap().is_some());
    store.delete("con").unwrap();
    assert!(place.open().load("con").unwrap().is_none());

    // New ones go where any system can have them; a file in another's name is not believed.
    store.save(&sample("aux")).unwrap();
    assert!(!place.path("aux.credential").exists());
    assert_eq!(place.open().load("aux").unwrap().unwrap().id, "aux");
    place.put("lpt1.credential", content("lpt2"));
    assert_eq!(place.skipped().len(), 1);
    let names = place.names();
    assert!(
        names.iter().any(|name| name.starts_with("aux~")),
        "{names:?}"
    );
}

#[test]
fn a_copy_in_a_subdirectory_is_a_record_of_its_own() {
    let place = Place::new();
    let login = json!({"type": "claude", "access_token": "a", "refresh_token": "r"}).to_string();
    place.put("a.json", &login);
    place.put("backup/a.json", &login);
    let listed = place.listed();
    assert_eq!(
        listed.keys().collect::<Vec<_>>(),
        ["a.json", "backup/a.json"]
    );
    let told = place.skipped();
    assert_eq!(
        (told.len(), told[0].location.as_str()),
        (1, "backup/a.json")
    );
    assert!(
        told[0]
            .reason
            .contains("the same refresh token as \"a.json\"")
    );
    let store = place.open();
    let changed: Auth = listed["a.json"]
        .clone()
        .with_metadata("refresh_token", "r-2");
    store.save(&changed).unwrap();
    assert_eq!(
        fs::read_to_string(place.path("backup/a.json")).unwrap(),
        login
    );
    assert!(place.skipped().is_empty(), "they are two logins now");
    store.delete("a.json").unwrap();
    assert_eq!(place.listed().len(), 1);
    let error = store
        .save(&Auth::new("p").with_metadata("x", 1))
        .unwrap_err();
    assert_eq!(*error.code(), ErrorCode::Config);
}
