//! Input and output of a call: [`Request`], [`Options`], [`Response`], [`StreamChunk`].

mod chain;
mod form;
mod json;
mod raw;
mod response;
mod tool_call;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;

use crate::auth::Metadata;
use crate::cancel::CancelToken;
use crate::error::Error;
use crate::json::with_text;
pub use chain::ChainLink;
pub(crate) use chain::Chains;
pub(crate) use raw::Outgoing;
pub use raw::{RawRequest, RequestBody};
pub use response::{Response, StreamChunk, Usage};
pub use tool_call::{ToolCall, ToolCallDelta};

/// The request of a call: a model, and a payload in the provider's own JSON.
///
/// A call over several providers carries one payload per provider:
///
/// ```
/// use credpool::Request;
///
/// let request = Request::new("gpt-5", r#"{"model":"gpt-5","messages":[]}"#)
///     .for_provider("anthropic", "claude-opus-4-5", r#"{"model":"claude-opus-4-5","messages":[]}"#);
/// assert_eq!(request.model, "gpt-5");
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Request {
    /// The model, as the provider calls it, or an alias that credentials have for it, or the name of a chain of models
    /// ([`Builder::model_chain`](crate::Builder::model_chain)). Cooldowns are tracked per model, by the provider's name. Empty: not tied to
    /// a model (all such calls share one state).
    pub model: String,
    /// The body to send.
    pub payload: Bytes,
    /// The payload's format, where it is not the provider's own. An executor that does not speak it is passed over.
    pub format: Option<Format>,
    /// User-supplied notes for the executor.
    pub metadata: Option<Metadata>,
    alternatives: Option<Arc<Vec<Alternative>>>,
    /// What is asked after this, in order.
    chain: Option<Arc<Vec<Arc<ChainLink>>>>,
}

#[derive(Clone, Debug)]
struct Alternative {
    provider: String,
    model: String,
    payload: Bytes,
}

/// The name of a payload format, such as `openai` or `anthropic`.
///
/// ```
/// use credpool::{Format, Request};
///
/// assert_eq!(Format::OPENAI.as_str(), "openai");
/// let request = Request::new("m", "{}").with_format(Format::new("cohere"));
/// assert_eq!(request.format, Some(Format::new("cohere")));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Format(Cow<'static, str>);

/// One message of a conversation, as conversation affinity sees it.
///
/// ```
/// use credpool::{Message, Options};
///
/// let options = Options::new().with_messages([Message::new("system", "Be brief."), Message::new("user", "Hello!")]);
/// assert_eq!(options.messages[1].text, "Hello!");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// `user`, `assistant`, `system`…
    pub role: String,
    /// The text.
    pub text: String,
}

/// Per-call settings. All are optional.
///
/// `Debug` prints the names of headers and query parameters, not their values, which may be secret.
///
/// ```
/// use credpool::Options;
/// use std::time::Duration;
///
/// let options = Options::new().with_timeout(Duration::from_secs(30)).with_header("x-trace", "7")?;
/// assert_eq!(options.headers["x-trace"], "7");
/// # Ok::<(), credpool::Error>(())
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Options {
    /// Headers for the upstream request, beside the executor's own.
    pub headers: HeaderMap,
    /// Query parameters for the upstream request.
    pub query: Vec<(String, String)>,
    /// Which API of the provider to call: `responses` for the Responses API of [`OpenAi`](crate::provider::OpenAi), `invoke` for
    /// InvokeModel of [`Bedrock`](crate::provider::Bedrock).
    pub alt: Option<String>,
    /// The format of the request of the program's client, for executors that translate.
    pub source_format: Option<Format>,
    /// The client's request before translation.
    pub original_request: Option<Bytes>,
    /// User-supplied notes, given to executors, selectors and hooks.
    pub metadata: Option<Metadata>,
    /// The conversation so far, for conversation affinity.
    pub messages: Vec<Message>,
    /// Keeps calls with the same key on one credential, where the selector is an affinity selector.
    pub session_key: Option<String>,
    /// The call ends by then, whatever is going on; measured by the manager's clock.
    pub deadline: Option<Instant>,
    /// The call ends this long after it starts. The earlier of this and the deadline counts. Default: none.
    pub timeout: Option<Duration>,
    /// Ends the call from outside.
    pub cancel: Option<CancelToken>,
    /// Limits for each attempt.
    pub timeouts: Timeouts,
    /// How many bytes one event of a stream may have. Default: what the executor is set to, 64 MiB by default.
    pub event_limit: Option<usize>,
    /// At most this many attempts, over all credentials and providers. Default: no limit but the candidates.
    pub max_attempts: Option<u32>,
    /// How long the call waits in all for credentials, where all are unavailable, and for a worker; zero: not at all. The back-off before
    /// the same credential is tried again is no part of that time
    /// ([`FailurePolicy::without_waiting`](crate::FailurePolicy::without_waiting) has none). Default: what the
    /// [`FailurePolicy`](crate::FailurePolicy::with_max_wait) says.
    pub max_wait: Option<Duration>,
    /// Only the credential with this id may serve.
    pub pinned: Option<String>,
}

/// Limits for one attempt. Each `None` stands for the default that is named with it.
///
/// ```
/// use std::time::Duration;
///
/// use credpool::{Options, Timeouts};
///
/// let seconds = Duration::from_secs;
/// let timeouts = Timeouts::new()
///     .with_connect(seconds(3))
///     .with_first_chunk(seconds(20))
///     .with_idle(seconds(30))
///     .with_total(seconds(300));
/// let options = Options::new().with_timeouts(timeouts);
/// assert_eq!(options.timeouts.connect, Some(seconds(3)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// To connect, through a proxy and TLS included: 10 s.
    pub connect: Option<Duration>,
    /// From the end of the request to the first event of a stream that brings something or shows progress, such as text, reasoning,
    /// a tool call or a search: 120 s. Greetings, pings and comments do not end it.
    pub first_chunk: Option<Duration>,
    /// Between two events of a stream: 120 s. Pings are events, and so is a large event of which more comes; comments are none.
    pub idle: Option<Duration>,
    /// Between two events of a stream that bring something or show progress, however many pings there are between: no limit.
    pub content: Option<Duration>,
    /// For the whole of a call that is not a stream: 600 s; for a stream: 3,600 s.
    pub total: Option<Duration>,
}

impl Request {
    /// A request for one model.
    pub fn new(model: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self {
            model: model.into(),
            payload: payload.into(),
            ..Self::default()
        }
    }

    /// What to ask `provider` instead.
    pub fn for_provider(
        mut self,
        provider: impl AsRef<str>,
        model: impl Into<String>,
        payload: impl Into<Bytes>,
    ) -> Self {
        let alternatives = Arc::make_mut(self.alternatives.get_or_insert_default());
        let provider = normalized(provider.as_ref());
        alternatives.retain(|alternative| alternative.provider != provider);
        alternatives.push(Alternative {
            provider,
            model: model.into(),
            payload: payload.into(),
        });
        self
    }

    /// Adds a link to the request's chain of models, "this, else that": it is asked where what comes before it has no credential that is
    /// ready. A link is the name of a model, or a [`ChainLink`] that names a provider or brings a payload, too. A call that may wait
    /// looks at all links before it waits, and at the first one first when it has waited.
    ///
    /// A request that is wrong in itself ends the call at the link that says so.
    ///
    /// ```
    /// use credpool::{ChainLink, Request};
    ///
    /// let claude = r#"{"model":"claude-opus-4-5","max_tokens":1024,"messages":[]}"#;
    /// let request = Request::new("gpt-5", r#"{"model":"gpt-5","messages":[]}"#)
    ///     .or("gpt-5-mini")
    ///     .or(ChainLink::new("claude-opus-4-5").with_provider("anthropic").with_payload(claude));
    /// assert_eq!(request.model, "gpt-5");
    /// ```
    #[doc(alias = "fallback")]
    pub fn or(mut self, link: impl Into<ChainLink>) -> Self {
        Arc::make_mut(self.chain.get_or_insert_default()).push(Arc::new(link.into()));
        self
    }

    /// Names the payload's format.
    pub fn with_format(mut self, format: Format) -> Self {
        self.format = Some(format);
        self
    }

    /// Sets the user-supplied notes.
    ///
    /// ```
    /// use credpool::{Metadata, Request};
    ///
    /// let mut notes = Metadata::default();
    /// notes.insert("tenant", "blue");
    /// let request = Request::new("m", "{}").with_metadata(notes);
    /// assert_eq!(request.metadata.unwrap().text("tenant"), Some("blue"));
    /// ```
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = Some(metadata);
        self
    }

    /// The links of its own chain.
    pub(crate) fn links(&self) -> &[Arc<ChainLink>] {
        self.chain.as_deref().map_or(&[], Vec::as_slice)
    }

    /// The request for another model: the member `model` of the payload names it, where there is one.
    pub(crate) fn renamed(&self, model: &str) -> Self {
        Self {
            model: model.to_owned(),
            payload: with_text(&self.payload, "model", model)
                .unwrap_or_else(|| self.payload.clone()),
            format: self.format.clone(),
            metadata: self.metadata.clone(),
            alternatives: None,
            chain: None,
        }
    }

    /// What `provider` (in normal form) is asked instead of the payload.
    pub(crate) fn payload_for(&self, provider: &str) -> Option<&Bytes> {
        let alternative = self.alternative(provider)?;
        Some(&alternative.payload)
    }

    fn alternative(&self, provider: &str) -> Option<&Alternative> {
        let mut alternatives = self.alternatives.iter().flat_map(|all| all.iter());
        alternatives.find(|alternative| alternative.provider == provider)
    }

    /// The request as `provider` (in normal form) is to see it.
    pub(crate) fn addressed_to(&self, provider: &str) -> Addressed<'_> {
        match self.alternative(provider) {
            None => Cow::Borrowed(self),
            Some(alternative) => Cow::Owned(Self {
                model: alternative.model.clone(),
                payload: alternative.payload.clone(),
                format: None,
                metadata: self.metadata.clone(),
                alternatives: None,
                chain: None,
            }),
        }
    }
}

/// A request as one provider is asked it.
pub(crate) type Addressed<'a> = Cow<'a, Request>;

impl Format {
    /// The formats of OpenAI, chat completions and Responses.
    pub const OPENAI: Self = Self(Cow::Borrowed("openai"));
    /// The format of Anthropic's Messages API.
    pub const ANTHROPIC: Self = Self(Cow::Borrowed("anthropic"));
    /// The format of the Gemini API.
    pub const GEMINI: Self = Self(Cow::Borrowed("gemini"));

    /// A format's name.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Message {
    /// A message.
    pub fn new(role: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            text: text.into(),
        }
    }
}

impl Options {
    /// All defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a header.
    ///
    /// # Errors
    /// Code `config` for a name or value that HTTP does not allow: a line end, for example.
    pub fn with_header(mut self, name: &str, value: &str) -> Result<Self, Error> {
        let refused = |what| {
            let what = format!("{what} of header {name:?} is not one that HTTP allows");
            Error::config(what)
        };
        let header = http::HeaderName::try_from(name).map_err(|_| refused("the name"))?;
        let value = http::HeaderValue::try_from(value).map_err(|_| refused("the value"))?;
        self.headers.insert(header, value);
        Ok(self)
    }

    /// Adds a query parameter to the upstream request's URL. The same name may be added several times.
    ///
    /// ```
    /// let options = credpool::Options::new().with_query("beta", "true");
    /// assert_eq!(options.query, [("beta".to_owned(), "true".to_owned())]);
    /// ```
    pub fn with_query(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.query.push((name.into(), value.into()));
        self
    }

    /// Chooses another interface of the provider.
    pub fn with_alt(mut self, alt: impl Into<String>) -> Self {
        self.alt = Some(alt.into());
        self
    }

    /// Sets the conversation.
    pub fn with_messages(mut self, messages: impl IntoIterator<Item = Message>) -> Self {
        self.messages = messages.into_iter().collect();
        self
    }

    /// Sets the session key.
    pub fn with_session_key(mut self, key: impl Into<String>) -> Self {
        self.session_key = Some(key.into());
        self
    }

    /// Ends the call at `deadline`.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// use credpool::{CancelToken, Options};
    ///
    /// let cancel = CancelToken::new();
    /// let options = Options::new()
    ///     .with_deadline(Instant::now() + Duration::from_secs(30))
    ///     .with_max_wait(Duration::from_secs(5))
    ///     .with_max_attempts(3)
    ///     .with_pinned("team-a")
    ///     .with_cancel(cancel.clone());
    /// cancel.cancel();
    /// assert!(options.cancel.unwrap().is_cancelled());
    /// ```
    pub fn with_deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Ends the call after `timeout`.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Ends the call when `token` is cancelled.
    pub fn with_cancel(mut self, token: CancelToken) -> Self {
        self.cancel = Some(token);
        self
    }

    /// Sets the limits of each attempt.
    pub fn with_timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Sets how many bytes one event of a stream may have. A longer one ends the call, is held against no credential and not retried.
    ///
    /// ```
    /// let options = credpool::Options::new().with_event_limit(256 * 1024 * 1024);
    /// assert_eq!(options.event_limit, Some(256 * 1024 * 1024));
    /// ```
    pub fn with_event_limit(mut self, bytes: usize) -> Self {
        self.event_limit = Some(bytes);
        self
    }

    /// Limits the attempts.
    pub fn with_max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = Some(attempts);
        self
    }

    /// Limits how long the call waits for credentials that are unavailable.
    pub fn with_max_wait(mut self, most: Duration) -> Self {
        self.max_wait = Some(most);
        self
    }

    /// Lets the call end immediately where no credential is available: [`max_wait`](Self::max_wait) of zero.
    ///
    /// ```
    /// use credpool::Options;
    /// use std::time::Duration;
    ///
    /// assert_eq!(Options::new().without_waiting().max_wait, Some(Duration::ZERO));
    /// ```
    pub fn without_waiting(self) -> Self {
        self.with_max_wait(Duration::ZERO)
    }

    /// Lets only the credential `id` serve.
    pub fn with_pinned(mut self, id: impl Into<String>) -> Self {
        self.pinned = Some(id.into());
        self
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let query: Vec<_> = self.query.iter().map(|(name, _)| name).collect();
        let original_request = self.original_request.as_ref().map(Bytes::len);
        f.debug_struct("Options")
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("query", &query)
            .field("alt", &self.alt)
            .field("source_format", &self.source_format)
            .field("original_request_bytes", &original_request)
            .field("metadata", &self.metadata)
            .field("messages", &self.messages)
            .field("session_key", &self.session_key)
            .field("deadline", &self.deadline)
            .field("timeout", &self.timeout)
            .field("cancel", &self.cancel)
            .field("timeouts", &self.timeouts)
            .field("event_limit", &self.event_limit)
            .field("max_attempts", &self.max_attempts)
            .field("max_wait", &self.max_wait)
            .field("pinned", &self.pinned)
            .finish()
    }
}

impl Timeouts {
    /// All defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the limit for connecting.
    pub fn with_connect(mut self, limit: Duration) -> Self {
        self.connect = Some(limit);
        self
    }

    /// Sets the limit for the first chunk.
    pub fn with_first_chunk(mut self, limit: Duration) -> Self {
        self.first_chunk = Some(limit);
        self
    }

    /// Sets the limit between events.
    pub fn with_idle(mut self, limit: Duration) -> Self {
        self.idle = Some(limit);
        self
    }

    /// Sets the limit between two events that bring something.
    ///
    /// ```
    /// use credpool::Timeouts;
    /// use std::time::Duration;
    ///
    /// // Ten minutes of pings without a word are enough.
    /// let timeouts = Timeouts::new().with_content(Duration::from_secs(600));
    /// assert!(Timeouts::new().content.is_none() && timeouts.content.is_some());
    /// ```
    pub fn with_content(mut self, limit: Duration) -> Self {
        self.content = Some(limit);
        self
    }

    /// Sets the limit for the whole attempt.
    pub fn with_total(mut self, limit: Duration) -> Self {
        self.total = Some(limit);
        self
    }
}

/// A provider's name in normal form: trimmed and lower-cased.
pub(crate) fn normalized(provider: &str) -> String {
    provider.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    #[test]
    fn a_header_that_http_does_not_allow_is_refused() {
        for (name, value) in [("x-a", "b\r\nc: d"), ("", "x"), ("bad name", "x")] {
            let error = Options::new().with_header(name, value).unwrap_err();
            assert_eq!(error.code(), &ErrorCode::Config, "{name}");
        }
    }

    #[test]
    fn each_provider_sees_its_own_request() {
        let request = Request::new("a", "1")
            .with_format(Format::new("openai"))
            .for_provider(" Beta ", "b", "2")
            .for_provider("beta", "c", "3");
        assert_eq!(request.addressed_to("alpha").model, "a");
        let beta = request.addressed_to("beta");
        assert_eq!((beta.model.as_str(), &beta.payload[..]), ("c", &b"3"[..]));
        assert_eq!(beta.format, None);
    }
}
