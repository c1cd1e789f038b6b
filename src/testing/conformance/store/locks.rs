//! Promises about the right to refresh a record, and about what its holder notes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::Fixture;
use super::processes::{Other, intent};
use super::samples::{hostile_ids, sample, short, stored};
use crate::store::{RecordLock, Store};
use crate::testing::conformance::threads::Threads;
use crate::testing::conformance::{Stop, Verdict, same};

const AT_ONCE: Duration = Duration::ZERO;

/// Much longer than any backend needs to notice that a holder is gone.
const IN_TIME: Duration = Duration::from_secs(60);

fn taken(store: &dyn Store, id: &str, wait: Duration) -> Result<Box<dyn RecordLock>, Stop> {
    let lock = store.lock(id, wait)?;
    let shown = short(id);
    lock.ok_or_else(|| Stop::Broken(format!("{shown} is locked, although no holder is left")))
}

fn ensure_locked(store: &dyn Store, id: &str) -> Verdict {
    ensure!(
        store.lock(id, AT_ONCE)?.is_none(),
        "{} has two holders",
        short(id)
    );
    Ok(())
}

pub(super) fn a_lock_excludes_threads(fixture: &Fixture) -> Verdict {
    let inside = AtomicU32::new(0);
    let shared = Arc::clone(fixture);
    let threads = Threads::start(6, move |_| {
        let store = shared.open();
        for _ in 0..5 {
            let lock = taken(&*store, "a", IN_TIME)?;
            let others = inside.fetch_add(1, Ordering::SeqCst);
            ensure!(others == 0, "two threads hold one lock");
            // As long as a refresh may take that another thread gets to run.
            ensure_locked(&*shared.open(), "a")?;
            inside.fetch_sub(1, Ordering::SeqCst);
            drop(lock);
        }
        Ok(())
    })?;
    threads.join()
}

pub(super) fn a_lock_is_for_one_record(fixture: &Fixture) -> Verdict {
    let store = fixture.open();
    let ids = hostile_ids();
    let mut locks = Vec::new();
    for id in &ids {
        locks.push(taken(&*store, id, AT_ONCE)?);
        ensure_locked(&*fixture.open(), id)?;
    }
    // The holder writes, and so may others: what they must not do is refresh.
    for id in &ids {
        store.save(&sample(id))?;
    }
    drop(locks);
    for id in &ids {
        taken(&*fixture.open(), id, AT_ONCE)?;
    }
    Ok(())
}

pub(super) fn a_lock_that_is_held_is_waited_for(fixture: &Fixture) -> Verdict {
    let held = taken(&*fixture.open(), "a", AT_ONCE)?;
    let store = fixture.open();
    ensure!(
        store.lock("a", Duration::from_millis(30))?.is_none(),
        "a wait of 30 ms ended with a second holder"
    );
    let waiter = Threads::start(1, move |_| taken(&*store, "a", IN_TIME).map(drop))?;
    ensure!(!waiter.any_ended(), "a waiter did not wait for the holder");
    drop(held);
    waiter.join()
}

pub(super) fn a_killed_holder_has_no_lock(fixture: &Fixture) -> Verdict {
    let mut other = Other::start(fixture, "hold a")?;
    other.expect("held")?;
    let store = fixture.open();
    ensure_locked(&*store, "a")?;
    taken(&*store, "b", AT_ONCE)?;
    other.kill()?;
    let lock = taken(&*store, "a", IN_TIME)?;
    same(
        "the intent of a killed holder",
        &lock.intent()?,
        &Some(intent()),
    )?;
    // One that ends by itself gives it back too.
    drop(lock);
    let mut other = Other::start(fixture, "hold a")?;
    other.expect("held")?;
    other.end()?;
    taken(&*store, "a", IN_TIME).map(drop)
}

pub(super) fn an_intent_outlives_its_holder(fixture: &Fixture) -> Verdict {
    for id in hostile_ids() {
        let intent_of = |what: &str| format!("the intent of {} {what}", short(&id));
        let mut lock = taken(&*fixture.open(), &id, IN_TIME)?;
        same(&intent_of("at the start"), &lock.intent()?, &None)?;
        lock.set_intent(Some(&intent()))?;
        let second = Some(intent().with_tries(3));
        lock.set_intent(second.as_ref())?;
        same(&intent_of("that was noted"), &lock.intent()?, &second)?;
        drop(lock);
        let mut lock = taken(&*fixture.open(), &id, IN_TIME)?;
        same(&intent_of("of a former holder"), &lock.intent()?, &second)?;
        lock.set_intent(None)?;
        lock.set_intent(None)?;
        same(&intent_of("that was cleared"), &lock.intent()?, &None)?;
        drop(lock);
        let lock = taken(&*fixture.open(), &id, IN_TIME)?;
        same(
            &intent_of("that a former holder has cleared"),
            &lock.intent()?,
            &None,
        )?;
    }
    let records = stored(&*fixture.open())?;
    same("the records that intents have made", &records, &vec![])
}

pub(super) fn a_deleted_record_has_no_intent(fixture: &Fixture) -> Verdict {
    let store = fixture.open();
    store.save(&sample("a"))?;
    let mut lock = taken(&*store, "a", IN_TIME)?;
    lock.set_intent(Some(&intent()))?;
    drop(lock);
    fixture.open().delete("a")?;
    let lock = taken(&*store, "a", IN_TIME)?;
    same("the intent of a removed record", &lock.intent()?, &None)
}
