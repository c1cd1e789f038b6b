//! Metrics through the facade: the names, units and buckets are those of the conventions, and the text is one that Prometheus reads.
#![cfg(feature = "metrics")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(
    clippy::float_cmp,
    reason = "bounds are constants, and counts are whole numbers"
)]

#[path = "../examples/metrics/recorder.rs"]
mod recorder;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

use credpool::metrics::{Instrument, METRICS, Metrics};
use credpool::{
    Attempt, Error, FailurePolicy, Hook, LimitWindow, Manager, Options, Outcome, RateLimits,
    Request, Response, StreamChunk, Usage,
};
use metrics_exporter_prometheus::PrometheusBuilder;
use support::{Act, pool_with};

/// A histogram or a counter of the conventions: its name, its unit, its attributes but for `server.address`, `server.port` and
/// `gen_ai.response.model`, which are recommended and not known here.
type Convention = (
    &'static str,
    Instrument,
    &'static str,
    &'static [&'static str],
    &'static [f64],
);

/// From `docs/gen-ai/client-inference.md` and `docs/gen-ai/gen-ai-metrics.md` of open-telemetry/semantic-conventions-genai, v0.1.0, read on
/// 2026-11-27. `time_per_output_chunk`, which is recommended, is not there: no hook hears of chunks.
const CONVENTIONS: [Convention; 10] = [
    (
        "gen_ai.client.inference.duration",
        Instrument::Histogram,
        "s",
        OF_OPERATION,
        SECONDS,
    ),
    (
        "gen_ai.client.inference.time_to_first_chunk",
        Instrument::Histogram,
        "s",
        OF_FIRST_CHUNK,
        SECONDS,
    ),
    (
        "gen_ai.client.inference.usage.input_tokens",
        Instrument::Counter,
        "{token}",
        OF_USAGE,
        &[],
    ),
    (
        "gen_ai.client.inference.usage.output_tokens",
        Instrument::Counter,
        "{token}",
        OF_USAGE,
        &[],
    ),
    (
        "gen_ai.client.inference.usage.cache_read.input_tokens",
        Instrument::Counter,
        "{token}",
        OF_USAGE,
        &[],
    ),
    (
        "gen_ai.client.inference.usage.cache_write.input_tokens",
        Instrument::Counter,
        "{token}",
        OF_USAGE,
        &[],
    ),
    (
        "gen_ai.client.inference.usage.reasoning.output_tokens",
        Instrument::Counter,
        "{token}",
        OF_USAGE,
        &[],
    ),
    (
        "gen_ai.client.inference.operation.input_tokens",
        Instrument::Histogram,
        "{token}",
        OF_OPERATION,
        TOKENS,
    ),
    (
        "gen_ai.client.inference.operation.output_tokens",
        Instrument::Histogram,
        "{token}",
        OF_OPERATION,
        TOKENS,
    ),
    (
        "gen_ai.client.operation.duration",
        Instrument::Histogram,
        "s",
        OF_OPERATION,
        SECONDS,
    ),
];

const OF_OPERATION: &[&str] = &[
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "error.type",
];
const OF_FIRST_CHUNK: &[&str] = &[
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
];
const OF_USAGE: &[&str] = &[
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.token.modality",
];
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
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

#[test]
fn names_units_attributes_and_buckets_are_those_of_the_conventions() {
    let of_conventions = METRICS
        .iter()
        .filter(|metric| metric.name.starts_with("gen_ai."));
    let found: Vec<Convention> = of_conventions
        .map(|of| (of.name, of.instrument, of.unit, of.labels, of.bounds))
        .collect();
    assert_eq!(found, CONVENTIONS);
    let names: BTreeSet<_> = METRICS.iter().map(|metric| metric.name).collect();
    assert_eq!(names.len(), METRICS.len());
    for own in METRICS.iter().skip(CONVENTIONS.len()) {
        assert!(own.name.starts_with("credpool."), "{}", own.name);
    }
    let bounds = credpool::Histogram::BOUNDS.map(|bound| bound.as_secs_f64());
    assert_eq!(bounds, SECONDS, "the statistics have the same");
}

const USAGE: Usage = Usage::new(100, 20)
    .with_cached(60)
    .with_cache_written(5)
    .with_reasoning(7);

/// Calls of each kind on a credential that serves, and a failure of one that does not.
fn pool(metrics: &Arc<Metrics>) -> Manager {
    let hook = Arc::clone(metrics);
    let (manager, fake, _) = pool_with(2, |builder| {
        let policy = FailurePolicy::default().without_waiting();
        builder
            .policy(policy)
            .hook(hook)
            .price(|_, _, _| Some(0.25))
    });
    let limits = RateLimits::new().with_window(LimitWindow::new("requests").with_remaining(7));
    let serve = move |_: &Attempt| {
        Ok(Response::new("ok")
            .with_usage(USAGE)
            .with_rate_limits(limits.clone()))
    };
    fake.on_attempt("a0", Arc::new(serve));
    fake.on("a1", Act::Fail(Error::upstream(429, "slow down")));
    let (request, of) = (Request::new("m", "{}"), |id: &str| {
        Options::new().with_pinned(id)
    });
    for _ in 0..3 {
        manager.execute(["p"], &request, &of("a0")).unwrap();
    }
    manager.execute_count(["p"], &request, &of("a0")).unwrap();
    manager.execute(["p"], &request, &of("a1")).unwrap_err();
    let last = || Ok(StreamChunk::new("end").with_usage(USAGE));
    let stream = move |_: &Attempt| -> Result<credpool::ChunkSource, Error> {
        Ok(Box::new([Ok(StreamChunk::new("x")), last()].into_iter()))
    };
    fake.on("a0", Act::Stream(Arc::new(stream)));
    let stream = manager.execute_stream(["p"], &request, &of("a0")).unwrap();
    assert_eq!(stream.flatten().count(), 2);
    manager
}

/// The series of a text, each with its value.
fn series(text: &str) -> BTreeMap<String, f64> {
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    let series = lines.map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    });
    series.collect()
}

#[test]
fn prometheus_reads_what_a_pool_has_counted() {
    let prometheus = recorder::install().unwrap();
    let metrics = Arc::new(Metrics::new());
    let manager = pool(&metrics);
    metrics.publish(&manager.stats());
    let text = prometheus.render();
    let series = series(&text);
    let of = r#"gen_ai_provider_name="p",gen_ai_request_model="m""#;
    let operation = format!(r#"gen_ai_operation_name="chat",{of}"#);
    let failed = format!(r#"{operation},error_type="rate_limited""#);
    let usage = |kind: &str| {
        let name = format!("gen_ai_client_inference_usage_{kind}_tokens_total");
        series[&format!(r#"{name}{{{operation},gen_ai_token_modality="unknown"}}"#)]
    };
    let histogram = |name: &str, labels: &str| series[&format!("{name}_count{{{labels}}}")];
    assert_eq!(
        histogram("gen_ai_client_inference_duration_seconds", &operation),
        4.0
    );
    assert_eq!(
        histogram("gen_ai_client_inference_duration_seconds", &failed),
        1.0
    );
    assert_eq!(
        histogram(
            "gen_ai_client_inference_time_to_first_chunk_seconds",
            &operation
        ),
        1.0
    );
    let counts = format!(r#"gen_ai_operation_name="count_tokens",{of}"#);
    assert_eq!(
        histogram("gen_ai_client_operation_duration_seconds", &counts),
        1.0
    );
    assert_eq!(
        histogram("gen_ai_client_inference_operation_input_tokens", &operation),
        4.0
    );
    let bucket =
        format!(r#"gen_ai_client_inference_operation_input_tokens_bucket{{{operation},le="256"}}"#);
    assert_eq!(series[&bucket], 4.0);
    assert_eq!(
        [
            "input",
            "output",
            "cache_read_input",
            "cache_write_input",
            "reasoning_output"
        ]
        .map(usage),
        [400.0, 80.0, 240.0, 20.0, 28.0]
    );
    let own = |name: &str, id: &str, rest: &str| {
        series[&format!(r#"credpool_{name}{{credpool_credential="{id}",{of}{rest}}}"#)]
    };
    assert_eq!(
        own("requests_total", "a0", r#",credpool_result="success""#),
        5.0
    );
    assert_eq!(
        own("requests_total", "a1", r#",credpool_result="rate_limited""#),
        1.0
    );
    assert_eq!(own("requests_in_flight", "a0", ""), 0.0);
    assert_eq!(own("cost", "a0", ""), 1.0);
    assert_eq!(
        own("limit_remaining", "a0", r#",credpool_limit="requests""#),
        7.0
    );
    assert!(own("cooldown_remaining_seconds", "a1", "") > 0.0);
    assert_eq!(
        (
            series["credpool_calls_total"],
            series["credpool_failovers_total"]
        ),
        (6.0, 0.0)
    );
    check(&text);
}

/// What Prometheus' own program says of the text, where it is installed (`PROMTOOL`, or in the path).
fn check(text: &str) {
    let program = std::env::var("PROMTOOL").unwrap_or_else(|_| "promtool".to_owned());
    let started = Command::new(program)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = started else {
        eprintln!("promtool is not installed: its check is left out");
        return;
    };
    promtool
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&said)
    );
    assert!(said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn invented_models_and_passing_credentials_make_a_bounded_number_of_series() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        let metrics = Metrics::new().with_label("pool", "first");
        for n in 0..5_000 {
            let model = format!("invented-{n}");
            metrics.on_result(&Outcome::failure(
                "a",
                "p",
                &model,
                Error::upstream(404, ""),
            ));
        }
        let (manager, _, _) = pool_with(0, |builder| builder);
        for n in 0..1_100 {
            let auth = credpool::Auth::api_key("p", "k").with_id(format!("passing-{n}"));
            manager.register(auth.runtime_only()).unwrap();
            let options = Options::new().with_pinned(format!("passing-{n}"));
            manager
                .execute(["p"], &Request::new("m", "{}"), &options)
                .unwrap();
        }
        metrics.publish(&manager.stats());
    });
    let text = handle.render();
    let series = series(&text);
    let of = |name: &str| {
        series
            .iter()
            .filter(|(of, _)| of.starts_with(name))
            .collect::<Vec<_>>()
    };
    assert_eq!(of("gen_ai_client_inference_duration_count").len(), 65);
    let requests = of("credpool_requests{");
    let success = requests.iter().filter(|(name, _)| name.contains("success"));
    assert_eq!(success.clone().count(), 1_025);
    assert_eq!(success.map(|(_, count)| **count).sum::<f64>(), 1_100.0);
    assert!(series.keys().all(|name| name.contains(r#"pool="first""#)));
}
