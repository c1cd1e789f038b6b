//! Resource affinity (sticky routing): what a vendor keeps for one account (stored responses, files, batches, caches) is asked of that
//! account. `table`: where requests and answers name resources; `mentions`: finds them; `answer`: in the body of a raw answer; here: whose
//! they are.

mod answer;
mod mentions;
mod table;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use smallvec::SmallVec;

pub(crate) use answer::AnswerReader;
pub(crate) use mentions::{Mentions, Resource};

use crate::auth::Auth;
use crate::clock::{Clock, Timestamp, later};
use crate::error::Error;
use crate::expiring::ExpiringMap;

/// How many resources are remembered, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remembered {
    /// None where it is zero.
    pub(crate) most: usize,
    /// After a resource was made, or used last.
    pub(crate) expiry: Duration,
}

/// In whose account a resource is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// The credential that made it.
    pub(crate) auth_id: Arc<str>,
    /// The credentials of this group are of the same account.
    pub(crate) limit_group: Option<Arc<str>>,
}

/// The resources that were made, each with its owner.
pub(crate) struct Resources {
    remembered: Remembered,
    owners: Mutex<ExpiringMap<Key, Owner>>,
    clock: Arc<dyn Clock>,
}

/// A provider and a resource: a digest, so that neither long nor hostile ids take room.
type Key = [u8; 16];

impl Default for Remembered {
    fn default() -> Self {
        Self {
            most: 100_000,
            expiry: Duration::from_secs(30 * 24 * 60 * 60),
        }
    }
}

impl Remembered {
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.expiry.is_zero() {
            let what = "resource_expiry is zero; max_resources(0) remembers none";
            return Err(Error::config(what));
        }
        Ok(())
    }
}

impl Owner {
    pub(crate) fn of(auth: &Auth) -> Self {
        Self {
            auth_id: auth.id.as_str().into(),
            limit_group: auth.attributes.filled("limit_group").map(Into::into),
        }
    }

    pub(crate) fn is_of_account_of(&self, other: &Self) -> bool {
        let is_same_group = self.limit_group.is_some() && self.limit_group == other.limit_group;
        self.auth_id == other.auth_id || is_same_group
    }
}

impl Resources {
    pub(crate) fn new(remembered: Remembered, clock: Arc<dyn Clock>) -> Self {
        Self {
            remembered,
            owners: Mutex::default(),
            clock,
        }
    }

    pub(crate) fn are_remembered(&self) -> bool {
        self.remembered.most > 0
    }

    /// Those of the mentioned resources whose owner is known.
    pub(crate) fn owners<'m>(
        &self,
        provider: &str,
        mentions: &'m Mentions,
    ) -> SmallVec<[(&'m Resource, Owner); 2]> {
        let now = self.clock.now();
        let mut known = SmallVec::new();
        for resource in mentions.iter() {
            let key = key(provider, resource);
            let found = {
                let owners = self.owners.lock();
                let found = owners.get(&key).filter(|(_, ends)| *ends > now);
                found.map(|(owner, ends)| (owner.clone(), ends))
            };
            if let Some((owner, ends)) = found {
                if self.is_due(now, ends) {
                    self.remember(key, owner.clone(), now);
                }
                known.push((resource, owner));
            }
        }
        known
    }

    /// The account of `owner` has these: an answer to one of its requests has named them.
    pub(crate) fn learn(&self, provider: &str, owner: &Owner, mentions: &Mentions) {
        let now = self.clock.now();
        for resource in mentions.iter() {
            let key = key(provider, resource);
            let is_known = {
                let owners = self.owners.lock();
                owners.get(&key).is_some_and(|(known, ends)| {
                    known.is_of_account_of(owner) && ends > now && !self.is_due(now, ends)
                })
            };
            if !is_known {
                log::debug!("{resource} is in the account of {}", owner.auth_id);
                self.remember(key, owner.clone(), now);
            }
        }
    }

    /// The resource was deleted.
    pub(crate) fn forget(&self, provider: &str, resource: &Resource) {
        self.owners.lock().remove(&key(provider, resource));
    }

    fn remember(&self, key: Key, owner: Owner, now: Timestamp) {
        let ends = later(now, self.remembered.expiry);
        let mut owners = self.owners.lock();
        owners.insert(key, owner, ends);
        owners.truncate(self.remembered.most);
    }

    /// A use puts the end off, but not with each use: that would be a write each.
    fn is_due(&self, now: Timestamp, ends: Timestamp) -> bool {
        ends < later(now, self.remembered.expiry.mul_f64(RENEWED_BELOW))
    }
}

/// The mentions in the head of a raw answer.
pub(crate) fn in_head(headers: &HeaderMap) -> Mentions {
    let mut mentions = Mentions::default();
    let upload = headers.get(table::UPLOAD_HEADER);
    if let Some(url) = upload.and_then(|url| url.to_str().ok()) {
        mentions.add_url(url);
    }
    mentions
}

fn key(provider: &str, resource: &Resource) -> Key {
    let digest = Sha256::new()
        .chain_update(provider)
        .chain_update([0])
        .chain_update(resource.collection)
        .chain_update([0])
        .chain_update(&*resource.id)
        .finalize();
    let mut key = Key::default();
    let length = key.len();
    key.copy_from_slice(&digest[..length]);
    key
}

/// Where less than this part of the time is left, a use begins it anew.
const RENEWED_BELOW: f64 = 0.97;
