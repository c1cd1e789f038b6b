//! Threads: the only room that spawns and joins them. Knows nothing of credentials and calls.

mod pool;
pub(crate) mod process;
mod thread;

pub(crate) use pool::{Lane, LaneLimits, Place, Pool, Slot, WaitFor};
#[cfg(feature = "sqlite")]
pub(crate) use process::{LONGEST_LOCKED, at_work};
pub(crate) use process::{PerProcess, Process, lock_of_parent};
pub(crate) use thread::{Worker, spawn};
