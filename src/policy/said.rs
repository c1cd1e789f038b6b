use serde_json::Value;

use crate::error::Error;
use crate::json_input::parse_lenient;

/// What an error says of itself, in the words that rules match.
pub(super) struct Said {
    /// The error's own code, and those that [`collect`] finds in the upstream's JSON body.
    names: Vec<String>,
    /// Message and body, lower-cased.
    text: String,
}

impl Said {
    pub(super) fn by(error: &Error) -> Self {
        let error = error.original();
        let mut names = vec![error.code().as_str().to_ascii_lowercase()];
        let mut text = error.received_message().to_lowercase();
        if let Some(body) = error.received_body() {
            text.push('\n');
            text.push_str(&body.to_lowercase());
            if let Ok(json) = parse_lenient(body.as_bytes()) {
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

/// `error.code`, `error.type`, `error.status`; the same at the top; `reason` of Google's error details and `error_code` of
/// Anthropic's. Google's streams and its compatible endpoint put the whole body into an array.
fn collect(body: &Value, names: &mut Vec<String>) {
    let body = body.get(0).unwrap_or(body);
    // The Responses API keeps the error of a failed response inside it.
    let of_response = || {
        body.get("response")?
            .get("error")
            .filter(|error| error.is_object())
    };
    let error = body.get("error").or_else(of_response).unwrap_or(body);
    let mut add = |name: Option<&Value>| {
        names.extend(name.and_then(Value::as_str).map(str::to_ascii_lowercase));
    };
    add(Some(error));
    for member in ["code", "type", "status", "reason"] {
        add(error.get(member));
    }
    let details = error.get("details");
    add(details.and_then(|details| details.get("error_code")));
    for detail in details.and_then(Value::as_array).into_iter().flatten() {
        add(detail.get("reason"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_wherever_a_vendor_puts_them() {
        for (body, name) in [
            (r#"{"error":"invalid_grant"}"#, "invalid_grant"),
            (r#"{"code":"A"}"#, "a"),
            (
                r#"{"type":"response.failed","response":{"error":{"code":"A"}}}"#,
                "a",
            ),
            (r#"{"error":{"code":429,"status":"B"}}"#, "b"),
            (r#"[{"error":{"details":[{"x":1},{"reason":"C"}]}}]"#, "c"),
            (r#"{"error":{"details":{"error_code":"d"}}}"#, "d"),
        ] {
            assert!(
                Said::by(&Error::upstream(400, body)).is_named(name),
                "{body}"
            );
        }
        for body in ["[]", "[1]", "null", r#"{"error":null,"details":7}"#] {
            let said = Said::by(&Error::upstream(400, body));
            assert_eq!(said.names, ["upstream"], "{body}");
        }
    }
}
