//! The two files that a manager answers: results become state, and calls go their way.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use credpool::{
    Attempt, Auth, ChunkSource, Error, ErrorCode, FailurePolicy, Hook, Manager, ManualClock,
    Options, Outcome, ProviderExecutor, Request, Response, RoundRobin, Rule, StreamChunk,
    StreamCommit,
};
use serde_json::{Value, json};

use super::cases::{Differences, flag, integer, list, optional, replay, text};
use super::compare::{self, differences, instant, record};

#[test]
fn mark_result() {
    replay("mark_result.jsonl", |case| {
        let bench = Bench::of(case);
        let mut found = Vec::new();
        for (number, step) in list(case, "steps").iter().enumerate() {
            bench.advance(step);
            let before = bench.records();
            let result = &step["result"];
            bench.manager.mark_result(&outcome(result));
            let seen = bench.seen.take();
            let after = bench.records();

            let id = text(result, "auth_id");
            let mut expected = json!({
                "auth": record(&step["auth"]),
                "hooks": [],
                "others": [],
            });
            if flag(step, "on_result") {
                expected["hooks"] = json!([{
                    "auth_id": id,
                    "model": text(result, "model"),
                    "success": flag(result, "success"),
                }]);
            }
            let actual = json!({
                "auth": bench.manager.get_by_id(id).map_or(Value::Null, |auth| written(&auth)),
                "hooks": seen
                    .iter()
                    .map(|seen| json!({
                        "auth_id": seen["auth_id"],
                        "model": seen["model"],
                        "success": seen["success"],
                    }))
                    .collect::<Vec<_>>(),
                "others": changed(&before, &after)
                    .into_iter()
                    .filter(|(changed, _)| changed != id)
                    .map(|(_, record)| record)
                    .collect::<Vec<_>>(),
            });
            found.extend(in_step(number, &expected, &actual));
        }
        found
    });
}

#[test]
fn execute() {
    replay("execute.jsonl", |case| {
        let bench = Bench::of(case);
        for identifier in list(case, "executors") {
            bench.manager.register_executor(Scripted {
                identifier: identifier.as_str().expect("executors are named").to_owned(),
                script: Arc::clone(&bench.script),
            });
        }
        let mut before = bench.records();
        let mut found = Vec::new();
        for (number, step) in list(case, "steps").iter().enumerate() {
            bench.advance(step);
            bench.script.load(list(step, "script"));
            let answer = bench.call(step);
            let after = bench.records();
            let (calls, diverged) = bench.script.unload();
            let expected = json!({
                "calls": list(step, "calls"),
                "diverged": [],
                "answer": expected_answer(step),
                "hooks": list(step, "hooks").iter().map(result).collect::<Vec<_>>(),
                "auths_changed": list(step, "auths_changed")
                    .iter()
                    .map(|auth| (text(auth, "id").to_owned(), record(auth)))
                    .collect::<BTreeMap<_, _>>(),
            });
            let actual = json!({
                "calls": calls,
                "diverged": diverged,
                "answer": in_terms_of(&expected["answer"], answer),
                "hooks": bench.seen.take(),
                "auths_changed": changed(&before, &after),
            });
            found.extend(in_step(number, &expected, &actual));
            before = after;
        }
        found
    });
}

/// A manager with the records of a case, and all that watches it.
struct Bench {
    manager: Manager,
    clock: ManualClock,
    seen: Seen,
    script: Arc<Script>,
}

impl Bench {
    fn of(case: &Value) -> Self {
        let clock = ManualClock::at(instant(text(case, "start")).expect("a case starts somewhen"));
        let seen = Seen::default();
        let manager = Manager::builder()
            .clock(clock.clone())
            .hook(seen.clone())
            .selector(RoundRobin::new())
            .policy(policy())
            .build()
            .expect("these settings are right");
        for auth in list(case, "auths") {
            let auth: Auth = serde_json::from_value(auth.clone()).expect("a record");
            manager.register(auth).expect("a fit record");
        }
        Self {
            manager,
            clock,
            seen,
            script: Arc::default(),
        }
    }

    fn advance(&self, step: &Value) {
        let nanos = u64::try_from(integer(step, "advance_ns")).expect("time goes forward");
        self.clock.advance(Duration::from_nanos(nanos));
    }

    /// All records as they are now, by id.
    fn records(&self) -> BTreeMap<String, Value> {
        self.manager
            .list()
            .iter()
            .map(|auth| (auth.id.clone(), written(auth)))
            .collect()
    }

    fn call(&self, step: &Value) -> Value {
        let providers: Vec<&str> = list(step, "providers")
            .iter()
            .map(|provider| provider.as_str().expect("providers are named"))
            .collect();
        let request = Request::new(text(step, "model"), "{}");
        let options = Options::new();
        let whole = |answer: Result<Response, Error>| match answer {
            Ok(response) => json!({"payload": String::from_utf8_lossy(&response.payload)}),
            Err(error) => json!({"error": printed(&error)}),
        };
        match text(step, "op") {
            "execute" => whole(self.manager.execute(&providers, &request, &options)),
            "count" => whole(self.manager.execute_count(&providers, &request, &options)),
            "stream" => match self.manager.execute_stream(&providers, &request, &options) {
                Err(error) => json!({"error": printed(&error)}),
                Ok(stream) => {
                    let items = stream.map(|item| match item {
                        Ok(chunk) => json!({"payload": String::from_utf8_lossy(&chunk.payload)}),
                        Err(error) => json!({"error": printed(&error)}),
                    });
                    json!({"items": items.collect::<Vec<_>>()})
                }
            },
            other => panic!("`{other}` is no call"),
        }
    }
}

/// The reference's table: what it does not name marks a credential, but does not block it.
fn policy() -> FailurePolicy {
    const HALF_AN_HOUR: Duration = Duration::from_secs(30 * 60);
    const MINUTE: Duration = Duration::from_secs(60);
    FailurePolicy::empty()
        .with_commit(StreamCommit::OnOpen)
        .with_rule(
            Rule::status(401)
                .cooldown(HALF_AN_HOUR)
                .message("unauthorized"),
        )
        .with_rule(
            Rule::any_of([402, 403])
                .cooldown(HALF_AN_HOUR)
                .message("payment_required"),
        )
        .with_rule(
            Rule::status(429)
                .cooldown(HALF_AN_HOUR)
                .quota()
                .message("quota exhausted"),
        )
        .with_rule(
            Rule::any_of([408, 500, 502, 503, 504])
                .cooldown(MINUTE)
                .message("transient upstream error"),
        )
}

fn outcome(result: &Value) -> Outcome<'_> {
    let (id, provider, model) = (
        text(result, "auth_id"),
        text(result, "provider"),
        text(result, "model"),
    );
    if flag(result, "success") {
        return Outcome::success(id, provider, model);
    }
    let error = optional(result, "error").map(|error| {
        coded(error, integer(error, "http_status")).with_retryable(flag(error, "retryable"))
    });
    Outcome::failure(id, provider, model, error)
}

/// An error with the code, if any, and the message of a trace.
fn coded(error: &Value, status: i64) -> Error {
    let message = text(error, "message");
    let coded = match text(error, "code") {
        "" => Error::message_only(message),
        code => Error::new(ErrorCode::from(code), message),
    };
    with_status(coded, status)
}

fn with_status(error: Error, status: i64) -> Error {
    match u16::try_from(status).expect("a status") {
        0 => error,
        status => error.with_http_status(status),
    }
}

/// What the hooks heard of results.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Value>>>);

impl Seen {
    fn take(&self) -> Vec<Value> {
        std::mem::take(&mut locked(&self.0))
    }
}

impl Hook for Seen {
    fn on_result(&self, outcome: &Outcome<'_>) {
        let mut seen = json!({
            "auth_id": outcome.auth_id,
            "provider": outcome.provider,
            "model": outcome.model,
            "success": outcome.is_success(),
        });
        if let Some(error) = outcome.error() {
            seen["error"] = json!({
                "code": error.code().as_str(),
                "message": error.message(),
                "retryable": error.is_retryable(),
                "http_status": error.http_status().unwrap_or(0),
            });
        }
        if outcome.is_abandoned() {
            seen["abandoned"] = true.into();
        }
        locked(&self.0).push(result(&seen));
    }
}

/// A result in a form that compares.
fn result(seen: &Value) -> Value {
    let mut compared = json!({
        "auth_id": text(seen, "auth_id"),
        "provider": text(seen, "provider"),
        "model": text(seen, "model"),
        "success": flag(seen, "success"),
    });
    if let Some(error) = optional(seen, "error") {
        compared["error"] = compare::error(error);
    }
    if flag(seen, "abandoned") {
        compared["abandoned"] = true.into();
    }
    compared
}

/// What the executors are to answer in one step, and what they were asked.
#[derive(Default)]
struct Script(Mutex<Step>);

#[derive(Default)]
struct Step {
    entries: VecDeque<Value>,
    calls: Vec<Value>,
    diverged: Vec<String>,
}

impl Script {
    fn load(&self, entries: &[Value]) {
        locked(&self.0).entries = entries.iter().cloned().collect();
    }

    /// The calls, and what did not go by the script.
    fn unload(&self) -> (Vec<Value>, Vec<String>) {
        let mut step = std::mem::take(&mut *locked(&self.0));
        if !step.entries.is_empty() {
            let left = step.entries.len();
            step.diverged
                .push(format!("{left} entries of the script were left over"));
        }
        (step.calls, step.diverged)
    }

    fn next(&self, executor: &str, auth: &Auth, method: &str) -> Result<Value, Error> {
        let mut step = locked(&self.0);
        step.calls.push(json!({
            "executor": executor.trim().to_lowercase(),
            "auth_id": auth.id,
            "method": method,
        }));
        let Some(entry) = step.entries.pop_front() else {
            let call = step.calls.len();
            step.diverged
                .push(format!("call {call} is beyond the script"));
            return Err(Error::message_only("the script is over"));
        };
        let fits = match text(&entry, "kind") {
            "ok" => method != "stream",
            "stream" => method == "stream",
            kind => kind == "err",
        };
        if !fits {
            step.diverged
                .push(format!("`{method}` does not answer {entry}"));
        }
        match optional(&entry, "err") {
            Some(error) => Err(upstream(error)),
            None => Ok(entry),
        }
    }
}

/// An executor that answers by the script, which all executors of a case share.
struct Scripted {
    identifier: String,
    script: Arc<Script>,
}

impl Scripted {
    fn whole(&self, auth: &Auth, method: &str) -> Result<Response, Error> {
        let entry = self.script.next(&self.identifier, auth, method)?;
        Ok(Response::new(text(&entry, "payload").to_owned()))
    }
}

impl ProviderExecutor for Scripted {
    fn identifier(&self) -> &str {
        &self.identifier
    }

    fn execute(
        &self,
        _: &Attempt,
        auth: &Auth,
        _: &Request,
        _: &Options,
    ) -> Result<Response, Error> {
        self.whole(auth, "execute")
    }

    fn execute_stream(
        &self,
        _: &Attempt,
        auth: &Auth,
        _: &Request,
        _: &Options,
    ) -> Result<ChunkSource, Error> {
        let entry = self.script.next(&self.identifier, auth, "stream")?;
        let items: Vec<_> = list(&entry, "items").iter().flat_map(item).collect();
        Ok(Box::new(items.into_iter()))
    }

    fn count_tokens(
        &self,
        _: &Attempt,
        auth: &Auth,
        _: &Request,
        _: &Options,
    ) -> Result<Response, Error> {
        self.whole(auth, "count")
    }
}

/// An item of a stream: its payload, then its error.
fn item(item: &Value) -> Vec<Result<StreamChunk, Error>> {
    let payload = text(item, "payload");
    let error = optional(item, "err").map(|error| Err(upstream(error)));
    let chunk =
        (!payload.is_empty() || error.is_none()).then(|| Ok(StreamChunk::new(payload.to_owned())));
    chunk.into_iter().chain(error).collect()
}

fn upstream(error: &Value) -> Error {
    let (message, status) = (text(error, "message").to_owned(), integer(error, "status"));
    match text(error, "type") {
        "plain" => Error::other(io::Error::other(message)),
        "status" => with_status(Error::message_only(message), status),
        "auth" => coded(error, status).with_retryable(flag(error, "retryable")),
        "wrapped" => Error::other(Wrap(with_status(Error::message_only(message), status))),
        other => panic!("`{other}` is no kind of error"),
    }
}

/// Somebody else's error around one of ours.
#[derive(Debug)]
struct Wrap(Error);

impl fmt::Display for Wrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wrap: {}", self.0)
    }
}

impl std::error::Error for Wrap {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// What a call is to answer: a stream is cut after its first error, and an item with payload and error is two.
fn expected_answer(step: &Value) -> Value {
    if let Some(error) = optional(step, "error") {
        return json!({"error": expected_error(error, list(step, "calls").is_empty())});
    }
    if text(step, "op") != "stream" {
        return json!({"payload": text(step, "payload")});
    }
    let mut items = Vec::new();
    for chunk in list(step, "chunks") {
        let (payload, error) = (text(chunk, "payload"), optional(chunk, "err"));
        if !payload.is_empty() || error.is_none() {
            items.push(json!({"payload": payload}));
        }
        if let Some(error) = error {
            items.push(json!({"error": expected_error(error, false)}));
            break;
        }
    }
    json!({"items": items})
}

/// The library's own errors, which no upstream has seen, are known by their code alone.
fn expected_error(error: &Value, own: bool) -> Value {
    let code = text(error, "code");
    if own && OWN_CODES.contains(&code) {
        return code.into();
    }
    let mut expected = json!({
        "text": text(error, "text"),
        "status": integer(error, "status"),
        "code": code,
        "retryable": flag(error, "retryable"),
    });
    // The message of an error that is not the library's type is its text.
    expected["message"] = if flag(error, "is_auth_error") {
        text(error, "message").into()
    } else {
        text(error, "text").into()
    };
    expected
}

fn printed(error: &Error) -> Value {
    json!({
        "text": error.to_string(),
        "status": error.http_status().unwrap_or(0),
        "code": error.code().as_str(),
        "message": error.message(),
        "retryable": error.is_retryable(),
    })
}

/// The answer, with its error by code alone where nothing else is expected.
fn in_terms_of(expected: &Value, mut answer: Value) -> Value {
    if expected["error"].is_string()
        && let Some(error) = answer.get_mut("error")
    {
        *error = error["code"].take();
    }
    answer
}

fn written(auth: &Auth) -> Value {
    record(&serde_json::to_value(auth).expect("a record is written"))
}

fn changed(
    before: &BTreeMap<String, Value>,
    after: &BTreeMap<String, Value>,
) -> BTreeMap<String, Value> {
    let gone = before
        .keys()
        .filter(|id| !after.contains_key(*id))
        .map(|id| (id.clone(), Value::Null));
    after
        .iter()
        .filter(|(id, record)| before.get(*id) != Some(record))
        .map(|(id, record)| (id.clone(), record.clone()))
        .chain(gone)
        .collect()
}

fn in_step(number: usize, expected: &Value, actual: &Value) -> Differences {
    differences(expected, actual)
        .into_iter()
        .map(|difference| format!("step {}: {difference}", number + 1))
        .collect()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const OWN_CODES: [&str; 4] = [
    "provider_not_found",
    "executor_not_found",
    "auth_not_found",
    "auth_unavailable",
];
