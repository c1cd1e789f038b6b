//! What the system notes of the directory: nothing that happens there is missed, and no look at all files is needed for it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use credpool::{Auth, Cursor, FileStore, Revision, Store};
use proptest::prelude::*;
use proptest::sample::select;

/// What one process knows of a directory by changes alone.
struct Follower {
    store: FileStore,
    cursor: Cursor,
    known: BTreeMap<String, Revision>,
}

impl Follower {
    fn of(directory: &Path) -> Self {
        let store = FileStore::open(directory).unwrap();
        let listing = store.list().unwrap();
        let known = listing.records.iter();
        let mut follower = Self {
            known: known
                .map(|auth| (auth.id.clone(), Revision::of(auth)))
                .collect(),
            cursor: listing.cursor.unwrap(),
            store,
        };
        assert!(follower.look(), "notes begin with the first look");
        follower
    }

    /// Whether the next look costs next to nothing. An empty directory in the place of one with records is an error.
    fn look(&mut self) -> bool {
        let Ok(changes) = self.store.changes(Some(&self.cursor)) else {
            return false;
        };
        let changes = changes.unwrap();
        for auth in &changes.written {
            self.known.insert(auth.id.clone(), Revision::of(auth));
        }
        for id in &changes.removed {
            self.known.remove(id);
        }
        self.cursor = changes.cursor;
        changes.is_notified
    }

    fn ids(&self) -> Vec<&str> {
        self.known.keys().map(String::as_str).collect()
    }
}

/// What a store that has just been opened reads.
fn there(directory: &Path) -> BTreeMap<String, Revision> {
    let records = FileStore::open(directory).unwrap().list().unwrap().records;
    let records = records.iter();
    records
        .map(|auth| (auth.id.clone(), Revision::of(auth)))
        .collect()
}

fn key(id: &str, label: &str) -> Auth {
    Auth::api_key("p", "sk-1").with_id(id).with_label(label)
}

fn token(text: &str) -> String {
    format!(r#"{{"type":"p","access_token":"{text}"}}"#)
}

#[derive(Clone, Debug)]
enum Step {
    Write(&'static str, u8),
    WriteByRename(&'static str, u8),
    Cut(&'static str),
    Rename(&'static str, &'static str),
    Remove(&'static str),
    Link(&'static str),
    Save(&'static str, u8),
    SaveState(&'static str),
    Delete(&'static str),
    OwnSave(&'static str, u8),
    MoveDirectory(&'static str, &'static str),
    RemoveDirectory(&'static str),
    ReplaceRoot,
    Look,
}

const FILES: &[&str] = &[
    "a.json",
    "b.json",
    "sub/a.json",
    "sub/deep/c.json",
    "other/d.json",
    "kept.credential",
    "note.txt",
];
const IDS: &[&str] = &["kept", "k", "a.json", "sub/a.json"];
const DIRECTORIES: &[&str] = &["sub", "other", "sub/deep"];

fn steps() -> impl Strategy<Value = Step> {
    let file = || select(FILES);
    let id = || select(IDS);
    let directory = || select(DIRECTORIES);
    prop_oneof![
        4 => (file(), 0..9u8).prop_map(|(path, text)| Step::Write(path, text)),
        2 => (file(), 0..9u8).prop_map(|(path, text)| Step::WriteByRename(path, text)),
        1 => file().prop_map(Step::Cut),
        2 => (file(), file()).prop_map(|(from, to)| Step::Rename(from, to)),
        2 => file().prop_map(Step::Remove),
        1 => file().prop_map(Step::Link),
        2 => (id(), 0..9u8).prop_map(|(id, text)| Step::Save(id, text)),
        1 => id().prop_map(Step::SaveState),
        1 => id().prop_map(Step::Delete),
        2 => (id(), 0..9u8).prop_map(|(id, text)| Step::OwnSave(id, text)),
        1 => (directory(), directory()).prop_map(|(from, to)| Step::MoveDirectory(from, to)),
        1 => directory().prop_map(Step::RemoveDirectory),
        1 => Just(Step::ReplaceRoot),
        4 => Just(Step::Look),
    ]
}

/// What fails changes nothing, and that is a step too.
fn take(step: &Step, home: &Path, directory: &Path, follower: &mut Follower) {
    let at = |path: &str| {
        let place = directory.join(path);
        let _ = fs::create_dir_all(place.parent().unwrap());
        place
    };
    let text = |path: &str, text: u8| match path {
        "kept.credential" => format!(r#"{{"id":"kept","provider":"p","label":"{text}"}}"#),
        _ => token(&text.to_string()),
    };
    let other = || FileStore::open(directory).unwrap();
    match *step {
        Step::Write(path, number) => drop(fs::write(at(path), text(path, number))),
        Step::WriteByRename(path, number) => {
            let aside = home.join("aside");
            fs::write(&aside, text(path, number)).unwrap();
            let _ = fs::rename(aside, at(path));
        }
        Step::Cut(path) => drop(fs::write(at(path), "{")),
        Step::Rename(from, to) | Step::MoveDirectory(from, to) => {
            drop(fs::rename(at(from), at(to)));
        }
        Step::Remove(path) => drop(fs::remove_file(at(path))),
        Step::Link(path) => {
            let _ = fs::remove_file(at(path));
            let _ = symlink("/dev/null", at(path));
        }
        Step::Save(id, label) => drop(other().save(&key(id, &label.to_string()))),
        Step::SaveState(id) => drop(other().save_state(&key(id, ""))),
        Step::Delete(id) => drop(other().delete(id)),
        Step::OwnSave(id, label) => {
            let auth = key(id, &label.to_string());
            if follower.store.save(&auth).is_ok() {
                let revision = follower.store.load(id).unwrap();
                let revision = revision.as_ref().map(Revision::of);
                follower.known.insert(id.to_owned(), revision.unwrap());
            }
        }
        Step::RemoveDirectory(path) => drop(fs::remove_dir_all(at(path))),
        Step::ReplaceRoot => {
            // The same files, in another directory.
            let copy = home.join("copy");
            fs::rename(directory, &copy).unwrap();
            fs::create_dir(directory).unwrap();
            for entry in fs::read_dir(&copy).unwrap() {
                let entry = entry.unwrap();
                fs::rename(entry.path(), directory.join(entry.file_name())).unwrap();
            }
            fs::remove_dir_all(copy).unwrap();
        }
        Step::Look => drop(follower.look()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn who_follows_the_changes_knows_what_is_there(
        steps in prop::collection::vec(steps(), 1..40)
    ) {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("store");
        let mut follower = Follower::of(&directory);
        take(&Step::OwnSave("kept", 1), home.path(), &directory, &mut follower);
        for step in &steps {
            take(step, home.path(), &directory, &mut follower);
        }
        fs::write(directory.join("last.json"), token("last")).unwrap();
        // A file that cannot be parsed keeps its former record, which a store that is opened anew does not know.
        let skipped = FileStore::open(&directory).unwrap().list().unwrap().skipped;
        for skipped in skipped.iter().filter(|skipped| FILES.contains(&&*skipped.location)) {
            fs::remove_file(directory.join(&skipped.location)).unwrap();
        }
        follower.look();
        // What a directory lacks that took the place of another stays known.
        let there = there(&directory);
        follower.known.retain(|id, _| {
            there.contains_key(id) || follower.store.missing(id).unwrap() == credpool::Missing::Removed
        });
        prop_assert_eq!(&follower.known, &there);
    }
}

#[test]
fn each_way_to_change_a_file_is_noted() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("store");
    fs::create_dir_all(directory.join("sub")).unwrap();
    let at = |path: &str| directory.join(path);
    fs::write(at("a.json"), token("one")).unwrap();
    let mut follower = Follower::of(&directory);
    let changes: &[(&str, &dyn Fn())] = &[
        ("in place", &|| {
            fs::write(at("a.json"), token("two")).unwrap();
        }),
        ("below", &|| {
            fs::write(at("sub/b.json"), token("one")).unwrap();
        }),
        ("by rename", &|| {
            fs::write(at("aside"), token("three")).unwrap();
            fs::rename(at("aside"), at("a.json")).unwrap();
        }),
        ("to another name", &|| {
            fs::rename(at("sub/b.json"), at("c.json")).unwrap();
        }),
        ("by another store", &|| {
            let store = FileStore::open(&directory).unwrap();
            store.save(&key("k", "")).unwrap();
        }),
        ("a removal", &|| fs::remove_file(at("a.json")).unwrap()),
    ];
    for (how, change) in changes {
        change();
        assert!(follower.look(), "{how}: no look at all files");
        assert_eq!(follower.known, there(&directory), "{how}");
    }
    assert_eq!(follower.ids(), ["c.json", "k"]);

    let mut state = key("k", "");
    state.status = credpool::Status::Error;
    FileStore::open(&directory)
        .unwrap()
        .save_state(&state)
        .unwrap();
    let changes = follower.store.changes(Some(&follower.cursor)).unwrap();
    assert_eq!(changes.unwrap().written[0].status, credpool::Status::Error);
}

#[test]
fn directories_that_come_and_go_are_noted() {
    let home = tempfile::tempdir().unwrap();
    let [directory, one, other] = ["store", "one", "other"].map(|name| home.path().join(name));
    for (place, text) in [(&one, "one"), (&other, "other")] {
        fs::create_dir(place).unwrap();
        fs::write(place.join("a.json"), token(text)).unwrap();
    }
    symlink(&one, &directory).unwrap();
    let mut follower = Follower::of(&directory);
    fs::create_dir(directory.join("new")).unwrap();
    fs::write(directory.join("new/b.json"), token("b")).unwrap();
    follower.look();
    assert_eq!(follower.ids(), ["a.json", "new/b.json"]);
    fs::write(directory.join("new/b.json"), token("b2")).unwrap();
    follower.look();
    assert_eq!(follower.known, there(&directory));
    fs::remove_dir_all(directory.join("new")).unwrap();
    follower.look();
    assert_eq!(follower.ids(), ["a.json"]);
    assert!(follower.look());

    // The link is led elsewhere, as that of a mounted volume.
    symlink(&other, home.path().join("link")).unwrap();
    fs::rename(home.path().join("link"), &directory).unwrap();
    follower.look();
    assert_eq!(follower.known, there(&directory));
    fs::write(other.join("a.json"), token("newer")).unwrap();
    fs::write(one.join("a.json"), token("of no use")).unwrap();
    follower.look();
    assert_eq!(follower.known, there(&directory));
}
