//! A log of outcomes, as a hook writes it and a replay reads it: a JSON object on each line.
//!
//! | member | what it is |
//! |---|---|
//! | `at_ms` | when, in milliseconds since the epoch |
//! | `auth_id`, `provider`, `model` | who was asked what |
//! | `result` | `success`, `failure` or `abandoned` |
//! | `status`, `error`, `retry_after_ms` | of a failure: its status, its text without secrets, and the server's word |
//!
//! A replay knows of each credential only what was asked of it: between two outcomes it takes the last one to hold. So it tells what
//! another policy would have made of the same weather; not what an upstream would have said that was never asked.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use credpool::{Clock, Hook, Outcome, Timestamp};
use serde_json::{Value, json};

use crate::script::{Fault, Script};

/// Writes every outcome to a file. To log what a program does, give it [`credpool::SystemClock`].
pub(crate) struct OutcomeLog<C> {
    file: Option<Mutex<File>>,
    clock: C,
}

impl<C: Clock> OutcomeLog<C> {
    pub(crate) fn new(path: Option<&Path>, clock: C) -> Self {
        let open = |path: &Path| OpenOptions::new().create(true).append(true).open(path).ok();
        Self {
            file: path.and_then(open).map(Mutex::new),
            clock,
        }
    }
}

impl<C: Clock> Hook for OutcomeLog<C> {
    fn on_result(&self, outcome: &Outcome<'_>) {
        let Some(file) = &self.file else {
            return;
        };
        let result = match (outcome.is_success(), outcome.is_abandoned()) {
            (true, _) => "success",
            (_, true) => "abandoned",
            _ => "failure",
        };
        let cause = outcome.cause();
        let line = json!({
            "at_ms": millis(self.clock.now()),
            "auth_id": outcome.auth_id,
            "provider": outcome.provider,
            "model": outcome.model,
            "result": result,
            "status": cause.and_then(credpool::Error::http_status),
            "error": cause.map(|error| error.message().to_owned()),
            "retry_after_ms": cause.and_then(credpool::Error::retry_after).map(|wait| wait.as_millis().min(u128::from(u32::MAX))),
        });
        if let Ok(mut file) = file.lock() {
            let _ = writeln!(file, "{line}");
        }
    }
}

/// The weather of a log, as a script.
pub(crate) fn replay(path: &str) -> Result<Script, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let mut lines: Vec<Value> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| serde_json::from_str(line).map_err(|error| format!("{path}: {error}")))
        .collect::<Result<_, _>>()?;
    lines.retain(|line| line["result"] != "abandoned");
    let at = |line: &Value| line["at_ms"].as_u64().unwrap_or(0);
    lines.sort_by_key(at);
    let start = lines.first().map_or(0, at);
    let mut by_id: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for line in &lines {
        let id = line["auth_id"].as_str().ok_or("a line without `auth_id`")?;
        by_id.entry(id).or_default().push(line);
    }
    let since_start = |line: &Value| Duration::from_millis(at(line) - start);
    let mut faults = Vec::new();
    for (id, outcomes) in &by_id {
        let ends = outcomes
            .iter()
            .skip(1)
            .map(|next| since_start(next))
            .chain([Duration::MAX]);
        for (outcome, to) in outcomes.iter().zip(ends) {
            // A fault of the request says nothing of the credential.
            let status = outcome["status"]
                .as_u64()
                .and_then(|status| u16::try_from(status).ok());
            if outcome["result"] != "failure" || matches!(status, Some(400 | 413 | 422)) {
                continue;
            }
            let from = since_start(outcome);
            let hint = outcome["retry_after_ms"]
                .as_u64()
                .map(Duration::from_millis);
            faults.push(Fault {
                who: Some((*id).to_owned()),
                from,
                // Where the server said when it would be over and nobody asked since, it was.
                to: to.min(hint.map_or(to, |hint| from + hint)),
                status: status.unwrap_or(503),
                body: outcome["error"].as_str().unwrap_or_default().to_owned(),
                says_until: hint.map(|hint| from + hint),
            });
        }
    }
    let ids: BTreeSet<String> = by_id.keys().map(|id| (*id).to_owned()).collect();
    if ids.is_empty() {
        return Err(format!("{path} holds no outcomes"));
    }
    Ok(Script {
        name: "replay".to_owned(),
        about: format!(
            "{} outcomes of {} credentials, from {path}",
            lines.len(),
            ids.len()
        ),
        credentials: ids.into_iter().collect(),
        faults,
        limit: None,
        wrong_every: None,
    })
}

fn millis(at: Timestamp) -> u64 {
    u64::try_from((at - Timestamp::UNIX_EPOCH).whole_milliseconds()).unwrap_or(0)
}
