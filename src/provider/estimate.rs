//! Token estimates without an upstream, by OpenAI's own vocabulary.
//!
//! How messages add up is described in the cookbook,
//! [How to count tokens with tiktoken](https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken), section 6:
//! each message has three tokens around it, a name one, and the reply begins with three. Tools count as their JSON, images and
//! other parts without text not at all: it is an estimate, and says so.

use serde_json::{Map, Value};
use tiktoken_rs::tokenizer::{Tokenizer, get_tokenizer};
use tiktoken_rs::{CoreBPE, cl100k_base_singleton, o200k_base_singleton};

use crate::auth::{Auth, Metadata};
use crate::error::Error;
use crate::request::{Request, Response, Usage};

/// The answer that an upstream which counts would give, with `"estimated": true` in its metadata.
pub(super) fn estimated(auth: &Auth, request: &Request) -> Result<Response, Error> {
    let payload: Map<String, Value> = serde_json::from_slice(&request.payload)
        .map_err(|_| auth.unfit("the request's payload is not a JSON object"))?;
    let model = payload.get("model").and_then(Value::as_str);
    let counter = Counter::of(model.unwrap_or(&request.model));
    let tokens = counter.payload(&payload);
    let body = serde_json::json!({"input_tokens": tokens, "estimated": true});
    let mut metadata = Metadata::default();
    metadata.insert("estimated", true);
    metadata.insert("tokenizer", counter.name);
    Ok(Response::new(body.to_string())
        .with_usage(Usage::new(tokens, 0))
        .with_metadata(metadata))
}

/// A vocabulary.
struct Counter {
    name: &'static str,
    vocabulary: &'static CoreBPE,
}

impl Counter {
    /// The model's own; for one that is not known, that of OpenAI's present models.
    fn of(model: &str) -> Self {
        match get_tokenizer(model) {
            Some(Tokenizer::Cl100kBase) => Self {
                name: "cl100k_base",
                vocabulary: cl100k_base_singleton(),
            },
            _ => Self {
                name: "o200k_base",
                vocabulary: o200k_base_singleton(),
            },
        }
    }

    /// A payload of chat completions, responses, completions or embeddings.
    fn payload(&self, payload: &Map<String, Value>) -> u64 {
        let member = |name: &str| payload.get(name).unwrap_or(&Value::Null);
        let mut tokens = self.texts(member("instructions")) + self.texts(member("prompt"));
        for name in ["tools", "functions"] {
            for tool in member(name).as_array().into_iter().flatten() {
                tokens += self.text(&tool.to_string());
            }
        }
        let messages = member("messages").as_array();
        let items = member("input").as_array();
        let items = items.filter(|items| items.iter().any(Value::is_object));
        let Some(messages) = messages.or(items) else {
            return tokens + self.texts(member("input"));
        };
        let messages = messages.iter().map(|message| self.message(message));
        tokens + messages.sum::<u64>() + BEFORE_THE_REPLY
    }

    fn message(&self, message: &Value) -> u64 {
        let mut tokens = AROUND_A_MESSAGE;
        for name in ["role", "content", "name", "arguments", "output"] {
            tokens += message.get(name).map_or(0, |value| self.texts(value));
        }
        if message.get("name").is_some() {
            tokens += AROUND_A_NAME;
        }
        let calls = message.get("tool_calls").and_then(Value::as_array);
        for function in calls
            .into_iter()
            .flatten()
            .filter_map(|call| call.get("function"))
        {
            for name in ["name", "arguments"] {
                tokens += function.get(name).map_or(0, |value| self.texts(value));
            }
        }
        tokens
    }

    /// A text, or the texts in a list of texts and of parts.
    fn texts(&self, value: &Value) -> u64 {
        match value {
            Value::String(text) => self.text(text),
            Value::Array(values) => values.iter().map(|value| self.texts(value)).sum(),
            Value::Object(part) => part.get("text").map_or(0, |text| self.texts(text)),
            _ => 0,
        }
    }

    /// In pieces: the time for a text without spaces grows faster than its length.
    fn text(&self, mut text: &str) -> u64 {
        let mut tokens = 0;
        while !text.is_empty() {
            let (piece, rest) = text.split_at(end_of_piece(text));
            tokens += self.vocabulary.count_ordinary(piece) as u64;
            text = rest;
        }
        tokens
    }
}

/// Where to cut: before a space if there is one.
fn end_of_piece(text: &str) -> usize {
    if text.len() <= PIECE {
        return text.len();
    }
    let mut end = PIECE;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].rfind(' ').filter(|at| *at > 0).unwrap_or(end)
}

const AROUND_A_MESSAGE: u64 = 3;
const AROUND_A_NAME: u64 = 1;
const BEFORE_THE_REPLY: u64 = 3;
const PIECE: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn count(payload: &Value) -> u64 {
        let request = Request::new("gpt-5", payload.to_string());
        let response = estimated(&Auth::api_key("openai", "k"), &request).unwrap();
        response.usage.unwrap().input
    }

    #[test]
    fn messages_add_up_as_the_cookbook_says() {
        // "user" and "hello" are a token each, "hello world" is two.
        let message = |text: &str| json!({"role": "user", "content": text});
        assert_eq!(count(&json!({"messages": []})), 3);
        assert_eq!(
            count(&json!({"messages": [message("hello")]})),
            3 + (3 + 1 + 1)
        );
        let two = json!({"messages": [message("hello"), message("hello world")]});
        assert_eq!(count(&two), 3 + (3 + 1 + 1) + (3 + 1 + 2));
        let named = json!({"messages": [{"role": "user", "name": "user", "content": "hello"}]});
        assert_eq!(count(&named), 3 + (3 + 1 + 1 + 1 + 1));
        let parts = json!({"messages": [{"role": "user", "content": [
            {"type": "text", "text": "hello"},
            {"type": "image_url", "image_url": {"url": "data:,x"}},
        ]}]});
        assert_eq!(count(&parts), 3 + (3 + 1 + 1));
        let call = json!({"messages": [{"role": "user", "content": null, "tool_calls": [
            {"id": "1", "function": {"name": "hello", "arguments": "hello"}},
        ]}]});
        assert_eq!(count(&call), 3 + (3 + 1 + 2));
    }

    #[test]
    fn other_payloads_count_too() {
        for (tokens, payload) in [
            (2, json!({"input": "hello world"})),
            (3, json!({"input": ["hello", "hello world"]})),
            (2, json!({"prompt": "hello world"})),
            (0, json!({})),
            (1, json!({"instructions": "hello", "input": 7})),
            (
                8,
                json!({"input": [{"role": "user", "content": [{"type": "input_text", "text": "hello"}]}]}),
            ),
        ] {
            assert_eq!(count(&payload), tokens, "{payload}");
        }
        let tool =
            json!({"tools": [{"type": "function", "function": {"name": "f"}}], "messages": []});
        assert!(count(&tool) > 3);
    }

    #[test]
    fn the_answer_says_that_it_is_an_estimate_and_by_what() {
        for (model, tokenizer) in [
            ("gpt-5", "o200k_base"),
            ("gpt-4", "cl100k_base"),
            ("gpt-4-0613", "cl100k_base"),
            ("some-llama", "o200k_base"),
        ] {
            let payload = json!({"model": model, "messages": []}).to_string();
            let request = Request::new("alias", payload);
            let response = estimated(&Auth::api_key("p", "k"), &request).unwrap();
            let metadata = response.metadata.unwrap();
            assert_eq!(metadata.get("estimated"), Some(&json!(true)));
            assert_eq!(metadata.text("tokenizer"), Some(tokenizer));
        }
        let error = estimated(&Auth::api_key("p", "k"), &Request::new("m", "[]")).unwrap_err();
        assert_eq!(error.code(), &crate::error::ErrorCode::Config);
    }

    #[test]
    fn hostile_texts_take_no_longer_than_others() {
        for text in [
            "a".repeat(500_000),
            " ".repeat(500_000),
            "é\n".repeat(100_000),
        ] {
            assert!(count(&json!({"input": text})) > 1000);
        }
    }
}
