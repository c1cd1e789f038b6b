//! [`LeastBusy`]: the credential with the fewest requests in flight.

use super::{Candidate, Candidates, Selector};
use crate::error::Error;
use crate::request::Options;

/// The credential with the fewest requests in flight; those with as few take turns. A stream is in flight until its end.
///
/// ```
/// let manager = credpool::Manager::builder().selector(credpool::LeastBusy::new()).build()?;
/// # drop(manager);
/// # Ok::<(), credpool::Error>(())
/// ```
#[doc(alias = "least connections")]
#[derive(Clone, Copy, Debug, Default)]
pub struct LeastBusy;

impl LeastBusy {
    /// The selector.
    pub const fn new() -> Self {
        Self
    }
}

impl Selector for LeastBusy {
    fn pick(&self, candidates: &Candidates<'_>, _: &Options) -> Result<Option<Candidate>, Error> {
        Ok(candidates.least_busy())
    }
}
