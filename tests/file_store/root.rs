//! Another directory in the place of the store's: an unmounted file system, a release that was swapped in.

use std::fs;
use std::path::Path;
use std::sync::{Barrier, Mutex};
use std::time::Duration;

use credpool::{Auth, Changes, Cursor, ErrorCode, FileStore, Store};
use serde_json::json;

use crate::place::{Place, sample};

fn look(store: &FileStore, cursor: &mut Cursor) -> Changes {
    let changes = store.changes(Some(cursor)).unwrap().unwrap();
    *cursor = changes.cursor.clone();
    changes
}

fn cursor(store: &FileStore) -> Cursor {
    store.list().unwrap().cursor.unwrap()
}

fn ids(records: &[Auth]) -> Vec<&str> {
    records.iter().map(|auth| auth.id.as_str()).collect()
}

/// Everything that a store does fails, and says the same.
fn refuses(store: &FileStore, cursor: &Cursor, what: &str) {
    let auth = sample("a").with_label("new");
    let errors = [
        store.list().unwrap_err(),
        store.changes(Some(cursor)).unwrap_err(),
        store.load("a").unwrap_err(),
        store.save(&auth).unwrap_err(),
        store.save_state(&auth).unwrap_err(),
        store.lock("a", Duration::ZERO).err().unwrap(),
        store.delete("a").unwrap_err(),
    ];
    for error in errors {
        assert_eq!(*error.code(), ErrorCode::Store);
        let text = error.to_string();
        for part in [what, &store.dir().display().to_string(), "mounted"] {
            assert!(text.contains(part), "{part:?} is missing in {text:?}");
        }
    }
}

#[test]
fn an_empty_directory_in_its_place_removes_nothing() {
    let place = Place::new();
    let store = place.open();
    store.save(&sample("a")).unwrap();
    place.put("t.json", json!({"type": "claude"}).to_string());
    let mut cursor = cursor(&store);
    let aside = place.dir.with_extension("aside");

    fs::rename(&place.dir, &aside).unwrap();
    refuses(&store, &cursor, "could not read the directory");
    fs::create_dir(&place.dir).unwrap();
    refuses(
        &store,
        &cursor,
        "is empty and is not the directory that held them",
    );
    fs::create_dir(place.path("lost+found")).unwrap();
    refuses(
        &store,
        &cursor,
        "holds no credentials and is not the directory that held them",
    );
    assert_eq!(place.names(), ["lost+found"], "nothing is written to it");

    fs::remove_dir_all(&place.dir).unwrap();
    fs::rename(&aside, &place.dir).unwrap();
    let changes = look(&store, &mut cursor);
    assert!(changes.written.is_empty() && changes.removed.is_empty());
    store.save(&sample("a").with_label("new")).unwrap();
    assert_eq!(store.list().unwrap().records.len(), 2);
}

#[test]
fn the_same_file_number_does_not_make_it_the_same_directory() {
    let place = Place::new();
    let store = place.open();
    store.save(&sample("a")).unwrap();
    let cursor = cursor(&store);
    // Some file systems give the number out again at once.
    for entry in fs::read_dir(&place.dir).unwrap() {
        let path = entry.unwrap().path();
        let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
    }
    refuses(
        &store,
        &cursor,
        "is empty and is not the directory that held them",
    );
    // Who opens it now says so.
    assert!(place.open().list().unwrap().records.is_empty());
    refuses(&store, &cursor, "holds no credentials");
}

#[test]
fn what_is_removed_from_the_same_directory_is_removed_the_last_one_too() {
    let place = Place::new();
    let store = place.open();
    store.save(&sample("a")).unwrap();
    store.save(&sample("b")).unwrap();
    let mut cursor = cursor(&store);
    for id in ["a", "b"] {
        fs::remove_file(place.path(&format!("{id}.credential"))).unwrap();
        assert_eq!(look(&store, &mut cursor).removed, [id]);
    }
    // Nothing is left that another directory could take away.
    fs::remove_dir_all(&place.dir).unwrap();
    fs::create_dir(&place.dir).unwrap();
    look(&store, &mut cursor);
    store.save(&sample("a")).unwrap();
    assert_eq!(ids(&place.open().list().unwrap().records), ["a"]);
}

#[test]
fn a_store_without_records_takes_any_directory() {
    let place = Place::new();
    let store = place.open();
    fs::remove_dir_all(&place.dir).unwrap();
    fs::create_dir(&place.dir).unwrap();
    store.save(&sample("a")).unwrap();
    // One that has not looked yet knows that there was something.
    let unread = place.open();
    fs::remove_dir_all(&place.dir).unwrap();
    fs::create_dir(&place.dir).unwrap();
    unread.list().unwrap_err();
}

#[test]
fn stores_that_are_opened_together_in_a_new_place_all_open() {
    let home = tempfile::tempdir().unwrap();
    for round in 0..100 {
        let dir = home.path().join(format!("{round}/a/b/c"));
        let together = Barrier::new(4);
        std::thread::scope(|scope| {
            for number in 0..4 {
                let (dir, together) = (&dir, &together);
                scope.spawn(move || {
                    together.wait();
                    let store = FileStore::open(dir).unwrap();
                    store.save(&sample(&format!("a{number}"))).unwrap();
                });
            }
        });
        assert_eq!(
            FileStore::open(&dir).unwrap().list().unwrap().records.len(),
            4
        );
    }
}

#[cfg(unix)]
fn lead(link: &Path, to: &Path) {
    let new = link.with_file_name("new");
    std::os::unix::fs::symlink(to, &new).unwrap();
    fs::rename(new, link).unwrap();
}

#[cfg(unix)]
#[test]
fn a_link_that_is_led_to_a_new_directory_is_followed() {
    let home = tempfile::tempdir().unwrap();
    let [first, second, third] = ["1", "2", "3"].map(|name| home.path().join(name));
    for (dir, names) in [(&first, ["a", "b"]), (&second, ["b", "c"])] {
        fs::create_dir(dir).unwrap();
        for name in names {
            let file = json!({"type": "claude", "access_token": dir});
            fs::write(dir.join(format!("{name}.json")), file.to_string()).unwrap();
        }
    }
    fs::create_dir(&third).unwrap();
    let link = home.path().join("current");
    lead(&link, &first);
    let store = FileStore::open(&link).unwrap();
    assert_eq!(store.dir(), link);
    let mut cursor = cursor(&store);

    lead(&link, &second);
    let changes = look(&store, &mut cursor);
    assert_eq!(ids(&changes.written), ["b.json", "c.json"]);
    assert!(changes.removed.is_empty());
    let told = |changes: &Changes| {
        let told = changes.skipped.iter();
        told.map(|skipped| skipped.location.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(told(&changes), ["a.json"]);
    assert!(changes.skipped[0].reason.contains("its credential stays"));
    // Once, and a listing says so as well.
    let again = look(&store, &mut cursor);
    assert!(again.written.is_empty() && again.skipped.is_empty() && again.removed.is_empty());
    assert_eq!(store.list().unwrap().skipped[0].location, "a.json");

    // What is removed from the new one is removed; what is saved goes there.
    fs::remove_file(second.join("b.json")).unwrap();
    assert_eq!(look(&store, &mut cursor).removed, ["b.json"]);
    store.save(&sample("d")).unwrap();
    assert!(second.join("d.credential").exists());

    lead(&link, &third);
    let error = store.changes(Some(&cursor)).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("is empty and is not the directory"),
        "{error}"
    );
    lead(&link, &first);
    let changes = look(&store, &mut cursor);
    assert_eq!(ids(&changes.written), ["a.json", "b.json"]);
    assert!(changes.removed.is_empty());
    assert_eq!(told(&changes), ["c.json", "d.credential"]);
}

#[cfg(unix)]
#[test]
fn links_below_the_directory_are_told_and_not_followed() {
    let place = Place::new();
    place.put("..2026/a.json", json!({"type": "claude"}).to_string());
    lead(&place.path("..data"), Path::new("..2026"));
    lead(&place.path("a.json"), Path::new("..data/a.json"));
    let listing = place.open().list().unwrap();
    let told = listing
        .skipped
        .iter()
        .map(|skipped| skipped.location.as_str());
    assert_eq!(told.collect::<Vec<_>>(), ["..data", "a.json"]);
    // The way to read such a volume: through its link.
    let store = FileStore::open(place.path("..data")).unwrap();
    let mut cursor = cursor(&store);
    place.put(
        "..2027/a.json",
        json!({"type": "claude", "k": 2}).to_string(),
    );
    lead(&place.path("..data"), Path::new("..2027"));
    let changes = look(&store, &mut cursor);
    assert_eq!(ids(&changes.written), ["a.json"]);
}

/// One logger for the whole process, which keeps every line.
struct Lines(Mutex<Vec<String>>);

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{} {}", record.level(), record.args());
        self.0.lock().unwrap().push(line);
    }

    fn flush(&self) {}
}

static LINES: Lines = Lines(Mutex::new(Vec::new()));

#[test]
fn a_trouble_is_told_when_it_begins_and_when_it_ends() {
    let _ = log::set_logger(&LINES);
    log::set_max_level(log::LevelFilter::Info);
    let place = Place::new();
    let store = place.open();
    store.save(&sample("a")).unwrap();
    let mut cursor = cursor(&store);
    let aside = place.dir.with_extension("aside");
    let told = || {
        let dir = place.dir.display().to_string();
        let lines = LINES.0.lock().unwrap();
        let told = lines.iter().filter(|line| line.contains(&dir));
        told.cloned().collect::<Vec<_>>()
    };
    for round in 1..=2 {
        fs::rename(&place.dir, &aside).unwrap();
        fs::create_dir(&place.dir).unwrap();
        for _ in 0..3 {
            store.changes(Some(&cursor)).unwrap_err();
            store.load("a").unwrap_err();
        }
        fs::remove_dir(&place.dir).unwrap();
        fs::rename(&aside, &place.dir).unwrap();
        for _ in 0..3 {
            look(&store, &mut cursor);
        }
        let told = told();
        assert_eq!(told.len(), 2 * round, "{told:?}");
        let [begin, end] = &told[told.len() - 2..] else {
            panic!("{told:?}");
        };
        assert!(begin.starts_with("WARN") && begin.contains("is empty"));
        assert!(end.starts_with("INFO") && end.ends_with("is back"));
    }
}
