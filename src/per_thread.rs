//! A value sharded by thread, to avoid contention on one reference count.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// As many copies as threads are likely to work concurrently. More threads share them.
#[derive(Clone, Debug)]
pub(crate) struct PerThread<T>([T; COPIES]);

impl<T> PerThread<T> {
    pub(crate) fn new(mut copy: impl FnMut() -> T) -> Self {
        Self(std::array::from_fn(|_| copy()))
    }

    /// All copies.
    pub(crate) fn copies(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }

    /// This thread's copy.
    pub(crate) fn own(&self) -> &T {
        &self.0[THREAD.get() % COPIES]
    }
}

const COPIES: usize = 16;

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static THREAD: Cell<usize> = Cell::new(THREADS.fetch_add(1, Ordering::Relaxed));
}
