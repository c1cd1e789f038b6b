//! [`Stats`]: the numbers of a manager, as a value.

mod calls;
mod histogram;
mod price;
mod tally;

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::clock::{Timestamp, serial};
use crate::error::Availability;
use crate::failure_kind::{CooldownSource, FailureKind};
use crate::limits::LimitWindow;
use crate::request::Usage;

pub(crate) use calls::CallCounters;
pub use histogram::Histogram;
pub(crate) use price::{Price, Prices};
pub(crate) use tally::{Ended, Line, LineNumber, LineReport, Tally};

/// What a manager has counted since it was built, and how its credentials are at the moment: from
/// [`Manager::stats`](crate::Manager::stats).
///
/// A plain value that serializes: durations in seconds, moments in RFC 3339. Every attempt that has ended is in it exactly once, whichever kind
/// of call it belonged to, and so are the results that a program has told by [`Manager::mark_result`](crate::Manager::mark_result).
///
/// ```
/// use credpool::testing::ScriptedExecutor;
/// use credpool::{Auth, FailureKind, Manager, Error, Options, Outcome, Request, Response, Usage};
///
/// let executor = ScriptedExecutor::new("p");
/// executor.on_execute(|_| Ok(Response::new("pong").with_usage(Usage::new(10, 2))));
/// let manager = Manager::builder()
///     // 3 for a million tokens in, 15 for a million out.
///     .price(|_, _, usage| Some((3 * usage.input + 15 * usage.output) as f64 / 1e6))
///     .build()?;
/// manager.register_executor(executor);
/// manager.register(Auth::api_key("p", "key").with_id("a"))?;
/// manager.execute(["p"], &Request::new("m", "{}"), &Options::new())?;
/// manager.mark_result(&Outcome::failure("a", "p", "m", Error::upstream(429, "slow down")));
///
/// let stats = manager.stats();
/// let counts = stats.total();
/// assert_eq!((stats.calls.calls, counts.requests, counts.succeeded, counts.in_flight), (1, 2, 1, 0));
/// assert_eq!(counts.failed[&FailureKind::RateLimited], 1);
/// assert_eq!((counts.tokens, counts.cost), (Usage::new(10, 2), 0.00006));
/// let json = serde_json::to_value(&stats).unwrap();
/// assert_eq!(json["credentials"][0]["models"][0]["failed"]["rate_limited"], 1);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// When they were taken, by the manager's clock.
    #[serde(serialize_with = "serial::time")]
    pub at: Timestamp,
    /// What is counted of calls.
    pub calls: CallStats,
    /// What is left of the [retry budgets](crate::RetryBudget), in the order of providers. Empty where the policy has no budget.
    pub retry_budgets: Vec<BudgetStats>,
    /// The credentials that are registered, in the order of their ids.
    pub credentials: Vec<CredentialStats>,
    /// What the credentials had counted that were removed since, all together.
    pub removed: Counts,
}

/// What is counted of calls, whatever credentials they used.
///
/// ```
/// let manager = credpool::Manager::builder().build()?;
/// let calls = manager.stats().calls;
/// assert_eq!((calls.calls, calls.waits), (0, 0));
/// # Ok::<(), credpool::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CallStats {
    /// Calls of every kind: those whose first attempt has ended, and those that ended without one.
    pub calls: u64,
    /// Those among them that ended without an attempt: no credential was ready in time, for example.
    pub refused: u64,
    /// Attempts after the first of their call that used another credential than the one before.
    pub failovers: u64,
    /// Attempts after the first of their call that used the same credential as the one before.
    pub retries: u64,
    /// How often a call waited: for a credential, for a worker's place, or for a back-off to pass.
    pub waits: u64,
    /// For how long, all together.
    #[serde(serialize_with = "serial::seconds")]
    pub waited: Duration,
}

/// What is left of a provider's [`RetryBudget`](crate::RetryBudget).
///
/// ```
/// let manager = credpool::Manager::builder().build()?;
/// manager.register(credpool::Auth::api_key("openai", "sk-1"))?;
/// let budget = &manager.stats().retry_budgets[0];
/// assert_eq!((&*budget.provider, budget.left), ("openai", budget.capacity));
/// # Ok::<(), credpool::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BudgetStats {
    /// The provider.
    pub provider: Arc<str>,
    /// What is in it.
    pub left: u32,
    /// The most that it holds.
    pub capacity: u32,
    /// How many more attempts it pays for, if nothing comes in.
    pub retries_left: u32,
}

/// One credential: its state, and what it has counted.
///
/// ```
/// use credpool::{Auth, Availability, Manager, TokenState};
///
/// let manager = Manager::builder().build()?;
/// manager.register(Auth::api_key("openai", "sk-1").with_id("a"))?;
/// let credential = &manager.stats().credentials[0];
/// assert_eq!((&*credential.auth_id, credential.refresh.state), ("a", TokenState::None));
/// assert_eq!(credential.cooldown.availability, Availability::Ready);
/// assert!(credential.models.is_empty());
/// # Ok::<(), credpool::Error>(())
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct CredentialStats {
    /// The credential.
    pub auth_id: Arc<str>,
    /// Its provider.
    pub provider: Arc<str>,
    /// Whether it serves calls without a model; for a model see there.
    #[serde(flatten)]
    pub cooldown: CooldownStats,
    /// The state of its tokens.
    pub refresh: RefreshStats,
    /// The models that it was used for, in the order of their names, each as the vendor calls it. At most 64: the first four that were asked for, and
    /// others from their first success on.
    pub models: Vec<ModelStats>,
    /// What is counted of all other models, together.
    pub other_models: Counts,
}

/// A model of a credential.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ModelStats {
    /// The model, as the vendor calls it; empty for calls without one.
    pub model: Arc<str>,
    /// Whether the credential serves it.
    #[serde(flatten)]
    pub cooldown: CooldownStats,
    /// What is counted.
    #[serde(flatten)]
    pub counts: Counts,
    /// The limits that the last answer reported which reported any.
    pub limits: Vec<LimitWindow>,
    /// When that was.
    #[serde(serialize_with = "serial::optional_time")]
    pub limits_at: Option<Timestamp>,
    /// How many requests a second the upstream allows, where refusals have taught that
    /// ([`FailurePolicy::with_pacing`](crate::FailurePolicy::with_pacing)). Credentials of one limit group share it.
    pub learnt_rate: Option<f64>,
}

/// Whether a credential would be selected, and why not: as [`Manager::explain`](crate::Manager::explain) tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CooldownStats {
    /// Whether it would be selected.
    pub availability: Availability,
    /// What its last failures were, where it is unavailable or has just been.
    pub fault: Option<FailureKind>,
    /// Where the length of the cooldown comes from.
    pub source: Option<CooldownSource>,
    /// How many failures there were in a row.
    pub failures: u32,
    /// When it returns, if it is unavailable.
    #[serde(serialize_with = "serial::optional_time")]
    pub until: Option<Timestamp>,
}

/// The tokens of a credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RefreshStats {
    /// How they are.
    pub state: TokenState,
    /// When the access token ends, where that is known.
    #[serde(serialize_with = "serial::optional_time")]
    pub expires_at: Option<Timestamp>,
    /// Refreshes that brought new tokens.
    pub succeeded: u64,
    /// Refreshes that brought none.
    pub failed: u64,
}

/// How a credential's tokens are. Of several that apply, it is the last one here.
///
/// ```
/// use credpool::{Auth, Manager, OAuthTokens, TokenState};
///
/// let manager = Manager::builder().build()?;
/// manager.register(Auth::oauth("p", OAuthTokens::new("access").with_refresh_token("refresh")))?;
/// assert_eq!(manager.stats().credentials[0].refresh.state, TokenState::Good);
/// assert_eq!(TokenState::NeedsLogin.as_str(), "needs_login");
/// # Ok::<(), credpool::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TokenState {
    /// It has none: it is an API key.
    None,
    /// Nothing is wrong with them.
    Good,
    /// The access token has ended, or there is none yet.
    Ended,
    /// A refresh is due and cannot begin.
    Deferred,
    /// A refresh was sent and not answered: the refresh token may be spent.
    InDoubt,
    /// New ones are in use and could not be saved yet.
    Unsaved,
    /// A person must log in again.
    NeedsLogin,
}

/// Sums over attempts. They never decrease, but for [`in_flight`](Self::in_flight).
///
/// ```
/// let manager = credpool::Manager::builder().build()?;
/// let mut counts = manager.stats().total();
/// counts += manager.stats().removed;
/// assert_eq!((counts.requests, counts.duration.count()), (0, 0));
/// # Ok::<(), credpool::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Counts {
    /// Attempts that have ended: those that succeeded, failed, and were abandoned.
    pub requests: u64,
    /// Those among them that were the first of their call.
    pub calls: u64,
    /// Attempts under way. A stream, and the body of a raw call, is under way until it has ended.
    pub in_flight: u64,
    /// Attempts that were served.
    pub succeeded: u64,
    /// Attempts that their caller ended, or that say nothing of the credential ([`OutcomeKind::Abandoned`](crate::OutcomeKind::Abandoned)).
    pub abandoned: u64,
    /// Attempts that failed, by what the policy takes their failure for.
    pub failed: BTreeMap<FailureKind, u64>,
    /// The tokens used, as far as the upstreams have told.
    pub tokens: Usage,
    /// What they cost, by [`Builder::price`](crate::Builder::price), in its currency.
    pub cost: f64,
    /// Attempts that used tokens for which that function knows no price.
    pub unpriced: u64,
    /// How long it took to the first byte of content, for attempts that had any; for a plain call, to its answer.
    pub first_byte: Histogram,
    /// How long attempts took to their end. A result that the program told without its time is missing.
    pub duration: Histogram,
}

impl Stats {
    /// The sum over all models of all credentials, with those that are not listed and those that were removed.
    pub fn total(&self) -> Counts {
        let mut total = self.removed.clone();
        for credential in &self.credentials {
            total += credential.total();
        }
        total
    }
}

impl CredentialStats {
    /// The sum over all models.
    pub fn total(&self) -> Counts {
        let mut total = self.other_models.clone();
        for model in &self.models {
            total += model.counts.clone();
        }
        total
    }
}

impl Counts {
    /// How many attempts failed, for whatever reason.
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.calls += other.calls;
        self.in_flight += other.in_flight;
        self.succeeded += other.succeeded;
        self.abandoned += other.abandoned;
        for (fault, count) in other.failed {
            *self.failed.entry(fault).or_default() += count;
        }
        self.tokens += other.tokens;
        self.cost += other.cost;
        self.unpriced += other.unpriced;
        self.first_byte.add(&other.first_byte);
        self.duration.add(&other.duration);
    }
}

impl TokenState {
    /// All of them.
    #[cfg(feature = "metrics")]
    pub(crate) const ALL: [Self; 7] = [
        Self::None,
        Self::Good,
        Self::Ended,
        Self::Deferred,
        Self::InDoubt,
        Self::Unsaved,
        Self::NeedsLogin,
    ];

    /// `needs_login`, for example.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Good => "good",
            Self::Ended => "ended",
            Self::Deferred => "deferred",
            Self::InDoubt => "in_doubt",
            Self::Unsaved => "unsaved",
            Self::NeedsLogin => "needs_login",
        }
    }
}

/// By name.
impl Serialize for TokenState {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
