//! [`Owner`]: in whose account a resource is.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::auth::Auth;

/// In whose account a resource is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// The credential that made it.
    pub(crate) auth_id: Arc<str>,
    /// The credentials of this group are of the same account.
    pub(crate) limit_group: Option<Arc<str>>,
    /// Whether the store is to have it: not of a credential that lives in memory alone.
    pub(super) is_kept: bool,
}

impl Owner {
    pub(crate) fn of(auth: &Auth) -> Self {
        Self {
            auth_id: auth.id.as_str().into(),
            limit_group: auth.attributes.filled("limit_group").map(Into::into),
            is_kept: !auth.is_runtime_only(),
        }
    }

    pub(crate) fn is_of_account_of(&self, other: &Self) -> bool {
        let is_same_group = self.limit_group.is_some() && self.limit_group == other.limit_group;
        self.auth_id == other.auth_id || is_same_group
    }

    /// As the store has it.
    pub(super) fn written(&self) -> String {
        match &self.limit_group {
            None => json!({"auth_id": &*self.auth_id}),
            Some(group) => json!({"auth_id": &*self.auth_id, "limit_group": &**group}),
        }
        .to_string()
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        let json: Value = serde_json::from_str(text).ok()?;
        let text = |name: &str| json.get(name).and_then(Value::as_str).map(Arc::from);
        Some(Self {
            auth_id: text("auth_id")?,
            limit_group: text("limit_group"),
            is_kept: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for group in [None, Some("team \"b\"")] {
            let mut auth = Auth::api_key("p", "k").with_id("a\nb");
            if let Some(group) = group {
                auth = auth.with_attribute("limit_group", group);
            }
            let owner = Owner::of(&auth);
            assert_eq!(Owner::read(&owner.written()), Some(owner));
        }
        for odd in ["", "{}", "a", r#"{"auth_id":7}"#] {
            assert_eq!(Owner::read(odd), None, "{odd}");
        }
    }

    #[test]
    fn an_account_is_a_credential_or_its_group() {
        let of = |id: &str, group: &str| {
            let auth = Auth::api_key("p", "k").with_id(id);
            Owner::of(&auth.with_attribute("limit_group", group))
        };
        assert!(of("a", "").is_of_account_of(&of("a", "g")));
        assert!(of("a", "g").is_of_account_of(&of("b", "g")));
        assert!(!of("a", "").is_of_account_of(&of("b", "")));
        assert!(!of("a", "g").is_of_account_of(&of("b", "h")));
    }
}
