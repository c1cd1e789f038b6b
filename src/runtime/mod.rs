//! The only place that spawns threads, contains panics and joins.

mod guard;
mod pool;
pub(crate) mod process;
mod thread;

pub(crate) use guard::guard;
pub(crate) use pool::{Lane, LaneLimits, Place, Pool, Slot, WaitFor};
pub(crate) use process::Process;
pub(crate) use thread::{Worker, spawn};
