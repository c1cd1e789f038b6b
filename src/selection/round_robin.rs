//! [`RoundRobin`]: each credential in turn.

use super::{Candidate, Candidates, Selector};
use crate::error::Error;
use crate::request::Options;

/// Round-robin for each provider and model: the first ready, untried credential after the last one picked, in id order,
/// wrapping. The default.
///
/// ```
/// let manager = credpool::Manager::builder().selector(credpool::RoundRobin::new()).build()?;
/// # drop(manager);
/// # Ok::<(), credpool::Error>(())
/// ```
#[doc(alias = "round-robin")]
#[doc(alias = "RoundRobinSelector")]
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundRobin;

impl RoundRobin {
    /// The selector.
    pub const fn new() -> Self {
        Self
    }
}

impl Selector for RoundRobin {
    fn pick(&self, candidates: &Candidates<'_>, _: &Options) -> Result<Option<Candidate>, Error> {
        Ok(candidates.rotate())
    }
}
