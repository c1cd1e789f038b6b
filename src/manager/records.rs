use std::sync::Arc;

use crate::auth::{Auth, Status};
use crate::error::{Error, ErrorCode};
use crate::request::normalized;
use crate::runtime::guard;
use crate::store::Skipped;

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
    /// registered already gets the store's configuration and tokens, and keeps what was observed since.
    ///
    /// # Errors
    /// When the store as a whole cannot be read. Single records that cannot are in the report.
    pub fn load(&self) -> Result<LoadReport, Error> {
        let services = &self.inner.services;
        let listing = services.keeper.list()?;
        let mut report = LoadReport {
            loaded: 0,
            skipped: listing.skipped,
        };
        for mut auth in listing.records {
            auth.provider = normalized(&auth.provider);
            if auth.id.is_empty() || auth.provider.is_empty() {
                let location = auth.file_name.unwrap_or(auth.id);
                report.skipped.push(Skipped::new(
                    location,
                    "the record has no id or no provider",
                ));
                continue;
            }
            let id = auth.id.clone();
            let turn = services.keeper.turn(&id)?;
            match services.registry.get(&id) {
                Some(current) if current.provider == auth.provider => {
                    drop(current);
                    services
                        .registry
                        .modify(&id, |current| replace_host_part(current, &auth));
                }
                _ => drop(services.registry.insert(auth)),
            }
            drop(turn);
            self.inner.refresh.note_change(&id);
            report.loaded += 1;
        }
        for skipped in &report.skipped {
            log::warn!("the store holds something that does not read: {skipped}");
        }
        Ok(report)
    }

    /// Adds a credential. Its provider is trimmed and lower-cased; an empty id is replaced by a unique one. An id that is
    /// registered already: an [`update`](Self::update).
    ///
    /// # Errors
    /// `config` for a record without a provider; what the store says: then nothing is registered.
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
        if auth.disabled {
            auth.status = Status::Disabled;
        }
        let id = auth.id.clone();
        let turn = services.keeper.turn(&id)?;
        if services.registry.contains(&id) {
            drop(turn);
            return self.update(auth);
        }
        services.keeper.save(&auth)?;
        let (auth, _) = services.registry.insert(auth);
        drop(turn);
        log::debug!("registered {id} of {}", auth.provider);
        services.hooks.registered(&auth);
        self.inner.refresh.note_change(&id);
        Ok(auth)
    }

    /// Replaces what the host owns of a credential: label, disabled, proxy, attributes, metadata, storage and runtime. What
    /// was observed (status, errors, cooldowns, quota) stays.
    ///
    /// # Errors
    /// `auth_not_found`; `config` for another provider than the registered one; what the store says: then nothing changes.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the record is given away, as to `register`"
    )]
    pub fn update(&self, auth: Auth) -> Result<Arc<Auth>, Error> {
        let provider = normalized(&auth.provider);
        let id = auth.id.clone();
        let current = self.known(&id)?;
        if current.provider != provider {
            return Err(Error::new(
                ErrorCode::Config,
                format!(
                    "credential {id} belongs to provider {}, not {provider}; remove it and register it again",
                    current.provider
                ),
            )
            .with_auth_id(&id));
        }
        drop(current);
        self.rewrite(&id, |current| replace_host_part(current, &auth))
    }

    /// Switches a credential off or on again. Only this and [`update`](Self::update) switch it on.
    ///
    /// # Errors
    /// `auth_not_found`; what the store says: then nothing changes.
    pub fn set_disabled(&self, id: &str, disabled: bool) -> Result<Arc<Auth>, Error> {
        self.rewrite(id, |auth| switch(auth, disabled))
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

    /// Changes a record durably: in the store first, then in memory.
    fn rewrite(&self, id: &str, change: impl Fn(&mut Auth)) -> Result<Arc<Auth>, Error> {
        let services = &self.inner.services;
        let turn = services.keeper.turn(id)?;
        let mut durable = (*self.known(id)?).clone();
        change(&mut durable);
        services.keeper.save(&durable)?;
        // Results may have come in while the store was writing: change what the record is by now.
        let auth = services
            .registry
            .modify(id, change)
            .ok_or_else(|| unknown(id))?;
        drop(turn);
        services.hooks.updated(&auth);
        self.inner.refresh.note_change(id);
        Ok(auth)
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

fn replace_host_part(current: &mut Auth, new: &Auth) {
    let relogged = current.metadata != new.metadata;
    current.label.clone_from(&new.label);
    current.proxy_url.clone_from(&new.proxy_url);
    current.attributes.clone_from(&new.attributes);
    current.metadata.clone_from(&new.metadata);
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

fn switch(auth: &mut Auth, disabled: bool) {
    auth.disabled = disabled;
    if disabled {
        auth.status = Status::Disabled;
    } else if auth.status == Status::Disabled {
        auth.status = Status::Active;
        auth.status_message.clear();
    }
}
