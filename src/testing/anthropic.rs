//! A loopback server that behaves like the Messages API.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::keys::{KeyBehaviour, Keys, words};
use super::{ReceivedRequest, Reply, Upstream};

/// A loopback server that behaves like the [Messages API](https://docs.anthropic.com/en/api/messages), key by key, and like
/// a token endpoint whose refresh tokens serve once.
///
/// A served message says `You said: ` and the last message back, whole or as a stream of words; a count counts words. A key
/// comes in `x-api-key` or as a bearer token; one that it does not know is answered with 401. As the API does, it refuses
/// requests without `anthropic-version`, messages without `max_tokens`, and counts with it.
///
/// ```
/// use credpool::provider::Anthropic;
/// use credpool::testing::{AnthropicUpstream, KeyBehaviour};
/// use credpool::{Attempt, Auth, Options, ProviderExecutor, Request, SystemClock};
///
/// let upstream = AnthropicUpstream::start();
/// upstream.set_key("key-1", KeyBehaviour::Serve);
///
/// let auth = Auth::api_key("anthropic", "key-1").with_attribute("base_url", upstream.base_url());
/// let payload = r#"{"model":"claude","max_tokens":64,"messages":[{"role":"user","content":"Hello"}]}"#;
/// let response = Anthropic::new().execute(
///     &Attempt::for_tests(SystemClock),
///     &auth,
///     &Request::new("claude", payload),
///     &Options::new(),
/// )?;
/// assert_eq!(response.reply_text.as_deref(), Some("You said: Hello"));
/// # Ok::<(), credpool::Error>(())
/// ```
pub struct AnthropicUpstream {
    upstream: Upstream,
    keys: Arc<Mutex<Keys>>,
}

impl AnthropicUpstream {
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
        self.upstream.url()
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
    /// use std::time::Duration;
    ///
    /// use credpool::testing::{AnthropicUpstream, KeyBehaviour};
    ///
    /// let upstream = AnthropicUpstream::start();
    /// upstream.set_login("refresh", KeyBehaviour::Serve);
    /// upstream.set_token_lifetime(Some(Duration::from_secs(60)));
    /// assert_eq!(upstream.calls("refresh"), 0);
    /// ```
    pub fn set_login(&self, refresh_token: impl Into<String>, behaviour: KeyBehaviour) {
        self.keys.lock().set_login(refresh_token.into(), behaviour);
    }

    /// Sets the `expires_in` of token answers; `None` leaves it out. Default: one hour.
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

impl fmt::Debug for AnthropicUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnthropicUpstream")
            .field("upstream", &self.upstream)
            .finish_non_exhaustive()
    }
}

fn answer(keys: &Mutex<Keys>, request: &ReceivedRequest) -> Reply {
    if request.method != "POST" {
        return problem(405, "invalid_request_error", "Method Not Allowed");
    }
    if request.path == "/token" {
        return keys.lock().grant(request);
    }
    let key = request.header("x-api-key").or_else(|| request.bearer());
    let behaviour = keys.lock().called(key.unwrap_or_default());
    match behaviour {
        Some(KeyBehaviour::Serve) => serve(request),
        Some(KeyBehaviour::RateLimited { retry_after }) => {
            let what = "This request would exceed your organization's rate limit.";
            problem(429, "rate_limit_error", what).header("retry-after", &retry_after.to_string())
        }
        Some(KeyBehaviour::QuotaUsedUp) => {
            let what = "There is an issue with your billing or payment information.";
            problem(402, "billing_error", what)
        }
        Some(KeyBehaviour::Status(status)) => {
            let what = format!("This is a test server's answer {status}.");
            problem(status, kind_of(status), &what)
        }
        Some(KeyBehaviour::Reply(reply)) => reply,
        Some(KeyBehaviour::Unauthorized) | None => {
            problem(401, "authentication_error", "invalid x-api-key")
        }
    }
}

fn serve(request: &ReceivedRequest) -> Reply {
    if request.header("anthropic-version").is_none() {
        let what = "anthropic-version: header is required";
        return problem(400, "invalid_request_error", what);
    }
    let payload = request.json();
    let has = |name: &str| payload.get(name).is_some();
    let counts = match request.path.as_str() {
        "/v1/messages" => false,
        "/v1/messages/count_tokens" => true,
        _ => return problem(404, "not_found_error", "Not Found"),
    };
    if let Some(name) = COUNT_REFUSES.iter().find(|name| counts && has(name)) {
        let what = format!("{name}: Extra inputs are not permitted");
        return problem(400, "invalid_request_error", &what);
    }
    let needed = ["model", "messages", "max_tokens"];
    let needed = &needed[..needed.len() - usize::from(counts)];
    if let Some(name) = needed.iter().find(|name| !has(name)) {
        return problem(
            400,
            "invalid_request_error",
            &format!("{name}: Field required"),
        );
    }
    if counts {
        let count = json!({"input_tokens": input_words(&payload)});
        Reply::json(200, count.to_string()).header("request-id", REQUEST_ID)
    } else if payload["stream"] == true {
        stream(&payload)
    } else {
        let text = echo(&payload);
        let content = json!([{"type": "text", "text": text}]);
        let message = message(&payload, &content, &json!("end_turn"), words(&json!(text)));
        Reply::json(200, message.to_string()).header("request-id", REQUEST_ID)
    }
}

/// The events of <https://docs.anthropic.com/en/docs/build-with-claude/streaming>, in their order.
fn stream(payload: &Value) -> Reply {
    let text = echo(payload);
    let mut events = vec![
        json!({"type": "message_start", "message": message(payload, &json!([]), &Value::Null, 1)}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "ping"}),
    ];
    for word in text.split_inclusive(' ') {
        let delta = json!({"type": "text_delta", "text": word});
        events.push(json!({"type": "content_block_delta", "index": 0, "delta": delta}));
    }
    events.extend([
        json!({"type": "content_block_stop", "index": 0}),
        json!({
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": null},
            "usage": {"output_tokens": words(&json!(text))},
        }),
        json!({"type": "message_stop"}),
    ]);
    let named = events.iter().map(|event| {
        let name = event["type"].as_str().unwrap_or_default().to_owned();
        (name, event.to_string())
    });
    Reply::named_sse(named).header("request-id", REQUEST_ID)
}

fn message(payload: &Value, content: &Value, stop_reason: &Value, output: usize) -> Value {
    json!({
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": payload["model"],
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": null,
        "usage": {
            "input_tokens": input_words(payload),
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": output,
        },
    })
}

fn input_words(payload: &Value) -> usize {
    words(&payload["system"]) + words(&payload["messages"])
}

fn echo(payload: &Value) -> String {
    let messages = payload["messages"].as_array();
    let content = messages
        .and_then(|messages| messages.last())
        .map_or(&Value::Null, |last| &last["content"]);
    let said = content.as_str().or_else(|| content[0]["text"].as_str());
    format!("You said: {}", said.unwrap_or_default())
}

/// The shape of <https://docs.anthropic.com/en/api/errors>.
fn problem(status: u16, kind: &str, message: &str) -> Reply {
    let error = json!({"type": kind, "message": message});
    let body = json!({"type": "error", "error": error, "request_id": REQUEST_ID});
    Reply::json(status, body.to_string()).header("request-id", REQUEST_ID)
}

/// The type of the error that has this status.
fn kind_of(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

/// What belongs to a message and not to a count.
const COUNT_REFUSES: [&str; 8] = [
    "max_tokens",
    "stream",
    "metadata",
    "temperature",
    "top_p",
    "top_k",
    "stop_sequences",
    "service_tier",
];

const REQUEST_ID: &str = "req_1";
