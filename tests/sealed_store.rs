//! Sealed records: readable to the holders of a key alone, for as long as any of them has it, and lost to none.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod store_support;
mod support;
mod watched;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use credpool::{
    Auth, Error, ErrorCode, FileStore, Manager, ManualClock, MemoryStore, OAuthTokens, Revision,
    Saved, Sealed, SealingKey, Store,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use support::{Fake, eventually, manual};
use watched::Watched;

const SECOND: Duration = Duration::from_secs(1);

/// The keys of a process, as its operator changes them.
#[derive(Clone)]
struct Keys(Arc<Mutex<Vec<SealingKey>>>);

impl Keys {
    fn of<const N: usize>(bytes: [u8; N]) -> Self {
        let keys = Self(Arc::default());
        keys.set(bytes);
        keys
    }

    fn set<const N: usize>(&self, bytes: [u8; N]) {
        *self.0.lock() = bytes.map(key).into();
    }

    fn seal<S: Store>(&self, store: S) -> Sealed<S> {
        let keys = self.clone();
        Sealed::new(store, move || Ok(keys.0.lock().clone())).unwrap()
    }
}

fn key(byte: u8) -> SealingKey {
    SealingKey::from_bytes([byte; 32])
}

fn record(id: &str) -> Auth {
    let tokens = OAuthTokens::new("canary-access");
    let tokens = tokens.with_refresh_token(format!("canary-refresh-{id}"));
    Auth::oauth("p", tokens)
        .with_id(id)
        .with_label("mine")
        .with_attribute("api_key", "canary-key")
        .with_attribute("header:x-team", "canary-header")
        .with_attribute("base_url", "https://canary-host")
        .with_attribute("priority", "3")
        .with_metadata("odd", json!({"deep": ["canary-odd"]}))
        .with_proxy_url("http://user:canary-proxy@127.0.0.1:1")
}

fn text(auth: &Auth) -> Value {
    serde_json::to_value(auth).unwrap()
}

fn loaded(store: &dyn Store, id: &str) -> Auth {
    store.load(id).unwrap().unwrap()
}

/// All that stands in the files below a directory.
fn files(directory: &Path) -> String {
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
    let outcome = credpool::Outcome::failure("a", "p", "m", limited);
    manager.mark_result(&outcome);
    manager.remove("b").unwrap();
    manager.shutdown(Duration::from_secs(20)).unwrap();
}

#[test]
fn no_secret_is_in_any_file() {
    let home = tempfile::tempdir().unwrap();
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
        rows.into_iter().for_each(|row| all += &row.text);
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
            values
                .iter()
                .for_each(|value| all += &String::from_utf8_lossy(value));
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

#[test]
fn another_key_skips_the_record_with_a_reason_and_leaves_it() {
    let memory = Arc::new(MemoryStore::new());
    let (right, wrong) = (Keys::of([1]), Keys::of([2]));
    right.seal(Arc::clone(&memory)).save(&record("a")).unwrap();
    let before = text(&loaded(&*memory, "a"));

    let store = Arc::new(wrong.seal(Arc::clone(&memory)));
    let manager = Manager::builder()
        .store(Arc::clone(&store))
        .build()
        .unwrap();
    let report = manager.load().unwrap();
    assert_eq!((report.loaded, report.skipped.len()), (0, 1));
    let reason = report.skipped[0].to_string();
    assert!(
        reason.contains("\"a\"") && reason.contains(key(1).id()),
        "{reason}"
    );
    assert!(
        reason.contains("add that key") && !reason.contains("canary"),
        "{reason}"
    );

    // Whatever the program does with the id, the record stays.
    let error = manager.register(record("a")).unwrap_err();
    assert!(error.to_string().contains(key(1).id()), "{error}");
    for attempt in [
        store.save(&record("a")).map(drop),
        store.save_if(&record("a"), None).map(drop),
        store
            .save_if(&record("a"), Some(&Revision::of(&record("a"))))
            .map(drop),
        store.load("a").map(drop),
    ] {
        let error = attempt.unwrap_err();
        assert_eq!(
            (error.code(), error.auth_id()),
            (&ErrorCode::Store, Some("a"))
        );
        assert!(!error.to_string().contains("canary"), "{error}");
    }
    store.save_state(&record("a")).unwrap();
    assert_eq!(store.reseal().unwrap().len(), 1);
    let after = loaded(&*memory, "a");
    assert_eq!(text(&after)["metadata"], before["metadata"]);
    assert_eq!(
        text(&loaded(&right.seal(Arc::clone(&memory)), "a"))["attributes"],
        text(&record("a"))["attributes"]
    );
    store.delete("a").unwrap();
    assert!(memory.load("a").unwrap().is_none());
}

#[test]
fn a_record_that_was_moved_or_changed_is_skipped_and_hides_no_other() {
    let home = tempfile::tempdir().unwrap();
    let files = Arc::new(FileStore::open(home.path()).unwrap());
    let store = Keys::of([1]).seal(Arc::clone(&files));
    for id in ["a", "b", "c"] {
        store.save(&record(id)).unwrap();
    }
    let path = |id: &str| home.path().join(format!("{id}.credential"));
    let read = |id: &str| fs::read_to_string(path(id)).unwrap();
    // The sealed part of one record in another one.
    let sealed = |text: &str| {
        let json: Value = serde_json::from_str(text).unwrap();
        json["metadata"]["credpool_sealed"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let moved = read("b").replace(&sealed(&read("b")), &sealed(&read("a")));
    fs::write(path("b"), &moved).unwrap();
    let listing = store.list().unwrap();
    let ids: Vec<_> = listing
        .records
        .iter()
        .map(|auth| auth.id.as_str())
        .collect();
    assert_eq!(ids, ["a", "c"]);
    let reason = listing.skipped[0].to_string();
    assert!(
        reason.contains("\"b\"") && reason.contains("belongs to another record"),
        "{reason}"
    );
    assert!(store.save(&record("b")).is_err());
    assert_eq!(read("b"), moved);
}

#[test]
fn plain_records_are_read_and_sealed_when_they_are_written() {
    let home = tempfile::tempdir().unwrap();
    let plain = FileStore::open(home.path()).unwrap();
    for id in ["a", "b", "c"] {
        plain.save(&record(id)).unwrap();
    }
    let login = json!({"type": "p", "email": "ada@example.org", "access_token": "canary-file", "refresh_token": "canary-r"});
    fs::write(home.path().join("login.json"), login.to_string()).unwrap();
    drop(plain);

    let keys = Keys::of([1]);
    let store = keys.seal(FileStore::open(home.path()).unwrap());
    assert_eq!(store.list().unwrap().records.len(), 4);
    assert!(store.list().unwrap().skipped.is_empty());
    let file = |name: &str| fs::read_to_string(home.path().join(name)).unwrap();
    assert!(file("a.credential").contains("canary"));
    store.save_state(&record("a")).unwrap();
    assert!(
        file("a.credential").contains("canary"),
        "a state rewrites no credential"
    );
    store.save(&record("a").with_label("new")).unwrap();
    assert!(!file("a.credential").contains("canary"));
    assert!(file("b.credential").contains("canary"));

    assert!(store.reseal().unwrap().is_empty());
    assert!(!files(home.path()).contains("canary"));
    let again = keys
        .seal(FileStore::open(home.path()).unwrap())
        .require_sealed();
    let listing = again.list().unwrap();
    assert!(listing.skipped.is_empty(), "{:?}", listing.skipped);
    let found = |id: &str| listing.records.iter().find(|auth| auth.id == id).unwrap();
    assert_eq!(
        text(found("b"))["attributes"],
        text(&record("b"))["attributes"]
    );
    let login = found("login.json");
    assert_eq!(
        login.metadata.as_ref().unwrap().text("access_token"),
        Some("canary-file")
    );
    assert_eq!(login.label, "ada@example.org");
}

#[test]
fn where_records_must_be_sealed_plain_ones_and_edited_ones_are_skipped() {
    let memory = Arc::new(MemoryStore::new());
    let keys = Keys::of([1]);
    let open = || keys.seal(Arc::clone(&memory));
    open().save(&record("a")).unwrap();
    memory.save(&record("b")).unwrap();
    // Another address beside what is sealed: the key would be sent there.
    let led_elsewhere = loaded(&*memory, "a").with_attribute("base_url", "https://evil.example");
    memory.save(&led_elsewhere).unwrap();
    let lenient = open().list().unwrap();
    assert_eq!((lenient.records.len(), lenient.skipped.len()), (2, 0));
    let base_url = lenient.records[0].attributes.get("base_url");
    assert_eq!(base_url, Some("https://evil.example"));
    let strict = open().require_sealed();
    let listing = strict.list().unwrap();
    assert_eq!((listing.records.len(), listing.skipped.len()), (0, 2));
    assert!(strict.save(&record("b")).is_err());
    // What operators may change is no secret.
    open().save(&record("a")).unwrap();
    let relabelled = loaded(&*memory, "a").with_label("theirs");
    memory.save(&relabelled).unwrap();
    assert_eq!(loaded(&strict, "a").label, "theirs");
}

#[test]
fn what_has_not_changed_is_not_written() {
    let home = tempfile::tempdir().unwrap();
    let keys = Keys::of([1]);
    let store = keys.seal(FileStore::open(home.path()).unwrap());
    store.save(&record("a")).unwrap();
    let path = home.path().join("a.credential");
    let file = || {
        (
            fs::read(&path).unwrap(),
            fs::metadata(&path).unwrap().modified().unwrap(),
        )
    };
    let before = file();
    let current = loaded(&store, "a");
    store.save(&current).unwrap();
    store
        .save_if(&current, Some(&Revision::of(&current)))
        .unwrap();
    store.save_state(&current).unwrap();
    assert!(store.reseal().unwrap().is_empty());
    assert_eq!(file(), before);
    // A change of what is readable keeps the envelope.
    store.save(&current.with_label("new")).unwrap();
    let envelope = |bytes: &[u8]| {
        let json: Value = serde_json::from_slice(bytes).unwrap();
        json["metadata"]["credpool_sealed"].clone()
    };
    assert_eq!(envelope(&file().0), envelope(&before.0));
}

#[test]
fn rotation_under_load_loses_nothing() {
    const WRITERS: usize = 3;
    const RECORDS: usize = 4;
    let home = tempfile::tempdir().unwrap();
    let keys = Keys::of([1]);
    let open = || Arc::new(keys.seal(FileStore::open(home.path()).unwrap()));
    let first = open();
    for record in 0..RECORDS {
        first
            .save(&Auth::api_key("p", "k").with_id(record.to_string()))
            .unwrap();
    }
    let ended = Arc::new(AtomicBool::new(false));
    let writes = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (store, ended, writes) = (open(), Arc::clone(&ended), Arc::clone(&writes));
            thread::spawn(move || {
                let mut written = Vec::new();
                for number in 0.. {
                    if ended.load(Ordering::SeqCst) {
                        break;
                    }
                    let id = (number % RECORDS).to_string();
                    let name = format!("token-{writer}-{number}");
                    add(&*store, &id, &name);
                    writes.fetch_add(1, Ordering::SeqCst);
                    written.push((id, name));
                }
                written
            })
        })
        .collect();
    let operator = open();
    for next in 2..12 {
        let before = writes.load(Ordering::SeqCst);
        eventually("writes", || {
            writes.load(Ordering::SeqCst) > before + 2 * WRITERS
        });
        keys.set([next, next - 1]);
        operator.reload_keys().unwrap();
        assert!(operator.reseal().unwrap().is_empty());
        // The former key is gone while the writers still have it: they read their keys again when they meet the new one.
        keys.set([next]);
    }
    ended.store(true, Ordering::SeqCst);
    let written: Vec<_> = writers
        .into_iter()
        .flat_map(|writer| writer.join().unwrap())
        .collect();
    let last = open();
    assert!(last.list().unwrap().skipped.is_empty());
    for (id, name) in written {
        let auth = loaded(&*last, &id);
        assert!(
            auth.metadata.unwrap().get(&name).is_some(),
            "{name} is lost"
        );
    }
}

/// Adds a member to the metadata, whatever others do meanwhile.
fn add(store: &dyn Store, id: &str, name: &str) {
    let mut stored = loaded(store, id);
    loop {
        let changed = stored.clone().with_metadata(name, 1);
        match store
            .save_if(&changed, Some(&Revision::of(&stored)))
            .unwrap()
        {
            Saved::At(_) => return,
            Saved::Conflict(now) => stored = *now.unwrap(),
        }
    }
}

/// A process with hot reload over a store that others share.
struct Process {
    manager: Manager,
    clock: ManualClock,
    store: Watched,
}

impl Process {
    fn over(store: Arc<dyn Store>) -> Self {
        let clock = manual();
        let store = Watched::new(store);
        let manager = Manager::builder()
            .clock(clock.clone())
            .store(store.clone())
            .build()
            .unwrap();
        manager.load().unwrap();
        manager.start_hot_reload(SECOND).unwrap();
        Self {
            manager,
            clock,
            store,
        }
    }

    fn looks(&self) {
        for _ in 0..2 {
            let looks = self.store.looks();
            eventually("a look", || {
                if self.clock.timers() > 0 {
                    self.clock.advance(SECOND);
                }
                self.store.looks() > looks
            });
        }
    }

    fn key_of(&self, id: &str) -> Option<String> {
        let auth = self.manager.get_by_id(id)?;
        auth.attributes.get("api_key").map(str::to_owned)
    }
}

#[test]
fn a_process_learns_a_new_key_when_it_meets_it() {
    let memory = Arc::new(MemoryStore::new());
    let keys = Keys::of([1]);
    let other = keys.seal(Arc::clone(&memory));
    other.save(&record("a")).unwrap();
    let process = Process::over(Arc::new(keys.seal(Arc::clone(&memory))));
    keys.set([2, 1]);
    other.reload_keys().unwrap();
    let changed = record("a").with_attribute("api_key", "canary-other");
    other.save(&changed).unwrap();
    assert!(
        !text(&loaded(&*memory, "a"))
            .to_string()
            .contains(key(1).id())
    );
    process.looks();
    eventually("the new key", || {
        process.key_of("a").as_deref() == Some("canary-other")
    });
}

#[test]
fn records_that_wait_for_a_key_open_when_it_is_there() {
    let memory = Arc::new(MemoryStore::new());
    for id in ["a", "b", "gone"] {
        let store = Keys::of([1]).seal(Arc::clone(&memory));
        store.save(&record(id)).unwrap();
    }
    let keys = Keys::of([2]);
    let process = Process::over(Arc::new(keys.seal(Arc::clone(&memory))));
    process.looks();
    assert!(process.manager.list().is_empty());
    memory.delete("gone").unwrap();
    keys.set([2, 1]);
    process.looks();
    eventually("both", || process.manager.list().len() == 2);
    assert_eq!(process.key_of("b").as_deref(), Some("canary-key"));
    // Known, but no longer readable: what was loaded stays in use.
    let other = Keys::of([3, 1]).seal(Arc::clone(&memory));
    other.save(&record("b").with_label("sealed anew")).unwrap();
    process.looks();
    assert_eq!(process.key_of("b").as_deref(), Some("canary-key"));
    keys.set([3, 2, 1]);
    process.looks();
    eventually("the record of the third key", || {
        process.manager.get_by_id("b").unwrap().label == "sealed anew"
    });
}

#[test]
fn a_source_that_fails_leaves_the_former_keys() {
    let memory = Arc::new(MemoryStore::new());
    let answer: Arc<Mutex<fn() -> Result<Vec<SealingKey>, Error>>> =
        Arc::new(Mutex::new(|| Ok(vec![key(1)])));
    let source = Arc::clone(&answer);
    let give = move || {
        let answer = *source.lock();
        answer()
    };
    let store = Sealed::new(Arc::clone(&memory), give).unwrap();
    store.save(&record("a")).unwrap();
    let failures: [fn() -> Result<Vec<SealingKey>, Error>; 3] = [
        || Ok(Vec::new()),
        || Err(Error::new(ErrorCode::Store, "the keyring is locked")),
        || panic!("canary"),
    ];
    for failure in failures {
        *answer.lock() = failure;
        let error = store.reload_keys().unwrap_err();
        assert!(!error.to_string().contains("canary"), "{error}");
        assert!(Sealed::new(MemoryStore::new(), failure).is_err());
        // It is asked for a key that is not known, too.
        let other = Keys::of([2]).seal(Arc::clone(&memory));
        other.save(&record("b")).unwrap();
        let listing = store.list().unwrap();
        assert_eq!((listing.records.len(), listing.skipped.len()), (1, 1));
        memory.delete("b").unwrap();
    }
    assert!(!format!("{store:?}").contains("canary"));
}

#[test]
fn a_source_may_use_the_store_itself() {
    let store = Arc::new(std::sync::OnceLock::<Sealed<MemoryStore>>::new());
    let own = Arc::clone(&store);
    let sealed = Sealed::new(MemoryStore::new(), move || {
        if let Some(store) = own.get() {
            store.save(&record("from the source"))?;
            assert!(format!("{store:?}").contains(key(1).id()));
        }
        Ok(vec![key(1)])
    });
    store.set(sealed.unwrap()).unwrap();
    let store = store.get().unwrap();
    store.reload_keys().unwrap();
    assert_eq!(store.list().unwrap().records.len(), 1);
}
