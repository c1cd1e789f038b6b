//! Google's errors.

use serde_json::{Value, json};

use crate::provider::http::error_form::{ClientError, ErrorForm, unnamed_event};

/// `{"error": {"code", "message", "status", "details"}}`, a `google.rpc.Status` with the names of
/// [`google.rpc.Code`](https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto) and the wait as
/// [`RetryInfo`](https://google.aip.dev/193#retryinfo). In a stream, Google's clients take an event that begins with `{"error":` for one
/// (<https://github.com/googleapis/python-genai/blob/main/google/genai/_api_client.py>).
pub(crate) struct GeminiErrors;

impl ErrorForm for GeminiErrors {
    fn is_own(&self, body: &Value) -> bool {
        let error = &body["error"];
        error["code"].is_u64() && error["status"].is_string() && error["message"].is_string()
    }

    fn body(&self, error: &ClientError<'_>) -> Value {
        let retry = error.wait.map(|seconds| {
            json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{seconds}s")})
        });
        json!({"error": {
            "code": error.status,
            "message": error.message,
            "status": name(error.status),
            "details": retry.into_iter().collect::<Vec<_>>(),
        }})
    }

    fn event(&self, body: Value) -> String {
        unnamed_event(body)
    }
}

fn name(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        408 | 504 => "DEADLINE_EXCEEDED",
        409 => "ABORTED",
        402 | 412 => "FAILED_PRECONDITION",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        501 => "UNIMPLEMENTED",
        502 | 503 | 529 => "UNAVAILABLE",
        400..=499 => "INVALID_ARGUMENT",
        _ => "INTERNAL",
    }
}
