//! Merges two versions of a record: the store's, a program's copy, a refresh's answer. Pure.
//!
//! Settings merge by field. Tokens stay together, and tokens that the grant has spent never come back (see [`grant`](super::grant)).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::grant::{GrantToken, NewerTokens, belongs_to_tokens, same_tokens, take_tokens};
use super::{Attributes, Auth, AuthRuntime, Metadata, Secret, Status, TokenStorage};
use crate::error::{Error, ErrorCode};

/// The host's part of a record, as a copy of it was taken: what the copy changes shows against this.
pub(crate) struct Base {
    label: String,
    disabled: bool,
    proxy_url: Secret,
    attributes: Attributes,
    metadata: Option<Metadata>,
    runtime_only: bool,
    storage: Option<Arc<dyn TokenStorage>>,
    runtime: Option<Arc<dyn AuthRuntime>>,
}

/// What became of a record that another version was merged into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Merged {
    /// It has other tokens now.
    pub(crate) renewed: bool,
    /// The other version lacks newer tokens of this one.
    pub(crate) behind: bool,
}

impl Base {
    fn of(auth: &Auth) -> Self {
        Self {
            label: auth.label.clone(),
            disabled: auth.disabled,
            proxy_url: auth.proxy_url.clone(),
            attributes: auth.attributes.clone(),
            metadata: auth.metadata.clone(),
            runtime_only: auth.runtime_only,
            storage: auth.storage.clone(),
            runtime: auth.runtime.clone(),
        }
    }

    fn is_of(&self, auth: &Auth) -> bool {
        self.label == auth.label
            && self.disabled == auth.disabled
            && self.proxy_url.expose() == auth.proxy_url.expose()
            && self.attributes == auth.attributes
            && self.metadata == auth.metadata
            && self.runtime_only == auth.runtime_only
            && same_arc(self.storage.as_ref(), auth.storage.as_ref())
            && same_arc(self.runtime.as_ref(), auth.runtime.as_ref())
    }
}

impl Auth {
    /// Copies of the record that are taken from now on show what was changed in them.
    pub(crate) fn set_base(&mut self) {
        if !self.base.as_ref().is_some_and(|base| base.is_of(self)) {
            self.base = Some(Arc::new(Base::of(self)));
        }
    }

    /// Takes over what the store has of the record: the settings always, the tokens where they are newer. Storage and runtime are not
    /// in a store; what was observed stays.
    pub(crate) fn merge_stored(&mut self, stored: Self) -> Merged {
        let mut merged = Merged::default();
        let newer = self.newer_tokens(&stored);
        let ours = self.metadata.take();
        let former = GrantToken::of(ours.as_ref());
        self.metadata = stored.metadata;
        match newer {
            NewerTokens::Neither => {
                self.join_spent(&stored.spent);
                merged.behind = stored.generation < self.generation;
                self.generation = self.generation.max(stored.generation);
            }
            NewerTokens::Ours => {
                merged.behind = true;
                self.generation = self.generation.max(stored.generation);
                match (&mut self.metadata, &ours) {
                    (Some(metadata), ours) => take_tokens(metadata, ours.as_ref()),
                    (none, _) => *none = ours,
                }
                self.join_spent(&stored.spent);
            }
            NewerTokens::Theirs => {
                let is_edit = same_tokens(ours.as_ref(), self.metadata.as_ref());
                merged.renewed = !is_edit;
                self.generation = if stored.generation > self.generation || is_edit {
                    stored.generation.max(self.generation)
                } else {
                    self.generation.saturating_add(1)
                };
                self.last_refreshed_at = stored.last_refreshed_at;
                // New tokens owe nothing to the failures of the old ones.
                self.next_refresh_after = None;
                self.take_spent(stored.spent, former);
            }
        }
        if stored
            .revoked
            .is_some_and(|over| over == self.login_token())
        {
            self.revoked = stored.revoked;
        }
        self.label = stored.label;
        self.proxy_url = stored.proxy_url;
        self.attributes = stored.attributes;
        self.file_name = stored.file_name;
        self.extra = stored.extra;
        self.switch(stored.disabled);
        merged
    }

    /// Puts what a refresh changed, from `base` to `answer`, into the record as it is by now. False where it has another login by
    /// now, which stays.
    ///
    /// The answer is the only copy of the next refresh token: no other change of the record keeps it out. Of everything but tokens, what
    /// the host changed meanwhile a refresh does not undo.
    pub(crate) fn merge_refreshed(&mut self, base: &Self, answer: &Self) -> bool {
        let former = self.grant_token();
        let renewed =
            answer.metadata.is_some() && (former.is_none() || former == base.grant_token());
        if let Some(new) = &answer.metadata {
            let empty = Metadata::default();
            let base = base.metadata.as_ref().unwrap_or(&empty);
            let current = self.metadata.get_or_insert_default();
            merge_members(base, new, current, |name, untouched| {
                if belongs_to_tokens(name) {
                    renewed
                } else {
                    untouched
                }
            });
        }
        merge_attributes(
            &base.attributes,
            &answer.attributes,
            &mut self.attributes,
            |untouched| untouched,
        );
        if answer.label != base.label && self.label == base.label {
            self.label.clone_from(&answer.label);
        }
        if answer.runtime.is_some() && same_arc(base.runtime.as_ref(), self.runtime.as_ref()) {
            self.runtime.clone_from(&answer.runtime);
        }
        if answer.storage.is_some() && same_arc(base.storage.as_ref(), self.storage.as_ref()) {
            self.storage.clone_from(&answer.storage);
        }
        self.next_refresh_after = answer
            .next_refresh_after
            .filter(|_| answer.next_refresh_after != base.next_refresh_after);
        if renewed && answer.metadata != base.metadata {
            self.generation = self.generation.saturating_add(1);
            self.note_rotation(base.grant_token());
        }
        renewed
    }

    /// Takes the tokens of another record that has the same login, and has rotated them.
    pub(crate) fn follow(&mut self, leader: &Self) {
        let former = self.grant_token();
        take_tokens(
            self.metadata.get_or_insert_default(),
            leader.metadata.as_ref(),
        );
        self.take_spent(leader.spent.clone(), former);
        self.generation = self.generation.saturating_add(1);
        self.last_refreshed_at = leader.last_refreshed_at;
        self.next_refresh_after = leader.next_refresh_after;
    }

    /// Makes the changes of a program's copy. A copy that was taken from the manager changes what was changed in it; a record that the
    /// program has made replaces the host's part, but never enables what the operator disabled.
    ///
    /// # Errors
    /// `conflict` where the copy brings tokens that the grant has spent.
    pub(crate) fn merge_copy(&mut self, copy: &Self) -> Result<(), Error> {
        let former = self.grant_token();
        let before = self.metadata.clone();
        match &copy.base {
            Some(base) => self.merge_changed(base, copy)?,
            None => self.merge_made(copy)?,
        }
        if !same_tokens(before.as_ref(), self.metadata.as_ref()) {
            self.generation = self.generation.saturating_add(1).max(copy.generation);
            self.note_login(former);
        }
        if before != self.metadata {
            self.next_refresh_after = None;
        }
        Ok(())
    }

    fn merge_changed(&mut self, base: &Base, copy: &Self) -> Result<(), Error> {
        let based_on = GrantToken::of(base.metadata.as_ref());
        let (brought, current) = (copy.grant_token(), self.grant_token());
        let brings_login = brought != based_on && brought != current;
        if brings_login && brought.is_some_and(|token| self.spent.contains(token)) {
            return Err(self.outdated());
        }
        match (&copy.metadata, &mut self.metadata) {
            (Some(new), Some(metadata)) => {
                if brings_login {
                    take_tokens(metadata, Some(new));
                }
                let empty = Metadata::default();
                let base = base.metadata.as_ref().unwrap_or(&empty);
                merge_members(base, new, metadata, |name, _| {
                    !(brings_login && belongs_to_tokens(name))
                });
            }
            (new, metadata) if *new != base.metadata => metadata.clone_from(new),
            _ => {}
        }
        merge_attributes(
            &base.attributes,
            &copy.attributes,
            &mut self.attributes,
            |_| true,
        );
        if copy.label != base.label {
            self.label.clone_from(&copy.label);
        }
        if copy.proxy_url.expose() != base.proxy_url.expose() {
            self.proxy_url.clone_from(&copy.proxy_url);
        }
        if !same_arc(copy.storage.as_ref(), base.storage.as_ref()) {
            self.storage.clone_from(&copy.storage);
        }
        if !same_arc(copy.runtime.as_ref(), base.runtime.as_ref()) {
            self.runtime.clone_from(&copy.runtime);
        }
        if copy.runtime_only != base.runtime_only {
            self.runtime_only = copy.runtime_only;
        }
        if copy.disabled != base.disabled {
            self.switch(copy.disabled);
        }
        Ok(())
    }

    fn merge_made(&mut self, made: &Self) -> Result<(), Error> {
        let keeps_tokens = match self.newer_tokens(made) {
            _ if made.is_api_key() || made.metadata.is_none() => false,
            _ if made.grant_token().is_none() => true,
            NewerTokens::Theirs => false,
            NewerTokens::Ours if made.generation > 0 => return Err(self.outdated()),
            // The program registers the login that it began with.
            NewerTokens::Ours | NewerTokens::Neither => true,
        };
        let ours = std::mem::replace(&mut self.metadata, made.metadata.clone());
        if keeps_tokens && let Some(metadata) = &mut self.metadata {
            take_tokens(metadata, ours.as_ref());
        }
        self.runtime_only = made.runtime_only;
        self.label.clone_from(&made.label);
        self.proxy_url.clone_from(&made.proxy_url);
        self.attributes.clone_from(&made.attributes);
        self.storage.clone_from(&made.storage);
        self.runtime.clone_from(&made.runtime);
        if made.disabled {
            self.switch(true);
        }
        Ok(())
    }

    /// The host's part of a record that is durable now, with its tokens and what is counted of them.
    pub(crate) fn take_durable(&mut self, durable: Self) {
        // Otherwise a refresh goes on to bring the token that it waits for.
        let may_serve = self.attributes != durable.attributes
            || !same_tokens(self.metadata.as_ref(), durable.metadata.as_ref())
            || self.expiration_time() != durable.expiration_time();
        if may_serve {
            self.awaits_token = None;
        }
        self.label = durable.label;
        self.proxy_url = durable.proxy_url;
        self.attributes = durable.attributes;
        self.metadata = durable.metadata;
        self.runtime_only = durable.runtime_only;
        self.file_name = durable.file_name;
        self.storage = durable.storage;
        self.runtime = durable.runtime;
        self.extra = durable.extra;
        self.generation = durable.generation;
        self.spent = durable.spent;
        // It may have become known while the record was being written.
        let known = durable.revoked.or(self.revoked);
        self.revoked = known.filter(|over| *over == self.login_token());
        self.last_refreshed_at = durable.last_refreshed_at;
        self.next_refresh_after = durable.next_refresh_after;
        self.switch(durable.disabled);
    }

    /// Switches the record off or on.
    pub(crate) fn switch(&mut self, disabled: bool) {
        if self.disabled == disabled {
            return;
        }
        self.disabled = disabled;
        if disabled {
            self.status = Status::Disabled;
        } else if self.status == Status::Disabled {
            self.status = Status::Active;
            self.status_message.clear();
        }
    }

    fn outdated(&self) -> Error {
        let what = format!(
            "the given copy of credential {} has tokens older than those in use; get the credential again and change that copy, or log in again",
            self.id
        );
        Error::new(ErrorCode::Conflict, what).with_auth_id(&self.id)
    }
}

/// Makes the changes from `base` to `new` in `current`, where `takes` says so of a member: it gets whether the member is unchanged.
fn merge_members(
    base: &Metadata,
    new: &Metadata,
    current: &mut Metadata,
    takes: impl Fn(&str, bool) -> bool,
) {
    let names = new.iter().chain(base.iter()).map(|(name, _)| name);
    let changed: BTreeSet<&str> = names
        .filter(|name| base.get(name) != new.get(name))
        .collect();
    for name in changed {
        if !takes(name, current.get(name) == base.get(name)) {
            continue;
        }
        match new.get(name) {
            Some(value) => current.insert(name, value.clone()),
            None => current.remove(name),
        }
    }
}

/// As [`merge_members`]. What is new is always taken.
fn merge_attributes(
    base: &Attributes,
    new: &Attributes,
    current: &mut Attributes,
    removes: impl Fn(bool) -> bool,
) {
    for (name, value) in new.iter() {
        if base.get(name) != Some(value) {
            current.insert(name, value);
        }
    }
    for (name, value) in base.iter() {
        if new.get(name).is_none() && removes(current.get(name) == Some(value)) {
            current.remove(name);
        }
    }
}

fn same_arc<T: ?Sized>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
