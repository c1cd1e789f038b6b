//! Records that a program writes in a form of its own.

use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use credpool::{Auth, ErrorCode, Revision, Saved, Status, Store, TokenStorage};
use serde_json::json;

use crate::place::{Place, sample, trace};

/// Writes the access token in a form of its own.
struct OwnForm(Write);

pub(crate) type Write = fn(&Auth, &Path) -> io::Result<()>;

impl TokenStorage for OwnForm {
    fn save_token_to_file(&self, auth: &Auth, path: &Path) -> io::Result<()> {
        (self.0)(auth, path)
    }
}

pub(crate) fn own_form(auth: &Auth, path: &Path) -> io::Result<()> {
    assert!(!path.exists());
    let token = auth
        .metadata
        .as_ref()
        .and_then(|data| data.text("access_token"));
    fs::write(path, json!({"type": "own", "secret": token}).to_string())
}

pub(crate) fn with_storage(auth: Auth, write: Write) -> Auth {
    let mut auth = auth;
    auth.storage = Some(Arc::new(OwnForm(write)));
    auth
}

#[test]
fn a_token_storage_writes_its_own_form() {
    let place = Place::new();
    let store = place.open();
    store.save(&sample("a")).unwrap();
    let mut auth = with_storage(sample("a").with_label("Label"), own_form);
    auth.disabled = true;
    auth.status = Status::Disabled;
    auth.status_message = "by hand".into();
    let location = store.save(&auth).unwrap();
    assert_eq!(Path::new(&location), place.path("a.json"));
    assert_eq!(place.names(), ["a.json", "a.json.state"]);
    assert_eq!(
        place.json("a.json"),
        json!({"type": "own", "secret": "canary"})
    );

    let before = trace(&place.path("a.json"));
    store.save(&auth).unwrap();
    assert_eq!(trace(&place.path("a.json")), before);

    // It keeps its id, and what its file does not say.
    let listed = place.listed()["a"].clone();
    assert_eq!(listed.file_name.as_deref(), Some("a.json"));
    assert_eq!(
        listed.metadata.as_ref().unwrap().text("secret"),
        Some("canary")
    );
    assert_eq!(
        (listed.provider.as_str(), listed.label.as_str()),
        ("openai", "Label")
    );
    assert_eq!(
        (listed.status, listed.status_message.as_str()),
        (Status::Disabled, "by hand")
    );
    assert_eq!(listed.attributes, auth.attributes);
    assert!(listed.disabled);

    // Without its storage it is saved to the same file, in the form of token files.
    place.open().save(&listed).unwrap();
    assert_eq!(place.json("a.json")["secret"], "canary");
    assert_eq!(place.json("a.json")["disabled"], true);
    assert_eq!(place.listed().len(), 1);
    place.open().delete("a").unwrap();
    assert!(place.names().is_empty());
}

#[test]
fn the_file_name_of_a_token_storage_is_kept_inside() {
    let place = Place::new();
    let store = place.open();
    let inside = place.dir.clone();
    for (id, file_name, expected) in [
        ("a", Some("deep/er/t.json"), "deep/er/t.json"),
        ("b", Some("../t.json"), "b.json"),
        ("c", Some("/t.json"), "c.json"),
        ("d", Some("d.txt"), "d.json"),
        ("e/f.json", None, "e/f.json"),
        ("me@example.org.json", None, "me@example.org.json"),
    ] {
        let mut auth = with_storage(sample(id), own_form);
        auth.file_name = file_name.map(str::to_owned);
        assert_eq!(
            Path::new(&store.save(&auth).unwrap()),
            inside.join(expected)
        );
        assert_eq!(place.listed()[id].file_name.as_deref(), Some(expected));
    }
    // A file of another record is not replaced.
    let mut thief = with_storage(sample("thief"), own_form);
    thief.file_name = Some("b.json".into());
    assert_eq!(store.save(&thief).unwrap_err().code(), &ErrorCode::Conflict);
    place.put("tool.json", r#"{"type":"gemini"}"#);
    thief.file_name = Some("tool.json".into());
    assert_eq!(store.save(&thief).unwrap_err().code(), &ErrorCode::Conflict);
    assert_eq!(place.json("tool.json"), json!({"type": "gemini"}));
    assert!(!place.listed().contains_key("thief"));
}

#[test]
fn a_token_storage_that_fails_changes_nothing() {
    let place = Place::new();
    let store = place.open();
    store.save(&with_storage(sample("a"), own_form)).unwrap();
    let before = trace(&place.path("a.json"));
    let bad: [(Write, ErrorCode); 6] = [
        (
            |_, path| {
                fs::write(path, "half")?;
                Err(io::Error::other("sk-canary"))
            },
            ErrorCode::Store,
        ),
        (|_, _| Ok(()), ErrorCode::Store),
        (|_, _| panic!("sk-canary"), ErrorCode::Panicked),
        (|_, path| fs::write(path, "sk-canary"), ErrorCode::Store),
        (
            |_, path| fs::write(path, r#"{"id":"b","provider":"p"}"#),
            ErrorCode::Store,
        ),
        (
            |_, path| fs::write(path, " ".repeat((1 << 20) + 1)),
            ErrorCode::Store,
        ),
    ];
    for (write, code) in bad {
        let error = store.save(&with_storage(sample("a"), write)).unwrap_err();
        assert_eq!(error.code(), &code);
        assert_eq!(error.auth_id(), Some("a"));
        assert!(!error.to_string().contains("canary"), "{error}");
        assert_eq!(trace(&place.path("a.json")), before);
        assert_eq!(place.names(), ["a.json", "a.json.state"]);
    }
}

#[test]
fn a_crash_between_two_forms_leaves_one_record() {
    let place = Place::new();
    place.open().save(&sample("a")).unwrap();
    let former = fs::read(place.path("a.credential")).unwrap();
    place
        .open()
        .save(&with_storage(sample("a"), own_form))
        .unwrap();
    place.put("a.credential", former);
    assert_eq!(place.listed()["a"].file_name.as_deref(), Some("a.json"));
    assert_eq!(place.skipped()[0].location, "a.credential");
    place.open().delete("a").unwrap();
    assert!(place.listed().is_empty());
}

#[test]
fn what_another_program_writes_while_a_swap_is_made_ready_is_not_overwritten() {
    let place = Place::new();
    let store = place.open();
    store.save(&sample("a")).unwrap();
    let revision = Revision::of(&sample("a"));
    let refreshed = sample("a").with_metadata("access_token", "ours");
    // The one that writes takes no lock, and comes behind the first look.
    let interrupted = with_storage(refreshed.clone(), |auth, path| {
        let theirs = sample("a").with_label("theirs");
        let text = serde_json::to_string(&theirs)?;
        fs::write(path.with_file_name("a.credential"), text)?;
        own_form(auth, path)
    });
    let saved = store.save_if(&interrupted, Some(&revision)).unwrap();
    let Saved::Conflict(Some(there)) = saved else {
        panic!("it was overwritten: {saved:?}");
    };
    assert_eq!(there.label, "theirs");
    assert_eq!(place.listed()["a"].label, "theirs");
    assert_eq!(place.names(), ["a.credential", "a.state"]);
    // Put together with what was there, it is written.
    let both = refreshed.with_label("theirs");
    let saved = store.save_if(&both, Some(&Revision::of(&there))).unwrap();
    assert!(matches!(saved, Saved::At(_)));
    // One that writes the same again has written nothing new.
    let again = with_storage(both.clone().with_label("new"), |auth, path| {
        let there = path.with_file_name("a.credential");
        let text = fs::read_to_string(&there)?;
        fs::write(there, text.replace('\n', "\r\n"))?;
        own_form(auth, path)
    });
    let saved = store.save_if(&again, Some(&Revision::of(&both))).unwrap();
    assert!(matches!(saved, Saved::At(_)));
    assert_eq!(place.listed()["a"].label, "new");
}
