use std::collections::BTreeSet;
use std::sync::Arc;

use crate::auth::{Attributes, Auth, Metadata};

/// Puts what a refresh changed, from `base` to `new`, into what the record is by now. What the host changed meanwhile, a
/// refresh does not undo: where both changed a token, the host has logged in anew, and its tokens stay together.
pub(super) fn merge(base: &Auth, new: &Auth, current: &mut Auth) {
    if let Some(new) = &new.metadata {
        let empty = Metadata::default();
        let base = base.metadata.as_ref().unwrap_or(&empty);
        let current = current.metadata.get_or_insert_default();
        merge_metadata(base, new, current);
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
}

fn merge_metadata(base: &Metadata, new: &Metadata, current: &mut Metadata) {
    let names = new.iter().chain(base.iter()).map(|(name, _)| name);
    let changed: BTreeSet<&str> = names
        .filter(|name| base.get(name) != new.get(name))
        .collect();
    if changed
        .iter()
        .any(|name| current.get(name) != base.get(name))
    {
        log::info!("new tokens came from the host during a refresh: they stay");
        return;
    }
    for name in changed {
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
        merge(&base, &new, &mut current);
        let metadata = current.metadata.as_ref().unwrap();
        assert_eq!(metadata.text("access_token"), Some("new"));
        assert_eq!(metadata.text("note"), Some("b"));
        assert_eq!(metadata.get("gone"), None);
        assert_eq!(current.label, "mine");
        assert!(current.disabled);
    }
}
