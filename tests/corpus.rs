//! Real error answers of the vendors, each with its source, and what the default policy makes of them.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use credpool::{Error, FailurePolicy, RateLimits, Scope};
use http::{HeaderMap, HeaderName};
use serde::Deserialize;
use serde_json::Value;

/// One line of a corpus file: see `tests/corpus/README.md`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    id: String,
    source: String,
    provider: String,
    status: u16,
    headers: BTreeMap<String, String>,
    body: Value,
    verdict: Expected,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Expected {
    fault: String,
    scope: String,
    failover: bool,
    refresh: bool,
    cooldown_s: Option<u64>,
}

impl Case {
    /// The error that an executor would make of the answer.
    fn error(&self) -> Error {
        let body = match &self.body {
            Value::String(text) => text.clone(),
            json => json.to_string(),
        };
        let headers: HeaderMap = self
            .headers
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .collect();
        let limits = RateLimits::from_error(self.status, &headers, body.as_bytes(), NOW);
        Error::upstream(self.status, body)
            .with_provider(&self.provider)
            .with_rate_limits(limits)
    }
}

#[test]
fn every_answer_means_what_its_line_says() {
    let policy = FailurePolicy::default();
    let (mut total, mut wrong) = (0, Vec::new());
    for file in FILES {
        let cases = read(file);
        println!("{file}: {} cases", cases.len());
        total += cases.len();
        for case in cases {
            let found = judge(&policy, &case.error());
            if found != case.verdict {
                let (file, id, expected) = (file, &case.id, &case.verdict);
                wrong.push(format!("{file} {id}:\n  {expected:?}\n  {found:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(total >= 80, "only {total} cases");
}

#[test]
fn every_line_has_a_name_and_a_source_and_holds_no_key() {
    for file in FILES {
        let mut ids = HashSet::new();
        for case in read(file) {
            let source = &case.source;
            let issue = source.split_once('#').is_some_and(|(repository, number)| {
                repository.split('/').count() == 2 && number.parse::<u32>().is_ok()
            });
            assert!(issue || source.starts_with("https://"), "{file}: {source}");
            let said = format!("{} {:?}", case.body, case.headers);
            for secret in ["AIza", "sk-ant-", "sk-proj-", "org-u", "req_01"] {
                assert!(!said.contains(secret), "{file} {}: {secret}", case.id);
            }
            assert!(ids.insert(case.id.clone()), "{file}: {} twice", case.id);
        }
    }
}

fn judge(policy: &FailurePolicy, error: &Error) -> Expected {
    let verdict = policy.classify(error);
    let scope = match verdict.scope {
        Scope::Nobody => "nobody",
        Scope::Request => "request",
        Scope::Model => "model",
        Scope::Credential => "credential",
        Scope::Provider => "provider",
        _ => "another",
    };
    // Of the first failure in a row that has one.
    let mut cooldowns = (0..2).map(|before| verdict.cooldown.length(before, error.retry_after()));
    let cooldown = cooldowns.find_map(|cooldown| cooldown);
    Expected {
        fault: verdict.fault.to_string(),
        scope: scope.to_owned(),
        failover: verdict.failover,
        refresh: verdict.refresh,
        cooldown_s: cooldown.map(|cooldown| cooldown.as_secs()),
    }
}

fn read(file: &str) -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(file);
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{file}: {error}"));
    let parse = |(number, line)| {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{file}:{}: {error}", number + 1))
    };
    text.lines().enumerate().map(parse).collect()
}

/// When the answers came, for headers that say when a limit resets.
const NOW: credpool::Timestamp = time::macros::utc_datetime!(2026-01-01 00:00);

const FILES: [&str; 3] = ["openai.jsonl", "anthropic.jsonl", "gemini.jsonl"];
