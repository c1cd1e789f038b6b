use serde_json::Value;

use crate::error::Error;
use crate::json::parse_lenient;

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

    /// As [`contains`](Self::contains), but for what the words before it deny.
    pub(super) fn claims(&self, text: &str) -> bool {
        let is_denied = |at: usize| {
            let before = self.text[..at].trim_end();
            DENIALS.iter().any(|denial| {
                let rest = before.strip_suffix(denial);
                rest.is_some_and(|rest| !rest.ends_with(char::is_alphanumeric))
            })
        };
        self.text.match_indices(text).any(|(at, _)| !is_denied(at))
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
    let mut add = |name: Option<&Value>| match name {
        Some(Value::String(name)) => names.push(name.to_ascii_lowercase()),
        Some(Value::Number(number)) => names.push(number.to_string()),
        _ => {}
    };
    add(Some(error));
    // AWS has `__type`, MiniMax and others codes of their own beside an empty reply.
    for member in ["code", "type", "status", "reason", "__type", "error_code"] {
        add(error.get(member));
    }
    add(body.pointer("/base_resp/status_code"));
    let details = error.get("details");
    add(details.and_then(|details| details.get("error_code")));
    for detail in details.and_then(Value::as_array).into_iter().flatten() {
        add(detail.get("reason"));
    }
}

/// What may stand before the name of a limit that it is not.
const DENIALS: [&str; 12] = [
    "not",
    "not a",
    "not an",
    "not the",
    "not your",
    "not about your",
    "not because of your",
    "not related to your",
    "unrelated to your",
    "rather than your",
    "isn't your",
    "no",
];

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
        let numbered = Said::by(&Error::upstream(429, r#"{"error":{"code":1308}}"#));
        assert!(numbered.is_named("1308"));
        for body in ["[]", "null", r#"{"error":null,"details":7}"#] {
            let said = Said::by(&Error::upstream(400, body));
            assert_eq!(said.names, ["upstream"], "{body}");
        }
    }

    #[test]
    fn what_a_sentence_denies_is_not_claimed() {
        for (message, claims) in [
            ("You have hit your usage limit", true),
            ("usage limit", true),
            (
                "Server is temporarily limiting requests (not your usage limit)",
                false,
            ),
            ("This is not a usage limit.", false),
            ("There is no usage limit on this plan", false),
            ("It isn't your usage limit", false),
            (
                "Not your usage limit; but the usage limit of the organization",
                true,
            ),
            ("Cannot serve: usage limit", true),
        ] {
            let said = Said::by(&Error::upstream(429, message));
            assert_eq!(said.claims("usage limit"), claims, "{message}");
            assert!(said.contains("usage limit"));
        }
    }
}
