//! A loopback server that behaves like the Gemini API.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::keys::KeyBehaviour;
use super::tokens::Tokens;
use super::{ReceivedRequest, Reply, Upstream};
use crate::clock::{Clock, SystemClock};

/// A loopback server that behaves like the Gemini API, key by key, and like a token endpoint for refresh tokens, client
/// credentials and service accounts.
///
/// A served generation says `You said: ` and the last content back, whole or as a stream of words; a count counts words.
/// A key that it does not know is answered as Google answers it: with 400, an access token with 401. A key in the URL is
/// none at all.
///
/// ```
/// use credpool::testing::{GeminiUpstream, KeyBehaviour};
///
/// let upstream = GeminiUpstream::start();
/// upstream.set_key("key-1", KeyBehaviour::RateLimited { retry_after: 30 });
/// upstream.set_key("key-2", KeyBehaviour::Serve);
/// assert_eq!(upstream.calls("key-2"), 0);
/// ```
pub struct GeminiUpstream {
    upstream: Upstream,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    keys: HashMap<String, KeyBehaviour>,
    calls: HashMap<String, usize>,
    tokens: Tokens,
}

impl GeminiUpstream {
    /// Starts the server; it knows no key.
    ///
    /// # Panics
    /// When no socket can be opened on loopback.
    pub fn start() -> Self {
        Self::start_with_clock(SystemClock)
    }

    /// As [`start`](Self::start), with a clock of the test's for the times in assertions.
    ///
    /// ```
    /// use credpool::testing::GeminiUpstream;
    /// use credpool::{ManualClock, Timestamp};
    ///
    /// let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
    /// let upstream = GeminiUpstream::start_with_clock(clock.clone());
    /// assert_eq!(upstream.grants(), 0);
    /// ```
    ///
    /// # Panics
    /// When no socket can be opened on loopback.
    pub fn start_with_clock(clock: impl Clock + 'static) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        state.lock().tokens.lifetime = Some(Duration::from_secs(3600));
        let upstream = Upstream::start({
            let state = Arc::clone(&state);
            move |request| answer(&state, &clock, request)
        });
        Self { upstream, state }
    }

    /// The value for attribute `base_url`.
    pub fn base_url(&self) -> String {
        format!("{}/v1beta", self.upstream.url())
    }

    /// The value for attribute `token_url`, or for `token_uri` of a service account.
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
    /// use std::time::Duration;
    ///
    /// use credpool::testing::{GeminiUpstream, KeyBehaviour};
    ///
    /// let upstream = GeminiUpstream::start();
    /// upstream.set_login("refresh", KeyBehaviour::Serve);
    /// upstream.set_token_lifetime(Some(Duration::from_secs(60)));
    /// assert_eq!(upstream.calls("refresh"), 0);
    /// ```
    pub fn set_login(&self, refresh_token: impl Into<String>, behaviour: KeyBehaviour) {
        let mut state = self.state.lock();
        state.tokens.add_login(refresh_token.into(), behaviour);
    }

    /// Gives a client access tokens with this behaviour, as often as it asks with its secret.
    ///
    /// ```
    /// use credpool::testing::{GeminiUpstream, KeyBehaviour};
    /// use credpool::{Attempt, Auth, SystemClock, provider::refresh_tokens};
    ///
    /// let upstream = GeminiUpstream::start();
    /// upstream.set_client("my-app", "secret", KeyBehaviour::Serve);
    /// let auth = Auth::client_credentials("gemini", upstream.token_url(), "my-app", "secret");
    /// let auth = refresh_tokens(&Attempt::for_tests(SystemClock), &auth)?;
    /// assert_eq!(auth.metadata.unwrap().text("access_token"), Some("access-1"));
    /// # Ok::<(), credpool::Error>(())
    /// ```
    pub fn set_client(
        &self,
        id: impl Into<String>,
        secret: impl Into<String>,
        behaviour: KeyBehaviour,
    ) {
        let mut state = self.state.lock();
        state.tokens.add_client(id.into(), secret.into(), behaviour);
    }

    /// Gives a service account access tokens with this behaviour, where its assertion is signed with the key of `file`; see
    /// [`service_account_file`](super::service_account_file).
    ///
    /// # Panics
    /// When the text is not the file of a service account.
    pub fn set_service_account(&self, file: &str, behaviour: KeyBehaviour) {
        let mut state = self.state.lock();
        let added = state.tokens.add_account(file, behaviour);
        added.expect("a service account's file");
    }

    /// Sets the `expires_in` of token answers; `None` leaves it out. Default: one hour.
    pub fn set_token_lifetime(&self, lifetime: Option<Duration>) {
        self.state.lock().tokens.lifetime = lifetime;
    }

    /// How many calls came with this key.
    pub fn calls(&self, key: &str) -> usize {
        self.state.lock().calls.get(key).copied().unwrap_or(0)
    }

    /// How often tokens were granted.
    pub fn grants(&self) -> usize {
        self.state.lock().tokens.issued()
    }
}

impl fmt::Debug for GeminiUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GeminiUpstream")
            .field("upstream", &self.upstream)
            .finish_non_exhaustive()
    }
}

fn answer(state: &Mutex<State>, clock: &dyn Clock, request: &ReceivedRequest) -> Reply {
    if request.path == "/token" {
        let mut state = state.lock();
        let now = clock.now().unix_timestamp();
        let (reply, issued) = state.tokens.answer(request, now);
        state.keys.extend(issued);
        return reply;
    }
    let (key, unknown) = match request.header("x-goog-api-key") {
        Some(key) => (key, Unknown::Key),
        None => (request.bearer().unwrap_or_default(), Unknown::Token),
    };
    let behaviour = {
        let mut state = state.lock();
        *state.calls.entry(key.to_owned()).or_default() += 1;
        state.keys.get(key).cloned()
    };
    match behaviour {
        Some(KeyBehaviour::Serve) => serve(request),
        Some(KeyBehaviour::RateLimited { retry_after }) => limited(Some(retry_after)),
        Some(KeyBehaviour::QuotaUsedUp) => limited(None),
        Some(KeyBehaviour::Status(status)) => problem(status, name_of(status), &json!([])),
        Some(KeyBehaviour::Reply(reply)) => reply,
        Some(KeyBehaviour::Unauthorized) | None => unknown.answer(),
    }
}

/// What kind of credential it is that the server does not know.
enum Unknown {
    Key,
    Token,
}

impl Unknown {
    fn answer(&self) -> Reply {
        let reason = |reason: &str| {
            json!([{
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": reason,
                "domain": "googleapis.com",
                "metadata": {"service": "generativelanguage.googleapis.com"},
            }])
        };
        match self {
            Self::Key => problem(400, "INVALID_ARGUMENT", &reason("API_KEY_INVALID")),
            Self::Token => problem(
                401,
                "UNAUTHENTICATED",
                &reason("ACCESS_TOKEN_TYPE_UNSUPPORTED"),
            ),
        }
    }
}

fn serve(request: &ReceivedRequest) -> Reply {
    let payload = request.json();
    let method = request
        .path
        .strip_prefix("/v1beta/")
        .and_then(|path| path.split_once(':'))
        .filter(|(model, _)| model.starts_with("models/") || model.starts_with("tunedModels/"));
    match method {
        Some((model, "generateContent")) => generation(model, &payload),
        Some((model, "streamGenerateContent")) => {
            let is_sse = request.query.split('&').any(|pair| pair == "alt=sse");
            stream(model, &payload, is_sse)
        }
        Some((_, "countTokens")) => {
            let whole = &payload["generateContentRequest"];
            let counted = if whole.is_object() { whole } else { &payload };
            Reply::json(200, json!({"totalTokens": words(counted)}).to_string())
        }
        _ => problem(404, "NOT_FOUND", &json!([])),
    }
}

fn generation(model: &str, payload: &Value) -> Reply {
    let text = echo(payload);
    let mut response = response(model, &text, Some("STOP"));
    response["usageMetadata"] = usage(payload, &text);
    Reply::json(200, response.to_string())
}

fn stream(model: &str, payload: &Value, is_sse: bool) -> Reply {
    let text = echo(payload);
    let mut events: Vec<_> = text
        .split_inclusive(' ')
        .map(|word| response(model, word, None))
        .collect();
    if let Some(last) = events.last_mut() {
        last["candidates"][0]["finishReason"] = "STOP".into();
        last["usageMetadata"] = usage(payload, &text);
    }
    if is_sse {
        Reply::sse(events.iter().map(Value::to_string))
    } else {
        Reply::json(200, Value::from(events).to_string()).chunked()
    }
}

fn response(model: &str, text: &str, finish: Option<&str>) -> Value {
    let content = json!({"role": "model", "parts": [{"text": text}]});
    let mut candidate = json!({"content": content, "index": 0});
    if let Some(finish) = finish {
        candidate["finishReason"] = finish.into();
    }
    let version = model.rsplit('/').next();
    json!({"candidates": [candidate], "modelVersion": version, "responseId": "response-1"})
}

/// A used-up limit; one that comes back says when.
fn limited(retry_after: Option<u64>) -> Reply {
    let (limit, seconds) = match retry_after {
        Some(seconds) => (
            "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
            seconds,
        ),
        None => ("GenerateRequestsPerDayPerProjectPerModel-FreeTier", 0),
    };
    let mut details = vec![json!({
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{
            "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
            "quotaId": limit,
            "quotaDimensions": {"location": "global", "model": "gemini-2.5-flash"},
            "quotaValue": "10",
        }],
    })];
    if retry_after.is_some() {
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": format!("{seconds}s"),
        }));
    }
    problem(429, "RESOURCE_EXHAUSTED", &details.into())
}

fn problem(status: u16, name: &str, details: &Value) -> Reply {
    let message = format!("This is a test server's answer {status}.");
    let body =
        json!({"error": {"code": status, "message": message, "status": name, "details": details}});
    Reply::json(status, body.to_string())
}

/// The name of a status, from <https://ai.google.dev/gemini-api/docs/troubleshooting>.
fn name_of(status: u16) -> &'static str {
    match status {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        500 => "INTERNAL",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        _ => "UNKNOWN",
    }
}

fn echo(payload: &Value) -> String {
    let contents = payload["contents"].as_array();
    let last = contents.and_then(|contents| contents.last());
    let said = last.and_then(|content| content["parts"][0]["text"].as_str());
    format!("You said: {}", said.unwrap_or_default())
}

fn usage(payload: &Value, text: &str) -> Value {
    let (input, output) = (words(payload), text.split_whitespace().count());
    json!({"promptTokenCount": input, "candidatesTokenCount": output, "totalTokenCount": input + output})
}

/// The words of all texts in contents and system instruction.
fn words(value: &Value) -> usize {
    match value {
        Value::String(text) => text.split_whitespace().count(),
        Value::Array(values) => values.iter().map(words).sum(),
        Value::Object(members) => ["contents", "systemInstruction", "parts", "text"]
            .iter()
            .filter_map(|name| members.get(*name))
            .map(words)
            .sum(),
        _ => 0,
    }
}
