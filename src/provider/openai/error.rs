//! OpenAI's errors.

use serde_json::{Value, json};

use crate::provider::http::error_form::{ClientError, ErrorForm, unnamed_event};

/// `{"error": {"message", "type", "param", "code"}}`. Names are those of the
/// [error codes guide](https://platform.openai.com/docs/guides/error-codes). In a stream, OpenAI's clients take any event with a member
/// `error` for one, of chat completions and of the Responses API
/// (<https://github.com/openai/openai-python/blob/main/src/openai/_streaming.py>).
pub(crate) struct OpenAiErrors;

impl ErrorForm for OpenAiErrors {
    fn is_own(&self, body: &Value) -> bool {
        let error = &body["error"];
        let is_google = error["status"].is_string();
        let is_anthropic =
            body["type"] == "error" && error.get("code").or(error.get("param")).is_none();
        error["message"].is_string() && !is_google && !is_anthropic
    }

    fn body(&self, error: &ClientError<'_>) -> Value {
        let (kind, code) = match error.status {
            // A file may be missing, or the path: what is not there, the upstream's message says.
            404 if error.is_answer => ("invalid_request_error", None),
            status => names(status),
        };
        json!({"error": {"message": error.message, "type": kind, "param": null, "code": code}})
    }

    fn event(&self, body: Value) -> String {
        unnamed_event(body)
    }
}

/// Type and code.
fn names(status: u16) -> (&'static str, Option<&'static str>) {
    match status {
        401 => ("invalid_request_error", Some("invalid_api_key")),
        // OpenAI itself answers so with 429.
        402 => ("insufficient_quota", Some("insufficient_quota")),
        403 => ("invalid_request_error", Some("permission_denied")),
        404 => ("invalid_request_error", Some("model_not_found")),
        408 => ("server_error", Some("timeout")),
        413 => ("invalid_request_error", Some("request_too_large")),
        429 => ("rate_limit_error", Some("rate_limit_exceeded")),
        503 | 529 => ("service_unavailable_error", Some("server_is_overloaded")),
        504 => ("server_error", Some("timeout_error")),
        400..=499 => ("invalid_request_error", None),
        _ => ("server_error", None),
    }
}
