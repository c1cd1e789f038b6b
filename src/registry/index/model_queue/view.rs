//! [`QueueView`]: what a pick asks of a model's queue.

use super::{Cursor, ModelQueue, Position, Ready, Tier, Why};
use crate::clock::Timestamp;
use crate::failure_kind::FailureKind;
use crate::registry::index::ordered_slots::Place;
use crate::registry::index::weighted::WeightedScheduler;
use crate::registry::pick::{Picked, Restriction};
use crate::registry::record::Slots;

/// A model queue, with the order that its bits follow.
pub(crate) struct QueueView<'a> {
    pub(super) model: &'a str,
    pub(super) tiers: &'a [Tier],
    pub(super) lane: &'a mut ModelQueue,
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

    /// The pick of a member that serves the model.
    pub(crate) fn picked(&self, slots: &Slots, slot: u32) -> Picked {
        let record = &slots[slot];
        record.picked_as(self.model, self.lane.alias_of(record.serves.as_ref()))
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
