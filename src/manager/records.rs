//! The manager's records: load, register, update, disable, remove.

use std::sync::Arc;

use crate::auth::{Auth, Status, has_tokens};
use crate::error::Error;
use crate::panic::guard;
use crate::persistence::{Committed, Turn};
use crate::random;
use crate::registry::release;
use crate::request::normalized;
use crate::store::Skipped;

use super::Manager;

/// What [`Manager::load`] found.
///
/// ```
/// use credpool::{Auth, Manager, MemoryStore, Store};
///
/// let store = MemoryStore::new();
/// store.save(&Auth::api_key("openai", "sk-1").with_id("a"))?;
/// let manager = Manager::builder().store(store).build()?;
/// let report = manager.load()?;
/// assert_eq!((report.loaded, report.skipped.len()), (1, 0));
/// # Ok::<(), credpool::Error>(())
/// ```
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
    /// registered already gets the store's configuration, and its tokens unless they are older; its runtime
    /// state (cooldowns, errors) is kept.
    ///
    /// # Errors
    /// When the store as a whole cannot be read. Single records that cannot are in the report.
    pub fn load(&self) -> Result<LoadReport, Error> {
        self.inner()?.intake.load()
    }

    /// Adds a credential. Its provider is trimmed and lower-cased; an empty id is replaced by a unique one. An id that is
    /// registered already, or is in the store: an [`update`](Self::update).
    ///
    /// # Errors
    /// `config` for a record without a provider, with an attribute that must be a number (`priority`, `weight`,
    /// `max_concurrent`, `rpm`, `tpm`) and is none that it may be, or with one that can never serve: an `api_key` or a header with
    /// a line end or another control character, a `base_url` that is no HTTP URL, a `proxy_url` that is none. What the store says:
    /// then nothing is registered.
    pub fn register(&self, mut auth: Auth) -> Result<Arc<Auth>, Error> {
        let inner = self.inner()?;
        let services = &inner.services;
        auth.provider = normalized(&auth.provider);
        if auth.provider.is_empty() {
            return Err(Error::config("the credential names no provider"));
        }
        if auth.id.is_empty() {
            auth.id = self.unique_id(&auth.provider)?;
        }
        auth.check()?;
        if auth.disabled {
            auth.status = Status::Disabled;
        }
        let id = auth.id.clone();
        let turn = services.store_handle.turn(&id)?;
        if let Some(current) = services.registry.get(&id) {
            let replaced = self.replace(turn, &current, &auth);
            release(current);
            return replaced;
        }
        let mut new = auth.clone();
        if has_tokens(new.metadata.as_ref()) {
            new.generation = new.generation.max(1);
        }
        if let Some(mut stored) = services.store_handle.create(&new)? {
            // The store knows it already: it was not loaded, or another process has registered it.
            stored.provider = normalized(&stored.provider);
            let current = services.registry.restore(*stored, services.moment());
            let replaced = self.replace(turn, &current, &auth);
            if replaced.is_err() {
                drop(services.registry.remove(&id));
            }
            return replaced;
        }
        services.registry.insert(new);
        let auth = inner.refresh.forget_refusals(&id);
        let auth = auth.ok_or_else(|| Error::not_registered(&id))?;
        drop(turn);
        log::debug!("registered credential {id} of {}", auth.provider);
        services.hooks.registered(&auth);
        inner.refresh.note_change(&id);
        Ok(auth)
    }

    /// Replaces what the host owns of a credential: label, disabled, proxy, attributes, metadata, storage and runtime. What
    /// was observed (status, errors, cooldowns, quota) stays, but for what another key, header, address or proxy was refused for.
    ///
    /// A record that was taken from the manager, by [`get_by_id`](Self::get_by_id) for example, changes what was changed in it, and
    /// nothing else: the changes of other threads, processes and operators stay, and so do tokens that were refreshed meanwhile. Where
    /// both sides changed one field, the later call counts.
    ///
    /// A record that the program has made itself replaces the host's part as a whole, with two exceptions: it never enables what
    /// the operator disabled, and tokens that the login has spent since, or none at all, leave those that are there. Other tokens
    /// are a new login, and replace those that are there.
    ///
    /// # Errors
    /// `auth_not_found`, also where the record was removed from the store; `config` for another provider than the registered one, and as
    /// [`register`](Self::register); `conflict` when the copy brings tokens that were spent or replaced before: read it again; what the
    /// store says. Then nothing changes.
    ///
    /// ```
    /// use credpool::{Auth, Manager};
    ///
    /// let manager = Manager::builder().build()?;
    /// let auth = manager.register(Auth::api_key("openai", "sk-1"))?;
    /// let mut copy = (*auth).clone();
    /// copy.label = "the team's key".to_owned();
    /// manager.update(copy)?;
    /// assert_eq!(manager.get_by_id(&auth.id).unwrap().label, "the team's key");
    /// # Ok::<(), credpool::Error>(())
    /// ```
    #[doc(alias = "optimistic locking")]
    #[doc(alias = "key rotation")]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the record is given away, as to `register`"
    )]
    pub fn update(&self, auth: Auth) -> Result<Arc<Auth>, Error> {
        auth.check()?;
        let turn = self.inner()?.services.store_handle.turn(&auth.id)?;
        let current = self.known(&auth.id)?;
        let replaced = self.replace(turn, &current, &auth);
        release(current);
        replaced
    }

    /// Disables or re-enables a credential. Only this and [`update`](Self::update) can re-enable it.
    ///
    /// # Errors
    /// `auth_not_found`; any store error: then nothing changes.
    ///
    /// ```
    /// use credpool::{Auth, Availability, Manager};
    ///
    /// let manager = Manager::builder().build()?;
    /// let auth = manager.register(Auth::api_key("openai", "sk-1"))?;
    /// manager.set_disabled(&auth.id, true)?;
    /// assert_eq!(manager.explain("openai", "")[0].availability, Availability::Disabled);
    /// manager.set_disabled(&auth.id, false)?;
    /// # Ok::<(), credpool::Error>(())
    /// ```
    pub fn set_disabled(&self, id: &str, disabled: bool) -> Result<Arc<Auth>, Error> {
        let turn = self.inner()?.services.store_handle.turn(id)?;
        let current = self.known(id)?;
        self.rewrite(turn, &current, |auth| {
            auth.switch(disabled);
            Ok(())
        })
    }

    /// Removes a credential, from the store too. Attempts that are under way with it come to their end.
    ///
    /// # Errors
    /// `auth_not_found`; any store error: then nothing changes.
    ///
    /// ```
    /// use credpool::{Auth, Manager};
    ///
    /// let manager = Manager::builder().build()?;
    /// let auth = manager.register(Auth::api_key("openai", "sk-1"))?;
    /// manager.remove(&auth.id)?;
    /// assert!(manager.get_by_id(&auth.id).is_none());
    /// # Ok::<(), credpool::Error>(())
    /// ```
    pub fn remove(&self, id: &str) -> Result<Arc<Auth>, Error> {
        let inner = self.inner()?;
        let services = &inner.services;
        let turn = services.store_handle.turn(id)?;
        if !services.registry.contains(id) {
            return Err(Error::not_registered(id));
        }
        services.store_handle.delete(id)?;
        let removed = services
            .registry
            .remove(id)
            .ok_or_else(|| Error::not_registered(id))?;
        drop(turn);
        log::debug!("removed {id}");
        let selector = inner.engine.selector();
        let _ = guard(|| "the selector".to_owned(), || selector.forget(id));
        services.hooks.removed(&removed);
        inner.refresh.note_change(id);
        Ok(removed)
    }

    /// Snapshots of all credentials, in the order of their ids.
    pub fn list(&self) -> Vec<Arc<Auth>> {
        self.view().services.registry.list()
    }

    /// A snapshot of one credential.
    #[doc(alias = "GetByID")]
    pub fn get_by_id(&self, id: &str) -> Option<Arc<Auth>> {
        self.view().services.registry.get(id)
    }

    /// Gives a known record the host's part of another one.
    fn replace(&self, turn: Turn<'_>, current: &Auth, new: &Auth) -> Result<Arc<Auth>, Error> {
        let provider = normalized(&new.provider);
        if current.provider != provider {
            let what = format!(
                "credential {} belongs to provider {}, not {provider}; remove it and register it again",
                current.id, current.provider
            );
            return Err(Error::config(what).with_auth_id(&current.id));
        }
        self.rewrite(turn, current, |current| current.merge_copy(new))
    }

    /// Changes a record durably: in the store first, then in memory. The change is made to what the store has by now.
    fn rewrite(
        &self,
        turn: Turn<'_>,
        current: &Auth,
        mut change: impl FnMut(&mut Auth) -> Result<(), Error>,
    ) -> Result<Arc<Auth>, Error> {
        let inner = self.inner()?;
        let services = &inner.services;
        let id = current.id.as_str();
        let mut only_in_memory = current.clone();
        change(&mut only_in_memory)?;
        let record = if only_in_memory.is_runtime_only() && !current.is_runtime_only() {
            services.store_handle.delete(id)?;
            only_in_memory
        } else {
            match services.store_handle.commit(current, &mut change)? {
                Committed::Saved(record) => *record,
                Committed::Removed => {
                    inner.intake.let_go(id, turn);
                    return Err(Error::not_registered(id));
                }
            }
        };
        let renewed = record.grant_token() != current.grant_token();
        let auth = inner.refresh.publish(id, record, renewed);
        let auth = auth.ok_or_else(|| Error::not_registered(id))?;
        drop(turn);
        inner.refresh.note_change(id);
        services.hooks.updated(&auth);
        Ok(auth)
    }

    fn unique_id(&self, provider: &str) -> Result<String, Error> {
        loop {
            let random = random::bytes().map_err(|_| {
                Error::config(
                    "the system's random number generator failed; give the credential an id",
                )
            })?;
            let id = format!("{provider}-{:016x}", u64::from_le_bytes(random));
            if self.get_by_id(&id).is_none() {
                return Ok(id);
            }
        }
    }
}
