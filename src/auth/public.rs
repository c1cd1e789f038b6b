//! Which settings and members of the metadata are no secret: what a sealed store leaves readable.

use serde_json::Value;

use super::numbers::is_number;
use super::scrub::names_a_secret;
use super::{Auth, EXPIRY_NAMES};

impl Auth {
    /// Whether the record was read from a [`Sealed`](crate::Sealed) store without the wrapper: its secrets are there, encrypted, and it
    /// cannot serve.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use credpool::{Auth, MemoryStore, Sealed, SealingKey, Store};
    ///
    /// let (memory, key) = (Arc::new(MemoryStore::new()), SealingKey::generate()?);
    /// let sealed = Sealed::new(Arc::clone(&memory), move || Ok(vec![key.clone()]))?;
    /// sealed.save(&Auth::api_key("openai", "sk-1").with_id("a"))?;
    /// assert!(memory.list()?.records[0].is_sealed());
    /// assert!(!sealed.list()?.records[0].is_sealed());
    /// # Ok::<(), credpool::Error>(())
    /// ```
    #[doc(alias = "encryption")]
    pub fn is_sealed(&self) -> bool {
        let metadata = self.metadata.as_ref();
        metadata.is_some_and(|metadata| metadata.get(ENVELOPE).is_some())
    }
}

/// Whether a setting, or a member of the metadata, may be read without the key of a store. A name that is not known to be public is
/// that of a secret: a program may keep anything in it.
pub(crate) fn is_public(name: &str) -> bool {
    let is_known = PUBLIC.contains(&name) || EXPIRY_NAMES.contains(&name) || is_number(name);
    is_known && !names_a_secret(name)
}

/// As [`is_public`], for a value of any kind: one with members of its own may hold more than its name says.
pub(crate) fn is_public_value(name: &str, value: &Value) -> bool {
    is_public(name) && !value.is_object() && !value.is_array()
}

/// The member of the metadata that holds what a sealed store has sealed.
pub(crate) const ENVELOPE: &str = "credpool_sealed";

/// Whose account it is, and what limits it. Addresses are not among them: what they are may not be changed without the key either.
const PUBLIC: [&str; 8] = [
    "type",
    "label",
    "email",
    "project_id",
    "disabled",
    "last_refresh",
    "limit_group",
    "grant_type",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_known_is_secret() {
        for name in [
            "api_key",
            "access_token",
            "cookie",
            "header:x-team",
            "base_url",
            "token_url",
            "client_id",
            "proxy_url",
            "novel",
            "",
        ] {
            assert!(!is_public(name), "{name}");
        }
        for name in ["priority", "tpm", "expires_at", "email", "limit_group"] {
            assert!(is_public(name), "{name}");
        }
        assert!(is_public_value("expires_at", &json!(1)));
        assert!(!is_public_value("expires_at", &json!({"word": "x"})));
        assert!(!is_public_value("label", &json!(["x"])));
    }

    #[test]
    fn no_public_name_is_one_that_is_scrubbed() {
        let names = PUBLIC.iter().chain(&EXPIRY_NAMES);
        let hidden: Vec<_> = names.filter(|name| !is_public(name)).collect();
        assert_eq!(hidden, Vec::<&&str>::new());
    }
}
