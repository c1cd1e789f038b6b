//! Which members of the metadata are tokens. A refresh owns them; the rest is the operator's.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use crate::auth::Metadata;

/// Whether a member of the metadata belongs to the tokens: its name speaks of a token or a cookie (where to ask for one aside),
/// or says when they end or when they came.
pub(super) fn is_token(name: &str) -> bool {
    if TIMES.contains(&name) {
        return true;
    }
    let name = name.to_ascii_lowercase();
    WORDS.iter().any(|word| name.contains(word)) && !PLACES.contains(&name.as_str())
}

/// Whether two records have the same tokens.
pub(crate) fn same_tokens(one: Option<&Metadata>, other: Option<&Metadata>) -> bool {
    let tokens = |metadata: Option<&Metadata>| {
        let metadata = metadata.map(Metadata::iter).into_iter().flatten();
        metadata
            .filter(|(name, _)| is_token(name))
            .map(|(name, value)| (name.to_owned(), value.clone()))
            .collect::<Vec<_>>()
    };
    one == other || tokens(one) == tokens(other)
}

/// Whether there are any.
pub(crate) fn has_tokens(metadata: Option<&Metadata>) -> bool {
    metadata.is_some_and(|metadata| metadata.iter().any(|(name, _)| is_token(name)))
}

/// Puts the tokens of `from` into `into`, in place of what is there.
pub(super) fn take_tokens(into: &mut Metadata, from: Option<&Metadata>) {
    let own: Vec<_> = into
        .iter()
        .map(|(name, _)| name.to_owned())
        .filter(|name| is_token(name))
        .collect();
    for name in own {
        into.remove(&name);
    }
    let theirs = from.map(Metadata::iter).into_iter().flatten();
    for (name, value) in theirs.filter(|(name, _)| is_token(name)) {
        into.insert(name, value.clone());
    }
}

/// A number that tells tokens apart, within this process.
pub(super) fn fingerprint(metadata: Option<&Metadata>) -> u64 {
    let mut hasher = DefaultHasher::new();
    let metadata = metadata.map(Metadata::iter).into_iter().flatten();
    for (name, value) in metadata.filter(|(name, _)| is_token(name)) {
        name.hash(&mut hasher);
        value.to_string().hash(&mut hasher);
    }
    hasher.finish()
}

/// Parts of the names of tokens.
const WORDS: [&str; 3] = ["token", "cookie", "psid"];

/// Where tokens come from; no tokens themselves.
const PLACES: [&str; 3] = ["token_url", "token_uri", "token_endpoint"];

/// When tokens end, and when they came.
const TIMES: [&str; 11] = [
    "expired",
    "expire",
    "expires_at",
    "expiresAt",
    "expiry",
    "expires",
    "expires_in",
    "last_refresh",
    "lastRefresh",
    "last_refreshed_at",
    "lastRefreshedAt",
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn metadata(value: serde_json::Value) -> Metadata {
        let serde_json::Value::Object(map) = value else {
            panic!("metadata is an object");
        };
        map.into()
    }

    #[test]
    fn tokens_are_told_from_settings() {
        for name in [
            "access_token",
            "refreshToken",
            "id_token",
            "Token",
            "token_type",
            "cookie",
            "secure_1psidts",
            "expires_at",
            "last_refresh",
        ] {
            assert!(is_token(name), "{name}");
        }
        for name in [
            "token_url",
            "token_uri",
            "email",
            "note",
            "client_id",
            "scope",
            "project_id",
        ] {
            assert!(!is_token(name), "{name}");
        }
    }

    #[test]
    fn only_tokens_are_compared_and_taken() {
        let ours = metadata(json!({"access_token": "a", "expiry": 1, "note": "x"}));
        let theirs = metadata(json!({"access_token": "b", "cookie": "c", "note": "y"}));
        assert!(!same_tokens(Some(&ours), Some(&theirs)));
        let mut mixed = ours.clone();
        take_tokens(&mut mixed, Some(&theirs));
        assert!(same_tokens(Some(&mixed), Some(&theirs)));
        assert_eq!(
            fingerprint(Some(&mixed)),
            fingerprint(Some(&theirs)),
            "the note is no token"
        );
        assert_eq!(mixed.text("note"), Some("x"));
        assert!(mixed.get("expiry").is_none());
        take_tokens(&mut mixed, None);
        assert!(!has_tokens(Some(&mixed)) && has_tokens(Some(&ours)) && !has_tokens(None));
    }
}
