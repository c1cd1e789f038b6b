//! [`Response`] and [`StreamChunk`]: an executor's answers.

use std::iter::Sum;
use std::ops::{Add, AddAssign};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::auth::Metadata;
use crate::head::ResponseHead;
use crate::limits::RateLimits;
use crate::request::tool_call::{ToolCall, ToolCallDelta};

/// The answer to a call that is not a stream.
///
/// ```
/// use credpool::{Metadata, Response, ToolCall, Usage};
///
/// let mut metadata = Metadata::default();
/// metadata.insert("region", "eu");
/// let response = Response::new(r#"{"text": "4"}"#)
///     .with_reply_text("4")
///     .with_reasoning_text("2 + 2")
///     .with_tool_calls([ToolCall::new("add", r#"{"a": 2, "b": 2}"#)])
///     .with_finish_reason("stop")
///     .with_usage(Usage::new(10, 1))
///     .with_metadata(metadata);
/// assert_eq!(response.reply_text.as_deref(), Some("4"));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Response {
    /// The upstream's body.
    pub payload: Bytes,
    /// Further data of the executor: `request_id`, where the provider sends one; `estimated` and `tokenizer` of an estimated count.
    pub metadata: Option<Metadata>,
    /// The reply's text, where the executor knows it; conversation affinity needs it.
    pub reply_text: Option<String>,
    /// The text of the reasoning that the vendor shows beside the reply, or of its summary.
    pub reasoning_text: Option<String>,
    /// The tool calls that the reply asks for. Of several choices, the first one's.
    pub tool_calls: Vec<ToolCall>,
    /// Why the reply ended, in the vendor's own word: `stop`, `end_turn`, `MAX_TOKENS`, for example. Of several choices, the first one's.
    pub finish_reason: Option<String>,
    /// Tokens used, where the upstream says so.
    pub usage: Option<Usage>,
    /// What the upstream says of its limits.
    pub rate_limits: Option<Arc<RateLimits>>,
    /// Status and headers of the answer, where it came over HTTP.
    pub head: Option<Arc<ResponseHead>>,
    /// The provider that served the call. Set by the manager.
    pub provider: Arc<str>,
    /// The id of the credential that served the call. Set by the manager.
    pub auth_id: Arc<str>,
    /// The model that served, as the vendor calls it, where that is another name than the [`Request::model`](crate::Request::model): an alias, a
    /// chain of models, or another one for the provider. Set by the manager.
    pub sent_as: Option<Arc<str>>,
    /// How many attempts the call took, this one included. Set by the manager.
    pub attempts: u32,
}

/// Tokens used by one attempt.
///
/// Serializes as an object with a number for each field, by the fields' names; what is missing is read as zero.
///
/// ```
/// use credpool::Usage;
///
/// let usage = Usage::new(1200, 30).with_cached(1000);
/// let json = serde_json::to_string(&usage)?;
/// assert_eq!(json, r#"{"input":1200,"output":30,"cached":1000,"cache_written":0,"reasoning":0}"#);
/// assert_eq!(serde_json::from_str::<Usage>(r#"{"input":1200,"output":30,"cached":1000}"#)?, usage);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Usage {
    /// Tokens of the prompt, cached ones included.
    pub input: u64,
    /// Tokens of the answer.
    pub output: u64,
    /// Tokens of the prompt that came from a cache.
    pub cached: u64,
    /// Tokens of the prompt that were written to a cache, where the vendor counts them: some charge more for those.
    pub cache_written: u64,
    /// Tokens of the answer that were spent on reasoning, where the vendor counts them.
    pub reasoning: u64,
}

/// One piece of a stream.
///
/// ```
/// use credpool::{RateLimits, ResponseHead, StreamChunk, ToolCallDelta, Usage};
///
/// let hello = StreamChunk::new(": hello").with_event("ping").with_preamble();
/// let content = StreamChunk::new(r#"{"text": "4"}"#)
///     .with_head(ResponseHead::new(http::StatusCode::OK))
///     .with_rate_limits(RateLimits::new())
///     .with_reasoning("2 + 2")
///     .with_text("4")
///     .with_tool_call(ToolCallDelta::new(0).with_name("add"));
/// let last = StreamChunk::new("{}").with_finish_reason("stop").with_usage(Usage::new(10, 1));
/// assert!(hello.preamble && !content.preamble && last.usage.is_some());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamChunk {
    /// The raw event data, in the provider's own form.
    pub payload: Bytes,
    /// The event's name, where the stream has names.
    pub event: Option<String>,
    /// The text that it adds to the reply, where the executor knows it.
    pub text: Option<String>,
    /// The text that it adds to the reasoning, or to its summary, where the vendor shows that.
    pub reasoning: Option<String>,
    /// What it adds to the reply's tool calls. Of several choices, to the first one's.
    pub tool_calls: Vec<ToolCallDelta>,
    /// Why the reply ended, in the vendor's own word, where the chunk says so. Of several choices, the first one's.
    pub finish_reason: Option<String>,
    /// Tokens used so far, where the chunk says so.
    pub usage: Option<Usage>,
    /// What the upstream says of its limits: on the first chunk.
    pub rate_limits: Option<Arc<RateLimits>>,
    /// Status and headers of the answer: on the first chunk, where the answer came over HTTP.
    pub head: Option<Arc<ResponseHead>>,
    /// True before any content (a greeting, a keep-alive): an error after this chunk can still fail over.
    pub preamble: bool,
}

impl Default for Response {
    fn default() -> Self {
        Self::new(Bytes::new())
    }
}

thread_local! {
    /// Shared by all empty names of a thread: one for all threads would be a place where they wait for each other.
    static NO_NAME: Arc<str> = Arc::from("");
}

impl Response {
    /// A response with a payload.
    pub fn new(payload: impl Into<Bytes>) -> Self {
        let no_name = NO_NAME.with(Arc::clone);
        Self {
            payload: payload.into(),
            metadata: None,
            reply_text: None,
            reasoning_text: None,
            tool_calls: Vec::new(),
            finish_reason: None,
            usage: None,
            rate_limits: None,
            head: None,
            provider: Arc::clone(&no_name),
            auth_id: no_name,
            sent_as: None,
            attempts: 0,
        }
    }

    /// Adds the reply's text.
    pub fn with_reply_text(mut self, text: impl Into<String>) -> Self {
        self.reply_text = Some(text.into());
        self
    }

    /// Adds the text of the reasoning.
    pub fn with_reasoning_text(mut self, text: impl Into<String>) -> Self {
        self.reasoning_text = Some(text.into());
        self
    }

    /// Adds tool calls.
    pub fn with_tool_calls(mut self, calls: impl IntoIterator<Item = ToolCall>) -> Self {
        self.tool_calls.extend(calls);
        self
    }

    /// Says why the reply ended, in the vendor's own word.
    pub fn with_finish_reason(mut self, reason: impl Into<String>) -> Self {
        self.finish_reason = Some(reason.into());
        self
    }

    /// Adds the tokens used.
    pub fn with_usage(mut self, usage: Usage) -> Self {
        self.usage = Some(usage);
        self
    }

    /// Adds what the upstream says of its limits.
    ///
    /// ```
    /// use credpool::{LimitWindow, RateLimits, Response};
    ///
    /// let limits = RateLimits::new().with_window(LimitWindow::new("requests").with_remaining(9));
    /// let response = Response::new("{}").with_rate_limits(limits);
    /// assert!(response.rate_limits.is_some());
    /// ```
    pub fn with_rate_limits(mut self, limits: impl Into<Arc<RateLimits>>) -> Self {
        self.rate_limits = Some(limits.into());
        self
    }

    /// Adds status and headers of the answer.
    ///
    /// ```
    /// use credpool::{Response, ResponseHead};
    ///
    /// let head = ResponseHead::new(http::StatusCode::OK);
    /// assert_eq!(Response::new("{}").with_head(head).head.unwrap().status, 200);
    /// ```
    pub fn with_head(mut self, head: impl Into<Arc<ResponseHead>>) -> Self {
        self.head = Some(head.into());
        self
    }

    /// Adds the executor's notes.
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = Some(metadata);
        self
    }
}

impl Usage {
    /// Tokens in and out.
    pub const fn new(input: u64, output: u64) -> Self {
        Self {
            input,
            output,
            cached: 0,
            cache_written: 0,
            reasoning: 0,
        }
    }

    /// Says how many of the input tokens were cached.
    pub const fn with_cached(mut self, cached: u64) -> Self {
        self.cached = cached;
        self
    }

    /// Says how many of the input tokens were written to a cache.
    ///
    /// ```
    /// let usage = credpool::Usage::new(100, 20).with_cached(80).with_cache_written(10).with_reasoning(5);
    /// assert_eq!((usage.cache_written, usage.reasoning), (10, 5));
    /// ```
    pub const fn with_cache_written(mut self, written: u64) -> Self {
        self.cache_written = written;
        self
    }

    /// Says how many of the output tokens were spent on reasoning.
    pub const fn with_reasoning(mut self, reasoning: u64) -> Self {
        self.reasoning = reasoning;
        self
    }
}

/// Part by part; at the top of the range it stays there.
///
/// ```
/// use credpool::Usage;
///
/// let calls = [Usage::new(10, 5).with_cached(4), Usage::new(3, 2).with_reasoning(1)];
/// let sum: Usage = calls.into_iter().sum();
/// assert_eq!(sum, Usage::new(13, 7).with_cached(4).with_reasoning(1));
/// ```
impl Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            output: self.output.saturating_add(other.output),
            cached: self.cached.saturating_add(other.cached),
            cache_written: self.cache_written.saturating_add(other.cache_written),
            reasoning: self.reasoning.saturating_add(other.reasoning),
        }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Usage {
    fn sum<I: Iterator<Item = Self>>(usages: I) -> Self {
        usages.fold(Self::default(), Add::add)
    }
}

impl StreamChunk {
    /// A chunk of content.
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self {
            payload: payload.into(),
            ..Self::default()
        }
    }

    /// Names the event.
    pub fn with_event(mut self, event: impl Into<String>) -> Self {
        self.event = Some(event.into());
        self
    }

    /// Adds the text.
    pub fn with_text(mut self, text: impl Into<String>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// Adds text of the reasoning.
    pub fn with_reasoning(mut self, text: impl Into<String>) -> Self {
        self.reasoning = Some(text.into());
        self
    }

    /// Adds something of a tool call.
    pub fn with_tool_call(mut self, delta: ToolCallDelta) -> Self {
        self.tool_calls.push(delta);
        self
    }

    /// Says why the reply ended, in the vendor's own word.
    pub fn with_finish_reason(mut self, reason: impl Into<String>) -> Self {
        self.finish_reason = Some(reason.into());
        self
    }

    /// Adds the tokens used.
    pub fn with_usage(mut self, usage: Usage) -> Self {
        self.usage = Some(usage);
        self
    }

    /// Adds what the upstream says of its limits: for a stream's first chunk.
    pub fn with_rate_limits(mut self, limits: impl Into<Arc<RateLimits>>) -> Self {
        self.rate_limits = Some(limits.into());
        self
    }

    /// Adds status and headers of the answer: for a stream's first chunk.
    pub fn with_head(mut self, head: impl Into<Arc<ResponseHead>>) -> Self {
        self.head = Some(head.into());
        self
    }

    /// Marks it as coming before the content.
    pub fn with_preamble(mut self) -> Self {
        self.preamble = true;
        self
    }
}
