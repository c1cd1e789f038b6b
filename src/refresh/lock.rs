//! [`RefreshLock`]: the right to refresh a record, across processes. It is the program's own code: its panics are contained.

use std::time::Duration;

use crate::error::{Error, ErrorCode};
use crate::runtime::guard;
use crate::store::{Intent, Keeper, RecordLock};

#[derive(Default)]
pub(super) struct RefreshLock {
    /// None for what lives in memory alone.
    lock: Option<Box<dyn RecordLock>>,
    /// Whether the tokens in use are newer than the store's.
    pub(super) unsaved: bool,
}

impl RefreshLock {
    /// Waits for the lock, for a while. `None` when another process has it.
    pub(super) fn take(keeper: &Keeper, id: &str, wait: Duration) -> Result<Option<Self>, Error> {
        let lock = keeper.lock(id, wait)?;
        Ok(lock.map(|lock| Self {
            lock: Some(lock),
            unsaved: false,
        }))
    }

    pub(super) fn intent(&self) -> Result<Option<Intent>, Error> {
        self.lock
            .as_ref()
            .map_or(Ok(None), |lock| contained(|| lock.intent()))
    }

    pub(super) fn set_intent(&mut self, intent: Option<&Intent>) -> Result<(), Error> {
        self.lock
            .as_mut()
            .map_or(Ok(()), |lock| contained(|| lock.set_intent(intent)))
    }

    /// Notes that it is known what came of the refresh.
    pub(super) fn clear_intent(&mut self, id: &str) {
        if let Err(error) = self.set_intent(None) {
            log::debug!("credential {id}: the end of its refresh could not be noted: {error}");
        }
    }

    /// Whether a former holder can no longer be at it.
    pub(super) fn holder_is_dead(&self) -> bool {
        self.lock.as_ref().is_none_or(|lock| {
            guard(|| "the store".to_owned(), || lock.holder_is_dead()).unwrap_or(false)
        })
    }
}

impl Drop for RefreshLock {
    fn drop(&mut self) {
        if let Some(lock) = self.lock.take() {
            let _ = guard(|| "giving a record's lock back".to_owned(), || drop(lock));
        }
    }
}

fn contained<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    guard(|| "the store".to_owned(), work)
        .flatten()
        .map_err(|error| match error.code() {
            ErrorCode::Unspecified => error.with_code(ErrorCode::Store),
            _ => error,
        })
}
