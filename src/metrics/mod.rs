//! Metrics through the facade of the crate `metrics`, under the names, units, attributes and buckets of the OpenTelemetry conventions for
//! generative AI, [version 0.1.0](https://github.com/open-telemetry/semantic-conventions-genai/tree/v0.1.0) (at the status "development"),
//! with this crate's own beside them (feature `metrics`).
//!
//! [`Metrics`] is a hook: it records each attempt when it ends. What is no event, it takes from a manager's [`Stats`], whenever the program
//! [publishes](Metrics::publish) them: before a scrape, or every few seconds. [`METRICS`] lists all metrics. The program brings the recorder
//! of its choice; `examples/metrics` serves Prometheus' text.

mod labels;
mod operation;
mod table;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use metrics::{
    Label, SharedString, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

use crate::clock::{Timestamp, until};
use crate::error::Availability;
use crate::limits::LimitWindow;
use crate::observe::{
    Counts, CredentialStats, Hook, ModelStats, Operation, Outcome, OutcomeKind, Stats, TokenState,
};
use crate::request::Usage;
use labels::{Labels, OTHER};
use operation::{operation_name, provider_name};
use table::{
    AVAILABILITY, BUDGET, CACHE_READ, CACHE_WRITE, CALLS, COOLDOWN, COST, CREDENTIAL, CREDENTIALS,
    DURATION, ERROR_TYPE, FAILOVERS, FIRST_CHUNK, IN_FLIGHT, INPUT, INPUT_SIZE, LEARNT_RATE, LIMIT,
    LOGINS, MODALITY, MODEL, OPERATION_NAME, OTHER_DURATION, OUTPUT, OUTPUT_SIZE, PROVIDER,
    REASONING, REFRESHES, REFUSED, REQUESTS, RESULT, RETRIES, TOKEN_STATE, WAIT_TIME, WAITS,
    WINDOW,
};
pub use table::{Instrument, METRICS, Metric};

/// Records metrics of a manager with the recorder that the program has installed.
///
/// Each attempt is one operation of the conventions: `error.type` is the [`FailureKind`](crate::FailureKind) of one that failed, `cancelled`
/// for one that was abandoned. Labels hold names of credentials, providers and models, never a secret, and take a bounded number of values: the first 64
/// names of models, and up to 1,024 that have served; 1,024 credentials; all others are `_OTHER`.
///
/// A recorder that it shares with another manager's needs a [label](Self::with_label) to tell them apart.
///
/// ```
/// use std::sync::Arc;
///
/// use credpool::Manager;
/// use credpool::metrics::Metrics;
///
/// let metrics = Arc::new(Metrics::new());
/// let manager = Manager::builder().hook(Arc::clone(&metrics)).build()?;
/// // Before each scrape:
/// metrics.publish(&manager.stats());
/// # Ok::<(), credpool::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Metrics {
    labels: Labels,
    own: Vec<Label>,
}

impl Metrics {
    /// Describes all metrics to the recorder, which must be installed by then.
    pub fn new() -> Self {
        for metric in METRICS {
            let unit = metric.facade_unit();
            match metric.instrument {
                Instrument::Counter => describe_counter!(metric.name, unit, metric.description),
                Instrument::Gauge => describe_gauge!(metric.name, unit, metric.description),
                Instrument::Histogram => describe_histogram!(metric.name, unit, metric.description),
            }
        }
        Self::default()
    }

    /// Adds a label to all metrics: the name of the pool, for example, where a program has several.
    ///
    /// ```
    /// use credpool::metrics::Metrics;
    ///
    /// let metrics = Metrics::new().with_label("pool", "batch");
    /// ```
    pub fn with_label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.own.push(Label::new(name.into(), value.into()));
        self
    }

    fn labels<const N: usize>(&self, labels: [(&'static str, SharedString); N]) -> Vec<Label> {
        let labels = labels.into_iter();
        let labels = labels.map(|(name, value)| Label::new(name, value));
        self.own.iter().cloned().chain(labels).collect()
    }

    /// Brings what is no event up to date: counters of calls, and how the credentials are.
    ///
    /// Set the recorder's idle timeout, if it has one: what is no longer published, because its credential was removed, goes then.
    pub fn publish(&self, stats: &Stats) {
        let calls = &stats.calls;
        for (name, count) in [
            (CALLS, calls.calls),
            (REFUSED, calls.refused),
            (FAILOVERS, calls.failovers),
            (RETRIES, calls.retries),
            (WAITS, calls.waits),
        ] {
            counter!(name, self.labels([])).absolute(count);
        }
        gauge!(WAIT_TIME, self.labels([])).set(calls.waited.as_secs_f64());
        for budget in &stats.retry_budgets {
            let labels = self.labels([(PROVIDER, provider_name(&budget.provider))]);
            gauge!(BUDGET, labels).set(f64::from(budget.retries_left));
        }
        self.publish_numbers(&stats.credentials);
        let mut rows = Rows::new();
        for credential in &stats.credentials {
            self.publish_credential(credential, stats.at, &mut rows);
        }
        let removed = [OTHER; 3].map(SharedString::const_str);
        *rows.entry(removed.into()).or_default() += stats.removed.clone();
        for ((credential, provider, model), counts) in rows {
            self.publish_counts([credential, provider, model], &counts);
        }
    }

    /// How many credentials there are in each state.
    fn publish_numbers(&self, credentials: &[CredentialStats]) {
        let mut numbers: BTreeMap<&Arc<str>, Vec<&CredentialStats>> = BTreeMap::new();
        for credential in credentials {
            numbers
                .entry(&credential.provider)
                .or_default()
                .push(credential);
        }
        for (provider, of) in numbers {
            let provider = || (PROVIDER, provider_name(provider));
            for state in Availability::ALL {
                let count = of.iter().filter(|of| of.cooldown.availability == state);
                let label = (AVAILABILITY, SharedString::const_str(state.as_str()));
                gauge!(CREDENTIALS, self.labels([provider(), label])).set(number(count.count()));
            }
            for state in TokenState::ALL {
                let count = of.iter().filter(|of| of.refresh.state == state);
                let label = (TOKEN_STATE, SharedString::const_str(state.as_str()));
                gauge!(LOGINS, self.labels([provider(), label])).set(number(count.count()));
            }
        }
    }

    fn publish_credential(&self, of: &CredentialStats, now: Timestamp, rows: &mut Rows) {
        let credential = self.labels.credentials.label(&of.auth_id, true);
        let provider = provider_name(&of.provider);
        for (result, count) in [
            ("success", of.refresh.succeeded),
            ("failure", of.refresh.failed),
        ] {
            let labels = self.labels([
                (CREDENTIAL, credential.clone()),
                (PROVIDER, provider.clone()),
                (RESULT, SharedString::const_str(result)),
            ]);
            counter!(REFRESHES, labels).absolute(count);
        }
        for model in &of.models {
            let name = self
                .labels
                .models
                .label(&model.model, model.counts.succeeded > 0);
            let key = (credential.clone(), provider.clone(), name.clone());
            if *name != *OTHER && *credential != *OTHER {
                self.publish_state([key.0.clone(), key.1.clone(), name], model, now);
            }
            *rows.entry(key).or_default() += model.counts.clone();
        }
        let key = (credential, provider, SharedString::const_str(OTHER));
        *rows.entry(key).or_default() += of.other_models.clone();
    }

    fn publish_state(&self, key: [SharedString; 3], of: &ModelStats, now: Timestamp) {
        let [credential, provider, model] = key;
        let key = || {
            [
                (CREDENTIAL, credential.clone()),
                (PROVIDER, provider.clone()),
                (MODEL, model.clone()),
            ]
        };
        let left = of
            .cooldown
            .until
            .map_or(Duration::ZERO, |end| until(now, end));
        gauge!(COOLDOWN, self.labels(key())).set(left.as_secs_f64());
        if let Some(rate) = of.learnt_rate {
            gauge!(LEARNT_RATE, self.labels(key())).set(rate);
        }
        let remaining = |window: &LimitWindow| {
            Some((
                self.labels.windows.label(&window.name, false),
                window.remaining?,
            ))
        };
        for (window, remaining) in of.limits.iter().filter_map(remaining) {
            let [credential, provider, model] = key();
            let labels = self.labels([credential, provider, model, (WINDOW, window)]);
            gauge!(LIMIT, labels).set(wide(remaining));
        }
    }

    fn publish_counts(&self, key: [SharedString; 3], counts: &Counts) {
        if *counts == Counts::default() {
            return;
        }
        let [credential, provider, model] = key;
        let key = || {
            [
                (CREDENTIAL, credential.clone()),
                (PROVIDER, provider.clone()),
                (MODEL, model.clone()),
            ]
        };
        let results = [
            ("success", counts.succeeded),
            ("abandoned", counts.abandoned),
        ];
        let failures = counts
            .failed
            .iter()
            .map(|(fault, count)| (fault.as_str(), *count));
        for (result, count) in results.into_iter().chain(failures) {
            let [credential, provider, model] = key();
            let result = (RESULT, SharedString::const_str(result));
            counter!(REQUESTS, self.labels([credential, provider, model, result])).absolute(count);
        }
        gauge!(IN_FLIGHT, self.labels(key())).set(wide(counts.in_flight));
        gauge!(COST, self.labels(key())).set(counts.cost);
    }

    fn record(&self, outcome: &Outcome<'_>) {
        let model = self
            .labels
            .models
            .label(outcome.model, outcome.is_success());
        let provider = provider_name(outcome.provider);
        let name = operation_name(outcome);
        let is_inference = matches!(outcome.operation, Operation::Execute | Operation::Stream);
        let labels = || {
            self.labels([
                (OPERATION_NAME, SharedString::const_str(name)),
                (PROVIDER, provider.clone()),
                (MODEL, model.clone()),
            ])
        };
        let error = match &outcome.kind {
            OutcomeKind::Success => None,
            OutcomeKind::Failure(_) => Some(outcome.fault.unwrap_or_default().as_str()),
            OutcomeKind::Abandoned => Some("cancelled"),
        };
        let error = error.map(|error| Label::new(ERROR_TYPE, error));
        let with_error = || {
            labels()
                .into_iter()
                .chain(error.clone())
                .collect::<Vec<_>>()
        };
        let duration = if is_inference {
            DURATION
        } else {
            OTHER_DURATION
        };
        histogram!(duration, with_error()).record(outcome.elapsed);
        if let (Operation::Stream, Some(took)) = (outcome.operation, outcome.first_byte) {
            histogram!(FIRST_CHUNK, labels()).record(took);
        }
        if !is_inference && outcome.usage.is_none() {
            return;
        }
        let Usage {
            input,
            output,
            cached,
            cache_written,
            reasoning,
        } = outcome.usage.unwrap_or_default();
        for (name, tokens) in [
            (INPUT, input),
            (OUTPUT, output),
            (CACHE_READ, cached),
            (CACHE_WRITE, cache_written),
            (REASONING, reasoning),
        ] {
            let modality = [Label::new(MODALITY, "unknown")];
            let labels: Vec<_> = labels().into_iter().chain(modality).collect();
            counter!(name, labels).increment(tokens);
        }
        for (name, tokens) in [(INPUT_SIZE, input), (OUTPUT_SIZE, output)] {
            histogram!(name, with_error()).record(wide(tokens));
        }
    }
}

impl Hook for Metrics {
    fn on_result(&self, outcome: &Outcome<'_>) {
        self.record(outcome);
    }
}

/// Counts by credential, provider and model, as the labels have them.
type Rows = HashMap<(SharedString, SharedString, SharedString), Counts>;

fn number(count: usize) -> f64 {
    wide(u64::try_from(count).unwrap_or(u64::MAX))
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
fn wide(count: u64) -> f64 {
    count as f64
}
