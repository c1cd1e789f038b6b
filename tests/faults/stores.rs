//! Stores that hold nonsense, are busy, or lose what they had.

use std::fs;

use credpool::{Auth, FileStore, Manager, Status, Store};

use crate::SECOND;
use crate::refresh_support::{Fleet, call, token};

#[test]
fn fault_11_a_directory_holds_damaged_and_hostile_files() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("store");
    let store = FileStore::open(&place).unwrap();
    for id in [
        "good",
        "empty",
        "cut",
        "../../escape",
        "/etc/escape",
        "a\0b",
    ] {
        store
            .save(&Auth::api_key("p", "sk-canary").with_id(id))
            .unwrap();
    }
    let file_of = |id: &str| {
        let files = fs::read_dir(&place)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        files
            .filter(|path| {
                path.extension()
                    .is_some_and(|ending| ending == "credential")
            })
            .find(|path| {
                fs::read_to_string(path)
                    .unwrap_or_default()
                    .contains(&format!("\"{id}\""))
            })
            .unwrap()
    };
    fs::write(file_of("empty"), "").unwrap();
    let cut = file_of("cut");
    let text = fs::read_to_string(&cut).unwrap();
    fs::write(&cut, &text[..text.len() / 2]).unwrap();
    fs::write(place.join("newer.credential"), r#"{"version":99,"id":"x"}"#).unwrap();
    fs::write(place.join("none.json"), "[1,2").unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let outside = directory.path().join("outside.json");
        fs::write(&outside, r#"{"id":"outside","provider":"p"}"#).unwrap();
        symlink(&outside, place.join("link.json")).unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(place.join("pipe.json"))
            .status()
            .unwrap();
        assert!(made.success());
        let open = place.join("open.json");
        fs::write(&open, r#"{"id":"open","provider":"p"}"#).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    }
    let store = FileStore::open(&place).unwrap();
    let manager = Manager::builder().store(store).build().unwrap();
    let report = manager.load().unwrap();
    let mut loaded: Vec<_> = manager.list().iter().map(|auth| auth.id.clone()).collect();
    loaded.sort_unstable();
    let mut expected = vec!["../../escape", "/etc/escape", "a\0b", "good"];
    if cfg!(unix) {
        expected.push("open");
    }
    assert_eq!(loaded, expected);
    assert!(report.skipped.len() >= 4, "{:?}", report.skipped);
    assert!(!format!("{:?}", report.skipped).contains("canary"));
    // Nothing was written outside, and what was damaged is still there to be looked at.
    let around: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        around
            .iter()
            .all(|name| name == "store" || name == "outside.json"),
        "{around:?}"
    );
    assert!(cut.exists());
}

/// What a server of records does to a fleet; the servers themselves are in the tests of their stores.
#[test]
fn fault_20_a_store_is_busy_or_loses_what_it_had() {
    // A failover has taken the last rotation back: who has it in memory uses it, and an older one never wins.
    let fleet = Fleet::new();
    let manager = fleet.process();
    manager.register(fleet.server.login("p", "a")).unwrap();
    let before = fleet.store.record("a");
    manager.refresh_now("a").unwrap();
    fleet.store.save(&before).unwrap();
    assert_eq!(call(&manager).unwrap(), "access-1");
    fleet.clock.advance(31 * SECOND);
    manager.refresh_now("a").unwrap();
    assert_eq!(token(&manager, "a"), "access-2");
    assert_eq!(fleet.store.token("a"), "access-2");
    assert_eq!(
        (fleet.server.replays(), fleet.server.is_alive("a")),
        (0, true)
    );
    assert_eq!(manager.get_by_id("a").unwrap().status, Status::Active);
    #[cfg(feature = "sqlite")]
    busy_sqlite();
    #[cfg(feature = "postgres")]
    postgres::loses_the_answer_to_a_commit();
    #[cfg(feature = "redis")]
    redis::fails_over();
}

/// Another process writes, and does not come to an end.
#[cfg(feature = "sqlite")]
fn busy_sqlite() {
    use credpool::{ErrorCode, Saved, SqliteStore};

    use crate::store_support::{of_generation, revision};

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.db");
    let store = SqliteStore::open(&path).unwrap();
    store.save(&of_generation(1)).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store
        .save_if(&of_generation(2), Some(&revision(1)))
        .unwrap_err();
    assert_eq!(
        (error.code(), error.auth_id()),
        (&ErrorCode::Store, Some("a"))
    );
    assert_eq!(store.load("a").unwrap().unwrap().generation(), 1);
    other.execute_batch("COMMIT").unwrap();
    assert!(matches!(
        store.save_if(&of_generation(2), Some(&revision(1))),
        Ok(Saved::At(_))
    ));
    assert!(matches!(
        store.save_if(&of_generation(2).with_label("late"), Some(&revision(1))),
        Ok(Saved::Conflict(Some(_)))
    ));
}

#[cfg(feature = "postgres")]
mod postgres {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use credpool::{PostgresStore, Saved, Store};

    use crate::store_support::{of_generation, postgres, revision, when_up};

    /// The connection is gone after the statement was sent, and before its answer has come: it is done, and nobody knows.
    pub(super) fn loses_the_answer_to_a_commit() {
        let Some(server) = postgres() else {
            return;
        };
        when_up(|| PostgresStore::connect(server.postgres_url("public")));
        let swallow = Arc::new(AtomicBool::new(false));
        let port = relay(server.port, &swallow);
        let url = server
            .postgres_url("public")
            .replace(&format!(":{}/", server.port), &format!(":{port}/"));
        let store = PostgresStore::connect(url).unwrap();
        let direct = PostgresStore::connect(server.postgres_url("public")).unwrap();
        store.save(&of_generation(1)).unwrap();
        swallow.store(true, Ordering::SeqCst);
        let saved = store.save_if(&of_generation(2), Some(&revision(1)));
        assert!(matches!(saved, Ok(Saved::At(_))), "{saved:?}");
        assert!(!swallow.load(Ordering::SeqCst), "no answer was lost");
        assert_eq!(direct.load("a").unwrap().unwrap().generation(), 2);
        // The same where another process was faster in between: it is told, and nothing of it is lost.
        direct.save(&of_generation(5)).unwrap();
        swallow.store(true, Ordering::SeqCst);
        let saved = store.save_if(&of_generation(3), Some(&revision(2)));
        assert!(
            matches!(&saved, Ok(Saved::Conflict(Some(there))) if there.generation() == 5),
            "{saved:?}"
        );
        assert_eq!(direct.load("a").unwrap().unwrap().generation(), 5);
    }

    /// A relay that, once told to, lets what the client sends through and ends the connection instead of answering.
    fn relay(to: u16, swallow: &Arc<AtomicBool>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let swallow = Arc::clone(swallow);
        // It ends with the test program.
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let server = TcpStream::connect(("127.0.0.1", to)).unwrap();
                let swallow = Arc::clone(&swallow);
                let (mut from_client, mut to_server) =
                    (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || drop(std::io::copy(&mut from_client, &mut to_server)));
                thread::spawn(move || answer(server, client, &swallow));
            }
        });
        port
    }

    fn answer(mut server: TcpStream, mut client: TcpStream, swallow: &AtomicBool) {
        let mut bytes = [0; 8 * 1024];
        while let Ok(count @ 1..) = server.read(&mut bytes) {
            if swallow.swap(false, Ordering::SeqCst) || client.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = client.shutdown(std::net::Shutdown::Both);
        let _ = server.shutdown(std::net::Shutdown::Both);
    }
}

#[cfg(feature = "redis")]
mod redis {
    use credpool::{RedisStore, Saved, Store};
    use redis::Commands;

    use crate::store_support::{of_generation, revision, start_redis, when_up};

    /// The replica that takes over has not heard of the last write.
    pub(super) fn fails_over() {
        let Some(server) = start_redis() else {
            return;
        };
        let store = when_up(|| RedisStore::connect(server.redis_url()));
        let client = redis::Client::open(server.redis_url()).unwrap();
        let mut admin = client.get_connection().unwrap();
        store.save(&of_generation(1)).unwrap();
        let old: Vec<u8> = redis::cmd("DUMP")
            .arg("{credpool}:record:a")
            .query(&mut admin)
            .unwrap();
        store
            .save_if(&of_generation(2), Some(&revision(1)))
            .unwrap();
        let _: () = admin.del("{credpool}:record:a").unwrap();
        let _: () = redis::cmd("RESTORE")
            .arg("{credpool}:record:a")
            .arg(0)
            .arg(&old[..])
            .query(&mut admin)
            .unwrap();
        // Who expects what it has written is told what there is, and may then decide; nobody overwrites blindly.
        let saved = store
            .save_if(&of_generation(3), Some(&revision(2)))
            .unwrap();
        assert!(
            matches!(&saved, Saved::Conflict(Some(there)) if there.generation() == 1),
            "{saved:?}"
        );
        assert!(matches!(
            store.save_if(&of_generation(3), Some(&revision(1))),
            Ok(Saved::At(_))
        ));
    }
}
