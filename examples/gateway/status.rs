//! What the gateway shows of itself: whether it can serve, and what each credential does.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use credpool::{Availability, Hook, Manager, Outcome, OutcomeKind, Usage};
use http::Response;
use parking_lot::Mutex;
use serde_json::json;

/// Counts what becomes of attempts. Clones share the counts.
#[derive(Clone, Default)]
pub(crate) struct Status(Arc<Mutex<BTreeMap<String, Counts>>>);

#[derive(Default)]
struct Counts {
    provider: String,
    served: u64,
    failed: u64,
    usage: Usage,
}

impl Hook for Status {
    fn on_result(&self, outcome: &Outcome<'_>) {
        let mut counts = self.0.lock();
        let counts = counts.entry(outcome.auth_id.to_owned()).or_default();
        outcome.provider.clone_into(&mut counts.provider);
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
        let (media_type, body) = match path {
            "/" => ("text/html; charset=utf-8", Bytes::from_static(PAGE)),
            "/status.json" => (
                "application/json",
                self.credentials(manager).to_string().into(),
            ),
            "/health" => {
                let ready = Self::ready(manager);
                let status = if ready > 0 { 200 } else { 503 };
                let body = json!({ "ready": ready }).to_string();
                return answer(status, "application/json", body.into());
            }
            _ => return None,
        };
        answer(200, media_type, body)
    }

    fn ready(manager: &Manager) -> usize {
        let providers = ["openai", "anthropic", "gemini"].into_iter();
        let all = providers.flat_map(|provider| manager.explain(provider, ""));
        all.filter(|one| one.availability == Availability::Ready)
            .count()
    }

    /// Ids, never a secret of theirs.
    fn credentials(&self, manager: &Manager) -> serde_json::Value {
        let counts = self.0.lock();
        let shown = manager.list().into_iter().map(|auth| {
            let models = auth
                .model_states
                .iter()
                .filter(|(_, state)| state.unavailable);
            let out: BTreeMap<_, _> = models
                .map(|(model, state)| {
                    let until = state.next_retry_after.map(|at| at.to_string());
                    let why = state
                        .last_error
                        .as_ref()
                        .map(|error| error.message().to_owned());
                    (model, json!({ "until": until, "why": why }))
                })
                .collect();
            let counts = counts.get(&auth.id);
            let usage = counts.map(|counts| counts.usage).unwrap_or_default();
            json!({
                "id": auth.id,
                "provider": auth.provider,
                "status": auth.status.to_string(),
                "out": out,
                "served": counts.map_or(0, |counts| counts.served),
                "failed": counts.map_or(0, |counts| counts.failed),
                "tokens": { "in": usage.input, "out": usage.output },
            })
        });
        shown.collect()
    }
}

fn answer(status: u16, media_type: &str, body: Bytes) -> Option<Response<Bytes>> {
    let answer = Response::builder().status(status);
    let answer = answer.header("content-type", media_type);
    answer.header("content-length", body.len()).body(body).ok()
}

const PAGE: &[u8] = include_bytes!("page.html");
