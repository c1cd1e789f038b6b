//! How each API answers that this crate has an executor for: <https://platform.openai.com/docs/api-reference/chat>,
//! <https://platform.openai.com/docs/api-reference/responses>, <https://docs.anthropic.com/en/api/messages>,
//! <https://ai.google.dev/api/generate-content>, <https://platform.claude.com/docs/en/build-with-claude/claude-on-vertex-ai>,
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html>.

mod cohere;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use credpool::provider::{Anthropic, Bedrock, Cohere, Gemini, OpenAi, Vertex};
use credpool::testing::Reply;
use credpool::testing::conformance::{Event, ExecutorFixture};
use credpool::{Auth, OAuthTokens, Options, ProviderExecutor, Request, Usage};
use serde_json::{Value, json};

/// All of them, with their names.
pub(crate) fn apis() -> Vec<(&'static str, Box<dyn ExecutorFixture>)> {
    vec![
        ("chat completions", Box::new(Chat)),
        ("Responses", Box::new(Responses)),
        ("Anthropic", Box::new(Messages)),
        ("Gemini", Box::new(Generate)),
        (
            "Cohere",
            Box::new(cohere::CohereAnswers {
                executor: || Arc::new(Cohere::new()),
            }),
        ),
        (
            "Gemini on Vertex",
            Box::new(OnVertex(Generate, "gemini-2.5-flash")),
        ),
        (
            "Claude on Vertex",
            Box::new(OnVertex(Messages, "claude-sonnet-4-5")),
        ),
        ("Bedrock Converse", Box::new(Converse)),
        ("Bedrock InvokeModel", Box::new(Invoke)),
        ("Bedrock by signature", Box::new(SignedConverse)),
    ]
}

struct Chat;
struct Responses;
struct Messages;
struct Generate;

/// An event without a name.
fn event(data: &Value) -> Event {
    ("", data.to_string())
}

impl ExecutorFixture for Chat {
    fn executor(&self) -> Arc<dyn ProviderExecutor> {
        Arc::new(OpenAi::named("p"))
    }

    fn credential(&self, base_url: &str, key: &str) -> Auth {
        Auth::api_key("p", key)
            .with_attribute("base_url", base_url)
            .with_attribute("count_tokens_path", "/count")
    }

    fn request(&self) -> Request {
        Request::new("m", r#"{"model":"m","messages":[]}"#)
    }

    fn reply(&self, text: &str) -> String {
        let message = json!({"role": "assistant", "content": text});
        let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
        let usage = json!({"prompt_tokens": 2, "completion_tokens": 1});
        json!({"object": "chat.completion", "choices": [choice], "usage": usage}).to_string()
    }

    fn usage(&self) -> Option<Usage> {
        Some(Usage::new(2, 1))
    }

    fn stream_start(&self) -> Vec<Event> {
        let delta = json!({"role": "assistant", "content": ""});
        vec![event(&json!({"choices": [{"index": 0, "delta": delta}]}))]
    }

    fn stream_piece(&self, text: &str) -> Event {
        let delta = json!({"content": text});
        event(&json!({"choices": [{"index": 0, "delta": delta}]}))
    }

    fn stream_end(&self) -> Vec<Event> {
        let end = json!({"index": 0, "delta": {}, "finish_reason": "stop"});
        vec![
            event(&json!({ "choices": [end] })),
            ("", "[DONE]".to_owned()),
        ]
    }

    fn whole_after(&self) -> usize {
        1
    }

    fn error(&self, message: &str) -> String {
        let error = json!({"message": message, "type": "server_error", "code": "server_error"});
        json!({ "error": error }).to_string()
    }

    fn error_in_reply(&self, message: &str) -> Option<String> {
        Some(self.error(message))
    }

    fn count(&self, tokens: u64) -> Option<String> {
        Some(json!({ "input_tokens": tokens }).to_string())
    }
}

impl ExecutorFixture for Responses {
    fn executor(&self) -> Arc<dyn ProviderExecutor> {
        Arc::new(OpenAi::named("p"))
    }

    fn credential(&self, base_url: &str, key: &str) -> Auth {
        Chat.credential(base_url, key)
    }

    fn request(&self) -> Request {
        Request::new("m", r#"{"model":"m","input":"Hello there"}"#)
    }

    fn options(&self) -> Options {
        Options::new().with_alt("responses")
    }

    fn reply(&self, text: &str) -> String {
        response("completed", text).to_string()
    }

    fn usage(&self) -> Option<Usage> {
        Some(Usage::new(2, 1))
    }

    fn stream_start(&self) -> Vec<Event> {
        let response = json!({"id": "r", "object": "response", "status": "in_progress", "error": null, "output": []});
        let created = json!({"type": "response.created", "response": response});
        vec![("response.created", created.to_string())]
    }

    fn stream_piece(&self, text: &str) -> Event {
        let name = "response.output_text.delta";
        (name, json!({"type": name, "delta": text}).to_string())
    }

    fn stream_end(&self) -> Vec<Event> {
        let name = "response.completed";
        let completed = json!({"type": name, "response": response("completed", "ab")});
        vec![(name, completed.to_string())]
    }

    fn error(&self, message: &str) -> String {
        Chat.error(message)
    }

    fn error_in_reply(&self, message: &str) -> Option<String> {
        Some(self.error(message))
    }

    fn count(&self, tokens: u64) -> Option<String> {
        Chat.count(tokens)
    }
}

fn response(status: &str, text: &str) -> Value {
    let content = json!([{"type": "output_text", "text": text}]);
    let usage = json!({"input_tokens": 2, "output_tokens": 1});
    json!({
        "id": "r", "object": "response", "status": status, "error": null, "usage": usage,
        "output": [{"type": "message", "content": content}],
    })
}

impl ExecutorFixture for Messages {
    fn executor(&self) -> Arc<dyn ProviderExecutor> {
        Arc::new(Anthropic::named("p"))
    }

    fn request(&self) -> Request {
        let payload = r#"{"model":"m","max_tokens":64,"messages":[]}"#;
        Request::new("m", payload)
    }

    fn reply(&self, text: &str) -> String {
        json!({
            "type": "message", "role": "assistant", "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn", "usage": {"input_tokens": 2, "output_tokens": 1},
        })
        .to_string()
    }

    fn usage(&self) -> Option<Usage> {
        Some(Usage::new(2, 1))
    }

    fn stream_start(&self) -> Vec<Event> {
        let usage = json!({"input_tokens": 2, "output_tokens": 1});
        let message = json!({"id": "m", "type": "message", "role": "assistant", "content": [], "usage": usage});
        let block = json!({"type": "text", "text": ""});
        vec![
            named(&json!({"type": "message_start", "message": message})),
            named(&json!({"type": "content_block_start", "index": 0, "content_block": block})),
            named(&json!({"type": "ping"})),
        ]
    }

    fn stream_piece(&self, text: &str) -> Event {
        let delta = json!({"type": "text_delta", "text": text});
        named(&json!({"type": "content_block_delta", "index": 0, "delta": delta}))
    }

    fn stream_end(&self) -> Vec<Event> {
        let delta = json!({"stop_reason": "end_turn"});
        vec![
            named(&json!({"type": "content_block_stop", "index": 0})),
            named(&json!({"type": "message_delta", "delta": delta})),
            named(&json!({"type": "message_stop"})),
        ]
    }

    fn error(&self, message: &str) -> String {
        let error = json!({"type": "overloaded_error", "message": message});
        json!({"type": "error", "error": error}).to_string()
    }

    fn error_in_reply(&self, message: &str) -> Option<String> {
        Some(self.error(message))
    }

    fn count(&self, tokens: u64) -> Option<String> {
        Some(json!({ "input_tokens": tokens }).to_string())
    }
}

/// An event that is named as its type says.
fn named(data: &Value) -> Event {
    let name = ["message_start", "message_delta", "message_stop", "ping"];
    let blocks = [
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
    ];
    let mut names = name.into_iter().chain(blocks);
    (
        names.find(|name| data["type"] == *name).unwrap(),
        data.to_string(),
    )
}

impl ExecutorFixture for Generate {
    fn executor(&self) -> Arc<dyn ProviderExecutor> {
        Arc::new(Gemini::named("p"))
    }

    fn request(&self) -> Request {
        let contents = json!([{"role": "user", "parts": [{"text": "Hello there"}]}]);
        Request::new("m", json!({ "contents": contents }).to_string())
    }

    fn reply(&self, text: &str) -> String {
        generated(text, Some("STOP")).to_string()
    }

    fn usage(&self) -> Option<Usage> {
        Some(Usage::new(2, 1))
    }

    fn stream_piece(&self, text: &str) -> Event {
        event(&generated(text, None))
    }

    fn stream_end(&self) -> Vec<Event> {
        vec![event(&generated("", Some("STOP")))]
    }

    fn error(&self, message: &str) -> String {
        let error = json!({"code": 503, "message": message, "status": "UNAVAILABLE"});
        json!({ "error": error }).to_string()
    }

    fn error_in_reply(&self, message: &str) -> Option<String> {
        Some(self.error(message))
    }

    fn count(&self, tokens: u64) -> Option<String> {
        Some(json!({ "totalTokens": tokens }).to_string())
    }
}

fn generated(text: &str, reason: Option<&str>) -> Value {
    let content = json!({"role": "model", "parts": [{"text": text}]});
    let mut candidate = json!({"index": 0, "content": content});
    let mut generated = json!({});
    if let Some(reason) = reason {
        candidate["finishReason"] = reason.into();
        generated["usageMetadata"] = json!({"promptTokenCount": 2, "candidatesTokenCount": 1});
    }
    generated["candidates"] = json!([candidate]);
    generated
}

/// A model on Vertex, which speaks the protocol of its vendor.
struct OnVertex<F>(F, &'static str);

impl<F: ExecutorFixture> ExecutorFixture for OnVertex<F> {
    fn executor(&self) -> Arc<dyn ProviderExecutor> {
        Arc::new(Vertex::named("p"))
    }

    fn credential(&self, base_url: &str, key: &str) -> Auth {
        Auth::oauth("p", OAuthTokens::new(key))
            .with_attribute("base_url", base_url)
            .with_attribute("project", "blue")
    }

    fn request(&self) -> Request {
        Request::new(self.1, self.0.request().payload)
    }

    fn reply(&self, text: &str) -> String {
        self.0.reply(text)
    }

    fn usage(&self) -> Option<Usage> {
        self.0.usage()
    }

    fn stream_start(&self) -> Vec<Event> {
        self.0.stream_start()
    }

    fn stream_piece(&self, text: &str) -> Event {
        self.0.stream_piece(text)
    }

    fn stream_end(&self) -> Vec<Event> {
        self.0.stream_end()
    }

    fn error(&self, message: &str) -> String {
        self.0.error(message)
    }

    fn error_in_reply(&self, message: &str) -> Option<String> {
        self.0.error_in_reply(message)
    }

    fn count(&self, tokens: u64) -> Option<String> {
        self.0.count(tokens)
    }
}

struct Converse;
struct Invoke;

fn bedrock(base_url: &str, key: &str) -> Auth {
    Auth::api_key("p", key)
        .with_attribute("base_url", base_url)
        .with_attribute("region", "us-east-1")
}

/// An exception of Bedrock in place of an event.
fn exception(message: &str) -> Event {
    let body = json!({ "message": message });
    ("serviceUnavailableException", body.to_string())
}

impl ExecutorFixture for Converse {
    fn executor(&self) -> Arc<dyn ProviderExecutor> {
        Arc::new(Bedrock::named("p"))
    }

    fn credential(&self, base_url: &str, key: &str) -> Auth {
        bedrock(base_url, key)
    }

    fn request(&self) -> Request {
        let messages = json!([{"role": "user", "content": [{"text": "Hello there"}]}]);
        let payload = json!({ "messages": messages }).to_string();
        Request::new("amazon.nova-pro-v1:0", payload)
    }

    fn reply(&self, text: &str) -> String {
        let message = json!({"role": "assistant", "content": [{"text": text}]});
        let usage = json!({"inputTokens": 2, "outputTokens": 1, "totalTokens": 3});
        json!({"output": {"message": message}, "stopReason": "end_turn", "usage": usage, "metrics": {"latencyMs": 9}})
            .to_string()
    }

    fn usage(&self) -> Option<Usage> {
        Some(Usage::new(2, 1))
    }

    fn stream_start(&self) -> Vec<Event> {
        vec![("messageStart", r#"{"role":"assistant"}"#.to_owned())]
    }

    fn stream_piece(&self, text: &str) -> Event {
        let delta = json!({"contentBlockIndex": 0, "delta": {"text": text}});
        ("contentBlockDelta", delta.to_string())
    }

    fn stream_end(&self) -> Vec<Event> {
        let usage = json!({"inputTokens": 2, "outputTokens": 1, "totalTokens": 3});
        vec![
            (
                "contentBlockStop",
                json!({"contentBlockIndex": 0}).to_string(),
            ),
            ("messageStop", json!({"stopReason": "end_turn"}).to_string()),
            ("metadata", json!({ "usage": usage }).to_string()),
        ]
    }

    fn whole_after(&self) -> usize {
        2
    }

    fn stream_of(&self, events: Vec<Event>) -> Reply {
        Reply::amazon_events(events)
    }

    fn error(&self, message: &str) -> String {
        json!({ "message": message }).to_string()
    }

    fn error_in_stream(&self, message: &str) -> Option<Event> {
        Some(exception(message))
    }

    fn count(&self, tokens: u64) -> Option<String> {
        Some(json!({ "inputTokens": tokens }).to_string())
    }
}

impl ExecutorFixture for Invoke {
    fn executor(&self) -> Arc<dyn ProviderExecutor> {
        Arc::new(Bedrock::named("p"))
    }

    fn credential(&self, base_url: &str, key: &str) -> Auth {
        bedrock(base_url, key)
    }

    fn request(&self) -> Request {
        let payload = Messages.request().payload;
        Request::new("us.anthropic.claude-sonnet-4-5-20250929-v1:0", payload)
    }

    fn options(&self) -> Options {
        Options::new().with_alt("invoke")
    }

    fn reply(&self, text: &str) -> String {
        Messages.reply(text)
    }

    fn usage(&self) -> Option<Usage> {
        Messages.usage()
    }

    fn stream_start(&self) -> Vec<Event> {
        Messages.stream_start()
    }

    fn stream_piece(&self, text: &str) -> Event {
        Messages.stream_piece(text)
    }

    fn stream_end(&self) -> Vec<Event> {
        Messages.stream_end()
    }

    /// Anthropic's events, each in a chunk.
    fn stream_of(&self, events: Vec<Event>) -> Reply {
        Reply::amazon_events(events.into_iter().map(|(name, data)| {
            if name.ends_with("Exception") {
                return (name, data);
            }
            let bytes = STANDARD.encode(data);
            ("chunk", json!({"bytes": bytes, "p": "abcd"}).to_string())
        }))
    }

    fn error(&self, message: &str) -> String {
        Converse.error(message)
    }

    fn error_in_stream(&self, message: &str) -> Option<Event> {
        Some(exception(message))
    }

    fn count(&self, tokens: u64) -> Option<String> {
        Converse.count(tokens)
    }
}

/// Converse by an access key, which signs. The key of the suite is secret and session token in one.
struct SignedConverse;

impl ExecutorFixture for SignedConverse {
    fn executor(&self) -> Arc<dyn ProviderExecutor> {
        Arc::new(Bedrock::named("p"))
    }

    fn credential(&self, base_url: &str, key: &str) -> Auth {
        Auth::aws_access_key("p", "AKIDEXAMPLE", key)
            .with_metadata("session_token", key)
            .with_attribute("base_url", base_url)
            .with_attribute("region", "us-east-1")
    }

    fn request(&self) -> Request {
        Converse.request()
    }

    fn reply(&self, text: &str) -> String {
        Converse.reply(text)
    }

    fn usage(&self) -> Option<Usage> {
        Converse.usage()
    }

    fn stream_start(&self) -> Vec<Event> {
        Converse.stream_start()
    }

    fn stream_piece(&self, text: &str) -> Event {
        Converse.stream_piece(text)
    }

    fn stream_end(&self) -> Vec<Event> {
        Converse.stream_end()
    }

    fn whole_after(&self) -> usize {
        Converse.whole_after()
    }

    fn stream_of(&self, events: Vec<Event>) -> Reply {
        Converse.stream_of(events)
    }

    fn error(&self, message: &str) -> String {
        Converse.error(message)
    }

    fn error_in_stream(&self, message: &str) -> Option<Event> {
        Converse.error_in_stream(message)
    }

    fn count(&self, tokens: u64) -> Option<String> {
        Converse.count(tokens)
    }
}
