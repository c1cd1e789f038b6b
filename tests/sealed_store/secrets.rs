//! No secret is in any file, row or value, whatever a program does; what operators look for is readable.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use credpool::{Error, Manager, MemoryStore, Outcome, Store};

use crate::support::Fake;
use crate::{Keys, loaded, record, store_support, text};

/// Everything that a manager has saved: records, states, a key that was replaced, a record that was removed.
fn use_store(store: Arc<dyn Store>) {
    let manager = Manager::builder().store(store).build().unwrap();
    let executor = Fake::new("p");
    executor.renews(|auth| {
        let renewed = auth.clone().with_metadata("access_token", "canary-new");
        Ok(renewed.with_metadata("refresh_token", "canary-newer"))
    });
    manager.register_executor(executor);
    for id in ["a", "b"] {
        manager.register(record(id)).unwrap();
    }
    manager.refresh_now("a").unwrap();
    let changed = (*manager.get_by_id("a").unwrap()).clone();
    manager
        .update(changed.with_attribute("api_key", "canary-other"))
        .unwrap();
    let limited = Error::upstream(429, "slow down").with_retry_after(Duration::from_secs(600));
    let outcome = Outcome::failure("a", "p", "m", limited);
    manager.mark_result(&outcome);
    manager.remove("b").unwrap();
    manager.shutdown(Duration::from_secs(20)).unwrap();
}

#[test]
fn no_secret_is_in_any_file() {
    let home = tempfile::tempdir().unwrap();
    #[cfg_attr(
        not(feature = "sqlite"),
        allow(unused_mut, reason = "one more is added")
    )]
    let mut stores = vec![(
        "file",
        format!("file|{}", home.path().join("file").display()),
    )];
    #[cfg(feature = "sqlite")]
    stores.push((
        "sqlite",
        format!("sqlite|{}", home.path().join("db").display()),
    ));
    for (kind, address) in stores {
        let store = store_support::open(&format!("sealed|{address}"));
        use_store(Arc::clone(&store));
        let auth = loaded(&*store, "a");
        assert_eq!(auth.attributes.get("api_key"), Some("canary-other"));
        assert_eq!(
            auth.metadata.unwrap().text("access_token"),
            Some("canary-new")
        );
        drop(store);
        let all = files(home.path());
        assert!(!all.contains("canary"), "{kind}: {all}");
        assert!(
            all.contains("mine") && all.contains("credpool_sealed"),
            "{kind}"
        );
        // The check can fail.
        use_store(store_support::open(
            &address
                .replace("/file", "/file-plain")
                .replace("/db", "/db-plain"),
        ));
        assert!(files(home.path()).contains("canary"), "{kind}");
        for entry in fs::read_dir(home.path()).unwrap() {
            let path = entry.unwrap().path();
            let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
        }
    }
}

#[cfg(feature = "postgres")]
#[test]
fn no_secret_is_in_any_row() {
    use diesel::sql_types::Text;
    use diesel::{Connection as _, QueryableByName, RunQueryDsl as _, sql_query};

    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        text: String,
    }
    let Some((_server, address)) = store_support::postgres_store() else {
        return;
    };
    use_store(store_support::open(&format!("sealed|{address}")));
    let (_, url) = address.split_once('|').unwrap();
    let mut connection = diesel::PgConnection::establish(url).unwrap();
    let tables: Vec<Row> = sql_query("SELECT table_name::text AS text FROM information_schema.tables WHERE table_schema = 'public'")
        .get_results(&mut connection)
        .unwrap();
    let mut all = String::new();
    for table in tables {
        let query = format!("SELECT t::text AS text FROM {} t", table.text);
        let rows: Vec<Row> = sql_query(query).get_results(&mut connection).unwrap();
        all.extend(rows.into_iter().map(|row| row.text));
    }
    assert!(
        all.contains("credpool_sealed") && !all.contains("canary"),
        "{all}"
    );
}

#[cfg(feature = "redis")]
#[test]
fn no_secret_is_under_any_key() {
    let Some((_server, address)) = store_support::redis_store() else {
        return;
    };
    use_store(store_support::open(&format!("sealed|{address}")));
    let url = address.rsplit_once('|').unwrap().1;
    let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut connection).unwrap();
    let mut all = keys.join(" ");
    for key in keys {
        let dump: Vec<u8> = redis::cmd("DUMP").arg(&key).query(&mut connection).unwrap();
        all += &String::from_utf8_lossy(&dump);
        let kind: String = redis::cmd("TYPE").arg(&key).query(&mut connection).unwrap();
        if kind == "hash" {
            // A dump may be compressed.
            let values: Vec<Vec<u8>> = redis::cmd("HVALS")
                .arg(&key)
                .query(&mut connection)
                .unwrap();
            all.extend(values.iter().map(|value| String::from_utf8_lossy(value)));
        }
    }
    assert!(
        all.contains("credpool_sealed") && !all.contains("canary"),
        "{all}"
    );
}

#[test]
fn what_operators_look_for_is_readable() {
    let memory = Arc::new(MemoryStore::new());
    use_store(Arc::new(Keys::of([1]).seal(Arc::clone(&memory))));
    let raw = loaded(&*memory, "a");
    assert_eq!((raw.provider.as_str(), raw.label.as_str()), ("p", "mine"));
    assert_eq!(raw.attributes.get("priority"), Some("3"));
    assert!(raw.model_states["m"].next_retry_after.is_some());
    assert!(raw.generation() > 0);
    assert!(!text(&raw).to_string().contains("canary"));
}

/// All that stands in the files below a directory.
pub(crate) fn files(directory: &Path) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all += &files(&path);
        } else {
            all += &String::from_utf8_lossy(&fs::read(&path).unwrap());
        }
    }
    all
}
