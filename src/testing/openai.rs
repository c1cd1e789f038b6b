//! A loopback server that behaves like the chat completions and Responses APIs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::keys::{KeyBehaviour, Keys, words};
use super::{ReceivedRequest, Reply, Upstream, responses};

/// A loopback server that behaves like the chat completions API and the Responses API, key by key, and like a token
/// endpoint whose refresh tokens serve once.
///
/// A served call says `You said: ` and the last message back, whole or as a stream of words; a count counts words. Each
/// carries `x-ratelimit-*` headers: of 10,000 requests, those of this key are gone, of 1,000,000 tokens 1,000. A key that it
/// does not know is answered with 401.
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
    keys: Arc<Mutex<Keys>>,
}

impl OpenAiUpstream {
    /// Starts the server; it knows no key.
    ///
    /// # Panics
    /// When no socket can be opened on loopback.
    pub fn start() -> Self {
        let keys = Arc::new(Mutex::new(Keys::new()));
        let upstream = Upstream::start({
            let keys = Arc::clone(&keys);
            move |request| answer(&keys, request)
        });
        Self { upstream, keys }
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
        self.keys.lock().set(key.into(), behaviour);
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
        self.keys.lock().set_login(refresh_token.into(), behaviour);
    }

    /// Sets the `expires_in` of token answers; `None` leaves it out. Default: one hour.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use credpool::testing::OpenAiUpstream;
    ///
    /// let upstream = OpenAiUpstream::start();
    /// upstream.set_token_lifetime(Some(Duration::from_secs(60)));
    /// ```
    pub fn set_token_lifetime(&self, lifetime: Option<Duration>) {
        self.keys.lock().lifetime = lifetime;
    }

    /// How many calls came with this key.
    pub fn calls(&self, key: &str) -> usize {
        self.keys.lock().calls(key)
    }

    /// How many refreshes were granted.
    pub fn refreshes(&self) -> usize {
        self.keys.lock().issued
    }

    /// How often a refresh token came that had been used before: what a pool must never do.
    pub fn replays(&self) -> usize {
        self.keys.lock().replays
    }
}

impl fmt::Debug for OpenAiUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiUpstream")
            .field("upstream", &self.upstream)
            .finish_non_exhaustive()
    }
}

fn answer(keys: &Mutex<Keys>, request: &ReceivedRequest) -> Reply {
    if request.method != "POST" {
        return problem(405, "invalid_request_error", "method_not_allowed");
    }
    if request.path == "/token" {
        return keys.lock().grant(request);
    }
    let key = request.bearer().unwrap_or_default();
    let (behaviour, calls) = {
        let mut keys = keys.lock();
        (keys.called(key), keys.calls(key))
    };
    match behaviour {
        Some(KeyBehaviour::Serve) => limited(serve(request), calls),
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
        "/v1/responses" if payload["stream"] == true => responses::streamed(&payload),
        "/v1/responses" => responses::whole(&payload),
        "/v1/responses/input_tokens" => {
            let count = json!({"object": "response.input_tokens", "input_tokens": words(&payload["input"])});
            Reply::json(200, count.to_string())
        }
        _ => problem(404, "invalid_request_error", "unknown_url"),
    }
}

/// With the headers of <https://platform.openai.com/docs/guides/rate-limits>.
fn limited(reply: Reply, calls: usize) -> Reply {
    let left = 10_000_usize.saturating_sub(calls);
    reply
        .header("x-ratelimit-limit-requests", "10000")
        .header("x-ratelimit-remaining-requests", &left.to_string())
        .header("x-ratelimit-reset-requests", "8.64s")
        .header("x-ratelimit-limit-tokens", "1000000")
        .header("x-ratelimit-remaining-tokens", "999000")
        .header("x-ratelimit-reset-tokens", "60ms")
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
