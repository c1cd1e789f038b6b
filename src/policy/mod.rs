//! What an error means: a table from errors to verdicts, as data.

mod rule;

use std::borrow::Cow;
use std::time::Duration;

pub use rule::Rule;

use crate::error::Error;

/// Decides what a failed attempt does to its credential and to its call.
///
/// The rules are tried in order; the first that matches gives the [`Verdict`]. An error that no rule matches marks the
/// credential unavailable for the model, blocks nothing, and the call goes on with the next credential.
///
/// The default:
///
/// | status | blocked for | quota | next credential |
/// |---|---|---|---|
/// | 401, 402, 403 | 30 min | | yes |
/// | 429 | 30 min | exceeded until then | yes |
/// | 408, 500, 502, 503, 504 | 1 min | | yes |
/// | anything else | not at all | | yes |
///
/// ```
/// use credpool::{Error, FailurePolicy, Rule};
/// use std::time::Duration;
///
/// let policy = FailurePolicy::empty()
///     .with_rule(Rule::status(429).cooldown(Duration::from_secs(60)).quota())
///     .with_rule(Rule::statuses(400..=499).stop());
/// let verdict = policy.classify(&Error::upstream(429, "slow down"));
/// assert_eq!(verdict.cooldown, Some(Duration::from_secs(60)));
/// assert!(verdict.failover);
/// assert!(!policy.classify(&Error::upstream(400, "bad request")).failover);
/// ```
#[derive(Clone, Debug)]
pub struct FailurePolicy {
    rules: Vec<Rule>,
    commit: StreamCommit,
}

/// When a stream is committed: from then on, an error no longer fails over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamCommit {
    /// As soon as the executor has opened it.
    OnOpen,
    /// At its first chunk of content: the default.
    #[default]
    FirstContent,
}

/// What one error means.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verdict {
    /// How long the credential is blocked, for the model or (in a call without one) altogether. `None`: it is marked
    /// unavailable, but not blocked.
    pub cooldown: Option<Duration>,
    /// The quota is used up until then.
    pub quota: bool,
    /// The call goes on with the next credential.
    pub failover: bool,
    /// The record's status message, where the error is about the credential itself.
    pub message: Option<Cow<'static, str>>,
}

impl FailurePolicy {
    /// A policy without rules.
    pub fn empty() -> Self {
        Self {
            rules: Vec::new(),
            commit: StreamCommit::default(),
        }
    }

    /// Adds a rule after those that are there.
    pub fn with_rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Says when a stream is committed. Default: at its first content.
    pub fn with_commit(mut self, commit: StreamCommit) -> Self {
        self.commit = commit;
        self
    }

    /// The rules, in the order in which they are tried.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// When a stream is committed.
    pub fn commit(&self) -> StreamCommit {
        self.commit
    }

    /// What `error` means. A pure function: try your rules with it.
    pub fn classify(&self, error: &Error) -> Verdict {
        self.rules
            .iter()
            .find(|rule| rule.matches(error))
            .map_or_else(Verdict::unknown, |rule| rule.verdict().clone())
    }

    /// What a failure means of which perhaps nothing is known.
    pub(crate) fn classify_outcome(&self, error: Option<&Error>) -> Verdict {
        error.map_or_else(Verdict::unknown, |error| self.classify(error))
    }
}

impl Default for FailurePolicy {
    fn default() -> Self {
        Self::empty()
            .with_rule(
                Rule::status(401)
                    .cooldown(HALF_AN_HOUR)
                    .message("unauthorized"),
            )
            .with_rule(
                Rule::any_of([402, 403])
                    .cooldown(HALF_AN_HOUR)
                    .message("payment_required"),
            )
            .with_rule(
                Rule::status(429)
                    .cooldown(HALF_AN_HOUR)
                    .quota()
                    .message("quota exhausted"),
            )
            .with_rule(
                Rule::any_of([408, 500, 502, 503, 504])
                    .cooldown(A_MINUTE)
                    .message("transient upstream error"),
            )
    }
}

impl Verdict {
    /// What an error means that no rule knows: on to the next credential, and nothing is blocked.
    pub(crate) fn unknown() -> Self {
        Self {
            cooldown: None,
            quota: false,
            failover: true,
            message: None,
        }
    }
}

/// Whether an error says that the token was refused, and nothing else: a new token may be taken.
pub(crate) fn refuses_token(error: &Error) -> bool {
    error.http_status() == Some(401)
}

const HALF_AN_HOUR: Duration = Duration::from_secs(30 * 60);
const A_MINUTE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_matching_rule_decides() {
        let policy = FailurePolicy::empty()
            .with_rule(Rule::status(429).cooldown(A_MINUTE))
            .with_rule(Rule::statuses(400..=499).stop());
        assert!(policy.classify(&Error::upstream(429, "")).failover);
        assert!(!policy.classify(&Error::upstream(404, "")).failover);
        assert_eq!(
            policy.classify(&Error::upstream(500, "")),
            Verdict::unknown()
        );
        assert_eq!(
            policy.classify(&Error::message_only("no status")),
            Verdict::unknown()
        );
    }

    #[test]
    fn the_default_is_the_documented_table() {
        let policy = FailurePolicy::default();
        let of = |status| policy.classify(&Error::upstream(status, ""));
        for status in [401, 402, 403, 429] {
            assert_eq!(of(status).cooldown, Some(HALF_AN_HOUR), "{status}");
        }
        for status in [408, 500, 502, 503, 504] {
            assert_eq!(of(status).cooldown, Some(A_MINUTE), "{status}");
        }
        for status in [400, 404, 422, 501, 529] {
            assert_eq!(of(status), Verdict::unknown(), "{status}");
        }
        assert!(of(429).quota && !of(401).quota);
    }
}
