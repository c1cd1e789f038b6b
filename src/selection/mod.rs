//! Credential selection (load balancing): the [`Selector`] trait and its implementations, one file each.

mod affinity;
mod candidates;
pub mod conversation;
mod fill_first;
mod headroom;
mod least_busy;
mod lowest_latency;
mod round_robin;
mod sample;
mod stats;
mod weighted;

pub use affinity::Affinity;
pub use candidates::{Blocked, Candidate, Candidates};
pub use fill_first::FillFirst;
pub use headroom::Headroom;
pub use least_busy::LeastBusy;
pub use lowest_latency::LowestLatency;
pub use round_robin::RoundRobin;
pub use weighted::Weighted;

use std::sync::Arc;

use crate::error::Error;
use crate::observe::Outcome;
use crate::request::Options;

/// A selector: picks one of the credentials that are ready for a call (load balancing).
///
/// Called from many threads concurrently, with no lock held; a panic is an error of that call with code `panicked`.
///
/// ```
/// use credpool::{Candidate, Candidates, Error, Options, Selector};
///
/// /// Always the ready credential with the highest `priority` attribute.
/// struct ByPriority;
///
/// impl Selector for ByPriority {
///     fn pick(&self, candidates: &Candidates<'_>, _: &Options) -> Result<Option<Candidate>, Error> {
///         let priority = |candidate: &Candidate| -> i64 {
///             let text = candidate.attributes.get("priority");
///             text.and_then(|text| text.parse().ok()).unwrap_or(0)
///         };
///         Ok(candidates.iter().max_by_key(priority))
///     }
/// }
/// ```
#[doc(alias = "load balancing")]
#[doc(alias = "load balancer")]
pub trait Selector: Send + Sync {
    /// Picks one of `candidates`, or `None`: the call then goes on with its next provider.
    ///
    /// # Errors
    /// Ends the call.
    fn pick(
        &self,
        candidates: &Candidates<'_>,
        options: &Options,
    ) -> Result<Option<Candidate>, Error>;

    /// Observes every result, to learn from it. Nothing by default.
    ///
    /// ```
    /// use std::collections::HashMap;
    /// use std::sync::Mutex;
    ///
    /// use credpool::{Candidate, Candidates, Error, Options, Outcome, Selector};
    ///
    /// /// The credential that has failed least often.
    /// #[derive(Default)]
    /// struct Reliable(Mutex<HashMap<String, u32>>);
    /// impl Selector for Reliable {
    ///     fn pick(&self, ready: &Candidates<'_>, _: &Options) -> Result<Option<Candidate>, Error> {
    ///         let failures = self.0.lock().unwrap();
    ///         Ok(ready.iter().min_by_key(|candidate| failures.get(&candidate.id).copied()))
    ///     }
    ///     fn observe(&self, outcome: &Outcome<'_>) {
    ///         if outcome.error().is_some() {
    ///             *self.0.lock().unwrap().entry(outcome.auth_id.to_owned()).or_default() += 1;
    ///         }
    ///     }
    ///     fn forget(&self, auth_id: &str) {
    ///         self.0.lock().unwrap().remove(auth_id);
    ///     }
    /// }
    /// ```
    fn observe(&self, outcome: &Outcome<'_>) {
        let _ = outcome;
    }

    /// Forgets a credential that was removed. Nothing by default.
    fn forget(&self, auth_id: &str) {
        let _ = auth_id;
    }
}

impl<S: Selector + ?Sized> Selector for Arc<S> {
    fn pick(
        &self,
        candidates: &Candidates<'_>,
        options: &Options,
    ) -> Result<Option<Candidate>, Error> {
        (**self).pick(candidates, options)
    }

    fn observe(&self, outcome: &Outcome<'_>) {
        (**self).observe(outcome);
    }

    fn forget(&self, auth_id: &str) {
        (**self).forget(auth_id);
    }
}
