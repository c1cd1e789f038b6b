use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use super::conversation::{ConversationKey, lookup_keys, storage_keys};
use super::{Candidate, Candidates, Selector};
use crate::error::Error;
use crate::outcome::Outcome;
use crate::request::{Message, Options, normalized};

/// Keeps a conversation on the credential that served it before, around any other selector; the seed's
/// `NewGeminiWebStickySelector`.
///
/// A call's conversation is recognised by its messages ([`Options::messages`]) or its session key
/// ([`Options::session_key`]). The bound credential serves when it is among the candidates; otherwise the inner selector
/// chooses, and a success binds the conversation to its choice. What it knows is bounded: of more than 100,000 keys the
/// oldest are forgotten.
///
/// ```
/// use credpool::{Affinity, Manager, RoundRobin};
///
/// let manager = Manager::builder().selector(Affinity::new(RoundRobin::new())).build()?;
/// # drop(manager);
/// # Ok::<(), credpool::Error>(())
/// ```
#[doc(alias = "NewGeminiWebStickySelector")]
pub struct Affinity {
    inner: Box<dyn Selector>,
    only: Option<String>,
    bindings: Mutex<Bindings>,
}

/// Which credentials served what, by provider and key.
#[derive(Default)]
struct Bindings {
    by_provider: HashMap<String, HashMap<Key, Vec<Arc<str>>>>,
    /// All keys, the oldest first.
    order: VecDeque<(String, Key)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Conversation(ConversationKey),
    Session(String),
}

impl Affinity {
    /// Affinity for every provider, around `inner`.
    pub fn new(inner: impl Selector + 'static) -> Self {
        Self {
            inner: Box::new(inner),
            only: None,
            bindings: Mutex::default(),
        }
    }

    /// Affinity for one provider alone; the others are left to the inner selector.
    pub fn for_provider(mut self, provider: &str) -> Self {
        self.only = Some(normalized(provider));
        self
    }

    fn concerns(&self, provider: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == provider)
    }

    fn bound(&self, candidates: &Candidates<'_>, options: &Options) -> Option<Candidate> {
        let session = options.session_key.iter().cloned().map(Key::Session);
        let prefixes = lookup_keys(candidates.model(), &options.messages);
        let conversations = prefixes
            .into_iter()
            .map(|prefix| Key::Conversation(prefix.key));
        session
            .chain(conversations)
            .filter_map(|key| self.bindings.lock().only(candidates.provider(), &key))
            .find_map(|id| candidates.get(&id))
    }
}

impl Selector for Affinity {
    fn pick(
        &self,
        candidates: &Candidates<'_>,
        options: &Options,
    ) -> Result<Option<Candidate>, Error> {
        if self.concerns(candidates.provider())
            && let Some(bound) = self.bound(candidates, options)
        {
            return Ok(Some(bound));
        }
        self.inner.pick(candidates, options)
    }

    fn observe(&self, outcome: &Outcome<'_>) {
        if outcome.is_success() && self.concerns(outcome.provider) {
            let reply = outcome
                .reply_text
                .map(|text| Message::new("assistant", text));
            let stored = if outcome.messages.is_empty() {
                Vec::new()
            } else {
                storage_keys(outcome.model, outcome.messages.iter().chain(&reply))
            };
            let mut bindings = self.bindings.lock();
            if let Some(session) = outcome.session_key {
                let key = Key::Session(session.to_owned());
                bindings.rebind(outcome.provider, key, outcome.auth_id);
            }
            for stored in stored {
                let key = Key::Conversation(stored.key);
                bindings.bind(outcome.provider, key, outcome.auth_id);
            }
        }
        self.inner.observe(outcome);
    }

    fn forget(&self, auth_id: &str) {
        self.bindings.lock().forget(auth_id);
        self.inner.forget(auth_id);
    }
}

impl Bindings {
    /// The one credential that a key is bound to. Bound to several, it says nothing.
    fn only(&self, provider: &str, key: &Key) -> Option<Arc<str>> {
        match self.by_provider.get(provider)?.get(key)?.as_slice() {
            [id] => Some(Arc::clone(id)),
            _ => None,
        }
    }

    /// Binds a key to one more credential.
    fn bind(&mut self, provider: &str, key: Key, id: &str) {
        let ids = self.ids(provider, key);
        if ids.len() < MOST_IDS && !ids.iter().any(|bound| **bound == *id) {
            ids.push(id.into());
        }
    }

    /// Binds a key to this credential alone.
    fn rebind(&mut self, provider: &str, key: Key, id: &str) {
        let ids = self.ids(provider, key);
        if !matches!(ids.as_slice(), [bound] if **bound == *id) {
            *ids = vec![id.into()];
        }
    }

    fn ids(&mut self, provider: &str, key: Key) -> &mut Vec<Arc<str>> {
        let known = self
            .by_provider
            .get(provider)
            .is_some_and(|keys| keys.contains_key(&key));
        if !known {
            while self.order.len() >= MOST_KEYS {
                self.drop_oldest();
            }
            self.order.push_back((provider.to_owned(), key.clone()));
        }
        self.by_provider
            .entry(provider.to_owned())
            .or_default()
            .entry(key)
            .or_default()
    }

    fn drop_oldest(&mut self) {
        if let Some((provider, key)) = self.order.pop_front()
            && let Some(keys) = self.by_provider.get_mut(&provider)
        {
            keys.remove(&key);
            if keys.is_empty() {
                self.by_provider.remove(&provider);
            }
        }
    }

    fn forget(&mut self, id: &str) {
        for keys in self.by_provider.values_mut() {
            for ids in keys.values_mut() {
                ids.retain(|bound| **bound != *id);
            }
        }
    }
}

impl fmt::Debug for Affinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Affinity")
            .field("only", &self.only)
            .field("keys", &self.bindings.lock().order.len())
            .finish_non_exhaustive()
    }
}

const MOST_KEYS: usize = 100_000;

/// A key that many credentials share says nothing however many more come.
const MOST_IDS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u32) -> Key {
        Key::Session(n.to_string())
    }

    #[test]
    fn a_key_with_two_credentials_says_nothing_until_one_goes() {
        let mut bindings = Bindings::default();
        bindings.bind("p", key(1), "a");
        bindings.bind("p", key(1), "a");
        assert_eq!(bindings.only("p", &key(1)).as_deref(), Some("a"));
        assert_eq!(bindings.only("q", &key(1)), None);
        bindings.bind("p", key(1), "b");
        assert_eq!(bindings.only("p", &key(1)), None);
        bindings.forget("a");
        assert_eq!(bindings.only("p", &key(1)).as_deref(), Some("b"));
    }

    #[test]
    fn the_oldest_keys_make_room() {
        let mut bindings = Bindings::default();
        let most = u32::try_from(MOST_KEYS).unwrap();
        for n in 0..=most {
            bindings.rebind("p", key(n), "a");
        }
        assert_eq!(bindings.only("p", &key(0)), None);
        assert!(bindings.only("p", &key(most)).is_some());
        assert_eq!(bindings.order.len(), MOST_KEYS);
        assert_eq!(bindings.by_provider["p"].len(), MOST_KEYS);
    }
}
