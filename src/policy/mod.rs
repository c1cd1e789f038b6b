//! Error classification: a table from errors to verdicts, as data.

mod cooldown;
mod default_rules;
mod error_text;
mod mechanisms;
mod rule;
mod verdict;

use std::fmt;
use std::time::Duration;

pub use cooldown::{Cooldown, RetryAfterBounds};
use error_text::Said;
pub use mechanisms::{Attempts, BackOff, OutageDetection, Probes, RetryBudget};
pub use rule::Rule;
pub use verdict::{Scope, Verdict};

use crate::error::{Error, ErrorCode};
use crate::failure_kind::FailureKind;

/// Classifies errors: what a failed attempt does to its credential (cooldown, circuit breaker) and to its call (failover, retry).
///
/// The rules are tried in order; the first that matches gives the [`Verdict`]. An error that no rule matches marks the
/// credential unavailable for the model, blocks nothing, and the call goes on with the next credential.
///
/// The [guide](crate::guide::errors_and_cooldowns) has the default table, and the mechanisms beside it, each with a default and an off
/// value: how cooldowns end ([`Probes`]), how long a call waits ([`with_max_wait`](Self::with_max_wait)), how a call retries
/// ([`BackOff`], [`RetryBudget`]), what is tried when all credentials are cooling down ([`with_last_resort`](Self::with_last_resort)), and
/// when an error counts against no credential ([`OutageDetection`]).
///
/// The default table holds the rules of OpenAI, Anthropic, Gemini, Vertex AI and OpenAI-compatible servers together: vendors are
/// distinguished apart by the words of their errors, so no preset has to be chosen. [`Rule::for_provider`] makes a rule for one provider.
///
/// ```
/// use credpool::{Error, FailureKind, FailurePolicy};
///
/// let policy = FailurePolicy::default();
/// let fault = |status, body: &str| policy.classify(&Error::upstream(status, body)).fault;
/// // OpenAI: no waiting heals this 429.
/// assert_eq!(fault(429, r#"{"error":{"code":"insufficient_quota"}}"#), FailureKind::Billing);
/// // Anthropic: the organization's own spend limit is a 400.
/// assert_eq!(fault(400, "You have reached your specified API usage limits."), FailureKind::Quota);
/// // Gemini: so is an invalid key.
/// assert_eq!(fault(400, r#"{"error":{"details":[{"reason":"API_KEY_INVALID"}]}}"#), FailureKind::Unauthorized);
/// ```
///
/// ```
/// use credpool::{Error, FailureKind, FailurePolicy, Rule, Scope};
/// use std::time::Duration;
///
/// let policy = FailurePolicy::default();
/// let verdict = policy.classify(&Error::upstream(400, r#"{"error":{"message":"Your credit balance is too low"}}"#));
/// assert_eq!((verdict.fault, verdict.scope), (FailureKind::Billing, Scope::Credential));
///
/// // A rule of your own goes before the others.
/// let policy = policy.with_first(Rule::status(418).cooldown(Duration::from_secs(60)));
/// assert!(policy.classify(&Error::upstream(418, "")).failover);
/// ```
#[doc(alias = "circuit breaker")]
#[doc(alias = "error classification")]
#[doc(alias = "failover")]
#[derive(Clone, Debug)]
pub struct FailurePolicy {
    rules: Vec<Rule>,
    commit: StreamCommit,
    transient_failovers: Option<u32>,
    transient_attempts: u32,
    attempts: Option<Attempts>,
    pacing: bool,
    jitter: f64,
    probes: Option<Probes>,
    last_resort: bool,
    outage_detection: Option<OutageDetection>,
    budget: Option<RetryBudget>,
    back_off: Option<BackOff>,
    max_wait: Duration,
    pending: bool,
}

/// When a stream is committed: from then on, an error no longer fails over.
///
/// ```
/// use credpool::{FailurePolicy, StreamCommit};
///
/// let policy = FailurePolicy::default().with_commit(StreamCommit::OnOpen);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamCommit {
    /// As soon as the executor has opened it.
    OnOpen,
    /// At its first chunk of content: the default.
    #[default]
    FirstContent,
}

/// A rule that can never decide anything: see [`FailurePolicy::lint`].
///
/// ```
/// use std::time::Duration;
///
/// use credpool::{FailurePolicy, Rule};
///
/// let policy = FailurePolicy::empty()
///     .with_rule(Rule::statuses(400..=499).stop())
///     .with_rule(Rule::status(429).cooldown(Duration::from_secs(60)));
/// let lint = &policy.lint()[0];
/// assert_eq!(lint.index, 1);
/// println!("{} ({})", lint.rule, lint.reason);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lint {
    /// The rule's place, from 0.
    pub index: usize,
    /// The rule's conditions, in words.
    pub rule: String,
    /// Why it never decides.
    pub reason: String,
}

impl FailurePolicy {
    /// A policy without rules, and with every mechanism off: every error marks a credential, and the call goes on with the next.
    pub fn empty() -> Self {
        Self {
            rules: Vec::new(),
            commit: StreamCommit::default(),
            transient_failovers: None,
            transient_attempts: 0,
            attempts: None,
            pacing: false,
            jitter: 0.0,
            probes: None,
            last_resort: false,
            outage_detection: None,
            budget: None,
            back_off: None,
            max_wait: Duration::ZERO,
            pending: false,
        }
    }

    /// Adds a rule after those that are there.
    pub fn with_rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Adds a rule before those that are there.
    pub fn with_first(mut self, rule: Rule) -> Self {
        self.rules.insert(0, rule);
        self
    }

    /// Sets the cooldown of a failure kind, in every rule with that kind; nothing else of the rules changes.
    ///
    /// ```
    /// use credpool::{Cooldown, Error, FailureKind, FailurePolicy};
    /// use std::time::Duration;
    ///
    /// let ten_minutes = Cooldown::Fixed(Duration::from_secs(600));
    /// let policy = FailurePolicy::default().with_cooldown(FailureKind::Unauthorized, ten_minutes);
    /// assert_eq!(policy.classify(&Error::upstream(401, "")).cooldown, ten_minutes);
    /// ```
    pub fn with_cooldown(mut self, fault: FailureKind, cooldown: Cooldown) -> Self {
        for rule in &mut self.rules {
            rule.set_cooldown_of(fault, cooldown);
        }
        self
    }

    /// Says when a stream is committed. Default: at its first content.
    pub fn with_commit(mut self, commit: StreamCommit) -> Self {
        self.commit = commit;
        self
    }

    /// How many further credentials of a provider a call tries after a fault of the provider itself
    /// ([`Scope::Provider`]), before it goes on with its next provider. `None`: all of them. Default: 1; off: `None`.
    #[doc(alias = "failover")]
    pub fn with_transient_failovers(mut self, most: Option<u32>) -> Self {
        self.transient_failovers = most;
        self
    }

    /// The random part by which a cooldown is lengthened, at most this fraction of it (and 30 s), so that credentials that were cooled
    /// down together do not return together. Never shorter. Default: 0.1; off: 0.
    #[doc(alias = "thundering herd")]
    pub fn with_jitter(mut self, part: f64) -> Self {
        self.jitter = if part.is_finite() {
            part.clamp(0.0, 1.0)
        } else {
            0.0
        };
        self
    }

    /// See [`with_jitter`](Self::with_jitter).
    pub fn jitter(&self) -> f64 {
        self.jitter
    }

    /// How many attempts of a call may end in a fault of a provider, over all its providers; 0: any number. Default: 3; off: 0.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use credpool::FailurePolicy;
    ///
    /// // For calls that had rather fail early than wait.
    /// let policy = FailurePolicy::default()
    ///     .with_transient_attempts(1)
    ///     .with_transient_failovers(Some(2))
    ///     .with_max_wait(Duration::ZERO)
    ///     .with_pacing(false)
    ///     .with_last_resort(false)
    ///     .with_pending(false)
    ///     .with_jitter(0.1);
    /// ```
    pub fn with_transient_attempts(mut self, most: u32) -> Self {
        self.transient_attempts = most;
        self
    }

    /// How many attempts of a call may follow each other immediately. Default: as [`Attempts::default`] says; off: `None`, any number.
    pub fn with_attempts(mut self, attempts: Option<Attempts>) -> Self {
        self.attempts = attempts;
        self
    }

    /// See [`with_attempts`](Self::with_attempts).
    pub fn attempts(&self) -> Option<&Attempts> {
        self.attempts.as_ref()
    }

    /// Whether the pool learns at what rate a credential is served that was refused for its rate, and spaces its requests by that
    /// (client-side rate limiting): a paced credential is tried after the ready ones. It delays calls that may wait, and refuses none.
    /// Learnt for each credential, or group of credentials that share a limit (attribute `limit_group`), and model; forgotten after a
    /// minute without a refusal. Default: yes; off: `false`.
    ///
    /// An upstream may limit how many requests it serves concurrently instead (a concurrency limit). Where refusals show that, the pool
    /// learns this number for each credential and model, keeps to it, and tries one request more from time to time: every second at first,
    /// once a minute where that is refused again and again, or as seldom as twenty times the `Retry-After` of the refusal. This, too,
    /// delays calls that may wait and refuses none, and is forgotten a minute after it mattered last. It is not learnt of groups: a
    /// credential that is known to serve so many requests concurrently has the attribute `max_concurrent`.
    #[doc(alias = "rate limiting")]
    #[doc(alias = "client-side rate limiting")]
    pub fn with_pacing(mut self, pacing: bool) -> Self {
        self.pacing = pacing;
        self
    }

    /// See [`with_pacing`](Self::with_pacing).
    pub fn pacing(&self) -> bool {
        self.pacing
    }

    /// How credentials that are cooling down are probed. Default: as [`Probes::default`] says; off: `None`, all requests are admitted
    /// as soon as a cooldown is over, and none before.
    pub fn with_probes(mut self, probes: Option<Probes>) -> Self {
        self.probes = probes;
        self
    }

    /// Whether a credential that is cooling down for a fault of its provider is tried all the same when no other is available, one
    /// request at a time: the one whose cooldown ends soonest, of those without a retry hint. Default: yes; off: `false`.
    #[doc(alias = "last resort")]
    pub fn with_last_resort(mut self, last_resort: bool) -> Self {
        self.last_resort = last_resort;
        self
    }

    /// When an error that comes from several credentials is no longer held against them. Default: as
    /// [`OutageDetection::default`] says; off: `None`.
    #[doc(alias = "outage detection")]
    pub fn with_outage_detection(mut self, detection: Option<OutageDetection>) -> Self {
        self.outage_detection = detection;
        self
    }

    /// How many requests a failing provider may get beyond those of the callers. Default: as [`RetryBudget::default`] says; off:
    /// `None`.
    pub fn with_budget(mut self, budget: Option<RetryBudget>) -> Self {
        self.budget = budget;
        self
    }

    /// How a call tries the same credential again after a transient fault, when no other is left. Default: as
    /// [`BackOff::default`] says; off: `None`.
    pub fn with_back_off(mut self, back_off: Option<BackOff>) -> Self {
        self.back_off = back_off;
        self
    }

    /// How long a call waits in all for credentials that are unavailable; [`Options::max_wait`](crate::Options) takes precedence. The
    /// call waits only where the earliest returns in that time and before the call's deadline. Default: 30 s; off: zero.
    pub fn with_max_wait(mut self, most: Duration) -> Self {
        self.max_wait = most;
        self
    }

    /// Whether a credential whose status is [`Pending`](crate::Status::Pending) is skipped until it has tokens or a key.
    /// Default: yes; off: `false`, the status is a name without effect.
    pub fn with_pending(mut self, honoured: bool) -> Self {
        self.pending = honoured;
        self
    }

    /// The same, with calls that never wait: neither for a credential to return, nor before a retry.
    ///
    /// ```
    /// use credpool::FailurePolicy;
    ///
    /// let policy = FailurePolicy::default().without_waiting();
    /// assert!(policy.max_wait().is_zero() && policy.back_off().is_none());
    /// ```
    pub fn without_waiting(self) -> Self {
        self.with_max_wait(Duration::ZERO).with_back_off(None)
    }

    /// See [`with_transient_attempts`](Self::with_transient_attempts).
    pub fn transient_attempts(&self) -> u32 {
        self.transient_attempts
    }

    /// See [`with_probes`](Self::with_probes).
    pub fn probes(&self) -> Option<&Probes> {
        self.probes.as_ref()
    }

    /// See [`with_last_resort`](Self::with_last_resort).
    pub fn last_resort(&self) -> bool {
        self.last_resort
    }

    /// See [`with_outage_detection`](Self::with_outage_detection).
    pub fn outage_detection(&self) -> Option<&OutageDetection> {
        self.outage_detection.as_ref()
    }

    /// See [`with_budget`](Self::with_budget).
    pub fn budget(&self) -> Option<&RetryBudget> {
        self.budget.as_ref()
    }

    /// See [`with_back_off`](Self::with_back_off).
    pub fn back_off(&self) -> Option<&BackOff> {
        self.back_off.as_ref()
    }

    /// See [`with_max_wait`](Self::with_max_wait).
    pub fn max_wait(&self) -> Duration {
        self.max_wait
    }

    /// See [`with_pending`](Self::with_pending).
    pub fn pending(&self) -> bool {
        self.pending
    }

    /// The rules, in the order in which they are tried.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// When a stream is committed.
    pub fn commit(&self) -> StreamCommit {
        self.commit
    }

    /// See [`with_transient_failovers`](Self::with_transient_failovers).
    pub fn transient_failovers(&self) -> Option<u32> {
        self.transient_failovers
    }

    /// What `error` means. A pure function: try your rules with it.
    pub fn classify(&self, error: &Error) -> Verdict {
        let said = Said::by(error);
        let mut matching = self
            .rules
            .iter()
            .filter(|rule| rule.matches_said(error, &said));
        let mut amended = None;
        let rule = matching.find(|rule| {
            if rule.amends() {
                amended.get_or_insert(rule.verdict().cooldown);
            }
            !rule.amends()
        });
        let mut verdict = rule.map_or_else(Verdict::unknown, |rule| rule.verdict().clone());
        if let Some(cooldown) = amended {
            verdict.cooldown = cooldown;
        }
        let long = error
            .retry_after()
            .is_some_and(|wait| wait > RetryAfterBounds::RATE.most);
        if verdict.fault == FailureKind::RateLimited && verdict.cooldown.obeys_hints() {
            let limits = error.rate_limits();
            let is_long = || limits.is_some_and(|limits| limits.has_used_up(LONG_WINDOW));
            // No server limits a rate for hours: that is a quota.
            if long {
                verdict.fault = FailureKind::Quota;
                verdict.cooldown = verdict.cooldown.with_hint(RetryAfterBounds::QUOTA);
            } else if error.retry_after().is_none() && is_long() {
                verdict.fault = FailureKind::Quota;
                verdict.cooldown =
                    Cooldown::Fixed(default_rules::HALF_AN_HOUR).with_hint(RetryAfterBounds::QUOTA);
            }
        }
        verdict
    }

    /// The error that says of itself whether a retry helps as its verdict does, unless the server has said so.
    pub(crate) fn settled(error: Error, verdict: &Verdict) -> Error {
        let told = error.rate_limits().and_then(|limits| limits.should_retry);
        let helps = match verdict.fault {
            // A certificate, or a login at a proxy, that was refused.
            FailureKind::Transient if *error.code() == ErrorCode::Transport => error.is_retryable(),
            FailureKind::Transient
            | FailureKind::Overloaded
            | FailureKind::RateLimited
            | FailureKind::Quota => true,
            FailureKind::Unknown | FailureKind::Cancelled | FailureKind::TokenEnded => {
                error.is_retryable()
            }
            _ => false,
        };
        if told.is_some() || helps == error.is_retryable() {
            return error;
        }
        error.with_retryable(helps)
    }

    /// Rules that can never decide anything, because they match nothing or because a rule before them matches all that they
    /// do.
    ///
    /// ```
    /// use credpool::{FailurePolicy, Rule};
    ///
    /// let policy = FailurePolicy::empty()
    ///     .with_rule(Rule::statuses(500..=599))
    ///     .with_rule(Rule::status(503).with_text("overloaded"));
    /// assert_eq!(policy.lint()[0].index, 1);
    /// assert!(FailurePolicy::default().lint().is_empty());
    /// ```
    pub fn lint(&self) -> Vec<Lint> {
        let reason = |index: usize, rule: &Rule| {
            if let Some(reason) = rule.is_empty() {
                return Some(reason.to_owned());
            }
            let before = self.rules[..index]
                .iter()
                .enumerate()
                .find(|(_, before)| before.covers(rule));
            before.map(|(place, before)| format!("rule {place} ({before}) matches first"))
        };
        self.rules
            .iter()
            .enumerate()
            .filter_map(|(index, rule)| {
                Some(Lint {
                    index,
                    rule: rule.to_string(),
                    reason: reason(index, rule)?,
                })
            })
            .collect()
    }

    pub(crate) fn log_lints(&self) {
        for lint in self.lint() {
            log::warn!("failure policy: {lint}");
        }
    }

    /// What a failure means of which perhaps nothing is known.
    pub(crate) fn classify_outcome(&self, error: Option<&Error>) -> Verdict {
        error.map_or_else(Verdict::unknown, |error| self.classify(error))
    }
}

impl Default for FailurePolicy {
    fn default() -> Self {
        Self {
            rules: default_rules::default_rules(),
            commit: StreamCommit::default(),
            transient_failovers: Some(1),
            transient_attempts: 3,
            attempts: Some(Attempts::default()),
            pacing: true,
            jitter: 0.1,
            probes: Some(Probes::default()),
            last_resort: true,
            outage_detection: Some(OutageDetection::default()),
            budget: Some(RetryBudget::default()),
            back_off: Some(BackOff::default()),
            max_wait: Duration::from_secs(30),
            pending: true,
        }
    }
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "rule {} ({}) is unreachable: {}",
            self.index, self.rule, self.reason
        )
    }
}

/// Whether an error says that the token was refused, and nothing else: a new token may be taken.
pub(crate) fn refuses_token(error: &Error) -> bool {
    match error.http_status() {
        Some(401) => true,
        Some(403) => Said::by(error).contains(default_rules::REVOKED),
        _ => false,
    }
}

/// A limit of so long a time is a quota.
const LONG_WINDOW: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::ErrorCode;
    use crate::limits::{LimitWindow, RateLimits};

    #[test]
    fn the_first_matching_rule_decides() {
        let policy = FailurePolicy::empty()
            .with_rule(Rule::status(429).cooldown(Duration::from_secs(60)))
            .with_rule(Rule::statuses(400..=499).stop());
        assert!(policy.classify(&Error::upstream(429, "")).failover);
        assert!(!policy.classify(&Error::upstream(404, "")).failover);
        for unknown in [Error::upstream(500, ""), Error::message_only("no status")] {
            assert_eq!(policy.classify(&unknown), Verdict::unknown());
        }
    }

    #[test]
    fn the_default_is_the_documented_table() {
        let policy = FailurePolicy::default();
        let of = |status| {
            let verdict = policy.classify(&Error::upstream(status, ""));
            (verdict.fault, verdict.scope, verdict.failover)
        };
        for status in [400, 405, 413, 422, 501] {
            assert_eq!(
                of(status),
                (FailureKind::BadRequest, Scope::Request, false),
                "{status}"
            );
        }
        assert_eq!(
            of(401),
            (FailureKind::Unauthorized, Scope::Credential, true)
        );
        assert_eq!(of(402), (FailureKind::Billing, Scope::Credential, true));
        assert_eq!(of(403), (FailureKind::Forbidden, Scope::Credential, true));
        assert_eq!(of(404), (FailureKind::NotFound, Scope::Model, true));
        assert_eq!(of(429), (FailureKind::RateLimited, Scope::Model, true));
        for status in [408, 409, 499, 500, 502, 503, 504, 520] {
            assert_eq!(
                of(status),
                (FailureKind::Transient, Scope::Provider, true),
                "{status}"
            );
        }
        assert_eq!(of(529), (FailureKind::Overloaded, Scope::Provider, true));
        for code in [ErrorCode::Transport, ErrorCode::StreamStalled] {
            let verdict = policy.classify(&Error::new(code, "gone"));
            assert_eq!(
                (verdict.fault, verdict.scope),
                (FailureKind::Transient, Scope::Provider)
            );
        }
        let verdict = policy.classify(&Error::new(ErrorCode::Cancelled, "enough"));
        assert_eq!((verdict.scope, verdict.failover), (Scope::Nobody, false));
        // The caller's own word goes before what an answer said earlier.
        let error =
            Error::new(ErrorCode::Cancelled, "enough").with_source(Error::upstream(503, ""));
        assert_eq!(policy.classify(&error).fault, FailureKind::Cancelled);
        assert_eq!(policy.lint(), []);
    }

    #[test]
    fn a_wait_of_hours_is_a_quota() {
        let policy = FailurePolicy::default();
        let after = |wait: u64| {
            let error = Error::upstream(429, "").with_retry_after(Duration::from_secs(wait));
            let verdict = policy.classify(&error);
            let length = verdict.cooldown.length(0, error.retry_after());
            (verdict.fault, length.unwrap().as_secs())
        };
        assert_eq!(after(0), (FailureKind::RateLimited, 1));
        assert_eq!(after(3600), (FailureKind::RateLimited, 3600));
        assert_eq!(after(3601), (FailureKind::Quota, 3601));
        assert_eq!(after(18 * 24 * 3600), (FailureKind::Quota, 7 * 24 * 3600));
    }

    #[test]
    fn a_window_of_the_whole_account_that_is_used_up_puts_the_credential_out() {
        let window = |status: &str| LimitWindow::new("unified-7d").with_status(status);
        let after = |status| {
            let limits = RateLimits::new().with_window(window(status));
            let error = Error::upstream(429, "").with_rate_limits(limits);
            let verdict = FailurePolicy::default().classify(&error);
            (verdict.fault, verdict.scope)
        };
        assert_eq!(after("rejected"), (FailureKind::Quota, Scope::Credential));
        assert_eq!(after("allowed"), (FailureKind::RateLimited, Scope::Model));
    }

    #[test]
    fn rules_that_never_decide_are_named() {
        let policy = FailurePolicy::empty()
            .with_rule(Rule::statuses(500..=599))
            .with_rule(Rule::any_of([502, 503]).for_provider("p"))
            .with_rule(Rule::any_of([]))
            .with_rule(Rule::status(42))
            .with_rule(Rule::any_of([499, 503]))
            .with_rule(Rule::any().with_text("quota"))
            .with_rule(Rule::status(429).with_text("quota exceeded"))
            .with_rule(Rule::named("a").or_named("b"))
            .with_rule(Rule::named("b").for_provider("p"))
            .with_rule(Rule::any().with_used_up("a"))
            .with_rule(Rule::status(429).with_used_up("ab"))
            .with_rule(Rule::any());
        let never: Vec<_> = policy.lint().iter().map(|lint| lint.index).collect();
        assert_eq!(never, [1, 2, 3, 6, 8, 10]);
        let reasons: Vec<_> = policy.lint().into_iter().map(|lint| lint.reason).collect();
        assert_eq!(
            reasons,
            [
                "rule 0 (status 500-599) matches first",
                "it names no status",
                "its statuses are none of HTTP's",
                "rule 5 (with [\"quota\"]) matches first",
                "rule 7 (named a or b) matches first",
                "rule 9 (used up a) matches first",
            ]
        );
    }

    #[test]
    fn a_rule_counts_a_text_that_is_denied_unless_it_is_told_not_to() {
        let error = Error::upstream(429, "This is not your usage limit.");
        for rule in [Rule::any(), Rule::status(429), Rule::statuses(400..=499)] {
            let rule = rule.with_text("usage limit");
            assert!(rule.matches(&error), "{rule}");
            assert!(!rule.clone().undenied().matches(&error), "{rule}");
        }
    }

    #[test]
    fn an_error_says_as_its_verdict_does_whether_a_retry_helps() {
        let policy = FailurePolicy::default();
        let helps = |error: Error| {
            let verdict = policy.classify(&error);
            FailurePolicy::settled(error, &verdict).is_retryable()
        };
        for says in [false, true] {
            // A certificate, or a login at a proxy, that was refused is refused again.
            let transport = Error::new(ErrorCode::Transport, "gone").with_retryable(says);
            assert_eq!(helps(transport), says);
            for (status, expected) in [(500, true), (529, true), (429, true), (400, false)] {
                let error = Error::upstream(status, "").with_retryable(says);
                assert_eq!(helps(error), expected, "{status}");
            }
            // So is what is a limit of this side.
            let stalled = Error::new(ErrorCode::StreamStalled, "").with_retryable(says);
            assert_eq!(helps(stalled), says);
            // What the server says about a retry takes precedence.
            let limits = RateLimits {
                should_retry: Some(says),
                ..RateLimits::new()
            };
            for status in [500, 400] {
                let error = Error::upstream(status, "").with_rate_limits(limits.clone());
                let error = error.with_retryable(says);
                assert_eq!(helps(error), says, "{status}");
            }
        }
    }

    #[test]
    fn a_refused_token_is_what_the_default_refreshes_even_when_read_back() {
        let policy = FailurePolicy::default();
        for (status, said, refused) in [
            (401, "expired", true),
            (
                403,
                "OAuth token has been revoked. Please obtain a new token.",
                true,
            ),
            (403, "OAuth token does not meet scope requirement", false),
            (400, "token has been revoked", false),
        ] {
            let error = Error::upstream(status, said);
            assert_eq!(policy.classify(&error).refresh, refused, "{status} {said}");
            assert_eq!(refuses_token(&error.recorded()), refused);
            let read_back = Error::message_only(error.to_string()).with_http_status(status);
            assert_eq!(refuses_token(&read_back), refused);
        }
    }

    #[test]
    fn a_rule_may_be_for_one_provider_alone() {
        let policy = FailurePolicy::empty().with_rule(Rule::status(400).for_provider(" P ").stop());
        let error = Error::upstream(400, "");
        assert!(policy.classify(&error).failover);
        assert!(!policy.classify(&error.clone().with_provider("p")).failover);
        assert!(policy.classify(&error.with_provider("q")).failover);
    }
}
