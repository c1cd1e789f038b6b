//! Where credentials are kept: the [`Store`] trait, its backends, and the writer that keeps slow stores away from calls.

mod file;
mod keeper;
mod memory;
mod turns;
mod writer;

use std::fmt;
use std::sync::Arc;

pub use file::FileStore;
pub(crate) use keeper::Keeper;
pub use memory::MemoryStore;
pub(crate) use turns::Turn;
pub(crate) use writer::start as start_writer;

use crate::auth::Auth;
use crate::error::Error;

/// Keeps records across restarts.
///
/// Three methods are enough for a store. One that can keep the runtime state apart from the credential should also override
/// [`save_state`](Store::save_state): it is called often, and a cooldown should never rewrite a token.
///
/// Methods block, are called with no lock held, and at most one at a time for one id.
pub trait Store: Send + Sync {
    /// All records, and what could not be read.
    ///
    /// # Errors
    /// When the backend as a whole cannot be read. One bad record is no error: it is skipped, with its reason.
    fn list(&self) -> Result<Listing, Error>;

    /// Writes a record, replacing the one with the same id, and says where it is now (a path, a key). When it returns, the
    /// record is durable.
    ///
    /// # Errors
    /// When it is not; the former record is then untouched.
    fn save(&self, auth: &Auth) -> Result<String, Error>;

    /// Removes the record. An unknown id is no error.
    ///
    /// # Errors
    /// When the backend could not.
    fn delete(&self, id: &str) -> Result<(), Error>;

    /// Writes the runtime state of a record that [`save`](Store::save) has written: status, errors, quota, cooldowns.
    ///
    /// The default saves the whole record.
    ///
    /// # Errors
    /// When it was not written; the writer tries again later.
    fn save_state(&self, auth: &Auth) -> Result<(), Error> {
        self.save(auth).map(drop)
    }
}

impl<S: Store + ?Sized> Store for Arc<S> {
    fn list(&self) -> Result<Listing, Error> {
        (**self).list()
    }

    fn save(&self, auth: &Auth) -> Result<String, Error> {
        (**self).save(auth)
    }

    fn delete(&self, id: &str) -> Result<(), Error> {
        (**self).delete(id)
    }

    fn save_state(&self, auth: &Auth) -> Result<(), Error> {
        (**self).save_state(auth)
    }
}

/// What a store holds.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Listing {
    /// The records.
    pub records: Vec<Auth>,
    /// What is there but could not be read.
    pub skipped: Vec<Skipped>,
}

/// Something in a store that is not a readable record. It is left as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Skipped {
    /// Where: a path, a key.
    pub location: String,
    /// Why, without quoting what was read.
    pub reason: String,
}

impl Listing {
    /// Records, and nothing skipped.
    pub fn of(records: Vec<Auth>) -> Self {
        Self {
            records,
            skipped: Vec::new(),
        }
    }
}

impl Skipped {
    /// Something skipped.
    pub fn new(location: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            location: location.into(),
            reason: reason.into(),
        }
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.location, self.reason)
    }
}
