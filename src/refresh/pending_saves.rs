//! Pending saves: rotated tokens in use that the store has not taken at the first time (`attempt::saving`), saved again until it does.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, select};
use parking_lot::Mutex;

use super::coordinator::RefreshCoordinator;
use super::lock::RefreshLock;
use crate::auth::{Auth, same_tokens};
use crate::cancel::Never;
use crate::clock::{Clock, SystemClock};
use crate::error::Error;
use crate::observe::RefreshEvent;
use crate::persistence::Committed;
use crate::registry::release;
use crate::runtime::Worker;

/// The credentials whose tokens are newer than the store's, and the thread that sees to them.
#[derive(Default)]
pub(super) struct PendingSaves(Mutex<State>);

#[derive(Default)]
struct State {
    /// With the refresh lock of each: another holder would send the old refresh token again.
    pending: BTreeMap<Arc<str>, RefreshLock>,
    /// Those that are being refreshed once more.
    in_use: BTreeSet<Arc<str>>,
    worker: Option<Worker>,
    /// Whether the worker will look again.
    looking: bool,
}

impl PendingSaves {
    pub(super) fn ids(&self) -> Vec<String> {
        let state = self.0.lock();
        let ids: BTreeSet<_> = state.pending.keys().chain(&state.in_use).collect();
        ids.into_iter().map(ToString::to_string).collect()
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.0.lock().pending.contains_key(id)
    }

    /// Takes a credential out, to be refreshed once more; it still counts until that is [done](Self::done).
    pub(super) fn take(&self, id: &Arc<str>) -> Option<RefreshLock> {
        let mut state = self.0.lock();
        let lock = state.pending.remove(id)?;
        state.in_use.insert(Arc::clone(id));
        Some(lock)
    }

    /// The refresh of a credential has come to its end.
    pub(super) fn done(&self, id: &str) {
        self.0.lock().in_use.remove(id);
    }

    fn all(&self) -> Vec<Arc<str>> {
        self.0.lock().pending.keys().cloned().collect()
    }
}

impl RefreshCoordinator {
    /// Keeps the right to refresh a credential until its tokens are saved.
    pub(super) fn hold_on(self: &Arc<Self>, id: &Arc<str>, lock: RefreshLock) {
        let mut state = self.pending_saves.0.lock();
        // One that is pending already has the lock.
        let former = match state.pending.entry(Arc::clone(id)) {
            Entry::Occupied(_) => Some(lock),
            Entry::Vacant(vacant) => {
                vacant.insert(lock);
                None
            }
        };
        if !std::mem::replace(&mut state.looking, true) {
            let weak = Arc::downgrade(self);
            let worker = Worker::spawn("credpool-rescuer", move |stop| look_after(&weak, &stop));
            match worker {
                Ok(worker) => state.worker = Some(worker),
                Err(error) => {
                    state.looking = false;
                    log::error!("credential {id}: its new tokens cannot be saved again: {error}");
                }
            }
        }
        drop(state);
        drop(former);
    }

    /// Tries once more to save the tokens of a credential.
    pub(super) fn save_pending(self: &Arc<Self>, id: &str) -> Result<(), Error> {
        let services = &self.services;
        let turn = services.store_handle.turn(id)?;
        let Some(current) = services.registry.get(id) else {
            // It was removed, and its tokens with it.
            self.saved(id, None);
            return Ok(());
        };
        let committed = services
            .store_handle
            .commit(&current, &mut |_: &mut Auth| Ok(()))?;
        let published = match committed {
            Committed::Saved(record) => {
                let renewed = !same_tokens(record.metadata.as_ref(), current.metadata.as_ref());
                let published = self.publish(id, *record, renewed);
                drop(turn);
                published
            }
            Committed::Removed => {
                self.let_go(id, turn);
                None
            }
        };
        self.saved(id, Some(published.as_ref().unwrap_or(&current)));
        published.into_iter().chain([current]).for_each(release);
        Ok(())
    }

    /// The tokens of a credential still cannot be saved: no other process is to take this one for dead, and send the former token.
    fn renew_intent(self: &Arc<Self>, id: &Arc<str>) {
        let Some(mut lock) = self.pending_saves.take(id) else {
            return;
        };
        let services = &self.services;
        lock.renew_intent(&services.store_handle, services.clock.now());
        self.hold_on(id, lock);
        self.pending_saves.done(id);
    }

    /// Gives back the right to refresh a credential whose tokens are saved, or gone; `leader` has them.
    fn saved(self: &Arc<Self>, id: &str, leader: Option<&Auth>) {
        let Some(mut lock) = self.pending_saves.0.lock().pending.remove(id) else {
            return;
        };
        if let Some(leader) = leader {
            self.lead(leader, &mut lock);
        }
        lock.clear_intent();
        drop(lock);
        if leader.is_some() {
            let event = RefreshEvent::Persisted { auth_id: id };
            log::info!("{event}");
            self.services.hooks.refresh_event(&event);
        }
    }

    /// Tries to save what is left until `end`, by the machine's clock: a test's may never move again. How much is left then.
    pub(crate) fn settle(self: &Arc<Self>, end: Instant) -> usize {
        let worker = self.pending_saves.0.lock().worker.take();
        if let Some(mut worker) = worker {
            worker.join(end.saturating_duration_since(SystemClock.monotonic()));
        }
        let mut pause = FIRST_PAUSE;
        loop {
            for id in self.pending_saves.all() {
                let _ = self.save_pending(&id);
            }
            let left = self.pending_saves.all().len();
            let time = end.saturating_duration_since(SystemClock.monotonic());
            if left == 0 || time.is_zero() {
                return left;
            }
            let _ = SystemClock.after(pause.min(time)).recv();
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// The rescuer: tries until nothing is left.
fn look_after(coordinator: &Weak<RefreshCoordinator>, stop: &Receiver<Never>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let Some(clock) = coordinator
            .upgrade()
            .map(|coordinator| Arc::clone(&coordinator.services.clock))
        else {
            return;
        };
        select! {
            recv(clock.after(pause)) -> _ => {}
            recv(stop) -> _ => return,
        }
        let Some(coordinator) = coordinator.upgrade() else {
            return;
        };
        let ids = coordinator.pending_saves.all();
        let failed = ids.iter().filter(|id| match coordinator.save_pending(id) {
            Ok(()) => false,
            Err(error) => {
                log::debug!("credential {id}: its new tokens are still not saved: {error}");
                coordinator.renew_intent(id);
                true
            }
        });
        pause = if failed.count() == 0 {
            FIRST_PAUSE
        } else {
            (pause * 2).min(LONGEST_PAUSE)
        };
        let mut state = coordinator.pending_saves.0.lock();
        if state.pending.is_empty() {
            state.looking = false;
            return;
        }
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
