//! Admission of refreshes: a priority queue, bounded for each client of a token endpoint and in all.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::Timestamp;

/// A token endpoint and a client of it.
pub(super) type Client = Arc<str>;

/// Refreshes that a call waits for begin first, then those whose tokens end first.
///
/// A refresh that has run for two seconds no longer counts against the width for all, so that a token endpoint that hangs delays no
/// other one. It still counts for its client, and against the number of threads.
#[derive(Debug, Default)]
pub(super) struct Admission {
    /// How many refreshes of all clients run, those that hang left out.
    width: usize,
    per_client: usize,
    threads: usize,
    clients: HashMap<Client, Queue>,
    waiting: HashMap<Arc<str>, (Client, Rank)>,
    running: HashMap<Arc<str>, Running>,
    next_number: u64,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: BTreeMap<Rank, Arc<str>>,
    running: usize,
}

#[derive(Debug)]
struct Running {
    client: Client,
    since: Instant,
}

/// The refresh of the smallest rank begins first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    unattended: bool,
    ends: Timestamp,
    number: u64,
}

impl Admission {
    pub(super) fn new(width: usize, per_client: usize) -> Self {
        Self {
            width,
            per_client,
            threads: threads(width),
            ..Self::default()
        }
    }

    /// Queues a refresh of tokens that end at `ends`; `attended`: a call waits for it.
    pub(super) fn queue(&mut self, id: Arc<str>, client: Client, ends: Timestamp, attended: bool) {
        let rank = Rank {
            unattended: !attended,
            ends,
            number: self.next_number,
        };
        self.next_number += 1;
        self.place(id, client, rank);
    }

    fn place(&mut self, id: Arc<str>, client: Client, rank: Rank) {
        let queue = self.clients.entry(Arc::clone(&client)).or_default();
        queue.waiting.insert(rank, Arc::clone(&id));
        self.waiting.insert(id, (client, rank));
    }

    /// A call waits for a refresh now that is queued already.
    pub(super) fn attend(&mut self, id: &str) {
        if self
            .waiting
            .get(id)
            .is_some_and(|(_, rank)| rank.unattended)
            && let Some((id, client, rank)) = self.take(id)
        {
            let rank = Rank {
                unattended: false,
                ..rank
            };
            self.place(id, client, rank);
        }
    }

    fn take(&mut self, id: &str) -> Option<(Arc<str>, Client, Rank)> {
        let (id, (client, rank)) = self.waiting.remove_entry(id)?;
        if let Some(queue) = self.clients.get_mut(&client) {
            queue.waiting.remove(&rank);
        }
        Some((id, client, rank))
    }

    /// The refresh that begins now, if one may.
    pub(super) fn next(&mut self, now: Instant) -> Option<Arc<str>> {
        if self.young(now).count() >= self.width || self.running.len() >= self.threads {
            return None;
        }
        let open = self
            .clients
            .values()
            .filter(|queue| queue.running < self.per_client);
        let first = open.filter_map(|queue| queue.waiting.first_key_value());
        let (_, id) = first.min_by_key(|(rank, _)| **rank)?;
        let id = Arc::clone(id);
        let (id, client, _) = self.take(&id)?;
        if let Some(queue) = self.clients.get_mut(&client) {
            queue.running += 1;
        }
        let running = Running { client, since: now };
        self.running.insert(Arc::clone(&id), running);
        Some(id)
    }

    /// A refresh has come to its end, or could not begin after all.
    pub(super) fn ended(&mut self, id: &str) {
        let client = match self.running.remove(id) {
            Some(running) => {
                if let Some(queue) = self.clients.get_mut(&running.client) {
                    queue.running -= 1;
                }
                running.client
            }
            None => match self.take(id) {
                Some((_, client, _)) => client,
                None => return,
            },
        };
        let is_idle = |queue: &Queue| queue.running == 0 && queue.waiting.is_empty();
        if self.clients.get(&client).is_some_and(is_idle) {
            self.clients.remove(&client);
        }
    }

    /// How long until a refresh that hangs makes room for one that waits. `None` where time alone changes nothing.
    pub(super) fn makes_room_in(&self, now: Instant) -> Option<Duration> {
        if self.waiting.is_empty() || self.running.len() >= self.threads {
            return None;
        }
        let left = self.young(now).map(|age| OLD.saturating_sub(age));
        left.min()
    }

    /// Takes everything that waits out.
    pub(super) fn clear(&mut self) -> Vec<Arc<str>> {
        let ids: Vec<_> = self.waiting.keys().cloned().collect();
        for id in &ids {
            self.ended(id);
        }
        ids
    }

    /// The ages of those that run and are not old.
    fn young(&self, now: Instant) -> impl Iterator<Item = Duration> {
        let running = self.running.values();
        let ages = running.map(move |running| now.saturating_duration_since(running.since));
        ages.filter(|age| *age < OLD)
    }
}

/// How many threads refreshes may have, those that hang included.
pub(crate) fn threads(width: usize) -> usize {
    width
        .saturating_mul(HANGING + 1)
        .min(width.max(MOST_THREADS))
}

/// From when on a refresh counts as one that hangs.
const OLD: Duration = Duration::from_secs(2);

/// How many refreshes that hang there may be for each that runs.
const HANGING: usize = 15;

/// However wide, there are no more threads for those that hang.
const MOST_THREADS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::later;

    fn at(seconds: u64) -> Timestamp {
        later(Timestamp::UNIX_EPOCH, Duration::from_secs(seconds))
    }

    fn begin(admission: &mut Admission, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| admission.next(now))
            .map(|id| id.to_string())
            .collect()
    }

    #[test]
    fn what_a_call_waits_for_goes_first_and_then_what_ends_first() {
        let mut admission = Admission::new(1, 1);
        let now = Instant::now();
        admission.queue("late".into(), "c".into(), at(9), false);
        admission.queue("soon".into(), "c".into(), at(1), false);
        admission.queue("called".into(), "d".into(), at(99), true);
        admission.attend("late");
        let mut order = Vec::new();
        while let Some(id) = admission.next(now) {
            assert_eq!(admission.next(now), None, "the width is one");
            admission.ended(&id);
            order.push(id.to_string());
        }
        assert_eq!(order, ["late", "called", "soon"]);
        assert!(admission.clients.is_empty() && admission.waiting.is_empty());
    }

    #[test]
    fn a_client_has_no_more_than_its_width() {
        let mut admission = Admission::new(8, 2);
        for number in 0..4 {
            admission.queue(format!("a{number}").into(), "a".into(), at(number), false);
        }
        admission.queue("b".into(), "b".into(), at(99), false);
        let now = Instant::now();
        assert_eq!(begin(&mut admission, now), ["a0", "a1", "b"]);
        assert_eq!(begin(&mut admission, now + OLD * 2), [""; 0]);
        admission.ended("a1");
        assert_eq!(begin(&mut admission, now), ["a2"]);
    }

    #[test]
    fn a_refresh_that_hangs_makes_room_and_threads_stay_bounded() {
        let mut admission = Admission::new(1, 100);
        for number in 0..100_u64 {
            admission.queue(format!("{number:03}").into(), "a".into(), at(number), false);
        }
        let mut now = Instant::now();
        for number in 0..threads(1) {
            assert_eq!(begin(&mut admission, now), [format!("{number:03}")]);
            if number + 1 < threads(1) {
                assert_eq!(admission.makes_room_in(now), Some(OLD));
            }
            now += Duration::from_millis(1999);
            assert_eq!(begin(&mut admission, now), [""; 0]);
            now += Duration::from_millis(1);
        }
        assert_eq!(begin(&mut admission, now), [""; 0]);
        assert_eq!(admission.makes_room_in(now), None);
        admission.ended("000");
        assert_eq!(begin(&mut admission, now), ["016"]);
        assert_eq!(admission.clear().len(), 83);
    }
}
