//! [`Weighted`]: in turn, in proportion to weights.

use super::{Candidate, Candidates, Selector};
use crate::error::Error;
use crate::request::Options;

/// Shares calls by the attribute `weight`, for each provider and model: a credential of weight 3 gets three times as many as one of
/// weight 1, as evenly as can be. 1 where there is none; 0: never.
///
/// ```
/// use credpool::{Auth, Manager, Weighted};
///
/// let manager = Manager::builder().selector(Weighted::new()).build()?;
/// manager.register(Auth::api_key("openai", "sk-large").with_attribute("weight", "3"))?;
/// manager.register(Auth::api_key("openai", "sk-small"))?;
/// # Ok::<(), credpool::Error>(())
/// ```
#[doc(alias = "weighted round-robin")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Weighted;

impl Weighted {
    /// The selector.
    pub const fn new() -> Self {
        Self
    }
}

impl Selector for Weighted {
    fn pick(&self, candidates: &Candidates<'_>, _: &Options) -> Result<Option<Candidate>, Error> {
        Ok(candidates.by_weight())
    }
}
