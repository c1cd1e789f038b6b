//! [`FillFirst`]: one credential up to its limit, then the next.

use super::{Candidate, Candidates, Selector};
use crate::error::Error;
use crate::request::Options;

/// One credential up to its limit, then the next, in the order of their ids: what is left of the others stays whole.
///
/// ```
/// let manager = credpool::Manager::builder().selector(credpool::FillFirst::new()).build()?;
/// # drop(manager);
/// # Ok::<(), credpool::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct FillFirst;

impl FillFirst {
    /// The selector.
    pub const fn new() -> Self {
        Self
    }
}

impl Selector for FillFirst {
    fn pick(&self, candidates: &Candidates<'_>, _: &Options) -> Result<Option<Candidate>, Error> {
        Ok(candidates.after(None))
    }
}
