//! A conversation in the forms of two vendors, so that it can go on at either.

use credpool::{ChainLink, Request, ToolCall};
use serde_json::{Value, json};

const GPT: &str = "gpt-5-mini";
const CLAUDE: &str = "claude-haiku-4-5";

#[derive(Default)]
pub(crate) struct Conversation {
    openai: Vec<Value>,
    anthropic: Vec<Value>,
}

impl Conversation {
    pub(crate) fn said(&mut self, text: &str) {
        let message = json!({"role": "user", "content": text});
        self.openai.push(message.clone());
        self.anthropic.push(message);
    }

    /// What the model said and which tools it called, each with its result.
    pub(crate) fn answered(&mut self, text: &str, calls: &[(&ToolCall, String)]) {
        let (mut functions, mut outputs) = (Vec::new(), Vec::new());
        let (mut blocks, mut results) = (Vec::new(), Vec::new());
        if !text.trim().is_empty() {
            blocks.push(json!({"type": "text", "text": text}));
        }
        for (call, result) in calls {
            let ToolCall {
                id,
                name,
                arguments,
                ..
            } = call;
            let input = serde_json::from_str(arguments).unwrap_or_else(|_| json!({}));
            functions.push(json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}));
            outputs.push(json!({"role": "tool", "tool_call_id": id, "content": result}));
            blocks.push(json!({"type": "tool_use", "id": id, "name": name, "input": input}));
            results.push(json!({"type": "tool_result", "tool_use_id": id, "content": result}));
        }
        if blocks.is_empty() {
            return;
        }
        let mut message = json!({"role": "assistant", "content": text});
        self.anthropic
            .push(json!({"role": "assistant", "content": blocks}));
        if !calls.is_empty() {
            message["tool_calls"] = functions.into();
            self.anthropic
                .push(json!({"role": "user", "content": results}));
        }
        self.openai.push(message);
        self.openai.extend(outputs);
    }

    /// OpenAI is asked, and Anthropic where none of its keys can serve.
    pub(crate) fn request(&self) -> Request {
        let (name, description) = ("current_time", "The current time in a time zone.");
        let offset = json!({"type": "integer", "description": "Hours ahead of UTC."});
        let parameters = json!({"type": "object", "properties": {"utc_offset": offset}, "required": ["utc_offset"]});
        let gpt = json!({
            "model": GPT,
            "messages": self.openai,
            "tools": [{"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}],
        });
        let claude = json!({
            "model": CLAUDE,
            "max_tokens": 4096,
            "messages": self.anthropic,
            "tools": [{"name": name, "description": description, "input_schema": parameters}],
        });
        let claude = ChainLink::new(CLAUDE)
            .with_provider("anthropic")
            .with_payload(claude.to_string());
        Request::from(gpt).or(claude)
    }
}
