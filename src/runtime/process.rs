//! The process that threads and connections belong to: detects a fork.

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

    /// An error in a child that was forked since.
    pub(crate) fn check(self) -> Result<(), Error> {
        if !self.has_forked() {
            return Ok(());
        }
        let what = "the process has forked since the manager was built; its threads and connections stay with the parent: build another manager in the child";
        Err(Error::new(ErrorCode::Forked, what))
    }
}

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
