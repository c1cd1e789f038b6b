//! Token files of other tools in a shared directory.

use std::fs;
use std::path::Path;
use std::time::Duration;

use credpool::{
    Attempt, Auth, Error, FileStore, Manager, Options, ProviderExecutor, Request, Response, Status,
    Store,
};
use serde_json::{Value, json};
use time::macros::utc_datetime;

fn put(dir: &Path, name: &str, content: &Value) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content.to_string()).unwrap();
}

fn get(dir: &Path, name: &str) -> Value {
    serde_json::from_slice(&fs::read(dir.join(name)).unwrap()).unwrap()
}

fn listed(dir: &Path, id: &str) -> Auth {
    let listing = FileStore::open(dir).unwrap().list().unwrap();
    assert!(listing.skipped.is_empty(), "{:?}", listing.skipped);
    listing
        .records
        .into_iter()
        .find(|auth| auth.id == id)
        .unwrap()
}

#[test]
fn a_token_file_is_understood() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let cases = [
        (
            "a.json",
            json!({"type": "gemini", "label": "L", "email": "E", "project_id": "P"}),
            "gemini",
            "L",
        ),
        (
            "b.json",
            json!({"type": "gemini", "email": "E", "project_id": "P"}),
            "gemini",
            "E",
        ),
        (
            "deep/er/C d.json",
            json!({"label": "", "project_id": "P", "id": 1}),
            "unknown",
            "P",
        ),
        (
            "e.json",
            json!({"type": null, "provider": "x"}),
            "unknown",
            "",
        ),
    ];
    for (name, content, _, _) in &cases {
        put(dir, name, content);
    }
    for (name, content, provider, label) in &cases {
        let auth = listed(dir, name);
        assert_eq!(
            (auth.provider.as_str(), auth.label.as_str()),
            (*provider, *label)
        );
        assert_eq!(auth.file_name.as_deref(), Some(*name));
        assert_eq!(auth.status, Status::Active);
        let metadata = auth.metadata.unwrap();
        assert!(
            metadata.iter().eq(content
                .as_object()
                .unwrap()
                .iter()
                .map(|(k, v)| (k.as_str(), v)))
        );
    }
}

#[test]
fn its_switch_and_its_proxy_are_understood() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    put(
        dir,
        "a.json",
        &json!({"disabled": true, "proxy_url": "http://127.0.0.1:1"}),
    );
    let auth = listed(dir, "a.json");
    assert_eq!((auth.disabled, auth.status), (true, Status::Disabled));
    assert_eq!(auth.proxy_url.expose(), "http://127.0.0.1:1");
}

#[test]
fn it_is_saved_back_in_its_own_form() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let content = json!({
        "type": "claude", "email": "me@example.org", "access_token": "old",
        "unknown": {"nested": [1, {"deep": null}], "text": "é"}, "disabled": false,
    });
    put(dir, "sub/t.json", &content);
    let store = FileStore::open(dir).unwrap();
    let mut auth = store.list().unwrap().records.remove(0);
    auth.metadata
        .as_mut()
        .unwrap()
        .insert("access_token", "new");
    auth.status_message = "fine".into();
    auth.attributes.insert("priority", "3");
    auth.last_refreshed_at = Some(utc_datetime!(2030-01-01 0:00));
    let location = store.save(&auth).unwrap();
    assert_eq!(
        Path::new(&location),
        fs::canonicalize(dir).unwrap().join("sub/t.json")
    );
    let mut expected = content.clone();
    expected["access_token"] = "new".into();
    assert_eq!(get(dir, "sub/t.json"), expected);

    let again = listed(dir, "sub/t.json");
    assert_eq!(
        serde_json::to_value(&again).unwrap(),
        serde_json::to_value(&auth).unwrap()
    );

    auth.disabled = true;
    auth.label = "mine".into();
    auth.proxy_url = "http://127.0.0.1:1".into();
    // A store that has not listed knows the file by its path.
    FileStore::open(dir).unwrap().save(&auth).unwrap();
    expected["disabled"] = true.into();
    expected["label"] = "mine".into();
    expected["proxy_url"] = "http://127.0.0.1:1".into();
    assert_eq!(get(dir, "sub/t.json"), expected);

    // Nothing else in the directory looks like a token file.
    let mut names = Vec::new();
    for dir in [dir.to_owned(), dir.join("sub")] {
        names.extend(
            fs::read_dir(dir)
                .unwrap()
                .map(|entry| entry.unwrap().file_name()),
        );
    }
    names.sort();
    assert_eq!(names, [".credpool", "sub", "t.json", "t.json.state"]);
    let own: Vec<_> = fs::read_dir(dir.join(".credpool"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(!own.is_empty());
    assert!(
        own.iter()
            .all(|path| path.is_file() && path.extension().unwrap() != "json"),
        "{own:?}"
    );
}

#[test]
fn its_state_is_kept_apart() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    put(dir, "t.json", &json!({"type": "claude"}));
    let before = fs::read(dir.join("t.json")).unwrap();
    let store = FileStore::open(dir).unwrap();
    let mut auth = listed(dir, "t.json").with_attribute("priority", "3");
    store.save(&auth).unwrap();
    auth.status = Status::Error;
    auth.status_message = "bad".into();
    auth.attributes.insert("priority", "not saved");
    store.save_state(&auth).unwrap();
    assert_eq!(fs::read(dir.join("t.json")).unwrap(), before);
    let again = listed(dir, "t.json");
    assert_eq!(
        (again.status, again.status_message.as_str()),
        (Status::Error, "bad")
    );
    assert_eq!(again.attributes.get("priority"), Some("3"));
}

#[test]
fn what_the_operator_changes_in_the_file_counts() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    put(dir, "t.json", &json!({"type": "claude"}));
    let store = FileStore::open(dir).unwrap();
    store.save(&listed(dir, "t.json")).unwrap();
    put(
        dir,
        "t.json",
        &json!({"type": "claude", "disabled": true, "label": "theirs"}),
    );
    let auth = listed(dir, "t.json");
    assert_eq!(
        (auth.disabled, auth.status, auth.label.as_str()),
        (true, Status::Disabled, "theirs")
    );
    store.save(&auth).unwrap();
    put(dir, "t.json", &json!({"type": "claude"}));
    let auth = listed(dir, "t.json");
    assert_eq!((auth.disabled, auth.status), (false, Status::Active));

    // A record in the store's own form as well.
    store.save(&Auth::api_key("p", "k").with_id("a")).unwrap();
    let mut content = get(dir, "a.credential");
    content["disabled"] = true.into();
    put(dir, "a.credential", &content);
    assert_eq!(listed(dir, "a").status, Status::Disabled);
}

#[test]
fn a_file_that_was_removed_comes_back_only_with_a_save() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    put(dir, "sub/t.json", &json!({"type": "claude", "k": 1}));
    let store = FileStore::open(dir).unwrap();
    let auth = store.list().unwrap().records.remove(0);
    fs::remove_dir_all(dir.join("sub")).unwrap();
    assert!(store.list().unwrap().records.is_empty());
    store.save(&auth).unwrap();
    assert_eq!(get(dir, "sub/t.json"), json!({"type": "claude", "k": 1}));
    store.delete("sub/t.json").unwrap();
    assert_eq!(fs::read_dir(dir.join("sub")).unwrap().count(), 0);
    store.delete("sub/t.json").unwrap();
}

#[test]
fn a_token_file_that_would_turn_into_a_record_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    put(dir, "t.json", &json!({"type": "claude", "id": "x"}));
    let store = FileStore::open(dir).unwrap();
    let auth = listed(dir, "t.json").with_metadata("provider", "y");
    let error = store.save(&auth).unwrap_err();
    assert!(error.message().contains("`provider`"), "{error}");
    assert_eq!(get(dir, "t.json"), json!({"type": "claude", "id": "x"}));
}

#[test]
fn the_search_has_a_bottom() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    put(dir, "1/2/3/4/5/6/7/t.json", &json!({"type": "claude"}));
    put(dir, "1/2/3/4/5/6/7/8/t.json", &json!({"type": "claude"}));
    let listing = FileStore::open(dir).unwrap().list().unwrap();
    assert_eq!(listing.records.len(), 1);
    assert_eq!(listing.records[0].id, "1/2/3/4/5/6/7/t.json");
    assert_eq!(listing.skipped[0].location, "1/2/3/4/5/6/7/8");
}

/// Gives one new login after the other.
struct Rotating;

impl ProviderExecutor for Rotating {
    fn identifier(&self) -> &'static str {
        "claude"
    }

    fn execute(&self, _: &Attempt, _: &Auth, _: &Request, _: &Options) -> Result<Response, Error> {
        Ok(Response::default())
    }

    fn refresh(&self, _: &Attempt, auth: &Auth) -> Result<Auth, Error> {
        let former = auth.metadata.as_ref().unwrap().text("refresh_token");
        let next = format!("{}'", former.unwrap());
        Ok(auth
            .clone()
            .with_metadata("access_token", next.clone())
            .with_metadata("refresh_token", next))
    }
}

#[test]
fn an_older_text_that_an_editor_saves_brings_no_spent_token_back_and_another_login_comes_in() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("credentials");
    let text = |token: &str, label: &str| json!({"type": "claude", "access_token": token, "refresh_token": token, "label": label});
    let file = |dir: &Path| {
        let there = get(dir, "a.json");
        let member = |name: &str| there[name].as_str().unwrap().to_owned();
        (member("refresh_token"), member("label"))
    };
    for (rotations, saved, kept) in [(1, "r", "r'"), (3, "r'", "r'''"), (2, "s", "s")] {
        put(&dir, "a.json", &text("r", "old"));
        let store = FileStore::open(&dir).unwrap();
        let manager = Manager::builder().store(store).build().unwrap();
        manager.register_executor(Rotating);
        manager.load().unwrap();
        for _ in 0..rotations {
            manager.refresh_now("a.json").unwrap();
        }
        put(&dir, "a.json", &text(saved, "new"));
        manager.load().unwrap();
        manager.shutdown(Duration::from_secs(5)).unwrap();
        let auth = manager.get_by_id("a.json").unwrap();
        let token = auth.metadata.as_ref().unwrap().text("refresh_token");
        assert_eq!(token, Some(kept), "{saved}");
        assert_eq!(file(&dir), (kept.to_owned(), "new".to_owned()));
        fs::remove_dir_all(&dir).unwrap();
    }
}
