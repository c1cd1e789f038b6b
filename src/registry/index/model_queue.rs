//! The ready index of one provider: its slots in order, and for each model the ready set and the expiries of cooldowns.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::failure_kind::FailureKind;

use super::bitset::BitSet;
use super::ordered_slots::{OrderedSlots, Place};
use super::weighted::WeightedScheduler;
use crate::health::Readiness;
use crate::registry::FastMap;
use crate::registry::pick::Restriction;
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
    /// Models may be waited for that have no lane.
    has_dropped_lanes: bool,
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

    /// All members, those of the highest priority first, in the order of their ids.
    pub(crate) fn members(&self) -> impl Iterator<Item = u32> + '_ {
        self.tiers.iter().flat_map(|tier| tier.order.iter())
    }

    /// Takes a credential in, which is in no pool yet. The model queues do not have its readiness yet.
    pub(crate) fn join(&mut self, slots: &mut Slots, slot: u32) {
        let tier = self.tier_for(slots[slot].ranks.priority);
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

    /// Makes the lane of a model, in which every credential is ready but those of `troubled` that have another readiness.
    pub(crate) fn build_lane(
        &mut self,
        model: &str,
        troubled: impl Iterator<Item = (u32, Position, Readiness)>,
    ) {
        let model: Arc<str> = model.into();
        let all_ready = |tier: &Tier| Ready {
            bits: BitSet::all(&tier.order),
            ..Ready::default()
        };
        let mut lane = ModelQueue {
            ready: self.tiers.iter().map(all_ready).collect(),
            ..ModelQueue::default()
        };
        for (slot, seat, readiness) in troubled {
            if let Some(tier) = self.tier(seat.ranks.priority) {
                lane.set(&self.tiers[tier].order, tier, slot, seat, readiness);
            }
        }
        self.lanes.insert(model, lane);
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

    pub(crate) fn last_used(&self) -> u64 {
        self.last_used
    }
}

/// A lane, with the order that its bits follow.
pub(crate) struct QueueView<'a> {
    model: &'a str,
    tiers: &'a [Tier],
    lane: &'a mut ModelQueue,
}

impl QueueView<'_> {
    /// Notes a use, and looks anew at the credentials whose time has come: another reason may make them unavailable from here on.
    pub(crate) fn used(&mut self, slots: &Slots, pick: u64, now: Timestamp) {
        self.lane.last_used = pick;
        while self.lane.next_return.is_some_and(|at| at <= now)
            && let Some((_, slot)) = self.lane.returning.first().copied()
        {
            let record = &slots[slot];
            match record.seat().map(|seat| (seat, self.tier(seat))) {
                Some((seat, Some(tier))) => {
                    let order = &self.tiers[tier].order;
                    let readiness = record.readiness(self.model, now);
                    self.lane.set(order, tier, slot, seat, readiness);
                }
                _ => self.lane.no_longer_out(slot),
            }
        }
    }

    /// The first tier with a ready credential that the call may still try.
    pub(crate) fn top_tier(&self, slots: &Slots, call: &Restriction<'_>) -> Option<usize> {
        (0..self.tiers.len()).find(|tier| {
            if call.is_first() {
                self.lane.ready[*tier].bits.count() > 0
            } else {
                let admits = |slot| call.admits(slots, slot);
                self.next(*tier, None, admits).is_some()
            }
        })
    }

    /// How many of a tier are ready, without those that were tried.
    pub(crate) fn ready_in(&self, slots: &Slots, tier: usize, call: &Restriction<'_>) -> usize {
        let bits = &self.lane.ready[tier].bits;
        let priority = self.tiers[tier].priority;
        let tried = call.tried_of(slots).filter(|slot| {
            let seat = slots[*slot].seat();
            seat.is_some_and(|seat| seat.ranks.priority == priority && bits.has(seat.place))
        });
        bits.count() - tried.count()
    }

    pub(crate) fn is_ready(&self, seat: Position) -> bool {
        self.tier(seat)
            .is_some_and(|tier| self.lane.ready[tier].bits.has(seat.place))
    }

    /// The first ready one of a tier after a place that `admits` admits.
    pub(crate) fn next(
        &self,
        tier: usize,
        after: Option<Place>,
        admits: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let (order, bits) = (&self.tiers[tier].order, &self.lane.ready[tier].bits);
        let mut after = after;
        loop {
            let place = bits.next(order, after)?;
            let slot = order.slot(place);
            if admits(slot) {
                return Some(slot);
            }
            after = Some(place);
        }
    }

    /// The last place of a tier whose id is not after `id`.
    pub(crate) fn place_up_to(&self, slots: &Slots, tier: usize, id: &str) -> Option<Place> {
        self.tiers[tier]
            .order
            .last_up_to(|slot| slots.id(slot).as_ref().cmp(id))
    }

    /// The next one in the rotation of a tier, which moves on.
    pub(crate) fn rotate(
        &mut self,
        slots: &Slots,
        tier: usize,
        admits: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let after = self.after_last_picked(slots, tier);
        let slot = self
            .next(tier, after, &admits)
            .or_else(|| self.next(tier, None, &admits))?;
        self.lane.ready[tier].last_picked = Cursor::Slot(slot);
        Some(slot)
    }

    fn after_last_picked(&self, slots: &Slots, tier: usize) -> Option<Place> {
        match &self.lane.ready[tier].last_picked {
            Cursor::Nobody => None,
            Cursor::Slot(slot) => slots[*slot].place(),
            Cursor::Gone(id) => self.place_up_to(slots, tier, id),
        }
    }

    /// The next one of a tier by weight.
    pub(crate) fn by_weight(
        &mut self,
        slots: &Slots,
        tier: usize,
        admits: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let Ready { bits, turns, .. } = &mut self.lane.ready[tier];
        let order = &self.tiers[tier].order;
        let turns = turns.get_or_insert_with(|| {
            let mut turns = WeightedScheduler::default();
            for place in bits.iter(order) {
                let slot = order.slot(place);
                turns.add(slot, slots[slot].ranks.weight);
            }
            turns
        });
        turns.take(admits, |slot| slots[slot].ranks.weight)
    }

    /// The next one in the rotation of a tier that has the fewest requests in flight.
    pub(crate) fn least_busy(
        &mut self,
        slots: &Slots,
        tier: usize,
        admits: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let start = self.after_last_picked(slots, tier);
        let (mut best, mut fewest) = (None, u32::MAX);
        for mut after in [start, None] {
            while let Some(slot) = self.next(tier, after, &admits) {
                let busy = slots[slot].member.in_flight();
                if busy < fewest {
                    (best, fewest) = (Some(slot), busy);
                }
                after = slots[slot].place();
                if fewest == 0 {
                    break;
                }
            }
            if fewest == 0 || start.is_none() {
                break;
            }
        }
        if let Some(slot) = best {
            self.lane.ready[tier].last_picked = Cursor::Slot(slot);
        }
        best
    }

    /// One of a tier, by a number from 0 to 1: the first ready one after that part of all places.
    pub(crate) fn at_random(
        &self,
        tier: usize,
        number: f64,
        admits: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let after = self.tiers[tier].order.at_part(number);
        self.next(tier, after, &admits)
            .or_else(|| self.next(tier, None, &admits))
    }

    /// All ready ones of a tier.
    pub(crate) fn all(&self, tier: usize) -> impl Iterator<Item = u32> {
        let (order, bits) = (&self.tiers[tier].order, &self.lane.ready[tier].bits);
        bits.iter(order).map(|place| order.slot(place))
    }

    fn tier(&self, seat: Position) -> Option<usize> {
        let priority = seat.ranks.priority;
        self.tiers.iter().position(|tier| tier.priority == priority)
    }

    /// The unavailable credentials that return by themselves, and when, the earliest first.
    pub(crate) fn returning(&self) -> impl Iterator<Item = (Timestamp, u32)> + '_ {
        self.lane.returning.iter().copied()
    }

    /// How many are unavailable and return by themselves.
    pub(crate) fn out_len(&self) -> usize {
        self.lane.out.len()
    }

    /// How many of those that return are unavailable for this reason.
    pub(crate) fn count(&self, why: Why) -> usize {
        self.lane.counts[why.index()]
    }

    /// Whether this is why it is unavailable.
    pub(crate) fn is_out_for(&self, slot: u32, why: Why) -> bool {
        let out = self.lane.out.get(&slot);
        out.is_some_and(|(_, known)| *known == why)
    }

    /// Until when a credential is kept from being ready, if it is.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn end_of(&self, slot: u32) -> Option<Timestamp> {
        self.lane.out.get(&slot).map(|(at, _)| *at)
    }

    /// How many are unavailable, by failure kind.
    pub(crate) fn faults(&self) -> impl Iterator<Item = (FailureKind, usize)> + '_ {
        FailureKind::NAMED
            .into_iter()
            .map(|(fault, _)| (fault, self.count(Why::FailureKind(fault))))
            .filter(|(_, count)| *count > 0)
    }
}
