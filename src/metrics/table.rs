//! [`METRICS`]: the metrics, as a table.

use metrics::Unit;

/// A metric that [`Metrics`](super::Metrics) records.
///
/// ```
/// use credpool::metrics::{Instrument, METRICS};
///
/// let is_duration = |metric: &&credpool::metrics::Metric| metric.name == "gen_ai.client.inference.duration";
/// let duration = METRICS.iter().find(is_duration).unwrap();
/// assert_eq!((duration.instrument, duration.unit), (Instrument::Histogram, "s"));
/// assert_eq!(duration.bounds.len(), 14);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What kind of metric it is.
    pub instrument: Instrument,
    /// Its unit, as the conventions write it: by UCUM.
    pub unit: &'static str,
    /// What it is, in a sentence.
    pub description: &'static str,
    /// The names of its labels. `error.type` is there for failures alone.
    pub labels: &'static [&'static str],
    /// The bounds of a histogram's buckets.
    pub bounds: &'static [f64],
}

/// What kind of metric it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Instrument {
    /// A sum that never decreases.
    Counter,
    /// A number of the moment.
    Gauge,
    /// How often a value was in each bucket.
    Histogram,
}

/// All metrics. Those of `gen_ai.client` are those of the OpenTelemetry conventions for generative AI, version 0.1.0; the others are this
/// crate's own.
pub const METRICS: &[Metric] = &[
    // docs/gen-ai/client-inference.md of github.com/open-telemetry/semantic-conventions-genai at v0.1.0, read on 2026-11-27.
    Metric {
        bounds: SECONDS,
        ..metric(
            DURATION,
            Instrument::Histogram,
            "s",
            "How long attempts of plain calls and streams took",
            OPERATION,
        )
    },
    Metric {
        bounds: SECONDS,
        ..metric(
            FIRST_CHUNK,
            Instrument::Histogram,
            "s",
            "How long it took to the first content of a stream",
            &[OPERATION_NAME, PROVIDER, MODEL],
        )
    },
    usage(INPUT, "Tokens of prompts, cached ones included"),
    usage(OUTPUT, "Tokens of answers, those of the reasoning included"),
    usage(CACHE_READ, "Tokens of prompts that came from a cache"),
    usage(
        CACHE_WRITE,
        "Tokens of prompts that were written to a cache",
    ),
    usage(REASONING, "Tokens of answers that were spent on reasoning"),
    Metric {
        bounds: TOKENS,
        ..metric(
            INPUT_SIZE,
            Instrument::Histogram,
            "{token}",
            "Tokens of the prompt of an attempt",
            OPERATION,
        )
    },
    Metric {
        bounds: TOKENS,
        ..metric(
            OUTPUT_SIZE,
            Instrument::Histogram,
            "{token}",
            "Tokens of the answer of an attempt",
            OPERATION,
        )
    },
    // docs/gen-ai/gen-ai-metrics.md there: what is no inference.
    Metric {
        bounds: SECONDS,
        ..metric(
            OTHER_DURATION,
            Instrument::Histogram,
            "s",
            "How long attempts of token counts and raw calls took",
            OPERATION,
        )
    },
    own(CALLS, Instrument::Counter, "{call}", "Calls", &[]),
    own(
        REFUSED,
        Instrument::Counter,
        "{call}",
        "Calls that ended without an attempt",
        &[],
    ),
    own(
        FAILOVERS,
        Instrument::Counter,
        "{attempt}",
        "Attempts with another credential than the one before",
        &[],
    ),
    own(
        RETRIES,
        Instrument::Counter,
        "{attempt}",
        "Attempts with the same credential as the one before",
        &[],
    ),
    own(
        WAITS,
        Instrument::Counter,
        "{wait}",
        "How often a call waited for a credential, a worker or a back-off",
        &[],
    ),
    own(
        WAIT_TIME,
        Instrument::Gauge,
        "s",
        "How long calls have waited, all together",
        &[],
    ),
    own(
        REQUESTS,
        Instrument::Counter,
        "{attempt}",
        "Attempts that have ended, by result",
        &[CREDENTIAL, PROVIDER, MODEL, RESULT],
    ),
    own(
        IN_FLIGHT,
        Instrument::Gauge,
        "{attempt}",
        "Attempts under way",
        &[CREDENTIAL, PROVIDER, MODEL],
    ),
    own(
        COST,
        Instrument::Gauge,
        "1",
        "What the tokens cost so far, in the currency of the price function",
        &[CREDENTIAL, PROVIDER, MODEL],
    ),
    own(
        COOLDOWN,
        Instrument::Gauge,
        "s",
        "How long a credential stays unavailable for a model, as far as is known",
        &[CREDENTIAL, PROVIDER, MODEL],
    ),
    own(
        LEARNT_RATE,
        Instrument::Gauge,
        "{attempt}/s",
        "The rate that refusals have taught, where they have",
        &[CREDENTIAL, PROVIDER, MODEL],
    ),
    own(
        LIMIT,
        Instrument::Gauge,
        "1",
        "What is left of a limit that the upstream reported",
        &[CREDENTIAL, PROVIDER, MODEL, WINDOW],
    ),
    own(
        CREDENTIALS,
        Instrument::Gauge,
        "{credential}",
        "Credentials, by availability for calls without a model",
        &[PROVIDER, AVAILABILITY],
    ),
    own(
        LOGINS,
        Instrument::Gauge,
        "{credential}",
        "Credentials, by the state of their tokens",
        &[PROVIDER, TOKEN_STATE],
    ),
    own(
        REFRESHES,
        Instrument::Counter,
        "{refresh}",
        "Refreshes that have ended, by result",
        &[CREDENTIAL, PROVIDER, RESULT],
    ),
    own(
        BUDGET,
        Instrument::Gauge,
        "{attempt}",
        "Attempts that a provider's retry budget pays for",
        &[PROVIDER],
    ),
];

impl Metric {
    /// Its unit, as the facade has it.
    pub(super) fn facade_unit(&self) -> Unit {
        match self.unit {
            "s" => Unit::Seconds,
            _ => Unit::Count,
        }
    }
}

const fn metric(
    name: &'static str,
    instrument: Instrument,
    unit: &'static str,
    description: &'static str,
    labels: &'static [&'static str],
) -> Metric {
    Metric {
        name,
        instrument,
        unit,
        description,
        labels,
        bounds: &[],
    }
}

const fn usage(name: &'static str, description: &'static str) -> Metric {
    let labels = &[OPERATION_NAME, PROVIDER, MODEL, MODALITY];
    metric(name, Instrument::Counter, "{token}", description, labels)
}

use self::metric as own;

pub(super) const DURATION: &str = "gen_ai.client.inference.duration";
pub(super) const FIRST_CHUNK: &str = "gen_ai.client.inference.time_to_first_chunk";
pub(super) const INPUT: &str = "gen_ai.client.inference.usage.input_tokens";
pub(super) const OUTPUT: &str = "gen_ai.client.inference.usage.output_tokens";
pub(super) const CACHE_READ: &str = "gen_ai.client.inference.usage.cache_read.input_tokens";
pub(super) const CACHE_WRITE: &str = "gen_ai.client.inference.usage.cache_write.input_tokens";
pub(super) const REASONING: &str = "gen_ai.client.inference.usage.reasoning.output_tokens";
pub(super) const INPUT_SIZE: &str = "gen_ai.client.inference.operation.input_tokens";
pub(super) const OUTPUT_SIZE: &str = "gen_ai.client.inference.operation.output_tokens";
pub(super) const OTHER_DURATION: &str = "gen_ai.client.operation.duration";
pub(super) const CALLS: &str = "credpool.calls";
pub(super) const REFUSED: &str = "credpool.calls.refused";
pub(super) const FAILOVERS: &str = "credpool.failovers";
pub(super) const RETRIES: &str = "credpool.retries";
pub(super) const WAITS: &str = "credpool.waits";
pub(super) const WAIT_TIME: &str = "credpool.wait.time";
pub(super) const REQUESTS: &str = "credpool.requests";
pub(super) const IN_FLIGHT: &str = "credpool.requests.in_flight";
pub(super) const COST: &str = "credpool.cost";
pub(super) const COOLDOWN: &str = "credpool.cooldown.remaining";
pub(super) const LEARNT_RATE: &str = "credpool.learnt_rate";
pub(super) const LIMIT: &str = "credpool.limit.remaining";
pub(super) const CREDENTIALS: &str = "credpool.credentials";
pub(super) const LOGINS: &str = "credpool.logins";
pub(super) const REFRESHES: &str = "credpool.refreshes";
pub(super) const BUDGET: &str = "credpool.retry_budget.retries_left";

pub(super) const OPERATION_NAME: &str = "gen_ai.operation.name";
pub(super) const PROVIDER: &str = "gen_ai.provider.name";
pub(super) const MODEL: &str = "gen_ai.request.model";
pub(super) const MODALITY: &str = "gen_ai.token.modality";
pub(super) const ERROR_TYPE: &str = "error.type";
pub(super) const CREDENTIAL: &str = "credpool.credential";
pub(super) const RESULT: &str = "credpool.result";
pub(super) const AVAILABILITY: &str = "credpool.availability";
pub(super) const TOKEN_STATE: &str = "credpool.token.state";
pub(super) const WINDOW: &str = "credpool.limit";

const OPERATION: &[&str] = &[OPERATION_NAME, PROVIDER, MODEL, ERROR_TYPE];

const SECONDS: &[f64] = &[
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
];
const TOKENS: &[f64] = &[
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
