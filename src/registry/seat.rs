//! Seats: each record's readiness in its provider's ready index, and which calls are woken when it is ready earlier.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use super::index::model_queue::ProviderIndex;
use super::{FastMap, State};
use crate::auth::{Auth, ModelList};
use crate::health::model_states;

/// The lists of models in use, by their text: credentials with the same text share one.
#[derive(Default)]
pub(super) struct ModelLists {
    by_text: FastMap<Box<str>, Weak<ModelList>>,
    /// Those that are in use no more are forgotten when there are so many.
    tidy_at: usize,
    /// There was one.
    any: Arc<AtomicBool>,
}

impl ModelLists {
    /// Whether there was one, from here on.
    pub(super) fn are_any(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.any)
    }

    /// The list of a credential; `None` where it has none, or one that cannot be read: then its settings are wrong, and it serves nothing.
    fn of(&mut self, auth: &Auth) -> Option<Arc<ModelList>> {
        let text = ModelList::text_of(auth)?;
        if let Some(known) = self.by_text.get(text).and_then(Weak::upgrade) {
            return Some(known);
        }
        let list = Arc::new(ModelList::parse(text).ok()?);
        if self.by_text.len() >= self.tidy_at {
            self.by_text.retain(|_, list| list.strong_count() > 0);
            self.tidy_at = 2 * self.by_text.len() + 16;
        }
        self.by_text.insert(text.into(), Arc::downgrade(&list));
        self.any.store(true, Ordering::Relaxed);
        Some(list)
    }
}

impl State {
    /// Keeps count of the credentials that may be unavailable, and no more states of models than there is room for in the pool; returns the
    /// models whose states it forgets. Every change of a record comes here.
    fn note_trouble(&mut self, slot: u32) -> Vec<String> {
        let share = MOST_STATES / self.by_id.len().max(1);
        let most = share.clamp(FEWEST_STATES, model_states::KEPT_MODELS);
        let record = &mut self.slots[slot];
        let forgotten = if record.auth.model_states.len() > most {
            model_states::forget_oldest(Arc::make_mut(&mut record.auth), most)
        } else {
            Vec::new()
        };
        record.member.look_at(&record.auth);
        let troubled = record.may_be_out();
        if record.troubled != troubled {
            record.troubled = troubled;
            self.troubled.set(slot, troubled);
        }
        forgotten
    }

    /// Gives a record its seat in its provider's pool, if it is to have one, and updates it in every model queue.
    pub(super) fn seat(&mut self, slot: u32) {
        self.note_trouble(slot);
        let record = &self.slots[slot];
        let (ranks, disabled) = (record.ranks_asked_for(), record.auth.disabled);
        let serves = self.lists.of(&record.auth);
        let as_before = serves.as_ref().map(Arc::as_ptr) == record.serves.as_ref().map(Arc::as_ptr);
        if record.place().is_some() && (disabled || record.ranks != ranks || !as_before) {
            self.unseat(slot);
        }
        self.slots[slot].ranks = ranks;
        self.slots[slot].serves = serves;
        if disabled {
            return;
        }
        let now = self.timeline.latest();
        let Self { slots, pools, .. } = self;
        let provider: &str = &slots[slot].auth.provider;
        if !pools.contains_key(provider) {
            pools.insert(provider.into(), ProviderIndex::default());
        }
        let Some(pool) = pools.get_mut(provider) else {
            return;
        };
        if slots[slot].place().is_none() {
            pool.join(slots, slot);
        }
        let record = &slots[slot];
        if let Some(seat) = record.seat()
            && pool.set_everywhere(slot, seat, |model| record.readiness(model, now))
        {
            self.waiters
                .wake_for_all_models(&record.auth.provider, record.id());
        }
    }

    pub(super) fn unseat(&mut self, slot: u32) {
        let Self { slots, pools, .. } = self;
        let provider = &*slots[slot].auth;
        let Some(pool) = pools.get_mut(&*provider.provider) else {
            return;
        };
        pool.leave(slots, slot);
        if pool.len() == 0 {
            self.lanes -= pool.lanes.len();
            pools.remove(&*slots[slot].auth.provider);
        }
    }

    /// Puts a record's readiness into the model queues, in those of a vendor's model, its aliases among them, or everywhere, and wakes calls
    /// that wait for what is ready earlier by it.
    pub(super) fn look_again(&mut self, slot: u32, model: &str, everywhere: bool) {
        let forgotten = self.note_trouble(slot);
        let now = self.timeline.latest();
        let record = &self.slots[slot];
        let Some(seat) = record.seat() else {
            return;
        };
        let Some(pool) = self.pools.get_mut(&*record.auth.provider) else {
            return;
        };
        let (provider, id) = (&record.auth.provider, record.id());
        if everywhere {
            if pool.set_everywhere(slot, seat, |model| record.readiness(model, now)) {
                self.waiters.wake_for_all_models(provider, id);
            }
            return;
        }
        let mut set = |asked: &str| {
            if pool.set(asked, slot, seat, record.readiness(asked, now)) {
                self.waiters.wake_for(provider, asked, id);
            }
        };
        let forgotten = forgotten.iter().map(String::as_str);
        for model in [model, ""].into_iter().chain(forgotten) {
            set(model);
            let aliases = record.serves.iter().flat_map(|list| list.aliases());
            for (alias, _) in aliases.filter(|(_, of)| ***of == *model) {
                set(alias);
            }
        }
    }
}

/// States of models that all credentials of a pool keep together, as long as each may keep the fewest.
pub(super) const MOST_STATES: usize = 16_384;
const FEWEST_STATES: usize = 8;
