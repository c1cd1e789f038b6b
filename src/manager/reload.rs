//! Load and hot reload: takes over what others change in the store.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crossbeam_channel::{Receiver, select};
use parking_lot::Mutex;

use crate::auth::Auth;
use crate::cancel::Never;
use crate::error::Error;
use crate::execution::Engine;
use crate::panic::guard;
use crate::persistence::Turn;
use crate::refresh::RefreshCoordinator;
use crate::registry::Dirty;
use crate::request::normalized;
use crate::runtime::Worker;
use crate::services::Services;
use crate::store::{Cursor, Missing, Skipped};

use super::{Inner, LoadReport, Manager, THREAD_END};

#[derive(Debug, Default)]
pub(super) struct Progress {
    cursor: Option<Cursor>,
    /// Records that have changed in the store while they were being written here. They are read again at the next look.
    busy: BTreeSet<String>,
    /// There was a look since the store was read as a whole.
    has_looked: bool,
}

impl Progress {
    /// Goes on where a parent's was when it forked.
    pub(super) fn follow(&mut self, parents: &Self) {
        self.cursor.clone_from(&parents.cursor);
        self.busy.clone_from(&parents.busy);
    }
}

/// What takes over records of the store.
pub(super) struct Intake {
    pub(super) services: Arc<Services>,
    pub(super) engine: Arc<Engine>,
    pub(super) refresh: Arc<RefreshCoordinator>,
    /// How far the store has been read, for the next look.
    pub(super) seen: Mutex<Progress>,
}

/// Where the next look begins, and whether it is cheap.
struct Position {
    cursor: Cursor,
    is_notified: bool,
}

/// What became of a record.
enum Taken {
    /// It has changed here since the store was read.
    Older,
    New(Arc<Auth>),
    Changed(Arc<Auth>),
    Same,
}

impl Manager {
    /// Follows changes of the store from the last [`load`](Self::load) on: an operator who adds, edits, disables or removes a
    /// credential, another process that shares the store. The store is polled every `interval` (100 ms at least); a second is a
    /// good one. One that is notified of changes ([`Changes::is_notified`](crate::Changes::is_notified)), as a
    /// [`FileStore`](crate::FileStore) on Linux, is asked every 250 ms where that is sooner: what changes there is seen within half a
    /// second, and an idle process costs next to nothing, however many records there are. A server that notifies is asked once a minute
    /// and after each notice.
    ///
    /// What was observed here stays; a cooldown that another process has recorded since is taken over, and so is its end. A
    /// request that was in flight then ends neither. Calling it again replaces the running one.
    ///
    /// A shutdown looks once more, so that what the store has lost is in it again.
    ///
    /// A record that is being written here while the store is read is looked at again at the next interval: a write that hangs holds
    /// up that record alone. While the store cannot be read, [`store_health`](Self::store_health) is not good.
    ///
    /// A store that cannot tell what has changed ([`Store::changes`](crate::Store::changes)) is not polled.
    ///
    /// # Errors
    /// When the store cannot be read, or the system gives no thread; `shut_down`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use credpool::{Manager, MemoryStore};
    ///
    /// let manager = Manager::builder().store(MemoryStore::new()).build()?;
    /// manager.load()?;
    /// manager.start_hot_reload(Duration::from_secs(1))?;
    /// // … as long as the program runs; then, or with the manager's end:
    /// manager.stop_hot_reload();
    /// # Ok::<(), credpool::Error>(())
    /// ```
    pub fn start_hot_reload(&self, interval: Duration) -> Result<(), Error> {
        self.inner()?.start_reloader(interval)
    }

    /// Ends what [`start_hot_reload`](Self::start_hot_reload) began.
    pub fn stop_hot_reload(&self) {
        self.view().reloader.stop(THREAD_END);
    }
}

impl Inner {
    pub(super) fn start_reloader(&self, interval: Duration) -> Result<(), Error> {
        let services = &self.services;
        let seen = &self.intake.seen;
        let is_loaded = seen.lock().cursor.is_some();
        if !is_loaded {
            let Some(changes) = services.store_handle.changes(None)? else {
                log::debug!("the store does not report changes: hot reload is off");
                return Ok(());
            };
            seen.lock().cursor = Some(changes.cursor);
        }
        let reloader = Reloader {
            intake: Arc::downgrade(&self.intake),
            interval: interval.max(LEAST_INTERVAL),
        };
        self.reloader.start(interval, || {
            services.pool.check_open()?;
            Worker::spawn("credpool-reloader", move |stop| {
                let mut pause = reloader.interval;
                while let Some(next) = reloader.wait(pause, &stop) {
                    pause = next;
                }
            })
        })
    }
}

impl Intake {
    /// Reads all records.
    pub(super) fn load(&self) -> Result<LoadReport, Error> {
        self.watching(|| {
            let listing = self.services.store_handle.list()?;
            let mut report = LoadReport {
                loaded: 0,
                skipped: listing.skipped,
            };
            let mut present = BTreeSet::new();
            for auth in listing.records {
                let id = auth.id.clone();
                present.insert(id.clone());
                let turn = self.services.store_handle.turn(&id)?;
                match self.take(auth, turn) {
                    Ok(_) => report.loaded += 1,
                    Err(skipped) => report.skipped.push(skipped),
                }
            }
            self.look_for_missing(&present);
            tell_skipped(&report.skipped);
            if listing.cursor.is_some() {
                self.seen.lock().cursor = listing.cursor;
            }
            Ok(report)
        })
    }

    /// Takes over what has changed since, and says where the next look begins. A record that is being written here is left for
    /// the next look: a write that hangs holds up no other record.
    fn catch_up(&self, since: &Cursor) -> Result<Option<Position>, Error> {
        self.take_busy();
        self.watching(|| {
            let Some(changes) = self.services.store_handle.changes(Some(since))? else {
                return Ok(None);
            };
            tell_skipped(&changes.skipped);
            let mut present = BTreeSet::new();
            for auth in changes.written {
                let id = auth.id.clone();
                present.insert(id.clone());
                match self.services.store_handle.try_turn(&id) {
                    Some(turn) => self.take_and_tell(auth, turn),
                    None => self.leave(&id),
                }
            }
            for id in changes.removed {
                match self.services.store_handle.try_turn(&id) {
                    Some(turn) => self.let_go(&id, turn),
                    None => self.leave(&id),
                }
            }
            if changes.complete && std::mem::replace(&mut self.seen.lock().has_looked, true) {
                // The store has begun anew, and may have lost the intents of requests that are under way.
                self.refresh.note_loss();
            }
            self.seen.lock().has_looked = true;
            if changes.complete {
                self.look_for_missing(&present);
            }
            Ok(Some(Position {
                cursor: changes.cursor,
                is_notified: changes.is_notified,
            }))
        })
    }

    /// The store has reported all its records: a credential that is not among them was removed there, or the store has lost it.
    fn look_for_missing(&self, present: &BTreeSet<String>) {
        for auth in self.services.registry.list() {
            if !auth.is_runtime_only() && !present.contains(&auth.id) {
                self.leave(&auth.id);
            }
        }
        self.take_busy();
    }

    /// The store does not have a credential.
    fn miss(&self, id: &str, turn: Turn<'_>) -> Result<(), Error> {
        let services = &self.services;
        if services.store_handle.missing(id)? == Missing::Removed {
            self.let_go(id, turn);
        } else {
            self.refresh.note_loss();
            if services.registry.mark_unsaved(id, Dirty::Record) {
                log::warn!("the store has lost credential {id}; saving it again");
                services.store_handle.note(id.into());
            }
        }
        Ok(())
    }

    fn leave(&self, id: &str) {
        self.seen.lock().busy.insert(id.to_owned());
    }

    /// Takes over records that were being written at the last look. What was read then may be older than what is here by now: they
    /// are read again.
    fn take_busy(&self) {
        let busy = std::mem::take(&mut self.seen.lock().busy);
        for id in busy {
            let Some(turn) = self.services.store_handle.try_turn(&id) else {
                self.leave(&id);
                continue;
            };
            let loaded = self.watching(|| match self.services.store_handle.load(&id)? {
                Some(auth) => {
                    self.take_and_tell(auth, turn);
                    Ok(())
                }
                None => self.miss(&id, turn),
            });
            if loaded.is_err() {
                self.leave(&id);
            }
        }
    }

    fn take_and_tell(&self, auth: Auth, turn: Turn<'_>) {
        match self.take(auth, turn) {
            Ok(Taken::New(auth)) => self.services.hooks.registered(&auth),
            Ok(Taken::Changed(auth)) => self.services.hooks.updated(&auth),
            Ok(Taken::Same | Taken::Older) => {}
            Err(skipped) => tell_skipped(&[skipped]),
        }
    }

    /// What changes while the store is being read is newer than what was read.
    fn watching<T>(&self, work: impl FnOnce() -> T) -> T {
        self.services.registry.watch();
        let done = work();
        self.services.registry.unwatch();
        done
    }

    /// Takes a record over that the store has. The turn is the record's.
    fn take(&self, mut auth: Auth, turn: Turn<'_>) -> Result<Taken, Skipped> {
        let services = &self.services;
        auth.provider = normalized(&auth.provider);
        if auth.id.is_empty() || auth.provider.is_empty() {
            let location = auth.file_name.unwrap_or(auth.id);
            let reason = "the record has no id or no provider";
            return Err(Skipped::new(location, reason));
        }
        if let Err(error) = auth.check_numbers() {
            log::warn!("{error}; the default is used");
        }
        if let Err(error) = auth.check_settings() {
            log::warn!("{error}; disabled until its record changes");
        }
        let id = auth.id.clone();
        let now = services.moment();
        let current = services.registry.get(&id);
        let current = current.filter(|current| current.provider == auth.provider);
        if current.is_some() {
            // Whatever else has changed here meanwhile: failures recorded elsewhere are not reported twice.
            let adopted = services.registry.adopt_state(&id, &auth, now);
            self.engine.note_for_store(adopted);
        }
        let taken = if services.registry.has_changed(&id) {
            log::debug!("credential {id} has changed since the store was read; keeping it");
            // What was taken over above may be about other settings.
            self.refresh.forget_refusals(&id);
            Taken::Older
        } else {
            match current {
                Some(current) => match self.refresh.take_over(&id, auth) {
                    Some(after) if !is_same(&current, &after) => Taken::Changed(after),
                    _ => Taken::Same,
                },
                None => Taken::New(services.registry.restore(auth, now)),
            }
        };
        drop(turn);
        self.refresh.note_change(&id);
        Ok(taken)
    }

    /// Handles the removal of a credential from the store.
    pub(super) fn let_go(&self, id: &str, turn: Turn<'_>) {
        let services = &self.services;
        let known = services.registry.get(id);
        let stays = known.is_none_or(|auth| auth.is_runtime_only());
        if stays {
            return;
        }
        if services.registry.is_newer_than_store(id) {
            // It is looked at again when the store has what is here.
            self.leave(id);
            return;
        }
        let removed = services.registry.remove(id);
        drop(turn);
        if let Some(removed) = removed {
            log::info!("{id} was removed from the store");
            let selector = self.engine.selector();
            let _ = guard(|| "the selector".to_owned(), || selector.forget(id));
            services.hooks.removed(&removed);
            self.refresh.note_change(id);
        }
    }
}

/// One thread that asks the store what has changed. It holds nothing that keeps the manager alive.
struct Reloader {
    intake: Weak<Intake>,
    interval: Duration,
}

impl Reloader {
    /// Sleeps, then looks, and says how long to sleep next. None: that was the last time.
    fn wait(&self, pause: Duration, stop: &Receiver<Never>) -> Option<Duration> {
        let timer = self.intake.upgrade()?.services.clock.after(pause);
        select! {
            recv(stop) -> _ => {
                self.look_before_shutdown();
                return None;
            }
            recv(timer) -> _ => {}
        }
        self.look()
    }

    /// What the store has lost since the last look is written again before the manager ends.
    fn look_before_shutdown(&self) {
        let intake = self.intake.upgrade();
        if intake.is_some_and(|intake| intake.services.pool.check_open().is_err()) {
            self.look();
        }
    }

    /// How long to sleep before the next look. None: that was the last time.
    fn look(&self) -> Option<Duration> {
        let intake = self.intake.upgrade()?;
        let seen = intake.seen.lock().cursor.clone()?;
        match intake.catch_up(&seen) {
            Ok(Some(Position {
                cursor,
                is_notified,
            })) => {
                intake.seen.lock().cursor = Some(cursor);
                if is_notified {
                    return Some(self.interval.min(PAUSE_WHEN_NOTIFIED));
                }
            }
            Ok(None) => {
                log::warn!("the store no longer reports changes: hot reload has ended");
                return None;
            }
            // The store's health has it, and so has the log, once.
            Err(error) => log::debug!("changes of the store could not be read: {error}"),
        }
        Some(self.interval)
    }
}

fn tell_skipped(skipped: &[Skipped]) {
    for skipped in skipped {
        log::warn!("the store skipped an entry: {skipped}");
    }
}

/// Whether two snapshots say the same. Secrets are compared, and nothing is kept of them.
fn is_same(one: &Auth, other: &Auth) -> bool {
    let json = |auth: &Auth| serde_json::to_value(auth).ok();
    json(one) == json(other)
}

const LEAST_INTERVAL: Duration = Duration::from_millis(100);

/// Between two looks at a store that is notified of changes.
const PAUSE_WHEN_NOTIFIED: Duration = Duration::from_millis(250);
