use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender};
use parking_lot::Mutex;

/// Calls that wait for a credential to return: what lets one be ready earlier than was said wakes them.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// How many wait, to be seen without the lock.
    count: AtomicUsize,
    list: Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    next_key: u64,
    wakers: Vec<(u64, Sender<()>)>,
}

/// A place among those who wait.
#[derive(Debug)]
pub(crate) struct Waiting<'a> {
    waiters: &'a Waiters,
    key: u64,
    woken: Receiver<()>,
}

impl Waiters {
    /// Takes a place. Take it first and look then, or a wake between the two is lost.
    pub(super) fn join(&self) -> Waiting<'_> {
        let (waker, woken) = crossbeam_channel::bounded(1);
        let mut list = self.list.lock();
        let key = list.next_key;
        list.next_key += 1;
        list.wakers.push((key, waker));
        self.count.store(list.wakers.len(), Ordering::SeqCst);
        Waiting {
            waiters: self,
            key,
            woken,
        }
    }

    pub(super) fn wake(&self) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        for (_, waker) in &self.list.lock().wakers {
            let _ = waker.try_send(());
        }
    }
}

impl Waiting<'_> {
    /// Gets a message when somebody may be ready.
    pub(crate) fn woken(&self) -> &Receiver<()> {
        &self.woken
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut list = self.waiters.list.lock();
        list.wakers.retain(|(key, _)| *key != self.key);
        self.waiters
            .count
            .store(list.wakers.len(), Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_wait_are_woken_and_leave_nothing_behind() {
        let waiters = Waiters::default();
        waiters.wake();
        let waiting = [waiters.join(), waiters.join()];
        assert!(waiting.iter().all(|place| place.woken().is_empty()));
        waiters.wake();
        waiters.wake();
        assert!(waiting.iter().all(|place| place.woken().len() == 1));
        drop(waiting);
        assert!(waiters.list.lock().wakers.is_empty());
        assert_eq!(waiters.count.load(Ordering::SeqCst), 0);
    }
}
