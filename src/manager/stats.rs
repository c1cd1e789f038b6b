//! [`Manager::stats`]: the numbers of all parts in one value; [`Builder::price`].

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::{Builder, Manager};
use crate::auth::Auth;
use crate::clock::Timestamp;
use crate::error::CredentialReport;
use crate::observe::{
    CooldownStats, Counts, CredentialStats, LineReport, ModelStats, Prices, RefreshHealth,
    RefreshStats, Stats, TokenState,
};
use crate::registry::{CredentialState, SharedState, release};
use crate::request::Usage;

impl Manager {
    /// What was counted since the manager was built, and how its credentials are at the moment: attempts, failures by kind, tokens, cost,
    /// times and limits for each credential and model; calls, waits, failovers and retries of the whole.
    ///
    /// Counting takes no lock that calls of other credentials or models take. Taking the value looks at each credential in turn, as
    /// [`explain`](Self::explain) does; it is meant for every few seconds. What is counted is lost with the manager.
    ///
    /// It is bounded: a credential lists 64 models at most, of whatever names callers invent, and sums up the others in
    /// [`CredentialStats::other_models`]; what removed credentials had counted is summed up in [`Stats::removed`]. See
    /// [the guide](crate::guide::observing).
    ///
    /// ```
    /// use credpool::{Auth, Manager};
    ///
    /// let manager = Manager::builder().build()?;
    /// manager.register(Auth::api_key("openai", "sk-1").with_id("a"))?;
    /// for credential in &manager.stats().credentials {
    ///     for model in &credential.models {
    ///         let slow = model.counts.duration.mean().unwrap_or_default();
    ///         println!("{} {}: {slow:?}, {} tokens", credential.auth_id, model.model, model.counts.tokens.output);
    ///     }
    /// }
    /// # Ok::<(), credpool::Error>(())
    /// ```
    #[doc(alias = "metrics")]
    #[doc(alias = "counters")]
    #[doc(alias = "usage")]
    pub fn stats(&self) -> Stats {
        let inner = self.view();
        let services = &inner.services;
        let refreshes = token_states(&self.refresh_health());
        let members = services.registry.members();
        let credentials: Vec<_> = members
            .iter()
            .filter_map(|member| self.credential_stats(member, &refreshes))
            .collect();
        let providers: BTreeSet<_> = credentials.iter().map(|of| &of.provider).collect();
        let budget = |provider| inner.engine.retry_budget(provider);
        let mut stats = Stats {
            at: services.clock.now(),
            calls: services.call_counters.sums(),
            retry_budgets: providers.into_iter().filter_map(budget).collect(),
            removed: services.registry.removed().report(None).counts,
            credentials,
        };
        stats.calls.calls = stats.calls.refused + stats.total().calls;
        stats
    }

    /// `None`: it was removed meanwhile.
    fn credential_stats(
        &self,
        member: &SharedState,
        refreshes: &HashMap<String, TokenState>,
    ) -> Option<CredentialStats> {
        let services = &self.view().services;
        let (mut lines, mut other_models) = (member.tally().report(), Counts::default());
        if lines.last().is_some_and(|line| line.model.is_none())
            && let Some(others) = lines.pop()
        {
            other_models = others.counts;
        }
        let models: Vec<Arc<str>> = lines.iter().filter_map(|line| line.model.clone()).collect();
        let moment = services.moment();
        let CredentialState {
            auth,
            report,
            models: states,
        } = services.registry.state_of(member, &models, moment)?;
        let (succeeded, failed) = member.tally().refreshes();
        let stats = CredentialStats {
            auth_id: Arc::clone(&member.id),
            provider: Arc::clone(&report.provider),
            cooldown: cooldown(&report),
            refresh: RefreshStats {
                state: refreshes
                    .get(&*member.id)
                    .copied()
                    .unwrap_or_else(|| token_state(&auth, moment.wall)),
                expires_at: auth.expiration_time().at(),
                succeeded,
                failed,
            },
            models: lines.into_iter().zip(states).map(model_stats).collect(),
            other_models,
        };
        release(auth);
        Some(stats)
    }
}

impl Builder {
    /// What a usage of a provider's model costs, in a currency of the program's: [`Manager::stats`] adds it up
    /// ([`Counts::cost`](crate::Counts::cost)). The model is the vendor's name of it. Default: none, and every cost is 0.
    ///
    /// It is called once for each attempt that used tokens, on the thread where that ended, with no lock held. `None`, a number that is
    /// not finite, and a panic count as a price that is not known.
    ///
    /// ```
    /// use credpool::{Manager, Usage};
    ///
    /// /// For a million tokens: 1.25 in, a tenth of that from a cache, 10 out.
    /// fn price(provider: &str, model: &str, usage: &Usage) -> Option<f64> {
    ///     let is_known = provider == "openai" && model.starts_with("gpt-5");
    ///     let fresh = usage.input - usage.cached;
    ///     let price = 1.25 * fresh as f64 + 0.125 * usage.cached as f64 + 10.0 * usage.output as f64;
    ///     is_known.then_some(price / 1e6)
    /// }
    ///
    /// let manager = Manager::builder().price(price).build()?;
    /// # drop(manager);
    /// # Ok::<(), credpool::Error>(())
    /// ```
    #[doc(alias = "cost")]
    pub fn price(
        mut self,
        price_of: impl Fn(&str, &str, &Usage) -> Option<f64> + Send + Sync + 'static,
    ) -> Self {
        self.prices = Prices::by(Arc::new(price_of));
        self
    }
}

fn model_stats(of: (LineReport, (CredentialReport, Option<f64>))) -> ModelStats {
    let (line, (report, learnt_rate)) = of;
    let (limits, limits_at) = line.limits.unzip();
    ModelStats {
        model: line.model.unwrap_or_default(),
        cooldown: cooldown(&report),
        counts: line.counts,
        limits: limits.map_or_else(Vec::new, |limits| limits.windows.clone()),
        limits_at,
        learnt_rate,
    }
}

fn cooldown(report: &CredentialReport) -> CooldownStats {
    CooldownStats {
        availability: report.availability,
        fault: report.fault,
        source: report.origin,
        failures: report.failures,
        until: report.until,
    }
}

/// The credentials whose refreshes do not go well.
fn token_states(health: &RefreshHealth) -> HashMap<String, TokenState> {
    let deferred: Vec<_> = health
        .deferred
        .iter()
        .map(|of| of.auth_id.clone())
        .collect();
    // The last one counts.
    let lists = [
        (TokenState::Deferred, &deferred),
        (TokenState::InDoubt, &health.in_doubt),
        (TokenState::Unsaved, &health.unpersisted_rotation),
        (TokenState::NeedsLogin, &health.needs_login),
    ];
    let states = lists
        .into_iter()
        .flat_map(|(state, ids)| ids.iter().map(move |id| (id.clone(), state)));
    states.collect()
}

fn token_state(auth: &Auth, now: Timestamp) -> TokenState {
    if auth.is_api_key() {
        TokenState::None
    } else if auth.lacks_token(now) {
        TokenState::Ended
    } else {
        TokenState::Good
    }
}
