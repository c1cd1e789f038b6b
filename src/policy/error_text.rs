//! Names and words of an error, normalized once for all rules, denials included ("not your quota").

use serde_json::Value;

use crate::error::Error;
use crate::head::{ResponseHead, aws_name};
use crate::json::{error_body, error_layers};

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
            collect(&error_body(body.as_bytes()), &mut names);
        }
        let of_head = error.head().and_then(ResponseHead::aws_error_type);
        names.extend(of_head.map(str::to_ascii_lowercase));
        names.retain(|name| !name.is_empty());
        let is_said = |own: &str| names.iter().any(|name| name.eq_ignore_ascii_case(own));
        let pairs = error.names().iter().filter(|(own, _)| is_said(own));
        let common: Vec<_> = pairs.map(|(_, common)| (*common).to_owned()).collect();
        for name in &common {
            text.push('\n');
            text.push_str(name);
        }
        names.extend(common);
        Self { names, text }
    }

    pub(super) fn is_named(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    pub(super) fn contains(&self, text: &str) -> bool {
        self.text.contains(text)
    }

    /// As [`contains`](Self::contains), but for what the words around it deny.
    pub(super) fn claims(&self, text: &str) -> bool {
        self.text.match_indices(text).any(|(at, found)| {
            let (before, after) = (&self.text[..at], &self.text[at + found.len()..]);
            !is_denied_by(before) && !is_taken_back_by(after)
        })
    }
}

/// Whether a name is denied by the words before it: "not your", "unrelated to the", "you have not reached your".
fn is_denied_by(before: &str) -> bool {
    let mut before = before;
    while let Some(rest) = BETWEEN.iter().find_map(|words| without_last(before, words)) {
        before = rest;
    }
    let before = before.trim_end();
    before.ends_with("n't")
        || before.ends_with("n\u{2019}t")
        || DENIALS
            .iter()
            .any(|words| without_last(before, words).is_some())
}

/// Whether a name is denied by the words after it: "has not been reached".
fn is_taken_back_by(after: &str) -> bool {
    let after = after.strip_prefix('s').unwrap_or(after).trim_start();
    TAKEN_BACK.iter().any(|words| after.starts_with(words))
}

/// The text before the words with which it ends.
fn without_last<'a>(text: &'a str, words: &str) -> Option<&'a str> {
    let rest = text.trim_end().strip_suffix(words)?;
    (!rest.ends_with(char::is_alphanumeric)).then_some(rest)
}

/// `code`, `type`, `status` and what else vendors call it, of the error, of what it wraps, and of Google's details; and its text, which may be
/// a name.
fn collect(body: &Value, names: &mut Vec<String>) {
    let mut add = |name: Option<&Value>| match name {
        Some(Value::String(name)) => names.push(name.to_ascii_lowercase()),
        Some(Value::Number(number)) => names.push(number.to_string()),
        _ => {}
    };
    error_layers(body, &mut |layer| {
        add(Some(layer));
        // MiniMax and others have codes of their own beside an empty reply.
        for member in [
            "code",
            "type",
            "status",
            "reason",
            "error_code",
            "error_type",
        ] {
            add(layer.get(member));
        }
        // OpenRouter's own: what its upstream called it stands beside these, and is that one's concern.
        for path in OF_METADATA {
            add(layer.pointer(path));
        }
        // AWS has a type behind its name space.
        if let Some(kind) = layer.get("__type").and_then(Value::as_str) {
            add(Some(&aws_name(kind).into()));
        }
        add(layer.pointer("/base_resp/status_code"));
        let details = layer.get("details");
        add(details.and_then(|details| details.get("error_code")));
        for detail in details.and_then(Value::as_array).into_iter().flatten() {
            add(detail.get("reason"));
        }
    });
}

/// Where OpenRouter names an error, and the limit that was met (<https://openrouter.ai/docs/api/reference/errors-and-debugging>,
/// <https://openrouter.ai/docs/api/reference/limits>).
const OF_METADATA: [&str; 4] = [
    "/metadata/error_type",
    "/metadata/limit_source",
    "/metadata/reason",
    "/response/error_type",
];

/// What denies the name of a limit that it stands before.
const DENIALS: [&str; 12] = [
    "not",
    "no",
    "nor",
    "never",
    "nothing",
    "without",
    "unrelated to",
    "rather than",
    "instead of",
    "separate from",
    "different from",
    "independent of",
];

/// What may stand between a denial and the name.
const BETWEEN: [&str; 27] = [
    "your account's",
    "the account's",
    "your",
    "the",
    "its",
    "this",
    "any",
    "an",
    "a",
    "yet",
    "been",
    "about",
    "over",
    "at",
    "to do with",
    "because of",
    "due to",
    "related to",
    "caused by",
    "result of",
    "part of",
    "count against",
    "counted against",
    "affect",
    "reached",
    "exceeded",
    "hit",
];

/// What denies the name of a limit that it follows.
const TAKEN_BACK: [&str; 6] = [
    "has not been",
    "hasn't been",
    "was not",
    "wasn't",
    "is not the",
    "isn't the",
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
            (r#"{"error":{"message":"m"},"error_type":"E"}"#, "e"),
            (r#"{"error":{"metadata":{"limit_source":"F"}}}"#, "f"),
            (
                r#"{"type":"response.failed","response":{"error_type":"G"}}"#,
                "g",
            ),
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
            ("It isn\u{2019}t your usage limit", false),
            ("This is not due to your usage limit", false),
            (
                "You have not reached your usage limit; the server is busy",
                false,
            ),
            ("You haven't yet hit the usage limit", false),
            ("This limit is separate from your usage limit", false),
            ("Busy, unrelated to usage limits", false),
            (
                "This does not count against your account's usage limit",
                false,
            ),
            ("Your usage limit has not been reached", false),
            ("Usage limits were not the reason", true),
            ("Your account isn't over its usage limit", false),
            ("Nothing to do with your usage limit", false),
            ("Do not retry: you have hit your usage limit", true),
            ("Not processed, because you have hit your usage limit", true),
            ("You can not go on until your usage limit resets", true),
            ("Cannot: usage limit", true),
            ("Piano usage limit", true),
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
