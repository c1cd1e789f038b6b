//! [`StoreHealth`]: the health report of the store.

use crate::clock::Timestamp;
use crate::error::Error;

/// How the store is doing: what a probe, or an operator, should know of it. Calls go on without a store; the state that they
/// change waits in memory.
///
/// Every call of the store counts, whether the writer, hot reload, a load, a refresh or the program itself makes it.
///
/// ```
/// let manager = credpool::Manager::builder().build()?;
/// assert!(manager.store_health().is_good());
/// # Ok::<(), credpool::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct StoreHealth {
    /// Number of records whose latest state the store does not have yet. A few at any time is usual: changes of one record within
    /// half a second are written together.
    pub unsaved: usize,
    /// Number of store calls that have failed since the store was last without a fault. A fault ends with the next success of the
    /// same kind: a read of the whole store (`list`, `changes`), a `load`, a `lock`, or a write; that of a record which could
    /// not be saved, when this record is saved.
    pub failures: u32,
    /// Since when the store has a fault.
    pub failing_since: Option<Timestamp>,
    /// Ids of the records whose state could not be saved when it was tried last, and of those whose write hangs, in order. The
    /// writer retries each, with a pause that doubles up to 10 seconds; other records are saved meanwhile.
    pub failing_records: Vec<String>,
    /// The latest error, while the store has a fault.
    pub last_error: Option<Error>,
    /// When the oldest write began that has not returned yet.
    pub writing_since: Option<Timestamp>,
    /// When the oldest call began that hangs: one of any kind that has not returned for five seconds. A `lock` may take the time
    /// that it was given, too.
    pub hanging_since: Option<Timestamp>,
}

impl StoreHealth {
    /// Whether the latest calls of each kind succeeded, all records could be saved, and no call hangs.
    pub fn is_good(&self) -> bool {
        self.failures == 0 && self.hanging_since.is_none()
    }
}
