//! What others change in the store: read at the start, and again while the manager runs.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crossbeam_channel::{Receiver, select};
use parking_lot::Mutex;

use crate::auth::Auth;
use crate::cancel::Never;
use crate::error::Error;
use crate::execution::Engine;
use crate::refresh::{RefreshEngine, adopt};
use crate::request::normalized;
use crate::runtime::{Worker, guard};
use crate::services::Services;
use crate::store::{Changes, Cursor, Skipped};

use super::{Inner, LoadReport, Manager, THREAD_END};

/// Up to where the store has been read, for whoever reads on.
pub(super) type Seen = Arc<Mutex<Option<Cursor>>>;

/// What takes over records of the store.
pub(super) struct Intake {
    pub(super) services: Arc<Services>,
    pub(super) engine: Arc<Engine>,
    pub(super) refresh: Arc<RefreshEngine>,
    pub(super) seen: Seen,
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
    /// Sees what others change in the store from the last [`load`](Self::load) on: an operator who adds, edits, disables or removes a
    /// credential, another process that shares the store. The store is asked every `interval` (100 ms at least); a second is a
    /// good one. What was observed here stays; a cooldown that another process has met since is taken over, and so is its end. A
    /// request that was under way then ends neither. Again: the former one is replaced.
    ///
    /// A store that cannot tell what has changed ([`Store::changes`](crate::Store::changes)) is not asked again.
    ///
    /// # Errors
    /// When the store cannot be read, or the system gives no thread; `shut_down`.
    pub fn start_hot_reload(&self, interval: Duration) -> Result<(), Error> {
        let inner = &self.inner;
        let services = &inner.services;
        let seen = inner.seen.lock().clone();
        if seen.is_none() {
            let Some(changes) = services.keeper.changes(None)? else {
                log::debug!("the store cannot tell what changes in it: there is no hot reload");
                return Ok(());
            };
            *inner.seen.lock() = Some(changes.cursor);
        }
        let mut reloader = Reloader {
            services: Arc::downgrade(&inner.services),
            engine: Arc::downgrade(&inner.engine),
            refresh: Arc::downgrade(&inner.refresh),
            seen: Arc::clone(&inner.seen),
            interval: interval.max(LEAST_INTERVAL),
        };
        let former = {
            let mut current = inner.reloader.lock();
            services.pool.check_open()?;
            let worker = Worker::spawn(
                "credpool-reloader",
                move |stop| {
                    while reloader.wait(&stop) {}
                },
            )?;
            current.replace(worker)
        };
        if let Some(mut former) = former {
            former.join(THREAD_END);
        }
        Ok(())
    }

    /// Ends what [`start_hot_reload`](Self::start_hot_reload) began.
    pub fn stop_hot_reload(&self) {
        let worker = self.inner.reloader.lock().take();
        if let Some(mut worker) = worker {
            worker.join(THREAD_END);
        }
    }
}

impl Inner {
    pub(super) fn intake(&self) -> Intake {
        Intake {
            services: Arc::clone(&self.services),
            engine: Arc::clone(&self.engine),
            refresh: Arc::clone(&self.refresh),
            seen: Arc::clone(&self.seen),
        }
    }
}

impl Intake {
    /// Reads all records.
    pub(super) fn load(&self) -> Result<LoadReport, Error> {
        self.watching(|| {
            let listing = self.services.keeper.list()?;
            let mut report = LoadReport {
                loaded: 0,
                skipped: listing.skipped,
            };
            for auth in listing.records {
                match self.take(auth)? {
                    Ok(_) => report.loaded += 1,
                    Err(skipped) => report.skipped.push(skipped),
                }
            }
            tell_skipped(&report.skipped);
            if listing.cursor.is_some() {
                *self.seen.lock() = listing.cursor;
            }
            Ok(report)
        })
    }

    /// Takes over what has changed since, and says where the next look begins.
    fn catch_up(&self, since: &Cursor) -> Result<Option<Cursor>, Error> {
        self.watching(|| {
            let Some(changes) = self.services.keeper.changes(Some(since))? else {
                return Ok(None);
            };
            let Changes {
                cursor,
                written,
                removed,
                skipped,
            } = changes;
            tell_skipped(&skipped);
            for auth in written {
                match self.take(auth)? {
                    Ok(Taken::New(auth)) => self.services.hooks.registered(&auth),
                    Ok(Taken::Changed(auth)) => self.services.hooks.updated(&auth),
                    Ok(Taken::Same | Taken::Older) => {}
                    Err(skipped) => tell_skipped(&[skipped]),
                }
            }
            for id in removed {
                self.let_go(&id)?;
            }
            Ok(Some(cursor))
        })
    }

    /// What changes while the store is being read is newer than what was read.
    fn watching<T>(&self, work: impl FnOnce() -> T) -> T {
        self.services.registry.watch();
        let done = work();
        self.services.registry.unwatch();
        done
    }

    fn take(&self, mut auth: Auth) -> Result<Result<Taken, Skipped>, Error> {
        let services = &self.services;
        auth.provider = normalized(&auth.provider);
        if auth.id.is_empty() || auth.provider.is_empty() {
            let location = auth.file_name.unwrap_or(auth.id);
            let reason = "the record has no id or no provider";
            return Ok(Err(Skipped::new(location, reason)));
        }
        if let Err(error) = auth.check_numbers() {
            log::warn!("{error}; the default is used");
        }
        let id = auth.id.clone();
        let turn = services.keeper.turn(&id)?;
        let now = services.moment();
        let current = services.registry.get(&id);
        let current = current.filter(|current| current.provider == auth.provider);
        if current.is_some() {
            // Whatever else has changed here meanwhile: what was met elsewhere is not told twice.
            let adopted = services.registry.adopt_state(&id, &auth, now);
            self.engine.note_for_store(adopted);
        }
        let taken = if services.registry.is_newer_than_store(&id) {
            log::debug!("{id} has changed since the store was read: it stays as it is");
            Taken::Older
        } else {
            match current {
                Some(current) => {
                    let adopted = services.registry.modify(&id, |current| {
                        adopt(current, auth);
                    });
                    match adopted.and_then(|_| services.registry.get(&id)) {
                        Some(after) if !is_same(&current, &after) => Taken::Changed(after),
                        _ => Taken::Same,
                    }
                }
                None => Taken::New(services.registry.restore(auth, now)),
            }
        };
        drop(turn);
        self.refresh.note_change(&id);
        Ok(Ok(taken))
    }

    /// Somebody has removed a credential from the store.
    fn let_go(&self, id: &str) -> Result<(), Error> {
        let services = &self.services;
        let turn = services.keeper.turn(id)?;
        let known = services.registry.get(id);
        let stays = known.is_none_or(|auth| auth.is_runtime_only());
        if stays || services.registry.is_newer_than_store(id) {
            return Ok(());
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
        Ok(())
    }
}

/// One thread that asks the store what has changed. It holds nothing that keeps the manager alive.
struct Reloader {
    services: Weak<Services>,
    engine: Weak<Engine>,
    refresh: Weak<RefreshEngine>,
    seen: Seen,
    interval: Duration,
}

impl Reloader {
    /// Sleeps, then looks. False: that was the last time.
    fn wait(&mut self, stop: &Receiver<Never>) -> bool {
        let Some(services) = self.services.upgrade() else {
            return false;
        };
        let timer = services.clock.after(self.interval);
        drop(services);
        select! {
            recv(stop) -> _ => return false,
            recv(timer) -> _ => {}
        }
        let parts = (
            self.services.upgrade(),
            self.engine.upgrade(),
            self.refresh.upgrade(),
        );
        let (Some(services), Some(engine), Some(refresh)) = parts else {
            return false;
        };
        let intake = Intake {
            services,
            engine,
            refresh,
            seen: Arc::clone(&self.seen),
        };
        let Some(seen) = self.seen.lock().clone() else {
            return false;
        };
        match intake.catch_up(&seen) {
            Ok(Some(cursor)) => *self.seen.lock() = Some(cursor),
            Ok(None) => {
                log::warn!("the store no longer tells what changes in it: hot reload has ended");
                return false;
            }
            Err(error) => log::warn!("what has changed in the store could not be read: {error}"),
        }
        true
    }
}

fn tell_skipped(skipped: &[Skipped]) {
    for skipped in skipped {
        log::warn!("the store holds something that does not read: {skipped}");
    }
}

/// Whether two snapshots say the same. Secrets are compared, and nothing is kept of them.
fn is_same(one: &Auth, other: &Auth) -> bool {
    let json = |auth: &Auth| serde_json::to_value(auth).ok();
    json(one) == json(other)
}

const LEAST_INTERVAL: Duration = Duration::from_millis(100);
