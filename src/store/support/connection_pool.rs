//! A pool of idle connections to a database or server.

#[cfg(feature = "sqlite")]
use std::iter;

use parking_lot::Mutex;

/// Connections that are not in use at the moment. One is taken out for as long as a piece of work takes, so that no lock is held
/// meanwhile and no thread waits for another's.
#[derive(Debug)]
pub(crate) struct Idle<C> {
    spare: Mutex<Vec<C>>,
}

impl<C> Default for Idle<C> {
    fn default() -> Self {
        Self {
            spare: Mutex::default(),
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
        let spare = iter::from_fn(|| self.take()).find(is_usable);
        let mut connection = match spare {
            Some(connection) => connection,
            None => open()?,
        };
        let done = work(&mut connection)?;
        self.put_back(connection);
        Ok(done)
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

const MOST_SPARE: usize = 4;
