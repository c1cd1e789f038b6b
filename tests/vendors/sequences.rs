//! Streams and plain answers in the shapes in which vendors, gateways and servers send them, and what each comes to.

mod bedrock;
mod chat;
mod cohere;
mod framing;
mod gemini;
mod messages;
mod plain;
mod responses;

use std::collections::BTreeSet;

use credpool::testing::Reply;
use credpool::{FailureKind, Usage};
use serde_json::{Value, json};

use crate::replay::{Api, Play, Played, events};

/// One sequence.
pub struct Case {
    pub vendor: &'static str,
    /// What is odd about it.
    pub name: String,
    /// The page, SDK or public issue that shows it.
    pub source: &'static str,
    pub api: Api,
    pub payload: Option<Value>,
    pub body: Body,
    pub want: Want,
}

pub enum Body {
    /// Events, as they are.
    Stream(String),
    /// An answer to a call by stream, in another framing.
    Answer(Reply),
    /// One JSON document in answer to a plain call.
    Plain(String),
}

/// What a sequence comes to.
#[derive(Clone, Debug)]
pub enum Want {
    /// Whole, with this text and perhaps this usage, from the first key.
    Whole(&'static str, Option<Usage>),
    /// Nothing of it has come: the second key serves, and the first has had such a fault (if any).
    Next(Option<FailureKind>),
    /// It fails after this text has come, with this code. Nobody else is asked.
    Fails(&'static str, &'static str),
    /// Refused with this code: no retry heals it, nobody is out for it, and it was sent once.
    Final(&'static str),
}

impl Case {
    fn play(&self) -> Played {
        let mut play = Play::new(self.api).of(self.vendor);
        if let Some(payload) = &self.payload {
            play = play.payload(payload.clone());
        }
        match &self.body {
            Body::Stream(text) => play.stream(events(text.clone())),
            Body::Answer(reply) => play.stream(reply.clone()),
            Body::Plain(text) => play.plain(Reply::json(200, text.clone())),
        }
    }

    /// What is not as it should be.
    fn check(&self) -> Option<String> {
        let played = self.play();
        let code = played.error.as_ref().map(|error| error.code().to_string());
        let asked = (played.first, played.second);
        let good = match &self.want {
            Want::Whole(text, usage) => {
                code.is_none()
                    && asked == (1, 0)
                    && played.text == *text
                    && usage.is_none_or(|usage| played.usage == Some(usage))
                    && played.standing.fault.is_none()
            }
            Want::Next(fault) => {
                code.is_none()
                    && asked == (1, 1)
                    && played.text == "fine"
                    && (fault.is_none() || played.standing.fault == *fault)
            }
            Want::Fails(text, fails) => {
                code.as_deref() == Some(*fails) && asked == (1, 0) && played.text == *text
            }
            Want::Final(fails) => {
                code.as_deref() == Some(*fails)
                    && asked == (1, 0)
                    && played.standing.fault.is_none()
                    && played
                        .error
                        .as_ref()
                        .is_some_and(|error| !error.is_retryable())
            }
        };
        (!good).then(|| {
            format!(
                "{} / {}: want {:?}, got {asked:?} {:?} {:?} {:?} {:?}",
                self.vendor,
                self.name,
                self.want,
                played.text,
                played.usage,
                played.standing.fault,
                played.error
            )
        })
    }
}

fn all() -> Vec<Case> {
    [
        chat::cases(),
        framing::cases(),
        responses::cases(),
        messages::cases(),
        gemini::cases(),
        cohere::cases(),
        plain::cases(),
        bedrock::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn every_sequence_comes_to_what_its_vendor_means() {
    let cases = all();
    let wrong: Vec<_> = cases.iter().filter_map(Case::check).collect();
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn every_sequence_has_a_source_and_a_name_of_its_own() {
    let cases = all();
    let mut names = BTreeSet::new();
    for case in &cases {
        let name = format!("{} / {}", case.vendor, case.name);
        assert!(!case.source.is_empty(), "{name}");
        assert!(names.insert(name.clone()), "{name} twice");
    }
    let vendors: BTreeSet<_> = cases.iter().map(|case| case.vendor).collect();
    println!("{} sequences of {} vendors", cases.len(), vendors.len());
    assert!(vendors.len() >= 15, "{vendors:?}");
    assert!(cases.len() >= 200, "{}", cases.len());
}

/// `data` events.
fn data(parts: &[Value]) -> String {
    parts.iter().map(|part| raw(&part.to_string())).collect()
}

/// One `data` event, as it is.
fn raw(text: &str) -> String {
    format!("data: {text}\n\n")
}

/// Events named by their type.
fn named(parts: &[Value]) -> String {
    let event = |part: &Value| {
        let name = part["type"].as_str().unwrap();
        format!("event: {name}\ndata: {part}\n\n")
    };
    parts.iter().map(event).collect()
}

const DONE: &str = "data: [DONE]\n\n";

/// A chunk of a chat completion.
fn chunk(delta: Value, finish: Option<&str>) -> Value {
    json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
}

fn said(text: &str) -> Value {
    chunk(json!({"content": text}), None)
}

fn role() -> Value {
    chunk(json!({"role": "assistant", "content": ""}), None)
}

fn stop() -> Value {
    chunk(json!({}), Some("stop"))
}

fn with(mut value: Value, name: &str, member: Value) -> Value {
    value[name] = member;
    value
}
