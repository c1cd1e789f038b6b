//! [`RefreshLock`]: the right to refresh a login, across processes: the locks of all records that hold it. They are the program's
//! own code: its panics are contained.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, ErrorCode};
use crate::runtime::guard;
use crate::store::{Intent, Keeper, RecordLock};

#[derive(Default)]
pub(super) struct RefreshLock {
    /// By record; none for what lives in memory alone.
    locks: Vec<(Arc<str>, Box<dyn RecordLock>)>,
    /// Whether the tokens in use are newer than the store's.
    pub(super) unsaved: bool,
}

impl RefreshLock {
    /// Waits for the lock of a record, for a while. False when another process has it.
    pub(super) fn add(
        &mut self,
        keeper: &Keeper,
        id: &Arc<str>,
        wait: Duration,
    ) -> Result<bool, Error> {
        let lock = keeper.lock(id, wait)?;
        let taken = lock.map(|lock| self.locks.push((Arc::clone(id), lock)));
        Ok(taken.is_some())
    }

    /// The right to refresh one of the records alone.
    pub(super) fn split(&mut self, id: &str) -> Self {
        let ours = self.locks.extract_if(.., |(held, _)| **held == *id);
        Self {
            locks: ours.collect(),
            unsaved: false,
        }
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.locks.iter().any(|(held, _)| **held == *id)
    }

    /// The last request that came to no end, whichever of the records it was noted for. `generation`: that of a record whose tokens
    /// are still the ones in question.
    pub(super) fn intent(
        &self,
        generation: impl Fn(&str) -> Option<u64>,
    ) -> Result<Option<Intent>, Error> {
        let mut last: Option<Intent> = None;
        for (id, lock) in &self.locks {
            let intent = contained(|| lock.intent())?;
            let intent = intent.filter(|intent| Some(intent.generation) == generation(id));
            let is_later = |intent: &Intent| last.as_ref().is_none_or(|l| intent.tries > l.tries);
            if let Some(intent) = intent.filter(is_later) {
                last = Some(intent);
            }
        }
        Ok(last)
    }

    /// Notes, for each of the records, that a request begins.
    pub(super) fn set_intent(
        &mut self,
        intent: &Intent,
        generation: impl Fn(&str) -> Option<u64>,
    ) -> Result<(), Error> {
        for (id, lock) in &mut self.locks {
            let Some(generation) = generation(id) else {
                continue;
            };
            let intent = Intent {
                generation,
                ..intent.clone()
            };
            contained(|| lock.set_intent(Some(&intent)))?;
        }
        Ok(())
    }

    /// Notes that it is known what came of the refresh.
    pub(super) fn clear_intent(&mut self) {
        for (id, lock) in &mut self.locks {
            note_end(id, contained(|| lock.set_intent(None)));
        }
    }

    /// Whether a former holder can no longer be at it.
    pub(super) fn holder_is_dead(&self) -> bool {
        self.locks.iter().all(|(_, lock)| {
            guard(|| "the store".to_owned(), || lock.holder_is_dead()).unwrap_or(false)
        })
    }
}

impl Drop for RefreshLock {
    fn drop(&mut self) {
        for (_, lock) in self.locks.drain(..) {
            let _ = guard(|| "giving a record's lock back".to_owned(), || drop(lock));
        }
    }
}

pub(super) fn note_end(id: &str, noted: Result<(), Error>) {
    if let Err(error) = noted {
        log::debug!("credential {id}: the end of its refresh could not be noted: {error}");
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
