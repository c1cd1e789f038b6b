use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender};
use parking_lot::Mutex;
use smallvec::SmallVec;

use super::{Query, Registry, Tried};

/// Calls that wait for a credential to return, the first come first: what lets one be ready earlier than was said wakes them.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// How many wait, to be seen without the lock.
    count: AtomicUsize,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    next_key: u64,
    /// In the order in which they came.
    places: Vec<Place>,
}

#[derive(Debug)]
struct Place {
    key: u64,
    /// Whose turn is whose: calls for the same do not overtake each other.
    queues: SmallVec<[u64; 2]>,
    waker: Sender<()>,
}

/// A place among those who wait. Dropping it leaves it, and lets the next one look.
#[derive(Debug)]
pub(crate) struct Waiting {
    registry: Arc<Registry>,
    key: u64,
    woken: Receiver<()>,
}

impl Waiters {
    pub(super) fn wake(&self) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        for place in &self.line.lock().places {
            let _ = place.waker.try_send(());
        }
    }

    fn join(&self, queues: SmallVec<[u64; 2]>) -> (u64, Receiver<()>) {
        let (waker, woken) = crossbeam_channel::bounded(1);
        let mut line = self.line.lock();
        let key = line.next_key;
        line.next_key += 1;
        line.places.push(Place { key, queues, waker });
        self.count.store(line.places.len(), Ordering::SeqCst);
        (key, woken)
    }

    fn leave(&self, key: u64) {
        {
            let mut line = self.line.lock();
            line.places.retain(|place| place.key != key);
            self.count.store(line.places.len(), Ordering::SeqCst);
        }
        self.wake();
    }

    /// Whether somebody waits in a queue who came before `me`, or at all.
    fn is_behind(&self, queue: u64, me: Option<u64>) -> bool {
        if self.count.load(Ordering::SeqCst) == 0 {
            return false;
        }
        let line = self.line.lock();
        let ahead = |place: &&Place| me.is_none_or(|me| place.key < me);
        line.places
            .iter()
            .take_while(ahead)
            .any(|place| place.queues.contains(&queue))
    }
}

impl Registry {
    /// Takes a place among those who wait. Take it first and look then, or a wake between the two is lost.
    pub(crate) fn wait<'q>(
        self: &Arc<Self>,
        queries: impl IntoIterator<Item = Query<'q>>,
    ) -> Waiting {
        // Who has tried some of them may wait for another one than those who have not.
        let queues = queries
            .into_iter()
            .filter(|query| query.tried.is_none_or(Tried::is_empty))
            .map(queue)
            .collect();
        let (key, woken) = self.waiters.join(queues);
        Waiting {
            registry: Arc::clone(self),
            key,
            woken,
        }
    }

    /// Whether other calls wait for the same, who came first.
    pub(crate) fn is_behind(&self, query: Query<'_>, me: Option<&Waiting>) -> bool {
        self.limits_anybody.load(Ordering::Relaxed)
            && self.waiters.is_behind(queue(query), me.map(|me| me.key))
    }
}

impl Waiting {
    /// Gets a message when somebody may be ready.
    pub(crate) fn woken(&self) -> &Receiver<()> {
        &self.woken
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.registry.waiters.leave(self.key);
    }
}

/// What calls for the same have in common.
fn queue(query: Query<'_>) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    (query.provider, query.model, query.pinned).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_wait_are_woken_and_leave_nothing_behind() {
        let waiters = Waiters::default();
        waiters.wake();
        let waiting = [waiters.join(SmallVec::new()), waiters.join(SmallVec::new())];
        assert!(waiting.iter().all(|(_, woken)| woken.is_empty()));
        waiters.wake();
        waiters.wake();
        assert!(waiting.iter().all(|(_, woken)| woken.len() == 1));
        for (key, _) in waiting {
            waiters.leave(key);
        }
        assert!(waiters.line.lock().places.is_empty());
        assert_eq!(waiters.count.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn who_came_first_is_ahead() {
        let waiters = Waiters::default();
        let queues = |queue: u64| SmallVec::from_slice(&[queue]);
        assert!(!waiters.is_behind(1, None));
        let (first, _) = waiters.join(queues(1));
        let (second, _) = waiters.join(queues(1));
        let (other, _) = waiters.join(queues(2));
        assert!(!waiters.is_behind(1, Some(first)));
        assert!(waiters.is_behind(1, Some(second)) && waiters.is_behind(1, None));
        assert!(!waiters.is_behind(2, Some(other)) && !waiters.is_behind(3, None));
        waiters.leave(first);
        assert!(!waiters.is_behind(1, Some(second)));
    }
}
