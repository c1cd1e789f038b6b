//! The process that threads and connections belong to: detects a fork, and lets a child have its own.

use std::panic::UnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use crate::error::{Error, ErrorCode};

/// The process in which something was made. A child that is forked from it has its memory, and neither its threads nor
/// connections of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process(u32);

impl Process {
    pub(crate) fn current() -> Self {
        Self(current_id())
    }

    /// Whether this is a child that was forked since.
    pub(crate) fn has_forked(self) -> bool {
        current_id() != self.0
    }

    /// An error in a child that was forked since, for what was begun in the parent.
    pub(crate) fn check(self) -> Result<(), Error> {
        if !self.has_forked() {
            return Ok(());
        }
        let what = "the process has forked since this began; its threads and connections stay with the parent: begin it anew in the child";
        Err(Error::new(ErrorCode::Forked, what))
    }
}

/// What a process has for itself: threads, connections. A child that is forked makes its own at the first use, and never touches or drops
/// its parent's.
#[derive(Debug)]
pub(crate) struct PerProcess<T> {
    process: Process,
    own: Arc<T>,
    of_child: OnceLock<Box<Self>>,
    making: Mutex<()>,
}

impl<T: Default> Default for PerProcess<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> PerProcess<T> {
    pub(crate) fn new(own: T) -> Self {
        Self {
            process: Process::current(),
            own: Arc::new(own),
            of_child: OnceLock::new(),
            making: Mutex::new(()),
        }
    }

    /// That of this process. A child makes it out of its parent's.
    pub(crate) fn get(&self, make: impl FnOnce(&T) -> Result<T, Error>) -> Result<&T, Error> {
        let mut nearest = self;
        while nearest.process.has_forked() {
            match nearest.of_child.get() {
                Some(of_child) => nearest = of_child,
                None => return nearest.make(make),
            }
        }
        Ok(&nearest.own)
    }

    fn make(&self, make: impl FnOnce(&T) -> Result<T, Error>) -> Result<&T, Error> {
        let _making = lock_of_parent(&self.making, "a child was being set up")?;
        if let Some(of_child) = self.of_child.get() {
            return Ok(&of_child.own);
        }
        let own = make(&self.own)?;
        Ok(&self.of_child.get_or_init(|| Box::new(Self::new(own))).own)
    }

    /// In a child that has none of its own yet, its parent's.
    #[cfg(feature = "sqlite")]
    pub(crate) fn of_parent(&self) -> Option<&T> {
        let mut latest = self;
        while let Some(of_child) = latest.of_child.get() {
            latest = of_child;
        }
        latest.process.has_forked().then_some(&*latest.own)
    }

    /// As it was made first, in whichever process.
    pub(crate) fn inherited(&self) -> &T {
        &self.own
    }
}

/// As what it holds is: the `Arc`, which would say otherwise, is never shared.
impl<T: UnwindSafe> UnwindSafe for PerProcess<T> {}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        // In a child, threads cannot be joined that are not there, a lock may be held by one of them for ever, and connections are the
        // parent's, too.
        if self.process.has_forked() {
            std::mem::forget(Arc::clone(&self.own));
        }
    }
}

/// Why a child cannot have what it needs: a thread of the parent was in the middle of something, and is not there to end it.
pub(crate) fn at_work(what: &str) -> Error {
    let what = format!(
        "the process was forked while {what} in another thread: fork while no call is under way, or build another manager in the child"
    );
    Error::new(ErrorCode::Forked, what)
}

/// A lock of a parent, in a child that takes over what is under it.
///
/// # Errors
/// When a thread that is not there any more holds it for ever, because it was at `what`.
pub(crate) fn lock_of_parent<'m, T>(
    lock: &'m Mutex<T>,
    what: &str,
) -> Result<MutexGuard<'m, T>, Error> {
    lock.try_lock_for(LONGEST_LOCKED)
        .ok_or_else(|| at_work(what))
}

/// For how long a child waits for a lock. No thread of ours holds one for as long; of one that is not there, it would never end.
pub(crate) const LONGEST_LOCKED: Duration = Duration::from_secs(1);

fn current_id() -> u32 {
    #[cfg(test)]
    if let Some(id) = testing::PRETENDED.get() {
        return id;
    }
    std::process::id()
}

#[cfg(test)]
pub(crate) mod testing {
    use std::cell::Cell;

    thread_local! {
        pub(super) static PRETENDED: Cell<Option<u32>> = const { Cell::new(None) };
    }

    /// Does something on this thread as a child would that was forked from this process.
    pub(crate) fn forked<T>(work: impl FnOnce() -> T) -> T {
        PRETENDED.set(Some(std::process::id().wrapping_add(1)));
        let done = work();
        PRETENDED.set(None);
        done
    }
}
