//! The set of credentials that a call has attempted.

use std::sync::Arc;

use super::FastMap;
use super::record::Slots;
use super::shared::SharedState;

/// The credentials that a call has tried.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attempted(FastMap<u32, Arc<SharedState>>);

impl Attempted {
    pub(crate) fn note(&mut self, member: &Arc<SharedState>) {
        self.0.insert(member.slot, Arc::clone(member));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same for calls that have tried the same ones.
    pub(super) fn fingerprint(&self, hash: impl Fn(u32) -> u64) -> u64 {
        let hashes = self.0.keys().map(|slot| hash(*slot));
        hashes.fold(0, u64::wrapping_add)
    }

    pub(crate) fn contains(&self, member: &Arc<SharedState>) -> bool {
        let noted = self.0.get(&member.slot);
        noted.is_some_and(|noted| Arc::ptr_eq(noted, member))
    }

    /// Forgets those for which `keep` says no.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Arc<SharedState>) -> bool) {
        self.0.retain(|_, member| keep(member));
    }

    /// Whether the record in a slot was tried. One that was registered since with the same id was not.
    pub(super) fn has(&self, slots: &Slots, slot: u32) -> bool {
        !self.0.is_empty()
            && self
                .0
                .get(&slot)
                .is_some_and(|member| slots.is_of(slot, member))
    }

    /// The slots of those that are registered and of this provider.
    pub(super) fn of<'a>(
        &'a self,
        slots: &'a Slots,
        provider: &'a str,
    ) -> impl Iterator<Item = u32> + 'a {
        self.0
            .iter()
            .filter(|(slot, member)| slots.is_of(**slot, member))
            .map(|(slot, _)| *slot)
            .filter(move |slot| slots[*slot].auth.provider == provider)
    }
}
