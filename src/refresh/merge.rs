use std::collections::BTreeSet;
use std::sync::Arc;

use super::tokens::{is_token, same_tokens};
use crate::auth::{Attributes, Auth, Metadata};

/// Puts what a refresh changed, from `base` to `new`, into what the record is by now. True when the tokens, too.
///
/// The tokens stay together: where others are there by now, somebody has logged in anew, and they stay. Of everything else, what
/// the host changed meanwhile a refresh does not undo.
pub(super) fn merge(base: &Auth, new: &Auth, current: &mut Auth) -> bool {
    let renewed =
        new.metadata.is_some() && same_tokens(base.metadata.as_ref(), current.metadata.as_ref());
    if let Some(new) = &new.metadata {
        let empty = Metadata::default();
        let base = base.metadata.as_ref().unwrap_or(&empty);
        let current = current.metadata.get_or_insert_default();
        merge_metadata(base, new, current, renewed);
    }
    merge_attributes(&base.attributes, &new.attributes, &mut current.attributes);
    if new.label != base.label && current.label == base.label {
        current.label.clone_from(&new.label);
    }
    let untouched = !differs(base.runtime.as_ref(), current.runtime.as_ref());
    if untouched && new.runtime.is_some() {
        current.runtime.clone_from(&new.runtime);
    }
    let untouched = !differs(base.storage.as_ref(), current.storage.as_ref());
    if untouched && new.storage.is_some() {
        current.storage.clone_from(&new.storage);
    }
    current.next_refresh_after = new
        .next_refresh_after
        .filter(|_| new.next_refresh_after != base.next_refresh_after);
    renewed
}

fn merge_metadata(base: &Metadata, new: &Metadata, current: &mut Metadata, renewed: bool) {
    let names = new.iter().chain(base.iter()).map(|(name, _)| name);
    let changed: BTreeSet<&str> = names
        .filter(|name| base.get(name) != new.get(name))
        .collect();
    for name in changed {
        let takes = if is_token(name) {
            renewed
        } else {
            current.get(name) == base.get(name)
        };
        if !takes {
            continue;
        }
        match new.get(name) {
            Some(value) => current.insert(name, value.clone()),
            None => current.remove(name),
        }
    }
}

fn merge_attributes(base: &Attributes, new: &Attributes, current: &mut Attributes) {
    for (name, value) in new.iter() {
        if base.get(name) != Some(value) {
            current.insert(name, value);
        }
    }
    for (name, value) in base.iter() {
        if new.get(name).is_none() && current.get(name) == Some(value) {
            current.remove(name);
        }
    }
}

fn differs<T: ?Sized>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => !Arc::ptr_eq(one, other),
        (None, None) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_keep_what_they_changed() {
        let base = Auth::new("p")
            .with_metadata("access_token", "old")
            .with_metadata("gone", 1)
            .with_metadata("note", "a");
        let mut new = base.clone().with_metadata("access_token", "new");
        new.metadata.as_mut().unwrap().remove("gone");
        let mut current = base.clone().with_metadata("note", "b").with_label("mine");
        current.disabled = true;
        assert!(merge(&base, &new, &mut current));
        let metadata = current.metadata.as_ref().unwrap();
        assert_eq!(metadata.text("access_token"), Some("new"));
        assert_eq!(metadata.text("note"), Some("b"));
        assert_eq!(metadata.get("gone"), None);
        assert_eq!(current.label, "mine");
        assert!(current.disabled);
    }

    #[test]
    fn a_note_that_both_changed_costs_no_token() {
        let base = Auth::new("p")
            .with_metadata("access_token", "old")
            .with_metadata("note", "a");
        let new = base
            .clone()
            .with_metadata("access_token", "new")
            .with_metadata("note", "b");
        let mut current = base.clone().with_metadata("note", "c");
        assert!(merge(&base, &new, &mut current));
        let metadata = current.metadata.as_ref().unwrap();
        assert_eq!(metadata.text("access_token"), Some("new"));
        assert_eq!(metadata.text("note"), Some("c"));
    }

    #[test]
    fn a_new_login_stays_whole() {
        let base = Auth::new("p")
            .with_metadata("access_token", "old")
            .with_metadata("refresh_token", "r");
        let new = base
            .clone()
            .with_metadata("access_token", "new")
            .with_metadata("email", "e");
        let mut current = base.clone().with_metadata("refresh_token", "another");
        assert!(!merge(&base, &new, &mut current));
        let metadata = current.metadata.as_ref().unwrap();
        assert_eq!(metadata.text("access_token"), Some("old"));
        assert_eq!(metadata.text("refresh_token"), Some("another"));
        assert_eq!(metadata.text("email"), Some("e"));
    }
}
