//! Resource affinity (sticky routing): what a vendor keeps for one account (stored responses, files, batches, caches) is asked of that
//! account. `vendor_names`: where requests and answers name resources; `mentions`: finds them; `answer`: in the body of a raw answer; `owner`:
//! an account; here: whose they are.

mod answer;
mod mentions;
mod owner;
mod vendor_names;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use smallvec::SmallVec;

pub(crate) use answer::AnswerReader;
pub(crate) use mentions::{Mentions, Resource};
pub(crate) use owner::Owner;

use crate::clock::{Clock, Timestamp, later};
use crate::error::Error;
use crate::expiring::ExpiringMap;
use crate::persistence::StoreHandle;
use crate::runtime::lock_of_parent;
use crate::store::StoreEntry;

/// How many resources are remembered, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remembered {
    /// None where it is zero.
    pub(crate) most: usize,
    /// After a resource was made, or used last.
    pub(crate) expiry: Duration,
}

/// The resources that were made, each with its owner.
pub(crate) struct Resources {
    remembered: Remembered,
    owners: Mutex<ExpiringMap<Key, Owner>>,
    store: Arc<StoreHandle>,
    clock: Arc<dyn Clock>,
}

/// What is known of the owners of some resources.
#[derive(Default)]
pub(crate) struct Owned<'m> {
    pub(crate) known: SmallVec<[(&'m Resource, Owner); 2]>,
    /// Why no more is known.
    pub(crate) error: Option<Error>,
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

impl Resources {
    pub(crate) fn new(
        remembered: Remembered,
        store: Arc<StoreHandle>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            remembered,
            owners: Mutex::default(),
            store,
            clock,
        }
    }

    /// What a parent remembered when it forked.
    pub(crate) fn take_over(&self, parents: &Self) -> Result<(), Error> {
        let owners = lock_of_parent(&parents.owners, "a resource was being remembered")?;
        self.owners.lock().clone_from(&owners);
        Ok(())
    }

    pub(crate) fn are_remembered(&self) -> bool {
        self.remembered.most > 0
    }

    /// The owners of the mentioned resources, where they are known. What this process does not know, another one of the fleet may have made: the
    /// store is asked.
    pub(crate) fn owners<'m>(&self, provider: &str, mentions: &'m Mentions) -> Owned<'m> {
        let now = self.clock.now();
        let mut owned = Owned::default();
        let mut unknown: BTreeMap<String, (Key, &Resource)> = BTreeMap::new();
        for resource in mentions.iter() {
            let key = key(provider, resource);
            match self.owner(&key, now) {
                Some(owner) => owned.known.push((resource, owner)),
                None => drop(unknown.insert(stored_key(&key), (key, resource))),
            }
        }
        if unknown.is_empty() {
            return owned;
        }
        let keys: Vec<String> = unknown.keys().cloned().collect();
        let found = self.store.load_entries(&keys);
        let found = found.unwrap_or_else(|error| {
            owned.error = Some(error);
            Vec::new()
        });
        for StoreEntry {
            key,
            value,
            expires_at,
        } in found
        {
            let owner = value.as_deref().and_then(Owner::read);
            if let Some((owner, (key, resource))) = owner.zip(unknown.get(&key))
                && expires_at > now
            {
                self.insert(*key, owner.clone(), expires_at);
                self.put_off(*key, &owner, now, expires_at);
                owned.known.push((resource, owner));
            }
        }
        owned
    }

    fn owner(&self, key: &Key, now: Timestamp) -> Option<Owner> {
        let (owner, ends) = {
            let owners = self.owners.lock();
            let (owner, ends) = owners.get(key).filter(|(_, ends)| *ends > now)?;
            (owner.clone(), ends)
        };
        self.put_off(*key, &owner, now, ends);
        Some(owner)
    }

    /// The account of `owner` has these: an answer to one of its requests has named them.
    pub(crate) fn learn(&self, provider: &str, owner: &Owner, mentions: &Mentions) {
        let now = self.clock.now();
        for resource in mentions.iter() {
            let key = key(provider, resource);
            let known = self.owner(&key, now);
            if known.is_none_or(|known| !known.is_of_account_of(owner)) {
                log::debug!("{resource} is in the account of {}", owner.auth_id);
                self.remember(key, owner, now);
            }
        }
    }

    /// The resource was deleted.
    pub(crate) fn forget(&self, provider: &str, resource: &Resource) {
        let key = key(provider, resource);
        let mut removal = StoreEntry::removal(stored_key(&key));
        removal.expires_at = later(self.clock.now(), self.remembered.expiry);
        self.owners.lock().remove(&key);
        self.store.note_entry(removal, self.remembered.most);
    }

    /// Another store is to have what the former had.
    pub(crate) fn save_all(&self) {
        let entries: Vec<_> = {
            let owners = self.owners.lock();
            let kept = owners.iter().filter(|(_, owner, _)| owner.is_kept);
            kept.map(|(key, owner, ends)| StoreEntry::new(stored_key(key), owner.written(), ends))
                .collect()
        };
        for entry in entries {
            self.store.note_entry(entry, self.remembered.most);
        }
    }

    /// A use puts the end off, but not each use: that would be a write each.
    fn put_off(&self, key: Key, owner: &Owner, now: Timestamp, ends: Timestamp) {
        if ends < later(now, self.remembered.expiry.mul_f64(RENEWED_BELOW)) {
            self.remember(key, owner, now);
        }
    }

    fn remember(&self, key: Key, owner: &Owner, now: Timestamp) {
        let ends = later(now, self.remembered.expiry);
        self.insert(key, owner.clone(), ends);
        if owner.is_kept {
            let entry = StoreEntry::new(stored_key(&key), owner.written(), ends);
            self.store.note_entry(entry, self.remembered.most);
        }
    }

    fn insert(&self, key: Key, owner: Owner, ends: Timestamp) {
        let mut owners = self.owners.lock();
        owners.insert(key, owner, ends);
        owners.truncate(self.remembered.most);
    }
}

/// The mentions in the head of a raw answer.
pub(crate) fn in_head(headers: &HeaderMap) -> Mentions {
    let mut mentions = Mentions::default();
    let upload = headers.get(vendor_names::UPLOAD_HEADER);
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

/// Under which key the store has it.
fn stored_key(key: &Key) -> String {
    format!("resource/{:032x}", u128::from_be_bytes(*key))
}

/// Where less than this part of the time is left, a use begins it anew.
const RENEWED_BELOW: f64 = 0.97;
