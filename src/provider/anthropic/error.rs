//! Anthropic's errors.

use serde_json::{Value, json};

use crate::provider::http::error_form::{ClientError, ErrorForm};

/// `{"type": "error", "error": {"type", "message"}, "request_id"}`, with the types of the
/// [error page](https://docs.claude.com/en/api/errors); in a stream the
/// [event `error`](https://docs.claude.com/en/docs/build-with-claude/streaming#error-events).
pub(crate) struct AnthropicErrors;

impl ErrorForm for AnthropicErrors {
    fn request_id_header(&self) -> &'static str {
        "request-id"
    }

    fn is_own(&self, body: &Value) -> bool {
        let error = &body["error"];
        let is_openai = error.get("code").or(error.get("param")).is_some();
        let is_told = error["type"].is_string() && error["message"].is_string();
        body["type"] == "error" && is_told && !is_openai
    }

    fn body(&self, error: &ClientError<'_>) -> Value {
        json!({
            "type": "error",
            "error": {"type": kind(error.status), "message": error.message},
            "request_id": error.request_id,
        })
    }

    fn event(&self, body: Value) -> String {
        format!("event: error\ndata: {body}\n\n")
    }
}

fn kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        408 | 504 => "timeout_error",
        503 | 529 => "overloaded_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}
