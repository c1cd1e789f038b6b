//! The refresh lock: the right to refresh a grant across processes, over all records that hold it. What is done with it: `machine`, and
//! `attempt` for each state.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::error::{Error, ErrorCode};
use crate::panic::guard;
use crate::persistence::StoreHandle;
use crate::store::{Intent, RecordLock};

#[derive(Default)]
pub(super) struct RefreshLock {
    /// None for what lives in memory alone.
    locks: Vec<Held>,
    /// Whether the tokens in use are newer than the store's.
    pub(super) unsaved: bool,
}

/// The lock of one record.
struct Held {
    id: Arc<str>,
    lock: Box<dyn RecordLock>,
    /// What the store says of the request that has begun.
    noted: Option<Intent>,
}

impl RefreshLock {
    /// Waits for the lock of a record, for a while. False when another process has it.
    pub(super) fn add(
        &mut self,
        store_handle: &StoreHandle,
        id: &Arc<str>,
        wait: Duration,
    ) -> Result<bool, Error> {
        let Some(lock) = store_handle.lock(id, wait)? else {
            return Ok(false);
        };
        self.locks.push(Held {
            id: Arc::clone(id),
            lock,
            noted: None,
        });
        Ok(true)
    }

    /// The right to refresh one of the records alone.
    pub(super) fn split(&mut self, id: &str) -> Self {
        Self {
            locks: self.locks.extract_if(.., |held| *held.id == *id).collect(),
            unsaved: false,
        }
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.locks.iter().any(|held| *held.id == *id)
    }

    /// The last request that came to no end, whichever of the records it was noted for. `generation`: that of a record whose tokens
    /// are still the ones in question.
    pub(super) fn intent(
        &self,
        generation: impl Fn(&str) -> Option<u64>,
    ) -> Result<Option<Intent>, Error> {
        let mut last: Option<Intent> = None;
        for held in &self.locks {
            let intent = contained(|| held.lock.intent())?;
            let intent = intent.filter(|intent| Some(intent.generation) == generation(&held.id));
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
        for held in &mut self.locks {
            let Some(generation) = generation(&held.id) else {
                continue;
            };
            let intent = Intent {
                generation,
                ..intent.clone()
            };
            contained(|| held.lock.set_intent(Some(&intent)))?;
            held.noted = Some(intent);
        }
        Ok(())
    }

    /// Shows other processes that the intent's writer lives and still has to save the result: they keep waiting. A lock that has lapsed is
    /// taken anew.
    pub(super) fn renew_intent(&mut self, store_handle: &StoreHandle, now: Timestamp) {
        for held in &mut self.locks {
            let Some(intent) = &mut held.noted else {
                continue;
            };
            intent.at = now;
            if contained(|| held.lock.set_intent(Some(intent))).is_ok() {
                continue;
            }
            if let Ok(Some(anew)) = store_handle.lock(&held.id, Duration::ZERO) {
                give_back(std::mem::replace(&mut held.lock, anew));
                note_end(&held.id, contained(|| held.lock.set_intent(Some(intent))));
            }
        }
    }

    /// Notes that it is known what came of the refresh.
    pub(super) fn clear_intent(&mut self) {
        for held in &mut self.locks {
            held.noted = None;
            note_end(&held.id, contained(|| held.lock.set_intent(None)));
        }
    }

    /// Whether a former holder can no longer be at it.
    pub(super) fn holder_is_dead(&self) -> bool {
        self.locks.iter().all(|held| {
            guard(|| "the store".to_owned(), || held.lock.holder_is_dead()).unwrap_or(false)
        })
    }
}

impl Drop for RefreshLock {
    fn drop(&mut self) {
        for held in self.locks.drain(..) {
            give_back(held.lock);
        }
    }
}

fn give_back(lock: Box<dyn RecordLock>) {
    let _ = guard(|| "giving a record's lock back".to_owned(), || drop(lock));
}

pub(super) fn note_end(id: &str, noted: Result<(), Error>) {
    if let Err(error) = noted {
        log::debug!("credential {id}: the refresh intent could not be updated: {error}");
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
