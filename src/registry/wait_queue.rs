//! The wait queue: calls that wait for a credential, first come, first served.
//!
//! A queue is of calls that may use the same credentials: those for one provider and model, pinned alike, that have tried the same ones.
//! Only the first call of a queue acts: it watches the time at which the next credential returns, and it is the one that is woken when a
//! credential becomes ready earlier. The others wait until they are first. A call that leaves a queue as its first wakes the next one,
//! which looks for itself. So the work of a release does not grow with the number of calls that wait.

use std::collections::BTreeSet;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender};
use foldhash::fast::RandomState;
use parking_lot::Mutex;
use smallvec::SmallVec;

use super::{FastMap, Query, Registry, Supply};

#[derive(Debug, Default)]
pub(super) struct WaitQueue {
    /// How many wait, to be seen without the lock.
    count: AtomicUsize,
    line: Mutex<Line>,
    hashes: RandomState,
}

#[derive(Debug, Default)]
struct Line {
    /// The place of the call that comes next: those of calls that came before are lower.
    next_place: u64,
    calls: FastMap<u64, Call>,
    /// For each provider and model.
    queues: FastMap<u64, Queues>,
}

#[derive(Debug)]
struct Call {
    queues: SmallVec<[QueueId; 2]>,
    waker: Sender<()>,
}

/// The queues for one provider and model.
#[derive(Debug, Default)]
struct Queues {
    provider: u64,
    /// Calls that have tried nothing yet, by the credential that they are pinned to.
    fresh: FastMap<Option<u64>, BTreeSet<u64>>,
    /// Calls that have tried some already, and may need another one than the rest.
    tried: FastMap<(Option<u64>, u64), BTreeSet<u64>>,
}

/// Names are kept as hashes: queues that collide share their turns, which is no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct QueueId {
    provider: u64,
    /// Of provider and model.
    lane: u64,
    pinned: Option<u64>,
    tried: Option<u64>,
}

/// A place in the wait queue. Dropping it leaves the queue, and hands on to the next call.
pub(crate) struct Ticket {
    registry: Arc<Registry>,
    place: u64,
    woken: Receiver<()>,
}

impl WaitQueue {
    /// Any credential may have become ready: wakes the first call of each queue.
    pub(super) fn wake(&self) {
        self.wake_where(|_| true, None);
    }

    /// A credential may have become ready for every model: wakes the first call of each queue that it may serve.
    pub(super) fn wake_for_all_models(&self, provider: &str, id: &str) {
        if !self.are_none() {
            let provider = self.hash(provider);
            self.wake_where(|queues| queues.provider == provider, Some(self.hash(id)));
        }
    }

    /// A credential may have become ready for a model: wakes the first call of each queue that it may serve.
    pub(super) fn wake_for(&self, provider: &str, model: &str, id: &str) {
        if !self.are_none() {
            let line = self.line.lock();
            if let Some(queues) = line.queues.get(&self.hash((provider, model))) {
                queues.wake(&line.calls, Some(self.hash(id)));
            }
        }
    }

    /// Wakes the first call of each queue for a provider and model.
    fn wake_lane(&self, lane: u64) {
        let line = self.line.lock();
        if let Some(queues) = line.queues.get(&lane) {
            queues.wake(&line.calls, None);
        }
    }

    fn wake_where(&self, which: impl Fn(&Queues) -> bool, id: Option<u64>) {
        if self.are_none() {
            return;
        }
        let line = self.line.lock();
        for queues in line.queues.values().filter(|queues| which(queues)) {
            queues.wake(&line.calls, id);
        }
    }

    fn are_none(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }

    fn join(&self, ids: SmallVec<[QueueId; 2]>) -> (u64, Receiver<()>) {
        let (waker, woken) = crossbeam_channel::bounded(1);
        let mut line = self.line.lock();
        let place = line.next_place;
        line.next_place += 1;
        line.enter_queues(place, &ids);
        line.calls.insert(place, Call { queues: ids, waker });
        self.count.store(line.calls.len(), Ordering::SeqCst);
        (place, woken)
    }

    fn leave(&self, place: u64) {
        let mut line = self.line.lock();
        if let Some(call) = line.calls.remove(&place) {
            line.leave_queues(place, &call.queues);
        }
        self.count.store(line.calls.len(), Ordering::SeqCst);
    }

    /// The call at `place` waits for something else from now on, and is as early in those queues as it was in its own.
    fn change(&self, place: u64, ids: &[QueueId]) {
        let mut line = self.line.lock();
        let Some(call) = line.calls.get_mut(&place) else {
            return;
        };
        if *call.queues == *ids {
            return;
        }
        let former = std::mem::replace(&mut call.queues, SmallVec::from_slice(ids));
        let left: SmallVec<[QueueId; 2]> =
            former.into_iter().filter(|id| !ids.contains(id)).collect();
        line.enter_queues(place, ids);
        line.leave_queues(place, &left);
    }

    /// Whether a call waits for the same that came before the one at `place`, or any where that has none.
    fn is_behind(&self, id: QueueId, place: Option<u64>) -> bool {
        let line = self.line.lock();
        let Some(queues) = line.queues.get(&id.lane) else {
            return false;
        };
        let fresh = queues.fresh.get(&id.pinned).and_then(BTreeSet::first);
        let tried = id.tried.and_then(|tried| {
            let queue = queues.tried.get(&(id.pinned, tried))?;
            queue.first()
        });
        let mut first = fresh.into_iter().chain(tried);
        first.any(|first| place.is_none_or(|place| *first < place))
    }

    fn id_of(&self, query: Query<'_>) -> QueueId {
        QueueId {
            provider: self.hash(query.provider),
            lane: self.hash((query.provider, query.model)),
            pinned: query.pinned.map(|id| self.hash(id)),
            tried: query
                .tried
                .filter(|tried| !tried.is_empty())
                .map(|tried| tried.fingerprint(|slot| self.hash(slot))),
        }
    }

    fn hash(&self, of: impl std::hash::Hash) -> u64 {
        self.hashes.hash_one(of)
    }
}

impl Line {
    fn enter_queues(&mut self, place: u64, ids: &[QueueId]) {
        for id in ids {
            let queues = self.queues.entry(id.lane).or_default();
            queues.provider = id.provider;
            queues.queue_mut(*id).insert(place);
        }
    }

    fn leave_queues(&mut self, place: u64, ids: &[QueueId]) {
        for id in ids {
            let Some(of_lane) = self.queues.get_mut(&id.lane) else {
                continue;
            };
            of_lane.leave(*id, place, &self.calls);
            if of_lane.are_empty() {
                self.queues.remove(&id.lane);
            }
        }
    }
}

impl Queues {
    fn queue_mut(&mut self, id: QueueId) -> &mut BTreeSet<u64> {
        match id.tried {
            None => self.fresh.entry(id.pinned).or_default(),
            Some(tried) => self.tried.entry((id.pinned, tried)).or_default(),
        }
    }

    fn are_empty(&self) -> bool {
        self.fresh.is_empty() && self.tried.is_empty()
    }

    /// Wakes the first call of each queue that the credential may serve; `None`: any may.
    fn wake(&self, calls: &FastMap<u64, Call>, id: Option<u64>) {
        match id {
            None => self.fresh.values().for_each(|queue| wake(queue, calls)),
            Some(_) => {
                let fresh = [None, id].into_iter();
                let fresh = fresh.filter_map(|pinned| self.fresh.get(&pinned));
                fresh.for_each(|queue| wake(queue, calls));
            }
        }
        for ((pinned, _), queue) in &self.tried {
            if id.is_none() || pinned.is_none() || *pinned == id {
                wake(queue, calls);
            }
        }
    }

    /// A call leaves its queue. If it was the first, those that were behind it look for themselves.
    fn leave(&mut self, id: QueueId, place: u64, calls: &FastMap<u64, Call>) {
        let queue = self.queue_mut(id);
        let was_first = queue.first() == Some(&place);
        queue.remove(&place);
        if was_first {
            wake(queue, calls);
        }
        let is_empty = queue.is_empty();
        match id.tried {
            None => {
                if is_empty {
                    self.fresh.remove(&id.pinned);
                }
                for ((pinned, _), queue) in &self.tried {
                    if was_first && *pinned == id.pinned {
                        wake(queue, calls);
                    }
                }
            }
            Some(tried) if is_empty => {
                self.tried.remove(&(id.pinned, tried));
            }
            Some(_) => {}
        }
    }
}

fn wake(queue: &BTreeSet<u64>, calls: &FastMap<u64, Call>) {
    let first = queue.first().and_then(|place| calls.get(place));
    if let Some(call) = first {
        // One message is enough: its receiver looks at all there is.
        let _ = call.waker.try_send(());
    }
}

impl Registry {
    /// Takes a place in the wait queue. Take it first and look then, or a wake between the two is lost.
    pub(crate) fn wait<'q>(
        self: &Arc<Self>,
        queries: impl IntoIterator<Item = Query<'q>>,
    ) -> Ticket {
        let ids = queries.into_iter().map(|query| self.waiters.id_of(query));
        let (place, woken) = self.waiters.join(ids.collect());
        Ticket {
            registry: Arc::clone(self),
            place,
            woken,
        }
    }

    /// The call waits for something else: what it can use no more is the next call's, and it keeps its place.
    pub(crate) fn wait_for<'q>(
        &self,
        ticket: &Ticket,
        queries: impl IntoIterator<Item = Query<'q>>,
    ) {
        let ids = queries.into_iter().map(|query| self.waiters.id_of(query));
        let ids: SmallVec<[QueueId; 2]> = ids.collect();
        self.waiters.change(ticket.place, &ids);
    }

    /// A call that is behind others finds a credential ready: the first of them may sleep for longer than it has to, after a suspend or a
    /// step of the clock.
    pub(crate) fn wake_first(&self, query: Query<'_>) {
        if self.supply(query) == Supply::Ready {
            self.waiters.wake_lane(self.waiters.id_of(query).lane);
        }
    }

    /// Whether other calls wait for the same that came first. A call that waits and is behind need not watch the time: it is woken when it
    /// is first.
    pub(crate) fn is_behind(&self, query: Query<'_>, me: Option<&Ticket>) -> bool {
        let waiters = &self.waiters;
        !waiters.are_none() && waiters.is_behind(waiters.id_of(query), me.map(|me| me.place))
    }
}

impl Ticket {
    /// Gets a message when a credential may be ready, or when the call has become the first of a queue.
    pub(crate) fn woken(&self) -> &Receiver<()> {
        &self.woken
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.registry.waiters.leave(self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl WaitQueue {
        fn queue(&self, provider: &str, model: &str, pinned: Option<&str>) -> QueueId {
            QueueId {
                provider: self.hash(provider),
                lane: self.hash((provider, model)),
                pinned: pinned.map(|id| self.hash(id)),
                tried: None,
            }
        }

        fn enter(&self, id: QueueId) -> (u64, Receiver<()>) {
            self.join(SmallVec::from_slice(&[id]))
        }
    }

    fn woken(receivers: &[&Receiver<()>]) -> Vec<bool> {
        receivers
            .iter()
            .map(|receiver| receiver.try_recv().is_ok())
            .collect()
    }

    #[test]
    fn a_release_wakes_the_first_of_each_queue_that_it_serves_and_nobody_else() {
        let waiters = WaitQueue::default();
        waiters.wake();
        let queues = [
            waiters.queue("p", "m", None),
            waiters.queue("p", "m", Some("a")),
            waiters.queue("p", "m", Some("b")),
            waiters.queue("p", "n", None),
            waiters.queue("q", "m", None),
        ];
        let first = queues.map(|id| waiters.enter(id));
        let second = queues.map(|id| waiters.enter(id));
        let firsts: Vec<_> = first.iter().map(|(_, woken)| woken).collect();
        waiters.wake_for("p", "m", "a");
        waiters.wake_for("p", "m", "a");
        assert_eq!(woken(&firsts), [true, true, false, false, false]);
        waiters.wake_for_all_models("p", "b");
        assert_eq!(woken(&firsts), [true, false, true, true, false]);
        waiters.wake();
        assert_eq!(woken(&firsts), [true; 5]);
        let seconds: Vec<_> = second.iter().map(|(_, woken)| woken).collect();
        assert_eq!(woken(&seconds), [false; 5]);
        for (place, _) in &first {
            waiters.leave(*place);
        }
        assert_eq!(woken(&seconds), [true; 5], "the next ones are first now");
        for (place, _) in &second {
            waiters.leave(*place);
        }
        let line = waiters.line.lock();
        assert!(line.calls.is_empty() && line.queues.is_empty());
        assert!(waiters.are_none());
    }

    #[test]
    fn the_work_of_a_release_does_not_grow_with_those_who_wait() {
        for waiting in [1, 10, 1_000] {
            let waiters = WaitQueue::default();
            let id = waiters.queue("p", "m", None);
            let calls: Vec<_> = (0..waiting).map(|_| waiters.enter(id)).collect();
            waiters.wake_for_all_models("p", "a");
            waiters.wake_for("p", "m", "a");
            waiters.wake();
            let messages = calls.iter().map(|(_, woken)| woken.len());
            assert_eq!(messages.sum::<usize>(), 1);
            // A call that leaves before its turn wakes no other call.
            for (place, _) in &calls[1..] {
                waiters.leave(*place);
            }
            let messages = calls.iter().map(|(_, woken)| woken.len());
            assert_eq!(messages.sum::<usize>(), 1);
        }
    }

    #[test]
    fn who_came_first_is_ahead() {
        let waiters = WaitQueue::default();
        let [one, two, three] = ["1", "2", "3"].map(|model| waiters.queue("p", model, None));
        assert!(!waiters.is_behind(one, None));
        let (first, _) = waiters.enter(one);
        let (second, _) = waiters.enter(one);
        let (other, _) = waiters.enter(two);
        assert!(!waiters.is_behind(one, Some(first)));
        assert!(waiters.is_behind(one, Some(second)) && waiters.is_behind(one, None));
        assert!(!waiters.is_behind(two, Some(other)) && !waiters.is_behind(three, None));
        waiters.leave(first);
        assert!(!waiters.is_behind(one, Some(second)));
    }

    #[test]
    fn who_waits_for_less_hands_on_and_keeps_its_place() {
        let waiters = WaitQueue::default();
        let [one, two, three] = ["1", "2", "3"].map(|model| waiters.queue("p", model, None));
        let (first, first_woken) = waiters.join(SmallVec::from_slice(&[one, two]));
        let (second, second_woken) = waiters.enter(one);
        let (third, third_woken) = waiters.enter(two);
        waiters.change(first, &[one, two]);
        assert_eq!(woken(&[&second_woken, &third_woken]), [false, false]);
        waiters.change(first, &[two, three]);
        assert_eq!(woken(&[&second_woken, &third_woken]), [true, false]);
        assert!(!waiters.is_behind(one, Some(second)));
        assert!(waiters.is_behind(two, Some(third)) && waiters.is_behind(three, None));
        waiters.wake_for("p", "1", "a");
        assert_eq!(woken(&[&first_woken, &second_woken]), [false, true]);
        for place in [first, second, third] {
            waiters.leave(place);
        }
        let line = waiters.line.lock();
        assert!(line.calls.is_empty() && line.queues.is_empty());
    }

    #[test]
    fn who_has_tried_some_keeps_nobody_else_waiting_and_is_not_forgotten() {
        let waiters = WaitQueue::default();
        let fresh = waiters.queue("p", "m", None);
        let tried = |tried| QueueId {
            tried: Some(tried),
            ..fresh
        };
        let (one, one_woken) = waiters.enter(tried(1));
        let (two, two_woken) = waiters.enter(tried(2));
        let (plain, plain_woken) = waiters.enter(fresh);
        let (late, late_woken) = waiters.enter(tried(2));
        assert!(!waiters.is_behind(fresh, Some(plain)));
        assert!(!waiters.is_behind(tried(2), Some(two)));
        assert!(waiters.is_behind(tried(2), Some(late)));
        waiters.leave(two);
        assert!(
            waiters.is_behind(tried(2), Some(late)),
            "the plain one came before"
        );
        waiters.wake_for("p", "m", "a");
        let all = [&one_woken, &plain_woken, &late_woken];
        assert_eq!(woken(&all), [true, true, true]);
        waiters.leave(plain);
        assert_eq!(woken(&all), [true, false, true]);
        assert!(!waiters.is_behind(tried(2), Some(late)));
        waiters.leave(one);
        waiters.leave(late);
        assert!(two_woken.is_empty() && waiters.line.lock().queues.is_empty());
    }
}
