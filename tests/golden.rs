//! Replays recorded answers: what the library must say about records, times, refreshes, conversations, results and calls.
//!
//! The traces are in `tests/golden/`, or in the directory that `CREDPOOL_GOLDEN_DIR` names: JSON Lines, one case a line.
//! `cargo test --test golden -- --nocapture` shows how many cases of each file ran.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod golden_support;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use credpool::conversation::{
    ConversationKey, PrefixKey, lookup_keys, normalized_model, sanitized, storage_keys,
};
use credpool::{
    AccountInfo, Attributes, Auth, AuthRuntime, Expiry, Message, Metadata, RefreshEvaluator,
    Timestamp, register_refresh_lead_provider, should_refresh,
};
use serde_json::{Value, json};

use golden_support::cases::{Differences, flag, integer, list, map, optional, text};
use golden_support::compare::{differences, instant, record};
use golden_support::replay;

/// Where the library answers otherwise than a trace, on purpose: file, id of the case, reason. A case that is listed here
/// must differ.
const DEVIATIONS: &[(&str, &str, &str)] = &[];

#[test]
fn account_info() {
    replay("account_info.jsonl", |case| {
        let info = subject(case).account_info();
        let actual = json!({
            "kind": info.as_ref().map_or("", |info| info.kind.as_str()),
            "info": info.as_ref().map_or("", named),
        });
        let expected = json!({"kind": text(case, "kind"), "info": text(case, "info")});
        differences(&expected, &actual)
    });
}

#[test]
fn expiry() {
    replay("expiry.jsonl", |case| {
        let expected = optional(case, "expect").map_or(Value::Null, |expect| {
            if flag(expect, "zero") {
                return json!({"zero": true});
            }
            json!({
                "at": instant(text(expect, "time")).map(|at| at.to_string()),
                "unix": integer(expect, "unix"),
                "nsec": integer(expect, "nsec"),
            })
        });
        let actual = match subject(case).expiration_time() {
            Expiry::Unknown => Value::Null,
            Expiry::Unset => json!({"zero": true}),
            Expiry::At(at) => json!({
                "at": at.to_string(),
                "unix": at.unix_timestamp(),
                "nsec": at.nanosecond(),
            }),
        };
        differences(&expected, &actual)
    });
}

#[test]
fn durations() {
    replay("durations.jsonl", |case| {
        let both = subject(case);
        let mut metadata = both.clone();
        metadata.attributes = Attributes::default();
        let mut attributes = both.clone();
        attributes.metadata = None;
        let interval = |auth: &Auth| {
            auth.preferred_refresh_interval()
                .map_or(0, |interval| interval.as_nanos())
        };
        let actual = json!({
            "expect_ns": interval(&both).to_string(),
            "from_metadata_ns": interval(&metadata).to_string(),
            "from_attributes_ns": interval(&attributes).to_string(),
        });
        let expected = ["expect_ns", "from_metadata_ns", "from_attributes_ns"]
            .into_iter()
            .map(|name| (name.to_owned(), integer(case, name).to_string().into()))
            .collect();
        differences(&Value::Object(expected), &actual)
    });
}

#[test]
fn should_refresh_decides() {
    let factories = Arc::new(Mutex::new(None));
    for provider in ["claude", "gemini", "codex", "qwen"] {
        let factories = Arc::clone(&factories);
        register_refresh_lead_provider(provider, move || *factories.lock().unwrap());
    }
    replay("should_refresh.jsonl", |case| {
        let mut auth: Auth = serde_json::from_value(case["auth"].clone()).unwrap();
        let runtime = Runtime {
            lead: optional(case, "runtime_lead_ns").map(lead),
            answer: optional(case, "evaluator").map(|answer| Answer(answer.as_bool().unwrap())),
        };
        if runtime.lead.is_some() || runtime.answer.is_some() {
            auth.runtime = Some(Arc::new(runtime));
        }
        *factories.lock().unwrap() = optional(case, "lead_ns").map(lead);
        let now = instant(text(case, "now")).expect("the clock shows a time");
        differences(
            &flag(case, "expect").into(),
            &should_refresh(&auth, now).into(),
        )
    });
}

#[test]
fn conversation_hash() {
    let mut pairs = Pairs::default();
    replay("conversation_hash.jsonl", |case| {
        let model = text(case, "model");
        let messages = read_messages(case, "messages");
        let clean = optional(case, "sanitized")
            .map_or_else(|| messages.clone(), |_| read_messages(case, "sanitized"));
        let lookup = lookup_keys(model, &messages);
        let storage = storage_keys(model, &messages);
        let lengths =
            |keys: &[PrefixKey]| keys.iter().map(|key| key.prefix_len).collect::<Vec<_>>();
        let expected_lengths = |name| {
            list(case, name)
                .iter()
                .map(|key| integer(key, "prefix_len"))
                .collect::<Vec<_>>()
        };
        let expected = json!({
            "normalized_model": text(case, "normalized_model"),
            "sanitized": plain(&clean),
            "lookup": expected_lengths("lookup"),
            "storage": expected_lengths("storage"),
        });
        let actual = json!({
            "normalized_model": normalized_model(model),
            "sanitized": plain(&sanitized(&messages)),
            "lookup": lengths(&lookup),
            "storage": lengths(&storage),
        });
        let mut found = differences(&expected, &actual);
        for (name, keys) in [("lookup", lookup), ("storage", storage)] {
            for (expected, ours) in list(case, name).iter().zip(keys) {
                found.extend(pairs.meet(text(expected, "hash"), ours.key, name));
            }
        }
        found
    });
}

#[test]
fn record_roundtrip() {
    replay("record_roundtrip.jsonl", |case| {
        let read: Result<Auth, _> = serde_json::from_str(text(case, "input"));
        match (flag(case, "ok"), read) {
            (false, Err(_)) => Vec::new(),
            (false, Ok(_)) => vec!["it is no record, but was read as one".into()],
            (true, Err(error)) => vec![format!("it is a record, but was refused: {error}")],
            (true, Ok(auth)) => {
                let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap();
                let written = serde_json::to_string(&auth).unwrap();
                differences(
                    &record(&parsed(text(case, "json"))),
                    &record(&parsed(&written)),
                )
            }
        }
    });
}

/// The record that a case about one pure function describes: `provider`, `metadata`, `attributes`.
fn subject(case: &Value) -> Auth {
    let mut auth = Auth::new(text(case, "provider"));
    auth.metadata = optional(case, "metadata").map(|_| Metadata::from(map(case, "metadata")));
    auth.attributes = map(case, "attributes")
        .into_iter()
        .map(|(name, value)| {
            (
                name,
                value.as_str().expect("attributes are text").to_owned(),
            )
        })
        .collect();
    auth
}

fn named(info: &AccountInfo) -> &str {
    info.text.expose()
}

/// A lead in a trace: zero and less stand for an answer that is no lead.
fn lead(nanos: &Value) -> Duration {
    u64::try_from(nanos.as_i64().expect("nanoseconds"))
        .map(Duration::from_nanos)
        .unwrap_or_default()
}

/// A record's runtime that offers a lead or decides.
struct Runtime {
    lead: Option<Duration>,
    answer: Option<Answer>,
}

struct Answer(bool);

impl AuthRuntime for Runtime {
    fn refresh_evaluator(&self) -> Option<&dyn RefreshEvaluator> {
        self.answer
            .as_ref()
            .map(|answer| answer as &dyn RefreshEvaluator)
    }

    fn refresh_lead(&self) -> Option<Duration> {
        self.lead
    }
}

impl RefreshEvaluator for Answer {
    fn should_refresh(&self, _: Timestamp, _: &Auth) -> bool {
        self.0
    }
}

fn read_messages(case: &Value, name: &str) -> Vec<Message> {
    list(case, name)
        .iter()
        .map(|message| Message::new(text(message, "role"), text(message, "text")))
        .collect()
}

fn plain(messages: &[Message]) -> Value {
    messages
        .iter()
        .map(|message| json!({"role": message.role, "text": message.text}))
        .collect()
}

/// Which of their digests stands for which of ours, over the whole file: one for one.
#[derive(Default)]
struct Pairs {
    ours: HashMap<String, ConversationKey>,
    theirs: HashMap<ConversationKey, String>,
}

impl Pairs {
    fn meet(&mut self, theirs: &str, ours: ConversationKey, place: &str) -> Differences {
        let first = *self.ours.entry(theirs.to_owned()).or_insert(ours);
        let partner = self.theirs.entry(ours).or_insert_with(|| theirs.to_owned());
        let mut found = Vec::new();
        if first != ours {
            found.push(format!(
                "{place}: {theirs} has two keys, {first} and {ours}"
            ));
        }
        if partner != theirs {
            found.push(format!("{place}: {ours} stands for {partner} and {theirs}"));
        }
        found
    }
}
