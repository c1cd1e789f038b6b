//! What the gateway shows of itself: whether it can serve, and what each credential does.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::sync::Arc;

use bytes::Bytes;
use credpool::{
    Auth, Availability, CooldownSource, CredentialReport, FailureKind, Hook, Manager, Outcome,
    OutcomeKind, Timestamp, Usage,
};
use http::Response;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};

/// Counts what becomes of attempts. Clones share the counts.
#[derive(Clone, Default)]
pub(crate) struct Status(Arc<Mutex<ByModel<Counts>>>);

/// By credential and model.
type ByModel<T> = BTreeMap<String, BTreeMap<String, T>>;

#[derive(Clone, Copy, Default, Serialize)]
struct Counts {
    served: u64,
    failed: u64,
    #[serde(flatten)]
    usage: Usage,
}

impl Hook for Status {
    fn on_result(&self, outcome: &Outcome<'_>) {
        let mut counts = self.0.lock();
        let models = counts.entry(outcome.auth_id.to_owned()).or_default();
        let counts = models.entry(outcome.model.to_owned()).or_default();
        match outcome.kind {
            OutcomeKind::Success => counts.served += 1,
            OutcomeKind::Failure(_) => counts.failed += 1,
            _ => {}
        }
        counts.usage += outcome.usage.unwrap_or_default();
    }
}

impl Status {
    /// The gateway's own pages.
    pub(crate) fn page(&self, manager: &Manager, path: &str) -> Option<Response<Bytes>> {
        let json = "application/json";
        let (status, media_type, body) = match path {
            "/" => (200, "text/html; charset=utf-8", Bytes::from_static(PAGE)),
            "/status.json" => (200, json, self.report(manager).to_string().into()),
            "/health" => {
                let all = manager.list();
                let ready = providers(&all)
                    .into_iter()
                    .flat_map(|provider| manager.explain(provider, EVERY_MODEL))
                    .filter(|report| report.availability == Availability::Ready)
                    .count();
                let body = json!({ "ready": ready }).to_string().into();
                (if ready > 0 { 200 } else { 503 }, json, body)
            }
            _ => return None,
        };
        let answer = Response::builder().status(status);
        answer.header("content-type", media_type).body(body).ok()
    }

    /// Ids, models and errors, never a secret.
    fn report(&self, manager: &Manager) -> Value {
        let counts = self.0.lock().clone();
        let all = manager.list();
        let mut blocks = blocks(manager, &all, &counts);
        let credentials = all.iter().map(|auth| {
            let mut blocks = blocks.remove(&auth.id).unwrap_or_default();
            json!({
                "id": auth.id,
                "provider": auth.provider,
                "block": blocks.remove(EVERY_MODEL),
                "blocks": blocks,
                "counts": counts.get(&auth.id),
            })
        });
        json!({
            "credentials": credentials.collect::<Value>(),
            "needs_login": manager.refresh_health().needs_login,
            "store": manager.store_health().last_error.map(|error| error.to_string()),
        })
    }
}

/// Why credentials are unavailable: for every model, and for those that are known where that is another reason.
fn blocks(manager: &Manager, all: &[Arc<Auth>], counts: &ByModel<Counts>) -> ByModel<Value> {
    let failed = all.iter().flat_map(|auth| auth.model_states.keys());
    let used = counts.values().flat_map(BTreeMap::keys);
    let models: BTreeSet<_> = failed.chain(used).map(String::as_str).collect();
    let mut blocks = ByModel::new();
    for provider in providers(all) {
        for model in iter::once(EVERY_MODEL).chain(models.iter().copied()) {
            for report in manager.explain(provider, model) {
                let block = block(&report);
                let of_one = blocks.entry(report.auth_id.to_string()).or_default();
                if report.availability != Availability::Ready
                    && of_one.get(EVERY_MODEL) != Some(&block)
                {
                    of_one.insert(model.to_owned(), block);
                }
            }
        }
    }
    blocks
}

fn providers(all: &[Arc<Auth>]) -> BTreeSet<&str> {
    all.iter().map(|auth| &*auth.provider).collect()
}

/// Times are seconds of Unix time.
fn block(report: &CredentialReport) -> Value {
    json!({
        "state": report.availability.to_string(),
        "until": report.until.map(Timestamp::unix_timestamp),
        "probe_at": report.probe_at.map(Timestamp::unix_timestamp),
        "fault": report.fault.map(FailureKind::as_str),
        "origin": report.origin.map(CooldownSource::as_str),
        "failures": report.failures,
        "error": report.error.as_ref().map(ToString::to_string),
    })
}

const PAGE: &[u8] = include_bytes!("page.html");
/// The name of none: what makes a credential unavailable for it does so for every model.
const EVERY_MODEL: &str = "*";
