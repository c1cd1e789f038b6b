//! Ownership: a call that names resources goes to the credential in whose account they are, and what answers name is learnt.

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, Method};
use smallvec::SmallVec;

use super::Engine;
use super::context::{Call, Pinned};
use super::hops::{Hop, rotate};
use super::report::Report;
use crate::auth::Auth;
use crate::error::{Error, ErrorCode};
use crate::registry::Query;
use crate::request::{Request, StreamChunk};
use crate::resources::{AnswerReader, Mentions, Owned, Owner, Resource, in_head};

impl Engine {
    /// Puts the hops of a call in order: which provider is asked first, and which credential alone may serve.
    ///
    /// # Errors
    /// Those of [`pin_to_owner`](Self::pin_to_owner).
    pub(super) fn route(&self, call: &mut Call<'_>, url: Option<&str>) -> Result<(), Error> {
        self.pin_to_owner(call, url)?;
        rotate(&mut call.hops, &self.rotation, call.request);
        Ok(())
    }

    /// Pins a call to the credential in whose account the resources are that it names, in its URL or in its payload. A call that the
    /// program has pinned itself stays where it is.
    ///
    /// # Errors
    /// Where the resources are in several accounts, and where the owner can serve no call.
    fn pin_to_owner(&self, call: &mut Call<'_>, url: Option<&str>) -> Result<(), Error> {
        if !self.services.resources.are_remembered() || call.options.pinned.is_some() {
            return Ok(());
        }
        let mut mentions = Mentions::default();
        mentions.add_url(url.unwrap_or_default());
        let in_url = mentions.clone();
        mentions.add_json(&call.request.payload);
        let mut pinned = None;
        let mut names_none: SmallVec<[bool; 2]> = SmallVec::new();
        for hop in &call.hops {
            let mentions = if hop.shares_payload(call.request) {
                mentions.clone()
            } else {
                let mut mentions = in_url.clone();
                mentions.add_json(&hop.request(call.request).payload);
                mentions
            };
            names_none.push(mentions.is_empty());
            if !mentions.is_empty() && pinned.is_none() {
                pinned = self.owner_of(hop, call.request, &mentions)?;
            }
        }
        if let Some(pinned) = &pinned {
            let mut names_none = names_none.into_iter();
            // What another provider is asked that names nothing can be asked of it.
            call.hops.retain(|hop| {
                names_none.next() == Some(true) || hop.provider.name == pinned.provider
            });
        }
        call.pinned = pinned;
        Ok(())
    }

    /// The credential in whose account these are. `None`: it is not known of any.
    fn owner_of(
        &self,
        hop: &Hop,
        request: &Request,
        mentions: &Mentions,
    ) -> Result<Option<Pinned>, Error> {
        let provider = &hop.provider.name;
        let Owned { known, error } = self.services.resources.owners(provider, mentions);
        let Some((resource, owner)) = known.first() else {
            return self.without_owner(provider, mentions, error).map(|()| None);
        };
        let is_elsewhere = |(_, other): &&(_, Owner)| !owner.is_of_account_of(other);
        if let Some((other, of_other)) = known.iter().find(is_elsewhere) {
            let what = format!(
                "{resource} is in the account of credential {}, and {other} in that of {}: no request can use both",
                owner.auth_id, of_other.auth_id
            );
            return Err(Error::config(what));
        }
        let request = hop.request(request);
        let query = Query {
            provider,
            model: &request.model,
            tried: None,
            pinned: None,
            now: self.services.moment(),
        };
        Ok(Some(Pinned {
            auth_id: self.of_account(query, owner, resource)?,
            provider: Arc::clone(provider),
            resource: (*resource).clone(),
        }))
    }

    /// Where no owner is known, any credential may be asked, unless that is because the store fails: then an account that does not have it
    /// would answer that it is not there. Of one credential there is no wrong one.
    fn without_owner(
        &self,
        provider: &str,
        mentions: &Mentions,
        error: Option<Error>,
    ) -> Result<(), Error> {
        let Some(error) = error else {
            return Ok(());
        };
        let registered = self.services.registry.list().into_iter();
        if registered.filter(|auth| auth.provider == provider).count() <= 1 {
            return Ok(());
        }
        let named: Vec<_> = mentions.iter().map(ToString::to_string).collect();
        let named = named.join(", ");
        let what = format_args!("the store cannot say in whose account {named} is");
        Err(error
            .context(what)
            .with_retryable(true)
            .with_http_status(503))
    }

    /// The credential of an account that serves the call: the owner, or one of its group where the owner is not ready and that one is.
    fn of_account(
        &self,
        query: Query<'_>,
        owner: &Owner,
        resource: &Resource,
    ) -> Result<Arc<str>, Error> {
        let registry = &self.services.registry;
        let own = registry.get(&owner.auth_id);
        let own = own.filter(|auth| auth.provider == query.provider);
        let group = own.as_ref().map(|auth| Owner::of(auth).limit_group);
        let group = group.unwrap_or_else(|| owner.limit_group.clone());
        let group = group.map(|group| registry.group_members(query.provider, &group));
        let is_enabled = |id: &Arc<str>| registry.get(id).is_some_and(|auth| !auth.disabled);
        let is_ready = |id: &Arc<str>| registry.ready(query, id).is_some();
        let account: SmallVec<[Arc<str>; 4]> = own
            .iter()
            .map(|_| Arc::clone(&owner.auth_id))
            .chain(group.into_iter().flatten())
            .collect();
        let mut enabled = account.iter().filter(|id| is_enabled(id));
        if let Some(first) = enabled.clone().find(|id| is_ready(id)).or(enabled.next()) {
            return Ok(Arc::clone(first));
        }
        let id = &owner.auth_id;
        let error = match own.as_deref() {
            Some(Auth { disabled: true, .. }) => {
                let what =
                    format!("{resource} is in the account of credential {id}, which is disabled");
                Error::new(ErrorCode::AuthUnavailable, what).with_http_status(503)
            }
            _ => {
                let what = format!(
                    "{resource} is in the account of credential {id} of provider {}, which was removed",
                    query.provider
                );
                Error::new(ErrorCode::AuthNotFound, what)
            }
        };
        Err(error.with_retryable(false).with_auth_id(id))
    }

    /// The account of the credential has what its answer names.
    pub(super) fn learn(&self, provider: &str, auth_id: &str, mentions: &Mentions) {
        if mentions.is_empty() {
            return;
        }
        if let Some(auth) = self.services.registry.get(auth_id) {
            let owner = Owner::of(&auth);
            self.services.resources.learn(provider, &owner, mentions);
        }
    }

    pub(super) fn learn_from_json(&self, provider: &str, auth_id: &str, json: &[u8]) {
        if self.services.resources.are_remembered() {
            let mut mentions = Mentions::default();
            mentions.add_json(json);
            self.learn(provider, auth_id, &mentions);
        }
    }

    /// Streams name what is made at their beginning, and at their end.
    pub(super) fn learn_from_chunk(&self, provider: &str, auth_id: &str, chunk: &StreamChunk) {
        if chunk.preamble || chunk.finish_reason.is_some() {
            self.learn_from_json(provider, auth_id, &chunk.payload);
        }
    }

    /// The head of a good answer to a raw call has come: what it tells of resources is learnt, and one that was deleted is forgotten. What
    /// reads the body along with the caller.
    pub(super) fn read_along(
        &self,
        report: &Report,
        request: &Parts,
        answered: &HeaderMap,
    ) -> Option<AnswerReader> {
        let resources = &self.services.resources;
        if !resources.are_remembered() {
            return None;
        }
        let path = request.uri.path();
        self.learn(&report.provider, &report.auth_id, &in_head(answered));
        if request.method == Method::DELETE
            && let Some(deleted) = Mentions::only_one_in(path)
        {
            resources.forget(&report.provider, &deleted);
            return None;
        }
        AnswerReader::new(path, answered)
    }
}
