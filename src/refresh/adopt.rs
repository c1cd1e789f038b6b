//! What a store has of a record, taken over.

use super::tokens::{same_tokens, take_tokens};
use crate::auth::{Auth, Status};

/// Takes over what the store has of a record: the operator's part always, the tokens unless ours are newer. Storage and runtime
/// are not in a store, and what was observed stays. True when the tokens are others now.
///
/// Tokens that changed without a new generation were written by somebody who does not count them: a person, another tool. They
/// count as newer.
pub(crate) fn adopt(current: &mut Auth, stored: Auth) -> bool {
    let ours = current.metadata.take();
    let differ = !same_tokens(ours.as_ref(), stored.metadata.as_ref());
    let adopted = differ && stored.generation >= current.generation;
    current.metadata = stored.metadata;
    if differ && !adopted {
        match (&mut current.metadata, &ours) {
            (Some(metadata), ours) => take_tokens(metadata, ours.as_ref()),
            (none, _) => *none = ours,
        }
    }
    if adopted {
        let counted = stored.generation > current.generation;
        current.generation = if counted {
            stored.generation
        } else {
            current.generation.saturating_add(1)
        };
        current.last_refreshed_at = stored.last_refreshed_at;
        // New tokens owe nothing to the failures of the old ones.
        current.next_refresh_after = None;
    } else {
        current.generation = current.generation.max(stored.generation);
    }
    current.label = stored.label;
    current.proxy_url = stored.proxy_url;
    current.attributes = stored.attributes;
    current.file_name = stored.file_name;
    if current.disabled != stored.disabled {
        switch(current, stored.disabled);
    }
    adopted
}

/// Switches a record off or on.
pub(crate) fn switch(auth: &mut Auth, disabled: bool) {
    auth.disabled = disabled;
    if disabled {
        auth.status = Status::Disabled;
    } else if auth.status == Status::Disabled {
        auth.status = Status::Active;
        auth.status_message.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_generation(generation: u64, token: &str) -> Auth {
        let mut auth = Auth::new("p").with_metadata("access_token", token);
        auth.generation = generation;
        auth
    }

    fn token(auth: &Auth) -> Option<&str> {
        auth.metadata.as_ref()?.text("access_token")
    }

    #[test]
    fn the_newer_tokens_stay_and_the_operator_is_heard() {
        for (stored, expected, generation, changed) in [
            (of_generation(4, "theirs"), "theirs", 4, true),
            (of_generation(3, "theirs"), "theirs", 4, true),
            (of_generation(2, "theirs"), "ours", 3, false),
            (of_generation(4, "ours"), "ours", 4, false),
        ] {
            let mut current = of_generation(3, "ours").with_label("before");
            let mut stored = stored.with_label("after").with_metadata("note", "theirs");
            stored.disabled = true;
            assert_eq!(adopt(&mut current, stored), changed);
            assert_eq!(token(&current), Some(expected));
            assert_eq!(current.generation, generation);
            assert_eq!((current.label.as_str(), current.disabled), ("after", true));
            assert_eq!(current.metadata.unwrap().text("note"), Some("theirs"));
        }
    }

    #[test]
    fn tokens_are_kept_where_an_older_store_has_no_metadata() {
        let mut current = of_generation(3, "ours");
        assert!(!adopt(&mut current, Auth::new("p")));
        assert_eq!(token(&current), Some("ours"));
    }
}
