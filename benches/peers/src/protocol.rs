//! What the bench and its processes say to each other: a line of JSON each. The first line is the set-up, every other one a job, and each
//! job is followed by its measurement.

use std::error::Error;

use serde::{Deserialize, Serialize};

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

/// The first line to a client.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Setup {
    /// The upstream's address, up to the version of its API.
    pub(crate) base_url: String,
    /// The file of the upstream's root certificate, where it speaks TLS.
    pub(crate) root: Option<String>,
    /// How many credentials the pool has.
    pub(crate) credentials: usize,
    /// The processor cores that the client may use; all where there are none.
    pub(crate) cores: Vec<usize>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Job {
    /// Calls by so many callers, each of which waits for its answer.
    Calls(Load),
    /// One call, measured from outside: what a start costs.
    First,
    /// Picks without a call: the pool alone.
    Picks { times: u32 },
    /// Calls of which each is answered with this status first, or with none of them where it is 0. Each is made with two keys
    /// without a past.
    Failovers { status: u16, times: u32 },
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Load {
    pub(crate) stream: bool,
    /// Threads; tasks where the client is asynchronous.
    pub(crate) callers: usize,
    /// Between an answer and the next call of the same caller.
    pub(crate) think_ms: u64,
    /// What is measured, after every caller has had its first answer.
    pub(crate) window_ms: u64,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Measured {
    /// Calls that ended within the window.
    pub(crate) calls: u64,
    /// How long the window was.
    pub(crate) seconds: f64,
    /// What the client's process used of its cores in the window.
    pub(crate) cpu_seconds: f64,
    /// How long each of the calls took.
    pub(crate) micros: Vec<u32>,
}

impl Measured {
    pub(crate) fn per_second(&self) -> f64 {
        self.calls as f64 / self.seconds
    }

    pub(crate) fn cpu_micros(&self) -> f64 {
        self.cpu_seconds * 1e6 / self.calls.max(1) as f64
    }
}

pub(crate) const MODEL: &str = "gpt-5";

/// Events of a stream that bring a word, and the one that ends the choice.
pub(crate) const EVENTS: usize = 101;

/// What every client sends.
pub(crate) fn payload(stream: bool) -> String {
    let messages = serde_json::json!([{"role": "user", "content": "word ".repeat(100)}]);
    serde_json::json!({"model": MODEL, "stream": stream, "messages": messages}).to_string()
}
