//! The store in a database file: what is beside its promises as a store.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use credpool::{Auth, Changes, ErrorCode, Missing, Revision, Saved, SqliteStore, Store};
use rusqlite::Connection;

fn sample(id: &str) -> Auth {
    Auth::api_key("p", "sk-canary").with_id(id)
}

#[test]
fn everything_is_private() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.db");
    let store = SqliteStore::open(&path).unwrap();
    store.save(&sample("a")).unwrap();
    drop(store.lock("a", std::time::Duration::ZERO).unwrap().unwrap());
    let mut seen = Vec::new();
    for entry in fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let mode = entry.metadata().unwrap().mode() & 0o077;
            assert_eq!(mode, 0, "{name}");
        }
        seen.push(name);
    }
    seen.sort();
    assert_eq!(seen, ["c.db", "c.db-shm", "c.db-wal", "c.db.locks"]);
    let mut locks = fs::read_dir(dir.path().join("c.db.locks")).unwrap();
    assert_eq!(locks.next().unwrap().unwrap().file_name(), "a.refresh");
}

#[test]
fn what_is_no_database_is_refused_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.db");
    let text = "this is not a database. ".repeat(100);
    fs::write(&path, &text).unwrap();
    let error = SqliteStore::open(&path).unwrap_err();
    assert_eq!(error.code(), &ErrorCode::Store);
    assert!(error.message().contains("c.db"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    SqliteStore::open(dir.path().join("missing/c.db")).unwrap_err();
    // A directory is refused before anything happens to it or beside it.
    let inner = dir.path().join("inner");
    fs::create_dir(&inner).unwrap();
    #[cfg(unix)]
    let open_to_all = {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o777)).unwrap();
        || fs::metadata(&inner).unwrap().permissions().mode() & 0o777 == 0o777
    };
    let error = SqliteStore::open(&inner).unwrap_err();
    assert!(error.message().contains("regular file"), "{error}");
    #[cfg(unix)]
    assert!(open_to_all());
    let mut beside = fs::read_dir(dir.path()).unwrap();
    assert!(beside.all(|entry| {
        !entry
            .unwrap()
            .file_name()
            .to_string_lossy()
            .ends_with(".locks")
    }));
}

#[test]
fn a_name_that_means_something_to_sqlite_is_a_path() {
    let dir = tempfile::tempdir().unwrap();
    for name in [":memory:", "file:x.db?mode=memory"] {
        let path = dir.path().join(name);
        SqliteStore::open(&path)
            .unwrap()
            .save(&sample("a"))
            .unwrap();
        assert!(path.is_file());
        let again = SqliteStore::open(&path).unwrap();
        assert!(again.load("a").unwrap().is_some());
    }
}

#[test]
fn a_database_that_stays_locked_is_an_error_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.db");
    let store = SqliteStore::open(&path).unwrap();
    store.save(&sample("a")).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // Whoever reads is not disturbed.
    assert_eq!(store.list().unwrap().records.len(), 1);
    let changed = sample("a").with_label("changed");
    let error = store
        .save_if(&changed, Some(&Revision::of(&sample("a"))))
        .unwrap_err();
    assert_eq!(
        (error.code(), error.auth_id()),
        (&ErrorCode::Store, Some("a"))
    );
    assert!(std::error::Error::source(&error).is_some());
    assert!(
        !format!("{error} {error:?}").contains("canary"),
        "{error:?}"
    );
    assert_eq!(store.load("a").unwrap().unwrap().label, "");
    // It goes on when the other one is done, without being opened again.
    other.execute_batch("COMMIT").unwrap();
    assert!(matches!(
        store.save_if(&changed, Some(&Revision::of(&sample("a")))),
        Ok(Saved::At(_))
    ));
    assert_eq!(store.load("a").unwrap().unwrap().label, "changed");
}

#[test]
fn a_row_that_does_not_read_hides_no_other_and_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.db");
    let store = SqliteStore::open(&path).unwrap();
    for id in ["a", "b", "c", "d"] {
        store.save(&sample(id)).unwrap();
    }
    let other = Connection::open(&path).unwrap();
    for (id, column, text) in [
        ("a", "credential", "{\"id\":\"a\",\"metadata\":\"sk-canary"),
        ("b", "credential", "{\"id\":\"other\"}"),
        ("c", "state", "[\"sk-canary\"]"),
    ] {
        let sql = format!("UPDATE credpool_records SET {column} = ?1 WHERE id = ?2");
        assert_eq!(
            other
                .execute(&sql, rusqlite::params![text, id.as_bytes()])
                .unwrap(),
            1
        );
    }
    let listing = store.list().unwrap();
    let ids: Vec<_> = listing
        .records
        .iter()
        .map(|auth| auth.id.as_str())
        .collect();
    assert_eq!(ids, ["c", "d"]);
    assert_eq!(listing.skipped.len(), 3);
    for skipped in &listing.skipped {
        assert!(!skipped.to_string().contains("canary"), "{skipped}");
    }
    let error = store.load("a").unwrap_err();
    assert!(!format!("{error:?}").contains("canary"), "{error:?}");
}

#[test]
fn a_program_may_keep_its_own_tables_in_the_same_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.db");
    let own = Connection::open(&path).unwrap();
    own.execute_batch("CREATE TABLE mine (x); INSERT INTO mine VALUES (1)")
        .unwrap();
    let store = SqliteStore::open(&path).unwrap();
    thread::scope(|scope| {
        for thread in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for number in 0..20 {
                    store.save(&sample(&format!("{thread}-{number}"))).unwrap();
                }
            });
        }
    });
    assert_eq!(store.list().unwrap().records.len(), 80);
    let x: i64 = own
        .query_row("SELECT x FROM mine", [], |row| row.get(0))
        .unwrap();
    assert_eq!(x, 1);
}

#[test]
fn a_removal_is_forgotten_in_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.db");
    let store = SqliteStore::open(&path).unwrap();
    let cursor = store.changes(None).unwrap().unwrap().cursor;
    let other = SqliteStore::open(&path).unwrap();
    for id in ["a", "b", "c"] {
        other.save(&sample(id)).unwrap();
        other.delete(id).unwrap();
    }
    let rows = Connection::open(&path).unwrap();
    let age = |id: &str, seconds: i64| {
        let sql = "UPDATE credpool_records SET removed_at = removed_at - ?1 WHERE id = ?2";
        rows.execute(sql, rusqlite::params![seconds, id.as_bytes()])
            .unwrap();
    };
    age("a", 31 * 24 * 3600);
    age("b", 29 * 24 * 3600);
    other.delete("unknown").unwrap();
    let changes = store.changes(Some(&cursor)).unwrap().unwrap();
    assert_eq!(changes.removed, ["b", "c"]);
}

/// A copy of the database as it is now, beside it.
fn copied(path: &Path) -> PathBuf {
    let copy = path.with_extension("copy");
    let connection = Connection::open(path).unwrap();
    connection
        .execute("VACUUM INTO ?1", [copy.to_str().unwrap()])
        .unwrap();
    copy
}

/// Puts a copy in the place of the database.
fn restore(copy: &Path, path: &Path) {
    for end in ["-wal", "-shm"] {
        let mut beside = path.as_os_str().to_owned();
        beside.push(end);
        let _ = fs::remove_file(beside);
    }
    fs::rename(copy, path).unwrap();
}

fn ids(changes: &Changes) -> Vec<&str> {
    let written = changes.written.iter();
    written.map(|auth| auth.id.as_str()).collect()
}

#[cfg(unix)]
#[test]
fn a_copy_that_takes_the_place_of_the_database_is_what_is_read_and_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.db");
    for is_written_since in [false, true] {
        let store = SqliteStore::open(&path).unwrap();
        store.delete("b").unwrap();
        store.save(&sample("a")).unwrap();
        let copy = copied(&path);
        store.save(&sample("b")).unwrap();
        let cursor = store.changes(None).unwrap().unwrap().cursor;
        if is_written_since {
            // Its version passes the cursor.
            let other = SqliteStore::open(&copy).unwrap();
            for label in ["1", "2", "3", "4", "5"] {
                other.save(&sample("a").with_label(label)).unwrap();
            }
            drop(other);
        }
        restore(&copy, &path);
        let changes = store.changes(Some(&cursor)).unwrap().unwrap();
        assert!(changes.complete);
        assert_eq!(ids(&changes), ["a"]);
        assert!(store.load("b").unwrap().is_none());
        store.save(&sample("b").with_label("again")).unwrap();
        let again = SqliteStore::open(&path).unwrap();
        assert_eq!(again.load("b").unwrap().unwrap().label, "again");
        let changes = store.changes(Some(&changes.cursor)).unwrap().unwrap();
        assert!(!changes.complete);
    }
}

#[cfg(unix)]
#[test]
fn a_database_that_is_gone_is_an_error_until_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.db");
    let store = SqliteStore::open(&path).unwrap();
    store.save(&sample("a")).unwrap();
    let cursor = store.changes(None).unwrap().unwrap().cursor;
    let copy = copied(&path);
    fs::rename(&path, dir.path().join("away")).unwrap();
    for error in [
        store.save(&sample("b")).unwrap_err(),
        store.missing("a").unwrap_err(),
        store.list().unwrap_err(),
        store.changes(Some(&cursor)).unwrap_err(),
    ] {
        assert_eq!(*error.code(), ErrorCode::Store);
        assert!(error.message().contains("c.db"), "{error}");
    }
    assert!(!path.exists());
    restore(&copy, &path);
    assert!(store.load("a").unwrap().is_some());
    // An empty one is a database that has lost everything.
    fs::write(&copy, "").unwrap();
    restore(&copy, &path);
    assert_eq!(store.missing("a").unwrap(), Missing::Lost);
    let changes = store.changes(Some(&cursor)).unwrap().unwrap();
    assert!(changes.complete && changes.written.is_empty());
}

#[test]
fn a_version_that_went_back_and_tables_that_were_made_anew_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.db");
    let store = SqliteStore::open(&path).unwrap();
    store.save(&sample("a")).unwrap();
    store.save(&sample("b")).unwrap();
    let cursor = store.changes(None).unwrap().unwrap().cursor;
    let rows = Connection::open(&path).unwrap();
    rows.execute_batch("UPDATE credpool_version SET version = version - 1")
        .unwrap();
    let changes = store.changes(Some(&cursor)).unwrap().unwrap();
    assert!(changes.complete);
    assert_eq!(ids(&changes), ["a", "b"]);
    for table in ["records", "intents", "version", "history"] {
        rows.execute_batch(&format!("DROP TABLE credpool_{table}"))
            .unwrap();
    }
    let other = SqliteStore::open(&path).unwrap();
    for id in ["c", "d", "e"] {
        other.save(&sample(id)).unwrap();
    }
    let changes = store.changes(Some(&cursor)).unwrap().unwrap();
    assert!(changes.complete);
    assert_eq!(ids(&changes), ["c", "d", "e"]);
}
