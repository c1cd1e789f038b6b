//! One refresh that runs, and how it ended.

use std::sync::Arc;

use super::{NO_WORKER, RefreshCoordinator};
use crate::auth::Auth;
use crate::error::{Error, ErrorCode};
use crate::refresh::attempt;

/// The answer to the waiters of a refresh.
pub(in crate::refresh) type Refreshed = Result<Arc<Auth>, Error>;

/// How a refresh ended.
pub(in crate::refresh) struct Done {
    pub(in crate::refresh) outcome: Refreshed,
    /// The records to tell the hook of.
    pub(in crate::refresh) changed: Vec<Arc<Auth>>,
}

/// A refresh that runs. Dropped without an answer, it notifies its waiters.
pub(super) struct Flight {
    pub(super) coordinator: Arc<RefreshCoordinator>,
    pub(super) id: Arc<str>,
    pub(super) done: Option<Done>,
}

impl Done {
    pub(in crate::refresh) fn failed(error: Error) -> Self {
        Self {
            outcome: Err(error),
            changed: Vec::new(),
        }
    }

    pub(in crate::refresh) fn with(auth: Arc<Auth>) -> Self {
        Self {
            outcome: Ok(Arc::clone(&auth)),
            changed: vec![auth],
        }
    }
}

impl Flight {
    pub(super) fn run(mut self) {
        self.coordinator.queue.lock().flights.runs_here(&self.id);
        self.done = Some(attempt::run(&self.coordinator, &self.id));
    }

    /// There is no thread for it, nor for the others.
    pub(super) fn give_up(mut self, error: &Error) {
        let coordinator = Arc::clone(&self.coordinator);
        let waiting = coordinator.queue.lock().admission.clear();
        self.done = Some(Done::failed(error.clone()));
        for id in waiting.iter().chain([&self.id]) {
            if let Some(auth) = coordinator.services.registry.get(id) {
                let now = coordinator.services.clock.monotonic();
                coordinator
                    .states
                    .note(id, &auth, |state| state.wait(now, NO_WORKER));
            }
        }
        for id in waiting {
            coordinator.tell(&id, &Done::failed(error.clone()));
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let done = self.done.take();
        let done = done.unwrap_or_else(|| Done::failed(cut_off(&self.id)));
        self.coordinator.tell(&self.id, &done);
        if self.coordinator.services.pool.check_open().is_ok() {
            self.coordinator.dispatch();
        }
    }
}

/// The answer to the waiters of an interrupted refresh.
pub(in crate::refresh) fn cut_off(id: &str) -> Error {
    let what = format!("the refresh of {id} was interrupted");
    Error::new(ErrorCode::RefreshFailed, what).with_auth_id(id)
}
