//! The right to refresh a record, and what its holder notes.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use credpool::Auth;

use crate::backends::Backend;
use crate::children::{Other, intent};
use crate::records::hostile_ids;

const AT_ONCE: Duration = Duration::ZERO;

/// Much longer than any backend needs to notice that a holder is gone.
const IN_TIME: Duration = Duration::from_secs(60);

pub(crate) fn a_lock_excludes_threads(backend: &dyn Backend) {
    let inside = AtomicU32::new(0);
    let entered = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let store = backend.open();
                for _ in 0..5 {
                    let lock = store.lock("a", IN_TIME).unwrap().unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    // As long as a refresh may take that another thread gets to run.
                    assert!(backend.open().lock("a", AT_ONCE).unwrap().is_none());
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(lock);
                    entered.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(entered.into_inner(), 30);
}

pub(crate) fn a_lock_is_for_one_record(backend: &dyn Backend) {
    let store = backend.open();
    let ids = hostile_ids();
    let mut locks = Vec::new();
    for id in &ids {
        let lock = store.lock(id, AT_ONCE).unwrap();
        locks.push(lock.unwrap_or_else(|| panic!("{id:?} is locked")));
        assert!(
            backend.open().lock(id, AT_ONCE).unwrap().is_none(),
            "{id:?}"
        );
    }
    // The holder writes, and so may others: what they must not do is refresh.
    for id in &ids {
        store.save(&Auth::api_key("p", "k").with_id(id)).unwrap();
    }
    drop(locks);
    for id in &ids {
        assert!(
            backend.open().lock(id, AT_ONCE).unwrap().is_some(),
            "{id:?}"
        );
    }
}

pub(crate) fn a_lock_that_is_held_is_waited_for(backend: &dyn Backend) {
    let held = backend.open().lock("a", AT_ONCE).unwrap().unwrap();
    let store = backend.open();
    assert!(
        store
            .lock("a", Duration::from_millis(30))
            .unwrap()
            .is_none()
    );
    thread::scope(|scope| {
        let waiter = scope.spawn(|| store.lock("a", IN_TIME).unwrap().is_some());
        assert!(!waiter.is_finished());
        drop(held);
        assert!(waiter.join().unwrap());
    });
}

pub(crate) fn a_killed_holder_has_no_lock(backend: &dyn Backend) {
    let Some(mut other) = Other::start(backend, "hold a") else {
        return;
    };
    assert_eq!(other.hear(), "held");
    let store = backend.open();
    assert!(store.lock("a", AT_ONCE).unwrap().is_none());
    assert!(store.lock("b", AT_ONCE).unwrap().is_some());
    other.kill();
    let lock = store.lock("a", IN_TIME).unwrap().unwrap();
    assert_eq!(lock.intent().unwrap(), Some(intent()));
    // One that ends by itself gives it back too.
    drop(lock);
    let mut other = Other::start(backend, "hold a").unwrap();
    assert_eq!(other.hear(), "held");
    other.end();
    assert!(store.lock("a", IN_TIME).unwrap().is_some());
}

pub(crate) fn an_intent_outlives_its_holder(backend: &dyn Backend) {
    for id in hostile_ids() {
        let mut lock = backend.open().lock(&id, IN_TIME).unwrap().unwrap();
        assert_eq!(lock.intent().unwrap(), None, "{id:?}");
        lock.set_intent(Some(&intent())).unwrap();
        let second = intent().with_tries(3);
        lock.set_intent(Some(&second)).unwrap();
        assert_eq!(lock.intent().unwrap().as_ref(), Some(&second));
        drop(lock);
        let mut lock = backend.open().lock(&id, IN_TIME).unwrap().unwrap();
        assert_eq!(lock.intent().unwrap(), Some(second), "{id:?}");
        lock.set_intent(None).unwrap();
        lock.set_intent(None).unwrap();
        assert_eq!(lock.intent().unwrap(), None);
        drop(lock);
        let lock = backend.open().lock(&id, IN_TIME).unwrap().unwrap();
        assert_eq!(lock.intent().unwrap(), None, "{id:?}");
    }
    assert!(backend.open().list().unwrap().records.is_empty());
}

pub(crate) fn a_deleted_record_has_no_intent(backend: &dyn Backend) {
    let store = backend.open();
    store.save(&Auth::api_key("p", "k").with_id("a")).unwrap();
    let mut lock = store.lock("a", IN_TIME).unwrap().unwrap();
    lock.set_intent(Some(&intent())).unwrap();
    drop(lock);
    backend.open().delete("a").unwrap();
    let lock = store.lock("a", IN_TIME).unwrap().unwrap();
    assert_eq!(lock.intent().unwrap(), None);
}
