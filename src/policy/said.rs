use serde_json::Value;

use crate::error::Error;

/// What an error says of itself, in the words that rules match.
pub(super) struct Said {
    /// The error's own code, and code, type and status of the upstream's JSON body.
    names: Vec<String>,
    /// Message and body, lower-cased.
    text: String,
}

impl Said {
    pub(super) fn by(error: &Error) -> Self {
        let error = error.original();
        let mut names = vec![error.code().as_str().to_ascii_lowercase()];
        let mut text = error.message().to_lowercase();
        if let Some(body) = error.body() {
            text.push('\n');
            text.push_str(&body.to_lowercase());
            if let Ok(json) = serde_json::from_str::<Value>(body) {
                collect(&json, &mut names);
            }
        }
        names.retain(|name| !name.is_empty());
        Self { names, text }
    }

    pub(super) fn is_named(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    pub(super) fn contains(&self, text: &str) -> bool {
        self.text.contains(text)
    }
}

/// `error.code`, `error.type`, `error.status`; the same at the top; `reason` of Google's error details.
fn collect(body: &Value, names: &mut Vec<String>) {
    let error = body.get("error").unwrap_or(body);
    if let Value::String(name) = error {
        names.push(name.to_ascii_lowercase());
    }
    for member in ["code", "type", "status", "reason"] {
        if let Some(name) = error.get(member).and_then(Value::as_str) {
            names.push(name.to_ascii_lowercase());
        }
    }
    let details = error.get("details").and_then(Value::as_array);
    for detail in details.into_iter().flatten() {
        if let Some(reason) = detail.get("reason").and_then(Value::as_str) {
            names.push(reason.to_ascii_lowercase());
        }
    }
}
