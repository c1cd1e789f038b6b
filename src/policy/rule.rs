use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::error::Error;

use super::Verdict;

/// One row of a [`FailurePolicy`](super::FailurePolicy): which errors it is about, and what they mean.
///
/// A new rule blocks nothing and goes on to the next credential.
#[derive(Clone, Debug)]
pub struct Rule {
    statuses: Vec<RangeInclusive<u16>>,
    verdict: Verdict,
}

impl Rule {
    /// For one HTTP status.
    pub fn status(status: u16) -> Self {
        Self::statuses(status..=status)
    }

    /// For several statuses.
    pub fn any_of(statuses: impl IntoIterator<Item = u16>) -> Self {
        Self {
            statuses: statuses.into_iter().map(|status| status..=status).collect(),
            verdict: Verdict::unknown(),
        }
    }

    /// For a range of statuses.
    pub fn statuses(range: RangeInclusive<u16>) -> Self {
        Self {
            statuses: vec![range],
            verdict: Verdict::unknown(),
        }
    }

    /// Blocks the credential for `cooldown`.
    pub fn cooldown(mut self, cooldown: Duration) -> Self {
        self.verdict.cooldown = Some(cooldown);
        self
    }

    /// The quota is used up for as long as the cooldown.
    pub fn quota(mut self) -> Self {
        self.verdict.quota = true;
        self
    }

    /// Ends the call: the error is returned, no other credential is tried.
    pub fn stop(mut self) -> Self {
        self.verdict.failover = false;
        self
    }

    /// The status message of a record that such an error was about as a whole.
    pub fn message(mut self, message: impl Into<Cow<'static, str>>) -> Self {
        self.verdict.message = Some(message.into());
        self
    }

    /// What it says of the errors that it matches.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Whether it is about this error.
    pub fn matches(&self, error: &Error) -> bool {
        error.http_status().is_some_and(|status| {
            self.statuses
                .iter()
                .any(|statuses| statuses.contains(&status))
        })
    }
}
