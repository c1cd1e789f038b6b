//! A log that [`credpool::JsonLines`] has written, replayed: the lines of `kind` `result` become what the upstream answers.
//!
//! Of those, `at`, `auth_id`, `result`, `status`, `error` and `retry_after` count. A replay knows of each credential only what was asked of it:
//! between two outcomes it takes the last one to hold. So it tells what another policy would have made of the same weather; not what an
//! upstream would have said that was never asked.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::path::Path;
use std::time::Duration;

use credpool::{JsonLines, Timestamp};
use serde_json::Value;
use time::format_description::well_known::Rfc3339;

use crate::clock::JumpingClock;
use crate::script::{Fault, Script};

/// A hook that adds what happens to a file.
pub(crate) fn to(path: &Path, clock: JumpingClock) -> std::io::Result<JsonLines<File>> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    Ok(JsonLines::new(file).with_clock(clock))
}

/// The weather of a log, as a script.
pub(crate) fn replay(path: &str) -> Result<Script, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let mut lines: Vec<Value> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| serde_json::from_str(line).map_err(|error| format!("{path}: {error}")))
        .collect::<Result<_, _>>()?;
    lines.retain(|line| line["kind"] == "result" && line["result"] != "abandoned");
    if let Some(other) = lines.iter().find(|line| line["v"] != 1) {
        return Err(format!("{path} has lines of another form: {other}"));
    }
    let at = |line: &Value| {
        let text = line["at"].as_str().unwrap_or_default();
        Timestamp::parse(text, &Rfc3339).unwrap_or(Timestamp::UNIX_EPOCH)
    };
    lines.sort_by_key(at);
    let start = lines.first().map_or(Timestamp::UNIX_EPOCH, at);
    let mut by_id: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for line in &lines {
        let id = line["auth_id"].as_str().ok_or("a line without `auth_id`")?;
        by_id.entry(id).or_default().push(line);
    }
    let since_start = |line: &Value| Duration::try_from(at(line) - start).unwrap_or_default();
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
            let hint = outcome["retry_after"]
                .as_f64()
                .and_then(|wait| Duration::try_from_secs_f64(wait).ok());
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
