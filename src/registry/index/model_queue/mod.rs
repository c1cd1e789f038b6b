//! The ready index of one provider: its slots in order, and for each model the ready set and the expiries of cooldowns.

mod view;

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use crate::auth::ModelList;
use crate::clock::Timestamp;
use crate::failure_kind::FailureKind;

pub(crate) use view::QueueView;

use super::bitset::BitSet;
use super::ordered_slots::{OrderedSlots, Place};
use super::weighted::WeightedScheduler;
use crate::health::Readiness;
use crate::registry::FastMap;
use crate::registry::record::Slots;

/// Where a credential is in its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) place: Place,
    pub(crate) ranks: Priority,
}

/// Its priority among the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Priority {
    pub(crate) priority: i64,
    pub(crate) weight: u32,
}

/// The credentials of one provider that are not disabled, and a model queue for each model that was requested.
#[derive(Default)]
pub(crate) struct ProviderIndex {
    /// The highest priority first.
    tiers: Vec<Tier>,
    pub(crate) lanes: FastMap<Arc<str>, ModelQueue>,
    /// The members that have a list of the models that they serve, by the list.
    listed: Listed,
    /// Models may be waited for that have no lane.
    has_dropped_lanes: bool,
}

/// Credentials with lists of models. A list is known by its place in memory: credentials with the same one share it.
#[derive(Default)]
struct Listed {
    by_list: FastMap<usize, Class>,
    members: usize,
}

/// Credentials with the same list.
struct Class {
    list: Arc<ModelList>,
    members: HashSet<u32, foldhash::fast::RandomState>,
}

/// Credentials of the same priority, in the order of their ids.
struct Tier {
    priority: i64,
    order: OrderedSlots,
}

/// The ready credentials of one model, and when the others return: a pick never looks at those that are unavailable.
#[derive(Default)]
pub(crate) struct ModelQueue {
    /// The ready credentials, for each tier of the pool.
    ready: Vec<Ready>,
    returning: BTreeSet<(Timestamp, u32)>,
    /// The first of those.
    next_return: Option<Timestamp>,
    /// Until when each of them is unavailable, and why.
    out: FastMap<u32, (Timestamp, Why)>,
    /// How many of those that return are unavailable for each reason.
    counts: [usize; Why::COUNT],
    /// The vendor's names of what is an alias, by the list that says so: a pick does not look into lists.
    aliases: FastMap<usize, Arc<str>>,
    /// The number of the pick that used it last.
    last_used: u64,
}

/// Why a credential that returns by itself is unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    FailureKind(FailureKind),
    /// Nothing but its own limits.
    Full,
    /// Nothing but its pace.
    Paced,
    /// Nothing but what is learnt of its concurrency.
    Capped,
}

impl Why {
    const COUNT: usize = FailureKind::NAMED.len() + 3;

    fn index(self) -> usize {
        match self {
            Self::FailureKind(fault) => fault as usize,
            Self::Full => FailureKind::NAMED.len(),
            Self::Paced => FailureKind::NAMED.len() + 1,
            Self::Capped => FailureKind::NAMED.len() + 2,
        }
    }
}

#[derive(Default)]
struct Ready {
    bits: BitSet,
    last_picked: Cursor,
    /// The turns by weight, once a pick has needed them.
    turns: Option<WeightedScheduler>,
}

/// Which slot was picked last.
#[derive(Default)]
enum Cursor {
    #[default]
    Nobody,
    Slot(u32),
    /// It has left since.
    Gone(Arc<str>),
}

impl ProviderIndex {
    pub(crate) fn len(&self) -> usize {
        self.tiers.iter().map(|tier| tier.order.len()).sum()
    }

    /// How many members serve a model, ready or not. Lists are asked, not members.
    pub(crate) fn count_serving(&self, model: &str) -> usize {
        let serving = self.listed.classes(model, true);
        let serving: usize = serving.map(|class| class.members.len()).sum();
        self.len() - self.listed.members + serving
    }

    /// The lists of models of the members.
    pub(crate) fn lists(&self) -> impl Iterator<Item = &Arc<ModelList>> {
        self.listed.by_list.values().map(|class| &class.list)
    }

    /// All members, those of the highest priority first, in the order of their ids.
    pub(crate) fn members(&self) -> impl Iterator<Item = u32> + '_ {
        self.tiers.iter().flat_map(|tier| tier.order.iter())
    }

    /// Takes a credential in, which is in no pool yet. The model queues do not have its readiness yet.
    pub(crate) fn join(&mut self, slots: &mut Slots, slot: u32) {
        let tier = self.tier_for(slots[slot].ranks.priority);
        if let Some(list) = &slots[slot].serves
            && self.listed.join(list, slot)
        {
            for (model, lane) in &mut self.lanes {
                lane.learn_alias(model, list);
            }
        }
        let Self { tiers, lanes, .. } = self;
        let order = &mut tiers[tier].order;
        let id = Arc::clone(slots.id(slot));
        let before = order.last_up_to(|other| slots.id(other).as_ref().cmp(&*id));
        order.insert_after(
            before,
            slot,
            |slot, place| slots[slot].put_at(Some(place)),
            |order, shift| {
                for lane in lanes.values_mut() {
                    lane.ready[tier].bits.shift(order, shift);
                }
            },
        );
    }

    /// Lets a credential go.
    pub(crate) fn leave(&mut self, slots: &mut Slots, slot: u32) {
        let Some(Position { place, ranks }) = slots[slot].seat() else {
            return;
        };
        slots[slot].put_at(None);
        if let Some(list) = &slots[slot].serves
            && self.listed.leave(list, slot)
        {
            for lane in self.lanes.values_mut() {
                lane.aliases.remove(&key(list));
            }
        }
        let Some(tier) = self.tier(ranks.priority) else {
            return;
        };
        let Self { tiers, lanes, .. } = self;
        let id = Arc::clone(slots.id(slot));
        for lane in lanes.values_mut() {
            lane.no_longer_out(slot);
            let ready = &mut lane.ready[tier];
            if matches!(ready.last_picked, Cursor::Slot(last) if last == slot) {
                ready.last_picked = Cursor::Gone(Arc::clone(&id));
            }
            if let Some(turns) = &mut ready.turns {
                turns.forget(slot);
            }
        }
        tiers[tier].order.remove(
            place,
            |slot, place| slots[slot].put_at(Some(place)),
            |order, shift| {
                for lane in lanes.values_mut() {
                    lane.ready[tier].bits.shift(order, shift);
                }
            },
        );
        if tiers[tier].order.len() == 0 {
            tiers.remove(tier);
            for lane in lanes.values_mut() {
                lane.ready.remove(tier);
            }
        }
    }

    /// Puts a member's readiness into a model queue. Whether it may be ready earlier than the queue had it.
    pub(crate) fn set(
        &mut self,
        model: &str,
        slot: u32,
        seat: Position,
        readiness: Readiness,
    ) -> bool {
        let tier = self.tier(seat.ranks.priority);
        match (tier, self.lanes.get_mut(model)) {
            (Some(tier), Some(lane)) => {
                lane.set(&self.tiers[tier].order, tier, slot, seat, readiness)
            }
            _ => true,
        }
    }

    /// Puts a member's readiness into every model queue. Whether it may be ready earlier than any of them had it.
    pub(crate) fn set_everywhere(
        &mut self,
        slot: u32,
        seat: Position,
        readiness: impl Fn(&str) -> Readiness,
    ) -> bool {
        let Some(tier) = self.tier(seat.ranks.priority) else {
            return true;
        };
        let order = &self.tiers[tier].order;
        let mut is_earlier = self.has_dropped_lanes;
        for (model, lane) in &mut self.lanes {
            is_earlier |= lane.set(order, tier, slot, seat, readiness(model));
        }
        is_earlier
    }

    /// Lets go of the lane of a model. What changes from then on is not known of it.
    pub(crate) fn drop_lane(&mut self, model: &str) {
        self.lanes.remove(model);
        self.has_dropped_lanes = true;
    }

    /// Makes the lane of a model, in which every credential that serves it is ready but those of `troubled` that have another readiness.
    pub(crate) fn build_lane(
        &mut self,
        model: &str,
        slots: &Slots,
        troubled: impl Iterator<Item = (u32, Position, Readiness)>,
    ) {
        let all_ready = |tier: &Tier| Ready {
            bits: BitSet::all(&tier.order),
            ..Ready::default()
        };
        let mut lane = ModelQueue {
            ready: self.tiers.iter().map(all_ready).collect(),
            ..ModelQueue::default()
        };
        for class in self.listed.by_list.values() {
            lane.learn_alias(model, &class.list);
        }
        let others = self.listed.classes(model, false);
        let others = others.flat_map(|class| &class.members);
        let others =
            others.filter_map(|slot| Some((*slot, slots[*slot].seat()?, Readiness::Blocked)));
        for (slot, seat, readiness) in others.chain(troubled) {
            if let Some(tier) = self.tier(seat.ranks.priority) {
                lane.set(&self.tiers[tier].order, tier, slot, seat, readiness);
            }
        }
        self.lanes.insert(model.into(), lane);
    }

    /// The lane of a model, if there is one, as a pick sees it.
    pub(crate) fn view<'a>(&'a mut self, model: &'a str) -> Option<QueueView<'a>> {
        Some(QueueView {
            model,
            tiers: &self.tiers,
            lane: self.lanes.get_mut(model)?,
        })
    }

    fn tier(&self, priority: i64) -> Option<usize> {
        self.tiers.iter().position(|tier| tier.priority == priority)
    }

    fn tier_for(&mut self, priority: i64) -> usize {
        let found = self
            .tiers
            .binary_search_by_key(&Reverse(priority), |tier| Reverse(tier.priority));
        found.unwrap_or_else(|index| {
            let order = OrderedSlots::default();
            self.tiers.insert(index, Tier { priority, order });
            for lane in self.lanes.values_mut() {
                lane.ready.insert(index, Ready::default());
            }
            index
        })
    }
}

impl Listed {
    /// Whether it is the first one with that list.
    fn join(&mut self, list: &Arc<ModelList>, slot: u32) -> bool {
        let class = self.by_list.entry(key(list)).or_insert_with(|| Class {
            list: Arc::clone(list),
            members: HashSet::default(),
        });
        class.members.insert(slot);
        self.members += 1;
        class.members.len() == 1
    }

    /// Whether it was the last one with that list.
    fn leave(&mut self, list: &Arc<ModelList>, slot: u32) -> bool {
        let Some(class) = self.by_list.get_mut(&key(list)) else {
            return false;
        };
        self.members -= usize::from(class.members.remove(&slot));
        let is_last = class.members.is_empty();
        if is_last {
            self.by_list.remove(&key(list));
        }
        is_last
    }

    /// Those whose list serves a model, or those whose list does not.
    fn classes(&self, model: &str, serving: bool) -> impl Iterator<Item = &Class> {
        let classes = self.by_list.values();
        classes.filter(move |class| class.list.resolve(model).is_some() == serving)
    }
}

/// A class keeps its list: no other one is at the same place.
fn key(list: &Arc<ModelList>) -> usize {
    Arc::as_ptr(list).addr()
}

impl Ready {
    fn set(&mut self, order: &OrderedSlots, slot: u32, seat: Position, ready: bool) {
        self.bits.set(order, seat.place, ready);
        if let Some(turns) = &mut self.turns {
            if ready {
                turns.add(slot, seat.ranks.weight);
            } else {
                turns.remove(slot);
            }
        }
    }
}

impl ModelQueue {
    fn set(
        &mut self,
        order: &OrderedSlots,
        tier: usize,
        slot: u32,
        seat: Position,
        readiness: Readiness,
    ) -> bool {
        let was_ready = self.ready[tier].bits.has(seat.place);
        let was_out = self.out.get(&slot).map(|(at, _)| *at);
        let is_ready = readiness == Readiness::Ready;
        self.ready[tier].set(order, slot, seat, is_ready);
        self.no_longer_out(slot);
        match readiness {
            Readiness::Until(at, fault) => self.is_out(slot, at, Why::FailureKind(fault)),
            Readiness::Full(at) => self.is_out(slot, at, Why::Full),
            Readiness::Paced(at) => self.is_out(slot, at, Why::Paced),
            Readiness::Capped(at) => self.is_out(slot, at, Why::Capped),
            Readiness::Ready | Readiness::Blocked => {}
        }
        let returns_earlier = |at| was_out.is_none_or(|was_out| at < was_out);
        !was_ready && (is_ready || readiness.end().is_some_and(returns_earlier))
    }

    fn is_out(&mut self, slot: u32, at: Timestamp, why: Why) {
        self.out.insert(slot, (at, why));
        self.returning.insert((at, slot));
        self.counts[why.index()] += 1;
        self.next_return = Some(self.next_return.map_or(at, |first| first.min(at)));
    }

    fn no_longer_out(&mut self, slot: u32) {
        if self.out.is_empty() {
            return;
        }
        if let Some((at, why)) = self.out.remove(&slot) {
            self.returning.remove(&(at, slot));
            self.counts[why.index()] -= 1;
            if self.next_return == Some(at) {
                self.next_return = self.returning.first().map(|(at, _)| *at);
            }
        }
    }

    fn learn_alias(&mut self, model: &str, list: &Arc<ModelList>) {
        if let Some(sent_as) = list.alias(model) {
            self.aliases.insert(key(list), Arc::clone(sent_as));
        }
    }

    /// The vendor's name of the model for credentials with a list that has an alias for it.
    fn alias_of(&self, list: Option<&Arc<ModelList>>) -> Option<&Arc<str>> {
        if self.aliases.is_empty() {
            return None;
        }
        self.aliases.get(&key(list?))
    }

    pub(crate) fn last_used(&self) -> u64 {
        self.last_used
    }
}
