use std::collections::BTreeSet;
use std::sync::Arc;

use crate::auth::{Auth, Metadata, Status};
use crate::error::{Error, ErrorCode};
use crate::refresh::{adopt, forget_failure, has_tokens, same_tokens, switch};
use crate::registry::release;
use crate::request::normalized;
use crate::runtime::guard;
use crate::store::{Skipped, Turn};

use super::{Manager, unknown};

/// What [`Manager::load`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadReport {
    /// How many records were read.
    pub loaded: usize,
    /// What is in the store but could not be read; it is left there.
    pub skipped: Vec<Skipped>,
}

impl Manager {
    /// Reads all records of the store, their runtime state included: a cooldown goes on where it was. A record that is
    /// registered already gets the store's configuration, and its tokens unless they are older; it keeps what was observed
    /// since.
    ///
    /// # Errors
    /// When the store as a whole cannot be read. Single records that cannot are in the report.
    pub fn load(&self) -> Result<LoadReport, Error> {
        self.inner.intake().load()
    }

    /// Adds a credential. Its provider is trimmed and lower-cased; an empty id is replaced by a unique one. An id that is
    /// registered already: an [`update`](Self::update).
    ///
    /// # Errors
    /// `config` for a record without a provider, or with an attribute that must be a number (`priority`, `weight`,
    /// `max_concurrent`, `rpm`, `tpm`) and is none that it may be; what the store says: then nothing is registered.
    pub fn register(&self, mut auth: Auth) -> Result<Arc<Auth>, Error> {
        let services = &self.inner.services;
        auth.provider = normalized(&auth.provider);
        if auth.provider.is_empty() {
            return Err(Error::new(
                ErrorCode::Config,
                "the credential names no provider",
            ));
        }
        if auth.id.is_empty() {
            auth.id = self.unique_id(&auth.provider)?;
        }
        auth.check_numbers()?;
        if auth.disabled {
            auth.status = Status::Disabled;
        }
        let id = auth.id.clone();
        let turn = services.keeper.turn(&id)?;
        if let Some(current) = services.registry.get(&id) {
            let replaced = self.replace(turn, &current, &auth);
            release(current);
            return replaced;
        }
        let given = auth.generation;
        if has_tokens(auth.metadata.as_ref()) {
            auth.generation = given.max(1);
        }
        if let Some(mut stored) = self.save_newer(&auth, 0)? {
            // The store knows it already: it was not loaded, or another process has registered it.
            auth.generation = given;
            stored.provider = normalized(&stored.provider);
            let current = services.registry.insert(*stored);
            let replaced = self.replace(turn, &current, &auth);
            if replaced.is_err() {
                drop(services.registry.remove(&id));
            }
            return replaced;
        }
        let auth = services.registry.insert(auth);
        drop(turn);
        log::debug!("registered {id} of {}", auth.provider);
        services.hooks.registered(&auth);
        self.inner.refresh.note_change(&id);
        Ok(auth)
    }

    /// Replaces what the host owns of a credential: label, disabled, proxy, attributes, metadata, storage and runtime. What
    /// was observed (status, errors, cooldowns, quota) stays.
    ///
    /// A record that was taken from the manager, by [`get_by_id`](Self::get_by_id) for example, is merged by what was changed in
    /// it: tokens that were refreshed meanwhile stay. One that the program has made itself, with new tokens in it, is a new
    /// login, and replaces those that are there.
    ///
    /// # Errors
    /// `auth_not_found`; `config` for another provider than the registered one, and as
    /// [`register`](Self::register); `conflict` when the copy changes a metadata
    /// value, or one of the tokens, that has changed since it was taken, or brings back the tokens of an older
    /// [generation](Auth::generation): read it again; what the store says. Then nothing changes.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the record is given away, as to `register`"
    )]
    pub fn update(&self, auth: Auth) -> Result<Arc<Auth>, Error> {
        auth.check_numbers()?;
        let turn = self.inner.services.keeper.turn(&auth.id)?;
        let current = self.known(&auth.id)?;
        let replaced = self.replace(turn, &current, &auth);
        release(current);
        replaced
    }

    /// Switches a credential off or on again. Only this and [`update`](Self::update) switch it on.
    ///
    /// # Errors
    /// `auth_not_found`; what the store says: then nothing changes.
    pub fn set_disabled(&self, id: &str, disabled: bool) -> Result<Arc<Auth>, Error> {
        let turn = self.inner.services.keeper.turn(id)?;
        let current = self.known(id)?;
        self.rewrite(turn, &current, |auth| {
            switch(auth, disabled);
            Ok(())
        })
    }

    /// Removes a credential, from the store too. Attempts that are under way with it come to their end.
    ///
    /// # Errors
    /// `auth_not_found`; what the store says: then nothing changes.
    pub fn remove(&self, id: &str) -> Result<Arc<Auth>, Error> {
        let services = &self.inner.services;
        let turn = services.keeper.turn(id)?;
        if !services.registry.contains(id) {
            return Err(unknown(id));
        }
        services.keeper.delete(id)?;
        let removed = services.registry.remove(id).ok_or_else(|| unknown(id))?;
        drop(turn);
        log::debug!("removed {id}");
        let selector = self.inner.engine.selector();
        let _ = guard(|| "the selector".to_owned(), || selector.forget(id));
        services.hooks.removed(&removed);
        self.inner.refresh.note_change(id);
        Ok(removed)
    }

    /// Snapshots of all credentials, in the order of their ids.
    pub fn list(&self) -> Vec<Arc<Auth>> {
        self.inner.services.registry.list()
    }

    /// A snapshot of one credential; the seed's `GetByID`.
    #[doc(alias = "GetByID")]
    pub fn get_by_id(&self, id: &str) -> Option<Arc<Auth>> {
        self.inner.services.registry.get(id)
    }

    /// Gives a known record the host's part of another one.
    fn replace(&self, turn: Turn<'_>, current: &Auth, new: &Auth) -> Result<Arc<Auth>, Error> {
        let provider = normalized(&new.provider);
        if current.provider != provider {
            return Err(Error::new(
                ErrorCode::Config,
                format!(
                    "credential {} belongs to provider {}, not {provider}; remove it and register it again",
                    current.id, current.provider
                ),
            )
            .with_auth_id(&current.id));
        }
        self.rewrite(turn, current, |current| {
            let metadata = merged_metadata(current, new)?;
            replace_host_part(current, new, metadata);
            Ok(())
        })
    }

    /// Changes a record durably: in the store first, then in memory. Where the store has newer tokens, another process has
    /// refreshed them: they are taken over, and the change is made to that.
    fn rewrite(
        &self,
        turn: Turn<'_>,
        current: &Auth,
        change: impl Fn(&mut Auth) -> Result<(), Error>,
    ) -> Result<Arc<Auth>, Error> {
        let services = &self.inner.services;
        let id = current.id.as_str();
        let mut seen = current.clone();
        let durable = loop {
            let mut durable = seen.clone();
            change(&mut durable)?;
            if durable.is_runtime_only() && !seen.is_runtime_only() {
                services.keeper.delete(id)?;
                break durable;
            }
            match self.save_newer(&durable, seen.generation)? {
                None => break durable,
                Some(newer) => {
                    adopt(&mut seen, *newer);
                }
            }
        };
        // Results may have come in while the store was writing: they leave the host's part alone.
        let auth = if durable.generation == current.generation {
            services
                .registry
                .modify(id, |auth| take_host_part(auth, durable))
        } else {
            let now = services.clock.now();
            services.registry.renew(id, now, |auth| {
                take_host_part(auth, durable);
                forget_failure(auth);
            })
        };
        let auth = auth.ok_or_else(|| unknown(id))?;
        drop(turn);
        services.hooks.updated(&auth);
        self.inner.refresh.note_change(id);
        Ok(auth)
    }

    /// Saves a change to the generation `from`, unless the store has newer tokens: the record with them. A record without tokens
    /// has none to lose.
    fn save_newer(&self, auth: &Auth, from: u64) -> Result<Option<Box<Auth>>, Error> {
        let keeper = &self.inner.services.keeper;
        if from > 0 || has_tokens(auth.metadata.as_ref()) {
            keeper.save_newer(auth, from)
        } else {
            keeper.save(auth).map(|()| None)
        }
    }

    fn unique_id(&self, provider: &str) -> Result<String, Error> {
        loop {
            let mut random = [0_u8; 8];
            getrandom::fill(&mut random).map_err(|_| {
                Error::new(
                    ErrorCode::Config,
                    "the system gives no random numbers to make an id from; give the credential one",
                )
            })?;
            let id = format!("{provider}-{:016x}", u64::from_le_bytes(random));
            if self.get_by_id(&id).is_none() {
                return Ok(id);
            }
        }
    }
}

/// The metadata that a host's copy leads to. What the host changed in it goes over what is there; the rest, tokens that were
/// refreshed since the copy was taken, stays. Tokens go together.
fn merged_metadata(current: &Auth, new: &Auth) -> Result<Option<Metadata>, Error> {
    let (Some(base), Some(new_metadata), Some(current_metadata)) =
        (&new.base, &new.metadata, &current.metadata)
    else {
        // A record without a generation is the program's own.
        let is_older = (1..current.generation).contains(&new.generation);
        if is_older && !same_tokens(new.metadata.as_ref(), current.metadata.as_ref()) {
            return Err(outdated(&current.id));
        }
        return Ok(new.metadata.clone());
    };
    let brings_tokens = !same_tokens(Some(new_metadata), Some(base));
    let has_others = !same_tokens(Some(current_metadata), Some(base));
    let agree = same_tokens(Some(new_metadata), Some(current_metadata));
    if brings_tokens && has_others && !agree {
        return Err(outdated(&current.id));
    }
    let mut merged = current_metadata.clone();
    let names = new_metadata.iter().chain(base.iter()).map(|(name, _)| name);
    for name in names.collect::<BTreeSet<_>>() {
        let value = new_metadata.get(name);
        if value == base.get(name) || value == merged.get(name) {
            continue;
        }
        if merged.get(name) != base.get(name) {
            return Err(Error::new(
                ErrorCode::Conflict,
                format!(
                    "metadata `{name}` of credential {} has changed since the copy was taken; read it again and change that",
                    current.id
                ),
            )
            .with_auth_id(&current.id));
        }
        match value {
            Some(value) => merged.insert(name, value.clone()),
            None => merged.remove(name),
        }
    }
    Ok(Some(merged))
}

fn outdated(id: &str) -> Error {
    let what = format!(
        "the tokens of credential {id} have changed since the copy was taken, which brings others; read it again and change that"
    );
    Error::new(ErrorCode::Conflict, what).with_auth_id(id)
}

fn replace_host_part(current: &mut Auth, new: &Auth, metadata: Option<Metadata>) {
    let relogged = current.metadata != metadata;
    if !same_tokens(current.metadata.as_ref(), metadata.as_ref()) {
        current.generation = current.generation.saturating_add(1).max(new.generation);
    }
    current.label.clone_from(&new.label);
    current.proxy_url.clone_from(&new.proxy_url);
    current.attributes.clone_from(&new.attributes);
    current.metadata = metadata;
    current.runtime_only = new.runtime_only;
    current.storage.clone_from(&new.storage);
    current.runtime.clone_from(&new.runtime);
    if relogged {
        // New tokens owe nothing to the failures of the old ones.
        current.next_refresh_after = None;
    }
    if current.disabled != new.disabled {
        switch(current, new.disabled);
    }
}

/// The host's part of a record that is durable now, and the tokens that are in it.
fn take_host_part(current: &mut Auth, durable: Auth) {
    current.label = durable.label;
    current.proxy_url = durable.proxy_url;
    current.attributes = durable.attributes;
    current.metadata = durable.metadata;
    current.runtime_only = durable.runtime_only;
    current.file_name = durable.file_name;
    current.storage = durable.storage;
    current.runtime = durable.runtime;
    current.generation = durable.generation;
    current.last_refreshed_at = durable.last_refreshed_at;
    current.next_refresh_after = durable.next_refresh_after;
    if current.disabled != durable.disabled {
        switch(current, durable.disabled);
    }
}
