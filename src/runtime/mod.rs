//! The only place that spawns threads, contains panics and joins.

mod guard;
mod pool;
mod thread;

pub(crate) use guard::guard;
pub(crate) use pool::{Lane, LaneLimits, Pool, WaitFor};
pub(crate) use thread::{Worker, spawn};
