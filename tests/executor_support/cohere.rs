//! How Cohere's own chat API answers.

use std::sync::Arc;

use credpool::testing::conformance::{Event, ExecutorFixture};
use credpool::{ProviderExecutor, Request, Usage};
use serde_json::{Value, json};

/// What the vendor's pages show: <https://docs.cohere.com/reference/chat>, <https://docs.cohere.com/v2/docs/streaming>,
/// <https://docs.cohere.com/reference/errors>.
pub(crate) struct CohereAnswers {
    pub(crate) executor: fn() -> Arc<dyn ProviderExecutor>,
}

fn event(name: &'static str, delta: &Value) -> Event {
    (name, json!({"type": name, "delta": delta}).to_string())
}

fn usage() -> Value {
    let counts = json!({"input_tokens": 5, "output_tokens": 2});
    json!({"billed_units": counts, "tokens": {"input_tokens": 71, "output_tokens": 2}})
}

impl ExecutorFixture for CohereAnswers {
    fn executor(&self) -> Arc<dyn ProviderExecutor> {
        (self.executor)()
    }

    fn request(&self) -> Request {
        let payload = r#"{"model":"command-a","messages":[{"role":"user","content":"Hello"}]}"#;
        Request::new("command-a", payload)
    }

    fn reply(&self, text: &str) -> String {
        let message = json!({"role": "assistant", "content": [{"type": "text", "text": text}]});
        json!({"id": "c14c80c3", "finish_reason": "COMPLETE", "message": message, "usage": usage()})
            .to_string()
    }

    fn usage(&self) -> Option<Usage> {
        Some(Usage::new(71, 2))
    }

    fn stream_start(&self) -> Vec<Event> {
        let message = json!({"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []});
        let content = json!({"type": "text", "text": ""});
        vec![
            event("message-start", &json!({ "message": message })),
            event("content-start", &json!({"message": {"content": content}})),
        ]
    }

    fn stream_piece(&self, text: &str) -> Event {
        let content = json!({ "text": text });
        event("content-delta", &json!({"message": {"content": content}}))
    }

    fn stream_end(&self) -> Vec<Event> {
        let end = json!({"finish_reason": "COMPLETE", "usage": usage()});
        vec![
            event("content-end", &Value::Null),
            event("message-end", &end),
        ]
    }

    fn error(&self, message: &str) -> String {
        json!({ "message": message }).to_string()
    }

    fn error_in_reply(&self, _: &str) -> Option<String> {
        Some(json!({"finish_reason": "ERROR", "message": {"content": []}}).to_string())
    }

    fn error_in_stream(&self, message: &str) -> Option<Event> {
        let end = json!({"finish_reason": "ERROR", "error": message});
        Some(event("message-end", &end))
    }
}
