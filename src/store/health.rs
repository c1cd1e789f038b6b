use crate::Timestamp;
use crate::error::Error;

/// How the store stands: what a person, or a probe, should know of it. Calls go on without it; what they learn waits in memory.
///
/// ```
/// let manager = credpool::Manager::builder().build()?;
/// assert!(manager.store_health().is_good());
/// # Ok::<(), credpool::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct StoreHealth {
    /// Records of which the store does not have the latest yet. A few at any time is usual: what comes within half a second is
    /// written together.
    pub unsaved: usize,
    /// How many rounds in a row have failed.
    pub failures: u32,
    /// Since when it fails.
    pub failing_since: Option<Timestamp>,
    /// What it said last, while it fails.
    pub last_error: Option<Error>,
    /// Since when the round that is under way is under way: a store that hangs shows here.
    pub writing_since: Option<Timestamp>,
}

impl StoreHealth {
    /// Whether the last round went well. One that hangs has not ended: see [`writing_since`](Self::writing_since).
    pub fn is_good(&self) -> bool {
        self.failures == 0
    }
}
