//! [`Rule`]: one row of the table: conditions, and the verdict for errors that match.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::error::Error;

use super::error_text::Said;
use super::{Cooldown, Scope, Verdict};
use crate::failure_kind::FailureKind;

/// One row of a [`FailurePolicy`](super::FailurePolicy): which errors it is about, and what they mean.
///
/// All conditions that are given must hold. A new rule means: the credential is marked for the model, nothing is blocked, on
/// to the next credential.
///
/// ```
/// use credpool::{Error, FailureKind, Rule, Scope};
/// use std::time::Duration;
///
/// let rule = Rule::status(403)
///     .with_text("quota")
///     .fault(FailureKind::Quota)
///     .scope(Scope::Credential)
///     .cooldown(Duration::from_secs(3600));
/// assert!(rule.matches(&Error::upstream(403, "Your quota is used up.")));
/// assert!(!rule.matches(&Error::upstream(403, "You may not.")));
/// ```
#[derive(Clone, Debug)]
pub struct Rule {
    provider: Option<String>,
    /// `None`: whatever the status, and without one too.
    statuses: Option<Vec<RangeInclusive<u16>>>,
    names: Vec<String>,
    texts: Vec<String>,
    /// A text counts only where the words before it do not deny it.
    undenied: bool,
    windows: Vec<String>,
    /// Only errors that a retry may fix, or only others.
    retryable: Option<bool>,
    verdict: Verdict,
    /// It changes the cooldown alone.
    amends: bool,
}

impl Rule {
    /// For every error.
    pub fn any() -> Self {
        Self {
            provider: None,
            statuses: None,
            names: Vec::new(),
            texts: Vec::new(),
            undenied: false,
            windows: Vec::new(),
            retryable: None,
            verdict: Verdict::unknown(),
            amends: false,
        }
    }

    /// For one HTTP status.
    pub fn status(status: u16) -> Self {
        Self::statuses(status..=status)
    }

    /// For several statuses.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use credpool::{Cooldown, Error, FailurePolicy, Rule};
    ///
    /// let curve = Cooldown::doubling(Duration::from_secs(5), Duration::from_secs(300));
    /// let own = [
    ///     Rule::any_of([502, 504]).for_provider("proxy-eu").curve(curve).message("the proxy in Europe fails"),
    ///     Rule::named("quota_spent").or_named("budget_spent").quota(),
    ///     Rule::named("stale_token").refresh(),
    /// ];
    /// let policy = own.into_iter().fold(FailurePolicy::default(), FailurePolicy::with_first);
    /// let spent = Error::upstream(400, r#"{"error": {"code": "budget_spent"}}"#);
    /// assert!(policy.classify(&spent).quota);
    /// ```
    pub fn any_of(statuses: impl IntoIterator<Item = u16>) -> Self {
        Self {
            statuses: Some(statuses.into_iter().map(|status| status..=status).collect()),
            ..Self::any()
        }
    }

    /// For a range of statuses.
    pub fn statuses(range: RangeInclusive<u16>) -> Self {
        Self {
            statuses: Some(vec![range]),
            ..Self::any()
        }
    }

    /// For errors with this name: the [`ErrorCode`](crate::ErrorCode) in text, or code, type, status, reason, `error_code` or
    /// `error_type` in the JSON body of the upstream's answer. The letter case does not count.
    pub fn named(name: &str) -> Self {
        Self::any().or_named(name)
    }

    /// Only for this provider.
    pub fn for_provider(mut self, provider: &str) -> Self {
        self.provider = Some(crate::request::normalized(provider));
        self
    }

    /// Only for errors with one of the names that are given this way; see [`Rule::named`].
    pub fn or_named(mut self, name: &str) -> Self {
        self.names.push(name.to_ascii_lowercase());
        self
    }

    /// Only for errors whose message or body holds one of the texts that are given this way, as the server sent it. The letter case does
    /// not count.
    pub fn with_text(mut self, text: &str) -> Self {
        self.texts.push(text.to_lowercase());
        self
    }

    /// Only for answers whose headers or body show that a limit is used up whose name begins with one of the texts that are
    /// given this way; see [`RateLimits::windows`](crate::RateLimits).
    ///
    /// ```
    /// use credpool::{Error, LimitWindow, RateLimits, Rule};
    ///
    /// let rule = Rule::status(429).with_used_up("unified");
    /// let window = LimitWindow::new("unified-5h").with_status("rejected");
    /// let error = Error::upstream(429, "").with_rate_limits(RateLimits::new().with_window(window));
    /// assert!(rule.matches(&error));
    /// assert!(!rule.matches(&Error::upstream(429, "")));
    /// ```
    pub fn with_used_up(mut self, window: &str) -> Self {
        self.windows.push(window.to_ascii_lowercase());
        self
    }

    /// Only for errors that a retry may fix ([`Error::is_retryable`]), or only for those that none does.
    ///
    /// ```
    /// use credpool::{Error, ErrorCode, Rule};
    ///
    /// let rule = Rule::named("transport").only_retryable(false);
    /// let error = Error::new(ErrorCode::Transport, "the answer is larger than allowed");
    /// assert!(!rule.matches(&error));
    /// assert!(rule.matches(&error.with_retryable(false)));
    /// ```
    pub fn only_retryable(mut self, retryable: bool) -> Self {
        self.retryable = Some(retryable);
        self
    }

    /// Says what kind of fault it is.
    pub fn fault(mut self, fault: FailureKind) -> Self {
        self.verdict.fault = fault;
        self
    }

    /// Sets the scope: what the failure counts against.
    pub fn scope(mut self, scope: Scope) -> Self {
        self.verdict.scope = scope;
        self
    }

    /// Changes the cooldown alone: fault, scope and all else are what the first of the rules below says that matches. Where
    /// that rule blames the request or nothing at all, no credential is cooled down.
    ///
    /// ```
    /// use credpool::{Cooldown, Error, FailureKind, FailurePolicy, Rule};
    /// use std::time::Duration;
    ///
    /// let minute = Cooldown::Fixed(Duration::from_secs(60));
    /// let policy = FailurePolicy::default().with_first(Rule::status(429).only_cooldown(minute));
    /// let verdict = policy.classify(&Error::upstream(429, r#"{"error":{"code":"insufficient_quota"}}"#));
    /// assert_eq!((verdict.fault, verdict.cooldown), (FailureKind::Billing, minute));
    /// ```
    pub fn only_cooldown(self, cooldown: Cooldown) -> Self {
        let mut rule = self.curve(cooldown);
        rule.amends = true;
        rule
    }

    /// Whether it changes the cooldown alone: see [`only_cooldown`](Self::only_cooldown).
    pub fn amends(&self) -> bool {
        self.amends
    }

    /// Blocks the credential for this time, whatever the server says.
    pub fn cooldown(self, time: Duration) -> Self {
        self.curve(Cooldown::Fixed(time))
    }

    /// Blocks the credential along this curve.
    pub fn curve(mut self, cooldown: Cooldown) -> Self {
        self.verdict.cooldown = cooldown;
        self
    }

    /// The quota is used up for as long as the cooldown.
    pub fn quota(mut self) -> Self {
        self.verdict.quota = true;
        self
    }

    /// A new token may be taken: refresh once and try the same credential again first.
    pub fn refresh(mut self) -> Self {
        self.verdict.refresh = true;
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

    /// Does not count the texts where the words before them deny them: "not your usage limit".
    pub(super) fn undenied(mut self) -> Self {
        self.undenied = true;
        self
    }

    pub(super) fn set_cooldown_of(&mut self, fault: FailureKind, cooldown: Cooldown) {
        if self.verdict.fault == fault {
            self.verdict.cooldown = cooldown;
        }
    }

    /// What it says of the errors that it matches.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Whether it is about this error.
    pub fn matches(&self, error: &Error) -> bool {
        self.matches_said(error, &Said::by(error))
    }

    pub(super) fn matches_said(&self, error: &Error, said: &Said) -> bool {
        self.provider
            .as_deref()
            .is_none_or(|provider| error.provider() == Some(provider))
            && self.statuses.as_ref().is_none_or(|statuses| {
                let status = error.http_status();
                status.is_some_and(|status| statuses.iter().any(|range| range.contains(&status)))
            })
            && self
                .retryable
                .is_none_or(|retryable| error.is_retryable() == retryable)
            && (self.names.is_empty() || self.names.iter().any(|name| said.is_named(name)))
            && (self.texts.is_empty() || self.texts.iter().any(|text| self.is_said(said, text)))
            && (self.windows.is_empty() || self.names_used_up_window(error))
    }

    fn is_said(&self, said: &Said, text: &str) -> bool {
        if self.undenied {
            said.claims(text)
        } else {
            said.contains(text)
        }
    }

    fn names_used_up_window(&self, error: &Error) -> bool {
        let limits = error.rate_limits();
        let windows = limits.iter().flat_map(|limits| &limits.windows);
        windows.filter(|window| window.is_used_up()).any(|window| {
            self.windows
                .iter()
                .any(|name| window.name.starts_with(name))
        })
    }

    /// Why this rule can match nothing, by itself.
    pub(super) fn is_empty(&self) -> Option<&'static str> {
        let statuses = self.statuses.as_ref()?;
        if statuses.iter().all(RangeInclusive::is_empty) {
            return Some("it names no status");
        }
        statuses
            .iter()
            .all(|range| *range.end() < 100 || *range.start() > 999)
            .then_some("its statuses are none of HTTP's")
    }

    /// Whether every error that `other` matches is matched by this one.
    pub(super) fn covers(&self, other: &Self) -> bool {
        if self.amends && !other.amends {
            return false;
        }
        let provider = self.provider.is_none() || self.provider == other.provider;
        let statuses = match (&self.statuses, &other.statuses) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(mine), Some(theirs)) => theirs.iter().all(|range| {
                range
                    .clone()
                    .all(|status| mine.iter().any(|mine| mine.contains(&status)))
            }),
        };
        let names = self.names.is_empty()
            || (!other.names.is_empty()
                && other.names.iter().all(|name| self.names.contains(name)));
        let texts = self.texts.is_empty()
            || (!other.texts.is_empty()
                && (!self.undenied || other.undenied)
                && other
                    .texts
                    .iter()
                    .all(|theirs| self.texts.iter().any(|mine| theirs.contains(mine.as_str()))));
        let windows = self.windows.is_empty()
            || (!other.windows.is_empty()
                && other.windows.iter().all(|theirs| {
                    self.windows
                        .iter()
                        .any(|mine| theirs.starts_with(mine.as_str()))
                }));
        let retryable = self.retryable.is_none() || self.retryable == other.retryable;
        provider && statuses && names && texts && windows && retryable
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if let Some(provider) = &self.provider {
            parts.push(format!("provider {provider}"));
        }
        if let Some(statuses) = &self.statuses {
            let statuses = statuses.iter().map(|range| {
                if range.start() == range.end() {
                    range.start().to_string()
                } else {
                    format!("{}-{}", range.start(), range.end())
                }
            });
            parts.push(format!(
                "status {}",
                statuses.collect::<Vec<_>>().join(", ")
            ));
        }
        if !self.names.is_empty() {
            parts.push(format!("named {}", self.names.join(" or ")));
        }
        if !self.texts.is_empty() {
            parts.push(format!("with {:?}", self.texts));
        }
        if !self.windows.is_empty() {
            parts.push(format!("used up {}", self.windows.join(" or ")));
        }
        if let Some(retryable) = self.retryable {
            parts.push(
                if retryable {
                    "that passes"
                } else {
                    "that no retry heals"
                }
                .to_owned(),
            );
        }
        if parts.is_empty() {
            parts.push("every error".to_owned());
        }
        f.write_str(&parts.join(", "))
    }
}
