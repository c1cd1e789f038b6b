//! The write-behind thread: saves states that results changed, beside the calls.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Instant;

use crossbeam_channel::{Receiver, never, select};

use super::backlog::Backlog;
use super::handle::{Committed, StoreHandle};
use super::item::Item;
use super::writers::{Done, Writers};
use crate::auth::Auth;
use crate::cancel::Never;
use crate::clock::{Clock, SystemClock};
use crate::error::Error;
use crate::registry::{Dirty, Registry};
use crate::runtime::Worker;

/// Starts the writer. On a stop it makes a last attempt at what is left and ends. It ends, too, when the handle is gone.
pub(crate) fn start(
    clock: &Arc<dyn Clock>,
    registry: &Arc<Registry>,
    store_handle: &Arc<StoreHandle>,
) -> Result<Worker, Error> {
    let write = {
        let (registry, store_handle) = (Arc::downgrade(registry), Arc::downgrade(store_handle));
        move |item: &Item| match (registry.upgrade(), store_handle.upgrade()) {
            (Some(registry), Some(store_handle)) => match item {
                Item::Record(id) => write_one(&registry, &store_handle, id).is_ok(),
                Item::Entries => store_handle.save_entries().is_ok(),
            },
            _ => false,
        }
    };
    let writer = Writer {
        woken: store_handle.woken(),
        clock: Arc::clone(clock),
        backlog: Backlog::default(),
        crew: Writers::new(Arc::new(write), clock.monotonic()),
        store_handle: Arc::downgrade(store_handle),
        timer: None,
    };
    Worker::spawn("credpool-writer", move |stop| writer.run(&stop))
}

/// Hands records with news to the threads that write them. It waits for no store call itself, except at the end.
struct Writer {
    store_handle: Weak<StoreHandle>,
    clock: Arc<dyn Clock>,
    woken: Receiver<()>,
    backlog: Backlog,
    crew: Writers,
    /// The one that was set last, and for when.
    timer: Option<(Instant, Receiver<Instant>)>,
}

impl Writer {
    fn run(mut self, stop: &Receiver<Never>) {
        while self.distribute() {
            let timer = self.timer();
            select! {
                recv(self.woken) -> _ => {}
                recv(timer) -> _ => self.timer = None,
                recv(self.crew.done()) -> done => {
                    self.finish(done.ok());
                }
                recv(stop) -> _ => return self.end(),
            }
        }
    }

    /// Gives away what is due. False when the manager is gone.
    fn distribute(&mut self) -> bool {
        let Some(store_handle) = self.store_handle.upgrade() else {
            return false;
        };
        let now = self.clock.monotonic();
        for item in store_handle.take_noted() {
            self.backlog.note(item, now);
        }
        while let Some(item) = self.backlog.take_due(now) {
            self.crew.give(item, now);
        }
        self.crew.reinforce(now);
        store_handle.set_pending(self.backlog.unsaved());
        true
    }

    /// Notes what is done, and says what that was.
    fn finish(&mut self, done: Option<Done>) -> Vec<Item> {
        let now = self.clock.monotonic();
        let more = std::iter::from_fn(|| self.crew.done().try_recv().ok());
        let done: Vec<_> = done.into_iter().chain(more).collect();
        let note = |Done { item, is_saved }| {
            self.crew.count_done(now);
            self.backlog.finish(&item, is_saved, now);
            item
        };
        done.into_iter().map(note).collect()
    }

    /// Fires when a record is due, or another thread.
    fn timer(&mut self) -> Receiver<Instant> {
        let wakes = [self.backlog.next_due(), self.crew.impatient_at()];
        let Some(at) = wakes.into_iter().flatten().min() else {
            return never();
        };
        if let Some((set, timer)) = &self.timer
            && *set == at
        {
            return timer.clone();
        }
        let wait = at.saturating_duration_since(self.clock.monotonic());
        let timer = self.clock.after(wait);
        self.timer = Some((at, timer.clone()));
        timer
    }

    /// The last round: every record with news is tried once more, whenever it is due. From here on time goes by the machine's
    /// clock, since a test's may never move again.
    fn end(mut self) {
        let clock = SystemClock;
        self.distribute();
        self.crew.restart_patience(clock.monotonic());
        let mut tried = BTreeSet::new();
        while let Some(item) = self.backlog.take_any() {
            tried.insert(item.clone());
            self.crew.give(item, clock.monotonic());
        }
        while !self.crew.is_idle() {
            self.crew.reinforce(clock.monotonic());
            let timer = self.crew.impatient_at().map_or_else(never, |at| {
                clock.after(at.saturating_duration_since(clock.monotonic()))
            });
            select! {
                recv(timer) -> _ => {}
                recv(self.crew.done()) -> done => {
                    let done = self.finish(done.ok());
                    self.crew.restart_patience(clock.monotonic());
                    // Those that were under way when this round began.
                    for item in done {
                        if !tried.contains(&item) && self.backlog.take(&item) {
                            tried.insert(item.clone());
                            self.crew.give(item, clock.monotonic());
                        }
                    }
                }
            }
        }
        self.crew.end();
        let unsaved = self.backlog.unsaved();
        if unsaved > 0 {
            let some = self.backlog.waiting().take(MOST_NAMED);
            let some: Vec<_> = some.map(ToString::to_string).collect();
            log::error!(
                "shutdown: {unsaved} credentials were not saved because the store fails, among them {}",
                some.join(", ")
            );
        }
        if let Some(store_handle) = self.store_handle.upgrade() {
            store_handle.set_pending(unsaved);
            store_handle.leave_unsaved(unsaved);
        }
    }
}

fn write_one(registry: &Registry, store_handle: &StoreHandle, id: &str) -> Result<(), Error> {
    let turn = store_handle.turn(id)?;
    let Some((auth, what)) = registry.take_unsaved(id) else {
        store_handle.note_saved(id, &Ok(()));
        return Ok(());
    };
    let saved = match what {
        Dirty::Everything => bring(registry, store_handle, &auth),
        Dirty::Record => repair(registry, store_handle, &auth),
        Dirty::State | Dirty::Nothing => store_handle.save_state(&auth),
    };
    if saved.is_err() {
        registry.mark_unsaved(id, what);
    }
    drop(turn);
    store_handle.note_saved(id, &saved);
    saved
}

/// Takes a record to a store that it was never in.
fn bring(registry: &Registry, store_handle: &StoreHandle, auth: &Auth) -> Result<(), Error> {
    match store_handle.create(auth)? {
        Some(_) => repair(registry, store_handle, auth),
        None => Ok(()),
    }
}

/// Writes a record again that the store has lost, or has older tokens of. What others changed there stays.
fn repair(registry: &Registry, store_handle: &StoreHandle, auth: &Auth) -> Result<(), Error> {
    if let Committed::Saved(record) = store_handle.commit(auth, &mut |_: &mut Auth| Ok(()))? {
        let take = |auth: &mut Auth| auth.take_durable(*record);
        registry.modify(&auth.id, take);
    }
    Ok(())
}

/// How many credentials a line of the log names.
const MOST_NAMED: usize = 5;
