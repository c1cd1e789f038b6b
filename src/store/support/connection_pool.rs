//! A pool of idle connections to a database or server.

#[cfg(feature = "sqlite")]
use std::iter;
#[cfg(feature = "sqlite")]
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

#[cfg(feature = "sqlite")]
use crate::runtime::LONGEST_LOCKED;

/// Connections that are not in use at the moment. One is taken out for as long as a piece of work takes, so that no lock is held
/// meanwhile and no thread waits for another's.
#[derive(Debug)]
pub(crate) struct Idle<C> {
    spare: Mutex<Vec<C>>,
    /// How many are at work.
    #[cfg(feature = "sqlite")]
    at_work: AtomicUsize,
}

impl<C> Default for Idle<C> {
    fn default() -> Self {
        Self {
            spare: Mutex::default(),
            #[cfg(feature = "sqlite")]
            at_work: AtomicUsize::new(0),
        }
    }
}

impl<C> Idle<C> {
    /// Does `work` with a connection, a new one where none is free that may still be used. After a failure the connection is not used again.
    #[cfg(feature = "sqlite")]
    pub(crate) fn with<T, E>(
        &self,
        is_usable: impl Fn(&C) -> bool,
        open: impl FnOnce() -> Result<C, E>,
        work: impl FnOnce(&mut C) -> Result<T, E>,
    ) -> Result<T, E> {
        let _at_work = AtWork::begin(&self.at_work);
        let spare = iter::from_fn(|| self.take()).find(is_usable);
        let mut connection = match spare {
            Some(connection) => connection,
            None => open()?,
        };
        let done = work(&mut connection)?;
        self.put_back(connection);
        Ok(done)
    }

    /// All connections, as a child finds its parent's after a fork. `None`: threads that are not there any more were at work with some.
    #[cfg(feature = "sqlite")]
    pub(crate) fn take_all(&self) -> Option<Vec<C>> {
        let mut spare = self.spare.try_lock_for(LONGEST_LOCKED)?;
        (self.at_work.load(Ordering::SeqCst) == 0).then(|| std::mem::take(&mut *spare))
    }

    pub(crate) fn take(&self) -> Option<C> {
        self.spare.lock().pop()
    }

    pub(crate) fn put_back(&self, connection: C) {
        let mut spare = self.spare.lock();
        if spare.len() < MOST_SPARE {
            spare.push(connection);
            return;
        }
        drop(spare);
        drop(connection);
    }
}

/// A connection at work, until it is dropped.
#[cfg(feature = "sqlite")]
struct AtWork<'c>(&'c AtomicUsize);

#[cfg(feature = "sqlite")]
impl<'c> AtWork<'c> {
    fn begin(count: &'c AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

#[cfg(feature = "sqlite")]
impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

const MOST_SPARE: usize = 4;
