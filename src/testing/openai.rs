use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::form::field;
use super::{ReceivedRequest, Reply, Upstream};

/// A loopback server that behaves like a chat completions API, key by key, and like a token endpoint whose refresh tokens
/// serve once.
///
/// A served chat says `You said: ` and the last message back, whole or as a stream of words; a count counts words. A key
/// that it does not know is answered with 401.
///
/// ```
/// use credpool::testing::{KeyBehaviour, OpenAiUpstream};
///
/// let upstream = OpenAiUpstream::start();
/// upstream.set_key("key-1", KeyBehaviour::RateLimited { retry_after: 30 });
/// upstream.set_key("key-2", KeyBehaviour::Serve);
/// assert_eq!(upstream.calls("key-2"), 0);
/// ```
pub struct OpenAiUpstream {
    upstream: Upstream,
    state: Arc<Mutex<State>>,
}

/// What an [`OpenAiUpstream`] does with the bearer of a key.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum KeyBehaviour {
    /// Serves.
    Serve,
    /// Answers 429 with code `rate_limit_exceeded` and a `retry-after` of so many seconds.
    RateLimited {
        /// The seconds.
        retry_after: u64,
    },
    /// Answers 429 with code `insufficient_quota`.
    QuotaUsedUp,
    /// Answers 401 with code `invalid_api_key`.
    Unauthorized,
    /// Answers with this status.
    Status(u16),
    /// Answers this, whatever is asked.
    Reply(Reply),
}

#[derive(Default)]
struct State {
    keys: HashMap<String, KeyBehaviour>,
    calls: HashMap<String, usize>,
    /// The behaviour of the access tokens that each unused refresh token gives.
    grants: HashMap<String, KeyBehaviour>,
    used_grants: Vec<String>,
    issued: usize,
    replays: usize,
    lifetime: Option<Duration>,
}

impl OpenAiUpstream {
    /// Starts the server; it knows no key.
    ///
    /// # Panics
    /// When no socket can be opened on loopback.
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State {
            lifetime: Some(Duration::from_secs(3600)),
            ..State::default()
        }));
        let upstream = Upstream::start({
            let state = Arc::clone(&state);
            move |request| answer(&state, request)
        });
        Self { upstream, state }
    }

    /// The value for attribute `base_url`.
    pub fn base_url(&self) -> String {
        format!("{}/v1", self.upstream.url())
    }

    /// The value for attribute `token_url`.
    pub fn token_url(&self) -> String {
        format!("{}/token", self.upstream.url())
    }

    /// The server itself, with the requests that it got.
    pub fn server(&self) -> &Upstream {
        &self.upstream
    }

    /// Says what becomes of a key or an access token, from now on.
    pub fn set_key(&self, key: impl Into<String>, behaviour: KeyBehaviour) {
        self.state.lock().keys.insert(key.into(), behaviour);
    }

    /// Makes `refresh_token` good for one refresh: it gives `access-1`, `access-2`… with this behaviour, and the next
    /// refresh token, `refresh-1`, `refresh-2`…
    ///
    /// ```
    /// use credpool::testing::{KeyBehaviour, OpenAiUpstream};
    /// use credpool::{Attempt, Auth, OAuthTokens, ProviderExecutor, SystemClock, provider::OpenAi};
    ///
    /// let upstream = OpenAiUpstream::start();
    /// upstream.set_login("first", KeyBehaviour::Serve);
    /// let auth = Auth::oauth("openai", OAuthTokens::new("old").with_refresh_token("first"))
    ///     .with_attribute("token_url", upstream.token_url());
    ///
    /// let auth = OpenAi::new().refresh(&Attempt::for_tests(SystemClock), &auth)?;
    /// let metadata = auth.metadata.unwrap();
    /// assert_eq!(metadata.text("access_token"), Some("access-1"));
    /// assert_eq!(metadata.text("refresh_token"), Some("refresh-1"));
    /// # Ok::<(), credpool::Error>(())
    /// ```
    pub fn set_login(&self, refresh_token: impl Into<String>, behaviour: KeyBehaviour) {
        self.state
            .lock()
            .grants
            .insert(refresh_token.into(), behaviour);
    }

    /// Sets the `expires_in` of token answers; `None` leaves it out. Default: one hour.
    pub fn set_token_lifetime(&self, lifetime: Option<Duration>) {
        self.state.lock().lifetime = lifetime;
    }

    /// How many calls came with this key.
    pub fn calls(&self, key: &str) -> usize {
        self.state.lock().calls.get(key).copied().unwrap_or(0)
    }

    /// How many refreshes were granted.
    pub fn refreshes(&self) -> usize {
        self.state.lock().issued
    }

    /// How often a refresh token came that had been used before: what a pool must never do.
    pub fn replays(&self) -> usize {
        self.state.lock().replays
    }
}

impl fmt::Debug for OpenAiUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiUpstream")
            .field("upstream", &self.upstream)
            .finish_non_exhaustive()
    }
}

fn answer(state: &Mutex<State>, request: &ReceivedRequest) -> Reply {
    if request.method != "POST" {
        return problem(405, "invalid_request_error", "method_not_allowed");
    }
    if request.path == "/token" {
        return grant(&mut state.lock(), request);
    }
    let key = request.bearer().unwrap_or_default();
    let behaviour = {
        let mut state = state.lock();
        *state.calls.entry(key.to_owned()).or_default() += 1;
        state.keys.get(key).cloned()
    };
    match behaviour {
        Some(KeyBehaviour::Serve) => serve(request),
        Some(KeyBehaviour::RateLimited { retry_after }) => {
            problem(429, "requests", "rate_limit_exceeded")
                .header("retry-after", &retry_after.to_string())
        }
        Some(KeyBehaviour::QuotaUsedUp) => problem(429, "insufficient_quota", "insufficient_quota"),
        Some(KeyBehaviour::Status(status)) => problem(status, "server_error", "server_error"),
        Some(KeyBehaviour::Reply(reply)) => reply,
        Some(KeyBehaviour::Unauthorized) | None => {
            problem(401, "invalid_request_error", "invalid_api_key")
        }
    }
}

fn serve(request: &ReceivedRequest) -> Reply {
    let payload = request.json();
    match request.path.as_str() {
        "/v1/chat/completions" if payload["stream"] == true => stream(&payload),
        "/v1/chat/completions" => chat(&payload),
        "/v1/responses/input_tokens" => {
            let count = json!({"object": "response.input_tokens", "input_tokens": words(&payload["input"])});
            Reply::json(200, count.to_string())
        }
        _ => problem(404, "invalid_request_error", "unknown_url"),
    }
}

fn chat(payload: &Value) -> Reply {
    let text = echo(payload);
    let completion = json!({
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": payload["model"],
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": "stop",
        }],
        "usage": usage(payload, &text),
    });
    Reply::json(200, completion.to_string()).header("x-request-id", "req-1")
}

fn stream(payload: &Value) -> Reply {
    let text = echo(payload);
    let chunk = |choices: Value, usage: Value| {
        json!({
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "model": payload["model"],
            "choices": choices,
            "usage": usage,
        })
        .to_string()
    };
    let delta = |delta: Value, finish: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
        chunk(json!([choice]), Value::Null)
    };
    let mut events = vec![delta(
        json!({"role": "assistant", "content": ""}),
        Value::Null,
    )];
    for word in text.split_inclusive(' ') {
        events.push(delta(json!({"content": word}), Value::Null));
    }
    events.push(delta(json!({}), "stop".into()));
    if payload["stream_options"]["include_usage"] == true {
        events.push(chunk(json!([]), usage(payload, &text)));
    }
    events.push("[DONE]".to_owned());
    Reply::sse(events)
}

fn grant(state: &mut State, request: &ReceivedRequest) -> Reply {
    if field(request, "grant_type").as_deref() != Some("refresh_token") {
        return Reply::json(400, r#"{"error":"unsupported_grant_type"}"#);
    }
    let used = field(request, "refresh_token").unwrap_or_default();
    let Some(behaviour) = state.grants.remove(&used) else {
        state.replays += usize::from(state.used_grants.contains(&used));
        let body = r#"{"error":"invalid_grant","error_description":"the refresh token is unknown or was used before"}"#;
        return Reply::json(400, body);
    };
    state.used_grants.push(used);
    state.issued += 1;
    let number = state.issued;
    let (access, refresh) = (format!("access-{number}"), format!("refresh-{number}"));
    state.keys.insert(access.clone(), behaviour.clone());
    state.grants.insert(refresh.clone(), behaviour);
    let mut answer =
        json!({"access_token": access, "refresh_token": refresh, "token_type": "Bearer"});
    if let Some(lifetime) = state.lifetime {
        answer["expires_in"] = lifetime.as_secs().into();
    }
    Reply::json(200, answer.to_string())
}

fn problem(status: u16, kind: &str, code: &str) -> Reply {
    let message = format!("This is a test server's answer {status}.");
    let body = json!({"error": {"message": message, "type": kind, "param": null, "code": code}});
    Reply::json(status, body.to_string())
}

fn echo(payload: &Value) -> String {
    let messages = payload["messages"].as_array();
    let last = messages.and_then(|messages| messages.last());
    let said = last.and_then(|message| message["content"].as_str());
    format!("You said: {}", said.unwrap_or_default())
}

fn usage(payload: &Value, text: &str) -> Value {
    let (input, output) = (words(&payload["messages"]), text.split_whitespace().count());
    json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output})
}

/// The words of all texts under `content` and `text`.
fn words(value: &Value) -> usize {
    match value {
        Value::String(text) => text.split_whitespace().count(),
        Value::Array(values) => values.iter().map(words).sum(),
        Value::Object(members) => ["content", "text"]
            .iter()
            .filter_map(|name| members.get(*name))
            .map(words)
            .sum(),
        _ => 0,
    }
}
