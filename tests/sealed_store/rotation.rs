//! Keys that change while processes work, and where they come from.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use credpool::{
    Auth, Error, ErrorCode, FileStore, Manager, ManualClock, MemoryStore, Revision, Saved, Sealed,
    SealingKey, Store,
};
use parking_lot::Mutex;

use crate::support::{eventually, manual};
use crate::watched::Watched;
use crate::{Keys, key, loaded, record, text};

const SECOND: Duration = Duration::from_secs(1);

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

#[test]
fn a_write_under_way_while_keys_are_replaced_is_sealed_with_the_new_one() {
    let keys = Keys::of([1, 2]);
    let memory = Arc::new(MemoryStore::new());
    let watched = Watched::new(memory.clone());
    let writer = Arc::new(keys.seal(watched.clone()));
    // Another process has the new key already, and has written with it.
    keys.set([2, 1]);
    let operator = keys.seal(memory);
    operator.save(&record("a")).unwrap();
    let gate = watched.hang_for("a");
    let write = thread::spawn({
        let writer = Arc::clone(&writer);
        move || writer.save(&record("a").with_label("changed"))
    });
    eventually("the write", || watched.hanging() == 1);
    writer.reload_keys().unwrap();
    assert!(operator.reseal().unwrap().is_empty());
    drop(gate);
    write.join().unwrap().unwrap();
    // The operator takes the former key away.
    keys.set([2]);
    operator.reload_keys().unwrap();
    assert_eq!(loaded(&operator, "a").label, "changed");
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

/// What a source of keys says.
type Answer = fn() -> Result<Vec<SealingKey>, Error>;

#[test]
fn a_source_that_fails_leaves_the_former_keys() {
    let memory = Arc::new(MemoryStore::new());
    let answer: Arc<Mutex<Answer>> = Arc::new(Mutex::new(|| Ok(vec![key(1)])));
    let source = Arc::clone(&answer);
    let give = move || {
        let answer = *source.lock();
        answer()
    };
    let store = Sealed::new(Arc::clone(&memory), give).unwrap();
    store.save(&record("a")).unwrap();
    let failures: [Answer; 3] = [
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
