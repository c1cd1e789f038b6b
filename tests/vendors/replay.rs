//! A pool of two keys in front of a scripted server: what a call comes to, how often each key was asked, and how it stands.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use credpool::provider::compatible::{self, CompatibleVendor};
use credpool::provider::{Anthropic, Bedrock, Cohere, Gemini, OpenAi, Vertex};
use credpool::testing::{ReceivedRequest, Reply, Upstream};
use credpool::{
    Auth, BackOff, ChunkStream, CredentialReport, Error, FailurePolicy, Format, Manager, Options,
    Request, ToolCall, Usage,
};
use serde_json::Value;

/// Which interface is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    Chat,
    Responses,
    Messages,
    Gemini,
    Cohere,
    VertexClaude,
    VertexGemini,
    Converse,
    /// Claude on Bedrock, by InvokeModel.
    Invoke,
}

/// What a call came to.
#[derive(Debug)]
pub struct Played {
    pub text: String,
    pub reasoning: String,
    pub tool_calls: Vec<ToolCall>,
    pub finish_reason: Option<String>,
    pub usage: Option<Usage>,
    pub error: Option<Error>,
    /// The requests that the keys saw.
    pub first: usize,
    pub second: usize,
    /// How the first key stands afterwards.
    pub standing: CredentialReport,
    /// The same for another model.
    pub elsewhere: CredentialReport,
    pub requests: Vec<ReceivedRequest>,
}

pub struct Play {
    api: Api,
    /// Whose executor makes the call; `None`: that of the API's own vendor.
    vendor: Option<CompatibleVendor>,
    keys: usize,
    payload: Option<Value>,
    attributes: Vec<(String, String)>,
    options: Options,
    retries: bool,
    once: bool,
    collects: bool,
}

impl Api {
    pub const ALL: [Self; 5] = [
        Self::Chat,
        Self::Responses,
        Self::Messages,
        Self::Gemini,
        Self::Cohere,
    ];

    /// A whole answer with the text `fine`.
    pub fn plain(self) -> Reply {
        let body = match self {
            Self::Chat => {
                r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"fine"},"finish_reason":"stop"}]}"#
            }
            Self::Responses => {
                r#"{"id":"r","object":"response","status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"fine"}]}]}"#
            }
            Self::Converse => {
                r#"{"output":{"message":{"role":"assistant","content":[{"text":"fine"}]}},"stopReason":"end_turn"}"#
            }
            Self::Messages | Self::VertexClaude | Self::Invoke => {
                r#"{"type":"message","role":"assistant","content":[{"type":"text","text":"fine"}],"stop_reason":"end_turn"}"#
            }
            Self::Gemini | Self::VertexGemini => {
                r#"{"candidates":[{"content":{"parts":[{"text":"fine"}]},"finishReason":"STOP"}]}"#
            }
            Self::Cohere => {
                r#"{"id":"c","finish_reason":"COMPLETE","message":{"role":"assistant","content":[{"type":"text","text":"fine"}]}}"#
            }
        };
        Reply::json(200, body)
    }

    /// The same as a stream.
    pub fn stream(self) -> Reply {
        events(match self {
            Self::Converse => {
                return Reply::amazon_events([
                    (
                        "contentBlockDelta",
                        r#"{"contentBlockIndex":0,"delta":{"text":"fine"}}"#,
                    ),
                    ("messageStop", r#"{"stopReason":"end_turn"}"#),
                ]);
            }
            Self::Invoke => {
                return Reply::amazon_events([
                    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"fine"}}"#,
                    r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#,
                    r#"{"type":"message_stop"}"#,
                ].map(|event| ("chunk", serde_json::json!({"bytes": STANDARD.encode(event)}).to_string())));
            }
            Self::Chat => {
                "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"fine\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"
            }
            Self::Responses => concat!(
                "data: {\"type\":\"response.output_text.delta\",\"delta\":\"fine\"}\n\n",
                "data: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\"}}\n\n",
            ),
            Self::Messages | Self::VertexClaude => concat!(
                "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"fine\"}}\n\n",
                "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n",
                "data: {\"type\":\"message_stop\"}\n\n",
            ),
            Self::Cohere => concat!(
                "event: content-delta\ndata: {\"type\":\"content-delta\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"text\":\"fine\"}}}}\n\n",
                "event: message-end\ndata: {\"type\":\"message-end\",\"delta\":{\"finish_reason\":\"COMPLETE\"}}\n\n",
            ),
            Self::Gemini | Self::VertexGemini => {
                "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"fine\"}]},\"finishReason\":\"STOP\"}]}\n\n"
            }
        })
    }
}

/// A stream of these events, as they are.
pub fn events(text: impl Into<String>) -> Reply {
    Reply::new(200)
        .header("content-type", "text/event-stream")
        .body(text.into())
        .chunked()
}

impl Play {
    pub fn new(api: Api) -> Self {
        Self {
            api,
            vendor: None,
            keys: 2,
            payload: None,
            attributes: Vec::new(),
            options: Options::new().with_max_wait(Duration::ZERO),
            retries: false,
            once: false,
            collects: false,
        }
    }

    /// By the executor of a vendor's row in the table, where it has one and speaks this API.
    pub fn of(self, name: &str) -> Self {
        match row(name) {
            Some(vendor) if vendor.alt.is_none() || self.api == Api::Responses => self.by(&vendor),
            _ => self,
        }
    }

    /// By the executor of this vendor.
    pub fn by(mut self, vendor: &CompatibleVendor) -> Self {
        let is_openais = matches!(self.api, Api::Chat | Api::Responses);
        self.vendor = Some(vendor.clone()).filter(|_| is_openais);
        self
    }

    /// One key, which is asked again after a moment.
    pub fn alone(mut self) -> Self {
        self.keys = 1;
        self.retries = true;
        self
    }

    /// The answer comes once; then the first key gets a whole reply, too.
    pub fn once(mut self) -> Self {
        self.once = true;
        self
    }

    pub fn payload(mut self, payload: Value) -> Self {
        self.payload = Some(payload);
        self
    }

    pub fn attribute(mut self, name: &str, value: &str) -> Self {
        self.attributes.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn options(mut self, change: impl FnOnce(Options) -> Options) -> Self {
        self.options = change(self.options);
        self
    }

    /// As [`stream`](Self::stream), read to its end as a response.
    pub fn collected(mut self, answer: Reply) -> Played {
        self.collects = true;
        self.stream(answer)
    }

    /// A plain call: the first key gets `answer`, the second a whole reply.
    pub fn plain(self, answer: Reply) -> Played {
        let rest = self.api.plain();
        self.play(false, answer, rest)
    }

    /// As [`plain`](Self::plain), by stream.
    pub fn stream(self, answer: Reply) -> Played {
        let rest = self.api.stream();
        self.play(true, answer, rest)
    }

    fn play(self, stream: bool, answer: Reply, rest: Reply) -> Played {
        let (once, asked) = (self.once, AtomicUsize::new(0));
        let upstream = Upstream::start(move |request| {
            let before = asked.fetch_add(1, Ordering::Relaxed);
            if is_first(request) && (before == 0 || !once) {
                answer.clone()
            } else {
                rest.clone()
            }
        });
        let provider = match self.api {
            _ if self.vendor.is_some() => "of-the-table",
            Api::Chat | Api::Responses => "openai",
            Api::Messages => "anthropic",
            Api::Gemini => "gemini",
            Api::Cohere => "cohere",
            Api::VertexClaude | Api::VertexGemini => "vertex",
            Api::Converse | Api::Invoke => "bedrock",
        };
        let policy = FailurePolicy::default();
        let policy = if self.retries {
            let moment = Duration::from_millis(1);
            policy.with_back_off(Some(BackOff::new(moment, moment)))
        } else {
            policy.without_waiting()
        };
        let manager = Manager::builder().policy(policy).build().unwrap();
        match self.api {
            Api::Chat | Api::Responses if self.vendor.is_some() => {
                let vendor = self.vendor.clone().unwrap();
                manager.register_executor(vendor.with_name(provider).executor());
            }
            Api::Chat | Api::Responses => manager.register_executor(OpenAi::new()),
            Api::Messages => manager.register_executor(Anthropic::new()),
            Api::Gemini => manager.register_executor(Gemini::new()),
            Api::Cohere => manager.register_executor(Cohere::new()),
            Api::VertexClaude | Api::VertexGemini => manager.register_executor(Vertex::new()),
            Api::Converse | Api::Invoke => manager.register_executor(Bedrock::new()),
        }
        for (id, priority) in [("first", "2"), ("second", "1")]
            .into_iter()
            .take(self.keys)
        {
            let mut auth = Auth::api_key(provider, format!("key-of-the-{id}"))
                .with_id(id)
                .with_attribute("base_url", upstream.url())
                .with_attribute("priority", priority)
                .runtime_only();
            if self.api == Api::VertexClaude {
                auth = auth.with_attribute("publisher", "anthropic");
            }
            for (name, value) in &self.attributes {
                auth = auth.with_attribute(name.as_str(), value.as_str());
            }
            manager.register(auth).unwrap();
        }
        let payload = self
            .payload
            .unwrap_or_else(|| serde_json::json!({"model": "m"}));
        let mut request = Request::new("m", payload.to_string());
        if self.api == Api::Invoke {
            request = request.with_format(Format::ANTHROPIC);
        }
        let mut options = self.options;
        let speaks_it = |vendor: &CompatibleVendor| vendor.alt == Some("responses");
        if self.api == Api::Responses && !self.vendor.as_ref().is_some_and(speaks_it) {
            options = options.with_alt("responses");
        }
        let (mut text, mut reasoning, mut finish_reason) = (String::new(), String::new(), None);
        let (mut usage, mut error) = (None, None);
        let (mut tool_calls, mut deltas) = (Vec::new(), Vec::new());
        if !stream || self.collects {
            let answer = if stream {
                let chunks = manager.execute_stream([provider], &request, &options);
                chunks.and_then(ChunkStream::collect_response)
            } else {
                manager.execute([provider], &request, &options)
            };
            match answer {
                Ok(response) => {
                    text = response.reply_text.unwrap_or_default();
                    reasoning = response.reasoning_text.unwrap_or_default();
                    tool_calls = response.tool_calls;
                    finish_reason = response.finish_reason;
                    usage = response.usage;
                }
                Err(refused) => error = Some(refused),
            }
        } else {
            match manager.execute_stream([provider], &request, &options) {
                Ok(chunks) => {
                    for chunk in chunks {
                        match chunk {
                            Ok(chunk) => {
                                text += chunk.text.as_deref().unwrap_or_default();
                                reasoning += chunk.reasoning.as_deref().unwrap_or_default();
                                deltas.extend(chunk.tool_calls);
                                finish_reason = chunk.finish_reason.or(finish_reason);
                                usage = chunk.usage.or(usage);
                            }
                            Err(cut) => error = Some(cut),
                        }
                    }
                }
                Err(refused) => error = Some(refused),
            }
        }
        tool_calls.extend(ToolCall::join(deltas));
        let requests = upstream.requests();
        let standing = |model: &str| {
            let mut all = manager.explain(provider, model).into_iter();
            all.find(|standing| &*standing.auth_id == "first").unwrap()
        };
        let (standing, elsewhere) = (standing("m"), standing("another"));
        Played {
            text,
            reasoning,
            tool_calls,
            finish_reason,
            usage,
            error,
            first: requests.iter().filter(|request| is_first(request)).count(),
            second: requests.iter().filter(|request| !is_first(request)).count(),
            standing,
            elsewhere,
            requests,
        }
    }
}

/// The row of the table that stands for a vendor of these tables.
pub fn row(name: &str) -> Option<CompatibleVendor> {
    let plain = |name: &str| name.to_lowercase().replace([' ', '-', '.'], "");
    let name = match name {
        "Zhipu" => "zai",
        other => other,
    };
    let mut rows = compatible::ALL.into_iter();
    rows.find(|row| plain(&row.name) == plain(name))
}

fn is_first(request: &ReceivedRequest) -> bool {
    const KEYS: [&str; 5] = [
        "authorization",
        "api-key",
        "x-api-key",
        "x-goog-api-key",
        "x-acme-key",
    ];
    KEYS.iter()
        .filter_map(|name| request.header(name))
        .any(|value| value.contains("first"))
}
