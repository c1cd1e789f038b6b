//! Files of other programs in the directory of a store.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use credpool::import;
use credpool::{Auth, ErrorCode, Expiry, FileStore, Listing, Store};
use serde_json::{Value, json};

use crate::files;

/// What a store makes of the corpus, line by line.
const LOADS: &str = include_str!("loads.txt");

fn listed(dir: &Path) -> Listing {
    FileStore::open(dir).unwrap().list().unwrap()
}

fn records(dir: &Path) -> BTreeMap<String, Auth> {
    let records = listed(dir).records.into_iter();
    records.map(|auth| (auth.id.clone(), auth)).collect()
}

#[test]
fn a_store_shows_each_as_the_table_has_it() {
    let home = tempfile::tempdir().unwrap();
    files::copy_to(home.path());
    let listing = listed(home.path());
    let mut told = String::new();
    for auth in &listing.records {
        let end = match auth.expiration_time() {
            Expiry::At(end) => end.to_string(),
            other => format!("{other:?}"),
        };
        let holder = auth.attributes.get("held_by").unwrap_or("-");
        writeln!(told, "{} | {} | {end} | {holder}", auth.id, auth.provider).unwrap();
    }
    for skipped in &listing.skipped {
        writeln!(told, "{skipped}").unwrap();
    }
    files::holds_no_secret(&told);
    assert_eq!(told, LOADS, "\n{told}");
}

#[test]
fn loading_and_saving_again_changes_nothing_that_is_not_ours() {
    let home = tempfile::tempdir().unwrap();
    files::copy_to(home.path());
    let before = files::copied_in(home.path());
    let listing = listed(home.path());
    let store = FileStore::open(home.path()).unwrap();
    for auth in &listing.records {
        store.save(auth).unwrap();
        store.save_state(auth).unwrap();
    }
    assert_eq!(changed(&before, home.path()), [OURS]);
    // What is the operator's goes beside the file of another program, and is there again.
    let held = |auth: &&Auth| auth.attributes.get("held_by").is_some();
    for auth in listing.records.iter().filter(held) {
        let mut changed = auth
            .clone()
            .with_attribute("base_url", "http://127.0.0.1:1");
        changed.label = "mine".into();
        changed.disabled = true;
        store.save(&changed).unwrap();
    }
    assert_eq!(changed(&before, home.path()), [OURS]);
    for auth in listed(home.path()).records.iter().filter(held) {
        assert_eq!(
            (auth.label.as_str(), auth.disabled),
            ("mine", true),
            "{}",
            auth.id
        );
        assert_eq!(auth.attributes.get("base_url"), Some("http://127.0.0.1:1"));
    }
    assert_eq!(listed(home.path()).records.len(), listing.records.len());
}

fn changed(before: &[(String, Vec<u8>)], dir: &Path) -> Vec<String> {
    let after = files::copied_in(dir);
    let pairs = before.iter().zip(after);
    let changed = pairs.filter(|(before, after)| **before != *after);
    changed.map(|(before, _)| before.0.clone()).collect()
}

/// A record in the crate's own form, which a save completes.
const OURS: &str = "pool-record.json";

#[test]
fn nothing_of_another_programs_secrets_is_kept_beside_its_file() {
    let home = tempfile::tempdir().unwrap();
    files::copy_to(home.path());
    let store = FileStore::open(home.path()).unwrap();
    let known: Vec<_> = files::all().into_iter().map(|(name, _)| name).collect();
    for auth in listed(home.path()).records {
        if auth.attributes.get("held_by").is_some() {
            store.save(&auth.with_label("mine")).unwrap();
        }
    }
    let mut states = 0;
    for entry in fs::read_dir(home.path()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_file() && !known.contains(&name) {
            states += 1;
            files::holds_no_secret(&fs::read_to_string(entry.path()).unwrap());
        }
    }
    assert!(states > 8, "{states}");
}

#[test]
fn what_another_program_says_is_not_written_and_not_deleted() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("auth.json");
    fs::write(&file, files::one("codex-both.json")).unwrap();
    let store = FileStore::open(home.path()).unwrap();
    let records = records(home.path());
    for (id, name, value) in [
        ("auth.json", "access_token", "other"),
        ("auth.json", "note", "mine"),
    ] {
        let changed = records[id].clone().with_metadata(name, value);
        let error = store.save(&changed).unwrap_err();
        assert!(
            error.message().contains("belongs to another program"),
            "{error}"
        );
    }
    let key = records["auth.json#OPENAI_API_KEY"].clone();
    let changed = key.with_attribute("api_key", "other");
    store.save(&changed).unwrap_err();
    for id in records.keys() {
        let error = store.delete(id).unwrap_err();
        assert_eq!(*error.code(), ErrorCode::Config);
        assert!(error.message().contains("log out there"), "{error}");
    }
    assert!(fs::read(&file).unwrap() == files::one("codex-both.json"));
}

#[test]
fn a_login_that_is_taken_over_has_a_file_of_its_own() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("auth.json");
    fs::write(&file, files::one("codex-chatgpt.json")).unwrap();
    let store = FileStore::open(home.path()).unwrap();
    let held = records(home.path())["auth.json"]
        .clone()
        .with_label("mine")
        .with_attribute("token_url", "https://login.example.org/token");
    let taken = import::take_over(&held).unwrap();
    assert!(taken.consequence.contains("Codex loses its login"));
    store.save(&taken.auth).unwrap();
    assert!(fs::read(&file).unwrap() == files::one("codex-chatgpt.json"));
    let listing = listed(home.path());
    let [record] = &listing.records[..] else {
        panic!("{listing:?}")
    };
    assert_eq!(
        (record.id.as_str(), record.label.as_str()),
        ("auth.json", "mine")
    );
    let metadata = record.metadata.as_ref().unwrap();
    assert_eq!(
        metadata.text("refresh_token"),
        Some("rt_canary-codex-refresh")
    );
    assert_eq!(record.attributes.get("held_by"), None);
    assert_eq!(
        record.attributes.get("token_url"),
        Some("https://login.example.org/token")
    );
    let reasons: Vec<_> = listing
        .skipped
        .iter()
        .map(|skipped| skipped.reason.as_str())
        .collect();
    assert!(
        reasons
            .iter()
            .any(|reason| reason.contains("holds the same id")),
        "{reasons:?}"
    );
    // It is no longer another program's.
    let error = import::take_over(record).unwrap_err();
    assert!(
        error.message().contains("is held by no other program"),
        "{error}"
    );
    // Given back, it is followed again.
    store.delete("auth.json").unwrap();
    assert_eq!(
        records(home.path())["auth.json"].attributes.get("held_by"),
        Some("codex")
    );
}

#[test]
fn a_look_tells_what_another_program_has_changed() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("auth.json");
    let mut logins: Value = serde_json::from_slice(&files::one("opencode-auth.json")).unwrap();
    let put = |logins: &Value| fs::write(&file, logins.to_string()).unwrap();
    put(&logins);
    let store = FileStore::open(home.path()).unwrap();
    let mut cursor = store.list().unwrap().cursor.unwrap();
    let mut look = || {
        let changes = store.changes(Some(&cursor)).unwrap().unwrap();
        cursor = changes.cursor;
        let written = changes.written.into_iter();
        let written: BTreeMap<_, _> = written.map(|auth| (auth.id.clone(), auth)).collect();
        (written, changes.removed, changes.skipped.len())
    };
    assert!(look().0.is_empty());
    logins["anthropic"]["access"] = "next".into();
    put(&logins);
    let (written, removed, skipped) = look();
    let metadata = written["auth.json#anthropic"].metadata.clone().unwrap();
    assert_eq!(metadata.text("access_token"), Some("next"));
    assert_eq!((removed.len(), skipped), (0, 0));
    // Half a file is no removal.
    fs::write(&file, "{\"anthropic\": {").unwrap();
    let (written, removed, skipped) = look();
    assert_eq!((written.len(), removed.len(), skipped), (0, 0, 1));
    logins.as_object_mut().unwrap().remove("openrouter");
    logins["groq"] = json!({"type": "api", "key": "gsk"});
    put(&logins);
    let (written, removed, _) = look();
    assert!(written.contains_key("auth.json#groq"));
    assert_eq!(removed, ["auth.json#openrouter"]);
    fs::remove_file(&file).unwrap();
    assert_eq!(look().1.len(), 4);
}

#[test]
fn states_of_several_credentials_in_one_file_are_apart_and_seen_by_other_stores() {
    let home = tempfile::tempdir().unwrap();
    fs::write(
        home.path().join("auth.json"),
        files::one("opencode-auth.json"),
    )
    .unwrap();
    let (one, other) = (
        FileStore::open(home.path()).unwrap(),
        FileStore::open(home.path()).unwrap(),
    );
    let cursor = other.list().unwrap().cursor.unwrap();
    let mut auth = one.load("auth.json#anthropic").unwrap().unwrap();
    auth.status_message = "cooling".into();
    one.save_state(&auth).unwrap();
    let changes = other.changes(Some(&cursor)).unwrap().unwrap();
    let found = |id: &str| changes.written.iter().find(|auth| auth.id == id).unwrap();
    assert_eq!(found("auth.json#anthropic").status_message, "cooling");
    assert_eq!(found("auth.json#openai").status_message, "");
    assert_eq!(
        one.load("auth.json#anthropic")
            .unwrap()
            .unwrap()
            .status_message,
        "cooling"
    );
}
